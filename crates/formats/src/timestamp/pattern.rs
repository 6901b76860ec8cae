//! Times as a pattern of strftime writes them.
//!
//! A pattern that exists gives an instant for every text that it matches: what lacks is refused
//! before a line is read, and an offset that stands in a line counts.

use std::mem;

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse_and_remainder};
use chrono::{NaiveDateTime, NaiveTime};
use contract::{Error, Result};

use super::SECOND_US;
use super::zones::{Zones, take_offset};

/// A pattern, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimePattern {
    pieces: Vec<Piece>,
    zones: Zones,
    /// Whether it holds anything of a time of day.
    has_time: bool,
}

/// What stands in a text, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// What chrono reads.
    Items(Vec<Item<'static>>),
    /// Digits after a point that is no part of the item (`%f`).
    Fraction,
    /// `%z` and its like.
    Offset,
    /// `%Z`, where no offset stands beside it.
    Name,
    /// `%Z` beside an offset.
    IgnoredName,
}

/// Which parts of an instant a pattern holds.
#[derive(Default)]
struct Parts {
    /// Everything at once (`%s`, `%+`).
    whole: bool,
    year: bool,
    month: bool,
    day: bool,
    day_of_year: bool,
    iso_year: bool,
    iso_week: bool,
    week: bool,
    weekday: bool,
    hour: bool,
    hour_of_twelve: bool,
    half_of_day: bool,
    minute: bool,
    second: bool,
    fraction: bool,
    offset: bool,
    name: bool,
}

impl TimePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Config: it is none, it gives no instant, or it holds letters that have no meaning.
    pub fn new(pattern: &str, zones: Zones) -> Result<Self> {
        let items = StrftimeItems::new(pattern).parse_to_owned().ok();
        let items = items.filter(|_| pattern.contains('%')).ok_or_else(|| {
            Error::config(format!("the time {pattern:?} is not a pattern of strftime"))
                .hint("write one such as `%Y-%m-%d %H:%M:%S %z`")
        })?;
        let mut parts = Parts::default();
        items.iter().for_each(|item| parts.note(item));
        if let Some(missing) = parts.missing() {
            return Err(Error::config(format!(
                "the time pattern {pattern:?} gives no instant: {missing} is missing"
            ))
            .hint("name a field that holds the whole time, or keep it as text"));
        }
        if parts.name && !parts.offset && !zones.has_names() {
            return Err(Error::config(format!(
                "`%Z` in {pattern:?} reads letters such as PST, which mean several time zones"
            ))
            .hint(
                "`%z` reads offsets; beside `time_format`, say what the letters mean: \
                 `zones: { PST: \"-08:00\" }`",
            ));
        }
        if !parts.name || parts.offset {
            zones.refuse_names(&format!("{pattern:?}"))?;
        }
        let has_time = parts.whole || parts.has_time();
        Ok(Self { pieces: pieces(items, parts.offset), zones, has_time })
    }

    /// The zones of times that name none.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The same pattern where no clock is ever set.
    pub fn without_place(&self) -> Self {
        Self { zones: self.zones.without_place(), ..self.clone() }
    }

    /// Microseconds since 1970; none if the text is not such a time.
    pub fn parse(&self, text: &str) -> Option<i64> {
        let (mut parsed, mut offset, mut rest) = (Parsed::new(), None, text);
        for piece in &self.pieces {
            rest = match piece {
                Piece::Items(items) => parse_and_remainder(&mut parsed, rest, items.iter()).ok()?,
                Piece::Fraction => take_fraction(&mut parsed, rest)?,
                Piece::Offset => {
                    let (seconds, rest) = take_offset(rest)?;
                    offset = Some(seconds);
                    rest
                }
                Piece::Name => {
                    let (seconds, rest) = self.zones.take(rest)?;
                    offset = Some(seconds);
                    rest
                }
                Piece::IgnoredName => {
                    rest.trim_start_matches(|letter: char| !letter.is_whitespace())
                }
            };
        }
        rest.is_empty().then(|| self.instant(parsed, offset))?
    }

    fn instant(&self, mut parsed: Parsed, offset: Option<i64>) -> Option<i64> {
        let fraction_us = i64::from(parsed.nanosecond().unwrap_or(0)) / 1_000;
        if let Some(seconds) = parsed.timestamp() {
            return seconds.checked_mul(SECOND_US)?.checked_add(fraction_us);
        }
        let date = parsed.to_naive_date().ok()?;
        let time = match self.has_time {
            true => {
                if parsed.minute().is_none() {
                    parsed.set_minute(0).ok()?;
                }
                parsed.to_naive_time().ok()?
            }
            false => NaiveTime::MIN,
        };
        let local = NaiveDateTime::new(date, time).and_utc().timestamp_micros();
        self.zones.instant(local, offset.or(parsed.offset().map(i64::from)))
    }
}

/// Digits after a point, as many as stand there.
fn take_fraction<'a>(parsed: &mut Parsed, text: &'a str) -> Option<&'a str> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let kept = &text[..end.min(9)];
    let nanoseconds = kept.parse::<i64>().ok()? * 10_i64.pow(9 - kept.len() as u32);
    parsed.set_nanosecond(nanoseconds).ok()?;
    Some(&text[end..])
}

fn pieces(items: Vec<Item<'static>>, has_offset: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut waiting = Vec::new();
    for item in items {
        let piece = match item {
            _ if is_offset(&item) => Piece::Offset,
            Item::Fixed(Fixed::TimezoneName) if has_offset => Piece::IgnoredName,
            Item::Fixed(Fixed::TimezoneName) => Piece::Name,
            Item::Numeric(Numeric::Nanosecond, _) => Piece::Fraction,
            other => {
                waiting.push(other);
                continue;
            }
        };
        if !waiting.is_empty() {
            pieces.push(Piece::Items(mem::take(&mut waiting)));
        }
        pieces.push(piece);
    }
    if !waiting.is_empty() {
        pieces.push(Piece::Items(waiting));
    }
    pieces
}

fn is_offset(item: &Item<'_>) -> bool {
    match item {
        Item::Fixed(
            Fixed::TimezoneOffset
            | Fixed::TimezoneOffsetZ
            | Fixed::TimezoneOffsetColon
            | Fixed::TimezoneOffsetColonZ
            | Fixed::TimezoneOffsetDoubleColon
            | Fixed::TimezoneOffsetTripleColon,
        ) => true,
        // The items of chrono's own extensions have no names.
        Item::Fixed(Fixed::Internal(_)) => StrftimeItems::new("%#z").next().as_ref() == Some(item),
        _ => false,
    }
}

impl Parts {
    fn note(&mut self, item: &Item<'_>) {
        if is_offset(item) {
            self.offset = true;
            return;
        }
        let part = match item {
            Item::Numeric(numeric, _) => match numeric {
                Numeric::Timestamp => &mut self.whole,
                Numeric::Year | Numeric::YearMod100 => &mut self.year,
                Numeric::IsoYear | Numeric::IsoYearMod100 => &mut self.iso_year,
                Numeric::IsoWeek => &mut self.iso_week,
                Numeric::WeekFromSun | Numeric::WeekFromMon => &mut self.week,
                Numeric::NumDaysFromSun | Numeric::WeekdayFromMon => &mut self.weekday,
                Numeric::Month => &mut self.month,
                Numeric::Day => &mut self.day,
                Numeric::Ordinal => &mut self.day_of_year,
                Numeric::Hour => &mut self.hour,
                Numeric::Hour12 => &mut self.hour_of_twelve,
                Numeric::Minute => &mut self.minute,
                Numeric::Second => &mut self.second,
                Numeric::Nanosecond => &mut self.fraction,
                _ => return,
            },
            Item::Fixed(fixed) => match fixed {
                Fixed::RFC2822 | Fixed::RFC3339 => &mut self.whole,
                Fixed::ShortMonthName | Fixed::LongMonthName => &mut self.month,
                Fixed::ShortWeekdayName | Fixed::LongWeekdayName => &mut self.weekday,
                Fixed::LowerAmPm | Fixed::UpperAmPm => &mut self.half_of_day,
                Fixed::TimezoneName => &mut self.name,
                _ => &mut self.fraction,
            },
            _ => return,
        };
        *part = true;
    }

    fn has_time(&self) -> bool {
        [self.hour, self.hour_of_twelve, self.half_of_day, self.minute, self.second, self.fraction]
            .contains(&true)
    }

    /// What a pattern lacks to give an instant.
    fn missing(&self) -> Option<&'static str> {
        let by_iso_week = self.iso_year && self.iso_week && self.weekday;
        let by_week = self.week && self.weekday;
        let has_hour = self.hour || (self.hour_of_twelve && self.half_of_day);
        let checks = [
            (self.year || by_iso_week, "the year (`%Y`)"),
            (self.month || self.day_of_year || by_week || by_iso_week, "the month (`%m`)"),
            (self.day || self.day_of_year || by_week || by_iso_week, "the day (`%d`)"),
            (has_hour || !self.has_time(), self.missing_hour()),
            (self.minute || !self.second, "the minute (`%M`)"),
            (self.second || !self.fraction, "the second (`%S`)"),
        ];
        let missing = checks.into_iter().find(|(holds, _)| !holds);
        missing.filter(|_| !self.whole).map(|(_, name)| name)
    }

    fn missing_hour(&self) -> &'static str {
        match self.hour_of_twelve {
            true => "the half of the day (`%p`) beside the hour",
            false => "the hour (`%H`)",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::DateTime;

    use super::*;

    fn zones() -> Zones {
        let zones = [("PST", "-08:00"), ("CEST", "+0200"), ("CET", "+01")];
        let zones = zones.map(|(name, offset)| (name.to_owned(), offset.to_owned()));
        Zones::read(None, Some(&BTreeMap::from(zones))).expect("zones")
    }

    fn check_in(zones: Zones, pattern: &str, text: &str, expect: &str) {
        let micros = TimePattern::new(pattern, zones).expect("a pattern").parse(text);
        let time = micros.and_then(DateTime::from_timestamp_micros);
        let shown =
            time.map_or("none".into(), |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string());
        assert_eq!(shown, expect, "{text:?} as {pattern:?}");
    }

    fn check(pattern: &str, text: &str, expect: &str) {
        check_in(Zones::default(), pattern, text, expect);
    }

    #[test]
    fn a_pattern_reads_its_times() {
        check("%d.%m.%Y %H:%M:%S", "17.05.2015 10:05:03", "2015-05-17T10:05:03Z");
        check("%d.%m.%Y", "17.05.2015", "2015-05-17T00:00:00Z");
        check("%d.%m.%Y", "17.05.2015 10:05", "none");
        check("%Y%m%d%H%M%S%z", "20150517100503+0200", "2015-05-17T08:05:03Z");
        check("%Y-%m-%d %H", "2015-05-17 10", "2015-05-17T10:00:00Z");
        check("%d/%b/%y %I:%M %p", "17/May/15 10:05 PM", "2015-05-17T22:05:00Z");
        check("%G-W%V-%u", "2015-W20-7", "2015-05-17T00:00:00Z");
        check("%Y-%j", "2015-137", "2015-05-17T00:00:00Z");
        check("%s", "1431857103", "2015-05-17T10:05:03Z");
        check("%s.%3f", "1431857103.250", "2015-05-17T10:05:03.250Z");
        check("%+", "2015-05-17T10:05:03+02:00", "2015-05-17T08:05:03Z");
        check("%Y-%m-%d %H:%M:%S", "2016-12-31 23:59:60", "2017-01-01T00:00:00Z");
    }

    #[test]
    fn digits_after_a_point_are_parts_of_a_second() {
        for pattern in ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S%.f"] {
            check(pattern, "2015-05-17 10:05:03.25", "2015-05-17T10:05:03.250Z");
            check(pattern, "2015-05-17 10:05:03.123456", "2015-05-17T10:05:03.123456Z");
            check(pattern, "2015-05-17 10:05:03.1234567891", "2015-05-17T10:05:03.123456Z");
        }
        check(
            "%Y-%m-%d %H:%M:%S,%3f %z",
            "2015-05-17 10:05:03,250 +02",
            "2015-05-17T08:05:03.250Z",
        );
        check("%Y-%m-%d %H:%M:%S.%f", "2015-05-17 10:05:03.", "none");
    }

    #[test]
    fn an_offset_is_read_however_it_is_written() {
        for pattern in ["%Y-%m-%d %H:%M:%S%z", "%Y-%m-%d %H:%M:%S %z", "%F %T%#z", "%F %T%:z"] {
            for offset in ["+02:00", "+0200", "+02", " +02:00", " +02"] {
                let text = format!("2015-05-17 10:05:03{offset}");
                check(pattern, &text, "2015-05-17T08:05:03Z");
            }
            check(pattern, "2015-05-17 10:05:03Z", "2015-05-17T10:05:03Z");
            check(pattern, "2015-05-17 10:05:03 UTC", "2015-05-17T10:05:03Z");
            check(pattern, "2015-05-17 10:05:03", "none");
            check(pattern, "2015-05-17 10:05:03 PST", "none");
        }
        check("%Y-%m-%d %z", "2015-05-17 +0200", "2015-05-16T22:00:00Z");
        check("%z %Y-%m-%d", "+0200 2015-05-17", "2015-05-16T22:00:00Z");
    }

    #[test]
    fn letters_of_a_zone_mean_what_was_said() {
        let check = |text, expect| check_in(zones(), "%Y-%m-%d %H:%M:%S %Z", text, expect);
        check("2026-01-01 12:00:00 PST", "2026-01-01T20:00:00Z");
        check("2026-07-01 12:00:00 CEST", "2026-07-01T10:00:00Z");
        check("2026-01-01 12:00:00 CET", "2026-01-01T11:00:00Z");
        check("2026-01-01 12:00:00 +0200", "2026-01-01T10:00:00Z");
        check("2026-01-01 12:00:00 GMT", "2026-01-01T12:00:00Z");
        check("2026-01-01 12:00:00 EST", "none");
        check("2026-01-01 12:00:00 PSTX", "none");
        check("2026-01-01 12:00:00", "none");
    }

    #[test]
    fn letters_beside_an_offset_count_for_nothing() {
        let pattern = "%Y-%m-%d %H:%M:%S %z %Z";
        check(pattern, "2026-01-01 12:00:00 +0200 CEST", "2026-01-01T10:00:00Z");
        check(pattern, "2026-01-01 12:00:00 +0000 UTC", "2026-01-01T12:00:00Z");
    }

    #[test]
    fn a_time_without_an_offset_is_one_of_its_zone() {
        let berlin = || Zones::read(Some("Europe/Berlin"), None).expect("a zone");
        let check = |pattern, text, expect| check_in(berlin(), pattern, text, expect);
        check("%Y-%m-%d %H:%M:%S", "2026-07-01 12:00:00", "2026-07-01T10:00:00Z");
        check("%Y-%m-%d", "2026-01-01", "2025-12-31T23:00:00Z");
        check("%Y-%m-%d %H:%M:%S %z", "2026-07-01 12:00:00 -08", "2026-07-01T20:00:00Z");
        check("%s", "0", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn what_gives_no_instant_is_refused_with_what_lacks() {
        let check = |pattern: &str, expect: &str| {
            let error = TimePattern::new(pattern, Zones::default()).expect_err(pattern);
            assert!(error.to_string().contains(expect), "{pattern}: {error}");
            assert!(error.hint_text().is_some());
        };
        check("%Q", "is not a pattern");
        check("iso", "is not a pattern");
        check("%b %d %H:%M:%S", "the year (`%Y`) is missing");
        check("%H:%M:%S", "the year (`%Y`) is missing");
        check("%C %m %d", "the year (`%Y`) is missing");
        check("%Y %H:%M:%S", "the month (`%m`) is missing");
        check("%Y-%m %H:%M:%S", "the day (`%d`) is missing");
        check("%Y-%m-%d %M:%S", "the hour (`%H`) is missing");
        check("%Y-%m-%d %I:%M:%S", "the half of the day (`%p`)");
        check("%Y-%m-%d %H.%S", "the minute (`%M`) is missing");
        check("%Y-%m-%d %H:%M%.f", "the second (`%S`) is missing");
        check("%Y-%m-%d %H:%M:%S %Z", "mean several time zones");
        let unread = TimePattern::new("%Y-%m-%d %H:%M:%S", zones()).expect_err("no `%Z`");
        assert_eq!(unread.field_name(), Some("zones"));
    }
}
