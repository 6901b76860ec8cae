//! Handed cases: a script in a folder of its own, which finds the program in `LOGMILL`, prints
//! PASS at its end and ends with 0.

use std::path::Path;
use std::time::Duration;

use super::scratch::Scratch;
use super::tried::Tried;
use super::{Site, files_below};

const SCRIPT: &str = "run.sh";
const LIMIT: Duration = Duration::from_secs(300);

/// Runs each script below `cases`.
pub fn run(site: &Site<'_>, tried: &mut Tried<'_>) -> Result<(), String> {
    let scripts = files_below(&site.folder.join("cases"))?;
    for script in scripts.iter().filter(|script| script.ends_with(SCRIPT)) {
        let case = script.parent().unwrap_or(script);
        let name = case.strip_prefix(&site.folder).unwrap_or(case);
        tried.one(name.display(), || one(site, script));
    }
    Ok(())
}

fn one(site: &Site<'_>, script: &Path) -> Result<String, String> {
    let program = [("LOGMILL", site.program.as_os_str())];
    let text = Scratch::new(LIMIT)?.run(script, &[], &program)?.ended(&[0])?;
    match text.lines().any(|line| line.starts_with("PASS")) {
        true => Ok(String::new()),
        false => Err(format!("it ended with 0 and did not say PASS\n{}", text.trim_end())),
    }
}
