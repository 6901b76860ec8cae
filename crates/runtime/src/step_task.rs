//! The task of a stateful step: takes batches in the recorded order, snapshots at the barrier.

use std::sync::Arc;

use bytes::Bytes;
use contract::sink::Room;
use contract::transform::{Close, EpochStart, Held, Output, Transform};
use contract::{Error, Result};
use tokio::sync::{mpsc, oneshot};

use crate::chain::Chain;
use crate::dead_letters::add_originals;
use crate::ends::Ends;
use crate::flow::{Budget, Late, Parcel, SplitContext, Tally, stand_back};
use crate::graph::Pipeline;
use crate::made::Made;
use crate::memory::{self, Holding, Portion};
use crate::outlet::Outlet;
use crate::owner::Owner;

const MIB: u64 = 1 << 20;

/// What a stateful step gets.
pub enum StepMessage {
    /// Rows of one split.
    Rows(Parcel),
    /// The epoch ends; another one begins after it.
    Barrier {
        /// The epoch that begins.
        next: EpochStart,
        /// What the step makes rows of.
        close: Close,
        /// Where the report goes.
        reply: oneshot::Sender<StepReport>,
    },
}

/// What a step did since its last report.
#[derive(Debug)]
pub struct StepReport {
    /// Its state.
    pub state: Option<Bytes>,
    /// What it made itself.
    pub made: Option<Made>,
    /// What it did not make anything of yet.
    pub held: Held,
    /// What became of the rows that reached it.
    pub tally: Tally,
}

/// The records that a step makes itself.
pub struct Making {
    /// Their split.
    pub split: Arc<SplitContext>,
    /// The number of the next one.
    pub next: i64,
    /// In a replay, what the epoch made: that goes on in place of what the step makes now.
    pub given: Option<Made>,
    /// Who gives what was made its share.
    pub budget: Budget,
    /// Rows that the step holds, and those that came in the epoch under way.
    pub held: u64,
}

impl Making {
    /// What went in comes out: rows that are held now, and those of which something was made.
    fn let_go(&mut self, closed: u64, held: u64) -> Result<()> {
        let (split, came, went) = (self.split.id(), self.held, closed + held);
        if came != went {
            return Err(Error::bug(format!(
                "what makes \"{split}\" does not add up: {came} rows came, {went} are there"
            )));
        }
        self.held = held;
        Ok(())
    }
}

/// A task that runs one stateful step and the stateless ones below it.
pub struct StepTask {
    /// The pipeline.
    pipeline: Arc<Pipeline>,
    /// The number of the step.
    step: usize,
    /// The records that it makes; none if it makes none.
    making: Option<Making>,
    /// Its worker, restored.
    worker: Box<dyn Transform>,
    /// What its state takes.
    held: Holding,
    /// What comes in.
    messages: mpsc::Receiver<StepMessage>,
    /// The way out.
    outlet: Arc<Outlet>,
    /// The stateless steps below.
    chain: Chain,
    /// Who is told that the step has no room for more.
    ends: Arc<Ends>,
    /// The epoch under way.
    epoch: EpochStart,
}

/// A step as a checkpoint has it, before its task begins.
pub struct Restored {
    pipeline: Arc<Pipeline>,
    step: usize,
    making: Option<Making>,
    worker: Box<dyn Transform>,
    held: Holding,
    chain: Chain,
    epoch: EpochStart,
}

impl Restored {
    /// A step in its state.
    ///
    /// # Errors
    /// Config or Bug, from the step.
    pub fn new(
        owner: &Owner,
        step: usize,
        (state, making, watermark_us): (Option<&[u8]>, Option<Making>, Option<i64>),
        epoch: EpochStart,
    ) -> Result<Self> {
        let pipeline = owner.pipeline.clone();
        let mut worker = pipeline.steps[step].step.build(pipeline.means())?;
        if let Some(state) = state {
            let name = &pipeline.steps[step].name;
            let restored = worker.restore(state);
            restored.map_err(|error| error.context(format!("transform {name:?}")))?;
        }
        worker.begin_at(watermark_us);
        let making = making.map(|making| Making { held: worker.held().rows, ..making });
        worker.start_epoch(epoch)?;
        let chain = Chain::new(pipeline.clone(), epoch);
        let held = owner.memory.holding(Portion::State);
        Ok(Self { pipeline, step, making, worker, held, chain, epoch })
    }

    /// Its task.
    pub fn begin(
        self,
        messages: mpsc::Receiver<StepMessage>,
        outlet: Arc<Outlet>,
        ends: Arc<Ends>,
    ) -> StepTask {
        let Self { pipeline, step, making, worker, held, chain, epoch } = self;
        StepTask { pipeline, step, making, worker, held, messages, outlet, chain, ends, epoch }
    }
}

impl StepTask {
    /// Works until nobody can send any more.
    ///
    /// # Errors
    /// What the step answered, or that a receiver is gone.
    pub async fn run(mut self) -> Result<()> {
        let mut tally = Tally::default();
        while let Some(message) = self.messages.recv().await {
            match message {
                StepMessage::Rows(parcel) => self.apply(parcel, &mut tally).await?,
                StepMessage::Barrier { next, close, reply } => {
                    let made = self.close(close, &mut tally).await?;
                    let (state, held) = (self.worker.snapshot()?, self.worker.held());
                    let tally = std::mem::take(&mut tally);
                    let report = StepReport { state, made, held, tally };
                    // A coordinator that is gone lets go of the queue as well.
                    let _ = reply.send(report);
                    self.epoch = next;
                    self.worker.start_epoch(next)?;
                    self.chain.start_epoch(next)?;
                }
            }
        }
        Ok(())
    }

    /// Notes what the state takes. One that says itself when an epoch is to end is not refused.
    fn weigh(&mut self, bytes: u64) -> Result<()> {
        self.held.set(usize::try_from(bytes).unwrap_or(usize::MAX));
        let most = memory::state_bytes(&self.pipeline);
        match bytes > most && self.worker.room() == Room::Left {
            false => Ok(()),
            true => Err(too_large(&self.pipeline, self.step, (bytes, most))),
        }
    }

    async fn apply(&mut self, parcel: Parcel, tally: &mut Tally) -> Result<()> {
        let mut output = Output::default();
        self.worker.apply(&parcel.records, &mut output)?;
        if let Some(making) = &mut self.making {
            making.held += output.entered;
            tally.miss(self.step, late(&self.pipeline, self.step, &output));
        }
        self.weigh(output.state_bytes)?;
        let came = parcel.records.num_rows();
        let mut passed = self.chain.run_from_step(self.step, came, output)?;
        add_originals(&mut passed.dead_letters, &parcel.records)?;
        tally.add(parcel.split.index, &passed.counts);
        tally.refuse(&passed.dead_letters);
        self.outlet.send_made(&parcel.split, passed, parcel.share, parcel.now_us).await?;
        if self.worker.room() == Room::Full {
            self.ends.sink_full(self.epoch.epoch);
        }
        stand_back().await;
        Ok(())
    }

    /// Has a step that makes records give those of the epoch that ends, and sends them on.
    async fn close(&mut self, close: Close, tally: &mut Tally) -> Result<Option<Made>> {
        let Some(making) = &mut self.making else { return Ok(None) };
        let mut output = Output::default();
        self.worker.close(close, &mut output)?;
        self.held.set(usize::try_from(output.state_bytes).unwrap_or(usize::MAX));
        making.let_go(output.closed, self.worker.held().rows)?;
        let made = match making.given.take() {
            Some(given) => given,
            None => Made::numbered(output, making.next)?,
        };
        making.next = made.end()?.unwrap_or(making.next);
        if made.is_empty() {
            return Ok(None);
        }
        let mut passed = self.chain.run_made(self.step, &made)?;
        for letter in &mut passed.dead_letters {
            made.add_original(&mut letter.reject)?;
        }
        tally.add(making.split.index, &passed.counts);
        tally.refuse(&passed.dead_letters);
        // The readers stand still until all of it is on its way.
        let share = making.budget.take(0).await?;
        self.outlet.send_made(&making.split, passed, share, self.epoch.now_us).await?;
        Ok(Some(made))
    }
}

/// What of a step's rows came too late.
fn late(pipeline: &Pipeline, step: usize, output: &Output) -> Late {
    let port = pipeline.steps[step].step.late_port();
    let late = output.batches.iter().filter(|(number, _)| Some(*number) == port);
    let rows = late.map(|(_, batch)| batch.num_rows() as u64).sum();
    Late { rows, missed: output.missed }
}

fn too_large(pipeline: &Pipeline, step: usize, (bytes, most): (u64, u64)) -> Error {
    let name = &pipeline.steps[step].name;
    let (held, share) = (bytes.div_ceil(MIB), most / MIB);
    let limit = memory::limit_for_state(pipeline, bytes).div_ceil(MIB);
    Error::config(format!(
        "the state of step {name:?} takes {held} MiB, and its share of the memory is {share} MiB"
    ))
    .hint(format!("raise `memory.limit` to {limit}MiB at least, or let the step remember less"))
}
