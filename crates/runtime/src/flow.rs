//! What travels between tasks, and how much of it may be under way.
//!
//! All batches under way share one budget of bytes: a reader takes its share before it sends a
//! batch on and everything made of that batch gives it back when the last sink is done with it.
//! So the queues never grow without bound, whatever is slow.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::record::{OriginSum, split_seed};
use contract::source::Split;
use contract::{Error, Result, SplitId};
use state::ledger::Counts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::dead_letters::DeadLetter;

/// Messages that may wait in one queue; the bytes in them are bounded by the [`Budget`].
pub const QUEUE_MESSAGES_MAX: usize = 256;

/// A split as the tasks of an attempt know it.
#[derive(Debug)]
pub struct SplitContext {
    /// Its number in the checkpoint.
    pub index: usize,
    /// The number of its source in the pipeline; beyond all of them where a step makes its records.
    pub source: usize,
    /// The split.
    pub split: Split,
    /// The part of its rows' hashes that it gives.
    pub seed: u128,
}

impl SplitContext {
    /// The context of a split that the checkpoint keeps under `index`.
    pub fn new(index: usize, source: usize, split: Split) -> Arc<Self> {
        let seed = split_seed(split.id.as_str());
        Arc::new(Self { index, source, split, seed })
    }

    /// The context of a split whose records a step makes.
    pub fn made(index: usize, split: Split) -> Arc<Self> {
        Self::new(index, usize::MAX, split)
    }

    /// The split's name.
    pub fn id(&self) -> &SplitId {
        &self.split.id
    }
}

/// Rows of one split on their way.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Where the rows were read.
    pub split: Arc<SplitContext>,
    /// The rows.
    pub records: RecordBatch,
    /// The moment of their epoch, in microseconds since 1970.
    pub now_us: i64,
    /// Their share of the budget, together with whatever else was made of the same batch.
    pub share: Share,
}

/// A queue of messages.
pub type Queue<T> = mpsc::Sender<T>;

/// Puts a message into a queue.
///
/// # Errors
/// Retryable External: the receiver is gone; its own error says why and is reported first.
pub async fn send<T>(queue: &Queue<T>, message: T) -> Result<()> {
    queue.send(message).await.map_err(|_| gone())
}

/// Waits for the answer to a message; none if the receiver of the queue is gone without one.
///
/// The answer alone would not tell: a message that is sent just as the receiver goes stays in the
/// queue, and with it the end that answers, for as long as the queue has senders.
pub async fn answer_of<T, A>(queue: &Queue<T>, mut answer: oneshot::Receiver<A>) -> Option<A> {
    tokio::select! {
        biased;
        answer = &mut answer => answer.ok(),
        // It may have answered just before it went.
        () = queue.closed() => answer.try_recv().ok(),
    }
}

const GONE: &str = "another task of the pipeline ended";

/// The error of a task whose partner is gone.
pub fn gone() -> Error {
    Error::transient(GONE)
}

/// Whether an error only says that another task, with an error of its own, is gone.
pub fn is_gone(error: &Error) -> bool {
    error.chain().ends_with(GONE)
}

/// Lets the task begin that was given a batch: it waits on the thread of whoever woke it, and no
/// other thread takes it from there. A reader that finds one batch after another would keep the
/// sink waiting until the budget is used up.
pub async fn stand_back() {
    tokio::task::yield_now().await;
}

/// Bytes that may be under way at once.
#[derive(Clone, Debug)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    units: u32,
}

/// The size of a unit of the budget.
const UNIT_BYTES: usize = 1024;

/// A share of the budget, given back when the last copy is dropped.
pub type Share = Arc<OwnedSemaphorePermit>;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        Self { semaphore: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Bytes of the whole budget.
    pub fn limit(&self) -> usize {
        self.units as usize * UNIT_BYTES
    }

    /// Bytes that are under way.
    pub fn used(&self) -> usize {
        self.limit() - self.semaphore.available_permits() * UNIT_BYTES
    }

    /// Waits for a share. A batch that is larger than the whole budget takes all of it; what has
    /// no size takes nothing and never waits.
    ///
    /// # Errors
    /// Bug: the budget was closed.
    pub async fn take(&self, bytes: usize) -> Result<Share> {
        let permit = self.semaphore.clone().acquire_many_owned(self.units_of(bytes)).await;
        permit.map(Arc::new).map_err(|error| Error::bug("the budget is closed").because(error))
    }

    /// A share for what turned out to be so large: the one that was taken for it where that is
    /// enough. Who waits for more holds nothing meanwhile.
    ///
    /// # Errors
    /// As for [`Budget::take`].
    pub async fn exchange(&self, share: Option<Share>, bytes: usize) -> Result<Share> {
        let units = self.units_of(bytes) as usize;
        match share.filter(|share| share.num_permits() >= units) {
            Some(share) => Ok(share),
            None => self.take(bytes).await,
        }
    }

    fn units_of(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.units)
    }
}

/// What became of the rows of an epoch, by split and sink, and what was refused.
#[derive(Debug, Default)]
pub struct Tally {
    /// Counts by number of split, then by number of sink.
    pub counts: BTreeMap<usize, Vec<Counts>>,
    /// Records that a source or step refused, by its name.
    pub refused: BTreeMap<Arc<str>, u64>,
    /// The greatest time that rows of a split told for a step, by number of both.
    pub times: BTreeMap<(usize, usize), i64>,
    /// What came too late for a step, by its number.
    pub late: BTreeMap<usize, Late>,
}

/// What came too late for a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Late {
    /// Rows that were late for all of their windows.
    pub rows: u64,
    /// Windows that the other rows missed.
    pub missed: u64,
}

impl Tally {
    /// Adds the counts of one batch of a split.
    pub fn add(&mut self, split: usize, counts: &[Counts]) {
        let known =
            self.counts.entry(split).or_insert_with(|| vec![Counts::default(); counts.len()]);
        known.iter_mut().zip(counts).for_each(|(known, counts)| known.add(counts));
    }

    /// Notes the times of one batch of a split, by step.
    pub fn time(&mut self, split: usize, times: impl IntoIterator<Item = (usize, i64)>) {
        for (step, us) in times {
            let known = self.times.entry((split, step)).or_insert(us);
            *known = us.max(*known);
        }
    }

    /// Adds what came too late for a step.
    pub fn miss(&mut self, step: usize, late: Late) {
        let known = self.late.entry(step).or_default();
        (known.rows, known.missed) = (known.rows + late.rows, known.missed + late.missed);
    }

    /// Adds what was refused of one batch.
    pub fn refuse(&mut self, letters: &[DeadLetter]) {
        for step in letters.iter().filter_map(|letter| letter.step.as_ref()) {
            match self.refused.get_mut(step) {
                Some(records) => *records += 1,
                None => drop(self.refused.insert(step.clone(), 1)),
            }
        }
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        other.counts.iter().for_each(|(split, counts)| self.add(*split, counts));
        for (step, records) in other.refused {
            *self.refused.entry(step).or_default() += records;
        }
        other.late.into_iter().for_each(|(step, late)| self.miss(step, late));
        other.times.into_iter().for_each(|((split, step), us)| self.time(split, [(step, us)]));
    }
}

/// Rows that a sink was given in an epoch, by number of split.
pub type Sums = BTreeMap<usize, OriginSum>;

/// Dead letters on their way to the sink that takes them.
#[derive(Debug)]
pub struct Refused {
    /// Where the records were read.
    pub split: Arc<SplitContext>,
    /// The records.
    pub letters: Vec<DeadLetter>,
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn who_goes_just_as_it_is_asked_leaves_no_answer() {
        let (queue, messages) = mpsc::channel::<oneshot::Sender<u8>>(1);
        let place = queue.reserve().await.expect("there is room");
        drop(messages);
        let (reply, answer) = oneshot::channel();
        place.send(reply);
        assert_eq!(poll!(std::pin::pin!(answer_of(&queue, answer))), std::task::Poll::Ready(None));
    }

    #[tokio::test]
    async fn who_goes_behind_its_answer_has_answered() {
        let (queue, mut messages) = mpsc::channel::<oneshot::Sender<u8>>(1);
        let (reply, answer) = oneshot::channel();
        send(&queue, reply).await.expect("there is room");
        let mut answer = std::pin::pin!(answer_of(&queue, answer));
        assert!(poll!(answer.as_mut()).is_pending());
        messages.recv().await.expect("a message").send(7).expect("somebody waits");
        drop(messages);
        assert_eq!(answer.await, Some(7));
    }
}
