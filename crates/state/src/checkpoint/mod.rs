//! What is true once an epoch is durable.
//!
//! It is created once and never changed. How it is written down stands in `written`: a checkpoint
//! names its splits, and holds those that changed; all of them stand in files that it names.

mod written;

use std::collections::{BTreeMap, BTreeSet};

use contract::sink::SinkReject;
use contract::transform::Resource;
use contract::{Error, Lineage, Position, Result, SplitId};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ledger::Entry;
use crate::roster::{Roster, SplitState};

/// The rules by which this binary turns cuts into rows. An unfinished epoch of lower rules is
/// finished by them; one of higher rules is left to the binary that made it. 1: rows of one record
/// that come to a node by several ways have no number.
pub const SEMANTICS: u32 = 2;

pub use written::{FORMAT, Line};

/// Places where a sink wrote before that are told apart; of more, the oldest two are taken for the
/// later one.
const EARLIER_MAX: usize = 32;

/// The state of a lineage after an epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The pipeline's name.
    pub pipeline: String,
    /// The lineage's name.
    pub lineage: String,
    /// The epoch's number; 0 is the beginning, before anything was read.
    pub epoch: u64,
    /// Random, made with checkpoint 0: tells this history from every other under the same names.
    pub incarnation: u32,
    /// Random per attempt: tells our own bytes from another owner's.
    pub writer: String,
    /// [`SEMANTICS`] of the binary that made the epoch.
    pub semantics: u32,
    /// The epoch's `now()`, microseconds since 1970.
    pub now_us: i64,
    /// Hash of the resolved plan that made the epoch.
    pub plan: String,
    /// SHA-256 of the pipeline file that made the epoch, kept like a resource.
    #[serde(default)]
    pub plan_text: String,
    /// The files that the epoch's steps read.
    #[serde(default)]
    pub resources: Vec<KeptResource>,
    /// In a replay of dead letters, how the rows of all edges were numbered that it has, where the
    /// plan says otherwise: rows that are given again keep their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbering: Vec<NumberedEdge>,
    /// The sources whose first listing stands among the splits, with where they start; others
    /// were never asked, or by a program that did not note it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub begun: BTreeSet<String>,
    /// All splits that were ever known, with the next record of each, where this is the newest
    /// checkpoint of its history; else those that are named in it.
    #[serde(skip)]
    pub roster: Roster,
    /// Where all splits stand but for those that changed since.
    #[serde(skip)]
    pub files: RosterFiles,
    /// The layout in which it was written down; 0 if it was not read.
    #[serde(skip)]
    pub format: u32,
    /// What was read, in the order in which it entered the steps.
    #[serde(default)]
    pub cuts: Vec<Cut>,
    /// The state of each stateful step, by name.
    #[serde(default)]
    pub states: BTreeMap<String, String>,
    /// How far the event time of each step has come that has one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub times: BTreeMap<String, StepTime>,
    /// What steps made of many rows, which nobody makes again, by the name of the step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, Copied>,
    /// What each sink got, by name.
    #[serde(default)]
    pub sinks: BTreeMap<String, SinkState>,
    /// Where the refused rows of its sinks stand, where they are too many to stand in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects_file: Option<RejectsFile>,
    /// The epoch's counts.
    #[serde(default)]
    pub ledger: Vec<Entry>,
}

/// The files in which the splits of a lineage stand, each by its number. Of a split that is in
/// several the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterFiles {
    /// All splits at some time; none as long as they are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<NamedFile>,
    /// Those that changed since, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<NamedFile>,
}

impl RosterFiles {
    /// All of them, the base first.
    pub fn all(&self) -> impl Iterator<Item = &NamedFile> {
        self.base.iter().chain(&self.layers)
    }
}

/// A file that checkpoints name. Its name is used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFile {
    /// The name, without folders.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

impl NamedFile {
    /// What stands at the end of the name of a file that holds these bytes.
    pub fn sum(bytes: &[u8]) -> String {
        sha256_hex(bytes)[..16].to_owned()
    }

    /// Whether these bytes are the file's.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let sum = self.name.rsplit('-').next();
        self.bytes == bytes.len() as u64 && sum == Some(&Self::sum(bytes))
    }
}

/// How far the event time of a step has come, and what waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTime {
    /// The watermark, in microseconds since 1970; none before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark_us: Option<i64>,
    /// Windows that are open.
    #[serde(default)]
    pub windows: u64,
    /// Rows in them.
    #[serde(default)]
    pub rows: u64,
    /// When the first of them is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_us: Option<i64>,
    /// When the last of them is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_us: Option<i64>,
}

/// What a step made in an epoch, as a replay takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Copied {
    /// Itself, in base64: it is short.
    Inline(String),
    /// Where it stands.
    File(NamedFile),
}

/// A file of refused rows beside a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsFile {
    /// Its name in the folder of the lineage.
    pub name: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// A range of one split that was read in one piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The number of the split in [`Checkpoint::roster`].
    pub split: usize,
    /// The first record; none for the beginning of the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Position>,
    /// The record after the last.
    pub to: Position,
    /// Places inside, in order, that the source marked: see [`Until::Proven`].
    ///
    /// [`Until::Proven`]: contract::source::Until::Proven
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Position>,
}

/// How rows that go from one node to another are numbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEdge {
    /// Whose output they are, as an input is written in a pipeline file.
    pub from: String,
    /// Who takes them: `transform "name"` or `sink "name"`.
    pub to: String,
    /// The number of the way from 1; 0 where rows keep the number that they have.
    pub number: i64,
    /// What the number of a row is multiplied by before that is added.
    pub base: i64,
}

/// A resource, kept by content under `resources/<sha256>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptResource {
    /// Where the file lay.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

impl From<&Resource> for KeptResource {
    fn from(resource: &Resource) -> Self {
        let path = resource.path.to_string_lossy().into_owned();
        Self { path, sha256: resource.sha256.clone() }
    }
}

/// What a sink got in an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkState {
    /// The epoch that the sink must hold before this one; none if it held nothing.
    pub prev: Option<u64>,
    /// Whether the sink has anything to commit in this epoch.
    pub owes: bool,
    /// Rows that it accepted.
    pub rows: u64,
    /// Sum over the origins of these rows ([`contract::record::OriginSum`]), in hexadecimal.
    pub hash: String,
    /// What publishes the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committable: Option<serde_json::Value>,
    /// Rows that it refused; a replay skips them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejects: Vec<SinkRejectState>,
    /// Where it wrote; none in checkpoints of programs that did not note it, and for sinks that
    /// no pipeline file names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Where it wrote before, oldest first, and went on elsewhere on the operator's word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierTarget>,
    /// What stood under the names that its rows went to, in all epochs; of each name the newest
    /// last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<KnownIdentity>,
    /// The first epoch that it did not see because the pipeline file has it not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_from: Option<u64>,
    /// Epochs that it did not see, and that somebody wanted to go on without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// Epochs that a sink did not see, while it was not in the pipeline file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// One of all the tables, topics, indexes or buckets that ever had a name, with the rows that went
/// into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownIdentity {
    /// The name.
    pub place: String,
    /// What tells it from others of that name ([`contract::sink::Identity::id`]).
    pub id: String,
    /// The first epoch of which rows went into it.
    pub from: u64,
    /// The last one so far.
    pub to: u64,
    /// Rows that went into it, as far as they were counted.
    pub rows: u64,
}

/// Where a sink writes. A sink whose target is another one is another sink, whatever its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The word after `type:`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The place as its connector names it, without secrets; none where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Target {
    /// Whether both are one place, however it is written.
    pub fn is_one(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match (&self.place, &other.place) {
                (Some(one), Some(other)) => stores::is_one_place(one, other),
                (one, other) => one == other,
            }
    }
}

/// Where a sink wrote before it went on elsewhere on the operator's word, and the epochs whose rows
/// went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierTarget {
    /// Where.
    #[serde(flatten)]
    pub target: Target,
    /// The first epoch.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// Rows of these epochs, once they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// A refused row as the checkpoint keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SinkRejectState(pub SinkReject);

impl PartialEq for SinkRejectState {
    fn eq(&self, other: &Self) -> bool {
        self.0.split == other.0.split && self.0.reject == other.0.reject
    }
}

impl SinkState {
    /// The token that the sink holds once the epoch is committed.
    pub fn token_after(&self, epoch: u64) -> Option<u64> {
        if self.owes { Some(epoch) } else { self.prev }
    }

    /// Notes that the sink writes elsewhere from now on, and that the rows of all epochs up to `to`
    /// went where it wrote so far. What stood under the names of that place tells nothing of the
    /// new one.
    pub fn move_to(&mut self, now: &Target, to: u64) {
        let from = self.earlier.last().map_or(1, |last| last.to + 1);
        if let Some(target) = self.target.take().filter(|_| from <= to) {
            self.earlier.push(EarlierTarget { target, from, to, rows: None });
        }
        if self.earlier.len() > EARLIER_MAX {
            let oldest = self.earlier.remove(0);
            let joined = &mut self.earlier[0];
            joined.from = oldest.from;
            joined.rows = oldest.rows.zip(joined.rows).map(|(one, other)| one + other);
        }
        self.rename_to(now);
    }

    /// Notes that the place where the sink writes has another name now.
    pub fn rename_to(&mut self, now: &Target) {
        self.target = Some(now.clone());
        self.identities.clear();
    }

    /// What it did not see of all epochs up to this one, while it was not in the pipeline file: as
    /// accepted, and since it is away.
    pub fn missed(&self, epoch: u64) -> Vec<Gap> {
        let last = self.absent_from.filter(|from| *from <= epoch);
        let last = last.map(|from| Gap { from, to: epoch });
        self.gaps.iter().copied().chain(last).collect()
    }

    /// The state in an epoch that gives the sink nothing.
    #[must_use]
    pub fn at_rest(&self, prev: Option<u64>) -> Self {
        Self {
            prev,
            target: self.target.clone(),
            earlier: self.earlier.clone(),
            identities: self.identities.clone(),
            absent_from: self.absent_from,
            gaps: self.gaps.clone(),
            ..Self::default()
        }
    }
}

impl Checkpoint {
    /// The beginning of a history.
    pub fn first(pipeline: &str, lineage: &Lineage, incarnation: u32) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            lineage: lineage.as_str().to_owned(),
            incarnation,
            semantics: SEMANTICS,
            ..Self::default()
        }
    }

    /// The beginning of the next checkpoint of this history: whose it is, which sources have begun,
    /// and where splits stand.
    pub fn successor(&self) -> Self {
        Self {
            pipeline: self.pipeline.clone(),
            lineage: self.lineage.clone(),
            epoch: self.epoch + 1,
            incarnation: self.incarnation,
            begun: self.begun.clone(),
            files: self.files.clone(),
            ..Self::default()
        }
    }

    /// The epoch that each sink holds once this checkpoint's epoch is committed everywhere.
    pub fn token_after(&self, sink: &str) -> Option<u64> {
        self.sinks.get(sink).and_then(|state| state.token_after(self.epoch))
    }

    /// The names of the files that it names, but for the shortcuts of splits.
    pub fn named_files(&self) -> impl Iterator<Item = &str> {
        let copies = self.copies.values().filter_map(|copied| match copied {
            Copied::File(file) => Some(file),
            Copied::Inline(_) => None,
        });
        let begins = self.cuts.iter().filter_map(|cut| cut.from.as_ref()?.shortcut.as_ref());
        let shortcuts = begins.filter_map(|shortcut| Some(&*shortcut.kept.as_ref()?.name));
        self.files.all().chain(copies).map(|file| file.name.as_str()).chain(shortcuts)
    }

    /// Lets its cuts begin as their readers did that went on from the checkpoint before, of which
    /// `roster` is: with the shortcuts to its positions. Nobody needs those to other places.
    pub fn begin_cuts_as(&mut self, roster: &Roster) {
        for cut in &mut self.cuts {
            cut.to.shortcut = None;
            let Some(from) = &mut cut.from else { continue };
            let known = roster.get(cut.split).and_then(|state| state.known.position.as_ref());
            let known = known.filter(|known| *known == from);
            from.shortcut = known.and_then(|known| known.shortcut.clone());
        }
    }

    /// Notes which splits it has refused records of.
    pub(crate) fn note_refused(&mut self) {
        let of = |entry: &&Entry| entry.counts.dead_lettered > 0 || entry.counts.rejected_after > 0;
        let refused = self.ledger.iter().filter(of).map(|entry| SplitId::new(&*entry.split));
        let refused: BTreeSet<_> = refused.collect();
        for id in refused {
            let numbers = self.roster.of_id(&id).map(|(number, _)| number).collect::<Vec<_>>();
            numbers.into_iter().for_each(|number| self.roster.refuse(number));
        }
    }

    /// The splits that are named in it, by number: those that it read, and those of its ledger.
    pub fn named(&self) -> BTreeMap<usize, &SplitState> {
        let read = self.cuts.iter().map(|cut| cut.split);
        let read = read.filter_map(|number| Some((number, self.roster.get(number)?)));
        let mut named: BTreeMap<_, _> = read.collect();
        let known: BTreeSet<_> = named.values().map(|state| state.known.split.id.clone()).collect();
        let booked: BTreeSet<_> = self.ledger.iter().map(|entry| entry.split.as_str()).collect();
        let booked = booked.into_iter().map(SplitId::new).filter(|id| !known.contains(id));
        for id in booked.collect::<Vec<_>>() {
            named.extend(self.roster.of_id(&id));
        }
        named
    }

    /// The source of a split that is booked in it, and what that says the split shares with others;
    /// none where it is not known.
    pub fn family_of(&self, entry: &Entry) -> (Option<&str>, Option<&str>) {
        let id = SplitId::new(entry.split.as_str());
        let state = self.roster.of_id(&id).next().map(|(_, state)| state);
        let source = state.map(|state| state.source.as_str());
        (source, state.and_then(|state| state.known.split.family()))
    }

    /// The checkpoint, if it is the one that was made for a place: `pipeline/lineage/epoch-number`.
    ///
    /// # Errors
    /// External: it is a copy of another one, which says nothing of the epoch of this name.
    pub fn of(self, place: &str) -> Result<Self> {
        let own = [self.pipeline.as_str(), &self.lineage, &format!("epoch-{:020}", self.epoch)];
        match Path::from_iter(own).as_ref() == place {
            true => Ok(self),
            false => Err(Error::external(format!(
                "checkpoint is damaged: it is a copy of that of epoch {} of {}/{}",
                self.epoch, self.pipeline, self.lineage
            ))),
        }
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_owes_nothing_keeps_its_token() {
        let mut state = SinkState { prev: Some(3), ..SinkState::default() };
        assert_eq!(state.token_after(5), Some(3));
        state.owes = true;
        assert_eq!(state.token_after(5), Some(5));
    }

    #[test]
    fn a_sink_that_moves_keeps_which_epochs_went_where() {
        let target = |place: &str| Target { kind: "lake".to_owned(), place: Some(place.into()) };
        let mut state = SinkState { target: Some(target("a")), ..SinkState::default() };
        let check = |state: &SinkState, expect: &[(&str, u64, u64)]| {
            let known =
                state.earlier.iter().map(|one| (one.target.place.as_deref(), one.from, one.to));
            let expect = expect.iter().map(|(place, from, to)| (Some(*place), *from, *to));
            assert!(known.eq(expect), "{:?}", state.earlier);
        };
        state.move_to(&target("b"), 4);
        check(&state, &[("a", 1, 4)]);
        state.rename_to(&target("b again"));
        // Nothing went there.
        state.move_to(&target("c"), 4);
        check(&state, &[("a", 1, 4)]);
        state.earlier[0].rows = Some(9);
        state.move_to(&target("d"), 6);
        check(&state, &[("a", 1, 4), ("c", 5, 6)]);
        assert_eq!(state.at_rest(None).earlier, state.earlier);
        for epoch in 7..7 + EARLIER_MAX as u64 {
            state.move_to(&target("e"), epoch);
        }
        assert_eq!((state.earlier.len(), state.earlier[0].from), (EARLIER_MAX, 1));
        assert_eq!(state.earlier[0].rows, None, "of the others nobody has counted");
    }
}
