//! Tells from some lines which format they have.
//!
//! Pure, and never a guess: a format is taken only where nearly all of the first lines have it.
//! Where two formats fit as many lines, the one that says more about them is taken, as every line
//! of Caddy is JSON too.

use std::fmt;
use std::net::IpAddr;

use arrow::array::{Array, AsArray, StringViewArray};
use contract::{Error, ErrorKind};

use crate::logfmt::Pairs;
use crate::named::container;
use crate::text::Lines;
use crate::{Fields, Format, FormatConfig, infer, object, parser};

/// So many lines are looked at.
pub const LINES_MAX: usize = 100;

/// Of ten lines so many must have the format.
pub const OF_TEN: usize = 9;

/// The column in which `auto` keeps what a guess of the fields did not see.
const REST: &str = "rest";

/// The formats that are told, those first that say most about a line.
const CANDIDATES: [Format; 16] = [
    Format::Docker,
    Format::Cri,
    Format::Caddy,
    Format::TraefikJson,
    Format::Json,
    Format::Alb,
    Format::Elb,
    Format::S3Access,
    Format::Traefik,
    Format::Haproxy,
    Format::Nginx,
    Format::VhostCombined,
    Format::Combined,
    Format::Common,
    Format::Logfmt,
    Format::Text,
];

/// The format that lines have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The format, with guessed fields where it needs some.
    pub format: FormatConfig,
    /// How many of the lines have it.
    pub matched: usize,
    /// How many lines were looked at.
    pub lines: usize,
}

impl Detected {
    /// The settings for a pipeline: what a guess of the fields did not see is kept in a column.
    #[must_use]
    pub fn for_pipeline(mut self) -> Self {
        if let Some(fields) = &self.format.fields
            && !fields.0.iter().any(|(name, _)| name.replace('.', "_") == REST)
        {
            self.format.rest = Some(REST.to_owned());
        }
        self
    }

    /// What was taken, in the words of a pipeline file.
    pub fn name(&self) -> String {
        match self.format.inner {
            None => self.format.format.name().to_owned(),
            Some(inner) => format!("{}, inner: {}", self.format.format.name(), inner.name()),
        }
    }
}

impl fmt::Display for Detected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { matched, lines, .. } = self;
        let name = self.name();
        match lines {
            1 => write!(formatter, "format {name}: the first line has it"),
            _ => write!(formatter, "format {name}: {matched} of the first {lines} lines have it"),
        }
    }
}

/// Why no format was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// How many lines were looked at.
    pub lines: usize,
    /// The closest formats with the lines that have them, the best first; at most two.
    pub closest: Vec<(Format, usize)>,
}

impl fmt::Display for Undecided {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines == 0 {
            return formatter.write_str("there is no line to tell the format from");
        }
        if self.lines == 1 {
            return formatter.write_str("no format fits the first line");
        }
        write!(formatter, "no format fits {OF_TEN} of 10 of the first {} lines", self.lines)?;
        let mut separator = ": ";
        for (format, matched) in &self.closest {
            write!(formatter, "{separator}{} fits {matched}", format.name())?;
            separator = ", ";
        }
        Ok(())
    }
}

impl std::error::Error for Undecided {}

impl Undecided {
    /// The user's error, with the way out.
    pub fn into_error(self) -> Error {
        let hint = match self.lines {
            0 => "begin again once there are lines, or name the format",
            _ => {
                "name the format: `logmill connectors parse` lists them; `custom` takes the \
                 server's own log format, `regex` a pattern"
            }
        };
        Error::config(self.to_string()).field("format").hint(hint)
    }
}

/// The format of the first [`LINES_MAX`] lines; fields are guessed from all of them.
///
/// # Errors
/// No format fits enough of them.
pub fn detect(lines: &StringViewArray) -> Result<Detected, Undecided> {
    detect_among(lines, &CANDIDATES[..CANDIDATES.len() - 1])
}

/// The settings of a container's lines, with the format of the lines inside as they show it, and
/// plain text where they show none.
pub fn detect_inside(container: Format, lines: &StringViewArray) -> FormatConfig {
    let inside = detect_among(&contents(container, lines), &CANDIDATES[2..]);
    let inside = inside.map_or_else(|_| FormatConfig::new(Format::Text), |found| found.format);
    FormatConfig { format: container, inner: Some(inside.format), ..inside }
}

fn detect_among(lines: &StringViewArray, candidates: &[Format]) -> Result<Detected, Undecided> {
    let sample = lines.slice(0, lines.len().min(LINES_MAX));
    let mut found: Vec<(Format, usize)> = candidates
        .iter()
        .map(|format| (*format, matches(*format, &sample)))
        .filter(|(_, matched)| *matched > 0)
        .collect();
    // The sort keeps the order of the candidates where as many lines fit.
    found.sort_by_key(|(_, matched)| std::cmp::Reverse(*matched));
    let undecided = || {
        let closest = found.iter().take(2).copied().collect();
        Undecided { lines: sample.len(), closest }
    };
    let Some((format, matched)) = found.first().copied() else { return Err(undecided()) };
    if matched * 10 < sample.len() * OF_TEN {
        return Err(undecided());
    }
    let format = settings(format, lines).ok_or_else(undecided)?;
    Ok(Detected { format, matched, lines: sample.len() })
}

/// The settings with which a format reads the lines that have it.
fn settings(format: Format, lines: &StringViewArray) -> Option<FormatConfig> {
    if format.is_container() {
        return Some(detect_inside(format, lines));
    }
    let fields = match format {
        Format::Json | Format::Logfmt => Some(fields_of(format, lines)?),
        _ => None,
    };
    Some(FormatConfig { fields, ..FormatConfig::new(format) })
}

/// Fields by which lines of the sample are read.
fn fields_of(format: Format, lines: &StringViewArray) -> Option<Fields> {
    let fields = infer(format, lines).ok()?;
    let config = FormatConfig { fields: Some(fields), ..FormatConfig::new(format) };
    parser(&config).ok()?;
    config.fields
}

/// Fields of a format that somebody names, by the first lines.
///
/// # Errors
/// Config: there is no line, or the fields of the format are not guessed. Record: no line has it.
pub fn named_fields(format: Format, lines: &StringViewArray) -> contract::Result<Fields> {
    infer(format, lines).map_err(|error| match detect(lines) {
        Ok(detected) if error.kind() == ErrorKind::Record => {
            error.hint(format!("the lines are written in format `{}`", detected.name()))
        }
        _ => error,
    })
}

/// How many lines have a format.
fn matches(format: Format, lines: &StringViewArray) -> usize {
    let texts = Lines::new(lines);
    let texts = || (0..lines.len()).filter_map(|row| texts.line(row)).map(|line| line.text);
    match format {
        Format::Docker | Format::Cri => {
            texts().filter(|text| container::open(format, text).is_ok()).count()
        }
        Format::Json => texts().filter(|text| is_object(text)).count(),
        Format::Logfmt => texts().filter(|text| is_logfmt(text)).count(),
        Format::Text => lines.len(),
        _ => plausible_rows(format, lines),
    }
}

/// Whether a value can be what its column says.
type Check = fn(&str) -> bool;

/// The rows that a parser makes. The usual forms take nearly any text between two blanks; there the
/// address, the user and the host must be such, too.
fn plausible_rows(format: Format, lines: &StringViewArray) -> usize {
    let Ok(parser) = parser(&FormatConfig::new(format)) else { return 0 };
    let checks: &[(&str, Check)] = match format {
        Format::VhostCombined => &[("ip", is_host), ("user", is_word), ("vhost", is_name)],
        Format::Combined | Format::Common | Format::Nginx => &[("ip", is_host), ("user", is_word)],
        _ => &[],
    };
    let schema = parser.schema();
    let places: Vec<_> = checks.iter().filter_map(|(name, _)| schema.index_of(name).ok()).collect();
    let parsed = parser.parse(lines, Some(&places));
    let fits = |row: usize| {
        parsed.columns.iter().zip(checks).all(|(column, (_, check))| {
            let texts = column.as_string_view();
            texts.is_null(row) || check(texts.value(row))
        })
    };
    let rows = lines.len() - parsed.refused.len();
    (0..rows).filter(|row| fits(*row)).count()
}

/// An address, or the name of a machine.
fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (!text.is_empty()
            && text.chars().all(|sign| sign.is_alphanumeric() || ".-_:%".contains(sign)))
}

fn is_word(text: &str) -> bool {
    !text.contains(' ')
}

/// The name of a host, not an address: an address there may as well be the client's.
fn is_name(text: &str) -> bool {
    let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
    is_host(text) && text.parse::<IpAddr>().is_err() && name.parse::<IpAddr>().is_err()
}

fn is_object(text: &str) -> bool {
    let mut entries = Vec::new();
    object::read_entries(text, &mut entries).is_ok() && !entries.is_empty()
}

/// At least two pairs, and nothing but pairs with plain keys.
fn is_logfmt(text: &str) -> bool {
    let Ok(pairs) = Pairs::of(text) else { return false };
    let mut count = 0;
    for pair in pairs {
        let Ok((key, value)) = pair else { return false };
        let is_plain = key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && key.chars().all(|sign| sign.is_ascii_alphanumeric() || "_.-/@".contains(sign));
        let has_value = value != "true" || text.contains(&format!("{key}="));
        if !is_plain || !has_value {
            return false;
        }
        count += 1;
    }
    count >= 2
}

/// The lines inside the envelopes of containers, without those of which an envelope holds only a
/// part: their rest looks like nothing.
fn contents(format: Format, lines: &StringViewArray) -> StringViewArray {
    let text = Lines::new(lines);
    let lines = (0..lines.len()).filter_map(|row| text.line(row)).map(|line| line.text);
    // The streams whose last envelope did not end its line.
    let mut open: Vec<&str> = Vec::new();
    let contents = lines.filter_map(|line| {
        let envelope = container::open(format, line).ok()?;
        let is_rest = open.contains(&envelope.stream);
        match (is_rest, envelope.partial) {
            (false, true) => open.push(envelope.stream),
            (true, false) => open.retain(|stream| *stream != envelope.stream),
            _ => {}
        }
        let text = envelope.content.text();
        let is_whole = !is_rest && !envelope.partial && !text.trim_ascii().is_empty();
        is_whole.then(|| text.to_owned())
    });
    StringViewArray::from_iter_values(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named::tests::samples::samples;

    const COMBINED: &str =
        r#"192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8""#;

    fn lines(lines: &[&str]) -> StringViewArray {
        StringViewArray::from(lines.to_vec())
    }

    fn said(of: &[&str]) -> String {
        match detect(&lines(of)) {
            Ok(detected) => detected.to_string(),
            Err(undecided) => undecided.to_string(),
        }
    }

    #[test]
    fn every_sample_is_told_as_itself() {
        let mut told = 0;
        for (format, line, _) in samples() {
            if format == Format::Text {
                continue;
            }
            let detected = detect(&lines(&[line])).expect("it is told");
            assert_eq!(detected.format.format, format, "{line}");
            told += 1;
        }
        let usual = [
            (Format::Combined, COMBINED),
            (
                Format::Combined,
                r#"h7.example.com - me [03/Mar/2026:10:00:00 +0000] "-" 408 - "-" "-" 12"#,
            ),
            (Format::Common, r#"::1 - - [03/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5"#),
            (
                Format::VhostCombined,
                r#"example.com:443 1.2.3.4 - - [03/Mar/2026:10:00:00 +0000] "GET /" 200 5 "-" "-""#,
            ),
            (Format::Json, r#"{"level":"info","ts":1,"msg":"started"}"#),
            (Format::Logfmt, "time=2026-03-03T10:00:00Z level=info msg=\"two words\" ok=true"),
        ];
        for (format, line) in usual {
            let detected = detect(&lines(&[line])).expect("it is told");
            assert_eq!(detected.format.format, format, "{line}");
            assert!(parser(&detected.format).is_ok());
            told += 1;
        }
        assert!(told >= 20, "{told}");
    }

    #[test]
    fn nearly_all_lines_must_have_the_format() {
        let mixed = |good: usize| {
            let all: Vec<_> = (0..10).map(|at| if at < good { COMBINED } else { "x" }).collect();
            said(&all)
        };
        assert_eq!(mixed(9), "format combined: 9 of the first 10 lines have it");
        assert_eq!(mixed(8), "no format fits 9 of 10 of the first 10 lines: combined fits 8");
        let two = [COMBINED, r#"{"a":1}"#, r#"{"a":2}"#];
        let expect = "no format fits 9 of 10 of the first 3 lines: json fits 2, combined fits 1";
        assert_eq!(said(&two), expect);
        assert_eq!(said(&["plain", "text = free"]), "no format fits 9 of 10 of the first 2 lines");
        assert_eq!(said(&[]), "there is no line to tell the format from");
        let many = vec![COMBINED; LINES_MAX + 7];
        assert_eq!(said(&many), "format combined: 100 of the first 100 lines have it");
    }

    #[test]
    fn what_fits_two_ways_is_not_taken() {
        let two_addresses =
            r#"10.0.0.9 192.0.2.1 - - [03/Mar/2026:10:00:00 +0000] "GET /" 200 5 "-" "-""#;
        let list = r#"192.0.2.1, 10.0.0.1 - - [03/Mar/2026:10:00:00 +0000] "GET /" 200 5 "-" "-""#;
        for line in [two_addresses, list] {
            assert!(detect(&lines(&[line])).is_err(), "{line}");
        }
        assert!(detect(&lines(&["see a=b and c", "SELECT x=1"])).is_err());
    }

    #[test]
    fn parts_of_long_lines_inside_a_container_say_nothing() {
        let envelope = |stream: &str, tag: &str, text: &str| {
            format!("2026-03-03T10:00:00.1Z {stream} {tag} {text}")
        };
        let mut all = vec![envelope("stdout", "F", COMBINED)];
        for _ in 0..20 {
            all.push(envelope("stdout", "P", &COMBINED[..40]));
            all.push(envelope("stderr", "F", COMBINED));
            all.push(envelope("stdout", "P", "more of it"));
            all.push(envelope("stdout", "F", &COMBINED[40..]));
        }
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let detected = detect(&lines(&all)).expect("it is told");
        assert_eq!(detected.name(), "cri, inner: combined");
    }

    #[test]
    fn the_lines_inside_a_container_are_told_too() {
        let check = |content: &str, expect: &str| {
            let cri = format!("2026-03-03T10:00:00.5Z stdout F {content}");
            let part = "2026-03-03T10:00:00.5Z stdout P {\"a\":";
            assert_eq!(detect(&lines(&[&cri, part])).expect("told").name(), expect, "{content}");
        };
        check(COMBINED, "cri, inner: combined");
        check(r#"{"a":7}"#, "cri, inner: json");
        check("started at last", "cri, inner: text");
    }

    #[test]
    fn a_pipeline_keeps_what_a_guess_did_not_see() {
        let detected = detect(&lines(&[r#"{"a":7}"#])).expect("told").for_pipeline();
        assert_eq!(detected.format.rest.as_deref(), Some("rest"));
        let text = serde_json::to_string(&detected.format).expect("it is JSON");
        assert_eq!(text, r#"{"format":"json","fields":{"a":"integer"},"rest":"rest"}"#);
        let read: FormatConfig = serde_json::from_str(&text).expect("it is read");
        assert_eq!(read, detected.format);
    }
}
