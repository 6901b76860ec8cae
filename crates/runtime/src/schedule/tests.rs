//! A virtual clock that moves when somebody waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use contract::{Error, ErrorKind, Result};
use object_store::memory::InMemory;
use state::{CheckpointStore, Run, RunOutcome, Runs};
use tokio::sync::watch;

use super::{Clock, Scheduled, Start};
use crate::run::Outcome;
use crate::summary::Summary;

struct Virtual {
    now: Mutex<DateTime<Utc>>,
    end: DateTime<Utc>,
    stop: watch::Sender<bool>,
}

#[async_trait]
impl Clock for Virtual {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().expect("one thread")
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        if time > self.end {
            *self.now.lock().expect("one thread") = self.end;
            self.stop.send_replace(true);
            std::future::pending::<()>().await;
        }
        let mut now = self.now.lock().expect("one thread");
        *now = time.max(*now);
    }
}

fn time(text: &str) -> DateTime<Utc> {
    format!("2026-11-21T{text}:00Z").parse().expect("a time")
}

fn runs() -> Runs {
    let store = Arc::new(InMemory::new());
    CheckpointStore::shared(store, Duration::from_secs(10), "memory").runs("web-logs")
}

/// What one run does: how many minutes it takes, and its error.
type Script = (i64, Option<ErrorKind>);

/// Serves a schedule from one time to another; the runs do what the script says, then nothing.
/// Returns how many began.
async fn serve(
    runs: &Runs,
    schedule: &str,
    from: &str,
    to: &str,
    script: &[Script],
) -> Result<u32> {
    let (stop, stopped) = watch::channel(false);
    let clock = Arc::new(Virtual { now: Mutex::new(time(from)), end: time(to), stop });
    let script = Mutex::new(script.iter().copied().collect::<VecDeque<_>>());
    let ticking = clock.clone();
    let begun = Arc::new(AtomicU32::new(0));
    let counting = begun.clone();
    let start: Start = Arc::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        let (minutes, failure) = script.lock().expect("one thread").pop_front().unwrap_or_default();
        *ticking.now.lock().expect("one thread") += TimeDelta::minutes(minutes);
        let stopped = ticking.now() >= ticking.end;
        ticking.stop.send_replace(stopped);
        Box::pin(async move {
            match failure {
                Some(kind) => Err(Error::new(kind, "it failed")),
                None => Ok(summary(if stopped { Outcome::Stopped } else { Outcome::Ended })),
            }
        })
    });
    scheduled(runs, schedule, (clock, stopped), start).keep().await?;
    Ok(begun.load(Ordering::Relaxed))
}

fn scheduled(
    runs: &Runs,
    schedule: &str,
    (clock, stop): (Arc<Virtual>, watch::Receiver<bool>),
    start: Start,
) -> Scheduled {
    let file = format!("name: a\nsources: {{}}\nschedule: {schedule}\n");
    let section = plan::parse_section(&file, "p.yaml").expect("YAML");
    let schedule = plan::schedule::Schedule::read(section.get("schedule").expect("a schedule"));
    let (pipeline, schedule, runs) = ("web-logs".into(), schedule.expect("right"), runs.clone());
    Scheduled { pipeline, schedule, runs, start, clock, stop }
}

fn summary(outcome: Outcome) -> Summary {
    Summary {
        epochs: 1,
        read: 5,
        seconds: 0.0,
        bytes: 0,
        outcome,
        first_refused: None,
        sinks: Vec::new(),
        unread: Vec::new(),
        replaced: Vec::new(),
    }
}

/// The history on one line per run: `due outcome attempts`.
async fn history(runs: &Runs) -> Vec<String> {
    let newest = runs.newest(100).await.expect("runs");
    let lines = newest
        .iter()
        .rev()
        .map(|run| format!("{} {} {}", run.due.format("%H:%M"), run.outcome.word(), run.attempts));
    lines.collect()
}

#[tokio::test]
async fn the_history_keeps_so_many_runs() {
    let runs = runs();
    let schedule = "{ cron: \"0 * * * *\", runs_kept: 2 }";
    serve(&runs, schedule, "09:10", "13:30", &[]).await.expect("kept");
    let history = history(&runs).await;
    assert_eq!(history.last().map(String::as_str), Some("13:00 ok 1"), "{history:?}");
    assert!(history.len() <= 3, "two, and one that came since: {history:?}");
}

#[tokio::test]
async fn a_run_begins_at_every_time_of_the_schedule() {
    let runs = runs();
    serve(&runs, "\"0 * * * *\"", "09:10", "11:30", &[]).await.expect("kept");
    assert_eq!(history(&runs).await, ["09:10 begun 0", "10:00 ok 1", "11:00 ok 1"]);
    let newest = runs.newest(1).await.expect("runs").remove(0);
    assert_eq!(newest.read, 5);
    assert_eq!(newest.ended, Some(time("11:00")));
}

#[tokio::test]
async fn what_was_missed_while_nobody_served_is_made_up_for_as_set() {
    let cases: [(&str, &[&str]); 4] = [
        ("once", &["13:00 skipped 0", "14:00 ok 1", "15:00 ok 1"]),
        ("skip", &["14:00 skipped 0", "15:00 ok 1"]),
        ("all", &["11:00 ok 1", "12:00 ok 1", "13:00 ok 1", "14:00 ok 1", "15:00 ok 1"]),
        ("all, missed_max: 2", &["12:00 skipped 0", "13:00 ok 1", "14:00 ok 1", "15:00 ok 1"]),
    ];
    for (missed, expected) in cases {
        let (runs, schedule) = (runs(), format!("{{cron: 0 * * * *, missed: {missed}}}"));
        serve(&runs, &schedule, "09:10", "10:30", &[]).await.expect("kept");
        serve(&runs, &schedule, "14:20", "15:30", &[]).await.expect("kept");
        let mut all = vec!["09:10 begun 0", "10:00 ok 1"];
        all.extend(expected);
        assert_eq!(history(&runs).await, all, "{missed}");
    }
}

#[tokio::test]
async fn a_run_that_takes_longer_than_its_period_is_never_joined_by_another() {
    let runs = runs();
    serve(&runs, "\"*/10 * * * *\"", "09:55", "11:05", &[(35, None)]).await.expect("kept");
    let expected = ["09:55 begun 0", "10:00 ok 1", "10:20 skipped 0", "10:30 ok 1"];
    assert_eq!(history(&runs).await[..4], expected, "10:10 and 10:20 passed meanwhile");
}

#[tokio::test]
async fn a_failed_run_is_tried_again_as_set() {
    let (external, config) = (Some(ErrorKind::External), Some(ErrorKind::Config));
    let schedule = "{cron: 0 * * * *, retries: 2, retry_after: 5m}";
    let cases: [(&[Script], &str); 4] = [
        (&[(0, external), (0, None)], "10:00 ok 2"),
        (&[(0, external), (0, external), (0, external), (0, external)], "10:00 failed 3"),
        (&[(0, config), (0, None)], "10:00 failed 1"),
        (&[(0, Some(ErrorKind::NotOwner)), (0, None)], "10:00 ok 2"),
    ];
    for (script, expected) in cases {
        let runs = runs();
        serve(&runs, schedule, "09:10", "10:50", script).await.expect("kept");
        assert_eq!(history(&runs).await[1], expected, "{script:?}");
    }
    let runs = runs();
    let defect = [(0, Some(ErrorKind::Bug))];
    let stopped = serve(&runs, schedule, "09:10", "12:00", &defect).await;
    assert_eq!(stopped.map_err(|error| error.kind()), Err(ErrorKind::Bug), "and nothing more");
    assert_eq!(history(&runs).await[1..], ["10:00 failed 1"]);
}

#[tokio::test]
async fn a_run_that_was_cut_short_is_taken_up_by_the_next_process() {
    let runs = runs();
    serve(&runs, "\"0 * * * *\"", "09:10", "10:30", &[(40, None)]).await.expect("kept");
    assert_eq!(history(&runs).await[1], "10:00 stopped 1");
    serve(&runs, "\"0 * * * *\"", "10:35", "10:50", &[]).await.expect("kept");
    assert_eq!(history(&runs).await[1..], ["10:00 ok 2"]);

    // A process that was killed leaves its claim.
    let newest = runs.newest(1).await.expect("runs").remove(0);
    let killed = Run { due: time("11:00"), outcome: RunOutcome::Running, ended: None, ..newest };
    assert!(runs.claim(&killed).await.expect("claimed"));
    let lives = [(0, Some(ErrorKind::NotOwner))];
    serve(&runs, "\"0 * * * *\"", "11:10", "11:20", &lives).await.expect("kept");
    assert_eq!(history(&runs).await[2], "11:00 running 2", "it lives and has the lease");
    serve(&runs, "\"0 * * * *\"", "11:30", "11:40", &[]).await.expect("kept");
    assert_eq!(history(&runs).await[2], "11:00 ok 3");
}

#[tokio::test]
async fn of_two_processes_one_runs_each_time() {
    let runs = runs();
    let one = serve(&runs, "\"0 * * * *\"", "09:10", "12:30", &[]);
    let other = serve(&runs, "\"0 * * * *\"", "09:10", "12:30", &[]);
    let (one, other) = tokio::join!(one, other);
    let expected = ["09:10 begun 0", "10:00 ok 1", "11:00 ok 1", "12:00 ok 1"];
    assert_eq!(history(&runs).await, expected);
    assert_eq!(one.expect("kept") + other.expect("kept"), 3, "three times, three runs");
}

/// Another process took a claim for one that was left, and was faster to get the lease.
#[tokio::test]
async fn a_run_that_another_process_took_up_is_no_failure_of_who_claimed_it() {
    let (runs, (stop, stopped)) = (runs(), watch::channel(false));
    let clock = Arc::new(Virtual { now: Mutex::new(time("09:10")), end: time("10:30"), stop });
    let taken = runs.clone();
    let start: Start = Arc::new(move || {
        let taken = taken.clone();
        Box::pin(async move {
            let claimed = taken.newest(1).await?.remove(0);
            let process = "another".to_owned();
            taken.note(&Run { process, outcome: RunOutcome::Ok, attempts: 1, ..claimed }).await?;
            Err(Error::new(ErrorKind::NotOwner, "it has the lease"))
        })
    });
    scheduled(&runs, "\"0 * * * *\"", (clock, stopped), start).keep().await.expect("kept");
    assert_eq!(history(&runs).await, ["09:10 begun 0", "10:00 ok 1"]);
}
