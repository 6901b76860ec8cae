//! Runs a pipeline to its end whenever its schedule says so.
//!
//! One run of a pipeline goes on at a time: within a process because the loop waits for it, among
//! processes because each time is claimed by one of them and the lease keeps the others out. What
//! was begun and not ended is begun again; the checkpoints see to it that nothing is loaded twice.

mod due;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use contract::source::Again;
use contract::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use metrics::{counter, gauge};
use plan::schedule::{Missed, Schedule};
use state::{Run, RunOutcome, Runs};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::metrics::schedule as name;
use crate::run::Outcome;
use crate::summary::Summary;

/// How long a store that does not answer is left alone.
const STORE_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);
/// The pause of a schedule whose last time has passed.
const NEVER_PAUSE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Runs in which one that another process left unfinished is looked for.
const UNFINISHED_MAX: usize = 20;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;

    /// Waits until a time has come. Dropped before that, it has done nothing.
    async fn sleep_until(&self, time: DateTime<Utc>);
}

/// The clock of the system, which may be set: a long wait looks at it again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
        while let Ok(rest) = (time - Utc::now()).to_std() {
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest.min(LOOK_EVERY)).await;
        }
    }
}

/// Begins one run of the pipeline, to the end of its input.
pub type Start = Arc<dyn Fn() -> BoxFuture<'static, Result<Summary>> + Send + Sync>;

/// A pipeline that is run by its schedule.
pub struct Scheduled {
    /// Its name.
    pub pipeline: String,
    /// When it runs.
    pub schedule: Schedule,
    /// What it did.
    pub runs: Runs,
    /// Begins a run.
    pub start: Start,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Turns true when the run under way should finish its epoch, and none should begin.
    pub stop: watch::Receiver<bool>,
}

impl Scheduled {
    /// Runs the pipeline by its schedule until it is told to stop.
    ///
    /// # Errors
    /// Bug: a run met a defect, and nothing more may be written.
    pub async fn keep(self) -> Result<()> {
        let process = format!("{:016x}", rand::random::<u64>());
        let keeper = Keeper { it: &self, process };
        let mut done = None;
        loop {
            let step = async {
                let since = match done {
                    Some(since) => since,
                    None => keeper.begin().await?,
                };
                keeper.step(since).await
            };
            match step.await {
                Ok(settled) => done = Some(settled),
                Err(error) if error.kind() == ErrorKind::Bug => return Err(error),
                Err(error) => {
                    let pipeline = &self.pipeline;
                    error!(pipeline, error = error.chain(), "could not keep the schedule");
                    let again = self.clock.now() + STORE_PAUSE;
                    self.wait(again).await;
                }
            }
            if *self.stop.borrow() {
                return Ok(());
            }
        }
    }

    /// Waits until a time, or until it is told to stop.
    async fn wait(&self, time: DateTime<Utc>) {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.clock.sleep_until(time) => {}
        }
    }
}

struct Keeper<'a> {
    it: &'a Scheduled,
    /// Random: tells our runs from those of others.
    process: String,
}

impl Keeper<'_> {
    /// Until when everything is settled. What was begun and not ended is run first.
    async fn begin(&self) -> Result<DateTime<Utc>> {
        self.show_nothing_yet();
        let Some(newest) = self.it.runs.newest(1).await?.pop() else {
            let begun = self.run_at(self.it.clock.now(), RunOutcome::Begun);
            let ended = Some(begun.started);
            self.it.runs.claim(&Run { ended, attempts: 0, ..begun.clone() }).await?;
            return Ok(begun.due);
        };
        let unfinished = matches!(newest.outcome, RunOutcome::Running | RunOutcome::Stopped);
        if unfinished && self.it.schedule.missed != Missed::Skip {
            let (pipeline, due) = (&self.it.pipeline, newest.due);
            info!(pipeline, %due, "taking up a run that was not finished");
            self.take_up(newest.clone()).await?;
        }
        Ok(newest.due)
    }

    /// Settles what is due now, or waits for it. Returns until when everything is settled.
    async fn step(&self, done: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let now = self.it.clock.now();
        let due = due::due(&self.it.schedule, done, now);
        if due.skipped > 0 {
            self.note_skipped(&due, now).await?;
        }
        if let Some(time) = due.run {
            let run = self.run_at(time, RunOutcome::Running);
            match self.it.runs.claim(&run).await? {
                true => self.run(run).await?,
                false => info!(pipeline = self.it.pipeline, due = %time, "another process has it"),
            }
            return Ok(time);
        }
        let settled = due.skipped_until.unwrap_or(done);
        let Some(next) = self.it.schedule.after(settled.max(now)) else {
            self.it.wait(now + NEVER_PAUSE).await;
            return Ok(settled);
        };
        gauge!(name::NEXT, "pipeline" => self.name()).set(next.timestamp() as f64);
        self.it.wait(next).await;
        Ok(settled)
    }

    /// Runs what another process, or an earlier one, began. If it lives and has the lease, it keeps
    /// it; if it lives and does not have it yet, the note tells it that somebody else runs this.
    async fn take_up(&self, run: Run) -> Result<()> {
        let taken =
            Run { process: self.process.clone(), outcome: RunOutcome::Running, ..run.clone() };
        self.it.runs.note(&taken).await?;
        match self.attempt(&taken).await {
            Err(error) if error.kind() == ErrorKind::NotOwner => {
                info!(pipeline = self.it.pipeline, due = %run.due, "another process runs it");
                Ok(())
            }
            first => self.go_on(taken, first).await,
        }
    }

    async fn run(&self, run: Run) -> Result<()> {
        let first = self.attempt(&run).await;
        self.go_on(run, first).await
    }

    /// Tries again as the schedule says, and notes what became of it.
    async fn go_on(&self, mut run: Run, mut outcome: Result<Summary>) -> Result<()> {
        let schedule = &self.it.schedule;
        let mut retries = 0;
        loop {
            run.attempts += 1;
            let failure = match outcome {
                Ok(summary) => {
                    add(&mut run, &summary);
                    match (summary.outcome, summary.check_complete()) {
                        (Outcome::Ended, Err(error)) => error,
                        (outcome, _) => {
                            run.outcome = match outcome {
                                Outcome::Ended => RunOutcome::Ok,
                                Outcome::Stopped => RunOutcome::Stopped,
                            };
                            run.message = None;
                            return self.end(run).await;
                        }
                    }
                }
                Err(error) if self.is_taken_up(&run, &error).await? => {
                    info!(pipeline = self.it.pipeline, due = %run.due, "another process has it");
                    return Ok(());
                }
                Err(error) => error,
            };
            run.message = Some(failure.chain());
            run.outcome = RunOutcome::Failed;
            let (pipeline, due) = (&self.it.pipeline, run.due);
            let again = retries < schedule.retries && failure.kind() != ErrorKind::Config;
            if failure.kind() == ErrorKind::Bug || !again || *self.it.stop.borrow() {
                error!(pipeline, %due, error = failure.chain(), "a scheduled run failed");
                self.end(run).await?;
                return match failure.kind() {
                    ErrorKind::Bug => Err(failure),
                    _ => Ok(()),
                };
            }
            retries += 1;
            let pause = schedule.retry_after;
            warn!(pipeline, %due, ?pause, error = failure.chain(), "trying a run again later");
            self.it.wait(self.it.clock.now() + pause).await;
            if *self.it.stop.borrow() {
                run.outcome = RunOutcome::Stopped;
                return self.end(run).await;
            }
            outcome = self.attempt(&run).await;
        }
    }

    async fn attempt(&self, run: &Run) -> Result<Summary> {
        info!(pipeline = self.it.pipeline, due = %run.due, "a scheduled run begins");
        let running = gauge!(name::RUNNING, "pipeline" => self.name());
        running.set(1.0);
        let outcome = (self.it.start)().await;
        running.set(0.0);
        outcome
    }

    /// Whether a run that was ours failed because another process has taken it up, which notes what
    /// becomes of it.
    async fn is_taken_up(&self, run: &Run, failure: &Error) -> Result<bool> {
        if failure.kind() != ErrorKind::NotOwner {
            return Ok(false);
        }
        let newest = self.it.runs.newest(UNFINISHED_MAX).await?;
        Ok(newest.iter().any(|noted| noted.due == run.due && noted.process != run.process))
    }

    /// Notes the end of a run, and that older ones of others ended without a word: while they
    /// lived, ours could not have begun.
    async fn end(&self, mut run: Run) -> Result<()> {
        run.ended = Some(self.it.clock.now());
        // Who sees the run counted finds it in the history.
        self.it.runs.note(&run).await?;
        let word = run.outcome.word();
        counter!(name::RUNS, "pipeline" => self.name(), "outcome" => word).increment(1);
        if run.outcome == RunOutcome::Ok {
            let ended = self.it.clock.now().timestamp() as f64;
            gauge!(name::SUCCESS, "pipeline" => self.name()).set(ended);
            let (pipeline, due, read) = (&self.it.pipeline, run.due, run.read);
            info!(pipeline, %due, read, "a scheduled run is done");
        }
        if run.outcome == RunOutcome::Ok {
            for old in self.it.runs.newest(UNFINISHED_MAX).await? {
                if old.outcome == RunOutcome::Running && old.due < run.due {
                    let message = Some("its process ended in the middle of it".to_owned());
                    self.it.runs.note(&Run { outcome: RunOutcome::Failed, message, ..old }).await?;
                }
            }
        }
        self.it.runs.tidy(self.it.schedule.runs_kept as usize).await;
        Ok(())
    }

    async fn note_skipped(&self, due: &due::Due, now: DateTime<Utc>) -> Result<()> {
        let Some(newest) = due.skipped_until else { return Ok(()) };
        counter!(name::MISSED, "pipeline" => self.name()).increment(due.skipped);
        let (pipeline, times) = (&self.it.pipeline, due.skipped);
        warn!(pipeline, times, until = %newest, "no run for times that passed");
        let message = match due.skipped {
            1 => "nobody could run it in time".to_owned(),
            times => format!("nobody could run it in time; the last of {times} such times"),
        };
        let run = self.run_at(newest, RunOutcome::Skipped);
        let ended = Some(now);
        let skipped = Run { ended, attempts: 0, message: Some(message), ..run };
        self.it.runs.claim(&skipped).await.map(drop)
    }

    fn run_at(&self, due: DateTime<Utc>, outcome: RunOutcome) -> Run {
        Run {
            due,
            started: self.it.clock.now(),
            ended: None,
            outcome,
            attempts: 0,
            read: 0,
            delivered: 0,
            message: None,
            process: self.process.clone(),
        }
    }

    fn show_nothing_yet(&self) {
        for outcome in [RunOutcome::Ok, RunOutcome::Failed, RunOutcome::Stopped] {
            let word = outcome.word();
            counter!(name::RUNS, "pipeline" => self.name(), "outcome" => word).increment(0);
        }
        counter!(name::MISSED, "pipeline" => self.name()).increment(0);
        gauge!(name::RUNNING, "pipeline" => self.name()).set(0.0);
    }

    fn name(&self) -> String {
        self.it.pipeline.clone()
    }
}

fn add(run: &mut Run, summary: &Summary) {
    run.read += summary.read;
    run.delivered += summary.sinks.iter().map(|sink| sink.counts.delivered).sum::<u64>();
}

/// The next times of a schedule, for people.
pub fn next_times(schedule: &Schedule, after: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
    std::iter::successors(schedule.after(after), |time| schedule.after(*time)).take(count).collect()
}

/// Refuses what a schedule cannot run: a source that has no end.
///
/// # Errors
/// Config.
pub fn check(pipeline: &crate::Pipeline) -> Result<()> {
    let endless = pipeline.sources.iter().find(|node| node.source.again() == Again::Never);
    match endless {
        Some(node) => Err(Error::config(format!(
            "pipeline {:?} has a schedule, and source {:?} can be read only once",
            pipeline.name, node.name
        ))
        .hint("remove `schedule`, or read from files or a broker")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
