//! Runs a pipeline: all of its lineages, from owning them to the closing object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Result;
use serde::Serialize;

use crate::assume::Assumption;
use crate::graph::Pipeline;
use crate::owner::{RunContext, RunOptions};
use crate::progress::Progress;
use crate::summary::Summary;
use crate::supervisor::Supervisor;
use crate::targets;

/// The longest look at what other lineages say of the sinks.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every split is at its end and everything is committed.
    Ended,
    /// It was asked to stop; the epochs under way were finished first.
    Stopped,
}

/// Runs a pipeline until its end, or until it is asked to stop.
///
/// # Errors
/// NotOwner (exit 4) before anything is touched; Config, External after the retries that the
/// settings allow; Bug.
pub async fn run(
    pipeline: Pipeline,
    options: RunOptions,
    progress: Arc<Progress>,
) -> Result<Summary> {
    let begun = Instant::now();
    // A store that does not answer is waited for by those who need it.
    if let Ok(looked) = tokio::time::timeout(LOOK_LIMIT, look(&pipeline, &options)).await {
        looked?;
    }
    let run = RunContext::new(pipeline, options, progress);
    let supervisor = Supervisor::new(run.clone());
    let (summary, outcome) = tokio::select! {
        ended = supervisor.run() => ended?,
        never = run.instruments.watch(&run.memory) => match never {},
    };
    Ok(summary.finish(&run, outcome, begun))
}

/// Looks at what other lineages say of the sinks, so that none begins where another will stop.
async fn look(pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
    if options.lineage.is_replay() {
        return Ok(());
    }
    match options.assume {
        None => targets::look(pipeline, &options.checkpoints).await.map(drop),
        Some(Assumption::Held) if !options.accept_loss => {
            targets::look_for_unfinished(pipeline, &options.checkpoints).await
        }
        Some(_) => Ok(()),
    }
}
