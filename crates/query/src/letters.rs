//! The dead letters that nobody replayed yet, with their original bytes.
//!
//! Beside the SQL table `dead_letters`, which shows originals as text: what is replayed must be
//! what was read.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use contract::error::Context;
use contract::record::{ORDINAL, POSITION, SPLIT};
use contract::source::{OriginalKind, Reject};
use contract::{Error, Result, SplitId};
use datafusion::dataframe::DataFrame;
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
    /// The step that refused it; none if a sink did.
    pub step: Option<String>,
    /// The sink that refused it.
    pub sink: Option<String>,
    /// Where the record was read.
    pub split: SplitId,
    /// Which record, why, and its original.
    pub reject: Reject,
}

/// Letters as they are read.
pub type Letters = BoxStream<'static, Result<OpenLetter>>;

/// The open letters of a pipeline as they are now, by step, sink, split and position; what is
/// written while they are read does not show.
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
    let order = ["step", "sink", SPLIT, POSITION, "ts", ORDINAL];
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
    let column = |name: &str, data_type: &DataType| {
        let failed = || format!("dead letters have no column {name:?} of the right type");
        let column = batch.column_by_name(name).ok_or_else(|| Error::external(failed()))?;
        cast(column, data_type).external(failed)
    };
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
    let original = column("original", &DataType::Binary)?;
    let original = original.as_binary::<i32>();
    let rows = (0..batch.num_rows()).map(|row| {
        let named = |names: &arrow::array::StringArray| {
            names.is_valid(row).then(|| names.value(row).to_owned())
        };
        let bytes = || Bytes::copy_from_slice(original.value(row));
        OpenLetter {
            ts_us: ts.value(row),
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
