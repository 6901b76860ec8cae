//! What there is on the brokers: topics, partitions, and where their logs begin and end.
//!
//! Every call asks the brokers and blocks; nothing is kept but the connection.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use contract::error::Context;
use contract::{Error, Result, SplitId};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::topic_partition_list::Offset;
use tracing::warn;

use crate::client::{Connection, REQUEST_LIMIT, Witness, failed, is_silence};
use crate::topic_id::{self, TopicId};
use crate::topics::TopicSet;

/// How long brokers may take for an answer before people are told that none came.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// Notes of a client that are listened to before its silence is reported.
const NOTES_MAX: usize = 32;
/// How long transactions that are on their way are waited for.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// How often they are looked at.
const SETTLE_EVERY: Duration = Duration::from_millis(10);

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic's name.
    pub topic: String,
    /// Its number.
    pub number: i32,
}

impl Partition {
    /// The name of the split that it is, of the first topic that was met under its name.
    pub fn split(&self) -> SplitId {
        SplitId::new(format!("{}/{}", self.topic, self.number))
    }

    /// The name of the split that it is, of a topic that was made anew under a known name.
    pub fn split_of(&self, id: TopicId) -> SplitId {
        SplitId::new(format!("{}/{}.{}", self.topic, self.number, id.short()))
    }

    /// The partition of a split, of whichever topic of that name.
    ///
    /// # Errors
    /// Bug: no partition has such a name.
    pub fn of_split(split: &SplitId) -> Result<Self> {
        let parts = split.as_str().rsplit_once('/');
        let parsed = parts.and_then(|(topic, number)| {
            let number = number.split_once('.').map_or(number, |(number, _)| number);
            Some(Self { topic: topic.to_owned(), number: number.parse().ok()? })
        });
        parsed.ok_or_else(|| Error::bug(format!("split \"{split}\" is no partition")))
    }
}

/// Where a log begins and ends: the first offset that it has, and the one after its last
/// committed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The first offset.
    pub low: i64,
    /// The last stable offset.
    pub high: i64,
}

/// A client that only asks.
pub struct Catalog {
    connection: Connection,
    client: OnceLock<BaseConsumer<Witness>>,
    /// Sees what is not committed as well.
    eager: OnceLock<BaseConsumer<Witness>>,
    /// Whether it was told that nobody answers.
    is_told: AtomicBool,
}

impl Catalog {
    /// Asks the brokers of a connection.
    pub fn new(connection: Connection) -> Self {
        let (client, eager) = (OnceLock::new(), OnceLock::new());
        Self { connection, client, eager, is_told: AtomicBool::new(false) }
    }

    /// The topics of a set with the number of their partitions, as far as they are there.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn topics(&self, set: &TopicSet) -> Result<BTreeMap<String, i32>> {
        let mut found = BTreeMap::new();
        if set.has_patterns() {
            let tried = || format!("could not list the topics of {:?}", self.connection.brokers());
            let metadata = self.listed(None, &tried())?;
            for topic in metadata.topics().iter().filter(|topic| set.matches(topic.name())) {
                found.insert(topic.name().to_owned(), partitions(topic)?);
            }
        }
        for name in set.names() {
            if let Some(partitions) = self.partitions(name)? {
                found.insert(name.clone(), partitions);
            }
        }
        Ok(found)
    }

    /// The number of partitions of a topic; none if there is no such topic.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn partitions(&self, topic: &str) -> Result<Option<i32>> {
        let tried = || format!("could not ask for the topic {topic:?}");
        let metadata = self.listed(Some(topic), &tried())?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let Some(found) = found else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
            _ => partitions(found).map(Some),
        }
    }

    /// The ids of topics; those that are not there, and those of brokers that give none, are left
    /// out.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn topic_ids<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, TopicId>> {
        let ids = topic_id::ask(self.client()?.client().native_ptr(), names)?;
        ids.map_err(|error| self.failed(error, "could not ask for the ids of topics".to_owned()))
    }

    /// The ids of the brokers.
    ///
    /// # Errors
    /// External: none answers.
    pub fn brokers(&self) -> Result<Vec<i32>> {
        let tried = || format!("could not list the brokers of {:?}", self.connection.brokers());
        let metadata = self.listed(None, &tried())?;
        Ok(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect())
    }

    /// An offset of each partition: its first, its end, or that of a time in milliseconds.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn offsets(&self, partitions: &[Partition], at: Offset) -> Result<Vec<i64>> {
        self.ask(self.client()?, partitions, at)
    }

    /// The end of each partition, once transactions that were on their way have ended.
    ///
    /// The brokers confirm a commit before its markers stand in the partitions, so right after it
    /// a reader of committed records does not see them. A transaction that stays open holds the
    /// end where it began; after a while it is taken as it is.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn settled_ends(&self, partitions: &[Partition]) -> Result<Vec<i64>> {
        let begun = Instant::now();
        let written = self.ask(self.eager()?, partitions, Offset::End)?;
        loop {
            let stable = self.offsets(partitions, Offset::End)?;
            let open = stable.iter().zip(&written).filter(|(stable, written)| stable < written);
            let open = open.count();
            if open == 0 {
                return Ok(stable);
            }
            if begun.elapsed() >= SETTLE_MAX {
                warn!(partitions = open, "transactions stay open, their records are not seen yet");
                return Ok(stable);
            }
            thread::sleep(SETTLE_EVERY);
        }
    }

    fn ask(
        &self,
        client: &BaseConsumer<Witness>,
        partitions: &[Partition],
        at: Offset,
    ) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let tried = || "could not ask for offsets".to_owned();
        let mut wanted = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let added = wanted.add_partition_offset(&partition.topic, partition.number, at);
            added.bug("a partition cannot be asked for")?;
        }
        let found = client.offsets_for_times(wanted, REQUEST_LIMIT);
        let found = found.map_err(|error| self.explained(client, error, tried()))?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let element = found.find_partition(&partition.topic, partition.number);
            let element = element.ok_or_else(|| Error::transient(tried()))?;
            element.error().map_err(|error| self.explained(client, error, tried()))?;
            offsets.push(match element.offset() {
                Offset::Offset(offset) => offset,
                // No record is as new as the time.
                _ => self.range(partition)?.high,
            });
        }
        Ok(offsets)
    }

    /// Where the log of a partition begins and ends now.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub fn range(&self, partition: &Partition) -> Result<LogRange> {
        let client = self.client()?;
        let marks = client.fetch_watermarks(&partition.topic, partition.number, REQUEST_LIMIT);
        let tried = || format!("could not ask where \"{}\" ends", partition.split());
        let (low, high) = marks.map_err(|error| self.failed(error, tried()))?;
        Ok(LogRange { low, high })
    }

    fn client(&self) -> Result<&BaseConsumer<Witness>> {
        self.made(&self.client, "read_committed")
    }

    fn eager(&self) -> Result<&BaseConsumer<Witness>> {
        self.made(&self.eager, "read_uncommitted")
    }

    fn made<'a>(
        &self,
        place: &'a OnceLock<BaseConsumer<Witness>>,
        isolation: &str,
    ) -> Result<&'a BaseConsumer<Witness>> {
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let config = self.connection.config(&[("isolation.level", isolation)]);
        let client: BaseConsumer<Witness> = config
            .create_with_context(Witness::default())
            .map_err(|error| failed(error, "could not make a Kafka client"))?;
        Ok(place.get_or_init(|| client))
    }

    /// What the brokers say of a topic, or of all. Whoever asks them anything asks for this first:
    /// that nobody answers is told soon, and they are asked on.
    fn listed(&self, topic: Option<&str>, tried: &str) -> Result<Metadata> {
        let client = self.client()?;
        let begun = Instant::now();
        let soon = client.fetch_metadata(topic, TOLD_WITHIN);
        let listed = match soon {
            Err(error) if is_silence(&error) => {
                self.tell(client, error, tried)?;
                client.fetch_metadata(topic, REQUEST_LIMIT.saturating_sub(begun.elapsed()))
            }
            answered => answered,
        };
        if listed.is_ok() {
            self.is_told.store(false, Ordering::Relaxed);
        }
        listed.map_err(|error| self.explained(client, error, tried.to_owned()))
    }

    /// Tells once, until they answer, that nobody does, with what was heard.
    ///
    /// # Errors
    /// External: a port speaks something else, and so nobody ever will.
    fn tell(&self, client: &BaseConsumer<Witness>, error: KafkaError, tried: &str) -> Result<()> {
        let error = self.explained(client, error, tried.to_owned());
        if !error.retry() {
            return Err(error);
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let (brokers, hint) = (self.connection.brokers(), error.hint_text());
            warn!(brokers, error = error.chain(), hint, "no broker answers yet; asking on");
        }
        Ok(())
    }

    fn failed(&self, error: KafkaError, tried: String) -> Error {
        match self.client.get() {
            Some(client) => self.explained(client, error, tried),
            None => failed(error, tried),
        }
    }

    /// The error of an answer, with what the client noted about it.
    fn explained(&self, client: &BaseConsumer<Witness>, error: KafkaError, tried: String) -> Error {
        for _ in 0..NOTES_MAX {
            let _ = client.poll(Duration::ZERO);
        }
        self.connection.explain(client.context(), error, tried)
    }
}

fn partitions(topic: &MetadataTopic) -> Result<i32> {
    if let Some(code) = topic.error().map(RDKafkaErrorCode::from) {
        let tried = format!("could not ask for the topic {:?}", topic.name());
        return Err(failed(KafkaError::MetadataFetch(code), tried));
    }
    Ok(i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))
}
