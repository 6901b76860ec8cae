//! Where a panic is caught: in the tasks of a pipeline that runs beside others.
//!
//! Whoever awaits such a task makes of it the error of its pipeline, a defect, and the neighbours
//! go on. Nobody awaits the other threads of a process; a panic there ends all of it, and so does
//! one where a pipeline is alone. The hook of the program asks [`is_contained`].

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

static HAS_NEIGHBOURS: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_POLLED: Cell<bool> = const { Cell::new(false) };
}

/// From now on several pipelines run in this process.
pub fn contain() {
    HAS_NEIGHBOURS.store(true, Ordering::Relaxed);
}

/// Whether a panic on this thread, now, is caught by a pipeline and is the end of that one alone.
pub fn is_contained() -> bool {
    HAS_NEIGHBOURS.load(Ordering::Relaxed) && IS_POLLED.get()
}

/// Does work of a pipeline whose panics its caller catches.
pub async fn contained<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        let _polled = Polled { before: IS_POLLED.replace(true) };
        work.as_mut().poll(context)
    })
    .await
}

/// Is undone also where the work panics.
struct Polled {
    before: bool,
}

impl Drop for Polled {
    fn drop(&mut self) {
        IS_POLLED.set(self.before);
    }
}
