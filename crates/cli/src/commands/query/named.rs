//! Queries with a name: `queries/NAME.sql` beside a pipeline file.
//!
//! A run notes in the data folder where the queries of its pipeline lie, so that whoever asks the
//! data finds them by their names alone. What stands in front of a query in comments says what it
//! answers, and which values it takes.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::{Error, Place, Result, Section};
use serde::Serialize;
use tracing::warn;

use crate::arguments::Global;
use crate::output;

/// The folder of queries beside a pipeline file, and that of the notes in the data folder.
const FOLDER: &str = "queries";
/// How their files end.
const ENDING: &str = "sql";
/// The largest file of a query.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What some editors put in front of a text.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Most queries of one folder.
const QUERIES_MAX: usize = 1_000;

/// A query with a name.
#[derive(Debug, Serialize)]
pub struct Named {
    query: String,
    /// What it answers.
    answers: String,
    parameters: Vec<Parameter>,
    file: PathBuf,
    /// The text, comments too.
    #[serde(skip)]
    pub sql: String,
}

/// A value that a query takes: `-- $limit [10]: rows at most`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Parameter {
    parameter: String,
    /// Its value where none is given; without one it must be.
    default: Option<String>,
    meaning: String,
}

/// Notes in the data folder where the queries beside a pipeline file lie.
///
/// # Errors
/// External: the data folder cannot be written.
pub fn note(pipeline: &str, file: &Path, data: &Path) -> Result<()> {
    let notes = data.join(FOLDER);
    let failed = || format!("could not note the queries of a pipeline in {:?}", notes.display());
    let note = notes.join(pipeline);
    // A file that came through a pipe lies in no folder.
    let Ok(file) = file.canonicalize() else { return Ok(()) };
    let queries = file.with_file_name(FOLDER);
    if queries.is_dir() {
        fs::create_dir_all(&notes).external(failed)?;
        return fs::write(note, queries.as_os_str().as_encoded_bytes()).external(failed);
    }
    match fs::remove_file(note) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).external(failed),
        _ => Ok(()),
    }
}

/// The query of a name, or of a file where a path is named. `folder` is the only folder to look in,
/// if there is one.
///
/// # Errors
/// Config: there is no such query, several folders have one, or its comments are wrong.
pub fn find(name: &str, folder: Option<&Path>, data: &Path) -> Result<Named> {
    let path = Path::new(name);
    if path.components().count() > 1 || path.extension().is_some_and(|end| end == ENDING) {
        return read(path);
    }
    let folders = folders(folder, data)?;
    let files = folders.iter().map(|folder| folder.join(format!("{name}.{ENDING}")));
    let found: Vec<_> = files.filter(|file| file.is_file()).collect();
    match &found[..] {
        [] => Err(unknown(name, &folders)?),
        [one] => read(one),
        several => {
            let several: Vec<_> = several.iter().map(|file| file.display().to_string()).collect();
            let several = several.join(", ");
            Err(Error::config(format!("several queries have the name {name:?}: {several}"))
                .hint("name the folder with `--queries`, or the file"))
        }
    }
}

/// Prints the queries that can be named.
///
/// # Errors
/// Config: a folder or a query cannot be read.
pub fn list(folder: Option<&Path>, global: &Global) -> Result<()> {
    let folders = folders(folder, &global.data)?;
    if folders.is_empty() {
        output::remark(global, NONE);
    }
    let mut all = Vec::new();
    for folder in &folders {
        for file in files(folder)? {
            all.push(read(&file)?);
        }
    }
    output::list(global, &all, |out| all.iter().try_for_each(|one| one.print(out)))
}

/// Where queries come from.
const NONE: &str = "no folder of queries is known: one that is called `queries` and lies beside a \
                    pipeline file is, once the pipeline has run with this `--data`, and so is \
                    `./queries`; `--queries DIR` names another";

fn unknown(name: &str, folders: &[PathBuf]) -> Result<Error> {
    let error = Error::config(format!("there is no query {name:?}"));
    if folders.is_empty() {
        return Ok(error.hint(NONE));
    }
    let mut names = Vec::new();
    for folder in folders {
        names.extend(files(folder)?.iter().map(|file| name_of(file)));
    }
    Ok(error.hint(match names.is_empty() {
        true => format!("there is none in {}", folders[0].display()),
        false => Section::did_you_mean(name, names.iter().map(String::as_str)),
    }))
}

/// The folders of queries, each once: the one that is named, else those that runs noted and the one
/// that is here.
fn folders(named: Option<&Path>, data: &Path) -> Result<Vec<PathBuf>> {
    if let Some(folder) = named {
        return match folder.is_dir() {
            true => Ok(vec![folder.to_owned()]),
            false => Err(Error::config(format!("there is no folder {:?}", folder.display()))
                .hint("`--queries` and `LOGMILL_QUERIES` name a folder with `NAME.sql` in it")),
        };
    }
    let notes = fs::read_dir(data.join(FOLDER)).into_iter().flatten().flatten();
    let mut notes: Vec<_> = notes.map(|note| note.path()).collect();
    notes.sort_unstable();
    let noted = notes.iter().filter_map(|note| match fs::read(note) {
        Ok(folder) => Some(PathBuf::from(OsString::from_vec(folder))),
        Err(error) => {
            warn!(%error, note = %note.display(), "could not read where queries lie");
            None
        }
    });
    let mut folders = Vec::new();
    for folder in noted.chain([PathBuf::from(FOLDER)]) {
        // One that is gone with its pipeline file holds no queries.
        if let Ok(folder) = folder.canonicalize()
            && folder.is_dir()
            && !folders.contains(&folder)
        {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// The files of queries in a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = || format!("could not list the queries in {:?}", folder.display());
    let listed = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let listed = listed.map_err(|error| Error::config(unreadable()).because(error))?;
    let paths = listed.into_iter().map(|entry| entry.path());
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == ENDING)).collect();
    if files.len() > QUERIES_MAX {
        return Err(Error::config(format!("{}: more than {QUERIES_MAX}", unreadable())));
    }
    files.sort_unstable();
    Ok(files)
}

fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(file: &Path) -> Result<Named> {
    let name = file.display().to_string();
    let unreadable = || format!("could not read the query in {name:?}");
    let size = fs::metadata(file).map(|file| file.len());
    let size = size.map_err(|error| Error::config(unreadable()).because(error))?;
    if size > FILE_BYTES_MAX {
        return Err(Error::config(format!("{}: longer than {FILE_BYTES_MAX} bytes", unreadable())));
    }
    let sql = fs::read_to_string(file);
    let sql = sql.map_err(|error| Error::config(unreadable()).because(error))?;
    let sql = sql.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(sql);
    let (answers, parameters) = head(&sql, &name)?;
    Ok(Named { query: name_of(file), answers, parameters, file: file.to_owned(), sql })
}

/// What the comments in front of a query say.
fn head(sql: &str, file: &str) -> Result<(String, Vec<Parameter>)> {
    let (mut answers, mut parameters) = (Vec::new(), Vec::new());
    for (index, line) in sql.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("--") else { break };
        let comment = comment.trim();
        match comment.strip_prefix('$') {
            None => answers.push(comment),
            Some(rest) => parameters.push(parameter(rest).ok_or_else(|| {
                Error::config("this comment says nothing of a value")
                    .at(&Place { file: file.into(), line: index + 1, column: 1 })
                    .hint("write `-- $name [default]: what it is`, or leave out ` [default]`")
            })?),
        }
    }
    Ok((answers.join(" ").trim().to_owned(), parameters))
}

fn parameter(text: &str) -> Option<Parameter> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let (name, rest) = text.split_at(text.find(|letter| !is_part(letter))?);
    let rest = rest.trim_start();
    let (default, rest) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (default, rest) = inner.split_once(']')?;
            (Some(default.to_owned()), rest.trim_start())
        }
        None => (None, rest),
    };
    let meaning = rest.strip_prefix(':')?.trim().to_owned();
    (!name.is_empty()).then(|| Parameter { parameter: name.to_owned(), default, meaning })
}

impl Named {
    /// The values that it takes: those that are given, and the defaults of the others.
    ///
    /// # Errors
    /// Config: one is given that it does not take, or one is missing.
    pub fn values(&self, given: &[(String, String)]) -> Result<Vec<(String, String)>> {
        let query = &self.query;
        let names = || self.parameters.iter().map(|one| one.parameter.as_str());
        if let Some((name, _)) = given.iter().find(|(name, _)| !names().any(|it| it == name)) {
            let error = Error::config(format!("the query {query:?} takes no value {name:?}"));
            return Err(error.hint(match names().next() {
                None => "it takes none".to_owned(),
                Some(_) => Section::did_you_mean(name, names()),
            }));
        }
        let values = self.parameters.iter().map(|Parameter { parameter, default, meaning }| {
            let given = given.iter().rfind(|(name, _)| name == parameter);
            let value = given.map(|(_, value)| value).or(default.as_ref()).ok_or_else(|| {
                Error::config(format!("the query {query:?} needs a value: {parameter}, {meaning}"))
                    .hint(format!("`--param {parameter}=VALUE` gives it"))
            })?;
            Ok((parameter.clone(), value.clone()))
        });
        values.collect()
    }

    /// Says of an error in which file the query is.
    pub fn within(&self, error: Error) -> Error {
        error.context(format!("the query in {:?}", self.file.display()))
    }

    fn print(&self, out: &mut output::Stdout) -> std::io::Result<()> {
        let Self { query, answers, parameters, .. } = self;
        writeln!(out, "{query}: {answers}")?;
        for Parameter { parameter, default, meaning } in parameters {
            let default = default.as_ref().map(|default| format!("={default}"));
            writeln!(out, "  --param {parameter}{}: {meaning}", default.unwrap_or_default())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sql: &str) -> String {
        match head(sql, "a.sql") {
            Ok((answers, parameters)) => {
                let one = |it: &Parameter| format!("{}={:?}", it.parameter, it.default);
                let all: Vec<_> = parameters.iter().map(one).collect();
                format!("{answers} {}", all.join(" "))
            }
            Err(error) => format!("{:?}", error.place().map(|place| place.line)),
        }
    }

    #[test]
    fn comments_in_front_say_what_a_query_is() {
        for (sql, expect) in [
            ("-- Pages,\n-- most asked first.\nSELECT 1", "Pages, most asked first. "),
            (
                "-- A.\n--$limit [10]: rows\n-- $since[2025-01-01T00:00:00Z] : from\nSELECT 1",
                "A. limit=Some(\"10\") since=Some(\"2025-01-01T00:00:00Z\")",
            ),
            ("-- $ip: whose\nSELECT 1 -- $no\n", " ip=None"),
            ("SELECT 1\n-- $late: too late\n", " "),
            ("-- A.\n-- $ip whose\nSELECT 1", "Some(2)"),
            ("-- $: none\nSELECT 1", "Some(1)"),
            ("-- $a [1: x\nSELECT 1", "Some(1)"),
        ] {
            assert_eq!(said(sql), expect, "{sql}");
        }
    }
}
