//! A stream whose next bytes can be looked at, and which counts what was taken from it.

use std::io::{self, BufRead, ErrorKind, Read};

/// Where the bytes come from.
pub type Source = Box<dyn Read + Send>;

/// So much is read at once: what a decoder takes in a moment.
const BUFFER_BYTES: usize = 64 << 10;
/// So many of the bytes that were taken last are kept.
pub const BEFORE_BYTES: usize = 256;

/// A stream with the bytes that were read of it and not taken yet.
pub struct Input {
    source: Source,
    buffer: Vec<u8>,
    taken: usize,
    taken_in_all: u64,
    /// So many of the bytes that were taken last stay known, at least.
    kept: usize,
    has_ended: bool,
}

impl Input {
    /// Nothing is read yet.
    pub fn new(source: Source) -> Self {
        Self::resume(source, 0, &[])
    }

    /// Goes on behind so many bytes, the last of which are handed in.
    pub fn resume(source: Source, taken_in_all: u64, before: &[u8]) -> Self {
        let (buffer, taken) = (before.to_vec(), before.len());
        Self { source, buffer, taken, taken_in_all, kept: BEFORE_BYTES, has_ended: false }
    }

    /// Keeps so many of the bytes that were taken, to go back to them.
    #[must_use]
    pub fn keeping(self, kept: usize) -> Self {
        Self { kept: kept.max(BEFORE_BYTES), ..self }
    }

    /// Goes back to a byte that was taken, as far as so many are kept for sure.
    pub fn go_back_to(&mut self, offset: u64) {
        let kept = self.taken.min(self.kept);
        let back = self.taken_in_all.saturating_sub(offset);
        let back = usize::try_from(back).map_or(kept, |back| back.min(kept));
        self.taken -= back;
        self.taken_in_all -= back as u64;
    }

    /// How many bytes were taken.
    pub fn offset(&self) -> u64 {
        self.taken_in_all
    }

    /// How many bytes were read, taken or not, and the last of them, at most 256.
    pub fn reached(&self) -> (u64, &[u8]) {
        let read = self.taken_in_all + (self.buffer.len() - self.taken) as u64;
        (read, &self.buffer[self.buffer.len().saturating_sub(BEFORE_BYTES)..])
    }

    /// The last bytes that were taken, at most 256.
    pub fn before(&self) -> &[u8] {
        &self.buffer[self.taken.saturating_sub(BEFORE_BYTES)..self.taken]
    }

    /// The stream may have more now.
    pub fn go_on(&mut self) {
        self.has_ended = false;
    }

    /// Whether the stream had no more when it was asked last: it is not asked again.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The next bytes without taking them: at least so many, unless the stream has no more.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.taken < bytes && !self.has_ended {
            self.read_more()?;
        }
        Ok(&self.buffer[self.taken..])
    }

    /// Those that were read already.
    pub fn held(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    fn read_more(&mut self) -> io::Result<()> {
        let kept = self.taken.min(self.kept);
        // Much that is kept is not moved for every little that is read.
        if self.taken - kept >= kept {
            self.buffer.drain(..self.taken - kept);
            self.taken = kept;
        }
        let held = self.buffer.len();
        self.buffer.resize(held + BUFFER_BYTES, 0);
        let outcome = loop {
            match self.source.read(&mut self.buffer[held..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(held + *outcome.as_ref().unwrap_or(&0));
        self.has_ended = outcome? == 0;
        Ok(())
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    fn consume(&mut self, bytes: usize) {
        self.taken += bytes;
        self.taken_in_all += bytes as u64;
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let held = self.peek(1)?;
        let bytes = held.len().min(into.len());
        into[..bytes].copy_from_slice(&held[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}
