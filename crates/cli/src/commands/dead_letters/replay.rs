//! `logmill dead-letters replay`: gives refused records again, exactly once.
//!
//! A request is kept before it is run and forgotten once it is through. So whatever interrupts a
//! replay, the next call finishes it first.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use contract::{Error, ErrorKind, Lineage, Result, Section};
use futures::TryStreamExt;
use query::letters::Wanted;
use runtime::replay::{DEAD_LETTER_STATES, Plans, Purpose, Request};
use runtime::{DEAD_LETTERS, Outcome, Pipeline, RunOptions};
use serde::Serialize;
use state::ledger::Counts;
use state::{CheckpointStore, History};
use tokio::sync::watch;
use tracing::info;

use super::requests::{Readers, Selection, Sorter};
use crate::arguments::Global;
use crate::commands::run;
use crate::failure::Exit;
use crate::pipeline::{self, Named};
use crate::{output, signals};

/// Why a letter stays open that was to be replayed.
const GONE: &str = "their records are gone from the source, and what was kept does not make them";
/// The lineage whose lease keeps two replays of one pipeline apart.
const LEASE: &str = "replay";

const EXAMPLES: &str = "\
Examples:
  logmill dead-letters replay web.yaml
  logmill dead-letters replay web.yaml --reason 'no status'
  logmill dead-letters replay web.yaml --sink warehouse

A record that a transform refused goes through it again, and to every sink below it; one that a
sink refused goes to that sink alone. Whatever is refused again is a new dead letter. After a replay
that was interrupted, the next call finishes that one, exactly once, and does nothing else.

What was refused above a `dedupe`, or by it, stays open: a replay does not know which keys the
pipeline has seen, and a letter is closed as a whole or not at all. One that a sink below it refused
has passed it, and is given. Rows carry the origin of the record, and the epoch of the replay.

Exits with 3 if letters stay open that were to be replayed, or records were refused again.";

/// Give open dead letters to the pipeline again, once its file is right.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Replay {
    #[command(flatten)]
    place: Named,

    /// Only dead letters that this sink lacks, and no other.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Only dead letters whose reason contains this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What was replayed, or closed.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The pipeline.
    pub pipeline: String,
    /// Records that were taken.
    pub taken: u64,
    /// Those of them that are dead letters again.
    pub refused_again: u64,
    /// Whether all that was done was to finish replays that had been interrupted.
    pub finished_interrupted: bool,
    sinks: Vec<Delivered>,
    left: Vec<Left>,
}

/// What a sink got.
#[derive(Debug, Serialize)]
struct Delivered {
    sink: String,
    #[serde(flatten)]
    counts: Counts,
}

/// Dead letters that stay open.
#[derive(Debug, Serialize)]
struct Left {
    reason: String,
    dead_letters: u64,
}

pub async fn start(replay: &Replay, global: &Global) -> Result<Exit> {
    let selection = Selection {
        purpose: Purpose::Replay,
        sink: replay.sink.clone(),
        reason: replay.reason.clone(),
        origins: Vec::new(),
    };
    let report = take(&replay.place, &selection, global, signals::stop()?).await?;
    output::value(global, &report, |out| print(&report, out))?;
    // Whoever reads only the exit code must not take letters that stay open for replayed.
    let is_through = report.left.is_empty() && report.refused_again == 0;
    let exit = if is_through { Exit::Done } else { Exit::Difference };
    Ok(exit.worse(signals::exit()))
}

/// Takes the open dead letters that are selected, until `stop` turns true.
pub async fn take(
    place: &Named,
    selection: &Selection,
    global: &Global,
    stop: watch::Receiver<bool>,
) -> Result<Report> {
    let loaded = place.load(&global.data)?;
    if selection.purpose == Purpose::Replay {
        // Rows that are given again go where a run's would go, or nowhere.
        pipeline::inspect(&loaded.plan, &loaded.pipeline).await?;
    }
    let bound = loaded.pipeline;
    refuse_unknown_sink(selection, &bound)?;
    let mut report = Report { pipeline: bound.name.clone(), ..Report::default() };
    if let Some(checkpoints) = pipeline::find_checkpoints(&bound).await? {
        let lease = checkpoints.lease(&bound.name, &Lineage::new(LEASE)).await;
        let lease = lease.map_err(|error| error.context("could not begin a replay"))?;
        let report = &mut report;
        let mut replayer =
            Replayer { place, selection, global, pipeline: &bound, checkpoints, stop, report };
        let replayed = replayer.replay_all().await;
        lease.release().await;
        replayed?;
    }
    Ok(report)
}

fn refuse_unknown_sink(selection: &Selection, bound: &Pipeline) -> Result<()> {
    let names = || bound.sinks[..bound.dead_letter_sink()].iter().map(|node| node.name.as_str());
    match &selection.sink {
        Some(sink) if names().all(|name| name != sink) => {
            Err(Error::config(format!("the pipeline has no sink {sink:?}"))
                .hint(Section::did_you_mean(sink, names())))
        }
        _ => Ok(()),
    }
}

/// Runs requests one after the other.
struct Replayer<'a> {
    place: &'a Named,
    selection: &'a Selection,
    global: &'a Global,
    pipeline: &'a Pipeline,
    checkpoints: CheckpointStore,
    stop: watch::Receiver<bool>,
    report: &'a mut Report,
}

impl Replayer<'_> {
    /// What was interrupted; only if there is no such thing, what is open. Else letters that the
    /// interrupted replay refused again would at once be taken again.
    async fn replay_all(&mut self) -> Result<()> {
        let lineages = self.checkpoints.lineages(&self.pipeline.name).await?;
        for lineage in lineages.into_iter().filter(Lineage::is_replay) {
            let history = self.history(&lineage);
            if let Some(input) = history.input().await? {
                let request = Request::from_bytes(&input)?;
                if !self.can_be_finished(&history, &request).await? {
                    history.forget_input().await?;
                    continue;
                }
                info!(%lineage, "finishing an interrupted replay");
                self.report.finished_interrupted = true;
                if self.run(&history, lineage, request).await? == Outcome::Stopped {
                    return Ok(());
                }
            }
        }
        match self.report.finished_interrupted {
            true => Ok(()),
            false => self.replay_open().await,
        }
    }

    /// Whether an interrupted replay is finished; else it has not begun, and its letters are taken
    /// anew. Earlier programs kept the numbers of rows without the ways that these stand for.
    async fn can_be_finished(&self, history: &History, request: &Request) -> Result<bool> {
        if !request.lacks_ways() {
            return Ok(true);
        }
        match history.newest().await? {
            None => Ok(false),
            Some(newest) if newest.checkpoint.epoch == 0 => Ok(false),
            Some(newest) if newest.checkpoint.plan == self.pipeline.fingerprint => Ok(true),
            Some(_) => Err(Error::config(
                "an earlier version began a replay of rows that came by one of several ways, and \
                 the pipeline file has changed since",
            )
            .hint("bring the file back to what it was until that replay is through")),
        }
    }

    async fn replay_open(&mut self) -> Result<()> {
        let wanted =
            Wanted { pipeline: &self.pipeline.name, reason: self.selection.reason.as_deref() };
        let mut letters = query::letters::open(&self.global.data, wanted).await?;
        let mut next = letters.try_next().await?;
        let readers = Readers::read(&self.pipeline.name, &self.checkpoints).await?;
        let plans = match self.selection.purpose {
            Purpose::Replay if next.is_some() => {
                let rebuild = pipeline::rebuild(&self.global.data);
                Some(Plans::list(self.pipeline, &self.checkpoints, rebuild).await?)
            }
            Purpose::Replay | Purpose::Acknowledge => None,
        };
        let mut sorter = Sorter::new(self.pipeline, plans, readers, self.selection);
        loop {
            let letter = next.take();
            let ended = letter.is_none();
            let request = match letter {
                Some(letter) => sorter.add(letter).await?,
                None => sorter.finish(),
            };
            if let Some(request) = request
                && self.begin(request).await? == Outcome::Stopped
            {
                break;
            }
            if ended {
                break;
            }
            next = letters.try_next().await?;
        }
        let left = sorter.left.into_iter();
        for (reason, dead_letters) in left {
            self.report.leave(&reason, dead_letters);
        }
        Ok(())
    }

    /// Keeps a request, then runs it.
    async fn begin(&mut self, mut request: Request) -> Result<Outcome> {
        let mut lineage = request.lineage();
        let mut history = self.history(&lineage);
        while history.newest_epoch().await?.is_some() {
            if taken(&history).await? == 0 {
                // None of their records could be had then, and may be had now.
                request.tries += 1;
                lineage = request.lineage();
                history = self.history(&lineage);
                continue;
            }
            return Err(Error::external(format!(
                "{lineage} gave these dead letters before, and they are open again: the lake table \
                 {DEAD_LETTER_STATES:?} lost rows"
            ))
            .hint("restore the table; a second replay would deliver the records twice"));
        }
        history.keep_input(request.to_bytes()?).await?;
        let ran = self.run(&history, lineage, request).await;
        let is_refused = ran.as_ref().is_err_and(|error| error.kind() == ErrorKind::Config);
        let decided = history.newest_epoch().await?.unwrap_or_default();
        if is_refused && decided == 0 {
            // Nothing of it was decided: whoever calls next need not finish it.
            history.forget_input().await?;
        }
        ran
    }

    async fn run(
        &mut self,
        history: &History,
        lineage: Lineage,
        request: Request,
    ) -> Result<Outcome> {
        let request = Arc::new(request);
        let data = &self.global.data;
        let bound = self.place.load(data)?.pipeline;
        let bound = pipeline::replaying(bound, &request, data)?;
        let options = RunOptions {
            checkpoints: self.checkpoints.clone(),
            lineage,
            not_before_us: request.newest_us + 1,
            rebuild: pipeline::rebuild_replay(&request, data),
            until_end: true,
            adopt: false,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop: self.stop.clone(),
        };
        let outcome = run::watched(bound, options, self.global).await?.outcome;
        if outcome == Outcome::Ended {
            history.forget_input().await?;
            let wanted = request.letters.len() as u64;
            self.report.leave(GONE, wanted.saturating_sub(taken(history).await?));
        }
        self.report.add(history).await?;
        Ok(outcome)
    }

    fn history(&self, lineage: &Lineage) -> History {
        self.checkpoints.history(&self.pipeline.name, lineage)
    }
}

/// The records that a replay has noted as taken.
async fn taken(history: &History) -> Result<u64> {
    let rows = history.ledger().await?.rows.into_iter().map(|row| row.entry);
    let marks = rows.filter(|entry| entry.sink == DEAD_LETTER_STATES);
    Ok(marks.map(|entry| entry.counts.delivered).sum())
}

impl Report {
    /// Counts dead letters that stay open.
    fn leave(&mut self, reason: &str, dead_letters: u64) {
        match self.left.iter_mut().find(|left| left.reason == reason) {
            Some(left) => left.dead_letters += dead_letters,
            None if dead_letters > 0 => {
                self.left.push(Left { reason: reason.to_owned(), dead_letters });
            }
            None => {}
        }
    }

    /// Adds all that a replay did, in whichever process.
    async fn add(&mut self, history: &History) -> Result<()> {
        let mut sinks: BTreeMap<String, Counts> = BTreeMap::new();
        for row in history.ledger().await?.rows {
            sinks.entry(row.entry.sink).or_default().add(&row.entry.counts);
        }
        self.taken += sinks.remove(DEAD_LETTER_STATES).unwrap_or_default().delivered;
        self.refused_again += sinks.remove(DEAD_LETTERS).unwrap_or_default().delivered;
        for (sink, counts) in sinks {
            match self.sinks.iter_mut().find(|known| known.sink == sink) {
                Some(known) => known.counts.add(&counts),
                None => self.sinks.push(Delivered { sink, counts }),
            }
        }
        Ok(())
    }
}

fn print(report: &Report, out: &mut output::Stdout) -> std::io::Result<()> {
    let Report { pipeline, taken, refused_again, .. } = report;
    match (taken, report.left.is_empty()) {
        (0, true) if !report.finished_interrupted => {
            writeln!(out, "{pipeline} has no such dead letter that is open")?
        }
        (0, _) => writeln!(out, "nothing replayed")?,
        (taken, _) => {
            let letters = output::plain(*taken, "dead letter");
            writeln!(out, "{letters} replayed, {refused_again} refused again")?
        }
    }
    for Delivered { sink, counts } in &report.sinks {
        writeln!(out, "  {sink}: {} delivered", counts.delivered)?;
    }
    if report.finished_interrupted {
        writeln!(out, "this was an interrupted replay; call again for what else is open")?;
    }
    for Left { reason, dead_letters } in &report.left {
        writeln!(out, "{dead_letters} left: {reason}")?;
    }
    Ok(())
}
