//! The fields of a line in their order, each with the bytes that end it.

use arrow::datatypes::{DataType, Field as ArrowField};
use contract::{Error, Result};

use crate::column::{timestamp_type, word_type};
use crate::timestamp::TimeFormat;

/// A piece of a form: text that stands in every line, or a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands so in every line.
    Literal(String),
    /// A field with the name of its column.
    Field(String, Kind),
}

/// What a field holds and which columns it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A word that repeats, such as a method.
    Word,
    /// A whole request: method, endpoint, path, query and protocol.
    Request,
    /// A request target: endpoint, path and query.
    Target,
    /// A query, with or without its question mark.
    Query,
    /// A status of three digits.
    Status,
    /// A whole number.
    Integer,
    /// A duration in units of so many nanoseconds, fractions allowed; stored as milliseconds.
    Duration(i64),
    /// A time as `17/May/2015:10:05:03 +0000`.
    ClfTime,
    /// A time in another form.
    Time(TimeFormat),
}

impl Kind {
    /// The columns after the field's own name where it makes several, with their types.
    fn columns(&self, name: &str) -> Vec<(String, DataType)> {
        let text = |name: &str| (name.to_owned(), DataType::Utf8View);
        let word = |name: &str| (name.to_owned(), word_type());
        let own = |data_type| vec![(name.to_owned(), data_type)];
        match self {
            Self::Text | Self::Query => own(DataType::Utf8View),
            Self::Word => own(word_type()),
            Self::Request => vec![
                word("method"),
                text("endpoint"),
                text("path"),
                text("query"),
                word("protocol"),
            ],
            Self::Target => vec![text("endpoint"), text("path"), text("query")],
            Self::Status => own(DataType::Int32),
            Self::Integer | Self::Duration(_) => own(DataType::Int64),
            Self::ClfTime | Self::Time(_) => own(timestamp_type()),
        }
    }
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
    /// Whether quotes stand around it, so that escapes are understood.
    pub quoted: bool,
    /// What stands after it; empty at the end of the line.
    pub until: Vec<u8>,
    /// Whether a blank ends it too, where nothing else stands after it.
    pub blank_ends: bool,
}

/// What may follow the last field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    None,
    /// Perhaps a blank and a whole number of milliseconds.
    ResponseTime,
}

/// The form of a line.
pub struct Layout {
    /// What every line begins with.
    pub prefix: Vec<u8>,
    /// The fields, in their order. With a tail, the last one is the response time.
    pub fields: Vec<Field>,
    /// What may follow.
    pub tail: Tail,
    columns: Vec<ArrowField>,
}

impl Layout {
    /// Lays out a form.
    ///
    /// # Errors
    /// Config: there is no field, or nothing stands between two fields.
    pub fn new(parts: Vec<Part>, tail: Tail) -> Result<Self> {
        let mut layout = Self { prefix: Vec::new(), fields: Vec::new(), tail, columns: Vec::new() };
        let mut between = Vec::new();
        for part in parts {
            match part {
                Part::Literal(text) => between.extend_from_slice(text.as_bytes()),
                Part::Field(name, kind) => {
                    layout.end_field(std::mem::take(&mut between))?;
                    layout.add_field(name, kind);
                }
            }
        }
        if layout.fields.is_empty() {
            return Err(Error::config("the form of the lines has no field")
                .hint("write it as the web server does: `%h %l %u %t \"%r\" %>s %b`"));
        }
        layout.end_last_field(between);
        if tail == Tail::ResponseTime {
            if let Some(last) = layout.fields.last_mut() {
                last.blank_ends = true;
            }
            layout.add_field("response_time_ms".into(), Kind::Integer);
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

    /// What stands before a field ends the field before it.
    fn end_field(&mut self, between: Vec<u8>) -> Result<()> {
        let Some(before) = self.fields.last() else {
            self.prefix = between;
            return Ok(());
        };
        if between.is_empty() {
            let message = format!("nothing stands after the field {:?}", before.name);
            return Err(Error::config(message)
                .hint("put a blank, a quote or another mark between every two fields"));
        }
        self.end_last_field(between);
        Ok(())
    }

    fn end_last_field(&mut self, between: Vec<u8>) {
        let before = match self.fields.len() {
            0 | 1 => &self.prefix,
            count => &self.fields[count - 2].until,
        };
        let opened = before.ends_with(b"\"");
        if let Some(field) = self.fields.last_mut() {
            field.quoted = opened && between.starts_with(b"\"");
            field.until = between;
        }
    }

    fn add_field(&mut self, name: String, kind: Kind) {
        let column = self.columns.len();
        // A line whose time is missing is refused, so that rows always have one.
        let nullable = !matches!(kind, Kind::ClfTime | Kind::Time(_));
        for (name, data_type) in kind.columns(&name) {
            let name = self.free_name(name);
            self.columns.push(ArrowField::new(name, data_type, nullable));
        }
        self.fields.push(Field {
            name,
            kind,
            column,
            quoted: false,
            until: Vec::new(),
            blank_ends: false,
        });
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
