//! Days, weeks and months of a place, with its summer time.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Deserialize;

/// How much a clock may leave out at once: a place that changed its side of the date line left out
/// a day.
const GAP_MAX: TimeDelta = TimeDelta::hours(25);
/// The least that clocks were moved by.
const GAP_STEP: TimeDelta = TimeDelta::minutes(1);

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// From the first day to the last.
    Month,
}

/// The days, weeks or months of a place.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// What a window is.
    pub unit: Unit,
    /// Whose clock it goes by.
    pub zone: Tz,
}

impl Calendar {
    /// The window that holds a time, from its beginning to its end, in microseconds since 1970;
    /// none far outside of what a calendar knows.
    pub fn around(&self, us: i64) -> Option<(i64, i64)> {
        let date = DateTime::from_timestamp_micros(us)?.with_timezone(&self.zone).date_naive();
        let first = self.first_day(date)?;
        // Where clocks go back over midnight, the date goes back as well: a day begins once, where
        // it is midnight for the first time.
        let next = self.next(first)?;
        if self.begins(next)? <= us {
            return Some((self.begins(next)?, self.begins(self.next(next)?)?));
        }
        Some((self.begins(first)?, self.begins(next)?))
    }

    fn first_day(&self, date: NaiveDate) -> Option<NaiveDate> {
        match self.unit {
            Unit::Day => Some(date),
            Unit::Week => {
                date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into()))
            }
            Unit::Month => date.with_day(1),
        }
    }

    fn next(&self, first: NaiveDate) -> Option<NaiveDate> {
        match self.unit {
            Unit::Day => first.succ_opt(),
            Unit::Week => first.checked_add_days(Days::new(7)),
            Unit::Month => first.checked_add_months(Months::new(1)),
        }
    }

    /// The first moment at which the clock shows this date or a later one.
    fn begins(&self, date: NaiveDate) -> Option<i64> {
        let midnight = date.and_time(NaiveTime::MIN);
        let mut behind = TimeDelta::zero();
        while behind <= GAP_MAX {
            let local = self.zone.from_local_datetime(&midnight.checked_add_signed(behind)?);
            if let Some(time) = local.earliest() {
                return Some(time.timestamp_micros());
            }
            behind += GAP_STEP;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: Unit, zone: &str, time: &str, expect: &str) {
        let calendar = Calendar { unit, zone: zone.parse().unwrap() };
        let us = time.parse::<DateTime<chrono::Utc>>().unwrap().timestamp_micros();
        let (start, end) = calendar.around(us).unwrap();
        let shown = |us| DateTime::from_timestamp_micros(us).unwrap().format("%FT%H:%M");
        assert_eq!(format!("{} {}", shown(start), shown(end)), expect, "{time}");
        assert!(start <= us && us < end);
        assert_eq!(calendar.around(start), Some((start, end)));
        assert_eq!(calendar.around(end - 1), Some((start, end)));
        assert_eq!(calendar.around(end).unwrap().0, end);
    }

    #[test]
    fn days_have_23_and_25_hours_where_clocks_are_moved() {
        let day = |time, expect| check(Unit::Day, "Europe/Berlin", time, expect);
        day("2024-03-30T12:00:00Z", "2024-03-29T23:00 2024-03-30T23:00");
        day("2024-03-31T12:00:00Z", "2024-03-30T23:00 2024-03-31T22:00");
        day("2024-10-27T00:30:00Z", "2024-10-26T22:00 2024-10-27T23:00");
        day("2024-02-29T12:00:00Z", "2024-02-28T23:00 2024-02-29T23:00");
    }

    #[test]
    fn a_day_without_a_midnight_begins_where_its_clock_does() {
        // Clocks went from 23:59:59 to 1:00.
        let day = |time, expect| check(Unit::Day, "America/Sao_Paulo", time, expect);
        day("2018-11-04T12:00:00Z", "2018-11-04T03:00 2018-11-05T02:00");
        day("2018-11-03T12:00:00Z", "2018-11-03T03:00 2018-11-04T03:00");
        // Clocks went from 24:00 back to 23:00.
        day("2018-02-18T01:30:00Z", "2018-02-17T02:00 2018-02-18T03:00");
        day("2018-02-18T02:30:00Z", "2018-02-17T02:00 2018-02-18T03:00");
        // From one minute past midnight back to one minute past 23:00.
        check(
            Unit::Day,
            "America/St_Johns",
            "2010-11-07T02:45:00Z",
            "2010-11-07T02:30 2010-11-08T03:30",
        );
        // A day that was left out.
        let day = |time, expect| check(Unit::Day, "Pacific/Apia", time, expect);
        day("2011-12-30T09:59:00Z", "2011-12-29T10:00 2011-12-30T10:00");
        day("2011-12-30T10:01:00Z", "2011-12-30T10:00 2011-12-31T10:00");
    }

    #[test]
    fn weeks_begin_on_monday_and_months_with_the_first() {
        check(Unit::Week, "UTC", "2024-12-31T23:59:59Z", "2024-12-30T00:00 2025-01-06T00:00");
        check(
            Unit::Week,
            "Asia/Tokyo",
            "1969-12-31T15:00:00Z",
            "1969-12-28T15:00 1970-01-04T15:00",
        );
        check(Unit::Month, "UTC", "2024-02-29T12:00:00Z", "2024-02-01T00:00 2024-03-01T00:00");
        check(
            Unit::Month,
            "America/New_York",
            "2024-12-01T04:59:00Z",
            "2024-11-01T04:00 2024-12-01T05:00",
        );
    }

    #[test]
    fn what_no_calendar_knows_is_in_no_window() {
        let calendar = Calendar { unit: Unit::Day, zone: Tz::UTC };
        for us in [i64::MIN, i64::MAX] {
            assert_eq!(calendar.around(us), None);
        }
    }
}
