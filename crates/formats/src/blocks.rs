//! Blocks of bytes that are used again once nothing looks into them any more.
//!
//! Memory that is fresh costs the system a page fault for every 4 KiB: on 1 GB of log a tenth of
//! all time. Not a budget: whoever reads decides how many blocks are under way.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::buffer::Buffer;
use bytes::Bytes;

/// Unused blocks are kept up to this many bytes together.
const UNUSED_BYTES_MAX: usize = 16 << 20;
/// Smaller blocks are left to the allocator.
const BLOCK_BYTES_MIN: usize = 256 << 10;
/// Sizes are rounded up to this, as every block begins with the rest of another line.
const BLOCK_BYTES_STEP: usize = 64 << 10;

/// Blocks of one size that wait for their next use; copies share them.
#[derive(Clone, Debug, Default)]
pub struct Blocks(Arc<Mutex<Unused>>);

#[derive(Debug, Default)]
struct Unused {
    /// The size that was asked for last.
    room: usize,
    blocks: Vec<Vec<u8>>,
}

impl Blocks {
    /// An empty block with room for so many bytes.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        if bytes < BLOCK_BYTES_MIN {
            return Vec::with_capacity(bytes);
        }
        let room = bytes.next_multiple_of(BLOCK_BYTES_STEP);
        let mut unused = self.unused();
        if unused.room != room {
            *unused = Unused { room, blocks: Vec::new() };
        }
        unused.blocks.pop().unwrap_or_else(|| Vec::with_capacity(room))
    }

    /// The bytes of a block, which comes back here when nothing looks into them any more. Of a
    /// block that is half empty a copy is made, so that few bytes never hold many.
    pub fn share(&self, block: Vec<u8>) -> Buffer {
        let is_half_empty = block.len() < block.capacity() / 2;
        let is_ours = block.capacity() == self.unused().room;
        match (is_ours, is_half_empty) {
            (false, false) => Buffer::from_vec(block),
            (true, false) => Buffer::from(Bytes::from_owner(Lent { block, blocks: self.clone() })),
            (_, true) => {
                let copy = Buffer::from(block.as_slice());
                self.give_back(block);
                copy
            }
        }
    }

    /// Gives the memory of unused blocks back to the system.
    pub fn clear(&self) {
        self.unused().blocks.clear();
    }

    fn give_back(&self, mut block: Vec<u8>) {
        block.clear();
        let mut unused = self.unused();
        let is_room = (unused.blocks.len() + 1) * unused.room <= UNUSED_BYTES_MAX;
        if block.capacity() == unused.room && is_room {
            unused.blocks.push(block);
        }
    }

    fn unused(&self) -> MutexGuard<'_, Unused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that is in use.
struct Lent {
    block: Vec<u8>,
    blocks: Blocks,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.blocks.give_back(mem::take(&mut self.block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(blocks: &Blocks) -> Vec<u8> {
        let mut block = blocks.take(BLOCK_BYTES_MIN + 1);
        block.resize(BLOCK_BYTES_MIN + 1, b'x');
        block
    }

    #[test]
    fn a_block_is_used_again_only_when_nobody_looks_into_it() {
        let blocks = Blocks::default();
        let first = filled(&blocks);
        let place = first.as_ptr();
        let buffer = blocks.share(first);
        let view = buffer.slice(7);
        drop(buffer);
        let second = filled(&blocks);
        assert_ne!(second.as_ptr(), place);
        drop(view);
        let third = blocks.take(BLOCK_BYTES_MIN + 2);
        assert_eq!((third.as_ptr(), third.len()), (place, 0));
    }

    #[test]
    fn a_block_that_is_half_empty_comes_back_at_once() {
        let blocks = Blocks::default();
        let mut block = blocks.take(BLOCK_BYTES_MIN);
        let place = block.as_ptr();
        block.extend_from_slice(b"a line\n");
        let buffer = blocks.share(block);
        assert_eq!(buffer.as_slice(), b"a line\n");
        let again = blocks.take(BLOCK_BYTES_MIN);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn unused_blocks_are_bounded() {
        let blocks = Blocks::default();
        let all: Vec<_> = (0..100).map(|_| blocks.share(filled(&blocks))).collect();
        drop(all);
        let kept: usize = blocks.unused().blocks.iter().map(Vec::capacity).sum();
        assert!((UNUSED_BYTES_MAX / 2..=UNUSED_BYTES_MAX).contains(&kept), "{kept}");
        blocks.clear();
        assert!(blocks.unused().blocks.is_empty());
    }
}
