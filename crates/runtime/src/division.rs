//! How the splits of sources are divided among lineages: the first start decides it for good.
//!
//! A split that goes from one lineage to another would be read from its beginning, or go on beside
//! its own history. So a start compares before it takes a lease or makes a checkpoint.

use contract::source::Lineages;
use contract::{Error, Lineage, Result, failpoint};
use state::CheckpointStore;
use state::lineages::LineagePlan;

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
        let newest = checkpoints.history(pipeline, &lineage).newest().await;
        let newest = match newest {
            Err(error) if error.retry() => return Err(error),
            // One that is damaged is a matter of the start itself, which may set it aside.
            Err(_) | Ok(None) => continue,
            Ok(Some(newest)) => newest,
        };
        for state in newest.checkpoint.roster {
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
