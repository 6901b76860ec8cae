//! What became of the records that were sent: counts, and the ones that failed.
//!
//! librdkafka reports each record once, from a thread of its own; a record is under way until
//! then. Nothing is prepared while any record is under way, and what an aborted epoch left behind
//! is waited for and forgotten, so that it cannot fail the next one.
//!
//! Where a transaction fails, librdkafka reports its records as purged and logs why. That is kept
//! beside the failures: without it nobody could say what a purged record is about.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::Error;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message};
use tokio::sync::Notify;

use crate::client::Witness;

/// What librdkafka calls what it logs about a transaction that failed.
const TRANSACTION_FAILED: &str = "TXNERR";
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
    /// Bytes of them, about.
    bytes: AtomicUsize,
    failures: Mutex<Vec<Failure>>,
    /// Why the transaction failed, as far as it was logged.
    transaction: Mutex<Option<String>>,
    /// Whether the next report is waited for, rather than the last.
    needs_room: AtomicBool,
    reported: Notify,
    witness: Witness,
}

impl Reports {
    /// A record of so many bytes is about to be sent.
    pub fn sending(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::SeqCst);
    }

    /// It was not sent after all, and nothing will be reported.
    pub fn not_sent(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Bytes of the records under way.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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
        std::mem::take(&mut *locked(&self.failures))
    }

    /// Waits until every record was reported, and forgets what failed and why: the epoch is
    /// dropped.
    pub async fn forget(&self) {
        self.all().await;
        self.take_failures();
        *locked(&self.transaction) = None;
    }

    /// Who heard what the client says beside its answers.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The error of an answer, with what was heard about it.
    pub fn explain(&self, error: KafkaError, tried: impl Into<String>) -> Error {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        let is_purged = matches!(code, Some(Code::PurgeQueue | Code::PurgeInflight));
        match locked(&self.transaction).clone().filter(|_| is_purged) {
            Some(reason) => Error::transient(tried).because(reason),
            None => self.witness.explain(error, tried),
        }
    }

    /// A record that was sent came to its end.
    fn reported(&self, failure: Option<Failure>) {
        if let Some(failure) = failure {
            let mut failures = locked(&self.failures);
            if failures.len() < FAILURES_MAX {
                failures.push(failure);
            }
        }
        let left = self.under_way.fetch_sub(1, Ordering::SeqCst) - 1;
        if left == 0 || self.needs_room.swap(false, Ordering::SeqCst) {
            self.reported.notify_one();
        }
    }

    fn hear(&self, part: &str, message: &str) {
        if part != TRANSACTION_FAILED {
            return;
        }
        // Which thread of the client says so is nobody's concern.
        let reason = message.split_once("]: ").map_or(message, |(_, reason)| reason);
        locked(&self.transaction).get_or_insert_with(|| reason.to_owned());
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, part: &str, message: &str) {
        self.hear(part, message);
        self.witness.log(level, part, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.witness.error(error, reason);
    }
}

impl ProducerContext for Reports {
    /// The bytes of the record.
    type DeliveryOpaque = usize;

    fn delivery(&self, outcome: &DeliveryResult<'_>, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let failure = outcome.as_ref().err().map(|(error, message)| Failure {
            topic: message.topic().to_owned(),
            code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        });
        self.reported(failure);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const PURGED: RDKafkaErrorCode = RDKafkaErrorCode::PurgeQueue;

    fn purged() -> Option<Failure> {
        Some(Failure { topic: "orders".into(), code: PURGED })
    }

    #[tokio::test]
    async fn what_an_aborted_epoch_left_is_forgotten_however_late_it_is_reported() {
        let reports = Reports::default();
        (0..3).for_each(|_| reports.sending(100));
        reports.reported(purged());
        let mut forgotten = std::pin::pin!(reports.forget());
        assert!(forgotten.as_mut().now_or_never().is_none(), "two records are under way");
        reports.reported(purged());
        assert!(forgotten.as_mut().now_or_never().is_none(), "one record is under way");
        reports.reported(purged());
        forgotten.await;
        assert_eq!(reports.take_failures().len(), 0, "the next epoch begins without failures");
    }

    #[tokio::test]
    async fn a_purged_record_is_told_with_what_the_transaction_failed_for() {
        let reports = Reports::default();
        let said = || reports.explain(KafkaError::MessageProduction(PURGED), "tried").chain();
        let alone = said();
        reports.hear("FAIL", "[thrd:main]: a connection was lost");
        assert_eq!(said(), alone, "nothing was said of the transaction");
        reports.hear("TXNERR", "[thrd:main]: Current transaction failed: it was fenced (FENCED)");
        reports.hear("TXNERR", "[thrd:main]: what follows from it");
        assert_eq!(said(), "tried: Current transaction failed: it was fenced (FENCED)");
        let late = KafkaError::MessageProduction(RDKafkaErrorCode::NotEnoughReplicas);
        assert!(!reports.explain(late, "tried").chain().contains("FENCED"));
        reports.forget().await;
        assert_eq!(said(), alone, "that was of the epoch before");
    }
}
