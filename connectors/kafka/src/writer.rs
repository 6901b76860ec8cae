//! Sends rows, waits for every report, commits what was decided.
//!
//! A full queue is waited for, never dropped. With transactions, rows and token become visible at
//! once in [`Writer::commit`]; a commit whose outcome is unknown is left to the runtime, which
//! fences and reads the token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::sink::{
    Commit, CommitOutcome, Footprint, Identity, OneLineage, Prepared, Rejects, Room, Writer,
};
use contract::{Error, Lineage, Result, failpoint};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::BaseRecord;

use crate::admin::{Found, Topic};
use crate::client::{blocking, failed, refusal};
use crate::outgoing::{Outgoing, Row, Scratch};
use crate::reports::Failure;
use crate::session::{Sender, Session};
use crate::sink::Shared;
use crate::topics::check_name;
use crate::values::Values;

/// How often a record is tried that does not fit into a queue without records: librdkafka gives
/// their room back a moment after it has reported them.
const IDLE_TRIES_MAX: u32 = 100;
/// How long nothing is reported before somebody asks whether the topics are there.
const SILENT_FOR: Duration = Duration::from_secs(5);
/// How long after a transaction was aborted its last record is reported at the latest.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// The pause before it is tried again.
const IDLE_WAIT: Duration = Duration::from_millis(2);

/// What a refusal of a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The brokers, for now: the epoch is sent again, for as long as `retry.for` says.
    Waits,
    /// The topic is not as it was. What it is like now tells which rows it takes; where it is the
    /// same, the hint says what to do, and without one it is waited for.
    Topic(Option<&'static str>),
    /// Nobody but a person can change it.
    Stays(&'static str),
}

/// What a record was refused for, by the answer of the broker; the page of this connector has the
/// same table.
fn fault_of(code: RDKafkaErrorCode) -> Fault {
    use RDKafkaErrorCode as Code;
    match code {
        Code::MessageSizeTooLarge => {
            Fault::Topic(Some("allow DescribeConfigs on the topic, so that its limit is known"))
        }
        Code::InvalidRecord => Fault::Topic(Some(
            "look at the topic's `cleanup.policy`, and at what checks records on the brokers",
        )),
        Code::InvalidTimestamp => {
            Fault::Stays("raise the topic's `message.timestamp.*.max.ms`, or set the clock")
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Fault::Topic(None)
        }
        Code::InvalidTopic => Fault::Stays("the brokers do not take records for this topic"),
        Code::PolicyViolation => Fault::Stays("a policy of the brokers refuses the records"),
        Code::UnsupportedForMessageFormat => {
            Fault::Stays("the topic's message format is too old for transactions")
        }
        code => refusal(code).map_or(Fault::Waits, Fault::Stays),
    }
}

fn final_error(topic: &str, code: RDKafkaErrorCode, hint: &'static str) -> Error {
    Error::external(format!("topic {topic:?} did not accept a record"))
        .because(KafkaError::MessageProduction(code))
        .hint(hint)
}

/// With what rows are sent.
pub enum Delivery {
    /// In the transactions of whoever holds the fence; none before the first row.
    Transaction(Option<Arc<Session>>),
    /// As they come.
    Plain(Sender),
}

/// Writes the rows of one lineage.
pub struct TopicWriter {
    shared: Arc<Shared>,
    lineage: OneLineage,
    delivery: Delivery,
    values: Values,
    /// What is known of the topics that rows went to.
    topics: HashMap<String, Topic>,
    /// Rows of the epoch, by topic.
    sent: HashMap<String, u64>,
    rows: u64,
    rejects: Rejects,
}

impl TopicWriter {
    /// A writer of rows with these columns.
    ///
    /// # Errors
    /// Config: the settings do not suit the columns.
    pub fn new(shared: Arc<Shared>, schema: &SchemaRef, delivery: Delivery) -> Result<Self> {
        let values = Values::new(&shared.config, schema)?;
        let (lineage, topics, sent, rejects) = Default::default();
        Ok(Self { shared, lineage, delivery, values, topics, sent, rows: 0, rejects })
    }

    /// What to send with.
    fn sender(&self) -> Result<&Sender> {
        match &self.delivery {
            Delivery::Plain(sender) => Ok(sender),
            Delivery::Transaction(Some(session)) => Ok(session.sender()),
            Delivery::Transaction(None) => Err(Error::bug("a row is sent before a transaction")),
        }
    }

    fn session(&self) -> Option<&Arc<Session>> {
        match &self.delivery {
            Delivery::Transaction(session) => session.as_ref(),
            Delivery::Plain(_) => None,
        }
    }

    /// Takes the session of a lineage, unless it is taken already.
    fn take_session(&mut self, lineage: &Lineage) -> Result<()> {
        if let Delivery::Transaction(session @ None) = &mut self.delivery {
            *session = Some(self.shared.session(lineage)?);
        }
        Ok(())
    }

    /// What is known of the topic of a row; the reason where the row can go nowhere.
    async fn topic(&mut self, name: &str) -> Result<std::result::Result<Topic, String>> {
        if let Some(topic) = self.topics.get(name) {
            return Ok(Ok(*topic));
        }
        if let Err(reason) = check_name(name) {
            return Ok(Err(reason));
        }
        let topic = match self.shared.topics.find(name).await? {
            Found::Topic(topic) => topic,
            Found::Refused(reason) => return Ok(Err(reason)),
        };
        if self.session().is_some_and(|session| session.batch_bytes() > topic.record_bytes_max) {
            return Err(Error::transient(format!("topic {name:?} takes smaller batches only")));
        }
        self.topics.insert(name.to_owned(), topic);
        Ok(Ok(topic))
    }

    /// Sends a row, or refuses it with a reason.
    async fn send(
        &mut self,
        outgoing: &Outgoing<'_>,
        row: usize,
        scratch: &mut (Vec<u8>, Scratch),
    ) -> Result<std::result::Result<(), String>> {
        let name = match outgoing.topic(row, &mut scratch.0) {
            Ok(name) => name,
            Err(reason) => return Ok(Err(reason)),
        };
        let topic = match self.topic(name).await? {
            Ok(topic) => topic,
            Err(reason) => return Ok(Err(reason)),
        };
        match outgoing.row(row, &topic, &mut scratch.1) {
            Ok(row) => self.produce(name, row).await?,
            Err(reason) => return Ok(Err(reason)),
        }
        match self.sent.get_mut(name) {
            Some(rows) => *rows += 1,
            None => _ = self.sent.insert(name.to_owned(), 1),
        }
        Ok(Ok(()))
    }

    /// Which topics the rows of the epoch went to, where the brokers give them ids.
    fn take_identities(&mut self) -> Vec<Identity> {
        let sent = self.sent.drain().filter_map(|(place, rows)| {
            let id = self.topics.get(&place)?.id?.to_string();
            Some(Identity { place, id, rows })
        });
        sent.collect()
    }

    async fn produce(&self, topic: &str, row: Row<'_>) -> Result<()> {
        if let Some(session) = self.session() {
            session.begin().await?;
        }
        let sender = self.sender()?;
        let bytes = row.bytes;
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, bytes).headers(row.headers);
        (record.key, record.payload, record.partition) = (row.key, row.value, row.partition);
        let mut tries = 0;
        loop {
            sender.reports().sending(bytes);
            match sender.producer().send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    sender.reports().not_sent(bytes);
                    tries += u32::from(sender.reports().is_idle());
                    if tries > IDLE_TRIES_MAX {
                        return Err(too_large_for_queue(topic));
                    }
                    self.wait_for_room().await?;
                    record = again;
                }
                Err((error, _)) => {
                    sender.reports().not_sent(bytes);
                    return Err(failed(error, format!("could not send to topic {topic:?}")));
                }
            }
        }
    }

    async fn wait_for_room(&self) -> Result<()> {
        let reports = self.sender()?.reports();
        match reports.is_idle() {
            true => tokio::time::sleep(IDLE_WAIT).await,
            false => self.wait_while_there(|| reports.some()).await?,
        }
        self.check_failures().await
    }

    /// Waits for reports. librdkafka waits for a topic that was deleted as long as a transaction
    /// may be open; whether it is there is asked for much sooner.
    async fn wait_while_there<W: Future<Output = ()>>(&self, wait: impl Fn() -> W) -> Result<()> {
        while tokio::time::timeout(SILENT_FOR, wait()).await.is_err() {
            for name in self.topics.keys() {
                self.shared.topics.look_for(name).await?;
            }
        }
        Ok(())
    }

    /// Fails if any record was not accepted: the epoch cannot be prepared then.
    async fn check_failures(&self) -> Result<()> {
        let sender = self.sender()?;
        let failures = sender.reports().take_failures();
        let Some(Failure { topic, code }) = failures.into_iter().next() else { return Ok(()) };
        let tried = format!("topic {topic:?} did not accept a record");
        let error = sender.reports().explain(KafkaError::MessageProduction(code), tried);
        match fault_of(code) {
            Fault::Waits => Err(error),
            Fault::Stays(hint) => Err(final_error(&topic, code, hint)),
            Fault::Topic(hint) => {
                self.shared.topics.forget().await;
                let before = self.topics.get(&topic);
                let same = match self.shared.topics.find(&topic).await? {
                    Found::Topic(now) => before.is_some_and(|before| *before == now),
                    Found::Refused(_) => false,
                };
                match hint {
                    // Nothing that is known of the topic tells which rows it refuses.
                    Some(hint) if same => Err(final_error(&topic, code, hint)),
                    _ => Err(error),
                }
            }
        }
    }

    /// Commits one epoch.
    async fn commit_one(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        if let Delivery::Plain(_) = self.delivery {
            return Ok(CommitOutcome::Committed);
        }
        self.take_session(&commit.lineage)?;
        let session = self.session().ok_or_else(|| Error::bug("a commit has no session"))?.clone();
        let held = session.held().map(|token| token.epoch);
        if held == Some(commit.epoch) {
            return Ok(CommitOutcome::Committed);
        }
        if held != commit.prev {
            return Ok(CommitOutcome::NotOwner);
        }
        if !session.has_prepared(commit.epoch) {
            return Ok(CommitOutcome::NeedsReplay);
        }
        failpoint::reach("kafka.commit.before").await?;
        blocking(move || session.commit()).await?;
        failpoint::reach("kafka.commit.after").await?;
        Ok(CommitOutcome::Committed)
    }
}

fn too_large_for_queue(topic: &str) -> Error {
    Error::config(format!("a record for topic {topic:?} is larger than the producer's queue"))
        .field("client")
        .hint("raise `memory.limit` of the pipeline, or `queue.buffering.max.kbytes` of `client`")
}

#[async_trait]
impl Writer for TopicWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.lineage.take(lineage)?;
        self.take_session(lineage)?;
        let shared = self.shared.clone();
        let origin = shared.config.origin;
        let outgoing = Outgoing::new(&records, &shared.templates, &self.values, origin)?;
        let mut scratch = Default::default();
        for row in 0..outgoing.rows() {
            match self.send(&outgoing, row, &mut scratch).await? {
                Ok(()) => self.rows += 1,
                Err(reason) => self.rejects.push(outgoing.reject(row, reason)),
            }
        }
        Ok(self.rejects.room())
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        self.lineage.take(lineage)?;
        failpoint::reach("kafka.prepare.before_flush").await?;
        let reports = self.sender()?.reports();
        self.wait_while_there(|| reports.all()).await?;
        self.check_failures().await?;
        failpoint::reach("kafka.prepare.flushed").await?;
        if self.rows > 0 {
            self.shared.topics.confirm(&self.topics, &self.sent).await?;
        }
        let session = self.session().filter(|_| self.rows > 0).cloned();
        if let Some(session) = session {
            blocking(move || session.put_token(epoch)).await?;
        }
        failpoint::reach("kafka.prepare.after_token").await?;
        Ok(Prepared {
            rows: std::mem::take(&mut self.rows),
            rejects: self.rejects.take(),
            committable: None,
            identities: self.take_identities(),
        })
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.lineage.take(&commit.lineage)?;
        self.commit_one(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.lineage.take(lineage)?;
        (self.rows, self.rejects, self.sent) = Default::default();
        match &self.delivery {
            Delivery::Transaction(Some(session)) => {
                let session = session.clone();
                blocking(move || session.abort()).await?;
                // Records that it purged may be reported a moment later.
                let forgotten = self.sender()?.reports().forget();
                let forgotten = tokio::time::timeout(REPORTED_WITHIN, forgotten).await;
                forgotten.map_err(|_| Error::transient("records of an aborted epoch are under way"))
            }
            Delivery::Transaction(None) | Delivery::Plain(_) => Ok(()),
        }
    }

    fn footprint(&self) -> Footprint {
        let clients = self.sender().map_or(0, |sender| sender.reports().bytes());
        let refused = self.rejects.bytes();
        Footprint { own: refused, clients, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refusal_is_about_follows_from_its_code() {
        use RDKafkaErrorCode as Code;
        let check = |code: Code, expect: &str| {
            let said = match fault_of(code) {
                Fault::Waits => "waits",
                Fault::Topic(None) => "topic, then waits",
                Fault::Topic(Some(_)) => "topic, then stops",
                Fault::Stays(_) => "stops",
            };
            assert_eq!(said, expect, "{code:?}");
        };
        check(Code::MessageSizeTooLarge, "topic, then stops");
        check(Code::InvalidRecord, "topic, then stops");
        check(Code::UnknownTopicOrPartition, "topic, then waits");
        check(Code::UnknownTopic, "topic, then waits");
        check(Code::UnknownPartition, "topic, then waits");
        check(Code::InvalidTimestamp, "stops");
        check(Code::InvalidTopic, "stops");
        check(Code::PolicyViolation, "stops");
        check(Code::UnsupportedForMessageFormat, "stops");
        check(Code::TopicAuthorizationFailed, "stops");
        check(Code::NotEnoughReplicas, "waits");
        check(Code::BrokerTransportFailure, "waits");
        check(Code::MessageTimedOut, "waits");
        check(Code::ProducerFenced, "waits");
        check(Code::OutOfOrderSequenceNumber, "waits");
    }
}
