//! Reads the notations in which web servers' configurations describe a line: Apache's
//! `LogFormat` and nginx's `log_format`.
//!
//! Known directives give the standard columns; any other one is a column of text under its own
//! name in lowercase.

use contract::{Error, Result};

use super::layout::{Kind, Part};
use crate::timestamp::TimeFormat;

const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
const MICROSECOND_NS: i64 = 1_000;

/// Reads a form in either notation: whichever mark stands first, `%` or `$`.
///
/// # Errors
/// Config: the form is not valid.
pub fn read(text: &str) -> Result<Vec<Part>> {
    match text.find(['%', '$']).map(|at| text.as_bytes()[at]) {
        Some(b'%') => apache(&text.replace("\\\"", "\"")),
        Some(_) => nginx(text),
        None => Err(Error::config("the form of the lines has neither `%` nor `$`").hint(
            "write it as Apache (`%h %l %u %t \"%r\" %>s %b`) or nginx (`$remote_addr …`) does",
        )),
    }
}

/// Reads Apache's notation.
///
/// # Errors
/// Config: a directive is not complete.
pub fn apache(text: &str) -> Result<Vec<Part>> {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        parts.literal(&rest[..at]);
        let directive = Directive::read(&rest[at + 1..]).ok_or_else(|| {
            let message = format!("the directive {:?} is not complete", &rest[at..]);
            Error::config(message).hint("a percent sign that stands for itself is written `%%`")
        })?;
        directive.add_to(&mut parts)?;
        rest = directive.rest;
    }
    parts.literal(rest);
    Ok(parts.finish())
}

/// A directive of Apache's: `%{argument}letter`.
struct Directive<'a> {
    argument: Option<&'a str>,
    letter: &'a str,
    rest: &'a str,
}

impl<'a> Directive<'a> {
    /// Reads what stands after a percent sign. Conditions and redirections (`%!200,304{…}i`,
    /// `%>s`) do not change what a value looks like.
    fn read(text: &'a str) -> Option<Self> {
        let modifiers = |letter: char| letter.is_ascii_digit() || "!,<>".contains(letter);
        let text = text.trim_start_matches(modifiers);
        let (argument, text) = match text.strip_prefix('{') {
            Some(inner) => {
                let (argument, after) = inner.split_once('}')?;
                (Some(argument), after)
            }
            None => (None, text),
        };
        // `%^ti` and `%^to` are the only names of three signs.
        let length = if text.starts_with("^t") { 3 } else { text.chars().next()?.len_utf8() };
        let (letter, rest) = text.split_at_checked(length)?;
        Some(Self { argument, letter, rest })
    }

    fn add_to(&self, parts: &mut Parts) -> Result<()> {
        let (name, kind) = match (self.letter, self.argument) {
            ("%", None) => {
                parts.literal("%");
                return Ok(());
            }
            ("t", None) => {
                parts.literal("[");
                parts.field("ts", Kind::ClfTime);
                parts.literal("]");
                return Ok(());
            }
            ("t", Some(format)) => ("ts".into(), Kind::Time(apache_time(format)?)),
            ("T", unit) => ("response_time_ms".into(), Kind::Duration(apache_unit(unit)?)),
            (_, Some(argument)) => self.with_argument(argument),
            (_, None) => self.plain(),
        };
        parts.field(&name, kind);
        Ok(())
    }

    fn plain(&self) -> (String, Kind) {
        let (name, kind) = match self.letter {
            "h" | "a" => ("ip", Kind::Text),
            "A" => ("local_ip", Kind::Text),
            "l" => ("ident", Kind::Text),
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
            "v" | "V" => ("vhost", Kind::Text),
            "p" => ("port", Kind::Integer),
            "P" => ("pid", Kind::Integer),
            "k" => ("keepalive_requests", Kind::Integer),
            "X" => ("connection_status", Kind::Text),
            "f" => ("filename", Kind::Text),
            "L" => ("log_id", Kind::Text),
            "R" => ("handler", Kind::Text),
            other => return (format!("field_{}", column_name(other)), Kind::Text),
        };
        (name.into(), kind)
    }

    fn with_argument(&self, argument: &str) -> (String, Kind) {
        let name = column_name(argument);
        match self.letter {
            "i" => (header_column(&name), Kind::Text),
            "o" => (format!("sent_{name}"), Kind::Text),
            "C" => (format!("cookie_{name}"), Kind::Text),
            "e" => (format!("env_{name}"), Kind::Text),
            "n" => (format!("note_{name}"), Kind::Text),
            "a" if argument == "c" => ("peer_ip".into(), Kind::Text),
            "p" => (format!("{name}_port"), Kind::Integer),
            "P" => (name, Kind::Integer),
            _ => (name, Kind::Text),
        }
    }
}

/// The time that `%{…}t` writes.
fn apache_time(format: &str) -> Result<TimeFormat> {
    let format = format.strip_prefix("begin:").or(format.strip_prefix("end:")).unwrap_or(format);
    let setting = match format {
        "sec" => "unix",
        "msec" => "unix_ms",
        "usec" => "unix_us",
        pattern => pattern,
    };
    TimeFormat::read(Some(setting))
}

/// The unit of `%T` and `%{…}T`.
fn apache_unit(unit: Option<&str>) -> Result<i64> {
    match unit {
        None | Some("s") => Ok(SECOND_NS),
        Some("ms") => Ok(MILLISECOND_NS),
        Some("us") => Ok(MICROSECOND_NS),
        Some(other) => Err(Error::config(format!("unknown unit {other:?} in `%{{{other}}}T`"))
            .hint("the units are `ms`, `us` and `s`")),
    }
}

/// Reads nginx's notation.
///
/// # Errors
/// Config: a variable is not complete.
pub fn nginx(text: &str) -> Result<Vec<Part>> {
    let mut parts = Parts::default();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        parts.literal(&rest[..at]);
        let (name, after) = nginx_variable(&rest[at + 1..]).ok_or_else(|| {
            let message = format!("the variable {:?} has no name", &rest[at..]);
            Error::config(message).hint("variables are written `$status` or `${status}`")
        })?;
        let (column, kind) = nginx_field(name);
        parts.field(&column, kind);
        rest = after;
    }
    parts.literal(rest);
    Ok(parts.finish())
}

/// The name of a variable and what follows it.
fn nginx_variable(text: &str) -> Option<(&str, &str)> {
    if let Some(inner) = text.strip_prefix('{') {
        return inner.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    (!name.is_empty()).then_some((name, rest))
}

fn nginx_field(variable: &str) -> (String, Kind) {
    let (name, kind) = match variable {
        "remote_addr" => ("ip", Kind::Text),
        "remote_user" => ("user", Kind::Text),
        "time_local" => ("ts", Kind::ClfTime),
        "time_iso8601" => ("ts", Kind::Time(TimeFormat::Guess)),
        "msec" => ("ts", Kind::Time(TimeFormat::Unix(1_000_000))),
        "request" => ("request", Kind::Request),
        "request_method" => ("method", Kind::Word),
        "request_uri" => ("endpoint", Kind::Target),
        "uri" | "document_uri" => ("path", Kind::Text),
        "args" | "query_string" => ("query", Kind::Query),
        "server_protocol" => ("protocol", Kind::Word),
        "status" => ("status", Kind::Status),
        "body_bytes_sent" => ("bytes", Kind::Integer),
        "bytes_sent" => (BYTES_SENT, Kind::Integer),
        "request_length" => ("request_length", Kind::Integer),
        "request_time" => ("response_time_ms", Kind::Duration(SECOND_NS)),
        "host" | "server_name" | "http_host" => ("vhost", Kind::Text),
        "server_port" => ("port", Kind::Integer),
        other => match other.strip_prefix("http_") {
            Some(header) => return (header_column(&column_name(header)), Kind::Text),
            None => return (column_name(other), Kind::Text),
        },
    };
    (name.into(), kind)
}

/// All bytes sent, headers too: the standard column `bytes` where nothing else fills it.
const BYTES_SENT: &str = "bytes_sent";

/// The column of a request header.
fn header_column(name: &str) -> String {
    match name {
        "referer" => "referrer".into(),
        other => other.into(),
    }
}

/// A name in lowercase with an underscore for every other sign.
fn column_name(text: &str) -> String {
    let letter = |sign: char| if sign.is_alphanumeric() { sign } else { '_' };
    text.chars().map(letter).collect::<String>().to_lowercase()
}

#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn literal(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Part::Literal(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.0.push(Part::Literal(text.into())),
        }
    }

    fn field(&mut self, name: &str, kind: Kind) {
        self.0.push(Part::Field(name.into(), kind));
    }

    fn finish(mut self) -> Vec<Part> {
        let is = |part: &Part, wanted| matches!(part, Part::Field(name, _) if name == wanted);
        if !self.0.iter().any(|part| is(part, "bytes")) {
            for part in &mut self.0 {
                if let Part::Field(name, _) = part
                    && name == BYTES_SENT
                {
                    *name = "bytes".into();
                }
            }
        }
        self.0
    }
}
