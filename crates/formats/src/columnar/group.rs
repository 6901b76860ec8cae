//! Batches that wait for being encoded together.
//!
//! Bytes are counted once per buffer: the text columns of a batch, and often several batches,
//! are views into one buffer of the source.

use std::collections::HashSet;

use arrow::array::{Array, ArrayData, RecordBatch};

/// Rows that are encoded together at most, however small they are.
const GROUP_ROWS_MAX: usize = 1 << 17;

/// Batches that wait, with the memory that they keep alive.
#[derive(Default)]
pub struct Group {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    buffers: HashSet<usize>,
}

impl Group {
    /// Adds a batch.
    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        for column in batch.columns() {
            self.count(&column.to_data());
        }
        self.batches.push(batch);
    }

    /// Whether it is time to encode.
    pub fn is_full(&self, bytes_max: usize) -> bool {
        self.rows >= GROUP_ROWS_MAX || self.bytes >= bytes_max
    }

    /// Bytes that the batches keep alive.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands the batches out.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        std::mem::take(self).batches
    }

    fn count(&mut self, array: &ArrayData) {
        for buffer in array.buffers() {
            if self.buffers.insert(buffer.data_ptr().as_ptr().addr()) {
                self.bytes += buffer.capacity();
            }
        }
        for child in array.child_data() {
            self.count(child);
        }
    }
}
