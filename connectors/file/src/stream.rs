//! The bytes of an open file, decompressed, from any position on.
//!
//! Knows nothing of lines. A position is a number of decompressed bytes, so that it stays true
//! when the file is compressed.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use formats::compression::Compression;
use rustix::fs::OFlags;

use crate::config;
use crate::identity::{FINGERPRINT_BYTES, Recent, Signature};

/// How far a compressed file is read at once where only its bytes before a position count.
const SKIP_BYTES: usize = 64 << 10;

/// An open file, and what was seen of it when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The file, by its only descriptor: whoever reads its bytes moves its offset.
    pub file: Arc<File>,
    /// What the file system said.
    pub signature: Signature,
    /// How it is compressed.
    pub compression: Compression,
}

impl Opened {
    /// Opens a file; none if it is no plain file.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn new(path: &Path, compression: config::Compression) -> io::Result<Option<Self>> {
        // A pipe that took the file's place must not keep us until somebody writes into it.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).expect("flags of open are an int");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let compression = match compression {
            config::Compression::Auto => Compression::detect(&file)?.0,
            config::Compression::None => Compression::None,
            config::Compression::Gzip => Compression::Gzip,
            config::Compression::Zstd => Compression::Zstd,
        };
        let file = Arc::new(file);
        Ok(Some(Self { file, signature: Signature::of(&metadata), compression }))
    }

    /// Its first bytes, as many as a fingerprint covers. What cannot be decompressed is left out:
    /// reading the file will tell.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(FINGERPRINT_BYTES);
        match self.start(u64::MAX)?.take(FINGERPRINT_BYTES as u64).read_to_end(&mut head) {
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(head),
        }
    }

    /// Its bytes from a position on, and the last ones before it; none if it ends before it.
    /// Reads no further than the first `size` bytes on disk.
    ///
    /// # Errors
    /// The file cannot be read, or what stands before the position is damaged.
    pub fn from(&self, at: i64, size: u64) -> io::Result<Option<(Bytes, Recent)>> {
        let at = at.max(0).cast_unsigned();
        match self.compression {
            Compression::None => self.seek(at, size),
            Compression::Gzip | Compression::Zstd => skip(self.start(size)?, at),
        }
    }

    fn start(&self, size: u64) -> io::Result<Bytes> {
        let mut file = self.file.clone();
        file.seek(SeekFrom::Start(0))?;
        self.compression.decode(file.take(size))
    }

    fn seek(&self, at: u64, size: u64) -> io::Result<Option<(Bytes, Recent)>> {
        let mut file = self.file.clone();
        let mut before = vec![0; FINGERPRINT_BYTES.min(at as usize)];
        file.seek(SeekFrom::Start(at - before.len() as u64))?;
        match file.read_exact(&mut before) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut recent = Recent::default();
        recent.push(&before);
        Ok(Some((Box::new(file.take(size.saturating_sub(at))), recent)))
    }
}

/// Decompressed bytes.
pub type Bytes = Box<dyn Read + Send>;

/// Whether an error comes from what the file holds rather than from the system that holds it.
pub fn is_damage(error: &io::Error) -> bool {
    // The decoders make errors of their own; those of the system carry its number.
    error.raw_os_error().is_none()
}

fn skip(mut bytes: Bytes, at: u64) -> io::Result<Option<(Bytes, Recent)>> {
    let mut recent = Recent::default();
    let mut piece = Vec::with_capacity(SKIP_BYTES);
    let mut left = at;
    while left > 0 {
        piece.clear();
        let wanted = left.min(SKIP_BYTES as u64);
        match bytes.by_ref().take(wanted).read_to_end(&mut piece) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            outcome => outcome?,
        };
        recent.push(&piece);
        left -= piece.len() as u64;
    }
    Ok(Some((bytes, recent)))
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
pub fn compare(first: &Opened, second: &Opened) -> io::Result<Likeness> {
    let (mut first, mut second) = (first.start(u64::MAX)?, second.start(u64::MAX)?);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    loop {
        read_piece(&mut first, &mut one)?;
        read_piece(&mut second, &mut other)?;
        let shared = one.len().min(other.len());
        if one[..shared] != other[..shared] {
            return Ok(Likeness::Different);
        }
        if one.len() < other.len() {
            return Ok(Likeness::FirstIsPart);
        }
        if other.len() < SKIP_BYTES {
            return Ok(Likeness::SecondIsPart);
        }
    }
}

fn read_piece(bytes: &mut Bytes, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.clear();
    match bytes.take(SKIP_BYTES as u64).read_to_end(piece) {
        Err(error) if !is_damage(&error) => Err(error),
        _ => Ok(()),
    }
}
