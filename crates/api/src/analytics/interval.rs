//! Steps of time: how wide they are, where they begin in a zone, and how many there are.
//!
//! Minutes and hours are counted; days and what is longer follow the calendar of the zone, with
//! days of 23 and 25 hours. Weeks begin on Monday. Pure.

use chrono::{
    DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime, TimeZone,
};
use chrono::{TimeDelta, Utc};
use chrono_tz::Tz;

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// The first and the last day that are drawn; what lies outside fits no calendar.
const FIRST_DAY: NaiveDate = NaiveDate::from_ymd_opt(1, 1, 1).expect("a date");
const LAST_DAY: NaiveDate = NaiveDate::from_ymd_opt(9999, 12, 31).expect("a date");

/// The width of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interval {
    /// 60 seconds.
    Minute,
    /// Five of them.
    FiveMinutes,
    /// 60 minutes.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
}

impl Interval {
    /// All of them, the shortest first.
    pub const ALL: [Self; 7] = [
        Self::Minute,
        Self::FiveMinutes,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
        Self::Year,
    ];

    /// The word in requests and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::FiveMinutes => "5m",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Its length in seconds, where the calendar has no say.
    pub fn counted_seconds(self) -> Option<i64> {
        match self {
            Self::Minute => Some(60),
            Self::FiveMinutes => Some(300),
            Self::Hour => Some(3600),
            Self::Day | Self::Week | Self::Month | Self::Year => None,
        }
    }
}

/// The calendar of a zone. Moments are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    zone: Tz,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: Tz::UTC }
    }
}

impl Calendar {
    /// The calendar of a zone of the IANA.
    pub fn of(zone: Tz) -> Self {
        Self { zone }
    }

    /// Whether its days are those of UTC.
    pub fn is_utc(self) -> bool {
        self.zone == Tz::UTC
    }

    /// The first moment of a day.
    pub fn first_of(self, day: NaiveDate) -> i64 {
        self.earliest(day.and_time(chrono::NaiveTime::MIN))
    }

    /// The last moment of a day.
    pub fn last_of(self, day: NaiveDate) -> i64 {
        match day.succ_opt() {
            Some(next) => self.first_of(next) - 1,
            None => self.first_of(day),
        }
    }

    /// The first moment at which clocks show a time; where they skip it, the moment of the change.
    pub fn earliest(self, time: NaiveDateTime) -> i64 {
        match self.zone.from_local_datetime(&time) {
            MappedLocalTime::Single(moment) | MappedLocalTime::Ambiguous(moment, _) => {
                moment.timestamp_micros()
            }
            MappedLocalTime::None => self.behind_the_gap(time),
        }
    }

    /// The last moment at which clocks show a time.
    pub fn latest(self, time: NaiveDateTime) -> i64 {
        match self.zone.from_local_datetime(&time) {
            MappedLocalTime::Single(moment) | MappedLocalTime::Ambiguous(_, moment) => {
                moment.timestamp_micros()
            }
            MappedLocalTime::None => self.behind_the_gap(time),
        }
    }

    /// By the clock as it was before the change.
    fn behind_the_gap(self, time: NaiveDateTime) -> i64 {
        const BEFORE: TimeDelta = TimeDelta::hours(3);
        let before = self.zone.from_local_datetime(&(time - BEFORE)).earliest();
        before.map_or(time.and_utc().timestamp_micros(), |moment| {
            (moment + BEFORE).timestamp_micros()
        })
    }

    /// The day of a moment.
    pub fn day_of(self, moment: i64) -> NaiveDate {
        let time = DateTime::<Utc>::from_timestamp_micros(moment);
        let day = time.map(|time| time.with_timezone(&self.zone).date_naive());
        let outside = if moment < 0 { FIRST_DAY } else { LAST_DAY };
        day.unwrap_or(outside).clamp(FIRST_DAY, LAST_DAY)
    }

    /// The beginning of the year so many years before that of a moment.
    pub fn years_before(self, moment: i64, years: u64) -> i64 {
        let year = self.day_of(moment).year() - i32::try_from(years).unwrap_or(i32::MAX);
        self.first_of(NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(FIRST_DAY).max(FIRST_DAY))
    }

    /// How many steps lie between two moments, those that they lie in included.
    pub fn count(self, interval: Interval, first: i64, last: i64) -> u64 {
        let between = match interval.counted_seconds() {
            Some(seconds) => {
                let step = seconds * SECOND;
                last.div_euclid(step) - first.div_euclid(step)
            }
            None => {
                let (first, last) = (self.day_of(first), self.day_of(last));
                let (first, last) = (beginning(interval, first), beginning(interval, last));
                let months = |day: NaiveDate| i64::from(day.year()) * 12 + i64::from(day.month0());
                match interval {
                    Interval::Year => i64::from(last.year()) - i64::from(first.year()),
                    Interval::Month => months(last) - months(first),
                    Interval::Week => (last - first).num_days() / 7,
                    _ => (last - first).num_days(),
                }
            }
        };
        u64::try_from(between).unwrap_or_default() + 1
    }

    /// Where the steps between two moments begin, those that they lie in included; the last one is
    /// where the first step after them begins.
    pub fn steps(self, interval: Interval, first: i64, last: i64) -> Vec<i64> {
        if let Some(seconds) = interval.counted_seconds() {
            let step = seconds * SECOND;
            let (first, last) = (first.div_euclid(step), last.div_euclid(step));
            return (first..=last + 1).map(|number| number * step).collect();
        }
        let (mut day, last) = (beginning(interval, self.day_of(first)), self.day_of(last));
        let mut steps = vec![self.first_of(day)];
        while day <= last {
            let Some(next) = following(interval, day) else { break };
            steps.push(self.first_of(next));
            day = next;
        }
        // A day that a zone skipped has no moments of its own.
        steps.dedup();
        steps
    }
}

/// The first day of the step that a day lies in.
fn beginning(interval: Interval, day: NaiveDate) -> NaiveDate {
    let found = match interval {
        Interval::Week => {
            let since_monday = u64::from(day.weekday().num_days_from_monday());
            day.checked_sub_days(Days::new(since_monday))
        }
        Interval::Month => day.with_day(1),
        Interval::Year => NaiveDate::from_ymd_opt(day.year(), 1, 1),
        _ => Some(day),
    };
    found.unwrap_or(day)
}

fn following(interval: Interval, day: NaiveDate) -> Option<NaiveDate> {
    match interval {
        Interval::Week => day.checked_add_days(Days::new(7)),
        Interval::Month => day.checked_add_months(Months::new(1)),
        Interval::Year => day.checked_add_months(Months::new(12)),
        _ => day.succ_opt(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::params::written;

    fn moment(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).expect("a time").timestamp_micros()
    }

    fn check(zone: Tz, interval: Interval, (first, last): (&str, &str), expect: &str) {
        let (calendar, first, last) = (Calendar::of(zone), moment(first), moment(last));
        let steps = calendar.steps(interval, first, last);
        let shown = steps.iter().map(|step| written(*step).replace(":00Z", "")).collect::<Vec<_>>();
        assert_eq!(shown.join(" "), expect, "{zone} {interval:?}");
        assert_eq!(calendar.count(interval, first, last), steps.len() as u64 - 1);
    }

    #[test]
    fn steps_begin_where_the_calendar_of_the_zone_says() {
        let berlin = chrono_tz::Europe::Berlin;
        let march = ("2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        check(
            berlin,
            Interval::Day,
            march,
            "2026-03-27T23:00 2026-03-28T23:00 2026-03-29T22:00 2026-03-30T22:00",
        );
        check(
            Tz::UTC,
            Interval::Week,
            ("2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z"),
            "2026-02-23T00:00 2026-03-02T00:00 2026-03-09T00:00",
        );
        check(
            Tz::UTC,
            Interval::Month,
            ("2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z"),
            "2025-12-01T00:00 2026-01-01T00:00 2026-02-01T00:00",
        );
        check(
            berlin,
            Interval::Year,
            ("1970-01-01T00:00:00Z", "1970-12-31T23:30:00Z"),
            "1969-12-31T23:00 1970-12-31T23:00 1971-12-31T23:00",
        );
        check(
            berlin,
            Interval::Hour,
            ("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
            "2026-03-29T00:00 2026-03-29T01:00 2026-03-29T02:00",
        );
    }

    #[test]
    fn a_day_whose_midnight_is_skipped_or_comes_twice_has_one_beginning() {
        let check = |zone: Tz, day: (i32, u32, u32), expect: (&str, i64)| {
            let day = NaiveDate::from_ymd_opt(day.0, day.1, day.2).expect("a day");
            let calendar = Calendar::of(zone);
            let (first, last) = (calendar.first_of(day), calendar.last_of(day));
            let hours = (last - first + 1) / (3600 * SECOND);
            assert_eq!((written(first).as_str(), hours), expect, "{zone} {day}");
        };
        check(Tz::UTC, (2026, 3, 3), ("2026-03-03T00:00:00Z", 24));
        check(chrono_tz::Europe::Berlin, (2026, 3, 29), ("2026-03-28T23:00:00Z", 23));
        check(chrono_tz::Europe::Berlin, (2026, 10, 25), ("2026-10-24T22:00:00Z", 25));
        check(chrono_tz::America::Sao_Paulo, (2018, 11, 4), ("2018-11-04T03:00:00Z", 23));
        check(chrono_tz::America::Havana, (2025, 11, 2), ("2025-11-02T04:00:00Z", 25));
        check(chrono_tz::Pacific::Apia, (2011, 12, 30), ("2011-12-30T10:00:00Z", 0));
    }

    #[test]
    fn whatever_a_table_holds_has_a_day() {
        let calendar = Calendar::default();
        assert_eq!(calendar.day_of(i64::MIN), FIRST_DAY);
        assert_eq!(calendar.day_of(i64::MAX), LAST_DAY);
        assert_eq!(calendar.count(Interval::Year, i64::MIN, i64::MAX), 9999);
        assert_eq!(calendar.steps(Interval::Year, i64::MIN, i64::MAX).len(), 10_000);
    }
}
