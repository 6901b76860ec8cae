//! What is to be looked at: files, patterns, or standard input.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::{Error, Result};
use formats::compression::{Compression, Limits, Source, unpacks};
use formats::decoded::Decoded;
use formats::encoding::Growth;
use query::log::files_below;

/// The name of standard input.
const STDIN: &str = "-";
/// Where the pipes lie that a shell opens for `<(…)`, while the command runs.
const OPENED: [&str; 2] = ["/dev/fd/", "/proc/self/fd/"];

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input, and its first text, which it still holds.
    Stdin(Vec<u8>),
    /// Files, with what stands in the pipeline file for them.
    Files {
        /// Paths and patterns from the root.
        named: Vec<PathBuf>,
        /// The files that there are now.
        found: Vec<PathBuf>,
        /// What several arguments name and is left out, a sentence each.
        left_out: Vec<LeftOut>,
    },
}

/// What one of several arguments names and cannot be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Nothing that could hold lines: a folder, a device, a link that leads nowhere.
    PassedOver(String),
    /// It is not there.
    Missing(String),
}

impl Input {
    /// What a person calls it.
    pub fn name(&self) -> String {
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self {
            Self::Stdin(_) => "stdin".to_owned(),
            Self::Files { found, .. } => match found.as_slice() {
                [one] => name(one),
                [first, ..] => format!("{} and {} more", name(first), found.len() - 1),
                [] => String::new(),
            },
        }
    }

    /// The bytes that there are now; none where they cannot be counted, because the input is a
    /// stream or compressed.
    pub fn bytes(&self) -> Option<u64> {
        let Self::Files { found, .. } = self else { return None };
        let each = found.iter().map(|path| {
            let mut file = File::open(path).ok()?;
            let mut first = Vec::new();
            file.by_ref().take(8).read_to_end(&mut first).ok()?;
            let is_plain = Compression::of(&first) == Compression::None;
            is_plain.then(|| file.metadata().ok().map(|metadata| metadata.len()))?
        });
        each.sum()
    }
}

/// Finds what the arguments name. Several names are like a pattern, which a shell may have made
/// them from: what is no file among them is left out.
///
/// # Errors
/// Config: nothing matches, a folder alone is named, or standard input beside files. External: a
/// folder cannot be listed.
pub fn find(arguments: &[String]) -> Result<Input> {
    if arguments.iter().any(|argument| argument == STDIN) {
        return match arguments {
            [_] => Ok(Input::Stdin(Vec::new())),
            _ => Err(Error::config("`-` stands for standard input, which is looked at alone")),
        };
    }
    let (mut named, mut found, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut refused = None;
    for argument in arguments {
        let path =
            std::path::absolute(argument).external(|| format!("could not find {argument:?}"))?;
        match of(argument, &path) {
            Ok(files) => {
                found.extend(files);
                named.push(path);
            }
            Err(error) => {
                let told = error.to_string();
                let is_there = path.symlink_metadata().is_ok();
                left_out.push(match is_there {
                    true => LeftOut::PassedOver(told),
                    false => LeftOut::Missing(told),
                });
                refused = refused.or(Some(error));
            }
        }
    }
    if let Some(error) = refused.filter(|_| found.is_empty()) {
        return Err(error);
    }
    found.sort();
    found.dedup();
    Ok(Input::Files { named, found, left_out })
}

/// The files that one argument names.
fn of(argument: &str, path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    if path.is_dir() {
        return Err(Error::config(format!("{argument:?} is a folder"))
            .hint(format!("name its files: {}/*.log*", argument.trim_end_matches('/'))));
    }
    if path.exists() {
        let hint = match OPENED.iter().any(|folder| argument.starts_with(folder)) {
            true => "a pipe is read as standard input: `COMMAND | logmill look -`".to_owned(),
            false => format!("look at what comes out of it: logmill look - < {argument}"),
        };
        return Err(Error::config(format!("{argument:?} is a pipe or a device")).hint(hint));
    }
    if path.is_symlink() {
        return Err(Error::config(format!("{argument:?} is a link that leads nowhere")));
    }
    matches(argument, path)
}

fn matches(argument: &str, path: &Path) -> Result<Vec<PathBuf>> {
    let is_pattern = argument.contains(['*', '?', '[']);
    let pattern = path.to_string_lossy();
    let paths =
        is_pattern.then(|| glob::glob(&files_below(&pattern))).transpose().map_err(|error| {
            Error::config(format!("{argument:?} is no pattern: {}", error.msg))
                .hint("`*` stands for any text, `?` for a character, `[ab]` for one of several")
        })?;
    // What may not be listed holds nothing that could be read, and a pipe might never end.
    let paths = paths.into_iter().flatten().flatten().filter(|path| path.is_file());
    let found = paths.collect::<Vec<_>>();
    match (found.is_empty(), is_pattern) {
        (false, _) => Ok(found),
        (true, true) => {
            Err(Error::config(format!("no file matches {argument:?}")).hint(where_is(argument)))
        }
        (true, false) => {
            Err(Error::config(format!("there is no file {argument:?}")).hint(where_is(argument)))
        }
    }
}

/// How what is not there may be found.
fn where_is(argument: &str) -> &'static str {
    match argument {
        _ if argument.contains("://") => "fetch it first: `curl … | logmill look -`",
        _ if argument.starts_with("~/") => "`~` is the shell's: write the whole path",
        _ => "paths are relative to the folder that the command runs in",
    }
}

/// The first bytes of a file, decompressed.
///
/// # Errors
/// External: it cannot be read.
pub fn of_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let unreadable = || format!("could not read {:?}", path.display().to_string());
    let file = File::open(path).external(unreadable)?;
    decoded(Box::new(BufReader::new(file)), bytes_max).map_err(|error| {
        let unpacks = unpacks(&error);
        let error = Error::external(unreadable()).because(error);
        match unpacks {
            Some(unpacks) => {
                error.hint(format!("unpack it, or give its text: `{unpacks} | logmill look -`"))
            }
            None => error,
        }
    })
}

/// So much as can be decoded: a stream that ends early gives what comes before.
fn decoded(stream: Source, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut decoded = Decoded::log(stream, Limits::default(), Growth::Closed)?;
    let mut bytes = Vec::new();
    match decoded.first_text(&mut bytes, bytes_max) {
        Err(error) if bytes.is_empty() => return Err(error),
        _ => {}
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_files_patterns_or_standard_input() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["a.log", "a.log.1", "b[1].log"] {
            std::fs::write(path(name), name).expect("written");
        }
        let check = |arguments: &[&str], expect: &str| {
            let arguments = arguments.iter().map(|name| match *name {
                "-" => "-".to_owned(),
                name => path(name),
            });
            let found = match find(&arguments.collect::<Vec<_>>()) {
                Ok(input) => format!("{} {:?}", input.name(), input.bytes()),
                Err(error) => error.to_string().replace(&path(""), ""),
            };
            assert_eq!(found, expect);
        };
        check(&["-"], "stdin None");
        check(&["a.log"], "a.log Some(5)");
        check(&["a.log*", "a.log"], "a.log and 1 more Some(12)");
        check(&["b[1].log"], "b[1].log Some(8)");
        check(&["c.log"], "there is no file \"c.log\"");
        check(&["c*"], "no file matches \"c*\"");
        check(&["a.log", "c.log"], "a.log Some(5)");
        check(&["c.log", "d.log"], "there is no file \"c.log\"");
        check(&["a.log", "-"], "`-` stands for standard input, which is looked at alone");
    }
}
