//! Which file belongs to which known split.
//!
//! Names and inodes only decide what is tried first; the bytes decide what is true.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use contract::{Error, ErrorKind, Position, Result, SplitId};

use crate::found::Found;
use crate::identity::{Descriptor, Note, are_related, family};

/// A known split, and its file once that is found.
pub struct Candidate {
    /// The split.
    pub id: SplitId,
    /// The next record to read.
    pub position: Option<Position>,
    /// The same as it was committed; none if nothing was.
    pub committed: Option<Position>,
    /// What it remembers about its file.
    pub descriptor: Arc<Descriptor>,
    /// The file that holds what was read of it.
    pub found: Option<Found>,
    /// Whether the runtime was told that it is there, as the descriptor says.
    pub is_told: bool,
    /// Since when it was told that it is not.
    pub gone_since: Option<Instant>,
    /// Whether the runtime was told that it may retire, at the position that it has.
    pub is_finished: bool,
    /// Where its file ended at the last look.
    pub end: Option<i64>,
}

/// Files whose bytes could not be compared.
#[derive(Default)]
pub struct Failures {
    /// Those that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, Error)>,
    /// Whether some were moved between the look at them and the comparison, as by a rotation. They
    /// are left out: under the name that they have now the next listing finds them.
    pub any_moved: bool,
}

impl Candidate {
    /// A split of which nothing was told, and that begins where its descriptor says if nothing was
    /// read of it.
    pub fn new(id: SplitId, position: Option<Position>, descriptor: Arc<Descriptor>) -> Self {
        let committed = position.clone();
        let position = position.or_else(|| descriptor.from.clone());
        let (found, end, gone_since) = (None, None, None);
        let (is_told, is_finished) = (false, false);
        Self { id, position, committed, descriptor, found, is_told, gone_since, is_finished, end }
    }

    /// Whether more than a few bytes tie a file to the split.
    pub fn is_tied(&self, found: &Found) -> bool {
        // A few bytes prove little: unrelated files often hold the same ones.
        self.descriptor.head.is_full() || are_related(&self.descriptor.path, &found.path)
    }

    /// Whether a file holds what was read of this split; none if it was moved meanwhile.
    pub fn is_in(&self, found: &Found) -> Result<Option<bool>> {
        let is_behind = |at: &Position| found.end().is_some_and(|end| at.at > end);
        if self.position.as_ref().is_some_and(is_behind) {
            return Ok(Some(false));
        }
        let note = self.position.as_ref().map(Note::of).transpose()?.flatten();
        // What was cut off and booked as lost is behind its position, whatever the file is now.
        if note.is_some_and(|note| note.is_cut_off) {
            return Ok(Some(false));
        }
        if self.descriptor.is_settled && found.signature == self.descriptor.signature {
            return Ok(Some(true));
        }
        if !found.holds_head(&self.descriptor.head) {
            return Ok(Some(false));
        }
        match &self.position {
            Some(position) => found.holds_before(position),
            None => Ok(Some(true)),
        }
    }
}

/// Gives each file to the split whose bytes it holds; returns the files that nobody knows. A file
/// that cannot be read is left out this time.
///
/// # Errors
/// Bug: a split is not ours.
pub fn assign(
    found: Vec<Found>,
    candidates: &mut [Candidate],
    failures: &mut Failures,
) -> Result<Vec<Found>> {
    let mut pool = Pool { found: found.into_iter().map(Some).collect(), failures };
    // The same file first, then the same path, then any: the order in which pairs are tried.
    let files: HashMap<_, _> = pool.numbers(|found| found.signature.file());
    for candidate in candidates.iter_mut().filter(|candidate| candidate.found.is_none()) {
        let number = files.get(&candidate.descriptor.signature.file());
        pool.give(number.copied(), candidate)?;
    }
    let paths: HashMap<_, _> = pool.numbers(|found| found.path.clone());
    for candidate in candidates.iter_mut().filter(|candidate| candidate.found.is_none()) {
        pool.give(paths.get(&candidate.descriptor.path).copied(), candidate)?;
    }
    pool.give_the_rest(candidates)?;
    Ok(pool.found.into_iter().flatten().collect())
}

/// Files that belong to no split yet.
struct Pool<'a> {
    found: Vec<Option<Found>>,
    failures: &'a mut Failures,
}

impl Pool<'_> {
    fn numbers<K: std::hash::Hash + Eq>(&self, key: impl Fn(&Found) -> K) -> HashMap<K, usize> {
        let numbered = self.found.iter().enumerate();
        numbered.filter_map(|(number, found)| Some((key(found.as_ref()?), number))).collect()
    }

    /// Gives files to splits that are tied to them by what both begin with, or by their names.
    fn give_the_rest(&mut self, candidates: &mut [Candidate]) -> Result<()> {
        if self.found.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
        let mut related: HashMap<(PathBuf, String), Vec<usize>> = HashMap::new();
        for (number, found) in self.found.iter().enumerate() {
            let Some(found) = found else { continue };
            if let Some(beginning) = found.beginning() {
                alike.entry(beginning.to_owned()).or_default().push(number);
            }
            related.entry(family_of(&found.path)).or_default().push(number);
        }
        for candidate in candidates.iter_mut().filter(|candidate| candidate.found.is_none()) {
            let tied = match candidate.descriptor.head.is_full() {
                true => alike.get(&candidate.descriptor.head.sha256),
                false => related.get(&family_of(&candidate.descriptor.path)),
            };
            for number in tied.into_iter().flatten() {
                self.give(Some(*number), candidate)?;
                if candidate.found.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives a file to a split if it holds what was read of it.
    fn give(&mut self, number: Option<usize>, candidate: &mut Candidate) -> Result<()> {
        let Some(place) = number.and_then(|number| self.found.get_mut(number)) else {
            return Ok(());
        };
        let Some(found) = place else { return Ok(()) };
        match candidate.is_in(found) {
            Ok(Some(true)) => {
                found.from.clone_from(&candidate.descriptor.from);
                candidate.found = place.take();
            }
            Ok(Some(false)) => {}
            // As a new split it would be read again.
            Ok(None) => {
                self.failures.any_moved = true;
                *place = None;
            }
            Err(error) if error.kind() == ErrorKind::External => {
                self.failures.unreadable.push((found.path.clone(), error));
                *place = None;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The folder of a file, and its name without what rotation adds.
pub fn family_of(path: &Path) -> (PathBuf, String) {
    (path.parent().unwrap_or(Path::new("/")).to_owned(), family(path).to_owned())
}

/// The ids that a file may have that is a new split: its path, and with a number if the path had a
/// split before.
pub fn ids_of(path: &Path) -> impl Iterator<Item = SplitId> {
    let path = path.to_string_lossy().into_owned();
    let first = SplitId::new(&*path);
    let numbered = (2..).map(move |generation| SplitId::new(format!("{path}#{generation}")));
    std::iter::once(first).chain(numbered)
}

/// What to say about a new file of which something was read as another split, which was cut off.
pub fn warning_of_cut_off(found: &Found, at: &Position) -> String {
    let (path, at) = (&found.path, at.at);
    format!(
        "file {path:?} was truncated or rewritten behind byte {at}; from there on it is read as a \
         new split"
    )
}

/// What to say about a new file that took the place of one that was read: it is that very file,
/// but no longer holds what was read.
pub fn warning_if_truncated(found: &Found, candidates: &[Candidate]) -> Option<String> {
    let before = candidates
        .iter()
        .filter(|one| one.found.is_none())
        .filter(|one| one.descriptor.signature.is_same_file(&found.signature))
        .max_by_key(|one| one.descriptor.signature.modified_ns)?;
    let position = before.position.as_ref().filter(|position| position.at > 0)?;
    let path = &found.path;
    let told = format!("file {path:?} was truncated or rewritten; it is read as a new split");
    // Of a file that was read to its end nothing is lost: it often just made room for another one.
    let is_whole = position.at.cast_unsigned() >= before.descriptor.signature.size;
    Some(match is_whole {
        true => told,
        false => format!(
            "{told}, and what was not read of \"{}\" behind byte {} is lost",
            before.id, position.at
        ),
    })
}

/// What to say about a new file under the path of another one that is gone, and of which it holds
/// only a part: it is read from its beginning. A log that was rotated away and removed has another
/// text.
pub fn warning_if_replaced(found: &Found, candidates: &[Candidate]) -> Option<String> {
    let before = candidates
        .iter()
        .filter(|one| one.found.is_none() && one.descriptor.path == found.path)
        .max_by_key(|one| one.descriptor.signature.modified_ns)?;
    let position = before.position.as_ref().filter(|position| position.at > 0)?;
    let (path, id) = (&found.path, &before.id);
    let is_same_file = before.descriptor.signature.is_same_file(&found.signature);
    (!is_same_file && found.is_replacement_of(&before.descriptor.head)).then(|| {
        format!(
            "file {path:?} was replaced by one that does not hold all that was read of \"{id}\" up \
             to byte {}; it is read as a new split",
            position.at
        )
    })
}

/// A word about a file that begins with text now where it began with NULs that were left out.
pub fn warning_if_filled(found: &Found) -> Option<String> {
    (found.descriptor().head.length > 0).then(|| {
        format!(
            "text was written at the beginning of file {:?}, where NULs had been left out; it is \
             not read",
            found.path
        )
    })
}
