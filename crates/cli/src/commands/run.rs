//! `logmill run`: runs pipelines until they are stopped, or until their input ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use contract::{Error, Lineage, Result};
use futures::future::join_all;
use runtime::{
    Assumption, Pipeline, Progress, Replaced, RunOptions, Summary, Trouble, TroubleState,
};
use tokio::sync::watch;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::progress::Display;
use crate::watch::Watch;
use crate::{detection, elsewhere, failure, output, pipeline, signals};

const EXAMPLES: &str = "\
Examples:
  logmill run web.yaml                    follow the sources until SIGINT or SIGTERM
  logmill run web.yaml --until-end        stop at the end that the sources have now
  zcat old.log.gz | logmill run stdin.yaml --until-end
  logmill run web.yaml --until-end --format json | jq .read
  logmill run web.yaml --metrics 127.0.0.1:8001";

/// Run pipelines: read, transform, and deliver exactly once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    /// Pipeline files; each runs on its own.
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Stop at the end that the sources have when the run begins, instead of following.
    #[arg(long)]
    until_end: bool,

    /// Go on where a sink holds epochs of a history that is lost, numbering above them.
    #[arg(long)]
    adopt: bool,

    /// What a sink holds whose state the checkpoints do not explain, because it was restored or
    /// removed: everything up to the newest epoch, or all but that one, which it then gets again.
    #[arg(long, value_enum, requires = "until_end")]
    assume: Option<Assume>,

    /// Where an unfinished epoch needs records that can no longer be read, deliver the rest of it
    /// and book them as lost.
    #[arg(long)]
    accept_loss: bool,

    /// Serve metrics and health at this address: `127.0.0.1:8001`.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,

    /// Let everybody who can reach the address of `--metrics` read them.
    #[arg(long, requires = "metrics")]
    metrics_open: bool,
}

/// What the operator knows of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Assume {
    /// It holds everything up to the newest epoch.
    Held,
    /// It lacks the newest epoch, and that one alone.
    Missing,
}

impl Assume {
    fn assumption(self) -> Assumption {
        match self {
            Self::Held => Assumption::Held,
            Self::Missing => Assumption::Missing,
        }
    }
}

pub async fn start(run: &Run, global: &Global) -> Result<Exit> {
    let mut pipelines = Vec::with_capacity(run.files.len());
    let mut taken = Vec::new();
    for file in &run.files {
        let pipeline::Loaded { plan, pipeline, decisions } = pipeline::load(file, &global.data)?;
        detection::keep(&decisions, &pipeline).await?;
        taken.extend(decisions.iter().map(ToString::to_string));
        if run.assume.is_none() && !run.adopt && elsewhere::is_kept(&plan, &global.data)? {
            // What is refused must not be noted: queries would find two tables of one name.
            pipeline::inspect(&plan, &pipeline).await?;
        }
        elsewhere::note(&plan, file, &global.data)?;
        plan.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        pipelines.push(pipeline);
    }
    refuse_same_names(&pipelines)?;
    let rows_on_stdout = pipelines.iter().any(writes_to_stdout);
    let stop = signals::stop()?;
    let progress: Vec<_> = pipelines.iter().map(|_| Arc::new(Progress::default())).collect();
    let watching = match &run.metrics {
        Some(address) => {
            let watch = Watch::begin(address, run.metrics_open).await?;
            Some(watch.answer(progress.clone(), global))
        }
        None => None,
    };
    let runs = pipelines.into_iter().zip(progress).map(|(pipeline, progress)| async {
        let options = RunOptions {
            until_end: run.until_end,
            adopt: run.adopt,
            assume: run.assume.map(Assume::assumption),
            accept_loss: run.accept_loss,
            ..until_end(&pipeline, stop.clone(), &global.data)?
        };
        shown(pipeline, options, progress, global).await
    });
    let ended = join_all(runs).await;
    drop(watching);
    let summaries = all(ended)?;
    if rows_on_stdout && !global.format.is_for_machines() {
        // The rows are the result, and whoever reads them wants nothing else among them.
        let mut stderr = std::io::stderr().lock();
        let _ = summaries.iter().try_for_each(|summary| print_text(summary, &mut stderr));
        let _ = taken.iter().try_for_each(|taken| writeln!(stderr, "  {taken}"));
    } else {
        print(&summaries, &taken, global)?;
    }
    match signals::exit() {
        Exit::Done if run.until_end => {
            summaries.iter().try_for_each(Summary::check_complete)?;
            Ok(refused(&summaries, global))
        }
        exit => Ok(exit),
    }
}

/// How runs end in which all went well but perhaps the records.
fn refused(summaries: &[Summary], global: &Global) -> Exit {
    let mut exit = Exit::Done;
    for summary in summaries.iter().filter(|summary| summary.all_refused()) {
        exit = failure::all_refused(summary.read, summary.first_refused.clone(), global);
    }
    exit
}

fn writes_to_stdout(pipeline: &Pipeline) -> bool {
    pipeline.sinks.iter().any(|sink| sink.kind == "stdio")
}

/// The summaries, or the first error once all runs have ended: one that stops must not stop the
/// others.
fn all(ended: Vec<Result<Summary>>) -> Result<Vec<Summary>> {
    let (done, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    let mut errors = failed.into_iter().filter_map(Result::err);
    match errors.next() {
        None => done.into_iter().collect(),
        Some(first) => {
            errors.for_each(|error| tracing::error!("{}", error.chain()));
            Err(first)
        }
    }
}

/// Two runs of one name would own the same checkpoints.
fn refuse_same_names(pipelines: &[Pipeline]) -> Result<()> {
    for (number, pipeline) in pipelines.iter().enumerate() {
        if pipelines[..number].iter().any(|other| other.name == pipeline.name) {
            let name = &pipeline.name;
            return Err(Error::config(format!("two of the files have the name {name:?}"))
                .hint("checkpoints are kept under the name; give each pipeline its own"));
        }
    }
    Ok(())
}

/// Runs one pipeline while its progress is shown.
///
/// # Errors
/// Those of the run.
pub async fn watched(pipeline: Pipeline, options: RunOptions, global: &Global) -> Result<Summary> {
    shown(pipeline, options, Arc::default(), global).await
}

async fn shown(
    pipeline: Pipeline,
    options: RunOptions,
    progress: Arc<Progress>,
    global: &Global,
) -> Result<Summary> {
    let display = Display::start(&pipeline.name, progress.clone(), global);
    let summary = runtime::run(pipeline, options, progress).await;
    display.end();
    summary
}

/// Options of a run that nothing but its input ends.
///
/// # Errors
/// The checkpoint store cannot be opened.
pub fn until_end(
    pipeline: &Pipeline,
    stop: watch::Receiver<bool>,
    data: &Path,
) -> Result<RunOptions> {
    Ok(RunOptions {
        checkpoints: pipeline.checkpoint_store()?,
        lineage: Lineage::main(),
        not_before_us: 0,
        rebuild: pipeline::rebuild(data),
        until_end: true,
        adopt: false,
        assume: None,
        accept_loss: false,
        stop,
    })
}

/// The summaries, and the formats that were found out.
fn print(summaries: &[Summary], taken: &[String], global: &Global) -> Result<()> {
    let formats =
        |out: &mut output::Stdout| taken.iter().try_for_each(|taken| writeln!(out, "  {taken}"));
    match summaries {
        [summary] => output::value(global, summary, |out| {
            print_text(summary, out)?;
            formats(out)
        }),
        all => output::list(global, all, |out| {
            all.iter().try_for_each(|summary| print_text(summary, out))?;
            formats(out)
        }),
    }
}

fn print_text(summary: &Summary, out: &mut impl Write) -> std::io::Result<()> {
    let Summary { read, epochs, seconds, .. } = summary;
    let (read, epochs) = (output::plain(*read, "record"), output::plain(*epochs, "epoch"));
    writeln!(out, "{read} read in {epochs}, {seconds:.1} s")?;
    for sink in &summary.sinks {
        let counts = &sink.counts;
        write!(out, "  {}: {} delivered", sink.sink, counts.delivered)?;
        let others = [
            ("filtered", counts.filtered),
            ("deduplicated", counts.deduplicated),
            ("late", counts.late),
            ("aggregated", counts.aggregated),
            ("dead-lettered", counts.dead_lettered),
            ("lost", counts.lost),
        ];
        for (name, rows) in others.iter().filter(|(_, rows)| *rows > 0) {
            write!(out, ", {rows} {name}")?;
        }
        writeln!(out)?;
    }
    for Replaced { sink, place, from, to, rows, .. } in &summary.replaced {
        let epochs = output::epochs(*from, *to);
        writeln!(
            out,
            "  {sink}: {place} is another one than before: {rows} rows of {epochs} went into the \
             earlier one"
        )?;
    }
    for Trouble { source, split, state, error, .. } in &summary.unread {
        match state {
            TroubleState::PassedOver => writeln!(out, "  {source}: passed over {split}: {error}")?,
            TroubleState::Failed | TroubleState::Broken => {
                writeln!(out, "  {source}: not read to its end: {split}: {error}")?;
            }
        }
    }
    Ok(())
}
