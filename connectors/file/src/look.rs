//! Looks at single paths: what stands there, and whether it can be read.
//!
//! A path is only opened once its metadata say that it is a plain file, and only again when they
//! changed: what rests costs a question to the file system and no descriptor. What cannot be read
//! is left alone for longer and longer.

use std::collections::HashMap;
use std::fs::{FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::discovery::Unreadable;
use contract::{Error, Result};
use rustix::io::Errno;

use crate::config::Excluded;
use crate::found::{Found, unreadable};
use crate::identity::{Signature, made_ns};
use crate::stream::Packing;

/// How long a file that could not be read is left alone at first; it doubles each time.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause where somebody has to do something: give us the right to read, or unpack it.
const BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// The longest pause where the system may do better the next time.
const BACK_OFF_PASSING_MAX: Duration = Duration::from_secs(60);

/// What stands at a path.
#[derive(Debug)]
pub enum Look {
    /// A file with something in it.
    File(Box<Found>),
    /// Nothing that is ours: it is empty, excluded, a folder, or gone.
    Nothing,
    /// Nothing to read, though the path is named.
    PassedOver(&'static str),
    /// A file that cannot be read now.
    Refused(Refused),
}

/// A file that cannot be read.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub error: Refusal,
    /// When it is tried again.
    pub until: Instant,
    pause: Duration,
    changed: (u64, i64, i64),
}

/// Why a file cannot be read, as often as it is asked for.
#[derive(Clone, Debug)]
pub struct Refusal {
    path: PathBuf,
    kind: ErrorKind,
    number: Option<i32>,
    text: String,
}

/// Looks at paths and remembers what it saw.
#[derive(Debug)]
pub struct Looker {
    excluded: Vec<Excluded>,
    packing: Packing,
    /// What was seen of each file this time and the last, by device and inode.
    seen: HashMap<(u64, u64), Found>,
    seen_before: HashMap<(u64, u64), Found>,
    refused: HashMap<PathBuf, Refused>,
    refused_before: HashMap<PathBuf, Refused>,
    /// Folders without the links that lead to them, as they were found this time.
    folders: HashMap<PathBuf, PathBuf>,
}

impl Looker {
    /// Has seen nothing yet.
    pub fn new(excluded: Vec<Excluded>, packing: Packing) -> Self {
        Self {
            excluded,
            packing,
            seen: HashMap::new(),
            seen_before: HashMap::new(),
            refused: HashMap::new(),
            refused_before: HashMap::new(),
            folders: HashMap::new(),
        }
    }

    /// Another round begins: what is not seen in it is forgotten.
    pub fn begin(&mut self) {
        self.seen_before = std::mem::take(&mut self.seen);
        self.refused_before = std::mem::take(&mut self.refused);
        self.folders.clear();
    }

    /// Looks at one path.
    pub fn look(&mut self, path: &Path) -> Look {
        match self.try_look(path) {
            Err(_) if self.is_excluded(path) => Look::Nothing,
            Err(error) if error.kind() == ErrorKind::NotFound => Look::Nothing,
            Err(error) => Look::Refused(Refused::new(path, &error, (0, 0, 0), None)),
            Ok(look) => look,
        }
    }

    fn try_look(&mut self, path: &Path) -> io::Result<Look> {
        let itself = path.symlink_metadata()?;
        let (path, metadata) = match itself.is_symlink() {
            false => (self.without_links(path)?, itself),
            true => match follow(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(self.passed_over(path, "a link that leads nowhere"));
                }
                Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                    return Ok(self.passed_over(path, "a link that leads back to itself"));
                }
                followed => followed?,
            },
        };
        if let Some(what) = special(metadata.file_type()) {
            return Ok(self.passed_over(&path, what));
        }
        if !metadata.is_file() || metadata.len() == 0 || self.is_excluded(&path) {
            return Ok(Look::Nothing);
        }
        if path.to_str().is_none() {
            return Err(io::Error::new(ErrorKind::InvalidFilename, "its path is not UTF-8"));
        }
        self.open(path, &metadata)
    }

    /// Looks into a plain file, unless nothing changed since it was looked into.
    fn open(&mut self, path: PathBuf, metadata: &Metadata) -> io::Result<Look> {
        let signature = Signature::of(metadata);
        let key = signature.file();
        let seen = self.seen.get(&key).or_else(|| self.seen_before.get(&key));
        let changed_ns = metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
        let changed_ns = changed_ns.max(signature.modified_ns);
        let made_ns = made_ns(metadata);
        // Programs set the time of the last write, never that of the last change.
        let is_as = |seen: &&Found| {
            seen.signature == signature && (seen.changed_ns, seen.made_ns) == (changed_ns, made_ns)
        };
        let mut found = match seen.filter(is_as) {
            Some(seen) => seen.clone().moved_to(path),
            None => match self.try_open(path, metadata) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Look::Nothing),
                Err(refused) => return Ok(Look::Refused(refused)),
            },
        };
        (found.changed_ns, found.made_ns) = (changed_ns, made_ns);
        if found.signature.is_settled() {
            self.seen.insert(key, found.clone());
        }
        Ok(Look::File(Box::new(found)))
    }

    fn try_open(
        &mut self,
        path: PathBuf,
        metadata: &Metadata,
    ) -> std::result::Result<Option<Found>, Refused> {
        // The time of the last change of rights, too: that of the last write stays.
        let changed = (metadata.ino(), metadata.ctime(), metadata.ctime_nsec());
        let before = self.refused.get(&path).or_else(|| self.refused_before.get(&path));
        let before = before.filter(|before| before.changed == changed).cloned();
        let refused = match before {
            Some(before) if Instant::now() < before.until => before,
            before => match Found::new(path.clone(), self.packing) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Refused::new(&path, &error, changed, before)
                }
                found => return Ok(found.unwrap_or_default()),
            },
        };
        self.refused.insert(path, refused.clone());
        Err(refused)
    }

    /// A path whose folder is written without links; what it names is none itself.
    fn without_links(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.canonicalize();
        };
        if let Some(known) = self.folders.get(folder) {
            return Ok(known.join(name));
        }
        let here = Path::new(".");
        let whole = if folder.as_os_str().is_empty() { here } else { folder }.canonicalize()?;
        let path = whole.join(name);
        self.folders.insert(folder.to_owned(), whole);
        Ok(path)
    }

    fn passed_over(&self, path: &Path, what: &'static str) -> Look {
        if self.is_excluded(path) { Look::Nothing } else { Look::PassedOver(what) }
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.excluded.iter().any(|excluded| excluded.matches(path))
    }
}

fn follow(path: &Path) -> io::Result<(PathBuf, Metadata)> {
    let metadata = path.metadata()?;
    if special(metadata.file_type()).is_some() {
        return Ok((path.to_owned(), metadata));
    }
    Ok((path.canonicalize()?, metadata))
}

/// What is never opened: it could wait for somebody, or do something.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        kind if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => None,
    }
}

impl Refused {
    fn new(path: &Path, error: &io::Error, changed: (u64, i64, i64), before: Option<Self>) -> Self {
        let longest = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::Unsupported => BACK_OFF_MAX,
            _ => BACK_OFF_PASSING_MAX,
        };
        let pause = before.map_or(BACK_OFF_MIN, |before| (before.pause * 2).min(longest));
        let error = Refusal {
            path: path.to_owned(),
            kind: error.kind(),
            number: error.raw_os_error(),
            text: error.to_string(),
        };
        Self { error, until: Instant::now() + pause, pause, changed }
    }

    /// What people are told.
    pub fn unreadable(&self) -> Unreadable {
        let error = self.error.to_error();
        Unreadable {
            name: self.error.path.to_string_lossy().into_owned(),
            reason: error.to_string(),
            hint: error.hint_text().map(str::to_owned),
            may_hold_records: true,
            again_in: Some(self.until.saturating_duration_since(Instant::now())),
        }
    }
}

impl Refusal {
    /// The error.
    pub fn to_error(&self) -> Error {
        let error = match self.number {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(self.kind, self.text.clone()),
        };
        unreadable(&self.path, &error)
    }
}

/// A file that must be there and can be read; none if there is nothing in it.
///
/// # Errors
/// External: it cannot be read.
pub fn must_read(look: Look) -> Result<Option<Found>> {
    match look {
        Look::File(found) => Ok(Some(*found)),
        Look::Refused(refused) => Err(refused.error.to_error()),
        Look::Nothing | Look::PassedOver(_) => Ok(None),
    }
}
