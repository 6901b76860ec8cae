//! The source: finds partitions, resolves where they begin, opens readers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::source::{Discovery, KnownSplit, Source, Split, SplitReader, Until};
use contract::spec::BuildContext;
use contract::{Error, Position, Result, SplitId};
use rdkafka::topic_partition_list::Offset;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::catalog::{Catalog, LogRange, Partition};
use crate::client::{Connection, blocking};
use crate::config::{SourceConfig, SourceFormat};
use crate::member::Member;
use crate::reader::{Reader, Reading};
use crate::records;
use crate::start::Start;
use crate::topics::TopicSet;

/// How often the brokers are asked for new topics and partitions.
const LIST_EVERY: Duration = Duration::from_secs(3);

/// Partitions that become splits.
pub struct Partitions {
    shared: Arc<Shared>,
    schema: SchemaRef,
}

struct Shared {
    connection: Connection,
    catalog: Catalog,
    topics: TopicSet,
    numbers: Option<Vec<u32>>,
    start: Start,
    format: SourceFormat,
    group: Option<String>,
    /// What librdkafka calls the readers where no group is set.
    name: String,
    member: OnceLock<Arc<Member>>,
    /// Where the partitions ended when a run with an end began.
    ends: OnceLock<HashMap<Partition, i64>>,
    listed: Mutex<Option<Listed>>,
}

/// What the brokers said, and when.
struct Listed {
    at: Instant,
    topics: BTreeMap<String, i32>,
}

/// What a split must remember.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Descriptor {
    /// The first offset to read.
    start: i64,
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
        let shared = Shared {
            catalog: Catalog::new(connection.clone()),
            connection,
            topics: TopicSet::parse(config.topics.all())?,
            numbers: config.partitions,
            start: Start::parse(&config.start)?,
            format: config.format,
            group: config.group,
            name: format!("logmill.{}.{}", ctx.pipeline, ctx.name),
            member: OnceLock::new(),
            ends: OnceLock::new(),
            listed: Mutex::new(None),
        };
        Ok(Self { shared: Arc::new(shared), schema: records::schema(config.format) })
    }
}

#[async_trait]
impl Source for Partitions {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn lineage_per_split(&self) -> bool {
        true
    }

    async fn begin(&self, until: &Until) -> Result<()> {
        let shared = self.shared.clone();
        match until {
            Until::Forever => blocking(move || shared.join()).await,
            Until::End => blocking(move || shared.take_ends()).await,
            Until::Position(_) => Err(Error::bug("a run of many splits stops at one position")),
        }
    }

    async fn splits(&self, known: Option<&[KnownSplit]>) -> Result<Discovery> {
        let known = known.map(<[KnownSplit]>::to_vec);
        let shared = self.shared.clone();
        blocking(move || shared.discover(known.as_deref())).await
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let (shared, split, schema) = (self.shared.clone(), split.clone(), self.schema.clone());
        let from = from.map(|position| position.at);
        let reader = blocking(move || shared.open(&split, from, &until, schema)).await?;
        Ok(Box::new(reader))
    }
}

impl Shared {
    fn join(&self) -> Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        if self.member.get().is_some() {
            return Ok(());
        }
        let member = Member::join(&self.connection, group, &self.name)?;
        member.subscribe(self.list()?.keys())?;
        self.member.get_or_init(|| Arc::new(member));
        Ok(())
    }

    fn take_ends(&self) -> Result<()> {
        let partitions = self.wanted(&self.list()?)?;
        let offsets = self.catalog.settled_ends(&partitions)?;
        self.ends.get_or_init(|| partitions.into_iter().zip(offsets).collect());
        Ok(())
    }

    /// Where a run with an end stops that reads a partition from an offset on, whose log ends at
    /// `high` now. Nothing is read of what was not there when the run began.
    fn end_of(&self, partition: &Partition, from: i64, high: i64) -> i64 {
        match self.ends.get() {
            Some(ends) => ends.get(partition).copied().unwrap_or(from),
            None => high,
        }
    }

    /// The topics with the number of their partitions, asked for every few seconds.
    fn list(&self) -> Result<BTreeMap<String, i32>> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(listed) = listed.as_ref().filter(|listed| listed.at.elapsed() < LIST_EVERY) {
            return Ok(listed.topics.clone());
        }
        let topics = self.catalog.topics(&self.topics)?;
        *listed = Some(Listed { at: Instant::now(), topics: topics.clone() });
        Ok(topics)
    }

    fn discover(&self, known: Option<&[KnownSplit]>) -> Result<Discovery> {
        let topics = self.list()?;
        let partitions = self.wanted(&topics)?;
        let starts: HashMap<_, _> = known
            .iter()
            .copied()
            .flatten()
            .map(|known| (&known.split.id, &known.split.descriptor))
            .collect();
        let new: Vec<_> = partitions
            .iter()
            .filter(|partition| !starts.contains_key(&partition.split()))
            .cloned()
            .collect();
        let is_first = known.is_none();
        let offsets = match is_first {
            true => self.start.resolve(&self.catalog, &new)?,
            false => self.catalog.offsets(&new, Offset::Beginning)?,
        };
        let mut begun: HashMap<SplitId, i64> =
            new.iter().map(Partition::split).zip(offsets).collect();
        let splits = partitions.iter().map(|partition| {
            let id = partition.split();
            let descriptor = match begun.remove(&id) {
                Some(start) => serde_json::json!(Descriptor { start }),
                None => starts.get(&id).map(|known| (*known).clone()).unwrap_or_default(),
            };
            Split { id, descriptor }
        });
        let splits = splits.collect();
        let mut warnings = Vec::new();
        if topics.is_empty() && is_first {
            warnings.push("no topic matches yet".to_owned());
        }
        let assigned = self.assigned(&topics)?;
        Ok(Discovery { splits, assigned, warnings, ..Discovery::default() })
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
        Ok(wanted)
    }

    fn assigned(&self, topics: &BTreeMap<String, i32>) -> Result<Option<Vec<SplitId>>> {
        let Some(member) = self.member.get() else { return Ok(None) };
        member.subscribe(topics.keys())?;
        member.assigned().map(Some)
    }

    fn open(
        &self,
        split: &Split,
        from: Option<i64>,
        until: &Until,
        schema: SchemaRef,
    ) -> Result<Reader> {
        let partition = Partition::of_split(&split.id)?;
        let from = match from {
            Some(from) => from,
            None => start_of(split)?,
        };
        let log = self.catalog.range(&partition)?;
        let (from, lost) = reachable(split, from, log, until)?;
        let end = match until {
            Until::Forever => None,
            Until::End => Some(self.end_of(&partition, from, log.high)),
            Until::Position(position) => Some(position.at),
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
        };
        Reader::start(&self.connection, reading, member)
    }
}

fn start_of(split: &Split) -> Result<i64> {
    let descriptor = Descriptor::deserialize(&split.descriptor).map_err(|error| {
        Error::bug(format!("split \"{}\" does not know its start", split.id)).because(error)
    })?;
    Ok(descriptor.start)
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
    if let Until::Position(_) = until {
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
