//! The only source loop in the product: reads one split, runs the stateless steps, sends on.
//!
//! Between two batches it obeys the coordinator: it reports and stands still at a barrier, goes on
//! with the next epoch, passes acknowledgements to the connector.
//!
//! A reader whose split fails, or that gives its place to another, leaves by itself: its last
//! report waits for the barrier, so that cuts, position and counts of an epoch come together or not
//! at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::source::{Lag, ReadBatch, Rest, Until};
use contract::transform::EpochStart;
use contract::{Error, ErrorKind, Position, Result, failpoint};
use state::History;
use state::ledger::Counts;
use tokio::sync::{mpsc, oneshot, watch};

use crate::chain::Chain;
use crate::dead_letters::{DeadLetter, add_originals};
use crate::ends::Ends;
use crate::flow::{Queue, Share, SplitContext, Tally, stand_back};
use crate::graph::Pipeline;
use crate::memory::{Holding, Memory, Portion};
use crate::metrics::Instruments;
use crate::outlet::{Outlet, Read};
use crate::places::{Offer, Places, Wanted, Wish, another_waits};
use crate::progress::{Batches, Progress, Underway};
use crate::reading::Reading;
use crate::weight::Weight;

/// The moments of an epoch by which the age of its records is measured.
const MOMENTS: u32 = 1_000;

/// Readers of a source that read at once as long as nobody knows what its batches weigh.
const FIRST_READS: usize = 8;

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
    /// Whether records came since the split was opened.
    pub moved: bool,
    /// Whether all was given that the split held when it was opened, and nothing is held back.
    pub is_read: bool,
    /// Whether there is nothing more to read now.
    pub is_at_end: bool,
    /// Whether the split can be read: records came, or the reader waits at its end.
    pub is_well: bool,
}

/// Why a reader left by itself.
#[derive(Debug)]
pub enum Leave {
    /// It read what is there, and another split wants its place.
    Rests(Rest),
    /// Its split cannot be read.
    Failed(Error),
}

/// A reader that left by itself.
#[derive(Debug)]
pub struct Left {
    /// Its number.
    pub reader: u64,
    /// Its last report.
    pub report: ReaderReport,
    /// Why.
    pub why: Leave,
}

/// The coordinator's end of a reader.
pub struct ReaderHandle {
    /// Its number in the attempt.
    pub number: u64,
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
    /// Where shortcuts to positions are kept.
    pub history: History,
    /// What may be under way, and fetched ahead.
    pub memory: Memory,
    /// What the batches of each source weigh.
    pub weights: Vec<Weight>,
    /// Splits that came to their end.
    pub ended: AtomicU64,
    /// Rung when the epoch is full or is to end, a split is at its end, or a reader left.
    pub ends: Arc<Ends>,
    /// Readers that left, until the coordinator sees them.
    pub left: Mutex<Vec<Left>>,
    /// Who waits for a place.
    pub places: Places,
    /// Whether a split that cannot be read closes its reader alone.
    pub isolates: bool,
    /// What people see.
    pub progress: Arc<Progress>,
    /// What is counted there and not decided.
    pub underway: Underway,
    /// Who counts.
    pub instruments: Arc<Instruments>,
}

impl ReaderShared {
    /// The readers that left by themselves.
    pub fn left(&self) -> MutexGuard<'_, Vec<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task is to read.
pub struct Assignment {
    /// The number of the reader in the attempt.
    pub number: u64,
    /// The split.
    pub split: Arc<SplitContext>,
    /// The next record to read.
    pub position: Option<Position>,
    /// Where to stop.
    pub until: Until,
}

/// How the work of a reader ended.
enum Stop {
    /// The coordinator let go of it.
    LetGo,
    /// It left by itself.
    Left(Leave),
}

/// A task that reads one split.
pub struct ReaderTask {
    shared: Arc<ReaderShared>,
    number: u64,
    split: Arc<SplitContext>,
    reading: Reading,
    /// What the reader fetched ahead.
    fetched: Holding,
    commands: mpsc::Receiver<ReaderCommand>,
    wanted: watch::Receiver<Wanted>,
    chain: Chain,
    epoch: EpochStart,
    position: Option<Position>,
    tally: Tally,
    /// When batches of the epoch were read; those of one moment once.
    read_at: Vec<Instant>,
    ended: bool,
    /// Whether records came since the split was opened.
    moved: bool,
    /// When they came last, or else when it was opened.
    active: Instant,
    /// Whether it was open at the last barrier.
    was_open: bool,
}

impl ReaderTask {
    /// A task that opens a split and reads it.
    pub fn new(
        shared: Arc<ReaderShared>,
        assignment: Assignment,
        epoch: EpochStart,
    ) -> (Self, ReaderHandle) {
        let Assignment { number, split, position, until } = assignment;
        let (sender, commands) = mpsc::channel(4);
        let handle = ReaderHandle { number, split: split.clone(), commands: sender, ended: false };
        let source = shared.pipeline.sources[split.source].source.clone();
        let (opened, from) = (split.clone(), position.clone());
        let history = shared.history.clone();
        let opening = async move {
            let from = match from {
                Some(from) => Some(history.with_shortcut(from).await),
                None => None,
            };
            let reader = source.open(&opened.split, from.as_ref(), until).await;
            reader
                .map_err(|error| error.context(format!("could not open split \"{}\"", opened.id())))
        };
        let task = Self {
            number,
            split,
            reading: Reading::of(Box::pin(opening)),
            fetched: shared.memory.holding(Portion::Fetch),
            commands,
            wanted: shared.places.subscribe(),
            chain: Chain::new(shared.pipeline.clone(), epoch),
            epoch,
            position,
            tally: Tally::default(),
            read_at: Vec::new(),
            ended: false,
            moved: false,
            active: Instant::now(),
            was_open: false,
            shared,
        };
        (task, handle)
    }

    /// Reads until the coordinator lets go of the handle, or the reader leaves by itself.
    ///
    /// # Errors
    /// What a step answered, or the connector where splits are not isolated.
    pub async fn run(mut self) -> Result<()> {
        match self.work().await {
            Ok(Stop::LetGo) => Ok(()),
            Ok(Stop::Left(why)) => {
                self.confirm().await?;
                failpoint::reach("reader.leaves").await?;
                self.leave(why);
                Ok(())
            }
            Err(error) => {
                self.count(&error);
                Err(error)
            }
        }
    }

    fn count(&self, error: &Error) {
        let source = &self.shared.pipeline.sources[self.split.source].name;
        self.shared.instruments.failed(Some(source), error);
    }

    /// Gives up the connection at once, and leaves the last report behind.
    fn leave(mut self, why: Leave) {
        if let Leave::Failed(error) = &why {
            self.count(error);
            self.shared.instruments.split_failed(self.split.source);
        }
        let report = self.report();
        let Self { shared, number, reading, commands, ended, .. } = self;
        drop(reading);
        shared.left().push(Left { reader: number, report, why });
        if !ended {
            shared.ended.fetch_add(1, Ordering::Relaxed);
        }
        shared.ends.ring();
        // Whoever finds the queue closed finds the report.
        drop(commands);
    }

    /// An error before a batch was taken by the chain is the split's own.
    fn of_split(&self, error: Error) -> Result<Stop> {
        match self.shared.isolates && error.kind() == ErrorKind::External {
            true => Ok(Stop::Left(Leave::Failed(error))),
            false => Err(error),
        }
    }

    async fn work(&mut self) -> Result<Stop> {
        let shared = self.shared.clone();
        let weight = &shared.weights[self.split.source];
        loop {
            let bytes = weight.expected().unwrap_or(shared.memory.budget.limit() / FIRST_READS);
            let takes = !self.ended && !self.is_full();
            tokio::select! {
                // Commands first: a busy source must not delay a checkpoint.
                biased;
                command = self.commands.recv() => match command {
                    Some(ReaderCommand::Pause(reply)) => self.pause(reply).await?,
                    Some(ReaderCommand::Resume(epoch)) => self.start_epoch(epoch)?,
                    Some(ReaderCommand::Acknowledge(position)) => {
                        let Some(reader) = self.reading.reader() else { continue };
                        if let Err(error) = reader.acknowledge(&position).await {
                            return self.of_split(error);
                        }
                    }
                    None => return Ok(Stop::LetGo),
                },
                // An ended split stays for the acknowledgement of its last epoch; a full epoch is
                // left to end first.
                batch = self.reading.next_batch(&shared.memory.budget, bytes), if takes => {
                    match batch {
                        Ok(Some((batch, share))) => self.pass_on(batch, share).await?,
                        Ok(None) => self.end(),
                        Err(error) => return self.of_split(error),
                    }
                }
                () = another_waits(&mut self.wanted), if self.shared.isolates && !self.ended => {
                    let rest = self.reading.rest();
                    let offer = Offer { reader: self.number, active: self.active, rest };
                    match self.shared.places.wish(offer, Instant::now()) {
                        Wish::Stay => {}
                        Wish::Leave => return Ok(Stop::Left(Leave::Rests(rest))),
                        Wish::Commit => self.shared.ends.want_commit(),
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.fetched.set(self.reading.lag().fetched_bytes);
        self.shared.ended.fetch_add(1, Ordering::Relaxed);
        self.shared.ends.ring();
    }

    /// Whether nothing more is to be read in this epoch.
    fn is_full(&self) -> bool {
        self.shared.ends.is_full(self.epoch.epoch)
    }

    /// Asks the connector whether what was read since the last report was what it seemed to be.
    async fn confirm(&mut self) -> Result<()> {
        match self.reading.reader() {
            Some(reader) if !self.read_at.is_empty() => reader.confirm().await,
            _ => Ok(()),
        }
    }

    fn report(&mut self) -> ReaderReport {
        let is_open = self.reading.reader().is_some();
        let was_open = std::mem::replace(&mut self.was_open, is_open);
        let (rest, lag) = (self.reading.rest(), self.reading.lag());
        self.fetched.set(lag.fetched_bytes);
        let waits = self.ended || rest != Rest::None;
        ReaderReport {
            position: self.position.clone(),
            tally: std::mem::take(&mut self.tally),
            ended: self.ended,
            read_at: std::mem::take(&mut self.read_at),
            lag,
            moved: self.moved,
            is_read: rest == Rest::UntilChanged && lag.held.is_none(),
            is_at_end: waits || lag.records == Some(0) || lag.bytes == Some(0),
            // One that fails at once does not stand open through a whole epoch.
            is_well: self.moved || was_open || waits,
        }
    }

    async fn pause(&mut self, reply: oneshot::Sender<ReaderReport>) -> Result<()> {
        self.confirm().await?;
        let report = self.report();
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

    async fn pass_on(&mut self, batch: ReadBatch, share: Option<Share>) -> Result<()> {
        (self.moved, self.active) = (true, Instant::now());
        self.fetched.set(self.reading.lag().fetched_bytes);
        let weight = &self.shared.weights[self.split.source];
        let bytes = weight.of(&batch.records);
        let share = self.shared.memory.budget.exchange(share, bytes).await?;
        let read = batch.records.num_rows() as u64 + batch.rejects.len() as u64 + batch.lost;
        let mut passed = self.chain.run_from_source(self.split.source, batch.records.clone())?;
        weight.learn(&batch.records, passed.leaving.iter().map(|(_, made)| made));
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
        self.shared.instruments.read(self.split.source, read, &batch);
        let refused = batch.rejects.into_iter();
        passed.dead_letters.extend(refused.map(|reject| DeadLetter {
            step: Some(step.clone()),
            sink: None,
            reject,
        }));
        add_originals(&mut passed.dead_letters, &batch.records)?;
        self.tally.add(self.split.index, &passed.counts);
        self.tally.refuse(&passed.dead_letters);
        self.tally.time(self.split.index, std::mem::take(&mut passed.times));
        self.shared.progress.refuse(self.split.id(), &passed.dead_letters);
        self.note_time();
        let dead_lettered = passed.dead_letters.len() as u64;
        self.shared.underway.add(Batches { read, bytes: batch.bytes, dead_lettered });
        let from = self.position.replace(batch.next.clone());
        let read = Read { split: &self.split, from, to: batch.next, marks: batch.marks };
        self.shared.outlet.send_read(read, passed, share, self.epoch.now_us).await?;
        self.shared.ends.add(self.epoch.epoch, batch.bytes);
        stand_back().await;
        Ok(())
    }
}
