//! How far the run is that fills the table while it is looked at.

use std::sync::Arc;

use runtime::Progress;
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

/// A run in this process that fills the table.
#[derive(Clone)]
pub struct Milling {
    /// Its counters.
    pub progress: Arc<Progress>,
    /// Bytes of the input when it began; none where that cannot be known.
    pub bytes_total: Option<u64>,
    /// Turns true when all that was there at the beginning is in the table.
    pub done: watch::Receiver<bool>,
}

/// How far a run is, for the page.
#[derive(Serialize, ToSchema)]
pub struct MillingNow {
    /// Records read.
    read: u64,
    /// Records refused.
    refused: u64,
    /// Bytes read.
    bytes: u64,
    /// Bytes of the input when the run began; null where that cannot be known.
    bytes_total: Option<u64>,
    /// Epochs committed: with each of them there is more to see.
    epochs: u64,
    /// Whether all that was there at the beginning is in the table.
    done: bool,
}

impl Milling {
    /// The counters now.
    pub fn now(&self) -> MillingNow {
        // First whether it is done: what is counted after that is whole.
        let done = *self.done.borrow();
        let seen = self.progress.seen();
        MillingNow {
            read: seen.read,
            refused: seen.dead_lettered,
            bytes: seen.bytes,
            bytes_total: self.bytes_total,
            epochs: seen.epochs,
            done,
        }
    }
}
