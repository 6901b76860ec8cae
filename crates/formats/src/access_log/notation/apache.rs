//! Apache's notation.
//!
//! The directives are those of `mod_log_config`, and of the modules that add to them: `mod_logio`
//! (`%I`, `%O`, `%S`, `%^FB`) and `mod_ssl` (`%{…}x`, `%{…}c`). What `mod_unique_id`,
//! `mod_usertrack`, `mod_deflate`, `mod_cache`, `mod_log_forensic` and `mod_http2` have to log
//! stands in `%{…}e`, `%{…}n` and `%{…}i`.
//!
//! <https://httpd.apache.org/docs/2.4/mod/mod_log_config.html#formats>,
//! <https://httpd.apache.org/docs/2.4/mod/mod_logio.html>,
//! <https://httpd.apache.org/docs/2.4/mod/mod_ssl.html#logformats>

use contract::{Error, Result};

use super::parts::{BYTES_SENT, MICROSECONDS, MILLISECONDS, Parts, column_name, header};
use super::quoting;
use crate::access_log::layout::{Alphabet, Escape, Form, Kind};
use crate::timestamp::Zones;

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
const MICROSECOND_NS: i64 = 1_000;

/// Reads the arguments of `LogFormat` or `CustomLog`, whose form is the one of this number.
///
/// # Errors
/// Config: the form is missing or not valid.
pub fn directive(arguments: &str, number: usize, zones: &Zones) -> Result<Form> {
    let form = quoting::arguments(arguments).and_then(|(arguments, _)| {
        let form = arguments.into_iter().nth(number)?;
        form.text.contains('%').then_some(form.text)
    });
    let form = form.ok_or_else(|| {
        Error::config("the directive has no form of the lines")
            .hint("it stands in quotes: `LogFormat \"%h %l %u %t \\\"%r\\\" %>s %b\" common`")
    })?;
    apache(&form, zones)
}

/// Reads Apache's notation; `zones` are those of times that have no offset.
///
/// # Errors
/// Config: a directive is not complete.
pub fn apache(text: &str, zones: &Zones) -> Result<Form> {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        parts.literal(&quoting::unescape(&rest[..at]));
        let directive = Directive::read(&rest[at + 1..]).ok_or_else(|| {
            let message = format!("the directive {:?} is not complete", &rest[at..]);
            Error::config(message).hint("a percent sign that stands for itself is written `%%`")
        })?;
        directive.add_to(&mut parts)?;
        rest = directive.rest;
    }
    parts.literal(&quoting::unescape(rest));
    Ok(Form { parts: parts.finish(zones)?, escape: Escape::Backslash, empty_numbers: false })
}

/// A directive of Apache's: `%{argument}letter`.
struct Directive<'a> {
    argument: Option<&'a str>,
    letter: &'a str,
    rest: &'a str,
}

impl<'a> Directive<'a> {
    /// Reads what stands after a percent sign. Conditions and redirections (`%!200,304{…}i`,
    /// `%>s`), which may stand on either side of the argument, do not change what a value looks
    /// like.
    fn read(text: &'a str) -> Option<Self> {
        let modifiers = |letter: char| letter.is_ascii_digit() || "!,<>".contains(letter);
        let mut argument = None;
        let mut text = text.trim_start_matches(modifiers);
        while let Some(inner) = text.strip_prefix('{') {
            let (inside, after) = inner.split_once('}')?;
            argument = Some(inside);
            text = after.trim_start_matches(modifiers);
        }
        // `%^FB`, `%^ti` and `%^to`: a name that begins so has three signs.
        let length = if text.starts_with('^') { 3 } else { text.chars().next()?.len_utf8() };
        let (letter, rest) = text.split_at_checked(length)?;
        Some(Self { argument, letter, rest })
    }

    fn add_to(&self, parts: &mut Parts) -> Result<()> {
        let (name, kind) = match (self.letter, self.argument) {
            ("%", None) => {
                parts.literal("%");
                return Ok(());
            }
            ("t", argument) => {
                add_time(argument.unwrap_or_default(), parts);
                return Ok(());
            }
            ("T", unit) => ("response_time_ms".into(), Kind::Duration(unit_ns(unit)?)),
            (_, Some(argument)) => self.with_argument(argument),
            (_, None) => self.plain(),
        };
        parts.field(&name, kind);
        Ok(())
    }

    fn plain(&self) -> (String, Kind) {
        let (name, kind) = match self.letter {
            "h" | "a" => ("ip", Kind::Address),
            "A" => ("local_ip", Kind::Address),
            "l" => ("ident", Kind::Label(Alphabet::Graphic)),
            "u" => ("user", Kind::Text),
            "r" => ("request", Kind::Request),
            "m" => ("method", Kind::Word),
            "U" => ("path", Kind::Text),
            "q" => ("query", Kind::Query),
            "H" => ("protocol", Kind::Word),
            "s" => ("status", Kind::Status),
            "b" | "B" => ("bytes", Kind::Integer),
            "O" => (BYTES_SENT, Kind::Integer),
            "I" => ("bytes_received", Kind::Integer),
            "S" => ("bytes_total", Kind::Integer),
            "D" => ("response_time_ms", Kind::Duration(MICROSECOND_NS)),
            "^FB" => ("first_byte_time_ms", Kind::Duration(MICROSECOND_NS)),
            "v" | "V" => ("vhost", Kind::Label(Alphabet::Host)),
            "p" => ("port", Kind::Integer),
            "P" => ("pid", Kind::Integer),
            "k" => ("keepalive_requests", Kind::Integer),
            "X" => ("connection_status", Kind::Mark),
            "f" => ("filename", Kind::Text),
            "L" => ("log_id", Kind::Label(Alphabet::Graphic)),
            "R" => ("handler", Kind::Label(Alphabet::Graphic)),
            other => return (format!("field_{}", column_name(other)), Kind::Text),
        };
        (name.into(), kind)
    }

    fn with_argument(&self, argument: &str) -> (String, Kind) {
        let name = column_name(argument);
        match (self.letter, argument) {
            ("i", _) => header(&name),
            ("o", _) => (format!("sent_{name}"), Kind::Text),
            ("^ti", _) => (format!("trailer_{name}"), Kind::Text),
            ("^to", _) => (format!("sent_trailer_{name}"), Kind::Text),
            ("C", _) => (format!("cookie_{name}"), Kind::Text),
            ("e", _) => (format!("env_{name}"), Kind::Text),
            ("n", _) => (format!("note_{name}"), Kind::Text),
            ("a" | "h", "c") => ("peer_ip".into(), Kind::Address),
            ("L", "c") => ("connection_log_id".into(), Kind::Label(Alphabet::Graphic)),
            ("p", "canonical") => ("port".into(), Kind::Integer),
            ("p", _) => (format!("{name}_port"), Kind::Integer),
            ("P", "hextid") => (name, Kind::Label(Alphabet::Graphic)),
            ("P", _) => (name, Kind::Integer),
            // What says nothing with an argument says what it says without.
            (
                "A" | "l" | "u" | "r" | "m" | "U" | "q" | "H" | "s" | "b" | "B" | "O" | "I" | "S",
                _,
            )
            | ("D" | "v" | "V" | "k" | "X" | "f" | "R" | "^FB", _) => self.plain(),
            _ => (name, Kind::Text),
        }
    }
}

/// Adds what `%t` and `%{…}t` write.
fn add_time(format: &str, parts: &mut Parts) {
    let after = |side: &str| {
        let rest = format.strip_prefix(side)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix(':') }
    };
    match after("begin").or_else(|| after("end")).unwrap_or(format) {
        "" => {
            parts.literal("[");
            parts.field("ts", Kind::ClfTime);
            parts.literal("]");
        }
        "sec" => parts.time("unix"),
        "msec" => parts.time("unix_ms"),
        "usec" => parts.time("unix_us"),
        "msec_frac" => parts.time(MILLISECONDS),
        "usec_frac" => parts.time(MICROSECONDS),
        pattern => parts.time(pattern),
    }
}

/// The unit of `%T` and `%{…}T`.
fn unit_ns(unit: Option<&str>) -> Result<i64> {
    match unit {
        None | Some("s") => Ok(SECOND_NS),
        Some("ms") => Ok(MILLISECOND_NS),
        Some("us") => Ok(MICROSECOND_NS),
        Some(other) => Err(Error::config(format!("unknown unit {other:?} in `%{{{other}}}T`"))
            .hint("the units are `ms`, `us` and `s`")),
    }
}
