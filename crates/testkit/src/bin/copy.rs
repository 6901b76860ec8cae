//! Copies a Kafka topic with nothing but librdkafka: what `cargo xtask bench` measures deliveries
//! from topic to topic against. No parsing, no transaction, no proof.

#![allow(clippy::panic, reason = "a measurement fails by panicking")]

use std::time::Duration;

use clap::Parser;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientContext, TopicPartitionList};
use testkit::stream::create_topic;

const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How long a full queue is left to empty itself.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// What to copy.
#[derive(Parser)]
struct Copy {
    /// The brokers.
    brokers: String,
    /// The topic to read, from its beginning to the end that it has now.
    from: String,
    /// The topic to make and write, with as many partitions.
    to: String,
}

fn main() {
    let copy = Copy::parse();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &copy.brokers)
        .set("group.id", "copy")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &copy.brokers)
        .set("linger.ms", "20")
        .create()
        .expect("a producer");
    let metadata = consumer.fetch_metadata(Some(&copy.from), ANSWER_LIMIT);
    let partitions = metadata.expect("the broker answers").topics()[0].partitions().len();
    let partitions = u16::try_from(partitions).expect("partitions are few");
    create_topic(&copy.brokers, &copy.to, partitions);
    let mut left = assign(&consumer, &copy.from, partitions);
    while left > 0 {
        let message = consumer.poll(ANSWER_LIMIT).expect("a record").expect("a record is read");
        let value = message.payload().unwrap_or_default();
        let record = BaseRecord::<(), [u8]>::to(&copy.to).partition(message.partition());
        send(&producer, record.payload(value));
        left -= 1;
    }
    producer.flush(ANSWER_LIMIT).expect("the broker answers");
}

/// Assigns partitions; returns how many records they hold, if none were removed.
fn assign(consumer: &BaseConsumer, topic: &str, partitions: u16) -> i64 {
    let mut list = TopicPartitionList::new();
    let mut records = 0;
    for partition in (0..partitions).map(i32::from) {
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        let ends = consumer.fetch_watermarks(topic, partition, ANSWER_LIMIT);
        let (low, high) = ends.expect("the broker answers");
        records += high - low;
    }
    consumer.assign(&list).expect("partitions are assigned");
    records
}

fn send<C>(producer: &ThreadedProducer<C>, mut record: BaseRecord<'_, (), [u8]>)
where
    C: ClientContext + rdkafka::producer::ProducerContext<DeliveryOpaque = ()> + 'static,
{
    while let Err((error, back)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full, "a record is taken");
        std::thread::sleep(QUEUE_PAUSE);
        record = back;
    }
}
