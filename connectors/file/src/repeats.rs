//! Files that hold what another file holds: copies, of which one is read, and logs that only begin
//! alike, which are all read.
//!
//! Long ones are told by their bytes and, as logs may be equal, by their names (`kin`); of short
//! ones only those where one is the compressed form of the other.
//!
//! Invariant: of what is left out another file holds every byte.

use std::collections::HashMap;
use std::path::PathBuf;

use contract::discovery::Unreadable;
use contract::{Result, SplitId};

use crate::found::{Found, unreadable};
use crate::identity::Signature;
use crate::kin::{Kept, is_copy};
use crate::matching::{Candidate, Failures, family_of};
use crate::stream::{Compared, Likeness, compare};

/// With how many files of the same beginning a new one is compared to say that they are alike.
const TWINS_COMPARED_MAX: usize = 4;

/// Of how many such files each is named.
const TWINS_TOLD_MAX: usize = 8;

/// How two files compared, as often as it is asked for.
#[derive(Debug, Default)]
pub struct Comparisons(HashMap<(Signature, Signature), Compared>);

/// Files without their copies.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Those that are read, by path.
    pub kept: Vec<Found>,
    /// The others.
    pub repeats: Vec<Repeat>,
    /// Those that hold nothing but the beginning of the file of a known split.
    pub copies: Vec<(Found, SplitId)>,
    /// Whether one waits until all that it repeats is read of another one.
    pub holds_back: bool,
}

/// A file that is not read.
#[derive(Debug)]
pub struct Repeat {
    /// The file.
    pub path: PathBuf,
    whole: PathBuf,
    compared: Compared,
}

/// A file that is read although it holds what another one holds.
#[derive(Debug)]
pub struct Twin {
    /// The other one.
    pub of: PathBuf,
    /// The split of the other one, if it has one.
    pub split: Option<SplitId>,
    compared: Compared,
}

/// Which file a file is the beginning of.
enum Whole {
    /// The one with this number.
    Of(usize, Compared),
    /// None of the others.
    Itself,
    /// One of those compared was moved meanwhile: nothing can be said.
    Moved,
}

/// Known splits by the file that they were last seen in.
struct ByFile<'a>(HashMap<(u64, u64), Vec<&'a Candidate>>);

impl Comparisons {
    /// Leaves out files that hold only what another file holds from its beginning, as while a log
    /// is copied or compressed.
    pub fn without_copies(
        &mut self,
        found: Vec<Found>,
        candidates: &[Candidate],
        failures: &mut Failures,
    ) -> Sorted {
        let by_file = ByFile::new(candidates);
        let mut sorted = Sorted::default();
        // The file that is known already stays where two are equal.
        let (known, unknown): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| by_file.has(found));
        let mut kept = Kept::default();
        for mut one in known.into_iter().chain(unknown) {
            match self.whole_of(&mut one, &mut kept, &by_file, &mut sorted) {
                Ok(Whole::Itself) => kept.push(one),
                Ok(Whole::Of(number, compared)) => {
                    let (path, whole) = (one.path, kept.found[number].path.clone());
                    sorted.repeats.push(Repeat { path, whole, compared });
                }
                Ok(Whole::Moved) => failures.any_moved = true,
                Err(error) => failures.unreadable.push((one.path, error)),
            }
        }
        sorted.kept = without_packed(kept.found, &mut sorted.repeats);
        sorted.kept.sort_by(|one, other| one.path.cmp(&other.path));
        sorted
    }

    /// The file that holds all of another one, and more, which are exchanged if it is the other
    /// way round.
    fn whole_of(
        &mut self,
        one: &mut Found,
        kept: &mut Kept,
        by_file: &ByFile<'_>,
        sorted: &mut Sorted,
    ) -> Result<Whole> {
        let others = kept.kin(one);
        if others.is_empty() {
            return Ok(Whole::Itself);
        }
        let is_split = by_file.split_of(one).is_some();
        for number in others {
            let other = &kept.found[number];
            // Its reader stays on a plain file, and so does its split.
            let split = by_file.split_of(other).filter(|_| other.end().is_some());
            if is_split && split.is_some() {
                continue;
            }
            let Some(compared) = self.compare(other, one)? else { return Ok(Whole::Moved) };
            if !is_copy(other, one, &compared) {
                continue;
            }
            match (compared.likeness, split) {
                (Likeness::Different, _) => continue,
                (Likeness::FirstIsPart, Some(split)) => match &split.position {
                    Some(position) if other.is_read_to(position)? => {
                        one.from = Some(position.clone());
                        continue;
                    }
                    // What it repeats is read of the other one first.
                    _ => sorted.holds_back = true,
                },
                (Likeness::FirstIsPart, None) => kept.exchange(number, one),
                (Likeness::SecondIsPart, Some(split)) => {
                    sorted.copies.push((one.clone(), split.id.clone()));
                }
                (Likeness::SecondIsPart, None) => {}
            }
            return Ok(Whole::Of(number, compared));
        }
        Ok(Whole::Itself)
    }

    /// Says of files that nobody knows which of them hold what another one holds, or it what they
    /// hold, in their order; of each one other file.
    pub fn twins(
        &mut self,
        unknown: &[Found],
        candidates: &[Candidate],
        failures: &mut Failures,
    ) -> Vec<Option<Twin>> {
        let is_new = |found: &Found| found.beginning().is_some() && found.from.is_none();
        let mut alike: HashMap<&str, Vec<(&Found, Option<&SplitId>)>> = HashMap::new();
        for found in unknown.iter().filter(|found| is_new(found)) {
            alike.extend(found.beginning().map(|beginning| (beginning, Vec::new())));
        }
        let known = if alike.is_empty() { &[] } else { candidates };
        for candidate in known {
            let Some(found) = &candidate.found else { continue };
            let others = found.beginning().and_then(|beginning| alike.get_mut(beginning));
            if let Some(others) = others.filter(|others| others.len() < TWINS_COMPARED_MAX) {
                others.push((found, Some(&candidate.id)));
            }
        }
        let mut twins = Vec::new();
        for found in unknown {
            let others = found.beginning().and_then(|beginning| alike.get_mut(beginning));
            let Some(others) = others.filter(|_| is_new(found)) else {
                twins.push(None);
                continue;
            };
            let twin = others.iter().find_map(|(other, split)| {
                let compared = match self.compare(other, found) {
                    Ok(compared) => compared.filter(|it| it.likeness != Likeness::Different)?,
                    Err(error) => {
                        failures.unreadable.push((found.path.clone(), error));
                        return None;
                    }
                };
                Some(Twin { of: other.path.clone(), split: split.cloned(), compared })
            });
            twins.push(twin);
            if others.len() < TWINS_COMPARED_MAX {
                others.push((found, None));
            }
        }
        twins
    }

    /// How two files compare; none if one of them was moved since it was looked at.
    fn compare(&mut self, one: &Found, other: &Found) -> Result<Option<Compared>> {
        let key = (one.signature, other.signature);
        if let Some(compared) = self.0.get(&key) {
            return Ok(Some(*compared));
        }
        let (Some(first), Some(second)) = (one.open()?, other.open()?) else {
            return Ok(None);
        };
        let compared = compare(&first, &second).map_err(|error| unreadable(&other.path, &error))?;
        // What was compared while one of them grew is of no use later.
        self.0.retain(|(first, second), _| {
            !first.is_same_file(&key.0) || !second.is_same_file(&key.1)
        });
        self.0.insert(key, compared);
        Ok(Some(compared))
    }
}

impl Sorted {
    /// Files of which each one is read, whatever it holds.
    pub fn all(found: Vec<Found>) -> Self {
        Self { kept: found, ..Self::default() }
    }
}

impl<'a> ByFile<'a> {
    fn new(candidates: &'a [Candidate]) -> Self {
        let mut by_file: HashMap<_, Vec<_>> = HashMap::with_capacity(candidates.len());
        for candidate in candidates {
            by_file.entry(candidate.descriptor.signature.file()).or_default().push(candidate);
        }
        Self(by_file)
    }

    fn has(&self, found: &Found) -> bool {
        self.0.contains_key(&found.signature.file())
    }

    /// The known split whose file this is already.
    fn split_of(&self, found: &Found) -> Option<&'a Candidate> {
        let those = self.0.get(&found.signature.file()).into_iter().flatten().copied();
        let mut those = those.into_iter().filter(|one| one.is_file(found));
        those.find(|one| matches!(one.is_in(found), Ok(Some(true))))
    }
}

impl Repeat {
    /// Why it is not read, as a sentence goes on.
    pub fn reason(&self) -> String {
        let (shared, whole) = (self.compared.shared(), &self.whole);
        match self.compared.is_equal {
            true => format!("it holds the same {shared} as {whole:?}"),
            false => format!("it holds nothing but the first {shared} of {whole:?}"),
        }
    }

    /// What people are told of it.
    pub fn unreadable(&self) -> Unreadable {
        Unreadable {
            name: self.path.to_string_lossy().into_owned(),
            reason: self.reason(),
            hint: Some("if it is a log of its own, set `copies: read`".to_owned()),
            may_hold_records: false,
            again_in: None,
        }
    }
}

/// A word about each of the first files that are read although others hold the same.
pub fn words_of_twins(found: &[Found], twins: &[Option<Twin>]) -> Vec<String> {
    let told = found.iter().zip(twins).filter_map(|(found, twin)| Some(twin.as_ref()?.word(found)));
    let mut words: Vec<_> = told.collect();
    let more = words.len().saturating_sub(TWINS_TOLD_MAX);
    words.truncate(TWINS_TOLD_MAX);
    words.extend((more > 0).then(|| format!("so begin {more} more files, which are read, too")));
    words
}

impl Twin {
    fn word(&self, found: &Found) -> String {
        let (path, shared, of) = (&found.path, self.compared.shared(), &self.of);
        format!(
            "{path:?} and {of:?} begin with the same {shared}; both are read, as two logs: if one \
             is a copy, leave it out (setting `exclude`)"
        )
    }
}

/// Leaves out the compressed forms of files that are there too, as far as these are too short to
/// be told by their beginning. Of two equal ones the first stays.
fn without_packed(found: Vec<Found>, repeats: &mut Vec<Repeat>) -> Vec<Found> {
    let mut families: HashMap<(PathBuf, String), Vec<usize>> = HashMap::new();
    let mut is_copy = vec![false; found.len()];
    for (number, one) in found.iter().enumerate() {
        let others = families.entry(family_of(&one.path)).or_default();
        for other in others.iter().copied() {
            let compared = found[other].likeness_of_packed(one);
            let (copy, whole) = match compared.likeness {
                Likeness::Different => continue,
                Likeness::SecondIsPart => (number, other),
                Likeness::FirstIsPart => (other, number),
            };
            if !is_copy[copy] && !is_copy[whole] {
                is_copy[copy] = true;
                let (path, whole) = (found[copy].path.clone(), found[whole].path.clone());
                repeats.push(Repeat { path, whole, compared });
            }
        }
        others.push(number);
    }
    let mut is_copy = is_copy.into_iter();
    found.into_iter().filter(|_| !is_copy.next().unwrap_or(false)).collect()
}
