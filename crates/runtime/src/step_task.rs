//! The task of a stateful step: takes batches in the recorded order, snapshots at the barrier.

use std::sync::Arc;

use bytes::Bytes;
use contract::Result;
use contract::transform::{EpochStart, Output, Transform};
use tokio::sync::{mpsc, oneshot};

use crate::chain::Chain;
use crate::dead_letters::add_originals;
use crate::flow::{Parcel, Tally, stand_back};
use crate::graph::Pipeline;
use crate::outlet::Outlet;

/// What a stateful step gets.
pub enum StepMessage {
    /// Rows of one split.
    Rows(Parcel),
    /// The epoch ends; another one begins after it.
    Barrier {
        /// The epoch that begins.
        next: EpochStart,
        /// Where the report goes.
        reply: oneshot::Sender<StepReport>,
    },
}

/// What a step did since its last report.
#[derive(Debug)]
pub struct StepReport {
    /// Its state.
    pub state: Option<Bytes>,
    /// What became of the rows that reached it.
    pub tally: Tally,
}

/// A task that runs one stateful step and the stateless ones below it.
pub struct StepTask {
    /// The number of the step.
    pub step: usize,
    /// Its worker, restored.
    pub worker: Box<dyn Transform>,
    /// What comes in.
    pub messages: mpsc::Receiver<StepMessage>,
    /// The way out.
    pub outlet: Arc<Outlet>,
    /// The stateless steps below.
    pub chain: Chain,
}

impl StepTask {
    /// A task for a step, restored from its state.
    ///
    /// # Errors
    /// Config or Bug, from the step.
    pub fn new(
        pipeline: &Arc<Pipeline>,
        step: usize,
        state: Option<&[u8]>,
        epoch: EpochStart,
    ) -> Result<impl FnOnce(mpsc::Receiver<StepMessage>, Arc<Outlet>) -> Self + use<>> {
        let mut worker = pipeline.steps[step].step.build(pipeline.means())?;
        if let Some(state) = state {
            worker.restore(state)?;
        }
        worker.start_epoch(epoch)?;
        let chain = Chain::new(pipeline.clone(), epoch);
        Ok(move |messages, outlet| Self { step, worker, messages, outlet, chain })
    }

    /// Works until nobody can send any more.
    ///
    /// # Errors
    /// What the step answered, or that a receiver is gone.
    pub async fn run(mut self) -> Result<()> {
        let mut tally = Tally::default();
        while let Some(message) = self.messages.recv().await {
            match message {
                StepMessage::Rows(parcel) => self.apply(parcel, &mut tally).await?,
                StepMessage::Barrier { next, reply } => {
                    let state = self.worker.snapshot()?;
                    let report = StepReport { state, tally: std::mem::take(&mut tally) };
                    // A coordinator that is gone lets go of the queue as well.
                    let _ = reply.send(report);
                    self.worker.start_epoch(next)?;
                    self.chain.start_epoch(next)?;
                }
            }
        }
        Ok(())
    }

    async fn apply(&mut self, parcel: Parcel, tally: &mut Tally) -> Result<()> {
        let mut output = Output::default();
        self.worker.apply(&parcel.records, &mut output)?;
        let came = parcel.records.num_rows();
        let mut passed = self.chain.run_from_step(self.step, came, output)?;
        add_originals(&mut passed.dead_letters, &parcel.records)?;
        tally.add(parcel.split.index, &passed.counts);
        tally.refuse(&passed.dead_letters);
        self.outlet.send_made(&parcel.split, passed, parcel.share, parcel.now_us).await?;
        stand_back().await;
        Ok(())
    }
}
