//! Measures how long a record takes from Kafka to where it can be seen: `cargo xtask bench
//! --latency` runs it, beside the program that it measures.
//!
//! One partition is one lineage, so records become visible in their order: those that a stranger
//! counts at the destination are the first that were sent.

#![allow(clippy::panic, reason = "a measurement fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use testkit::program::Program;
use testkit::services::unique;
use testkit::stream::create_topic;
use tokio_postgres::NoTls;

/// Between two looks at a destination.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A record that takes longer does not come.
const LIMIT: Duration = Duration::from_secs(60);
const LAKE_TABLE: &str = "seen";

/// What to measure.
#[derive(Parser)]
struct Latency {
    /// Where the records go.
    #[arg(value_enum)]
    place: Place,
    /// The brokers.
    brokers: String,
    /// The URL of PostgreSQL.
    postgres: String,
    /// Records in a second.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// How long they come.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

/// Where records go.
#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Kafka,
    Postgres,
    Lake,
}

/// Says how many records can be seen now.
type Count = Box<dyn FnMut() -> usize>;

fn main() {
    let latency = Latency::parse();
    let folder = tempfile::tempdir().expect("a folder");
    let topic = unique("sent");
    create_topic(&latency.brokers, &topic, 1);
    let (sink, mut count) = latency.destination(folder.path());
    let brokers = &latency.brokers;
    let pipeline = format!(
        "name: {topic}\nepoch: {{ interval: 200ms }}\nsources:\n  feed: {{ type: kafka, brokers: \
         {brokers:?}, topics: {topic} }}\ntransforms:\n  parsed: {{ type: parse, input: feed, \
         format: json, fields: {{ id: integer }} }}\nsinks:\n  out: {{ input: parsed, {sink} }}\n"
    );
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).expect("a pipeline file");
    let program = Program::new(&beside_us(), folder.path());
    let running = program.follow(&folder.path().join("data"));
    let feed = Feed::new(brokers, &topic);
    // The start of the program is not measured.
    feed.send();
    feed.watch(&mut count, 1);
    let mut millis = scope(|threads| {
        threads.spawn(|| feed.send_steadily(latency.rate, latency.seconds));
        feed.watch(&mut count, 1 + latency.rate as usize * latency.seconds as usize)
    });
    drop(running);
    // The first waited for the program.
    millis.remove(0);
    millis.sort_by(f64::total_cmp);
    println!("{:.1} {:.1}", percentile(&millis, 50), percentile(&millis, 99));
}

/// The program that was built with us.
fn beside_us() -> PathBuf {
    std::env::current_exe().expect("we run").with_file_name("logmill")
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

impl Latency {
    /// The settings of the sink, and what counts its records.
    fn destination(&self, folder: &Path) -> (String, Count) {
        let Self { brokers, postgres, .. } = self;
        let name = unique("seen");
        match self.place {
            Place::Kafka => {
                create_topic(brokers, &name, 1);
                let sink = format!("type: kafka, brokers: {brokers:?}, topic: {name}");
                (sink, in_kafka(brokers, &name))
            }
            Place::Postgres => {
                let sink =
                    format!("type: postgres, url: {postgres:?}, table: {name}, create: true");
                (sink, in_postgres(postgres, &name))
            }
            Place::Lake => {
                let log = folder.join("data/lake").join(LAKE_TABLE).join("_delta_log");
                (format!("type: lake, table: {LAKE_TABLE}"), in_lake(log))
            }
        }
    }
}

/// As a reader of committed records sees it.
fn in_kafka(brokers: &str, topic: &str) -> Count {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", topic)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&place).expect("an assignment");
    let mut seen = 0;
    Box::new(move || {
        while let Some(message) = consumer.poll(Duration::ZERO) {
            message.expect("a record");
            seen += 1;
        }
        seen
    })
}

fn in_postgres(url: &str, table: &str) -> Count {
    let tasks = tokio::runtime::Runtime::new().expect("a runtime");
    let connected = tasks.block_on(tokio_postgres::connect(url, NoTls));
    let (client, connection) = connected.expect("the server answers");
    tasks.spawn(connection);
    let query = format!("SELECT count(*) FROM {table}");
    Box::new(move || {
        // The sink makes the table.
        let row = tasks.block_on(client.query_one(&query, &[]));
        row.map_or(0, |row| usize::try_from(row.get::<_, i64>(0)).expect("rows are counted"))
    })
}

/// By the log of the table, of which an entry is there as a whole or not at all.
fn in_lake(log: PathBuf) -> Count {
    let (mut version, mut seen) = (0, 0);
    Box::new(move || {
        while let Ok(entry) = std::fs::read_to_string(log.join(format!("{version:020}.json"))) {
            version += 1;
            seen += entry.lines().map(rows_added).sum::<usize>();
        }
        seen
    })
}

fn rows_added(action: &str) -> usize {
    let action: serde_json::Value = serde_json::from_str(action).expect("an action is JSON");
    let add = &action["add"];
    // Files that were put together hold no new rows.
    if add["dataChange"] != true {
        return 0;
    }
    let stats = add["stats"].as_str().expect("files have statistics");
    let stats: serde_json::Value = serde_json::from_str(stats).expect("they are JSON");
    usize::try_from(stats["numRecords"].as_u64().expect("a count")).expect("it fits in memory")
}

/// Sends records, and remembers when.
struct Feed {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    sent: Mutex<Vec<Instant>>,
}

impl Feed {
    fn new(brokers: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "0");
        let producer = config.create().expect("a producer");
        Self { producer, topic: topic.to_owned(), sent: Mutex::default() }
    }

    fn send(&self) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let value = format!(r#"{{"id":{}}}"#, sent.len());
        sent.push(Instant::now());
        let record = BaseRecord::<(), str>::to(&self.topic).payload(&value);
        self.producer.send(record).unwrap_or_else(|(error, _)| panic!("{error}"));
    }

    fn send_steadily(&self, rate: u32, seconds: u32) {
        let begun = Instant::now();
        for number in 0..rate * seconds {
            let due = begun + Duration::from_secs(1) * number / rate;
            sleep(due.saturating_duration_since(Instant::now()));
            self.send();
        }
    }

    /// Watches until so many records can be seen; the milliseconds that each of them took.
    fn watch(&self, count: &mut Count, expected: usize) -> Vec<f64> {
        let mut millis = Vec::with_capacity(expected);
        let mut changed = Instant::now();
        while millis.len() < expected {
            let seen = count();
            let now = Instant::now();
            let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(seen <= sent.len(), "{seen} records are seen of {}", sent.len());
            for sent in &sent[millis.len()..seen] {
                millis.push(now.duration_since(*sent).as_secs_f64() * 1e3);
                changed = now;
            }
            drop(sent);
            assert!(changed.elapsed() < LIMIT, "{seen} of {expected} records arrived");
            sleep(LOOK_EVERY);
        }
        millis
    }
}
