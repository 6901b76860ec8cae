//! The reader that the runtime sees: reads one block ahead, in a thread for blocking work.
//!
//! Cancel safe: the block in work belongs to `self`, and a wait remembers when it is over.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::error::Context;
use contract::record::message_schema;
use contract::source::{Lag, ReadBatch, Rest, SplitReader};
use contract::{Position, Result, SplitId};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cursor::{Cursor, Step, Then};
use crate::points::Points;

/// How much longer than the setting says a quiet file may wait for the next look.
const PAUSE_FACTOR_MAX: u32 = 4;

/// Reads one split.
pub struct Tail {
    state: State,
    poll_interval: Duration,
    /// How many looks in a row found nothing.
    quiet_looks: u32,
    /// What was not read yet, or is held back.
    lag: Lag,
    /// What a step in work may take.
    room: usize,
    points: Arc<Points>,
    split: SplitId,
    /// Whether it ends where the file ended when it was opened.
    has_end: bool,
    /// Said behind the last record: the file was cut off there.
    cut_off: Option<Position>,
}

enum State {
    Ready(Box<Cursor>),
    Reading(JoinHandle<(Box<Cursor>, Result<Step>, Lag)>),
    Waiting(Box<Cursor>, Instant),
    /// Until what stands before the position is committed.
    Held(Box<Cursor>, i64),
    Ended,
}

impl Tail {
    /// Reads with `cursor`; looks at a quiet file every `poll_interval`.
    pub fn new(cursor: Cursor, poll_interval: Duration) -> Self {
        let (points, split) = cursor.points();
        let has_end = cursor.stops_at_end();
        let state = State::Ready(Box::new(cursor));
        let (quiet_looks, lag, cut_off) = (0, Lag::default(), None);
        let room = 0;
        Self { state, poll_interval, quiet_looks, lag, room, points, split, has_end, cut_off }
    }

    /// Reads nothing, as nothing is left.
    pub fn ended(split: SplitId, points: Arc<Points>) -> Self {
        let (state, lag, poll_interval) = (State::Ended, Lag::default(), Duration::ZERO);
        let (quiet_looks, room, has_end, cut_off) = (0, 0, true, None);
        Self { state, poll_interval, quiet_looks, lag, room, points, split, has_end, cut_off }
    }

    /// Ends with a position, behind which the file was cut off.
    pub fn with_cut_off(self, cut_off: Option<Position>) -> Self {
        Self { cut_off, ..self }
    }

    /// Waits for the step in work, and starts the next one.
    async fn step(&mut self) -> Result<Option<Step>> {
        if let State::Waiting(_, until) = &self.state {
            tokio::time::sleep_until(*until).await;
        }
        if let State::Held(..) = &self.state {
            // An acknowledgement drops this call and makes another one.
            std::future::pending::<()>().await;
        }
        self.start();
        let State::Reading(job) = &mut self.state else { return Ok(None) };
        let (cursor, outcome, lag) = job.await.bug("a thread that reads a file failed")?;
        self.state = State::Ready(cursor);
        self.lag = lag;
        let step = outcome?;
        match step.then {
            Then::Read => self.start(),
            Then::Wait => self.pause(step.batch.is_none()),
            Then::Hold => self.hold(step.batch.as_ref()),
            Then::End => self.state = State::Ended,
        }
        Ok(Some(step))
    }

    fn start(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ready(mut cursor) | State::Waiting(mut cursor, _) => {
                self.room = cursor.room();
                State::Reading(tokio::task::spawn_blocking(move || {
                    let outcome = cursor.step();
                    let (bytes, held) = (cursor.left(), cursor.held());
                    (cursor, outcome, Lag { bytes, held, ..Lag::default() })
                }))
            }
            other => other,
        };
    }

    fn hold(&mut self, batch: Option<&ReadBatch>) {
        let Some(batch) = batch else { return self.pause(true) };
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ready(cursor) => State::Held(cursor, batch.next.at),
            other => other,
        };
    }

    fn pause(&mut self, is_quiet: bool) {
        self.quiet_looks = if is_quiet { self.quiet_looks.saturating_add(1) } else { 0 };
        let factor = (1 + self.quiet_looks / 8).min(PAUSE_FACTOR_MAX);
        let pause = self.poll_interval * factor;
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ready(cursor) => {
                let settles_in = cursor.settles_in().unwrap_or(pause);
                let pause = pause.min(settles_in.max(self.poll_interval));
                State::Waiting(cursor, Instant::now() + pause)
            }
            other => other,
        };
    }
}

#[async_trait]
impl SplitReader for Tail {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        while let Some(step) = self.step().await? {
            if step.batch.is_some() {
                return Ok(step.batch);
            }
        }
        let none = || RecordBatch::new_empty(message_schema());
        Ok(self.cut_off.take().map(|next| ReadBatch::new(none(), next)))
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.points.acknowledge(&self.split, position.at);
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Held(cursor, until) if position.at >= until => State::Ready(cursor),
            other => other,
        };
        Ok(())
    }

    fn rest(&self) -> Rest {
        match &self.state {
            // Its descriptor is all that is left of it.
            State::Waiting(cursor, _) if cursor.is_removed() => Rest::None,
            State::Waiting(cursor, _) => match cursor.settles_in() {
                // One that left its place for so short a time would come back for it at once, and
                // never look.
                Some(time) if time <= self.poll_interval => Rest::None,
                Some(time) => Rest::AtMost(time),
                None => Rest::UntilChanged,
            },
            State::Held(..) => Rest::OnceCommitted,
            State::Ended if self.has_end => Rest::UntilChanged,
            State::Ready(_) | State::Reading(_) | State::Ended => Rest::None,
        }
    }

    fn lag(&self) -> Lag {
        let held = self.lag.held.map_or(0, |held| usize::try_from(held.bytes).unwrap_or(0));
        let block = if let State::Reading(_) = self.state { self.room } else { 0 };
        Lag { fetched_bytes: held + block, ..self.lag }
    }
}
