//! Keeps the folder of a lineage short: packs old epochs, folds those that are older than the
//! history that is kept, deletes what no checkpoint can need.
//!
//! A crash between any two steps leaves something twice, never nothing; readers take each epoch
//! once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::ops::ControlFlow;

use bytes::Bytes;
use contract::error::Context;
use contract::{Result, failpoint};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Deserialize;
use tracing::warn;

use super::names::Names;
use super::{EPOCHS_LOOSE_MAX, EPOCHS_LOOSE_MIN, Folded, History};
use crate::ledger::Entry;

/// Epochs between two tidyings of old checkpoints.
const COLLECT_EVERY: u64 = 16;
/// The same in a store that several machines share.
const COLLECT_EVERY_SHARED: u64 = 256;

impl History {
    /// How many epochs are made between two calls of [`History::collect`]. It lists all decisions,
    /// and in a shared store these are many and asked for over the network.
    pub fn epochs_between_collections(&self) -> u64 {
        if self.is_shared { COLLECT_EVERY_SHARED } else { COLLECT_EVERY }
    }

    /// Deletes what no checkpoint can need any more: state of all but the newest epochs, marks of
    /// earlier epochs; packs old epochs and folds those that ended before `keep_from_us`. Best
    /// effort: failures are warnings.
    pub async fn collect(&self, newest: u64, keep_from_us: i64) {
        if let Err(error) = self.try_collect(newest, keep_from_us).await {
            warn!(error = error.chain(), "could not tidy up old checkpoints");
        }
    }

    async fn try_collect(&self, newest: u64, keep_from_us: i64) -> Result<()> {
        let names = self.names().await?;
        let keep_from = newest.saturating_sub(EPOCHS_LOOSE_MIN as u64 - 1);
        let old_states = names.states.iter().filter(|(epoch, _)| *epoch < keep_from);
        for path in old_states.map(|(_, path)| path) {
            self.delete(path).await?;
            failpoint::reach("tidy.deleted").await?;
        }
        for epoch in names.complete.iter().filter(|epoch| **epoch < newest) {
            self.delete(&self.prefix.clone().join(format!("complete-{epoch:020}"))).await?;
            failpoint::reach("tidy.deleted").await?;
        }
        if names.epochs.len() > EPOCHS_LOOSE_MAX {
            self.pack(&names).await?;
            self.fold(&names, keep_from_us).await?;
        }
        Ok(())
    }

    /// Adds up the packs that ended before `keep_from_us`, then deletes them.
    async fn fold(&self, names: &Names, keep_from_us: i64) -> Result<()> {
        let mut folded = Sums::from(self.folded(names).await?);
        let mut done = Vec::new();
        for path in &names.packs {
            let Some(more) = self.add_pack(path, folded.clone(), keep_from_us).await? else {
                break;
            };
            folded = more;
            done.push(path);
        }
        if done.is_empty() {
            return Ok(());
        }
        let until = folded.until;
        let path = self.prefix.clone().join(format!("fold-{until:020}"));
        let bytes = serde_json::to_vec(&Folded::from(folded)).bug("a ledger is no JSON")?;
        let put = self.store.put(&path, Bytes::from(bytes).into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        failpoint::reach("fold.written").await?;
        // After a crash amid folding the sums have their name already, and keep it.
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
}

impl History {
    /// The sums with those of a pack; none unless all of it ended before `keep_from_us`.
    async fn add_pack(
        &self,
        path: &Path,
        mut folded: Sums,
        keep_from_us: i64,
    ) -> Result<Option<Sums>> {
        let mut all_old = true;
        self.for_each_packed(path, |packed: Packed| {
            all_old = packed.now_us < keep_from_us;
            if all_old && packed.epoch > folded.until {
                packed.ledger.into_iter().for_each(|entry| folded.add(entry));
                folded.until = packed.epoch;
            }
            // Later epochs are younger.
            match all_old {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
        .await?;
        Ok(Some(folded).filter(|_| all_old))
    }
}

/// What a fold takes of a packed checkpoint.
#[derive(Deserialize)]
struct Packed {
    epoch: u64,
    now_us: i64,
    #[serde(default)]
    ledger: Vec<Entry>,
}

/// What is folded, by split and sink.
#[derive(Clone, Default)]
struct Sums {
    until: u64,
    entries: BTreeMap<(String, String), Entry>,
}

impl Sums {
    /// Adds an epoch's counts to the cumulative ones of its split and sink.
    fn add(&mut self, entry: Entry) {
        match self.entries.entry((entry.split.clone(), entry.sink.clone())) {
            Slot::Occupied(mut known) => known.get_mut().add(&entry),
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
        }
    }
}

impl From<Folded> for Sums {
    fn from(folded: Folded) -> Self {
        let mut sums = Self { until: folded.until, ..Self::default() };
        folded.entries.into_iter().for_each(|entry| sums.add(entry));
        sums
    }
}

impl From<Sums> for Folded {
    fn from(sums: Sums) -> Self {
        Self { until: sums.until, entries: sums.entries.into_values().collect() }
    }
}
