//! The splits that a lineage knows, each with the next record to read.
//!
//! A split has a number for as long as the lineage lives: cuts and positions name it by that. The
//! numbers are internal to checkpoints. Nothing here looks through all splits to find one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Index;

use contract::source::{KnownSplit, Split};
use contract::{Position, SplitId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A split of a source with the next record to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SplitState {
    /// The source's name in the pipeline file.
    pub source: String,
    /// The split and its position.
    #[serde(flatten)]
    pub known: KnownSplit,
}

/// Splits by number and by id. Written as a list in which the place of a split is its number.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    splits: BTreeMap<usize, SplitState>,
    /// Two sources may have splits of one id.
    numbers: HashMap<SplitId, Vec<usize>>,
    /// The number of the next split that is new.
    next: usize,
}

impl Roster {
    /// How many splits there are.
    pub fn len(&self) -> usize {
        self.splits.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// The split of a number.
    pub fn get(&self, number: usize) -> Option<&SplitState> {
        self.splits.get(&number)
    }

    /// All splits with their numbers, in order of these.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &SplitState)> {
        self.splits.iter().map(|(number, state)| (*number, state))
    }

    /// All splits, in order of their numbers.
    pub fn states(&self) -> impl Iterator<Item = &SplitState> + Clone {
        self.splits.values()
    }

    /// The splits of an id with their numbers: one, or one of each source that has such a split.
    pub fn of_id(&self, id: &SplitId) -> impl Iterator<Item = (usize, &SplitState)> {
        let numbers = self.numbers.get(id).into_iter().flatten();
        numbers.map(|number| (*number, &self[*number]))
    }

    /// The number of a split.
    pub fn number(&self, source: &str, id: &SplitId) -> Option<usize> {
        let mut of_id = self.of_id(id);
        of_id.find(|(_, state)| state.source == source).map(|(number, _)| number)
    }

    /// The splits that are known of a source.
    pub fn known(&self, source: &str) -> Vec<KnownSplit> {
        let of_source = self.states().filter(|state| state.source == source);
        of_source.map(|state| state.known.clone()).collect()
    }

    /// Takes in what a source says of a split; one that is not known gets a number.
    pub fn enter(&mut self, source: &str, split: Split) -> usize {
        match self.number(source, &split.id) {
            Some(number) => {
                if let Some(state) = self.splits.get_mut(&number) {
                    state.known.split = split;
                }
                number
            }
            None => {
                let known = KnownSplit { split, position: None };
                self.add(SplitState { source: source.to_owned(), known })
            }
        }
    }

    /// Notes the next record of a split.
    pub fn advance(&mut self, number: usize, position: Position) {
        if let Some(state) = self.splits.get_mut(&number) {
            state.known.position = Some(position);
        }
    }

    fn add(&mut self, state: SplitState) -> usize {
        let number = self.next;
        self.next += 1;
        self.numbers.entry(state.known.split.id.clone()).or_default().push(number);
        self.splits.insert(number, state);
        number
    }
}

impl Index<usize> for Roster {
    type Output = SplitState;

    fn index(&self, number: usize) -> &SplitState {
        self.splits.get(&number).expect("a split whose number is asked for is known")
    }
}

impl FromIterator<SplitState> for Roster {
    fn from_iter<I: IntoIterator<Item = SplitState>>(states: I) -> Self {
        let mut roster = Self::default();
        for state in states {
            roster.add(state);
        }
        roster
    }
}

impl IntoIterator for Roster {
    type Item = SplitState;
    type IntoIter = std::collections::btree_map::IntoValues<usize, SplitState>;

    fn into_iter(self) -> Self::IntoIter {
        self.splits.into_values()
    }
}

impl Serialize for Roster {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.states())
    }
}

impl<'de> Deserialize<'de> for Roster {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<SplitState>::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: &str, descriptor: u64) -> Split {
        Split { id: SplitId::new(id), descriptor: descriptor.into() }
    }

    #[test]
    fn a_split_keeps_its_number_and_is_found_by_its_source_and_id() {
        let mut roster = Roster::default();
        assert_eq!(roster.enter("access", split("a.log", 1)), 0);
        assert_eq!(roster.enter("errors", split("a.log", 1)), 1, "another source's is another one");
        assert_eq!(roster.enter("access", split("b.log", 1)), 2);
        roster.advance(0, Position::new(7));
        assert_eq!(roster.enter("access", split("a.log", 2)), 0);
        assert_eq!(roster[0].known.split.descriptor, 2, "as it was said last");
        assert_eq!(roster[0].known.position, Some(Position::new(7)));
        let id = SplitId::new("a.log");
        assert_eq!(roster.number("errors", &id), Some(1));
        assert_eq!(roster.number("orders", &id), None);
        assert_eq!(roster.of_id(&id).map(|(number, _)| number).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(roster.known("access").len(), 2);
    }

    #[test]
    fn a_roster_reads_what_it_writes() {
        let mut roster = Roster::default();
        for id in ["a", "b", "c"] {
            let number = roster.enter("access", split(id, 1));
            roster.advance(number, Position::new(number as i64));
        }
        let text = serde_json::to_string(&roster).expect("written");
        let mut read: Roster = serde_json::from_str(&text).expect("read");
        assert_eq!(serde_json::to_string(&read).expect("written"), text);
        assert_eq!(read.number("access", &SplitId::new("c")), Some(2));
        assert_eq!(read.enter("access", split("d", 1)), 3, "numbers go on");
    }
}
