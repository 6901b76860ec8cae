//! Counts records by their id: each once, none missing, none made up.

use super::feed;

/// Ids that a complaint names.
const NAMED_MAX: usize = 5;

/// What was found of the ids from 0.
pub struct Tally {
    seen: Vec<u16>,
    strange: Vec<String>,
    /// What must stand beside an id.
    word: fn(u64) -> String,
}

impl Tally {
    /// Nothing was seen yet of this many ids.
    pub fn new(ids: u64) -> Self {
        Self::of(ids, feed::word)
    }

    /// The same, of records with other words.
    pub fn of(ids: u64, word: fn(u64) -> String) -> Self {
        let ids = usize::try_from(ids).expect("ids fit in memory");
        Self { seen: vec![0; ids], strange: Vec::new(), word }
    }

    /// Counts a record.
    pub fn count(&mut self, id: u64, word: &str) {
        let slot = usize::try_from(id).ok().and_then(|id| self.seen.get_mut(id));
        match slot {
            Some(slot) if word == (self.word)(id) => *slot = slot.saturating_add(1),
            _ => self.strange.push(format!("{id} with {word:?}")),
        }
    }

    /// How many records were counted.
    pub fn total(&self) -> u64 {
        self.seen.iter().map(|count| u64::from(*count)).sum()
    }

    /// Checks that exactly the ids that are `expected` were seen, each once.
    ///
    /// # Errors
    /// What is missing, doubled or strange.
    pub fn check(&self, expected: impl Fn(u64) -> bool) -> Result<(), String> {
        let (mut missing, mut doubled, mut strange) = (Vec::new(), Vec::new(), Vec::new());
        for (id, count) in (0..).zip(&self.seen) {
            match (expected(id), count) {
                (true, 1) | (false, 0) => {}
                (true, 0) => missing.push(id.to_string()),
                (true, _) => doubled.push(id.to_string()),
                (false, _) => strange.push(id.to_string()),
            }
        }
        strange.extend(self.strange.iter().cloned());
        let complaints: Vec<_> =
            [("missing", &missing), ("seen more than once", &doubled), ("never sent", &strange)]
                .into_iter()
                .filter(|(_, ids)| !ids.is_empty())
                .map(|(what, ids)| complaint(what, ids))
                .collect();
        match complaints.is_empty() {
            true => Ok(()),
            false => Err(complaints.join("; ")),
        }
    }
}

fn complaint(what: &str, ids: &[String]) -> String {
    let named = &ids[..ids.len().min(NAMED_MAX)];
    format!("{} {what} ({} …)", ids.len(), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::stream::feed::word;

    #[test]
    fn each_expected_id_is_seen_once() {
        let check = |ids: &[(u64, &str)], complaint: &str| {
            let mut tally = Tally::new(3);
            ids.iter().for_each(|(id, word)| tally.count(*id, word));
            let found = tally.check(|id| id != 2).err().unwrap_or_default();
            assert_eq!(found, complaint);
        };
        let (zero, one, two) = (word(0), word(1), word(2));
        check(&[(1, &one), (0, &zero)], "");
        check(&[(0, &zero)], "1 missing (1 …)");
        check(&[(0, &zero), (1, &one), (1, &one)], "1 seen more than once (1 …)");
        check(&[(0, &zero), (1, &one), (2, &two)], "1 never sent (2 …)");
        check(&[(0, &zero), (1, &one), (1, "x")], "1 never sent (1 with \"x\" …)");
        check(&[(0, &zero), (1, &one), (7, &one)], &format!("1 never sent (7 with {one:?} …)"));
    }
}
