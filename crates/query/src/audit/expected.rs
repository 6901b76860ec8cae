//! What the ledger says that the sinks hold, and how a difference from it is explained.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use contract::record::OriginSum;
use contract::{Lineage, Result};
use state::checkpoint::{Gap, KnownIdentity, Target};
use state::ledger::{GONE, hash_number};
use state::{Checkpoint, CheckpointStore, History, LedgerRow};

use super::AuditedSink;
use super::found::Found;
use super::moved::{Moves, Places, Went};
use super::report::{
    Complete, Difference, DifferenceKind, Elsewhere, Gone, Missed, Moved, Replaced, Unfinished,
};

/// How far the ledger is taken to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Up to the newest epoch that was decided, whether or not it is known to be complete.
    Decided,
    /// Up to the newest epoch that is known to be complete.
    Complete,
}

/// The rows of one split in one epoch: what is compared as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stretch {
    /// The split.
    pub split: String,
    /// The epoch; all that the ledger has folded counts as one.
    pub epoch: u64,
}

/// The ledger of a pipeline up to the newest complete epochs.
#[derive(Default)]
pub struct Expected {
    /// How far the ledger counts, by lineage.
    pub complete: Vec<Complete>,
    /// The decided epochs that are not known to be complete.
    pub unproven: Vec<Unfinished>,
    /// By sink, then split and epoch.
    sums: HashMap<String, BTreeMap<Stretch, OriginSum>>,
    /// Those of them that went where the sink does not write any more.
    away: HashMap<String, BTreeMap<Stretch, OriginSum>>,
    /// Stretches of which nobody knows any more how many rows did.
    partly: HashMap<String, BTreeSet<Stretch>>,
    /// Where rows went.
    moves: Moves,
    /// Rows rejected after they were booked as delivered, by sink.
    rejected_after: HashMap<String, u64>,
    /// Rows that were given up because they could not be read again, by sink.
    lost: HashMap<String, u64>,
    /// What was read of each split in each epoch.
    ranges: HashMap<Stretch, Range<i64>>,
    /// The epochs of each split that are compared.
    pub(super) limits: HashMap<String, Limits>,
    /// The splits that have a row of their own in what is folded.
    folded: HashSet<String>,
    /// What stood under the names that rows went to, by sink, each with its lineage.
    identities: HashMap<String, Vec<(String, KnownIdentity)>>,
    /// The lineages of each split, to be asked again once the sinks were read.
    pub(super) histories: HashMap<String, Vec<(Lineage, History)>>,
    /// Lineages of which no epoch is recorded, and that know no split but what was listed first.
    pub(super) blank: Vec<String>,
    /// The newest decided epoch of all lineages that read by themselves.
    pub(super) decided_until: u64,
    /// Epochs that sinks did not see, by sink.
    gaps: HashMap<String, Vec<Missed>>,
    /// Where sinks wrote last, as far as it was noted.
    targets: HashMap<String, Target>,
}

/// The epochs of a split that are compared. Rows do not say which lineage delivered them, so an
/// epoch's number stands for that epoch of all lineages that read the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The newest epoch that any lineage has folded.
    folded_until: u64,
    /// The newest epoch that is complete in any lineage.
    pub(super) complete_until: u64,
    /// The newest epoch that is complete, or was never begun, in every lineage. Rows of later ones
    /// may be of an epoch that is under way.
    certain_until: u64,
}

impl Limits {
    const NONE: Self = Self { folded_until: 0, complete_until: 0, certain_until: u64::MAX };

    fn merge(self, other: Self) -> Self {
        Self {
            folded_until: self.folded_until.max(other.folded_until),
            complete_until: self.complete_until.max(other.complete_until),
            certain_until: self.certain_until.min(other.certain_until),
        }
    }
}

/// What a sink holds that is not what it should.
pub struct Differing {
    /// The stretches, in order.
    pub stretches: Vec<Stretch>,
    /// Rows of other stretches that went elsewhere, and are there alone.
    pub away: u64,
}

/// What one lineage recorded.
struct Recorded {
    folded_until: u64,
    rows: Vec<LedgerRow>,
    checkpoints: Vec<Checkpoint>,
}

impl Expected {
    /// Reads the ledger of every lineage of a pipeline, for these sinks.
    ///
    /// # Errors
    /// External: a checkpoint cannot be read.
    pub async fn read(
        pipeline: &str,
        sinks: &[AuditedSink],
        store: &CheckpointStore,
        until: Until,
    ) -> Result<Self> {
        let (mut expected, mut places) = (Self::default(), Places::default());
        let mut lineages = Vec::new();
        for lineage in store.lineages(pipeline).await? {
            let history = store.history(pipeline, &lineage);
            lineages.extend(expected.read_lineage(history, &lineage, (until, &mut places)).await?);
        }
        expected.moves = places.settle(sinks);
        // What is compared depends on all lineages, so that none is added before all are read.
        for recorded in lineages {
            let folded_until = recorded.folded_until;
            recorded.rows.into_iter().for_each(|row| expected.add_row(row, folded_until));
            recorded.checkpoints.iter().for_each(|checkpoint| expected.add_ranges(checkpoint));
        }
        Ok(expected)
    }

    async fn read_lineage(
        &mut self,
        history: History,
        lineage: &Lineage,
        (until, places): (Until, &mut Places),
    ) -> Result<Option<Recorded>> {
        let Some(newest) = history.newest().await? else {
            self.blank.extend((!lineage.is_replay()).then(|| lineage.to_string()));
            return Ok(None);
        };
        // The first listing of sources that share a lineage says nothing of what was read.
        let splits = &newest.checkpoint.roster;
        let is_shared = splits.is_empty() || !newest.checkpoint.begun.is_empty();
        let is_blank = newest.checkpoint.epoch == 0 && is_shared;
        if is_blank {
            self.blank.extend((!lineage.is_replay()).then(|| lineage.to_string()));
        }
        let epoch = newest.checkpoint.epoch;
        if !lineage.is_replay() {
            self.decided_until = self.decided_until.max(epoch);
        }
        if !newest.complete && epoch > 0 {
            let (lineage, gone) = (lineage.to_string(), Vec::new());
            self.unproven.push(Unfinished { lineage, epoch, gone });
        }
        for (sink, state) in &newest.checkpoint.sinks {
            let met = state.identities.iter().map(|one| (lineage.to_string(), one.clone()));
            self.identities.entry(sink.clone()).or_default().extend(met);
            let missed = state.missed(epoch).into_iter();
            let missed =
                missed.map(|Gap { from, to }| Missed { lineage: lineage.to_string(), from, to });
            self.gaps.entry(sink.clone()).or_default().extend(missed);
            places.note(lineage, &newest, sink);
            // A replay that is through stays where it was.
            if let Some(target) = &state.target
                && !(lineage.is_replay() && self.targets.contains_key(sink))
            {
                self.targets.insert(sink.clone(), target.clone());
            }
        }
        let complete = newest.complete || until == Until::Decided;
        // The existence of an epoch proves the one before it complete.
        let complete_until = if complete { epoch } else { epoch.saturating_sub(1) };
        self.complete.push(Complete { lineage: lineage.to_string(), epoch: complete_until });
        let ledger = history.ledger().await?;
        let limits = Limits {
            folded_until: ledger.folded_until,
            complete_until,
            certain_until: if complete { u64::MAX } else { complete_until },
        };
        // A split of which no epoch is recorded any more is compared too, with nothing.
        let known = splits.states().filter(|_| !is_blank);
        let known = known.map(|state| state.known.split.id.as_str());
        let splits: HashSet<&str> =
            ledger.rows.iter().map(|row| &*row.entry.split).chain(known).collect();
        for split in splits {
            let of_split = self.histories.entry(split.to_owned()).or_default();
            of_split.push((lineage.clone(), history.clone()));
            let known = self.limits.entry(split.to_owned()).or_insert(Limits::NONE);
            *known = known.merge(limits);
        }
        let folded = ledger.rows.iter().filter(|row| row.epoch <= ledger.folded_until);
        self.folded.extend(folded.map(|row| row.entry.split.clone()));
        let mut rows = ledger.rows;
        rows.retain(|row| row.epoch <= complete_until);
        let (folded_until, checkpoints) = (ledger.folded_until, history.checkpoints().await?);
        Ok(Some(Recorded { folded_until, rows, checkpoints }))
    }

    fn add_row(&mut self, row: LedgerRow, folded_until: u64) {
        let Some(stretch) = self.stretch(&row.entry.split, row.epoch) else { return };
        let went = self.moves.book(&row, row.epoch <= folded_until);
        let entry = row.entry;
        *self.rejected_after.entry(entry.sink.clone()).or_default() += entry.counts.rejected_after;
        *self.lost.entry(entry.sink.clone()).or_default() += entry.counts.lost;
        let sum = OriginSum {
            rows: entry.counts.delivered,
            hash: hash_number(&entry.hash).unwrap_or_default(),
        };
        match went {
            Went::Here => {}
            Went::Away => {
                let away = self.away.entry(entry.sink.clone()).or_default();
                away.entry(stretch.clone()).or_default().merge(sum);
            }
            Went::Partly => {
                self.partly.entry(entry.sink.clone()).or_default().insert(stretch.clone());
            }
        }
        self.sums.entry(entry.sink).or_default().entry(stretch).or_default().merge(sum);
    }

    fn add_ranges(&mut self, checkpoint: &Checkpoint) {
        for cut in &checkpoint.cuts {
            let Some(state) = checkpoint.roster.get(cut.split) else { continue };
            let split = state.known.split.id.to_string();
            let from = cut.from.as_ref().map_or(0, |position| position.at);
            let range = from..cut.to.at;
            let stretch = Stretch { split, epoch: checkpoint.epoch };
            let known = self.ranges.entry(stretch).or_insert_with(|| range.clone());
            *known = known.start.min(range.start)..known.end.max(range.end);
        }
    }

    /// The stretch that a row belongs to; none where the row is not compared.
    pub fn stretch(&self, split: &str, epoch: u64) -> Option<Stretch> {
        let split = if self.is_gone(split, epoch) { GONE } else { split };
        let limits = self.limits.get(split)?;
        let epoch = epoch.max(limits.folded_until);
        (epoch <= limits.complete_until).then(|| Stretch { split: split.to_owned(), epoch })
    }

    /// Whether a stretch may hold more than what is expected: rows of a lineage whose epoch of that
    /// number is not known to be complete.
    fn may_hold_more(&self, stretch: &Stretch) -> bool {
        self.limits.get(&stretch.split).is_some_and(|limits| stretch.epoch > limits.certain_until)
    }

    /// Whether rows of a split are counted to those of all splits that are gone. Each row has a
    /// hash of its own split, so that their sum proves each of them.
    fn is_gone(&self, split: &str, epoch: u64) -> bool {
        let gone = self.limits.get(GONE);
        gone.is_some_and(|limits| epoch <= limits.folded_until) && !self.folded.contains(split)
    }

    /// The epochs that a sink did not see while it was not in the pipeline file.
    pub fn gaps(&self, sink: &str) -> Vec<Missed> {
        self.gaps.get(sink).cloned().unwrap_or_default()
    }

    /// What sinks got that are not among these.
    pub fn elsewhere(&self, audited: &[AuditedSink]) -> Vec<Elsewhere> {
        let is_audited = |sink: &str| audited.iter().any(|audited| audited.name == sink);
        let others = self.sums.keys().filter(|sink| !is_audited(sink));
        let others =
            others.flat_map(|sink| {
                let moved =
                    self.moves.of(sink).into_iter().map(|Moved { kind, place, rows, .. }| {
                        Elsewhere { sink: sink.clone(), kind: Some(kind), place, rows }
                    });
                let target = self.targets.get(sink);
                let last = Elsewhere {
                    sink: sink.clone(),
                    kind: target.map(|target| target.kind.clone()),
                    place: target.and_then(|target| target.place.clone()),
                    rows: self.rows_of(sink) - self.away(sink),
                };
                moved.chain([last])
            });
        let mut others: Vec<_> = others.filter(|other| other.rows > 0).collect();
        others.sort_by(|one, other| one.sink.cmp(&other.sink));
        others
    }

    /// Rows that went to a sink, wherever it wrote then.
    pub fn rows_of(&self, sink: &str) -> u64 {
        let sums = self.sums.get(sink).into_iter().flat_map(BTreeMap::values);
        sums.map(|sum| sum.rows).sum::<u64>().saturating_sub(self.rejected_after(sink))
    }

    /// Those of them that went where it does not write any more.
    pub fn away(&self, sink: &str) -> u64 {
        let away = self.away.get(sink).into_iter().flat_map(BTreeMap::values);
        let away = away.map(|sum| sum.rows).sum::<u64>() + self.moves.partly(sink);
        away.min(self.rows_of(sink))
    }

    /// Those of epochs that were added up with later ones.
    pub fn partly(&self, sink: &str) -> u64 {
        self.moves.partly(sink)
    }

    /// Where those went.
    pub fn moved(&self, sink: &str) -> Vec<Moved> {
        self.moves.of(sink)
    }

    /// Rows that were given up because they could not be read again.
    pub fn lost(&self, sink: &str) -> u64 {
        self.lost.get(sink).copied().unwrap_or_default()
    }

    /// Rows of a sink that were rejected after they were booked as delivered.
    pub fn rejected_after(&self, sink: &str) -> u64 {
        self.rejected_after.get(sink).copied().unwrap_or_default()
    }

    /// Whether it is known what stood under the names that rows of a sink went to.
    pub fn knows_identities(&self, sink: &str) -> bool {
        self.identities.get(sink).is_some_and(|known| !known.is_empty())
    }

    /// What rows of a sink went into that is not what stands there `now`, by name. A name of which
    /// nothing is said now has what it had last.
    pub fn replaced(&self, sink: &str, now: &BTreeMap<String, String>) -> Vec<Replaced> {
        let known = self.identities.get(sink).map_or(&[][..], Vec::as_slice);
        let newest = |lineage: &str, place: &str| {
            known.iter().rfind(|(of, one)| of == lineage && one.place == place)
        };
        let replaced = known.iter().filter_map(|(lineage, one)| {
            let last = newest(lineage, &one.place).map(|(_, last)| &last.id);
            let current = now.get(&one.place).or(last)?;
            (*current != one.id).then(|| Replaced {
                lineage: lineage.clone(),
                place: one.place.clone(),
                was: one.id.clone(),
                now: current.clone(),
                from: one.from,
                to: one.to,
                rows: one.rows,
            })
        });
        replaced.collect()
    }

    /// What rows of an epoch went to of which nothing is there `now`.
    pub fn gone(
        &self,
        epoch: &Unfinished,
        sink: &str,
        now: &BTreeMap<String, String>,
    ) -> Vec<Gone> {
        let known = self.identities.get(sink).map_or(&[][..], Vec::as_slice);
        let of_epoch = known
            .iter()
            .filter(|(lineage, one)| *lineage == epoch.lineage && one.to == epoch.epoch)
            .filter(|(_, one)| !now.contains_key(&one.place));
        let gone =
            of_epoch.map(|(_, one)| Gone { sink: sink.to_owned(), place: one.place.clone() });
        gone.collect()
    }

    /// Rows that a sink holds of those that are compared; more of them than expected do not count
    /// where they may be of an epoch under way.
    pub fn held(&self, sink: &str, found: &Found) -> u64 {
        let held = found.stretches().map(|stretch| {
            let (held, expected) = (found.sum(stretch).rows, self.sum(sink, stretch).rows);
            if self.may_hold_more(stretch) { held.min(expected) } else { held }
        });
        held.sum()
    }

    /// Where a sink does not hold what it should. Rows that went elsewhere may be here as well, or
    /// not.
    pub fn differing(&self, sink: &str, found: &Found) -> Differing {
        let of_sink = self.sums.get(sink);
        let stretches: HashSet<_> =
            of_sink.into_iter().flat_map(BTreeMap::keys).chain(found.stretches()).collect();
        let mut differing = Differing { stretches: Vec::new(), away: 0 };
        for stretch in stretches {
            let (held, expected) = (found.sum(stretch), self.sum(sink, stretch));
            let away = self.sum_away(sink, stretch);
            let mut here = expected;
            here.take(away);
            match held {
                held if held == expected => {}
                held if held == here => differing.away += away.rows,
                // What is certain may be among them: that they are more is all that can be said.
                held if held.rows > expected.rows && self.may_hold_more(stretch) => {}
                _ => differing.stretches.push(stretch.clone()),
            }
        }
        self.settle_gone(sink, found, &mut differing.stretches);
        differing.stretches.sort_unstable();
        differing
    }

    /// A split that was gone and came back has rows in its own sum and in that of all that are
    /// gone. Nobody knows which, so that what is folded of both is proved together.
    fn settle_gone(&self, sink: &str, found: &Found, stretches: &mut Vec<Stretch>) {
        if !self.limits.contains_key(GONE) {
            return;
        }
        let is_folded = |stretch: &Stretch| {
            let limits = self.limits.get(&stretch.split);
            limits.is_some_and(|limits| stretch.epoch == limits.folded_until)
        };
        let (mut held, mut expected) = (OriginSum::default(), OriginSum::default());
        for stretch in stretches.iter().filter(|stretch| is_folded(stretch)) {
            held.merge(found.sum(stretch));
            expected.merge(self.sum(sink, stretch));
        }
        if held == expected {
            stretches.retain(|stretch| !is_folded(stretch));
        }
    }

    /// Takes of the missing rows of a stretch those that went elsewhere; returns how many.
    /// `partly` is what may be taken of stretches of which only the sum of all is known.
    pub fn excuse(
        &self,
        sink: &str,
        stretch: &Stretch,
        differences: &mut Vec<Difference>,
        partly: &mut u64,
    ) -> u64 {
        let is_partly = self.partly.get(sink).is_some_and(|known| known.contains(stretch));
        let mut left = self.sum_away(sink, stretch).rows;
        let mut excused = 0;
        let is_missing = |one: &&mut Difference| one.kind == DifferenceKind::Missing;
        for missing in differences.iter_mut().filter(is_missing) {
            for budget in [Some(&mut left), is_partly.then_some(&mut *partly)].into_iter().flatten()
            {
                let taken = missing.rows.min(*budget);
                *budget -= taken;
                missing.rows -= taken;
                excused += taken;
            }
        }
        differences.retain(|one| one.rows > 0);
        excused
    }

    fn sum_away(&self, sink: &str, stretch: &Stretch) -> OriginSum {
        self.away.get(sink).and_then(|sums| sums.get(stretch)).copied().unwrap_or_default()
    }

    fn sum(&self, sink: &str, stretch: &Stretch) -> OriginSum {
        self.sums.get(sink).and_then(|sums| sums.get(stretch)).copied().unwrap_or_default()
    }

    /// Says what is wrong with a stretch whose sums differ, given the rows that are there, sorted.
    pub fn explain(
        &self,
        sink: &str,
        stretch: &Stretch,
        held: &mut Vec<(i64, i64)>,
    ) -> Vec<Difference> {
        let expected = self.sum(sink, stretch).rows;
        if stretch.split == GONE {
            return explain_gone(stretch, expected, held.len() as u64);
        }
        let mut differences = duplicates(stretch, held);
        held.dedup();
        let distinct = held.len() as u64;
        let read = self.ranges.get(stretch).cloned().unwrap_or_else(|| span(held));
        let missing = |rows| difference(DifferenceKind::Missing, stretch, rows, &read);
        let unexpected = |rows| difference(DifferenceKind::Unexpected, stretch, rows, &span(held));
        match distinct.cmp(&expected) {
            Ordering::Less => differences.push(missing(expected - distinct)),
            Ordering::Greater if self.may_hold_more(stretch) => {}
            Ordering::Greater => differences.push(unexpected(distinct - expected)),
            // As many rows as there should be, but others: at least one stands for another.
            Ordering::Equal if differences.is_empty() => {
                differences.push(missing(1));
                // Where there may be more, the other one is of an epoch under way.
                differences.extend((!self.may_hold_more(stretch)).then(|| unexpected(1)));
            }
            Ordering::Equal => {}
        }
        differences
    }
}

/// The same for all splits that are gone, of which only the sum is known.
fn explain_gone(stretch: &Stretch, expected: u64, held: u64) -> Vec<Difference> {
    let differ = |kind, rows| difference(kind, stretch, rows, &(0..0));
    match held.cmp(&expected) {
        Ordering::Less => vec![differ(DifferenceKind::Missing, expected - held)],
        Ordering::Greater => vec![differ(DifferenceKind::Unexpected, held - expected)],
        Ordering::Equal => {
            vec![differ(DifferenceKind::Missing, 1), differ(DifferenceKind::Unexpected, 1)]
        }
    }
}

pub(super) fn difference(
    kind: DifferenceKind,
    stretch: &Stretch,
    rows: u64,
    range: &Range<i64>,
) -> Difference {
    let Stretch { split, epoch } = stretch.clone();
    Difference { kind, split, epoch, rows, from: range.start, to: range.end }
}

/// Repeated rows, neighbours joined.
fn duplicates(stretch: &Stretch, held: &[(i64, i64)]) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut open: Option<Difference> = None;
    for same in held.chunk_by(|one, other| one == other) {
        if same.len() == 1 {
            found.extend(open.take());
            continue;
        }
        let position = same[0].0;
        let none = || difference(DifferenceKind::Duplicate, stretch, 0, &(position..position));
        let joined = open.get_or_insert_with(none);
        joined.rows += same.len() as u64 - 1;
        joined.to = position + 1;
    }
    found.extend(open);
    found
}

/// The positions from the first to the last.
fn span(held: &[(i64, i64)]) -> Range<i64> {
    match (held.first(), held.last()) {
        (Some(first), Some(last)) => first.0..last.0 + 1,
        _ => 0..0,
    }
}
