//! How the program ends: exit codes, and errors printed once with the way out.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use arrow::array::StringViewArray;
use clap::error::{ContextKind, ContextValue};
use contract::{Error, ErrorKind};
use runtime::FirstRefused;
use serde::Serialize;

use crate::arguments::{Global, environment};
use crate::commands::serve;
use crate::output::rows::visible;

/// Letters of a record that are shown.
const SHOWN_LETTERS: usize = 200;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked for.
    Done,
    /// Something outside stopped it.
    External,
    /// The command line or the pipeline file is wrong.
    Config,
    /// A comparison found a difference, or something was left undone.
    Difference,
    /// Another process owns the pipeline.
    NotOwner,
    /// Every record was refused.
    Refused,
    /// A defect of ours.
    Defect,
    /// SIGINT, after a clean stop.
    Interrupted,
    /// SIGTERM, after a clean stop.
    Terminated,
}

impl Exit {
    /// What the process returns, as `logmill help` lists it.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// Of two ends the one that matters more to whoever has to act: a defect, a wrong file, an
    /// owner elsewhere, a difference, something outside, refused records.
    pub fn worse(self, other: Self) -> Self {
        let weight = |exit: Self| match exit {
            Self::Done => 0,
            Self::Interrupted | Self::Terminated => 1,
            Self::Refused => 2,
            Self::External => 3,
            Self::Difference => 4,
            Self::NotOwner => 5,
            Self::Config => 6,
            Self::Defect => 7,
        };
        if weight(other) > weight(self) { other } else { self }
    }

    /// The same as a number.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::External => 1,
            Self::Config => 2,
            Self::Difference => 3,
            Self::NotOwner => 4,
            Self::Refused => 5,
            Self::Defect => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// Nobody reads stdout any more, as in `logmill query … | head`: no reason to complain.
#[derive(Debug)]
pub struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("nobody reads the output")
    }
}

impl StdError for OutputClosed {}

/// Makes a panic what it is: a defect that ends the process at once, before anything else is
/// written. Where only a request is answered, nothing is written, and it ends that request alone;
/// where several pipelines run, one in their tasks ends its pipeline alone.
pub fn stop_on_defects() {
    std::panic::set_hook(Box::new(|panic| {
        let mut stderr = io::stderr().lock();
        // Nothing is left to do where stderr is gone as well.
        let _ = writeln!(stderr, "error: a defect of logmill: {panic}");
        let is_request = std::thread::current().name() == Some(serve::THREADS);
        if is_request || runtime::is_contained() {
            return;
        }
        let _ = writeln!(stderr, "hint: nothing undecided was written; please report it");
        std::process::exit(i32::from(Exit::Defect.number()));
    }));
}

/// Prints an error with its causes, place and hint, and says how to end.
pub fn report(error: &Error, global: &Global) -> Exit {
    if is_output_closed(error) {
        return Exit::Done;
    }
    show(error, global);
    match error.kind() {
        ErrorKind::Config => Exit::Config,
        ErrorKind::Record => Exit::Refused,
        ErrorKind::External => Exit::External,
        ErrorKind::NotOwner => Exit::NotOwner,
        ErrorKind::Bug => Exit::Defect,
    }
}

/// Says that every record was refused: how many, and of the first where it stands, how it begins,
/// and why. Whoever reads only the exit code must not take that for a day without records.
pub fn all_refused(records: u64, first: Option<FirstRefused>, global: &Global) -> Exit {
    let mut message = format!("every record was refused, {records} of {records}");
    let mut fitting = None;
    if let Some(FirstRefused { split, position, reason, line }) = first {
        fitting = line.as_deref().and_then(format_of);
        let line = line.map(|line| line.chars().take(SHOWN_LETTERS).collect::<String>());
        let line = line.map(|line| format!(" `{}`", visible(&line))).unwrap_or_default();
        message.push_str(&format!("; the first, {split}@{position}{line}: {}", visible(&reason)));
    }
    let hint = match fitting {
        Some(format) => format!(
            "that record is written in format `{format}`; if no parser refused it, the reason says \
             what did"
        ),
        None => "it is written in another format: look at its first lines; `custom` reads what a \
                 web server's own log format describes"
            .to_owned(),
    };
    show(&Error::record(message).hint(hint), global);
    Exit::Refused
}

/// The format that a line has.
fn format_of(line: &str) -> Option<String> {
    let lines = StringViewArray::from_iter_values([line]);
    formats::detect(&lines).ok().map(|detected| detected.name())
}

/// Prints an error where errors go.
fn show(error: &Error, global: &Global) {
    if global.logs_everything() {
        log(error);
    } else {
        let mut stderr = io::stderr().lock();
        let printed = if global.format.is_for_machines() {
            print_json(error, &mut stderr)
        } else {
            print_text(error, global.color.on(stderr.is_terminal()), &mut stderr)
        };
        // Where stderr is closed, the exit code has to do.
        let _ = printed;
    }
}

/// Ends the program where the command line cannot be read, or asks for help only. Who names a file
/// where a command belongs is told which commands take it.
pub fn misread(error: clap::Error) -> ! {
    let word = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => word,
        _ if is_tail_of_a_file(&error) => leave(
            &Error::config("`tail` watches Kafka topics, and `-f` is the form of what is printed")
                .hint("`logmill look FILE --follow` watches a file"),
        ),
        _ => error.exit(),
    };
    let Some(hint) = ways_for(word) else { error.exit() };
    leave(&Error::config(format!("{word:?} is a file, not a command")).hint(hint))
}

/// Whether somebody typed `tail -f FILE`, as of the program of that name.
fn is_tail_of_a_file(error: &clap::Error) -> bool {
    let is = |kind, text: &str| {
        let found = error.get(kind);
        matches!(found, Some(ContextValue::String(found)) if found.starts_with(text))
    };
    is(ContextKind::InvalidArg, "--format") && std::env::args().nth(1).as_deref() == Some("tail")
}

/// Ends the program with what is wrong with its command line.
fn leave(message: &Error) -> ! {
    let mut stderr = io::stderr().lock();
    let colored = stderr.is_terminal() && environment("NO_COLOR").is_none();
    // Where stderr is closed, the exit code has to do.
    let _ = print_text(message, colored, &mut stderr);
    std::process::exit(i32::from(Exit::Config.number()))
}

/// What can be done with a file; none if the word looks like none.
fn ways_for(word: &str) -> Option<String> {
    let path = Path::new(word);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if matches!(extension, "yaml" | "yml") {
        return Some(format!(
            "`logmill run {word}` runs a pipeline, `logmill check {word}` checks it"
        ));
    }
    let is_file = path.exists() || !extension.is_empty() || word.contains(['/', '*']);
    is_file.then(|| {
        format!(
            "`logmill look {word}` shows what is in a log; `logmill query \"SELECT * FROM \
             log('{word}', 'combined') LIMIT 10\"` asks it"
        )
    })
}

fn is_output_closed(error: &Error) -> bool {
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        if error.is::<OutputClosed>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The hint of the error, or what helps against the refusal of the system behind it.
pub fn way_out(error: &Error) -> Option<&str> {
    let of_store = || stores::credentials_hint(&error.chain());
    error.hint_text().or_else(of_store).or_else(|| match refusal(error)? {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("make room on the disk, then start again")
        }
        io::ErrorKind::PermissionDenied => Some("give this user the right to do so"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the disk is mounted read-only"),
        _ => None,
    })
}

/// What the system said, if it is behind the error.
fn refusal(error: &Error) -> Option<io::ErrorKind> {
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<io::Error>() {
            return Some(refused.kind());
        }
        cause = error.source();
    }
    None
}

fn print_text(error: &Error, colored: bool, out: &mut impl Write) -> io::Result<()> {
    let (red, plain) = if colored { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    writeln!(out, "{red}error{plain}: {}", error.chain())?;
    if let Some(place) = error.place().map(ToString::to_string).filter(|place| !place.is_empty()) {
        writeln!(out, "  --> {place}")?;
    }
    if let Some(field) = error.field_name() {
        writeln!(out, "  field: {field}")?;
    }
    if let Some(hint) = way_out(error) {
        writeln!(out, "  hint: {hint}")?;
    }
    Ok(())
}

/// The error as a line of the log.
fn log(error: &Error) {
    let place = error.place().map(ToString::to_string).filter(|place| !place.is_empty());
    let (place, field, hint) = (place.as_deref(), error.field_name(), way_out(error));
    tracing::error!(kind = kind_name(error.kind()), place, field, hint, "{}", error.chain());
}

/// An error for programs.
#[derive(Serialize)]
struct Printed<'a> {
    error: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

fn print_json(error: &Error, out: &mut impl Write) -> io::Result<()> {
    let place = error.place();
    let printed = Printed {
        error: error.chain(),
        kind: kind_name(error.kind()),
        file: place.map(|place| &*place.file),
        line: place.map(|place| place.line),
        column: place.map(|place| place.column),
        field: error.field_name(),
        hint: way_out(error),
    };
    serde_json::to_writer(&mut *out, &printed)?;
    writeln!(out)
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "config",
        ErrorKind::Record => "record",
        ErrorKind::External => "external",
        ErrorKind::NotOwner => "not_owner",
        ErrorKind::Bug => "bug",
    }
}
