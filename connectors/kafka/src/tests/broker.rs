//! A broker to test with: topics, records, transactions, and what a group committed.

use std::path::Path;
use std::time::Duration;

use contract::source::{Lineages, Terms, Until};
use contract::spec::{BuildContext, Connector};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};
use testkit::{services, wait};

use crate::Kafka;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(30);

/// What a source is told of a run that may fetch as much as it likes.
pub fn terms(until: Until, lineages: Lineages) -> Terms {
    Terms { until, lineages, fetch_bytes: usize::MAX }
}

/// A broker.
pub struct Broker {
    pub address: String,
}

/// A record to write.
#[derive(Clone, Default)]
pub struct Record<'a> {
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    pub timestamp: Option<i64>,
}

impl Broker {
    /// The broker, if there is one.
    pub fn find() -> Option<Self> {
        services::find("kafka").map(|address| Self { address })
    }

    /// A new topic.
    pub async fn topic(&self, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = services::unique("t");
        self.create(&name, partitions, config).await;
        name
    }

    /// Creates a topic.
    pub async fn create(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (name, value) in config {
            topic = topic.set(name, value);
        }
        let made = self.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        // A busy broker takes a while until it knows its own topic.
        let consumer: BaseConsumer = self.client().create().unwrap();
        for partition in 0..partitions {
            let ask = async || consumer.fetch_watermarks(name, partition, LIMIT).ok();
            until("the new topic", ask).await;
        }
    }

    /// Gives a topic more partitions.
    pub async fn grow(&self, topic: &str, partitions: usize) {
        let grown = NewPartitions::new(topic, partitions);
        let made = self.admin().create_partitions([&grown], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes a topic.
    pub async fn delete(&self, topic: &str) {
        let gone = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
        let consumer: BaseConsumer = self.client().create().unwrap();
        until("the topic is gone", async || {
            let metadata = consumer.fetch_metadata(Some(topic), LIMIT).ok()?;
            metadata.topics().iter().all(|topic| topic.error().is_some()).then_some(())
        })
        .await;
    }

    /// Deletes a topic, and makes another one of its name with these texts.
    pub async fn remake(&self, topic: &str, texts: &[&str]) {
        self.delete(topic).await;
        self.create(topic, 1, &[]).await;
        self.produce_texts(topic, texts);
    }

    /// Waits until partition 0 of a topic holds so many records, committed or not.
    pub async fn arrived(&self, topic: &str, records: i64) {
        let mut config = self.client();
        let consumer: BaseConsumer =
            config.set("isolation.level", "read_uncommitted").create().unwrap();
        until("the records", async || {
            let (_, high) = consumer.fetch_watermarks(topic, 0, LIMIT).ok()?;
            (high >= records).then_some(())
        })
        .await;
    }

    /// Changes a setting of a topic.
    pub async fn alter(&self, topic: &str, name: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        let made = self.admin().alter_configs([&change], &AdminOptions::new()).await.unwrap();
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Forgets the records of partition 0 before an offset.
    pub async fn forget(&self, topic: &str, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, 0, Offset::Offset(before)).unwrap();
        self.admin().delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }

    /// Writes records.
    pub fn produce(&self, topic: &str, records: &[Record<'_>]) {
        let producer: BaseProducer = self.client().create().unwrap();
        send(&producer, topic, records);
        producer.flush(LIMIT).unwrap();
    }

    /// Writes texts to partition 0.
    pub fn produce_texts(&self, topic: &str, texts: &[&str]) {
        let records: Vec<_> = texts.iter().map(|text| Record::text(text)).collect();
        self.produce(topic, &records);
    }

    /// Writes texts to partition 0 in a transaction that ends as wanted.
    pub fn transact(&self, topic: &str, texts: &[&str], end: End) {
        let producer = self.transaction(topic, texts);
        match end {
            End::Commit => producer.commit_transaction(LIMIT).unwrap(),
            End::Abort => producer.abort_transaction(LIMIT).unwrap(),
        }
    }

    /// Writes texts to partition 0 in a transaction that is still open.
    pub fn transaction(&self, topic: &str, texts: &[&str]) -> BaseProducer {
        let id = services::unique("transaction");
        let producer: BaseProducer = self.client().set("transactional.id", id).create().unwrap();
        producer.init_transactions(LIMIT).unwrap();
        producer.begin_transaction().unwrap();
        let records: Vec<_> = texts.iter().map(|text| Record::text(text)).collect();
        send(&producer, topic, &records);
        producer.flush(LIMIT).unwrap();
        producer
    }

    /// What a group committed for partition 0 of a topic, with its metadata.
    pub fn committed(&self, group: &str, topic: &str) -> Option<(i64, String)> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, 0);
        let list = consumer.committed_offsets(list, LIMIT).unwrap();
        let element = list.find_partition(topic, 0).unwrap();
        match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        }
    }

    /// A consumer of the group that is named like a topic, under a name by which that knows it.
    pub fn join(&self, topic: &str, instance: &str) -> BaseConsumer {
        let mut config = self.client();
        config.set("group.id", topic).set("group.instance.id", instance);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        consumer
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }
}

/// How a transaction ends.
#[derive(Clone, Copy)]
pub enum End {
    Commit,
    Abort,
}

impl<'a> Record<'a> {
    /// A value alone.
    pub fn text(text: &'a str) -> Self {
        Self { value: Some(text.as_bytes()), ..Self::default() }
    }
}

fn send(producer: &BaseProducer, topic: &str, records: &[Record<'_>]) {
    for record in records {
        let mut sent: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        sent = sent.partition(record.partition);
        (sent.key, sent.payload, sent.timestamp) = (record.key, record.value, record.timestamp);
        if !record.headers.is_empty() {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, header| {
                headers.insert(Header { key: header.0, value: header.1 })
            });
            sent = sent.headers(headers);
        }
        producer.send(sent).unwrap_or_else(|(error, _)| panic!("{error}"));
    }
}

/// The time between two barriers, for a sink.
pub const EPOCH_INTERVAL: Duration = Duration::from_millis(500);

/// What a source or a sink is told of its pipeline.
pub fn build_context() -> BuildContext {
    let ctx = BuildContext::new(&services::unique("p"), "proof", Path::new("unused"));
    BuildContext { epoch_interval: EPOCH_INTERVAL, ..ctx }
}

/// A source with these settings.
pub fn source(settings: &str) -> std::sync::Arc<dyn contract::source::Source> {
    Kafka
        .source(&testkit::section(settings), &build_context())
        .unwrap_or_else(|error| panic!("{}", error.chain()))
}

/// Asks again and again until the answer is as wanted.
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    wait::for_answer(what, LIMIT, ask).await
}
