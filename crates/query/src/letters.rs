//! The dead letters that nobody replayed yet, with their original bytes.
//!
//! Beside the SQL table `dead_letters`, which shows originals as text: what is replayed must be
//! what was read.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::source::{OriginalKind, Reject};
use contract::{Error, Origin, Result, SplitId};
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{col, lit};
use datafusion::prelude::strpos;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use crate::catalog::LakeFolder;
use crate::session::from_datafusion;
use crate::{Limits, Session, records};

/// Which letters are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// A text that their reason contains.
    pub reason: Option<&'a str>,
}

/// A dead letter that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLetter {
    /// When it was refused, in microseconds since 1970.
    pub ts_us: i64,
    /// The epoch in which it was refused.
    pub epoch: u64,
    /// The step that refused it; none if a sink did.
    pub step: Option<String>,
    /// The sink that refused it.
    pub sink: Option<String>,
    /// Where the record was read.
    pub split: SplitId,
    /// Which record, why, and its original.
    pub reject: Reject,
}

/// Which letters are shown.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Only those in this state.
    pub state: Option<&'a str>,
    /// Only those that this sink refused.
    pub sink: Option<&'a str>,
    /// A text that their reason contains.
    pub reason: Option<&'a str>,
    /// How many at most.
    pub limit: usize,
    /// How many of the newest are left out.
    pub offset: usize,
}

/// A dead letter in whatever state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLetter {
    /// Who refused it, in which epoch, why, and its original.
    pub letter: OpenLetter,
    /// `open`, `replayed` or `acknowledged`.
    pub state: String,
}

/// How many letters there are, and those of a page, the newest first.
///
/// # Errors
/// External: the tables cannot be read.
pub async fn page(data: &Path, page: Page<'_>) -> Result<(u64, Vec<ShownLetter>)> {
    let Some(frame) = frame(data).await? else { return Ok((0, Vec::new())) };
    let mut condition = col("pipeline").eq(lit(page.pipeline));
    for (column, value) in [("state", page.state), ("sink", page.sink)] {
        if let Some(value) = value {
            condition = condition.and(col(column).eq(lit(value)));
        }
    }
    if let Some(reason) = page.reason {
        condition = condition.and(strpos(col("reason"), lit(reason)).gt(lit(0)));
    }
    let wanted = frame.filter(condition).map_err(from_datafusion)?;
    let total = wanted.clone().count().await.map_err(from_datafusion)?;
    let order = [("ts", false), (SPLIT, true), (POSITION, true), (ORDINAL, true)];
    let rows = wanted
        .sort(order.map(|(name, rises)| col(name).sort(rises, true)).to_vec())
        .and_then(|rows| rows.limit(page.offset, Some(page.limit)))
        .map_err(from_datafusion)?;
    Ok((total as u64, shown(rows).await?))
}

/// The letters of one record, in whatever state.
///
/// # Errors
/// External: the tables cannot be read.
pub async fn of_record(data: &Path, pipeline: &str, origin: &Origin) -> Result<Vec<ShownLetter>> {
    let Some(frame) = frame(data).await? else { return Ok(Vec::new()) };
    let is_it = col("pipeline").eq(lit(pipeline));
    let is_it = is_it.and(col(SPLIT).eq(lit(origin.split.as_str())));
    let is_it = is_it.and(col(POSITION).eq(lit(origin.position)));
    shown(frame.filter(is_it).map_err(from_datafusion)?).await
}

async fn shown(letters: DataFrame) -> Result<Vec<ShownLetter>> {
    let mut shown = Vec::new();
    for batch in letters.collect().await.map_err(from_datafusion)? {
        let state = column(&batch, "state", &DataType::Utf8)?;
        let state = state.as_string::<i32>();
        for (row, letter) in letters_of(&batch)?.into_iter().enumerate() {
            let state = state.value(row).to_owned();
            shown.push(ShownLetter { letter, state });
        }
    }
    Ok(shown)
}

/// How many letters of each pipeline are open.
///
/// # Errors
/// External: the tables cannot be read.
pub async fn open_counts(data: &Path) -> Result<HashMap<String, u64>> {
    let Some(frame) = frame(data).await? else { return Ok(HashMap::new()) };
    let counted = frame
        .filter(col("state").eq(lit("open")))
        .and_then(|open| {
            open.aggregate(vec![col("pipeline")], vec![count(lit(1)).alias("letters")])
        })
        .map_err(from_datafusion)?;
    let mut counts = HashMap::new();
    for batch in counted.collect().await.map_err(from_datafusion)? {
        let pipelines = column(&batch, "pipeline", &DataType::Utf8)?;
        let letters = number(&batch, "letters")?;
        let letters = letters.as_primitive::<Int64Type>();
        for (row, pipeline) in pipelines.as_string::<i32>().iter().enumerate() {
            let open = u64::try_from(letters.value(row)).unwrap_or_default();
            counts.insert(pipeline.unwrap_or_default().to_owned(), open);
        }
    }
    Ok(counts)
}

/// All letters with their states; none if there never was one.
async fn frame(data: &Path) -> Result<Option<DataFrame>> {
    let folder = LakeFolder::new(data);
    let Some(table) = folder.stored(records::DEAD_LETTERS).await? else { return Ok(None) };
    let marks = folder.stored(records::MARKS).await?;
    let session = Session::open(data, Limits::default())?;
    let plan = records::letters_with_state(table, marks).and_then(|letters| letters.build());
    let plan = plan.map_err(from_datafusion)?;
    Ok(Some(DataFrame::new(session.context().state(), plan)))
}

fn column(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let failed = || format!("dead letters have no column {name:?} of the right type");
    let column = batch.column_by_name(name).ok_or_else(|| Error::external(failed()))?;
    cast(column, data_type).external(failed)
}

fn number(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    column(batch, name, &DataType::Int64)
}

/// Letters as they are read.
pub type Letters = BoxStream<'static, Result<OpenLetter>>;

/// The open letters of a pipeline as they are now, by step, sink, ordinal, split and position; what
/// is written while they are read does not show.
///
/// # Errors
/// External: the tables cannot be read.
pub async fn open(data: &Path, wanted: Wanted<'_>) -> Result<Letters> {
    let folder = LakeFolder::new(data);
    let Some(table) = folder.stored(records::DEAD_LETTERS).await? else {
        return Ok(stream::empty().boxed());
    };
    let marks = folder.stored(records::MARKS).await?;
    let session = Session::open(data, Limits::default())?;
    let mut condition = col("state").eq(lit("open")).and(col("pipeline").eq(lit(wanted.pipeline)));
    if let Some(reason) = wanted.reason {
        condition = condition.and(strpos(col("reason"), lit(reason)).gt(lit(0)));
    }
    let order = ["step", "sink", ORDINAL, SPLIT, POSITION, "ts"];
    let plan = records::letters_with_state(table, marks)
        .and_then(|letters| letters.filter(condition))
        .and_then(|letters| letters.sort(order.map(|name| col(name).sort(true, true))))
        .and_then(|letters| letters.build())
        .map_err(from_datafusion)?;
    let frame = DataFrame::new(session.context().state(), plan);
    let batches = frame.execute_stream().await.map_err(from_datafusion)?;
    let letters = batches
        .map(|batch| letters_of(&batch.map_err(from_datafusion)?))
        .map_ok(|letters| stream::iter(letters.into_iter().map(Ok)))
        .try_flatten();
    Ok(letters.boxed())
}

fn letters_of(batch: &RecordBatch) -> Result<Vec<OpenLetter>> {
    let column = |name: &str, data_type: &DataType| column(batch, name, data_type);
    let text = |name| column(name, &DataType::Utf8);
    let [step, sink, split, reason, kind] =
        [text("step")?, text("sink")?, text(SPLIT)?, text("reason")?, text("kind")?];
    let [step, sink, split, reason, kind] =
        [&step, &sink, &split, &reason, &kind].map(|column| column.as_string::<i32>());
    let [position, ordinal] =
        [column(POSITION, &DataType::Int64)?, column(ORDINAL, &DataType::Int64)?];
    let [position, ordinal] =
        [&position, &ordinal].map(|column| column.as_primitive::<Int64Type>());
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let ts = column("ts", &instant)?;
    let ts = ts.as_primitive::<TimestampMicrosecondType>();
    let epoch = number(batch, EPOCH)?;
    let epoch = epoch.as_primitive::<Int64Type>();
    let original = column("original", &DataType::Binary)?;
    let original = original.as_binary::<i32>();
    let rows = (0..batch.num_rows()).map(|row| {
        let named = |names: &arrow::array::StringArray| {
            names.is_valid(row).then(|| names.value(row).to_owned())
        };
        let bytes = || Bytes::copy_from_slice(original.value(row));
        OpenLetter {
            ts_us: ts.value(row),
            epoch: epoch.value(row).cast_unsigned(),
            step: named(step),
            sink: named(sink),
            split: SplitId::new(split.value(row)),
            reject: Reject {
                position: position.value(row),
                ordinal: ordinal.value(row),
                reason: reason.value(row).to_owned(),
                kind: match kind.value(row) {
                    "bytes" => OriginalKind::Bytes,
                    _ => OriginalKind::Row,
                },
                original: original.is_valid(row).then(bytes),
            },
        }
    });
    Ok(rows.collect())
}
