//! How long rows of splits take while others fail: no longer than where nothing does.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{Differences, Discoverer, Moved};
use contract::source::{KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::{Error, Position, Result};
use tokio::sync::watch;

use super::cluster::Following;
use super::isolation::drive;
use super::{Fixture, Proof, origins, store};

/// Splits of which each gets a row at each tick.
const SPLITS: usize = 50;
/// Ticks, of which a tenth is tried unless all are to be.
const TICKS: usize = 2_000;
const TICK: Duration = Duration::from_millis(20);
/// One request of so many fails.
const REQUESTS_PER_FAILURE: u64 = 1_000;
/// The split that always does.
const BROKEN: &str = "0";
/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

/// What fails, and what came of it.
#[derive(Default)]
struct Faults {
    are_on: bool,
    looks: AtomicU64,
    requests: AtomicU64,
    failed: Mutex<BTreeSet<String>>,
    opened: Mutex<HashMap<String, u32>>,
}

/// `memory` whose splits have as many rows as are said.
struct Ticking {
    inner: Arc<dyn Source>,
    rows: watch::Receiver<i64>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Source for Ticking {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let (inner, faults) = (self.inner.discover(known), self.faults.clone());
        Box::new(Looks { inner, faults, moved: Moved::new() })
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        if until != Until::Forever {
            return self.inner.open(split, from, until).await;
        }
        let id = split.id.as_str();
        *self.faults.opened.lock().unwrap().entry(id.to_owned()).or_default() += 1;
        if self.faults.are_on && id == BROKEN {
            return Err(Error::transient("it never answers"));
        }
        let (inner, rows, faults) = (self.inner.clone(), self.rows.clone(), self.faults.clone());
        Ok(Box::new(Ticker { inner, split: split.clone(), rows, next: from.cloned(), faults }))
    }
}

/// Every other listing fails.
struct Looks {
    inner: Box<dyn Discoverer>,
    faults: Arc<Faults>,
    moved: Moved,
}

#[async_trait]
impl Discoverer for Looks {
    async fn look(&mut self, moved: Moved) -> Result<Differences> {
        self.moved.extend(moved);
        let asked = self.faults.looks.fetch_add(1, Ordering::Relaxed);
        if self.faults.are_on && asked % 2 == 1 {
            return Err(Error::transient(format!("no answer to question {asked}")));
        }
        self.inner.look(std::mem::take(&mut self.moved)).await
    }
}

struct Ticker {
    inner: Arc<dyn Source>,
    split: Split,
    rows: watch::Receiver<i64>,
    next: Option<Position>,
    faults: Arc<Faults>,
}

#[async_trait]
impl SplitReader for Ticker {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        let at = self.next.as_ref().map_or(0, |next| next.at);
        let waited = self.rows.wait_for(|rows| *rows > at).await.map(|rows| *rows);
        let Ok(end) = waited else { return std::future::pending().await };
        let request = self.faults.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if self.faults.are_on && request.is_multiple_of(REQUESTS_PER_FAILURE) {
            self.faults.failed.lock().unwrap().insert(self.split.id.to_string());
            return Err(Error::transient(format!("no answer to request {request}")));
        }
        let until = Until::Position(Position::new(end));
        let mut reader = self.inner.open(&self.split, self.next.as_ref(), until).await?;
        let batch = reader.next_batch().await?;
        self.next = batch.as_ref().map(|batch| batch.next.clone()).or(self.next.take());
        Ok(batch)
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }
}

/// When each row came, by split and position.
type Came = BTreeMap<(String, i64), Instant>;

fn take(store_name: &str, came: &mut Came) {
    let visible = std::mem::take(&mut store(store_name).content().visible);
    for (split, position, _) in visible.iter().flat_map(|batch| origins(batch).unwrap()) {
        let before = came.insert((split.to_string(), position), Instant::now());
        assert!(before.is_none(), "{split}@{position} came twice");
    }
}

/// Takes rows until so many came.
async fn take_all(store_name: &str, came: &mut Came, rows: usize) {
    let begun = Instant::now();
    while came.len() < rows {
        assert!(begun.elapsed() < LIMIT, "{} rows of {rows}", came.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
        take(store_name, came);
    }
}

/// How long the rows took of splits that never failed, in order.
async fn latencies(are_on: bool, ticks: usize) -> Vec<Duration> {
    let fixture = Fixture::new();
    let (name, rows_max) = (&fixture.name, i64::MAX);
    let yaml = format!(
        "name: {name}\nepoch: {{ interval: 20ms }}\nsources:\n  numbers: {{ type: memory, rows_max: \
         {rows_max}, splits: {SPLITS} }}\nsinks:\n  seen: {{ type: memory, input: numbers, store: \
         {name}-seen, kind: none }}\n"
    );
    let store_name = format!("{name}-seen");
    let proof = Proof { yaml, ..fixture.proof() };
    let faults = Arc::new(Faults { are_on, ..Faults::default() });
    let (rows, received) = watch::channel(0);
    let following = Following::start(&proof, |pipeline| {
        let inner = pipeline.sources[0].source.clone();
        let (rows, faults) = (received, faults.clone());
        pipeline.sources[0].source = Arc::new(Ticking { inner, rows, faults });
    });
    let (mut sent, mut came) = (Vec::new(), Came::new());
    let splits = if are_on { SPLITS - 1 } else { SPLITS };
    for tick in 0..ticks {
        rows.send_replace(tick as i64 + 1);
        sent.push(Instant::now());
        while sent[tick].elapsed() < TICK {
            // The load that is to be carried, not something to wait for.
            tokio::time::sleep(Duration::from_millis(1)).await;
            take(&store_name, &mut came);
        }
        if tick == 0 {
            // A start waits for its first listing.
            take_all(&store_name, &mut came, splits).await;
        }
    }
    take_all(&store_name, &mut came, splits * ticks).await;
    following.stop().await.unwrap();
    let failed = faults.failed.lock().unwrap().clone();
    let is_well = |split: &str| split != BROKEN && !failed.contains(split);
    let opened = faults.opened.lock().unwrap().clone();
    let again = opened.iter().filter(|(split, opened)| is_well(split) && **opened > 1);
    assert_eq!(again.count(), 0, "an attempt was dropped: {opened:?}");
    let of_others =
        came.into_iter().filter(|((split, position), _)| is_well(split) && *position > 0);
    let took = of_others.map(|((_, position), at)| at - sent[position as usize]);
    let mut took: Vec<_> = took.collect();
    took.sort_unstable();
    took
}

#[test]
fn what_fails_keeps_no_other_row_back_at_a_tenth() {
    let _alone = Proof::alone();
    let is_whole = std::env::var_os("LOGMILL_WHOLE").is_some();
    let ticks = if is_whole { TICKS } else { TICKS / 10 };
    let p99 = |took: Vec<Duration>| took[(took.len() - 1) * 99 / 100];
    let without = p99(drive(latencies(false, ticks)));
    let with = p99(drive(latencies(true, ticks)));
    println!(
        "{SPLITS} splits, {ticks} rows each: p99 {without:.1?}; where one split always fails, every \
         other listing and one request of {REQUESTS_PER_FAILURE}: {with:.1?}, no attempt dropped"
    );
    // Where other tests run beside it, only that all comes.
    let most = without.mul_f64(1.2) + Duration::from_millis(50);
    assert!(!is_whole || with <= most, "p99 {with:?}, without failures {without:?}");
}
