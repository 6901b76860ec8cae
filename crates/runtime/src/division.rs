//! How the splits of sources are divided among lineages: the first start decides it for good.
//!
//! A split that goes from one lineage to another would be read from its beginning, or go on beside
//! its own history. So a start compares before it takes a lease or makes a checkpoint.

use contract::source::Lineages;
use contract::{Error, ErrorKind, Lineage, Result, failpoint};
use state::lineages::LineagePlan;
use state::roster::Roster;
use state::{CheckpointStore, History};

use crate::graph::Pipeline;
use crate::owner::RunOptions;

/// Decides for sources of which nothing is decided, and refuses those that were divided otherwise.
///
/// # Errors
/// Config: a source was divided otherwise. External: the store does not answer (retryable).
pub async fn agree(pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
    // The sources of a replay are dead letters.
    if options.lineage.is_replay() {
        return Ok(());
    }
    let checkpoints = &options.checkpoints;
    let inferred = match checkpoints.lineage_plan(&pipeline.name).await? {
        Some(_) => LineagePlan::new(),
        None => infer(&pipeline.name, checkpoints).await?,
    };
    failpoint::reach("lineages.before").await?;
    let held = checkpoints.decide_lineages(&pipeline.name, &wanted(pipeline), &inferred).await?;
    failpoint::reach("lineages.after").await?;
    refuse(pipeline, &held)
}

/// Refuses what [`agree`] would refuse, and changes nothing.
///
/// # Errors
/// As for [`agree`].
pub async fn look(pipeline: &Pipeline, checkpoints: &CheckpointStore) -> Result<()> {
    let held = match checkpoints.lineage_plan(&pipeline.name).await? {
        Some(held) => held,
        None => infer(&pipeline.name, checkpoints).await?,
    };
    refuse(pipeline, &held)
}

fn wanted(pipeline: &Pipeline) -> LineagePlan {
    pipeline.sources.iter().map(|node| (node.name.clone(), node.lineages)).collect()
}

/// What the histories of a pipeline show that ran before there was a plan.
async fn infer(pipeline: &str, checkpoints: &CheckpointStore) -> Result<LineagePlan> {
    let mut plan = LineagePlan::new();
    for lineage in checkpoints.lineages(pipeline).await? {
        if lineage.is_replay() {
            continue;
        }
        for state in splits_of(&checkpoints.history(pipeline, &lineage)).await? {
            let lineages = match lineage == Lineage::of_split(&state.source, &state.known.split.id)
            {
                true => Lineages::Split,
                false => Lineages::One,
            };
            plan.insert(state.source, lineages);
        }
    }
    Ok(plan)
}

/// The splits that a history knows. Where the newest checkpoint is damaged, which is a matter of
/// the start itself, the one before it says the same.
async fn splits_of(history: &History) -> Result<Roster> {
    let error = match history.newest().await {
        Ok(newest) => return Ok(newest.map(|it| it.checkpoint.roster).unwrap_or_default()),
        Err(error) if error.retry() || error.kind() == ErrorKind::Config => return Err(error),
        Err(error) => error,
    };
    let before = history.newest_epoch().await?.and_then(|damaged| damaged.checked_sub(1));
    let before = match before {
        Some(epoch) => history.epoch(epoch).await.ok(),
        None => None,
    };
    // What is decided by this holds for ever: a guess would not do.
    before.map(|checkpoint| checkpoint.roster).ok_or_else(|| {
        error
            .context("nobody knows how the splits of the sources were divided among lineages")
            .hint("restore the checkpoint from a backup, or give the pipeline another `name`")
    })
}

fn refuse(pipeline: &Pipeline, held: &LineagePlan) -> Result<()> {
    let differs = pipeline.sources.iter().find_map(|node| {
        let held = held.get(&node.name).copied();
        held.filter(|held| *held != node.lineages).map(|held| (node, held))
    });
    let Some((node, held)) = differs else { return Ok(()) };
    let (held, wanted) = (held.word(), node.lineages.word());
    Err(Error::config(format!(
        "source {:?} has `lineages: {wanted}` (type {}) and was begun with `lineages: {held}`: its \
         splits would lose their positions",
        node.name, node.kind
    ))
    .hint(format!(
        "set it back to `{held}` to go on; give the source another name if it reads something \
         else, or the pipeline another `name`, and its sinks other places, to read everything anew"
    )))
}

#[cfg(test)]
mod tests {
    use contract::SplitId;
    use contract::source::Split;
    use state::Checkpoint;

    use super::*;

    #[tokio::test]
    async fn a_damaged_newest_checkpoint_does_not_hide_how_splits_were_divided() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        let split = Split { id: SplitId::new("orders/0"), descriptor: serde_json::Value::Null };
        let lineage = Lineage::of_split("orders", &split.id);
        let history = store.history("logs", &lineage);
        let mut first = Checkpoint::first("logs", &lineage, 1);
        first.roster.enter("orders", split);
        for epoch in [0, 1] {
            let mut made = Checkpoint { epoch, ..first.clone() };
            history.decide(&mut made).await.expect("decided");
        }
        let expected: LineagePlan = [("orders".to_owned(), Lineages::Split)].into();
        assert_eq!(infer("logs", &store).await.expect("whole"), expected);
        let damage = |epoch: u64| {
            let place = folder.path().join("logs").join(lineage.as_str());
            std::fs::write(place.join(format!("epoch-{epoch:020}")), "torn").expect("written");
        };
        damage(1);
        assert_eq!(infer("logs", &store).await.expect("the one before"), expected);
        damage(0);
        let error = infer("logs", &store).await.expect_err("nobody knows");
        assert!(error.chain().starts_with("nobody knows how the splits"), "{}", error.chain());
        assert!(!error.retry());
    }
}
