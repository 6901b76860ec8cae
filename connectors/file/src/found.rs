//! A file as discovery saw it, and what it can be asked about its bytes.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Error, Position, Result};
use rustix::io::Errno;

use formats::compression::Compression;
use formats::lines::before_holes;

use crate::identity::{Descriptor, Fingerprint, Note, Signature, age, are_related, is_packed_name};
use crate::packed::Way;
use crate::stream::{Compared, Opened, Packing, is_damage};
use crate::sum::Sum;

/// How long a file may have been written that was written at once.
const AT_ONCE_NS: i64 = 2_000_000_000;
/// How many bytes more take a second.
const BYTES_A_SECOND: u64 = 64 << 20;

/// A file that was looked at.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, without links.
    pub path: PathBuf,
    packing: Packing,
    is_packed: bool,
    is_plain: bool,
    /// What the file system said.
    pub signature: Signature,
    /// When its bytes, its name or its rights were changed last, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// When it was made, where the file system knows that.
    pub made_ns: Option<i64>,
    /// Where its split begins, if what stands before was read of another file.
    pub from: Option<Position>,
    head: Arc<[u8]>,
    fingerprint: Fingerprint,
    /// The same without what stands behind NULs over which text may be written.
    lasting: Fingerprint,
}

impl Found {
    /// Looks at a file; none if it is no plain file.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn new(path: PathBuf, packing: Packing) -> io::Result<Option<Self>> {
        let Some(opened) = Opened::new(&path, packing)? else { return Ok(None) };
        let head = opened.head()?;
        Ok(Some(Self {
            path,
            packing,
            is_packed: opened.compression != Compression::None,
            is_plain: opened.is_plain(),
            signature: opened.signature,
            changed_ns: opened.signature.modified_ns,
            made_ns: None,
            from: None,
            fingerprint: Fingerprint::of(&head),
            lasting: Fingerprint::of(&head[..before_holes(&head)]),
            head: head.into(),
        }))
    }

    /// The same file under another path.
    pub fn moved_to(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Opens the file; none if it is gone, or another one has its path.
    ///
    /// # Errors
    /// External: the file cannot be opened.
    pub fn open(&self) -> Result<Option<Opened>> {
        match Opened::new(&self.path, self.packing) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(opened) => {
                Ok(opened.filter(|opened| opened.signature.is_same_file(&self.signature)))
            }
        }
    }

    /// What a split remembers about this file.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            path: self.path.clone(),
            signature: self.signature,
            is_settled: self.signature.is_settled(),
            head: self.lasting.clone(),
            from: self.from.clone(),
            made_ns: self.made_ns,
            // What is compressed is renamed often, and costs much to look into.
            changed_ns: (!self.is_packed).then_some(self.changed_ns),
        }
    }

    /// Whether a split that remembers so much about its file would remember the same of this one.
    pub fn is_as(&self, descriptor: &Descriptor) -> bool {
        let Descriptor { path, signature, is_settled, head, from, made_ns, .. } = descriptor;
        *signature == self.signature
            // Not what an earlier version did not note yet.
            && (made_ns.is_none() || *made_ns == self.made_ns)
            && self.is_unchanged(descriptor)
            && *is_settled == self.signature.is_settled()
            && *path == self.path
            && *head == self.lasting
            && *from == self.from
    }

    /// Whether nothing about it was changed since it was described, as far as that was noted.
    pub fn is_unchanged(&self, descriptor: &Descriptor) -> bool {
        let changed_ns = descriptor.changed_ns.filter(|_| !self.is_packed);
        changed_ns.is_none_or(|changed_ns| changed_ns == self.changed_ns)
    }

    /// For how long nothing about it changed: a copy may carry the time of the last write of what
    /// it was copied from.
    pub fn unchanged_for(&self) -> Duration {
        age(self.changed_ns)
    }

    /// Whether it was last written just then. Some programs hand on whole seconds alone.
    pub fn has_time_of(&self, modified_ns: i64) -> bool {
        const SECOND_NS: i64 = 1_000_000_000;
        let ours = self.signature.modified_ns;
        ours == modified_ns
            || ours % SECOND_NS == 0 && ours == modified_ns - modified_ns % SECOND_NS
    }

    /// Whether it was made after it was last written: it has the time of what it was made from.
    pub fn is_dated_back(&self) -> bool {
        self.made_ns.is_some_and(|made_ns| self.signature.modified_ns < made_ns)
    }

    /// Whether it may have got its name or its time behind its last byte, as what is written anew
    /// does.
    pub fn may_be_written_anew(&self) -> bool {
        self.made_ns.is_none() || self.changed_ns > self.signature.modified_ns
    }

    /// Whether it may have been made of a log: compressed, with the time of that, or written at
    /// once under the name that it has, or another one from which rotation moves copies on
    /// (`a.log.2`). A log that was renamed was changed behind its last byte.
    pub fn may_be_copy(&self) -> bool {
        let number = self.path.extension().and_then(|end| end.to_str()?.parse::<u32>().ok());
        let is_moved_on = number.is_some_and(|number| number > 1);
        let has_its_name = is_moved_on || !self.may_be_written_anew();
        let is_at_once = |made_ns| self.is_written_at_once(made_ns) && has_its_name;
        self.is_packed || self.is_dated_back() || self.made_ns.is_none_or(is_at_once)
    }

    /// When what it holds was last written; none if it is compressed and was given no time.
    pub fn written_ns(&self) -> Option<i64> {
        (!self.is_packed || self.is_dated_back()).then_some(self.signature.modified_ns)
    }

    /// Whether it was written at once, if it was made then: nobody writes a log so.
    pub fn is_written_at_once(&self, made_ns: i64) -> bool {
        let took = self.signature.modified_ns.saturating_sub(made_ns);
        let more = (self.signature.size / BYTES_A_SECOND).cast_signed();
        (0..=AT_ONCE_NS.saturating_add(more.saturating_mul(1_000_000_000))).contains(&took)
    }

    /// Its first bytes, as many as a fingerprint covers.
    pub fn first_bytes(&self) -> &[u8] {
        &self.head
    }

    /// The bytes before a position, as many as a fingerprint covers; none if it ends before it, is
    /// damaged or was moved.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn text_before(&self, at: i64) -> Result<Option<Vec<u8>>> {
        let Some(opened) = self.open()? else { return Ok(None) };
        match opened.near(at, u64::MAX, &Way::default()) {
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(placed) => Ok(placed.map(|placed| placed.recent.into_bytes())),
        }
    }

    /// The sum of all bytes up to a position; none if there are fewer, or it was moved.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn sum_to(&self, at: i64) -> Result<Option<Sum>> {
        let Some(opened) = self.open()? else { return Ok(None) };
        match opened.sum_to(at) {
            Err(error) if is_damage(&error) => Ok(None),
            summed => summed.map_err(|error| unreadable(&self.path, &error)),
        }
    }

    /// Whether another file can be a copy of it, taken now or before it grew: both are short, or
    /// the other one is.
    pub fn may_be_copied_as(&self, other: &Self) -> bool {
        let is_other = !self.signature.is_same_file(&other.signature);
        let is_older = self.holds_all_of(other);
        let is_newer = !self.fingerprint.is_full()
            && !self.head.is_empty()
            && other.head.starts_with(&self.head);
        is_other && (is_older || is_newer)
    }

    /// Whether it begins with all of a short file.
    pub fn holds_all_of(&self, short: &Self) -> bool {
        self.head.starts_with(&short.head)
    }

    /// The position behind the last byte of a plain file, with what stands before it.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn position_at_end(&self) -> Result<Option<Position>> {
        let (Some(end), Some(opened)) = (self.end(), self.open()?) else { return Ok(None) };
        let placed = opened.from(end, u64::MAX).map_err(|error| unreadable(&self.path, &error))?;
        Ok(placed.map(|placed| {
            let before = placed.recent.fingerprint();
            let note = Note::of_line(before);
            Position::new(end).with_note(note.to_text())
        }))
    }

    /// The position behind its last byte, where that can be known without reading it.
    pub fn end(&self) -> Option<i64> {
        self.is_plain.then_some(self.signature.size.cast_signed())
    }

    /// Whether it is plain and holds nothing but blank lines behind a position.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn is_read_to(&self, position: &Position) -> Result<bool> {
        const BLANK_BYTES_MAX: i64 = 4 << 10;
        let left = self.end().map_or(-1, |end| end - position.at);
        if !(0..=BLANK_BYTES_MAX).contains(&left) {
            return Ok(false);
        }
        let Some(opened) = self.open()? else { return Ok(false) };
        let mut rest = vec![0; left as usize];
        match opened.file.read_exact_at(&mut rest, position.at.cast_unsigned()) {
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(()) => Ok(rest.iter().all(|byte| matches!(byte, b'\n' | b'\r'))),
        }
    }

    /// The fingerprint of its first bytes, of all that it holds if that is less.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// What its first bytes are known by; none if it has fewer than count.
    pub fn beginning(&self) -> Option<&str> {
        self.fingerprint.is_full().then_some(self.fingerprint.sha256.as_str())
    }

    /// How it compares with another file where one of both is, or becomes, the compressed form of
    /// the other: by its name, or by content, family and the time of the last write, which
    /// compressors hand on. Other short files are compared with none: too many of them are equal.
    pub fn likeness_of_packed(&self, other: &Self) -> Compared {
        let (shorter, longer) = match self.head.len() < other.head.len() {
            true => (self, other),
            false => (other, self),
        };
        let is_packed = self.is_packed != other.is_packed;
        if !is_packed || shorter.fingerprint.is_full() || !longer.head.starts_with(&shorter.head) {
            return Compared::DIFFERENT;
        }
        let is_equal = shorter.head == longer.head;
        let is_one_name = is_packed_name(&self.path, &other.path);
        // While it is written, the compressed form is behind.
        let is_growing = is_one_name && shorter.is_packed;
        let is_copy = is_one_name && is_equal || is_growing;
        match is_copy || is_equal && self.is_handed_on(other) {
            false => Compared::DIFFERENT,
            true => Compared::of(&self.head, &other.head),
        }
    }

    /// Whether one of two files is compressed and has the name and the time of the last write of
    /// what the other one was made of.
    pub fn is_handed_on(&self, other: &Self) -> bool {
        let (packed, plain) = if self.is_packed { (self, other) } else { (other, self) };
        self.is_packed != other.is_packed
            && packed.has_time_of(plain.signature.modified_ns)
            && are_related(&self.path, &other.path)
    }

    /// Whether it holds the beginning of what was known by a fingerprint, or is a compressed file
    /// that is too short to tell.
    pub fn is_replacement_of(&self, head: &Fingerprint) -> bool {
        let is_short = self.is_packed && self.fingerprint.length < head.length;
        head.length > 0 && (is_short || self.holds_head(head))
    }

    /// Whether it begins with the bytes of a fingerprint.
    pub fn holds_head(&self, head: &Fingerprint) -> bool {
        match head.length == self.fingerprint.length {
            true => *head == self.fingerprint,
            false => head.begins(&self.head),
        }
    }

    /// Whether the bytes before a position are those that were there when it was reached; none if
    /// the file was moved since it was looked at, so that nothing can be said of its bytes.
    ///
    /// # Errors
    /// External: the file cannot be read. Bug: the position is not ours.
    pub fn holds_before(&self, position: &Position) -> Result<Option<bool>> {
        let Some(note) = Note::of(position)? else { return Ok(Some(true)) };
        if note.is_cut_off {
            return Ok(Some(false));
        }
        let Some(opened) = self.open()? else { return Ok(None) };
        let is_held = opened.holds_packed(position, &note);
        if is_held.map_err(|error| unreadable(&self.path, &error))? {
            return Ok(Some(true));
        }
        match opened.near(position.at, u64::MAX, &Way::of(Some(&note), None)) {
            Err(error) if is_damage(&error) => Ok(Some(false)),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(found) => {
                let holds = found.is_some_and(|found| found.recent.fingerprint() == note.before);
                Ok(Some(holds))
            }
        }
    }
}

/// The error for a file or folder that the system does not let us read.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    let message = format!("could not read {path:?}: {error}");
    match (error.kind(), error.raw_os_error().map(Errno::from_raw_os_error)) {
        (io::ErrorKind::PermissionDenied, _) => Error::external(message)
            .hint("give this user the right to read it, or leave it out (setting `exclude`)"),
        (io::ErrorKind::InvalidFilename, None) => {
            Error::external(message).hint("rename it, or leave it out (setting `exclude`)")
        }
        (io::ErrorKind::Unsupported, None) => {
            Error::external(message).hint("unpack it, or leave it out (setting `exclude`)")
        }
        (_, Some(Errno::MFILE)) => {
            Error::transient(message).hint("let this process open more files: `ulimit -n`")
        }
        _ => Error::transient(message),
    }
}
