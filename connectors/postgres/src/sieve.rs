//! Finds the rows that a table refuses among those that it takes.
//!
//! Many rows go by `COPY`, which stops at the first one that is refused and usually says which it
//! was. Around such a row the server tries rows one by one, each under a savepoint of its own,
//! inside one statement: that costs some microseconds a row instead of several round trips.
//! [`Course`] decides what is tried next, [`Sieve`] has the statements.

use std::ops::Range;

use crate::catalog::Target;
use crate::layout::{Column, Upsert};
use crate::table::{TableName, quoted_list};

/// Rows that are tried one by one around a row that was refused.
const WINDOW_MIN: usize = 32;
/// The most rows that one statement tries one by one.
const WINDOW_MAX: usize = 2048;
/// One row in so many is often enough to go on one by one. To find one alone costs about as much.
const DENSE: usize = 256;
/// Rows of the next `COPY` after one that was refused; twice as many after each that was not.
const STRIDE_MIN: usize = 1024;

/// What is tried next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Try {
    /// All of these, or none.
    Together(Range<usize>),
    /// Each of these for itself.
    OneByOne(Range<usize>),
}

/// The way through the rows of a chunk, in their order.
#[derive(Debug)]
pub struct Course {
    at: usize,
    end: usize,
    /// Ends of attempts, the nearest last: what is before one is tried without what is behind it.
    stops: Vec<usize>,
    /// A row that was refused with all before it; those go first, then it is tried alone.
    suspect: Option<usize>,
    /// The last row that was refused.
    last: Option<usize>,
    /// The window begins with a row that will be refused and is the first for a long time: it says
    /// nothing about its neighbours.
    is_alone: bool,
    window: usize,
    stride: usize,
}

impl Course {
    /// The way through so many rows.
    pub fn new(rows: usize) -> Self {
        let (stops, stride) = (Vec::new(), rows);
        let (suspect, last, is_alone, window) = (None, None, false, 0);
        Self { at: 0, end: rows, stops, suspect, last, is_alone, window, stride }
    }

    /// The next attempt; none behind the last row.
    pub fn next(&mut self) -> Option<Try> {
        while self.stops.last().is_some_and(|stop| *stop <= self.at) {
            self.stops.pop();
        }
        if self.at == self.end {
            return None;
        }
        if self.suspect.take_if(|suspect| *suspect <= self.at).is_some() {
            self.look_around();
        }
        if self.window > 0 {
            return Some(Try::OneByOne(self.at..self.end.min(self.at + self.window)));
        }
        let stop = self.stops.last().copied().unwrap_or(self.end);
        Some(Try::Together(self.at..stop.min(self.at.saturating_add(self.stride))))
    }

    /// The attempt went well.
    pub fn taken(&mut self, rows: &Range<usize>) {
        self.at = rows.end;
        self.stride = self.stride.saturating_mul(2);
    }

    /// One of these rows was refused, and none was taken; `line` says which one it was, from 1.
    pub fn refused(&mut self, rows: &Range<usize>, line: Option<usize>) {
        self.stride = STRIDE_MIN;
        match line.filter(|line| (1..=rows.len()).contains(line)) {
            Some(1) => self.look_around(),
            Some(line) => {
                self.stops.push(rows.start + line - 1);
                self.suspect = Some(rows.start + line - 1);
            }
            None if rows.len() <= WINDOW_MIN => self.window = WINDOW_MIN,
            None => self.stops.push(rows.start + rows.len() / 2),
        }
    }

    /// These rows were tried one by one, and so many of them were refused.
    pub fn tried(&mut self, rows: &Range<usize>, refused: usize) {
        self.at = rows.end;
        let others = refused.saturating_sub(usize::from(self.is_alone));
        self.window = match others * DENSE >= rows.len() {
            true => (self.window * 4).min(WINDOW_MAX),
            false => 0,
        };
        self.is_alone = false;
    }

    /// A window at a row that will be refused; a wide one where another was not far before it.
    fn look_around(&mut self) {
        let gap = self.last.map_or(usize::MAX, |last| self.at - last);
        self.is_alone = gap > DENSE;
        self.window = if self.is_alone { WINDOW_MIN } else { WINDOW_MAX };
        self.last = Some(self.at);
    }
}

/// The statements that try rows one by one.
#[derive(Clone, Debug)]
pub struct Sieve {
    /// Makes the tables of the rows and of the refusals, for one transaction.
    pub create: String,
    /// Takes the rows, as the table itself does.
    pub copy: String,
    /// Tries each of them, in order; says which were refused: number from 1, SQLSTATE, message,
    /// detail (no SQLSTATE: left out); and empties both tables.
    pub take: String,
}

/// The rows, with columns that every row fits; behind it stands the number of the table.
const ROWS: &str = "pg_temp.logmill_rows";
/// What became of them.
const REFUSALS: &str = "pg_temp.logmill_refusals";

impl Sieve {
    /// The statements for a table, which has a number among those of its transaction.
    pub fn new(
        (table, number): (&TableName, usize),
        columns: &[Column],
        upsert: Option<&Upsert>,
    ) -> Self {
        let (rows, refusals) = (format!("{ROWS}_{number}"), format!("{REFUSALS}_{number}"));
        let numbered = || columns.iter().enumerate();
        let definitions: Vec<_> =
            numbered().map(|(number, column)| format!("c{number} {}", row_type(column))).collect();
        let values: Vec<_> = numbered().map(|(number, column)| value(number, column)).collect();
        let insert = format!(
            "INSERT INTO {table} ({}) VALUES ({}) {}",
            quoted_list(columns.iter().map(|column| column.name.as_str())),
            values.join(", "),
            upsert.map_or("", |upsert| &upsert.on_conflict),
        );
        // A row that replaces nothing may have nothing to do.
        let left_out = match upsert {
            Some(_) => String::new(),
            None => format!("IF NOT FOUND THEN INSERT INTO {refusals} VALUES (n_); END IF;"),
        };
        let body = format!(
            "#variable_conflict use_column\n\
             DECLARE row_ record; n_ bigint := 0; code_ text; message_ text; detail_ text;\n\
             BEGIN\n FOR row_ IN SELECT * FROM {rows} LOOP\n  n_ := n_ + 1;\n\
             BEGIN\n {insert};\n {left_out}\n\
             EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN\n\
             GET STACKED DIAGNOSTICS code_ = RETURNED_SQLSTATE, message_ = MESSAGE_TEXT, \
             detail_ = PG_EXCEPTION_DETAIL;\n\
             INSERT INTO {refusals} VALUES (n_, code_, message_, detail_);\n\
             END;\n END LOOP;\nEND"
        );
        Self {
            create: format!(
                "CREATE TEMPORARY TABLE {rows} ({}) ON COMMIT DROP; CREATE TEMPORARY TABLE \
                 {refusals} (n bigint, code text, message text, detail text) ON COMMIT DROP",
                definitions.join(", ")
            ),
            copy: format!("COPY {rows} FROM STDIN (FORMAT binary)"),
            take: format!(
                "DO {0}{body}{0}; SELECT n, code, message, detail FROM {refusals} ORDER BY n; \
                 TRUNCATE {rows}, {refusals}",
                tag(&body)
            ),
        }
    }
}

/// Whether a column's bytes are text that the server has to read first.
fn is_read(column: &Column) -> bool {
    column.target.is_text() || matches!(column.target, Target::Json | Target::Jsonb)
}

/// Text waits as bytes: what is no value of its type would be refused with all others.
fn row_type(column: &Column) -> &str {
    if is_read(column) { "bytea" } else { &column.base.name }
}

fn value(number: usize, column: &Column) -> String {
    if !is_read(column) {
        return format!("row_.c{number}");
    }
    // Before a `jsonb` stands the number of its version.
    let bytes = match column.target {
        Target::Jsonb => format!("substr(row_.c{number}, 2)"),
        _ => format!("row_.c{number}"),
    };
    let text = format!("convert_from({bytes}, 'UTF8')");
    match column.base.by_cast {
        true => format!("{text}::{}", column.shown),
        false => text,
    }
}

/// A quotation mark that does not stand in the text.
fn tag(body: &str) -> String {
    let tags = (0_u32..).map(|number| format!("$logmill{number}$"));
    let mut free = tags.filter(|tag| !body.contains(tag.as_str()));
    free.next().expect("no text holds all numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through rows of which some are refused. `located` says whether a `COPY` tells which.
    /// Returns the refused rows and the attempts.
    fn go(rows: usize, bad: impl Fn(usize) -> bool, located: bool) -> (Vec<usize>, usize) {
        let mut course = Course::new(rows);
        let (mut refused, mut attempts, mut next) = (Vec::new(), 0, 0);
        while let Some(attempt) = course.next() {
            attempts += 1;
            match attempt {
                Try::Together(range) => {
                    assert_eq!(range.start, next, "rows keep their order");
                    match range.clone().find(|row| bad(*row)) {
                        None => {
                            next = range.end;
                            course.taken(&range);
                        }
                        Some(row) => {
                            course.refused(&range, located.then_some(row - range.start + 1));
                        }
                    }
                }
                Try::OneByOne(range) => {
                    assert_eq!(range.start, next, "rows keep their order");
                    next = range.end;
                    let found: Vec<_> = range.clone().filter(|row| bad(*row)).collect();
                    course.tried(&range, found.len());
                    refused.extend(found);
                }
            }
        }
        assert_eq!(next, rows, "every row is tried");
        (refused, attempts)
    }

    #[test]
    fn every_refused_row_is_found_and_no_other() {
        for located in [true, false] {
            for every in [1, 2, 3, 7, 100, 5_000, 100_000] {
                let bad = |row: usize| row % every == every - 1;
                let (refused, _) = go(20_000, bad, located);
                let expect: Vec<_> = (0..20_000).filter(|row| bad(*row)).collect();
                assert_eq!(refused, expect, "{every} {located}");
            }
            assert_eq!(go(0, |_| true, located), (Vec::new(), 0));
            assert_eq!(go(1, |_| true, located).0, [0]);
        }
    }

    #[test]
    fn few_attempts_are_made() {
        assert_eq!(go(20_000, |_| false, true).1, 1);
        // All, up to the bad one, around it, then twice as many each time.
        assert!(go(20_000, |row| row == 9_999, true).1 < 10);
        assert!(go(20_000, |row| row == 9_999, false).1 < 30);
        assert!(go(80_000, |row| row % 2 == 0, true).1 < 50, "many at once");
        // Up to each, once more without it, and it with its neighbours.
        assert!(go(20_000, |row| row % 1_000 == 999, true).1 <= 3 * 20 + 1, "few alone");
        assert!(go(20_000, |row| row % 100 == 99, true).1 < 20, "not so few go on one by one");
    }

    #[test]
    fn a_line_that_cannot_be_is_not_believed() {
        let mut course = Course::new(100);
        course.refused(&(0..100), Some(101));
        assert_eq!(course.next(), Some(Try::Together(0..50)));
    }
}
