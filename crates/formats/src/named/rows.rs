//! The rows of the named formats: the columns that all of them share first, then a format's own.
//!
//! A row is complete, as cells, before any of it enters a column.
//!
//! Invariant: the first columns are those of [`HEAD`] in every format, so that one page serves all.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use contract::record::with_json_mark;

use crate::access_log::escape::unescape;
use crate::access_log::request;
use crate::column::{BooleanColumn, NumberColumn, WordColumn, timestamp_type, word_type};
use crate::text::{Line, Lines, TextColumn};
use crate::timestamp::ClfClock;
use crate::typed::Cell;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text that is JSON.
    Json,
    /// A word that repeats.
    Word,
    /// A status of three digits.
    Status,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A truth.
    Boolean,
    /// A time.
    Time,
}

/// A column with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

impl Column {
    /// A column.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind }
    }

    /// As a field of a schema. A line without a time is refused, so that rows always have one.
    pub fn field(&self) -> Field {
        let data_type = match self.kind {
            Kind::Text | Kind::Json => DataType::Utf8View,
            Kind::Word => word_type(),
            Kind::Status => DataType::Int32,
            Kind::Integer => DataType::Int64,
            Kind::Number => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
            Kind::Time => timestamp_type(),
        };
        let field = Field::new(&self.name, data_type, self.name != "ts");
        match self.kind {
            Kind::Json => with_json_mark(field),
            _ => field,
        }
    }
}

/// The columns that every access log has, in the order of `combined`.
pub const HEAD: [(&str, Kind); 13] = [
    ("ip", Kind::Text),
    ("user", Kind::Text),
    ("ts", Kind::Time),
    ("method", Kind::Word),
    ("endpoint", Kind::Text),
    ("path", Kind::Text),
    ("query", Kind::Text),
    ("protocol", Kind::Word),
    ("status", Kind::Status),
    ("bytes", Kind::Integer),
    ("referrer", Kind::Text),
    ("user_agent", Kind::Text),
    ("response_time_ms", Kind::Integer),
];

/// Places in [`HEAD`].
pub const IP: usize = 0;
/// When.
pub const TS: usize = 2;
/// How; endpoint, path, query and protocol follow.
pub const METHOD: usize = 3;
/// What for.
pub const ENDPOINT: usize = 4;
/// In which protocol.
pub const PROTOCOL: usize = 7;
/// With what outcome.
pub const STATUS: usize = 8;
/// How much was sent.
pub const BYTES: usize = 9;
/// How long it took.
pub const RESPONSE_TIME_MS: usize = 12;

/// The shared columns with a format's own behind them.
pub fn with_head(own: &[(&str, Kind)]) -> Vec<Column> {
    HEAD.iter().chain(own).map(|(name, kind)| Column::new(name, *kind)).collect()
}

/// A row in the making.
pub struct Row<'a> {
    cells: Vec<Cell<'a>>,
    /// Keeps what one day comes to.
    pub clock: ClfClock,
}

impl<'a> Row<'a> {
    /// A row of so many columns, all null.
    pub fn new(columns: usize) -> Self {
        Self { cells: vec![Cell::Null; columns], clock: ClfClock::default() }
    }

    /// Makes every column null.
    pub fn clear(&mut self) {
        self.cells.fill(Cell::Null);
    }

    /// Whether a column holds nothing yet.
    pub fn is_null(&self, at: usize) -> bool {
        self.cells[at] == Cell::Null
    }

    /// Puts a value into a column.
    pub fn set(&mut self, at: usize, cell: Cell<'a>) {
        self.cells[at] = cell;
    }

    /// Puts a piece of the line into a column, its escapes undone.
    pub fn piece(&mut self, at: usize, text: &'a str, escaped: bool) {
        self.cells[at] = if escaped { Cell::Text(unescape(text)) } else { Cell::Piece(text) };
    }

    /// Puts a number or a time into a column.
    pub fn number(&mut self, at: usize, number: i64) {
        self.cells[at] = Cell::Integer(number);
    }

    /// Takes a whole request apart: method, endpoint, path, query and protocol.
    pub fn request(&mut self, text: &'a str, escaped: bool) {
        if text.is_empty() {
            return;
        }
        let parts = request::split(text);
        if let Some(method) = parts.method {
            self.cells[METHOD] = Cell::Piece(&text[method]);
        }
        if let Some(protocol) = parts.protocol {
            self.cells[PROTOCOL] = Cell::Piece(&text[protocol]);
        }
        self.target(&text[parts.target], escaped);
    }

    /// Takes a request target apart: endpoint, path and query.
    pub fn target(&mut self, text: &'a str, escaped: bool) {
        let text = if escaped { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) };
        let (path, query) = match text.find('?') {
            Some(mark) => (0..mark, Some(mark + 1..text.len())),
            None => (0..text.len(), None),
        };
        let piece = |range: std::ops::Range<usize>| match &text {
            Cow::Borrowed(text) => Cell::Piece(&text[range]),
            Cow::Owned(text) => Cell::Text(text[range].to_owned()),
        };
        self.cells[ENDPOINT] = piece(0..text.len());
        self.cells[ENDPOINT + 1] = piece(path);
        self.cells[ENDPOINT + 2] = query.map_or(Cell::Null, piece);
    }
}

/// The wanted columns of many rows.
pub struct Columns<'a> {
    /// The places of the wanted columns.
    wanted: Vec<usize>,
    building: Vec<Building<'a>>,
}

enum Building<'a> {
    Text(TextColumn),
    Word(WordColumn<'a>),
    Status(NumberColumn<Int32Type>),
    Integer(NumberColumn<Int64Type>),
    Number(NumberColumn<Float64Type>),
    Boolean(BooleanColumn),
    Time(NumberColumn<TimestampMicrosecondType>),
}

impl<'a> Columns<'a> {
    /// Empty columns: those of the projection, or all.
    pub fn new(columns: &[Column], lines: &Lines<'_>, projection: Option<&[usize]>) -> Self {
        let all = || (0..columns.len()).collect();
        let wanted: Vec<usize> = projection.map_or_else(all, <[usize]>::to_vec);
        let rows = lines.rows();
        let begun = |at: &usize| match columns[*at].kind {
            Kind::Text | Kind::Json => Building::Text(TextColumn::new(lines)),
            Kind::Word => Building::Word(WordColumn::new(rows)),
            Kind::Status => Building::Status(NumberColumn::new(rows)),
            Kind::Integer => Building::Integer(NumberColumn::new(rows)),
            Kind::Number => Building::Number(NumberColumn::new(rows)),
            Kind::Boolean => Building::Boolean(BooleanColumn::new(rows)),
            Kind::Time => Building::Time(NumberColumn::new(rows)),
        };
        Self { building: wanted.iter().map(begun).collect(), wanted }
    }

    /// Adds a row that was made of this line.
    pub fn push(&mut self, line: Line<'_>, row: &Row<'a>) {
        for (at, column) in self.wanted.iter().zip(&mut self.building) {
            column.push(line, &row.cells[*at]);
        }
    }

    /// The finished columns, in the order of the projection.
    pub fn finish(self) -> Vec<ArrayRef> {
        self.building.into_iter().map(Building::finish).collect()
    }
}

impl<'a> Building<'a> {
    fn push(&mut self, line: Line<'_>, cell: &Cell<'a>) {
        let number = match cell {
            Cell::Integer(number) => Some(*number),
            _ => None,
        };
        match self {
            Self::Text(column) => match cell {
                Cell::Piece(piece) => column.push_piece(line, piece),
                Cell::Text(text) => column.push_copy(text),
                _ => column.push_null(),
            },
            Self::Word(column) => column.push(match cell {
                Cell::Piece(word) => Some(word),
                _ => None,
            }),
            Self::Status(column) => column.push(number.map(|status| status as i32)),
            Self::Integer(column) => column.push(number),
            Self::Time(column) => column.push(number),
            Self::Number(column) => column.push(match cell {
                Cell::Float(number) => Some(*number),
                _ => None,
            }),
            Self::Boolean(column) => column.push(match cell {
                Cell::Boolean(truth) => Some(*truth),
                _ => None,
            }),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(column) => column.finish(),
            Self::Word(column) => column.finish(),
            Self::Status(column) => column.finish(),
            Self::Integer(column) => column.finish(),
            Self::Number(column) => column.finish(),
            Self::Boolean(column) => column.finish(),
            Self::Time(column) => column.finish_times(),
        }
    }
}
