//! The only source loop in the product: reads one split, runs the stateless steps, sends on.
//!
//! Between two batches it obeys the coordinator: it reports and stands still at a barrier, goes on
//! with the next epoch, passes acknowledgements to the connector.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use contract::source::{Lag, ReadBatch, SplitReader};
use contract::transform::EpochStart;
use contract::{Position, Result};
use state::ledger::Counts;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::chain::Chain;
use crate::dead_letters::{DeadLetter, add_originals};
use crate::flow::{Budget, Queue, SplitContext, Tally, stand_back};
use crate::graph::Pipeline;
use crate::metrics::Instruments;
use crate::outlet::{Outlet, Read};
use crate::progress::Progress;

/// The moments of an epoch by which the age of its records is measured.
const MOMENTS: u32 = 1_000;

/// What the coordinator says to a reader.
pub enum ReaderCommand {
    /// Report, then stand still until [`ReaderCommand::Resume`].
    Pause(oneshot::Sender<ReaderReport>),
    /// Go on, in this epoch.
    Resume(EpochStart),
    /// Everything before this position is committed everywhere.
    Acknowledge(Position),
}

/// What a reader did since its last report.
#[derive(Debug)]
pub struct ReaderReport {
    /// The next record; none if nothing was ever read.
    pub position: Option<Position>,
    /// What became of the records.
    pub tally: Tally,
    /// Whether the split is at its end.
    pub ended: bool,
    /// When its batches were read.
    pub read_at: Vec<Instant>,
    /// What lies beyond the position.
    pub lag: Lag,
}

/// The coordinator's end of a reader.
pub struct ReaderHandle {
    /// What it reads.
    pub split: Arc<SplitContext>,
    /// Where commands go.
    pub commands: Queue<ReaderCommand>,
    /// Whether the split was at its end at the last barrier.
    pub ended: bool,
}

/// What all readers of an attempt share.
pub struct ReaderShared {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The way out.
    pub outlet: Arc<Outlet>,
    /// Bytes under way.
    pub budget: Budget,
    /// Bytes read in this epoch.
    pub epoch_bytes: AtomicU64,
    /// Splits that came to their end.
    pub ended: AtomicU64,
    /// Rung when the epoch is full or a split is at its end.
    pub bell: Notify,
    /// What people see.
    pub progress: Arc<Progress>,
    /// Who counts.
    pub instruments: Arc<Instruments>,
}

impl ReaderShared {
    /// Whether the epoch has all the bytes that it may have.
    pub fn full(&self) -> bool {
        self.epoch_bytes.load(Ordering::Relaxed) >= self.pipeline.settings.epoch_bytes_max
    }
}

/// A task that reads one split.
pub struct ReaderTask {
    shared: Arc<ReaderShared>,
    split: Arc<SplitContext>,
    reader: Box<dyn SplitReader>,
    commands: mpsc::Receiver<ReaderCommand>,
    chain: Chain,
    epoch: EpochStart,
    position: Option<Position>,
    tally: Tally,
    /// When batches of the epoch were read; those of one moment once.
    read_at: Vec<Instant>,
    ended: bool,
}

impl ReaderTask {
    /// A task for an open split that stands at `position`.
    pub fn new(
        shared: Arc<ReaderShared>,
        split: Arc<SplitContext>,
        reader: Box<dyn SplitReader>,
        epoch: EpochStart,
        position: Option<Position>,
    ) -> (Self, ReaderHandle) {
        let (sender, commands) = mpsc::channel(4);
        let handle = ReaderHandle { split: split.clone(), commands: sender, ended: false };
        let chain = Chain::new(shared.pipeline.clone(), epoch);
        let task = Self {
            shared,
            split,
            reader,
            commands,
            chain,
            epoch,
            position,
            tally: Tally::default(),
            read_at: Vec::new(),
            ended: false,
        };
        (task, handle)
    }

    /// Reads until the coordinator lets go of the handle.
    ///
    /// # Errors
    /// What the connector or a step answered.
    pub async fn run(mut self) -> Result<()> {
        let outcome = self.work().await;
        if let Err(error) = &outcome {
            let source = &self.shared.pipeline.sources[self.split.source].name;
            self.shared.instruments.failed(Some(source), error);
        }
        outcome
    }

    async fn work(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                // Commands first: a busy source must not delay a checkpoint.
                biased;
                command = self.commands.recv() => match command {
                    Some(ReaderCommand::Pause(reply)) => self.pause(reply).await?,
                    Some(ReaderCommand::Resume(epoch)) => self.start_epoch(epoch)?,
                    Some(ReaderCommand::Acknowledge(position)) => {
                        self.reader.acknowledge(&position).await?;
                    }
                    None => return Ok(()),
                },
                // An ended split stays for the acknowledgement of its last epoch; a full epoch is
                // left to end first.
                batch = self.reader.next_batch(), if !self.ended && !self.shared.full() => {
                    match batch? {
                    Some(batch) => self.pass_on(batch).await?,
                    None => {
                        self.ended = true;
                        self.shared.ended.fetch_add(1, Ordering::Relaxed);
                        self.shared.bell.notify_one();
                    }
                    }
                }
            }
        }
    }

    async fn pause(&mut self, reply: oneshot::Sender<ReaderReport>) -> Result<()> {
        let report = ReaderReport {
            position: self.position.clone(),
            tally: std::mem::take(&mut self.tally),
            ended: self.ended,
            read_at: std::mem::take(&mut self.read_at),
            lag: self.reader.lag(),
        };
        // A coordinator that is gone shows at the next command.
        let _ = reply.send(report);
        match self.commands.recv().await {
            Some(ReaderCommand::Resume(epoch)) => self.start_epoch(epoch),
            _ => Ok(()),
        }
    }

    fn start_epoch(&mut self, epoch: EpochStart) -> Result<()> {
        self.epoch = epoch;
        self.chain.start_epoch(epoch)
    }

    /// Notes that a batch was read now. An epoch has a bounded number of moments.
    fn note_time(&mut self) {
        let moment = self.shared.pipeline.settings.epoch_interval / MOMENTS;
        let is_new = self.read_at.last().is_none_or(|last| last.elapsed() >= moment);
        if is_new {
            self.read_at.push(Instant::now());
        }
    }

    async fn pass_on(&mut self, batch: ReadBatch) -> Result<()> {
        let share = self.shared.budget.take(weight(&batch)).await?;
        let read = batch.records.num_rows() as u64 + batch.rejects.len() as u64 + batch.lost;
        let mut passed = self.chain.run_from_source(self.split.source, batch.records.clone())?;
        let source = &self.shared.pipeline.sources[self.split.source];
        for (counts, ways) in passed.counts.iter_mut().zip(&source.consumers.ways) {
            if *ways > 0 {
                let refused = batch.rejects.len() as u64;
                counts.add(&Counts {
                    read,
                    dead_lettered: refused,
                    lost: batch.lost,
                    ..Counts::default()
                });
            }
        }
        let step: Arc<str> = source.name.as_str().into();
        let refused = batch.rejects.into_iter();
        passed.dead_letters.extend(refused.map(|reject| DeadLetter {
            step: Some(step.clone()),
            sink: None,
            reject,
        }));
        add_originals(&mut passed.dead_letters, &batch.records)?;
        self.tally.add(self.split.index, &passed.counts);
        self.tally.refuse(&passed.dead_letters);
        self.note_time();
        self.shared.instruments.read(self.split.source, read, batch.bytes);
        self.shared.progress.add(read, batch.bytes, passed.dead_letters.len() as u64);
        let from = self.position.replace(batch.next.clone());
        let read = Read { split: &self.split, from, to: batch.next };
        self.shared.outlet.send_read(read, passed, share, self.epoch.now_us).await?;
        self.shared.epoch_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        if self.shared.full() {
            self.shared.bell.notify_one();
        }
        stand_back().await;
        Ok(())
    }
}

/// What a batch and everything made of it may take: views into its buffers, and columns beside.
fn weight(batch: &ReadBatch) -> usize {
    batch.records.get_array_memory_size() * 2
}
