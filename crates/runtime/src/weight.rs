//! What the batches of a source weigh, with all that is made of them.
//!
//! A reader takes its share of the budget before it reads, so it has to guess; both guesses follow
//! from the batches before. Buffers are counted once, however many columns and sinks look into
//! them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayData, RecordBatch};

/// What is made of a batch at least, in hundredths of its own weight.
const MADE_PERCENT_MIN: usize = 100;
/// One part in so many is kept in addition: the next batch may be a little larger.
const RESERVE_PARTS: usize = 8;

/// What the batches of one source weigh.
#[derive(Debug)]
pub struct Weight {
    /// That of the last batch with all that was made of it, in bytes; 0 before the first.
    last: AtomicUsize,
    /// What the last batch was made into, in hundredths of its own weight.
    made_percent: AtomicUsize,
}

impl Weight {
    /// That of a source of which nothing was read.
    pub fn unknown() -> Self {
        Self { last: AtomicUsize::new(0), made_percent: AtomicUsize::new(MADE_PERCENT_MIN) }
    }

    /// Bytes that the next batch will need; none before the first one.
    pub fn expected(&self) -> Option<usize> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| last + last / RESERVE_PARTS)
    }

    /// Bytes that a batch needs, with what will be made of it.
    pub fn of(&self, batch: &RecordBatch) -> usize {
        let own = bytes_of([batch]);
        let made = own.saturating_mul(self.made_percent.load(Ordering::Relaxed)) / 100;
        let whole = own.saturating_add(made);
        self.last.store(whole, Ordering::Relaxed);
        whole
    }

    /// Learns what a batch was made into.
    pub fn learn<'a>(&self, batch: &'a RecordBatch, made: impl Iterator<Item = &'a RecordBatch>) {
        let own = bytes_of([batch]);
        let added = bytes_of(std::iter::once(batch).chain(made)) - own;
        let percent = added.saturating_mul(100) / own.max(1);
        self.made_percent.store(percent.max(MADE_PERCENT_MIN), Ordering::Relaxed);
    }
}

/// Bytes of all buffers of some batches, each counted once.
fn bytes_of<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> usize {
    let mut known = HashSet::new();
    let columns = batches.into_iter().flat_map(RecordBatch::columns);
    columns.map(|column| bytes_of_new(&column.to_data(), &mut known)).sum()
}

fn bytes_of_new(array: &ArrayData, known: &mut HashSet<usize>) -> usize {
    let nulls = array.nulls().map(|nulls| nulls.inner().inner());
    let buffers = array.buffers().iter().chain(nulls);
    let own: usize = buffers
        .filter(|buffer| known.insert(buffer.data_ptr().as_ptr().addr()))
        .map(arrow::buffer::Buffer::capacity)
        .sum();
    own + array.child_data().iter().map(|child| bytes_of_new(child, known)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    const LONG: &str = "a text that is longer than a view holds by itself";

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    fn numbers(rows: i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..rows))
    }

    #[test]
    fn a_buffer_counts_once_however_many_look_into_it() {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values([LONG; 1000]));
        let one = batch(vec![("a", texts.clone())]);
        assert!(bytes_of([&one]) >= 1000 * (16 + LONG.len()));
        let both = batch(vec![("a", texts.clone()), ("b", texts)]);
        assert_eq!(bytes_of([&both]), bytes_of([&one]));
        assert_eq!(bytes_of([&one, &both]), bytes_of([&one]));
    }

    #[test]
    fn what_many_sinks_get_is_charged_to_the_next_batch() {
        let weight = Weight::unknown();
        assert_eq!(weight.expected(), None);
        let read = batch(vec![("n", numbers(1000))]);
        let own = bytes_of([&read]);
        assert_eq!(weight.of(&read), 2 * own, "one thing is made of it, as long as nobody knows");
        let same = [&read, &read];
        weight.learn(&read, same.into_iter());
        assert_eq!(weight.of(&read), 2 * own);
        let made: Vec<_> = (0..3).map(|_| batch(vec![("n", numbers(1000))])).collect();
        weight.learn(&read, made.iter());
        assert_eq!(weight.of(&read), 4 * own);
        assert_eq!(weight.expected(), Some(4 * own + 4 * own / RESERVE_PARTS));
    }
}
