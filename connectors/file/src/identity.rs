//! How a file is recognised again: by what it holds, not by its name.
//!
//! Two places are remembered, both decompressed: the first KiB, and the KiB before the position
//! that was reached. A file that shows both is the same split, whatever it is called now and
//! however it is compressed; a file that lacks one is another split, even under the same name.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use contract::source::KnownSplit;
use contract::{Error, Position, Result};
use formats::compression::Compression;
use formats::lines::Start;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hole::Hole;
use crate::packed::Packed;
use crate::trail::Written;

/// How many bytes a fingerprint covers, if the file has so many.
pub const FINGERPRINT_BYTES: usize = 1024;

/// How long two writes may share one time of modification (FAT counts in two seconds).
const CLOCK_TICK_MAX: Duration = Duration::from_secs(2);

/// A hash of a few bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The number of bytes.
    pub length: usize,
    /// The first half of their SHA-256, in hexadecimal.
    pub sha256: String,
}

impl Fingerprint {
    /// The fingerprint of all these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let sha256 = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { length: bytes.len(), sha256 }
    }

    /// Whether `bytes` begin with what was fingerprinted.
    pub fn begins(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.length).is_some_and(|bytes| Self::of(bytes) == *self)
    }

    /// Whether it covers as much as a fingerprint can.
    pub fn is_full(&self) -> bool {
        self.length >= FINGERPRINT_BYTES
    }
}

/// The last bytes before a place, as many as a fingerprint covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent(Vec<u8>);

impl Recent {
    /// Adds the bytes that follow.
    pub fn push(&mut self, bytes: &[u8]) {
        let fresh = &bytes[bytes.len().saturating_sub(FINGERPRINT_BYTES)..];
        let kept = FINGERPRINT_BYTES - fresh.len();
        self.0.drain(..self.0.len().saturating_sub(kept));
        self.0.extend_from_slice(fresh);
    }

    /// Those from the first character on that is whole.
    pub fn whole_characters(&self) -> &[u8] {
        let is_inside = |byte: &&u8| matches!(byte, 0x80..=0xbf);
        &self.0[self.0.iter().take_while(is_inside).count()..]
    }

    /// All of them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether a line ends with the last of them.
    pub fn ends_line(&self) -> bool {
        self.0.last() == Some(&b'\n')
    }

    /// Their fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }

    /// What it would be with bytes that follow.
    pub fn fingerprint_with(&self, bytes: &[u8]) -> Fingerprint {
        match bytes.len().checked_sub(FINGERPRINT_BYTES) {
            Some(begin) => Fingerprint::of(&bytes[begin..]),
            None => {
                let mut recent = self.clone();
                recent.push(bytes);
                recent.fingerprint()
            }
        }
    }
}

/// A file as its file system knows it, unchanged while nobody writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Bytes on disk, as they are compressed.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
}

impl Signature {
    /// The signature of a file that was asked for its metadata.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
        }
    }

    /// Whether a later write would show: clocks of file systems tick coarsely.
    pub fn is_settled(&self) -> bool {
        self.age() > CLOCK_TICK_MAX
    }

    /// How long ago it was last written; nothing if that lies in the future.
    pub fn age(&self) -> Duration {
        age(self.modified_ns)
    }

    /// The file, however it changes: file system and number on it.
    pub fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Whether both are one file, however it changed.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.file() == other.file()
    }
}

/// When a file was made, in nanoseconds since 1970; none if the file system does not know.
pub fn made_ns(metadata: &std::fs::Metadata) -> Option<i64> {
    let since = metadata.created().ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// How long ago a time was, in nanoseconds since 1970; nothing if it lies in the future.
pub fn age(time_ns: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.as_nanos() as i64 - time_ns;
    Duration::from_nanos(u64::try_from(age).unwrap_or(0))
}

/// What a split remembers about its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Where the file was seen last.
    pub path: PathBuf,
    /// What the file system said about it.
    pub signature: Signature,
    /// Whether every later write would change the signature.
    pub is_settled: bool,
    /// Its first bytes.
    pub head: Fingerprint,
    /// Where it begins, if what stands before was read of another file that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Position>,
    /// When the file was made, where the file system knows that: numbers of files that are gone are
    /// given to new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_ns: Option<i64>,
    /// When bytes, name or rights of a plain file were changed last: unlike the time of the last
    /// write, nobody sets that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_ns: Option<i64>,
}

impl Descriptor {
    /// Reads the descriptor of a known split.
    ///
    /// # Errors
    /// Bug: it was not made here.
    pub fn of(known: &KnownSplit) -> Result<Self> {
        Self::deserialize(&known.split.descriptor).map_err(|error| {
            let id = &known.split.id;
            Error::bug(format!("could not read the descriptor of split {id:?}")).because(error)
        })
    }
}

/// What a position remembers beside its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The bytes before the position.
    pub before: Fingerprint,
    /// What stands at the position.
    #[serde(default, skip_serializing_if = "is_line")]
    pub start: Start,
    /// The compressed file that ends just here: it need not be decompressed to see that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Signature>,
    /// Where a gzip file was read to, as it is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed: Option<Packed>,
    /// NULs that wait behind the position, or as old as those that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<Hole>,
    /// Whether the file was cut off here after more of it had been read: what stands behind by now
    /// is another split.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut_off: bool,
    /// Places before the position, for a log that may be copied before it is truncated.
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    pub trail: Written,
}

fn is_line(start: &Start) -> bool {
    *start == Start::Line
}

impl Note {
    /// Reads the note of a position; none if it has none.
    ///
    /// # Errors
    /// Bug: it was not made here.
    pub fn of(position: &Position) -> Result<Option<Self>> {
        let Some(note) = &position.note else { return Ok(None) };
        serde_json::from_str(note).map(Some).map_err(|error| {
            Error::bug(format!("could not read the note of position {}", position.at))
                .because(error)
        })
    }

    /// The note of a place where a line begins.
    pub fn of_line(before: Fingerprint) -> Self {
        Self {
            before,
            start: Start::Line,
            whole: None,
            packed: None,
            hole: None,
            is_cut_off: false,
            trail: Written::default(),
        }
    }

    /// The note as a position carries it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and text are JSON")
    }
}

/// Whether one file can have become the other by rotation: their names are the same but for
/// numbers, dates and compression at the end.
pub fn are_related(one: &Path, other: &Path) -> bool {
    one.parent() == other.parent() && family(one) == family(other)
}

/// Whether one name is the other with the suffix of a compression behind it.
pub fn is_packed_name(one: &Path, other: &Path) -> bool {
    let (shorter, longer) = match file_name(one).len() < file_name(other).len() {
        true => (one, other),
        false => (other, one),
    };
    let suffix = file_name(longer).strip_prefix(file_name(shorter));
    one.parent() == other.parent()
        && suffix.is_some_and(|suffix| Compression::SUFFIXES.contains(&suffix))
}

/// Whether a file's name says that rotation gave it, so that nobody writes to it any more: a number
/// or a date at its end where the file without it is there too, and another one. Some writers have
/// a number or a date in the name of the file that they write to, and a link that leads to the
/// newest of them: where the link leads says nothing of who still writes to another one.
pub fn is_rotated_name(path: &Path, ours: &Signature) -> bool {
    let (name, family) = (unpacked(file_name(path)), family(path));
    name.strip_prefix(family).is_some_and(|added| !added.is_empty())
        && std::fs::symlink_metadata(path.with_file_name(family)).is_ok_and(|metadata| {
            !metadata.is_symlink() && !Signature::of(&metadata).is_same_file(ours)
        })
}

/// A file's name without its folder.
pub fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A name without the suffix of a compression.
pub fn unpacked(name: &str) -> &str {
    let mut suffixes = Compression::SUFFIXES.into_iter();
    suffixes.find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// A file's name without what rotation adds: `a.log` for `a.log.2.gz` and `a.log-20260101`.
pub fn family(path: &Path) -> &str {
    family_name(file_name(path))
}

/// The same of a name.
pub fn family_name(name: &str) -> &str {
    let mut name = unpacked(name);
    loop {
        let shorter = name.trim_end_matches(|character: char| character.is_ascii_digit());
        let shorter = match shorter.len() < name.len() {
            true => shorter.strip_suffix(['.', '-', '_']).unwrap_or(name),
            false => name,
        };
        if shorter.is_empty() || shorter.len() == name.len() {
            return name;
        }
        name = shorter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_the_family() {
        let check = |name: &str, expect: &str| assert_eq!(family(Path::new(name)), expect);
        check("/logs/a.log", "a.log");
        check("/logs/a.log.1", "a.log");
        check("/logs/a.log.12.gz", "a.log");
        check("/logs/a.log-20260101.zst", "a.log");
        check("/logs/a.log.3.xz", "a.log");
        check("/logs/a.log.bz2", "a.log");
        check("/logs/a.log-2026-01-01", "a.log");
        check("/logs/stats-01.log", "stats-01.log");
        check("/logs/node7", "node7");
        check("/logs/7", "7");
    }

    #[test]
    fn a_name_tells_whether_a_file_was_rotated() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = |name: &str, expect: bool| {
            let path = folder.path().join(name);
            let other = Signature { device: 0, inode: 0, size: 0, modified_ns: 0 };
            let ours = std::fs::metadata(&path).map_or(other, |metadata| Signature::of(&metadata));
            assert_eq!(is_rotated_name(&path, &ours), expect, "{name}");
        };
        check("a.log", false);
        check("a.log.1", false);
        check("worker-1", false);
        check("node7", false);
        check("7", false);
        check("a.log-20260101", false);
        std::fs::write(folder.path().join("a.log"), "new").expect("a file can be written");
        check("a.log-20260101", true);
        check("a.log.1", true);
        check("a.log.12.gz", true);
        check("a.log", false);
        std::fs::hard_link(folder.path().join("a.log"), folder.path().join("a.log-20261128"))
            .expect("a link");
        check("a.log-20261128", false);
        check("a.log.2026-01-01.xz", true);
        check("b.log.2026-01-01", false);
        // A link that moved on.
        std::fs::write(folder.path().join("c.log.2"), "new").expect("a file can be written");
        std::os::unix::fs::symlink("c.log.2", folder.path().join("c.log")).expect("a link");
        check("c.log.1", false);
        check("c.log.2", false);
    }

    #[test]
    fn a_packed_name_is_the_name_and_a_suffix() {
        let check = |one: &str, other: &str, expect: bool| {
            assert_eq!(is_packed_name(Path::new(one), Path::new(other)), expect, "{one} {other}");
        };
        check("/logs/a.log.1", "/logs/a.log.1.gz", true);
        check("/logs/a.log.1.bz2", "/logs/a.log.1", true);
        check("/logs/a.log.1", "/logs/a.log.2.gz", false);
        check("/logs/a.log.1", "/old/a.log.1.gz", false);
        check("/logs/a.log", "/logs/a.log.1", false);
        check("/logs/a.log", "/logs/a.log", false);
    }

    #[test]
    fn recent_bytes_do_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..5000u32).map(|number| (number % 251) as u8).collect();
        for piece in [1, 7, 1000, 1024, 1025, 5000] {
            let mut recent = Recent::default();
            bytes.chunks(piece).for_each(|chunk| recent.push(chunk));
            assert_eq!(recent.0, bytes[5000 - FINGERPRINT_BYTES..], "pieces of {piece}");
        }
    }

    #[test]
    fn a_fingerprint_covers_a_beginning() {
        let short = Fingerprint::of(b"one\n");
        assert!(short.begins(b"one\ntwo\n"));
        assert!(!short.begins(b"one"));
        assert!(!short.begins(b"two\none\n"));
    }
}
