//! Which file belongs to which known split.
//!
//! Names and inodes only decide what is tried first; the bytes decide what is true.

use std::collections::HashSet;
use std::path::Path;

use contract::source::KnownSplit;
use contract::{Result, SplitId};

use crate::found::Found;
use crate::identity::{Descriptor, are_related};

/// A known split, and its file once that is found.
pub struct Candidate {
    /// The split as the newest checkpoint knows it.
    pub known: KnownSplit,
    /// What it remembers about its file.
    pub descriptor: Descriptor,
    /// The file that holds what was read of it.
    pub found: Option<Found>,
}

/// How much a file has in common with a split before its bytes are compared. The order is the
/// order in which pairs are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    SameFile,
    SamePath,
    Any,
}

impl Candidate {
    /// A split whose file is to be found.
    ///
    /// # Errors
    /// Bug: the split is not ours.
    pub fn new(known: KnownSplit) -> Result<Self> {
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
        if self.descriptor.is_settled && found.signature == self.descriptor.signature {
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
}

/// Gives each file to the split whose bytes it holds; returns the files that nobody knows.
///
/// # Errors
/// External: a file cannot be read. Bug: a split is not ours.
pub fn assign(mut found: Vec<Found>, candidates: &mut [Candidate]) -> Result<Vec<Found>> {
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
pub fn new_id(path: &Path, ids: &HashSet<SplitId>) -> SplitId {
    let path = path.to_string_lossy();
    let numbered = (2..).map(|generation| SplitId::new(format!("{path}#{generation}")));
    std::iter::once(SplitId::new(&*path))
        .chain(numbered)
        .find(|id| !ids.contains(id))
        .expect("there are more numbers than splits")
}

/// What to say about a new file that took the place of one that was read: it is that very file,
/// but no longer holds what was read.
pub fn warning_if_truncated(found: &Found, candidates: &[Candidate]) -> Option<String> {
    let before = candidates
        .iter()
        .filter(|one| one.found.is_none())
        .filter(|one| one.descriptor.signature.is_same_file(&found.signature))
        .max_by_key(|one| one.descriptor.signature.modified_ns)?;
    let position = before.known.position.as_ref().filter(|position| position.at > 0)?;
    Some(format!(
        "file {:?} was truncated or rewritten; it is read as a new split, and what was not read \
         of \"{}\" behind byte {} is lost",
        found.path, before.known.split.id, position.at
    ))
}
