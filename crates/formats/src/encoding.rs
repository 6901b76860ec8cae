//! Text that is not UTF-8 but UTF-16, read as UTF-8.
//!
//! A unit that stands for no character becomes a byte that is no UTF-8, so that the line is marked
//! as any line with bad bytes is.

use std::io::{self, ErrorKind, Read};

use encoding_rs::{DecoderResult, UTF_16BE, UTF_16LE};

/// How characters are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As UTF-8, or whatever else has single bytes for ASCII.
    Utf8,
    /// UTF-16, the lower byte first.
    Utf16Le,
    /// UTF-16, the higher byte first.
    Utf16Be,
}

/// How many bytes [`Encoding::of`] wants to see.
pub const FIRST_BYTES: usize = 4;

/// So much UTF-16 is decoded at once.
const UNITS_BYTES: usize = 16 << 10;
/// UTF-8 has at most three bytes for a unit of two.
const TEXT_BYTES: usize = UNITS_BYTES / 2 * 3 + 16;
/// Stands for a unit that is no character.
const BAD_BYTE: u8 = 0xff;

impl Encoding {
    /// Tells by the first four bytes: a mark of the byte order, or two ASCII characters that have
    /// two bytes each. Fewer bytes only if there are no more.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0xff, 0xfe, ..] => Self::Utf16Le,
            [0xfe, 0xff, ..] => Self::Utf16Be,
            [one, 0, two, 0, ..] if is_text(*one) && may_follow(*two) => Self::Utf16Le,
            [0, one, 0, two, ..] if is_text(*one) && may_follow(*two) => Self::Utf16Be,
            _ => Self::Utf8,
        }
    }

    /// Whether more bytes would change nothing.
    pub fn is_decided(first: &[u8]) -> bool {
        match first {
            [] | [0xff | 0xfe | 0] => false,
            [one] | [one, 0] | [0, one] | [0, one, 0] => !is_text(*one),
            [one, 0, two] => !(is_text(*one) && may_follow(*two)),
            _ => true,
        }
    }
}

/// How many units of two bytes a text had as UTF-16, from what [`Utf16`] made of it, or from any
/// part of that.
pub fn units(text: &[u8]) -> u64 {
    let of = |byte: &u8| match byte {
        0x80..=0xbf => 0,
        0xf0..=0xf7 => 2,
        _ => 1,
    };
    text.iter().map(of).sum()
}

fn is_text(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

fn may_follow(byte: u8) -> bool {
    is_text(byte) || matches!(byte, b'\t' | b'\r' | b'\n')
}

/// Whether bytes may still be added to a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Half a character at its end waits for the other half.
    Open,
    /// Half a character at its end is a bad one.
    Closed,
}

/// A stream of UTF-16 as UTF-8.
pub struct Utf16<R> {
    source: R,
    decoder: encoding_rs::Decoder,
    growth: Growth,
    units: Vec<u8>,
    text: Vec<u8>,
    given: usize,
    has_ended: bool,
    ending: Ending,
}

/// How the bytes end that were read so far.
struct Ending {
    encoding: Encoding,
    length: u64,
    /// The last ones, in their order.
    last: [u8; 3],
}

impl Ending {
    fn push(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        for byte in &bytes[bytes.len().saturating_sub(self.last.len())..] {
            self.last = [self.last[1], self.last[2], *byte];
        }
    }

    /// How many bytes belong to a character of which more must come.
    fn half(&self) -> usize {
        let is_odd = self.length % 2 == 1;
        let [first, second, third] = self.last;
        let unit = if is_odd { [first, second] } else { [second, third] };
        let unit = match self.encoding {
            Encoding::Utf16Be => u16::from_be_bytes(unit),
            _ => u16::from_le_bytes(unit),
        };
        let is_high_surrogate = self.length >= 2 && (0xd800..0xdc00).contains(&unit);
        usize::from(is_odd) + if is_high_surrogate { 2 } else { 0 }
    }
}

impl<R: Read> Utf16<R> {
    /// Reads a stream from its first byte on; it keeps a mark of the byte order as U+FEFF.
    pub fn new(source: R, encoding: Encoding, growth: Growth) -> Self {
        let ending = Ending { encoding, length: 0, last: [0; 3] };
        let encoding = if encoding == Encoding::Utf16Be { UTF_16BE } else { UTF_16LE };
        Self {
            source,
            decoder: encoding.new_decoder_without_bom_handling(),
            growth,
            units: vec![0; UNITS_BYTES],
            text: Vec::new(),
            given: 0,
            has_ended: false,
            ending,
        }
    }

    /// How many bytes at the end of what was read are a part of a character whose rest must come,
    /// and stand in no text yet.
    pub fn half(&self) -> usize {
        match self.growth {
            Growth::Open => self.ending.half(),
            Growth::Closed => 0,
        }
    }

    /// The stream has more text, behind what was none.
    pub fn begin_anew(&mut self) {
        self.decoder = self.decoder.encoding().new_decoder_without_bom_handling();
        self.has_ended = false;
    }

    /// The stream that it reads.
    pub fn source(&mut self) -> &mut R {
        &mut self.source
    }

    fn decode_more(&mut self) -> io::Result<()> {
        let length = loop {
            match self.source.read(&mut self.units) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.has_ended = length == 0;
        self.ending.push(&self.units[..length]);
        let is_last = self.has_ended && self.growth == Growth::Closed;
        self.text.resize(TEXT_BYTES, 0);
        let (mut read, mut written) = (0, 0);
        loop {
            let (result, taken, made) = self.decoder.decode_to_utf8_without_replacement(
                &self.units[read..length],
                &mut self.text[written..],
                is_last,
            );
            read += taken;
            written += made;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::Malformed(_, _) => {
                    self.text[written] = BAD_BYTE;
                    written += 1;
                }
                DecoderResult::OutputFull => {
                    self.text.resize(self.text.len() + TEXT_BYTES, 0);
                }
            }
            if self.text.len() - written < 16 {
                self.text.resize(self.text.len() + TEXT_BYTES, 0);
            }
        }
        self.text.truncate(written);
        self.given = 0;
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() && !self.has_ended {
            self.decode_more()?;
        }
        let text = &self.text[self.given..];
        let bytes = text.len().min(into.len());
        into[..bytes].copy_from_slice(&text[..bytes]);
        self.given += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at once.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let bytes = self.1.min(into.len());
            self.0.take(bytes as u64).read(into).inspect(|read| self.0 = &self.0[*read..])
        }
    }

    fn utf16(text: &str, encoding: Encoding) -> Vec<u8> {
        let bytes = |unit: u16| match encoding {
            Encoding::Utf16Be => unit.to_be_bytes(),
            _ => unit.to_le_bytes(),
        };
        text.encode_utf16().flat_map(bytes).collect()
    }

    fn read(bytes: &[u8], encoding: Encoding, growth: Growth, at_once: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut reader = Utf16::new(Drops(bytes, at_once), encoding, growth);
        reader.read_to_end(&mut text).expect("memory can be read");
        text
    }

    #[test]
    fn the_first_bytes_tell() {
        let check = |first: &[u8], expect: Encoding| {
            assert_eq!(Encoding::of(first), expect, "{first:?}");
            let decided = (0..=first.len()).find(|length| Encoding::is_decided(&first[..*length]));
            let decided = decided.unwrap_or(first.len());
            assert_eq!(Encoding::of(&first[..decided]), expect, "{first:?} at {decided}");
        };
        for text in ["ab", "a\n", "[\r\n"] {
            for encoding in [Encoding::Utf16Le, Encoding::Utf16Be] {
                check(&utf16(text, encoding), encoding);
                check(&utf16(&format!("\u{feff}{text}"), encoding), encoding);
            }
        }
        for first in ["", "a", "ab", "a\0", "\n", "\0\0\0\0", "\0a\0\0", "\u{feff}a", "\u{e9}a"] {
            check(first.as_bytes(), Encoding::Utf8);
        }
    }

    #[test]
    fn half_a_character_waits_only_where_more_may_come() {
        let bytes = &utf16("a\u{1f600}", Encoding::Utf16Le);
        for cut in 1..4 {
            let bytes = &bytes[..bytes.len() - cut];
            for at_once in 1..7 {
                let open = read(bytes, Encoding::Utf16Le, Growth::Open, at_once);
                assert_eq!(open, b"a", "without {cut} bytes");
                let source = Drops(bytes, at_once);
                let mut reader = Utf16::new(source, Encoding::Utf16Le, Growth::Open);
                io::copy(&mut reader, &mut io::sink()).expect("memory can be read");
                assert_eq!(reader.half(), bytes.len() - 2, "without {cut} bytes");
                let closed = read(bytes, Encoding::Utf16Le, Growth::Closed, at_once);
                assert!(closed.starts_with(b"a\xff"), "without {cut} bytes: {closed:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn text_is_read_as_it_was_written(text in "\\PC{0,80}", at_once in 1usize..200) {
            for encoding in [Encoding::Utf16Le, Encoding::Utf16Be] {
                let bytes = utf16(&text, encoding);
                let said = read(&bytes, encoding, Growth::Open, at_once);
                prop_assert_eq!(units(&said) * 2, bytes.len() as u64);
                prop_assert_eq!(said, text.as_bytes());
            }
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let whole = read(&bytes, Encoding::Utf16Le, Growth::Closed, 1000);
            let drops = read(&bytes, Encoding::Utf16Le, Growth::Closed, 3);
            prop_assert_eq!(drops, whole);
            let even = &bytes[..bytes.len() / 2 * 2];
            let closed = read(even, Encoding::Utf16Be, Growth::Closed, 1000);
            prop_assert_eq!(units(&closed) * 2, even.len() as u64);
        }
    }
}
