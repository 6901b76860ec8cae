//! Batches and sections for the tests of the steps: rows as text, settings as Rust literals.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use contract::record::POSITION;
use contract::section::{Entry, Value};
use contract::transform::{EpochStart, Means, Output, Step};
use contract::{Place, Result, Section};

/// A batch in the making; the column `_position` counts from 0 and comes last.
#[derive(Clone, Default)]
pub struct Table {
    columns: Vec<(String, ArrayRef)>,
}

impl Table {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn column(mut self, name: &str, values: ArrayRef) -> Self {
        self.columns.push((name.to_owned(), values));
        self
    }

    pub fn integers(self, name: &str, values: &[Option<i64>]) -> Self {
        self.column(name, Arc::new(Int64Array::from(values.to_vec())))
    }

    pub fn booleans(self, name: &str, values: &[Option<bool>]) -> Self {
        self.column(name, Arc::new(BooleanArray::from(values.to_vec())))
    }

    pub fn texts(self, name: &str, values: &[Option<&str>]) -> Self {
        self.column(name, Arc::new(StringViewArray::from(values.to_vec())))
    }

    pub fn dictionary(self, name: &str, values: &[Option<&str>]) -> Self {
        let values: DictionaryArray<Int32Type> = values.iter().copied().collect();
        self.column(name, Arc::new(values))
    }

    /// Points in time, in seconds since 1970.
    pub fn times(self, name: &str, seconds: &[Option<i64>]) -> Self {
        let micros = seconds.iter().map(|second| second.map(|second| second * 1_000_000));
        let times: TimestampMicrosecondArray = micros.collect();
        self.column(name, Arc::new(times.with_timezone("UTC")))
    }

    pub fn batch(&self) -> RecordBatch {
        let rows = self.columns.first().map_or(0, |(_, values)| values.len());
        let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let columns = self.columns.iter().cloned().map(|(name, values)| (name, values, true));
        let position = (POSITION.to_owned(), positions, false);
        RecordBatch::try_from_iter_with_nullable(columns.chain([position])).unwrap()
    }
}

/// A setting: `"text".into()`, `1.into()`, a list of texts, a map of settings.
#[derive(Clone)]
pub struct Setting(Value);

impl From<&str> for Setting {
    fn from(text: &str) -> Self {
        Self(Value::Text(text.into()))
    }
}

impl From<i64> for Setting {
    fn from(number: i64) -> Self {
        Self(Value::Integer(number))
    }
}

impl From<bool> for Setting {
    fn from(flag: bool) -> Self {
        Self(Value::Bool(flag))
    }
}

impl From<Vec<&str>> for Setting {
    fn from(texts: Vec<&str>) -> Self {
        let items = texts.into_iter().map(|text| at(Value::Text(text.into())));
        Self(Value::List(items.collect()))
    }
}

impl From<&[(&str, &str)]> for Setting {
    fn from(entries: &[(&str, &str)]) -> Self {
        Self(map(entries.iter().map(|(key, text)| (*key, Setting::from(*text)))))
    }
}

impl From<Vec<(&str, Setting)>> for Setting {
    fn from(entries: Vec<(&str, Setting)>) -> Self {
        Self(map(entries))
    }
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Setting)>) -> Value {
    let entries = entries.into_iter().map(|(key, setting)| Entry {
        key: key.into(),
        place: Place::default(),
        value: at(setting.0),
    });
    Value::Map(entries.collect())
}

fn at(value: Value) -> Section {
    Section::new(Place { file: "p.yaml".into(), line: 3, column: 5 }, value)
}

/// A section of a pipeline file.
pub fn section(settings: &[(&str, Setting)]) -> Section {
    at(map(settings.iter().cloned()))
}

/// A step over one input with the name `rows`.
pub fn step(kind: &str, settings: &[(&str, Setting)], table: &Table) -> Result<Arc<dyn Step>> {
    let inputs = [("rows".to_owned(), table.batch().schema())];
    crate::step(kind, "tested", &section(settings), &inputs)
}

/// What a step makes of a table in one batch.
pub fn run(kind: &str, settings: &[(&str, Setting)], table: &Table) -> Output {
    apply(step(kind, settings, table).unwrap().as_ref(), &[table.batch()])
}

/// What a fresh worker of a step makes of batches; every row is accounted for.
pub fn apply(step: &dyn Step, batches: &[RecordBatch]) -> Output {
    let mut worker = step.build(Means::default()).unwrap();
    worker.start_epoch(EpochStart { epoch: 1, now_us: 1_600_000_000_000_000 }).unwrap();
    let mut out = Output::default();
    for batch in batches {
        worker.apply(batch, &mut out).unwrap();
    }
    let rows_in: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let rows_out: usize = out.batches.iter().map(|(_, batch)| batch.num_rows()).sum();
    let accounted = rows_out as u64 + out.filtered + out.deduplicated + out.rejects.len() as u64;
    assert_eq!(rows_in as u64 + out.expanded, accounted, "every row is accounted for");
    for (port, batch) in &out.batches {
        assert_eq!(step.ports()[*port].schema, batch.schema(), "a port keeps its columns");
    }
    out
}

/// The error of making a step: `field: message; hint`.
pub fn step_error(kind: &str, settings: &[(&str, Setting)], table: &Table) -> String {
    let Err(error) = step(kind, settings, table) else {
        panic!("the step should have been refused");
    };
    assert_eq!(error.place().map(|place| place.line), Some(3), "{error:?}");
    let field = error.field_name().unwrap_or("-");
    format!("{field}: {}; {}", error.chain(), error.hint_text().unwrap_or("-"))
}

/// All rows that went out, port by port, as `column=value` lines.
pub fn shown(output: &Output) -> String {
    let mut text = String::new();
    let ports = output.batches.iter().map(|(port, _)| port + 1).max().unwrap_or(0);
    for port in 0..ports {
        text += &format!("port {port}\n");
        for (_, batch) in output.batches.iter().filter(|(of, _)| *of == port) {
            text += &rows(batch);
        }
    }
    text
}

fn rows(batch: &RecordBatch) -> String {
    let options = FormatOptions::default();
    let schema = batch.schema();
    let formatters: Vec<_> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| (field.name(), ArrayFormatter::try_new(column, &options).unwrap()))
        .collect();
    let mut text = String::new();
    for row in 0..batch.num_rows() {
        let cells = formatters.iter().map(|(name, values)| format!("{name}={}", values.value(row)));
        text += &cells.collect::<Vec<_>>().join(" ");
        text.push('\n');
    }
    text
}
