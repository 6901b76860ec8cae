//! What a time means that names no offset, or names its zone by letters.
//!
//! Letters such as `PST` stand for several zones in the world; what they mean is said by whoever
//! knows the log, and never guessed.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeZone};
use chrono_tz::Tz;
use contract::{Error, Result};

use super::SECOND_US;

/// Names that mean one thing everywhere.
const UTC_NAMES: [&str; 3] = ["UTC", "GMT", "Z"];

/// The zones of a format's times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    local: Local,
    /// Seconds east of Greenwich, by name.
    names: BTreeMap<String, i64>,
}

/// Where the clock stands that writes no offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Local {
    /// So many seconds east of Greenwich.
    Offset(i64),
    /// At a place, summer time and all.
    Place(Tz),
}

impl Default for Local {
    fn default() -> Self {
        Self::Offset(0)
    }
}

impl Zones {
    /// Reads the settings `time_zone` and `zones`.
    ///
    /// # Errors
    /// Config, with the field.
    pub fn read(time_zone: Option<&str>, zones: Option<&BTreeMap<String, String>>) -> Result<Self> {
        let local = time_zone.map_or(Ok(Local::default()), |zone| {
            local(zone).ok_or_else(|| {
                Error::config(format!("{zone:?} is no time zone"))
                    .field("time_zone")
                    .hint("write a place such as `Europe/Berlin`, or an offset such as `+01:00`")
            })
        })?;
        let mut names = BTreeMap::new();
        for (name, offset) in zones.into_iter().flatten() {
            let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
            let seconds = whole_offset(offset).filter(|_| is_name).ok_or_else(|| {
                Error::config(format!("{name:?}: {offset:?} is no zone with its offset"))
                    .field("zones")
                    .hint("write the letters of the log, and what they mean: `PST: \"-08:00\"`")
            })?;
            names.insert(name.clone(), seconds);
        }
        Ok(Self { local, names })
    }

    /// Whether nothing but UTC was set.
    pub fn is_utc(&self) -> bool {
        self.local == Local::default() && self.names.is_empty()
    }

    /// Whether names were given a meaning.
    pub fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Refuses names where nothing reads them.
    ///
    /// # Errors
    /// Config: there are names.
    pub fn refuse_names(&self, format: &str) -> Result<()> {
        match self.has_names() {
            true => Err(Error::config(format!("{format} has no names of zones"))
                .field("zones")
                .hint("`zones` belongs to a `time_format` with `%Z`")),
            false => Ok(()),
        }
    }

    /// The instant at which a clock on the wall showed these microseconds since 1970. Of an hour
    /// that stands twice it is the first; none for one that was left out.
    pub fn instant(&self, local_us: i64, offset: Option<i64>) -> Option<i64> {
        let offset = match (offset, self.local) {
            (Some(offset), _) | (None, Local::Offset(offset)) => offset,
            (None, Local::Place(zone)) => {
                let local = DateTime::from_timestamp_micros(local_us)?.naive_utc();
                return Some(zone.from_local_datetime(&local).earliest()?.timestamp_micros());
            }
        };
        local_us.checked_sub(offset * SECOND_US)
    }

    /// The place that they are of, if clocks are set there.
    pub fn place(&self) -> Option<&'static str> {
        match self.local {
            Local::Place(zone) => Some(zone.name()),
            Local::Offset(_) => None,
        }
    }

    /// The same where no clock is ever set.
    pub fn without_place(&self) -> Self {
        Self { local: Local::default(), names: self.names.clone() }
    }

    /// Reads the zone at the beginning of a text: letters that have a meaning, or an offset.
    /// Returns its seconds east of Greenwich and what follows.
    pub fn take<'a>(&self, text: &'a str) -> Option<(i64, &'a str)> {
        let text = text.trim_start();
        let end = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len());
        match self.names.get(&text[..end]) {
            Some(seconds) => Some((*seconds, &text[end..])),
            None => take_offset(text),
        }
    }
}

fn local(zone: &str) -> Option<Local> {
    let offset = whole_offset(zone).map(Local::Offset);
    offset.or_else(|| zone.parse().ok().map(Local::Place))
}

fn whole_offset(text: &str) -> Option<i64> {
    take_offset(text).filter(|(_, rest)| rest.is_empty()).map(|(seconds, _)| seconds)
}

/// Reads the offset at the beginning of a text, after blanks: `+02:00`, `+0200`, `+02`, `Z`, `UTC`
/// or `GMT`. Returns its seconds east of Greenwich and what follows.
pub fn take_offset(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(text.len());
    if end > 0 {
        let known = UTC_NAMES.iter().any(|name| name.eq_ignore_ascii_case(&text[..end]));
        return known.then_some((0, &text[end..]));
    }
    let (sign, digits) = match text.strip_prefix('+') {
        Some(digits) => (1, digits),
        // The minus of typography stands in ISO 8601.
        None => (-1, text.strip_prefix(['-', '\u{2212}'])?),
    };
    let (hours, rest) = two_digits(digits)?;
    let (minutes, rest) = match two_digits(rest.strip_prefix(':').unwrap_or(rest)) {
        Some((minutes, rest)) => (minutes, rest),
        None => (0, rest),
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), rest))
}

fn two_digits(text: &str) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    Some((number?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_as_far_as_they_go() {
        let check = |text, expect| assert_eq!(take_offset(text), expect, "{text}");
        check("+02:00", Some((7_200, "")));
        check(" +0230|a", Some((9_000, "|a")));
        check("-08 x", Some((-28_800, " x")));
        check("\u{2212}08:00", Some((-28_800, "")));
        check("z", Some((0, "")));
        check("GMT+1", Some((0, "+1")));
        check("PST", None);
        check("+24:00", None);
        check("+1", None);
        check("02:00", None);
        check("", None);
    }

    #[test]
    fn settings_that_are_no_zones_are_refused() {
        let map = |name: &str, offset: &str| BTreeMap::from([(name.to_owned(), offset.to_owned())]);
        let fails = |time_zone, zones: Option<BTreeMap<_, _>>, field| {
            let error = Zones::read(time_zone, zones.as_ref()).expect_err("no zone");
            assert_eq!(error.field_name(), Some(field));
        };
        fails(Some("Berlin"), None, "time_zone");
        fails(Some("+1"), None, "time_zone");
        fails(None, Some(map("PST", "America/Los_Angeles")), "zones");
        fails(None, Some(map("P T", "-08:00")), "zones");
        fails(None, Some(map("", "-08:00")), "zones");
        assert!(Zones::read(Some("Europe/Berlin"), Some(&map("PST", "-08"))).is_ok());
    }

    #[test]
    fn a_place_keeps_summer_time() {
        let zones = Zones::read(Some("Europe/Berlin"), None).expect("a place");
        let check = |local: &str, expect: &str| {
            let local_us = super::super::rfc3339(local).expect("a time");
            assert_eq!(zones.instant(local_us, None), super::super::rfc3339(expect), "{local}");
        };
        check("2026-01-01 12:00:00", "2026-01-01T11:00:00Z");
        check("2026-07-01 12:00:00", "2026-07-01T10:00:00Z");
        check("2026-03-29 02:30:00", "never");
        check("2026-10-25 02:30:00", "2026-10-25T00:30:00Z");
    }
}
