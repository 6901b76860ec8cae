//! Looks for members ahead of whoever takes the bytes.

use std::io;
use std::ops::Range;

use super::Gzip;
use super::header::{FIXED_BYTES, Header, suspect};
use super::inflater::{Inflater, Stops, Then};
use crate::compression::refused::{Next, Verdict};
use crate::encoding::Growth;

/// So much text must a member give before it is believed, if it does not end before.
const BELIEF_TEXT_BYTES: usize = 32;
/// So many compressed bytes are tried at first, and at most: what gave no error until then is
/// believed.
const TRIED_BYTES: [usize; 2] = [1 << 10, 64 << 10];
/// Behind the deflated bytes: the checksum of the text and its length.
pub const TRAILER_BYTES: usize = 8;

impl Gzip {
    /// Looks at the next bytes without taking them.
    pub(super) fn ahead(&mut self) -> io::Result<Next> {
        loop {
            let offset = self.input.offset();
            let ahead = self.input.peek(1)?.len();
            if ahead == 0 {
                return Ok(Next::Nothing);
            }
            if self.clear_to > offset {
                return Ok(Next::Bytes(ahead.min((self.clear_to - offset) as usize)));
            }
            // More are waited for only where it matters.
            let wanted = if suspect(self.input.held()) == Some(0) { FIXED_BYTES } else { 1 };
            let bytes = self.input.peek(wanted)?;
            self.clear_to = match suspect(bytes) {
                None => offset + bytes.len() as u64,
                Some(0) if bytes.len() < FIXED_BYTES => match self.growth {
                    Growth::Open => return Ok(Next::Unclear),
                    Growth::Closed => offset + 1,
                },
                Some(0) => match (self.verdict(0)?, self.growth) {
                    (Verdict::Member, _) => return Ok(Next::Member),
                    (Verdict::Unclear, Growth::Open) => return Ok(Next::Unclear),
                    (Verdict::Unclear | Verdict::None, _) => offset + 1,
                },
                Some(clear) => offset + clear as u64,
            };
        }
    }

    /// Where a member begins among the next bytes, which were looked at.
    ///
    /// # Errors
    /// Unexpected end: more bytes must tell. Else: the stream cannot be read.
    pub(super) fn member_within(&mut self, range: Range<usize>) -> io::Result<Option<usize>> {
        let mut begin = range.start;
        while begin < range.end {
            let Some(found) = suspect(&self.input.peek(range.end)?[begin..range.end]) else {
                break;
            };
            begin += found;
            match (self.verdict(begin)?, self.growth) {
                (Verdict::Member, _) => return Ok(Some(begin)),
                (Verdict::Unclear, Growth::Open) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (Verdict::Unclear | Verdict::None, _) => begin += 1,
            }
        }
        Ok(None)
    }

    /// Whether a member begins behind so many bytes.
    fn verdict(&mut self, skipped: usize) -> io::Result<Verdict> {
        for wanted in TRIED_BYTES {
            let bytes = &self.input.peek(skipped + wanted)?[skipped..];
            match trial(bytes) {
                Verdict::Unclear if bytes.len() >= wanted => {}
                verdict => return Ok(verdict),
            }
        }
        Ok(match Header::of(&self.input.held()[skipped..]) {
            Header::Whole(_) => Verdict::Member,
            Header::Short | Header::None => Verdict::None,
        })
    }
}

/// The first place among some bytes at which a member begins.
pub fn first_member(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += suspect(&bytes[from..])?;
        if trial(&bytes[from..]) == Verdict::Member {
            return Some(from);
        }
        from += 1;
    }
}

fn trial(bytes: &[u8]) -> Verdict {
    let mut begin = match Header::of(bytes) {
        Header::None => return Verdict::None,
        Header::Short => return Verdict::Unclear,
        Header::Whole(length) => length,
    };
    let (mut text, mut length) = ([0; BELIEF_TEXT_BYTES], 0);
    let mut inflater = Inflater::new();
    while begin < bytes.len() && length < text.len() {
        let step = inflater.step(&bytes[begin..], &mut text[length..], Stops::Nowhere);
        begin += step.read;
        length += step.written;
        match step.then {
            Then::End if length < text.len() => {
                let text = &text[..length];
                let trailer = trailer(zlib_rs::crc32::crc32(0, text), length as u64);
                return match bytes.get(begin..begin + TRAILER_BYTES) {
                    None => Verdict::Unclear,
                    // Checksum or length may be damaged; one that is right proves enough.
                    Some(found) if found[..4] == trailer[..4] => Verdict::Member,
                    Some(found) if found[4..] == trailer[4..] => Verdict::Member,
                    Some(_) => Verdict::None,
                };
            }
            Then::Damage if length < text.len() => return Verdict::None,
            Then::More if step.read + step.written == 0 => break,
            _ => {}
        }
    }
    if length == text.len() { Verdict::Member } else { Verdict::Unclear }
}

/// What stands behind the deflated bytes of a text.
pub fn trailer(sum: u32, length: u64) -> [u8; TRAILER_BYTES] {
    let numbers = u64::from(sum) | (length & 0xffff_ffff) << 32;
    numbers.to_le_bytes()
}
