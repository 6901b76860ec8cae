//! Rows of a query: as tables, JSON, CSV or Parquet, while they come.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::json::{Writer as JsonWriter, WriterBuilder as JsonBuilder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, ContentArrangement, Row, Table, presets};
use contract::error::Context;
use contract::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use query::Rows;
use serde_json::Value;

use super::failed;
use crate::arguments::Format;

/// How much of a value a table shows.
#[derive(Clone, Copy)]
enum Cells {
    Whole,
    /// The beginning, except in the column of this name.
    ShortBut(&'static str),
}

/// Rows of one table; longer results become several, so that memory stays bounded.
const TABLE_ROWS_MAX: usize = 1_000;
/// Characters of a short value.
const CELL_CHARS_MAX: usize = 160;

/// Where rows go.
pub type Out = Box<dyn Write + Send>;

/// Opens a file, or stdout where there is none.
///
/// # Errors
/// External: the file cannot be made.
pub fn open(file: Option<&Path>) -> Result<Out> {
    let Some(path) = file else {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    };
    let file = File::create(path)
        .external(|| format!("could not write {:?}", path.display().to_string()))?;
    Ok(Box::new(BufWriter::new(file)))
}

/// Prints all rows; says how many there were.
///
/// # Errors
/// Those of the query, and External where `out` cannot be written.
pub async fn print(rows: Rows, format: Format, out: Out) -> Result<u64> {
    print_cells(rows, format, out, Cells::Whole).await
}

/// Prints all rows; in a table for people, values beyond so many characters are cut off, but for
/// those of one column.
///
/// # Errors
/// As for [`print`].
pub async fn print_short(rows: Rows, format: Format, whole: &'static str) -> Result<u64> {
    print_cells(rows, format, open(None)?, Cells::ShortBut(whole)).await
}

async fn print_cells(rows: Rows, format: Format, out: Out, cells: Cells) -> Result<u64> {
    let Rows { schema, mut batches } = rows;
    let mut printer = Printer::new(format, &schema, out, cells)?;
    let mut count = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        count += batch.num_rows() as u64;
        printer.print(&batch)?;
    }
    printer.finish()?;
    Ok(count)
}

/// All rows as JSON objects, in the order of their columns; for results that are known to be small.
///
/// # Errors
/// Those of the query.
pub async fn collect(rows: Rows) -> Result<Vec<Value>> {
    let batches: Vec<RecordBatch> = rows.batches.try_collect().await?;
    let mut lines = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(vec![]);
    lines.write_batches(&batches.iter().collect::<Vec<_>>()).map_err(unprintable)?;
    lines.finish().map_err(unprintable)?;
    let lines = lines.into_inner();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rows.map(|row| serde_json::from_slice(row).bug("arrow wrote no JSON")).collect()
}

enum Printer {
    Text(TextPrinter),
    Json(JsonWriter<Out, JsonArray>),
    Lines(JsonWriter<Out, LineDelimited>),
    Csv(Box<arrow::csv::Writer<Out>>),
    Parquet(Box<ArrowWriter<Out>>),
}

impl Printer {
    fn new(format: Format, schema: &SchemaRef, out: Out, cells: Cells) -> Result<Self> {
        let json = JsonBuilder::new().with_explicit_nulls(true);
        Ok(match format {
            Format::Text => Self::Text(TextPrinter {
                schema: schema.clone(),
                out,
                cells,
                waiting: Vec::new(),
                rows: 0,
                is_begun: false,
            }),
            Format::Json => Self::Json(json.build(out)),
            Format::Ndjson => Self::Lines(json.build(out)),
            Format::Csv => {
                let mut writer = CsvBuilder::new().build(out);
                // The header stands there even if no row follows.
                writer.write(&RecordBatch::new_empty(schema.clone())).map_err(unprintable)?;
                Self::Csv(Box::new(writer))
            }
            Format::Parquet => {
                let zstd = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()));
                let writer = ArrowWriter::try_new(out, schema.clone(), Some(zstd.build()));
                Self::Parquet(Box::new(writer.map_err(unprintable_parquet)?))
            }
        })
    }

    fn print(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Text(text) => text.take(batch),
            Self::Json(json) => json.write(batch).map_err(unprintable),
            Self::Lines(lines) => lines.write(batch).map_err(unprintable),
            Self::Csv(csv) => csv.write(batch).map_err(unprintable),
            Self::Parquet(parquet) => parquet.write(batch).map_err(unprintable_parquet),
        }
    }

    fn finish(self) -> Result<()> {
        let mut out = match self {
            Self::Text(mut text) => {
                if text.rows > 0 || !text.is_begun {
                    text.print_table()?;
                }
                text.out
            }
            Self::Json(mut json) => {
                json.finish().map_err(unprintable)?;
                let mut out = json.into_inner();
                out.write_all(b"\n").map_err(failed)?;
                out
            }
            Self::Lines(lines) => lines.into_inner(),
            Self::Csv(csv) => csv.into_inner(),
            Self::Parquet(parquet) => parquet.into_inner().map_err(unprintable_parquet)?,
        };
        out.flush().map_err(failed)
    }
}

/// Gathers rows until they fill a table.
struct TextPrinter {
    schema: SchemaRef,
    out: Out,
    cells: Cells,
    waiting: Vec<RecordBatch>,
    rows: usize,
    /// Whether a table was printed.
    is_begun: bool,
}

impl TextPrinter {
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(TABLE_ROWS_MAX - self.rows);
            self.waiting.push(batch.slice(from, rows));
            self.rows += rows;
            from += rows;
            if self.rows == TABLE_ROWS_MAX {
                self.print_table()?;
            }
        }
        Ok(())
    }

    fn print_table(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.waiting);
        (self.rows, self.is_begun) = (0, true);
        let table = table(&self.schema, &batches, self.cells).map_err(unprintable)?;
        writeln!(self.out, "{table}").map_err(failed)
    }
}

/// Batches as a table for people; numbers stand to the right.
fn table(
    schema: &Schema,
    batches: &[RecordBatch],
    cells: Cells,
) -> std::result::Result<Table, ArrowError> {
    let options = FormatOptions::default();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(schema.fields().iter().map(|field| field.name()));
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let texts = columns.iter().map(|column| column.value(row).try_to_string());
            let texts = texts.collect::<std::result::Result<Vec<_>, _>>()?;
            let shown = texts.iter().zip(schema.fields()).map(|(text, field)| match cells {
                Cells::ShortBut(whole) if field.name() != whole => short(text),
                _ => visible_lines(text),
            });
            table.add_row(Row::from(shown));
        }
    }
    for (index, field) in schema.fields().iter().enumerate() {
        if let Some(column) = table.column_mut(index).filter(|_| field.data_type().is_numeric()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

/// Text from logs may hold escape sequences, which must not reach the terminal.
pub fn visible(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escape = |character: char| match character {
        control if control.is_control() => control.escape_default().to_string(),
        plain => plain.to_string(),
    };
    text.chars().map(escape).collect()
}

/// As [`visible`], for a cell of a table, which may have several lines (a plan).
fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// The beginning of a text in one line, with what it holds in all.
pub fn short(text: &str) -> String {
    // Whatever becomes longer by escapes is cut off behind them.
    let begin: String = text.chars().take(CELL_CHARS_MAX).collect();
    let shown = visible(&begin);
    let cut: String = shown.chars().take(CELL_CHARS_MAX).collect();
    match begin.len() == text.len() && cut.len() == shown.len() {
        true => shown,
        false => format!("{cut}… ({} bytes)", text.len()),
    }
}

fn unprintable(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, cause) => failed(cause),
        ArrowError::CsvError(text) if text.contains("Broken pipe") => {
            failed(io::ErrorKind::BrokenPipe.into())
        }
        other => Error::config("the rows cannot be written in this format").because(other),
    }
}

fn unprintable_parquet(error: ParquetError) -> Error {
    Error::external("could not write Parquet").because(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::TimestampMicrosecondArray;

    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(visible("plain äöü"), "plain äöü");
        assert_eq!(visible("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
    }

    #[test]
    fn a_long_value_is_shown_by_its_beginning() {
        assert_eq!(short("plain äöü"), "plain äöü");
        let long = short(&"é".repeat(1_000));
        assert!(long.starts_with("éé") && long.ends_with("é… (2000 bytes)"), "{long}");
        assert_eq!(long.chars().filter(|letter| *letter == 'é').count(), CELL_CHARS_MAX);
        let dead = short(&"\0".repeat(100));
        assert!(dead.starts_with("\\u{0}\\u{0}") && dead.ends_with("… (100 bytes)"), "{dead}");
        assert!(dead.len() < CELL_CHARS_MAX + 20);
    }

    #[test]
    fn a_time_of_a_place_carries_its_offset() {
        let times = TimestampMicrosecondArray::from(vec![1_774_745_999_000_000]);
        let berlin = Arc::new(times.clone().with_timezone("Europe/Berlin"));
        let utc = Arc::new(times.with_timezone("UTC"));
        let batch = RecordBatch::try_from_iter([("local", berlin as _), ("utc", utc as _)]);
        let batch = batch.expect("two columns");
        let shown =
            table(&batch.schema(), std::slice::from_ref(&batch), Cells::Whole).expect("a table");
        let shown = shown.to_string();
        for text in ["2026-03-29T01:59:59+01:00", "2026-03-29T00:59:59Z"] {
            assert!(shown.contains(text), "{text}: {shown}");
        }
    }
}
