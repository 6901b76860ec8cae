//! Lines of containers around lines of another format: Docker's `json-file`, and CRI.
//!
//! Sources: Docker's "JSON File logging driver"
//! (docs.docker.com/engine/logging/drivers/json-file/), and what writes it (github.com/moby/moby,
//! daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go): objects with `log`, `stream`, `attrs` where
//! labels are asked for, and `time`, where `log` ends with a line break unless the line goes on in
//! the next object, and `<`, `>` and `&` are escaped as control characters are; and Kubernetes'
//! "CRI log format" (design-proposals-archive, node/kubelet-cri-logging.md): `time stream tag
//! content`, where the tag is `F`, or `P` for a part that goes on in the next line.
//!
//! Not the place where parts are joined: a source does so (`join`), and gives one envelope with the
//! whole line. A part alone is refused: without `join`, and where a runtime rotated its file
//! between two parts of a line, as a record has one origin, in one file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef};
use contract::{Error, Result};

use super::rows::{Column, Columns, Kind, Row};
use crate::object;
use crate::text::{Line, Lines, TextColumn};
use crate::timestamp::rfc3339;
use crate::typed::Cell;
use crate::{Format, Parsed, Parser, Refused};

/// The parser of containers' lines around another one.
pub struct Container {
    format: Format,
    inner: Arc<dyn Parser>,
    own: Vec<Column>,
    schema: SchemaRef,
}

/// What an envelope holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The line inside, without its end; its escapes undone.
    pub content: Content<'a>,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Microseconds since 1970.
    pub time: i64,
    /// Whether the line goes on in the next envelope of its stream.
    pub partial: bool,
}

/// A line inside an envelope.
#[derive(Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// As it stands.
    Piece(&'a str),
    /// With its escapes undone.
    Copy(String),
}

impl Content<'_> {
    /// The line.
    pub fn text(&self) -> &str {
        match self {
            Self::Piece(text) => text,
            Self::Copy(text) => text,
        }
    }
}

impl Container {
    /// A parser of envelopes around lines of another.
    ///
    /// # Errors
    /// Config: the format inside has a column `stream`, or both `ts` and `container_ts`.
    pub fn new(format: Format, inner: Arc<dyn Parser>) -> Result<Self> {
        let inside = inner.schema();
        let taken = |name: &str| inside.fields().iter().any(|field| field.name() == name);
        let time = if taken("ts") { "container_ts" } else { "ts" };
        let own = vec![Column::new("stream", Kind::Word), Column::new(time, Kind::Time)];
        if let Some(column) = own.iter().find(|column| taken(&column.name)) {
            let message = format!("the lines inside have a column {:?} too", column.name);
            return Err(Error::config(message)
                .field("fields")
                .hint("give that field another name"));
        }
        let inside = inside.fields().iter().map(|field| field.as_ref().clone());
        let fields: Vec<Field> = inside.chain(own.iter().map(Column::field)).collect();
        Ok(Self { format, inner, own, schema: Arc::new(Schema::new(fields)) })
    }

    /// Reads an envelope that holds a whole line.
    fn open<'a>(&self, line: &'a str) -> std::result::Result<Envelope<'a>, String> {
        let envelope = open(self.format, line)?;
        match envelope.partial {
            false => Ok(envelope),
            true => Err(format!(
                "the line goes on in another one: `join: {}` on the source joins its parts, as far \
                 as they stand in one file",
                self.format.name()
            )),
        }
    }
}

impl Parser for Container {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        let lines = Lines::new(lines);
        let inside = self.inner.schema().fields().len();
        let all = 0..self.schema.fields().len();
        let wanted = projection.map_or_else(|| all.collect(), <[usize]>::to_vec);
        let (inner, own): (Vec<usize>, Vec<usize>) = wanted.iter().partition(|at| **at < inside);
        let own: Vec<_> = own.into_iter().map(|at| at - inside).collect();

        let mut contents = TextColumn::new(&lines);
        let mut columns = Columns::new(&self.own, &lines, Some(&own));
        let mut row = Row::new(self.own.len());
        let mut opened = Vec::with_capacity(lines.rows());
        let mut refused = Vec::new();
        for at in 0..lines.rows() {
            let Some(line) = lines.line(at) else {
                refused.push(Refused { row: at, reason: "the line is null".into() });
                continue;
            };
            match self.open(line.text) {
                Ok(envelope) => {
                    put(line, &envelope, &mut contents);
                    row.set(0, Cell::Piece(envelope.stream));
                    row.number(1, envelope.time);
                    columns.push(line, &row);
                    opened.push(at);
                }
                Err(reason) => refused.push(Refused { row: at, reason }),
            }
        }
        let contents = contents.finish();
        let contents = contents.as_any().downcast_ref::<StringViewArray>();
        let contents = contents.expect("a column of text is one of views");
        let parsed = self.inner.parse(contents, Some(&inner));
        let kept = kept(opened.len(), &parsed.refused);
        refused.extend(parsed.refused.into_iter().map(|inner| Refused {
            row: opened[inner.row],
            reason: format!("inside {}: {}", self.format.name(), inner.reason),
        }));
        refused.sort_by_key(|refused| refused.row);
        let own_columns = columns.finish().into_iter().map(|column| keep(&column, kept.as_ref()));
        let (mut inner, mut own) = (parsed.columns.into_iter(), own_columns);
        let column = |at: &usize| match *at < inside {
            true => inner.next(),
            false => own.next(),
        };
        Parsed { columns: wanted.iter().filter_map(column).collect(), refused }
    }
}

fn put(line: Line<'_>, envelope: &Envelope<'_>, contents: &mut TextColumn) {
    match &envelope.content {
        Content::Piece(piece) => contents.push_piece(line, piece),
        Content::Copy(text) => contents.push_copy(text),
    }
}

/// The rows that the format inside accepted; none where it accepted all.
fn kept(rows: usize, refused: &[Refused]) -> Option<UInt32Array> {
    if refused.is_empty() {
        return None;
    }
    let mut refused = refused.iter().map(|refused| refused.row).peekable();
    let kept = (0..rows).filter(|row| refused.next_if_eq(row).is_none());
    Some(kept.map(|row| row as u32).collect())
}

fn keep(column: &ArrayRef, kept: Option<&UInt32Array>) -> ArrayRef {
    match kept {
        None => column.clone(),
        Some(kept) => take(column, kept, None).expect("every row that is kept is there"),
    }
}

/// Reads one envelope.
///
/// # Errors
/// What was expected.
pub fn open(format: Format, line: &str) -> std::result::Result<Envelope<'_>, String> {
    match format {
        Format::Docker => open_docker(line),
        _ => open_cri(line).ok_or_else(|| {
            "expected a time, `stdout` or `stderr`, and `F` or `P`, each with a blank behind it"
                .into()
        }),
    }
}

fn open_docker(line: &str) -> std::result::Result<Envelope<'_>, String> {
    let mut entries = Vec::with_capacity(4);
    object::read_entries(line, &mut entries)
        .map_err(|error| format!("expected a JSON object: {error}"))?;
    let value = |name: &str| {
        let found = entries.iter().rev().find(|(key, _)| key == name);
        let text = found.map(|(_, value)| *value);
        text.and_then(|text| text.strip_prefix('"')?.strip_suffix('"'))
            .ok_or_else(|| format!("the object has no text {name:?}"))
    };
    let (log, stream) = (value("log")?, value("stream")?);
    let time = rfc3339(value("time")?).ok_or("field \"time\" is not a time")?;
    // Behind an odd number of backslashes the first one of an end would itself be escaped.
    let is_end = |before: &&str| trailing_backslashes(before).is_multiple_of(2);
    let without = |end: &str| log.strip_suffix(end).filter(is_end);
    let ended = without("\\r\\n").or_else(|| without("\\n"));
    let text = ended.unwrap_or(log);
    let content = match text.contains('\\') {
        false => Content::Piece(text),
        true => Content::Copy(
            serde_json::from_str(&format!("\"{text}\""))
                .map_err(|_| "field \"log\" is not text".to_owned())?,
        ),
    };
    Ok(Envelope { content, stream, time, partial: ended.is_none() })
}

fn trailing_backslashes(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count()
}

fn open_cri(line: &str) -> Option<Envelope<'_>> {
    let (time, rest) = line.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    let (tag, content) = rest.split_once(' ').unwrap_or((rest, ""));
    // Tags are a list with `:` between; only the first one is defined.
    let partial = match tag.split(':').next()? {
        "P" => true,
        "F" => false,
        _ => return None,
    };
    matches!(stream, "stdout" | "stderr").then_some(())?;
    Some(Envelope { content: Content::Piece(content), stream, time: rfc3339(time)?, partial })
}
