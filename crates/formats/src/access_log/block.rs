//! Lines that were divided, so many that what each of their fields holds is read in one go.
//!
//! A loop over one field of many lines does the same for each of them; a loop over the fields of
//! one line does something else at every step, which the processor guesses wrong.

use super::kind::Kind;
use super::layout::Field;
use super::scan::{Found, Scanner};
use super::value::{integer, quick_address, quick_status};
use crate::Refused;
use crate::text::Line;

/// Lines of a block: they and their fields stay in the cache of a core.
const ROWS: usize = 64;

/// Lines with their fields, so many for each.
pub struct Block<'a, 'l> {
    width: usize,
    rows: Vec<usize>,
    lines: Vec<Line<'a>>,
    found: Vec<Found<'l>>,
}

impl<'a, 'l> Block<'a, 'l> {
    /// A block of no lines, for so many fields in each.
    pub fn new(width: usize) -> Self {
        let (rows, lines) = (Vec::with_capacity(ROWS), Vec::with_capacity(ROWS));
        Self { width, rows, lines, found: Vec::with_capacity(ROWS * width) }
    }

    /// Adds a line, by its row among all, with its fields.
    #[inline]
    pub fn push(&mut self, row: usize, line: Line<'a>, found: &[Found<'l>]) {
        self.rows.push(row);
        self.lines.push(line);
        self.found.extend_from_slice(found);
    }

    /// Whether it is to be read before another line is added.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS
    }

    /// The number of lines.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of fields in each line.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Every line with its field of this number.
    #[inline]
    pub fn fields(&self, number: usize) -> impl Iterator<Item = (Line<'a>, &Found<'l>)> {
        let found = self.found.chunks_exact(self.width).map(move |found| &found[number]);
        self.lines.iter().copied().zip(found)
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.lines.clear();
        self.found.clear();
    }

    /// Reads what the first so many fields of each line hold. Where that is not what it should be,
    /// the line is scanned by itself; those that are refused are given, and no longer in the block.
    pub fn read_values(&mut self, scanner: &mut Scanner<'l>, fields: usize) -> Vec<Refused> {
        let mut unfit = Vec::new();
        for number in 0..fields.min(self.found.len()) {
            let field = self.found[number].field;
            if field.kind.has_value() {
                self.read_field(scanner, (number, field), &mut unfit);
            }
        }
        if unfit.is_empty() { Vec::new() } else { self.scan_again(scanner, unfit) }
    }

    /// Reads one field of each line; notes the lines in which it does not fit.
    fn read_field(
        &mut self,
        scanner: &mut Scanner<'l>,
        (number, field): (usize, &Field),
        unfit: &mut Vec<usize>,
    ) {
        let found = self.found.chunks_exact_mut(self.width).map(|found| &mut found[number]);
        let fields = self.lines.iter().map(|line| line.text).zip(found);
        let read = |text: &str| scanner.value(field, text);
        match field.kind {
            Kind::Address => read_each(fields, quick_address, read, unfit),
            Kind::Status => read_each(fields, quick_status, read, unfit),
            Kind::Integer => read_each(fields, integer, read, unfit),
            _ => read_each(fields, |_| None, read, unfit),
        }
    }

    #[cold]
    fn scan_again(&mut self, scanner: &mut Scanner<'l>, mut unfit: Vec<usize>) -> Vec<Refused> {
        unfit.sort_unstable();
        unfit.dedup();
        let mut refused = Vec::new();
        for at in unfit.into_iter().rev() {
            let (line, fields) = (self.lines[at], at * self.width..(at + 1) * self.width);
            match scanner.scan(line.text) {
                Ok(()) => self.found[fields].copy_from_slice(scanner.fields()),
                Err(broken) => {
                    let row = self.rows.remove(at);
                    self.lines.remove(at);
                    self.found.drain(fields);
                    refused.push(Refused { row, reason: broken.reason(line.text) });
                }
            }
        }
        refused
    }
}

/// Reads fields the quick way, or else as they are always read; notes those that do not fit.
#[inline]
fn read_each<'t, 'f, 'l: 'f>(
    fields: impl Iterator<Item = (&'t str, &'f mut Found<'l>)>,
    quick: impl Fn(&[u8]) -> Option<i64>,
    mut read: impl FnMut(&str) -> Option<i64>,
    unfit: &mut Vec<usize>,
) {
    for (at, (line, found)) in fields.enumerate() {
        let quickly = quick(&line.as_bytes()[found.start..found.end]);
        match quickly.or_else(|| read(&line[found.start..found.end])) {
            Some(number) => found.number = number,
            None => unfit.push(at),
        }
    }
}
