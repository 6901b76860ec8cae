//! Named places where a crash would hurt, always compiled in.
//!
//! Whoever passes points lists them as [`Failpoint`]s: a connector in its `Spec`, the runtime and
//! the crates below it each in `FAILPOINTS`. From these lists come the kill tests and the table in
//! docs/reliability.md.
//!
//! `LOGMILL_FAILPOINT=name:n` ends the process with SIGKILL the `n`th time it comes by; tests in
//! one process [`arm`] a point instead, which then never returns. Disarmed, a point costs one
//! relaxed load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use serde::Serialize;
use tokio::sync::Notify;

/// A named point, and what is promised about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failpoint {
    /// What [`reach`] is called with: `part.step`.
    pub name: &'static str,
    /// Who passes it.
    pub passed: Passed,
    /// What has happened when it is reached, and what has not.
    pub before: &'static str,
    /// What holds after a kill there, once the pipeline was started again.
    pub after: &'static str,
}

/// Who passes a point, and how often: where a test must look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Passed {
    /// Every epoch that has rows, once or several times.
    Epoch,
    /// Every start that comes to its end, once.
    Start,
    /// The first start of a pipeline with one lineage, once.
    First,
    /// The first start over splits that are lineages, once for a source or for each split.
    Lineages,
    /// A start that finishes an epoch which was decided before a crash, once for each sink.
    Recovery,
    /// Such a start where a sink lost what it had prepared, once.
    Replay,
    /// Whoever a test of its own brings there.
    Apart,
}

impl Failpoint {
    /// A point that every epoch passes.
    pub const fn of_epoch(name: &'static str, before: &'static str, after: &'static str) -> Self {
        Self { name, passed: Passed::Epoch, before, after }
    }

    /// The same point, passed by others.
    #[must_use]
    pub const fn passed_by(self, passed: Passed) -> Self {
        Self { passed, ..self }
    }
}

use crate::{Error, Result};

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to ourselves.
    Kill,
    /// SIGSTOP to ourselves: a process that sleeps through its lease.
    Stop,
    /// Never return; [`halted`] tells the test, which then drops the whole runtime.
    Halt,
    /// Stand still until [`resume`]; [`halted`] tells the test: a sleep that others use.
    Pause,
    /// A retryable External error, once: an answer that got lost.
    Fail,
    /// A panic: a defect of ours.
    Panic,
}

#[derive(Clone, Debug)]
struct Armed {
    name: String,
    passes: u64,
    due: u64,
    action: Action,
}

static ANY_ARMED: AtomicBool = AtomicBool::new(false);
static ARMED: Mutex<Option<Armed>> = Mutex::new(None);
static READ_ENVIRONMENT: OnceLock<()> = OnceLock::new();
static HALTED: Notify = Notify::const_new();
static RESUMED: Notify = Notify::const_new();

/// Passes a named point. Names read `part.step`; each stands in a list of [`Failpoint`]s.
///
/// # Errors
/// Retryable External where the point is armed with [`Action::Fail`].
pub async fn reach(name: &str) -> Result<()> {
    READ_ENVIRONMENT.get_or_init(arm_from_environment);
    if !ANY_ARMED.load(Ordering::Relaxed) {
        return Ok(());
    }
    match due(name) {
        None => Ok(()),
        Some(Action::Fail) => Err(Error::transient(format!("failpoint {name:?} lost an answer"))),
        Some(Action::Panic) => fail_badly(name),
        Some(Action::Halt) => {
            HALTED.notify_one();
            std::future::pending().await
        }
        Some(Action::Pause) => {
            HALTED.notify_one();
            RESUMED.notified().await;
            Ok(())
        }
        Some(Action::Kill) => signal_self(rustix::process::Signal::KILL),
        Some(Action::Stop) => signal_self(rustix::process::Signal::STOP),
    }
}

/// A defect of ours, which is asked for.
#[expect(clippy::panic, reason = "what becomes of a panic is to be seen")]
fn fail_badly(name: &str) -> Result<()> {
    panic!("failpoint {name:?} is a defect")
}

/// Arms a point for this process: the `n`th pass (from 1) acts, once.
pub fn arm(name: &str, n: u64, action: Action) {
    let armed = Armed { name: name.to_owned(), passes: 0, due: n.max(1), action };
    *ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(armed);
    ANY_ARMED.store(true, Ordering::Relaxed);
}

/// Disarms whatever is armed; says how often it was passed without having acted, and `None` where
/// it has acted.
pub fn disarm() -> Option<u64> {
    ANY_ARMED.store(false, Ordering::Relaxed);
    let armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    armed.map(|armed| armed.passes)
}

/// Lets whoever stands at a point armed with [`Action::Pause`] go on.
pub fn resume() {
    RESUMED.notify_one();
}

/// Waits until a point armed with [`Action::Halt`] or [`Action::Pause`] is reached.
pub async fn halted() {
    HALTED.notified().await;
}

fn due(name: &str) -> Option<Action> {
    let mut slot = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let armed = slot.as_mut().filter(|armed| armed.name == name)?;
    armed.passes += 1;
    if armed.passes < armed.due {
        return None;
    }
    let action = armed.action;
    *slot = None;
    ANY_ARMED.store(false, Ordering::Relaxed);
    Some(action)
}

/// `name:n`, with `:stop`, `:fail` or `:panic` behind it for the other actions.
fn arm_from_environment() {
    let Ok(text) = std::env::var("LOGMILL_FAILPOINT") else { return };
    let mut parts = text.split(':');
    let name = parts.next().unwrap_or_default();
    let n = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let action = match parts.next() {
        Some("stop") => Action::Stop,
        Some("fail") => Action::Fail,
        Some("panic") => Action::Panic,
        _ => Action::Kill,
    };
    arm(name, n, action);
}

fn signal_self(signal: rustix::process::Signal) -> Result<()> {
    rustix::process::kill_process(rustix::process::getpid(), signal)
        .map_err(|error| Error::bug("could not signal ourselves").because(error))
}
