//! The text of a file or stream, however it is compressed and encoded: the one layer below
//! [`crate::lines`], for every source and for queries.
//!
//! Positions are bytes of what comes out here: the text as UTF-8, then, where something stands
//! behind the last member of a compressed text, those bytes as they are.

use std::io::{self, ErrorKind, Read};

use crate::compression::{Compression, Limits, Members, Source};
use crate::encoding::{Encoding, FIRST_BYTES, Growth, Utf16};

/// Text, and what follows it.
pub struct Decoded {
    compression: Compression,
    growth: Growth,
    text: Text,
    is_foreign: bool,
}

/// Text as it is encoded.
struct Packed {
    /// What was looked at and not given yet, the last byte first.
    first: Vec<u8>,
    /// What befell behind those bytes.
    failed: Option<io::Error>,
    origin: Origin,
}

enum Origin {
    Plain(Source),
    Members(Box<Members>),
}

enum Text {
    /// Nobody knows yet how characters are written.
    Unknown(Option<Packed>),
    Utf8(Packed),
    Utf16(Box<Utf16<Packed>>),
}

/// How far [`Decoded::fill`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// There may be more.
    Room,
    /// The text has ended; other bytes follow.
    TextEnd,
    /// Everything was read.
    End,
}

impl Decoded {
    /// Reads a stream from its first byte on.
    pub fn new(compression: Compression, source: Source, limits: Limits, growth: Growth) -> Self {
        let origin = match compression {
            Compression::None => Origin::Plain(source),
            _ => Origin::Members(Box::new(Members::new(compression, source, limits))),
        };
        let text = Text::Unknown(Some(Packed::new(origin)));
        Self { compression, growth, text, is_foreign: false }
    }

    /// Reads plain UTF-8 from anywhere on.
    pub fn plain(source: Source) -> Self {
        let text = Text::Utf8(Packed::new(Origin::Plain(source)));
        Self { compression: Compression::None, growth: Growth::Open, text, is_foreign: false }
    }

    /// Reads plain UTF-16 from any character on, as long as it grows.
    pub fn utf16(source: Source, encoding: Encoding) -> Self {
        let (packed, growth) = (Packed::new(Origin::Plain(source)), Growth::Open);
        let text = Text::Utf16(Box::new(Utf16::new(packed, encoding, growth)));
        Self { compression: Compression::None, growth, text, is_foreign: false }
    }

    /// Appends up to `room` bytes to a block: all of them text, or none of them.
    ///
    /// # Errors
    /// The stream cannot be read or is damaged; the block has what stands before that.
    pub fn fill(&mut self, block: &mut Vec<u8>, room: usize) -> io::Result<Reached> {
        if self.is_foreign {
            let read = self.foreign().take(room as u64).read_to_end(block)?;
            return Ok(if read < room { Reached::End } else { Reached::Room });
        }
        let read = match &mut self.text {
            // Nothing in between: the system fills a block that nobody has to clear before.
            Text::Utf8(Packed { origin: Origin::Plain(source), first, .. }) if first.is_empty() => {
                source.take(room as u64).read_to_end(block)?
            }
            _ => self.text()?.take(room as u64).read_to_end(block)?,
        };
        if read == room {
            return Ok(Reached::Room);
        }
        Ok(if self.ends_here() { Reached::End } else { Reached::TextEnd })
    }

    /// How many bytes at the end of what was read of a growing text are a part of a character whose
    /// rest must come: they stand in no text yet.
    pub fn half(&self) -> usize {
        match &self.text {
            Text::Utf16(text) => text.half(),
            Text::Unknown(_) | Text::Utf8(_) => 0,
        }
    }

    /// Why what comes next is refused; none while it is text.
    pub fn foreign_reason(&mut self) -> Option<String> {
        if !self.is_foreign {
            return None;
        }
        let member = self.compression.member_name();
        let offset = self.members()?.foreign_from()?;
        Some(format!(
            "what follows byte {offset} of the compressed form belongs to no {member}; nothing \
             behind it is read"
        ))
    }

    /// Whether nothing follows the text, which was read to its end.
    fn ends_here(&mut self) -> bool {
        let members = self.members();
        self.is_foreign = members.is_some_and(|members| members.foreign_from().is_some());
        !self.is_foreign
    }

    fn members(&mut self) -> Option<&mut Members> {
        let packed = match &mut self.text {
            Text::Unknown(packed) => packed.as_mut()?,
            Text::Utf8(packed) => packed,
            Text::Utf16(text) => text.source(),
        };
        match &mut packed.origin {
            Origin::Members(members) => Some(members),
            Origin::Plain(_) => None,
        }
    }

    fn foreign(&mut self) -> &mut dyn Read {
        let members = self.members();
        members.and_then(Members::foreign).expect("only members are followed by foreign bytes")
    }

    /// The text, once it is clear how characters are written.
    fn text(&mut self) -> io::Result<&mut dyn Read> {
        if let Text::Unknown(packed) = &mut self.text {
            let mut packed = packed.take().expect("it is taken only here, and replaced below");
            let encoding = packed.encoding();
            self.text = match encoding {
                Encoding::Utf8 => Text::Utf8(packed),
                _ => Text::Utf16(Box::new(Utf16::new(packed, encoding, self.growth))),
            };
        }
        Ok(match &mut self.text {
            Text::Unknown(_) => unreachable!("it was replaced above"),
            Text::Utf8(packed) => packed,
            Text::Utf16(text) => text.as_mut(),
        })
    }
}

impl Read for Decoded {
    /// The text, then the bytes behind it.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.is_foreign {
            return self.foreign().read(into);
        }
        match self.text()?.read(into)? {
            0 if !into.is_empty() && !self.ends_here() => self.foreign().read(into),
            read => Ok(read),
        }
    }
}

impl Packed {
    fn new(origin: Origin) -> Self {
        Self { first: Vec::new(), failed: None, origin }
    }

    /// Looks at so many bytes as the decision needs.
    fn encoding(&mut self) -> Encoding {
        let mut first = Vec::with_capacity(FIRST_BYTES);
        while !Encoding::is_decided(&first) {
            let mut byte = [0];
            match self.read(&mut byte) {
                Ok(0) => break,
                Ok(_) => first.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        let encoding = Encoding::of(&first);
        first.reverse();
        self.first = first;
        encoding
    }
}

impl Read for Packed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.first.is_empty() && !into.is_empty() {
            let bytes = self.first.len().min(into.len());
            into.iter_mut()
                .zip(self.first.drain(self.first.len() - bytes..).rev())
                .for_each(|(place, byte)| *place = byte);
            return Ok(bytes);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match &mut self.origin {
            Origin::Plain(source) => source.read(into),
            Origin::Members(members) => members.read(into),
        }
    }
}

#[cfg(test)]
mod tests;
