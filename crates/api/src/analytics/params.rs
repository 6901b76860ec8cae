//! Reads the parameters of a request's address, each once, and knows which nobody asked for.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use contract::Section;
use url::form_urlencoded;

use super::interval::Calendar;
use crate::problem::{Answer, Problem};

/// Parameters in one address.
const PARAMETERS_MAX: usize = 64;
/// Bytes of one value.
const VALUE_BYTES_MAX: usize = 4096;
/// The years that times may name; what lies outside fits no table.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// Which end of a range a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Its first moment.
    First,
    /// Its last moment.
    Last,
}

/// The parameters of a request.
pub struct Params {
    left: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

impl Params {
    /// Reads the part of an address after `?`.
    ///
    /// # Errors
    /// 400: too many, too long, not UTF-8, or with a character that no text may have.
    pub fn read(query: Option<&str>) -> Answer<Self> {
        let query = query.unwrap_or_default();
        let left: Vec<(String, String)> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if left.len() > PARAMETERS_MAX {
            return Err(Problem::bad_request(format!("more than {PARAMETERS_MAX} parameters")));
        }
        for (name, value) in &left {
            if value.len() > VALUE_BYTES_MAX {
                return Err(Problem::bad_request(format!(
                    "the parameter {:?} is longer than {VALUE_BYTES_MAX} bytes",
                    shortened(name)
                )));
            }
            if value.contains('\0') {
                let name = shortened(name);
                return Err(Problem::bad_request(format!("the parameter {name:?} holds a NUL")));
            }
            if value.contains(char::REPLACEMENT_CHARACTER) && !query.contains("%EF%BF%BD") {
                let name = shortened(name);
                return Err(Problem::bad_request(format!("the parameter {name:?} is no UTF-8")));
            }
        }
        Ok(Self { left, asked: Vec::new() })
    }

    /// The values of a parameter that may be repeated.
    pub fn many(&mut self, name: &'static str) -> Vec<String> {
        self.asked.push(name);
        let (found, left) = std::mem::take(&mut self.left)
            .into_iter()
            .partition::<Vec<_>, _>(|(given, _)| given == name);
        self.left = left;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// 400: it is given twice.
    pub fn one(&mut self, name: &'static str) -> Answer<Option<String>> {
        let mut found = self.many(name);
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(Problem::bad_request(format!("{name:?} is given more than once"))),
        }
    }

    /// A whole number within limits.
    ///
    /// # Errors
    /// 400.
    pub fn number(
        &mut self,
        name: &'static str,
        within: std::ops::RangeInclusive<u64>,
    ) -> Answer<Option<u64>> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| plain && within.contains(number));
        number.map(Some).ok_or_else(|| {
            let (first, last) = (within.start(), within.end());
            Problem::bad_request(format!("{name:?} is a whole number from {first} to {last}"))
        })
    }

    /// One of several words.
    ///
    /// # Errors
    /// 400 with the word that was probably meant.
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Answer<Option<T>> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            Problem::bad_request(format!("{name:?} cannot be {text:?}"))
                .hint(Section::did_you_mean(&text, words.iter().map(|(word, _)| *word)))
        })
    }

    /// A moment, in microseconds since 1970; of a date that bounds a range, its first or last.
    ///
    /// # Errors
    /// 400.
    pub fn time(
        &mut self,
        name: &'static str,
        calendar: Calendar,
        bound: Bound,
    ) -> Answer<Option<i64>> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let moment = moment(&text, calendar, bound);
        moment.map(Some).ok_or_else(|| {
            Problem::bad_request(format!("{name:?} is no time: {text:?}"))
                .hint("write 2026-11-21, or 2026-11-21T10:00:00Z")
        })
    }

    /// The calendar of a zone; that of UTC where none is named.
    ///
    /// # Errors
    /// 400.
    pub fn zone(&mut self, name: &'static str) -> Answer<Calendar> {
        let Some(text) = self.one(name)? else { return Ok(Calendar::default()) };
        text.parse::<Tz>().map(Calendar::of).map_err(|_| {
            Problem::bad_request(format!("{name:?} is no zone: {text:?}"))
                .hint("write it as the IANA names it: Europe/Berlin")
        })
    }

    /// Refuses what nobody asked for.
    ///
    /// # Errors
    /// 400 with the name that was probably meant.
    pub fn end(self) -> Answer<()> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                let name = shortened(name);
                Err(Problem::bad_request(format!("there is no parameter {name:?}"))
                    .hint(Section::did_you_mean(name, self.asked.iter().copied())))
            }
        }
    }
}

/// What a client sent, short enough for an answer.
fn shortened(text: &str) -> &str {
    const CHARS_MAX: usize = 80;
    text.char_indices().nth(CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// ISO 8601: a date, a time of the calendar's zone, or a time with its own; microseconds since
/// 1970. Of a date the first or the last moment of the day, of a time that clocks show twice the
/// first or the second one.
pub fn moment(text: &str, calendar: Calendar, bound: Bound) -> Option<i64> {
    // In an address a plus sign that was not escaped is a blank.
    let text = match text.rsplit_once(' ') {
        Some((front, zone)) if front.contains('T') => &format!("{front}+{zone}"),
        _ => text,
    };
    let within = |date: NaiveDate| YEARS.contains(&chrono::Datelike::year(&date)).then_some(());
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        within(date)?;
        return Some(match bound {
            Bound::First => calendar.first_of(date),
            Bound::Last => calendar.last_of(date),
        });
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        within(time.date_naive())?;
        return Some(time.timestamp_micros());
    }
    for form in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, form) {
            within(time.date())?;
            return Some(match bound {
                Bound::First => calendar.earliest(time),
                Bound::Last => calendar.latest(time),
            });
        }
    }
    None
}

/// A moment as answers write it.
pub fn written(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_usual_form_and_nothing_else_is() {
        let check = |text: &str, expect: Option<&str>| {
            let found = moment(text, Calendar::default(), Bound::First);
            assert_eq!(found.map(written).as_deref(), expect, "{text}");
        };
        check("2026-11-21", Some("2026-11-21T00:00:00Z"));
        check("2026-11-21T10:00:00Z", Some("2026-11-21T10:00:00Z"));
        check("2026-11-21T10:00:00.25+02:00", Some("2026-11-21T08:00:00.250Z"));
        check("2026-11-21T10:00:00 02:00", Some("2026-11-21T08:00:00Z"));
        check("2026-11-21T10:00:00", Some("2026-11-21T10:00:00Z"));
        check("2026-11-21T10:00", Some("2026-11-21T10:00:00Z"));
        for wrong in ["", "yesterday", "2026-13-01", "2026-11-21T25:00:00Z", "99999-01-01", "12"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_date_is_the_whole_day_of_the_zone() {
        let check = |zone: Tz, text: &str, expect: [&str; 2]| {
            let found = [Bound::First, Bound::Last]
                .map(|bound| moment(text, Calendar::of(zone), bound).map(written));
            assert_eq!(found.each_ref().map(|found| found.as_deref().unwrap_or("none")), expect);
        };
        let berlin = chrono_tz::Europe::Berlin;
        check(Tz::UTC, "2026-03-03", ["2026-03-03T00:00:00Z", "2026-03-03T23:59:59.999999Z"]);
        check(berlin, "2026-03-29", ["2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999999Z"]);
        check(berlin, "2026-10-25", ["2026-10-24T22:00:00Z", "2026-10-25T22:59:59.999999Z"]);
        check(berlin, "2026-10-25T02:30:00", ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
        check(berlin, "2026-03-29T02:30:00", ["2026-03-29T01:30:00Z", "2026-03-29T01:30:00Z"]);
        check(berlin, "2026-03-29T12:00:00Z", ["2026-03-29T12:00:00Z", "2026-03-29T12:00:00Z"]);
        let zone = |text: &str| Params::read(Some(text)).expect("read").zone("zone");
        assert_eq!(zone("zone=Europe/Berlin").expect("a zone"), Calendar::of(berlin));
        assert!(zone("zone=Berlin").is_err());
    }

    #[test]
    fn a_parameter_that_nobody_asked_for_is_named() {
        let mut params = Params::read(Some("limit=3&sort=up")).expect("read");
        assert_eq!(params.number("limit", 1..=10).expect("a number"), Some(3));
        let problem = format!("{:?}", params.end().expect_err("unknown"));
        assert!(problem.contains("sort"), "{problem}");
    }
}
