//! Which columns of text are written without a dictionary.
//!
//! A dictionary of values that hardly repeat was built for nothing: the row groups that follow do
//! without one. From time to time it is tried again, as what is written may change.

use std::sync::atomic::{AtomicU32, Ordering};

/// Row groups that are written without a dictionary after one that was built for nothing.
const ROW_GROUPS: u32 = 64;

/// For each leaf column, how many row groups are still written without a dictionary. Shared by all
/// files of a writer.
pub struct Plain(Vec<AtomicU32>);

impl Plain {
    /// Every one of so many leaf columns begins with a dictionary.
    pub fn new(leaves: usize) -> Self {
        Self((0..leaves).map(|_| AtomicU32::new(0)).collect())
    }

    /// Whether the next row group of a column is written without one.
    pub fn take(&self, leaf: usize) -> bool {
        let count = |left: u32| left.checked_sub(1);
        let column = self.0.get(leaf);
        column.is_some_and(|left| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
        })
    }

    /// The dictionary of a column was built for nothing.
    pub fn hardly_repeats(&self, leaf: usize) {
        if let Some(left) = self.0.get(leaf) {
            left.store(ROW_GROUPS, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_tried_again() {
        let plain = Plain::new(2);
        assert!(!plain.take(1));
        plain.hardly_repeats(1);
        assert!((0..ROW_GROUPS).all(|_| plain.take(1)));
        assert!(!plain.take(1) && !plain.take(0) && !plain.take(9));
    }
}
