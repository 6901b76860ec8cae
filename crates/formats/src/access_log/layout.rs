//! The fields of a line in their order, each with what ends it.
//!
//! A field ends where its quote is closed, where text stands that it cannot hold, or, where it may
//! hold that text, at the first such place behind which the rest of the line fits
//! ([`super::scan`]). A form in which nothing tells where a field ends is refused here; a line that
//! fits in two ways is refused when it is read. So no column ever shifts.

use arrow::datatypes::{DataType, Field as ArrowField};
use contract::{Error, Result};

pub use super::kind::{Alphabet, Items, Kind};
use super::literal::Literal;
use crate::timestamp::TimeFormat;

/// A piece of a form: text that stands in every line, or a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands so in every line.
    Literal(String),
    /// A field with the name of its column.
    Field(String, Kind),
}

/// A form of lines, as a server's configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its pieces in their order.
    pub parts: Vec<Part>,
    /// How the server writes what could be taken for something else.
    pub escape: Escape,
    /// Whether nothing may stand where a number should without quotes.
    pub empty_numbers: bool,
}

/// How a server writes quotes, backslashes and control signs in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As `\"` or `\x22`; a value that is missing is `-`.
    Backslash,
    /// As JSON does; a value that is missing is empty.
    Json,
    /// As they are; a value that is missing is empty.
    None,
}

/// A field of a line.
#[derive(Clone, Debug)]
pub struct Field {
    /// What errors call it.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// The place of its first column.
    pub column: usize,
    /// How its end is found.
    pub end: End,
    /// What stands after it; empty at the end of the line, or where its kind alone ends it.
    pub until: Literal,
    /// Whether a line without it is refused.
    pub required: bool,
    /// Whether nothing at all may stand for a number or a time.
    pub may_be_empty: bool,
    /// Whether each of its bytes is looked at: where a longer or shorter field could take them.
    pub is_checked: bool,
    /// Whether its end is searched for, it may hold any text, and a blank stands behind it.
    pub is_plain_search: bool,
    /// How what stands in it is to be read.
    pub escape: Escape,
}

/// How the end of a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the quote that closes it; escapes are understood.
    Quote,
    /// At the first byte of what stands after it, which it cannot hold.
    Until,
    /// At the first byte that it cannot hold.
    Span,
    /// After so many bytes, or after `-`.
    Length(usize),
    /// At the first place where that stands after it, and the rest of the line fits.
    Search,
    /// At the end of the line.
    Rest,
    /// At a blank or the end of the line.
    Blank,
}

/// What may follow the last field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    None,
    /// Perhaps a blank and a whole number of milliseconds.
    ResponseTime,
}

/// A field whose text could hold what stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Its place among the fields.
    pub index: usize,
    /// Whether it could end at a second place; not where a quote follows, which is escaped
    /// wherever it does not end a value.
    pub is_loose: bool,
}

/// The form of a line.
pub struct Layout {
    /// What every line begins with.
    pub prefix: Literal,
    /// The fields, in their order. With a tail, the last one is the response time.
    pub fields: Vec<Field>,
    /// What may follow.
    pub tail: Tail,
    /// The fields between which the others are found, in their order.
    pub free: Vec<Free>,
    /// Whether any of them could end at a second place.
    pub is_loose: bool,
    /// Whether all of them may hold any text, so that one at a time may be moved.
    pub is_any_text: bool,
    /// Whether a line that does not fit may have an unusual request or list of addresses.
    pub is_lenient: bool,
    columns: Vec<ArrowField>,
}

impl Layout {
    /// Lays out a form.
    ///
    /// # Errors
    /// Config: there is no field, no line can have this form, or two fields stand so that a line
    /// could be read in two ways.
    pub fn new(form: Form, tail: Tail) -> Result<Self> {
        let mut layout = Self {
            prefix: Literal::default(),
            fields: Vec::new(),
            tail,
            free: Vec::new(),
            is_loose: false,
            is_any_text: true,
            is_lenient: false,
            columns: Vec::new(),
        };
        let mut between = String::new();
        for part in form.parts {
            match part {
                Part::Literal(text) => between.push_str(&text),
                Part::Field(name, kind) => {
                    layout.put_before_next(std::mem::take(&mut between))?;
                    layout.add_field(name, kind, form.escape);
                }
            }
        }
        if layout.fields.is_empty() {
            return Err(Error::config("the form of the lines has no field")
                .hint("write it as the web server does: `%h %l %u %t \"%r\" %>s %b`"));
        }
        // Blanks at the end of a line say nothing, and are taken off before it is read.
        layout.put_before_next(between.trim_end().to_owned())?;
        for index in 0..layout.fields.len() {
            layout.fields[index].end = layout.end_of(index)?;
            layout.fields[index].may_be_empty = layout.fields[index].end == End::Quote
                || form.empty_numbers
                || form.escape != Escape::Backslash;
        }
        layout.note_free();
        if tail == Tail::ResponseTime {
            layout.add_tail();
        }
        for field in &mut layout.fields {
            let is_open = layout.is_loose || field.end == End::Rest;
            field.is_checked = is_open && field.end != End::Quote;
            field.is_plain_search = field.end == End::Search
                && field.kind == Kind::Text
                && field.until.first() == Some(&b' ');
        }
        Ok(layout)
    }

    /// Adds columns of text that are null in every row.
    pub fn with_absent(mut self, names: &[&str]) -> Self {
        let at = self.columns.len() - usize::from(self.tail == Tail::ResponseTime);
        for (number, name) in names.iter().enumerate() {
            self.columns.insert(at + number, ArrowField::new(*name, DataType::Utf8View, true));
        }
        for field in self.fields.iter_mut().filter(|field| field.column >= at) {
            field.column += names.len();
        }
        self
    }

    /// The columns of a row.
    pub fn columns(&self) -> Vec<ArrowField> {
        self.columns.clone()
    }

    /// How many fields stand in every line: all but that of the tail.
    #[inline]
    pub fn framed(&self) -> usize {
        self.fields.len() - usize::from(self.tail == Tail::ResponseTime)
    }

    /// Text before the next field, or before the end of the line.
    fn put_before_next(&mut self, between: String) -> Result<()> {
        if between.contains(['\n', '\r']) {
            return Err(Error::config("no line has this form: it has a line end within it")
                .hint("each record is one line; leave the line end out"));
        }
        match self.fields.last_mut() {
            Some(before) => before.until = between.into(),
            None => self.prefix = between.into(),
        }
        Ok(())
    }

    fn add_field(&mut self, name: String, kind: Kind, escape: Escape) {
        let column = self.columns.len();
        // A line whose time is missing is refused, so that rows always have one.
        let required = kind.is_time() && !self.fields.iter().any(|field| field.kind.is_time());
        for (name, data_type) in kind.columns(&name) {
            let name = self.free_name(name);
            self.columns.push(ArrowField::new(name, data_type, !required));
        }
        self.fields.push(Field {
            name,
            kind,
            column,
            end: End::Rest,
            until: Literal::default(),
            required,
            may_be_empty: false,
            is_checked: false,
            is_plain_search: false,
            escape,
        });
    }

    fn add_tail(&mut self) {
        if let Some(last) = self.fields.last_mut().filter(|last| last.end == End::Rest) {
            last.end = End::Blank;
        }
        self.add_field("response_time_ms".into(), Kind::Integer, Escape::Backslash);
    }

    /// How the end of a field is found.
    fn end_of(&self, index: usize) -> Result<End> {
        let field = &self.fields[index];
        let Some(first) = field.until.first() else {
            return match self.fields.get(index + 1) {
                None => Ok(End::Rest),
                Some(next) => end_between(field, next),
            };
        };
        let opened = index.checked_sub(1).map_or(&self.prefix, |before| &self.fields[before].until);
        if *first == b'"' && opened.ends_with(b"\"") && field.escape != Escape::None {
            return Ok(End::Quote);
        }
        refuse_separator(field)?;
        Ok(match field.kind.holds(*first) {
            _ if field.kind == Kind::ClfTime => End::Length(crate::timestamp::CLF_BYTES),
            Some(false) if *first == b' ' => End::Until,
            Some(false) => End::Span,
            _ => End::Search,
        })
    }

    /// Notes which fields could hold what stands after them.
    fn note_free(&mut self) {
        for index in 0..self.fields.len() {
            let field = &self.fields[index];
            let is_quoted = field.end == End::Quote;
            let is_lenient = matches!(field.kind, Kind::Request | Kind::Addresses { .. });
            let is_free = match field.end {
                End::Search => true,
                End::Rest => field.kind.holds(b' ').is_none(),
                _ => false,
            };
            self.is_lenient |= is_lenient && !is_quoted;
            if is_free {
                let is_loose = self.is_loose(index);
                self.free.push(Free { index, is_loose });
                self.is_loose |= is_loose;
                self.is_any_text &= matches!(self.fields[index].kind, Kind::Text | Kind::Mark);
            }
        }
    }

    fn is_loose(&self, index: usize) -> bool {
        let field = &self.fields[index];
        if field.end == End::Rest || matches!(field.kind, Kind::Time(TimeFormat::Strftime(_))) {
            return false;
        }
        let quote = |field: &Field| field.until.contains(&b'"');
        let fixed = |field: &Field| matches!(field.end, End::Length(_));
        let next = self.fields.get(index + 1);
        let is_anchored = quote(field) || next.is_some_and(|next| fixed(next) && quote(next));
        field.escape == Escape::None || !is_anchored
    }

    /// The name itself, or the name with a number where it stands already.
    fn free_name(&self, name: String) -> String {
        let taken = |name: &str| self.columns.iter().any(|column| column.name() == name);
        if !taken(&name) {
            return name;
        }
        let mut numbered = (2..).map(|number| format!("{name}_{number}"));
        numbered.find(|name| !taken(name)).expect("numbers do not end")
    }
}

/// How a field ends that another one follows at once.
fn end_between(field: &Field, next: &Field) -> Result<End> {
    if let Some(length) = field.kind.length() {
        return Ok(End::Length(length));
    }
    let could_go_on = |byte| next.kind.begins(byte) && field.kind.holds(byte).unwrap_or(true);
    if !(b' '..=b'~').any(could_go_on) {
        return Ok(End::Span);
    }
    // The same text in both readings: a sign that either field can hold changes sides.
    let sample = |kind: &Kind| if kind.holds(b'a') == Some(false) { "1" } else { "a" };
    let (one, two) = (sample(&field.kind), sample(&next.kind));
    let readings = if field.kind.holds(two.as_bytes()[0]) == Some(false) {
        [(format!("{one}{one}"), two.to_owned()), (one.to_owned(), format!("{one}{two}"))]
    } else {
        [(one.to_owned(), format!("{two}{two}")), (format!("{one}{two}"), two.to_owned())]
    };
    let (name, other) = (&field.name, &next.name);
    let [first, second] =
        readings.map(|(left, right)| format!("{name} {left:?} and {other} {right:?}"));
    let message = format!(
        "nothing stands between {name:?} and {other:?}, so that one text is {first}, or {second}"
    );
    Err(Error::config(message)
        .hint("put a blank, a quote or another mark between them in the server's configuration"))
}

/// A list is not to be followed by what also separates its items.
fn refuse_separator(field: &Field) -> Result<()> {
    let separators: &[&[u8]] = match field.kind {
        Kind::List(_) => &[b", ", b" : "],
        Kind::Addresses { .. } => &[b","],
        _ => return Ok(()),
    };
    if !separators.iter().any(|separator| field.until.starts_with(separator)) {
        return Ok(());
    }
    let (name, until) = (&field.name, String::from_utf8_lossy(&field.until));
    let message = format!(
        "{until:?} after {name:?} separates the items of that list too: what stands behind it is \
         one more item, or the next field"
    );
    Err(Error::config(message).hint("put quotes around the list in the server's configuration"))
}
