//! Remembers what was found for a text, and tells a batch's distinct texts apart in one pass.
//!
//! Bounded by entries and bytes: a full memo is emptied before the next batch. What comes out
//! never depends on what is remembered.

use arrow::array::{Array, StringViewArray};
use contract::Result;
use datafusion::common::HashMap;

/// More distinct texts than the user agents of a busy site in a day.
pub(super) const ENTRIES_MAX: usize = 65_536;
const BYTES_MAX: usize = 16 << 20;

/// What was found, by text.
pub struct Memo<T> {
    entries: HashMap<Box<str>, usize>,
    found: Vec<T>,
    bytes: usize,
    /// For each entry, its place among the distinct texts of the batch that saw it last.
    seen: Vec<Seen>,
    batch: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    batch: u64,
    place: i32,
}

/// The rows of a batch by distinct text.
pub struct Distinct<'a, T> {
    /// What was found for each distinct text, in the order of their first rows.
    pub found: Vec<&'a T>,
    /// The place of each row's text in `found`; none where there is no text.
    pub rows: Vec<Option<i32>>,
}

impl<T> Memo<T> {
    /// A memo that knows nothing.
    pub fn new() -> Self {
        Self { entries: HashMap::new(), found: Vec::new(), bytes: 0, seen: Vec::new(), batch: 0 }
    }

    /// What was found for the texts of a batch; `find` is asked for those not known.
    ///
    /// # Errors
    /// As `find`.
    pub fn look_up(
        &mut self,
        texts: &StringViewArray,
        find: &mut dyn FnMut(&str) -> Result<T>,
    ) -> Result<Distinct<'_, T>> {
        self.make_room();
        self.batch += 1;
        let mut distinct: Vec<usize> = Vec::new();
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let Some(text) = text else {
                rows.push(None);
                continue;
            };
            let entry = match self.entries.get(text) {
                Some(entry) => *entry,
                None => self.learn(text, find(text)?),
            };
            let seen = &mut self.seen[entry];
            if seen.batch != self.batch {
                let place = i32::try_from(distinct.len()).expect("a batch has less than 2^31 rows");
                *seen = Seen { batch: self.batch, place };
                distinct.push(entry);
            }
            rows.push(Some(seen.place));
        }
        Ok(Distinct { found: distinct.iter().map(|entry| &self.found[*entry]).collect(), rows })
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    fn learn(&mut self, text: &str, found: T) -> usize {
        let entry = self.found.len();
        self.bytes += text.len();
        self.entries.insert(text.into(), entry);
        self.found.push(found);
        self.seen.push(Seen { batch: 0, place: 0 });
        entry
    }

    fn make_room(&mut self) {
        if self.found.len() >= ENTRIES_MAX || self.bytes >= BYTES_MAX {
            self.entries.clear();
            self.found.clear();
            self.seen.clear();
            self.bytes = 0;
        }
    }
}
