//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use contract::Result;
use contract::error::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Exit;

const INTERRUPTED: u8 = 1;
const TERMINATED: u8 = 2;

/// The first signal that came.
static FIRST: AtomicU8 = AtomicU8::new(0);

/// Who listens already: a second one would take the first signal for the second.
static STOP: OnceLock<watch::Receiver<bool>> = OnceLock::new();

/// Turns true with the first signal.
///
/// # Errors
/// Bug: the system does not let us listen.
pub fn stop() -> Result<watch::Receiver<bool>> {
    if let Some(stop) = STOP.get() {
        return Ok(stop.clone());
    }
    let (sender, receiver) = watch::channel(false);
    let interrupts = signal(SignalKind::interrupt()).bug("could not listen for SIGINT")?;
    let terminations = signal(SignalKind::terminate()).bug("could not listen for SIGTERM")?;
    tokio::spawn(listen(interrupts, terminations, sender));
    Ok(STOP.get_or_init(|| receiver).clone())
}

/// How the program ends after a clean stop.
pub fn exit() -> Exit {
    match FIRST.load(Ordering::Relaxed) {
        INTERRUPTED => Exit::Interrupted,
        TERMINATED => Exit::Terminated,
        _ => Exit::Done,
    }
}

/// Ends the process with the first signal. For commands that only read: nothing is left to finish
/// but what they spilled to disk.
///
/// # Errors
/// Bug: the system does not let us listen.
pub fn end_at_once() -> Result<()> {
    let mut stop = stop()?;
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            query::spill::remove_all();
            std::process::exit(i32::from(exit().number()));
        }
    });
    Ok(())
}

async fn listen(mut interrupts: Signal, mut terminations: Signal, stop: watch::Sender<bool>) {
    loop {
        let came = tokio::select! {
            _ = interrupts.recv() => INTERRUPTED,
            _ = terminations.recv() => TERMINATED,
        };
        if FIRST.compare_exchange(0, came, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            // Whoever asks twice does not want to wait; the next start recovers.
            query::spill::remove_all();
            std::process::exit(i32::from(exit().number()));
        }
        stop.send_replace(true);
    }
}
