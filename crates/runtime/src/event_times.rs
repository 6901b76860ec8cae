//! How far the event time of every step has come in an attempt, and what the steps hold.
//!
//! What stands at a barrier is brought to the watermarks here; what a watermark is, they say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use chrono::DateTime;
use contract::transform::{Close, Held};
use state::Checkpoint;
use state::checkpoint::StepTime;
use tracing::warn;

use crate::attempt::{LastReport, watermark_of};
use crate::graph::{Consumer, Pipeline};
use crate::owner::Owner;
use crate::reader_task::{ReaderHandle, ReaderReport};
use crate::replay::narrow::{self, Giver};
use crate::standing::{HeldBy, Hold, written};
use crate::watermarks::{Barrier, Holder, Running, Stand, Watermark};

/// How the splits of an attempt are, apart from their readers, by number of source.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// The sources of which splits wait for a reader, or that did not say yet which they have.
    pub waiting: BTreeSet<usize>,
    /// The sources of which a split failed and is to be tried again.
    pub failed: BTreeSet<usize>,
}

/// The watermarks of the steps that have an event time.
pub struct EventTimes {
    /// By number of step.
    watermarks: BTreeMap<usize, Watermark>,
    /// By number of step, the sources above it: no other one holds it.
    above: BTreeMap<usize, BTreeSet<usize>>,
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
        let mut above = BTreeMap::new();
        for (number, node) in owner.pipeline.steps.iter().enumerate() {
            let Some(time) = node.step.event_time() else { continue };
            // Where there is an end, what did not change is at it.
            let rests = checkpoint.roster.iter().filter(|_| follows);
            let rests =
                rests.filter_map(|(split, state)| Some((split, *state.times.get(&node.name)?)));
            let us = watermark_of(checkpoint, &node.name);
            watermarks.insert(number, Watermark::new(time.clone(), us, rests));
            above.insert(number, sources_above(&owner.pipeline, number));
            let known = checkpoint.times.get(&node.name).copied().unwrap_or_default();
            held.insert(number, held_of(&known));
        }
        let interval = owner.pipeline.settings.epoch_interval;
        let running = Running::new(Instant::now(), interval);
        let waiting = owner.sources().map(|(number, _)| number).collect();
        let others = Others { waiting, failed: BTreeSet::new() };
        Self { watermarks, above, held, running, follows, others, flushes: false }
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
        let left = left.iter().map(|(split, report)| (split, report));
        let reading = readers.iter().map(|reader| &reader.split).zip(reports);
        let all: Vec<_> = left.chain(reading).collect();
        for (step, watermark) in &mut self.watermarks {
            let Some(above) = self.above.get(step) else { continue };
            let feeding = all.iter().filter(|(split, _)| above.contains(&split.source));
            let stands = feeding.map(|(split, report)| Stand {
                split: split.index,
                greatest: report.tally.times.get(&(split.index, *step)).copied(),
                gave: !report.read_at.is_empty(),
                is_at_end: report.is_at_end,
                is_over: report.ended,
            });
            let stands: Vec<_> = stands.collect();
            let waits = !self.others.waiting.is_disjoint(above);
            let has_failed = !self.others.failed.is_disjoint(above);
            let follows = self.follows;
            watermark.advance(&Barrier { ran, splits: &stands, waits, has_failed, follows });
        }
    }

    /// Moves all of them to where they stood behind a barrier that is passed once more.
    pub fn stand_at(&mut self, owner: &Owner, recorded: &Checkpoint) {
        for (step, watermark) in &mut self.watermarks {
            let us = watermark_of(recorded, &owner.pipeline.steps[*step].name);
            us.into_iter().for_each(|us| watermark.raise(us));
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

    /// Who holds the event time of which step where it stands.
    pub fn holds(&self, owner: &Owner) -> Vec<Hold> {
        let all = self.watermarks.iter().filter_map(|(step, watermark)| {
            let (holder, since) = watermark.holder()?;
            let (by, split) = match holder {
                Holder::Waiting => (HeldBy::Waiting, None),
                Holder::Failed => (HeldBy::Failed, None),
                Holder::Split(number) => (HeldBy::Split, Some(number)),
            };
            let since = SystemTime::now() - self.running.so_far().saturating_sub(since);
            let step = owner.pipeline.steps[*step].name.clone();
            Some(Hold { step, by, split, since: written(since) })
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

/// The sources whose rows reach a step.
pub fn sources_above(pipeline: &Pipeline, step: usize) -> BTreeSet<usize> {
    let (mut sources, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![step]);
    while let Some(node) = open.pop() {
        for (giver, _) in narrow::leading_to(pipeline, Consumer::Step(node)) {
            match giver {
                Giver::Source(source) => drop(sources.insert(source)),
                Giver::Step(above, _) if seen.insert(above) => open.push(above),
                Giver::Step(..) => {}
            }
        }
    }
    sources
}

fn held_of(time: &StepTime) -> Held {
    let StepTime { watermark_us, windows, rows, first_us, last_us } = *time;
    Held { rows, windows, first_us, last_us, watermark_us }
}
