//! What became of the records that were sent: counts, and the ones that failed.
//!
//! librdkafka reports each record once, from a thread of its own; a record is under way until
//! then. Nothing is prepared while any record is under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use contract::Error;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message};
use tokio::sync::Notify;

use crate::client::Witness;

/// Failures that are kept: one is enough to know that the epoch cannot be prepared.
const FAILURES_MAX: usize = 100;

/// A record that was not accepted.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The topic.
    pub topic: String,
    /// Why.
    pub code: RDKafkaErrorCode,
}

/// Counts what a producer reports.
#[derive(Default)]
pub struct Reports {
    under_way: AtomicU64,
    failures: Mutex<Vec<Failure>>,
    /// Whether the next report is waited for, rather than the last.
    needs_room: AtomicBool,
    reported: Notify,
    witness: Witness,
}

impl Reports {
    /// A record is about to be sent.
    pub fn sending(&self) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    /// It was not sent after all, and nothing will be reported.
    pub fn not_sent(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no record is under way.
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) == 0
    }

    /// Waits until a record was reported, or none is under way. May return early.
    pub async fn some(&self) {
        self.needs_room.store(true, Ordering::SeqCst);
        if !self.is_idle() {
            self.reported.notified().await;
        }
    }

    /// Waits until every record was reported.
    pub async fn all(&self) {
        while !self.is_idle() {
            self.reported.notified().await;
        }
    }

    /// The failures so far, which are forgotten.
    pub fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut *self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who heard what the client says beside its answers.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The error of an answer, with what was heard about it.
    pub fn explain(&self, error: KafkaError, tried: impl Into<String>) -> Error {
        self.witness.explain(error, tried)
    }

    fn keep(&self, failure: Failure) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < FAILURES_MAX {
            failures.push(failure);
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, part: &str, message: &str) {
        self.witness.log(level, part, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.witness.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, outcome: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = outcome {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.keep(Failure { topic: message.topic().to_owned(), code });
        }
        let left = self.under_way.fetch_sub(1, Ordering::SeqCst) - 1;
        if left == 0 || self.needs_room.swap(false, Ordering::SeqCst) {
            self.reported.notify_one();
        }
    }
}
