//! How a template writes a time: chrono's `%Y-%m-%d`, in UTC, down to the second.

use arrow::datatypes::{DataType, Schema};
use chrono::format::{Fixed, Item, Numeric, StrftimeItems};
use chrono::{DateTime, Utc};
use contract::{Error, Result};

use super::find;

const MICROS: i64 = 1_000_000;
/// 2000-02-29, to see what a format makes of a date.
const SAMPLE: i64 = 951_782_400;

/// A format of times, and how long a time keeps the same text.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    format: String,
    grain_us: i64,
}

impl TimeFormat {
    /// Reads a format.
    ///
    /// # Errors
    /// Config: it is none, or it writes parts of a second.
    pub fn parse(format: &str) -> Result<Self> {
        let mut grain_seconds = 86_400;
        for item in StrftimeItems::new(format) {
            let seconds = grain(&item).ok_or_else(|| {
                Error::config(format!(
                    "{format:?} is no format of a time without parts of a second"
                ))
                .hint("see `man strftime`: %Y year, %m month, %d day, %H hour, %s seconds")
            })?;
            grain_seconds = grain_seconds.min(seconds);
        }
        if format.is_empty() {
            return Err(Error::config("the format of a time is empty"));
        }
        Ok(Self { format: format.to_owned(), grain_us: grain_seconds * MICROS })
    }

    /// The stretch of time that a moment lies in; all of it has the same text.
    pub fn stretch(&self, micros: i64) -> i64 {
        micros.div_euclid(self.grain_us)
    }

    /// The text of a stretch; none for what the calendar does not reach.
    pub fn write(&self, stretch: i64) -> Option<String> {
        let at = DateTime::from_timestamp_micros(stretch.checked_mul(self.grain_us)?)?;
        Some(self.text(at))
    }

    /// The text of some date.
    pub fn sample(&self) -> String {
        DateTime::from_timestamp(SAMPLE, 0).map(|at| self.text(at)).unwrap_or_default()
    }

    fn text(&self, at: DateTime<Utc>) -> String {
        at.format(&self.format).to_string()
    }
}

/// Checks that a schema has a column of times.
///
/// # Errors
/// Config: it has not.
pub fn check_time(schema: &Schema, column: &str) -> Result<()> {
    match find(schema, column)? {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Ok(()),
        other => Err(Error::config(format!("column {column:?} of type {other} is no time"))
            .hint(format!("write `{{{column}}}` for the value itself"))),
    }
}

/// For how many seconds an item stays the same; none for what a name cannot hold.
fn grain(item: &Item<'_>) -> Option<i64> {
    match item {
        Item::Error => None,
        Item::Numeric(numeric, _) => match numeric {
            Numeric::Hour | Numeric::Hour12 => Some(3600),
            Numeric::Minute => Some(60),
            Numeric::Second | Numeric::Timestamp => Some(1),
            Numeric::Nanosecond | Numeric::Internal(_) => None,
            _ => Some(86_400),
        },
        Item::Fixed(fixed) => match fixed {
            Fixed::LowerAmPm | Fixed::UpperAmPm => Some(3600),
            Fixed::ShortMonthName
            | Fixed::LongMonthName
            | Fixed::ShortWeekdayName
            | Fixed::LongWeekdayName => Some(86_400),
            Fixed::RFC2822 | Fixed::TimezoneName => Some(1),
            _ => None,
        },
        _ => Some(86_400),
    }
}
