//! Folds: the counts of epochs that are older than `history.keep`, added up by split and sink.
//!
//! A fold is in order of splits and sinks. A new one is the old one merged with the sums of the
//! packs that are done with; these are made for as many splits at once as memory is meant for, and
//! the packs are gone through again for the next ones. So memory is the same for any number of
//! splits.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use contract::error::Context;
use contract::{Result, failpoint};
use object_store::path::Path;
use serde::Deserialize;

use super::History;
use super::blocks::{BEGINNING, Blocks, Writer};
use super::names::Names;
use crate::ledger::Entry;
use crate::ledger::columns::{Columns, Counted, Rows};

/// Sums that are made at once.
const SUMS_MAX: usize = 32 << 10;

/// A split and a sink.
type Key = (String, String);

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

/// The sums of a fold one by one.
struct Sums {
    fold: Fold,
    next: VecDeque<Counted>,
}

impl Sums {
    /// The next sum whose key is not behind `last`; without one any.
    async fn next_until(&mut self, last: Option<&Key>) -> Result<Option<Counted>> {
        while self.next.is_empty() {
            let Some(batch) = self.fold.next_batch().await? else { return Ok(None) };
            let rows = Rows::of(&batch)?;
            self.next.extend((0..rows.len()).map(|row| rows.get(row)));
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
            let mut fold = Writer::new(self, &path, "fold.block");
            if let Err(error) = self.fill_fold(&mut fold, names, (&done, until)).await {
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

    async fn fill_fold(
        &self,
        fold: &mut Writer,
        names: &Names,
        (packs, until): (&[&Path], u64),
    ) -> Result<()> {
        let mut old = Sums { fold: self.open_fold(names).await?, next: VecDeque::new() };
        let mut behind = None;
        loop {
            let mut sums = self.sums_behind(packs, names.folded_until(), behind.as_ref()).await?;
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

    /// The sums of packs for the first splits and sinks behind one.
    async fn sums_behind(
        &self,
        packs: &[&Path],
        folded_until: u64,
        behind: Option<&Key>,
    ) -> Result<BTreeMap<Key, Counted>> {
        let mut sums = BTreeMap::new();
        let mut until = folded_until;
        for path in packs {
            self.for_each_counted(path, |counts| {
                let rows = Rows::of(&counts.rows)?;
                for row in (0..rows.len()).filter(|row| rows.epoch(*row) > until) {
                    if behind.is_none_or(|(split, sink)| rows.key(row) > (split, sink)) {
                        add(&mut sums, &rows, row);
                    }
                }
                until = until.max(counts.last);
                Ok(ControlFlow::Continue(()))
            })
            .await?;
        }
        Ok(sums)
    }
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
