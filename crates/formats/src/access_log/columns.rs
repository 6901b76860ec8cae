//! The columns of an access log in the making.

use std::ops::Range;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType,
};

use memchr::memchr;

use super::block::Block;
use super::escape::unescape;
use super::kind::{Items, Kind};
use super::request;
use super::scan::{Found, State};
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

    /// Adds the rows of a block, column by column: what a field is is asked once for all of them.
    pub fn store(&mut self, block: &Block<'a, '_>) {
        self.rows += block.rows();
        for number in 0..block.width() {
            self.store_field(block, number);
        }
    }

    fn store_field(&mut self, block: &Block<'a, '_>, number: usize) {
        let Some((_, first)) = block.fields(number).next() else { return };
        let (field, fields) = (first.field, block.fields(number));
        let at = field.column;
        match field.kind {
            Kind::Text | Kind::Label(_) | Kind::Address | Kind::Mark => self.store_text(at, fields),
            Kind::Addresses { client: false } | Kind::List(Items::Labels) => {
                self.store_text(at, fields);
            }
            Kind::Addresses { client: true } => {
                self.store_text(at + 1, block.fields(number));
                if let Column::Text(column) = &mut self.columns[at] {
                    for (line, found) in fields {
                        let end = found.start + found.number as usize;
                        push_piece(column, line, found.start..end, found.state);
                    }
                }
            }
            Kind::List(_) => {
                self.store_text(at, block.fields(number));
                self.store_numbers(at + 1, fields);
            }
            Kind::Request => self.store_requests(at, fields),
            Kind::Target => {
                for (line, found) in fields {
                    let range = (found.state != State::Missing).then_some(found.start..found.end);
                    self.push_target(at, line, range, found.state);
                }
            }
            Kind::Query => self.store_queries(at, fields),
            Kind::Word => {
                for (line, found) in fields {
                    let word = &line.text[found.start..found.end];
                    self.push_word(at, (found.state != State::Missing).then_some(word));
                }
            }
            _ => self.store_numbers(at, fields),
        }
    }

    fn store_numbers<'f>(
        &mut self,
        at: usize,
        fields: impl Iterator<Item = (Line<'a>, &'f Found<'f>)>,
    ) {
        let numbers = fields.map(|(_, found)| (found.number != ABSENT).then_some(found.number));
        match &mut self.columns[at] {
            Column::Status(column) => {
                numbers.for_each(|number| column.push(number.map(|status| status as i32)));
            }
            Column::Number(column) => numbers.for_each(|number| column.push(number)),
            Column::Float(column) => numbers.for_each(|number| {
                column.push(number.map(|bits| f64::from_bits(bits as u64)));
            }),
            Column::Time(column) => numbers.for_each(|number| column.push(number)),
            _ => {}
        }
    }

    fn store_text<'f>(
        &mut self,
        at: usize,
        fields: impl Iterator<Item = (Line<'a>, &'f Found<'f>)>,
    ) {
        let Column::Text(column) = &mut self.columns[at] else { return };
        for (line, found) in fields {
            push_piece(column, line, found.start..found.end, found.state);
        }
    }

    fn store_queries<'f>(
        &mut self,
        at: usize,
        fields: impl Iterator<Item = (Line<'a>, &'f Found<'f>)>,
    ) {
        let Column::Text(column) = &mut self.columns[at] else { return };
        for (line, found) in fields {
            let mark = line.text[found.start..found.end].starts_with('?');
            let range = found.start + usize::from(mark)..found.end;
            let state = if range.is_empty() { State::Missing } else { found.state };
            push_piece(column, line, range, state);
        }
    }

    #[inline]
    fn push_word(&mut self, at: usize, word: Option<&'a str>) {
        if let Column::Word(column) = &mut self.columns[at] {
            column.push(word);
        }
    }

    /// Method, endpoint, path, query and protocol, from column `at` on.
    fn store_requests<'f>(
        &mut self,
        at: usize,
        fields: impl Iterator<Item = (Line<'a>, &'f Found<'f>)>,
    ) {
        if self.columns[at..at + 5].iter().all(|column| matches!(column, Column::Skipped)) {
            return;
        }
        for (line, found) in fields {
            self.push_request(at, line, found);
        }
    }

    #[inline(always)]
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
    #[inline(always)]
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
        let mark = memchr(b'?', &line.text.as_bytes()[target.clone()]);
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

#[inline(always)]
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
