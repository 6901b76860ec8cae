//! Where the event time of a step is looked at: on all rows, where its column is made, before
//! anything below leaves rows out. Who gives rows that are all left out is no silent split.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use contract::{Error, Result};
use plan::Plan;

use crate::graph::{Consumer, Pipeline};
use crate::replay::narrow::{self, Giver};

/// A column of what leaves a node, by which the event time of a step is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The step, by number.
    pub step: usize,
    /// The index of the column.
    column: usize,
    /// Times further ahead of the epoch tell nothing.
    ahead_us: i64,
}

impl Measure {
    /// The greatest time of rows in an epoch of this moment; none if none tells one.
    ///
    /// # Errors
    /// Bug: the column holds no times.
    pub fn greatest(&self, batch: &RecordBatch, now_us: i64) -> Result<Option<i64>> {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = cast(batch.column(self.column), &micros)
            .map_err(|error| Error::bug("a time column holds no time").because(error))?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let latest = now_us.saturating_add(self.ahead_us);
        Ok(match arrow::compute::max(times) {
            Some(greatest) if greatest > latest => {
                let valid = (0..times.len()).filter(|row| times.is_valid(*row));
                valid.map(|row| times.value(row)).filter(|time| *time <= latest).max()
            }
            greatest => greatest,
        })
    }
}

/// Finds these places for every step that has an event time.
///
/// # Errors
/// Config, at the step: its column is made below a step with a state, whose rows come later than
/// the readers say how far they are.
pub fn measure(plan: &Plan, pipeline: &mut Pipeline) -> Result<()> {
    for step in 0..pipeline.steps.len() {
        let Some(time) = pipeline.steps[step].step.event_time() else { continue };
        let ahead_us = i64::try_from(time.ahead_max.as_micros()).unwrap_or(i64::MAX);
        let name = time.column.clone();
        let places = made_at(pipeline, step, &name)
            .map_err(|error| error.at(&plan.transforms[step].place))?;
        for giver in places {
            let schema = narrow::schema_of(pipeline, giver);
            let column = schema
                .index_of(&name)
                .map_err(|error| Error::bug("a column of times is lost").because(error))?;
            let measure = Measure { step, column, ahead_us };
            narrow::consumers_mut(pipeline, giver).measures.push(measure);
        }
    }
    Ok(())
}

/// The nodes that make the column of a step, each once.
fn made_at(pipeline: &Pipeline, step: usize, column: &str) -> Result<Vec<Giver>> {
    let mut places = Vec::new();
    let mut open = vec![step];
    while let Some(node) = open.pop() {
        for (giver, _) in narrow::leading_to(pipeline, Consumer::Step(node)) {
            match giver {
                Giver::Step(above, _) if pipeline.steps[above].step.passes_on(column) => {
                    open.push(above);
                }
                Giver::Step(above, _) if has_state(pipeline, above) => {
                    return Err(below_a_state(pipeline, step, column, above));
                }
                place if places.contains(&place) => {}
                place => places.push(place),
            }
        }
    }
    Ok(places)
}

/// Whether rows of a step have passed a step with a state.
fn has_state(pipeline: &Pipeline, step: usize) -> bool {
    let mut open = vec![step];
    while let Some(node) = open.pop() {
        if pipeline.steps[node].step.stateful() {
            return true;
        }
        for (giver, _) in narrow::leading_to(pipeline, Consumer::Step(node)) {
            if let Giver::Step(above, _) = giver {
                open.push(above);
            }
        }
    }
    false
}

fn below_a_state(pipeline: &Pipeline, step: usize, column: &str, above: usize) -> Error {
    let (name, maker) = (&pipeline.steps[step].name, &pipeline.steps[above].name);
    Error::config(format!(
        "transform {name:?} needs the time {column:?} of its rows before they meet a step with a \
         state, and {maker:?} makes it behind one"
    ))
    .hint("make the column above the first step with a state")
}
