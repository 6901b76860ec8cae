//! Where one object ends and the next begins.
//!
//! A function of the rows alone: a replay must cut objects where the first run did, so that it
//! overwrites what was published before.

use crate::config::Config;

/// How full an object is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fill {
    rows: u64,
    bytes: u64,
    /// The highest position of its rows.
    last: i64,
}

impl Fill {
    /// Counts rows and returns those with which another object begins: what is behind a full one,
    /// from the next position on, because only a new position makes a new name.
    pub fn count(&mut self, config: &Config, positions: &[i64], sizes: &[u64]) -> Vec<usize> {
        let (bytes_max, rows_max) = (config.bytes_max.0, config.rows_max.unwrap_or(u64::MAX));
        let mut cuts = Vec::new();
        for (row, (position, size)) in positions.iter().zip(sizes).enumerate() {
            let is_full = self.rows >= rows_max || self.bytes >= bytes_max;
            if is_full && *position > self.last {
                cuts.push(row);
                *self = Self::default();
            }
            self.last = if self.rows == 0 { *position } else { self.last.max(*position) };
            self.rows += 1;
            self.bytes += size;
        }
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(settings: &str, positions: &[i64], step: usize) -> Vec<usize> {
        let settings = format!("{{ url: out, {settings} }}");
        let config = Config::read(&testkit::section(&settings)).expect("settings");
        let (mut fill, mut cuts) = (Fill::default(), Vec::new());
        for (number, batch) in positions.chunks(step).enumerate() {
            let sizes = vec![10; batch.len()];
            let of_batch = fill.count(&config, batch, &sizes);
            cuts.extend(of_batch.into_iter().map(|cut| number * step + cut));
        }
        cuts
    }

    #[test]
    fn a_full_object_ends_at_the_next_position_whatever_the_batches() {
        for step in [1, 2, 5, 100] {
            let records: Vec<i64> = (0..10).collect();
            assert_eq!(cuts("rows_max: 4", &records, step), [4, 8]);
            assert_eq!(cuts("bytes_max: 25B", &records, step), [3, 6, 9]);
            assert_eq!(cuts("rows_max: 2", &[1, 1, 1, 2, 2, 3, 3, 3], step), [3, 5]);
            // Rows that go back, as dead letters of two sinks may: no name would be new.
            assert!(cuts("rows_max: 2", &[5, 6, 5, 6], step).is_empty());
        }
    }
}
