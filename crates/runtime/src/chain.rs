//! Runs a batch through the stateless steps below a node, counting what becomes of every row.
//!
//! One task runs a whole chain, so nothing is queued between stateless steps. What leaves the
//! chain goes to a sink or to a stateful step, which has a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::source::Reject;
use contract::transform::{EpochStart, Output, Transform};
use contract::{Error, Result};
use state::ledger::Counts;

use crate::dead_letters::DeadLetter;
use crate::graph::{Consumer, Consumers, Pipeline};
use crate::made::Made;
use crate::ordered::{self, ORDERED_FROM};

/// The workers of one task.
pub struct Chain {
    pipeline: Arc<Pipeline>,
    /// By number of step; made when the first batch comes by.
    workers: Vec<Option<Box<dyn Transform>>>,
    epoch: EpochStart,
}

/// What came of one batch.
#[derive(Default)]
pub struct Passed {
    /// Batches that leave the chain.
    pub leaving: Vec<(Consumer, RecordBatch)>,
    /// Rows that a step refused.
    pub dead_letters: Vec<DeadLetter>,
    /// What became of the rows, by number of sink.
    pub counts: Vec<Counts>,
    /// The greatest time that was seen for a step with an event time.
    pub times: BTreeMap<usize, i64>,
}

impl Passed {
    fn refuse(&mut self, step: &str, rejects: impl Iterator<Item = Reject>) {
        let step: Arc<str> = step.into();
        self.dead_letters.extend(rejects.map(|reject| DeadLetter {
            step: Some(step.clone()),
            sink: None,
            reject,
        }));
    }
}

impl Chain {
    /// Workers for the epoch that begins.
    pub fn new(pipeline: Arc<Pipeline>, epoch: EpochStart) -> Self {
        let workers = pipeline.steps.iter().map(|_| None).collect();
        Self { pipeline, workers, epoch }
    }

    /// Another epoch begins.
    ///
    /// # Errors
    /// Bug, from a step.
    pub fn start_epoch(&mut self, epoch: EpochStart) -> Result<()> {
        self.epoch = epoch;
        let mut workers = self.workers.iter_mut().flatten();
        workers.try_for_each(|worker| worker.start_epoch(epoch))
    }

    /// Runs a batch of a source.
    ///
    /// # Errors
    /// Bug, from a step or because its rows do not add up.
    pub fn run_from_source(&mut self, source: usize, batch: RecordBatch) -> Result<Passed> {
        let pipeline = self.pipeline.clone();
        let mut passed = self.nothing_passed();
        self.pass(&pipeline.sources[source].consumers, batch, &mut passed)?;
        self.in_order(passed)
    }

    /// Books what a stateful step made of `came` rows and runs it through the steps below.
    ///
    /// # Errors
    /// As for [`Chain::run_from_source`].
    pub fn run_from_step(&mut self, step: usize, came: usize, output: Output) -> Result<Passed> {
        let mut passed = self.nothing_passed();
        self.book(step, came, output, &mut passed)?;
        self.in_order(passed)
    }

    /// Sends on what a step made itself of many rows: records that nobody read.
    ///
    /// # Errors
    /// As for [`Chain::run_from_source`].
    pub fn run_made(&mut self, step: usize, made: &Made) -> Result<Passed> {
        let pipeline = self.pipeline.clone();
        let node = &pipeline.steps[step];
        let mut passed = self.nothing_passed();
        let refused = made.rejects.len() as u64;
        for (counts, ways) in passed.counts.iter_mut().zip(&node.ports[0].ways) {
            if *ways > 0 {
                counts.expanded += made.rows() + refused;
                counts.dead_lettered += refused;
            }
        }
        passed.refuse(&node.name, made.rejects.iter().cloned());
        for batch in made.parts() {
            self.pass(&node.ports[0], batch, &mut passed)?;
        }
        self.in_order(passed)
    }

    fn in_order(&self, mut passed: Passed) -> Result<Passed> {
        if self.pipeline.semantics >= ORDERED_FROM {
            ordered::by_origin(&mut passed.leaving)?;
        }
        Ok(passed)
    }

    fn nothing_passed(&self) -> Passed {
        Passed { counts: vec![Counts::default(); self.pipeline.sinks.len()], ..Passed::default() }
    }

    fn pass(&mut self, to: &Consumers, batch: RecordBatch, passed: &mut Passed) -> Result<()> {
        let rows = batch.num_rows() as u64;
        for (counts, ways) in passed.counts.iter_mut().zip(&to.ways) {
            counts.expanded += ways.saturating_sub(1) * rows;
        }
        for measure in &to.measures {
            let greatest = measure.greatest(&batch, self.epoch.now_us)?;
            passed.times.extend(greatest.map(|us| {
                (measure.step, passed.times.get(&measure.step).map_or(us, |known| us.max(*known)))
            }));
        }
        for edge in &to.edges {
            let batch = edge.enter(&batch)?;
            match edge.to {
                Consumer::Step(step) if !self.pipeline.steps[step].step.stateful() => {
                    self.apply(step, &batch, passed)?;
                }
                Consumer::Sink(sink) => {
                    passed.counts[sink].delivered += rows;
                    passed.leaving.push((edge.to, batch));
                }
                Consumer::Step(_) => passed.leaving.push((edge.to, batch)),
            }
        }
        Ok(())
    }

    fn apply(&mut self, step: usize, batch: &RecordBatch, passed: &mut Passed) -> Result<()> {
        let mut output = Output::default();
        self.worker(step)?.apply(batch, &mut output)?;
        self.book(step, batch.num_rows(), output, passed)
    }

    fn worker(&mut self, step: usize) -> Result<&mut Box<dyn Transform>> {
        if self.workers[step].is_none() {
            let mut worker = self.pipeline.steps[step].step.build(self.pipeline.means())?;
            worker.start_epoch(self.epoch)?;
            self.workers[step] = Some(worker);
        }
        self.workers[step].as_mut().ok_or_else(|| Error::bug("a step has no worker"))
    }

    fn book(
        &mut self,
        step: usize,
        came: usize,
        output: Output,
        passed: &mut Passed,
    ) -> Result<()> {
        let pipeline = self.pipeline.clone();
        let node = &pipeline.steps[step];
        check_rows(&node.name, came, &output)?;
        let below = |sink: &usize| node.reach[*sink];
        for sink in (0..pipeline.sinks.len()).filter(below) {
            let counts = &mut passed.counts[sink];
            counts.expanded += output.expanded;
            counts.filtered += output.filtered;
            counts.deduplicated += output.deduplicated;
            counts.aggregated += output.aggregated;
            counts.dead_lettered += output.rejects.len() as u64;
        }
        passed.refuse(&node.name, output.rejects.into_iter());
        for (port, batch) in output.batches {
            let consumers = &node.ports[port];
            let is_late = node.step.late_port() == Some(port);
            for sink in (0..pipeline.sinks.len()).filter(below) {
                let counts = &mut passed.counts[sink];
                match consumers.ways[sink] {
                    0 if is_late => counts.late += batch.num_rows() as u64,
                    0 => counts.filtered += batch.num_rows() as u64,
                    _ => {}
                }
            }
            self.pass(consumers, batch, passed)?;
        }
        Ok(())
    }
}

/// Every row that went in must be accounted for, step by step.
fn check_rows(name: &str, came: usize, output: &Output) -> Result<()> {
    let out: u64 = output.batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum();
    let counted = output.filtered + output.deduplicated + output.aggregated;
    let went = out + counted + output.rejects.len() as u64;
    let came = came as u64 + output.expanded;
    if came == went {
        return Ok(());
    }
    Err(Error::bug(format!("transform {name:?} does not add up: {came} rows came, {went} went")))
}
