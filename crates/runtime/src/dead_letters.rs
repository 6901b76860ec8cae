//! Refused records as rows of an ordinary sink.
//!
//! Their origin stands in the same columns as that of delivered rows, so that `audit` proves them
//! the same way. A refused row keeps the bytes that its source delivered where they are at hand;
//! otherwise the row as JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use contract::record::{MESSAGE, ORDINAL, POSITION, positions};
use contract::source::{OriginalKind, Reject};
use contract::{Error, Result};

/// A record that is refused, and by whom.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The step (or source) that refused it; none if a sink did.
    pub step: Option<Arc<str>>,
    /// The sink that refused it; none if it counts for every sink below the step.
    pub sink: Option<Arc<str>>,
    /// Which record, why, and its original.
    pub reject: Reject,
}

/// The columns of dead letters: those of the table `dead_letters`, whose `split`, `position` and
/// `epoch` are the origin columns.
pub fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("ts", ts, false),
        text("pipeline", false),
        text("sink", true),
        text("step", true),
        text("reason", false),
        text("kind", false),
        Field::new("original", DataType::Binary, true),
        text("state", false),
        Field::new(POSITION, DataType::Int64, false),
        Field::new(ORDINAL, DataType::Int64, false),
    ]))
}

/// Dead letters of one split as a batch.
///
/// # Errors
/// Bug: the columns do not fit the schema.
pub fn batch(pipeline: &str, now_us: i64, letters: &[DeadLetter]) -> Result<RecordBatch> {
    let count = letters.len();
    let rejects = || letters.iter().map(|letter| &letter.reject);
    let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
    let originals: Vec<_> = rejects().map(|reject| reject.original.as_deref()).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![now_us; count]).with_timezone("UTC")),
        text(vec![Some(pipeline); count]),
        text(letters.iter().map(|letter| letter.sink.as_deref()).collect()),
        text(letters.iter().map(|letter| letter.step.as_deref()).collect()),
        text(rejects().map(|reject| Some(reject.reason.as_str())).collect()),
        text(rejects().map(|reject| Some(kind_name(reject.kind))).collect()),
        Arc::new(BinaryArray::from_opt_vec(originals)),
        text(vec![Some("open"); count]),
        Arc::new(rejects().map(|reject| reject.position).collect::<Int64Array>()),
        Arc::new(rejects().map(|reject| reject.ordinal).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns)
        .map_err(|error| Error::bug("dead letters do not fit their columns").because(error))
}

/// Gives refused records that lack it their original, from the batch in which they came.
///
/// # Errors
/// Bug: the batch has no positions.
pub fn add_originals(letters: &mut [DeadLetter], batch: &RecordBatch) -> Result<()> {
    if letters.iter().all(|letter| letter.reject.original.is_some()) {
        return Ok(());
    }
    let positions = positions(batch)?.values();
    let messages = batch.column_by_name(MESSAGE).and_then(|column| column.as_string_view_opt());
    let rejects = letters.iter_mut().map(|letter| &mut letter.reject);
    for reject in rejects.filter(|reject| reject.original.is_none()) {
        let Ok(row) = positions.binary_search(&reject.position) else { continue };
        (reject.kind, reject.original) = match messages {
            Some(messages) => {
                let bytes = Bytes::copy_from_slice(messages.value(row).as_bytes());
                (OriginalKind::Bytes, Some(bytes))
            }
            None => (OriginalKind::Row, Some(row_as_json(batch, row)?)),
        };
    }
    Ok(())
}

fn row_as_json(batch: &RecordBatch, row: usize) -> Result<Bytes> {
    let mut json = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut json);
    writer
        .write(&batch.slice(row, 1))
        .and_then(|()| writer.finish())
        .map_err(|error| Error::bug("could not write a row as JSON").because(error))?;
    drop(writer);
    Ok(Bytes::from(json.trim_ascii_end().to_vec()))
}

fn kind_name(kind: OriginalKind) -> &'static str {
    match kind {
        OriginalKind::Bytes => "bytes",
        OriginalKind::Row => "row",
    }
}
