//! `logmill splits`: the parts of the sources of a pipeline, how each of them is, and another try
//! for those that could not be read.

mod list;
mod retry;

use std::path::Path;

use clap::{Args, Subcommand};
use contract::{Lineage, Result};
use runtime::Pipeline;
use runtime::standing::{self, SplitView, StepView};
use state::CheckpointStore;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::pipeline::{self, Named};

const EXAMPLES: &str = "\
Examples:
  logmill splits list web.yaml
  logmill splits list web.yaml --failing          what cannot be read, and why
  logmill splits list web.yaml --lagging --source access --limit 20
  logmill splits list web.yaml --format ndjson | jq -r 'select(.phase == \"broken\") | .split'
  logmill splits retry web.yaml                   all that cannot be read, now
  logmill splits retry web.yaml /var/log/a.log    one of them";

/// See the splits of a pipeline (files, partitions), and try again what cannot be read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Splits {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(list::List),
    Retry(retry::Retry),
}

pub async fn start(splits: &Splits, global: &Global) -> Result<Exit> {
    match &splits.action {
        Action::List(list) => list::start(list, global).await,
        Action::Retry(retry) => retry::start(retry, global).await,
    }
}

/// A pipeline with what is known of its splits.
struct Known {
    pipeline: Pipeline,
    /// Whether a process runs it; none where nobody can tell.
    is_running: Option<bool>,
    views: Vec<SplitView>,
    /// The steps with an event time.
    steps: Vec<StepView>,
}

impl Known {
    /// Reads all lineages but those of replays.
    ///
    /// # Errors
    /// Config: the file is wrong, or the pipeline never ran. External: a checkpoint cannot be read.
    async fn read(named: &Named, data: &Path) -> Result<Self> {
        let pipeline = named.load(data)?.pipeline;
        let checkpoints = pipeline::checkpoints(&pipeline).await?;
        let (mut views, mut steps, mut is_running) = (Vec::new(), Vec::new(), Some(false));
        for lineage in checkpoints.lineages(&pipeline.name).await? {
            if lineage.is_replay() {
                continue;
            }
            let held = checkpoints.is_held(&pipeline.name, &lineage).await?;
            is_running = match (is_running, held) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (known, Some(false)) => known,
                (_, None) => None,
            };
            let of = of_lineage(&pipeline, &checkpoints, (&lineage, held)).await?;
            views.extend(of.0);
            steps.extend(of.1);
        }
        Ok(Self { pipeline, is_running, views, steps })
    }
}

async fn of_lineage(
    pipeline: &Pipeline,
    checkpoints: &CheckpointStore,
    (lineage, held): (&Lineage, Option<bool>),
) -> Result<(Vec<SplitView>, Vec<StepView>)> {
    let history = checkpoints.history(&pipeline.name, lineage);
    standing::read(&history, held == Some(true)).await
}
