//! Reads one partition with a consumer of its own, in a thread that waits for the brokers.
//!
//! The thread gathers batches and hands them over one at a time, so what is in memory is bounded:
//! the batch that waits, the one in the making, and librdkafka's queue. A batch never waits long
//! for more records.
//!
//! Invariant: what was handed over begins where the last batch ended. Markers of transactions and
//! aborted records take offsets as well; the end is reached by the consumer's place, not by a last
//! record.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::error::Context;
use contract::source::{Lag, ReadBatch, SplitReader};
use contract::{Error, Position, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::catalog::Partition;
use crate::client::{Connection, Witness, blocking, failed, refusal};
use crate::config::SourceFormat;
use crate::end::End;
use crate::identity::Identities;
use crate::member::Member;
use crate::records::Records;
use crate::topic_id::TopicId;

/// Records in one batch, at most.
const BATCH_ROWS_MAX: usize = 8192;
/// Bytes in one batch, about, at most.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// How long a batch waits for more records after its first.
const BATCH_WAIT: Duration = Duration::from_millis(3);
/// How often a quiet thread looks whether anybody still wants records.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the brokers may be away before the runtime hears of it.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// No offset was acknowledged.
const NONE: i64 = -1;

/// What librdkafka's queue of one partition holds at most, by the memory that there is for it.
pub const QUEUE_BYTES: RangeInclusive<usize> = (64 << 10)..=(4 << 20);
/// What one request asks for at most.
const FETCH_BYTES_MAX: usize = 1 << 20;

/// Settings of a consumer that reads one partition. librdkafka's queue is filled again as soon as
/// there is room: by default it waits a second.
const READING: &[(&str, &str)] = &[
    ("isolation.level", "read_committed"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.error.backoff.ms", "100"),
    // The end of the partition comes with them.
    ("statistics.interval.ms", "3000"),
];

/// What to read.
pub struct Reading {
    /// The partition.
    pub partition: Partition,
    /// The first offset.
    pub from: i64,
    /// Offsets before `from` that the log no longer has.
    pub lost: u64,
    /// The offset to stop at; none to go on for ever.
    pub end: Option<i64>,
    /// The group's name, under which clients are told of positions.
    pub group: String,
    /// Whether positions are committed to the group by this reader.
    pub commits: bool,
    /// The columns to make.
    pub schema: SchemaRef,
    /// What values are.
    pub format: SourceFormat,
    /// The id of the topic, and who knows which one it has now; none where the brokers give none.
    pub identity: Option<(TopicId, Arc<Identities>)>,
    /// What librdkafka's queue may hold.
    pub queue_bytes: usize,
}

/// The runtime's end of a thread that reads.
pub struct Reader {
    batches: mpsc::Receiver<Result<Option<ReadBatch>>>,
    acknowledged: Arc<AtomicI64>,
    member: Option<Arc<Member>>,
    remaker: Remaker,
    ended: bool,
    /// The offset behind the last batch that was handed over.
    next: i64,
    /// The end of the partition, as the thread heard of it last.
    end: Arc<End>,
    identity: Option<(TopicId, Arc<Identities>)>,
}

/// Makes records of values that were kept.
#[derive(Clone, Debug)]
pub struct Remaker {
    /// The partition that they stood in.
    pub partition: Partition,
    /// The columns to make.
    pub schema: SchemaRef,
    /// What values are.
    pub format: SourceFormat,
}

impl Remaker {
    fn remake(&self, position: i64, original: &[u8]) -> Result<Option<RecordBatch>> {
        let mut records = Records::new(self.schema.clone(), self.partition.clone(), self.format);
        records.push_kept(position, original);
        records.finish().map(Some)
    }
}

/// A reader of a split that gives nothing any more, because its topic is gone, or nothing is asked
/// for.
pub struct Gone {
    waits: bool,
    remaker: Remaker,
    news: Option<Position>,
}

impl Gone {
    /// One that is at its end, or waits there for ever, once it gave the news of its position.
    pub fn new(waits: bool, remaker: Remaker, news: Option<Position>) -> Self {
        Self { waits, remaker, news }
    }
}

#[async_trait]
impl SplitReader for Gone {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if let Some(next) = self.news.take() {
            let none = RecordBatch::new_empty(self.remaker.schema.clone());
            return Ok(Some(ReadBatch::new(none, next)));
        }
        match self.waits {
            true => std::future::pending().await,
            false => Ok(None),
        }
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn remake(&self, position: i64, original: &[u8]) -> Result<Option<RecordBatch>> {
        self.remaker.remake(position, original)
    }
}

impl Reader {
    /// Starts to read. Blocks for as long as it takes to make a client.
    ///
    /// # Errors
    /// External: no client can be made.
    pub fn start(
        connection: &Connection,
        reading: Reading,
        member: Option<Arc<Member>>,
    ) -> Result<Self> {
        let (sender, batches) = mpsc::channel(1);
        let acknowledged = Arc::new(AtomicI64::new(NONE));
        let (partition, next) = (reading.partition.clone(), reading.from);
        let remaker = Remaker {
            partition: reading.partition.clone(),
            schema: reading.schema.clone(),
            format: reading.format,
        };
        let identity = reading.identity.clone();
        let consumer = consumer(connection, &reading)?;
        let end = consumer.context().end.clone();
        let thread = Thread {
            consumer,
            records: Records::new(reading.schema.clone(), partition.clone(), reading.format),
            next: reading.from,
            note: reading.identity.as_ref().map(|(id, _)| id.to_string().into()),
            reading,
            sender,
            acknowledged: acknowledged.clone(),
            silent_since: None,
        };
        std::thread::Builder::new()
            .name(format!("kafka {}", partition.split()))
            .spawn(move || thread.run())
            .external(|| "could not start a thread".to_owned())?;
        Ok(Self { batches, acknowledged, member, remaker, ended: false, next, end, identity })
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.ended {
            return Ok(None);
        }
        let answer = self.batches.recv().await.unwrap_or_else(|| {
            Err(Error::bug(format!(
                "the thread that reads \"{}\" ended",
                self.remaker.partition.split()
            )))
        });
        self.ended = matches!(answer, Ok(None));
        if let Ok(Some(batch)) = &answer {
            self.next = batch.next.at;
        }
        answer
    }

    async fn confirm(&mut self) -> Result<()> {
        let Some((id, identities)) = self.identity.clone() else { return Ok(()) };
        let topic = self.remaker.partition.topic.clone();
        blocking(move || identities.confirm(&topic, id)).await
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        match &self.member {
            Some(member) => member.commit(&self.remaker.partition, position.at),
            None => self.acknowledged.store(position.at, Ordering::Release),
        }
        Ok(())
    }

    fn remake(&self, position: i64, original: &[u8]) -> Result<Option<RecordBatch>> {
        self.remaker.remake(position, original)
    }

    fn lag(&self) -> Lag {
        let fetched_bytes = self.end.queued_bytes();
        Lag { records: self.end.lag(self.next), fetched_bytes, ..Lag::default() }
    }
}

fn consumer(connection: &Connection, reading: &Reading) -> Result<BaseConsumer<Witness>> {
    let tried = || format!("could not read \"{}\"", reading.partition.split());
    let mut config = connection.config(&[("group.id", &reading.group)]);
    for (name, value) in settings(reading.queue_bytes) {
        if connection.property(name).is_none() {
            config.set(name, value);
        }
    }
    let consumer: BaseConsumer<Witness> = config
        .create_with_context(Witness::default())
        .map_err(|error| failed(error, "could not make a Kafka client"))?;
    let mut place = TopicPartitionList::with_capacity(1);
    let Partition { topic, number } = &reading.partition;
    place.add_partition_offset(topic, *number, Offset::Offset(reading.from)).external(tried)?;
    consumer.assign(&place).map_err(|error| failed(error, tried()))?;
    Ok(consumer)
}

/// The settings of a consumer whose queue may hold so many bytes. An answer that comes while there
/// is room is taken, so half of them are for that.
fn settings(queue_bytes: usize) -> impl Iterator<Item = (&'static str, String)> {
    let answer = (queue_bytes / 2).min(FETCH_BYTES_MAX);
    let bounds = [
        ("queued.max.messages.kbytes", ((queue_bytes - answer) >> 10).to_string()),
        ("fetch.message.max.bytes", answer.to_string()),
    ];
    READING.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(bounds)
}

struct Thread {
    consumer: BaseConsumer<Witness>,
    reading: Reading,
    records: Records,
    /// The offset behind the last record that was taken.
    next: i64,
    sender: mpsc::Sender<Result<Option<ReadBatch>>>,
    acknowledged: Arc<AtomicI64>,
    /// The id of the topic, as positions carry it.
    note: Option<Arc<str>>,
    /// Since when the brokers are away.
    silent_since: Option<Instant>,
}

/// What a look at the consumer's queue brought.
enum Look {
    Record,
    Nothing,
    End,
}

impl Thread {
    fn run(mut self) {
        loop {
            let gathered = self.gather();
            let is_last = !matches!(gathered, Ok(Some(_)));
            if self.sender.blocking_send(gathered).is_err() {
                break;
            }
            self.commit(CommitMode::Async);
            if is_last {
                self.rest();
                break;
            }
        }
        self.commit(CommitMode::Sync);
    }

    /// Stays for the acknowledgement of the last batch.
    fn rest(&mut self) {
        while !self.sender.is_closed() {
            let _ = self.consumer.poll(LOOK_EVERY);
            self.commit(CommitMode::Async);
        }
    }

    /// The next batch; none at the end, or when nobody wants it any more.
    fn gather(&mut self) -> Result<Option<ReadBatch>> {
        let lost = std::mem::take(&mut self.reading.lost);
        if lost > 0 {
            return self.batch(lost).map(Some);
        }
        let mut until: Option<Instant> = None;
        loop {
            if self.is_at_end() {
                return self.end();
            }
            if self.is_full() {
                return self.batch(0).map(Some);
            }
            match self.look(until)? {
                Look::Record if until.is_none() => until = Some(Instant::now() + BATCH_WAIT),
                Look::Record => {}
                Look::End => return self.end(),
                Look::Nothing if self.sender.is_closed() => return Ok(None),
                Look::Nothing if until.is_some_and(|until| until <= Instant::now()) => {
                    return self.batch(0).map(Some);
                }
                Look::Nothing => self.commit(CommitMode::Async),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.records.rows() >= BATCH_ROWS_MAX || self.records.bytes() >= BATCH_BYTES_MAX
    }

    fn is_at_end(&self) -> bool {
        self.reading.end.is_some_and(|end| self.next >= end)
    }

    /// What was gathered before the end, without records where only markers are left; none once
    /// that was handed over.
    fn end(&mut self) -> Result<Option<ReadBatch>> {
        let end = self.reading.end.unwrap_or(self.next);
        if self.records.rows() == 0 && self.next >= end {
            return Ok(None);
        }
        self.next = end;
        self.batch(0).map(Some)
    }

    fn batch(&mut self, lost: u64) -> Result<ReadBatch> {
        let bytes = self.records.bytes();
        let records = self.records.finish()?;
        let mut next = Position::new(self.next);
        if let Some(note) = &self.note {
            next = next.with_note(note.clone());
        }
        Ok(ReadBatch { lost, bytes, ..ReadBatch::new(records, next) })
    }

    /// Takes a record that is there, or waits for one until then; without a time, a while.
    fn look(&mut self, until: Option<Instant>) -> Result<Look> {
        // Where many records are there, the clock would cost more than they do.
        let polled = self.consumer.poll(Duration::ZERO).or_else(|| {
            let wait = until.map_or(LOOK_EVERY, |until| until.duration_since(Instant::now()));
            self.consumer.poll(wait)
        });
        match polled {
            None => self.check_silence(),
            Some(Ok(message)) => {
                self.silent_since = None;
                if self.reading.end.is_some_and(|end| message.offset() >= end) {
                    return Ok(Look::End);
                }
                take(&mut self.records, &mut self.next, &message);
                Ok(Look::Record)
            }
            // Everything up to the last stable offset was read, and that is not before the end.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.silent_since = None;
                self.consumer.context().end.reached(self.next);
                Ok(if self.reading.end.is_some() { Look::End } else { Look::Nothing })
            }
            Some(Err(error)) => self.trouble(error),
        }
    }

    fn check_silence(&self) -> Result<Look> {
        match self.silent_since {
            Some(since) if since.elapsed() >= SILENCE_MAX => {
                let silence = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
                Err(self.consumer.context().explain(silence, self.tried()))
            }
            _ => Ok(Look::Nothing),
        }
    }

    /// librdkafka goes on by itself after most errors.
    fn trouble(&mut self, error: KafkaError) -> Result<Look> {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let is_over = match code {
            Some(code) if refusal(code).is_some() => true,
            Some(
                Code::AutoOffsetReset
                | Code::OffsetOutOfRange
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownPartition
                | Code::UnknownTopicId,
            ) => true,
            _ => matches!(error, KafkaError::MessageConsumptionFatal(_)),
        };
        if is_over {
            return Err(self.consumer.context().explain(error, self.tried()));
        }
        if self.silent_since.is_none() {
            warn!(split = %self.reading.partition.split(), %error, "waiting for the brokers");
            self.silent_since = Some(Instant::now());
        }
        Ok(Look::Nothing)
    }

    fn tried(&self) -> String {
        format!("could not read \"{}\" from offset {}", self.reading.partition.split(), self.next)
    }

    /// Tells the group how far everything is delivered. Only tools that show lag look at it.
    fn commit(&self, mode: CommitMode) {
        let offset = self.acknowledged.swap(NONE, Ordering::AcqRel);
        if offset == NONE || !self.reading.commits {
            return;
        }
        let Partition { topic, number } = &self.reading.partition;
        let mut place = TopicPartitionList::with_capacity(1);
        let placed = place.add_partition_offset(topic, *number, Offset::Offset(offset));
        if let Err(error) = placed.and_then(|()| self.consumer.commit(&place, mode)) {
            debug!(split = %self.reading.partition.split(), %error, "could not commit an offset");
        }
    }
}

fn take(records: &mut Records, next: &mut i64, message: &BorrowedMessage<'_>) {
    records.push(message);
    *next = message.offset() + 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_and_an_answer_on_top_of_it_stay_within_their_memory() {
        for bytes in [*QUEUE_BYTES.start(), 1 << 20, *QUEUE_BYTES.end()] {
            let settings: std::collections::HashMap<_, _> = settings(bytes).collect();
            let number = |name: &str| settings[name].parse::<usize>().expect("a number");
            let queue = number("queued.max.messages.kbytes") << 10;
            let answer = number("fetch.message.max.bytes");
            assert!(queue + answer <= bytes && queue >= bytes / 2, "{queue} + {answer}");
        }
    }
}
