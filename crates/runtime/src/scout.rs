//! Finds the lineages of a source whose splits are lineages of their own, and begins a history for
//! each split that has none.
//!
//! It owns nothing. Checkpoint 0 names the split and where it starts; of several processes that
//! find a split at once, one creates it, and so its start is decided once for all of them.

use std::collections::{BTreeMap, HashSet};

use contract::discovery::{Listing, list};
use contract::source::{KnownSplit, Split};
use contract::{Lineage, Result, failpoint};
use futures::future::try_join_all;
use state::{Checkpoint, Roster, SplitState};
use tracing::warn;

use crate::coordinator::Charge;
use crate::graph::SourceNode;
use crate::owner::{RunContext, Scope};
use crate::renamed::Suspects;

/// The newest states of splits that are lineages of their own.
pub type Histories = BTreeMap<Lineage, SplitState>;

/// Looks for the lineages of one source, again and again.
pub struct Scout {
    run: RunContext,
    /// Which source.
    pub source: usize,
    /// The lineages of splits of all sources that have a history.
    known: Histories,
    /// The splits that were there when the source was first looked at, and where they start; none
    /// before that.
    starts: Option<Starts>,
}

/// What a scout found.
pub struct Look {
    /// The lineages that this process may run now.
    pub charges: Vec<Charge>,
    /// All of them, whoever runs them.
    pub lineages: Vec<Lineage>,
    /// Whether a group divides them among processes.
    pub grouped: bool,
}

struct Starts {
    splits: Vec<Split>,
    /// Whether they hold for everybody; else they are still to be decided.
    decided: bool,
}

impl Scout {
    /// A scout that has not looked yet, and knows the histories that there are.
    pub fn new(run: &RunContext, source: usize, known: Histories) -> Self {
        Self { run: run.clone(), source, known, starts: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// From the source and the checkpoint store.
    pub async fn look(&mut self) -> Result<Look> {
        self.run.begin(self.source).await?;
        let found = self.discover().await?;
        let name = self.run.pipeline.sources[self.source].name.clone();
        let splits = self.begin(&name, found.splits).await?;
        let lineages = splits.iter().map(|split| Lineage::of_split(&name, &split.id)).collect();
        let assigned = found.assigned.as_ref();
        let is_ours = |split: &&Split| assigned.is_none_or(|assigned| assigned.contains(&split.id));
        let charges = splits.iter().filter(is_ours).map(|split| Charge {
            lineage: Lineage::of_split(&name, &split.id),
            scope: Scope::Checkpoint,
            yields: assigned.is_some(),
        });
        Ok(Look { charges: charges.collect(), lineages, grouped: assigned.is_some() })
    }

    async fn discover(&mut self) -> Result<Listing> {
        let run = self.run.clone();
        let node = &run.pipeline.sources[self.source];
        let starts = self.starts(node).await?;
        let mut known: Vec<KnownSplit> = self.known_of(&node.name).cloned().collect();
        let has_begun: HashSet<_> = known.iter().map(|known| known.split.id.clone()).collect();
        let waiting = starts.into_iter().filter(|split| !has_begun.contains(&split.id));
        known.extend(waiting.map(|split| KnownSplit { split, position: None }));
        let found = list(node.source.as_ref(), Some(&known)).await?;
        warn_of(node, &found);
        Ok(found)
    }

    fn known_of(&self, source: &str) -> impl Iterator<Item = &KnownSplit> {
        let known = self.known.values();
        known.filter(move |state| state.source == source).map(|state| &state.known)
    }

    /// Where the splits start that were there when the source was first looked at. Decided once,
    /// before any of them has a checkpoint.
    async fn starts(&mut self, node: &SourceNode) -> Result<Vec<Split>> {
        let RunContext { pipeline, options, .. } = &self.run;
        if self.starts.is_none() {
            let known: Roster = self.known.values().cloned().collect();
            Suspects::of(&node.name, &known).refuse(pipeline, options).await?;
        }
        let (checkpoints, pipeline) = (&options.checkpoints, &pipeline.name);
        let found = match &self.starts {
            Some(Starts { splits, decided: true }) => return Ok(splits.clone()),
            // Nobody knows whether it was decided; the source would not say the same again.
            Some(Starts { splits, decided: false }) => splits.clone(),
            None => match checkpoints.starts(pipeline, &node.name).await? {
                Some(splits) => splits,
                // A history without starts: all that was there then has begun.
                None if self.known_of(&node.name).next().is_some() => Vec::new(),
                None => {
                    let found = list(node.source.as_ref(), None).await?;
                    warn_of(node, &found);
                    found.splits
                }
            },
        };
        self.starts = Some(Starts { splits: found.clone(), decided: false });
        let splits = checkpoints.decide_starts(pipeline, &node.name, &found).await?;
        failpoint::reach("scout.starts").await?;
        self.starts = Some(Starts { splits: splits.clone(), decided: true });
        Ok(splits)
    }

    /// Creates checkpoint 0 of every split that has none; returns the splits.
    async fn begin(&mut self, source: &str, splits: Vec<Split>) -> Result<Vec<Split>> {
        let known = &self.known;
        let is_new = |split: &&Split| !known.contains_key(&Lineage::of_split(source, &split.id));
        let new: Vec<_> = splits.iter().filter(is_new).cloned().collect();
        let run = &self.run;
        try_join_all(new.iter().map(|split| begin_one(run, source, split))).await?;
        for split in new {
            let lineage = Lineage::of_split(source, &split.id);
            let state = SplitState::new(source, KnownSplit { split, position: None });
            self.known.insert(lineage, state);
        }
        Ok(splits)
    }
}

/// The newest state of every lineage of a split.
///
/// # Errors
/// From the checkpoint store.
pub async fn histories(run: &RunContext) -> Result<Histories> {
    let lineages = run.options.checkpoints.lineages(&run.pipeline.name).await?;
    let lineages = lineages.into_iter().filter(|lineage| !lineage.is_replay());
    let read = lineages.map(|lineage| async move {
        let history = run.options.checkpoints.history(&run.pipeline.name, &lineage);
        let splits = history.newest().await?.map(|newest| newest.checkpoint.roster);
        Ok((lineage, splits.unwrap_or_default()))
    });
    let mut known = BTreeMap::new();
    for (lineage, splits) in try_join_all(read).await? {
        for state in splits {
            if lineage == Lineage::of_split(&state.source, &state.known.split.id) {
                known.insert(lineage.clone(), state);
            }
        }
    }
    Ok(known)
}

fn warn_of(node: &SourceNode, found: &Listing) {
    for warning in &found.warnings {
        warn!(source = node.name, "{warning}");
    }
}

/// Whoever came first has decided where the split starts.
async fn begin_one(run: &RunContext, source: &str, split: &Split) -> Result<()> {
    let lineage = Lineage::of_split(source, &split.id);
    let incarnation = rand::random::<u32>() >> 1;
    let mut first = Checkpoint::first(&run.pipeline.name, &lineage, incarnation);
    first.roster.enter(source, split.clone());
    let history = run.options.checkpoints.history(&run.pipeline.name, &lineage);
    history.decide(&mut first).await?;
    failpoint::reach("scout.begun").await
}
