//! Parquet's packed differences (`DELTA_BINARY_PACKED`), for the lengths of text.
//!
//! Only writes; readers are Parquet's own.

use super::hybrid::{put_bits, put_number};

/// Differences that share a smallest one.
const BLOCK: usize = 128;
/// Differences of a block that are packed with one width.
const PART: usize = 32;

/// Appends the lengths.
pub fn encode(lengths: &[u32], to: &mut Vec<u8>) {
    put_number(BLOCK as u64, to);
    put_number((BLOCK / PART) as u64, to);
    put_number(lengths.len() as u64, to);
    put_signed(lengths.first().map_or(0, |first| i64::from(*first)), to);
    let mut differences = [0_i64; BLOCK];
    let mut at = 1;
    while at < lengths.len() {
        let end = lengths.len().min(at + BLOCK);
        let pairs = lengths[at..end].iter().zip(&lengths[at - 1..end - 1]);
        for (difference, (length, before)) in differences.iter_mut().zip(pairs) {
            *difference = i64::from(*length) - i64::from(*before);
        }
        put_block(&differences[..end - at], to);
        at = end;
    }
}

fn put_block(differences: &[i64], to: &mut Vec<u8>) {
    let least = differences.iter().copied().min().unwrap_or(0);
    put_signed(least, to);
    // Parts that are not needed have width 0.
    let widths = to.len();
    to.resize(widths + BLOCK / PART, 0);
    for (number, part) in differences.chunks(PART).enumerate() {
        let mut above = [0_u32; PART];
        for (above, difference) in above.iter_mut().zip(part) {
            // Neither length is beyond a block of text, so that this is below 2^32.
            *above = (difference - least) as u32;
        }
        let width = above.iter().fold(0, |all, one| all | one);
        let width = (u32::BITS - width.leading_zeros()) as u8;
        to[widths + number] = width;
        put_bits(&above, width, to);
    }
}

/// Small numbers of either sign as small numbers.
fn put_signed(number: i64, to: &mut Vec<u8>) {
    put_number(((number << 1) ^ (number >> 63)).cast_unsigned(), to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_come_out() {
        let check = |lengths: &[u32], expected: &[u8]| {
            let mut bytes = Vec::new();
            encode(lengths, &mut bytes);
            assert_eq!(bytes, expected, "{lengths:?}");
        };
        let head = [128, 1, 4];
        check(&[], &[&head[..], &[0, 0]].concat());
        check(&[7], &[&head[..], &[1, 14]].concat());
        check(&[1, 2, 3, 4, 5], &[&head[..], &[5, 2, 2, 0, 0, 0, 0]].concat());
        // Differences -2, -2, -2, 1, 1, 1, 1: the least is -2, above it 0, 0, 0, 3, 3, 3, 3.
        let packed = [0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0];
        check(&[7, 5, 3, 1, 2, 3, 4, 5], &[&head[..], &[8, 14, 3, 2, 0, 0, 0], &packed].concat());
    }
}
