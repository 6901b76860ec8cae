//! Which files there are now, and which split each of them is.
//!
//! Blocking. Works in three steps: look at every file that the patterns name; leave out copies of
//! other files; give each file to the known split whose bytes it holds, or to a new one.
//!
//! What cannot be looked at is told beside the splits and changes nothing for them.
//!
//! Invariant: a file becomes one split, a split one file, and an id is never given twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::discovery::{Differences, Retired, Unreadable};
use contract::source::{KnownSplit, Split};
use contract::{Error, Position, Result, SplitId};

use crate::attempt::{Attempt, Restored, first_free};
use crate::config::{Included, Patterns, Repeated};
use crate::copies::Copies;
use crate::expand::expand;
use crate::found::{Found, unreadable};
use crate::graves::Graves;
use crate::identity::{Descriptor, Signature, family};
use crate::look::{Look, Looker, must_read};
use crate::matching::{
    Candidate, Failures, Proof, assign, assign_by, ids_of, warning_if_filled, warning_if_replaced,
    warning_if_truncated, warning_of_cut_off,
};
use crate::missing;
use crate::proof;
use crate::repeats::{Comparisons, Repeat, Sorted, words_of_twins};
use crate::stream::Packing;
use crate::trail;

/// Finds files and recognises them.
#[derive(Debug)]
pub struct Finder {
    included: Vec<Included>,
    looker: Looker,
    /// What becomes of files that hold what others hold.
    repeated: Repeated,
    comparisons: Comparisons,
    /// Every split that was given out. A file that an attempt found and did not commit is not lost
    /// for the next one when it was renamed meanwhile.
    given: HashMap<SplitId, Given>,
    /// What splits remembered about files of which a recorded range was not found there any more,
    /// and what they would of those that hold it.
    restored: Restored,
    /// Splits whose readers did not find what was read of them, in files that looked so.
    doubted: HashMap<SplitId, Signature>,
    /// Warnings that were given already.
    said: HashSet<String>,
    /// Whether files that are named without a pattern were found to be readable once.
    has_begun: bool,
    copies: Copies,
    rotate_wait: Duration,
}

/// Where the file of one split is.
#[derive(Debug)]
pub struct Whereabouts {
    /// Who finds it.
    pub finder: Arc<Mutex<Finder>>,
    /// The split.
    pub split: Split,
}

impl Whereabouts {
    /// A reader did not find what was read of the split, in a file that looks so.
    pub fn doubt(&self, signature: Signature) {
        locked(&self.finder).doubted.insert(self.split.id.clone(), signature);
    }

    /// Whether some file certainly holds what was read up to a position.
    pub fn hold(&self, position: Position) -> bool {
        let known = KnownSplit { split: self.split.clone(), position: Some(position) };
        locked(&self.finder).locate(&known).is_ok_and(|found| found.is_some())
    }
}

/// Who finds files, whatever became of who had it before.
pub fn locked(finder: &Mutex<Finder>) -> MutexGuard<'_, Finder> {
    finder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A split that was given out, as it was the last time.
#[derive(Debug)]
struct Given {
    descriptor: Arc<Descriptor>,
    /// Whether NULs at its beginning stood there when something behind them had been read.
    began_with_nuls: bool,
}

/// What the patterns name now.
#[derive(Debug, Default)]
struct Named {
    found: Vec<Found>,
    warnings: Vec<String>,
    unreadable: BTreeMap<String, Unreadable>,
}

impl Finder {
    /// Has seen nothing yet; for how long a short copy of a log waits.
    pub fn new(patterns: Patterns, packing: Packing, rotate_wait: Duration) -> Self {
        Self {
            included: patterns.included,
            looker: Looker::new(patterns.excluded, packing),
            repeated: patterns.repeated,
            comparisons: Comparisons::default(),
            given: HashMap::new(),
            restored: HashMap::new(),
            doubted: HashMap::new(),
            said: HashSet::new(),
            has_begun: false,
            copies: Copies::new(rotate_wait),
            rotate_wait,
        }
    }

    /// Says what changed of the splits since an attempt was told of them, and what should be one
    /// and cannot be read. A call that fails changes nothing.
    ///
    /// # Errors
    /// The first time, of a file that is named without a pattern: Config: it is not there, and
    /// nothing was ever read of it. External: it cannot be read. Bug: a known split is not ours.
    pub fn discover(&mut self, attempt: &mut Attempt) -> Result<Differences> {
        attempt.forget_files();
        let said = self.look(attempt);
        attempt.forget_files();
        said
    }

    /// An attempt that knows what a checkpoint knows, and what was given out since.
    ///
    /// # Errors
    /// Bug: a split is not ours.
    pub fn begin(&self, known: &[KnownSplit]) -> Result<Attempt> {
        let mut attempt = Attempt::new(known)?;
        let since = self.given.iter().filter(|(id, _)| !attempt.has(id));
        let since = since.map(|(id, given)| (id.clone(), None, given.descriptor.clone()));
        let since = since.map(|(id, position, of)| Candidate::new(id, position, of)).collect();
        attempt.add(since);
        attempt.restore(&self.restored);
        Ok(attempt)
    }

    /// Lets an attempt, and all later ones, forget splits that retired.
    pub fn bury(&mut self, attempt: &mut Attempt, retired: Vec<Retired>) {
        if !retired.is_empty() {
            attempt.bury(retired);
            self.given.retain(|id, _| !attempt.graves.has(id));
        }
    }

    fn look(&mut self, attempt: &mut Attempt) -> Result<Differences> {
        self.looker.begin();
        let missing = match self.has_begun {
            true => Vec::new(),
            false => missing::told(&self.included, &attempt.candidates, &attempt.graves)?,
        };
        let mut named = self.find()?;
        named.warnings.extend(missing);
        let mut failures = Failures::default();
        let found = std::mem::take(&mut named.found);
        self.copies.retain(&found);
        let candidates = attempt.candidates.as_mut_slice();
        self.look_closely(candidates);
        let Sorted { kept, repeats, copies, holds_back } = match self.repeated {
            Repeated::PassOver => self.comparisons.without_copies(found, candidates, &mut failures),
            Repeated::Read => Sorted::all(found),
        };
        repeats.iter().for_each(|repeat| named.add(repeat.unreadable()));
        copies.into_iter().for_each(|(copy, split)| self.copies.note(&copy, split));
        let unknown = assign(kept, candidates, &mut failures)?;
        let mut unknown = self.copies.give(unknown, candidates, &mut failures)?;
        let of_rotated = self.find_rotated(&unknown, candidates)?;
        failures.any_moved |= of_rotated.any_moved;
        failures.alike.extend(of_rotated.alike);
        named.warnings.extend(doubtful(candidates, &attempt.graves, &mut failures)?);
        attempt.graves.pass_over(&mut unknown, &mut failures);
        let again_in = match self.repeated {
            Repeated::PassOver => {
                let known = (&*candidates, &attempt.graves);
                self.wait_for_copies(&mut unknown, known, &mut named, &mut failures)?
            }
            Repeated::Read => None,
        };
        let new = new_splits(unknown, attempt, &mut named.warnings)?;
        let is_new = |path: &Path| {
            let new = new.iter().filter_map(|one| one.found.as_ref());
            new.into_iter().any(|found| found.path == path && found.from.is_none())
        };
        let alike = failures.alike.iter().filter(|(path, one)| one.taken.is_some() || is_new(path));
        named.warnings.extend(alike.map(|(path, one)| one.word(path)));
        let is_readable = named.unreadable.values().all(|one| !one.may_hold_records);
        let is_whole = is_readable && !failures.any_moved && failures.unreadable.is_empty();
        attempt.add(new);
        let found = self.tell(attempt, &mut named.warnings);
        for (path, error) in failures.unreadable {
            named.add(of_failure(&path, &error));
        }
        named.warnings.retain(|warning| self.said.insert(warning.clone()));
        self.has_begun = true;
        let unreadable = named.unreadable.into_values();
        let unreadable = unreadable.map(|one| named_as_split(one, &attempt.candidates)).collect();
        let (gone, finished) = match is_whole {
            true => (attempt.take_gone(), attempt.take_finished(self.rotate_wait)?),
            false => (Vec::new(), Vec::new()),
        };
        Ok(Differences {
            found,
            gone,
            finished,
            warnings: named.warnings,
            unreadable,
            ask_again: holds_back || failures.any_moved,
            again_in,
            assigned: None,
        })
    }

    /// Has the bytes of files compared that look as they did and were rewritten all the same.
    fn look_closely(&self, candidates: &mut [Candidate]) {
        for (id, signature) in &self.doubted {
            let place = candidates.binary_search_by(|one| one.id.cmp(id));
            let Some(candidate) = place.ok().map(|place| &mut candidates[place]) else { continue };
            if candidate.descriptor.signature == *signature && candidate.descriptor.is_settled {
                let descriptor =
                    Descriptor { is_settled: false, ..(*candidate.descriptor).clone() };
                candidate.descriptor = descriptor.into();
            }
        }
    }

    /// Takes out of the files that nobody knows those that may turn out to be copies; returns after
    /// how long there may be more.
    fn wait_for_copies(
        &mut self,
        unknown: &mut Vec<Found>,
        (candidates, graves): (&[Candidate], &Graves),
        named: &mut Named,
        failures: &mut Failures,
    ) -> Result<Option<Duration>> {
        named.warnings.extend(trail::pass_over_copies(unknown, candidates, failures)?);
        let mut waiting = self.copies.hold(unknown, candidates);
        let may_become = |found: &Found| -> Result<bool> {
            let gone = candidates.iter().filter(|one| one.found.is_none());
            for one in gone {
                if one.may_become(found)? {
                    return Ok(true);
                }
            }
            Ok(graves.may_become(found))
        };
        self.copies.hold_unfinished(unknown, may_become, &mut waiting)?;
        let twins = self.comparisons.twins(unknown, candidates, failures);
        self.copies.hold_twins(unknown, twins, &mut waiting);
        named.warnings.append(&mut waiting.warnings);
        Ok(waiting.again_in)
    }

    /// The splits that are there and were not told of as they are.
    fn tell(&mut self, attempt: &mut Attempt, warnings: &mut Vec<String>) -> Vec<Split> {
        let mut told = Vec::new();
        for candidate in &mut attempt.candidates {
            let Some(found) = candidate.found.take() else { continue };
            told.extend(candidate.news(&found));
            let is_behind = candidate.position.as_ref().is_some_and(|it| it.at > 0);
            let began_with_nuls = is_behind && candidate.descriptor.head.length == 0;
            let descriptor = candidate.descriptor.clone();
            let given = Given { descriptor, began_with_nuls };
            let before = match self.given.get_mut(&candidate.id) {
                Some(before) => Some(std::mem::replace(before, given)),
                None => self.given.insert(candidate.id.clone(), given),
            };
            if before.is_some_and(|before| before.began_with_nuls) {
                warnings.extend(warning_if_filled(&found));
            }
            candidate.found = Some(found);
        }
        told
    }

    /// Which of some files a source that names all of them would read, and which it would leave
    /// out, a sentence each. What is no file, or cannot be read, is among the former.
    pub fn without_repeated(&mut self, paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<String>) {
        self.looker.begin();
        let (mut files, mut found, mut is_kept) = (HashMap::new(), Vec::new(), Vec::new());
        for (number, path) in paths.iter().enumerate() {
            let Look::File(file) = self.looker.look(path) else {
                is_kept.push(true);
                continue;
            };
            // Of two names of one file the first is its name.
            let is_first = !files.contains_key(&file.signature.file());
            if is_first {
                files.insert(file.signature.file(), number);
                found.push(*file);
            }
            is_kept.push(false);
        }
        let mut failures = Failures::default();
        let Sorted { kept, repeats, .. } =
            self.comparisons.without_copies(found, &[], &mut failures);
        let twins = self.comparisons.twins(&kept, &[], &mut failures);
        let left_out = |it: &Repeat| format!("{:?} is left out: {}", it.path, it.reason());
        let mut warnings: Vec<_> = repeats.iter().map(left_out).collect();
        warnings.extend(words_of_twins(&kept, &twins));
        // What cannot be compared is read, and says then why it cannot.
        for path in failures.unreadable.into_iter().map(|(path, _)| path) {
            is_kept
                .iter_mut()
                .zip(&paths)
                .filter(|(_, it)| **it == path)
                .for_each(|it| *it.0 = true);
        }
        for number in kept.iter().filter_map(|file| files.get(&file.signature.file())) {
            is_kept[*number] = true;
        }
        let mut is_kept = is_kept.into_iter();
        let kept = paths.into_iter().filter(|_| is_kept.next().unwrap_or(true)).collect();
        (kept, warnings)
    }

    /// Finds the file of one split again, wherever it is now.
    ///
    /// # Errors
    /// External: the file cannot be read. Bug: the split is not ours.
    pub fn locate(&mut self, known: &KnownSplit) -> Result<Option<Found>> {
        let candidate = self.candidate(known)?;
        self.locate_candidate(candidate, Proof::History)
    }

    /// Finds the file of one split that holds what was read of it up to a place. Where none does,
    /// the one that holds what stands before its position: a new log may begin as an old one did.
    ///
    /// # Errors
    /// As for [`Self::locate`].
    pub fn locate_up_to(&mut self, known: &KnownSplit, place: &Position) -> Result<Option<Found>> {
        let whole = KnownSplit { split: known.split.clone(), position: Some(place.clone()) };
        for (known, proof) in [
            (&whole, Proof::History),
            (&whole, Proof::Bytes),
            (known, Proof::History),
            (known, Proof::Bytes),
        ] {
            let candidate = self.candidate(known)?;
            if let Some(found) = self.locate_candidate(candidate.anew(), proof)? {
                self.note_restored(&candidate, &found);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A file that a recorded range is read from is that of its split, unless it has one.
    pub fn note_restored(&mut self, candidate: &Candidate, found: &Found) {
        if !candidate.is_file(found) {
            let now = Descriptor { is_settled: false, ..found.descriptor() };
            let before = candidate.descriptor.clone();
            self.restored.insert(candidate.id.clone(), (before, now.into()));
        }
    }

    /// The same of a split and the position that it has.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn locate_candidate(
        &mut self,
        candidate: Candidate,
        proof: Proof,
    ) -> Result<Option<Found>> {
        let mut candidates = [candidate];
        let there = must_read(self.looker.look(&candidates[0].descriptor.path.clone()));
        let mut failures = Failures::default();
        assign_by(proof, there?.into_iter().collect(), &mut candidates, &mut failures)?;
        if candidates[0].found.is_none() && failures.unreadable.is_empty() {
            let found = self.find()?.found;
            let unknown = assign_by(proof, found, &mut candidates, &mut failures)?;
            self.find_rotated(&unknown, &mut candidates)?;
        }
        let [candidate] = candidates;
        match (candidate.found, failures.unreadable.pop()) {
            (None, Some((_, error))) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// A split as the newest listing knows it.
    ///
    /// # Errors
    /// Bug: the split is not ours.
    pub fn candidate(&self, known: &KnownSplit) -> Result<Candidate> {
        let descriptor = match self.given.get(&known.split.id) {
            Some(given) => given.descriptor.clone(),
            None => Arc::new(Descriptor::of(known)?),
        };
        Ok(Candidate::new(known.split.id.clone(), known.position.clone(), descriptor))
    }

    /// Looks at all files that the patterns name.
    fn find(&mut self) -> Result<Named> {
        let mut named = Named::default();
        let mut files = HashSet::new();
        for included in &self.included {
            let paths = match included {
                Included::File { path, .. } => vec![path.clone()],
                Included::Glob(pattern) => {
                    let expanded = expand(pattern)?;
                    if expanded.paths.is_empty() && expanded.unreadable.is_empty() {
                        named.warnings.push(matches_nothing(pattern));
                    }
                    for (folder, error) in expanded.unreadable {
                        named.add(of_failure(&folder, &unreadable(&folder, &error)));
                    }
                    expanded.paths
                }
            };
            for path in paths {
                let look = self.looker.look(&path);
                if let (Included::File { place, .. }, Look::Refused(refused), false) =
                    (included, &look, self.has_begun)
                {
                    return Err(refused.error.to_error().at(place));
                }
                named.take(&path, look, &mut files);
            }
        }
        named.found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(named)
    }

    /// Looks for the files of splits that no pattern names any more because they were rotated:
    /// what was not read of them must not be lost. Returns which could not be compared, and what is
    /// said of others.
    fn find_rotated(
        &mut self,
        unknown: &[Found],
        candidates: &mut [Candidate],
    ) -> Result<Failures> {
        let with_file = candidates.iter().filter_map(|candidate| candidate.found.as_ref());
        let mut taken: HashSet<_> =
            unknown.iter().chain(with_file).map(|found| found.signature.file()).collect();
        let mut families: HashMap<PathBuf, HashSet<String>> = HashMap::new();
        for candidate in candidates.iter().filter(|candidate| candidate.found.is_none()) {
            let path = &candidate.descriptor.path;
            let folder = path.parent().unwrap_or(Path::new("/"));
            families.entry(folder.to_owned()).or_default().insert(family(path).to_owned());
        }
        let mut found = Vec::new();
        for (folder, names) in families {
            let Ok(entries) = folder.read_dir() else { continue };
            let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
            for path in paths.filter(|path| names.contains(family(path))) {
                let Look::File(one) = self.looker.look(&path) else { continue };
                if taken.insert(one.signature.file()) {
                    found.push(*one);
                }
            }
        }
        found.sort_by(|one: &Found, other| one.path.cmp(&other.path));
        let mut failures = Failures::default();
        assign(found, candidates, &mut failures)?;
        Ok(failures)
    }
}

/// A word about each file that is taken for that of a split of which less was read than of a file
/// that is gone, and that it may be as well.
fn doubtful(
    candidates: &[Candidate],
    graves: &Graves,
    failures: &mut Failures,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for candidate in candidates {
        let (Some(found), Some(position)) = (&candidate.found, &candidate.position) else {
            continue;
        };
        if graves.is_empty() || candidate.is_file(found) {
            continue;
        }
        let (path, id, at) = (&found.path, &candidate.id, position.at);
        match graves.hold_beyond(found, at) {
            Ok(None) => {}
            Ok(Some(to)) => warnings.push(format!(
                "{path:?} is taken for what was read of \"{id}\" up to byte {at}, and holds what \
                 was read of another file up to byte {to}, too: what stands between both may be \
                 read again"
            )),
            Err(error) => failures.unreadable.push((path.clone(), error)),
        }
    }
    Ok(warnings)
}

/// A word about a file whose beginning was read of another one.
fn warning_if_repeated(found: &Found) -> Option<String> {
    let (path, from) = (&found.path, found.from.as_ref()?);
    Some(match found.end() == Some(from.at) {
        true => format!("{path:?} holds nothing but what was read of another file; not read"),
        false => {
            format!(
                "{path:?} begins with what was read of another file; read from byte {} on",
                from.at
            )
        }
    })
}

/// Files that nobody knows as new splits, with a word about those that took the place of others.
fn new_splits(
    unknown: Vec<Found>,
    attempt: &Attempt,
    warnings: &mut Vec<String>,
) -> Result<Vec<Candidate>> {
    let (mut new, mut ids) = (Vec::new(), HashSet::new());
    for mut found in unknown {
        let candidates = &attempt.candidates;
        if let Some(at) = proof::goes_on(&found, candidates)? {
            warnings.push(warning_of_cut_off(&found, &at));
            found.from = Some(at);
        } else {
            warnings.extend(warning_if_truncated(&found, candidates));
            warnings.extend(warning_if_replaced(&found, candidates));
            warnings.extend(warning_if_repeated(&found));
        }
        let id = first_free(ids_of(&found.path), attempt, &ids);
        ids.insert(id.clone());
        let mut candidate = Candidate::new(id, None, found.descriptor().into());
        candidate.found = Some(found);
        new.push(candidate);
    }
    Ok(new)
}

impl Named {
    fn take(&mut self, path: &Path, look: Look, files: &mut HashSet<(u64, u64)>) {
        match look {
            Look::Nothing => {}
            Look::File(found) => {
                if files.insert(found.signature.file()) {
                    self.found.push(*found);
                }
            }
            Look::Refused(refused) => self.add(refused.unreadable()),
            Look::PassedOver(what) => self.add(Unreadable {
                name: path.to_string_lossy().into_owned(),
                reason: format!("it is {what}"),
                hint: None,
                may_hold_records: false,
                again_in: None,
            }),
        }
    }

    fn add(&mut self, unreadable: Unreadable) {
        self.unreadable.insert(unreadable.name.clone(), unreadable);
    }
}

fn of_failure(path: &Path, error: &Error) -> Unreadable {
    Unreadable {
        name: path.to_string_lossy().into_owned(),
        reason: error.chain(),
        hint: error.hint_text().map(str::to_owned),
        may_hold_records: true,
        again_in: None,
    }
}

/// A file of a known split is called as the split is.
fn named_as_split(unreadable: Unreadable, candidates: &[Candidate]) -> Unreadable {
    let path = Path::new(&unreadable.name);
    let lost = candidates.iter().filter(|one| one.found.is_none());
    let newest = lost
        .filter(|one| one.descriptor.path == path)
        .max_by_key(|one| one.descriptor.signature.modified_ns);
    match newest {
        Some(candidate) => Unreadable { name: candidate.id.to_string(), ..unreadable },
        None => unreadable,
    }
}

fn matches_nothing(pattern: &str) -> String {
    let brackets = match pattern.contains('[') {
        true => "; a bracket that stands in a name is written `[[]`",
        false => "",
    };
    format!("pattern {pattern:?} matches no file yet{brackets}")
}
