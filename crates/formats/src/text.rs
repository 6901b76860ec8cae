//! Columns of text that are views into the buffers of the lines they were cut from.
//!
//! A value is copied only where it differs from what the line holds, as after an escape.
//!
//! Invariant: a column belongs to one array of lines; every view in it was made from a `&str` of
//! a line of that array, or from a `&str` that was copied into the column's own block.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer};

use crate::column::Nulls;

/// Text of up to this many bytes stands in the view itself.
const INLINE_BYTES_MAX: usize = 12;

/// Copied text goes into blocks of at most this size, as a view's offset has 32 bits.
const BLOCK_BYTES_MAX: usize = 1 << 30;

/// A column of lines, ready to be cut.
pub struct Lines<'a> {
    array: &'a StringViewArray,
    buffers: Arc<[Buffer]>,
}

/// One line with its place in the buffers.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// The text, without a line end: loggers inside containers leave it there.
    pub text: &'a str,
    /// Buffer index and offset as they stand in the upper half of a view; meaningless for a line
    /// that stands in its view, whose pieces do the same.
    place: u64,
}

impl<'a> Lines<'a> {
    /// Takes a column of lines.
    pub fn new(array: &'a StringViewArray) -> Self {
        Self { array, buffers: Arc::from(array.data_buffers()) }
    }

    /// The number of lines.
    pub fn rows(&self) -> usize {
        self.array.len()
    }

    /// A line; none where it is null.
    #[inline(always)]
    pub fn line(&self, row: usize) -> Option<Line<'a>> {
        if self.array.is_null(row) {
            return None;
        }
        let text = self.array.value(row);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        Some(Line { text, place: (self.array.views()[row] >> 64) as u64 })
    }
}

/// A column of text in the making.
pub struct TextColumn {
    views: Vec<u128>,
    nulls: Nulls,
    buffers: Arc<[Buffer]>,
    blocks: Vec<Buffer>,
    block: Vec<u8>,
}

impl TextColumn {
    /// An empty column for pieces of these lines.
    pub fn new(lines: &Lines<'_>) -> Self {
        Self {
            views: Vec::with_capacity(lines.rows()),
            nulls: Nulls::default(),
            buffers: lines.buffers.clone(),
            blocks: Vec::new(),
            block: Vec::new(),
        }
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// Adds a piece of a line, by its bytes from 0.
    #[inline(always)]
    pub fn push(&mut self, line: Line<'_>, range: Range<usize>) {
        let place = line.place.wrapping_add((range.start as u64) << 32);
        let text = line.text[range.clone()].as_bytes();
        let view = match line.text.as_bytes()[range.start..].first_chunk() {
            Some(sixteen) => view_of_head(*sixteen, text.len(), place),
            None => view(text, place),
        };
        self.views.push(view);
    }

    /// Adds text that was cut from a line; text from elsewhere is copied.
    pub fn push_piece(&mut self, line: Line<'_>, piece: &str) {
        let start = (piece.as_ptr() as usize).wrapping_sub(line.text.as_ptr() as usize);
        let end = start.saturating_add(piece.len());
        // Equal text at that place is what a view needs, wherever the piece came from.
        if line.text.get(start..end) == Some(piece) {
            self.push(line, start..end);
        } else {
            self.push_copy(piece);
        }
    }

    /// Adds text that stands in no line.
    pub fn push_copy(&mut self, text: &str) {
        if self.block.len() + text.len() > BLOCK_BYTES_MAX {
            self.blocks.push(Buffer::from_vec(std::mem::take(&mut self.block)));
        }
        let index = (self.buffers.len() + self.blocks.len()) as u64;
        let place = ((self.block.len() as u64) << 32) | index;
        if text.len() > INLINE_BYTES_MAX {
            self.block.extend_from_slice(text.as_bytes());
        }
        self.views.push(view(text.as_bytes(), place));
    }

    /// Adds nothing.
    #[inline]
    pub fn push_null(&mut self) {
        self.nulls.push(self.views.len());
        self.views.push(0);
    }

    /// The finished column.
    pub fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish(self.views.len());
        let mut buffers = self.buffers;
        if !self.block.is_empty() {
            self.blocks.push(Buffer::from_vec(self.block));
        }
        if !self.blocks.is_empty() {
            buffers = buffers.iter().cloned().chain(self.blocks).collect();
        }
        Arc::new(array_of(self.views, buffers, nulls))
    }
}

/// Checking every view again would read the whole text a second time: it costs half of the speed
/// of the access-log parser (281 against 532 MB/s beside other work, `cargo bench -p formats`).
#[allow(unsafe_code)]
fn array_of(
    views: Vec<u128>,
    buffers: Arc<[Buffer]>,
    nulls: Option<NullBuffer>,
) -> StringViewArray {
    // SAFETY: both functions that add a value take it from a `&str`, so it is valid UTF-8. The
    // place of a piece is the place of its line in the same buffers plus its offset in the line;
    // the place of a copy is where it stands in its block, which comes after those buffers. Views
    // and nulls grow together.
    unsafe { StringViewArray::new_unchecked(views.into(), buffers, nulls) }
}

/// The view of a text: its length, then the text itself, or its first four bytes and its place.
#[inline]
fn view(text: &[u8], place: u64) -> u128 {
    let length = text.len() as u128;
    match text {
        [a, b, c, d, ..] if text.len() > INLINE_BYTES_MAX => {
            let prefix = u32::from_le_bytes([*a, *b, *c, *d]);
            length | (u128::from(prefix) << 32) | (u128::from(place) << 64)
        }
        _ => length | (inline(text) << 32),
    }
}

/// The same from the first 16 bytes from the text on, whatever stands behind it. Whether a text is
/// short is often as good as random, so both views are made and one is taken, without a branch.
#[inline(always)]
fn view_of_head(head: [u8; 16], length: usize, place: u64) -> u128 {
    let head = u128::from_le_bytes(head);
    let short = (head & INLINE_MASKS[length.min(INLINE_BYTES_MAX)]) << 32;
    let long = (u128::from(head as u32) << 32) | (u128::from(place) << 64);
    length as u128 | if length > INLINE_BYTES_MAX { long } else { short }
}

/// Masks of the first bytes of a number, by how many.
const INLINE_MASKS: [u128; INLINE_BYTES_MAX + 1] = {
    let mut masks = [0; INLINE_BYTES_MAX + 1];
    let mut bytes = 0;
    while bytes < masks.len() {
        masks[bytes] = (1 << (8 * bytes)) - 1;
        bytes += 1;
    }
    masks
};

/// The view of a text that stands in its view; none for a longer one.
#[inline]
pub fn short_view(text: &str) -> Option<u128> {
    (text.len() <= INLINE_BYTES_MAX).then(|| view(text.as_bytes(), 0))
}

/// Up to 12 bytes as a number, by two loads that may overlap.
#[inline]
fn inline(text: &[u8]) -> u128 {
    let length = text.len();
    if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        let (head, tail) = (u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
        return u128::from(head) | (u128::from(tail) << (8 * (length - 8)));
    }
    if let (Some(head), Some(tail)) = (text.first_chunk(), text.last_chunk()) {
        let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
        return u128::from(head) | (u128::from(tail) << (8 * (length - 4)));
    }
    text.iter().rev().fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn views_are_those_that_arrow_accepts() {
        let long = "0123456789".repeat(9);
        let array = StringViewArray::from(vec!["", "x", "short", "héllo wörld!", &long, "zz"]);
        let lines = Lines::new(&array);
        let mut column = TextColumn::new(&lines);
        let mut expect = Vec::new();
        for row in 0..lines.rows() {
            let line = lines.line(row).unwrap();
            for start in 0..=line.text.len() {
                for end in start..=line.text.len() {
                    let Some(piece) = line.text.get(start..end) else { continue };
                    column.push(line, start..end);
                    column.push_copy(piece);
                    expect.extend([Some(piece), Some(piece)]);
                }
            }
            column.push_null();
            expect.push(None);
        }
        let made = column.finish();
        let made = made.as_string_view();
        assert_eq!(made.iter().collect::<Vec<_>>(), expect);
        let (views, buffers, nulls) = made.clone().into_parts();
        StringViewArray::try_new(views, buffers, nulls).expect("every view is valid");
    }

    #[test]
    fn a_slice_of_lines_is_cut_where_it_stands() {
        let text = ["a line of some length", "another line of some length"];
        let array = StringViewArray::from(text.to_vec()).slice(1, 1);
        let lines = Lines::new(&array);
        let mut column = TextColumn::new(&lines);
        column.push(lines.line(0).unwrap(), 8..27);
        assert_eq!(column.finish().as_string_view().value(0), "line of some length");
    }
}
