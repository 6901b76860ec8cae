//! The work on one block: each line of it a view, a refusal, or a rest that waits.

use std::ops::Range;

use arrow::array::make_view;
use bytes::Bytes;
use contract::quantity::ByteSize;
use contract::source::Reject;
use memchr::{memchr, memchr_iter, memrchr};

use super::{Gap, Start};

/// Stands before the text of many files of Windows, and wherever such files were joined.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What becomes of a line without end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unended {
    /// It waits for the next block.
    Waits,
    /// It is a record; its end may still follow.
    Counts,
    /// It is a record, and whatever follows is something else.
    Ends,
}

/// A part of a block without holes.
pub struct Stretch {
    /// Where it begins.
    pub begin: usize,
    /// Where it ends.
    pub end: usize,
    /// From here on it holds NULs of which nobody knows yet whether they are a hole.
    pub kept_from: usize,
}

/// The work on one block.
pub struct Cutting<'a> {
    block: &'a [u8],
    line_bytes_max: usize,
    found: Found,
    /// Whether the part in work is known to be UTF-8.
    valid: bool,
}

/// What a block held, without the block.
pub struct Found {
    /// The position of the block's first byte, as if the NULs that are not in it were behind it.
    pub at: i64,
    pub views: Vec<u128>,
    pub positions: Vec<i64>,
    /// The rows whose text was repaired.
    pub lossy: Vec<usize>,
    /// The text of those rows.
    pub repaired: Vec<u8>,
    pub rejects: Vec<Reject>,
    pub gaps: Vec<Gap>,
}

impl<'a> Cutting<'a> {
    /// Begins with a block whose first byte stands at a position.
    pub fn new(block: &'a [u8], at: i64, line_bytes_max: usize, rows_expected: usize) -> Self {
        let found = Found {
            at,
            views: Vec::with_capacity(rows_expected),
            positions: Vec::with_capacity(rows_expected),
            lossy: Vec::new(),
            repaired: Vec::new(),
            rejects: Vec::new(),
            gaps: Vec::new(),
        };
        Self { block, line_bytes_max, found, valid: false }
    }

    /// Cuts a part of the block, which begins with what `start` says; returns how far it is
    /// consumed and what stands there.
    pub fn stretch(&mut self, stretch: &Stretch, start: Start, unended: Unended) -> (usize, Start) {
        let lines = &self.block[stretch.begin..stretch.end];
        let Some(last) = memrchr(b'\n', lines) else {
            return self.rest(stretch, start, unended);
        };
        let complete = stretch.begin + last + 1;
        let first = self.end_of_started_line(stretch.begin, start);
        self.whole_lines(first, complete);
        self.rest(&Stretch { begin: complete, ..*stretch }, Start::Line, unended)
    }

    /// A hole in the block, with NULs that stand in it but not in the block.
    pub fn gap_of(&self, hole: &Range<usize>, left_out: u64) -> Gap {
        let position = self.found.at + hole.start as i64;
        Gap { position, bytes: hole.len() as u64 + left_out }
    }

    /// Tells of it.
    pub fn gap(&mut self, gap: Gap, left_out: u64) {
        self.found.gaps.push(gap);
        self.found.at += left_out.cast_signed();
    }

    /// What was found.
    pub fn finish(self) -> Found {
        self.found
    }

    /// Ends the line that an earlier block began; returns where the next one begins.
    fn end_of_started_line(&mut self, begin: usize, start: Start) -> usize {
        if start == Start::Line {
            return begin;
        }
        let end = memchr(b'\n', &self.block[begin..]).expect("the block holds a line end");
        if start == Start::Continuation {
            self.refuse_continuation(begin, without_return(&self.block[begin..begin + end]));
        }
        begin + end + 1
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
    fn rest(&mut self, stretch: &Stretch, start: Start, unended: Unended) -> (usize, Start) {
        let (begin, all) = (stretch.begin, stretch.kept_from.max(stretch.begin));
        let rest = &self.block[begin..all];
        let line = if start == Start::Line { without_mark(rest) } else { rest };
        // One byte more than the limit may still be the first half of a line end.
        let too_long = line.len() > self.line_bytes_max + 1;
        match (start, unended) {
            // What is torn is kept beside the start.
            (Start::Overlong | Start::TornOverlong(_) | Start::Foreign, _) => {
                (all, Start::Overlong)
            }
            (Start::Line, _) if too_long => {
                self.refuse_overlong(all - line.len(), line);
                (all, Start::Overlong)
            }
            (Start::Continuation, _) if too_long => {
                self.refuse_continuation(begin, rest);
                (all, Start::Overlong)
            }
            (_, Unended::Waits) => (begin, start),
            (_, Unended::Counts) if is_blank(without_mark(rest)) => (begin, start),
            (Start::Line | Start::Torn(_), Unended::Counts | Unended::Ends) => {
                self.valid = simdutf8::basic::from_utf8(rest).is_ok();
                self.line(begin, all);
                match without_return(line).len() > self.line_bytes_max {
                    true => (all, Start::Overlong),
                    false => (all, Start::Continuation),
                }
            }
            (Start::Continuation | Start::TornContinuation(_), Unended::Counts | Unended::Ends) => {
                self.refuse_continuation(begin, rest);
                (all, Start::Continuation)
            }
        }
    }

    #[inline]
    fn line(&mut self, begin: usize, end: usize) {
        let mut line = &self.block[begin..end];
        if line.first() == Some(&BYTE_ORDER_MARK[0]) {
            line = without_mark(line);
        }
        let begin = end - line.len();
        let line = without_return(line);
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
        self.found.views.push(view);
        self.found.positions.push(self.found.at + begin as i64);
    }

    #[cold]
    fn repair(&mut self, line: &[u8]) -> u128 {
        let found = &mut self.found;
        let text = String::from_utf8_lossy(line);
        let offset = u32::try_from(found.repaired.len()).expect("at most three times a block");
        found.repaired.extend_from_slice(text.as_bytes());
        found.lossy.push(found.views.len());
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
    fn refuse_continuation(&mut self, begin: usize, line: &[u8]) {
        if !line.is_empty() {
            self.refuse(begin, line, "continuation of a line that was already read".to_owned());
        }
    }

    /// Refuses bytes of the block that begin at a place in it.
    pub fn refuse(&mut self, begin: usize, line: &[u8], reason: String) {
        let kept = &line[..line.len().min(self.line_bytes_max)];
        let reject = Reject::new(self.found.at + begin as i64, reason);
        self.found.rejects.push(reject.with_original(Bytes::copy_from_slice(kept)));
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}
