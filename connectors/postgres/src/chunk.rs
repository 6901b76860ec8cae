//! Encoded rows on their way, which can be taken apart again to find the one that is refused.
//!
//! A chunk is what one `COPY` carries: the rows of one or more batches. Its bytes are shared, not
//! copied, by every attempt at it.

use std::ops::Range;

use bytes::Bytes;
use contract::record::Origins;
use contract::sink::SinkReject;

/// Where a row ends in the bytes of its part, and which row of its batch it was.
#[derive(Clone, Copy, Debug)]
pub struct RowEnd {
    /// The byte after it.
    pub end: usize,
    /// Its number in the batch.
    pub index: usize,
}

/// A row that was refused.
pub type Refused = SinkReject;

/// The encoded rows of one batch.
#[derive(Debug)]
pub struct Part {
    bytes: Bytes,
    rows: Vec<RowEnd>,
    origins: Origins,
}

impl Part {
    /// Rows that stand one after the other in `bytes`.
    pub fn new(bytes: Bytes, rows: Vec<RowEnd>, origins: Origins) -> Self {
        Self { bytes, rows, origins }
    }

    fn bytes_of(&self, rows: Range<usize>) -> Bytes {
        let byte = |row: usize| row.checked_sub(1).map_or(0, |before| self.rows[before].end);
        self.bytes.slice(byte(rows.start)..byte(rows.end))
    }
}

/// What a part takes beside the bytes of its rows.
const PART_BYTES: usize = 512;

/// Parts that go to the server together.
#[derive(Debug, Default)]
pub struct Chunk {
    parts: Vec<Part>,
    rows: usize,
    bytes: usize,
}

impl Chunk {
    /// Adds the rows of another batch.
    pub fn push(&mut self, part: Part) {
        if part.rows.is_empty() {
            return;
        }
        self.rows += part.rows.len();
        self.bytes += PART_BYTES + part.bytes.len() + size_of_val(&part.rows[..]);
        self.parts.push(part);
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many bytes they take in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes of some rows, in order.
    pub fn slices(&self, rows: Range<usize>) -> Vec<Bytes> {
        let mut slices = Vec::new();
        let mut first = 0;
        for part in &self.parts {
            let last = first + part.rows.len();
            let (from, to) = (rows.start.max(first), rows.end.min(last));
            if from < to {
                slices.push(part.bytes_of(from - first..to - first));
            }
            first = last;
        }
        slices
    }

    /// A row as a refused one.
    pub fn refuse(&self, row: usize, reason: String) -> Refused {
        let mut row = row;
        let mut parts = self.parts.iter();
        loop {
            let part = parts.next().expect("the row is one of the chunk's");
            match part.rows.get(row) {
                Some(found) => return part.origins.refuse(found.index, reason),
                None => row -= part.rows.len(),
            }
        }
    }
}
