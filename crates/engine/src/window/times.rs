//! Which windows a row belongs to, by its time.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::DateTime;
use contract::record::Numbers;
use contract::source::Reject;
use contract::{Error, Result};

use super::calendar::Calendar;

/// The windows of event time.
#[derive(Clone, Debug)]
pub struct Windows {
    /// The index of the column of times.
    pub column: usize,
    /// Where they begin and end.
    pub span: Span,
    /// How long after its end rows of a window may still come.
    pub lateness_us: i64,
    /// How far ahead of the epoch a row may be.
    pub ahead_us: i64,
}

/// Where windows begin and end. They are told apart by their beginning.
///
/// Rows are kept by pane: a stretch of time whose rows belong to the same windows.
#[derive(Clone, Debug)]
pub enum Span {
    /// Windows of one length, one at each multiple of `every_us` since 1970.
    Even {
        /// How long a window is.
        size_us: i64,
        /// From the beginning of one to that of the next.
        every_us: i64,
    },
    /// Days, weeks or months of a place.
    Calendar(Calendar),
}

impl Span {
    /// The pane of a time, from its beginning to its end; none for a time that no window can hold.
    pub fn pane(&self, us: i64) -> Option<(i64, i64)> {
        match self {
            Self::Even { size_us, every_us } => {
                let size = divisor(*size_us, *every_us);
                let start = floor(us, size);
                // What begins before time does belongs to no window that could be written.
                (start <= us).then(|| (start, start.saturating_add(size)))
            }
            Self::Calendar(calendar) => calendar.around(us),
        }
    }

    /// The end of a window: the first time that does not belong to it.
    pub fn end(&self, start: i64) -> i64 {
        match self {
            Self::Even { size_us, .. } => start.saturating_add(*size_us),
            Self::Calendar(calendar) => calendar.around(start).map_or(i64::MAX, |(_, end)| end),
        }
    }

    /// The beginning of the window behind another.
    pub fn after(&self, start: i64) -> i64 {
        match self {
            Self::Even { every_us, .. } => start.saturating_add(*every_us),
            Self::Calendar(_) => self.end(start),
        }
    }

    /// The beginning of the window before another.
    pub fn before(&self, start: i64) -> i64 {
        match self {
            Self::Even { every_us, .. } => start.saturating_sub(*every_us),
            Self::Calendar(calendar) => {
                calendar.around(start.saturating_sub(1)).map_or(i64::MIN, |(start, _)| start)
            }
        }
    }

    /// The last window that a pane belongs to.
    pub fn last(&self, pane: i64) -> i64 {
        match self {
            Self::Even { every_us, .. } => floor(pane, *every_us),
            Self::Calendar(_) => pane,
        }
    }

    /// The first window that ends behind a time: that of the beginning of a pane is its first one.
    pub fn first(&self, us: i64) -> i64 {
        match self {
            // The last one that has ended, and one further.
            Self::Even { size_us, every_us } => {
                floor(us.saturating_sub(*size_us), *every_us).saturating_add(*every_us)
            }
            Self::Calendar(calendar) => calendar.around(us).map_or(us, |(start, _)| start),
        }
    }

    /// How many panes a window has.
    pub fn panes(&self) -> i64 {
        match self {
            Self::Even { size_us, every_us } => size_us / divisor(*size_us, *every_us),
            Self::Calendar(_) => 1,
        }
    }

    /// How many windows from one on to another there are; at most as many as share a pane.
    fn count(&self, first: i64, last: i64) -> u64 {
        match self {
            Self::Even { every_us, .. } if last >= first => {
                (last.saturating_sub(first) / every_us).unsigned_abs() + 1
            }
            Self::Calendar(_) if last >= first => 1,
            _ => 0,
        }
    }
}

/// The greatest common divisor: the longest stretch that fits into both without a rest.
fn divisor(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

fn floor(us: i64, size_us: i64) -> i64 {
    us.div_euclid(size_us).saturating_mul(size_us)
}

/// The rows of a batch, divided.
#[derive(Debug, Default)]
pub struct Divided {
    /// By the beginning of a pane, the rows that belong to it.
    pub panes: BTreeMap<i64, Vec<u32>>,
    /// Rows whose windows are all closed.
    pub late: Vec<u32>,
    /// Rows without a time, or far ahead.
    pub refused: Vec<Reject>,
}

impl Windows {
    /// The watermark at which a window is closed.
    pub fn closed_at(&self, start: i64) -> i64 {
        self.span.end(start).saturating_add(self.lateness_us)
    }

    /// The first window that is still open at a watermark.
    pub fn first_open(&self, watermark_us: i64) -> i64 {
        self.span.first(watermark_us.saturating_sub(self.lateness_us))
    }

    /// The windows of a pane that are still open, when all are closed that begin before `open`.
    pub fn open_of(&self, pane: i64, open: i64) -> u64 {
        let first = self.span.first(pane);
        let all = self.span.count(first, self.span.last(pane));
        let closed = match open > first {
            true => self.span.count(first, open.saturating_sub(1)),
            false => 0,
        };
        all.saturating_sub(closed)
    }

    /// The windows of a pane that are closed, when all are closed that begin before `open`.
    pub fn missed_of(&self, pane: i64, open: i64) -> u64 {
        self.span.count(self.span.first(pane), self.span.last(pane)) - self.open_of(pane, open)
    }

    /// Divides the rows of a batch among panes. `open` is the first window that is not closed.
    ///
    /// # Errors
    /// Bug: the column holds no times, or the batch lost its positions.
    pub fn divide(
        &self,
        batch: &RecordBatch,
        (open, now_us): (Option<i64>, i64),
    ) -> Result<Divided> {
        let times = times_of(batch, self.column)?;
        let numbers = Numbers::of(batch)?;
        let latest = now_us.saturating_add(self.ahead_us);
        let mut divided = Divided::default();
        // Neighbours mostly share a pane.
        let mut run = Run::default();
        for row in 0..batch.num_rows() {
            let number = u32::try_from(row)
                .map_err(|error| Error::bug("a batch of too many rows").because(error))?;
            let us = times.is_valid(row).then(|| times.value(row));
            if us.is_some_and(|us| run.holds(us) && us <= latest) {
                run.rows.push(number);
                continue;
            }
            let refused = match us {
                None => Some("the row has no time".to_owned()),
                Some(us) if us > latest => Some(ahead(us, now_us)),
                Some(us) => match self.span.pane(us) {
                    Some((start, end)) => {
                        run.take_to(&mut divided);
                        let is_late = open.is_some_and(|open| self.span.last(start) < open);
                        run = Run { start, end, is_late, rows: vec![number] };
                        None
                    }
                    None => Some(format!("no window can hold the time {us} µs")),
                },
            };
            divided.refused.extend(refused.map(|reason| numbers.refuse(row, reason)));
        }
        run.take_to(&mut divided);
        Ok(divided)
    }
}

/// Rows of one pane that came one after another.
#[derive(Default)]
struct Run {
    start: i64,
    end: i64,
    is_late: bool,
    rows: Vec<u32>,
}

impl Run {
    fn holds(&self, us: i64) -> bool {
        self.start <= us && us < self.end
    }

    fn take_to(&mut self, divided: &mut Divided) {
        let rows = std::mem::take(&mut self.rows);
        match self.is_late {
            _ if rows.is_empty() => {}
            true => divided.late.extend(rows),
            false => divided.panes.entry(self.start).or_default().extend(rows),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn even(size_us: i64, every_us: i64) -> Windows {
        let span = Span::Even { size_us, every_us };
        Windows { column: 0, span, lateness_us: 0, ahead_us: 0 }
    }

    /// The windows of a time, by trying all near it.
    fn windows_of(us: i64, size: i64, every: i64) -> Vec<i64> {
        let near = (us - 3 * size - every..=us).filter(|start| start.rem_euclid(every) == 0);
        near.filter(|start| us < start + size).collect()
    }

    #[test]
    fn a_pane_belongs_to_the_windows_of_each_of_its_times() {
        for (size, every) in [(1, 1), (6, 6), (6, 2), (6, 4), (7, 3), (6, 5), (10, 4)] {
            let windows = even(size, every);
            for us in -40..40 {
                let (start, end) = windows.span.pane(us).unwrap();
                assert!(start <= us && us < end);
                let expect = windows_of(us, size, every);
                let (first, last) = (windows.span.first(start), windows.span.last(start));
                let mut found = Vec::new();
                let mut at = first;
                while at <= last {
                    found.push(at);
                    at = windows.span.after(at);
                }
                assert_eq!(found, expect, "{us} of {size} each {every}");
                for open in -60..60 {
                    let still = expect.iter().filter(|start| **start >= open).count() as u64;
                    assert_eq!(windows.open_of(start, open), still, "{us} {size} {every} {open}");
                    assert_eq!(windows.missed_of(start, open), expect.len() as u64 - still);
                }
            }
        }
    }

    #[test]
    fn what_a_watermark_has_passed_is_closed() {
        for (size, every) in [(1, 1), (6, 6), (6, 2), (7, 3)] {
            for lateness_us in [0, 5] {
                let windows = Windows { lateness_us, ..even(size, every) };
                for watermark in -40..40 {
                    let open = windows.first_open(watermark);
                    assert!(windows.closed_at(open) > watermark);
                    assert!(windows.closed_at(open - every) <= watermark);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_time_break_nothing() {
        for (size, every) in [(60_000_000, 60_000_000), (60_000_000, 1_000_000), (7, 3)] {
            let windows = even(size, every);
            for us in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
                if let Some((start, end)) = windows.span.pane(us) {
                    assert!(start <= us && us <= end);
                    assert!(windows.open_of(start, 0) <= size.unsigned_abs());
                    windows.closed_at(windows.span.last(start));
                }
                windows.first_open(us);
            }
        }
    }
}
