//! Where the variables of a pipeline file get their values: from `--set`, from the environment,
//! from files of values, else from the default in the file.
//!
//! A file of values is YAML; its nested keys are names, `kafka: {topic: x}` is `KAFKA_TOPIC`. What
//! the values are is never printed, only where they come from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Args;
use contract::section::Value;
use contract::{Error, Result, Section};
use plan::{Idle, Values};
use serde::Serialize;

/// The largest file of values.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the command line says of variables, for the whole process, as the environment is.
static GIVEN: OnceLock<Given> = OnceLock::new();

/// What the command line says of variables.
#[derive(Clone, Debug, Default, Args)]
pub struct Given {
    /// A file of values for `${…}` in pipeline files, behind the environment: YAML whose nested
    /// keys are names, `kafka: {topic: x}` is KAFKA_TOPIC. May be repeated; a later one wins.
    #[arg(long, value_name = "FILE", global = true)]
    values: Vec<PathBuf>,

    /// The value of a variable in pipeline files, before the environment. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment, global = true)]
    set: Vec<(String, String)>,
}

/// Takes `NAME=VALUE` apart.
///
/// # Errors
/// There is no `=`, or the name has other letters than names have.
pub fn assignment(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    match name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        true => Err("a name has letters, digits and `_` alone".to_owned()),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

impl Given {
    /// Makes it hold for the process. Called once, before any pipeline file is read.
    ///
    /// # Errors
    /// Config: a file of values cannot be read.
    pub fn install(&self) -> Result<()> {
        for file in &self.values {
            read(file)?;
        }
        GIVEN.get_or_init(|| self.clone());
        Ok(())
    }

    /// The arguments that say the same to a child of this process.
    pub fn arguments(&self) -> Vec<String> {
        let values = self.values.iter().map(|file| format!("--values={}", file.display()));
        let set = self.set.iter().map(|(name, value)| format!("--set={name}={value}"));
        values.chain(set).collect()
    }
}

/// A variable of the environment, `--set` before it.
pub fn of_environment(name: &str) -> Option<String> {
    let set = || GIVEN.get()?.set.iter().rfind(|(set, _)| set == name);
    set().map(|(_, value)| value.clone()).or_else(|| std::env::var(name).ok())
}

/// A variable that a pipeline file names, and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub from: Giver,
    /// The file of values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Giver {
    /// `--set`.
    Flag,
    /// The environment.
    Environment,
    /// The environment, where it is empty: a default of the pipeline file goes before that.
    Empty,
    /// A file of values.
    File,
    /// The pipeline file itself.
    Default,
}

/// A variable that is set and has no effect, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Unused {
    /// The variable.
    #[serde(flatten)]
    pub variable: Variable,
    /// Why nothing becomes of it.
    pub reason: String,
}

/// A value in a file of values that nothing takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    /// The name of its variable.
    pub name: String,
    /// The file.
    pub file: String,
}

/// The variables of one pipeline.
#[derive(Debug)]
pub struct Variables {
    /// What names may have in front, `_` included.
    prefix: Option<String>,
    /// Files, the strongest first, with what they say.
    files: Vec<(String, HashMap<String, String>)>,
    /// What was asked for.
    seen: RefCell<BTreeMap<String, Variable>>,
}

impl Variables {
    /// Reads the files of the command line and of a pipeline.
    ///
    /// # Errors
    /// Config: a file cannot be read, or two of its keys are one name.
    pub fn of(values: &Values) -> Result<Self> {
        let given = GIVEN.get().into_iter().flat_map(|given| &given.values);
        let own = values.files.iter().flatten().filter(|file| !file.is_empty());
        let own: Vec<_> = own.map(PathBuf::from).collect();
        let mut files = Vec::new();
        for file in given.rev().chain(own.iter().rev()) {
            files.push((file.display().to_string(), read(file)?));
        }
        let prefix = values.prefix.as_deref().map(|prefix| prefix.trim_end_matches('_'));
        let prefix = prefix.filter(|prefix| !prefix.is_empty()).map(|prefix| format!("{prefix}_"));
        Ok(Self { prefix, files, seen: RefCell::default() })
    }

    /// The value of a variable; none if nobody sets it.
    pub fn find(&self, name: &str) -> Option<String> {
        let (value, from, file) = self.look_up(name);
        let variable = Variable { name: name.to_owned(), from, file };
        self.seen.borrow_mut().insert(name.to_owned(), variable);
        value
    }

    fn look_up(&self, name: &str) -> (Option<String>, Giver, Option<String>) {
        let set = || GIVEN.get()?.set.iter().rfind(|(set, _)| set == name);
        if let Some((_, value)) = set() {
            return (Some(value.clone()), Giver::Flag, None);
        }
        // One that is empty counts as not set, where something else is there to take.
        let of_environment = std::env::var(name).ok();
        if let Some(value) = of_environment.clone().filter(|value| !value.is_empty()) {
            return (Some(value), Giver::Environment, None);
        }
        let bare = self.prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix));
        let held = self.files.iter().find_map(|(file, values)| {
            let value = bare.and_then(|bare| values.get(bare)).or_else(|| values.get(name))?;
            Some((value.clone(), file.clone()))
        });
        match held {
            Some((value, file)) => (Some(value), Giver::File, Some(file)),
            None if of_environment.is_some() => (of_environment, Giver::Empty, None),
            None => (None, Giver::Default, None),
        }
    }

    /// Which variables without effect are set, by name, and which values nothing takes; `named` are
    /// the variables that the pipeline takes.
    pub fn idle(&self, idle: &[Idle], named: &BTreeSet<String>) -> (Vec<Unused>, Vec<Untaken>) {
        let mut unused = BTreeMap::new();
        let mut found = |name: &str, from: Giver, file: Option<&String>| {
            let Some(covering) = idle.iter().find(|idle| idle.covers(name)) else { return false };
            let variable = Variable { name: name.to_owned(), from, file: file.cloned() };
            let reason = covering.reason.clone();
            unused.entry(name.to_owned()).or_insert(Unused { variable, reason });
            true
        };
        let set = GIVEN.get().into_iter().flat_map(|given| &given.set);
        for (name, _) in set {
            found(name, Giver::Flag, None);
        }
        for (name, value) in std::env::vars_os().filter(|(_, value)| !value.is_empty()) {
            if let (Some(name), Some(_)) = (name.to_str(), value.to_str()) {
                found(name, Giver::Environment, None);
            }
        }
        let mut untaken = Vec::new();
        for (file, values) in &self.files {
            for name in values.keys() {
                let full = self.prefix.as_ref().map(|prefix| format!("{prefix}{name}"));
                let mut names = [Some(name.clone()), full].into_iter().flatten();
                let is_taken = names.clone().any(|name| named.contains(&name));
                let is_idle = |name: String| found(&name, Giver::File, Some(file));
                if !is_taken && !names.any(is_idle) {
                    untaken.push(Untaken { name: name.clone(), file: file.clone() });
                }
            }
        }
        untaken
            .sort_unstable_by(|one, other| (&one.file, &one.name).cmp(&(&other.file, &other.name)));
        (unused.into_values().collect(), untaken)
    }

    /// The files of values.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(file, _)| file.as_str())
    }

    /// The variables that were asked for, by name.
    pub fn seen(&self) -> Vec<Variable> {
        self.seen.borrow().values().cloned().collect()
    }
}

fn read(file: &Path) -> Result<HashMap<String, String>> {
    let name = file.display().to_string();
    let unreadable = || format!("could not read the file of values {name:?}");
    let size = std::fs::metadata(file).map(|file| file.len());
    let size = size.map_err(|error| {
        Error::config(unreadable())
            .because(error)
            .hint("make it, or correct its path; `key: value` in it gives `${KEY}` a value")
    })?;
    if size > FILE_BYTES_MAX {
        return Err(Error::config(format!("{}: longer than {FILE_BYTES_MAX} bytes", unreadable()))
            .hint("name a file of settings"));
    }
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Error::config(unreadable()).because(error))?;
    let mut values = HashMap::new();
    if !text.trim().is_empty() {
        let root = plan::parse_texts(&text, &name)?;
        collect(&root, "", &mut values)?;
    }
    Ok(values)
}

/// Takes what stands below a key. A list of texts is one text with commas between them, as
/// environments have it; one of anything else is no value.
fn collect(section: &Section, path: &str, values: &mut HashMap<String, String>) -> Result<()> {
    for entry in section.entries() {
        let own = entry.key.to_uppercase().replace(|letter: char| !letter.is_alphanumeric(), "_");
        let name = if path.is_empty() { own } else { format!("{path}_{own}") };
        let value = match entry.value.value() {
            Value::Map(_) => {
                collect(&entry.value, &name, values)?;
                continue;
            }
            Value::List(items) => {
                let texts: Option<Vec<_>> = items.iter().map(Section::as_text).collect();
                texts.map(|texts| texts.join(","))
            }
            _ => entry.value.as_text().map(str::to_owned),
        };
        let Some(value) = value else { continue };
        if values.insert(name.clone(), value).is_some() {
            return Err(Error::config(format!("two values have the name {name}"))
                .at(&entry.place)
                .hint("letter case and `-`, `.` and `_` do not tell names apart; remove one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, prefix: Option<&str>, name: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("values.yaml");
        std::fs::write(&file, text).expect("written");
        let files = vec![Some(file.display().to_string())];
        match Variables::of(&Values { prefix: prefix.map(str::to_owned), files }) {
            Ok(variables) => variables.find(name).unwrap_or_else(|| "none".to_owned()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn nested_keys_are_names_with_or_without_a_prefix() {
        let text = "s3:\n  max-retry.attempts: 007\nhosts: [a, b]\nnodes: [{a: 1}]\nempty:\n";
        for (name, expect) in [
            ("S3_MAX_RETRY_ATTEMPTS", "007"),
            ("LOGS_S3_MAX_RETRY_ATTEMPTS", "007"),
            ("HOSTS", "a,b"),
            ("NODES", "none"),
            ("EMPTY", "none"),
            ("OTHER_HOSTS", "none"),
        ] {
            assert_eq!(found(text, Some("LOGS"), name), expect, "{name}");
        }
        assert_eq!(found(text, None, "LOGS_HOSTS"), "none");
        assert_eq!(found("a-b: 1\na_b: 2\n", None, "A_B"), "two values have the name A_B");
        assert_eq!(found("", None, "A"), "none");
    }
}
