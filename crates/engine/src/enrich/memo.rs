//! Remembers what was found for a text.
//!
//! Bounded by entries and bytes, for all memos of the process together: each reader has one, and
//! hundreds of files may be followed at once. A full memo is emptied before the next batch. What
//! comes out never depends on what is remembered.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, StringViewArray};
use contract::Result;
use datafusion::common::HashMap;

/// More distinct texts than the user agents of a busy site in a day.
pub(super) const ENTRIES_MAX: usize = 65_536;
const BYTES_MAX: usize = 16 << 20;
/// What each memo may hold at least, into however many they are divided.
const ENTRIES_MIN: usize = 256;
const BYTES_MIN: usize = 64 << 10;

/// Memos that are alive.
static MEMOS: AtomicUsize = AtomicUsize::new(0);

/// What was found, by text.
pub struct Memo<T> {
    found: HashMap<Box<str>, T>,
    bytes: usize,
}

impl<T> Drop for Memo<T> {
    fn drop(&mut self) {
        MEMOS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T: Copy> Memo<T> {
    /// A memo that knows nothing.
    pub fn new() -> Self {
        MEMOS.fetch_add(1, Ordering::Relaxed);
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
        self.exceeds_share_of(MEMOS.load(Ordering::Relaxed))
    }

    /// Whether it holds more than one of so many may.
    pub(super) fn exceeds_share_of(&self, memos: usize) -> bool {
        let share = |whole: usize, least: usize| (whole / memos.max(1)).max(least);
        self.found.len() >= share(ENTRIES_MAX, ENTRIES_MIN)
            || self.bytes >= share(BYTES_MAX, BYTES_MIN)
    }

    /// Forgets everything, and gives the memory back.
    pub fn clear(&mut self) {
        self.found = HashMap::new();
        self.bytes = 0;
    }

    fn learn(&mut self, text: &str, found: T) -> T {
        self.bytes += text.len();
        self.found.insert(text.into(), found);
        found
    }
}
