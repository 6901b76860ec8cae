//! Reads what topics really hold: every committed record with its origin, to the end.
//!
//! Records without the headers of an origin came from somebody else and are counted alone, unless
//! the sink writes none: then every record counts, and its place in the topic stands for its
//! origin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringDictionaryBuilder};
use arrow::datatypes::Int32Type;
use contract::error::Context;
use contract::record::{EPOCH, LOSSY, ORDINAL, POSITION, SPLIT};
use contract::sink::{BatchStream, ReadBack};
use contract::{Error, Origin, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::mpsc;

use crate::catalog::{Catalog, Partition};
use crate::client::{Connection, Witness, failed, refusal};
use crate::config::SourceFormat;
use crate::headers;
use crate::records::{self, Records};

/// Rows in one batch.
const BATCH_ROWS_MAX: usize = 8192;
/// How long the brokers may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a quiet thread looks whether anybody still wants rows.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What to read back.
pub struct Wanted {
    /// Which rows, and what of them.
    pub what: ReadBack,
    /// Whether the sink writes the headers of an origin.
    pub with_origin: bool,
}

/// Streams rows of topics, read in a thread of its own.
///
/// # Errors
/// External: no client can be made.
pub fn stream(
    connection: &Connection,
    pipeline: &str,
    catalog: Arc<Catalog>,
    topics: BTreeMap<String, i32>,
    wanted: Wanted,
) -> Result<BatchStream> {
    // librdkafka needs the name of a group; it never has members nor offsets.
    let group = format!("logmill.{pipeline}.read-back");
    let config = connection.config(&[
        ("group.id", &group),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.partition.eof", "true"),
        ("queued.max.messages.kbytes", "8192"),
        ("fetch.queue.backoff.ms", "2"),
    ]);
    let consumer = config.create_with_context(Witness::default());
    let consumer = consumer.map_err(|error| failed(error, "could not make a Kafka client"))?;
    let (sender, batches) = mpsc::channel(2);
    let thread = Thread { consumer, catalog, sender, wanted, found: Found::default() };
    std::thread::Builder::new()
        .name("kafka read back".to_owned())
        .spawn(move || thread.run(&topics))
        .external(|| "could not start a thread".to_owned())?;
    Ok(Box::pin(futures::stream::unfold(batches, |mut batches| async {
        batches.recv().await.map(|batch| (batch, batches))
    })))
}

struct Thread {
    consumer: BaseConsumer<Witness>,
    catalog: Arc<Catalog>,
    sender: mpsc::Sender<Result<RecordBatch>>,
    wanted: Wanted,
    found: Found,
}

impl Thread {
    fn run(mut self, topics: &BTreeMap<String, i32>) {
        match self.read_all(topics) {
            Ok(Goes::On) => {
                self.hand_over();
            }
            Ok(Goes::Nowhere) => {}
            Err(error) => {
                // Whoever reads has gone, or hears of it.
                let _ = self.sender.blocking_send(Err(error));
            }
        }
    }

    fn read_all(&mut self, topics: &BTreeMap<String, i32>) -> Result<Goes> {
        let partitions = topics.iter().flat_map(|(topic, count)| {
            (0..*count).map(|number| Partition { topic: topic.clone(), number })
        });
        // What was committed a moment ago is to be seen.
        self.catalog.settled_ends(&partitions.collect::<Vec<_>>())?;
        for (topic, partitions) in topics {
            if matches!(self.read(topic, *partitions)?, Goes::Nowhere) {
                return Ok(Goes::Nowhere);
            }
        }
        Ok(Goes::On)
    }

    /// Reads a topic, until each of its partitions is at its end.
    fn read(&mut self, topic: &str, partitions: i32) -> Result<Goes> {
        let tried = || format!("could not read topic {topic:?} back");
        let mut list = TopicPartitionList::with_capacity(1);
        for number in 0..partitions {
            list.add_partition_offset(topic, number, Offset::Beginning).external(tried)?;
        }
        self.consumer.assign(&list).map_err(|error| failed(error, tried()))?;
        let mut open: BTreeSet<i32> = (0..partitions).collect();
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.consumer.poll(LOOK_EVERY) {
                Some(Ok(message)) => take(&self.wanted, &mut self.found, &message)?,
                Some(Err(KafkaError::PartitionEOF(number))) => {
                    open.remove(&number);
                }
                Some(Err(error)) if refuses(&error) => return Err(failed(error, tried())),
                Some(Err(_)) | None => {
                    if self.sender.is_closed() {
                        return Ok(Goes::Nowhere);
                    }
                    if heard.elapsed() >= SILENCE_MAX {
                        return Err(Error::transient(tried()).because("no broker answers"));
                    }
                    continue;
                }
            }
            heard = Instant::now();
            if self.found.rows() >= BATCH_ROWS_MAX && matches!(self.hand_over(), Goes::Nowhere) {
                return Ok(Goes::Nowhere);
            }
        }
        Ok(Goes::On)
    }

    fn hand_over(&mut self) -> Goes {
        for batch in self.found.take() {
            if self.sender.blocking_send(batch).is_err() {
                return Goes::Nowhere;
            }
        }
        Goes::On
    }
}

/// Whether anybody still wants rows.
enum Goes {
    On,
    Nowhere,
}

fn refuses(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_some_and(|code| refusal(code).is_some())
}

fn take(wanted: &Wanted, found: &mut Found, message: &BorrowedMessage<'_>) -> Result<()> {
    let row = match wanted.with_origin {
        true => OriginRow::of(message),
        false => Some(OriginRow::at_place(message)),
    };
    match (&wanted.what, row) {
        (ReadBack::Origins, row) => found.origins.push(row.as_ref()),
        (ReadBack::Record(origin), Some(row)) if row.is_of(origin) => {
            found.records.push(whole(message, &row)?);
        }
        (ReadBack::Record(_), _) => {}
    }
    Ok(())
}

/// The origin of a record, from its headers.
struct OriginRow {
    split: String,
    position: i64,
    ordinal: i64,
    epoch: i64,
}

impl OriginRow {
    fn of(message: &BorrowedMessage<'_>) -> Option<Self> {
        let (mut split, mut position, mut ordinal, mut epoch) = (None, None, None, None);
        for (name, value) in headers::of(message) {
            let Some(text) = value.and_then(|value| std::str::from_utf8(value).ok()) else {
                continue;
            };
            match std::str::from_utf8(name).unwrap_or_default() {
                headers::SPLIT => split = Some(text.to_owned()),
                headers::POSITION => position = text.parse().ok(),
                headers::ORDINAL => ordinal = text.parse().ok(),
                headers::EPOCH => epoch = text.parse().ok(),
                _ => {}
            }
        }
        let ordinal = ordinal.unwrap_or(0);
        Some(Self { split: split?, position: position?, ordinal, epoch: epoch? })
    }

    /// The place of a record, where it carries no origin.
    fn at_place(message: &BorrowedMessage<'_>) -> Self {
        let split = format!("{}/{}", message.topic(), message.partition());
        Self { split, position: message.offset(), ordinal: 0, epoch: 0 }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.split == origin.split.as_str() && self.position == origin.position
    }
}

/// What was read and not handed over yet.
#[derive(Default)]
struct Found {
    origins: Origins,
    records: Vec<RecordBatch>,
}

impl Found {
    fn rows(&self) -> usize {
        self.origins.positions.len() + self.records.len()
    }

    fn take(&mut self) -> Vec<Result<RecordBatch>> {
        let mut batches: Vec<_> = self.records.drain(..).map(Ok).collect();
        if !self.origins.positions.is_empty() {
            batches.push(self.origins.finish());
        }
        batches
    }
}

/// The columns of origins.
#[derive(Default)]
struct Origins {
    splits: StringDictionaryBuilder<Int32Type>,
    positions: Vec<Option<i64>>,
    ordinals: Vec<Option<i64>>,
    epochs: Vec<Option<i64>>,
}

impl Origins {
    fn push(&mut self, row: Option<&OriginRow>) {
        self.splits.append_option(row.map(|row| &row.split));
        self.positions.push(row.map(|row| row.position));
        self.ordinals.push(row.map(|row| row.ordinal));
        self.epochs.push(row.map(|row| row.epoch));
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let numbers = |numbers: &mut Vec<Option<i64>>| -> ArrayRef {
            Arc::new(Int64Array::from(std::mem::take(numbers)))
        };
        let columns: [(&str, ArrayRef, bool); 4] = [
            (SPLIT, Arc::new(self.splits.finish()), true),
            (POSITION, numbers(&mut self.positions), true),
            (ORDINAL, numbers(&mut self.ordinals), true),
            (EPOCH, numbers(&mut self.epochs), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).bug("origins do not make a batch")
    }
}

/// All columns of a record, with its origin for its place in the topic.
fn whole(message: &BorrowedMessage<'_>, row: &OriginRow) -> Result<RecordBatch> {
    let partition = Partition { topic: message.topic().to_owned(), number: message.partition() };
    let schema = records::schema(SourceFormat::Text);
    let mut records = Records::new(schema.clone(), partition, SourceFormat::Text);
    records.push(message);
    let record = records.finish()?;
    let mut origins = Origins::default();
    origins.push(Some(row));
    let origin = origins.finish()?;
    let fields = schema.fields().iter().zip(record.columns());
    let own = fields.filter(|(field, _)| ![LOSSY, POSITION].contains(&field.name().as_str()));
    let own = own.map(|(field, column)| (field.name().clone(), column.clone()));
    let fields = origin.schema();
    let names = fields.fields().iter().map(|field| field.name().clone());
    let columns = own.chain(names.zip(origin.columns().iter().cloned()));
    RecordBatch::try_from_iter(columns).bug("a record does not make a row")
}
