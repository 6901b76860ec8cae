//! What was tried, one line each.

use std::fmt::Display;
use std::time::Instant;

/// The lines that were printed, as numbers.
pub struct Tried<'a> {
    only: &'a str,
    held: usize,
    failed: usize,
}

impl<'a> Tried<'a> {
    /// Nothing so far; what has not this text in its name is passed over.
    pub fn new(only: &'a str) -> Self {
        Self { only, held: 0, failed: 0 }
    }

    /// Tries one thing, which answers with what it found, or with what does not hold.
    pub fn one(&mut self, name: impl Display, attempt: impl FnOnce() -> Result<String, String>) {
        let name = name.to_string();
        if !name.contains(self.only) {
            return;
        }
        let begun = Instant::now();
        let outcome = attempt();
        let seconds = begun.elapsed().as_secs_f64();
        match &outcome {
            Ok(found) if found.is_empty() => println!("PASS {name} ({seconds:.1} s)"),
            Ok(found) => println!("PASS {name} ({seconds:.1} s): {found}"),
            Err(reason) => println!("FAIL {name} ({seconds:.1} s)\n{}", indented(reason)),
        }
        match outcome {
            Ok(_) => self.held += 1,
            Err(_) => self.failed += 1,
        }
    }

    /// Prints the total.
    ///
    /// # Errors
    /// Something did not hold, or nothing was tried.
    pub fn close(self) -> Result<(), String> {
        let all = self.held + self.failed;
        println!("xtask: {} of {all} hold", self.held);
        match (all, self.failed) {
            (0, _) => Err("nothing to try".to_owned()),
            (_, 0) => Ok(()),
            (_, failed) => Err(format!("{failed} of {all} do not hold")),
        }
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
