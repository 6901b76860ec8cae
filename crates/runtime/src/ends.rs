//! What ends an epoch before its time is over: its bytes, a sink that can hold no more, a reader
//! that gives up its place once what it read is committed.
//!
//! Readers, sinks and the coordinator of an attempt share one. It decides nothing: the coordinator
//! looks when the bell rings.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Why the epoch under way is to end, as far as anybody said so.
#[derive(Debug)]
pub struct Ends {
    bytes_max: u64,
    /// Bytes read in the epoch.
    bytes: AtomicU64,
    /// The newest epoch of which a sink said that it can hold no more.
    full: AtomicU64,
    /// Whether a reader waits for a commit.
    wanted: AtomicBool,
    bell: Notify,
}

impl Ends {
    /// For epochs of at most about so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
            full: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    /// Another epoch begins.
    pub fn begin(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes were read in an epoch.
    pub fn add(&self, epoch: u64, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_full(epoch) {
            self.ring();
        }
    }

    /// A sink can hold no more of an epoch. Said of one that is over, it means nothing.
    pub fn sink_full(&self, epoch: u64) {
        if self.full.fetch_max(epoch, Ordering::Relaxed) < epoch {
            self.ring();
        }
    }

    /// A reader waits for a commit.
    pub fn want_commit(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Whether nothing more is to be read in an epoch.
    pub fn is_full(&self, epoch: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.bytes_max
            || self.full.load(Ordering::Relaxed) >= epoch
    }

    /// Whether an epoch is to end now. Whoever waits for a commit has asked once.
    pub fn is_due(&self, epoch: u64) -> bool {
        self.is_full(epoch) || self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Has the coordinator look.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until the bell rings.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_by_its_own_bytes_and_sinks_alone() {
        let ends = Ends::new(10);
        ends.add(1, 9);
        assert!(!ends.is_due(1));
        ends.add(1, 1);
        assert!(ends.is_full(1));
        ends.begin();
        assert!(!ends.is_due(2));
        ends.sink_full(1);
        assert!(!ends.is_full(2), "epoch 1 is over");
        ends.sink_full(2);
        assert!(ends.is_full(2) && !ends.is_full(3));
    }

    #[test]
    fn a_commit_that_is_wanted_is_made_once() {
        let ends = Ends::new(10);
        ends.want_commit();
        assert!(ends.is_due(1));
        assert!(!ends.is_due(1));
    }
}
