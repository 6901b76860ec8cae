//! The end of an epoch: barrier, prepare, decide, publish, acknowledge (EPOCH §2).
//!
//! The order of the steps is the protocol; each has a failpoint before and after it.

use std::collections::BTreeMap;
use std::time::Instant;

use contract::sink::{Commit, CommitOutcome, SinkReject};
use contract::transform::EpochStart;
use contract::{Error, ErrorKind, Position, Result, failpoint};
use state::Checkpoint;
use state::checkpoint::{Copied, SinkState};
use state::history::Decision;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::attempt::{Attempt, note_stand};
use crate::draft::{Draft, Gathered};
use crate::flow::{Tally, answer_of, gone, send};
use crate::metrics::Observed;
use crate::originals::Letters;
use crate::owner::Scope;
use crate::reader_task::{ReaderCommand, ReaderReport};
use crate::roster::retirement::retire;
use crate::sink_task::{SinkControl, SinkMessage, SinkReport};
use crate::step_task::StepMessage;

impl Attempt<'_> {
    /// Passes the barrier and prepares the epoch under way; rows of the next are read meanwhile.
    /// None if nothing was read.
    ///
    /// # Errors
    /// Retryable External: the attempt must be dropped. Bug: the ledger does not add up.
    pub async fn draft_epoch(&mut self) -> Result<Option<Draft>> {
        let reports = self.pause_readers().await?;
        self.note_read(&reports);
        let lineage = &self.owner.lineage;
        self.owner.instruments.stand(lineage, &self.readers, &reports);
        self.seen.stand(&self.readers, &reports);
        let cuts = self.shared.outlet.take_cuts().await;
        for (reader, report) in self.readers.iter_mut().zip(&reports) {
            reader.ended = report.ended;
            note_stand(self.owner, &reader.split, (report, report.ended));
            if report.is_well {
                let source = &self.owner.pipeline.sources[reader.split.source].name;
                self.owner.progress.troubles.passed(source, reader.split.id().as_str());
            }
        }
        self.event_times.advance((&self.readers, &reports), &self.last_reports);
        let is_wanted = !self.beginnings.is_empty()
            || self.is_last && !self.read.is_empty()
            || self.event_times.is_due(self.epoch.now_us);
        if cuts.is_empty() && !is_wanted {
            self.last_reports.clear();
            self.let_go_of_ended();
            self.begin_later().await?;
            self.begun = Instant::now();
            self.resume_readers().await?;
            return Ok(None);
        }
        failpoint::reach("barrier.paused").await?;
        let ending = self.epoch;
        let mut tally = Tally::default();
        let mut read_at = Vec::new();
        let mut positions = self.take_reports(reports, &mut tally, &mut read_at);
        let next = self.owner.start_epoch(ending.epoch + 1, ending.now_us);
        let states = self.pass_barrier(next, &mut tally).await?;
        self.epoch = next;
        let begun = std::mem::replace(&mut self.begun, Instant::now());
        self.shared.ends.begin();
        let batches = self.shared.underway.of_epoch();
        self.resume_readers().await?;

        let copies = self.keep_copies(&mut positions).await?;
        let reports = self.prepare(ending).await?;
        failpoint::reach("prepare.done").await?;
        let times = self.event_times.kept(self.owner);
        let gathered = Gathered {
            cuts,
            positions,
            states,
            times,
            copies,
            tally,
            reports,
            begun,
            read_at,
            batches,
        };

        Draft::new(self.owner, &self.checkpoint, ending, gathered).map(Some)
    }

    /// Decides a drafted epoch, makes it visible and goes on with the next.
    ///
    /// # Errors
    /// Retryable External: the attempt must be dropped; recovery finds out what was decided.
    pub async fn commit_epoch(&mut self, draft: Draft) -> Result<()> {
        let observed = self.decide(draft).await?;
        self.publish().await?;
        self.owner.instruments.committed(&self.checkpoint, &observed);
        // Nobody gives it again any more; the history keeps what was refused.
        self.checkpoint.sinks.values_mut().for_each(|sink| sink.rejects = Vec::new());
        self.acknowledge().await?;
        self.go_on().await?;
        self.merge_files();
        self.collect();
        Ok(())
    }

    /// Moves the beginning of an epoch that has no rows yet to now. Whoever slept through its lease
    /// must not date rows later than its successor does, so the lease is looked at after the clock.
    async fn begin_later(&mut self) -> Result<()> {
        let later = self.owner.start_epoch(self.epoch.epoch, self.epoch.now_us);
        match self.owner.lease.verify().await {
            Ok(()) => self.epoch = later,
            Err(error) if error.retry() => debug!(error = error.chain(), "an epoch stays early"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The reports of all readers, in their order. Those that leave meanwhile have left theirs.
    async fn pause_readers(&mut self) -> Result<Vec<ReaderReport>> {
        let mut answers = Vec::new();
        for reader in &self.readers {
            let (reply, answer) = oneshot::channel();
            let sent = send(&reader.commands, ReaderCommand::Pause(reply)).await;
            let asked = sent.is_ok().then(|| (reader.commands.clone(), answer));
            answers.push((reader.number, asked));
        }
        let mut reports = Vec::new();
        for (number, asked) in answers {
            let report = match asked {
                None => None,
                Some((commands, answer)) => tokio::select! {
                    biased;
                    report = answer_of(&commands, answer) => report,
                    failure = self.failed() => return Err(failure),
                },
            };
            match report {
                Some(report) => reports.push(report),
                None if self.shared.left().iter().any(|left| left.reader == number) => {}
                None => return Err(gone()),
            }
        }
        self.let_go_of_left();
        Ok(reports)
    }

    async fn resume_readers(&mut self) -> Result<()> {
        for reader in &self.readers {
            send(&reader.commands, ReaderCommand::Resume(self.epoch)).await?;
        }
        Ok(())
    }

    /// Notes which splits were read as far as they went. Of two readers of one split the later one
    /// tells; what it gave beyond that is taken back.
    fn note_read(&mut self, reports: &[ReaderReport]) {
        if self.owner.scope != Scope::Sources {
            return;
        }
        let left = self.last_reports.iter().map(|(split, report)| (split, report));
        let readers = self.readers.iter().map(|reader| &reader.split).zip(reports);
        for (split, report) in left.chain(readers) {
            let is_said = self.checkpoint.roster[split.index].is_read;
            match report.is_read && (!report.read_at.is_empty() || !is_said) {
                true => self.read.insert(split.index, split.clone()),
                false => self.read.remove(&split.index),
            };
        }
    }

    fn take_reports(
        &mut self,
        reports: Vec<ReaderReport>,
        tally: &mut Tally,
        read_at: &mut Vec<Instant>,
    ) -> BTreeMap<usize, Position> {
        let mut positions = BTreeMap::new();
        let readers = self.readers.iter().map(|reader| reader.split.clone()).zip(reports);
        // Of two readers of one split the later one stands further.
        for (split, report) in self.last_reports.drain(..).chain(readers) {
            tally.merge(report.tally);
            read_at.extend(report.read_at);
            if let Some(position) = report.position {
                positions.insert(split.index, position);
            }
        }
        positions
    }

    /// Sends the barrier through the stateful steps, in order, then to the sinks: behind it
    /// nothing of the epoch is left in any queue.
    pub async fn pass_barrier(
        &mut self,
        next: EpochStart,
        tally: &mut Tally,
    ) -> Result<BTreeMap<String, String>> {
        let mut states = BTreeMap::new();
        self.makers.clear();
        let outlet = self.shared.outlet.clone();
        for (number, node) in self.owner.pipeline.steps.iter().enumerate() {
            let Some(queue) = outlet.step(number) else { continue };
            let (reply, answer) = oneshot::channel();
            let close = self.event_times.close(number);
            send(queue, StepMessage::Barrier { next, close, reply }).await?;
            let report = self.answer(answer).await?;
            tally.merge(report.tally);
            self.event_times.note(number, report.held);
            if let Some(made) = report.made {
                self.makers.note(number, made);
            }
            if let Some(state) = report.state {
                let epoch = next.epoch - 1;
                let stored = self.owner.history.keep_state(&node.name, epoch, state).await?;
                states.insert(node.name.clone(), stored);
            }
        }
        for sink in 0..self.sinks.len() {
            if let Some(queue) = outlet.sink(sink) {
                send(queue, SinkMessage::Barrier).await?;
            }
        }
        Ok(states)
    }

    /// Keeps what steps made of many rows, before the epoch is decided, and notes how far their
    /// splits go.
    async fn keep_copies(
        &mut self,
        positions: &mut BTreeMap<usize, Position>,
    ) -> Result<BTreeMap<String, Copied>> {
        let mut copies = BTreeMap::new();
        for (step, split, made) in self.makers.made() {
            if let Some(end) = made.end()? {
                positions.insert(split.index, Position::new(end));
            }
            let kept = self.owner.history.keep_copy(&made.write()?).await?;
            copies.insert(self.owner.pipeline.steps[step].name.clone(), kept);
        }
        Ok(copies)
    }

    /// Prepares all sinks side by side, then the dead letters, which take what the sinks refused.
    pub async fn prepare(&mut self, ending: EpochStart) -> Result<Vec<Option<SinkReport>>> {
        let dead_letters = self.owner.pipeline.dead_letter_sink();
        let mut answers = Vec::new();
        for sink in 0..dead_letters {
            answers.push(self.ask_to_prepare(sink).await?);
        }
        let mut reports = Vec::new();
        for answer in answers {
            reports.push(match answer {
                Some(answer) => Some(self.answer(answer).await?),
                None => None,
            });
        }
        failpoint::reach("prepare.sinks").await?;
        for report in reports.iter_mut().flatten() {
            self.makers.add_originals(report)?;
        }
        for (sink, report) in reports.iter().enumerate() {
            let prepared = report.as_ref().and_then(|report| report.prepared.as_ref());
            let rejects = prepared.into_iter().flat_map(|prepared| &prepared.rejects);
            self.write_letters(sink, rejects, ending).await?;
        }
        let answer = self.ask_to_prepare(dead_letters).await?;
        reports.push(match answer {
            Some(answer) => Some(self.answer(answer).await?),
            None => None,
        });
        Ok(reports)
    }

    async fn ask_to_prepare(&self, sink: usize) -> Result<Option<oneshot::Receiver<SinkReport>>> {
        let Some(handle) = &self.sinks[sink] else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        send(&handle.control, SinkControl::Prepare { reply }).await?;
        Ok(Some(answer))
    }

    /// Has the dead letters take what a sink refused, part by part.
    async fn write_letters<'r>(
        &'r self,
        sink: usize,
        rejects: impl Iterator<Item = &'r SinkReject>,
        epoch: EpochStart,
    ) -> Result<()> {
        let pipeline = &self.owner.pipeline;
        let Some(handle) = &self.sinks[pipeline.dead_letter_sink()] else { return Ok(()) };
        let mut letters = Letters::new(self.owner, &self.checkpoint, sink, rejects)?;
        while let Some(part) = letters.next().await? {
            let share = self.shared.memory.budget.take(0).await?;
            let parcel = part.into_parcel(&pipeline.name, epoch, share)?;
            send(&handle.control, SinkControl::Write(parcel)).await?;
        }
        Ok(())
    }

    /// Writes the checkpoint. From here on the epoch happens, whoever finishes it.
    async fn decide(&mut self, draft: Draft) -> Result<Observed> {
        let recipe =
            |checkpoint: &Checkpoint| (checkpoint.plan.clone(), checkpoint.plan_text.clone());
        if recipe(&draft.checkpoint) != recipe(&self.checkpoint) {
            self.owner.keep_recipe(&draft.checkpoint).await?;
        }
        failpoint::reach("decide.before").await?;
        // An attempt that cannot decide goes, and the checkpoint before goes with it.
        let mut next = draft.checkpoint;
        let roster = std::mem::take(&mut self.checkpoint.roster);
        next.begin_cuts_as(&roster);
        next.roster = roster;
        let mut moved = draft.moved;
        moved.retain(|number, position| next.roster.advance(*number, position));
        for (number, split) in std::mem::take(&mut self.read) {
            next.roster.read(number, &split.split.descriptor);
        }
        for ((split, step), us) in draft.times {
            next.roster.time(split, &self.owner.pipeline.steps[step].name, us);
        }
        self.beginnings.drain(..).for_each(|one| one.enter(&mut next));
        let keep_from_us = self.keep_from_us(next.now_us);
        let retired = retire(&mut next, std::mem::take(&mut self.leaving.due), keep_from_us);
        self.take_base(&mut next);
        let decision = self.owner.decide(&mut next).await?;
        failpoint::reach("decide.after").await?;
        match decision {
            Decision::Decided => {
                self.owner.progress.tell(draft.replaced);
                self.shared.underway.decided(draft.batches);
                self.owner.progress.add_epoch();
                self.checkpoint = next;
                self.moved.extend(moved.into_keys());
                retired.iter().for_each(|left| self.event_times.retire(left.number));
                self.leaving.left.extend(retired);
                Ok(draft.observed)
            }
            Decision::Overtaken => Err(self.owner.overtaken(next.epoch).await),
        }
    }

    /// Makes the decided epoch visible in every sink that owes it, side by side.
    async fn publish(&mut self) -> Result<()> {
        let mut answers = Vec::new();
        for (sink, node) in self.owner.pipeline.sinks.iter().enumerate() {
            let state = self.checkpoint.sinks.get(&node.name).filter(|state| state.owes);
            let (Some(state), Some(handle)) = (state, &self.sinks[sink]) else { continue };
            let (reply, answer) = oneshot::channel();
            let commit = commit_of(self.owner, self.checkpoint.epoch, state);
            send(&handle.control, SinkControl::Commit { commit, reply }).await?;
            answers.push((node.name.clone(), answer));
        }
        for (name, answer) in answers {
            match self.answer(answer).await? {
                CommitOutcome::Committed => debug!(sink = name, "committed"),
                CommitOutcome::NeedsReplay => {
                    let error = Error::transient(format!("sink {name:?} lost what it prepared"));
                    self.owner.instruments.failed(Some(&name), &error);
                    return Err(error);
                }
                CommitOutcome::NotOwner => return Err(not_owner(&name)),
            }
        }
        failpoint::reach("publish.done").await
    }

    async fn acknowledge(&mut self) -> Result<()> {
        for reader in &self.readers {
            let known = &self.checkpoint.roster[reader.split.index].known;
            if let Some(position) = known.position.clone() {
                // One that has left meanwhile has nothing to acknowledge to.
                let _ = send(&reader.commands, ReaderCommand::Acknowledge(position)).await;
            }
        }
        self.let_go_of_ended();
        failpoint::reach("acknowledge.done").await
    }

    async fn go_on(&mut self) -> Result<()> {
        let epoch = self.epoch.epoch;
        for handle in self.sinks.iter().flatten() {
            send(&handle.control, SinkControl::Continue { epoch }).await?;
        }
        Ok(())
    }

    /// What lies before this moment is older than the history that is kept.
    fn keep_from_us(&self, now_us: i64) -> i64 {
        let keep = self.owner.pipeline.settings.history_keep.as_micros();
        now_us.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX))
    }

    fn collect(&mut self) {
        let epoch = self.checkpoint.epoch;
        if !epoch.is_multiple_of(self.owner.history.epochs_between_collections()) {
            return;
        }
        let history = self.owner.history.clone();
        let keep_from = self.keep_from_us(self.checkpoint.now_us);
        self.spawn(async move {
            history.collect(epoch, keep_from).await;
            history.collect_files().await;
            Ok(())
        });
    }

    /// Prepares the sinks of a replay; dead letters take the rows that the checkpoint recorded as
    /// refused, whether or not the sink that refused them is replayed.
    ///
    /// # Errors
    /// As for [`Attempt::prepare`].
    pub async fn prepare_replayed(&mut self, epoch: EpochStart) -> Result<Vec<Option<SinkReport>>> {
        for (sink, node) in self.owner.pipeline.sinks.iter().enumerate() {
            let Some(state) = self.checkpoint.sinks.get(&node.name) else { continue };
            let rejects = state.rejects.iter().map(|reject| &reject.0);
            self.write_letters(sink, rejects, epoch).await?;
        }
        let mut reports = Vec::new();
        for sink in 0..self.sinks.len() {
            reports.push(match self.ask_to_prepare(sink).await? {
                Some(answer) => Some(self.answer(answer).await?),
                None => None,
            });
        }
        for report in reports.iter_mut().flatten() {
            self.makers.add_originals(report)?;
        }
        Ok(reports)
    }

    /// Commits a recorded epoch after a replay that gave what was recorded.
    ///
    /// # Errors
    /// As for [`Attempt::commit_epoch`].
    pub async fn commit_replayed(&mut self, reports: &[Option<SinkReport>]) -> Result<()> {
        failpoint::reach("recover.replayed").await?;
        self.publish_replayed(reports).await
    }

    async fn publish_replayed(&mut self, reports: &[Option<SinkReport>]) -> Result<()> {
        let epoch = self.checkpoint.epoch;
        for (sink, report) in reports.iter().enumerate() {
            let node = &self.owner.pipeline.sinks[sink];
            let Some(SinkReport { prepared: Some(prepared), .. }) = report else { continue };
            // Whoever lost every row keeps the token before, as its losses are booked.
            if prepared.rows == 0 {
                continue;
            }
            let Some(state) = self.checkpoint.sinks.get(&node.name) else { continue };
            let commit = Commit {
                committable: prepared.committable.clone(),
                ..commit_of(self.owner, epoch, state)
            };
            let (reply, answer) = oneshot::channel();
            let Some(handle) = &self.sinks[sink] else { continue };
            send(&handle.control, SinkControl::Commit { commit, reply }).await?;
            match self.answer(answer).await? {
                CommitOutcome::Committed => warn!(sink = node.name, epoch, "replayed an epoch"),
                CommitOutcome::NeedsReplay => {
                    return Err(Error::transient(format!("sink {:?} lost a replay", node.name)));
                }
                CommitOutcome::NotOwner => return Err(not_owner(&node.name)),
            }
        }
        Ok(())
    }
}

/// The commit of an epoch that a checkpoint records for a sink.
pub fn commit_of(owner: &crate::owner::Owner, epoch: u64, state: &SinkState) -> Commit {
    Commit {
        lineage: owner.lineage.clone(),
        epoch,
        prev: state.prev,
        committable: state.committable.clone(),
    }
}

/// The error of a sink that somebody else writes.
pub fn not_owner(sink: &str) -> Error {
    Error::new(
        ErrorKind::NotOwner,
        format!("another process writes sink {sink:?} under this pipeline's name"),
    )
    .hint("only one process may run a pipeline; give the other one another `name`")
}
