//! Formats whose lines are fields in a fixed order with one blank between, as tables.
//!
//! A field may stand in quotes, in which blanks are text; a quote ends it only where a blank or
//! the end of the line follows, as some servers write quotes inside as they came. A quote where
//! none should stand refuses the line, so that no column shifts. A time may stand in brackets.
//! Vendors add fields at the end: those that old lines lack are null, and what a line has beyond
//! the known ones is kept whole in the column `more`.

use memchr::memchr2;

use super::Form;
use super::rows::{Column, ENDPOINT, Kind, METHOD, PROTOCOL, RESPONSE_TIME_MS, Row, TS, with_head};
use crate::timestamp::rfc3339;
use crate::typed::Cell;

/// What a field holds, with the column that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Nothing that anybody needs.
    Nothing,
    /// Text without quotes.
    Text(&'static str),
    /// Text in quotes.
    Quoted(&'static str),
    /// A word that repeats.
    Word(&'static str),
    /// A whole number.
    Integer(&'static str),
    /// A status of three digits.
    Status(&'static str),
    /// A time in brackets, as `[17/May/2015:10:05:03 +0000]`.
    ClfTime,
    /// A time of RFC 3339.
    Time(&'static str),
    /// An address with its port: two columns.
    Address(&'static str, &'static str),
    /// A request: method, endpoint, path, query and protocol.
    Request,
    /// A request whose target is a whole URL: those, and `scheme`, `vhost` and `port`.
    UrlRequest,
    /// Whole milliseconds, with the unit behind: the response time.
    Millis,
    /// Seconds with a fraction; the response time is the sum of all such fields.
    Seconds(&'static str),
}

/// The columns that [`Take::UrlRequest`] adds, in their order.
const URL: [(&str, Kind); 3] =
    [("scheme", Kind::Word), ("vhost", Kind::Text), ("port", Kind::Integer)];

/// The column of what stands beyond the known fields.
const MORE: &str = "more";

/// A format as a table.
pub struct Table {
    columns: Vec<Column>,
    /// Each field with its columns: the first, and the second of an address.
    fields: Vec<(Take, [usize; 2])>,
    /// How many fields every line has.
    required: usize,
}

impl Table {
    /// The format of these fields, of which every line has the first `required`.
    pub fn new(fields: &[Take], required: usize) -> Self {
        let mut columns = with_head(&[]);
        let mut place = |name: &str, kind: Kind| {
            let found = columns.iter().position(|column| column.name == name);
            found.unwrap_or_else(|| {
                columns.push(Column::new(name, kind));
                columns.len() - 1
            })
        };
        let mut placed = Vec::with_capacity(fields.len());
        for take in fields {
            let places = match *take {
                Take::Nothing => [0, 0],
                Take::Text(name) | Take::Quoted(name) => [place(name, Kind::Text); 2],
                Take::Word(name) => [place(name, Kind::Word); 2],
                Take::Integer(name) => [place(name, Kind::Integer); 2],
                Take::Status(name) => [place(name, Kind::Status); 2],
                Take::ClfTime => [TS; 2],
                Take::Time(name) => [place(name, Kind::Time); 2],
                Take::Address(ip, port) => [place(ip, Kind::Text), place(port, Kind::Integer)],
                Take::Request => [METHOD; 2],
                Take::UrlRequest => {
                    let places = URL.map(|(name, kind)| place(name, kind));
                    [places[0], places[0]]
                }
                Take::Millis => [RESPONSE_TIME_MS; 2],
                Take::Seconds(name) => [place(name, Kind::Number); 2],
            };
            placed.push((*take, places));
        }
        columns.push(Column::new(MORE, Kind::Text));
        Self { columns, fields: placed, required }
    }
}

impl Form for Table {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read<'a>(&self, line: &'a str, row: &mut Row<'a>) -> Result<(), String> {
        let mut rest = Rest { line, at: 0 };
        let mut spent_us = None;
        for (number, (take, places)) in self.fields.iter().enumerate() {
            if rest.is_empty() {
                if number >= self.required {
                    break;
                }
                return Err(format!("expected {}, the line ends", self.wanted(number)));
            }
            let begin = rest.at;
            let field = match take {
                Take::ClfTime => rest.bracketed(),
                _ => rest.field(),
            };
            let taken = field.and_then(|field| match take {
                Take::Seconds(_) => {
                    let seconds = seconds(field.text)?;
                    if let Some(seconds) = seconds {
                        row.set(places[0], Cell::Float(seconds));
                        let us = (seconds * 1e6).round() as i64;
                        spent_us = Some(spent_us.unwrap_or(0) + us);
                    }
                    Some(())
                }
                _ => fill(*take, *places, field, row),
            });
            taken
                .ok_or_else(|| format!("expected {} at byte {}", self.wanted(number), begin + 1))?;
        }
        if let Some(spent_us) = spent_us {
            row.number(RESPONSE_TIME_MS, spent_us / 1_000);
        }
        if !rest.is_empty() {
            row.piece(self.columns.len() - 1, &line[rest.at..], false);
        }
        Ok(())
    }
}

impl Table {
    fn wanted(&self, number: usize) -> String {
        let (take, places) = self.fields[number];
        let name = &self.columns[places[0]].name;
        match take {
            Take::Nothing => "a field".into(),
            Take::Text(_) | Take::Word(_) => format!("text without quotes as {name}"),
            Take::Quoted(_) => format!("text in quotes as {name}"),
            Take::Integer(_) => format!("a whole number as {name}"),
            Take::Status(_) => format!("three digits as {name}"),
            Take::ClfTime => "a time such as `[17/May/2015:10:05:03 +0000]` as ts".into(),
            Take::Time(_) => format!("a time such as `2015-05-17T10:05:03.250000Z` as {name}"),
            Take::Address(..) => format!("an address with its port as {name}"),
            Take::Request | Take::UrlRequest => "a request in quotes".into(),
            Take::Millis => format!("milliseconds such as `12ms` as {name}"),
            Take::Seconds(_) => format!("seconds as {name}"),
        }
    }
}

/// A field as it stands, without its quotes.
#[derive(Clone, Copy)]
struct Found<'a> {
    text: &'a str,
    quoted: bool,
    escaped: bool,
}

/// What of the line was not read yet.
struct Rest<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn is_empty(&self) -> bool {
        self.at >= self.line.len()
    }

    /// A field in quotes, or up to the next blank.
    fn field(&mut self) -> Option<Found<'a>> {
        let text = &self.line[self.at..];
        if let Some(inner) = text.strip_prefix('"') {
            let (end, escaped) = quoted_end(inner.as_bytes())?;
            self.at += end + 2;
            self.skip_blank();
            return Some(Found { text: &inner[..end], quoted: true, escaped });
        }
        let end = text.find(' ').unwrap_or(text.len());
        self.at += end;
        self.skip_blank();
        let is_plain = end > 0 && !text[..end].contains('"');
        is_plain.then_some(Found { text: &text[..end], quoted: false, escaped: false })
    }

    /// A field in brackets.
    fn bracketed(&mut self) -> Option<Found<'a>> {
        let inner = self.line[self.at..].strip_prefix('[')?;
        let end = inner.find(']')?;
        self.at += end + 2;
        self.skip_blank();
        Some(Found { text: &inner[..end], quoted: false, escaped: false })
    }

    fn skip_blank(&mut self) {
        if self.line.as_bytes().get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }
}

/// The quote that ends a text, and whether there are escapes before it.
pub fn quoted_end(text: &[u8]) -> Option<(usize, bool)> {
    let mut at = 0;
    let mut escaped = false;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'\\' {
            escaped = true;
            at += 2;
        } else if matches!(text.get(at + 1), None | Some(b' ')) {
            return Some((at, escaped));
        } else {
            at += 1;
        }
    }
}

/// Fills the columns of a field; none if it holds something else.
fn fill<'a>(take: Take, places: [usize; 2], field: Found<'a>, row: &mut Row<'a>) -> Option<()> {
    let Found { text, quoted, escaped } = field;
    let missing = text == "-";
    match take {
        Take::Nothing | Take::Seconds(_) => {}
        Take::ClfTime => {
            let time = row.clock.parse(text.as_bytes().try_into().ok()?)?;
            row.number(TS, time);
        }
        Take::Request | Take::UrlRequest | Take::Quoted(_) if !quoted && !missing => return None,
        _ if missing => {}
        Take::Text(_) | Take::Word(_) if quoted => return None,
        Take::Text(_) | Take::Quoted(_) => row.piece(places[0], text, escaped),
        Take::Word(_) => row.set(places[0], Cell::Piece(text)),
        Take::Integer(_) if text == "-1" => {}
        Take::Integer(_) => row.number(places[0], digits(text)?),
        // Nobody answered: the Classic Load Balancer has a number there all the same.
        Take::Status(_) if text == "0" => {}
        Take::Status(_) => {
            row.number(places[0], digits(text).filter(|_| text.len() == 3)?);
        }
        Take::Time(_) => row.number(places[0], rfc3339(text)?),
        Take::Address(..) => {
            let (ip, port) = address(text)?;
            row.piece(places[0], ip, false);
            row.number(places[1], port);
        }
        Take::Request => row.request(text, escaped),
        Take::UrlRequest => url_request(places[0], text, escaped, row),
        Take::Millis => row.number(RESPONSE_TIME_MS, digits(text.strip_suffix("ms")?)?),
    }
    Some(())
}

/// A whole number, without sign.
pub fn digits(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Seconds; none inside where there are none.
fn seconds(text: &str) -> Option<Option<f64>> {
    match text {
        "-" | "-1" => Some(None),
        _ => {
            let number: f64 = text.parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(Some(number))
        }
    }
}

/// `192.0.2.1:443` or `[2001:db8::1]:443`.
pub fn address(text: &str) -> Option<(&str, i64)> {
    let (ip, port) = text.rsplit_once(':')?;
    let port = digits(port).filter(|port| *port <= i64::from(u16::MAX))?;
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    (!ip.is_empty()).then_some((ip, port))
}

/// `GET https://example.com:443/a?b HTTP/1.1`, where each part may be `-`; anything else stays
/// whole, as endpoint.
fn url_request<'a>(scheme_at: usize, text: &'a str, escaped: bool, row: &mut Row<'a>) {
    let text = text.trim_end_matches(' ');
    let parts = text.split_once(' ').and_then(|(method, rest)| {
        let (target, protocol) = rest.rsplit_once(' ')?;
        let target = target.trim_end_matches(' ');
        (!target.is_empty()).then_some((method, target, protocol))
    });
    let Some((method, target, protocol)) = parts else {
        return row.request(text, escaped);
    };
    for (at, word) in [(METHOD, method), (PROTOCOL, protocol)] {
        if !matches!(word, "-" | "") {
            row.set(at, Cell::Piece(word));
        }
    }
    let target = target.strip_suffix('-').filter(|_| protocol == "-").unwrap_or(target);
    if matches!(target, "-" | "") {
        return;
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return row.target(target, escaped);
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = match address(authority) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    row.set(scheme_at, Cell::Piece(scheme));
    row.piece(scheme_at + 1, host, escaped);
    if let Some(port) = port {
        row.number(scheme_at + 2, port);
    }
    row.target(if path.is_empty() { "/" } else { path }, escaped);
    debug_assert!(!row.is_null(ENDPOINT), "a URL has an endpoint");
}
