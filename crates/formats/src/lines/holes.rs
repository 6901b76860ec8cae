//! Runs of NULs in a block: what a file holds where it was truncated under its writer, or where
//! the machine stopped before the text was on the disk.

use std::ops::Range;

use memchr::memchr;

use super::{Gap, Start};

/// So many NULs in the middle of a line are a hole; fewer are a part of it. At the beginning of a
/// line one is enough.
pub const HOLE_BYTES_MIN: usize = 16;

/// So many bytes of a hole are kept until its end is seen. More than what a file's identity looks
/// at before a position, so that it does not depend on the rest.
const KEPT_BYTES: usize = 4 << 10;

/// What is written late is written in whole pages of memory: what a client of a server of files
/// sends in any order, and what another program downloads in parts.
const PAGE_BYTES: i64 = 4096;

/// The NULs of a block.
#[derive(Debug)]
pub struct Nuls {
    /// Those whose end is seen, ascending.
    pub runs: Vec<Run>,
    /// Where the NULs begin that reach to the block's end and may go on; the end if there are
    /// none.
    pub undecided: usize,
}

/// NULs that stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where they stand.
    pub place: Range<usize>,
    /// Whether they are a hole; else they are a part of a line, as long as they stand.
    pub is_hole: bool,
}

impl Run {
    /// Whether text may be written there later: up to where a page ends behind which there is text.
    /// NULs that end elsewhere were written as they are, as single ones are.
    pub fn may_be_written(&self, gap: &Gap) -> bool {
        self.is_hole && gap.bytes > 1 && gap.end() % PAGE_BYTES == 0
    }
}

/// Looks for NULs in a block, which begins with what `start` says. `is_last` says that no byte
/// will follow it.
pub fn find(block: &[u8], start: Start, is_last: bool) -> Nuls {
    let mut nuls = Nuls { runs: Vec::new(), undecided: block.len() };
    let mut from = 0;
    while let Some(found) = memchr(0, &block[from..]) {
        let begin = from + found;
        let end = begin + length(&block[begin..]);
        from = end;
        if end == block.len() && !is_last {
            nuls.undecided = begin;
            break;
        }
        let is_line_start = match begin {
            0 => start == Start::Line,
            _ => block[begin - 1] == b'\n',
        };
        let is_hole = is_line_start || end - begin >= HOLE_BYTES_MIN;
        nuls.runs.push(Run { place: begin..end, is_hole });
    }
    nuls
}

/// How many of a text's first bytes stand before NULs that may be written over.
pub fn before_holes(first: &[u8]) -> usize {
    let runs = find(first, Start::Line, true).runs;
    let written = runs.iter().find(|run| {
        let Range { start, end } = run.place;
        let gap = Gap { position: start as i64, bytes: (end - start) as u64 };
        end == first.len() || run.may_be_written(&gap)
    });
    written.map_or(first.len(), |run| run.place.start)
}

/// Leaves out NULs at the end of bytes that wait; returns how many.
pub fn shorten(tail: &mut Vec<u8>) -> u64 {
    let nuls = tail.iter().rev().take_while(|byte| **byte == 0).count();
    let left_out = nuls.saturating_sub(KEPT_BYTES);
    tail.truncate(tail.len() - left_out);
    left_out as u64
}

/// How many NULs stand at the beginning.
fn length(bytes: &[u8]) -> usize {
    const ZEROS: [u8; 256] = [0; 256];
    let mut length = 0;
    // Whole chunks first: a hole may have gigabytes, and comparing them is what memory allows.
    for chunk in bytes.chunks_exact(ZEROS.len()) {
        if chunk != ZEROS {
            break;
        }
        length += ZEROS.len();
    }
    length + bytes[length..].iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(block: &[u8], start: Start, expect: (&[Range<usize>], usize)) {
        let nuls = find(block, start, false);
        let holes = nuls.runs.into_iter().filter(|run| run.is_hole).map(|run| run.place);
        assert_eq!((&*holes.collect::<Vec<_>>(), nuls.undecided), expect, "{block:?}");
    }

    #[test]
    fn nuls_at_the_beginning_of_a_line_are_a_hole_however_few() {
        check(b"\0a\n\0\0b\0c\n", Start::Line, (&[0..1, 3..5], 9));
        check(b"\0a\n", Start::Overlong, (&[], 3));
        check(b"a\0", Start::Line, (&[], 1));
    }

    #[test]
    fn many_nuls_are_a_hole_anywhere() {
        for length in [HOLE_BYTES_MIN, 255, 256, 257, 1000] {
            let block = [b"ab".as_slice(), &vec![0; length], b"c\n"].concat();
            let hole = 2..2 + length;
            check(&block, Start::Line, (std::slice::from_ref(&hole), block.len()));
        }
        let few = [b"ab".as_slice(), &[0; HOLE_BYTES_MIN - 1], b"c\n"].concat();
        check(&few, Start::Line, (&[], few.len()));
    }

    #[test]
    fn a_text_lasts_up_to_where_it_may_be_written_over() {
        let check = |first: &[u8], expect: usize| assert_eq!(before_holes(first), expect);
        check(b"one\n", 4);
        check(b"one\n\0two\n\0\0three\n", 17);
        check(b"\0\0one\n", 6);
        check(&[b"one\n".as_slice(), &[0; 20]].concat(), 4);
        check(&[b"one\n".as_slice(), &[0; 4092], b"two\n"].concat(), 4);
        check(&[b"one\n".as_slice(), &[0; 4091], b"two\n"].concat(), 4099);
        check(&[&[b'a'; 4080], [0; 16].as_slice(), b"b\n"].concat(), 4080);
        check(&[&[b'a'; 4081], [0; 15].as_slice(), b"b\n"].concat(), 4098);
    }

    #[test]
    fn a_long_hole_is_not_kept() {
        let mut tail = [b"ab".as_slice(), &vec![0; KEPT_BYTES + 7]].concat();
        assert_eq!(shorten(&mut tail), 7);
        assert_eq!(tail.len(), 2 + KEPT_BYTES);
        assert_eq!(shorten(&mut tail), 0);
    }
}
