//! Folds: the counts of epochs that are older than `history.keep`, added up by split and sink.
//!
//! A fold is in order of splits and sinks. A new one is the old one merged with the sums of the
//! packs that are done with; these are made for as many splits at once as memory is meant for, and
//! the packs are gone through again for the next ones. Splits that the newest checkpoint does not
//! know any more are counted to one row of their family, which stands before all others. So memory
//! is the same for any number of splits.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use contract::error::Context;
use contract::{Result, failpoint};
use object_store::path::Path;
use serde::Deserialize;

use super::History;
use super::blocks::{BEGINNING, Blocks, Kind, Writer};
use super::names::Names;
use crate::ledger::columns::{Columns, Counted, Rows};
use crate::ledger::{Entry, GONE};

/// Sums that are made at once.
const SUMS_MAX: usize = 32 << 10;
/// Sums of families that are kept apart; those of further ones are counted to their source.
const FAMILIES_MAX: usize = 10_000;

/// A split and a sink.
type Key = (String, String);
/// A sink, a source and a family of it.
type FamilyKey = (String, Option<String>, Option<String>);

/// What a fold is made of.
struct Folding<'a> {
    /// What lies in the folder.
    names: &'a Names,
    /// The packs that are added up.
    packs: &'a [&'a Path],
    /// Their last epoch.
    until: u64,
    /// The splits that the newest checkpoint knows.
    known: HashSet<String>,
}

impl Folding<'_> {
    /// Whether a row is counted to that of its family. Where nobody knows of what source the split
    /// was, it stands for itself.
    fn is_gone(&self, rows: &Rows<'_>, row: usize) -> bool {
        let (split, _) = rows.key(row);
        split == GONE || (rows.source(row).is_some() && !self.known.contains(split))
    }
}

/// A fold of an earlier program.
#[derive(Deserialize)]
struct Folded {
    until: u64,
    entries: Vec<Entry>,
}

/// The fold of a lineage, as it is read.
pub(super) enum Fold {
    /// As earlier programs wrote it, by column.
    Old(Option<RecordBatch>),
    /// Block by block.
    Blocks(Blocks),
}

impl Fold {
    /// The next sums, in order; none at the end.
    ///
    /// # Errors
    /// External: the fold is damaged, or the store does not answer (retryable).
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        match self {
            Self::Old(batch) => Ok(batch.take()),
            Self::Blocks(blocks) => blocks.next().await?.map(|block| block.rows()).transpose(),
        }
    }
}

/// The sums of a fold one by one, without those of splits that are gone.
struct Sums<'a> {
    fold: Fold,
    from: &'a Folding<'a>,
    next: VecDeque<Counted>,
}

impl Sums<'_> {
    /// The next sum whose key is not behind `last`; without one any.
    async fn next_until(&mut self, last: Option<&Key>) -> Result<Option<Counted>> {
        while self.next.is_empty() {
            let Some(batch) = self.fold.next_batch().await? else { return Ok(None) };
            let rows = Rows::of(&batch)?;
            let stay = (0..rows.len()).filter(|row| !self.from.is_gone(&rows, *row));
            self.next.extend(stay.map(|row| rows.get(row)));
        }
        let is_due = |sum: &Counted| last.is_none_or(|last| key_of(sum) <= *last);
        Ok(self.next.pop_front_if(|sum| is_due(sum)))
    }
}

impl History {
    /// The sums of all that is folded.
    pub(super) async fn folded(&self, names: &Names) -> Result<Vec<Entry>> {
        let (mut fold, mut entries) = (self.open_fold(names).await?, Vec::new());
        while let Some(batch) = fold.next_batch().await? {
            let rows = Rows::of(&batch)?;
            entries.extend((0..rows.len()).map(|row| rows.get(row).entry));
        }
        Ok(entries)
    }

    pub(super) async fn open_fold(&self, names: &Names) -> Result<Fold> {
        let Some(path) = names.folds.last() else { return Ok(Fold::Old(None)) };
        let mut pieces = self.pieces(path).await?;
        if pieces.begins_with(BEGINNING).await? {
            return Blocks::open(pieces).await.map(Fold::Blocks);
        }
        let bytes = self.bytes(path).await?;
        let folded: Folded =
            serde_json::from_slice(&bytes).external(|| format!("\"{path}\" is damaged"))?;
        let mut columns = Columns::default();
        let mut entries = folded.entries;
        entries.sort_by(|one, other| (&one.split, &one.sink).cmp(&(&other.split, &other.sink)));
        entries.iter().for_each(|entry| columns.add(folded.until, entry, (None, None)));
        Ok(Fold::Old(Some(columns.take()?)))
    }

    /// Adds up the packs that ended before `keep_from_us`, then deletes them.
    pub(super) async fn fold(&self, names: &Names, keep_from_us: i64) -> Result<()> {
        let (mut done, mut until) = (Vec::new(), names.folded_until());
        for path in &names.packs {
            let Some(last) = self.end_of(path, keep_from_us).await? else { break };
            until = until.max(last);
            done.push(path);
        }
        if done.is_empty() {
            return Ok(());
        }
        let path = self.prefix.clone().join(format!("fold-{until:020}"));
        // After a crash amid folding the sums have their name already, and keep it.
        if until > names.folded_until() {
            let from = Folding { names, packs: &done, until, known: self.known_splits().await? };
            let mut fold = Writer::new(self, &path, Kind::Fold);
            if let Err(error) = self.fill_fold(&mut fold, &from).await {
                fold.abort().await;
                return Err(error.context(format!("could not write \"{path}\"")));
            }
        }
        failpoint::reach("fold.written").await?;
        for old in done.into_iter().chain(&names.folds).filter(|old| **old != path) {
            self.delete(old).await?;
            failpoint::reach("fold.deleted").await?;
        }
        // What is still loose names its own.
        let loose = |epoch: &u64| *epoch > until || names.epochs.contains_key(epoch);
        for (_, path) in names.rejects.iter().filter(|(epoch, _)| !loose(epoch)) {
            self.delete(path).await?;
        }
        Ok(())
    }

    /// The last epoch of a pack; none unless all of it ended before `keep_from_us`.
    async fn end_of(&self, path: &Path, keep_from_us: i64) -> Result<Option<u64>> {
        let mut last = None;
        self.for_each_counted(path, |counts| {
            // Later epochs are younger.
            last = (counts.now_us < keep_from_us).then_some(counts.last);
            Ok(match last {
                Some(_) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            })
        })
        .await?;
        Ok(last)
    }

    /// The splits of the newest checkpoint.
    async fn known_splits(&self) -> Result<HashSet<String>> {
        // It may be another one by now, and what the former one names gone.
        let names = self.names().await?;
        let Some((_, path)) = names.epochs.last_key_value() else { return Ok(HashSet::new()) };
        let newest = self.with_roster(self.read_slim(path).await?, path).await?;
        Ok(newest.roster.states().map(|state| state.known.split.id.to_string()).collect())
    }

    async fn fill_fold(&self, fold: &mut Writer, from: &Folding<'_>) -> Result<()> {
        let until = from.until;
        for sum in self.sums_of_gone(from).await?.values() {
            fold.add_sum(until, sum).await?;
        }
        let mut old = Sums { fold: self.open_fold(from.names).await?, from, next: VecDeque::new() };
        let mut behind = None;
        loop {
            let mut sums = self.sums_behind(from, behind.as_ref()).await?;
            let last = sums.last_key_value().map(|(key, _)| key.clone());
            behind = last.filter(|_| sums.len() >= SUMS_MAX);
            while let Some(mut sum) = old.next_until(behind.as_ref()).await? {
                let key = key_of(&sum);
                let mut later = sums.split_off(&key);
                for earlier in sums.into_values() {
                    fold.add_sum(until, &earlier).await?;
                }
                if let Some(new) = later.remove(&key) {
                    sum = merged(sum, &new);
                }
                fold.add_sum(until, &sum).await?;
                sums = later;
            }
            for sum in sums.into_values() {
                fold.add_sum(until, &sum).await?;
            }
            if behind.is_none() {
                return fold.finish().await;
            }
        }
    }

    /// The sums of splits that are not known any more, by family.
    async fn sums_of_gone(&self, from: &Folding<'_>) -> Result<BTreeMap<FamilyKey, Counted>> {
        let mut sums = BTreeMap::new();
        let mut fold = self.open_fold(from.names).await?;
        while let Some(batch) = fold.next_batch().await? {
            let rows = Rows::of(&batch)?;
            let gone = (0..rows.len()).filter(|row| from.is_gone(&rows, *row));
            gone.for_each(|row| add_to_family(&mut sums, rows.get(row)));
        }
        self.for_each_to_fold(from, |rows, row| {
            if from.is_gone(rows, row) {
                add_to_family(&mut sums, rows.get(row));
            }
        })
        .await?;
        Ok(sums)
    }

    /// The sums of packs for the first splits and sinks behind one.
    async fn sums_behind(
        &self,
        from: &Folding<'_>,
        behind: Option<&Key>,
    ) -> Result<BTreeMap<Key, Counted>> {
        let mut sums = BTreeMap::new();
        self.for_each_to_fold(from, |rows, row| {
            let is_next = behind.is_none_or(|(split, sink)| rows.key(row) > (split, sink));
            if is_next && !from.is_gone(rows, row) {
                add(&mut sums, rows, row);
            }
        })
        .await?;
        Ok(sums)
    }

    /// Goes through the rows of the packs that are added up, each epoch once.
    async fn for_each_to_fold(
        &self,
        from: &Folding<'_>,
        mut visit: impl FnMut(&Rows<'_>, usize),
    ) -> Result<()> {
        let mut until = from.names.folded_until();
        for path in from.packs {
            self.for_each_counted(path, |counts| {
                let rows = Rows::of(&counts.rows)?;
                let later = (0..rows.len()).filter(|row| rows.epoch(*row) > until);
                later.for_each(|row| visit(&rows, row));
                until = until.max(counts.last);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// Adds a row to the sum of its family; where there are too many, to that of its source.
fn add_to_family(sums: &mut BTreeMap<FamilyKey, Counted>, mut row: Counted) {
    GONE.clone_into(&mut row.entry.split);
    let key = |row: &Counted| (row.entry.sink.clone(), row.source.clone(), row.family.clone());
    if sums.len() >= FAMILIES_MAX && !sums.contains_key(&key(&row)) {
        row.family = None;
    }
    let key = key(&row);
    let sum = match sums.remove(&key) {
        Some(known) => merged(known, &row),
        None => row,
    };
    sums.insert(key, sum);
}

/// Adds a row to its sum. Where there are too many sums, the last one is for another time: from
/// then on nothing behind it is taken, so that each of those that stay is whole.
fn add(sums: &mut BTreeMap<Key, Counted>, rows: &Rows<'_>, row: usize) {
    let (split, sink) = rows.key(row);
    let is_full = sums.len() >= SUMS_MAX;
    let last = sums.last_key_value().map(|(key, _)| key).filter(|_| is_full);
    if last.is_some_and(|(last, of)| (last.as_str(), of.as_str()) < (split, sink)) {
        return;
    }
    let key = (split.to_owned(), sink.to_owned());
    let new = rows.get(row);
    match sums.entry(key) {
        Slot::Occupied(mut known) => {
            let sum = merged(known.get().clone(), &new);
            known.insert(sum);
        }
        Slot::Vacant(slot) => {
            slot.insert(new);
            if is_full {
                sums.pop_last();
            }
        }
    }
}

fn key_of(sum: &Counted) -> Key {
    (sum.entry.split.clone(), sum.entry.sink.clone())
}

/// A sum with what was counted later of the same split and sink.
fn merged(mut sum: Counted, new: &Counted) -> Counted {
    sum.entry.add(&new.entry);
    sum.source = new.source.clone().or(sum.source);
    sum.family = new.family.clone().or(sum.family);
    sum
}
