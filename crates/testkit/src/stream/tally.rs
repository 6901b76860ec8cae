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

/// What is not as expected.
#[derive(Default)]
pub struct Found {
    /// Ids that were not seen.
    pub missing: Vec<String>,
    /// Ids that were seen more than once.
    pub doubled: Vec<String>,
    /// What nobody sent.
    pub strange: Vec<String>,
}

impl Found {
    /// Whether all is as expected.
    pub fn is_nothing(&self) -> bool {
        self.missing.is_empty() && self.doubled.is_empty() && self.strange.is_empty()
    }
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

    /// Counts a record that is a row of JSON.
    ///
    /// # Panics
    /// It is none of ours.
    pub fn count_row(&mut self, row: &serde_json::Value) {
        let id = row["id"].as_u64().expect("a row has an id");
        self.count(id, row["word"].as_str().expect("a row has a word"));
    }

    /// Counts a record that is a line of JSON.
    ///
    /// # Panics
    /// As for [`Tally::count_row`].
    pub fn count_line(&mut self, line: &str) {
        self.count_row(&serde_json::from_str(line).expect("a row is JSON"));
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
        let found = self.compare(expected);
        if found.is_nothing() {
            return Ok(());
        }
        let Found { missing, doubled, strange } = found;
        let complaints: Vec<_> =
            [("missing", &missing), ("seen more than once", &doubled), ("never sent", &strange)]
                .into_iter()
                .filter(|(_, ids)| !ids.is_empty())
                .map(|(what, ids)| complaint(what, ids))
                .collect();
        Err(complaints.join("; "))
    }

    /// What there is to say against it, if exactly the ids that are `expected` were to be seen,
    /// each once.
    pub fn compare(&self, expected: impl Fn(u64) -> bool) -> Found {
        let mut found = Found { strange: self.strange.clone(), ..Found::default() };
        for (id, count) in (0..).zip(&self.seen) {
            match (expected(id), count) {
                (true, 1) | (false, 0) => {}
                (true, 0) => found.missing.push(id.to_string()),
                (true, _) => found.doubled.push(id.to_string()),
                (false, _) => found.strange.push(id.to_string()),
            }
        }
        found
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

    #[test]
    fn an_id_that_came_thrice_is_doubled_once_beside_what_is_lost() {
        let mut tally = Tally::new(4);
        [1, 1, 1, 2].iter().for_each(|id| tally.count(*id, &word(*id)));
        let found = tally.compare(|_| true);
        assert_eq!(
            (found.missing, found.doubled),
            (vec!["0".into(), "3".into()], vec!["1".into()])
        );
        assert_eq!((found.strange.len(), tally.total()), (0, 4));
    }
}
