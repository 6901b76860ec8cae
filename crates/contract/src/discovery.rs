//! What a source says of its splits while an attempt lasts: first all that there are, then what
//! changed.
//!
//! Whoever has many splits finds out itself what changed. One that has few lists all of them at
//! each look ([`Lists`]), and is compared with what it listed before ([`ByListing`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::record::split_seed;
use crate::source::{KnownSplit, Source, Split};
use crate::{Position, Result, SplitId};

/// Splits that are committed further than before, each up to this position.
pub type Moved = HashMap<SplitId, Position>;

/// Finds the splits of a source during one attempt.
#[async_trait]
pub trait Discoverer: Send {
    /// Looks at what there is: the first time all splits are new, later the answer holds what
    /// changed since the one before. Called again and again, never twice at once; dropped in the
    /// middle of a call when the attempt ends.
    ///
    /// `moved` says how far splits were committed since the last call. A call that fails has heard
    /// it all the same, and changes nothing else: what changed since stands in the next answer.
    ///
    /// # Errors
    /// Config stops the run; a retryable External is tried again with back-off.
    async fn look(&mut self, moved: Moved) -> Result<Differences>;

    /// Hears which splits retired: before the first look all that are remembered, later each once
    /// it is committed. None of them is known any more; whatever it was comes as a new split under
    /// another id, which begins behind what was read. Not called while it looks; no I/O.
    fn hear_retired(&mut self, _retired: Vec<Retired>) {}
}

/// The most bytes that a source may leave of a split.
pub const TOMBSTONE_BYTES_MAX: usize = 64;

/// What a source knows a split by that is gone, at most [`TOMBSTONE_BYTES_MAX`]: the same bytes
/// under whatever name are not read again.
pub type Tombstone = Vec<u8>;

/// A split that is gone and that its source need not know any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The split.
    pub id: SplitId,
    /// How far it is committed, as far as its source heard: the tombstone speaks of that alone.
    pub at: Option<Position>,
    /// What is left of it.
    pub tombstone: Tombstone,
}

/// A split that retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retired {
    /// What it was called.
    pub name: NameSum,
    /// What is left of it, as long as that is kept.
    pub tombstone: Option<Tombstone>,
}

/// The sum of the id of a split: it is remembered for ever, so that no id is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameSum(pub u64);

impl NameSum {
    /// That of an id.
    pub fn of(id: &SplitId) -> Self {
        let sum = split_seed(id.as_str());
        Self((sum ^ sum >> 64) as u64)
    }
}

/// What changed since the last look.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    /// Splits that are new, have another descriptor, or are there again; the first time all that
    /// are there. Known ones come under their old ids, new ones under new ids.
    pub found: Vec<Split>,
    /// Splits that were there, or are known, and are not there, each once. None where what is
    /// there could not all be seen.
    pub gone: Vec<Gone>,
    /// Splits that are gone and may retire. Said again only of those that are committed further
    /// since.
    pub finished: Vec<Finished>,
    /// Those that this process may read now, where a group divides them among several; none where
    /// it may read all.
    pub assigned: Option<Vec<SplitId>>,
    /// What a person should know (a truncated file, a glob without a match), one sentence each.
    pub warnings: Vec<String>,
    /// What the settings name and gives no split now; the same again each time, as long as it is
    /// so. The runtime goes on with the splits, names each once, and shows all of them.
    pub unreadable: Vec<Unreadable>,
    /// Whether something is left out now that may be a split once what was read is committed: a run
    /// with an end looks again then.
    pub ask_again: bool,
    /// After how long something that is left out now may be a split, whatever is committed: a run
    /// with an end waits so long and looks again.
    pub again_in: Option<Duration>,
}

/// A split that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The split.
    pub id: SplitId,
    /// The position behind all that was seen in it, where that is known. The runtime warns if
    /// nobody reads it and it reached beyond its position.
    pub end: Option<i64>,
}

/// Something that the settings of a source name and that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What people call it (a path); the id of a split if it ever was one.
    pub name: String,
    /// A sentence without a full stop: what was tried and what came of it.
    pub reason: String,
    /// The way out; none where nobody has to do anything.
    pub hint: Option<String>,
    /// Whether records may stand there, so that a run with an end is not complete without them;
    /// else it is passed over (a pipe, a device, a link that leads nowhere).
    pub may_hold_records: bool,
    /// When the source looks at it again, if nothing about it changes before.
    pub again_in: Option<Duration>,
}

/// All splits of a source at one time; what is not explained here is as in [`Differences`].
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The splits that exist now: known ones under their old ids, new ones under new ids.
    pub splits: Vec<Split>,
    /// Those of them that this process may read now.
    pub assigned: Option<Vec<SplitId>>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// What the settings name and gives no split now.
    pub unreadable: Vec<Unreadable>,
    /// Whether splits may be missing here that are there, beside what is unreadable.
    pub is_partial: bool,
    /// Whether there may be more once what was read is committed.
    pub ask_again: bool,
    /// After how long there may be more.
    pub again_in: Option<Duration>,
}

impl Listing {
    /// Nothing but these splits.
    pub fn of(splits: impl IntoIterator<Item = Split>) -> Self {
        Self { splits: splits.into_iter().collect(), ..Self::default() }
    }

    /// Whether a split that is not in it is not there.
    pub fn is_whole(&self) -> bool {
        !self.is_partial && self.unreadable.iter().all(|one| !one.may_hold_records)
    }
}

/// Lists all splits of a source once: the first answer of a discoverer that is dropped then.
///
/// # Errors
/// As for [`Discoverer::look`].
pub async fn list(source: &dyn Source, known: Option<&[KnownSplit]>) -> Result<Listing> {
    let known = known.map(<[KnownSplit]>::to_vec);
    let first = source.discover(known).look(Moved::new()).await?;
    let Differences { found: splits, assigned, warnings, unreadable, .. } = first;
    let (ask_again, again_in) = (first.ask_again, first.again_in);
    let is_partial = false;
    Ok(Listing { splits, assigned, warnings, unreadable, is_partial, ask_again, again_in })
}

/// Lists all splits of a source whenever it is asked.
#[async_trait]
pub trait Lists: Send + Sync {
    /// The splits that exist now. `known` are those that were found before, with the positions up
    /// to which they are committed; none where nobody ever looked.
    ///
    /// # Errors
    /// As for [`Discoverer::look`].
    async fn list(&self, known: Option<&Known>) -> Result<Listing>;
}

/// Splits that were found before, for whoever looks in a thread of its own.
pub type Known = Arc<Vec<KnownSplit>>;

/// A source whose splits never change.
#[async_trait]
impl Lists for Listing {
    async fn list(&self, _known: Option<&Known>) -> Result<Listing> {
        Ok(self.clone())
    }
}

/// The discoverer of a source that lists all of its splits at each look.
pub struct ByListing<L> {
    lists: L,
    compared: Comparison,
    /// Whether somebody looked before.
    has_begun: bool,
}

impl<L: Lists> ByListing<L> {
    /// Knows what a checkpoint knows.
    pub fn new(lists: L, known: Option<Vec<KnownSplit>>) -> Self {
        let has_begun = known.is_some();
        Self { lists, compared: Comparison::new(known.unwrap_or_default()), has_begun }
    }
}

#[async_trait]
impl<L: Lists> Discoverer for ByListing<L> {
    async fn look(&mut self, moved: Moved) -> Result<Differences> {
        self.compared.hear(moved);
        let known = self.has_begun.then_some(self.compared.known());
        let listing = self.lists.list(known).await?;
        self.has_begun = true;
        Ok(self.compared.take(listing))
    }
}

/// Listings of a source, each compared with the one before.
pub struct Comparison {
    known: Known,
    /// By id, where a split stands in `known`.
    places: HashMap<SplitId, usize>,
    /// By place, whether the split was listed the last time; none for those that were not listed
    /// yet.
    is_there: Vec<Option<bool>>,
}

impl Comparison {
    /// With what a checkpoint knows; nothing was listed yet.
    pub fn new(known: Vec<KnownSplit>) -> Self {
        let places = known.iter().enumerate();
        let places = places.map(|(place, known)| (known.split.id.clone(), place)).collect();
        let is_there = vec![None; known.len()];
        Self { known: Arc::new(known), places, is_there }
    }

    /// All that is known, as it was listed last.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Notes how far splits are committed.
    pub fn hear(&mut self, moved: Moved) {
        if moved.is_empty() {
            return;
        }
        // Nobody holds it between two looks.
        let known = Arc::make_mut(&mut self.known);
        for (split, position) in moved {
            if let Some(place) = self.places.get(&split) {
                known[*place].position = Some(position);
            }
        }
    }

    /// What is other than the last time.
    pub fn take(&mut self, listing: Listing) -> Differences {
        let is_whole = listing.is_whole();
        let Listing { splits, assigned, warnings, unreadable, ask_again, again_in, .. } = listing;
        let known = Arc::make_mut(&mut self.known);
        let mut found = Vec::new();
        let mut is_listed = vec![false; known.len()];
        for split in splits {
            let Some(place) = self.places.get(&split.id).copied() else {
                self.places.insert(split.id.clone(), known.len());
                known.push(KnownSplit { split: split.clone(), position: None });
                self.is_there.push(Some(true));
                found.push(split);
                continue;
            };
            if let Some(is_listed) = is_listed.get_mut(place) {
                *is_listed = true;
            }
            let was_there = self.is_there[place].replace(true) == Some(true);
            let before = &mut known[place].split;
            if !was_there || before.descriptor != split.descriptor {
                before.clone_from(&split);
                found.push(split);
            }
        }
        let mut gone = Vec::new();
        for ((is_there, known), is_listed) in self.is_there.iter_mut().zip(known).zip(is_listed) {
            if is_whole && !is_listed && *is_there != Some(false) {
                *is_there = Some(false);
                gone.push(Gone { id: known.split.id.clone(), end: None });
            }
        }
        let finished = Vec::new();
        Differences { found, gone, finished, assigned, warnings, unreadable, ask_again, again_in }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Error;

    /// Answers what a test wants, and notes what it was told.
    struct Said<'a> {
        answers: Mutex<Vec<Result<Listing>>>,
        positions: &'a Mutex<Vec<Vec<Option<i64>>>>,
    }

    #[async_trait]
    impl Lists for Said<'_> {
        async fn list(&self, known: Option<&Known>) -> Result<Listing> {
            let known = known.into_iter().flat_map(|known| known.iter());
            let positions = known.map(|known| known.position.as_ref().map(|one| one.at));
            self.positions.lock().expect("not poisoned").push(positions.collect());
            self.answers.lock().expect("not poisoned").pop().expect("an answer")
        }
    }

    fn split(id: &str, size: u64) -> Split {
        Split { id: SplitId::new(id), descriptor: size.into() }
    }

    fn listing(splits: &[(&str, u64)]) -> Listing {
        Listing::of(splits.iter().map(|(id, size)| split(id, *size)))
    }

    fn partial(splits: &[(&str, u64)]) -> Listing {
        let unreadable = Unreadable {
            name: "folder".to_owned(),
            reason: "no permission".to_owned(),
            hint: None,
            may_hold_records: true,
            again_in: None,
        };
        Listing { unreadable: vec![unreadable], ..listing(splits) }
    }

    fn said<'a>(
        answers: Vec<Result<Listing>>,
        positions: &'a Mutex<Vec<Vec<Option<i64>>>>,
        known: &[(&str, u64)],
    ) -> ByListing<Said<'a>> {
        let known = known.iter().map(|(id, size)| split(id, *size));
        let known = known.map(|split| KnownSplit { split, position: None });
        let answers = Mutex::new(answers.into_iter().rev().collect());
        ByListing::new(Said { answers, positions }, Some(known.collect()))
    }

    #[tokio::test]
    async fn what_changed_is_said_once() {
        let answers = vec![
            Ok(listing(&[("a", 1), ("b", 1)])),
            Ok(listing(&[("a", 1), ("b", 1)])),
            Ok(listing(&[("a", 2), ("b", 1), ("c", 1)])),
            Err(Error::transient("no answer")),
            Ok(partial(&[("a", 2)])),
            Ok(listing(&[("a", 2)])),
            Ok(listing(&[("a", 2)])),
            Ok(listing(&[("a", 2), ("b", 1)])),
        ];
        let positions = Mutex::default();
        let mut discoverer = said(answers, &positions, &[("a", 1), ("old", 1)]);
        let expect: [Option<(&[&str], &[&str])>; 8] = [
            Some((&["a", "b"], &["old"])),
            Some((&[], &[])),
            Some((&["a", "c"], &[])),
            None,
            Some((&[], &[])),
            Some((&[], &["b", "c"])),
            Some((&[], &[])),
            Some((&["b"], &[])),
        ];
        for (number, expect) in expect.into_iter().enumerate() {
            let said = discoverer.look(Moved::new()).await.ok();
            let said = said.as_ref().map(|said| {
                let found: Vec<_> = said.found.iter().map(|split| split.id.as_str()).collect();
                let gone: Vec<_> = said.gone.iter().map(|gone| gone.id.as_str()).collect();
                (found, gone)
            });
            let expect = expect.map(|(found, gone)| (found.to_vec(), gone.to_vec()));
            assert_eq!(said, expect, "answer {number}");
        }
    }

    #[tokio::test]
    async fn a_position_that_moved_is_heard_even_where_the_call_fails() {
        let positions = Mutex::default();
        let answers = vec![Err(Error::transient("no answer")), Ok(listing(&[("a", 1)]))];
        let mut discoverer = said(answers, &positions, &[("a", 1)]);
        let moved = Moved::from([(SplitId::new("a"), Position::new(7))]);
        assert!(discoverer.look(moved).await.is_err());
        discoverer.look(Moved::new()).await.expect("it answers");
        assert_eq!(*positions.lock().expect("not poisoned"), [[Some(7)], [Some(7)]]);
    }
}
