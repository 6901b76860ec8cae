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
use contract::{Error, Result, SplitId};

use crate::config::{self, Included, Patterns};
use crate::found::{Found, unreadable};
use crate::identity::{Signature, family};
use crate::matching::{Candidate, assign, new_id, warning_if_truncated};
use crate::stream::{Likeness, compare};

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
            let id = candidate.known.split.id.clone();
            splits.extend(candidate.found.as_ref().map(|found| found.split(id)));
        }
        for found in unknown {
            warnings.extend(warning_if_truncated(&found, &candidates));
            let id = new_id(&found.path, &ids);
            ids.insert(id.clone());
            splits.push(found.split(id));
        }
        splits.sort_by(|one, other| one.id.cmp(&other.id));
        self.given.extend(splits.iter().map(|split| (split.id.clone(), split.clone())));
        warnings.retain(|warning| self.said.insert(warning.clone()));
        Ok(Discovery { splits, warnings, ..Discovery::default() })
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
            Some(seen) => seen.clone().moved_to(path),
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
