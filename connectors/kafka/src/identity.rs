//! Which topic stands under a name: the ids that splits were met with, and those that brokers give.
//!
//! A split knows the id of its topic from its descriptor, or from the position that it was read to
//! last. One that is older than ids takes the first that it meets, and keeps its name and lineage.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::source::{KnownSplit, Split};
use contract::{Error, Position, Result, SplitId};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::catalog::{Catalog, Partition};
use crate::topic_id::{TopicId, made_anew};
use crate::topics::TopicSet;

/// How often the brokers are asked for new topics and partitions.
const LIST_EVERY: Duration = Duration::from_secs(3);

/// What a split must remember.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// The first offset to read.
    pub start: i64,
    /// The id of its topic; none where the brokers gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
}

impl Descriptor {
    /// What a split remembers.
    ///
    /// # Errors
    /// Bug: nothing.
    pub fn of(split: &Split) -> Result<Self> {
        Self::deserialize(&split.descriptor).map_err(|error| {
            Error::bug(format!("split \"{}\" does not know its start", split.id)).because(error)
        })
    }
}

/// What follows the id in the note of a position once people were told that the topic is gone.
const TOLD: &str = " gone";

/// A topic in whose place another one stands.
#[derive(Debug)]
pub struct Anew {
    /// Its id.
    pub was: TopicId,
    /// Whether people were told of it, in this start or another one.
    pub is_told: bool,
    /// What to say to whoever needs it.
    pub error: Error,
}

impl Anew {
    /// A position of its split that notes that people were told.
    pub fn told_at(&self, at: i64) -> Position {
        Position::new(at).with_note(format!("{}{TOLD}", self.was))
    }
}

/// What the brokers say that there is.
#[derive(Debug, Default)]
pub struct Listing {
    /// The topics, with the number of their partitions.
    pub topics: BTreeMap<String, i32>,
    /// The ids of those that have one.
    pub ids: BTreeMap<String, TopicId>,
}

/// The splits of some partitions.
#[derive(Debug, Default)]
pub struct Told {
    /// Those that are known, also of topics that are gone.
    pub known: Vec<Split>,
    /// Partitions that are no split yet, and whether they were one of another topic.
    pub new: Vec<(Partition, bool)>,
}

/// Knows which topic stands under which name.
pub struct Identities {
    catalog: Arc<Catalog>,
    topics: TopicSet,
    state: Mutex<State>,
    /// Held while the brokers are asked, so that many who ask at once are answered by one question.
    question: Mutex<Option<(Instant, Arc<Listing>)>>,
}

#[derive(Default)]
struct State {
    listed: Option<(Instant, Arc<Listing>)>,
    /// Named topics that were there before and are away.
    away: HashSet<String>,
    /// Topics of which splits were opened.
    opened: BTreeSet<String>,
    /// The ids that splits took which had none.
    taken: HashMap<SplitId, TopicId>,
    /// Topics that people were told of.
    told: HashSet<TopicId>,
}

impl Identities {
    /// Nothing was asked yet.
    pub fn new(catalog: Arc<Catalog>, topics: TopicSet) -> Self {
        Self { catalog, topics, state: Mutex::default(), question: Mutex::default() }
    }

    /// The topics that there are, asked for every few seconds. Blocks.
    ///
    /// # Errors
    /// Config: a topic that is named was never there. External: the brokers do not answer.
    pub fn list(&self) -> Result<Arc<Listing>> {
        if let Some((at, listing)) = &self.lock().listed
            && at.elapsed() < LIST_EVERY
        {
            return Ok(listing.clone());
        }
        let listing = Arc::new(self.ask()?);
        let mut state = self.lock();
        let was_there = state.listed.replace((Instant::now(), listing.clone())).is_some();
        for name in self.topics.names() {
            if listing.topics.contains_key(name) {
                state.away.remove(name);
            } else if !was_there {
                state.listed = None;
                return Err(Error::config(format!("there is no topic {name:?}"))
                    .field("topics")
                    .hint("create the topic, or correct its name"));
            } else if state.away.insert(name.clone()) {
                warn!(topic = name, "the topic is away; waiting for it");
            }
        }
        Ok(listing)
    }

    fn ask(&self) -> Result<Listing> {
        let topics = self.catalog.topics(&self.topics)?;
        let ids = self.catalog.topic_ids(topics.keys().map(String::as_str))?;
        Ok(Listing { topics, ids })
    }

    /// Finds the split of each partition, and those of topics that are gone.
    pub fn tell(&self, partitions: &[Partition], listing: &Listing, known: &[KnownSplit]) -> Told {
        let mut by_partition: HashMap<Partition, Vec<&KnownSplit>> = HashMap::new();
        for split in known {
            if let Ok(partition) = Partition::of_split(&split.split.id) {
                by_partition.entry(partition).or_default().push(split);
            }
        }
        let mut state = self.lock();
        let mut told = Told::default();
        for partition in partitions {
            let known = by_partition.remove(partition).unwrap_or_default();
            // Decided epochs of a topic that is gone may not be finished yet.
            told.known.extend(known.iter().map(|known| known.split.clone()));
            let now = listing.ids.get(&partition.topic).copied();
            let is_known = known.iter().any(|known| match (state.id_of(known), now) {
                (Some(id), Some(now)) => id == now,
                (None, Some(now)) => {
                    state.taken.insert(known.split.id.clone(), now);
                    true
                }
                (_, None) => true,
            });
            if !is_known {
                let is_anew = !known.is_empty();
                if is_anew && now.is_some_and(|now| state.told.insert(now)) {
                    let topic = partition.topic.as_str();
                    warn!(topic, "the topic was deleted and made anew; it is read as another one");
                }
                told.new.push((partition.clone(), is_anew));
            }
        }
        told
    }

    /// The id of the topic of a split that is opened; the error of a topic in whose place there is
    /// another one. Blocks.
    ///
    /// # Errors
    /// As for [`Identities::list`].
    pub fn of(
        &self,
        split: &Split,
        from: Option<&Position>,
        partition: &Partition,
    ) -> Result<std::result::Result<Option<TopicId>, Anew>> {
        let now = self.list()?.ids.get(&partition.topic).copied();
        let known = KnownSplit { split: split.clone(), position: from.cloned() };
        let mut state = self.lock();
        state.opened.insert(partition.topic.clone());
        Ok(match (state.id_of(&known), now) {
            (Some(was), Some(now)) if was != now => {
                let noted = from.and_then(|from| from.note.as_deref());
                let is_told = noted.is_some_and(|note| note.ends_with(TOLD));
                Err(Anew { was, is_told, error: made_anew(&partition.topic, was, now) })
            }
            (None, Some(now)) => {
                state.taken.insert(split.id.clone(), now);
                Ok(Some(now))
            }
            (id, _) => Ok(id),
        })
    }

    /// Makes sure that a topic has been the same up to now. Blocks.
    ///
    /// # Errors
    /// Retryable External: it was made anew, or the brokers do not answer.
    pub fn confirm(&self, topic: &str, id: TopicId) -> Result<()> {
        let begun = Instant::now();
        let mut question = self.question.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = question.as_ref().filter(|(asked, _)| *asked >= begun);
        let listing = match asked {
            Some((_, listing)) => listing.clone(),
            None => {
                let at = Instant::now();
                let state = self.lock();
                let known = state.listed.as_ref().map(|(_, known)| known.topics.clone());
                // One that was away when topics were listed last may be there again, as another.
                let opened = state.opened.clone();
                drop(state);
                let topics = known.unwrap_or_default();
                let ids = self.catalog.topic_ids(opened.iter().map(String::as_str))?;
                let listing = Arc::new(Listing { topics, ids });
                *question = Some((at, listing.clone()));
                listing
            }
        };
        drop(question);
        match listing.ids.get(topic) {
            Some(now) if *now != id => {
                // Whoever opens the split next must see it.
                self.lock().listed = Some((Instant::now(), listing.clone()));
                Err(made_anew(topic, id, *now).retryable())
            }
            // While it is away, nothing else was read.
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn id_of(&self, known: &KnownSplit) -> Option<TopicId> {
        let noted = known.position.as_ref().and_then(|position| position.note.as_deref());
        let described = Descriptor::of(&known.split).ok().and_then(|it| it.topic_id);
        let text = noted.or(described.as_deref());
        let id = text.and_then(|text| TopicId::parse(text.strip_suffix(TOLD).unwrap_or(text)));
        id.or_else(|| self.taken.get(&known.split.id).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Connection;
    use crate::config::OneOrMany;

    const OLD: &str = "000000000000000000000000000000aa";
    const NEW: &str = "000000000000000000000000000000bb";

    fn identities() -> Identities {
        let brokers = OneOrMany::One("127.0.0.1:1".to_owned());
        let connection = Connection::new(&brokers, &BTreeMap::new()).expect("settings");
        let topics = TopicSet::parse(&["orders".to_owned()]).expect("a topic");
        Identities::new(Arc::new(Catalog::new(connection)), topics)
    }

    fn known(id: &str, topic_id: Option<&str>, note: Option<&str>) -> KnownSplit {
        let topic_id = topic_id.map(str::to_owned);
        let descriptor = serde_json::json!(Descriptor { start: 0, topic_id });
        let position = note.map(|note| Position::new(7).with_note(note));
        KnownSplit { split: Split { id: SplitId::new(id), descriptor }, position }
    }

    fn check(identities: &Identities, now: Option<&str>, known: &[KnownSplit], expect: &[bool]) {
        let partition = Partition { topic: "orders".to_owned(), number: 0 };
        let ids = now.and_then(TopicId::parse).map(|id| ("orders".to_owned(), id));
        let listing = Listing { ids: ids.into_iter().collect(), ..Listing::default() };
        let told = identities.tell(&[partition], &listing, known);
        let new: Vec<_> = told.new.iter().map(|(_, is_anew)| *is_anew).collect();
        assert_eq!(new, expect, "{now:?} {known:?}");
        assert_eq!(told.known.len(), known.len(), "known splits are listed as long as they live");
    }

    #[test]
    fn a_topic_with_another_id_is_another_split() {
        let all = identities();
        check(&all, Some(OLD), &[], &[false]);
        check(&all, Some(OLD), &[known("orders/0", Some(OLD), None)], &[]);
        check(&all, Some(NEW), &[known("orders/0", Some(OLD), None)], &[true]);
        let both = [known("orders/0", Some(OLD), None), known("orders/0.00", Some(NEW), None)];
        check(&all, Some(NEW), &both, &[]);
        check(&all, None, &[known("orders/0", Some(OLD), None)], &[]);
    }

    #[test]
    fn a_split_without_an_id_takes_the_first_that_it_meets() {
        let all = identities();
        let old = [known("orders/0", None, None)];
        check(&all, Some(OLD), &old, &[]);
        check(&all, Some(NEW), &old, &[true]);
        // Later starts find it in the position.
        let all = identities();
        check(&all, Some(NEW), &[known("orders/0", None, Some(OLD))], &[true]);
        check(&all, Some(OLD), &[known("orders/0", None, Some(OLD))], &[]);
    }
}
