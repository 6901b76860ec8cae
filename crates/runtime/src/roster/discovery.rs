//! Finds out which splits there are: each source is asked in a task of its own, and its answer
//! compared there with the one before. The coordinator gets what changed.
//!
//! The first answer of an attempt has all splits, later ones those that are new, changed, came back
//! or are not there any more. A source that does not answer keeps no other back, and no barrier.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use contract::source::{Discovery, Gone, KnownSplit, Source, Split, Unreadable};
use contract::{Error, Position, Result, SplitId};
use state::Roster;
use tokio::task::JoinSet;

use crate::graph::SourceNode;

/// What a source said, compared with what it had said before.
#[derive(Debug, Default)]
pub struct Differences {
    /// Splits that were not known in this attempt, have another descriptor, or are there again.
    pub found: Vec<Split>,
    /// Splits that were there and are not, if the listing was whole.
    pub absent: Vec<SplitId>,
    /// Those of them of which the source knows how far they reached.
    pub gone: Vec<Gone>,
    /// What is named and gives no split now, all of it.
    pub unreadable: Vec<Unreadable>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Whether there may be more once what was read is committed.
    pub ask_again: bool,
    /// After how long there may be more.
    pub again_in: Option<Duration>,
}

/// The sources of an attempt.
#[derive(Default)]
pub struct Discoverers {
    /// Those that are not asked now, by number.
    idle: BTreeMap<usize, Discoverer>,
    /// Positions that moved since a source was asked, by its number and by split.
    moved: HashMap<usize, HashMap<SplitId, Position>>,
    asked: JoinSet<(Discoverer, Result<Differences>)>,
}

impl Discoverers {
    /// A source came.
    pub fn add(&mut self, discoverer: Discoverer) {
        self.idle.insert(discoverer.number, discoverer);
    }

    /// A split of a source is committed up to a position.
    pub fn moved(&mut self, source: usize, split: SplitId, position: Position) {
        self.moved.entry(source).or_default().insert(split, position);
    }

    /// Asks all sources that are not being asked.
    pub fn ask(&mut self) {
        for (number, mut discoverer) in std::mem::take(&mut self.idle) {
            let moved = self.moved.remove(&number).unwrap_or_default();
            self.asked.spawn(async move {
                discoverer.hear(moved);
                let found = discoverer.look().await;
                (discoverer, found)
            });
        }
    }

    /// Whether any source is being asked.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Waits for the next answer, with the number of its source; for ever while none is asked.
    /// Cancel safe.
    ///
    /// # Errors
    /// Bug: a source panicked.
    pub async fn answer(&mut self) -> Result<(usize, Result<Differences>)> {
        let Some(answer) = self.asked.join_next().await else {
            return std::future::pending().await;
        };
        let (discoverer, found) = answer
            .map_err(|error| Error::bug("a task that looks for splits failed").because(error))?;
        let number = discoverer.number;
        self.idle.insert(number, discoverer);
        Ok((number, found))
    }
}

/// Asks one source, and remembers what it said.
pub struct Discoverer {
    number: usize,
    source: Arc<dyn Source>,
    known: Vec<KnownSplit>,
    /// By id, where a split stands in `known`.
    places: HashMap<SplitId, usize>,
    /// By place, whether the source listed the split the last time; none for those that it did not
    /// list in this attempt.
    is_there: Vec<Option<bool>>,
}

impl Discoverer {
    /// Knows what a checkpoint knows of a source.
    pub fn new(number: usize, node: &SourceNode, roster: &Roster) -> Self {
        Self::of(number, node.source.clone(), roster.known(&node.name))
    }

    fn of(number: usize, source: Arc<dyn Source>, known: Vec<KnownSplit>) -> Self {
        let places = known.iter().enumerate();
        let places = places.map(|(place, known)| (known.split.id.clone(), place)).collect();
        let is_there = vec![None; known.len()];
        Self { number, source, known, places, is_there }
    }

    fn hear(&mut self, moved: HashMap<SplitId, Position>) {
        for (split, position) in moved {
            if let Some(place) = self.places.get(&split) {
                self.known[*place].position = Some(position);
            }
        }
    }

    /// What changed since the last look. One that fails changes nothing.
    ///
    /// # Errors
    /// As for [`Source::splits`].
    pub async fn look(&mut self) -> Result<Differences> {
        let listed = self.source.splits(Some(&self.known)).await?;
        Ok(self.compare(listed))
    }

    fn compare(&mut self, listed: Discovery) -> Differences {
        let Discovery { splits, warnings, unreadable, gone, ask_again, again_in, .. } = listed;
        let mut found = Vec::new();
        let mut is_listed = vec![false; self.known.len()];
        for split in splits {
            let Some(place) = self.places.get(&split.id).copied() else {
                self.places.insert(split.id.clone(), self.known.len());
                self.known.push(KnownSplit { split: split.clone(), position: None });
                self.is_there.push(Some(true));
                found.push(split);
                continue;
            };
            if let Some(is_listed) = is_listed.get_mut(place) {
                *is_listed = true;
            }
            let was_there = self.is_there[place].replace(true) == Some(true);
            let known = &mut self.known[place].split;
            if !was_there || known.descriptor != split.descriptor {
                known.clone_from(&split);
                found.push(split);
            }
        }
        // A listing that is not whole says of no split that it is gone.
        let is_whole = unreadable.iter().all(|one| !one.may_hold_records);
        let mut absent = Vec::new();
        let places = self.is_there.iter_mut().zip(&self.known).zip(is_listed);
        for ((is_there, known), is_listed) in places {
            if is_whole && !is_listed && *is_there != Some(false) {
                *is_there = Some(false);
                absent.push(known.split.id.clone());
            }
        }
        Differences { found, absent, gone, unreadable, warnings, ask_again, again_in }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use arrow::datatypes::{Schema, SchemaRef};
    use async_trait::async_trait;
    use contract::source::{SplitReader, Until};

    use super::*;

    /// A source that answers what a test wants, and notes what it was told.
    #[derive(Default)]
    struct Said {
        answers: Mutex<Vec<Result<Discovery>>>,
        positions: Mutex<Vec<Vec<Option<i64>>>>,
    }

    #[async_trait]
    impl Source for Said {
        fn schema(&self) -> SchemaRef {
            Arc::new(Schema::empty())
        }

        async fn splits(&self, known: Option<&[KnownSplit]>) -> Result<Discovery> {
            let known = known.unwrap_or_default().iter();
            let positions = known.map(|known| known.position.as_ref().map(|one| one.at));
            self.positions.lock().expect("not poisoned").push(positions.collect());
            let answer = self.answers.lock().expect("not poisoned").pop();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }

        async fn open(
            &self,
            _: &Split,
            _: Option<&Position>,
            _: Until,
        ) -> Result<Box<dyn SplitReader>> {
            Err(Error::bug("nothing is read here"))
        }
    }

    fn split(id: &str, size: u64) -> Split {
        Split { id: SplitId::new(id), descriptor: size.into() }
    }

    fn listing(splits: &[(&str, u64)]) -> Discovery {
        let splits = splits.iter().map(|(id, size)| split(id, *size));
        Discovery { splits: splits.collect(), ..Discovery::default() }
    }

    fn partial(splits: &[(&str, u64)]) -> Discovery {
        let unreadable = Unreadable {
            name: "folder".to_owned(),
            reason: "no permission".to_owned(),
            hint: None,
            may_hold_records: true,
            again_in: None,
        };
        Discovery { unreadable: vec![unreadable], ..listing(splits) }
    }

    fn said(answers: Vec<Result<Discovery>>) -> Arc<Said> {
        let answers = Mutex::new(answers.into_iter().rev().collect());
        Arc::new(Said { answers, ..Said::default() })
    }

    fn of(sources: &[Arc<Said>], known: &[(&str, u64)]) -> Discoverers {
        let known =
            known.iter().map(|(id, size)| KnownSplit { split: split(id, *size), position: None });
        let known: Vec<_> = known.collect();
        let idle = sources.iter().enumerate().map(|(number, source)| {
            (number, Discoverer::of(number, source.clone(), known.clone()))
        });
        Discoverers { idle: idle.collect(), ..Discoverers::default() }
    }

    /// Asks one source once, and says what it found and what is absent, if it answered.
    async fn look(all: &mut Discoverers) -> Option<(Vec<String>, Vec<String>)> {
        all.ask();
        let (_, found) = all.answer().await.expect("no panic");
        let found = found.ok()?;
        let ids = |ids: &mut dyn Iterator<Item = &SplitId>| ids.map(SplitId::to_string).collect();
        let there = ids(&mut found.found.iter().map(|split| &split.id));
        Some((there, ids(&mut found.absent.iter())))
    }

    #[tokio::test]
    async fn after_the_first_answer_only_what_changed_is_told() {
        let source = said(vec![
            Ok(listing(&[("a", 1), ("b", 1)])),
            Ok(listing(&[("a", 1), ("b", 1)])),
            Ok(listing(&[("a", 2), ("b", 1), ("c", 1)])),
            Err(Error::transient("no answer")),
            Ok(partial(&[("a", 2)])),
            Ok(listing(&[("a", 2)])),
            Ok(listing(&[("a", 2)])),
            Ok(listing(&[("a", 2), ("b", 1)])),
        ]);
        let mut all = of(&[source], &[("a", 1), ("old", 1)]);
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
            let texts = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
            let expect = expect.map(|(found, absent)| (texts(found), texts(absent)));
            assert_eq!(look(&mut all).await, expect, "answer {number}");
        }
    }

    #[tokio::test]
    async fn a_source_hears_which_positions_moved() {
        let source = said(vec![Ok(listing(&[("a", 1)])), Ok(listing(&[("a", 1)]))]);
        let mut all = of(std::slice::from_ref(&source), &[("a", 1)]);
        look(&mut all).await;
        all.moved(0, SplitId::new("a"), Position::new(5));
        all.moved(0, SplitId::new("a"), Position::new(7));
        look(&mut all).await;
        assert_eq!(*source.positions.lock().expect("not poisoned"), [[None], [Some(7)]]);
    }

    #[tokio::test]
    async fn a_source_that_does_not_answer_keeps_no_other_back() {
        let answers = (0..3).map(|_| Ok(listing(&[("a", 1)])));
        let (silent, quick) = (said(Vec::new()), said(answers.collect()));
        let mut all = of(&[silent.clone(), quick], &[]);
        for _ in 0..3 {
            all.ask();
            let answer = tokio::time::timeout(Duration::from_secs(60), all.answer()).await;
            assert_eq!(answer.expect("it answers").expect("no panic").0, 1);
        }
        assert!(all.is_asked());
        assert!(silent.positions.lock().expect("not poisoned").len() <= 1, "it is asked once");
    }
}
