//! Records as people and programs read them.

use std::io::{self, Write};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat};
use contract::{Error, Result};
use serde_json::{Value, json};

use crate::arguments::Format;
use crate::output::Stdout;
use crate::output::rows::visible;

const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// One record of a topic.
#[derive(Debug)]
pub struct Record {
    topic: String,
    partition: i32,
    offset: i64,
    /// Microseconds since 1970.
    timestamp_us: Option<i64>,
    headers: Option<String>,
    /// The key, as text.
    pub key: Option<String>,
    /// The value, as text; none for a tombstone.
    pub value: Option<String>,
    /// The value, where it is a JSON object.
    pub json: Option<Value>,
}

impl Record {
    /// A record without time and headers.
    pub fn new(
        topic: &str,
        partition: i32,
        offset: i64,
        key: Option<String>,
        value: Option<String>,
    ) -> Self {
        let json = value.as_deref().filter(|text| text.trim_start().starts_with('{'));
        let json = json.and_then(|text| serde_json::from_str(text).ok());
        let (timestamp_us, headers) = (None, None);
        Self { topic: topic.into(), partition, offset, timestamp_us, headers, key, value, json }
    }
}

/// The records of a batch of a kafka source.
///
/// # Errors
/// Bug: the batch has other columns.
pub fn records(batch: &RecordBatch) -> Result<Vec<Record>> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| Error::bug(format!("kafka gave no {name:?}")))
    };
    let text = |name| Ok::<_, Error>(column(name)?.as_string_view());
    let [message, key, headers, topic] =
        [text("message")?, text("key")?, text("headers")?, text("topic")?];
    let partition = column("partition")?.as_primitive::<Int32Type>();
    let offset = column("offset")?.as_primitive::<Int64Type>();
    let timestamp = column("timestamp")?.as_primitive::<TimestampMicrosecondType>();
    let rows = (0..batch.num_rows()).map(|row| {
        let text = |column: &arrow::array::StringViewArray| {
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let (partition, offset) = (partition.value(row), offset.value(row));
        Record {
            timestamp_us: timestamp.is_valid(row).then(|| timestamp.value(row)),
            headers: text(headers),
            ..Record::new(topic.value(row), partition, offset, text(key), text(message))
        }
    });
    Ok(rows.collect())
}

/// Prints records one after the other.
pub struct Printer {
    form: Form,
    colored: bool,
}

enum Form {
    /// A line for people.
    Text,
    /// An object, with the value as JSON where it is JSON.
    Json,
    /// An object, with the value as text.
    Raw,
}

impl Printer {
    /// A printer in the form that the flags ask for.
    pub fn new(raw: bool, format: Format, colored: bool) -> Self {
        let form = match format {
            _ if raw => Form::Raw,
            Format::Json | Format::Ndjson => Form::Json,
            Format::Text | Format::Csv | Format::Parquet => Form::Text,
        };
        Self { form, colored }
    }

    /// Prints one.
    ///
    /// # Errors
    /// As stdout gives them.
    pub fn print(&self, record: &Record, out: &mut Stdout) -> io::Result<()> {
        let object = match self.form {
            Form::Text => return self.print_text(record, out),
            Form::Json => object(record, record.json.clone().or_else(|| text(&record.value))),
            Form::Raw => object(record, text(&record.value)),
        };
        serde_json::to_writer(&mut *out, &object)?;
        writeln!(out)
    }

    fn print_text(&self, record: &Record, out: &mut Stdout) -> io::Result<()> {
        let time = record.timestamp_us.and_then(time).unwrap_or_else(|| "-".to_owned());
        let Record { topic, partition, offset, .. } = record;
        let place = format!("{topic}/{partition}@{offset}");
        self.colored(DIM, &time, out)?;
        self.colored(CYAN, &visible(&place), out)?;
        if let Some(service) = first_text(record, &["/kubernetes/pod_name", "/source/service"]) {
            self.colored(YELLOW, &visible(service), out)?;
        }
        let line = first_text(record, &["/message", "/log", "/logs/message", "/log/message"]);
        let line = line.or(record.value.as_deref());
        match line.map(|line| visible(line.trim_end())) {
            Some(line) if is_grave(record, &line) => self.colored(RED, &line, out)?,
            Some(line) => write!(out, "{line}")?,
            None => self.colored(DIM, "(no value)", out)?,
        }
        writeln!(out)
    }

    fn colored(&self, color: &str, text: &str, out: &mut Stdout) -> io::Result<()> {
        match self.colored {
            true => write!(out, "{color}{text}{PLAIN} "),
            false => write!(out, "{text} "),
        }
    }
}

/// Whether a record speaks of an error.
fn is_grave(record: &Record, line: &str) -> bool {
    let level = first_text(record, &["/level", "/severity", "/logs/level", "/log/level"]);
    let is_error = |level: &str| {
        ["error", "fatal", "critical", "severe"].iter().any(|one| level.eq_ignore_ascii_case(one))
    };
    level.map_or_else(|| line.contains("ERROR") || line.contains("FATAL"), is_error)
}

fn first_text<'r>(record: &'r Record, paths: &[&str]) -> Option<&'r str> {
    let json = record.json.as_ref()?;
    paths.iter().find_map(|path| json.pointer(path)?.as_str())
}

fn text(value: &Option<String>) -> Option<Value> {
    value.clone().map(Value::String)
}

fn object(record: &Record, value: Option<Value>) -> Value {
    let headers = record.headers.as_deref().and_then(|json| serde_json::from_str(json).ok());
    json!({
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "value": value,
        "timestamp": record.timestamp_us.and_then(time),
        "headers": headers.unwrap_or_else(|| json!({})),
    })
}

fn time(timestamp_us: i64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(timestamp_us)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
