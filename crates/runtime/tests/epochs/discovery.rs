//! Looking for splits: it is nobody's business but that of the splits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Known, Listing, list};
use contract::failpoint::{self, Action};
use contract::source::{KnownSplit, Source, Split, SplitReader, Until};
use contract::{Error, Position, Result, SplitId};
use runtime::{Outcome, Pipeline};

use super::cluster::{Following, until};
use super::{Fixture, Proof, ROWS, SPLITS, store};

/// Splits that are open side by side: more than stand in a checkpoint.
const OPEN: u64 = 999;

/// A source that lists its splits as a test wants.
#[derive(Clone)]
struct Lists {
    inner: Arc<dyn Source>,
    how: Arc<How>,
}

#[derive(Default)]
struct How {
    /// How often it was asked.
    asked: AtomicU64,
    /// Whether it answers.
    is_silent: AtomicBool,
    /// Whether it answers with an error every other time.
    fails: AtomicBool,
    /// How many of its splits it has, from the first.
    splits: AtomicU64,
    /// What it was last told of the position of its first split.
    position: AtomicU64,
}

impl Lists {
    fn befall(pipeline: &mut Pipeline, how: How) -> Arc<How> {
        let how = Arc::new(how);
        let inner = pipeline.sources[0].source.clone();
        pipeline.sources[0].source = Arc::new(Self { inner, how: how.clone() });
        how
    }
}

#[async_trait]
impl contract::discovery::Lists for Lists {
    async fn list(&self, known: Option<&Known>) -> Result<Listing> {
        let asked = self.how.asked.fetch_add(1, Ordering::Relaxed);
        if self.how.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.how.fails.load(Ordering::Relaxed) && asked % 2 == 1 {
            return Err(Error::transient(format!("no answer to question {asked}")));
        }
        let first = known
            .into_iter()
            .flat_map(|known| known.iter())
            .find(|known| known.split.id.as_str() == "0");
        let position = first.and_then(|first| first.position.as_ref());
        let position = position.map_or(0, |position| position.at.unsigned_abs());
        self.how.position.store(position, Ordering::Relaxed);
        let mut found = list(self.inner.as_ref(), known.map(|known| known.as_slice())).await?;
        found.splits.truncate(self.how.splits.load(Ordering::Relaxed) as usize);
        Ok(found)
    }
}

#[async_trait]
impl Source for Lists {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(self.clone(), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        self.inner.open(split, from, until).await
    }
}

/// A pipeline without a step that keeps a state, in epochs of a moment.
fn quick() -> Fixture {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("input: first", "input: numbers");
    let yaml = yaml.replace("interval: 1h, bytes_max: 2KiB", "interval: 20ms");
    let without_first = yaml.lines().filter(|line| !line.contains("first:"));
    Fixture { yaml: without_first.collect::<Vec<_>>().join("\n"), ..fixture }
}

fn drive<T>(test: impl Future<Output = T>) -> T {
    let mut tasks = tokio::runtime::Builder::new_multi_thread();
    tasks.worker_threads(2).enable_all().build().unwrap().block_on(test)
}

fn rows_of(fixture: &Fixture, split: &str) -> usize {
    let batches = store(&format!("{}-staged", fixture.name)).rows();
    let origins = batches.iter().flat_map(|batch| super::origins(batch).unwrap());
    origins.filter(|(of, _, _)| of == split).count()
}

fn wanted() -> usize {
    (0..ROWS).filter(|number| number % 10 != 9).count()
}

#[test]
fn who_is_told_to_stop_waits_for_no_first_listing() {
    let _alone = Proof::alone();
    let fixture = quick();
    drive(async {
        let mut asked = None;
        let following = Following::start(&fixture.proof(), |pipeline| {
            asked = Some(Lists::befall(pipeline, How { is_silent: true.into(), ..How::default() }));
        });
        let asked = asked.unwrap();
        until("it was asked", async || asked.asked.load(Ordering::Relaxed) > 0).await;
        let summary = following.stop().await.unwrap();
        assert_eq!((summary.outcome, summary.read), (Outcome::Stopped, 0));
    });
}

#[test]
fn splits_that_come_later_are_read_though_every_other_listing_fails() {
    let _alone = Proof::alone();
    let fixture = quick();
    drive(async {
        let mut how = None;
        let following = Following::start(&fixture.proof(), |pipeline| {
            let fails = How { fails: true.into(), splits: 1.into(), ..How::default() };
            how = Some(Lists::befall(pipeline, fails));
        });
        let how = how.unwrap();
        until("the first is read", async || rows_of(&fixture, "0") == wanted()).await;
        assert_eq!(rows_of(&fixture, "1"), 0);
        until("the source heard of it", async || {
            how.position.load(Ordering::Relaxed) == ROWS.unsigned_abs()
        })
        .await;
        how.splits.store(3, Ordering::Relaxed);
        until("the others are read", async || {
            ["0", "1", "2"].iter().all(|split| rows_of(&fixture, split) == wanted())
        })
        .await;
        let summary = following.stop().await.unwrap();
        assert_eq!(summary.read, 3 * ROWS.unsigned_abs());
    });
    fixture.check();
}

#[test]
fn a_split_that_an_attempt_found_and_dropped_is_found_by_the_next_one() {
    let _alone = Proof::alone();
    let fixture = quick();
    drive(async {
        let mut how = None;
        let following = Following::start(&fixture.proof(), |pipeline| {
            how = Some(Lists::befall(pipeline, How { splits: 1.into(), ..How::default() }));
        });
        let how = how.unwrap();
        until("the first is read", async || rows_of(&fixture, "0") == wanted()).await;
        failpoint::arm("decide.before", 1, Action::Fail);
        how.splits.store(3, Ordering::Relaxed);
        until("the others are read", async || {
            ["1", "2"].iter().all(|split| rows_of(&fixture, split) == wanted())
        })
        .await;
        assert_eq!(failpoint::disarm(), None, "the attempt that found them was dropped");
        let summary = following.stop().await.unwrap();
        assert_eq!(summary.read, 3 * ROWS.unsigned_abs());
    });
    fixture.check();
}

#[test]
fn an_epoch_writes_the_split_that_moved_and_not_all_that_are_open() {
    let _alone = Proof::alone();
    let fixture = quick();
    let splits = format!("splits: {}", OPEN + 1);
    let yaml = fixture.yaml.replace(&format!("splits: {SPLITS}"), &splits);
    let yaml = yaml.replace(&format!("rows_max: {ROWS}, batch_rows: 50"), "rows_max: 2");
    let fixture = Fixture { yaml, ..fixture };
    let newest = async || {
        let newest = fixture.history().newest().await.unwrap();
        newest.map(|newest| newest.checkpoint).unwrap_or_default()
    };
    let has_read = async |splits: u64| {
        let newest = newest().await;
        let at = newest.roster.states().map(|state| state.known.position.as_ref());
        at.filter(|at| at.is_some_and(|at| at.at == 2)).count() as u64 == splits
    };
    drive(async {
        let mut how = None;
        let following = Following::start(&fixture.proof(), |pipeline| {
            how = Some(Lists::befall(pipeline, How { splits: OPEN.into(), ..How::default() }));
        });
        until("all but one are read", async || has_read(OPEN).await).await;
        let before = newest().await;
        assert!(!before.files.layers.is_empty(), "they stand in a file");
        how.unwrap().splits.store(OPEN + 1, Ordering::Relaxed);
        until("the last one is read", async || has_read(OPEN + 1).await).await;
        let after = newest().await;
        following.stop().await.unwrap();
        assert_eq!(after.files, before.files, "no other file was needed");
        let last = after.roster.number("numbers", &SplitId::new(OPEN.to_string()));
        let known: Vec<_> = before.roster.changes().map(|(number, _)| number).collect();
        let moved = after.roster.changes().map(|(number, _)| number);
        let moved: Vec<_> = moved.filter(|number| !known.contains(number)).collect();
        assert_eq!(moved, last.into_iter().collect::<Vec<_>>());
    });
}
