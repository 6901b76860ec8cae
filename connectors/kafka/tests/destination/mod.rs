//! A Kafka topic, read as `read_committed` readers see it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use testkit::program::Program;
use testkit::services::{find, unique};
use testkit::stream::servers::Called;
use testkit::stream::{Destination, Tally, create_topic};

const PARTITIONS: u16 = 3;
const READ_LIMIT: Duration = Duration::from_secs(120);
const POLL_FOR: Duration = Duration::from_millis(100);

/// A topic of its own, or one that repeats another.
pub struct Topic {
    brokers: String,
    /// What the pipeline calls them.
    called: String,
    topic: String,
    partitions: u16,
}

/// Makes a topic.
pub fn destination(called: Called) -> Option<Box<dyn Destination>> {
    let topic = Topic::named(&find("kafka")?, &unique("milled"), PARTITIONS);
    Some(Box::new(Topic { called: called.address("kafka")?, ..topic }))
}

impl Topic {
    /// Makes a topic that has this name.
    ///
    /// # Panics
    /// The broker refuses.
    pub fn named(brokers: &str, topic: &str, partitions: u16) -> Self {
        create_topic(brokers, topic, partitions);
        let (brokers, called) = (brokers.to_owned(), brokers.to_owned());
        Self { brokers, called, topic: topic.to_owned(), partitions }
    }

    fn reader(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", unique("reader"))
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer")
    }

    /// Where the partitions end for such a reader.
    fn ends(&self, isolation: &str) -> Vec<i64> {
        let reader = self.reader(isolation);
        let marks = (0..self.partitions.into())
            .map(|partition| reader.fetch_watermarks(&self.topic, partition, READ_LIMIT));
        marks.map(|marks| marks.expect("the broker answers").1).collect()
    }
}

impl Destination for Topic {
    fn settings(&self) -> String {
        let Self { called, topic, .. } = self;
        format!("type: kafka, brokers: \"{called}\", topic: {topic}, key: \"{{id}}\"")
    }

    fn has_undecided(&self) -> bool {
        self.ends("read_committed") != self.ends("read_uncommitted")
    }

    fn read(&self, _: &Program, _: &Path, tally: &mut Tally) {
        let consumer = self.reader("read_committed");
        let mut partitions = TopicPartitionList::new();
        let mut open: BTreeSet<i32> = (0..self.partitions.into()).collect();
        for partition in &open {
            partitions
                .add_partition_offset(&self.topic, *partition, Offset::Beginning)
                .expect("a partition");
        }
        consumer.assign(&partitions).expect("an assignment");
        let until = Instant::now() + READ_LIMIT;
        while !open.is_empty() {
            assert!(Instant::now() < until, "the topic is read in time");
            match consumer.poll(POLL_FOR) {
                Some(Ok(message)) => {
                    let value = message.payload().expect("a row has a value");
                    tally.count_line(std::str::from_utf8(value).expect("JSON is UTF-8"));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                // A broker that was just killed; the library connects again.
                Some(Err(_)) | None => {}
            }
        }
    }
}
