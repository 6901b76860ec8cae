//! Who counts: the counters of one running pipeline, made once and used by its tasks.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use contract::source::{ReadBatch, Split};
use contract::{Error, Lineage, SplitId};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use state::Checkpoint;
use state::ledger::Counts;

use super::catalog as name;
use super::splits::Splits;
use crate::flow::{Late, is_gone};
use crate::graph::{DEAD_LETTERS, Pipeline};
use crate::memory::{Memory, Portion};
use crate::reader_task::{ReaderHandle, ReaderReport};
use crate::troubles::Troubles;

/// The node of failures that arose in no source, step or sink.
const ITSELF: &str = "pipeline";

/// What an epoch was seen to do, beside what its checkpoint records.
#[derive(Debug)]
pub struct Observed {
    /// When it began.
    pub begun: Instant,
    /// When its batches were read.
    pub read_at: Vec<Instant>,
    /// Records refused, by source or step.
    pub refused: BTreeMap<Arc<str>, u64>,
    /// What came too late, by number of step.
    pub late: BTreeMap<usize, Late>,
}

/// The counters of a running pipeline.
pub struct Instruments {
    pipeline: String,
    sources: Vec<SourceCounters>,
    sinks: Vec<SinkCounters>,
    /// By number of step; those with an event time alone.
    steps: BTreeMap<usize, StepCounters>,
    refusers: HashMap<String, Counter>,
    failures: HashMap<String, Counter>,
    splits: Splits,
    processed: Counter,
    errors: Counter,
    latency: Histogram,
    epochs: Counter,
    epoch_seconds: Histogram,
    checkpoint_seconds: Histogram,
    recoveries: Counter,
    retries: Counter,
    lease_losses: Counter,
    lineages: Gauge,
    budget_used: Gauge,
    memory_held: [(Portion, Gauge); Portion::ALL.len()],
    /// When each lineage last was through a barrier, in seconds since 1970.
    barriers: Mutex<HashMap<Lineage, f64>>,
}

struct SourceCounters {
    name: String,
    read_records: Counter,
    read_bytes: Counter,
    skipped_bytes: Counter,
    records: Counter,
    failed_splits: Gauge,
    broken_splits: Gauge,
    waiting_splits: Gauge,
    splits_opened: Counter,
    split_failures: Counter,
}

struct StepCounters {
    name: String,
    open_windows: Gauge,
    open_records: Gauge,
    late_records: Counter,
    missed_windows: Counter,
}

struct SinkCounters {
    name: String,
    ledger: Vec<Counter>,
    write: Histogram,
    prepare: Histogram,
    commit: Histogram,
}

impl Instruments {
    /// The counters of a pipeline, all of them at zero if they are new.
    pub fn new(pipeline: &Pipeline, memory: &Memory) -> Arc<Self> {
        let own = || pipeline.name.clone();
        let settings = &pipeline.settings;
        gauge!(name::EPOCH_INTERVAL, "pipeline" => own()).set(settings.epoch_interval);
        gauge!(name::MEMORY_LIMIT, "pipeline" => own()).set(settings.memory_limit as f64);
        gauge!(name::BUDGET_LIMIT, "pipeline" => own()).set(memory.budget.limit() as f64);
        for portion in Portion::ALL {
            let labels = [("pipeline", own()), ("share", portion.name().to_owned())];
            gauge!(name::MEMORY_SHARE, &labels).set(memory.share(portion) as f64);
        }
        Arc::new(Self {
            sources: sources(pipeline),
            sinks: sinks(pipeline),
            steps: steps(pipeline),
            refusers: refusers(pipeline),
            failures: failures(pipeline),
            splits: Splits::new(&pipeline.name),
            processed: counter!(name::PROCESSED, "pipeline" => own()),
            errors: counter!(name::ERRORS, "pipeline" => own()),
            latency: histogram!(name::LATENCY, "pipeline" => own()),
            epochs: counter!(name::EPOCHS, "pipeline" => own()),
            epoch_seconds: histogram!(name::EPOCH_SECONDS, "pipeline" => own()),
            checkpoint_seconds: histogram!(name::CHECKPOINT_SECONDS, "pipeline" => own()),
            recoveries: counter!(name::RECOVERIES, "pipeline" => own()),
            retries: counter!(name::RETRIES, "pipeline" => own()),
            lease_losses: counter!(name::LEASE_LOSSES, "pipeline" => own()),
            lineages: gauge!(name::LINEAGES, "pipeline" => own()),
            budget_used: gauge!(name::BUDGET_USED, "pipeline" => own()),
            memory_held: Portion::ALL.map(|portion| {
                let labels = [("pipeline", own()), ("share", portion.name().to_owned())];
                (portion, gauge!(name::MEMORY_HELD, &labels))
            }),
            barriers: Mutex::default(),
            pipeline: own(),
        })
    }

    /// The name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// A batch of a source was read.
    pub fn read(&self, source: usize, records: u64, batch: &ReadBatch) {
        self.sources[source].read_records.increment(records);
        self.sources[source].read_bytes.increment(batch.bytes);
        self.sources[source].skipped_bytes.increment(batch.skipped);
    }

    /// A split of a source is opened.
    pub fn split_opened(&self, source: usize) {
        self.sources[source].splits_opened.increment(1);
    }

    /// A split of a source failed, and its reader was closed alone.
    pub fn split_failed(&self, source: usize) {
        self.sources[source].split_failures.increment(1);
    }

    /// Shows how many splits are in trouble.
    pub fn show_troubles(&self, troubles: &Troubles) {
        for source in &self.sources {
            let counted = troubles.count(&source.name);
            source.failed_splits.set(counted.failed as f64);
            source.broken_splits.set(counted.broken as f64);
            source.waiting_splits.set(counted.waiting as f64);
        }
    }

    /// A sink took a batch.
    pub fn wrote(&self, sink: usize, took: Duration) {
        self.sinks[sink].write.record(took);
    }

    /// A sink prepared an epoch.
    pub fn prepared(&self, sink: usize, took: Duration) {
        self.sinks[sink].prepare.record(took);
    }

    /// A sink committed an epoch.
    pub fn shown(&self, sink: usize, took: Duration) {
        self.sinks[sink].commit.record(took);
    }

    /// A checkpoint is durable.
    pub fn decided(&self, took: Duration) {
        self.checkpoint_seconds.record(took);
    }

    /// The splits of a lineage, as a barrier found them.
    pub fn stand(&self, lineage: &Lineage, readers: &[ReaderHandle], reports: &[ReaderReport]) {
        let stands = readers.iter().zip(reports);
        let stands = stands.map(|(reader, report)| {
            let source = self.sources[reader.split.source].name.as_str();
            let at = report.position.as_ref().map(|position| position.at);
            (source, &reader.split.split, at, report.lag)
        });
        self.splits.stand(lineage, stands);
    }

    /// A split of a source is there.
    pub fn came(&self, source: &str, split: &Split) {
        self.splits.came(source, split);
    }

    /// A split of a source is not there any more.
    pub fn left(&self, source: &str, split: &Split) {
        self.splits.left(source, split);
    }

    /// Everything that a lineage had read before a barrier is delivered.
    pub fn through_barrier(&self, lineage: &Lineage) {
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers.insert(lineage.clone(), now());
        self.show_barrier(&barriers);
    }

    /// A lineage is run, from now on.
    pub fn began(&self, lineage: &Lineage) {
        self.lineages.increment(1.0);
        self.through_barrier(lineage);
    }

    /// A lineage is no longer run.
    pub fn ended(&self, lineage: &Lineage) {
        self.lineages.decrement(1.0);
        self.splits.forget(lineage);
        let mut barriers = self.barriers.lock().unwrap_or_else(PoisonError::into_inner);
        barriers.remove(lineage);
        self.show_barrier(&barriers);
    }

    fn show_barrier(&self, barriers: &HashMap<Lineage, f64>) {
        let furthest_behind = barriers.values().copied().reduce(f64::min);
        if let Some(time) = furthest_behind {
            gauge!(name::LAST_BARRIER, "pipeline" => self.pipeline.clone()).set(time);
        }
    }

    /// An epoch is committed in every sink.
    pub fn committed(&self, checkpoint: &Checkpoint, observed: &Observed) {
        for (refuser, records) in &observed.refused {
            if let Some(counter) = self.refusers.get(&**refuser) {
                counter.increment(*records);
            }
        }
        for (step, late) in &observed.late {
            if let Some(counters) = self.steps.get(step) {
                counters.late_records.increment(late.rows);
                counters.missed_windows.increment(late.missed);
            }
        }
        for read_at in &observed.read_at {
            self.latency.record(read_at.elapsed());
        }
        self.epoch_seconds.record(observed.begun.elapsed());
        self.count_ledger(checkpoint);
    }

    /// Counts an epoch by its checkpoint alone, as recovery finishes it. Records that are processed
    /// come last: whoever then asks finds them in all the others too.
    pub fn count_ledger(&self, checkpoint: &Checkpoint) {
        let mut read: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &checkpoint.ledger {
            let counters = self.sinks.iter().find(|sink| sink.name == entry.sink);
            if let Some(counters) = counters {
                let columns = columns(&entry.counts).into_iter().zip(&counters.ledger);
                columns.for_each(|((_, rows), counter)| counter.increment(rows));
            }
            if entry.sink == DEAD_LETTERS {
                self.errors.increment(entry.counts.delivered);
            } else {
                let known = read.entry(entry.split.as_str()).or_default();
                *known = (*known).max(entry.counts.read);
            }
        }
        for (sink, state) in &checkpoint.sinks {
            if let Some(counter) = self.refusers.get(sink) {
                counter.increment(state.rejects.len() as u64);
            }
        }
        self.show_event_times(checkpoint);
        let mut processed = 0;
        for (split, records) in &read {
            let of_id = checkpoint.roster.of_id(&SplitId::new(*split));
            for (_, state) in of_id.filter(|(_, state)| !state.known.split.is_made()) {
                let mut sources = self.sources.iter();
                if let Some(source) = sources.find(|source| source.name == state.source) {
                    source.records.increment(*records);
                }
                self.splits.count(&state.source, &state.known.split, *records);
                processed += records;
            }
        }
        self.epochs.increment(1);
        gauge!(name::LAST_COMMIT, "pipeline" => self.pipeline.clone()).set(now());
        self.processed.increment(processed);
    }

    fn show_event_times(&self, checkpoint: &Checkpoint) {
        for step in self.steps.values() {
            let Some(time) = checkpoint.times.get(&step.name) else { continue };
            step.open_windows.set(time.windows as f64);
            step.open_records.set(time.rows as f64);
            if let Some(us) = time.watermark_us {
                let labels = [("pipeline", self.pipeline.clone()), ("step", step.name.clone())];
                gauge!(name::WATERMARK, &labels).set(us as f64 / 1e6);
            }
        }
    }

    /// Something failed in a source, step or sink, or (none of them) in the pipeline itself.
    pub fn failed(&self, node: Option<&str>, error: &Error) {
        if is_gone(error) {
            return;
        }
        if let Some(counter) = self.failures.get(node.unwrap_or(ITSELF)) {
            counter.increment(1);
        }
    }

    /// The run tries again after a failure.
    pub fn retries(&self) {
        self.retries.increment(1);
    }

    /// A lineage starts again from its newest checkpoint.
    pub fn recovers(&self) {
        self.recoveries.increment(1);
    }

    /// Another process took a lineage.
    pub fn lost_lease(&self) {
        self.lease_losses.increment(1);
    }

    /// Shows how much memory is held, as long as it is polled.
    pub async fn watch(&self, memory: &Memory) -> Infallible {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            self.budget_used.set(memory.budget.used() as f64);
            for (portion, gauge) in &self.memory_held {
                gauge.set(memory.held(*portion) as f64);
            }
        }
    }
}

fn sources(pipeline: &Pipeline) -> Vec<SourceCounters> {
    let sources = pipeline.sources.iter().map(|node| {
        let labels = [
            ("pipeline", pipeline.name.clone()),
            ("source", node.name.clone()),
            ("connector", node.kind.clone()),
        ];
        SourceCounters {
            name: node.name.clone(),
            read_records: counter!(name::READ_RECORDS, &labels),
            read_bytes: counter!(name::READ_BYTES, &labels),
            skipped_bytes: counter!(name::SKIPPED_BYTES, &labels),
            records: counter!(name::SOURCE_RECORDS, &labels),
            failed_splits: gauge!(name::FAILED_SPLITS, &labels),
            broken_splits: gauge!(name::BROKEN_SPLITS, &labels),
            waiting_splits: gauge!(name::WAITING_SPLITS, &labels),
            splits_opened: counter!(name::SPLITS_OPENED, &labels),
            split_failures: counter!(name::SPLIT_FAILURES, &labels),
        }
    });
    sources.collect()
}

fn sinks(pipeline: &Pipeline) -> Vec<SinkCounters> {
    let sinks = pipeline.sinks.iter().map(|node| {
        let labels = [
            ("pipeline", pipeline.name.clone()),
            ("sink", node.name.clone()),
            ("connector", node.kind.clone()),
        ];
        let ledger = columns(&Counts::default()).map(|(column, _)| {
            let (pipeline, sink) = (pipeline.name.clone(), node.name.clone());
            counter!(name::LEDGER_ROWS, "pipeline" => pipeline, "sink" => sink, "column" => column)
        });
        SinkCounters {
            name: node.name.clone(),
            ledger: ledger.into(),
            write: histogram!(name::SINK_WRITE, &labels),
            prepare: histogram!(name::SINK_PREPARE, &labels),
            commit: histogram!(name::SINK_COMMIT, &labels),
        }
    });
    sinks.collect()
}

fn steps(pipeline: &Pipeline) -> BTreeMap<usize, StepCounters> {
    let steps = pipeline.steps.iter().enumerate();
    let steps = steps.filter(|(_, node)| node.step.event_time().is_some()).map(|(number, node)| {
        let labels = [("pipeline", pipeline.name.clone()), ("step", node.name.clone())];
        let counters = StepCounters {
            name: node.name.clone(),
            open_windows: gauge!(name::OPEN_WINDOWS, &labels),
            open_records: gauge!(name::OPEN_RECORDS, &labels),
            late_records: counter!(name::LATE_RECORDS, &labels),
            missed_windows: counter!(name::MISSED_WINDOWS, &labels),
        };
        (number, counters)
    });
    steps.collect()
}

/// Counters of all who can refuse a record.
fn refusers(pipeline: &Pipeline) -> HashMap<String, Counter> {
    let sources = pipeline.sources.iter().map(|node| (&node.name, "source"));
    let steps = pipeline.steps.iter().map(|node| (&node.name, "step"));
    let sinks = pipeline.sinks.iter().filter(|node| node.name != DEAD_LETTERS);
    let sinks = sinks.map(|node| (&node.name, "sink"));
    let refusers = sources.chain(steps).chain(sinks).map(|(refuser, kind)| {
        let labels = [
            ("pipeline", pipeline.name.clone()),
            ("refuser", refuser.clone()),
            ("kind", kind.to_owned()),
        ];
        (refuser.clone(), counter!(name::DEAD_LETTERS, &labels))
    });
    refusers.collect()
}

fn failures(pipeline: &Pipeline) -> HashMap<String, Counter> {
    let sources = pipeline.sources.iter().map(|node| node.name.as_str());
    let steps = pipeline.steps.iter().map(|node| node.name.as_str());
    let sinks = pipeline.sinks.iter().map(|node| node.name.as_str());
    let nodes = sources.chain(steps).chain(sinks).chain([ITSELF]).map(|node| {
        let labels = [("pipeline", pipeline.name.clone()), ("node", node.to_owned())];
        (node.to_owned(), counter!(name::FAILURES, &labels))
    });
    nodes.collect()
}

/// The columns of the ledger.
pub fn columns(counts: &Counts) -> [(&'static str, u64); 11] {
    [
        ("read", counts.read),
        ("expanded", counts.expanded),
        ("delivered", counts.delivered),
        ("filtered", counts.filtered),
        ("deduplicated", counts.deduplicated),
        ("late", counts.late),
        ("aggregated", counts.aggregated),
        ("dead_lettered", counts.dead_lettered),
        ("rejected_after", counts.rejected_after),
        ("staged", counts.staged),
        ("lost", counts.lost),
    ]
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
