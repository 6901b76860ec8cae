//! Where in a line the bytes stand at which fields end.
//!
//! A line is looked at once, in pieces of 64 bytes without a branch within them. Looking for the
//! end of each field by itself costs a wrong guess of the processor at nearly every field, as
//! their lengths differ from line to line.

/// Bytes that a word of marks stands for.
const WORD_BYTES: usize = u64::BITS as usize;

/// What is marked, by the place of its word.
const BLANK: usize = 0;
const QUOTE: usize = 1;

/// The marks of 64 bytes: a bit for each blank, and one for each quote and backslash.
type Words = [u64; 2];

/// The blanks of a line, and its quotes and backslashes.
#[derive(Default)]
pub struct Marks(Vec<Words>);

impl Marks {
    /// Looks at a line; the marks of the one before are forgotten.
    #[inline]
    pub fn read(&mut self, line: &[u8]) {
        self.0.clear();
        let (pieces, rest) = line.as_chunks::<WORD_BYTES>();
        for piece in pieces {
            self.0.push(words(piece));
        }
        if rest.is_empty() {
            return;
        }
        let last = match line.last_chunk::<WORD_BYTES>() {
            // The bytes before the rest are looked at twice, which is quicker than a copy.
            Some(piece) => words(piece).map(|word| word >> (WORD_BYTES - rest.len())),
            None => {
                let mut piece = [0; WORD_BYTES];
                piece[..rest.len()].copy_from_slice(rest);
                words(&piece)
            }
        };
        self.0.push(last);
    }

    /// The first blank from this byte on.
    #[inline(always)]
    pub fn blank(&self, from: usize) -> Option<usize> {
        self.first::<BLANK>(from)
    }

    /// The first quote or backslash from this byte on.
    #[inline(always)]
    pub fn quote(&self, from: usize) -> Option<usize> {
        self.first::<QUOTE>(from)
    }

    #[inline(always)]
    fn first<const MARK: usize>(&self, from: usize) -> Option<usize> {
        let mut at = from / WORD_BYTES;
        let mut word = self.0.get(at)?[MARK] & (u64::MAX << (from % WORD_BYTES));
        while word == 0 {
            at += 1;
            word = self.0.get(at)?[MARK];
        }
        Some(at * WORD_BYTES + word.trailing_zeros() as usize)
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline(always)]
fn words(piece: &[u8; WORD_BYTES]) -> Words {
    // SAFETY: every processor of this kind has SSE2.
    unsafe { words_sse2(piece) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn words_sse2(piece: &[u8; WORD_BYTES]) -> Words {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let sign = |byte: u8| _mm_set1_epi8(byte as i8);
    let (blank, quote, backslash) = (sign(b' '), sign(b'"'), sign(b'\\'));
    let mut words = [0; 2];
    let (eights, _) = piece.as_chunks::<8>();
    for (number, pair) in eights.as_chunks::<2>().0.iter().enumerate() {
        let [low, high] = pair.map(i64::from_le_bytes);
        let bytes = _mm_set_epi64x(high, low);
        let blanks = _mm_cmpeq_epi8(bytes, blank);
        let quotes = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        words[BLANK] |= u64::from(_mm_movemask_epi8(blanks) as u32) << (16 * number);
        words[QUOTE] |= u64::from(_mm_movemask_epi8(quotes) as u32) << (16 * number);
    }
    words
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn words(piece: &[u8; WORD_BYTES]) -> Words {
    let mut words = [0; 2];
    for (at, byte) in piece.iter().enumerate() {
        words[BLANK] |= u64::from(*byte == b' ') << at;
        words[QUOTE] |= u64::from(matches!(byte, b'"' | b'\\')) << at;
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_mark_is_found_from_every_byte(
            lines in prop::collection::vec(r#"[ab "\\]{0,200}"#, 1..4),
        ) {
            let mut marks = Marks::default();
            for line in &lines {
                marks.read(line.as_bytes());
                for from in 0..=line.len() + WORD_BYTES {
                    let first = |signs: &[char]| {
                        line.get(from..).and_then(|rest| rest.find(signs)).map(|at| from + at)
                    };
                    prop_assert_eq!(marks.blank(from), first(&[' ']));
                    prop_assert_eq!(marks.quote(from), first(&['"', '\\']));
                }
            }
        }
    }
}
