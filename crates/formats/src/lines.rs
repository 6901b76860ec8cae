//! Cuts blocks of bytes into lines, as views into the blocks.
//!
//! No I/O and no format: whoever reads bytes asks for a block, appends to it what it read, and has
//! it cut. Nothing is done per byte but to look for line ends and to check UTF-8, and no text is
//! copied but a line that crosses two blocks and a line with bad UTF-8.
//!
//! Invariant: cutting the same bytes gives the same records at the same positions, wherever the
//! blocks end and wherever the reading began anew.

use std::sync::Arc;

use arrow::array::{BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch};
use arrow::array::{StringViewArray, make_view};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use bytes::Bytes;
use contract::quantity::ByteSize;
use contract::record::message_schema;
use contract::source::{OriginalKind, Reject};
use memchr::{memchr, memchr_iter, memrchr};
use serde::{Deserialize, Serialize};

use crate::blocks::Blocks;

/// What the bytes at a position are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// The beginning of a line.
    #[default]
    Line,
    /// The rest of a line that had no end yet when it was taken for a record.
    Continuation,
    /// The rest of a line that was refused because it is too long.
    Overlong,
}

/// The lines of one block.
#[derive(Debug)]
pub struct LineBatch {
    /// The lines without their ends, never blank.
    pub text: StringViewArray,
    /// Whether bad UTF-8 in the line was replaced by U+FFFD.
    pub lossy: BooleanArray,
    /// Where each line begins in the stream, in bytes.
    pub positions: Int64Array,
    /// Lines that are refused.
    pub rejects: Vec<Reject>,
    /// The first byte after everything above.
    pub next: i64,
    /// What stands at `next`.
    pub start: Start,
    /// The bytes up to `next`, as they were read.
    pub consumed: Buffer,
}

impl LineBatch {
    /// The lines in the columns that every byte source gives, and the refused ones.
    pub fn into_records(self) -> (RecordBatch, Vec<Reject>) {
        let columns = vec![
            Arc::new(self.text) as _,
            Arc::new(self.lossy) as _,
            Arc::new(self.positions) as _,
        ];
        let records = RecordBatch::try_new(message_schema(), columns)
            .expect("three columns of one length and of the schema's types");
        (records, self.rejects)
    }

    /// Only the lines that begin before a position.
    #[must_use]
    pub fn before(mut self, position: i64) -> Self {
        if self.next <= position {
            return self;
        }
        let rows = self.positions.values().partition_point(|begin| *begin < position);
        self.text = self.text.slice(0, rows);
        self.lossy = self.lossy.slice(0, rows);
        self.positions = self.positions.slice(0, rows);
        self.rejects.retain(|reject| reject.position < position);
        let begin = self.next - self.consumed.len() as i64;
        let consumed = usize::try_from(position - begin).unwrap_or(0);
        self.consumed = self.consumed.slice_with_length(0, consumed);
        (self.next, self.start) = (position, Start::Line);
        self
    }
}

/// Cuts one stream; knows where it stands and keeps the line that has no end yet.
#[derive(Debug)]
pub struct Lines {
    line_bytes_max: usize,
    at: i64,
    start: Start,
    tail: Vec<u8>,
    rows_expected: usize,
    blocks: Blocks,
}

impl Lines {
    /// Begins at the first byte of a stream. A line may have `line_bytes_max` bytes without its
    /// end.
    pub fn new(line_bytes_max: usize) -> Self {
        Self::resume(line_bytes_max, 0, Start::Line)
    }

    /// Begins where another reading stopped.
    pub fn resume(line_bytes_max: usize, at: i64, start: Start) -> Self {
        let (tail, blocks) = (Vec::new(), Blocks::default());
        Self { line_bytes_max, at, start, tail, rows_expected: 0, blocks }
    }

    /// Uses blocks that others use too.
    #[must_use]
    pub fn with_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }

    /// The position of the first byte of the next block.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Forgets the line that has no end yet; its bytes will be read again.
    pub fn forget_tail(&mut self) {
        self.tail.clear();
    }

    /// A block that begins with the line that has no end yet, with room for `bytes` more.
    pub fn block(&self, bytes: usize) -> Vec<u8> {
        let mut block = self.blocks.take(self.tail.len() + bytes);
        block.extend_from_slice(&self.tail);
        block
    }

    /// Cuts a block made by [`Lines::block`]; a line without end waits for the next one.
    pub fn cut(&mut self, block: Vec<u8>) -> LineBatch {
        self.cut_block(block, Unended::Waits)
    }

    /// Cuts the last block: a line without end is a record too.
    pub fn cut_last(&mut self, block: Vec<u8>) -> LineBatch {
        self.cut_block(block, Unended::Counts)
    }

    fn cut_block(&mut self, block: Vec<u8>, unended: Unended) -> LineBatch {
        assert!(u32::try_from(block.len()).is_ok(), "a block is smaller than 4 GiB");
        let mut cutting = Cutting {
            block: &block,
            at: self.at,
            line_bytes_max: self.line_bytes_max,
            views: Vec::with_capacity(self.rows_expected),
            positions: Vec::with_capacity(self.rows_expected),
            lossy: Vec::new(),
            repaired: Vec::new(),
            rejects: Vec::new(),
            valid: false,
        };
        let complete = memrchr(b'\n', &block).map_or(0, |end| end + 1);
        if complete > 0 {
            let first = cutting.end_of_started_line(self.start);
            self.start = Start::Line;
            cutting.whole_lines(first, complete);
        }
        let (consumed, start) = cutting.rest(complete, self.start, unended);
        self.start = start;
        self.rows_expected = cutting.views.len() + cutting.views.len() / 8;
        self.tail = block[consumed..].to_vec();
        self.at += consumed as i64;
        let found = cutting.finish();
        found.into_batch(&self.blocks.share(block), consumed, self.at, start)
    }
}

/// What becomes of a line without end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unended {
    Waits,
    Counts,
}

/// The work on one block.
struct Cutting<'a> {
    block: &'a [u8],
    at: i64,
    line_bytes_max: usize,
    views: Vec<u128>,
    positions: Vec<i64>,
    /// The rows whose text was repaired.
    lossy: Vec<usize>,
    /// The text of those rows.
    repaired: Vec<u8>,
    rejects: Vec<Reject>,
    /// Whether the part in work is known to be UTF-8.
    valid: bool,
}

/// What a block held, without the block.
struct Found {
    views: Vec<u128>,
    positions: Vec<i64>,
    lossy: Vec<usize>,
    repaired: Vec<u8>,
    rejects: Vec<Reject>,
}

impl Cutting<'_> {
    /// Ends the line that an earlier block began; returns where the next one begins.
    fn end_of_started_line(&mut self, start: Start) -> usize {
        if start == Start::Line {
            return 0;
        }
        let end = memchr(b'\n', self.block).expect("the block holds a line end");
        if start == Start::Continuation {
            self.refuse_continuation(without_return(&self.block[..end]));
        }
        end + 1
    }

    /// Takes the lines that end before `complete`.
    fn whole_lines(&mut self, first: usize, complete: usize) {
        let lines = &self.block[first..complete];
        self.valid = simdutf8::basic::from_utf8(lines).is_ok();
        let mut begin = first;
        for end in memchr_iter(b'\n', lines) {
            let end = first + end;
            self.line(begin, end);
            begin = end + 1;
        }
    }

    /// Decides on the bytes behind the last line end; returns how far the block is consumed and
    /// what stands there.
    fn rest(&mut self, begin: usize, start: Start, unended: Unended) -> (usize, Start) {
        let all = self.block.len();
        let rest = &self.block[begin..];
        // One byte more than the limit may still be the first half of a line end.
        let too_long = rest.len() > self.line_bytes_max + 1;
        match (start, unended) {
            (Start::Overlong, _) => (all, Start::Overlong),
            (Start::Line, _) if too_long => {
                self.refuse_overlong(begin, rest);
                (all, Start::Overlong)
            }
            (Start::Continuation, _) if too_long => {
                self.refuse_continuation(rest);
                (all, Start::Overlong)
            }
            (_, Unended::Waits) => (begin, start),
            (_, Unended::Counts) if is_blank(rest) => (begin, start),
            (Start::Line, Unended::Counts) => {
                self.valid = simdutf8::basic::from_utf8(rest).is_ok();
                self.line(begin, all);
                match without_return(rest).len() > self.line_bytes_max {
                    true => (all, Start::Overlong),
                    false => (all, Start::Continuation),
                }
            }
            (Start::Continuation, Unended::Counts) => {
                self.refuse_continuation(rest);
                (all, Start::Continuation)
            }
        }
    }

    #[inline]
    fn line(&mut self, begin: usize, end: usize) {
        let line = without_return(&self.block[begin..end]);
        if is_blank(line) {
            return;
        }
        if line.len() > self.line_bytes_max {
            self.refuse_overlong(begin, line);
            return;
        }
        let view = if self.valid || simdutf8::basic::from_utf8(line).is_ok() {
            make_view(line, 0, begin as u32)
        } else {
            self.repair(line)
        };
        self.views.push(view);
        self.positions.push(self.at + begin as i64);
    }

    #[cold]
    fn repair(&mut self, line: &[u8]) -> u128 {
        let text = String::from_utf8_lossy(line);
        let offset = u32::try_from(self.repaired.len()).expect("at most three times a block");
        self.repaired.extend_from_slice(text.as_bytes());
        self.lossy.push(self.views.len());
        make_view(text.as_bytes(), 1, offset)
    }

    #[cold]
    fn refuse_overlong(&mut self, begin: usize, line: &[u8]) {
        let limit = ByteSize(self.line_bytes_max as u64);
        let reason = format!("line is longer than {limit}; only its first {limit} are kept");
        self.refuse(begin, line, reason);
    }

    /// Only the end of a line may follow a record that had none.
    #[cold]
    fn refuse_continuation(&mut self, line: &[u8]) {
        if !line.is_empty() {
            self.refuse(0, line, "continuation of a line that was already read".to_owned());
        }
    }

    fn refuse(&mut self, begin: usize, line: &[u8], reason: String) {
        let kept = &line[..line.len().min(self.line_bytes_max)];
        self.rejects.push(Reject {
            position: self.at + begin as i64,
            ordinal: 0,
            reason,
            kind: OriginalKind::Bytes,
            original: Some(Bytes::copy_from_slice(kept)),
        });
    }

    fn finish(self) -> Found {
        Found {
            views: self.views,
            positions: self.positions,
            lossy: self.lossy,
            repaired: self.repaired,
            rejects: self.rejects,
        }
    }
}

impl Found {
    fn into_batch(self, block: &Buffer, consumed: usize, next: i64, start: Start) -> LineBatch {
        let rows = self.views.len();
        let lossy = if self.lossy.is_empty() {
            BooleanBuffer::new_unset(rows)
        } else {
            let mut flags = BooleanBufferBuilder::new(rows);
            flags.append_n(rows, false);
            self.lossy.iter().for_each(|row| flags.set_bit(*row, true));
            flags.finish()
        };
        let consumed = block.slice_with_length(0, consumed);
        let buffers = match self.repaired.is_empty() {
            true => vec![block.clone()],
            false => vec![block.clone(), Buffer::from_vec(self.repaired)],
        };
        LineBatch {
            text: checked_text(self.views.into(), buffers),
            lossy: BooleanArray::new(lossy, None),
            positions: Int64Array::new(self.positions.into(), None),
            rejects: self.rejects,
            next,
            start,
            consumed,
        }
    }
}

/// Text of which every view was checked when it was made.
#[allow(unsafe_code)]
fn checked_text(views: ScalarBuffer<u128>, buffers: Vec<Buffer>) -> StringViewArray {
    // SAFETY: each view was made by `make_view` from a slice of the buffer and the offset that it
    // names, and that slice is UTF-8: simdutf8 accepted it, or a part that it is cut from at line
    // ends (ASCII), or `from_utf8_lossy` made it. Checking again would cost as much as cutting.
    unsafe { StringViewArray::new_unchecked(views, buffers, None) }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use proptest::prelude::*;

    /// Every record and reject as a line of text, and where reading stopped.
    fn describe(batch: &LineBatch, said: &mut Vec<String>) {
        let mut all: Vec<(i64, String)> = Vec::new();
        for row in 0..batch.text.len() {
            let mark = if batch.lossy.value(row) { "~" } else { "" };
            let position = batch.positions.value(row);
            all.push((position, format!("{position}{mark} {}", batch.text.value(row))));
        }
        for reject in &batch.rejects {
            let kept = String::from_utf8_lossy(reject.original.as_deref().unwrap_or_default());
            let (word, _) = reject.reason.split_once(' ').expect("a sentence");
            all.push((reject.position, format!("{}! {word} {kept}", reject.position)));
        }
        all.sort_by_key(|(position, _)| *position);
        said.extend(all.into_iter().map(|(_, text)| text));
    }

    fn cut_in_blocks(lines: &mut Lines, bytes: &[u8], block_bytes: usize) -> Vec<String> {
        let mut said = Vec::new();
        for chunk in bytes.chunks(block_bytes) {
            let mut block = lines.block(chunk.len());
            block.extend_from_slice(chunk);
            describe(&lines.cut(block), &mut said);
        }
        describe(&lines.cut_last(lines.block(0)), &mut said);
        said
    }

    fn check(bytes: &[u8], expect: &[&str]) {
        for block_bytes in 1..=bytes.len().max(1) {
            let said = cut_in_blocks(&mut Lines::new(20), bytes, block_bytes);
            assert_eq!(said, expect, "in blocks of {block_bytes} bytes");
        }
    }

    #[test]
    fn lines_end_with_or_without_a_carriage_return() {
        check(b"one\ntwo\r\nthree\n", &["0 one", "4 two", "9 three"]);
        check(b"a line of just twenty\r", &["0! line a line of just twent"]);
        check(b"line of just twenty.\r\nb\n", &["0 line of just twenty.", "22 b"]);
    }

    #[test]
    fn blank_lines_are_no_records() {
        check(b"\n \t\r\nx\n\n  ", &["5 x"]);
        check(b"", &[]);
    }

    #[test]
    fn bad_utf8_is_replaced_and_marked() {
        check(b"good\nb\xffd\nf\xc3\xbcr\n", &["0 good", "5~ b\u{fffd}d", "9 f\u{fc}r"]);
        check(b"a longer line \xff.\n", &["0~ a longer line \u{fffd}."]);
    }

    #[test]
    fn a_line_beyond_the_limit_is_refused_with_its_beginning() {
        check(
            b"short\nthis line has more than twenty bytes\nnext\n",
            &["0 short", "6! line this line has more t", "43 next"],
        );
    }

    #[test]
    fn a_last_line_without_end_is_a_record() {
        check(b"one\ntwo", &["0 one", "4 two"]);
    }

    #[test]
    fn after_a_line_without_end_only_its_end_may_follow() {
        let check = |rest: &[u8], expect: &[&str]| {
            let mut lines = Lines::new(20);
            assert_eq!(cut_in_blocks(&mut lines, b"one", 8), ["0 one"]);
            let mut resumed = Lines::resume(20, lines.at(), lines.start);
            assert_eq!(cut_in_blocks(&mut resumed, rest, 2), expect);
        };
        check(b"\ntwo\n", &["4 two"]);
        check(b"\r\ntwo\n", &["5 two"]);
        check(b" and more\ntwo\n", &["3! continuation  and more", "13 two"]);
        check(
            b" and much more of this line\n2\n",
            &["3! continuation  and much more of th", "31 2"],
        );
    }

    #[test]
    fn text_is_not_copied() {
        let mut lines = Lines::new(100);
        let mut block = lines.block(40);
        block.extend_from_slice(b"a line that is longer than twelve bytes\n");
        let begin = block.as_ptr();
        let batch = lines.cut(block);
        assert_eq!(batch.text.value(0).as_ptr(), begin);
        assert_eq!(batch.consumed.len(), 40);
    }

    fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => Just(b'a'), 2 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(b' '),
            1 => Just(0xc3), 1 => Just(0xbc), 1 => any::<u8>(),
        ];
        prop::collection::vec(byte, 0..120)
    }

    proptest! {
        #[test]
        fn records_do_not_depend_on_blocks(bytes in awkward_bytes(), block_bytes in 1usize..40) {
            let whole = cut_in_blocks(&mut Lines::new(9), &bytes, 1000);
            prop_assert_eq!(cut_in_blocks(&mut Lines::new(9), &bytes, block_bytes), whole);
        }

        #[test]
        fn reading_on_from_any_position_gives_the_rest(
            bytes in awkward_bytes(), block_bytes in 1usize..40, stop in 0usize..120,
        ) {
            let whole = cut_in_blocks(&mut Lines::new(9), &bytes, 1000);
            let stop = stop.min(bytes.len());
            let mut lines = Lines::new(9);
            let mut said = Vec::new();
            for chunk in bytes[..stop].chunks(block_bytes) {
                let mut block = lines.block(chunk.len());
                block.extend_from_slice(chunk);
                describe(&lines.cut(block), &mut said);
            }
            let mut resumed = Lines::resume(9, lines.at, lines.start);
            let from = usize::try_from(lines.at).expect("positive");
            said.extend(cut_in_blocks(&mut resumed, &bytes[from..], block_bytes));
            prop_assert_eq!(said, whole);
        }

        #[test]
        fn arrow_accepts_every_batch(bytes in awkward_bytes()) {
            let mut lines = Lines::new(50);
            let mut block = lines.block(bytes.len());
            block.extend_from_slice(&bytes);
            let text = lines.cut_last(block).text;
            let (views, buffers, nulls) = text.into_parts();
            prop_assert!(StringViewArray::try_new(views, buffers, nulls).is_ok());
        }
    }
}
