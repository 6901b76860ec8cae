//! The task of a sink: writes rows, and takes the steps of the protocol when it is told to.
//!
//! Rows and the barrier come by one queue, so the barrier stands behind the last row of its epoch.
//! Behind a barrier the task listens to its control queue alone, until it is told to go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use contract::record::{for_sink, ordinals, positions};
use contract::sink::{Commit, CommitOutcome, Identity, Prepared, Room, SinkReject, Stage, Writer};
use contract::transform::EpochStart;
use contract::{Error, Lineage, Result, failpoint};
use state::lease::Lease;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::ends::Ends;
use crate::flow::{Parcel, Queue, Sums};
use crate::graph::Pipeline;
use crate::memory::WriterHolding;
use crate::metrics::Instruments;

/// What a sink gets.
pub enum SinkMessage {
    /// Rows of one split.
    Rows(Parcel),
    /// The epoch ends here.
    Barrier,
}

/// What the coordinator says to a sink behind a barrier.
pub enum SinkControl {
    /// Write these as well: rows of the epoch that only now are known (the dead letters of sinks).
    Write(Parcel),
    /// Prepare.
    Prepare {
        /// Where the report goes.
        reply: oneshot::Sender<SinkReport>,
    },
    /// Make the epoch visible.
    Commit {
        /// What was decided.
        commit: Commit,
        /// Where the outcome goes.
        reply: oneshot::Sender<CommitOutcome>,
    },
    /// Go on, in this epoch.
    Continue {
        /// Its number.
        epoch: u64,
    },
}

/// What a sink got in an epoch.
#[derive(Debug, Default)]
pub struct SinkReport {
    /// The rows that it was given, by split.
    pub sums: Sums,
    /// What it made of them; nothing if there were none.
    pub prepared: Option<Prepared>,
}

impl SinkReport {
    /// What stood under the names that the rows went to.
    pub fn identities(&self) -> &[Identity] {
        self.prepared.as_ref().map_or(&[], |prepared| &prepared.identities)
    }
}

/// The coordinator's end of a sink.
pub struct SinkHandle {
    /// Where control goes.
    pub control: Queue<SinkControl>,
}

/// A task that drives one writer.
pub struct SinkTask {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The number of the sink.
    pub sink: usize,
    /// Whose epochs these are.
    pub lineage: Lineage,
    /// The right to write them.
    pub lease: Arc<Lease>,
    /// The connector's writer.
    pub writer: Box<dyn Writer>,
    /// The epoch's number.
    pub epoch: u64,
    /// The epoch of which the writer was told.
    pub started: Option<u64>,
    /// Rows and barriers.
    pub messages: mpsc::Receiver<SinkMessage>,
    /// Control.
    pub control: mpsc::Receiver<SinkControl>,
    /// Rows that a replay leaves out because the sink refused them before.
    pub skip: Skip,
    /// Who is told that the writer can hold no more.
    pub ends: Arc<Ends>,
    /// What the writer holds.
    pub held: WriterHolding,
    /// Who counts.
    pub instruments: Arc<Instruments>,
}

impl SinkTask {
    /// Works until nobody can send any more, then drops whatever is undecided.
    ///
    /// # Errors
    /// What the connector answered.
    pub async fn run(mut self) -> Result<()> {
        let outcome = self.work().await;
        if let Err(error) = self.writer.abort(&self.lineage).await {
            let sink = &self.pipeline.sinks[self.sink].name;
            warn!(sink, error = error.chain(), "could not drop what was undecided");
        }
        let name = &self.pipeline.sinks[self.sink].name;
        outcome.map_err(|error| {
            self.instruments.failed(Some(name), &error);
            error.context(format!("sink {name:?}"))
        })
    }

    async fn work(&mut self) -> Result<()> {
        let mut sums = Sums::new();
        while let Some(message) = self.messages.recv().await {
            match message {
                SinkMessage::Rows(parcel) => self.write(parcel, &mut sums).await?,
                SinkMessage::Barrier => {
                    if !self.obey(&mut sums).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, parcel: Parcel, sums: &mut Sums) -> Result<()> {
        let schema = &self.pipeline.sinks[self.sink].schema;
        let records = self.skip.without(&parcel)?;
        if records.num_rows() == 0 {
            return Ok(());
        }
        sums.entry(parcel.split.index).or_default().add_batch(parcel.split.seed, &records)?;
        let records = for_sink(&records, schema, parcel.split.id(), self.epoch)?;
        if self.started != Some(self.epoch) {
            self.started = Some(self.epoch);
            let epoch = EpochStart { epoch: self.epoch, now_us: parcel.now_us };
            self.writer.start_epoch(epoch, self.skip.stage);
        }
        let begun = Instant::now();
        let room = self.writer.write(&self.lineage, records).await?;
        self.instruments.wrote(self.sink, begun.elapsed());
        if self.weigh() || room == Room::Full {
            self.ends.sink_full(self.epoch);
        }
        Ok(())
    }

    /// Notes what the writer holds. Whether that is more than it may.
    fn weigh(&mut self) -> bool {
        self.held.set(self.writer.footprint())
    }

    /// Does what the coordinator says until the next epoch; false if the coordinator is gone.
    async fn obey(&mut self, sums: &mut Sums) -> Result<bool> {
        loop {
            match self.control.recv().await {
                Some(SinkControl::Write(parcel)) => self.write(parcel, sums).await?,
                Some(SinkControl::Prepare { reply }) => {
                    let report = self.prepare(std::mem::take(sums)).await?;
                    // A coordinator that is gone lets go of the control queue as well.
                    let _ = reply.send(report);
                }
                Some(SinkControl::Commit { commit, reply }) => {
                    let begun = Instant::now();
                    let outcome = commit_one(&self.lease, self.writer.as_mut(), commit).await?;
                    self.weigh();
                    self.instruments.shown(self.sink, begun.elapsed());
                    let _ = reply.send(outcome);
                }
                Some(SinkControl::Continue { epoch }) => {
                    self.epoch = epoch;
                    return Ok(true);
                }
                None => return Ok(false),
            }
        }
    }

    async fn prepare(&mut self, sums: Sums) -> Result<SinkReport> {
        if sums.is_empty() {
            return Ok(SinkReport::default());
        }
        failpoint::reach("prepare.sink.before").await?;
        let begun = Instant::now();
        let prepared = self.writer.prepare(&self.lineage, self.epoch).await?;
        self.weigh();
        self.instruments.prepared(self.sink, begun.elapsed());
        failpoint::reach("prepare.sink.after").await?;
        Ok(SinkReport { sums, prepared: Some(prepared) })
    }
}

/// Commits one epoch of one lineage, unless the lease was lost, with the points at which a crash
/// would hurt.
///
/// # Errors
/// NotOwner: another process has the lease. Otherwise the outcome is unknown.
pub async fn commit_one(
    lease: &Lease,
    writer: &mut dyn Writer,
    commit: Commit,
) -> Result<CommitOutcome> {
    failpoint::reach("commit.sink.before").await?;
    lease.verify().await?;
    let outcome = writer.commit(&commit).await?;
    failpoint::reach("commit.sink.after").await?;
    Ok(outcome)
}

/// Rows that a replay leaves out.
#[derive(Debug, Default)]
pub struct Skip {
    /// (split, position, ordinal).
    rows: HashSet<(String, i64, i64)>,
    /// What is known of the others.
    stage: Stage,
}

impl Skip {
    /// The rows that a sink refused in the epoch that is replayed.
    pub fn new<'a>(rejects: impl Iterator<Item = &'a SinkReject>) -> Self {
        let rows = rejects
            .map(|row| (row.split.as_str().to_owned(), row.reject.position, row.reject.ordinal));
        Self { rows: rows.collect(), stage: Stage::Decided }
    }

    fn without(&self, parcel: &Parcel) -> Result<arrow::array::RecordBatch> {
        if self.rows.is_empty() {
            return Ok(parcel.records.clone());
        }
        let ordinals = ordinals(&parcel.records);
        let rows = positions(&parcel.records)?.values().iter().enumerate();
        let keep: BooleanArray = rows
            .map(|(row, position)| {
                let ordinal = ordinals.map_or(0, |ordinals| ordinals.value(row));
                let split = parcel.split.id().as_str().to_owned();
                Some(!self.rows.contains(&(split, *position, ordinal)))
            })
            .collect();
        filter_record_batch(&parcel.records, &keep)
            .map_err(|error| Error::bug("could not leave out refused rows").because(error))
    }
}
