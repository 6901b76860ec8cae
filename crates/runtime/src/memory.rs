//! The memory of a pipeline, divided into shares by name: batches under way, states of steps,
//! writers, what sources fetch ahead, queues of client libraries.
//!
//! Whoever holds memory says how much, and each share has its own way to stop growing: batches wait
//! for room, a state that is too large is refused, a writer that holds too much has the epoch
//! ended, no further split is opened while too much is fetched, and clients are given bounds.
//!
//! Invariant: the shares together are no larger than the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::sink::{Footprint, Rejects, WriterContext};

use crate::flow::Budget;
use crate::graph::Pipeline;

/// What the writers of dead letters may hold of the limit, in hundredths; the other writers share
/// the rest of what writers may.
const DEAD_LETTERS_PERCENT: u64 = 5;
/// What a writer gets at least, into however many lineages the share is divided.
const WRITER_BYTES_MIN: u64 = 4 * MIB;
/// What a writer of dead letters gets at least.
const DEAD_LETTERS_BYTES_MIN: u64 = MIB;
/// What the client of a writer gets at least.
const CLIENT_BYTES_MIN: u64 = MIB;
const MIB: u64 = 1 << 20;

/// A share of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// Batches under way, with all that is made of them.
    Flow,
    /// States of steps.
    State,
    /// What writers gather and encode.
    Writers,
    /// What readers fetched and did not give yet.
    Fetch,
    /// What is on its way to sinks: queues of client libraries, requests, parts of uploads.
    Clients,
}

impl Portion {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Flow, Self::State, Self::Writers, Self::Fetch, Self::Clients];

    /// Its name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::State => "state",
            Self::Writers => "writers",
            Self::Fetch => "fetch",
            Self::Clients => "clients",
        }
    }

    /// Its part of the limit, in hundredths.
    const fn percent(self) -> u64 {
        match self {
            Self::Flow => 12,
            // What `dedupe` takes by default has room in the default limit.
            Self::State => 27,
            Self::Writers => 38,
            Self::Fetch => 8,
            Self::Clients => 15,
        }
    }

    /// Its bytes of a limit.
    pub fn of(self, limit: u64) -> u64 {
        part(limit, self.percent())
    }

    /// The limit of which so many bytes are this share.
    pub fn whole(self, bytes: u64) -> u64 {
        bytes.saturating_mul(100).div_ceil(self.percent())
    }
}

fn part(limit: u64, percent: u64) -> u64 {
    limit / 100 * percent + limit % 100 * percent / 100
}

/// The memory of a pipeline in a process: what its parts may hold, and what they hold.
#[derive(Clone, Debug)]
pub struct Memory {
    limit: u64,
    /// Bytes of batches that may be under way.
    pub budget: Budget,
    held: Arc<[AtomicUsize; Portion::ALL.len()]>,
    /// Bytes of refused rows that wait for the decision, of all writers.
    refused: Arc<AtomicUsize>,
}

impl Memory {
    /// Nothing is held yet.
    pub fn new(limit: u64) -> Self {
        let budget = Budget::new(usize::try_from(Portion::Flow.of(limit)).unwrap_or(usize::MAX));
        Self { limit, budget, held: Arc::default(), refused: Arc::default() }
    }

    /// The limit of all shares together.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes of a share.
    pub fn share(&self, portion: Portion) -> u64 {
        portion.of(self.limit)
    }

    /// Bytes of a share that are held.
    pub fn held(&self, portion: Portion) -> u64 {
        match portion {
            Portion::Flow => self.budget.used() as u64,
            _ => self.counter(portion).load(Ordering::Relaxed) as u64,
        }
    }

    /// Whether less is held of a share than may be.
    pub fn has_room(&self, portion: Portion) -> bool {
        self.held(portion) < self.share(portion)
    }

    /// Somebody holds nothing of a share yet.
    pub fn holding(&self, portion: Portion) -> Holding {
        Holding { memory: self.clone(), portion, bytes: 0 }
    }

    fn counter(&self, portion: Portion) -> &AtomicUsize {
        &self.held[portion as usize]
    }
}

/// What one part of a pipeline holds; nothing once it is gone.
#[derive(Debug)]
pub struct Holding {
    memory: Memory,
    portion: Portion,
    bytes: usize,
}

impl Holding {
    /// It holds so much now.
    pub fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes != before {
            let counter = self.memory.counter(self.portion);
            counter.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// What a writer holds, of two shares.
#[derive(Debug)]
pub struct WriterHolding {
    /// What it may hold of its own.
    most: usize,
    own: Holding,
    clients: Holding,
    refused: usize,
}

impl WriterHolding {
    /// A writer that holds nothing yet, and may hold so much of its own.
    pub fn new(memory: &Memory, most: usize) -> Self {
        let (own, clients) = (memory.holding(Portion::Writers), memory.holding(Portion::Clients));
        Self { most, own, clients, refused: 0 }
    }

    /// It holds so much now. Whether that is more than it may, or than all may of refused rows.
    pub fn set(&mut self, footprint: Footprint) -> bool {
        self.own.set(footprint.own);
        self.clients.set(footprint.clients);
        let all = self.refuse(footprint.refused);
        let is_crowded = footprint.refused > 0 && all >= Rejects::BYTES_MAX;
        footprint.own > self.most || is_crowded
    }

    /// It holds so many bytes of refused rows now; those of all.
    fn refuse(&mut self, bytes: usize) -> usize {
        let counter = &self.own.memory.refused;
        let more = bytes.wrapping_sub(std::mem::replace(&mut self.refused, bytes));
        counter.fetch_add(more, Ordering::Relaxed).wrapping_add(more)
    }
}

impl Drop for WriterHolding {
    fn drop(&mut self) {
        self.refuse(0);
    }
}

/// The bytes that the readers of one source may hold.
pub fn fetch_bytes(pipeline: &Pipeline) -> usize {
    let share = Portion::Fetch.of(pipeline.settings.memory_limit);
    usize::try_from(share / pipeline.sources.len().max(1) as u64).unwrap_or(usize::MAX)
}

/// The bytes that the state of one step may take.
pub fn state_bytes(pipeline: &Pipeline) -> u64 {
    let steps = pipeline.steps.iter().filter(|node| node.step.stateful()).count();
    Portion::State.of(pipeline.settings.memory_limit) / steps.max(1) as u64
}

/// The memory limit at which the state of one step may take so many bytes.
pub fn limit_for_state(pipeline: &Pipeline, bytes: u64) -> u64 {
    let steps = pipeline.steps.iter().filter(|node| node.step.stateful()).count();
    limit_for(pipeline, Portion::State.whole(bytes.saturating_mul(steps.max(1) as u64)))
}

/// What people set for a pipeline to get so many bytes: it is divided among the pipelines of the
/// process.
pub fn limit_for(pipeline: &Pipeline, bytes: u64) -> u64 {
    let (whole, share) = (pipeline.memory_divided, pipeline.settings.memory_limit.max(1));
    let limit = (u128::from(bytes) * u128::from(whole)).div_ceil(u128::from(share));
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// The memory limit at which the writers of so many lineages have what they need at least.
pub fn writers_need(pipeline: &Pipeline, lineages: u64) -> u64 {
    let sinks = pipeline.dead_letter_sink().max(1) as u64;
    let percent = Portion::Writers.percent() - DEAD_LETTERS_PERCENT;
    WRITER_BYTES_MIN * lineages * sinks * 100 / percent
}

/// Who writes into a sink of a pipeline, and with which means, where so many lineages share them.
pub fn writer_context(
    pipeline: &Pipeline,
    lineages: u64,
    sink: usize,
    incarnation: u32,
) -> WriterContext {
    let node = &pipeline.sinks[sink];
    let limit = pipeline.settings.memory_limit;
    let dead_letters = pipeline.dead_letter_sink();
    let sinks = dead_letters.max(1) as u64;
    let rest = Portion::Writers.percent() - DEAD_LETTERS_PERCENT;
    let (whole, least) = match sink == dead_letters {
        true => (part(limit, DEAD_LETTERS_PERCENT), DEAD_LETTERS_BYTES_MIN),
        false => (part(limit, rest) / sinks, WRITER_BYTES_MIN),
    };
    let clients = Portion::Clients.of(limit) / (sinks + 1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    WriterContext {
        pipeline: pipeline.name.clone(),
        sink: node.name.clone(),
        incarnation,
        writer_id: format!("{:016x}", rand::random::<u64>()),
        schema: node.schema.clone(),
        memory_bytes: one_of(lineages, whole, least),
        client_bytes: one_of(lineages, clients, CLIENT_BYTES_MIN),
        threads: (threads / usize::try_from(lineages).unwrap_or(usize::MAX)).max(1),
    }
}

/// What one of several lineages gets, and at least, as long as there is so much.
fn one_of(lineages: u64, whole: u64, least: u64) -> usize {
    usize::try_from((whole / lineages).max(least.min(whole))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_are_no_larger_than_the_limit() {
        for limit in [0, 1, 99, 12_345, 256 * MIB, u64::MAX] {
            let shares = Portion::ALL.map(|portion| u128::from(portion.of(limit)));
            assert!(shares.iter().sum::<u128>() <= u128::from(limit), "{limit}: {shares:?}");
        }
        for portion in Portion::ALL {
            assert!(portion.of(portion.whole(77 * MIB)) >= 77 * MIB, "{}", portion.name());
        }
    }

    #[test]
    fn refused_rows_of_all_writers_are_bounded_together() {
        let memory = Memory::new(100 * MIB);
        let holds = |refused| Footprint { refused, ..Footprint::default() };
        let mut writers: Vec<_> = (0..3).map(|_| WriterHolding::new(&memory, 1 << 30)).collect();
        assert!(!writers[0].set(holds(Rejects::BYTES_MAX / 2)));
        assert!(writers[1].set(holds(Rejects::BYTES_MAX / 2)), "both together are too many");
        assert!(!writers[2].set(holds(0)), "who refused nothing need not end its epoch");
        assert!(!writers[0].set(holds(0)));
        assert!(!writers[2].set(holds(1)));
        writers.clear();
        assert_eq!(memory.refused.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_held_follows_who_holds_it() {
        let memory = Memory::new(100 * MIB);
        let (mut one, mut other) = (memory.holding(Portion::State), memory.holding(Portion::State));
        one.set(20 << 20);
        other.set(8 << 20);
        assert_eq!(memory.held(Portion::State), 28 * MIB);
        assert!(!memory.has_room(Portion::State) && memory.has_room(Portion::Writers));
        one.set(1 << 20);
        assert!(memory.has_room(Portion::State));
        drop(other);
        assert_eq!(memory.held(Portion::State), MIB);
        drop(one);
        assert_eq!(memory.held(Portion::State), 0);
    }
}
