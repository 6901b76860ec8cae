//! What every source and every sink must hold, proved on a real broker.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use connector_kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use testkit::services;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_give_every_record_from_every_position() {
    let Some(broker) = services::find("kafka") else { return };
    let topic = services::unique("proof");
    create(&broker, &topic, 2).await;
    for partition in 0..2 {
        let end = if partition == 0 { "commit" } else { "abort" };
        produce(&broker, &topic, partition, end);
    }
    let settings = format!("{{ brokers: \"{broker}\", topics: [{topic}] }}");
    let settings = testkit::section(&settings);
    testkit::check_source(&Kafka, &settings).await;
    testkit::check_end(&Kafka, &settings, async || produce(&broker, &topic, 1, "commit")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_holds_each_epoch_once() {
    let Some(broker) = services::find("kafka") else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = services::unique("proof");
    let settings = format!(
        "{{ brokers: \"{broker}\", topic: {topic}, key: \"{{plain}}\", \
         create_topics: {{ partitions: 3 }} }}"
    );
    testkit::check_sink(&Kafka, &testkit::section(&settings), folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_transactions_gets_every_row() {
    let Some(broker) = services::find("kafka") else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = services::unique("proof");
    let settings = format!(
        "{{ brokers: \"{broker}\", topic: {topic}, transactional: false, \
         create_topics: {{ partitions: 3 }} }}"
    );
    testkit::check_promise(&Kafka, &testkit::section(&settings), folder.path()).await;
}

/// One row in five goes to a topic that can have no such name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_topics_that_cannot_be_are_rejects() {
    let Some(broker) = services::find("kafka") else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = services::unique("proof");
    let settings = format!(
        "{{ brokers: \"{broker}\", topic: \"{topic}-{{plain}}\", token_topic: {topic}, \
         create_topics: {{ partitions: 1 }} }}"
    );
    let settings = testkit::section(&settings);
    testkit::check_rejects(&Kafka, (&settings, folder.path()), |row| row % 5 == 2).await;
}

async fn create(broker: &str, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
    // A busy broker takes a while until it knows its own topic.
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    let is_known = |partition| consumer.fetch_watermarks(topic.name, partition, LIMIT).is_ok();
    let begun = Instant::now();
    while !(0..partitions).all(is_known) {
        assert!(begun.elapsed() < LIMIT, "the topic does not appear");
    }
}

/// Two transactions, the second of which ends as `end` says: markers take offsets too.
fn produce(broker: &str, topic: &str, partition: i32, end: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("transactional.id", format!("{topic}-{partition}"))
        .create()
        .unwrap();
    producer.init_transactions(LIMIT).unwrap();
    for ends in ["commit", end] {
        producer.begin_transaction().unwrap();
        for number in 0..1500 {
            let (key, value) = (format!("key {number}"), format!("record {number} of {ends}"));
            let record = BaseRecord::to(topic).partition(partition).key(&key).payload(&value);
            producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
        }
        match ends {
            "commit" => producer.commit_transaction(LIMIT).unwrap(),
            _ => {
                producer.flush(LIMIT).unwrap();
                producer.abort_transaction(LIMIT).unwrap();
            }
        }
    }
}
