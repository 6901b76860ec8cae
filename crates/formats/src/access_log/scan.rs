//! Finds the fields of a line and reads its numbers and times.
//!
//! Decides alone which lines are refused: what it accepts, [`super::columns`] can store.

use memchr::{memchr, memchr2};

use super::layout::{Field, Kind, Layout, Tail};
use crate::timestamp::{CLF_BYTES, ClfClock};

/// Fields shorter than this are the rule outside quotes; a call would cost more than a loop.
const SHORT_BYTES: usize = 24;

/// Milliseconds in nanoseconds.
const MILLISECOND_NS: i64 = 1_000_000;

/// A field as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'l> {
    /// The field.
    pub field: &'l Field,
    /// Its first byte.
    pub start: usize,
    /// The byte after it.
    pub end: usize,
    /// Whether it is there, and how it is written.
    pub state: State,
    /// The number or time, where it holds one.
    pub number: i64,
}

/// Whether a field is there, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// `-`, or left out.
    Missing,
    /// As it stands.
    Plain,
    /// With backslashes before some bytes.
    Escaped,
}

/// Why a line is refused.
#[derive(Debug)]
pub struct Broken<'l> {
    at: usize,
    want: Want<'l>,
}

#[derive(Debug)]
enum Want<'l> {
    Text,
    Prefix(&'l [u8]),
    After(&'l Field),
    Quote(&'l Field),
    Value(&'l Field),
    End,
    Tail,
}

impl Broken<'_> {
    /// What was expected, and where.
    pub fn reason(&self, line: &str) -> String {
        let at = self.at + 1;
        let found = match line.as_bytes().get(self.at) {
            None => "the line ends",
            Some(_) => "something else stands there",
        };
        let shown = String::from_utf8_lossy;
        match self.want {
            Want::Text => "the line is blank".into(),
            Want::Prefix(text) => format!("expected `{}` at byte {at}, {found}", shown(text)),
            Want::After(field) => {
                let (name, until) = (&field.name, shown(&field.until));
                format!("expected `{until}` after {name} at byte {at}, {found}")
            }
            Want::Quote(field) => format!("the quotes around {} are never closed", field.name),
            Want::Value(field) => {
                format!("expected {} as {} at byte {at}", wanted(&field.kind), field.name)
            }
            Want::End => format!("expected the end of the line at byte {at}"),
            Want::Tail => format!(
                "expected the end of the line, or a blank and whole milliseconds, at byte {at}"
            ),
        }
    }
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Status => "three digits",
        Kind::Integer => "a whole number",
        Kind::Duration(_) => "a number",
        Kind::ClfTime => "a time such as `17/May/2015:10:05:03 +0000`",
        Kind::Time(_) => "a time",
        _ => "text",
    }
}

/// Reads lines of one layout.
pub struct Scanner<'l> {
    layout: &'l Layout,
    clock: ClfClock,
    found: Vec<Found<'l>>,
}

impl<'l> Scanner<'l> {
    /// A scanner that has seen nothing.
    pub fn new(layout: &'l Layout) -> Self {
        let missing = |field| Found { field, start: 0, end: 0, state: State::Missing, number: 0 };
        let found = layout.fields.iter().map(missing).collect();
        Self { layout, clock: ClfClock::default(), found }
    }

    /// The fields of the last line that was accepted.
    pub fn fields(&self) -> &[Found<'l>] {
        &self.found
    }

    /// Finds the fields of a line.
    #[inline]
    pub fn scan(&mut self, line: &str) -> Result<(), Broken<'l>> {
        if line.as_bytes().first().is_none_or(u8::is_ascii_whitespace) && line.trim().is_empty() {
            return Err(Broken { at: 0, want: Want::Text });
        }
        let prefix = self.layout.prefix.as_slice();
        if !continues(line.as_bytes(), prefix) {
            return Err(Broken { at: 0, want: Want::Prefix(prefix) });
        }
        let framed = self.found.len() - usize::from(self.layout.tail == Tail::ResponseTime);
        let mut at = prefix.len();
        for found in &mut self.found[..framed] {
            at = scan_field(found, &mut self.clock, line, at)?;
        }
        match (self.found.get_mut(framed), at == line.len()) {
            (None, true) => Ok(()),
            (None, false) => Err(Broken { at, want: Want::End }),
            (Some(found), _) => scan_response_time(found, line.as_bytes(), at),
        }
    }
}

/// Finds a field and gives the byte after what ends it.
#[inline]
fn scan_field<'l>(
    found: &mut Found<'l>,
    clock: &mut ClfClock,
    line: &str,
    start: usize,
) -> Result<usize, Broken<'l>> {
    let field = found.field;
    let (end, escaped) = field_end(line.as_bytes(), start, field)?;
    let text = &line[start..end];
    found.start = start;
    found.end = end;
    found.state = match (text, escaped) {
        ("-", _) => State::Missing,
        (_, true) => State::Escaped,
        (_, false) => State::Plain,
    };
    found.number =
        value(&field.kind, clock, text).ok_or(Broken { at: start, want: Want::Value(field) })?;
    Ok(end + field.until.len())
}

/// The end of a field, and whether there are escapes in it. What ends it stands there.
#[inline]
fn field_end<'l>(line: &[u8], start: usize, field: &'l Field) -> Result<(usize, bool), Broken<'l>> {
    if !field.quoted {
        let end = plain_end(line, start, field);
        let end = end.ok_or(Broken { at: line.len(), want: Want::After(field) })?;
        return Ok((end, false));
    }
    let (end, escaped) =
        quoted_end(line, start).ok_or(Broken { at: start, want: Want::Quote(field) })?;
    if continues(&line[end..], &field.until) {
        Ok((end, escaped))
    } else {
        Err(Broken { at: end, want: Want::After(field) })
    }
}

/// The quote that ends a field, and whether there are escapes before it.
#[inline]
fn quoted_end(line: &[u8], start: usize) -> Option<(usize, bool)> {
    let mut at = start;
    let mut escaped = false;
    loop {
        at += memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// The end of a field without quotes: what comes next in the layout, or the end of the line.
#[inline]
fn plain_end(line: &[u8], start: usize, field: &Field) -> Option<usize> {
    let until = field.until.as_slice();
    let Some(first) = until.first() else {
        let blank = if field.blank_ends { find(b' ', &line[start..]) } else { None };
        return Some(blank.map_or(line.len(), |length| start + length));
    };
    if field.kind == Kind::ClfTime
        && line.get(start + CLF_BYTES..).is_some_and(|rest| continues(rest, until))
    {
        return Some(start + CLF_BYTES);
    }
    let mut at = start;
    loop {
        at += find(*first, &line[at..])?;
        if until.len() == 1 || continues(&line[at..], until) {
            return Some(at);
        }
        at += 1;
    }
}

/// Whether the text goes on with these few bytes; a call would cost more than the loop.
#[inline]
fn continues(text: &[u8], with: &[u8]) -> bool {
    text.len() >= with.len() && text.iter().zip(with).all(|(one, other)| one == other)
}

/// Where a byte stands, eight at a time: most fields outside quotes end within the first or second
/// eight, and a branch for each byte would be guessed wrong at every end.
#[inline]
pub fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (near, far) = text.split_at(text.len().min(SHORT_BYTES));
    let (eights, rest) = near.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let differing = u64::from_le_bytes(*eight) ^ (LOW * u64::from(byte));
        let found = differing.wrapping_sub(LOW) & !differing & (LOW << 7);
        if found != 0 {
            return Some(number * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let after = eights.len() * 8;
    let found = rest.iter().position(|other| *other == byte).map(|at| after + at);
    found.or_else(|| memchr(byte, far).map(|at| near.len() + at))
}

fn scan_response_time<'l>(found: &mut Found<'l>, line: &[u8], at: usize) -> Result<(), Broken<'l>> {
    found.state = State::Missing;
    let digits = match &line[at..] {
        [] | [b' ', b'-'] => return Ok(()),
        [b' ', digits @ ..] => digits,
        _ => return Err(Broken { at, want: Want::Tail }),
    };
    found.state = State::Plain;
    found.number = integer(digits).ok_or(Broken { at: at + 1, want: Want::Tail })?;
    Ok(())
}

/// The number or time of a field, 0 where it holds none; none where it should and does not.
#[inline]
fn value(kind: &Kind, clock: &mut ClfClock, text: &str) -> Option<i64> {
    match kind {
        Kind::Text | Kind::Word | Kind::Request | Kind::Target | Kind::Query => Some(0),
        Kind::ClfTime => clock.parse(text.as_bytes().try_into().ok()?),
        Kind::Time(format) => format.parse(text),
        _ if text == "-" => Some(0),
        Kind::Status if text.len() != 3 => None,
        Kind::Status | Kind::Integer => integer(text.as_bytes()),
        Kind::Duration(unit_ns) => duration_ms(text, *unit_ns),
    }
}

#[inline]
fn integer(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

fn duration_ms(text: &str, unit_ns: i64) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut nanos = integer(whole.as_bytes())?.checked_mul(unit_ns)?;
    let mut place_ns = unit_ns;
    for byte in fraction.bytes() {
        place_ns /= 10;
        nanos = nanos.checked_add(integer(&[byte])? * place_ns)?;
    }
    Some(nanos / MILLISECOND_NS)
}
