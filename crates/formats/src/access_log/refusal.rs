//! Why a line is refused: what was expected, and where.

use super::kind::{Items, Kind};
use super::layout::Field;

/// A line that does not have its form.
#[derive(Debug)]
pub struct Broken<'l> {
    /// Where, in bytes from 0.
    pub at: usize,
    /// What was expected there.
    pub want: Want<'l>,
}

/// What was expected.
#[derive(Debug)]
pub enum Want<'l> {
    /// Anything but blanks.
    Text,
    /// What every line begins with.
    Prefix(&'l [u8]),
    /// What stands after a field.
    After(&'l Field),
    /// The quote that closes a field.
    Quote(&'l Field),
    /// A field of its kind.
    Value(&'l Field),
    /// One field, where two seem to stand.
    OneField(&'l Field),
    /// One end of a field, not these two.
    TwoEnds(&'l Field, usize, usize),
    /// The end of the line.
    End,
    /// The end of the line, or the response time.
    Tail,
}

impl Broken<'_> {
    /// Whether the line may be accepted if a request or a list may be anything.
    pub fn may_be_unusual(&self) -> bool {
        !matches!(self.want, Want::Text | Want::TwoEnds(..) | Want::OneField(_))
    }

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
            Want::OneField(field) => format!(
                "expected one field as {name} at byte {at}, `-` stands there as for a field of its \
                 own: does the line have more fields than its form?",
                name = field.name
            ),
            Want::TwoEnds(field, one, other) => two_ends(field, (self.at, one, other), line),
            Want::End => format!("expected the end of the line at byte {at}"),
            Want::Tail => {
                let rest = line.as_bytes().get(self.at..).unwrap_or_default();
                let more = rest.trim_ascii_start().starts_with(b"\"");
                let hint = if more { MORE } else { "" };
                format!(
                    "expected the end of the line, or a blank and whole milliseconds, at byte \
                     {at}{hint}"
                )
            }
        }
    }
}

/// What is behind a line with more fields than the usual ones.
const MORE: &str = ", one more field in quotes stands there: format `nginx` reads nginx's own \
                    `main`, which has one more than `combined`; `custom` reads any other by the \
                    server's log format";

fn two_ends(field: &Field, (start, one, other): (usize, usize, usize), line: &str) -> String {
    /// Letters of each reading that are shown.
    const SHOWN_MAX: usize = 60;
    let shown = |end: usize| {
        let text = line.get(start..end).unwrap_or_default();
        match text.char_indices().nth(SHOWN_MAX) {
            None => format!("{text:?}"),
            Some((cut, _)) => format!("{:?}…", &text[..cut]),
        }
    };
    format!(
        "the line fits in two ways: {name} is {}, which ends at byte {one}, or {}, which ends at \
         byte {other}; quotes around it tell them apart",
        shown(one),
        shown(other),
        name = field.name,
    )
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Status => "three digits",
        Kind::Integer => "a whole number",
        Kind::Float | Kind::Duration(_) => "a number",
        Kind::ClfTime => "a time such as `17/May/2015:10:05:03 +0000`",
        Kind::Time(_) => "a time",
        Kind::Address => "one address and no list of them",
        Kind::Addresses { .. } => "a list of addresses",
        Kind::Request => "a request such as `GET / HTTP/1.1`",
        Kind::List(Items::Seconds) => "seconds such as `0.1, 0.2`",
        Kind::List(Items::Sizes) => "sizes such as `10, 20`",
        Kind::List(Items::Statuses) => "statuses such as `502, 200`",
        Kind::Label(_) | Kind::Word => "a word",
        _ => "text",
    }
}
