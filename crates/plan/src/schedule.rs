//! When a pipeline is run: the setting `schedule`, checked, and the times that it names.
//!
//! Pure: whoever asks brings the time. In summer and winter the clock of the zone decides, as cron
//! does: a fixed time that a change skips comes right after the gap, and one that comes twice is
//! taken once; `*` and `*/n` go on with the real hours.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use contract::quantity::Period;
use contract::section::Value;
use contract::zone::zone;
use contract::{Error, Result, Section};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most runs that `missed: all` may make up for.
const MISSED_MAX: u32 = 1_000;
/// Most attempts after the first.
const RETRIES_MAX: u32 = 100;
/// Most runs that the history keeps.
const RUNS_MAX: u32 = 10_000;

/// When a pipeline is run to its end, and what happens when it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cron: Cron,
    /// The expression, as it is written.
    pub text: Arc<str>,
    /// The clock by which `cron` is read.
    pub time_zone: Tz,
    /// What becomes of times at which no run could begin.
    pub missed: Missed,
    /// Most runs that are made up for.
    pub missed_max: u32,
    /// Attempts after a failed one.
    pub retries: u32,
    /// The pause before another attempt.
    pub retry_after: Duration,
    /// Runs that the history keeps.
    pub runs_kept: u32,
}

/// What becomes of times at which no run could begin, because nothing served the pipeline or the
/// run before took longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Nothing: the next time is waited for.
    Skip,
    /// One run makes up for all of them.
    #[default]
    Once,
    /// Each gets a run, the oldest first.
    All,
}

/// When `serve` runs the pipeline to its end. A text alone is `cron`, an empty one no schedule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// Minute, hour, day of the month, month, day of the week: `0 * * * *` is every full hour,
    /// `30 4 * * MON-FRI` half past four on working days; `@daily` and its like stand for some.
    cron: String,
    /// The clock by which `cron` is read, as the IANA names it: `Europe/Berlin`.
    #[serde(default = "utc")]
    time_zone: String,
    /// What becomes of times at which no run could begin, because nothing served the pipeline or
    /// the run before took longer.
    #[serde(default)]
    missed: Missed,
    /// The most runs that `missed: all` makes up for; older times are skipped.
    #[serde(default = "missed_max")]
    missed_max: u32,
    /// How often a run that failed is tried again.
    #[serde(default = "retries")]
    retries: u32,
    /// The pause before it is tried again.
    #[serde(default = "retry_after")]
    retry_after: Period,
    /// How many runs the history keeps.
    #[serde(default = "runs_kept")]
    runs_kept: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn missed_max() -> u32 {
    24
}

fn retries() -> u32 {
    1
}

fn retry_after() -> Period {
    Period(Duration::from_secs(300))
}

fn runs_kept() -> u32 {
    500
}

impl Schedule {
    /// Reads the setting: the text of `cron`, or a map.
    ///
    /// # Errors
    /// Config, with place, setting and a hint.
    pub fn read(section: &Section) -> Result<Self> {
        let written = match section.value() {
            Value::Text(text) => Written {
                cron: text.to_string(),
                time_zone: utc(),
                missed: Missed::default(),
                missed_max: missed_max(),
                retries: retries(),
                retry_after: retry_after(),
                runs_kept: runs_kept(),
            },
            _ => section.read()?,
        };
        let at = |key: &str| section.get(key).unwrap_or(section).place();
        check(written.missed_max, 1..=MISSED_MAX, "missed_max", &at)?;
        check(written.retries, 0..=RETRIES_MAX, "retries", &at)?;
        check(written.runs_kept, 1..=RUNS_MAX, "runs_kept", &at)?;
        let cron = parse(&written.cron).map_err(|error| error.at(at("cron")).field("cron"))?;
        let time_zone = zone(&written.time_zone);
        let time_zone = time_zone.map_err(|error| error.at(at("time_zone")).field("time_zone"))?;
        let schedule = Self {
            cron,
            text: written.cron.into(),
            time_zone,
            missed: written.missed,
            missed_max: written.missed_max,
            retries: written.retries,
            retry_after: written.retry_after.0,
            runs_kept: written.runs_kept,
        };
        if schedule.after(DateTime::UNIX_EPOCH).is_none() {
            return Err(Error::config(format!("{:?} never comes", schedule.text))
                .at(at("cron"))
                .field("cron")
                .hint("there is no such day in any year"));
        }
        Ok(schedule)
    }

    /// The first time after `time`; none if there is none.
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let here = time.with_timezone(&self.time_zone);
        let next = self.cron.find_next_occurrence(&here, false).ok()?;
        Some(next.with_timezone(&Utc))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.text, self.time_zone)
    }
}

fn parse(text: &str) -> Result<Cron> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| {
        let what = error.to_string();
        Error::config(format!("{text:?} is no cron expression: {}", what.trim_end_matches('.')))
            .hint("write minute, hour, day, month, day of the week: `0 * * * *` is every full hour")
    })
}

fn check<'a>(
    number: u32,
    allowed: std::ops::RangeInclusive<u32>,
    key: &str,
    place: &dyn Fn(&str) -> &'a contract::Place,
) -> Result<()> {
    if allowed.contains(&number) {
        return Ok(());
    }
    let (least, most) = (allowed.start(), allowed.end());
    Err(Error::config(format!("expected {least} to {most}, found {number}"))
        .at(place(key))
        .field(key))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::Schedule;
    use crate::parse_section;
    use crate::tests::said;

    fn read(text: &str) -> contract::Result<Schedule> {
        Schedule::read(&parse_section(text, "p.yaml")?)
    }

    /// The first times after a time, in the zone of the schedule.
    fn times(text: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = read(text).expect("a schedule");
        let mut time: DateTime<Utc> = after.parse().expect("a time");
        let mut times = Vec::new();
        for _ in 0..count {
            time = schedule.after(time).expect("a next time");
            let here = time.with_timezone(&schedule.time_zone);
            times.push(here.format("%m-%d %H:%M %Z").to_string());
        }
        times
    }

    #[test]
    fn a_text_is_a_cron_expression_in_utc() {
        let found = times("\"0 * * * *\"", "2026-11-21T10:00:00Z", 2);
        assert_eq!(found, ["11-21 11:00 UTC", "11-21 12:00 UTC"]);
        let found = times("'@daily'", "2026-11-21T10:00:00Z", 1);
        assert_eq!(found, ["11-22 00:00 UTC"]);
    }

    #[test]
    fn a_fixed_time_comes_once_a_day_through_summer_and_winter() {
        let daily = "{cron: 30 2 * * *, time_zone: Europe/Berlin}";
        // On 2027-03-28 the clock goes from 2:00 to 3:00, on 2026-10-25 from 3:00 to 2:00.
        let gap = times(daily, "2027-03-26T12:00:00Z", 3);
        assert_eq!(gap, ["03-27 02:30 CET", "03-28 03:00 CEST", "03-29 02:30 CEST"]);
        let fold = times(daily, "2026-10-24T12:00:00Z", 2);
        assert_eq!(fold, ["10-25 02:30 CEST", "10-26 02:30 CET"]);
    }

    #[test]
    fn every_hour_is_every_real_hour() {
        let hourly = "{cron: 0 * * * *, time_zone: Europe/Berlin}";
        let gap = times(hourly, "2027-03-28T00:00:00Z", 2);
        assert_eq!(gap, ["03-28 03:00 CEST", "03-28 04:00 CEST"]);
        let fold = times(hourly, "2026-10-24T23:30:00Z", 4);
        let expected =
            ["10-25 02:00 CEST", "10-25 02:00 CET", "10-25 03:00 CET", "10-25 04:00 CET"];
        assert_eq!(fold, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let cases = [
            ("\"0 * * *\"", "p.yaml:1:1: \"0 * * *\" is no cron expression"),
            ("{cron: 0 25 * * *}", "p.yaml:1:8: \"0 25 * * *\" is no cron expression"),
            ("{cron: 0 0 30 2 *}", "p.yaml:1:8: \"0 0 30 2 *\" never comes"),
            ("{corn: 0 * * * *}", "unknown key \"corn\"; did you mean \"cron\"?"),
            (
                "{cron: 0 * * * *, time_zone: Europe/Berlni}",
                "p.yaml:1:30: there is no time zone \"Europe/Berlni\"; did you mean \
                 \"Europe/Berlin\"?",
            ),
            ("{cron: 0 * * * *, missed: sometimes}", "sometimes"),
            ("{cron: 0 * * * *, missed_max: 0}", "expected 1 to 1000, found 0"),
            ("{cron: 0 * * * *, retries: 101}", "expected 0 to 100, found 101"),
        ];
        for (text, expected) in cases {
            let found = said(read(text));
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
