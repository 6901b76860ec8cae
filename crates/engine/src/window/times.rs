//! Which window a row belongs to, by its time.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::DateTime;
use contract::record::Numbers;
use contract::source::Reject;
use contract::{Error, Result};

/// Windows of one length, one behind the other, aligned to 1970.
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    /// The index of the column of times.
    pub column: usize,
    /// How long a window is.
    pub size_us: i64,
    /// How long after its end rows may still come.
    pub lateness_us: i64,
    /// How far ahead of the epoch a row may be.
    pub ahead_us: i64,
}

/// The rows of a batch, divided.
#[derive(Debug, Default)]
pub struct Divided {
    /// By the beginning of a window, the rows that belong to it.
    pub windows: BTreeMap<i64, Vec<u32>>,
    /// Rows whose window is closed.
    pub late: Vec<u32>,
    /// Rows without a time, or far ahead.
    pub refused: Vec<Reject>,
}

impl Tumbling {
    /// The beginning of the window of a time.
    pub fn start(&self, us: i64) -> i64 {
        us.div_euclid(self.size_us).saturating_mul(self.size_us)
    }

    /// The end of a window: the first time that does not belong to it.
    pub fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.size_us)
    }

    /// The watermark at which a window is closed.
    pub fn closed_at(&self, start: i64) -> i64 {
        self.end(start).saturating_add(self.lateness_us)
    }

    /// Divides the rows of a batch among windows.
    ///
    /// # Errors
    /// Bug: the column holds no times, or the batch lost its positions.
    pub fn divide(
        &self,
        batch: &RecordBatch,
        (watermark_us, now_us): (Option<i64>, i64),
    ) -> Result<Divided> {
        let times = times_of(batch, self.column)?;
        let numbers = Numbers::of(batch)?;
        let latest = now_us.saturating_add(self.ahead_us);
        let mut divided = Divided::default();
        for row in 0..batch.num_rows() {
            let number = u32::try_from(row)
                .map_err(|error| Error::bug("a batch of too many rows").because(error))?;
            if times.is_null(row) {
                divided.refused.push(numbers.refuse(row, "the row has no time"));
                continue;
            }
            let us = times.value(row);
            if us > latest {
                divided.refused.push(numbers.refuse(row, ahead(us, now_us)));
                continue;
            }
            let start = self.start(us);
            match watermark_us.is_some_and(|watermark| self.closed_at(start) <= watermark) {
                true => divided.late.push(number),
                false => divided.windows.entry(start).or_default().push(number),
            }
        }
        Ok(divided)
    }
}

fn times_of(batch: &RecordBatch, column: usize) -> Result<TimestampMicrosecondArray> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let times = cast(batch.column(column), &micros)
        .map_err(|error| Error::bug("a time column holds no time").because(error))?;
    Ok(times.as_primitive::<TimestampMicrosecondType>().clone())
}

fn ahead(us: i64, now_us: i64) -> String {
    let seconds = us.saturating_sub(now_us) / 1_000_000;
    let time = DateTime::from_timestamp_micros(us);
    let time = time.map_or_else(|| format!("{us} µs"), |time| time.to_rfc3339());
    format!("the time {time} is {seconds} s ahead of the clock, more than `ahead_max`")
}
