//! Numbers the ways by which rows of one split come to one place.
//!
//! A record that reaches a node by two ways makes two rows of one origin there. Where ways from one
//! split meet, each way has a number from 1, and the number of a row is made of the one that it had
//! and that of its way, so that no two rows of a record have one number, and the number tells the
//! way back. 0 is the row that was never numbered.

use std::collections::BTreeSet;

use contract::{Error, Result};
use plan::{Input, NodeRef, Plan};

/// From these rules on, rows of several ways are numbered.
const NUMBERED_FROM: u32 = 2;

/// One of several ways that lead to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its number, from 1; 0 where no two ways come from one split.
    number: i64,
    /// One more than there are ways.
    base: i64,
}

impl Branch {
    /// The way with this index, from 0, of so many.
    pub fn new(index: usize, ways: usize) -> Self {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Self { number: whole(index + 1), base: whole(ways + 1) }
    }

    /// A way whose rows keep their numbers.
    pub fn only() -> Self {
        Self { number: 0, base: 1 }
    }

    /// The way whose rows have numbers as its [`Branch::parts`] say.
    pub fn with(number: i64, base: i64) -> Self {
        Self { number, base: base.max(1) }
    }

    /// What is added to a row's number, once that was multiplied by the second.
    pub fn parts(self) -> (i64, i64) {
        (self.number, self.base)
    }

    /// The number of a row that comes by this way.
    pub fn number(self, ordinal: i64) -> i64 {
        ordinal * self.base + self.number
    }

    /// The number that a row had before it came by this way; none if it did not.
    pub fn before(self, ordinal: i64) -> Option<i64> {
        (ordinal % self.base == self.number).then_some(ordinal / self.base)
    }
}

/// Where ways from one split meet.
pub struct Branches {
    steps: Vec<bool>,
    sinks: Vec<bool>,
}

/// What may come to a node.
#[derive(Clone, Default)]
struct Reached {
    /// The sources above it, by number.
    sources: BTreeSet<usize>,
    /// How many numbers its rows can have.
    numbers: i64,
}

impl Branches {
    /// Looks at the inputs of all nodes. `semantics` are the rules by which rows are made.
    ///
    /// # Errors
    /// Config: so many ways meet one behind the other that rows cannot be numbered.
    pub fn of(plan: &Plan, semantics: u32) -> Result<Self> {
        let mut reached: Vec<Reached> = Vec::new();
        let mut branches = Self { steps: Vec::new(), sinks: Vec::new() };
        let too_many = || {
            Error::config("too many ways meet, one behind the other, to number the rows of each")
                .hint("let fewer steps and sinks read several inputs")
        };
        for node in &plan.transforms {
            let meet = semantics >= NUMBERED_FROM && meet(plan, &node.inputs, &reached);
            let here = join(&node.inputs, &reached, meet).ok_or_else(too_many);
            reached.push(here.map_err(|error| error.at(&node.place))?);
            branches.steps.push(meet);
        }
        for node in &plan.sinks {
            let meet = semantics >= NUMBERED_FROM && meet(plan, &node.inputs, &reached);
            let here = join(&node.inputs, &reached, meet).ok_or_else(too_many);
            here.map_err(|error| error.at(&node.place))?;
            branches.sinks.push(meet);
        }
        Ok(branches)
    }

    /// Whether ways from one split meet in a step.
    pub fn meet_in_step(&self, number: usize) -> bool {
        self.steps[number]
    }

    /// Whether ways from one split meet in a sink.
    pub fn meet_in_sink(&self, number: usize) -> bool {
        self.sinks[number]
    }
}

fn reached_by(input: &Input, reached: &[Reached]) -> Reached {
    match input.node {
        NodeRef::Source(number) => Reached { sources: BTreeSet::from([number]), numbers: 1 },
        NodeRef::Transform(number) => reached[number].clone(),
    }
}

/// Whether two inputs may bring rows of one split: they come from one source, or from two of one
/// kind, which may name the same file or topic.
fn meet(plan: &Plan, inputs: &[Input], reached: &[Reached]) -> bool {
    let kinds = inputs.iter().map(|input| {
        let sources = reached_by(input, reached).sources;
        sources.iter().map(|source| plan.sources[*source].kind.as_str()).collect()
    });
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for kinds in kinds.collect::<Vec<BTreeSet<&str>>>() {
        if !known.is_disjoint(&kinds) {
            return true;
        }
        known.extend(kinds);
    }
    false
}

fn join(inputs: &[Input], reached: &[Reached], meet: bool) -> Option<Reached> {
    let mut all = Reached::default();
    for input in inputs {
        let one = reached_by(input, reached);
        all.sources.extend(one.sources);
        all.numbers = all.numbers.max(one.numbers);
    }
    if meet {
        all.numbers = all.numbers.checked_mul(i64::try_from(inputs.len() + 1).ok()?)?;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ways_give_one_number_and_each_number_tells_its_way_back() {
        let mut numbers = BTreeSet::from([0]);
        for first in 0..2 {
            for second in 0..3 {
                let (first, second) = (Branch::new(first, 2), Branch::new(second, 3));
                let number = second.number(Branch::only().number(first.number(0)));
                assert!(numbers.insert(number), "{number} was given twice");
                let before = second.before(number).and_then(|before| Branch::only().before(before));
                assert_eq!(before.and_then(|before| first.before(before)), Some(0));
            }
        }
        assert_eq!(Branch::new(0, 2).before(0), None, "a row that was never numbered has no way");
    }
}
