//! The pipelines that made the epochs of a history, as far as its checkpoints name them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use contract::Result;
use state::checkpoint::NumberedEdge;
use state::{Checkpoint, CheckpointStore};
use tracing::debug;

use crate::graph::Pipeline;
use crate::owner::{Rebuild, Recipe};

/// What tells how epochs were made, and each text that was noted for it.
struct Known {
    plan: String,
    semantics: u32,
    numbering: Vec<NumberedEdge>,
    /// Without what the epochs did.
    checkpoints: Vec<Checkpoint>,
    made: Made,
}

enum Made {
    NotYet,
    Never,
    Once(Box<Pipeline>),
}

/// The pipelines of all epochs that are kept.
pub struct Plans<'a> {
    today: &'a Pipeline,
    store: CheckpointStore,
    rebuild: Rebuild,
    known: Vec<Known>,
    /// By the number and the `now()` of an epoch; none where two lineages differ.
    epochs: HashMap<(u64, i64), Option<usize>>,
}

impl<'a> Plans<'a> {
    /// Reads the checkpoints of all lineages, those of replays too.
    ///
    /// # Errors
    /// External: a checkpoint cannot be read.
    pub async fn read(
        today: &'a Pipeline,
        store: &CheckpointStore,
        rebuild: Rebuild,
    ) -> Result<Self> {
        let (known, epochs) = (Vec::new(), HashMap::new());
        let mut plans = Self { today, store: store.clone(), rebuild, known, epochs };
        for lineage in store.lineages(&today.name).await? {
            let history = store.history(&today.name, &lineage);
            for checkpoint in history.checkpoints().await? {
                plans.add(checkpoint);
            }
        }
        Ok(plans)
    }

    fn add(&mut self, checkpoint: Checkpoint) {
        if checkpoint.plan.is_empty() {
            return;
        }
        let key = (checkpoint.epoch, checkpoint.now_us);
        let same = self.known.iter().position(|known| known.is_of(&checkpoint));
        let at = same.unwrap_or_else(|| {
            let Checkpoint { plan, semantics, numbering, .. } = checkpoint.clone();
            let (checkpoints, made) = (Vec::new(), Made::NotYet);
            self.known.push(Known { plan, semantics, numbering, checkpoints, made });
            self.known.len() - 1
        });
        let texts = &mut self.known[at].checkpoints;
        if texts.iter().all(|known| known.plan_text != checkpoint.plan_text) {
            let Checkpoint { plan, plan_text, resources, semantics, .. } = checkpoint;
            texts.push(Checkpoint {
                plan,
                plan_text,
                resources,
                semantics,
                ..Checkpoint::default()
            });
        }
        match self.epochs.entry(key) {
            Entry::Vacant(free) => drop(free.insert(Some(at))),
            Entry::Occupied(mut taken) if *taken.get() != Some(at) => drop(taken.insert(None)),
            Entry::Occupied(_) => {}
        }
    }

    /// The pipeline that made an epoch, known by its number and its `now()`; none where nobody can
    /// tell any more.
    pub async fn of(&mut self, epoch: u64, now_us: i64) -> Option<&Pipeline> {
        let at = (*self.epochs.get(&(epoch, now_us))?)?;
        let known = &mut self.known[at];
        if known.plan == self.today.fingerprint
            && known.semantics == self.today.semantics
            && known.numbering.is_empty()
        {
            return Some(self.today);
        }
        if matches!(known.made, Made::NotYet) {
            known.made = match known.make(self.today, &self.store, &self.rebuild).await {
                Some(pipeline) => Made::Once(Box::new(pipeline)),
                None => Made::Never,
            };
        }
        match &known.made {
            Made::Once(pipeline) => Some(pipeline),
            Made::NotYet | Made::Never => None,
        }
    }
}

impl Known {
    fn is_of(&self, checkpoint: &Checkpoint) -> bool {
        let Checkpoint { plan, semantics, numbering, .. } = checkpoint;
        self.plan == *plan && self.semantics == *semantics && self.numbering == *numbering
    }

    /// Makes the pipeline of any text that gives the same plan.
    async fn make(
        &self,
        today: &Pipeline,
        store: &CheckpointStore,
        rebuild: &Rebuild,
    ) -> Option<Pipeline> {
        for checkpoint in &self.checkpoints {
            let made = match Recipe::of(checkpoint, today, store).await {
                Ok(recipe) => rebuild(&recipe),
                Err(error) => Err(error),
            };
            match made {
                Ok(pipeline) if pipeline.fingerprint == self.plan => {
                    return Some(pipeline.numbered_as(&self.numbering));
                }
                Ok(_) => debug!(text = checkpoint.plan_text, "its variables have changed"),
                Err(error) => {
                    let text = &checkpoint.plan_text;
                    debug!(text, error = error.chain(), "an earlier version is not to be had");
                }
            }
        }
        None
    }
}
