//! How far a partition reaches, as a consumer hears of it in its statistics.
//!
//! Behind the last record there may be markers of transactions, which take offsets too; once the
//! consumer has told that it is at the end, they are no lag.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use rdkafka::Statistics;

/// Nothing was heard.
const UNKNOWN: i64 = -1;

/// The end of one partition.
#[derive(Debug)]
pub struct End {
    /// The last stable offset.
    stable: AtomicI64,
    /// The offset at which the consumer told of the end.
    told: AtomicI64,
    /// The next record when it did.
    rest: AtomicI64,
    /// Bytes in the consumer's queue.
    queued: AtomicUsize,
}

impl Default for End {
    fn default() -> Self {
        let unknown = || AtomicI64::new(UNKNOWN);
        Self { stable: unknown(), told: unknown(), rest: unknown(), queued: AtomicUsize::new(0) }
    }
}

impl End {
    /// Takes what the consumer's statistics say of the only partition that it reads.
    pub fn hear(&self, statistics: &Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        for partition in partitions.filter(|partition| partition.desired) {
            self.set(partition.ls_offset, partition.eof_offset);
            let queued = usize::try_from(partition.fetchq_size).unwrap_or(0);
            self.queued.store(queued, Ordering::Relaxed);
        }
    }

    fn set(&self, stable: i64, told: i64) {
        self.stable.store(stable, Ordering::Relaxed);
        self.told.store(told, Ordering::Relaxed);
    }

    /// Bytes that were fetched and not taken, as the consumer told last.
    pub fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// The consumer is at the end, and the next record will be this one or a later one.
    pub fn reached(&self, next: i64) {
        self.rest.store(next, Ordering::Relaxed);
    }

    /// Records from `next` to the end, markers among them; none before the first statistics.
    pub fn lag(&self, next: i64) -> Option<u64> {
        let stable = self.stable.load(Ordering::Relaxed);
        let only_markers = self.rest.load(Ordering::Relaxed) == next
            && self.told.load(Ordering::Relaxed) >= stable;
        match stable {
            ..0 => None,
            _ if only_markers => Some(0),
            _ => Some((stable - next).max(0).unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::End;

    #[test]
    fn markers_behind_the_last_record_are_no_lag() {
        let end = End::default();
        assert_eq!(end.lag(5), None, "nothing was heard");
        end.set(12, -1001);
        assert_eq!(end.lag(5), Some(7));
        assert_eq!(end.lag(11), Some(1), "perhaps a record");
        end.reached(11);
        end.set(12, 12);
        assert_eq!(end.lag(11), Some(0), "a marker");
        end.set(20, 12);
        assert_eq!(end.lag(11), Some(9), "there is more since");
    }
}
