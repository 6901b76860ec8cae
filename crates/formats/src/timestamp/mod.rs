//! Times as text or number into microseconds since 1970, UTC.
//!
//! Days, hours and minutes that do not exist are refused. A leap second counts as the first
//! second of the next minute.

mod pattern;
mod zones;

use chrono::NaiveDate;
use contract::{Error, Result};

pub use pattern::TimePattern;
pub use zones::Zones;
use zones::take_offset;

const SECOND_US: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// The length of `17/May/2015:10:05:03 +0000`.
pub const CLF_BYTES: usize = 26;

/// How a time is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339, or a number whose size tells its unit; UTC where it has no offset.
    Guess,
    /// As [`TimeFormat::Guess`], in a zone where it has no offset.
    Local(Zones),
    /// A number of units since 1970, each this many microseconds.
    Unix(i64),
    /// A pattern of strftime.
    Strftime(Box<TimePattern>),
}

impl TimeFormat {
    /// The format that a setting describes, with the zones of times that name none, or by a name.
    ///
    /// # Errors
    /// Config: it is no pattern, one that gives no instant, or one that reads no zones.
    pub fn new(setting: Option<&str>, zones: Zones) -> Result<Self> {
        let unit_us = match setting {
            None if zones.is_utc() => return Ok(Self::Guess),
            None => {
                zones.refuse_names("RFC 3339")?;
                return Ok(Self::Local(zones));
            }
            Some("unix") => SECOND_US,
            Some("unix_ms") => 1_000,
            Some("unix_us") => 1,
            Some(pattern) => {
                return Ok(Self::Strftime(Box::new(TimePattern::new(pattern, zones)?)));
            }
        };
        zones.refuse_names("a number")?;
        match zones.is_utc() {
            true => Ok(Self::Unix(unit_us)),
            false => Err(Error::config("a number of seconds since 1970 has no zone")
                .hint("leave `time_zone` out")),
        }
    }

    /// Microseconds since 1970; none if the text is not such a time.
    pub fn parse(&self, text: &str) -> Option<i64> {
        match self {
            Self::Guess => rfc3339(text).or_else(|| guess_unix(text)),
            Self::Local(zones) => rfc3339_parts(text)
                .and_then(|(local_us, offset)| zones.instant(local_us, offset))
                .or_else(|| guess_unix(text)),
            Self::Unix(unit_us) => unix(text, *unit_us),
            Self::Strftime(pattern) => pattern.parse(text),
        }
    }

    /// The place where clocks were set forward over a time that is one elsewhere.
    pub fn place_without(&self, text: &str) -> Option<&'static str> {
        let (zones, elsewhere) = match self {
            Self::Guess | Self::Unix(_) => return None,
            Self::Local(zones) => (zones, Self::Local(zones.without_place())),
            Self::Strftime(pattern) => {
                let elsewhere = Box::new(pattern.without_place());
                (pattern.zones(), Self::Strftime(elsewhere))
            }
        };
        let place = zones.place().filter(|_| self.parse(text).is_none());
        place.filter(|_| elsewhere.parse(text).is_some())
    }
}

/// Reads `17/May/2015:10:05:03 +0000`, keeping what one day and one offset come to.
#[derive(Default)]
pub struct ClfClock {
    day: [u8; 12],
    offset: [u8; 6],
    midnight_us: i64,
}

impl ClfClock {
    /// Microseconds since 1970; none if the text is not such a time.
    #[inline]
    pub fn parse(&mut self, text: &[u8; CLF_BYTES]) -> Option<i64> {
        let (day, rest) = text.split_first_chunk::<12>()?;
        let (time, offset) = rest.split_first_chunk::<8>()?;
        let offset: &[u8; 6] = offset.try_into().ok()?;
        if day != &self.day || offset != &self.offset {
            self.midnight_us = clf_midnight(day, offset)?;
            self.day = *day;
            self.offset = *offset;
        }
        Some(self.midnight_us + time_of_day(time)? * SECOND_US)
    }
}

fn clf_midnight(day: &[u8; 12], offset: &[u8; 6]) -> Option<i64> {
    let [d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':'] = *day else { return None };
    let [b' ', sign @ (b'+' | b'-'), h1, h2, n1, n2] = *offset else { return None };
    let month = month(&[m1, m2, m3])?;
    let days = days(number(&[y1, y2, y3, y4])?, month, number(&[d1, d2])?)?;
    Some((days * DAY_SECONDS - offset_seconds(sign, [h1, h2], [n1, n2])?) * SECOND_US)
}

fn month(name: &[u8; 3]) -> Option<i64> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

/// Seconds east of Greenwich.
fn offset_seconds(sign: u8, hours: [u8; 2], minutes: [u8; 2]) -> Option<i64> {
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Some(if sign == b'-' { -seconds } else { seconds })
}

/// Seconds of `10:05:03`.
#[inline]
fn time_of_day(text: &[u8; 8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *text else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

/// A number all of whose bytes are digits.
#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// Days since 1970 of a day that exists.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = NaiveDate::from_ymd_opt(
        year.try_into().ok()?,
        month.try_into().ok()?,
        day.try_into().ok()?,
    )?;
    Some(date.signed_duration_since(NaiveDate::default()).num_days())
}

/// Reads `2015-05-17T10:05:03.25+02:00`; a space may stand for the `T`, and one before the offset,
/// which may be `Z`, lack its colon or its minutes, or be left out. A date alone is its midnight.
pub fn rfc3339(text: &str) -> Option<i64> {
    let (local_us, offset) = rfc3339_parts(text)?;
    Some(local_us - offset.unwrap_or(0) * SECOND_US)
}

/// The time as a clock on the wall shows it, and its seconds east of Greenwich where they stand.
fn rfc3339_parts(text: &str) -> Option<(i64, Option<i64>)> {
    let (date, rest) = text.as_bytes().split_first_chunk::<10>()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
    let (seconds, fraction_us, zone) = match rest {
        [b'T' | b't' | b' ', rest @ ..] => {
            let (time, rest) = rest.split_first_chunk::<8>()?;
            let (fraction_us, zone) = fraction(rest)?;
            (time_of_day(time)?, fraction_us, zone)
        }
        zone => (0, 0, zone),
    };
    let offset = match zone {
        [] => None,
        zone => match take_offset(std::str::from_utf8(zone).ok()?)? {
            (offset, "") => Some(offset),
            _ => return None,
        },
    };
    let days = days(number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?)?;
    Some(((days * DAY_SECONDS + seconds) * SECOND_US + fraction_us, offset))
}

/// Microseconds of `.25`, and what follows. Digits beyond microseconds are cut off.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if length == 0 {
        return None;
    }
    let (kept, rest) = (&digits[..length.min(6)], &digits[length..]);
    Some((number(kept)? * 10_i64.pow(6 - kept.len() as u32), rest))
}

/// A number of units since 1970, exact where it is whole.
fn unix(text: &str, unit_us: i64) -> Option<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.checked_mul(unit_us);
    }
    let micros = (text.parse::<f64>().ok()? * unit_us as f64).round();
    (micros.abs() < i64::MAX as f64).then_some(micros as i64)
}

/// A number of seconds below 10¹¹ (the year 5138), of milliseconds below 10¹⁴, of microseconds
/// below 10¹⁷, else of nanoseconds.
fn guess_unix(text: &str) -> Option<i64> {
    let size = text.parse::<f64>().ok()?.abs();
    if size < 1e11 {
        unix(text, SECOND_US)
    } else if size < 1e14 {
        unix(text, 1_000)
    } else if size < 1e17 {
        unix(text, 1)
    } else {
        text.parse::<i64>().ok().map(|nanos| nanos.div_euclid(1_000))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    fn shown(micros: Option<i64>) -> String {
        let time = micros.and_then(DateTime::from_timestamp_micros);
        time.map_or("none".into(), |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
    }

    #[test]
    fn reads_the_time_of_an_access_log() {
        let check = |text: &str, expect| {
            let bytes = text.as_bytes().try_into().expect("26 bytes");
            assert_eq!(shown(ClfClock::default().parse(bytes)), expect, "{text}");
        };
        check("17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03Z");
        check("17/May/2015:00:05:03 +0530", "2015-05-16T18:35:03Z");
        check("31/Dec/1999:23:59:59 -0800", "2000-01-01T07:59:59Z");
        check("29/Feb/2024:00:00:00 +0000", "2024-02-29T00:00:00Z");
        check("31/Dec/2016:23:59:60 +0000", "2017-01-01T00:00:00Z");
        check("29/Feb/2023:00:00:00 +0000", "none");
        check("31/Apr/2015:10:05:03 +0000", "none");
        check("00/May/2015:10:05:03 +0000", "none");
        check("17/may/2015:10:05:03 +0000", "none");
        check("17/May/2015:24:05:03 +0000", "none");
        check("17/May/2015:10:60:03 +0000", "none");
        check("17/May/2015:10:05:03 +2400", "none");
        check("17/May/2015:10:05:03 00000", "none");
        check("17-May-2015:10:05:03 +0000", "none");
    }

    #[test]
    fn the_clock_forgets_a_day_when_another_comes() {
        let mut clock = ClfClock::default();
        let mut at = |text: &[u8; CLF_BYTES]| shown(clock.parse(text));
        assert_eq!(at(b"17/May/2015:10:05:03 +0000"), "2015-05-17T10:05:03Z");
        assert_eq!(at(b"17/May/2015:10:05:04 +0100"), "2015-05-17T09:05:04Z");
        assert_eq!(at(b"99/May/2015:10:05:04 +0100"), "none");
        assert_eq!(at(b"18/May/2015:10:05:04 +0100"), "2015-05-18T09:05:04Z");
    }

    #[test]
    fn reads_times_as_settings_say() {
        let check = |setting, text: &str, expect| {
            let format = TimeFormat::new(setting, Zones::default()).expect("a valid setting");
            assert_eq!(shown(format.parse(text)), expect, "{text} as {setting:?}");
        };
        check(None, "2015-05-17T10:05:03Z", "2015-05-17T10:05:03Z");
        check(None, "2015-05-17 10:05:03,250", "2015-05-17T10:05:03.250Z");
        check(None, "2015-05-17T10:05:03.1234567+02:00", "2015-05-17T08:05:03.123456Z");
        check(None, "2015-05-17T10:05:03-0330", "2015-05-17T13:35:03Z");
        check(None, "2015-02-29T10:05:03Z", "none");
        check(None, "2015-05-17T10:05:03.", "none");
        check(None, "2015-05-17T10:05:03é", "none");
        check(None, "2015-05-17", "2015-05-17T00:00:00Z");
        check(None, "2015-05-17+02:00", "2015-05-16T22:00:00Z");
        check(None, "2015-05-17T10:05:03+02", "2015-05-17T08:05:03Z");
        check(None, "2015-05-17 10:05:03 -0330", "2015-05-17T13:35:03Z");
        check(None, "2015-05-17 10:05:03.5 Z", "2015-05-17T10:05:03.500Z");
        check(None, "2015-05-17 10:05:03 UTC", "2015-05-17T10:05:03Z");
        check(None, "2015-05-17 10:05:03 PST", "none");
        check(None, "2015-05-17T10:05:03+2", "none");
        check(None, "2015-05-17T10:05:03+02:0", "none");
        check(None, "2015-05-17T10:05:03+02:00 x", "none");
        check(None, "2015-05-17 ", "none");
        check(None, "2015-05-17T10:05", "none");
        check(None, "yesterday", "none");
        check(None, "NaN", "none");
        check(None, "1431857103", "2015-05-17T10:05:03Z");
        check(None, "1431857103.5", "2015-05-17T10:05:03.500Z");
        check(None, "1431857103250", "2015-05-17T10:05:03.250Z");
        check(None, "1431857103250001", "2015-05-17T10:05:03.250001Z");
        check(None, "1431857103250001999", "2015-05-17T10:05:03.250001Z");
        check(Some("unix_ms"), "1000", "1970-01-01T00:00:01Z");
        check(Some("unix"), "-1", "1969-12-31T23:59:59Z");
        check(Some("unix"), "9223372036854775807", "none");
        check(Some("unix"), "2015-05-17T10:05:03Z", "none");
    }
}
