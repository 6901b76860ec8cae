//! The parts of a form in the making.

use contract::{Error, Result};

use crate::access_log::layout::{Kind, Part};
use crate::timestamp::{TimeFormat, Zones};

/// All bytes sent, headers too: the standard column `bytes` where nothing else fills it.
pub const BYTES_SENT: &str = "bytes_sent";

/// The part of a second in milliseconds, as a pattern.
pub const MILLISECONDS: &str = "%3f";

/// The part of a second in microseconds, as a pattern.
pub const MICROSECONDS: &str = "%6f";

/// Parts that were read so far.
#[derive(Default)]
pub struct Parts {
    parts: Vec<Part>,
    /// Times by the place of their part; the ones that several directives write are put together.
    times: Vec<(usize, String)>,
}

impl Parts {
    /// Adds text that stands in every line.
    pub fn literal(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Literal(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Literal(text.into())),
        }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &str, kind: Kind) {
        let before = match self.parts.last_mut() {
            Some(Part::Field(name, kind)) => Some((name, kind)),
            _ => None,
        };
        // A path and its query without anything between them are what was asked for.
        match (before, &kind) {
            (Some((path, text @ Kind::Text)), Kind::Query) if path == "path" => {
                "endpoint".clone_into(path);
                *text = Kind::Target;
            }
            // nginx's `$is_args` is the question mark between them.
            (Some((path, Kind::Text)), Kind::Label(_)) if path == "path" && name == "is_args" => {}
            _ => self.parts.push(Part::Field(name.into(), kind)),
        }
    }

    /// Adds a time in units or in a pattern of strftime. What lacks the date or the time of day is
    /// put together with the time before it, as in `%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t`.
    pub fn time(&mut self, setting: &str) {
        let Some((place, merged)) = self.merged(setting) else {
            match setting {
                MILLISECONDS => self.field("msec_frac", Kind::Integer),
                MICROSECONDS => self.field("usec_frac", Kind::Integer),
                _ => {
                    self.times.push((self.parts.len(), setting.into()));
                    self.parts.push(Part::Field("ts".into(), Kind::ClfTime));
                }
            }
            return;
        };
        self.parts.truncate(place + 1);
        self.times.pop();
        self.times.push((place, merged));
    }

    /// The time before this one together with it, where they are one, and its place.
    fn merged(&self, setting: &str) -> Option<(usize, String)> {
        let (place, before) = self.times.last()?;
        let between = match self.parts.get(place + 1..)? {
            [] => "",
            [Part::Literal(text)] => text,
            _ => return None,
        };
        if before == "unix" && matches!(setting, MILLISECONDS | MICROSECONDS) && between == "." {
            return Some((*place, before.clone()));
        }
        if !before.contains('%') || !setting.contains('%') {
            return None;
        }
        let is_whole = has_date(before) && has_time_of_day(before);
        (!is_whole || !has_date(setting))
            .then(|| (*place, format!("{before}{}{setting}", between.replace('%', "%%"))))
    }

    /// The parts, with `bytes` and `ip` filled by what comes nearest to them.
    ///
    /// # Errors
    /// Config: a time is no pattern, or one that gives no instant; nothing reads the zones.
    pub fn finish(mut self, zones: &Zones) -> Result<Vec<Part>> {
        if self.times.is_empty() && !zones.is_utc() {
            return Err(no_local_time());
        }
        for (place, setting) in &self.times {
            self.parts[*place] = Part::Field(
                "ts".into(),
                Kind::Time(TimeFormat::new(Some(setting), zones.clone())?),
            );
        }
        let has = |parts: &[Part], wanted: &str| {
            parts.iter().any(|part| matches!(part, Part::Field(name, _) if name == wanted))
        };
        let (has_bytes, mut has_ip) = (has(&self.parts, "bytes"), has(&self.parts, "ip"));
        for part in &mut self.parts {
            match part {
                Part::Field(name, _) if name == BYTES_SENT && !has_bytes => *name = "bytes".into(),
                Part::Field(_, Kind::Addresses { client }) if !has_ip => {
                    *client = true;
                    has_ip = true;
                }
                _ => {}
            }
        }
        Ok(self.parts)
    }
}

/// The error of zones where every time has its own offset.
pub fn no_local_time() -> Error {
    Error::config("the form of the lines has no time without an offset")
        .field("time_zone")
        .hint("leave `time_zone` and `zones` out: `%t` and `$time_local` carry their offset")
}

fn has_date(pattern: &str) -> bool {
    has(pattern, "deFDjxcs+v")
}

fn has_time_of_day(pattern: &str) -> bool {
    has(pattern, "HIkTRrXcs+")
}

/// Whether the pattern has one of these conversions.
fn has(pattern: &str, conversions: &str) -> bool {
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        if sign == '%' {
            let letter = signs.find(|sign| !"-_0^#EO:.".contains(*sign));
            if letter.is_some_and(|letter| conversions.contains(letter)) {
                return true;
            }
        }
    }
    false
}

/// The column of a request header.
pub fn header(name: &str) -> (String, Kind) {
    match name {
        "referer" => ("referrer".into(), Kind::Text),
        "x_forwarded_for" => (name.into(), Kind::Addresses { client: false }),
        other => (other.into(), Kind::Text),
    }
}

/// A name in lowercase with an underscore for every other sign.
pub fn column_name(text: &str) -> String {
    let letter = |sign: char| if sign.is_alphanumeric() { sign } else { '_' };
    text.chars().map(letter).collect::<String>().to_lowercase()
}
