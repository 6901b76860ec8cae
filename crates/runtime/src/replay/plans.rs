//! The pipelines that made the epochs of a history, as far as its checkpoints name them. Only
//! checkpoints of epochs that somebody asks for are read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use contract::Result;
use state::checkpoint::NumberedEdge;
use state::history::Shelf;
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
    /// The checkpoints of each lineage that nobody asked for yet.
    shelves: Vec<Shelf>,
    known: Vec<Known>,
    /// By the number and the `now()` of an epoch; none where two lineages differ.
    epochs: HashMap<(u64, i64), Option<usize>>,
}

impl<'a> Plans<'a> {
    /// Lists the checkpoints of all lineages, those of replays too.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn list(
        today: &'a Pipeline,
        store: &CheckpointStore,
        rebuild: Rebuild,
    ) -> Result<Self> {
        let mut shelves = Vec::new();
        for lineage in store.lineages(&today.name).await? {
            shelves.push(store.history(&today.name, &lineage).shelf().await?);
        }
        let (known, epochs) = (Vec::new(), HashMap::new());
        Ok(Self { today, store: store.clone(), rebuild, shelves, known, epochs })
    }

    /// Reads what every lineage has of an epoch.
    async fn read(&mut self, epoch: u64) -> Result<()> {
        let mut taken = Vec::new();
        for shelf in &mut self.shelves {
            shelf.take(epoch, |checkpoint| taken.push(texts_of(checkpoint))).await?;
        }
        taken.into_iter().for_each(|checkpoint| self.add(checkpoint));
        Ok(())
    }

    /// Reads all that is left.
    async fn read_rest(&mut self) -> Result<()> {
        let mut left: Vec<_> = self.shelves.iter().flat_map(Shelf::left).collect();
        left.sort_unstable();
        left.dedup();
        for epoch in left {
            self.read(epoch).await?;
        }
        Ok(())
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
            texts.push(checkpoint);
        }
        match self.epochs.entry(key) {
            Entry::Vacant(free) => drop(free.insert(Some(at))),
            Entry::Occupied(mut taken) if *taken.get() != Some(at) => drop(taken.insert(None)),
            Entry::Occupied(_) => {}
        }
    }

    /// The pipeline that made an epoch, known by its number and its `now()`; none where nobody can
    /// tell any more.
    ///
    /// # Errors
    /// External: a checkpoint cannot be read.
    pub async fn of(&mut self, epoch: u64, now_us: i64) -> Result<Option<&Pipeline>> {
        if !self.epochs.contains_key(&(epoch, now_us)) {
            self.read(epoch).await?;
        }
        let Some(Some(at)) = self.epochs.get(&(epoch, now_us)).copied() else { return Ok(None) };
        let known = &self.known[at];
        if known.plan == self.today.fingerprint
            && known.semantics == self.today.semantics
            && known.numbering.is_empty()
        {
            return Ok(Some(self.today));
        }
        if matches!(known.made, Made::NotYet) {
            self.make(at).await?;
        }
        Ok(match &self.known[at].made {
            Made::Once(pipeline) => Some(pipeline),
            Made::NotYet | Made::Never => None,
        })
    }

    /// Makes a pipeline of a text that was read; where none makes it, of any other of its plan.
    async fn make(&mut self, at: usize) -> Result<()> {
        let mut made = self.known[at].make(self.today, &self.store, &self.rebuild).await;
        if made.is_none() {
            self.read_rest().await?;
            made = self.known[at].make(self.today, &self.store, &self.rebuild).await;
        }
        self.known[at].made = made.map_or(Made::Never, |made| Made::Once(Box::new(made)));
        Ok(())
    }
}

/// What a checkpoint says of the pipeline, without what the epoch did.
fn texts_of(checkpoint: Checkpoint) -> Checkpoint {
    let Checkpoint { plan, plan_text, resources, semantics, numbering, epoch, now_us, .. } =
        checkpoint;
    Checkpoint {
        plan,
        plan_text,
        resources,
        semantics,
        numbering,
        epoch,
        now_us,
        ..Checkpoint::default()
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
