//! Finds the lineages of a pipeline: asks the sources whose splits are lineages of their own,
//! and begins a history for each split that has none.
//!
//! It owns nothing. Checkpoint 0 names the split and where it starts; of several processes that
//! find a split at once, one creates it, and so its start is decided once for all of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::discovery::{Listing, list};
use contract::source::{KnownSplit, Lineages, Split};
use contract::{Lineage, Result, failpoint};
use futures::future::try_join_all;
use state::{Checkpoint, Roster, SplitState};
use tracing::warn;

use crate::coordinator::Charge;
use crate::graph::SourceNode;
use crate::owner::{RunContext, Scope};
use crate::renamed::Suspects;

/// Looks for lineages, again and again.
pub struct Scout {
    run: RunContext,
    /// The lineages of splits that have a history; none before the first look.
    known: Option<BTreeMap<Lineage, SplitState>>,
    /// By source, the splits that were there when it was first looked at, and where they start.
    starts: HashMap<String, Starts>,
}

struct Starts {
    splits: Vec<Split>,
    /// Whether they hold for everybody; else they are still to be decided.
    decided: bool,
}

impl Scout {
    /// A scout that has not looked yet.
    pub fn new(run: &RunContext) -> Self {
        Self { run: run.clone(), known: None, starts: HashMap::new() }
    }

    /// Whether there is more to find than the lineage of the run itself.
    pub fn has_work(&self) -> bool {
        self.per_split().next().is_some()
    }

    /// The lineages that have a history or are the run's own, whoever runs them.
    pub fn lineages(&self) -> u64 {
        let known = self.known.as_ref().map_or(0, BTreeMap::len) as u64;
        (known + u64::from(self.has_main())).max(1)
    }

    /// The lineages that this process may run now.
    ///
    /// # Errors
    /// From the sources and the checkpoint store.
    pub async fn look(&mut self) -> Result<Vec<Charge>> {
        if self.has_work() && self.known.is_none() {
            self.known = Some(self.read_known().await?);
        }
        let mut charges = Vec::new();
        let mut grouped = false;
        let sources = self.per_split().map(|(number, node)| (number, node.name.clone()));
        for (number, name) in sources.collect::<Vec<_>>() {
            let found = match self.run.begin(number).await {
                Ok(()) => self.discover(number).await,
                Err(error) => Err(error),
            };
            let found = found.map_err(|error| error.context(format!("source {name:?}")))?;
            grouped |= found.assigned.is_some();
            for split in self.begin(&name, found.splits).await? {
                let assigned = found.assigned.as_ref();
                if assigned.is_none_or(|assigned| assigned.contains(&split.id)) {
                    let lineage = Lineage::of_split(&name, &split.id);
                    let yields = assigned.is_some();
                    charges.push(Charge { lineage, scope: Scope::Checkpoint, yields });
                }
            }
        }
        if self.has_main() {
            // Where others run the same pipeline, they stand by for the rest of it.
            let lineage = self.run.options.lineage.clone();
            charges.push(Charge { lineage, scope: Scope::Sources, yields: grouped });
        }
        Ok(charges)
    }

    fn per_split(&self) -> impl Iterator<Item = (usize, &SourceNode)> {
        let sources = self.run.pipeline.sources.iter().enumerate();
        sources.filter(|(_, node)| node.lineages == Lineages::Split)
    }

    fn has_main(&self) -> bool {
        self.per_split().count() < self.run.pipeline.sources.len() || !self.has_work()
    }

    async fn discover(&mut self, number: usize) -> Result<Listing> {
        let run = self.run.clone();
        let node = &run.pipeline.sources[number];
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
        let known = self.known.iter().flat_map(BTreeMap::values);
        known.filter(move |state| state.source == source).map(|state| &state.known)
    }

    /// Where the splits start that were there when the source was first looked at. Decided once,
    /// before any of them has a checkpoint.
    async fn starts(&mut self, node: &SourceNode) -> Result<Vec<Split>> {
        let RunContext { pipeline, options, .. } = &self.run;
        if !self.starts.contains_key(&node.name) {
            let known = self.known.iter().flat_map(BTreeMap::values);
            let known: Roster = known.cloned().collect();
            Suspects::of(&node.name, &known).refuse(pipeline, options).await?;
        }
        let (checkpoints, pipeline) = (&options.checkpoints, &pipeline.name);
        let found = match self.starts.get(&node.name) {
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
        let undecided = Starts { splits: found.clone(), decided: false };
        self.starts.insert(node.name.clone(), undecided);
        let splits = checkpoints.decide_starts(pipeline, &node.name, &found).await?;
        failpoint::reach("scout.starts").await?;
        let decided = Starts { splits: splits.clone(), decided: true };
        self.starts.insert(node.name.clone(), decided);
        Ok(splits)
    }

    /// The newest state of every lineage of a split.
    async fn read_known(&self) -> Result<BTreeMap<Lineage, SplitState>> {
        let lineages = self.run.options.checkpoints.lineages(&self.run.pipeline.name).await?;
        let lineages = lineages.into_iter().filter(|lineage| !lineage.is_replay());
        let read = lineages.map(|lineage| async move {
            let checkpoints = &self.run.options.checkpoints;
            let history = checkpoints.history(&self.run.pipeline.name, &lineage);
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

    /// Creates checkpoint 0 of every split that has none; returns the splits.
    async fn begin(&mut self, source: &str, splits: Vec<Split>) -> Result<Vec<Split>> {
        let known = self.known.get_or_insert_default();
        let is_new = |split: &&Split| !known.contains_key(&Lineage::of_split(source, &split.id));
        let new: Vec<_> = splits.iter().filter(is_new).cloned().collect();
        let run = &self.run;
        try_join_all(new.iter().map(|split| begin_one(run, source, split))).await?;
        for split in new {
            let lineage = Lineage::of_split(source, &split.id);
            let state = SplitState {
                source: source.to_owned(),
                known: KnownSplit { split, position: None },
            };
            self.known.get_or_insert_default().insert(lineage, state);
        }
        Ok(splits)
    }
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
