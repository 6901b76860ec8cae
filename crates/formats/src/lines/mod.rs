//! Cuts blocks of bytes into lines, as views into the blocks.
//!
//! No I/O and no format: whoever reads bytes asks for a block, appends to it what it read, and has
//! it cut. Nothing is done per byte but to look for line ends and to check UTF-8, and no text is
//! copied but a line that crosses two blocks and a line with bad UTF-8.
//!
//! Runs of NULs, as a truncated or half written file has them, are no text: they are left out, told
//! as gaps, and end the line that they interrupt.
//!
//! Invariant: cutting the same bytes gives the same records at the same positions, wherever the
//! blocks end and wherever the reading began anew.

mod cutting;
mod holes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::array::{BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer, ScalarBuffer};
use contract::record::message_schema;
use contract::source::Reject;
use serde::{Deserialize, Serialize};

use crate::blocks::Blocks;
use crate::join::{Block, Join, Joined, Torn};
use cutting::{Cutting, Found, Stretch, Unended, is_blank, without_mark};
pub use holes::{HOLE_BYTES_MIN, before_holes};

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
    /// More of the bytes behind a compressed text that belong to nothing, which were refused.
    Foreign,
    /// The beginning of a line, while parts of a refused one are still to come: see [`Join`].
    Torn(Torn),
    /// As `Continuation`, while such parts are still to come.
    TornContinuation(Torn),
    /// As `Overlong`, while such parts are still to come.
    TornOverlong(Torn),
}

impl Start {
    /// What the bytes are themselves, and what is still to come.
    fn split(self) -> (Self, Torn) {
        match self {
            Self::Torn(torn) => (Self::Line, torn),
            Self::TornContinuation(torn) => (Self::Continuation, torn),
            Self::TornOverlong(torn) => (Self::Overlong, torn),
            plain => (plain, Torn::None),
        }
    }

    fn while_torn(self, torn: Torn) -> Self {
        match self {
            plain if torn == Torn::None => plain,
            Self::Line => Self::Torn(torn),
            Self::Continuation => Self::TornContinuation(torn),
            Self::Overlong => Self::TornOverlong(torn),
            other => other,
        }
    }
}

/// NULs that stand where text should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where the first one stands.
    pub position: i64,
    /// How many there are.
    pub bytes: u64,
}

impl Gap {
    /// Where the first byte behind them stands.
    pub fn end(&self) -> i64 {
        self.position + self.bytes.cast_signed()
    }
}

/// What waits behind the position for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing that would ever be a record.
    Blank,
    /// A line without end.
    Text,
    /// NULs, perhaps behind such a line.
    Nuls,
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
    /// NULs that were left out.
    pub gaps: Vec<Gap>,
    /// NULs that may still be written over: nothing from the line on that they interrupt is here,
    /// and nothing of it was kept.
    pub waits: Option<Gap>,
    /// The first byte after everything above.
    pub next: i64,
    /// What stands at `next`.
    pub start: Start,
    /// The bytes up to `next`, as they were read, but for NULs in the middle of the first gap.
    pub consumed: Buffer,
    /// Where `consumed` begins.
    begin: i64,
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

    /// Whether it holds nothing that anybody must hear of.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.rejects.is_empty() && self.gaps.is_empty()
    }

    /// How many bytes of the stream it stands for.
    pub fn bytes(&self) -> u64 {
        (self.next - self.begin).cast_unsigned()
    }

    /// How many NULs were left out.
    pub fn skipped(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.bytes).sum()
    }

    /// Where the byte at a position of the block stands in `consumed`.
    pub(crate) fn offset(&self, position: i64) -> usize {
        let is_behind_gap = self.gaps.first().is_some_and(|gap| gap.position < position);
        let left_out = match is_behind_gap {
            true => self.bytes() as usize - self.consumed.len(),
            false => 0,
        };
        usize::try_from(position - self.begin).unwrap_or(0) - left_out
    }

    /// Only the lines that begin before a position.
    #[must_use]
    pub fn before(mut self, position: i64) -> Self {
        if self.next <= position {
            return self;
        }
        let consumed = self.offset(position);
        let rows = self.positions.values().partition_point(|begin| *begin < position);
        self.text = self.text.slice(0, rows);
        self.lossy = self.lossy.slice(0, rows);
        self.positions = self.positions.slice(0, rows);
        self.rejects.retain(|reject| reject.position < position);
        self.gaps.retain(|gap| gap.position < position);
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
    /// NULs that stand behind `tail`, which ends with others, and are not kept.
    left_out: u64,
    rows_expected: usize,
    blocks: Blocks,
    join: Option<Join>,
    torn: Torn,
}

impl Lines {
    /// Begins at the first byte of a stream. A line may have `line_bytes_max` bytes without its
    /// end.
    pub fn new(line_bytes_max: usize) -> Self {
        Self::resume(line_bytes_max, 0, Start::Line)
    }

    /// Begins where another reading stopped.
    pub fn resume(line_bytes_max: usize, at: i64, start: Start) -> Self {
        let (start, torn) = start.split();
        Self {
            line_bytes_max,
            at,
            start,
            tail: Vec::new(),
            left_out: 0,
            rows_expected: 0,
            blocks: Blocks::default(),
            join: None,
            torn,
        }
    }

    /// Uses blocks that others use too.
    #[must_use]
    pub fn with_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }

    /// Joins lines that are parts of one.
    #[must_use]
    pub fn with_join(self, join: Option<Join>) -> Self {
        Self { join, ..self }
    }

    /// The position of the first byte of the next block.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Forgets the line that has no end yet; its bytes will be read again.
    pub fn forget_tail(&mut self) {
        self.tail.clear();
        self.left_out = 0;
    }

    /// How many bytes wait for the end of their line, or of the NULs that they are.
    pub fn waiting_bytes(&self) -> u64 {
        self.tail.len() as u64 + self.left_out
    }

    /// What waits.
    pub fn tail(&self) -> Tail {
        match self.tail.last() {
            Some(0) => Tail::Nuls,
            _ if is_blank(without_mark(&self.tail)) => Tail::Blank,
            _ => Tail::Text,
        }
    }

    /// What the bytes at the position are.
    pub fn start(&self) -> Start {
        self.start
    }

    /// A block that begins with the line that has no end yet, with room for `bytes` more.
    pub fn block(&self, bytes: usize) -> Vec<u8> {
        let mut block = self.blocks.take(self.tail.len() + bytes);
        block.extend_from_slice(&self.tail);
        block
    }

    /// Cuts a block made by [`Lines::block`]; a line without end waits for the next one.
    pub fn cut(&mut self, block: Vec<u8>) -> LineBatch {
        self.cut_block(block, Unended::Waits, |_| i64::MAX)
    }

    /// As [`Lines::cut`], where somebody may still write over NULs that have text behind them.
    /// Asked with the first ones of a block, `settled` gives the position before which those end
    /// that stay; others wait, see [`LineBatch::waits`], and are to be read again.
    pub fn cut_settled(&mut self, block: Vec<u8>, settled: impl FnOnce(Gap) -> i64) -> LineBatch {
        self.cut_block(block, Unended::Waits, settled)
    }

    /// Cuts the last block: a line without end is a record too.
    pub fn cut_last(&mut self, block: Vec<u8>) -> LineBatch {
        self.cut_block(block, Unended::Counts, |_| i64::MAX)
    }

    /// Cuts the last block of a text behind which bytes of another kind follow: nothing waits.
    pub fn cut_ended(&mut self, block: Vec<u8>) -> LineBatch {
        self.cut_block(block, Unended::Ends, |_| i64::MAX)
    }

    /// Takes a block, made by [`Lines::block`], of bytes that belong to no text and go on. All that
    /// come are one refused record, for `reason`.
    pub fn refuse(&mut self, block: Vec<u8>, reason: &str) -> LineBatch {
        self.refuse_block(block, reason, Unended::Waits)
    }

    /// Takes the last block of such bytes.
    pub fn refuse_last(&mut self, block: Vec<u8>, reason: &str) -> LineBatch {
        self.refuse_block(block, reason, Unended::Counts)
    }

    /// Takes the last block of such bytes where text follows again.
    pub fn refuse_ended(&mut self, block: Vec<u8>, reason: &str) -> LineBatch {
        let batch = self.refuse_block(block, reason, Unended::Ends);
        self.start = Start::Line;
        LineBatch { start: self.start, ..batch }
    }

    fn refuse_block(&mut self, block: Vec<u8>, reason: &str, unended: Unended) -> LineBatch {
        let mut cutting = Cutting::new(&block, self.at, self.line_bytes_max, 0);
        let is_told = self.start == Start::Foreign;
        let is_enough = block.len() > self.line_bytes_max || unended != Unended::Waits;
        let consumed = if is_told || is_enough { block.len() } else { 0 };
        if !is_told && consumed > 0 && !is_blank(&block) {
            cutting.refuse(0, &block, reason.to_owned());
            self.start = Start::Foreign;
        }
        let mut found = cutting.finish();
        if consumed > 0 {
            // NULs that a tear left are refused with the rest, and stand in the stream.
            found.at += std::mem::take(&mut self.left_out).cast_signed();
        }
        self.conclude(block, found, consumed)
    }

    fn cut_block(
        &mut self,
        block: Vec<u8>,
        unended: Unended,
        settled: impl FnOnce(Gap) -> i64,
    ) -> LineBatch {
        assert!(u32::try_from(block.len()).is_ok(), "a block is smaller than 4 GiB");
        let mut cutting = Cutting::new(&block, self.at, self.line_bytes_max, self.rows_expected);
        let (mut begin, mut end) = (0, block.len());
        // Looked for once per block: only a file that was damaged holds any.
        let nuls = holes::find(&block, self.start, unended != Unended::Waits);
        let mut settled = Some(settled);
        let mut settled_to = i64::MAX;
        let mut waits = None;
        for run in nuls.runs {
            let hole = run.place.clone();
            let is_resumed = (hole.start + 1..=hole.end).contains(&self.tail.len());
            let left_out = if is_resumed { std::mem::take(&mut self.left_out) } else { 0 };
            let gap = cutting.gap_of(&hole, left_out);
            if run.may_be_written(&gap) {
                settled_to = settled.take().map_or(settled_to, |settled| settled(gap));
                if gap.end() > settled_to {
                    (waits, end) = (Some(gap), hole.start);
                    break;
                }
            }
            if !run.is_hole {
                continue;
            }
            let stretch = Stretch { begin, end: hole.start, kept_from: hole.start };
            cutting.stretch(&stretch, self.start, Unended::Ends);
            self.start = Start::Line;
            cutting.gap(gap, left_out);
            begin = hole.end;
        }
        let stretch = Stretch { begin, end, kept_from: nuls.undecided.min(end) };
        let (consumed, start) = cutting.stretch(&stretch, self.start, unended);
        self.start = start;
        let found = cutting.finish();
        self.rows_expected = found.views.len() + found.views.len() / 8;
        let batch = self.conclude(block, found, consumed);
        let batch = match self.join {
            None => batch,
            Some(join) => self.joined(join, batch, unended),
        };
        match waits {
            Some(_) => self.forget_tail(),
            None => self.left_out += holes::shorten(&mut self.tail),
        }
        LineBatch { waits, ..batch }
    }

    /// Joins the parts in a batch; lines whose end is not there yet wait for the next block.
    fn joined(&mut self, join: Join, batch: LineBatch, unended: Unended) -> LineBatch {
        let block = Block {
            torn: self.torn,
            line_bytes_max: self.line_bytes_max,
            is_last: unended != Unended::Waits,
        };
        let Joined { batch, waits_at, torn } = join.apply(batch, block);
        self.torn = torn;
        let mut batch = match waits_at {
            None => batch,
            Some(at) => {
                let rest = std::mem::take(&mut self.tail);
                self.tail = [&batch.consumed[batch.offset(at)..], &rest].concat();
                (self.at, self.start) = (at, Start::Line);
                batch.before(at)
            }
        };
        batch.start = batch.start.while_torn(torn);
        batch
    }

    fn conclude(&mut self, block: Vec<u8>, found: Found, consumed: usize) -> LineBatch {
        self.tail.clear();
        self.tail.extend_from_slice(&block[consumed..]);
        let begin = self.at;
        self.at = found.at + consumed as i64;
        found.into_batch(&self.blocks.share(block), consumed, (begin, self.at), self.start)
    }
}

impl Found {
    fn into_batch(
        self,
        block: &Buffer,
        consumed: usize,
        range: (i64, i64),
        start: Start,
    ) -> LineBatch {
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
            gaps: self.gaps,
            waits: None,
            next: range.1,
            start,
            consumed,
            begin: range.0,
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
