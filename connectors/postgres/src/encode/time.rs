//! Timestamps and dates, which PostgreSQL counts from the year 2000.

use arrow::array::{ArrayRef, AsArray, Date32Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};

use super::{Field, Refusal, Written};

/// Microseconds between 1970 and 2000.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Days between 1970 and 2000.
const EPOCH_DAYS: i32 = 10_957;
/// The range of `timestamp`, from 2000: 4713 BC to 294276 AD, `END_TIMESTAMP` excluded.
const MICROS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// The range of `date`, from 2000: 4713 BC to 5874897 AD.
const DAYS: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// The writer of an array of timestamps.
pub fn timestamp(array: &ArrayRef, unit: TimeUnit) -> Box<dyn Field> {
    match unit {
        TimeUnit::Second => of::<TimestampSecondType>(array),
        TimeUnit::Millisecond => of::<TimestampMillisecondType>(array),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType>(array),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType>(array),
    }
}

/// The writer of an array of dates.
pub fn date(array: &ArrayRef) -> Box<dyn Field> {
    Box::new(Date(array.as_primitive::<Date32Type>().clone()))
}

fn of<T: ArrowTimestampType>(array: &ArrayRef) -> Box<dyn Field> {
    Box::new(Timestamp(array.as_primitive::<T>().clone()))
}

struct Timestamp<T: ArrowTimestampType>(PrimitiveArray<T>);

impl<T: ArrowTimestampType> Field for Timestamp<T> {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let micros = micros(self.0.value(row), T::UNIT)
            .and_then(|micros| micros.checked_sub(EPOCH_MICROS))
            .filter(|micros| MICROS.contains(micros))
            .ok_or(Refusal::Borrowed("the time is out of PostgreSQL's range"))?;
        out.extend_from_slice(&micros.to_be_bytes());
        Ok(())
    }
}

fn micros(value: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => value.checked_mul(1_000_000),
        TimeUnit::Millisecond => value.checked_mul(1_000),
        TimeUnit::Microsecond => Some(value),
        TimeUnit::Nanosecond => Some(value.div_euclid(1_000)),
    }
}

struct Date(Date32Array);

impl Field for Date {
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Written {
        let days = self.0.value(row).checked_sub(EPOCH_DAYS);
        let days = days
            .filter(|days| DAYS.contains(days))
            .ok_or(Refusal::Borrowed("the date is out of PostgreSQL's range"))?;
        out.extend_from_slice(&days.to_be_bytes());
        Ok(())
    }
}
