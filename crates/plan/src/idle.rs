//! Variables that have no effect: settings of a system that a pipeline replaces, whose mechanism is
//! gone.
//!
//! Whoever moves brings their environment and files of values along. What they set there is
//! accepted, and `check` says of it why nothing becomes of it.

use std::collections::BTreeSet;

use contract::section::Value;
use contract::{Error, Place, Result, Section};

use crate::substitute::is_name;

/// A variable without effect, or all that begin alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Its name; with `*` at the end, all names that begin so.
    pub name: String,
    /// Why nothing becomes of it.
    pub reason: String,
    /// Where it stands.
    pub place: Place,
}

impl Idle {
    /// Whether a variable is meant.
    pub fn covers(&self, variable: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(begin) => variable.starts_with(begin),
            None => variable == self.name,
        }
    }
}

/// Reads the map from names to reasons; `named` are the variables that the file takes.
///
/// # Errors
/// Config, with the place: it is no such map, a name is none, or the file takes the variable.
pub(crate) fn read(section: Option<&Section>, named: &BTreeSet<String>) -> Result<Vec<Idle>> {
    let Some(section) = section else { return Ok(Vec::new()) };
    match section.value() {
        Value::Null => return Ok(Vec::new()),
        Value::Map(_) => {}
        _ => {
            return Err(Error::config("expected a map from variables to reasons")
                .at(section.place())
                .field("without_effect")
                .hint("write `without_effect: { WORKERS: \"splits are read side by side\" }`"));
        }
    }
    let entries = section.entries().iter().map(|entry| {
        let place = entry.place.clone();
        let wrong = |what: String, hint: &str| {
            Error::config(what).at(&place).field("without_effect").hint(hint)
        };
        let name = entry.key.to_string();
        if !is_name(name.strip_suffix('*').unwrap_or(&name)) {
            return Err(wrong(
                format!("{name:?} names no variable"),
                "a name has letters, digits and `_`, and may end with `*`",
            ));
        }
        let idle = match entry.value.as_text().filter(|reason| !reason.trim().is_empty()) {
            Some(reason) => Idle { name, reason: reason.trim().to_owned(), place: place.clone() },
            None => {
                let what = format!("{name:?} has no reason");
                return Err(wrong(what, "say why nothing becomes of it"));
            }
        };
        match named.iter().find(|variable| idle.covers(variable)) {
            Some(taken) => Err(wrong(
                format!("the file takes the variable {taken}, so it has an effect"),
                "remove one of both",
            )),
            None => Ok(idle),
        }
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::said;

    #[test]
    fn names_have_reasons_and_are_not_taken() {
        let named = BTreeSet::from(["KAFKA_TOPIC".to_owned(), "RETRIES".to_owned()]);
        let read = |text: &str| {
            let section = crate::parse_section(text, "p.yaml").expect("YAML");
            read(Some(&section), &named)
        };
        for (text, expect) in [
            ("{ 'A B': x }", "p.yaml:1:3: \"A B\" names no variable"),
            ("{ '*': x }", "p.yaml:1:3: \"*\" names no variable"),
            ("{ A: ' ' }", "p.yaml:1:3: \"A\" has no reason"),
            ("{ A: [x] }", "p.yaml:1:3: \"A\" has no reason"),
            ("{ RETRIES: x }", "p.yaml:1:3: the file takes the variable RETRIES"),
            ("{ 'KAFKA_*': x }", "p.yaml:1:3: the file takes the variable KAFKA_TOPIC"),
            ("[a]", "p.yaml:1:1: expected a map from variables to reasons"),
        ] {
            let said = said(read(text).map(|_| ""));
            assert!(said.contains(expect), "{text}: {said}");
        }
        let idle = read("{ WORKERS: one, 'FLUSH_*': ' two ' }").expect("a table");
        let reason = |name: &str| idle.iter().find(|it| it.covers(name)).map(|it| &*it.reason);
        assert_eq!(reason("WORKERS"), Some("one"));
        assert_eq!(reason("FLUSH_OFFSETS_MS"), Some("two"));
        assert_eq!(reason("WORKERS_MAX"), None);
    }
}
