//! How many objects may be open at once, where rows name countless of them.
//!
//! From [`OBJECTS_OPEN_MAX`] on the writer is full and the epoch ends. Rows that are under way by
//! then still come: a way that alone would hold more open closes all of its own first. Where it
//! does so depends on its rows alone, so that a replay makes the same objects.

/// Objects that are open at once; so no column of countless values exhausts memory.
pub const OBJECTS_OPEN_MAX: usize = if cfg!(test) { 100 } else { 10_000 };

/// The open objects of one way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// How many they are.
    pub open: usize,
    /// The highest position of its rows in this epoch, if there were any.
    last: Option<i64>,
}

impl Crowd {
    /// Whether so many more can be opened, whatever the rows are.
    pub fn takes(&self, more: usize) -> bool {
        self.open + more <= OBJECTS_OPEN_MAX
    }

    /// Rows with these positions were written.
    pub fn passed(&mut self, positions: &[i64]) {
        self.last = self.last.max(positions.iter().copied().max());
    }

    /// The first row that would open one object too many, once a new position makes new names.
    /// `of_row` has the object of each row, by its number in `is_new`, which says whether it is to
    /// be opened.
    pub fn overflow(
        &self,
        positions: &[i64],
        of_row: &[u32],
        mut is_new: Vec<bool>,
    ) -> Option<usize> {
        let (mut open, mut last) = (self.open, self.last);
        for (row, (position, object)) in positions.iter().zip(of_row).enumerate() {
            let opens = std::mem::take(&mut is_new[*object as usize]);
            if opens && open >= OBJECTS_OPEN_MAX && last.is_none_or(|last| *position > last) {
                return Some(row);
            }
            open += usize::from(opens);
            last = last.max(Some(*position));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The rows, one for each position, with which a way closes its objects; each row names the
    /// object of its number in `objects`.
    fn cuts(positions: &[i64], objects: &[u32], step: usize) -> Vec<usize> {
        let (mut crowd, mut open) = (Crowd::default(), HashSet::<u32>::new());
        let mut cuts = Vec::new();
        let mut from = 0;
        while from < positions.len() {
            let to = (from + step - from % step).min(positions.len());
            let most = objects.iter().max().map_or(0, |most| *most as usize + 1);
            let is_new = (0..most).map(|object| !open.contains(&(object as u32))).collect();
            let cut = crowd.overflow(&positions[from..to], &objects[from..to], is_new);
            let end = cut.map_or(to, |cut| from + cut);
            open.extend(&objects[from..end]);
            crowd.open = open.len();
            crowd.passed(&positions[from..end]);
            if cut.is_some() {
                cuts.push(end);
                open.clear();
                crowd.open = 0;
            }
            from = end;
        }
        cuts
    }

    #[test]
    fn a_way_closes_its_objects_at_the_same_row_whatever_the_batches() {
        let positions: Vec<i64> = (0..500).collect();
        let objects: Vec<u32> = (0..500).map(|row| row % 150).collect();
        let expect = cuts(&positions, &objects, 500);
        assert_eq!(expect, [100, 200, 300, 400]);
        for step in [1, 7, 100, 128] {
            assert_eq!(cuts(&positions, &objects, step), expect, "{step}");
        }
    }

    #[test]
    fn rows_of_one_record_do_not_begin_an_object_again_under_its_name() {
        let positions: Vec<i64> = (0..150).map(|row| row / 120).collect();
        let objects: Vec<u32> = (0..150).collect();
        assert_eq!(cuts(&positions, &objects, 40), [120]);
    }
}
