//! The keys within the horizon, oldest first, and their form in a checkpoint.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

/// What a snapshot begins with: the version of its form.
const SNAPSHOT_VERSION: u8 = 1;
/// The version, then the greatest time.
const HEADER_BYTES: usize = 9;
/// A key, then the greatest time seen when it came.
const ENTRY_BYTES: usize = 24;

/// Keys that were seen and are not yet forgotten.
pub struct Memory {
    keys_max: usize,
    known: HashSet<u128>,
    /// The keys in the order in which they came, each with the greatest time seen until then.
    order: VecDeque<(u128, i64)>,
    greatest_time: i64,
}

impl Memory {
    /// An empty memory for so many keys.
    pub fn new(keys_max: usize) -> Self {
        let (known, order) = (HashSet::new(), VecDeque::new());
        Self { keys_max, known, order, greatest_time: i64::MIN }
    }

    /// Moves event time on, never back, and forgets the keys that it leaves behind.
    pub fn move_to(&mut self, time: i64, span: i64) {
        if time <= self.greatest_time {
            return;
        }
        self.greatest_time = time;
        let oldest = time.saturating_sub(span);
        while self.order.front().is_some_and(|(_, seen)| *seen < oldest) {
            self.forget_one();
        }
    }

    /// Remembers a key; says whether it is new.
    pub fn take_in(&mut self, key: u128) -> bool {
        if !self.known.insert(key) {
            return false;
        }
        self.order.push_back((key, self.greatest_time));
        if self.order.len() > self.keys_max {
            self.forget_one();
        }
        true
    }

    fn forget_one(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.known.remove(&key);
        }
    }

    /// What it takes, about: a table of keys that is full to 7/8 at most, with a byte beside each
    /// key, and the queue.
    pub fn bytes(&self) -> u64 {
        let table = self.known.capacity() / 7 * 8 * (size_of::<u128>() + 1);
        (table + self.order.capacity() * size_of::<(u128, i64)>()) as u64
    }

    /// The form in a checkpoint.
    pub fn write(&self) -> Bytes {
        let mut state = Vec::with_capacity(HEADER_BYTES + self.order.len() * ENTRY_BYTES);
        state.push(SNAPSHOT_VERSION);
        state.extend(self.greatest_time.to_le_bytes());
        for (key, time) in &self.order {
            state.extend(key.to_le_bytes());
            state.extend(time.to_le_bytes());
        }
        state.into()
    }

    /// Takes up what [`Memory::write`] gave; nothing if it is something else.
    pub fn read(state: &[u8], keys_max: usize) -> Option<Self> {
        let (header, entries) = state.split_at_checked(HEADER_BYTES)?;
        if header[0] != SNAPSHOT_VERSION || entries.len() % ENTRY_BYTES != 0 {
            return None;
        }
        let mut memory = Self::new(keys_max);
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (key, time) = entry.split_at(16);
            memory.greatest_time = i64::from_le_bytes(time.try_into().ok()?);
            memory.take_in(u128::from_le_bytes(key.try_into().ok()?));
        }
        memory.greatest_time = i64::from_le_bytes(header[1..].try_into().ok()?);
        Some(memory)
    }
}
