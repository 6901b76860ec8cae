//! A producer that holds the fence of one lineage, and the token that its transactions carry.
//!
//! The token of an epoch is an offset in a consumer group of its own: the number of the epoch on
//! partition 0 of the token's topic, with the incarnation as metadata, committed by the same
//! transaction as the epoch's records.
//!
//! Invariant: the token is read after the fence and written by the producer that holds it. Kafka
//! compares no offsets, so a second producer in between could commit the same epoch again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::error::Context;
use contract::sink::Token;
use contract::{Error, Result};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};
use rdkafka::topic_partition_list::Offset;

use crate::client::{Connection, Witness, failed};
use crate::reports::Reports;

/// How long fencing, committing and aborting may take.
const STEP_LIMIT: Duration = Duration::from_secs(45);
/// The partition whose offset is the token.
const TOKEN_PARTITION: i32 = 0;

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
pub struct Opening {
    /// The transactional id, and the group of the token.
    pub name: String,
    /// The topic of the token.
    pub token_topic: String,
    /// The random number of this history.
    pub incarnation: u32,
    /// The largest batch that the producer makes.
    pub batch_bytes: usize,
    /// The producer's settings.
    pub settings: Vec<(&'static str, String)>,
}

/// The one producer that may write a lineage.
pub struct Session {
    sender: Sender,
    tokens: BaseConsumer<Witness>,
    opening: Opening,
    state: Mutex<State>,
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
    /// token. Blocks.
    ///
    /// # Errors
    /// Config: the brokers do not allow transactions so long. External: they do not answer.
    pub fn open(connection: &Connection, opening: Opening) -> Result<Self> {
        let name = &opening.name;
        let mut settings: Vec<_> =
            opening.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.push(("transactional.id", name));
        let sender = Sender::new(connection, &settings)?;
        let fenced = sender.producer().init_transactions(STEP_LIMIT);
        fenced.map_err(|error| not_fenced(error, name, sender.reports()))?;
        let tokens = connection.config(&[
            ("group.id", name),
            ("isolation.level", "read_committed"),
            ("enable.auto.commit", "false"),
        ]);
        let tokens: BaseConsumer<Witness> = tokens
            .create_with_context(Witness::default())
            .map_err(|error| failed(error, "could not make a Kafka client"))?;
        let held = read_token(&tokens, &opening)?;
        let state = Mutex::new(State { held, is_open: false, prepared: None });
        Ok(Self { sender, tokens, opening, state })
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

    /// Begins a transaction, unless one is open. Does not wait.
    ///
    /// # Errors
    /// Retryable External: the producer was shut out, or lost its last transaction.
    pub fn begin(&self) -> Result<()> {
        let mut state = self.lock();
        if !state.is_open {
            let begun = self.sender.producer().begin_transaction();
            begun.map_err(|error| self.failed(error, "could not begin a transaction"))?;
            state.is_open = true;
        }
        Ok(())
    }

    /// Puts the token of an epoch into the open transaction. Blocks.
    ///
    /// # Errors
    /// Retryable External: the transaction is lost.
    pub fn put_token(&self, epoch: u64) -> Result<()> {
        let tried = "could not put the token into a transaction";
        let group = self.tokens.group_metadata().ok_or_else(|| Error::transient(tried))?;
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&self.opening.token_topic, TOKEN_PARTITION);
        element.set_offset(Offset::Offset(epoch.cast_signed())).bug("an epoch is no offset")?;
        element.set_metadata(self.opening.incarnation.to_string());
        let put = self.sender.producer().send_offsets_to_transaction(&list, &group, STEP_LIMIT);
        put.map_err(|error| self.failed(error, tried))?;
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
        let committed = self.sender.producer().commit_transaction(STEP_LIMIT);
        committed.map_err(|error| self.failed(error, "could not commit a transaction"))?;
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

fn not_fenced(error: KafkaError, name: &str, reports: &Reports) -> Error {
    let tried = format!("could not begin transactions as {name:?}");
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::InvalidTransactionTimeout) => Error::config(tried)
            .because(error)
            .field("transaction_timeout")
            .hint("it is above the brokers' `transaction.max.timeout.ms`"),
        _ => reports.explain(error, tried),
    }
}

fn was_shut_out(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let shut_out = [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch];
    error.rdkafka_error_code().is_some_and(|code| shut_out.contains(&code))
}

/// Waits for a transaction that is just being committed.
fn read_token(tokens: &BaseConsumer<Witness>, opening: &Opening) -> Result<Option<Token>> {
    let tried = || format!("could not read the token of {:?}", opening.name);
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(&opening.token_topic, TOKEN_PARTITION);
    let committed = tokens.committed_offsets(list, STEP_LIMIT);
    let committed = committed.map_err(|error| failed(error, tried()))?;
    let element = committed.find_partition(&opening.token_topic, TOKEN_PARTITION);
    let element = element.ok_or_else(|| Error::transient(tried()))?;
    element.error().map_err(|error| failed(error, tried()))?;
    let Offset::Offset(epoch) = element.offset() else { return Ok(None) };
    let incarnation = element.metadata().parse().map_err(|_| {
        Error::config(tried()).because(format!(
            "somebody else committed offset {epoch} to the group {:?}",
            opening.name
        ))
    })?;
    Ok(Some(Token { epoch: epoch.cast_unsigned(), incarnation }))
}
