//! Runs a pipeline: all of its lineages, from owning them to the closing object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Result;
use serde::Serialize;

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
    if options.assume.is_none() && !options.lineage.is_replay() {
        let look = targets::look(&pipeline, &options.checkpoints);
        // A store that does not answer is waited for by those who need it.
        if let Ok(looked) = tokio::time::timeout(LOOK_LIMIT, look).await {
            looked?;
        }
    }
    let run = RunContext::new(pipeline, options, progress);
    let supervisor = Supervisor::new(run.clone());
    let (summary, outcome) = tokio::select! {
        ended = supervisor.run() => ended?,
        never = run.instruments.watch(&run.budget) => match never {},
    };
    Ok(summary.finish(&run, outcome, begun))
}
