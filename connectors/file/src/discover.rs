//! Which files there are now, and which split each of them is.
//!
//! Blocking. Works in three steps: look at every file that the patterns name; leave out copies of
//! other files; give each file to the known split whose bytes it holds, or to a new one.
//!
//! Invariant: a file becomes one split, a split one file, and an id is never given twice.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use contract::source::{Discovery, KnownSplit, Split};
use contract::{Error, Position, Result, SplitId};
use formats::compression::Compression;

use crate::config::{self, Included, Patterns};
use crate::identity::{Descriptor, Fingerprint, Note, Signature, are_related, family};
use crate::stream::{Likeness, Opened, compare, is_damage};

/// Finds files and recognises them.
#[derive(Debug)]
pub struct Discoverer {
    patterns: Patterns,
    compression: config::Compression,
    /// What was seen of each file this time and the last, by device and inode.
    seen: HashMap<(u64, u64), Found>,
    seen_before: HashMap<(u64, u64), Found>,
    /// How two files with the same beginning compared.
    likenesses: HashMap<(Signature, Signature), Likeness>,
    /// Every split that was given out, with its newest descriptor.
    given: HashMap<SplitId, Split>,
    /// Warnings that were given already.
    said: HashSet<String>,
}

/// A file that was looked at.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, without links.
    pub path: PathBuf,
    setting: config::Compression,
    compression: Compression,
    signature: Signature,
    head: Vec<u8>,
    fingerprint: Fingerprint,
}

/// A split together with what it remembers.
struct Candidate {
    known: KnownSplit,
    descriptor: Descriptor,
    found: Option<Found>,
}

/// How much a file has in common with a split before its bytes are compared. The order is the
/// order in which pairs are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    SameFile,
    SamePath,
    Any,
}

impl Discoverer {
    /// A discoverer that has seen nothing yet.
    pub fn new(patterns: Patterns, compression: config::Compression) -> Self {
        Self {
            patterns,
            compression,
            seen: HashMap::new(),
            seen_before: HashMap::new(),
            likenesses: HashMap::new(),
            given: HashMap::new(),
            said: HashSet::new(),
        }
    }

    /// Lists the splits that exist now.
    ///
    /// # Errors
    /// External: a file cannot be read. Bug: a known split is not ours.
    pub fn discover(&mut self, known: &[KnownSplit]) -> Result<Discovery> {
        self.seen_before = std::mem::take(&mut self.seen);
        let mut warnings = Vec::new();
        let mut candidates = self.candidates(known)?;
        let found = self.find(&mut warnings)?;
        let found = self.without_copies(found, &candidates, &mut warnings)?;
        let unknown = assign(found, &mut candidates)?;
        self.find_rotated(&unknown, &mut candidates)?;
        let mut ids: HashSet<_> = candidates.iter().map(|one| one.known.split.id.clone()).collect();
        let mut splits = Vec::new();
        for candidate in &candidates {
            match &candidate.found {
                Some(found) => splits.push(found.split(candidate.known.split.id.clone())),
                None => warnings.extend(candidate.warning_if_truncated()),
            }
        }
        for found in unknown {
            let id = new_id(&found.path, &ids);
            ids.insert(id.clone());
            splits.push(found.split(id));
        }
        splits.sort_by(|one, other| one.id.cmp(&other.id));
        self.given.extend(splits.iter().map(|split| (split.id.clone(), split.clone())));
        warnings.retain(|warning| self.said.insert(warning.clone()));
        Ok(Discovery { splits, warnings })
    }

    /// Finds the file of one split again, wherever it is now.
    ///
    /// # Errors
    /// External: a file cannot be read. Bug: the split is not ours.
    pub fn locate(&mut self, known: &KnownSplit) -> Result<Option<Found>> {
        let mut candidates = [Candidate::new(known.clone())?];
        let there = self.look(&candidates[0].descriptor.path.clone())?;
        assign(there.into_iter().collect(), &mut candidates)?;
        if candidates[0].found.is_none() {
            let found = self.find(&mut Vec::new())?;
            let unknown = assign(found, &mut candidates)?;
            self.find_rotated(&unknown, &mut candidates)?;
        }
        let [candidate] = candidates;
        Ok(candidate.found)
    }

    /// The splits of the checkpoint and those given out since, with their newest descriptors.
    fn candidates(&self, known: &[KnownSplit]) -> Result<Vec<Candidate>> {
        let ids: HashSet<_> = known.iter().map(|known| &known.split.id).collect();
        let since = self.given.values().filter(|split| !ids.contains(&split.id));
        let since = since.map(|split| KnownSplit { split: split.clone(), position: None });
        let newest = known.iter().map(|known| KnownSplit {
            split: self.given.get(&known.split.id).unwrap_or(&known.split).clone(),
            position: known.position.clone(),
        });
        let mut candidates = newest.chain(since).map(Candidate::new).collect::<Result<Vec<_>>>()?;
        candidates.sort_by(|one, other| one.known.split.id.cmp(&other.known.split.id));
        Ok(candidates)
    }

    /// Looks at all files that the patterns name.
    fn find(&mut self, warnings: &mut Vec<String>) -> Result<Vec<Found>> {
        let mut paths = Vec::new();
        for included in &self.patterns.included {
            let before = paths.len();
            match included {
                Included::File(path) => paths.push(path.clone()),
                Included::Glob(pattern) => paths.extend(expand(pattern)?),
            }
            if paths.len() == before {
                let Included::Glob(pattern) = included else { continue };
                warnings.push(format!("pattern {pattern:?} matches no file yet"));
            }
        }
        let mut found: Vec<Found> = Vec::new();
        let mut files = HashSet::new();
        for path in paths {
            let Some(one) = self.look(&path)? else { continue };
            if files.insert((one.signature.device, one.signature.inode)) {
                found.push(one);
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(found)
    }

    /// Looks at one file; none if it is empty, excluded, no plain file, or not there any more.
    fn look(&mut self, path: &Path) -> Result<Option<Found>> {
        match self.try_look(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path, &error)),
            Ok(found) => Ok(found),
        }
    }

    fn try_look(&mut self, path: &Path) -> io::Result<Option<Found>> {
        let path = path.canonicalize()?;
        if path.to_str().is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, "its path is not UTF-8"));
        }
        let metadata = path.metadata()?;
        let excluded = self.patterns.excluded.iter().any(|excluded| excluded.matches(&path));
        if excluded || !metadata.is_file() || metadata.len() == 0 {
            return Ok(None);
        }
        let signature = Signature::of(&metadata);
        let key = (signature.device, signature.inode);
        let seen = self.seen.get(&key).or_else(|| self.seen_before.get(&key));
        let found = match seen.filter(|seen| seen.signature == signature) {
            Some(seen) => Found { path, ..seen.clone() },
            None => match Found::new(path, self.compression)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if found.signature.is_settled() {
            self.seen.insert(key, found.clone());
        }
        Ok(Some(found))
    }

    /// Leaves out files that hold only what another file holds from its beginning, as while a log
    /// is copied or compressed. Short files are compared with none: too many of them are equal.
    fn without_copies(
        &mut self,
        found: Vec<Found>,
        candidates: &[Candidate],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Found>> {
        let is_known = |found: &Found| {
            candidates.iter().any(|one| one.descriptor.signature.is_same_file(&found.signature))
        };
        // The file that is known already stays where two are equal.
        let (known, unknown): (Vec<_>, Vec<_>) = found.into_iter().partition(is_known);
        let mut kept: Vec<Found> = Vec::new();
        for mut one in known.into_iter().chain(unknown) {
            let mut is_copy = false;
            for other in &mut kept {
                if !other.begins_like(&one) {
                    continue;
                }
                let likeness = self.likeness(other, &one)?;
                if likeness == Likeness::FirstIsPart {
                    std::mem::swap(other, &mut one);
                }
                if likeness != Likeness::Different {
                    let (copy, whole) = (&one.path, &other.path);
                    warnings.push(format!("{copy:?} repeats the beginning of {whole:?}; not read"));
                    is_copy = true;
                    break;
                }
            }
            if !is_copy {
                kept.push(one);
            }
        }
        kept.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(kept)
    }

    fn likeness(&mut self, one: &Found, other: &Found) -> Result<Likeness> {
        let key = (one.signature, other.signature);
        if let Some(likeness) = self.likenesses.get(&key) {
            return Ok(*likeness);
        }
        let (Some(first), Some(second)) = (one.open()?, other.open()?) else {
            return Ok(Likeness::Different);
        };
        let likeness = compare(&first, &second).map_err(|error| unreadable(&other.path, &error))?;
        // What was compared while one of them grew is of no use later.
        self.likenesses.retain(|(first, second), _| {
            !first.is_same_file(&key.0) || !second.is_same_file(&key.1)
        });
        self.likenesses.insert(key, likeness);
        Ok(likeness)
    }

    /// Looks for the files of splits that no pattern names any more because they were rotated:
    /// what was not read of them must not be lost.
    fn find_rotated(&mut self, unknown: &[Found], candidates: &mut [Candidate]) -> Result<()> {
        let taken: Vec<_> = unknown
            .iter()
            .chain(candidates.iter().filter_map(|candidate| candidate.found.as_ref()))
            .map(|found| found.signature)
            .collect();
        let mut families = HashSet::new();
        for candidate in candidates.iter().filter(|candidate| candidate.found.is_none()) {
            let path = &candidate.descriptor.path;
            let folder = path.parent().unwrap_or(Path::new("/"));
            families.insert((folder.to_owned(), family(path).to_owned()));
        }
        let mut found = Vec::new();
        for (folder, name) in families {
            let Ok(entries) = folder.read_dir() else { continue };
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            for path in paths.filter(|path| family(path) == name) {
                let Ok(Some(one)) = self.look(&path) else { continue };
                if !taken.iter().any(|signature| signature.is_same_file(&one.signature)) {
                    found.push(one);
                }
            }
        }
        found.sort_by(|one, other| one.path.cmp(&other.path));
        assign(found, candidates).map(|_| ())
    }
}

impl Found {
    fn new(path: PathBuf, setting: config::Compression) -> io::Result<Option<Self>> {
        let Some(opened) = Opened::new(&path, setting)? else { return Ok(None) };
        let head = opened.head()?;
        Ok(Some(Self {
            path,
            setting,
            compression: opened.compression,
            signature: opened.signature,
            fingerprint: Fingerprint::of(&head),
            head,
        }))
    }

    /// Opens the file; none if it is gone, or another one has its path.
    ///
    /// # Errors
    /// External: the file cannot be opened.
    pub fn open(&self) -> Result<Option<Opened>> {
        match Opened::new(&self.path, self.setting) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(opened) => {
                Ok(opened.filter(|opened| opened.signature.is_same_file(&self.signature)))
            }
        }
    }

    fn split(&self, id: SplitId) -> Split {
        let descriptor = Descriptor {
            path: self.path.clone(),
            signature: self.signature,
            head: self.fingerprint.clone(),
        };
        let descriptor = serde_json::to_value(descriptor).expect("paths were checked to be text");
        Split { id, descriptor }
    }

    fn begins_like(&self, other: &Self) -> bool {
        self.fingerprint.is_full() && self.fingerprint == other.fingerprint
    }

    fn holds_head(&self, head: &Fingerprint) -> bool {
        match head.length == self.fingerprint.length {
            true => *head == self.fingerprint,
            false => head.begins(&self.head),
        }
    }

    /// Whether the bytes before a position are those that were there when it was reached.
    fn holds_before(&self, position: &Position) -> Result<bool> {
        let Some(note) = Note::of(position)? else { return Ok(true) };
        let Some(opened) = self.open()? else { return Ok(false) };
        match opened.from(position.at, u64::MAX) {
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(unreadable(&self.path, &error)),
            Ok(found) => Ok(found.is_some_and(|(_, recent)| recent.fingerprint() == note.before)),
        }
    }
}

impl Candidate {
    fn new(known: KnownSplit) -> Result<Self> {
        let descriptor = Descriptor::of(&known)?;
        Ok(Self { known, descriptor, found: None })
    }

    fn is_tied(&self, found: &Found, tie: Tie) -> bool {
        let ours = &self.descriptor;
        match tie {
            Tie::SameFile => ours.signature.is_same_file(&found.signature),
            Tie::SamePath => ours.path == found.path,
            // A few bytes prove little: unrelated files often hold the same ones.
            Tie::Any => ours.head.is_full() || are_related(&ours.path, &found.path),
        }
    }

    /// Whether a file holds what was read of this split.
    fn is_in(&self, found: &Found) -> Result<bool> {
        let is_untouched = found.signature == self.descriptor.signature;
        if is_untouched && found.compression != Compression::None {
            return Ok(true);
        }
        if !found.holds_head(&self.descriptor.head) {
            return Ok(false);
        }
        match &self.known.position {
            Some(position) => found.holds_before(position),
            None => Ok(true),
        }
    }

    fn warning_if_truncated(&self) -> Option<String> {
        let position = self.known.position.as_ref().filter(|position| position.at > 0)?;
        let path = &self.descriptor.path;
        let now = Signature::of(&path.metadata().ok()?);
        now.is_same_file(&self.descriptor.signature).then(|| {
            format!(
                "file {path:?} was truncated or rewritten behind byte {}; it is a new split now, \
                 and what was not read of the old one is lost",
                position.at
            )
        })
    }
}

/// Gives each file to the split whose bytes it holds; returns the files that nobody knows.
fn assign(mut found: Vec<Found>, candidates: &mut [Candidate]) -> Result<Vec<Found>> {
    for tie in [Tie::SameFile, Tie::SamePath, Tie::Any] {
        for candidate in candidates.iter_mut().filter(|candidate| candidate.found.is_none()) {
            for index in 0..found.len() {
                if candidate.is_tied(&found[index], tie) && candidate.is_in(&found[index])? {
                    candidate.found = Some(found.remove(index));
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// The id of a file that is a new split: its path, and a number if the path had a split before.
fn new_id(path: &Path, ids: &HashSet<SplitId>) -> SplitId {
    let path = path.to_string_lossy();
    let numbered = (2..).map(|generation| SplitId::new(format!("{path}#{generation}")));
    std::iter::once(SplitId::new(&*path))
        .chain(numbered)
        .find(|id| !ids.contains(id))
        .expect("there are more numbers than splits")
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).map_err(|error| {
        Error::bug(format!("pattern {pattern:?} was checked before")).because(error)
    })?;
    let readable = |path: glob::GlobResult| {
        path.map_err(|error| {
            let folder = error.path().to_owned();
            unreadable(&folder, error.error())
        })
    };
    paths.map(readable).collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let message = format!("could not read {path:?}: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::external(message)
            .hint("give this user the right to read it, or leave it out by `exclude`"),
        _ => Error::transient(message),
    }
}
