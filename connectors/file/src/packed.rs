//! The way into the middle of a gzip file: from a point, else from the member before a position,
//! else from the beginning.
//!
//! Invariant: no way is taken before the file was seen to hold what was read of it.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use contract::Position;
use formats::compression::Compression;
use formats::compression::gzip::{Gzip, Point, Start};
use formats::decoded::Decoded;
use formats::encoding::Growth;
use serde::{Deserialize, Serialize};

use crate::identity::{Fingerprint, Note, Recent};
use crate::stream::{Opened, Placed, is_damage, skip};

/// What a position remembers of the compressed bytes of a gzip file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// How many were read, at least as many as lead to the position.
    pub read: u64,
    /// The last of them.
    pub last: Fingerprint,
    /// Where a member before the position begins: decompressed, and as it is compressed.
    pub member: (u64, u64),
}

/// What is known of the way to a position.
#[derive(Debug, Default)]
pub struct Way {
    /// A point that serves it.
    pub point: Option<Point>,
    /// What the position remembers.
    pub packed: Option<Packed>,
    /// The fingerprint of the text before it.
    pub before: Option<Fingerprint>,
}

impl Way {
    /// The way to a position that has a note.
    pub fn of(note: Option<&Note>, point: Option<Point>) -> Self {
        let packed = note.and_then(|note| note.packed.clone());
        Self { point, packed, before: note.map(|note| note.before.clone()) }
    }
}

impl Opened {
    /// As [`Opened::from`], without inflating what need not be.
    ///
    /// # Errors
    /// As there.
    pub fn near(&self, at: i64, size: u64, way: &Way) -> io::Result<Option<Placed>> {
        if self.compression == Compression::Gzip && at > 0 {
            let is_ours =
                |placed: &Placed| way.before.as_ref() == Some(&placed.recent.fingerprint());
            for begin in [Self::behind_point, Self::behind_member] {
                match begin(self, at.cast_unsigned(), size, way) {
                    Err(error) if !is_damage(&error) => return Err(error),
                    Ok(Some(placed)) if is_ours(&placed) => return Ok(Some(placed)),
                    // Reading from the beginning tells what there is instead.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        self.from(at, size)
    }

    /// Whether the compressed bytes of a gzip file certainly are those that were read before a
    /// position; else only the text can tell.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holds_packed(&self, position: &Position, note: &Note) -> io::Result<bool> {
        let packed = note.packed.as_ref().filter(|_| self.compression == Compression::Gzip);
        match packed.filter(|_| position.at > 0) {
            Some(packed) => self.holds(&packed.last, packed.read.cast_signed()),
            None => Ok(false),
        }
    }

    /// Whether just these bytes stand before a place on disk. Moves no offset.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn holds_bytes(&self, bytes: &[u8], end: u64) -> io::Result<bool> {
        let Some(begin) = end.checked_sub(bytes.len() as u64) else { return Ok(false) };
        let mut found = vec![0; bytes.len()];
        match self.file.read_exact_at(&mut found, begin) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(found == bytes),
        }
    }

    fn behind_point(&self, at: u64, size: u64, way: &Way) -> io::Result<Option<Placed>> {
        let Some(point) = way.point.as_ref().filter(|point| point.serves(at)) else {
            return Ok(None);
        };
        if !self.holds_bytes(&point.packed_before, point.packed)? {
            return Ok(None);
        }
        let (source, trace) = self.on_disk(point.packed, size, &point.packed_before)?;
        let Some(gzip) = Gzip::from_point(source, growth(size), point, at) else { return Ok(None) };
        let held = point.text.saturating_sub(at) as usize;
        let mut recent = Recent::default();
        recent.push(&point.before[..point.before.len() - held]);
        skip((Decoded::of_gzip(gzip), trace), recent, at.saturating_sub(point.text))
    }

    fn behind_member(&self, at: u64, size: u64, way: &Way) -> io::Result<Option<Placed>> {
        let Some(Packed { read, last, member: (text, packed) }) = &way.packed else {
            return Ok(None);
        };
        let Some(left) = at.checked_sub(*text).filter(|_| *packed > 0) else { return Ok(None) };
        if !self.holds(last, read.cast_signed())? {
            return Ok(None);
        }
        let start = Start { text: *text, packed: *packed };
        let (source, trace) = self.on_disk(*packed, size, &[])?;
        let gzip = Gzip::from_start(source, growth(size), start);
        skip((Decoded::of_gzip(gzip), trace), Recent::default(), left)
    }
}

/// Whether a compressed file that is read up to a size may have more members behind it.
pub fn growth(size: u64) -> Growth {
    if size == u64::MAX { Growth::Open } else { Growth::Closed }
}
