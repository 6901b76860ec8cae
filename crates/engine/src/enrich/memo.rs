//! Remembers what was found for a text.
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
    found: HashMap<Box<str>, T>,
    bytes: usize,
}

impl<T: Copy> Memo<T> {
    /// A memo that knows nothing.
    pub fn new() -> Self {
        Self { found: HashMap::new(), bytes: 0 }
    }

    /// What was found for each text of a batch, `null` where there is no text; `find` is asked for
    /// those not known.
    ///
    /// # Errors
    /// As `find`.
    pub fn look_up(
        &mut self,
        texts: &StringViewArray,
        null: T,
        find: &mut dyn FnMut(&str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            let found = match text {
                None => null,
                Some(text) => match self.found.get(text) {
                    Some(found) => *found,
                    None => self.learn(text, find(text)?),
                },
            };
            rows.push(found);
        }
        Ok(rows)
    }

    /// Whether it holds so much that it is to be emptied.
    pub fn is_full(&self) -> bool {
        self.found.len() >= ENTRIES_MAX || self.bytes >= BYTES_MAX
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.found.clear();
        self.bytes = 0;
    }

    fn learn(&mut self, text: &str, found: T) -> T {
        self.bytes += text.len();
        self.found.insert(text.into(), found);
        found
    }
}
