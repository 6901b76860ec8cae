//! Formats whose lines are JSON objects, as tables of paths.
//!
//! Where several paths fill one column, the first that holds something does. `null`, `""` and `-`
//! are nothing. A line without the columns that make it an access log is refused: servers write
//! other messages into the same stream.

use std::iter::repeat;

use serde_json::value::RawValue;

use contract::{Error, Result};

use super::Form;
use super::fields::{address, digits};
use super::rows::{Column, Kind, RESPONSE_TIME_MS, Row, TS, with_head};
use crate::json::Node;
use crate::object::ObjectText;
use crate::timestamp::TimeFormat;
use crate::typed::Cell;

/// More digits are no seconds: times in milliseconds begin at 10¹¹.
const SECONDS_DIGITS_MAX: usize = 11;

/// What the value at a path holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, or the first of a list of texts.
    Text,
    /// A word that repeats.
    Word,
    /// A whole number, in quotes or not.
    Integer,
    /// A status.
    Status,
    /// A time: RFC 3339, or a number since 1970.
    Time,
    /// A request target: endpoint, path and query.
    Target,
    /// Seconds: the response time.
    Seconds,
    /// Nanoseconds: a time in milliseconds.
    Nanos,
    /// An address with its port, of which only the address is kept.
    Address,
    /// A version of TLS by its number in the protocol.
    TlsVersion,
}

/// A path, what stands there, and the column that takes it.
pub type Entry = (&'static str, Value, &'static str);

/// A format as a table of paths.
pub struct Entries {
    columns: Vec<Column>,
    root: Node,
    /// Per entry: which of the paths, what it holds, and the place of its column.
    entries: Vec<(usize, Value, usize)>,
    paths: Vec<&'static str>,
    /// The columns that every line fills.
    required: &'static [usize],
    rest: Option<usize>,
}

impl Entries {
    /// The format of these entries; `rest` names a column for everything else.
    ///
    /// # Errors
    /// Config: `rest` names a column of the format.
    pub fn new(table: &[Entry], required: &'static [usize], rest: Option<&str>) -> Result<Self> {
        let mut columns = with_head(&[]);
        let mut root = Node::default();
        let mut paths: Vec<&str> = Vec::new();
        let mut entries = Vec::with_capacity(table.len());
        for (path, value, name) in table {
            let at = paths.iter().position(|known| known == path).unwrap_or_else(|| {
                root.insert(path.split('/'), paths.len());
                paths.push(path);
                paths.len() - 1
            });
            let kind = match value {
                Value::Text | Value::Target | Value::Address => Kind::Text,
                Value::Word | Value::TlsVersion => Kind::Word,
                Value::Status => Kind::Status,
                Value::Integer | Value::Seconds | Value::Nanos => Kind::Integer,
                Value::Time => Kind::Time,
            };
            let place = columns.iter().position(|column| column.name == *name);
            let place = place.unwrap_or_else(|| {
                columns.push(Column::new(name, kind));
                columns.len() - 1
            });
            entries.push((at, *value, place));
        }
        if let Some(name) = rest {
            if columns.iter().any(|column| column.name == name) {
                return Err(Error::config(format!("the format has a column {name:?} already"))
                    .field("rest")
                    .hint("give the column for everything else another name, such as `rest`"));
            }
            columns.push(Column::new(name, Kind::Json));
        }
        let rest = rest.map(|_| columns.len() - 1);
        Ok(Self { columns, root, entries, paths, required, rest })
    }
}

impl Form for Entries {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read<'a>(&self, line: &'a str, row: &mut Row<'a>) -> std::result::Result<(), String> {
        let mut values = vec![None; self.paths.len()];
        let mut rest = self.rest.map(|_| ObjectText::new());
        self.root
            .collect(line, &mut values, rest.as_mut())
            .map_err(|error| format!("expected a JSON object: {error}"))?;
        for (path, value, place) in &self.entries {
            let Some(text) = values[*path].filter(|text| !is_nothing(text)) else { continue };
            if row.is_null(*place) {
                fill(*value, *place, text, row).ok_or_else(|| {
                    let wanted = wanted(*value);
                    format!("field {:?} is not {wanted}", self.paths[*path].replace('/', "."))
                })?;
            }
        }
        if let Some(missing) = self.required.iter().find(|place| row.is_null(**place)) {
            let named = |entry: &&(usize, Value, usize)| entry.2 == *missing;
            let path = self.entries.iter().find(named).map_or("", |entry| self.paths[entry.0]);
            return Err(format!("the object has no {:?}", path.replace('/', ".")));
        }
        if let (Some(place), Some(rest)) = (self.rest, rest.filter(|rest| !rest.is_empty())) {
            row.set(place, Cell::Text(rest.finish()));
        }
        Ok(())
    }
}

fn is_nothing(value: &str) -> bool {
    matches!(value, "null" | "\"\"" | "\"-\"" | "[]" | "{}")
}

fn wanted(value: Value) -> &'static str {
    match value {
        Value::Text | Value::Word | Value::Target => "text",
        Value::Integer => "a whole number of 64 bits",
        Value::Status => "a status",
        Value::Time => "a time",
        Value::Seconds => "a number of seconds",
        Value::Nanos => "a whole number of nanoseconds",
        Value::Address => "an address",
        Value::TlsVersion => "a version of TLS",
    }
}

/// Puts a value into its column; none if it is something else.
fn fill<'a>(value: Value, place: usize, text: &'a str, row: &mut Row<'a>) -> Option<()> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let plain = inner.unwrap_or(text);
    match value {
        Value::Text => row.set(place, text_cell(text)?),
        Value::Word => row.set(place, Cell::Piece(plain)),
        Value::Target => row.target(inner?, plain.contains('\\')),
        Value::Address => {
            let ip = address(inner?).map_or(plain, |(ip, _)| ip);
            row.piece(place, ip, false);
        }
        Value::Integer => row.number(place, plain.parse().ok()?),
        Value::Status => row.number(place, digits(plain).filter(|status| *status < 1_000)?),
        Value::Time => {
            row.number(TS, decimal_us(plain).or_else(|| TimeFormat::Guess.parse(plain))?);
        }
        Value::Seconds => {
            let seconds: f64 = text.parse().ok()?;
            row.number(RESPONSE_TIME_MS, (seconds * 1e6).round() as i64 / 1_000);
        }
        Value::Nanos => row.number(place, plain.parse::<i64>().ok()? / 1_000_000),
        Value::TlsVersion => row.set(place, Cell::Piece(tls_version(plain))),
    }
    Some(())
}

/// A decimal number of seconds as microseconds, rounded; a float of 64 bits would be off by one.
fn decimal_us(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.')?;
    if whole.len() > SECONDS_DIGITS_MAX || digits(fraction).is_none() {
        return None;
    }
    let mut places = fraction.bytes().map(|byte| i64::from(byte - b'0')).chain(repeat(0));
    let micros = places.by_ref().take(6).fold(0, |number, digit| number * 10 + digit);
    let up = i64::from(places.next().is_some_and(|digit| digit >= 5));
    Some(digits(whole)? * 1_000_000 + micros + up)
}

/// The text of a value: a string, the first string of a list, or JSON as it stands.
fn text_cell(value: &str) -> Option<Cell<'_>> {
    if value.starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(value).ok()?;
        return list.first().map_or(Some(Cell::Null), |first| match first.get() {
            nested if nested.starts_with(['[', '{']) => Some(Cell::Piece(value)),
            "\"\"" | "\"-\"" | "null" => Some(Cell::Null),
            plain => text_cell(plain),
        });
    }
    match value.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(_) if value.contains('\\') => serde_json::from_str(value).ok().map(Cell::Text),
        Some(inner) => Some(Cell::Piece(inner)),
        None => Some(Cell::Piece(value)),
    }
}

/// What the numbers of RFC 8446, section 4.2.1, stand for.
fn tls_version(number: &str) -> &str {
    match number {
        "769" => "TLSv1.0",
        "770" => "TLSv1.1",
        "771" => "TLSv1.2",
        "772" => "TLSv1.3",
        other => other,
    }
}
