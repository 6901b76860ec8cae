//! How far event time has come: the watermark by which a step closes its windows.
//!
//! Pure: what stood at a barrier goes in, with the time that the process ran; the watermark comes
//! out. It never goes back, and only what was recorded with an epoch counts for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use contract::transform::EventTime;

/// The time that an attempt ran. A process that stood still has not looked either, so that what it
/// slept through counts as two intervals between barriers at most.
#[derive(Debug)]
pub struct Running {
    last: Instant,
    sum: Duration,
    step_max: Duration,
}

impl Running {
    /// Begins at 0, for barriers so far apart.
    pub fn new(now: Instant, interval: Duration) -> Self {
        Self { last: now, sum: Duration::ZERO, step_max: interval * 2 }
    }

    /// The time until it was asked for last.
    pub fn so_far(&self) -> Duration {
        self.sum
    }

    /// The time until now.
    pub fn until(&mut self, now: Instant) -> Duration {
        let step = now.saturating_duration_since(self.last).min(self.step_max);
        (self.last, self.sum) = (now, self.sum + step);
        self.sum
    }
}

/// How a split stood at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Its number in the checkpoint.
    pub split: usize,
    /// The greatest time of the rows since the last barrier.
    pub greatest: Option<i64>,
    /// Whether it gave rows since then.
    pub gave: bool,
    /// Whether all is read that there is.
    pub is_at_end: bool,
    /// Whether it is over, and gives nothing more in this run.
    pub is_over: bool,
}

/// What stood at a barrier.
#[derive(Clone, Copy, Debug)]
pub struct Barrier<'a> {
    /// The time that the attempt ran.
    pub ran: Duration,
    /// The splits that had a reader since the last one.
    pub splits: &'a [Stand],
    /// Whether splits wait for a reader, or a source did not say yet which it has.
    pub waits: bool,
    /// Whether a split failed and is to be tried again.
    pub has_failed: bool,
    /// Whether splits are followed; else they have an end.
    pub follows: bool,
}

/// Who holds a watermark where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Splits that wait for a reader, or a source that did not say yet which it has.
    Waiting,
    /// A split that cannot be read now.
    Failed,
    /// The split, by number, whose times are the least, or that gave none yet.
    Split(usize),
}

/// The watermark of one step.
#[derive(Debug)]
pub struct Watermark {
    time: EventTime,
    us: Option<i64>,
    splits: BTreeMap<usize, Split>,
    /// The greatest time that any split gave.
    greatest: Option<i64>,
    failing_since: Option<Duration>,
    /// The time up to which it went on by itself, while no split counts.
    alone_until: Option<Duration>,
    /// Who holds it, and since when.
    holder: Option<(Holder, Duration)>,
}

#[derive(Debug, Default)]
struct Split {
    greatest: Option<i64>,
    /// Since when it is at its end and gives nothing.
    quiet_since: Option<Duration>,
    is_idle: bool,
    /// Whether it is forgotten once it is idle.
    is_gone: bool,
}

impl Watermark {
    /// As the newest checkpoint has it, with the greatest time of each split that gave one and
    /// rests since.
    pub fn new(
        time: EventTime,
        us: Option<i64>,
        rests: impl Iterator<Item = (usize, i64)>,
    ) -> Self {
        let splits = rests.map(|(split, greatest)| {
            let quiet_since = Some(Duration::ZERO);
            (split, Split { greatest: Some(greatest), quiet_since, ..Split::default() })
        });
        let splits: BTreeMap<_, Split> = splits.collect();
        let greatest = splits.values().filter_map(|split| split.greatest).max();
        Self { time, us, splits, greatest, failing_since: None, alone_until: None, holder: None }
    }

    /// Where it stands, in microseconds since 1970; none before the first time.
    pub fn us(&self) -> Option<i64> {
        self.us
    }

    /// Who holds it where it stands, and since when the attempt runs with that.
    pub fn holder(&self) -> Option<(Holder, Duration)> {
        self.holder
    }

    /// Moves it to where it stands at a barrier.
    pub fn advance(&mut self, barrier: &Barrier<'_>) -> Option<i64> {
        self.note(barrier);
        if let Some(holder) = self.held(barrier) {
            self.alone_until = None;
            self.hold(Some(holder), barrier.ran);
            return self.us;
        }
        let counting = self.splits.iter().filter(|(_, split)| !split.is_idle);
        // Who has given no time yet holds it.
        match counting.map(|(number, split)| (split.greatest, *number)).min() {
            Some((least, number)) => {
                self.alone_until = None;
                self.hold(Some(Holder::Split(number)), barrier.ran);
                self.reach(least);
            }
            None => {
                self.hold(None, barrier.ran);
                self.go_on(barrier);
            }
        }
        self.us
    }

    fn hold(&mut self, holder: Option<Holder>, ran: Duration) {
        if self.holder.map(|(known, _)| known) != holder {
            self.holder = holder.map(|holder| (holder, ran));
        }
    }

    /// Moves it to a time, less the disorder, unless it is there already.
    fn reach(&mut self, time: Option<i64>) {
        let disorder = micros(self.time.disorder);
        self.us = self.us.max(time.map(|time| time.saturating_sub(disorder)));
    }

    /// Takes over from somewhere else how far it is.
    pub fn raise(&mut self, us: i64) {
        self.us = self.us.max(Some(us));
    }

    /// Nothing more comes of a split. What it gave still counts for as long as that of others that
    /// fall silent, so that the last windows of files that go do not depend on when they went.
    pub fn retire(&mut self, split: usize) {
        if let Some(split) = self.splits.get_mut(&split) {
            split.is_gone = true;
        }
    }

    fn note(&mut self, barrier: &Barrier<'_>) {
        let mut seen = BTreeSet::new();
        for stand in barrier.splits {
            seen.insert(stand.split);
            self.greatest = self.greatest.max(stand.greatest);
            if stand.is_over {
                self.splits.remove(&stand.split);
                continue;
            }
            let split = self.splits.entry(stand.split).or_default();
            split.greatest = split.greatest.max(stand.greatest);
            split.is_idle &= !stand.gave;
            split.quiet_since = match stand.gave || !stand.is_at_end {
                true => None,
                false => split.quiet_since.or(Some(barrier.ran)),
            };
        }
        for (number, split) in &mut self.splits {
            // What has no reader rests.
            if !seen.contains(number) {
                split.quiet_since.get_or_insert(barrier.ran);
            }
            let quiet = split.quiet_since.map(|since| barrier.ran.saturating_sub(since));
            split.is_idle |= barrier.follows && quiet.is_some_and(|quiet| quiet >= self.time.idle);
        }
        self.splits.retain(|_, split| !(split.is_gone && split.is_idle));
    }

    /// Who holds it that gives no times.
    fn held(&mut self, barrier: &Barrier<'_>) -> Option<Holder> {
        self.failing_since = match barrier.has_failed {
            true => self.failing_since.or(Some(barrier.ran)),
            false => None,
        };
        let failing = self.failing_since.is_some_and(|since| {
            let limit = self.time.hold_max;
            limit.is_zero() || !barrier.follows || barrier.ran.saturating_sub(since) < limit
        });
        match (failing, barrier.waits) {
            (true, _) => Some(Holder::Failed),
            (_, true) => Some(Holder::Waiting),
            (false, false) => None,
        }
    }

    /// No split counts: nobody holds it below the newest time, and what time goes by is all that
    /// moves it from there.
    fn go_on(&mut self, barrier: &Barrier<'_>) {
        if !barrier.follows {
            return;
        }
        self.reach(self.greatest);
        let before = self.alone_until.replace(barrier.ran).unwrap_or(barrier.ran);
        let step = micros(barrier.ran.saturating_sub(before));
        self.us = self.us.map(|us| us.saturating_add(step));
    }
}

fn micros(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
