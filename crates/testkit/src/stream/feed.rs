//! Fills a Kafka topic with records that can be told apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};

use crate::wait;

/// One record in this many is no JSON.
const BROKEN_EVERY: u64 = 100;
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Brokers look for what to clean every 15 seconds.
const CLEANED_WITHIN: Duration = Duration::from_secs(120);
/// How long a full queue is left to empty itself.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// A topic, and how many records it holds: those with the ids from 0.
pub struct Feed {
    topic: String,
    producer: ThreadedProducer<Deliveries>,
    ids: u64,
    partitions: u64,
    /// What the record with an id says.
    record: fn(u64) -> String,
}

/// How many records the broker has taken.
#[derive(Default)]
struct Deliveries(AtomicU64);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Feed {
    /// Makes a topic for records of which some are broken.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn new(brokers: &str, topic: &str, partitions: u16) -> Self {
        Self::of(brokers, topic, partitions, record)
    }

    /// Makes a topic for whole records alone.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn whole(brokers: &str, topic: &str, partitions: u16) -> Self {
        Self::of(brokers, topic, partitions, whole_record)
    }

    fn of(brokers: &str, topic: &str, partitions: u16, record: fn(u64) -> String) -> Self {
        create_topic(brokers, topic, partitions);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .create_with_context(Deliveries::default())
            .expect("a producer");
        Self { topic: topic.to_owned(), producer, ids: 0, partitions: partitions.into(), record }
    }

    /// Sends more records, over all partitions in turn; the broker has them when it returns.
    ///
    /// # Panics
    /// The broker does not take them.
    pub fn add(&mut self, records: u64) {
        for id in self.ids..self.ids + records {
            self.send(id);
        }
        self.ids += records;
        self.producer.flush(ANSWER_LIMIT).expect("the broker answers");
        let taken = self.producer.context().0.load(Ordering::Relaxed);
        assert_eq!(taken, self.ids, "the broker took every record");
    }

    fn send(&self, id: u64) {
        let partition = i32::try_from(id % self.partitions).expect("partitions are few");
        let value = (self.record)(id);
        let mut record =
            BaseRecord::<(), str>::to(&self.topic).partition(partition).payload(&value);
        while let Err((error, back)) = self.producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "a record is taken");
            std::thread::sleep(QUEUE_PAUSE);
            record = back;
        }
    }

    /// How many records it holds.
    pub fn ids(&self) -> u64 {
        self.ids
    }
}

/// Makes a topic.
///
/// # Panics
/// The broker refuses.
pub fn create_topic(brokers: &str, topic: &str, partitions: u16) {
    make(brokers, &NewTopic::new(topic, partitions.into(), TopicReplication::Fixed(1)));
}

/// Makes a topic, and waits until its broker names all of it: that may be later than its answer.
fn make(brokers: &str, new: &NewTopic<'_>) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let made = block_on(admin.create_topics([new], &options)).expect("the broker answers");
    assert_eq!(made, [Ok(new.name.to_owned())]);
    wait::until("the topic is listed", ANSWER_LIMIT, || {
        // Asked for by its name, it would be made.
        let metadata = admin.inner().fetch_metadata(None, ANSWER_LIMIT).ok()?;
        let made = metadata.topics().iter().find(|it| it.name() == new.name)?;
        let is_led = made.partitions().iter().all(|it| it.leader() >= 0 && it.error().is_none());
        let partitions = i32::try_from(made.partitions().len()).ok()?;
        (is_led && partitions == new.num_partitions).then_some(())
    });
}

/// Makes a topic that keeps the newest record of each key, with records of these keys, and waits
/// until its broker has removed earlier ones: then some of its offsets are holes.
pub struct Compacted {
    brokers: String,
    topic: String,
}

impl Compacted {
    /// A topic that is cleaned as soon as a broker comes to it.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn new(brokers: &str, topic: &str) -> Self {
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("min.compaction.lag.ms", "0"),
            ("max.compaction.lag.ms", "100"),
        ];
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let new = settings.into_iter().fold(new, |new, (name, value)| new.set(name, value));
        make(brokers, &new);
        Self { brokers: brokers.to_owned(), topic: topic.to_owned() }
    }

    /// Adds a record.
    ///
    /// # Panics
    /// The broker does not take it.
    pub fn add(&self, key: &str, value: &str) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a client");
        let record = BaseRecord::to(&self.topic).key(key).payload(value);
        producer.send(record).expect("there is room");
        producer.flush(ANSWER_LIMIT).expect("it is written");
    }

    /// Waits until no more than so many of the records before an offset are left. A segment is
    /// cleaned once it is closed, which the next record does, so that others are added meanwhile.
    ///
    /// # Panics
    /// The broker removes nothing.
    pub fn wait_for_holes(&self, before: i64, left: usize) {
        wait::until("earlier records are removed", CLEANED_WITHIN, || {
            self.add("later", "{}");
            (self.records_before(before) <= left).then_some(())
        });
    }

    fn records_before(&self, before: i64) -> usize {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.topic)
            .set("enable.partition.eof", "true")
            .create()
            .expect("a client");
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, 0, Offset::Beginning).expect("an offset");
        consumer.assign(&from).expect("assigned");
        let mut records = 0;
        while let Some(Ok(record)) = consumer.poll(ANSWER_LIMIT) {
            if record.offset() >= before {
                break;
            }
            records += 1;
        }
        records
    }
}

/// Deletes a topic with its records, and makes another one of its name.
///
/// # Panics
/// The broker refuses.
pub fn remake_topic(brokers: &str, topic: &str) {
    delete_topic(brokers, topic);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    // The name is free once the broker has forgotten the old one.
    wait::until("the name is free", ANSWER_LIMIT, || {
        let made = block_on(admin.create_topics([&new], &options)).expect("the broker answers");
        made[0].is_ok().then_some(())
    });
}

/// Deletes a topic.
///
/// # Panics
/// The broker refuses.
pub fn delete_topic(brokers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let gone = block_on(admin.delete_topics(&[topic], &options)).expect("the broker answers");
    assert_eq!(gone, [Ok(topic.to_owned())]);
}

/// Whether a consumer group is at rest and has so many members.
///
/// # Panics
/// The broker does not answer.
pub fn has_members(brokers: &str, group: &str, members: usize) -> bool {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
    let found = client.fetch_group_list(Some(group), ANSWER_LIMIT).expect("the broker answers");
    let mut groups = found.groups().iter();
    groups.any(|group| group.state() == "Stable" && group.members().len() == members)
}

/// A record, whole or broken.
fn record(id: u64) -> String {
    match is_whole(id) {
        true => whole_record(id),
        false => format!(r#"{{"id":{id},"word":"#),
    }
}

fn whole_record(id: u64) -> String {
    format!(r#"{{"id":{id},"word":"{}"}}"#, word(id))
}

/// Whether the record with this id can be parsed.
pub fn is_whole(id: u64) -> bool {
    id % BROKEN_EVERY != BROKEN_EVERY - 1
}

/// The id in the bytes of a broken record.
pub fn broken_id(original: &str) -> Option<u64> {
    original.strip_prefix(r#"{"id":"#)?.split(',').next()?.parse().ok()
}

/// What stands beside an id in its record.
pub fn word(id: u64) -> String {
    // Neighbours differ, so that a mix-up of columns shows.
    format!("word-{}", id.wrapping_mul(2_654_435_761) % 1_000_003)
}

#[cfg(test)]
mod tests {
    use super::{broken_id, is_whole, record, word};

    #[test]
    fn one_record_in_a_hundred_is_broken_and_known_by_its_bytes() {
        assert_eq!((0..1000).filter(|id| !is_whole(*id)).count(), 10);
        assert_eq!(broken_id(&record(199)), Some(199));
        assert_eq!(record(7), format!(r#"{{"id":7,"word":"{}"}}"#, word(7)));
    }
}
