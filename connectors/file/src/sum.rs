//! A sum over all bytes of a file from its first one on, by which a later process tells whether
//! another file holds just the same.
//!
//! The bytes are summed in blocks of the file, so that reads of any length give one sum, and that
//! it goes on after a restart with no more than a number and the bytes of the last block.
//!
//! Invariant: no sum depends on how its bytes were handed in.

use rapidhash::v3::rapidhash_v3;

/// How long a block is: as long as what a position's fingerprint covers, so that whoever goes on
/// there has read the last block anyway.
pub const BLOCK_BYTES: usize = 1024;

/// What the sum of the blocks before counts for, per block: odd, so that no difference is lost.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sum of all bytes so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// That of the whole blocks.
    blocks: u64,
    /// The bytes of the block that is not whole yet.
    rest: Vec<u8>,
}

impl Sum {
    /// The sum of `at` bytes as it was, where the last of them are known: at least those of the
    /// block that is not whole. None if they are fewer.
    pub fn resumed(blocks: u64, at: i64, before: &[u8]) -> Option<Self> {
        let rest = usize::try_from(at).ok()? % BLOCK_BYTES;
        let rest = before.get(before.len().checked_sub(rest)?..)?.to_vec();
        Some(Self { blocks, rest })
    }

    /// What [`Sum::resumed`] needs beside the bytes.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Adds the bytes that follow.
    pub fn add(&mut self, mut bytes: &[u8]) {
        if !self.rest.is_empty() {
            let (begin, behind) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.rest.len()));
            self.rest.extend_from_slice(begin);
            bytes = behind;
            if self.rest.len() < BLOCK_BYTES {
                return;
            }
            self.blocks = with_block(self.blocks, &self.rest);
            self.rest.clear();
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        self.blocks = blocks.iter().fold(self.blocks, |sum, block| with_block(sum, block));
        self.rest.extend_from_slice(rest);
    }

    /// Adds so many NULs; a hole in a file may hold as many as a disk has no room for.
    pub fn add_nuls(&mut self, count: u64) {
        const NULS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        let missing = (BLOCK_BYTES - self.rest.len()) as u64 % BLOCK_BYTES as u64;
        let first = count.min(missing);
        self.add(&NULS[..first as usize]);
        let mut left = (count - first) / BLOCK_BYTES as u64;
        // One step of the sum, and those of two, four, eight … blocks: `sum * factor + added`.
        let (mut factor, mut added) = (FACTOR, rapidhash_v3(&NULS));
        while left > 0 {
            if left % 2 == 1 {
                self.blocks = self.blocks.wrapping_mul(factor).wrapping_add(added);
            }
            added = added.wrapping_mul(factor).wrapping_add(added);
            factor = factor.wrapping_mul(factor);
            left /= 2;
        }
        self.add(&NULS[..((count - first) % BLOCK_BYTES as u64) as usize]);
    }

    /// The sum.
    pub fn value(&self) -> u64 {
        with_block(self.blocks, &self.rest)
    }
}

fn with_block(sum: u64, block: &[u8]) -> u64 {
    sum.wrapping_mul(FACTOR).wrapping_add(rapidhash_v3(block))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.add(bytes);
        sum
    }

    #[test]
    fn the_sum_is_that_of_the_bytes_however_they_come() {
        let mut bytes: Vec<u8> = (0..10_000u32).map(|number| (number * 7 / 3) as u8).collect();
        bytes[3_000..7_500].fill(0);
        for piece in [1, 1_000, 1_023, 1_024, 1_025, 5_000] {
            let mut sum = Sum::default();
            bytes.chunks(piece).for_each(|piece| sum.add(piece));
            assert_eq!(sum, of(&bytes), "{piece}");
        }
        for at in [0, 1, 1_023, 1_024, 1_025, 6_000, 10_000] {
            let before = of(&bytes[..at]);
            let last = &bytes[at.saturating_sub(BLOCK_BYTES)..at];
            let mut sum = Sum::resumed(before.blocks(), at as i64, last).expect("enough bytes");
            assert_eq!(sum, before);
            sum.add(&bytes[at..]);
            assert_eq!(sum.value(), of(&bytes).value(), "{at}");
        }
        assert_eq!(Sum::resumed(0, 1_000, &bytes[..999]), None);
        let mut sum = of(&bytes[..3_000]);
        sum.add_nuls(4_500);
        sum.add(&bytes[7_500..]);
        assert_eq!(sum, of(&bytes));
    }

    #[test]
    fn any_other_byte_order_or_length_gives_another_sum() {
        let bytes: Vec<u8> = (0..5_000u32).map(|number| (number / 11) as u8).collect();
        let sum = of(&bytes).value();
        for at in (0..5_000).step_by(37) {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(of(&other).value(), sum, "{at}");
        }
        let mut other = bytes.clone();
        other.rotate_left(BLOCK_BYTES);
        assert_ne!(of(&other).value(), sum);
        for at in [0, 1, 1_024, 4_096, 4_999] {
            assert_ne!(of(&bytes[..at]).value(), sum, "{at}");
        }
        let (mut few, mut many) = (Sum::default(), Sum::default());
        few.add_nuls(1 << 40);
        many.add_nuls((1 << 40) + 1);
        assert_ne!(few.value(), many.value());
    }
}
