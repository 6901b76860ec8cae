//! `logmill run`: runs pipelines until they are stopped, or until their input ends.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use contract::{Error, Lineage, Result};
use futures::FutureExt;
use futures::future::join_all;
use runtime::metrics::Own;
use runtime::{
    Assumption, Pipeline, Progress, Replaced, RunOptions, Summary, Trouble, TroubleState,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::arguments::Global;
use crate::commands::query::named;
use crate::detection::Patience;
use crate::failure::Exit;
use crate::memory::Memory;
use crate::pipeline::{self, Loaded, Several};
use crate::progress::Display;
use crate::watch::Watch;
use crate::{detection, elsewhere, failure, output, signals, standard_input};

const EXAMPLES: &str = "\
Examples:
  logmill run web.yaml                    follow the sources until SIGINT or SIGTERM
  logmill run web.yaml --until-end        stop at the end that the sources have now
  zcat old.log.gz | logmill run stdin.yaml --until-end
  logmill run web.yaml --until-end --format json | jq .read
  logmill run web.yaml --metrics 127.0.0.1:8001
  logmill run web.yaml --standby          wait for another process, and take over when it ends
  logmill run all.yaml --memory-limit 1GiB     each document of the file is a pipeline
  logmill run all.yaml --pipeline orders --values production.yaml

Several pipelines run side by side, and one that fails is reported at once and leaves the others
running; `--fail-fast` stops them after their epochs. The exit code is the worst of all. A wrong
file is refused before any of them begins.";

/// Run pipelines: read, transform, and deliver exactly once.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Run {
    #[command(flatten)]
    pipelines: Several,

    #[command(flatten)]
    memory: Memory,

    /// Where several pipelines run, stop all after their epochs when one fails.
    #[arg(long)]
    fail_fast: bool,

    /// Stop at the end that the sources have when the run begins, instead of following.
    #[arg(long)]
    until_end: bool,

    /// At the end, close the windows of event time that are over by the clock; rows of them that
    /// are read later are late.
    #[arg(long, requires = "until_end")]
    flush_windows: bool,

    /// Go on where a sink holds epochs of a history that is lost, numbering above them.
    #[arg(long)]
    adopt: bool,

    /// What a sink holds whose state the checkpoints do not explain, because it was restored or
    /// removed: everything up to the newest epoch, or all but that one, which it then gets again.
    #[arg(long, value_enum, requires = "until_end")]
    assume: Option<Assume>,

    /// Where an unfinished epoch needs records that can no longer be read, deliver what is proved
    /// to be the rest of it and book them as lost. What a sink refuses now becomes dead letters. A
    /// step whose state is gone or damaged begins anew.
    #[arg(long)]
    accept_loss: bool,

    /// Go on with a sink that was not in the pipeline file for some epochs, without what was read
    /// in them; `audit` names them.
    #[arg(long)]
    accept_gap: bool,

    /// Wait while another process runs the pipeline, and take over within its lease once it is
    /// gone, instead of ending with exit code 4.
    #[arg(long)]
    standby: bool,

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
    let mut loaded = match run.load(global) {
        Err(_) if signals::exit() != Exit::Done => return Ok(signals::exit()),
        loaded => loaded?,
    };
    standard_input::refuse_second_reader(&loaded)?;
    run.memory.divide(&mut loaded);
    let mut taken = Vec::new();
    for one in &loaded {
        prepare(one, run, global).await?;
        taken.extend(one.decisions.iter().map(ToString::to_string));
    }
    let pipelines: Vec<_> = loaded.into_iter().map(|one| one.pipeline).collect();
    let rows_on_stdout = pipelines.iter().any(writes_to_stdout);
    let progress: Vec<_> = pipelines.iter().map(|_| Arc::new(Progress::default())).collect();
    let watching = match &run.metrics {
        Some(address) => {
            let watch = Watch::begin(address, run.metrics_open).await?;
            let own = pipelines.iter().map(Own::of).collect();
            Some(watch.answer(progress.clone(), own, global))
        }
        None => None,
    };
    let ended = match pipelines.len() {
        1 => alone(pipelines, progress, run, global).await?,
        _ => side_by_side(pipelines, progress, run, global).await?,
    };
    drop(watching);
    if rows_on_stdout && !global.format.is_for_machines() {
        // The rows are the result, and whoever reads them wants nothing else among them.
        let mut stderr = std::io::stderr().lock();
        let _ = ended.print_text(&mut stderr);
        let _ = taken.iter().try_for_each(|taken| writeln!(stderr, "  {taken}"));
    } else {
        ended.print(&taken, global)?;
    }
    match signals::exit() {
        Exit::Done if run.until_end => ended.judge(global),
        signal => Ok(signal.worse(ended.exit)),
    }
}

/// Does what must be done before any of the pipelines begins.
async fn prepare(loaded: &Loaded, run: &Run, global: &Global) -> Result<()> {
    let Loaded { place, plan, pipeline, decisions, .. } = loaded;
    detection::keep(decisions, pipeline).await?;
    let is_told = run.assume.is_some() || run.adopt || run.accept_gap;
    if !is_told && elsewhere::is_kept(plan, &global.data)? {
        // What is refused must not be noted: queries would find two tables of one name.
        pipeline::inspect(plan, pipeline).await?;
    }
    elsewhere::note(plan, &place.file, &global.data)?;
    named::note(&plan.name, &place.file, &global.data)?;
    plan.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(())
}

/// How the runs of a command ended.
struct Ended {
    /// Whether there were several.
    several: bool,
    /// Those that came to their end.
    done: Vec<Done>,
    /// The worst that became of those that failed, which were told of.
    exit: Exit,
}

/// A run that came to its end.
#[derive(Serialize)]
struct Done {
    pipeline: String,
    #[serde(flatten)]
    summary: Summary,
}

async fn alone(
    mut pipelines: Vec<Pipeline>,
    mut progress: Vec<Arc<Progress>>,
    run: &Run,
    global: &Global,
) -> Result<Ended> {
    let (pipeline, progress) = (pipelines.swap_remove(0), progress.swap_remove(0));
    let options = run.options(&pipeline, signals::stop()?, global)?;
    let name = pipeline.name.clone();
    let summary = shown(pipeline, options, progress, global).await?;
    let done = vec![Done { pipeline: name, summary }];
    Ok(Ended { several: false, done, exit: Exit::Done })
}

/// Runs pipelines until all have ended. Who fails is told of at once, and stops the others only
/// where the command line says so.
async fn side_by_side(
    pipelines: Vec<Pipeline>,
    progress: Vec<Arc<Progress>>,
    run: &Run,
    global: &Global,
) -> Result<Ended> {
    runtime::contain();
    let mut told = signals::stop()?;
    let (end, stop) = watch::channel(false);
    let forward = async {
        let _ = told.wait_for(|told| *told).await;
        end.send_replace(true);
        std::future::pending::<()>().await
    };
    let (end, stop) = (&end, &stop);
    let runs = pipelines.into_iter().zip(progress).map(|(pipeline, progress)| async move {
        let name = pipeline.name.clone();
        let ran = match run.options(&pipeline, stop.clone(), global) {
            Ok(options) => {
                let ran = AssertUnwindSafe(shown(pipeline, options, progress.clone(), global));
                let ran = runtime::contained(ran.catch_unwind()).await;
                ran.unwrap_or_else(|_| Err(Error::bug("the pipeline panicked")))
            }
            Err(error) => Err(error),
        };
        ran.map(|summary| Done { pipeline: name.clone(), summary }).map_err(|error| {
            progress.fail(&error);
            if run.fail_fast {
                end.send_replace(true);
            }
            failure::report(&error.context(format!("pipeline {name:?}")), global)
        })
    });
    let runs: Vec<_> = tokio::select! {
        runs = join_all(runs) => runs,
        () = forward => Vec::new(),
    };
    let (done, failed): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.is_ok());
    let exit = failed.into_iter().filter_map(|run| run.err()).fold(Exit::Done, Exit::worse);
    Ok(Ended { several: true, done: done.into_iter().flatten().collect(), exit })
}

impl Run {
    /// A run that follows its sources waits for a line to tell a format from, and so does one that
    /// reads standard input, whose lines are still to come.
    fn load(&self, global: &Global) -> Result<Vec<Loaded>> {
        let stop = signals::stop()?;
        let patience = match self.until_end {
            true => Patience::ForStdin(stop),
            false => Patience::ForAll(stop),
        };
        self.pipelines.load_and_wait(&global.data, patience)
    }

    fn options(
        &self,
        pipeline: &Pipeline,
        stop: watch::Receiver<bool>,
        global: &Global,
    ) -> Result<RunOptions> {
        Ok(RunOptions {
            until_end: self.until_end,
            flush_windows: self.flush_windows,
            adopt: self.adopt,
            assume: self.assume.map(Assume::assumption),
            accept_loss: self.accept_loss,
            accept_gap: self.accept_gap,
            standby: self.standby,
            ..until_end(pipeline, stop, &global.data)?
        })
    }
}

impl Ended {
    /// How the command ends whose runs came to their ends.
    fn judge(&self, global: &Global) -> Result<Exit> {
        let mut exit = self.exit;
        for Done { pipeline, summary } in &self.done {
            match summary.check_complete() {
                Err(error) if !self.several => return Err(error),
                Err(error) => {
                    let error = error.context(format!("pipeline {pipeline:?}"));
                    exit = exit.worse(failure::report(&error, global));
                }
                Ok(()) if summary.all_refused() => {
                    let first = summary.first_refused.clone();
                    exit = exit.worse(failure::all_refused(summary.read, first, global));
                }
                Ok(()) => {}
            }
        }
        Ok(exit)
    }

    /// The summaries, and the formats that were found out.
    fn print(&self, taken: &[String], global: &Global) -> Result<()> {
        let text = |out: &mut output::Stdout| {
            self.print_text(out)?;
            taken.iter().try_for_each(|taken| writeln!(out, "  {taken}"))
        };
        match &self.done[..] {
            [done] if !self.several => output::value(global, done, text),
            all => output::list(global, all, text),
        }
    }

    fn print_text(&self, out: &mut impl Write) -> std::io::Result<()> {
        self.done.iter().try_for_each(|Done { pipeline, summary }| {
            if self.several {
                write!(out, "{pipeline}: ")?;
            }
            print_text(summary, out)
        })
    }
}

fn writes_to_stdout(pipeline: &Pipeline) -> bool {
    pipeline.sinks.iter().any(|sink| sink.kind == "stdio")
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
        accept_gap: false,
        flush_windows: false,
        standby: false,
        stop,
    })
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
            TroubleState::Waiting => writeln!(out, "  {source}: {split}: {error}")?,
            TroubleState::Failed | TroubleState::Broken => {
                // Most errors name the file themselves.
                let split = if error.contains(split) { "" } else { &format!("{split}: ") };
                writeln!(out, "  {source}: not read to its end: {split}{error}")?;
            }
        }
    }
    Ok(())
}
