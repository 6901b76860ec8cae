//! What 100,000 splits cost of which few move: `cargo xtask bench --splits` runs it.
//!
//! Nothing here fails because something is slow: it prints figures and the bounds beside them. So
//! many epochs are made as `epochs=N` says; `splits=N` makes it a smaller one.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use connector_memory::Memory;
use connector_memory::store::store;
use contract::discovery::{ByListing, Differences, Discoverer, Listing, Moved};
use contract::source::{KnownSplit, ReadBatch, Rest, Source, Split, SplitReader, Until};
use contract::spec::{BuildContext, Connector};
use contract::{Error, Lineage, Position, Result};
use runtime::{Outcome, Progress, RunOptions, Summary};
use state::CheckpointStore;
use state::checkpoint::SEMANTICS;
use testkit::crash::Proof;
use testkit::section;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Splits that get rows all the time.
const MOVING: u32 = 200;
/// The epoch at which a checkpoint is measured first.
const EARLY: u64 = 10;
/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(3600);
/// Between two looks at what there is.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const MIB: f64 = 1_048_576.0;
const MEMORY_LIMIT_MIB: u32 = 256;

fn main() {
    let number = |name: &str, usual: u64| {
        let mut given = std::env::args().filter_map(|argument| {
            argument.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok()
        });
        given.next().unwrap_or(usual)
    };
    let splits = u32::try_from(number("splits", 100_000)).unwrap();
    let epochs = number("epochs", 1_000);
    println!("{splits} splits of `memory`, {MOVING} of them moving");
    drive(discovery(splits), 1);
    drive(run(splits, epochs), 2);
}

fn drive(work: impl Future<Output = ()>, threads: usize) {
    let mut tasks = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    tasks.worker_threads(threads).enable_all().build().unwrap().block_on(work);
}

fn tell(what: &str, figure: impl Display, bound: &str) {
    println!("{what:<62} {figure:>12}   {bound}");
}

/// What it costs to find out that nothing changed, in the task of the source.
async fn discovery(splits: u32) {
    let source = memory(splits);
    let all = source.discover(None).look(Moved::new()).await.unwrap().found;
    let known = all.iter().map(|split| KnownSplit { split: split.clone(), position: None });
    let known: Vec<_> = known.collect();
    let mut listed = ByListing::new(Listing::of(all), Some(known.clone()));
    listed.look(Moved::new()).await.unwrap();
    let (spent, same) = spent_by(listed.look(Moved::new())).await;
    assert!(same.found.is_empty() && same.gone.is_empty());
    tell("a full listing of unchanged splits, processor time", spent, "at most 150 ms");
    let mut differences = source.discover(Some(known));
    let first = differences.look(Moved::new()).await.unwrap();
    assert_eq!(first.found.len(), splits as usize);
    let (spent, none) = spent_by(differences.look(Moved::new())).await;
    assert!(none.found.is_empty());
    tell("a difference of none, processor time", spent, "at most 1 ms");
}

/// The processor time that this thread takes for something.
async fn spent_by(work: impl Future<Output = Result<Differences>>) -> (String, Differences) {
    let thread = || {
        // Who yields has the scheduler bring up to date what it counts of a thread.
        std::thread::yield_now();
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    };
    let before = thread();
    let done = work.await.unwrap();
    let spent = thread() - before;
    assert!(!spent.is_zero(), "whatever is done takes time");
    (format!("{:.4} ms", spent.as_secs_f64() * 1e3), done)
}

fn memory(splits: u32) -> Arc<dyn Source> {
    let settings = section(&format!("{{ rows_max: {}, splits: {splits} }}", i64::MAX));
    let ctx = BuildContext::new("moving", "numbers", Path::new("."));
    Memory.source(&settings, &ctx).unwrap()
}

/// Reads all splits once, then those that move, epoch after epoch; then starts anew.
async fn run(splits: u32, epochs: u64) {
    let data = tempfile::tempdir().unwrap();
    let proof = proof(data.path(), splits);
    let (rows, _) = watch::channel(1);
    let mut taken = Taken::default();
    let mut following = Following::start(&proof, &rows);
    let begun = Instant::now();
    taken.wait_for(splits as usize).await;
    let took = format!("{:.1} s", begun.elapsed().as_secs_f64());
    tell("until all are read once", took, "");
    for round in 1..=epochs {
        rows.send_replace(1 + i64::try_from(round).unwrap());
        taken.wait_for(MOVING as usize).await;
        if round == EARLY || round == epochs {
            let what = format!("the largest checkpoint, {round} epochs with moves later");
            tell(&what, kib(newest_bytes(data.path())), &size_rule());
        }
    }
    assert_eq!(following.stop().await.outcome, Outcome::Stopped);
    let folder = format!("{:.1} MiB", folder_bytes(data.path()) as f64 / MIB);
    tell("the data folder", folder, "at most 120 MB");
    rows.send_modify(|rows| *rows += 1);
    let begun = Instant::now();
    following = Following::start(&proof, &rows);
    taken.wait_for(MOVING as usize).await;
    let took = format!("{:.2} s", begun.elapsed().as_secs_f64());
    tell("from a start to the first new rows", took, "at most 2 s");
    following.stop().await;
    let bound = format!("limit + 150 = {} MiB", MEMORY_LIMIT_MIB + 150);
    tell("the most that was resident", format!("{:.0} MiB", resident_mib()), &bound);
}

/// 64 KiB, 200 B for each split that moved and each sink that got rows of it, 32 B a cut.
fn size_rule() -> String {
    let moving = u64::from(MOVING);
    format!("at most {}", kib(64 * 1024 + moving * (200 + 200 + 32)))
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

/// The largest checkpoint of those that lie there since a round ago.
fn newest_bytes(data: &Path) -> u64 {
    let folder = data.join("checkpoints/moving/main");
    let entries = std::fs::read_dir(folder).unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let number = entry.file_name().to_str()?.strip_prefix("epoch-")?.parse::<u64>().ok()?;
        Some((number, entry.metadata().ok()?.len()))
    });
    let entries: Vec<_> = entries.collect();
    let newest = entries.iter().map(|(number, _)| *number).max().unwrap();
    let late = entries.iter().filter(|(number, _)| number + 3 > newest);
    late.map(|(_, bytes)| *bytes).max().unwrap()
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().filter_map(|entry| {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() { folder_bytes(&entry.path()) } else { metadata.len() })
    });
    entries.sum()
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn proof(data: &Path, splits: u32) -> Proof {
    let yaml = format!(
        "name: moving
epoch: {{ interval: 20ms }}
memory: {{ limit: {MEMORY_LIMIT_MIB}MiB }}
sources:
  numbers: {{ type: memory, rows_max: {}, splits: {splits} }}
sinks:
  seen: {{ type: memory, input: numbers, store: seen, kind: none }}
",
        i64::MAX
    );
    let ctx = BuildContext::new("moving", "dead_letters", Path::new("."));
    Proof {
        yaml,
        transforms: &[],
        make_step: |_, kind, _, _| Err(Error::bug(format!("there is no step {kind}"))),
        connectors: &[&Memory],
        data: data.to_owned(),
        checkpoints: Some(CheckpointStore::local(&data.join("checkpoints")).unwrap()),
        adopt: false,
        dead_letters: Memory.sink(&section("{ store: dead, kind: none }"), &ctx).unwrap(),
        semantics: SEMANTICS,
    }
}

/// Takes rows out of the sink.
#[derive(Default)]
struct Taken(usize);

impl Taken {
    /// Waits until so many came.
    async fn wait_for(&mut self, rows: usize) {
        let begun = Instant::now();
        while self.0 < rows {
            assert!(begun.elapsed() < LIMIT, "{} of {rows} rows came", self.0);
            tokio::time::sleep(LOOK_EVERY).await;
            let came = std::mem::take(&mut store("seen").content().visible);
            self.0 += came.iter().map(|batch| batch.num_rows()).sum::<usize>();
        }
        self.0 -= rows;
    }
}

/// A run that follows.
struct Following {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Summary>>,
}

impl Following {
    fn start(proof: &Proof, rows: &watch::Sender<i64>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut pipeline = proof.pipeline().unwrap();
        let inner = pipeline.sources[0].source.clone();
        pipeline.sources[0].source = Arc::new(Growing { inner, rows: rows.subscribe() });
        let options = RunOptions {
            checkpoints: proof.checkpoints.clone().unwrap(),
            lineage: Lineage::main(),
            not_before_us: 0,
            rebuild: Arc::new(|_| Err(Error::bug("the file did not change"))),
            until_end: false,
            adopt: false,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop: stopped,
        };
        let run = runtime::run(pipeline, options, Arc::new(Progress::default()));
        Self { stop, task: tokio::spawn(run) }
    }

    async fn stop(self) -> Summary {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap()
    }
}

/// `memory` whose first splits have as many rows as are said, and the others one each.
struct Growing {
    inner: Arc<dyn Source>,
    rows: watch::Receiver<i64>,
}

fn is_moving(split: &Split) -> bool {
    split.id.as_str().parse::<u32>().is_ok_and(|number| number < MOVING)
}

#[async_trait]
impl Source for Growing {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let (inner, rows) = (self.inner.discover(known), self.rows.clone());
        Box::new(Grown { inner, rows, moving: Vec::new() })
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
        let rows = is_moving(split).then(|| self.rows.clone());
        let (inner, split) = (self.inner.clone(), split.clone());
        Ok(Box::new(Grower { inner, split, rows, next: from.cloned() }))
    }
}

/// Says which splits grew.
struct Grown {
    inner: Box<dyn Discoverer>,
    rows: watch::Receiver<i64>,
    moving: Vec<Split>,
}

#[async_trait]
impl Discoverer for Grown {
    async fn look(&mut self, moved: Moved) -> Result<Differences> {
        let mut said = self.inner.look(moved).await?;
        let rows = *self.rows.borrow();
        for split in &mut said.found {
            split.descriptor = if is_moving(split) { rows.into() } else { 1.into() };
        }
        self.moving.extend(said.found.iter().filter(|split| is_moving(split)).cloned());
        for split in self.moving.iter_mut().filter(|split| split.descriptor != rows) {
            split.descriptor = rows.into();
            said.found.push(split.clone());
        }
        Ok(said)
    }
}

/// Reads a split that grows, or one of a single row.
struct Grower {
    inner: Arc<dyn Source>,
    split: Split,
    rows: Option<watch::Receiver<i64>>,
    next: Option<Position>,
}

impl Grower {
    fn end(&self) -> i64 {
        self.rows.as_ref().map_or(1, |rows| *rows.borrow())
    }

    fn is_at_end(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.at >= self.end())
    }
}

#[async_trait]
impl SplitReader for Grower {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        while self.is_at_end() {
            let has_changed = match &mut self.rows {
                Some(rows) => rows.changed().await.is_ok(),
                None => false,
            };
            if !has_changed {
                std::future::pending::<()>().await;
            }
        }
        let until = Until::Position(Position::new(self.end()));
        let mut reader = self.inner.open(&self.split, self.next.as_ref(), until).await?;
        let batch = reader.next_batch().await?;
        self.next = batch.as_ref().map(|batch| batch.next.clone()).or(self.next.take());
        Ok(batch)
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }

    fn rest(&self) -> Rest {
        if self.is_at_end() { Rest::UntilChanged } else { Rest::None }
    }
}
