//! Where sources begin: their first listing is decided before any split of it is opened.
//!
//! What a source finds at first starts where its settings say, and what it finds later at its
//! beginning. Which is which must not depend on how often a process was killed before it committed
//! anything, so a history says of each source that it was asked: checkpoint 0 of those that are in
//! the pipeline file then, an epoch of no rows of each that comes later.

use std::collections::BTreeSet;

use contract::source::{Discovery, Split};
use contract::{Error, Result};
use futures::future::try_join_all;
use state::Checkpoint;
use tracing::warn;

use crate::graph::SourceNode;
use crate::owner::Owner;

/// What sources found first, by their names.
#[derive(Debug, Default)]
pub struct Listings(Vec<(String, Vec<Split>)>);

impl Listings {
    /// Asks the sources of a lineage that has no history yet. Changes nothing.
    ///
    /// # Errors
    /// From the sources and the store.
    pub async fn of_new_history(owner: &Owner) -> Result<Self> {
        match owner.history.newest_epoch().await? {
            Some(_) => Ok(Self::default()),
            None => Self::ask(owner.sources().map(|(_, node)| node)).await,
        }
    }

    /// Asks the sources that came into the pipeline file since the history began. Changes nothing.
    ///
    /// # Errors
    /// From the sources.
    pub async fn of_late_sources(owner: &Owner, checkpoint: &Checkpoint) -> Result<Self> {
        // Programs that did not note who was asked left nothing but the splits that they found.
        let listed: BTreeSet<_> =
            checkpoint.roster.states().map(|state| state.source.as_str()).collect();
        let sources = owner.sources().map(|(_, node)| node);
        Self::ask(sources.filter(|node| {
            !checkpoint.begun.contains(&node.name) && !listed.contains(node.name.as_str())
        }))
        .await
    }

    async fn ask<'a>(sources: impl Iterator<Item = &'a SourceNode>) -> Result<Self> {
        let asked = sources.map(|node| async {
            let found = node.source.splits(None).await;
            let in_source = |error: Error| error.context(format!("source {:?}", node.name));
            let Discovery { splits, warnings, .. } = found.map_err(in_source)?;
            warnings.iter().for_each(|warning| warn!(source = node.name, "{warning}"));
            Ok((node.name.clone(), splits))
        });
        try_join_all(asked).await.map(Self)
    }

    /// Whether there is nothing to decide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters what was found into a checkpoint that is not decided yet.
    pub fn enter(self, checkpoint: &mut Checkpoint) {
        for (source, splits) in self.0 {
            for split in splits {
                checkpoint.roster.enter(&source, split);
            }
            checkpoint.begun.insert(source);
        }
    }
}

/// Decides where sources begin that came later, by an epoch of no rows.
///
/// # Errors
/// As for [`Owner::decide_without_rows`].
pub async fn decide(owner: &Owner, checkpoint: Checkpoint, late: Listings) -> Result<Checkpoint> {
    let mut begun = checkpoint;
    begun.begun.extend(owner.sources().map(|(_, node)| node.name.clone()));
    if late.0.is_empty() {
        return Ok(begun);
    }
    late.enter(&mut begun);
    let sinks = begun.sinks.iter().map(|(name, state)| {
        let prev = state.token_after(begun.epoch);
        (name.clone(), state.at_rest(prev))
    });
    owner.decide_without_rows(&begun, sinks.collect(), Vec::new()).await
}
