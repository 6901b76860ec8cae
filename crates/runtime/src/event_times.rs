//! How far the event time of every step has come in an attempt, and what the steps hold.
//!
//! What stands at a barrier is brought to the watermarks here; what a watermark is, they say.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::DateTime;
use contract::transform::{Close, Held};
use state::Checkpoint;
use state::checkpoint::StepTime;
use tracing::warn;

use crate::attempt::{LastReport, watermark_of};
use crate::owner::Owner;
use crate::reader_task::{ReaderHandle, ReaderReport};
use crate::watermarks::{Barrier, Running, Stand, Watermark};

/// How the splits of an attempt are, apart from their readers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// Whether splits wait for a reader, or a source did not say yet which it has.
    pub waits: bool,
    /// Whether a split failed and is to be tried again.
    pub has_failed: bool,
}

/// The watermarks of the steps that have an event time.
pub struct EventTimes {
    /// By number of step.
    watermarks: BTreeMap<usize, Watermark>,
    /// What each step held at the last barrier.
    held: BTreeMap<usize, Held>,
    running: Running,
    follows: bool,
    /// How the splits are that have no reader.
    pub others: Others,
    /// Whether what is over by the clock is closed, as nothing more comes.
    pub flushes: bool,
}

impl EventTimes {
    /// As a checkpoint has them.
    pub fn of(owner: &Owner, checkpoint: &Checkpoint) -> Self {
        let follows = !owner.options.until_end;
        let (mut watermarks, mut held) = (BTreeMap::new(), BTreeMap::new());
        for (number, node) in owner.pipeline.steps.iter().enumerate() {
            let Some(time) = node.step.event_time() else { continue };
            // Where there is an end, what did not change is at it.
            let rests = checkpoint.roster.iter().filter(|_| follows);
            let rests =
                rests.filter_map(|(split, state)| Some((split, *state.times.get(&node.name)?)));
            let us = watermark_of(checkpoint, &node.name);
            watermarks.insert(number, Watermark::new(time.clone(), us, rests));
            let known = checkpoint.times.get(&node.name).copied().unwrap_or_default();
            held.insert(number, held_of(&known));
        }
        let interval = owner.pipeline.settings.epoch_interval;
        let running = Running::new(Instant::now(), interval);
        let others = Others { waits: true, has_failed: false };
        Self { watermarks, held, running, follows, others, flushes: false }
    }

    /// Moves all of them to where they stand at a barrier.
    pub fn advance(
        &mut self,
        (readers, reports): (&[ReaderHandle], &[ReaderReport]),
        left: &[LastReport],
    ) {
        if self.watermarks.is_empty() {
            return;
        }
        let ran = self.running.until(Instant::now());
        let left = left.iter().map(|(split, report)| (split.index, report));
        let reading = readers.iter().map(|reader| reader.split.index).zip(reports);
        let all: Vec<_> = left.chain(reading).collect();
        for (step, watermark) in &mut self.watermarks {
            let stands = all.iter().map(|(split, report)| Stand {
                split: *split,
                greatest: report.tally.times.get(&(*split, *step)).copied(),
                gave: !report.read_at.is_empty(),
                is_at_end: report.is_at_end,
                is_over: report.ended,
            });
            let stands: Vec<_> = stands.collect();
            let Others { waits, has_failed } = self.others;
            let follows = self.follows;
            watermark.advance(&Barrier { ran, splits: &stands, waits, has_failed, follows });
        }
    }

    /// What a step makes rows of at the barrier.
    pub fn close(&self, step: usize) -> Close {
        match self.watermarks.get(&step) {
            Some(_) if self.flushes => Close::Past,
            Some(watermark) => Close::Until(watermark.us()),
            None => Close::Until(None),
        }
    }

    /// Whether a step has something to make rows of, even if nothing was read.
    pub fn is_due(&self, now_us: i64) -> bool {
        self.held.iter().any(|(step, held)| {
            let us = self.watermarks.get(step).and_then(Watermark::us);
            let until = if self.flushes { us.max(Some(now_us)) } else { us };
            held.first_us.is_some_and(|first| until.is_some_and(|until| first <= until))
        })
    }

    /// Notes what a step holds behind a barrier.
    pub fn note(&mut self, step: usize, held: Held) {
        let Some(watermark) = self.watermarks.get_mut(&step) else { return };
        held.watermark_us.into_iter().for_each(|us| watermark.raise(us));
        self.held.insert(step, held);
    }

    /// A split retired: it gives nothing more.
    pub fn retire(&mut self, split: usize) {
        self.watermarks.values_mut().for_each(|watermark| watermark.retire(split));
    }

    /// What a checkpoint keeps of them.
    pub fn kept(&self, owner: &Owner) -> BTreeMap<String, StepTime> {
        let all = self.held.iter().map(|(step, held)| {
            let name = owner.pipeline.steps[*step].name.clone();
            let Held { rows, windows, first_us, last_us, watermark_us } = *held;
            (name, StepTime { watermark_us, windows, rows, first_us, last_us })
        });
        all.collect()
    }

    /// Says what stays open where a run ends.
    pub fn tell_of_open(&self, owner: &Owner) {
        for (step, held) in self.held.iter().filter(|(_, held)| held.windows > 0) {
            let step = owner.pipeline.steps[*step].name.as_str();
            let until = held.last_us.and_then(DateTime::from_timestamp_micros);
            let until = until.map(|until| until.to_rfc3339()).unwrap_or_default();
            let (windows, rows) = (held.windows, held.rows);
            warn!(step, windows, rows, until, "windows stay open until event time has passed them");
        }
    }
}

fn held_of(time: &StepTime) -> Held {
    let StepTime { watermark_us, windows, rows, first_us, last_us } = *time;
    Held { rows, windows, first_us, last_us, watermark_us }
}
