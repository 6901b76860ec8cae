//! The text of a file or stream, however it is compressed and encoded: the one layer below
//! [`crate::lines`], for every source and for queries.
//!
//! Positions are bytes of what comes out here: the text as UTF-8, and, where something stands
//! between or behind the members of a compressed text that belongs to none, just those bytes.

use std::io::{self, ErrorKind, Read};

use crate::compression::gzip::Gzip;
use crate::compression::{Compression, Limits, Members, Refused, Source, foreign, refuse_foreign};
use crate::encoding::{Encoding, FIRST_BYTES, Growth, Utf16};

/// Text, and what follows it.
pub struct Decoded {
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
    Gzip(Box<Gzip>),
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
    /// The text has ended, or what was none; bytes of the other kind follow.
    Stretch,
    /// The text has ended in the middle of a member; what follows is no text.
    Torn,
    /// Everything was read.
    End,
}

impl Decoded {
    /// Reads a stream from its first byte on.
    pub fn new(compression: Compression, source: Source, limits: Limits, growth: Growth) -> Self {
        let origin = match compression {
            Compression::None => Origin::Plain(source),
            Compression::Gzip => Origin::Gzip(Box::new(Gzip::new(source, growth))),
            _ => Origin::Members(Box::new(Members::new(compression, source, limits, growth))),
        };
        let text = Text::Unknown(Some(Packed::new(origin)));
        Self { growth, text, is_foreign: false }
    }

    /// Reads a log from its first byte on, however it is compressed.
    ///
    /// # Errors
    /// The stream cannot be read, or is an archive that is not read, also inside of its compressed
    /// form (`Unsupported`).
    pub fn log(stream: Source, limits: Limits, growth: Growth) -> io::Result<Self> {
        let (compression, whole) = Compression::detect_log(stream)?;
        let mut decoded = Self::new(compression, Box::new(whole), limits, growth);
        if let (true, Text::Unknown(Some(packed))) =
            (compression != Compression::None, &mut decoded.text)
        {
            let first = packed.look(foreign::may_become_archive);
            refuse_foreign(Compression::None, &first)?;
        }
        Ok(decoded)
    }

    /// Reads plain UTF-8 from anywhere on.
    pub fn plain(source: Source) -> Self {
        let text = Text::Utf8(Packed::new(Origin::Plain(source)));
        Self { growth: Growth::Open, text, is_foreign: false }
    }

    /// Reads UTF-8 of a gzip stream from wherever that was begun.
    pub fn of_gzip(gzip: Gzip) -> Self {
        let text = Text::Utf8(Packed::new(Origin::Gzip(Box::new(gzip))));
        Self { growth: Growth::Open, text, is_foreign: false }
    }

    /// Reads plain UTF-16 from any character on, as long as it grows.
    pub fn utf16(source: Source, encoding: Encoding) -> Self {
        let (packed, growth) = (Packed::new(Origin::Plain(source)), Growth::Open);
        let text = Text::Utf16(Box::new(Utf16::new(packed, encoding, growth)));
        Self { growth, text, is_foreign: false }
    }

    /// Appends up to `room` bytes to a block: all of them text, or none of them.
    ///
    /// # Errors
    /// The stream cannot be read or is damaged; the block has what stands before that.
    pub fn fill(&mut self, block: &mut Vec<u8>, room: usize) -> io::Result<Reached> {
        if self.is_foreign {
            let read = self.foreign().take(room as u64).read_to_end(block)?;
            return Ok(if read == room { Reached::Room } else { self.behind_foreign() });
        }
        let read = match &mut self.text {
            // As much at once as the library can.
            Text::Utf8(Packed { origin: Origin::Gzip(gzip), first, .. }) if first.is_empty() => {
                fill_from(gzip, block, room)?
            }
            // Nothing in between: the system fills a block that nobody has to clear before.
            Text::Utf8(Packed { origin: Origin::Plain(source), first, .. }) if first.is_empty() => {
                source.take(room as u64).read_to_end(block)?
            }
            _ => self.text()?.take(room as u64).read_to_end(block)?,
        };
        Ok(if read == room { Reached::Room } else { self.behind_text() })
    }

    /// Appends up to `room` bytes of the first text, whatever stands before it.
    ///
    /// # Errors
    /// As [`Decoded::fill`].
    pub fn first_text(&mut self, block: &mut Vec<u8>, room: usize) -> io::Result<()> {
        let mut passed = Vec::new();
        while block.is_empty() {
            let into = if self.is_foreign { &mut passed } else { &mut *block };
            if self.fill(into, room)? == Reached::End {
                break;
            }
            passed.clear();
        }
        Ok(())
    }

    /// Reads a few bytes as soon as there are any: all of them text, or none of them. Without any
    /// it says what follows.
    ///
    /// # Errors
    /// The stream cannot be read or is damaged.
    pub fn read_some(&mut self, into: &mut [u8]) -> io::Result<(usize, Reached)> {
        let read = match self.is_foreign {
            true => self.foreign().read(into)?,
            false => self.text()?.read(into)?,
        };
        Ok(match self.is_foreign {
            _ if read > 0 || into.is_empty() => (read, Reached::Room),
            true => (0, self.behind_foreign()),
            false => (0, self.behind_text()),
        })
    }

    /// The gzip stream below text of UTF-8, whose bytes are the text.
    pub fn gzip(&mut self) -> Option<&mut Gzip> {
        match &mut self.text {
            Text::Utf8(Packed { origin: Origin::Gzip(gzip), .. }) => Some(gzip),
            _ => None,
        }
    }

    /// Whether a compressed stream came to its end, perhaps before all of its text was given: what
    /// is written behind it later is not seen.
    pub fn has_met_end(&mut self) -> bool {
        match self.origin() {
            Some(Origin::Gzip(gzip)) => gzip.has_met_end(),
            Some(Origin::Members(members)) => members.has_met_end(),
            Some(Origin::Plain(_)) | None => false,
        }
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
        self.origin()?.refusal().map(|refused| refused.reason().to_owned())
    }

    /// What follows the text, which was read to its end.
    fn behind_text(&mut self) -> Reached {
        let refused = self.origin().and_then(|origin| origin.refusal());
        let is_torn = refused.map(Refused::is_torn);
        self.is_foreign = is_torn.is_some();
        match is_torn {
            Some(true) => Reached::Torn,
            Some(false) => Reached::Stretch,
            None => Reached::End,
        }
    }

    /// What follows bytes that are no text, which were read to their end.
    fn behind_foreign(&mut self) -> Reached {
        self.is_foreign = self.origin().is_some_and(|origin| origin.refusal().is_some());
        if let (false, Text::Utf16(text)) = (self.is_foreign, &mut self.text) {
            text.begin_anew();
        }
        if self.is_foreign { Reached::End } else { Reached::Stretch }
    }

    fn origin(&mut self) -> Option<&mut Origin> {
        let packed = match &mut self.text {
            Text::Unknown(packed) => packed.as_mut()?,
            Text::Utf8(packed) => packed,
            Text::Utf16(text) => text.source(),
        };
        Some(&mut packed.origin)
    }

    fn foreign(&mut self) -> Foreign<'_> {
        Foreign(self.origin().expect("only members are followed by foreign bytes"))
    }

    /// The text, once it is clear how characters are written.
    fn text(&mut self) -> io::Result<&mut dyn Read> {
        if let Text::Unknown(packed) = &mut self.text {
            let mut packed = packed.take().expect("it is taken only here, and replaced below");
            self.text = match packed.encoding() {
                // What stands before the text says nothing of it.
                _ if packed.is_before_text() => Text::Unknown(Some(packed)),
                Encoding::Utf8 => Text::Utf8(packed),
                encoding => Text::Utf16(Box::new(Utf16::new(packed, encoding, self.growth))),
            };
        }
        Ok(match &mut self.text {
            Text::Unknown(packed) => packed.as_mut().expect("it was replaced above"),
            Text::Utf8(packed) => packed,
            Text::Utf16(text) => text.as_mut(),
        })
    }
}

impl Read for Decoded {
    /// The text, and the bytes between or behind.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let (read, reached) = self.read_some(into)?;
            if read > 0 || into.is_empty() || reached == Reached::End {
                return Ok(read);
            }
        }
    }
}

/// What belongs to no member.
struct Foreign<'a>(&'a mut Origin);

impl Read for Foreign<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0 {
            Origin::Gzip(gzip) => gzip.read_refused(into),
            Origin::Members(members) => members.read_refused(into),
            Origin::Plain(_) => Ok(0),
        }
    }
}

impl Origin {
    /// Why what comes next is no text; none while it is.
    fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::Gzip(gzip) => gzip.refusal(),
            Self::Members(members) => members.refusal(),
            Self::Plain(_) => None,
        }
    }
}

/// Appends text to a block; says how much.
fn fill_from(gzip: &mut Gzip, block: &mut Vec<u8>, room: usize) -> io::Result<usize> {
    let begin = block.len();
    block.resize(begin + room, 0);
    let mut end = begin;
    let outcome = loop {
        match gzip.read_text(&mut block[end..]) {
            Ok(0) => break Ok(end - begin),
            Ok(read) => end += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    block.truncate(end);
    outcome
}

impl Packed {
    fn new(origin: Origin) -> Self {
        Self { first: Vec::new(), failed: None, origin }
    }

    /// Whether bytes that are no text come first.
    fn is_before_text(&self) -> bool {
        self.first.is_empty() && self.failed.is_none() && self.origin.refusal().is_some()
    }

    /// Looks at so many bytes as the decision needs.
    fn encoding(&mut self) -> Encoding {
        Encoding::of(&self.look(|first| !Encoding::is_decided(first)))
    }

    /// Looks at the next bytes as long as a decision is open.
    fn look(&mut self, is_open: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut first = Vec::with_capacity(FIRST_BYTES);
        while is_open(&first) {
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
        self.first.extend(first.iter().rev());
        first
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
            Origin::Gzip(gzip) => gzip.read_text(into),
            Origin::Members(members) => members.read(into),
        }
    }
}

#[cfg(test)]
mod tests;
