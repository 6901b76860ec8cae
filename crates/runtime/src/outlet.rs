//! The way out of a task: to sinks, to stateful steps, to the dead letters.
//!
//! Batches of sources pass one lock on their way, and the order in which they pass it is recorded
//! as the epoch's cuts. So every stateful step sees them in one order, and a replay can give the
//! same one.

use std::collections::HashMap;
use std::sync::Arc;

use contract::{Position, Result, failpoint};
use state::checkpoint::Cut;
use tokio::sync::Mutex;

use crate::chain::Passed;
use crate::dead_letters;
use crate::flow::{Parcel, Queue, Share, SplitContext, send};
use crate::graph::{Consumer, Pipeline};
use crate::sink_task::SinkMessage;
use crate::step_task::StepMessage;

/// The queues of an attempt, and the order in which batches entered them.
pub struct Outlet {
    pipeline: Arc<Pipeline>,
    /// By number of step; none for stateless ones.
    steps: Vec<Option<Queue<StepMessage>>>,
    /// By number of sink; none where a replay leaves a sink out.
    sinks: Vec<Option<Queue<SinkMessage>>>,
    cuts: Mutex<Cuts>,
}

/// How many marks of all batches of an epoch are kept, about: the checkpoint holds them.
const MARKS_MAX: usize = 256;

/// The ranges that an epoch has read so far, with every so manieth of their marks.
#[derive(Default)]
struct Cuts {
    all: Vec<Cut>,
    /// Marks in them.
    marks: usize,
    /// Marks that were given, and how often they were thinned out.
    given: usize,
    thinned: u32,
}

/// A batch that was read.
pub struct Read<'a> {
    /// Its split.
    pub split: &'a Arc<SplitContext>,
    /// Its first record.
    pub from: Option<Position>,
    /// The record after its last.
    pub to: Position,
    /// Places inside that its source marked.
    pub marks: Vec<Position>,
}

impl Outlet {
    /// Outlets into the queues of steps and sinks.
    pub fn new(
        pipeline: Arc<Pipeline>,
        steps: Vec<Option<Queue<StepMessage>>>,
        sinks: Vec<Option<Queue<SinkMessage>>>,
    ) -> Self {
        Self { pipeline, steps, sinks, cuts: Mutex::default() }
    }

    /// The queue of a stateful step.
    pub fn step(&self, step: usize) -> Option<&Queue<StepMessage>> {
        self.steps[step].as_ref()
    }

    /// The queue of a sink.
    pub fn sink(&self, sink: usize) -> Option<&Queue<SinkMessage>> {
        self.sinks[sink].as_ref()
    }

    /// Sends on what came of a batch that was read, and records its cut.
    ///
    /// # Errors
    /// Retryable External: a receiver is gone.
    pub async fn send_read(
        &self,
        read: Read<'_>,
        passed: Passed,
        share: Share,
        now_us: i64,
    ) -> Result<()> {
        let mut cuts = self.cuts.lock().await;
        let Read { split, from, to, marks } = read;
        cuts.push(Cut { split: split.index, from, to, marks });
        failpoint::reach("flow.batch").await?;
        self.send_made(split, passed, share, now_us).await
    }

    /// Sends on what a step made.
    ///
    /// # Errors
    /// Retryable External: a receiver is gone.
    pub async fn send_made(
        &self,
        split: &Arc<SplitContext>,
        passed: Passed,
        share: Share,
        now_us: i64,
    ) -> Result<()> {
        for (target, records) in passed.leaving {
            let parcel = Parcel { split: split.clone(), records, now_us, share: share.clone() };
            match target {
                Consumer::Step(step) => {
                    let Some(queue) = &self.steps[step] else { continue };
                    send(queue, StepMessage::Rows(parcel)).await?;
                }
                Consumer::Sink(sink) => {
                    let Some(queue) = &self.sinks[sink] else { continue };
                    send(queue, SinkMessage::Rows(parcel)).await?;
                }
            }
        }
        let Some(queue) = &self.sinks[self.pipeline.dead_letter_sink()] else { return Ok(()) };
        if passed.dead_letters.is_empty() {
            return Ok(());
        }
        let records = dead_letters::batch(&self.pipeline.name, now_us, &passed.dead_letters)?;
        let parcel = Parcel { split: split.clone(), records, now_us, share };
        send(queue, SinkMessage::Rows(parcel)).await
    }

    /// Takes the cuts of the epoch that ends. Neighbours in one split become one; without
    /// stateful steps order does not matter and each split has one cut.
    pub async fn take_cuts(&self) -> Vec<Cut> {
        let cuts = std::mem::take(&mut *self.cuts.lock().await);
        let is_ordered = self.pipeline.steps.iter().any(|node| node.step.stateful());
        merged(cuts.all, is_ordered)
    }
}

impl Cuts {
    /// Adds a range. Its marks and those of all before are thinned out evenly.
    fn push(&mut self, mut cut: Cut) {
        let every = 1 << self.thinned;
        cut.marks.retain(|_| {
            self.given += 1;
            self.given.is_multiple_of(every)
        });
        self.marks += cut.marks.len();
        self.all.push(cut);
        while self.marks > MARKS_MAX {
            let (mut number, mut kept) = (0_usize, 0);
            for cut in &mut self.all {
                cut.marks.retain(|_| {
                    number += 1;
                    number.is_multiple_of(2)
                });
                kept += cut.marks.len();
            }
            (self.marks, self.thinned) = (kept, self.thinned + 1);
        }
    }
}

/// Cuts of which those that follow each other in their split are one, where no cut of another split
/// stands between them or order does not matter.
fn merged(cuts: Vec<Cut>, is_ordered: bool) -> Vec<Cut> {
    let mut merged: Vec<Cut> = Vec::new();
    // By split, the place of its cut that may go on.
    let mut newest: HashMap<usize, usize> = HashMap::new();
    for cut in cuts {
        let place = newest.get(&cut.split).copied();
        match place.filter(|place| !is_ordered || place + 1 == merged.len()) {
            Some(place) => {
                merged[place].to = cut.to;
                merged[place].marks.extend(cut.marks);
            }
            None => {
                newest.insert(cut.split, merged.len());
                merged.push(cut);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_of_one_split_are_one_unless_a_step_sees_their_order() {
        let check = |is_ordered: bool, expect: &[(usize, i64, i64)]| {
            let cuts = [(7, 0, 2), (7, 2, 5), (3, 0, 1), (7, 5, 6), (3, 1, 4), (3, 4, 5)];
            let cuts = cuts.map(|(split, from, to)| Cut {
                split,
                from: Some(Position::new(from)),
                to: Position::new(to),
                marks: vec![Position::new(from)],
            });
            let found = merged(cuts.to_vec(), is_ordered).into_iter();
            let marks: usize = found.as_slice().iter().map(|cut| cut.marks.len()).sum();
            assert_eq!(marks, cuts.len());
            let at = |position: Option<Position>| position.map_or(-1, |position| position.at);
            let found: Vec<_> = found.map(|cut| (cut.split, at(cut.from), cut.to.at)).collect();
            assert_eq!(found, expect);
        };
        check(false, &[(7, 0, 6), (3, 0, 5)]);
        check(true, &[(7, 0, 5), (3, 0, 1), (7, 5, 6), (3, 1, 5)]);
    }

    #[test]
    fn marks_of_a_long_epoch_are_few_and_lie_all_over_it() {
        let mut cuts = Cuts::default();
        for batch in 0..10_000 {
            let marks = (0..15).map(|mark| Position::new(batch * 100 + mark)).collect();
            let (from, to) = (Some(Position::new(batch * 100)), Position::new(batch * 100 + 100));
            cuts.push(Cut { split: 0, from, to, marks });
        }
        let marks: Vec<_> = cuts.all.iter().flat_map(|cut| &cut.marks).map(|it| it.at).collect();
        assert_eq!(marks.len(), cuts.marks);
        assert!((MARKS_MAX / 2 - 1..=MARKS_MAX).contains(&marks.len()), "{}", marks.len());
        let most = marks.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(most.is_some_and(|most| most < 1_000_000 / MARKS_MAX as i64 * 3), "{most:?}");
    }
}
