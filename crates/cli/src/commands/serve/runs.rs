//! What the schedules of pipelines say and did, as the API tells it.

use api::{LastRun, ScheduledRun, State};
use chrono::{DateTime, SecondsFormat, Utc};
use contract::Result;
use plan::schedule::Schedule;
use state::{Run, RunOutcome, Runs};

/// Runs that are told at once.
const RUNS_MAX: usize = 500;
/// Runs among which the last one is looked for: notes of skipped times stand between them.
const LOOK_BACK: usize = 5;

/// The schedule of a pipeline with its next and its last run, and how the pipeline is for that.
///
/// # Errors
/// External: the history does not answer.
pub async fn schedule(schedule: &Schedule, runs: &Runs) -> Result<(api::Schedule, Option<State>)> {
    let newest = runs.newest(LOOK_BACK).await?;
    let ran = |run: &&Run| !matches!(run.outcome, RunOutcome::Begun | RunOutcome::Skipped);
    let last = newest.iter().find(ran);
    let state = last.filter(|run| run.outcome == RunOutcome::Failed).map(|_| State::Failed);
    let told = api::Schedule {
        cron: schedule.text.to_string(),
        time_zone: schedule.time_zone.name().to_owned(),
        next: schedule.after(Utc::now()).map(text),
        last: last.map(|run| LastRun {
            started: text(run.started),
            ended: run.ended.map(text),
            outcome: run.outcome.word().to_owned(),
        }),
    };
    Ok((told, state))
}

/// The runs of a pipeline, the newest first.
///
/// # Errors
/// As for [`schedule`].
pub async fn of(runs: &Runs) -> Result<Vec<ScheduledRun>> {
    let newest = runs.newest(RUNS_MAX).await?;
    let runs = newest.into_iter().filter(|run| run.outcome != RunOutcome::Begun);
    let told = runs.map(|run| ScheduledRun {
        started: text(run.started),
        ended: run.ended.map(text),
        due: Some(text(run.due)),
        outcome: run.outcome.word().to_owned(),
        read: run.read,
        delivered: run.delivered,
        message: run.message,
    });
    Ok(told.collect())
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
