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
use crate::inheritance::Evidence;

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
    /// Those that hold what was read of something that is gone and that they may be, each with what
    /// that was.
    pub alike: HashMap<PathBuf, Alike>,
}

/// What a file holds that may be another one.
#[derive(Debug)]
pub struct Alike {
    /// What was read, and how far, as a sentence goes on.
    pub what: String,
    /// Why it is taken for the same; none if it is not.
    pub taken: Option<Evidence>,
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

    /// The same before anything was looked for.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.id.clone(), self.position.clone(), self.descriptor.clone())
    }

    /// Whether more than a few bytes tie a file to the split.
    pub fn is_tied(&self, found: &Found) -> bool {
        // A few bytes prove little: unrelated files often hold the same ones.
        self.descriptor.head.is_full() || are_related(&self.descriptor.path, &found.path)
    }

    /// Whether it is the very file that the split was last seen in, however it changed.
    pub fn is_file(&self, found: &Found) -> bool {
        let Descriptor { signature, made_ns, path, .. } = &*self.descriptor;
        match (made_ns, found.made_ns) {
            // The number of a file system may be another one after the machine began anew.
            (Some(before), Some(now)) => *before == now && signature.inode == found.signature.inode,
            _ if !signature.is_same_file(&found.signature) => false,
            // An earlier version did not note it: what lies elsewhere and was made since is another
            // one.
            (None, Some(now)) => {
                *path == found.path || now <= signature.modified_ns || found.is_dated_back()
            }
            (_, None) => true,
        }
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
        let is_settled = self.descriptor.is_settled
            && self.is_file(found)
            && found.is_unchanged(&self.descriptor);
        if is_settled && found.signature == self.descriptor.signature {
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

/// What makes a file that of a split, beside the bytes that were read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// What names and times tell of how it came to be.
    History,
    /// Nothing: whoever reads compares what comes with what was recorded.
    Bytes,
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
    assign_by(Proof::History, found, candidates, failures)
}

/// The same by some proof.
///
/// # Errors
/// As for [`assign`].
pub fn assign_by(
    proof: Proof,
    found: Vec<Found>,
    candidates: &mut [Candidate],
    failures: &mut Failures,
) -> Result<Vec<Found>> {
    let mut pool = Pool::new(proof, found, failures);
    // Of several splits that a file may belong to, the one that was read farthest has it.
    let at = |one: &Candidate| one.position.as_ref().map_or(0, |position| position.at);
    let mut order: Vec<_> = (0..candidates.len()).collect();
    order.retain(|number| candidates[*number].found.is_none());
    order.sort_by_key(|number| std::cmp::Reverse(at(&candidates[*number])));
    // The same file first, then the same path, then any: the order in which pairs are tried.
    let successors = pool.successors(&order, candidates);
    for number in &order {
        let file = candidates[*number].descriptor.signature.file();
        let place = pool.files.get(&file).copied();
        if let Some(successor) = place.and_then(|place| successors.get(&place)) {
            pool.give(place, &mut candidates[*successor])?;
        }
        // Numbers of files that are gone are given to new ones.
        let is_file = |place: &usize| {
            let found = pool.found[*place].as_ref();
            found.is_some_and(|found| candidates[*number].is_file(found))
        };
        let place = place.filter(is_file);
        pool.give(place, &mut candidates[*number])?;
    }
    let paths: HashMap<_, _> = pool.numbers(|found| found.path.clone());
    for number in &order {
        let candidate = &mut candidates[*number];
        pool.give(paths.get(&candidate.descriptor.path).copied(), candidate)?;
    }
    pool.give_the_rest(&order, candidates)?;
    Ok(pool.found.into_iter().flatten().collect())
}

/// Files that belong to no split yet.
struct Pool<'a> {
    found: Vec<Option<Found>>,
    /// The places of all that there were, by file system and number.
    files: HashMap<(u64, u64), usize>,
    /// When they were made.
    made_ns: Vec<Option<i64>>,
    proof: Proof,
    failures: &'a mut Failures,
}

impl<'a> Pool<'a> {
    fn new(proof: Proof, found: Vec<Found>, failures: &'a mut Failures) -> Self {
        let made_ns = found.iter().map(|found| found.made_ns).collect();
        let found = found.into_iter().map(Some).collect();
        let mut pool = Self { found, files: HashMap::new(), made_ns, proof, failures };
        pool.files = pool.numbers(|found| found.signature.file());
        pool
    }

    fn numbers<K: std::hash::Hash + Eq>(&self, key: impl Fn(&Found) -> K) -> HashMap<K, usize> {
        let numbered = self.found.iter().enumerate();
        numbered.filter_map(|(number, found)| Some((key(found.as_ref()?), number))).collect()
    }

    /// By file, the split that was read at the path that the file has now, where its own file is
    /// not there any more: while it was written under another name, the file may have been given a
    /// split of its own. Who is read as that one already goes on so.
    fn successors(&self, order: &[usize], candidates: &[Candidate]) -> HashMap<usize, usize> {
        let is_there = |one: &Candidate| {
            let place = self.files.get(&one.descriptor.signature.file());
            place.and_then(|place| self.found[*place].as_ref()).is_some_and(|it| one.is_file(it))
        };
        let mut lost = HashMap::new();
        for number in order {
            let one = &candidates[*number];
            if one.position.is_some() && !is_there(one) {
                lost.entry(one.descriptor.path.as_path()).or_insert(*number);
            }
        }
        let mut successors = HashMap::new();
        for number in order.iter().filter(|number| !candidates[**number].is_told) {
            let one = &candidates[*number];
            let Some(place) = self.files.get(&one.descriptor.signature.file()) else { continue };
            let path = self.found[*place].as_ref().map(|found| found.path.as_path());
            // One that was always called so is a log of its own.
            let path = path.filter(|path| *path != one.descriptor.path);
            let Some(other) = path.and_then(|path| lost.get(path)) else { continue };
            if candidates[*other].position > one.position {
                successors.insert(*place, *other);
            }
        }
        successors
    }

    /// Gives files to splits that are tied to them by what both begin with, or by their names:
    /// first those that have the time of the last write.
    fn give_the_rest(&mut self, order: &[usize], candidates: &mut [Candidate]) -> Result<()> {
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
        for is_handed_on in [true, false] {
            for number in order {
                let candidate = &mut candidates[*number];
                let tied = match candidate.descriptor.head.is_full() {
                    true => alike.get(&candidate.descriptor.head.sha256),
                    false => related.get(&family_of(&candidate.descriptor.path)),
                };
                let Some(tied) = tied else { continue };
                let modified_ns = candidate.modified_ns()?;
                for place in tied {
                    let found = self.found[*place].as_ref();
                    if found.is_some_and(|it| it.has_time_of(modified_ns) == is_handed_on) {
                        self.give(Some(*place), candidate)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a file to a split that has none if it holds what was read of it, and can be it.
    fn give(&mut self, number: Option<usize>, candidate: &mut Candidate) -> Result<()> {
        let Some(number) = number.filter(|_| candidate.found.is_none()) else { return Ok(()) };
        let Some(found) = &self.found[number] else { return Ok(()) };
        match self.is_one(found, candidate) {
            Ok(Some((true, alike))) => {
                self.failures.note(&found.path, alike);
                candidate.found = self.found[number].take();
                if let Some(found) = &mut candidate.found {
                    found.from.clone_from(&candidate.descriptor.from);
                }
            }
            Ok(Some((false, alike))) => self.failures.note(&found.path, alike),
            // As a new split it would be read again.
            Ok(None) => {
                self.failures.any_moved = true;
                self.found[number] = None;
            }
            Err(error) if error.kind() == ErrorKind::External => {
                self.failures.unreadable.push((found.path.clone(), error));
                self.found[number] = None;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Whether a file is that of a split, and what is said of it; none if it was moved meanwhile.
    fn is_one(
        &self,
        found: &Found,
        candidate: &Candidate,
    ) -> Result<Option<(bool, Option<Alike>)>> {
        match candidate.is_in(found)? {
            Some(true) if self.proof == Proof::History && !candidate.is_file(found) => {
                candidate.is_inherited(found, self.is_there(candidate)).map(Some)
            }
            is_in => Ok(is_in.map(|is_in| (is_in, None))),
        }
    }

    /// Whether the file that a split was last seen in is there, whatever it holds.
    fn is_there(&self, candidate: &Candidate) -> bool {
        let place = self.files.get(&candidate.descriptor.signature.file());
        place.is_some_and(|place| match candidate.descriptor.made_ns {
            None => true,
            made_ns => self.made_ns[*place] == made_ns,
        })
    }
}

impl Failures {
    /// Notes what a file holds.
    pub fn note(&mut self, path: &Path, alike: Option<Alike>) {
        self.alike.extend(alike.map(|alike| (path.to_owned(), alike)));
    }
}

impl Alike {
    /// What to say about the file.
    pub fn word(&self, path: &Path) -> String {
        let Self { what, taken } = self;
        match taken {
            Some(Evidence::Copied) => format!(
                "{path:?} holds {what}, which is gone, and is read on behind that, as rotation and \
                 compression give such names; it is certain where lines have times, or the time of \
                 the last write is handed on"
            ),
            Some(_) => format!(
                "{path:?} is another file than before, and holds {what}: it was written anew, and \
                 is read on behind that; a new log that begins with the same lines needs another \
                 name"
            ),
            None => format!(
                "{path:?} holds {what}, which is gone, and nothing shows that it is the same log: \
                 it is read as a new one; a log that is restored with its times (`cp -p`) is known"
            ),
        }
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
        .filter(|one| one.is_file(found))
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
    (!before.is_file(found) && found.is_replacement_of(&before.descriptor.head)).then(|| {
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
