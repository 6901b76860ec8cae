//! The way out of a task: to sinks, to stateful steps, to the dead letters.
//!
//! Batches of sources pass one lock on their way, and the order in which they pass it is recorded
//! as the epoch's cuts. So every stateful step sees them in one order, and a replay can give the
//! same one.

use std::sync::Arc;

use contract::{Position, Result, failpoint};
use state::checkpoint::Cut;
use tokio::sync::Mutex;

use crate::chain::Passed;
use crate::dead_letters;
use crate::flow::{Parcel, Queue, Share, SplitContext, send};
use crate::graph::{Consumer, Pipeline};
use crate::sink_task::SinkMessage;
use crate::step_task::StepMessage;

/// The queues of an attempt, and the order in which batches entered them.
pub struct Outlet {
    pipeline: Arc<Pipeline>,
    /// By number of step; none for stateless ones.
    steps: Vec<Option<Queue<StepMessage>>>,
    /// By number of sink; none where a replay leaves a sink out.
    sinks: Vec<Option<Queue<SinkMessage>>>,
    cuts: Mutex<Vec<Cut>>,
}

/// A batch that was read.
pub struct Read<'a> {
    /// Its split.
    pub split: &'a Arc<SplitContext>,
    /// Its first record.
    pub from: Option<Position>,
    /// The record after its last.
    pub to: Position,
}

impl Outlet {
    /// Outlets into the queues of steps and sinks.
    pub fn new(
        pipeline: Arc<Pipeline>,
        steps: Vec<Option<Queue<StepMessage>>>,
        sinks: Vec<Option<Queue<SinkMessage>>>,
    ) -> Self {
        Self { pipeline, steps, sinks, cuts: Mutex::default() }
    }

    /// The queue of a stateful step.
    pub fn step(&self, step: usize) -> Option<&Queue<StepMessage>> {
        self.steps[step].as_ref()
    }

    /// The queue of a sink.
    pub fn sink(&self, sink: usize) -> Option<&Queue<SinkMessage>> {
        self.sinks[sink].as_ref()
    }

    /// Sends on what came of a batch that was read, and records its cut.
    ///
    /// # Errors
    /// Retryable External: a receiver is gone.
    pub async fn send_read(
        &self,
        read: Read<'_>,
        passed: Passed,
        share: Share,
        now_us: i64,
    ) -> Result<()> {
        let mut cuts = self.cuts.lock().await;
        cuts.push(Cut { split: read.split.index, from: read.from, to: read.to });
        failpoint::reach("flow.batch").await?;
        self.send_made(read.split, passed, share, now_us).await
    }

    /// Sends on what a step made.
    ///
    /// # Errors
    /// Retryable External: a receiver is gone.
    pub async fn send_made(
        &self,
        split: &Arc<SplitContext>,
        passed: Passed,
        share: Share,
        now_us: i64,
    ) -> Result<()> {
        for (target, records) in passed.leaving {
            let parcel = Parcel { split: split.clone(), records, now_us, share: share.clone() };
            match target {
                Consumer::Step(step) => {
                    let Some(queue) = &self.steps[step] else { continue };
                    send(queue, StepMessage::Rows(parcel)).await?;
                }
                Consumer::Sink(sink) => {
                    let Some(queue) = &self.sinks[sink] else { continue };
                    send(queue, SinkMessage::Rows(parcel)).await?;
                }
            }
        }
        let Some(queue) = &self.sinks[self.pipeline.dead_letter_sink()] else { return Ok(()) };
        if passed.dead_letters.is_empty() {
            return Ok(());
        }
        let records = dead_letters::batch(&self.pipeline.name, now_us, &passed.dead_letters)?;
        let parcel = Parcel { split: split.clone(), records, now_us, share };
        send(queue, SinkMessage::Rows(parcel)).await
    }

    /// Takes the cuts of the epoch that ends. Neighbours in one split become one; without
    /// stateful steps order does not matter and each split has one cut.
    pub async fn take_cuts(&self) -> Vec<Cut> {
        let cuts = std::mem::take(&mut *self.cuts.lock().await);
        let ordered = self.pipeline.steps.iter().any(|node| node.step.stateful());
        let mut merged: Vec<Cut> = Vec::new();
        for cut in cuts {
            let before = match ordered {
                true => merged.last_mut().filter(|last| last.split == cut.split),
                false => merged.iter_mut().find(|known| known.split == cut.split),
            };
            match before {
                Some(before) => before.to = cut.to,
                None => merged.push(cut),
            }
        }
        merged
    }
}
