//! Results on stdout: for people as text, for programs as JSON.
//!
//! Rows of a query go through [`rows`]; everything else is a value with a text form of its own.

pub mod bars;
pub mod rows;

use std::fmt::Display;
use std::io::{BufWriter, StdoutLock, Write};

use contract::{Error, Result};
use indicatif::HumanCount;
use serde::Serialize;

use crate::arguments::{Format, Global};
use crate::failure::OutputClosed;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// Stdout, locked and buffered.
pub type Stdout = BufWriter<StdoutLock<'static>>;

/// A range of epochs, both ends with it.
pub fn epochs(from: u64, to: u64) -> String {
    if from == to { format!("epoch {from}") } else { format!("epochs {from} to {to}") }
}

/// Writes to stdout and flushes it.
///
/// # Errors
/// External: stdout cannot be written; one that ends the program quietly if it was closed.
pub fn write(print: impl FnOnce(&mut Stdout) -> std::io::Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock());
    print(&mut out).and_then(|()| out.flush()).map_err(failed)
}

/// Refuses the formats that only `query` writes, before anything is done.
///
/// # Errors
/// Config: csv or parquet.
pub fn check_format(global: &Global) -> Result<()> {
    match global.format {
        Format::Text | Format::Json | Format::Ndjson => Ok(()),
        Format::Csv | Format::Parquet => Err(only_query_writes(global.format)),
    }
}

/// Prints one value: as text by `print`, else as one JSON document.
///
/// # Errors
/// As for [`write`]; Config where the format is one of `query` only.
pub fn value<T: Serialize>(
    global: &Global,
    value: &T,
    print: impl FnOnce(&mut Stdout) -> std::io::Result<()>,
) -> Result<()> {
    match global.format {
        Format::Text => write(print),
        Format::Json | Format::Ndjson => write(|out| json_line(out, value)),
        Format::Csv | Format::Parquet => Err(only_query_writes(global.format)),
    }
}

/// Prints a list: as text by `print`, as one JSON array, or one object per line.
///
/// # Errors
/// As for [`value`].
pub fn list<T: Serialize>(
    global: &Global,
    items: &[T],
    print: impl FnOnce(&mut Stdout) -> std::io::Result<()>,
) -> Result<()> {
    match global.format {
        Format::Ndjson => write(|out| items.iter().try_for_each(|item| json_line(out, item))),
        _ => value(global, &items, print),
    }
}

fn json_line<T: Serialize>(out: &mut Stdout, value: &T) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn only_query_writes(format: Format) -> Error {
    let name = format!("{format:?}").to_lowercase();
    Error::config(format!("this command does not write {name}"))
        .hint("use `--format text`, `json` or `ndjson`; `query` writes csv and parquet too")
}

/// A word on stderr beside the results.
pub fn remark(global: &Global, line: &str) {
    if global.logs_everything() {
        tracing::info!("{line}");
    } else if !global.quiet && !global.format.is_for_machines() {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// So many of something, for people: `1 row`, `2,000 rows`.
pub fn counted(count: u64, one: &str) -> String {
    named(count, HumanCount(count), one)
}

/// The same without separators, as programs may read it: `2000 rows`.
pub fn plain(count: u64, one: &str) -> String {
    named(count, count, one)
}

fn named(count: u64, shown: impl Display, one: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{shown} {one}{end}")
}

/// An error of stdout.
pub fn failed(error: std::io::Error) -> Error {
    let failed = Error::external("could not write to stdout");
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => failed.because(OutputClosed),
        _ => failed.because(error),
    }
}
