//! Splits that fail: the others are read, and nothing is lost or doubled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::Discoverer;
use contract::failpoint::{self, Action};
use contract::source::{KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::{Error, Lineage, Position, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use runtime::{Outcome, Pipeline, Progress, RunOptions, Summary, TroubleState};
use tokio::sync::watch;

use super::cluster::{Following, until};
use super::{Fixture, Proof, ROWS, SPLITS, Start, store};

/// Seeds of chance, each a run of its own, all at once.
const SEEDS: u64 = 1_000;
/// How many of these run side by side, and how many are tried unless all are to be.
const SEEDS_AT_ONCE: u64 = 50;
/// The most that one split fails in a run of chance.
const FAILURES_MAX: u32 = 2;

/// Decides for each reader whether it fails, and after how many batches.
type Fate = Box<dyn FnMut(&str) -> Option<(u64, Error)> + Send>;

/// A source whose readers fail on purpose.
#[derive(Clone)]
struct Fails {
    inner: Arc<dyn Source>,
    fate: Arc<Mutex<Fate>>,
    opened: Arc<Mutex<HashMap<String, u32>>>,
}

impl Fails {
    /// Makes the source of a pipeline one.
    fn befall(
        pipeline: &mut Pipeline,
        fate: impl FnMut(&str) -> Option<(u64, Error)> + Send + 'static,
    ) -> Self {
        let inner = pipeline.sources[0].source.clone();
        let fate: Fate = Box::new(fate);
        let fails = Self { inner, fate: Arc::new(Mutex::new(fate)), opened: Arc::default() };
        pipeline.sources[0].source = Arc::new(fails.clone());
        fails
    }

    fn opened(&self, split: &str) -> u32 {
        self.opened.lock().unwrap().get(split).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Source for Fails {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        self.inner.discover(known)
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        // A recorded range is read again, for refused rows as for a recovery.
        if let Until::Position(_) = until {
            return self.inner.open(split, from, until).await;
        }
        let id = split.id.as_str();
        *self.opened.lock().unwrap().entry(id.to_owned()).or_default() += 1;
        let inner = self.inner.open(split, from, until).await?;
        match (self.fate.lock().unwrap())(id) {
            None => Ok(inner),
            Some((0, error)) => Err(error),
            Some((batches, error)) => Ok(Box::new(Failing { inner, left: batches - 1, error })),
        }
    }
}

struct Failing {
    inner: Box<dyn SplitReader>,
    left: u64,
    error: Error,
}

#[async_trait]
impl SplitReader for Failing {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.left == 0 {
            let again = Error::new(self.error.kind(), self.error.to_string());
            return Err(if self.error.retry() { again.retryable() } else { again });
        }
        let batch = self.inner.next_batch().await?;
        self.left -= 1;
        Ok(batch)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.inner.acknowledge(position).await
    }
}

impl Fixture {
    /// Runs to the end a pipeline that `edit` changed.
    pub async fn run_edited(&self, edit: impl FnOnce(&mut Pipeline)) -> Result<Summary> {
        let mut pipeline = self.proof().pipeline()?;
        edit(&mut pipeline);
        let (_stop, stopped) = watch::channel(false);
        let options = RunOptions {
            checkpoints: self.checkpoints.clone(),
            lineage: Lineage::main(),
            not_before_us: 0,
            rebuild: Arc::new(|_| Err(Error::bug("the file did not change"))),
            until_end: true,
            adopt: false,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop: stopped,
        };
        runtime::run(pipeline, options, Arc::new(Progress::default())).await
    }

    /// Rows of a split in the sink that takes what no step left out.
    fn rows_of(&self, split: &str) -> usize {
        let batches = store(&format!("{}-staged", self.name)).rows();
        let origins = batches.iter().flat_map(|batch| super::origins(batch).unwrap());
        origins.filter(|(of, _, _)| of == split).count()
    }
}

/// Without a step that would hide a record that comes twice.
fn stateless(fixture: Fixture) -> Fixture {
    let yaml = fixture.yaml.replace("input: first", "input: numbers");
    let without_first = yaml.lines().filter(|line| !line.contains("first:"));
    Fixture { yaml: without_first.collect::<Vec<_>>().join("\n"), ..fixture }
}

fn chance(seed: u64) -> impl FnMut(&str) -> Option<(u64, Error)> + Send {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut failures: HashMap<String, u32> = HashMap::new();
    move |split| {
        let failures = failures.entry(split.to_owned()).or_default();
        if *failures == FAILURES_MAX || random.random_bool(0.3) {
            return None;
        }
        *failures += 1;
        Some((random.random_range(0..7), Error::transient("no answer")))
    }
}

pub fn drive<T>(test: impl Future<Output = T>) -> T {
    let mut tasks = tokio::runtime::Builder::new_multi_thread();
    tasks.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

fn wanted() -> usize {
    (0..ROWS).filter(|number| number % 10 != 9).count()
}

#[test]
fn a_reader_that_fails_anywhere_loses_nothing_and_doubles_nothing_at_a_tenth() {
    let _alone = Proof::alone();
    let is_whole = std::env::var_os("LOGMILL_WHOLE").is_some();
    let seeds = if is_whole { SEEDS } else { SEEDS / 10 };
    for first in (0..seeds).step_by(SEEDS_AT_ONCE as usize) {
        fail_anywhere(first..first + SEEDS_AT_ONCE);
    }
    println!("readers failed after any batch, {seeds} seeds: each row once");
}

fn fail_anywhere(seeds: std::ops::Range<u64>) {
    let fixture = |seed| if seed % 2 == 0 { Fixture::new() } else { stateless(Fixture::new()) };
    let fixtures: Vec<_> = seeds.clone().map(fixture).collect();
    let runs = fixtures.iter().zip(seeds.clone()).map(|(fixture, seed)| {
        fixture.run_edited(move |pipeline| drop(Fails::befall(pipeline, chance(seed))))
    });
    let summaries = drive(futures::future::join_all(runs));
    for ((fixture, summary), seed) in fixtures.iter().zip(summaries).zip(seeds) {
        let summary: Summary = summary.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert!(summary.check_complete().is_ok(), "seed {seed}: {:?}", summary.unread);
        assert_eq!(summary.read, (ROWS * SPLITS) as u64, "seed {seed}");
        fixture.check();
    }
}

#[test]
fn a_crash_while_readers_fail_loses_nothing_and_doubles_nothing() {
    let _alone = Proof::alone();
    let points = ["flow.batch", "barrier.paused", "prepare.done", "decide.after", "publish.done"];
    for (point, seed) in points.into_iter().zip(1000..) {
        let fixture = stateless(Fixture::new());
        failpoint::arm(point, 2, Action::Halt);
        drive(async {
            let edit = move |pipeline: &mut Pipeline| drop(Fails::befall(pipeline, chance(seed)));
            tokio::select! {
                ended = fixture.run_edited(edit) => panic!("{point} is passed: {ended:?}"),
                () = failpoint::halted() => {}
            }
        });
        failpoint::disarm();
        assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
        fixture.check();
    }
}

#[test]
fn a_broken_split_is_named_in_the_end_and_the_others_are_complete() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let broken = |split: &str| (split == "1").then(|| (3, Error::external("it is damaged")));
    let summary =
        drive(fixture.run_edited(|pipeline| drop(Fails::befall(pipeline, broken)))).unwrap();
    assert_eq!(summary.outcome, Outcome::Ended);
    assert!(summary.check_complete().is_err());
    let unread: Vec<_> = summary.unread.iter().map(|one| (one.split.as_str(), one.state)).collect();
    assert_eq!(unread, [("1", TroubleState::Broken)]);
    assert_eq!((fixture.rows_of("0"), fixture.rows_of("2")), (wanted(), wanted()));
    // Two batches of 50 came before the damage.
    assert_eq!(fixture.rows_of("1"), 90);
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    assert!(summary.check_complete().is_ok());
    assert_eq!(summary.read, (ROWS - 100) as u64, "it goes on where the damage began");
    fixture.check();
}

#[test]
fn a_split_that_fails_for_ever_drops_no_attempt() {
    let _alone = Proof::alone();
    let fixture = stateless(Fixture::new());
    let yaml = fixture.yaml.replace("interval: 1h, bytes_max: 2KiB", "interval: 20ms");
    let fixture = Fixture { yaml, ..fixture };
    drive(async {
        let mut source = None;
        let following = Following::start(&fixture.proof(), |pipeline| {
            let fate = |split: &str| (split == "1").then(|| (1, Error::transient("no answer")));
            source = Some(Fails::befall(pipeline, fate));
        });
        let source = source.unwrap();
        until("it was tried three times, and the others are read", async || {
            let others = ["0", "2"].iter().all(|split| fixture.rows_of(split) == wanted());
            others && source.opened("1") >= 3
        })
        .await;
        assert_eq!((source.opened("0"), source.opened("2")), (1, 1), "one attempt read them");
        let summary = following.stop().await.unwrap();
        assert_eq!(summary.unread.len(), 1);
        assert_eq!(summary.unread[0].state, TroubleState::Failed);
        assert_eq!(fixture.rows_of("1"), 0);
    });
    assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
    fixture.check();
}

#[test]
fn a_split_that_fails_too_long_counts_as_broken_for_a_run_with_an_end() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let yaml = format!("{}retry: {{ for: 1s }}\n", fixture.yaml);
    let fixture = Fixture { yaml, ..fixture };
    let fate = |split: &str| (split == "0").then(|| (0, Error::transient("no answer")));
    let summary =
        drive(fixture.run_edited(|pipeline| drop(Fails::befall(pipeline, fate)))).unwrap();
    assert_eq!(summary.unread[0].state, TroubleState::Broken);
    assert_eq!((fixture.rows_of("0"), fixture.rows_of("1")), (0, wanted()));
}

#[test]
fn where_the_file_says_stop_a_broken_split_stops_the_run() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let yaml = format!("{}on_split_error: stop\n", fixture.yaml);
    let fixture = Fixture { yaml, ..fixture };
    let fate = |split: &str| (split == "1").then(|| (3, Error::external("it is damaged")));
    let ended = drive(fixture.run_edited(|pipeline| drop(Fails::befall(pipeline, fate))));
    assert!(ended.unwrap_err().chain().contains("it is damaged"));
}
