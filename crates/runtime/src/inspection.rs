//! What a start would refuse, as far as that can be seen without taking or changing anything.
//!
//! It asks what a start asks, in the same functions: where sinks write, which names changed, and,
//! of sinks that are but read when they are asked for their token, whether they hold what the
//! history says.

use contract::sink::Held;
use contract::source::Lineages;
use contract::{Lineage, Result};
use state::Checkpoint;
use state::history::Newest;

use crate::graph::Pipeline;
use crate::memory::writer_context;
use crate::owner::RunOptions;
use crate::recovery::{
    Damaged, damaged, is_behind, proves_nothing_since, refuse_missing_sinks, unproven,
};
use crate::renamed::Suspects;
use crate::{division, gaps, renamed, targets};

/// How often a history is looked at that somebody goes on with.
const LOOKS_MAX: u32 = 5;

/// Inspects the history of a pipeline and its sinks. `options` say where its checkpoints are, none
/// where there is no store yet; `quiet` are the numbers of the sinks that nothing changes when they
/// are asked. Returns what only the tokens of other sinks can tell, a sentence each.
///
/// # Errors
/// Config: a start would be refused. External: a sink that is asked, or a source, cannot be read.
pub async fn inspect(
    pipeline: &Pipeline,
    options: Option<&RunOptions>,
    quiet: &[usize],
) -> Result<Vec<String>> {
    let main = Lineage::main();
    let first = Checkpoint::first(&pipeline.name, &main, 0);
    let Some(options) = options else {
        inspect_sinks(pipeline, (&main, &first, true), quiet).await?;
        return Ok(Vec::new());
    };
    let told = targets::look_without(pipeline, &options.checkpoints, quiet).await?;
    renamed::refuse_pipeline(pipeline, options).await?;
    division::look(pipeline, &options.checkpoints).await?;
    let mut is_new = true;
    for lineage in options.checkpoints.lineages(&pipeline.name).await? {
        if lineage.is_replay() {
            continue;
        }
        is_new = false;
        inspect_lineage(pipeline, options, &lineage, quiet).await?;
    }
    if is_new {
        inspect_sinks(pipeline, (&main, &first, true), quiet).await?;
    }
    Ok(told)
}

/// Looks again where somebody who runs the pipeline went on meanwhile: then a sink is ahead of what
/// was read of its history.
async fn inspect_lineage(
    pipeline: &Pipeline,
    options: &RunOptions,
    lineage: &Lineage,
    quiet: &[usize],
) -> Result<()> {
    let history = options.checkpoints.history(&pipeline.name, lineage);
    let mut looks = 0;
    loop {
        let newest = match history.newest().await {
            Ok(Some(newest)) => newest,
            Ok(None) => return Ok(()),
            Err(error) => {
                let damaged = damaged(&history, error).await?;
                return refuse_damaged(pipeline, (lineage, damaged), quiet).await;
            }
        };
        let epoch = newest.checkpoint.epoch;
        let refused = refuse(pipeline, (options, lineage, newest), quiet).await;
        looks += 1;
        let has_moved = refused.is_err() && history.newest_epoch().await? > Some(epoch);
        if !has_moved || looks == LOOKS_MAX {
            return refused;
        }
    }
}

/// Refuses a damaged newest checkpoint that a start would not set aside. What sinks with a token
/// prove that are not asked is not known.
async fn refuse_damaged(
    pipeline: &Pipeline,
    (lineage, damaged): (&Lineage, Damaged),
    quiet: &[usize],
) -> Result<()> {
    let Damaged { epoch, before, error } = damaged;
    let changes = targets::changes(pipeline, &before, false);
    for (number, node) in pipeline.sinks.iter().enumerate() {
        let held = match quiet.contains(&number) {
            true => held(pipeline, (lineage, &before), number).await?,
            false if node.sink.promise().token => continue,
            false => Held::Untold,
        };
        if let Some(change) = changes.iter().find(|change| change.sink == number)
            && quiet.contains(&number)
        {
            targets::prove_place(change, &before, held)?;
        }
        if !proves_nothing_since(&before, &node.name, held) {
            return Err(unproven(error, &node.name, epoch));
        }
    }
    Ok(())
}

/// The token of a sink that nothing changes when it is asked.
async fn held(
    pipeline: &Pipeline,
    (lineage, checkpoint): (&Lineage, &Checkpoint),
    sink: usize,
) -> Result<Held> {
    let node = &pipeline.sinks[sink];
    let ctx = writer_context(pipeline, 1, sink, checkpoint.incarnation);
    let held = node.sink.fence_and_read(&ctx, lineage).await;
    held.map_err(|error| error.context(format!("sink {:?}", node.name)))
}

/// Refuses what a start at a checkpoint would refuse.
async fn refuse(
    pipeline: &Pipeline,
    (options, lineage, newest): (&RunOptions, &Lineage, Newest),
    quiet: &[usize],
) -> Result<()> {
    let (checkpoint, complete) = (newest.checkpoint, newest.complete);
    refuse_missing_sinks(pipeline, &checkpoint, complete)?;
    gaps::refuse(pipeline, &checkpoint)?;
    inspect_sinks(pipeline, (lineage, &checkpoint, complete), quiet).await?;
    renamed::refuse_sinks(pipeline, &checkpoint)?;
    let local = pipeline.sources.iter().filter(|node| node.lineages == Lineages::One);
    for node in local.filter(|_| *lineage == Lineage::main()) {
        Suspects::of(&node.name, &checkpoint.roster).refuse(pipeline, options).await?;
    }
    Ok(())
}

async fn inspect_sinks(
    pipeline: &Pipeline,
    (lineage, checkpoint, complete): (&Lineage, &Checkpoint, bool),
    quiet: &[usize],
) -> Result<()> {
    let changes = targets::changes(pipeline, checkpoint, complete);
    for sink in quiet {
        let node = &pipeline.sinks[*sink];
        let held = held(pipeline, (lineage, checkpoint), *sink).await?;
        match changes.iter().find(|change| change.sink == *sink) {
            Some(change) => targets::prove_place(change, checkpoint, held)?,
            None => is_behind(node, checkpoint, held, complete).map(|_| ())?,
        }
    }
    Ok(())
}
