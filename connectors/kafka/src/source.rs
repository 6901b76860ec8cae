//! The source: finds partitions, resolves where they begin, opens readers.
//!
//! A topic that is made anew under its name has another id, and its partitions are other splits:
//! the old ones give nothing any more, the new ones are read from their beginning.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Known, Listing as Splits, Lists};
use contract::source::{Again, KnownSplit, Lineages, Source, Split, SplitReader, Terms, Until};
use contract::spec::BuildContext;
use contract::{Error, Position, Result, SplitId};
use rdkafka::topic_partition_list::Offset;
use tracing::warn;

use crate::catalog::{Catalog, LogRange, Partition};
use crate::client::{Connection, blocking};
use crate::config::{Recreated, SourceConfig, SourceFormat};
use crate::identity::{Anew, Descriptor, Identities, Listing};
use crate::member::Member;
use crate::reader::{Gone, QUEUE_BYTES, Reader, Reading, Remaker};
use crate::records;
use crate::start::Start;
use crate::topic_id::TopicId;
use crate::topics::TopicSet;

/// Partitions that become splits.
pub struct Partitions {
    shared: Arc<Shared>,
    schema: SchemaRef,
}

struct Shared {
    connection: Connection,
    catalog: Arc<Catalog>,
    identities: Arc<Identities>,
    recreated: Recreated,
    numbers: Option<Vec<u32>>,
    start: Start,
    format: SourceFormat,
    group: Option<String>,
    /// What librdkafka calls the readers where no group is set.
    name: String,
    member: OnceLock<Arc<Member>>,
    /// Where the partitions ended when a run with an end began, of which topic.
    ends: OnceLock<HashMap<Partition, (Option<TopicId>, i64)>>,
    /// Bytes that the queues of all readers may hold.
    fetch_bytes: AtomicUsize,
    /// How many partitions there are to read.
    partitions: AtomicUsize,
}

impl Partitions {
    /// A source with these settings. No I/O.
    ///
    /// # Errors
    /// Config: a setting is wrong.
    pub fn new(config: SourceConfig, ctx: &BuildContext) -> Result<Self> {
        if config.group.is_some() && config.partitions.is_some() {
            return Err(Error::config("a group divides partitions, so they cannot be fixed too")
                .field("partitions")
                .hint("set either `group` or `partitions`"));
        }
        let connection = Connection::new(&config.brokers, &config.client)?;
        let catalog = Arc::new(Catalog::new(connection.clone()));
        let topics = TopicSet::parse(config.topics.all())?;
        let shared = Shared {
            identities: Arc::new(Identities::new(catalog.clone(), topics)),
            catalog,
            connection,
            recreated: config.recreated,
            numbers: config.partitions,
            start: Start::parse(&config.start)?,
            format: config.format,
            group: config.group,
            name: format!("logmill.{}.{}", ctx.pipeline, ctx.name),
            member: OnceLock::new(),
            ends: OnceLock::new(),
            fetch_bytes: AtomicUsize::new(usize::MAX),
            partitions: AtomicUsize::new(1),
        };
        Ok(Self { shared: Arc::new(shared), schema: records::schema(config.format) })
    }
}

/// Whether a source of these settings reads a partition, if there is such a topic.
pub fn names(config: &SourceConfig, split: &SplitId) -> Option<bool> {
    let partition = Partition::of_split(split).ok()?;
    let topics = TopicSet::parse(config.topics.all()).ok()?;
    let number = u32::try_from(partition.number).ok()?;
    let is_wanted = config.partitions.as_ref().is_none_or(|numbers| numbers.contains(&number));
    let is_named = topics.names().contains(&partition.topic) || topics.matches(&partition.topic);
    Some(is_wanted && is_named)
}

/// Lists the partitions.
struct Finder(Arc<Shared>);

#[async_trait]
impl Lists for Finder {
    async fn list(&self, known: Option<&Known>) -> Result<Splits> {
        let (shared, known) = (self.0.clone(), known.cloned());
        blocking(move || shared.list(known.as_ref().map(|known| known.as_slice()))).await
    }
}

#[async_trait]
impl Source for Partitions {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn again(&self) -> Again {
        // Compaction removes records, and never puts another one in their place.
        Again::Sparse
    }

    fn lineages(&self) -> &'static [Lineages] {
        &[Lineages::Split, Lineages::One]
    }

    async fn begin(&self, terms: &Terms) -> Result<()> {
        let shared = self.shared.clone();
        shared.fetch_bytes.store(terms.fetch_bytes, Ordering::Relaxed);
        match terms.until {
            Until::Forever if terms.lineages == Lineages::Split => {
                blocking(move || shared.join()).await
            }
            // Whoever holds the lease reads all partitions; a group would only take some away.
            Until::Forever => Ok(()),
            Until::End => blocking(move || shared.take_ends()).await,
            Until::Position(_) | Until::Proven { .. } => {
                Err(Error::bug("a run of many splits stops at one position"))
            }
        }
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(Finder(self.shared.clone()), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let (shared, split, schema) = (self.shared.clone(), split.clone(), self.schema.clone());
        let from = from.cloned();
        blocking(move || shared.open(&split, from.as_ref(), &until, schema)).await
    }
}

impl Shared {
    fn join(&self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        if self.member.get().is_some() {
            return Ok(());
        }
        let member = Member::join(&self.connection, group, &self.name)?;
        member.subscribe(self.identities.list()?.topics.keys())?;
        self.member.get_or_init(|| Arc::new(member));
        Ok(())
    }

    fn take_ends(&self) -> Result<()> {
        let listing = self.identities.list()?;
        let partitions = self.wanted(&listing.topics)?;
        let offsets = self.catalog.settled_ends(&partitions)?;
        let ends = partitions.into_iter().zip(offsets).map(|(partition, end)| {
            let id = listing.ids.get(&partition.topic).copied();
            (partition, (id, end))
        });
        self.ends.get_or_init(|| ends.collect());
        Ok(())
    }

    /// Where a run with an end stops that reads a partition from an offset on, whose log ends at
    /// `high` now. Nothing is read of what was not there when the run began, a topic that was made
    /// anew since among it.
    fn end_of(&self, partition: &Partition, id: Option<TopicId>, range: Range<i64>) -> i64 {
        let Some(ends) = self.ends.get() else { return range.end };
        match ends.get(partition) {
            Some((of, end)) if of.is_none() || id.is_none() || *of == id => *end.min(&range.end),
            _ => range.start,
        }
    }

    fn list(&self, known: Option<&[KnownSplit]>) -> Result<Splits> {
        let listing = self.identities.list()?;
        let partitions = self.wanted(&listing.topics)?;
        let found = self.identities.tell(&partitions, &listing, known.unwrap_or_default());
        let anew: Vec<_> = found.new.iter().filter(|(_, is_anew)| *is_anew).collect();
        if let (Recreated::Stop, Some((partition, _))) = (self.recreated, anew.first()) {
            let topic = &partition.topic;
            return Err(Error::external(format!("topic {topic:?} was deleted and made anew"))
                .hint(
                    "set `recreated: read` to read the new one from its beginning, or give the \
                 pipeline another `name`",
                ));
        }
        let new: Vec<_> = found.new.iter().map(|(partition, _)| partition.clone()).collect();
        let is_first = known.is_none();
        let offsets = match is_first {
            true => self.start.resolve(&self.catalog, &new)?,
            false => self.catalog.offsets(&new, Offset::Beginning)?,
        };
        let begun = found.new.iter().zip(offsets).map(|((partition, is_anew), start)| {
            let topic_id = listing.ids.get(&partition.topic).copied();
            let id = match topic_id {
                Some(topic_id) if *is_anew => partition.split_of(topic_id),
                _ => partition.split(),
            };
            let topic_id = topic_id.map(|id| id.to_string());
            Split { id, descriptor: serde_json::json!(Descriptor { start, topic_id }) }
        });
        let begun: Vec<_> = begun.collect();
        let mut warnings = Vec::new();
        if listing.topics.is_empty() && is_first {
            warnings.push("no topic matches yet".to_owned());
        }
        let splits: Vec<_> = found.known.into_iter().chain(begun).collect();
        let assigned = self.assigned(&listing, &splits)?;
        Ok(Splits { splits, assigned, warnings, ..Splits::default() })
    }

    /// The partitions of all topics that the settings do not leave out.
    fn wanted(&self, topics: &BTreeMap<String, i32>) -> Result<Vec<Partition>> {
        let mut wanted = Vec::new();
        for (topic, count) in topics {
            let partition = |number| Partition { topic: topic.clone(), number };
            let Some(numbers) = &self.numbers else {
                wanted.extend((0..*count).map(partition));
                continue;
            };
            for number in numbers {
                let number = i32::try_from(*number).ok().filter(|number| number < count);
                let number = number.ok_or_else(|| {
                    let message = format!("topic {topic:?} has {count} partitions, from 0 on");
                    Error::config(message).field("partitions")
                })?;
                wanted.push(partition(number));
            }
        }
        self.partitions.store(wanted.len().max(1), Ordering::Relaxed);
        Ok(wanted)
    }

    /// What the queue of one reader may hold. Each partition has a reader, and none gives its place
    /// to another.
    fn queue_bytes(&self) -> usize {
        let share =
            self.fetch_bytes.load(Ordering::Relaxed) / self.partitions.load(Ordering::Relaxed);
        share.clamp(*QUEUE_BYTES.start(), *QUEUE_BYTES.end())
    }

    /// The splits of the partitions that the group gave to this process.
    fn assigned(&self, listing: &Listing, splits: &[Split]) -> Result<Option<Vec<SplitId>>> {
        let Some(member) = self.member.get() else { return Ok(None) };
        member.subscribe(listing.topics.keys())?;
        let assigned = member.assigned()?;
        let is_ours = |split: &&Split| {
            Partition::of_split(&split.id)
                .is_ok_and(|partition| assigned.contains(&partition.split()))
        };
        Ok(Some(splits.iter().filter(is_ours).map(|split| split.id.clone()).collect()))
    }

    fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: &Until,
        schema: SchemaRef,
    ) -> Result<Box<dyn SplitReader>> {
        let partition = Partition::of_split(&split.id)?;
        let remaker =
            Remaker { partition: partition.clone(), schema: schema.clone(), format: self.format };
        if let (Some(from), Until::Position(until)) = (from, until)
            && from.at == until.at
        {
            // Nothing is asked for, whether or not the topic is there.
            return Ok(Box::new(Gone::new(false, remaker, None)));
        }
        let descriptor = Descriptor::of(split)?;
        let begin = from.map_or(descriptor.start, |position| position.at);
        let topic_id = match self.identities.of(split, from, &partition)? {
            Ok(topic_id) => topic_id,
            Err(anew) => return self.open_gone(remaker, until, (begin, anew)),
        };
        let log = self.catalog.range(&partition)?;
        // Only now is it certain whose log that is.
        if let Some(id) = topic_id
            && let Err(error) = self.identities.confirm(&partition.topic, id)
        {
            // What was listed a moment ago may be another topic now.
            return match self.identities.of(split, from, &partition)? {
                Err(anew) => self.open_gone(remaker, until, (begin, anew)),
                Ok(_) => Err(error),
            };
        }
        let (from, lost) = reachable(split, begin, log, until)?;
        let end = match until {
            Until::Forever => None,
            Until::End => Some(self.end_of(&partition, topic_id, from..log.high)),
            Until::Position(to) | Until::Proven { to, .. } => Some(to.at),
        };
        let member = self.member.get().cloned();
        let reading = Reading {
            partition,
            from,
            lost,
            end,
            group: self.group.clone().unwrap_or_else(|| self.name.clone()),
            commits: self.group.is_some() && member.is_none(),
            schema,
            format: self.format,
            identity: topic_id.map(|id| (id, self.identities.clone())),
            queue_bytes: self.queue_bytes(),
        };
        Ok(Box::new(Reader::start(&self.connection, reading, member)?))
    }

    /// A split of a topic in whose place there is another one, from a position on. People are told
    /// once; the position notes it.
    fn open_gone(
        &self,
        remaker: Remaker,
        until: &Until,
        (at, anew): (i64, Anew),
    ) -> Result<Box<dyn SplitReader>> {
        match (until, self.recreated) {
            (Until::Position(_) | Until::Proven { .. }, _) => Err(anew.error.hint(
                "go on without its records by `run --accept-loss`; nobody has them any more",
            )),
            (_, Recreated::Stop) => Err(anew.error.hint(
                "set `recreated: read` to go on with the new one, or give the pipeline another \
                 `name`",
            )),
            (until, Recreated::Read) => {
                let news = (!anew.is_told).then(|| anew.told_at(at));
                if news.is_some() {
                    warn!(
                        split = remaker.partition.split().as_str(),
                        read_to = at,
                        error = anew.error.chain(),
                        "what was not read of the old topic is gone; the new one is another split"
                    );
                }
                Ok(Box::new(Gone::new(*until == Until::Forever, remaker, news)))
            }
        }
    }
}

/// Where reading can begin, and how many offsets are gone before that. A replay must have them
/// all; so must nobody begin behind the end, where other records would get the same offsets.
fn reachable(split: &Split, from: i64, log: LogRange, until: &Until) -> Result<(i64, u64)> {
    let LogRange { low, high } = log;
    if from > high {
        return Err(Error::external(format!(
            "offset {from} of \"{}\" lies behind the end of its log, which goes from {low} to \
             {high}",
            split.id
        ))
        .hint(
            "the topic was made anew or lost records: give the pipeline another `name` to read it \
             from `start` on",
        ));
    }
    if from >= low {
        return Ok((from, 0));
    }
    let gone = format!("offsets {from} to {low} of \"{}\" are no longer in the log", split.id);
    if let Until::Position(_) | Until::Proven { .. } = until {
        return Err(Error::external(gone).hint(
            "go on without them by `run --accept-loss`; the topic's retention is too short",
        ));
    }
    warn!("{gone}; they are counted as lost");
    Ok((low, low.abs_diff(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: i64, until: &Until, expect: std::result::Result<(i64, u64), &str>) {
        let split = Split { id: SplitId::new("t/0"), descriptor: serde_json::Value::Null };
        match (reachable(&split, from, LogRange { low: 10, high: 20 }, until), expect) {
            (Ok(place), Ok(expect)) => assert_eq!(place, expect),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error}");
                assert!(!error.retry() && error.hint_text().is_some());
            }
            (place, expect) => panic!("{from}: {place:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn what_the_log_no_longer_has_is_lost_but_never_in_a_replay() {
        let replay = Until::Position(Position::new(15));
        check(10, &Until::Forever, Ok((10, 0)));
        check(20, &Until::End, Ok((20, 0)));
        check(4, &Until::Forever, Ok((10, 6)));
        check(4, &replay, Err("offsets 4 to 10 of \"t/0\" are no longer in the log"));
        check(21, &Until::Forever, Err("from 10 to 20"));
        check(21, &replay, Err("from 10 to 20"));
    }
}
