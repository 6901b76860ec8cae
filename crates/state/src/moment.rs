//! A moment by both clocks of the machine.
//!
//! The one that never goes back may stand still while the machine is suspended; the other may be
//! set. What counts is the longer time, because whoever slept must not think that it did not.

use std::time::{Duration, Instant, SystemTime};

/// When something was so.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// How long ago it was, at least.
    pub fn elapsed(&self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }

    /// The same moment, earlier by the wall clock.
    #[cfg(test)]
    pub fn earlier(self, by: Duration) -> Self {
        Self { wall: self.wall - by, ..self }
    }
}
