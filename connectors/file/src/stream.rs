//! The bytes of an open file, decompressed, from any position on.
//!
//! Knows nothing of lines. A position is a number of decompressed bytes of UTF-8, so that it stays
//! true when the file is compressed.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use formats::compression::{Compression, Limits, Source, foreign, refuse_foreign};
use formats::decoded::Decoded;
use formats::encoding::{self, Encoding, Growth};
use rustix::fs::OFlags;

use crate::config;
use crate::identity::{FINGERPRINT_BYTES, Fingerprint, Recent, Signature};
use crate::packed;

/// How far a compressed file is read at once where only its bytes before a position count.
const SKIP_BYTES: usize = 64 << 10;
/// So much of a file is looked through for its first bytes, decompressed: a block of bzip2, of
/// which nothing can be seen before its end, has at most 900 kB. What stands before the first
/// member of an archive may be longer.
const HEAD_BYTES_MAX: u64 = 4 << 20;
/// How many first bytes tell what a file is.
const FIRST_BYTES: usize = foreign::FIRST_BYTES;
/// Bytes of a unit of UTF-16.
const UNIT_BYTES: u64 = 2;

/// What the settings say of how files are compressed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// How they are.
    pub compression: config::Compression,
    /// What they may ask for.
    pub limits: Limits,
}

/// An open file, and what was seen of it when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The file, by its only descriptor: whoever reads its bytes moves its offset.
    pub file: Arc<File>,
    /// What the file system said.
    pub signature: Signature,
    /// How it is compressed.
    pub compression: Compression,
    /// How its characters are written, if it is not compressed.
    encoding: Encoding,
    packing: Packing,
    /// What the file was called.
    name: String,
}

impl Opened {
    /// Opens a file; none if it is no plain file.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn new(path: &Path, packing: Packing) -> io::Result<Option<Self>> {
        // A pipe that took the file's place must not keep us until somebody writes into it.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).expect("flags of open are an int");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let mut opened = Self {
            file: Arc::new(file),
            signature: Signature::of(&metadata),
            compression: Compression::None,
            encoding: Encoding::Utf8,
            packing,
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        opened.look()?;
        Ok(Some(opened))
    }

    /// Looks at the first bytes again: a file that was looked at when it had one or two of them
    /// may turn out to be compressed.
    ///
    /// # Errors
    /// The file cannot be read, or is an archive of another kind (`Unsupported`).
    pub fn look(&mut self) -> io::Result<()> {
        let mut first = vec![0; FIRST_BYTES];
        let mut length = 0;
        while length < first.len() {
            match self.file.read_at(&mut first[length..], length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        first.truncate(length);
        self.compression = match self.packing.compression {
            config::Compression::Auto => Compression::of_named(&first, &self.name),
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Zstd => Compression::Zstd,
            config::Compression::Bzip2 => Compression::Bzip2,
            config::Compression::Xz => Compression::Xz,
        };
        self.encoding = Encoding::of(&first);
        self.refuse_archive(self.compression, &first)
    }

    /// Refuses an archive that is not read, or text that is one once it is decompressed, unless the
    /// settings say how the file is compressed.
    fn refuse_archive(&self, compression: Compression, first: &[u8]) -> io::Result<()> {
        match self.packing.compression {
            config::Compression::Auto => refuse_foreign(compression, first),
            _ => Ok(()),
        }
    }

    /// Whether its bytes are the text, so that any place in it can be gone to.
    pub fn is_plain(&self) -> bool {
        self.compression == Compression::None && self.encoding == Encoding::Utf8
    }

    /// Its first bytes, as many as a fingerprint covers. What cannot be decompressed is left out:
    /// reading the file will tell. So are NULs at their end, over which text may be written.
    ///
    /// # Errors
    /// The file cannot be read, or is an archive once it is decompressed (`Unsupported`).
    pub fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(FINGERPRINT_BYTES);
        let bytes = self.start(HEAD_BYTES_MAX, Growth::Open)?;
        match bytes.take(FINGERPRINT_BYTES as u64).read_to_end(&mut head) {
            Err(error) if !is_damage(&error) => return Err(error),
            _ => {}
        }
        self.refuse_archive(Compression::None, &head)?;
        if let Some(last) = head.iter().rposition(|byte| *byte != 0) {
            head.truncate(last + 1);
        }
        Ok(head)
    }

    /// Whether its bytes are text of UTF-16.
    pub fn is_utf16(&self) -> bool {
        self.compression == Compression::None && self.encoding != Encoding::Utf8
    }

    /// Its bytes from a position on, and the last ones before it; none if it ends before it.
    /// Reads no further than the first `size` bytes on disk.
    ///
    /// # Errors
    /// The file cannot be read, or what stands before the position is damaged.
    pub fn from(&self, at: i64, size: u64) -> io::Result<Option<Placed>> {
        let at = at.max(0).cast_unsigned();
        let growth = match self.compression {
            Compression::None => Growth::Open,
            _ => packed::growth(size),
        };
        match self.is_plain() {
            true => self.seek(at, size),
            false => skip(self.traced(size, growth)?, Recent::default(), at),
        }
    }

    /// The same of UTF-16 behind so many units, with the last bytes before them as they were read;
    /// none if others stand there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn behind_units(&self, units: u64, recent: &Recent) -> io::Result<Option<Placed>> {
        let before = recent.whole_characters();
        let begin = units.saturating_sub(encoding::units(before));
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(begin * UNIT_BYTES))?;
        let trace = Trace::behind(&[], begin * UNIT_BYTES);
        let file = Traced { source: file, trace: trace.clone() };
        let mut bytes = Decoded::utf16(Box::new(file), self.encoding);
        let mut found = Vec::with_capacity(before.len());
        bytes.by_ref().take(before.len() as u64).read_to_end(&mut found)?;
        let recent = recent.clone();
        Ok((found == before).then_some(Placed { bytes, recent, units, trace }))
    }

    /// Whether just these bytes stand before a place on disk. Moves no offset.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holds(&self, before: &Fingerprint, at: i64) -> io::Result<bool> {
        let Some(begin) = at.cast_unsigned().checked_sub(before.length as u64) else {
            return Ok(false);
        };
        let mut bytes = vec![0; before.length];
        match self.file.read_exact_at(&mut bytes, begin) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(Fingerprint::of(&bytes) == *before),
        }
    }

    /// What its first bytes on disk are, as many as a fingerprint covers, without NULs at their
    /// end, over which others may be written. Moves no offset.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn first(&self) -> io::Result<Fingerprint> {
        let mut first = vec![0; FINGERPRINT_BYTES];
        let length = self.file.read_at(&mut first, 0)?;
        first.truncate(length);
        let last = first.iter().rposition(|byte| *byte != 0);
        Ok(Fingerprint::of(&first[..last.map_or(0, |last| last + 1)]))
    }

    fn start(&self, size: u64, growth: Growth) -> io::Result<Bytes> {
        self.traced(size, growth).map(|(bytes, _)| bytes)
    }

    fn traced(&self, size: u64, growth: Growth) -> io::Result<(Bytes, Trace)> {
        let (source, trace) = self.on_disk(0, size, &[])?;
        Ok((Decoded::new(self.compression, source, self.packing.limits, growth), trace))
    }

    /// Its bytes on disk from a place on, behind those that are handed in, up to `size`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn on_disk(&self, at: u64, size: u64, before: &[u8]) -> io::Result<(Source, Trace)> {
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(at))?;
        let trace = Trace::behind(before, at);
        let source = file.take(size.saturating_sub(at));
        Ok((Box::new(Traced { source, trace: trace.clone() }), trace))
    }

    fn seek(&self, at: u64, size: u64) -> io::Result<Option<Placed>> {
        let mut file = self.file.clone();
        let mut before = vec![0; FINGERPRINT_BYTES.min(at as usize)];
        file.seek(SeekFrom::Start(at - before.len() as u64))?;
        match file.read_exact(&mut before) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut recent = Recent::default();
        recent.push(&before);
        let rest = file.take(size.saturating_sub(at));
        let (bytes, trace) = (Decoded::plain(Box::new(rest)), Trace::default());
        Ok(Some(Placed { bytes, recent, units: 0, trace }))
    }
}

/// Decompressed bytes.
pub type Bytes = Decoded;

/// The bytes from a position on.
pub struct Placed {
    /// What follows.
    pub bytes: Bytes,
    /// The last bytes before.
    pub recent: Recent,
    /// How many units of UTF-16 stand before; meaningless where it is something else.
    pub units: u64,
    /// What is read on disk, where that is not the text itself.
    pub trace: Trace,
}

impl Placed {
    /// The beginning.
    pub fn first(bytes: Bytes) -> Self {
        Self { bytes, recent: Recent::default(), units: 0, trace: Trace::default() }
    }
}

/// The bytes that were read last as they stand on disk, and where they end: whoever reads asks with
/// them whether the file still is the one that it was.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Traces>>);

#[derive(Debug, Default)]
struct Traces {
    last: Recent,
    end: u64,
}

impl Trace {
    /// Reading begins at a byte on disk, behind those.
    fn behind(before: &[u8], begin: u64) -> Self {
        let mut last = Recent::default();
        last.push(before);
        Self(Arc::new(Mutex::new(Traces { last, end: begin })))
    }

    fn push(&self, bytes: &[u8]) {
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traces.last.push(bytes);
        traces.end += bytes.len() as u64;
    }

    /// The bytes that were read last, and the first one behind them.
    pub fn last(&self) -> (Fingerprint, i64) {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (traces.last.fingerprint(), traces.end.cast_signed())
    }
}

/// A file that leaves a trace of what is read of it.
struct Traced<R> {
    source: R,
    trace: Trace,
}

impl<R: Read> Read for Traced<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(into)?;
        self.trace.push(&into[..length]);
        Ok(length)
    }
}

/// Whether an error comes from what the file holds rather than from the system that holds it.
pub fn is_damage(error: &io::Error) -> bool {
    // The decoders make errors of their own; those of the system carry its number.
    error.raw_os_error().is_none()
}

/// Passes over so many bytes behind those that are recent; none if there are fewer.
///
/// # Errors
/// They cannot be read.
pub fn skip(
    (mut bytes, trace): (Bytes, Trace),
    mut recent: Recent,
    mut left: u64,
) -> io::Result<Option<Placed>> {
    let mut units = 0;
    let mut piece = Vec::with_capacity(SKIP_BYTES);
    while left > 0 {
        piece.clear();
        let wanted = left.min(SKIP_BYTES as u64);
        match bytes.by_ref().take(wanted).read_to_end(&mut piece) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        };
        recent.push(&piece);
        units += encoding::units(&piece);
        left -= piece.len() as u64;
    }
    Ok(Some(Placed { bytes, recent, units, trace }))
}

/// How much two files have in common from their first byte on.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Which of them holds all of the other one.
    pub likeness: Likeness,
    /// Whether neither has more.
    pub is_equal: bool,
    bytes: u64,
    lines: u64,
}

/// How the bytes of two files compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// They differ.
    Different,
    /// The first begins with all of the second, or both are equal.
    SecondIsPart,
    /// The second begins with all of the first and goes on.
    FirstIsPart,
}

/// Compares two files, decompressed. A damaged file ends where the damage begins.
///
/// # Errors
/// One of them cannot be read.
pub fn compare(first: &Opened, second: &Opened) -> io::Result<Compared> {
    if first.is_plain() && second.is_plain() && !are_alike_at_the_end(first, second)? {
        return Ok(Compared::DIFFERENT);
    }
    let mut first = first.start(u64::MAX, Growth::Open)?;
    let mut second = second.start(u64::MAX, Growth::Open)?;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut before = Compared { likeness: Likeness::SecondIsPart, ..Compared::DIFFERENT };
    loop {
        read_piece(&mut first, &mut one)?;
        read_piece(&mut second, &mut other)?;
        let compared = before.with(&one, &other);
        if compared.likeness != Likeness::SecondIsPart || other.len() < SKIP_BYTES {
            return Ok(compared);
        }
        before = compared;
    }
}

impl Compared {
    /// They differ.
    pub const DIFFERENT: Self =
        Self { likeness: Likeness::Different, is_equal: false, bytes: 0, lines: 0 };

    /// How two short texts compare.
    pub fn of(one: &[u8], other: &[u8]) -> Self {
        Self::DIFFERENT.with(one, other)
    }

    /// The same of what stands behind bytes that are equal.
    fn with(self, one: &[u8], other: &[u8]) -> Self {
        let length = one.len().min(other.len());
        let shared = &one[..length];
        if *shared != other[..length] {
            return Self::DIFFERENT;
        }
        let likeness = match one.len() < other.len() {
            true => Likeness::FirstIsPart,
            false => Likeness::SecondIsPart,
        };
        let lines = shared.iter().filter(|byte| **byte == b'\n').count();
        Self {
            likeness,
            is_equal: one.len() == other.len(),
            bytes: self.bytes + length as u64,
            lines: self.lines + lines as u64,
        }
    }

    /// What they have in common, as people say it.
    pub fn shared(&self) -> String {
        let plural = |count: u64, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        format!("{} ({})", plural(self.lines, "line"), plural(self.bytes, "byte"))
    }
}

/// Whether two plain files are alike right before the end of the shorter one. Where they are not,
/// as much as they have in common before, such as the NULs that a truncation leaves, need not be
/// read.
fn are_alike_at_the_end(first: &Opened, second: &Opened) -> io::Result<bool> {
    let end = first.signature.size.min(second.signature.size);
    let begin = end.saturating_sub(SKIP_BYTES as u64);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (opened, piece) in [(first, &mut one), (second, &mut other)] {
        piece.resize((end - begin) as usize, 0);
        match opened.file.read_exact_at(piece, begin) {
            // It was truncated meanwhile: what is there is compared.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
            read => read?,
        }
    }
    Ok(one == other)
}

fn read_piece(bytes: &mut Bytes, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    match bytes.take(SKIP_BYTES as u64).read_to_end(piece) {
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(()),
    }
}
