//! Parquet's hybrid of run lengths and packed bits, for levels and for keys of a dictionary.
//!
//! Only writes; readers are Parquet's own.

/// Values that are packed together.
const GROUP: usize = 8;
/// A shorter run is packed.
const RUN_MIN: usize = 16;

/// Bits that hold all numbers below `count`.
pub fn width(count: usize) -> u8 {
    (usize::BITS - count.saturating_sub(1).leading_zeros()) as u8
}

/// Appends numbers that `width` bits hold, up to 32.
pub fn encode(values: &[u32], width: u8, to: &mut Vec<u8>) {
    let (mut begin, mut at) = (0, 0);
    while at < values.len() {
        let run = run(&values[at..]);
        if run >= RUN_MIN || width == 0 {
            pack(&values[begin..at], width, to);
            encode_run(values[at], run, width, to);
            at += run;
            begin = at;
        } else {
            // Whole groups, so that what is packed before a run needs no padding.
            at = values.len().min(at + GROUP);
        }
    }
    pack(&values[begin..], width, to);
}

/// Appends one number so many times.
pub fn encode_run(value: u32, count: usize, width: u8, to: &mut Vec<u8>) {
    put_number((count as u64) << 1, to);
    to.extend_from_slice(&value.to_le_bytes()[..usize::from(width.div_ceil(8))]);
}

/// How often the first value is repeated.
fn run(values: &[u32]) -> usize {
    values.iter().take_while(|value| **value == values[0]).count()
}

fn pack(values: &[u32], width: u8, to: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    put_number(((groups as u64) << 1) | 1, to);
    put_bits(values, width, to);
}

/// Appends numbers that `width` bits hold, up to 32, the last group of eight padded with zeros.
pub fn put_bits(values: &[u32], width: u8, to: &mut Vec<u8>) {
    let groups = values.len().div_ceil(GROUP);
    let end = to.len() + groups * usize::from(width);
    let (mut bits, mut filled) = (0_u64, 0);
    for value in values {
        bits |= u64::from(*value) << filled;
        filled += width;
        if filled >= 32 {
            to.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    to.extend_from_slice(&bits.to_le_bytes()[..usize::from(filled.div_ceil(8))]);
    to.resize(end, 0);
}

/// Seven bits a byte, the lowest first.
pub fn put_number(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_come_out() {
        let check = |values: &[u32], width, expected: &[u8]| {
            let mut bytes = Vec::new();
            encode(values, width, &mut bytes);
            assert_eq!(bytes, expected, "{values:?}");
        };
        check(&[0, 1, 2, 3, 4, 5, 6, 7], 3, &[0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010]);
        check(&[], 3, &[]);
        check(&[1; 100], 1, &[200, 1, 1]);
        check(&[0; 5], 0, &[10]);
        check(&[258; 16], 9, &[32, 2, 1]);
        check(&[1, 0, 1], 1, &[0b11, 0b101]);
    }

    #[test]
    fn a_width_holds_the_largest_number() {
        let widths = [0, 1, 2, 3, 4, 5, 256, 257].map(width);
        assert_eq!(widths, [0, 0, 1, 2, 2, 3, 8, 9]);
    }
}
