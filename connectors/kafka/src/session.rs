//! A producer that holds the fence of one lineage, and the token that its transactions carry.
//!
//! The token of an epoch is an offset in a consumer group of its own: the number of the epoch on
//! partition 0 of the token's topic, with the incarnation as metadata, committed by the same
//! transaction as the epoch's records.
//!
//! Brokers forget offsets of a group without members after a week, so the token is written again
//! when a session opens and while it rests.
//!
//! Invariant: the token is read after the fence and written by the producer that holds it. Kafka
//! compares no offsets, so a second producer in between could commit the same epoch again.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use contract::error::Context;
use contract::sink::Token;
use contract::{Error, Result};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;
use tracing::warn;

use crate::client::{Connection, Witness, blocking, failed};
use crate::reports::Reports;

/// How long fencing, committing and aborting may take.
const STEP_LIMIT: Duration = Duration::from_secs(45);
/// The partition whose offset is the token.
const TOKEN_PARTITION: i32 = 0;
/// How often the token of a lineage is written again in which nothing happens.
const RENEW_EVERY: Duration = Duration::from_secs(12 * 3600);

/// A producer that ends in a thread of its own, because that blocks.
pub struct Sender(Option<ThreadedProducer<Reports>>);

impl Sender {
    /// Makes a producer. Blocks for as long as it takes to make a client.
    ///
    /// # Errors
    /// External: no client can be made.
    pub fn new(connection: &Connection, settings: &[(&str, &str)]) -> Result<Self> {
        let config = connection.config(settings);
        let producer = config.create_with_context(Reports::default());
        let producer: ThreadedProducer<Reports> =
            producer.map_err(|error| failed(error, "could not make a Kafka client"))?;
        Ok(Self(Some(producer)))
    }

    /// The producer.
    pub fn producer(&self) -> &ThreadedProducer<Reports> {
        self.0.as_ref().expect("it is taken only when it is dropped")
    }

    /// What became of its records.
    pub fn reports(&self) -> &Reports {
        self.producer().context()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let producer = self.0.take();
        std::thread::spawn(move || drop(producer));
    }
}

/// What a session is opened with.
#[derive(Clone)]
pub struct Opening {
    /// The transactional id, and the group of the token.
    pub name: String,
    /// The topic of the token.
    pub token_topic: String,
    /// The random number of this history.
    pub incarnation: u32,
    /// The largest batch that the producer makes.
    pub batch_bytes: usize,
    /// How long a transaction may be open.
    pub transaction_timeout: Duration,
    /// The producer's other settings.
    pub settings: Vec<(&'static str, String)>,
}

/// The one producer that may write a lineage.
pub struct Session {
    sender: Sender,
    group: ConsumerGroupMetadata,
    opening: Opening,
    state: Mutex<State>,
    /// Held from before a transaction begins until it is known to have begun, or for all of one
    /// that only renews the token.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    held: Option<Token>,
    /// Whether a transaction is open.
    is_open: bool,
    /// The epoch whose records and token are in the open transaction.
    prepared: Option<u64>,
}

impl Session {
    /// Shuts out every earlier producer of this name, aborts what it left open, and reads the
    /// token. None if the brokers do not allow transactions so long. Blocks.
    ///
    /// # Errors
    /// External: they do not answer.
    pub fn open(connection: &Connection, opening: Opening) -> Result<Option<Self>> {
        let name = &opening.name;
        let timeout_ms = opening.transaction_timeout.as_millis().to_string();
        let mut settings: Vec<_> =
            opening.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.push(("transactional.id", name));
        settings.push(("transaction.timeout.ms", &timeout_ms));
        let sender = Sender::new(connection, &settings)?;
        if let Err(error) = sender.producer().init_transactions(STEP_LIMIT) {
            if is_too_long(&error) {
                return Ok(None);
            }
            let tried = format!("could not begin transactions as {name:?}");
            return Err(connection.explain(sender.reports().witness(), error, tried));
        }
        let (held, group) = read_token(connection, &opening)?;
        let state = Mutex::new(State { held, is_open: false, prepared: None });
        let session = Self { sender, group, opening, state, turn: tokio::sync::Mutex::default() };
        session.renew()?;
        Ok(Some(session))
    }

    /// Writes the token again every now and then, as long as anybody uses the session.
    pub async fn keep(session: Weak<Self>) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let Some(session) = session.upgrade() else { return };
            let renewed = async {
                let _turn = session.turn.lock().await;
                let session = session.clone();
                blocking(move || session.renew()).await
            };
            if let Err(error) = renewed.await {
                warn!(error = error.chain(), "could not renew a token");
            }
        }
    }

    /// The token that the sink holds.
    pub fn held(&self) -> Option<Token> {
        self.lock().held
    }

    /// The largest batch that the producer makes.
    pub fn batch_bytes(&self) -> usize {
        self.opening.batch_bytes
    }

    /// The producer.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Begins a transaction, unless one is open.
    ///
    /// # Errors
    /// Retryable External: the producer was shut out, or lost its last transaction.
    pub async fn begin(&self) -> Result<()> {
        if self.lock().is_open {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        self.begin_transaction()?;
        self.lock().is_open = true;
        Ok(())
    }

    /// Puts the token of an epoch into the open transaction. Blocks.
    ///
    /// # Errors
    /// Retryable External: the transaction is lost.
    pub fn put_token(&self, epoch: u64) -> Result<()> {
        self.send_token(epoch)?;
        self.lock().prepared = Some(epoch);
        Ok(())
    }

    /// Whether the open transaction holds an epoch and its token.
    pub fn has_prepared(&self, epoch: u64) -> bool {
        self.lock().prepared == Some(epoch)
    }

    /// Commits the open transaction. Blocks.
    ///
    /// # Errors
    /// Retryable External: whether it is committed is not known; another session reads the token.
    pub fn commit(&self) -> Result<()> {
        self.commit_transaction()?;
        let mut state = self.lock();
        let incarnation = self.opening.incarnation;
        state.is_open = false;
        state.held = state.prepared.take().map(|epoch| Token { epoch, incarnation });
        Ok(())
    }

    /// Aborts the transaction, if one is open. Blocks.
    ///
    /// # Errors
    /// External: it stays open until another session shuts this one out.
    pub fn abort(&self) -> Result<()> {
        if !self.lock().is_open {
            return Ok(());
        }
        let aborted = self.sender.producer().abort_transaction(STEP_LIMIT);
        aborted.map_err(|error| self.failed(error, "could not abort a transaction"))?;
        let mut state = self.lock();
        (state.is_open, state.prepared) = (false, None);
        Ok(())
    }

    /// Writes the token again, unless there is none or a transaction is about to write the next.
    fn renew(&self) -> Result<()> {
        let token = match &*self.lock() {
            State { held: Some(token), is_open: false, .. } => *token,
            _ => return Ok(()),
        };
        if token.incarnation != self.opening.incarnation {
            return Ok(());
        }
        self.begin_transaction()?;
        self.send_token(token.epoch)?;
        self.commit_transaction()
    }

    fn begin_transaction(&self) -> Result<()> {
        let begun = self.sender.producer().begin_transaction();
        begun.map_err(|error| self.failed(error, "could not begin a transaction"))
    }

    fn send_token(&self, epoch: u64) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.opening.token_topic, TOKEN_PARTITION);
        element.set_offset(Offset::Offset(epoch.cast_signed())).bug("an epoch is no offset")?;
        element.set_metadata(self.opening.incarnation.to_string());
        let producer = self.sender.producer();
        let put = producer.send_offsets_to_transaction(&list, &self.group, STEP_LIMIT);
        put.map_err(|error| self.failed(error, "could not put the token into a transaction"))
    }

    fn commit_transaction(&self) -> Result<()> {
        let committed = self.sender.producer().commit_transaction(STEP_LIMIT);
        committed.map_err(|error| self.failed(error, "could not commit a transaction"))
    }

    fn failed(&self, error: KafkaError, tried: &str) -> Error {
        let tried = format!("{tried} of {:?}", self.opening.name);
        match was_shut_out(&error) {
            true => Error::transient(tried).because("another producer took over, or it timed out"),
            false => self.sender.reports().explain(error, tried),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_too_long(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidTransactionTimeout)
}

fn was_shut_out(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let shut_out = [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch];
    error.rdkafka_error_code().is_some_and(|code| shut_out.contains(&code))
}

/// The token that the sink holds, and what the group must be told to hold another one. Waits for a
/// transaction that is just being committed.
fn read_token(
    connection: &Connection,
    opening: &Opening,
) -> Result<(Option<Token>, ConsumerGroupMetadata)> {
    let tried = || format!("could not read the token of {:?}", opening.name);
    let config = connection.config(&[
        ("group.id", &opening.name),
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
    ]);
    let reader: BaseConsumer<Witness> = config
        .create_with_context(Witness::default())
        .map_err(|error| failed(error, "could not make a Kafka client"))?;
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&opening.token_topic, TOKEN_PARTITION);
    let committed = reader.committed_offsets(list, STEP_LIMIT);
    let committed =
        committed.map_err(|error| connection.explain(reader.context(), error, tried()))?;
    let group = reader.group_metadata().ok_or_else(|| Error::transient(tried()))?;
    // Closing a consumer takes a while.
    std::thread::spawn(move || drop(reader));
    let element = committed.find_partition(&opening.token_topic, TOKEN_PARTITION);
    let element = element.ok_or_else(|| Error::transient(tried()))?;
    element.error().map_err(|error| failed(error, tried()))?;
    let Offset::Offset(epoch) = element.offset() else { return Ok((None, group)) };
    let incarnation = element.metadata().parse().map_err(|_| {
        Error::config(tried()).because(format!(
            "somebody else committed offset {epoch} to the group {:?}",
            opening.name
        ))
    })?;
    Ok((Some(Token { epoch: epoch.cast_unsigned(), incarnation }), group))
}
