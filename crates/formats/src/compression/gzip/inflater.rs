//! Deflated bytes (RFC 1951) as the text that they hold, from their beginning or from between two
//! blocks on.
//!
//! A block may end at any bit, and the library gives no way to begin at one. So what begins anew is
//! given empty blocks first that end at the same bit of a byte, and then the rest of that byte.

use zlib_rs::{Inflate, InflateFlush, Status};

/// So far back may a block refer to the text before.
pub const WINDOW_BYTES: usize = 32 << 10;
/// The base-2 logarithm of the window.
const WINDOW_BITS: u8 = 15;

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes taken.
    pub read: usize,
    /// Bytes of text given.
    pub written: usize,
    /// Why it ended there.
    pub then: Then,
}

/// What ended a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// No bytes are left, or no room.
    More,
    /// A block has ended that is not the last one; others are left.
    Block,
    /// The last block has ended.
    End,
    /// What comes next is not deflated.
    Damage,
}

/// One deflated stream.
pub struct Inflater(Inflate);

impl Inflater {
    /// From the beginning.
    pub fn new() -> Self {
        Self(Inflate::new(false, WINDOW_BITS))
    }

    /// From between two blocks: behind so many bits of a byte, with the text before.
    pub fn resume(bits: u8, byte: u8, before: &[u8]) -> Option<Self> {
        let mut inflater = Self::new();
        inflater.restart(bits, byte, before)?;
        Some(inflater)
    }

    /// The same with room that was taken already.
    pub fn restart(&mut self, bits: u8, byte: u8, before: &[u8]) -> Option<()> {
        self.0.reset(false);
        if !before.is_empty() {
            self.0.set_dictionary(before).ok()?;
        }
        if bits == 0 {
            return Some(());
        }
        let way = way_to(bits, byte);
        let step = self.step(&way, &mut [0], Stops::Nowhere);
        (step.read == way.len() && step.written == 0 && step.then == Then::More).then_some(())
    }

    /// Inflates as much as there is room for. There must be bytes and room.
    pub fn step(&mut self, bytes: &[u8], into: &mut [u8], stops: Stops) -> Step {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let flush = match stops {
            Stops::Nowhere => InflateFlush::NoFlush,
            Stops::BetweenBlocks => InflateFlush::Block,
        };
        let outcome = self.0.decompress(bytes, into, flush);
        let read = (self.0.total_in() - read) as usize;
        let written = (self.0.total_out() - written) as usize;
        let is_stopped = read < bytes.len() && written < into.len();
        let then = match outcome {
            Ok(Status::StreamEnd) => Then::End,
            Ok(_) if is_stopped && stops == Stops::BetweenBlocks => Then::Block,
            Ok(_) => Then::More,
            Err(_) => Then::Damage,
        };
        Step { read, written, then }
    }
}

/// Where a step ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// Nowhere.
    Nowhere,
    /// Wherever a block ends.
    BetweenBlocks,
}

/// Empty blocks that end behind so many bits of a byte, which follow, with that byte's other bits.
fn way_to(bits: u8, byte: u8) -> Vec<u8> {
    let mut way = Bits::default();
    if bits % 2 == 1 {
        way.empty_dynamic_block();
    }
    // Each has ten bits, so that every even number is met, and every odd one behind the other.
    while way.length % 8 != usize::from(bits) {
        way.empty_fixed_block();
    }
    if let Some(last) = way.bytes.last_mut() {
        *last |= byte & (0xff << bits);
    }
    way.bytes
}

/// Bits, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    length: usize,
}

impl Bits {
    fn push(&mut self, value: u8, bits: usize) {
        for bit in 0..bits {
            if self.length.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.length / 8;
            self.bytes[last] |= (value >> bit & 1) << (self.length % 8);
            self.length += 1;
        }
    }

    /// Not the last block, codes as the RFC has them, and at once the end: ten bits.
    fn empty_fixed_block(&mut self) {
        self.push(0, 1);
        self.push(1, 2);
        self.push(0, 7);
    }

    /// Not the last block, codes of its own (the end alone, and one distance), and at once the end:
    /// 93 bits.
    fn empty_dynamic_block(&mut self) {
        const LENGTHS: usize = 19;
        // Codes of lengths are told in this order: RFC 1951, 3.2.7.
        const PLACE_OF_18: usize = 2;
        const PLACE_OF_1: usize = 17;
        self.push(0, 1);
        self.push(2, 2);
        self.push(0, 5);
        self.push(0, 5);
        self.push(LENGTHS as u8 - 4, 4);
        for place in 0..LENGTHS {
            self.push(u8::from(place == PLACE_OF_18 || place == PLACE_OF_1), 3);
        }
        // The codes are 0 for a length of 1, and 1 for many lengths of 0: first 138, then 118.
        for zeros in [138, 118] {
            self.push(1, 1);
            self.push(zeros - 11, 7);
        }
        self.push(0, 1);
        self.push(0, 1);
        self.push(0, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_gone_into_at_every_bit() {
        // A fixed block that is the last one: the letters a and b, and the end.
        let mut block = Bits::default();
        let rest = |from: u8| {
            let mut bits = Bits::default();
            bits.push(0, usize::from(from));
            bits.push(1, 1);
            bits.push(1, 2);
            for letter in [b'a', b'b'] {
                // Codes begin with their highest bit.
                bits.push((letter + 0x30).reverse_bits(), 8);
            }
            bits.push(0, 7);
            bits.bytes
        };
        block.push(0, 0);
        for bits in 0..8 {
            let mut bytes = rest(bits);
            let mut text = [0; 10];
            let first = if bits == 0 { 0 } else { bytes.remove(0) | !(0xff << bits) };
            let mut inflater = Inflater::resume(bits, first, b"before").expect("a way");
            let step = inflater.step(&bytes, &mut text, Stops::Nowhere);
            assert_eq!((step.then, &text[..step.written]), (Then::End, b"ab".as_slice()), "{bits}");
        }
    }
}
