//! Text of the form of a line.

use std::ops::Deref;

/// Bytes that are compared at once.
const WORD_BYTES: usize = size_of::<u64>();

/// Text that stands between fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Literal {
    bytes: Vec<u8>,
    /// Its first eight bytes as a number, and which bits of that are its own.
    word: u64,
    mask: u64,
}

impl Literal {
    /// Whether the text begins with it. A loop over these one to three bytes would be guessed wrong
    /// at most fields, as another one follows each.
    #[inline(always)]
    pub fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk() {
            Some(eight) if self.bytes.len() <= WORD_BYTES => {
                u64::from_le_bytes(*eight) & self.mask == self.word
            }
            _ => self.begins_short(text),
        }
    }

    /// The same near the end of a line.
    #[inline]
    fn begins_short(&self, text: &[u8]) -> bool {
        let is_long_enough = text.len() >= self.bytes.len();
        is_long_enough && text.iter().zip(&self.bytes).all(|(one, other)| one == other)
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Self {
        let bytes = text.into_bytes();
        let mut word = [0; WORD_BYTES];
        let mut mask = [0; WORD_BYTES];
        for (at, byte) in bytes.iter().take(WORD_BYTES).enumerate() {
            (word[at], mask[at]) = (*byte, u8::MAX);
        }
        Self { bytes, word: u64::from_le_bytes(word), mask: u64::from_le_bytes(mask) }
    }
}

impl Deref for Literal {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_begins_with_its_beginning_alone() {
        let text = "] \"GET / HTTP/1.1\" 200 512";
        for length in 0..=12 {
            for rest in 0..=text.len() {
                let literal = Literal::from(text[..length].to_owned());
                let begins = literal.begins(&text.as_bytes()[..rest]);
                assert_eq!(begins, rest >= length, "{length} of {rest}");
                let other = Literal::from(format!("{}x", &text[..length]));
                assert!(!other.begins(&text.as_bytes()[..rest]), "{length} of {rest}");
            }
        }
    }
}
