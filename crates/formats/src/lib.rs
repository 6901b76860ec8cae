//! Bytes to batches and back: one module per format of a log line, and the encoders, of Parquet
//! too.
//!
//! Not a place for I/O: a source reads bytes, [`lines`] cuts them, a [`Parser`] turns a column of
//! lines into typed columns. Text is not copied: the columns are views into the lines' buffers.
//!
//! Invariant: every line is either a row or refused with a reason, whatever its bytes and
//! whichever columns are asked for.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod access_log;
pub mod ahead;
pub mod blocks;
mod column;
pub mod columnar;
pub mod compression;
mod config;
pub mod decoded;
pub mod detect;
pub mod documents;
pub mod encode;
pub mod encoding;
mod infer;
pub mod join;
mod json;
pub mod lines;
mod logfmt;
mod named;
mod object;
mod regex;
pub mod sample;
#[cfg(test)]
mod table;
pub mod template;
mod text;
mod timestamp;
mod typed;
pub mod unwritable;

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::SchemaRef;
use contract::Result;

pub use config::{FieldType, Fields, Format, FormatConfig, formats, summaries};
pub use detect::{Detected, Undecided, detect, detect_inside, named_fields};
pub use infer::infer;

/// Turns lines into typed columns.
pub trait Parser: Send + Sync {
    /// The columns that it makes: neither the message nor the origin.
    fn schema(&self) -> SchemaRef;

    /// Parses every line. `projection` lists the columns wanted, by their place in the schema;
    /// which lines are refused does not depend on it.
    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed;
}

/// What came of a column of lines.
#[derive(Debug)]
pub struct Parsed {
    /// The accepted lines in their order, one array per wanted column.
    pub columns: Vec<ArrayRef>,
    /// The other lines, ascending.
    pub refused: Vec<Refused>,
}

/// A line that does not have the form it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the column of lines, from 0.
    pub row: usize,
    /// What was expected and, where it helps, at which byte of the line, counted from 1.
    pub reason: String,
}

/// Makes the parser that a configuration describes.
///
/// # Errors
/// Config: a setting is missing, wrong, or does not belong to the format.
pub fn parser(config: &FormatConfig) -> Result<Arc<dyn Parser>> {
    config.check()?;
    if config.format.is_container() {
        let inside = config.of_inside()?;
        let container = named::container::Container::new(config.format, parser(&inside)?)?;
        return Ok(Arc::new(container));
    }
    if let Some(named) = named::Named::new(config)? {
        return Ok(Arc::new(named));
    }
    Ok(match config.format {
        Format::Json => Arc::new(json::Json::new(config)?),
        Format::Logfmt => Arc::new(logfmt::Logfmt::new(config)?),
        Format::Regex => Arc::new(regex::Regex::new(config)?),
        Format::Auto => return Err(undecided()),
        _ => Arc::new(access_log::AccessLog::new(config)?),
    })
}

fn undecided() -> contract::Error {
    contract::Error::config("the format is not decided yet")
        .field("format")
        .hint("name it, or let `logmill query \"SELECT * FROM log('FILE')\"` find it out")
}
