//! The splits that a lineage knows, each with the next record to read.
//!
//! A split has a number for as long as the lineage lives: cuts and positions name it by that. The
//! numbers are internal to checkpoints. Nothing here looks through all splits to find one, and what
//! changed is known by number until it stands in a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Index;
use std::sync::Arc;

use contract::discovery::{NameSum, Retired, Tombstone};
use contract::source::{KnownSplit, Split};
use contract::{KeptShortcut, Position, Shortcut, SplitId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A split of a source with the next record to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SplitState {
    /// The source's name in the pipeline file.
    pub source: String,
    /// The split and its position.
    #[serde(flatten)]
    pub known: KnownSplit,
    /// Whether all that it held when its source described it so is read up to the position: it is
    /// opened again only with another descriptor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_read: bool,
    /// Whether no record of it was ever refused: only then nobody asks for it once it is gone.
    /// Earlier programs did not note it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_clean: bool,
    /// The greatest event time of its rows, by the step that asks for it, in microseconds since
    /// 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times: BTreeMap<String, i64>,
}

/// What is left of a split that retired: for a while its tombstone, its name for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave {
    /// The source's name in the pipeline file.
    pub source: Arc<str>,
    /// What it was called.
    #[serde(with = "name_sum")]
    pub name: NameSum,
    /// When it retired, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since_us: i64,
    /// What its source left of it.
    #[serde(default, with = "tombstone", skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<Tombstone>,
}

/// What stands under a number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Standing {
    /// A split.
    Split(SplitState),
    /// One that retired.
    Grave(Grave),
}

/// A split as its source says that it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Its number.
    pub number: usize,
    /// Whether it is new, or its descriptor another one than before.
    pub is_news: bool,
}

impl SplitState {
    /// A split of a source, of which it is not known that it was read.
    pub fn new(source: impl Into<String>, known: KnownSplit) -> Self {
        Self {
            source: source.into(),
            known,
            is_read: false,
            is_clean: true,
            times: BTreeMap::new(),
        }
    }
}

impl Grave {
    /// What its source hears of it.
    pub fn retired(&self) -> Retired {
        Retired { name: self.name, tombstone: self.tombstone.clone() }
    }
}

/// Splits by number and by id.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    splits: BTreeMap<usize, SplitState>,
    /// Those that retired, by number.
    graves: BTreeMap<usize, Grave>,
    /// Since when tombstones stand, with their numbers.
    tombstones: BTreeSet<(i64, usize)>,
    /// Two sources may have splits of one id.
    numbers: HashMap<SplitId, Vec<usize>>,
    /// The number of the next split that is new.
    next: usize,
    /// Those that stand in no file as they are.
    changed: BTreeSet<usize>,
    /// By number, the files of the shortcuts to positions.
    shortcuts: BTreeMap<usize, Arc<str>>,
    /// What became of these since somebody asked.
    turnover: Turnover,
}

/// Files of shortcuts that came and went.
#[derive(Clone, Debug, Default)]
pub struct Turnover {
    /// Those that splits have now.
    pub named: Vec<Arc<str>>,
    /// Those that none has any more.
    pub left: Vec<Arc<str>>,
}

impl Roster {
    /// Splits of which names alone are known.
    pub fn named(states: impl Iterator<Item = (usize, SplitState)>) -> Self {
        let mut roster = Self::default();
        roster.fill(states);
        roster
    }

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
    pub fn of_id(&self, id: &SplitId) -> impl Iterator<Item = (usize, &SplitState)> + use<'_> {
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
    pub fn enter(&mut self, source: &str, split: Split) -> Entered {
        let Some(number) = self.number(source, &split.id) else {
            let known = KnownSplit { split, position: None };
            return Entered { number: self.add(SplitState::new(source, known)), is_news: true };
        };
        let state = self.splits.get_mut(&number);
        let other = state.filter(|state| state.known.split.descriptor != split.descriptor);
        let is_news = other.is_some();
        if let Some(state) = other {
            (state.known.split, state.is_read) = (split, false);
            self.changed.insert(number);
        }
        Entered { number, is_news }
    }

    /// Notes the next record of a split. Whether that says anything new.
    pub fn advance(&mut self, number: usize, position: &Position) -> bool {
        let Some(state) = self.splits.get_mut(&number) else { return false };
        let known = &state.known.position;
        // Notes take no part in comparisons of positions.
        let is_known = |known: &Position| known == position && known.note == position.note;
        if known.as_ref().is_some_and(is_known) {
            return false;
        }
        let before = known.as_ref().and_then(|known| known.shortcut.clone());
        let mut position = position.clone();
        match (before, &position.shortcut) {
            (Some(before), Some(shortcut)) if before.at == shortcut.at => {
                position.shortcut = Some(before);
            }
            _ => self.turnover.left.extend(self.shortcuts.remove(&number)),
        }
        (state.known.position, state.is_read) = (Some(position), false);
        self.changed.insert(number);
        true
    }

    /// The shortcuts to positions that stand in no file, with the numbers of their splits.
    pub fn loose_shortcuts(&self) -> Vec<(usize, Arc<Shortcut>)> {
        let loose = self.changes().filter_map(|(number, state)| {
            let shortcut = state.known.position.as_ref()?.shortcut.as_ref()?;
            shortcut.kept.is_none().then(|| (number, shortcut.clone()))
        });
        loose.collect()
    }

    /// Notes which file has the shortcut to the position of a split; none where nothing keeps it.
    pub fn keep_shortcut(&mut self, number: usize, kept: Option<KeptShortcut>) {
        let state = self.splits.get_mut(&number);
        let Some(position) = state.and_then(|state| state.known.position.as_mut()) else { return };
        let at = position.shortcut.as_ref().map_or(0, |shortcut| shortcut.at);
        position.shortcut = kept.map(|kept| {
            self.turnover.named.push(kept.name.clone());
            self.shortcuts.insert(number, kept.name.clone());
            Arc::new(Shortcut { at, kept: Some(kept), ..Shortcut::default() })
        });
    }

    /// What became of the files of shortcuts since the last call.
    pub fn take_turnover(&mut self) -> Turnover {
        std::mem::take(&mut self.turnover)
    }

    /// The files of the shortcuts to the positions of all splits.
    pub fn shortcuts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shortcuts.values()
    }

    /// Notes the greatest event time of the rows of a split.
    pub fn time(&mut self, number: usize, step: &str, us: i64) {
        let Some(state) = self.splits.get_mut(&number) else { return };
        let known = state.times.get(step).copied();
        if known.is_none_or(|known| known < us) {
            state.times.insert(step.to_owned(), us);
            self.changed.insert(number);
        }
    }

    /// Notes that all is read, up to its position, that a split held when it was described so;
    /// nothing if it is described otherwise by now.
    pub fn read(&mut self, number: usize, descriptor: &Value) {
        let Some(state) = self.splits.get_mut(&number) else { return };
        if !state.is_read && state.known.split.descriptor == *descriptor {
            state.is_read = true;
            self.changed.insert(number);
        }
    }

    /// The number of the next split that is new.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Numbers below this one were given, to splits that are here or are not any more.
    pub fn begin_at(&mut self, next: usize) {
        self.next = self.next.max(next);
    }

    /// Notes that a record of a split was refused.
    pub fn refuse(&mut self, number: usize) {
        if let Some(state) = self.splits.get_mut(&number).filter(|state| state.is_clean) {
            state.is_clean = false;
            self.changed.insert(number);
        }
    }

    /// Lets go of a split that is gone. Its number stays its own.
    pub fn retire(&mut self, number: usize, tombstone: Tombstone, now_us: i64) -> Option<&Grave> {
        let state = self.splits.get(&number)?;
        let (source, name) = (state.source.as_str().into(), NameSum::of(&state.known.split.id));
        let grave = Grave { source, name, since_us: now_us, tombstone: Some(tombstone) };
        let shortcut = self.shortcuts.get(&number).cloned();
        self.put(number, Standing::Grave(grave));
        self.turnover.left.extend(shortcut);
        self.changed.insert(number);
        self.graves.get(&number)
    }

    /// Forgets the tombstones of splits that retired before a moment, but for their names.
    pub fn forget_tombstones(&mut self, before_us: i64) {
        while let Some((since_us, number)) = self.tombstones.first().copied() {
            if since_us >= before_us {
                return;
            }
            self.tombstones.pop_first();
            if let Some(grave) = self.graves.get_mut(&number) {
                (grave.since_us, grave.tombstone) = (0, None);
                self.changed.insert(number);
            }
        }
    }

    /// What is left of the splits of a source that retired.
    pub fn retired(&self, source: &str) -> Vec<Retired> {
        let of_source = self.graves.values().filter(|grave| &*grave.source == source);
        of_source.map(Grave::retired).collect()
    }

    /// What is left of splits that retired, in order of their numbers.
    pub fn graves(&self) -> impl Iterator<Item = (usize, &Grave)> {
        self.graves.iter().map(|(number, grave)| (*number, grave))
    }

    /// The splits that stand in no file as they are, in order of their numbers.
    pub fn changes(&self) -> impl Iterator<Item = (usize, &SplitState)> {
        self.changed.iter().filter_map(|number| Some((*number, self.splits.get(number)?)))
    }

    /// The same of those that retired.
    pub fn changed_graves(&self) -> impl Iterator<Item = (usize, &Grave)> {
        self.changed.iter().filter_map(|number| Some((*number, self.graves.get(number)?)))
    }

    /// All that stands in no file as it is.
    pub fn take_changes(&self) -> Vec<(usize, Standing)> {
        let splits = self.changes().map(|(number, state)| (number, state.clone().into()));
        let graves = self.changed_graves().map(|(number, grave)| (number, grave.clone().into()));
        splits.chain(graves).collect()
    }

    /// All of them stand in files now.
    pub fn settle(&mut self) {
        self.changed.clear();
    }

    /// Takes in splits as they stand in a file, in place of what was known of them.
    pub fn fill<S: Into<Standing>>(&mut self, standings: impl Iterator<Item = (usize, S)>) {
        for (number, standing) in standings {
            self.put(number, standing.into());
        }
    }

    /// The same of splits that stand in no file.
    pub fn change<S: Into<Standing>>(&mut self, standings: impl Iterator<Item = (usize, S)>) {
        for (number, standing) in standings {
            self.put(number, standing.into());
            self.changed.insert(number);
        }
    }

    fn put(&mut self, number: usize, standing: Standing) {
        self.next = self.next.max(number + 1);
        self.shortcuts.remove(&number);
        match standing {
            Standing::Split(state) => {
                let shortcut = state.known.position.as_ref().and_then(|at| at.shortcut.as_ref());
                let kept = shortcut.and_then(|shortcut| shortcut.kept.as_ref());
                self.shortcuts.extend(kept.map(|kept| (number, kept.name.clone())));
                let id = state.known.split.id.clone();
                if self.splits.insert(number, state).is_none() {
                    self.numbers.entry(id).or_default().push(number);
                }
            }
            Standing::Grave(grave) => self.bury(number, grave),
        }
    }

    fn bury(&mut self, number: usize, grave: Grave) {
        if let Some(state) = self.splits.remove(&number) {
            let id = state.known.split.id;
            if let Some(numbers) = self.numbers.get_mut(&id) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.numbers.remove(&id);
                }
            }
        }
        if let Some(before) = self.graves.get(&number) {
            self.tombstones.remove(&(before.since_us, number));
        }
        if grave.tombstone.is_some() {
            self.tombstones.insert((grave.since_us, number));
        }
        self.graves.insert(number, grave);
    }

    fn add(&mut self, state: SplitState) -> usize {
        let number = self.next;
        self.put(number, state.into());
        self.changed.insert(number);
        number
    }
}

impl From<SplitState> for Standing {
    fn from(state: SplitState) -> Self {
        Self::Split(state)
    }
}

impl From<Grave> for Standing {
    fn from(grave: Grave) -> Self {
        Self::Grave(grave)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The sum of a name as text.
mod name_sum {
    use contract::discovery::NameSum;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(name: &NameSum, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{:016x}", name.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NameSum, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map(NameSum).map_err(D::Error::custom)
    }
}

/// A tombstone as base64.
mod tombstone {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use contract::discovery::Tombstone;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(of: &Option<Tombstone>, to: S) -> Result<S::Ok, S::Error> {
        match of {
            Some(bytes) => to.serialize_str(&STANDARD_NO_PAD.encode(bytes)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Tombstone>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)).transpose()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn split(id: &str, descriptor: u64) -> Split {
        Split { id: SplitId::new(id), descriptor: descriptor.into() }
    }

    #[test]
    fn a_split_keeps_its_number_and_is_found_by_its_source_and_id() {
        let mut roster = Roster::default();
        let mut enter = |source: &str, id: &str| roster.enter(source, split(id, 1)).number;
        assert_eq!(enter("access", "a.log"), 0);
        assert_eq!(enter("errors", "a.log"), 1, "another source's is another one");
        assert_eq!(enter("access", "b.log"), 2);
        assert!(roster.advance(0, &Position::new(7)));
        let again = roster.enter("access", split("a.log", 2));
        assert_eq!(again, Entered { number: 0, is_news: true });
        assert!(!roster.enter("access", split("a.log", 2)).is_news);
        assert_eq!(roster[0].known.split.descriptor, 2, "as it was said last");
        assert_eq!(roster[0].known.position, Some(Position::new(7)));
        let id = SplitId::new("a.log");
        assert_eq!(roster.number("errors", &id), Some(1));
        assert_eq!(roster.number("orders", &id), None);
        assert_eq!(roster.of_id(&id).map(|(number, _)| number).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(roster.known("access").len(), 2);
    }

    #[test]
    fn what_changed_is_known_until_it_stands_in_a_file() {
        let mut roster = Roster::default();
        for id in ["a", "b", "c"] {
            roster.enter("access", split(id, 1));
        }
        let changes = |roster: &Roster| roster.changes().map(|(number, _)| number).collect();
        let check = |roster: &Roster, expect: &[usize]| {
            let found: Vec<usize> = changes(roster);
            assert_eq!(found, expect);
        };
        check(&roster, &[0, 1, 2]);
        roster.settle();
        roster.enter("access", split("a", 1));
        check(&roster, &[]);
        roster.enter("access", split("c", 2));
        assert!(roster.advance(1, &Position::new(7)));
        check(&roster, &[1, 2]);
        roster.settle();
        assert!(!roster.advance(1, &Position::new(7)), "it stands there already");
        check(&roster, &[]);
        assert!(roster.advance(1, &Position::new(7).with_note("another")));
        check(&roster, &[1]);
    }

    #[test]
    fn a_shortcut_stays_until_a_split_has_another_or_retires() {
        let mut roster = Roster::default();
        let number = roster.enter("access", split("a", 1)).number;
        let at = |position, shortcut: Option<u64>| {
            let shortcut = shortcut.map(|at| Arc::new(Shortcut { at, ..Shortcut::default() }));
            Position::new(position).with_shortcut(shortcut)
        };
        let keep = |roster: &mut Roster, name: &str| {
            let loose = roster.loose_shortcuts();
            assert_eq!(loose.len(), 1, "{name}");
            roster.keep_shortcut(number, Some(KeptShortcut { name: name.into(), bytes: 3 }));
        };
        let check = |roster: &mut Roster, named: &[&str], left: &[&str]| {
            let turnover = roster.take_turnover();
            assert!(turnover.named.iter().map(|name| &**name).eq(named.iter().copied()));
            assert!(turnover.left.iter().map(|name| &**name).eq(left.iter().copied()));
        };
        roster.advance(number, &at(10, Some(5)));
        keep(&mut roster, "one");
        check(&mut roster, &["one"], &[]);
        roster.advance(number, &at(11, Some(5)));
        assert!(roster.loose_shortcuts().is_empty(), "it is kept already");
        check(&mut roster, &[], &[]);
        roster.advance(number, &at(20, Some(15)));
        keep(&mut roster, "two");
        check(&mut roster, &["two"], &["one"]);
        let text = serde_json::to_string(&roster[number]).expect("JSON");
        let mut again = Roster::default();
        let state: SplitState = serde_json::from_str(&text).expect("JSON");
        again.fill([(number, state)].into_iter());
        assert!(again.shortcuts().map(|name| &**name).eq(["two"]));
        again.advance(number, &at(21, None));
        check(&mut again, &[], &["two"]);
        roster.retire(number, Vec::new(), 1);
        check(&mut roster, &[], &["two"]);
        assert_eq!(roster.shortcuts().count(), 0);
    }

    #[test]
    fn a_split_is_read_until_its_descriptor_or_its_position_is_another_one() {
        let mut roster = Roster::default();
        let number = roster.enter("access", split("a", 1)).number;
        roster.advance(number, &Position::new(7));
        roster.read(number, &2.into());
        assert!(!roster[number].is_read, "it grew since");
        roster.read(number, &1.into());
        roster.settle();
        roster.read(number, &1.into());
        roster.advance(number, &Position::new(7));
        roster.enter("access", split("a", 1));
        assert!(roster[number].is_read);
        assert_eq!(roster.changes().count(), 0, "it stands in a file as it is");
        let text = serde_json::to_string(&roster[number]).expect("JSON");
        let stored: SplitState = serde_json::from_str(&text).expect("JSON");
        assert!(stored.is_read && text.contains("is_read"));
        roster.enter("access", split("a", 2));
        assert!(!roster[number].is_read);
        roster.read(number, &2.into());
        roster.advance(number, &Position::new(8));
        assert!(!roster[number].is_read);
        let text = serde_json::to_string(&roster[number]).expect("JSON");
        assert!(!text.contains("is_read"), "{text}");
    }

    #[test]
    fn numbers_go_on_behind_all_that_were_given() {
        let mut roster = Roster::default();
        let known = KnownSplit { split: split("z", 1), position: None };
        let state = SplitState::new("access", known);
        roster.fill([(7, state)].into_iter());
        assert_eq!(roster.enter("access", split("a", 1)).number, 8);
        roster.begin_at(20);
        assert_eq!(roster.enter("access", split("b", 1)).number, 20);
        assert_eq!(roster.number("access", &SplitId::new("z")), Some(7));
        assert_eq!(roster.iter().map(|(number, _)| number).collect::<Vec<_>>(), [7, 8, 20]);
    }
}
