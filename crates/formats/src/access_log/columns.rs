//! The columns of an access log in the making.

use std::ops::Range;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};

use super::escape::unescape;
use super::kind::{Items, Kind};
use super::request;
use super::scan::{Found, State, find};
use super::value::ABSENT;
use crate::column::{NumberColumn, WordColumn};
use crate::text::{Line, Lines, TextColumn};

enum Column<'a> {
    /// Not asked for.
    Skipped,
    Text(TextColumn),
    Word(WordColumn<'a>),
    Status(NumberColumn<Int32Type>),
    Number(NumberColumn<Int64Type>),
    Float(NumberColumn<Float64Type>),
    Time(NumberColumn<TimestampMicrosecondType>),
}

/// The columns that are asked for.
pub struct Columns<'a> {
    schema: SchemaRef,
    columns: Vec<Column<'a>>,
    wanted: Vec<usize>,
    rows: usize,
}

impl<'a> Columns<'a> {
    /// Empty columns: those of the projection, or all.
    pub fn new(schema: &SchemaRef, lines: &Lines<'_>, projection: Option<&[usize]>) -> Self {
        let all = 0..schema.fields().len();
        let wanted = projection.map_or_else(|| all.clone().collect(), <[usize]>::to_vec);
        let column = |at| {
            if !wanted.contains(&at) {
                return Column::Skipped;
            }
            match schema.field(at).data_type() {
                DataType::Utf8View => Column::Text(TextColumn::new(lines)),
                DataType::Dictionary(..) => Column::Word(WordColumn::new(lines.rows())),
                DataType::Int32 => Column::Status(NumberColumn::new(lines.rows())),
                DataType::Int64 => Column::Number(NumberColumn::new(lines.rows())),
                DataType::Float64 => Column::Float(NumberColumn::new(lines.rows())),
                _ => Column::Time(NumberColumn::new(lines.rows())),
            }
        };
        let columns = all.map(column).collect();
        Self { schema: schema.clone(), columns, wanted, rows: 0 }
    }

    /// Adds a row.
    #[inline]
    pub fn push(&mut self, line: Line<'a>, fields: &[Found<'_>]) {
        self.rows += 1;
        for found in fields {
            let at = found.field.column;
            match found.field.kind {
                Kind::Text | Kind::Label(_) | Kind::Address | Kind::Mark => {
                    self.push_text(at, line, found);
                }
                Kind::Addresses { client: false } | Kind::List(Items::Labels) => {
                    self.push_text(at, line, found);
                }
                Kind::Addresses { client: true } => {
                    let end = found.start + found.number as usize;
                    self.push_text(at, line, &Found { end, ..*found });
                    self.push_text(at + 1, line, found);
                }
                Kind::List(_) => {
                    self.push_text(at, line, found);
                    self.push_number(at + 1, found);
                }
                Kind::Request => self.push_request(at, line, found),
                Kind::Target => {
                    let range = (found.state != State::Missing).then_some(found.start..found.end);
                    self.push_target(at, line, range, found.state);
                }
                Kind::Query => self.push_query(at, line, found),
                Kind::Word => {
                    let word = &line.text[found.start..found.end];
                    self.push_word(at, (found.state != State::Missing).then_some(word));
                }
                _ => self.push_number(at, found),
            }
        }
    }

    #[inline(always)]
    fn push_number(&mut self, at: usize, found: &Found<'_>) {
        let value = (found.number != ABSENT).then_some(found.number);
        match &mut self.columns[at] {
            Column::Status(column) => column.push(value.map(|status| status as i32)),
            Column::Number(column) => column.push(value),
            Column::Float(column) => {
                column.push(value.map(|bits| f64::from_bits(bits as u64)));
            }
            Column::Time(column) => column.push(value),
            _ => {}
        }
    }

    #[inline]
    fn push_text(&mut self, at: usize, line: Line<'a>, found: &Found<'_>) {
        let Column::Text(column) = &mut self.columns[at] else { return };
        push_piece(column, line, found.start..found.end, found.state);
    }

    fn push_query(&mut self, at: usize, line: Line<'a>, found: &Found<'_>) {
        let Column::Text(column) = &mut self.columns[at] else { return };
        let mark = line.text[found.start..found.end].starts_with('?');
        let range = found.start + usize::from(mark)..found.end;
        let state = if range.is_empty() { State::Missing } else { found.state };
        push_piece(column, line, range, state);
    }

    #[inline]
    fn push_word(&mut self, at: usize, word: Option<&'a str>) {
        if let Column::Word(column) = &mut self.columns[at] {
            column.push(word);
        }
    }

    /// Method, endpoint, path, query and protocol, from column `at` on.
    #[inline]
    fn push_request(&mut self, at: usize, line: Line<'a>, found: &Found<'_>) {
        let text = &line.text[found.start..found.end];
        if found.state == State::Missing || text.is_empty() {
            self.push_word(at, None);
            self.push_target(at + 1, line, None, State::Missing);
            self.push_word(at + 4, None);
            return;
        }
        let request = request::split(text);
        let target = found.start + request.target.start..found.start + request.target.end;
        self.push_word(at, request.method.map(|range| &text[range]));
        self.push_target(at + 1, line, Some(target), found.state);
        self.push_word(at + 4, request.protocol.map(|range| &text[range]));
    }

    /// Endpoint, path and query, from column `at` on.
    #[inline]
    fn push_target(
        &mut self,
        at: usize,
        line: Line<'a>,
        target: Option<Range<usize>>,
        state: State,
    ) {
        let [endpoint, path, query] = &mut self.columns[at..at + 3] else { return };
        let Some(target) = target else {
            [endpoint, path, query].into_iter().for_each(push_null);
            return;
        };
        if state == State::Escaped {
            let text = unescape(&line.text[target]);
            let (before, after) = match text.split_once('?') {
                Some((before, after)) => (before, Some(after)),
                None => (text.as_str(), None),
            };
            push_copy(endpoint, Some(&text));
            push_copy(path, Some(before));
            push_copy(query, after);
            return;
        }
        let mark = find(b'?', line.text[target.clone()].as_bytes());
        let path_end = mark.map_or(target.end, |mark| target.start + mark);
        if let Column::Text(endpoint) = endpoint {
            endpoint.push(line, target.clone());
        }
        if let Column::Text(path) = path {
            path.push(line, target.start..path_end);
        }
        if let Column::Text(query) = query {
            match mark {
                Some(_) => query.push(line, path_end + 1..target.end),
                None => query.push_null(),
            }
        }
    }

    /// The finished columns, in the order of the projection.
    pub fn finish(self) -> Vec<ArrayRef> {
        let (rows, schema) = (self.rows, self.schema);
        let finished = |(at, column): (usize, Column<'_>)| match column {
            // A column that no field of the line fills.
            Column::Text(column) if column.is_empty() => {
                Some(new_null_array(schema.field(at).data_type(), rows))
            }
            Column::Skipped => None,
            Column::Text(column) => Some(column.finish()),
            Column::Word(column) => Some(column.finish()),
            Column::Status(column) => Some(column.finish()),
            Column::Number(column) => Some(column.finish()),
            Column::Float(column) => Some(column.finish()),
            Column::Time(column) => Some(column.finish_times()),
        };
        let arrays: Vec<_> = self.columns.into_iter().enumerate().map(finished).collect();
        self.wanted
            .into_iter()
            .map(|at| arrays[at].clone().expect("a wanted column was not skipped"))
            .collect()
    }
}

#[inline]
fn push_piece(column: &mut TextColumn, line: Line<'_>, range: Range<usize>, state: State) {
    match state {
        State::Plain => column.push(line, range),
        State::Missing => column.push_null(),
        State::Escaped => column.push_copy(&unescape(&line.text[range])),
    }
}

fn push_copy(column: &mut Column<'_>, text: Option<&str>) {
    match (column, text) {
        (Column::Text(column), Some(text)) => column.push_copy(text),
        (Column::Text(column), None) => column.push_null(),
        _ => {}
    }
}

fn push_null(column: &mut Column<'_>) {
    push_copy(column, None);
}
