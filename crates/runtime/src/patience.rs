//! How long to go on trying, and with which pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Error, Lineage, Result};
use plan::Settings;
use tracing::warn;

use crate::metrics::Instruments;
use crate::owner::{RunContext, RunOptions};

/// The first pause before another attempt; it doubles each time, with jitter.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// The longest pause before another attempt.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// How long a run with an end keeps trying without any progress, if `retry.for` does not say.
const RETRY_FOR_UNTIL_END: Duration = Duration::from_secs(30);

/// How long to go on trying where nothing goes forward; none for ever.
pub fn limit(settings: &Settings, options: &RunOptions) -> Option<Duration> {
    settings.retry_for.or(options.until_end.then_some(RETRY_FOR_UNTIL_END))
}

/// How a pause ended.
pub enum Waited {
    /// It is over: another attempt may begin.
    Over,
    /// It was interrupted; why it was made.
    Interrupted(Error),
}

/// Counts how long nothing went forward.
pub struct Patience {
    lineage: Lineage,
    instruments: Arc<Instruments>,
    limit: Option<Duration>,
    /// Whether the run ends by itself, so that nobody sets keys right while it waits.
    has_end: bool,
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    /// Patience with a lineage, as the settings say; without limit when following, if they say
    /// nothing.
    pub fn new(run: &RunContext, lineage: &Lineage) -> Self {
        let limit = limit(&run.pipeline.settings, &run.options);
        let (lineage, instruments) = (lineage.clone(), run.instruments.clone());
        let has_end = run.options.until_end;
        Self { lineage, instruments, limit, has_end, since: None, pause: BACK_OFF_MIN }
    }

    /// Something went forward: whatever comes next is counted from then on.
    pub fn renew(&mut self) {
        (self.since, self.pause) = (None, BACK_OFF_MIN);
    }

    /// Waits before another attempt. Gives the error back if it cannot pass, or once it has lasted
    /// too long, at once where a run with an end lacks the key of a store; and as an answer as soon
    /// as `interrupted` is ready.
    ///
    /// # Errors
    /// The error that was given.
    pub async fn wait(&mut self, error: Error, interrupted: impl Future) -> Result<Waited> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !error.retry() || self.limit.is_some_and(|limit| since.elapsed() >= limit) {
            return Err(error);
        }
        if self.has_end && stores::lacks_key(&error.chain()) {
            return Err(with_hint(error));
        }
        let pause = self.pause.mul_f64(rand::random_range(0.5..1.0));
        let (pipeline, lineage) = (self.instruments.pipeline(), self.lineage.as_str());
        self.instruments.retries();
        let (error_text, hint) = (error.chain(), error.hint_text());
        let pause = Duration::from_millis(pause.as_millis() as u64);
        warn!(
            pipeline,
            lineage,
            error = error_text,
            hint,
            ?pause,
            "trying again from the last checkpoint"
        );
        self.pause = (self.pause * 2).min(BACK_OFF_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(Waited::Over),
            _ = interrupted => Ok(Waited::Interrupted(error)),
        }
    }
}

/// An error of a store that lacks its key, with what to do about it.
fn with_hint(error: Error) -> Error {
    match (error.hint_text(), stores::credentials_hint(&error.chain())) {
        (None, Some(hint)) => error.hint(hint),
        _ => error,
    }
}
