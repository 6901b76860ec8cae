//! A reader of a connector, open or about to be, and the room for what it gives next.
//!
//! Many readers read at once, and most of them wait: for data, or until there is room. A share of
//! the budget comes before the batch, so that not each of them holds a batch for which there is
//! no room; and whoever has nothing to read holds no share.

use std::time::Duration;

use contract::source::{Lag, ReadBatch, Rest, SplitReader};
use contract::{Error, Result};
use futures::future::BoxFuture;

use crate::flow::{Budget, Share};

/// A split that gives nothing for so long has nothing to read now.
const PATIENCE: Duration = Duration::from_millis(5);

/// The reader of a split.
pub struct Reading {
    reader: Reader,
    pace: Pace,
}

enum Reader {
    Opening(BoxFuture<'static, Result<Box<dyn SplitReader>>>),
    Open(Box<dyn SplitReader>),
}

/// Whether there is more to read now, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Backlog,
    Waiting,
}

impl Reading {
    /// A reader that is opened before its first batch.
    pub fn of(opening: BoxFuture<'static, Result<Box<dyn SplitReader>>>) -> Self {
        Self { reader: Reader::Opening(opening), pace: Pace::Backlog }
    }

    /// The next batch, with a share of so many bytes; without one where it had to be waited for.
    /// Cancel safe.
    ///
    /// # Errors
    /// As for [`SplitReader::next_batch`].
    pub async fn next_batch(
        &mut self,
        budget: &Budget,
        bytes: usize,
    ) -> Result<Option<(ReadBatch, Option<Share>)>> {
        if self.pace == Pace::Backlog {
            let share = budget.take(bytes).await?;
            match tokio::time::timeout(PATIENCE, self.reader.next_batch()).await {
                Ok(batch) => return Ok(batch?.map(|batch| (batch, Some(share)))),
                Err(_) => self.pace = Pace::Waiting,
            }
        }
        let batch = self.reader.next_batch().await?;
        self.pace = Pace::Backlog;
        Ok(batch.map(|batch| (batch, None)))
    }

    /// The reader, once it is open.
    pub fn reader(&mut self) -> Option<&mut dyn SplitReader> {
        match &mut self.reader {
            Reader::Open(reader) => Some(reader.as_mut()),
            Reader::Opening(_) => None,
        }
    }

    /// What lies beyond its position.
    pub fn lag(&self) -> Lag {
        match &self.reader {
            Reader::Open(reader) => reader.lag(),
            Reader::Opening(_) => Lag::default(),
        }
    }

    /// Whether it may give up its place.
    pub fn rest(&self) -> Rest {
        match &self.reader {
            Reader::Open(reader) => reader.rest(),
            Reader::Opening(_) => Rest::None,
        }
    }
}

impl Reader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if let Self::Opening(opening) = self {
            *self = Self::Open(opening.await?);
        }
        match self {
            Self::Open(reader) => reader.next_batch().await,
            Self::Opening(_) => Err(Error::bug("a split was opened and is not open")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use async_trait::async_trait;
    use contract::Position;

    use super::*;

    const BUDGET: usize = 8 << 10;

    /// Has a batch whenever it is asked, or never one.
    struct Given {
        asked: Arc<AtomicUsize>,
        has_batches: bool,
    }

    #[async_trait]
    impl SplitReader for Given {
        async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if !self.has_batches {
                std::future::pending::<()>().await;
            }
            let records = RecordBatch::new_empty(Arc::new(Schema::empty()));
            Ok(Some(ReadBatch::new(records, Position::new(1))))
        }

        async fn acknowledge(&mut self, _: &Position) -> Result<()> {
            Ok(())
        }
    }

    fn reading(has_batches: bool) -> (Reading, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let reader: Box<dyn SplitReader> = Box::new(Given { asked: asked.clone(), has_batches });
        (Reading::of(Box::pin(std::future::ready(Ok(reader)))), asked)
    }

    #[tokio::test]
    async fn who_has_no_room_reads_nothing_yet() {
        let budget = Budget::new(BUDGET);
        let all = budget.take(BUDGET).await.expect("a share");
        let (mut reading, asked) = reading(true);
        let mut next = Box::pin(reading.next_batch(&budget, BUDGET / 2));
        assert!(futures::poll!(next.as_mut()).is_pending());
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        drop(all);
        let (_, share) = next.await.expect("it reads").expect("a batch");
        assert_eq!(budget.used(), BUDGET / 2);
        drop(share);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn who_has_nothing_to_read_holds_no_share() {
        let budget = Budget::new(BUDGET);
        let (mut reading, asked) = reading(false);
        for _ in 0..2 {
            let next = reading.next_batch(&budget, BUDGET);
            assert!(tokio::time::timeout(PATIENCE * 4, next).await.is_err());
            assert_eq!(budget.used(), 0);
        }
        // The second time it does not even ask for room.
        let all = budget.take(BUDGET).await.expect("a share");
        let before = asked.load(Ordering::Relaxed);
        assert!(futures::poll!(Box::pin(reading.next_batch(&budget, BUDGET))).is_pending());
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
        drop(all);
    }
}
