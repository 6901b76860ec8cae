//! How long a transaction may be open: as long as wanted, or as the brokers allow.

use std::sync::OnceLock;
use std::time::Duration;

use contract::quantity::Period;
use contract::{Error, Result};
use tracing::warn;

use crate::admin::Topics;
use crate::config::SinkConfig;

/// What is wanted at least, if nothing is set.
const WANTED_MIN: Duration = Duration::from_secs(60);
/// An epoch that takes its whole interval, and waits as long again for other sinks, must not be
/// dropped by the broker.
const INTERVALS_PER_TRANSACTION: u32 = 3;

/// The time after which brokers drop a transaction.
#[derive(Debug)]
pub struct TransactionTimeout {
    wanted: Duration,
    least: Duration,
    /// What the brokers allow, once they refused what is wanted.
    allowed: OnceLock<Duration>,
}

impl TransactionTimeout {
    /// What is wanted for transactions of epochs that are so far apart. No I/O.
    ///
    /// # Errors
    /// Config: the setting is too short for them.
    pub fn new(config: &SinkConfig, epoch_interval: Duration) -> Result<Self> {
        let least = epoch_interval.saturating_mul(INTERVALS_PER_TRANSACTION);
        let wanted = match config.transaction_timeout {
            None => least.max(WANTED_MIN),
            Some(Period(timeout)) if timeout >= least || !config.transactional => timeout,
            Some(Period(timeout)) => {
                return Err(Error::config(format!(
                    "a transaction may be open for {}, and an epoch for {}",
                    Period(timeout),
                    Period(epoch_interval)
                ))
                .field("transaction_timeout")
                .hint(format!("set at least {}, or shorten `epoch.interval`", Period(least))));
            }
        };
        Ok(Self { wanted, least, allowed: OnceLock::new() })
    }

    /// What to open a producer with.
    pub fn get(&self) -> Duration {
        self.allowed.get().copied().unwrap_or(self.wanted)
    }

    /// Asks the brokers whether they allow what is wanted, or at least what the epochs need.
    ///
    /// # Errors
    /// Config: they do not. External: they do not answer.
    pub async fn check(&self, topics: &Topics) -> Result<()> {
        // Brokers that do not say refuse a producer, if at all, when it is opened.
        match topics.transaction_timeout_max().await? {
            Some(allowed) if allowed < self.least => Err(self.too_short(allowed)),
            Some(_) | None => Ok(()),
        }
    }

    fn too_short(&self, allowed: Duration) -> Error {
        let (allowed, least) = (Period(allowed), Period(self.least));
        self.refused(format!(
            "the brokers drop a transaction after {allowed}, and epochs need {least}"
        ))
    }

    fn refused(&self, reason: String) -> Error {
        let wanted = Period(self.wanted);
        Error::config(reason).field("transaction_timeout").hint(format!(
            "raise the brokers' `transaction.max.timeout.ms` to {wanted}, or shorten \
             `epoch.interval` and `transaction_timeout`"
        ))
    }

    /// Takes what the brokers allow, after they refused what is wanted for the sink of this topic.
    ///
    /// # Errors
    /// Config: they do not say, or it is too short for the epochs. External: they do not answer.
    pub async fn lower(&self, topics: &Topics, topic: &str) -> Result<Duration> {
        let wanted = Period(self.wanted);
        let Some(allowed) = topics.transaction_timeout_max().await? else {
            let reason = "they do not say what they allow";
            let refused = self.refused(format!("the brokers refuse transactions of {wanted}"));
            return Err(refused.because(reason));
        };
        if allowed < self.least || allowed >= self.wanted {
            return Err(self.too_short(allowed));
        }
        if self.allowed.set(allowed).is_ok() {
            let allowed = Period(allowed);
            warn!(
                topic,
                "the brokers drop a transaction after {allowed}, not after the {wanted} that are \
                 wanted: an epoch that waits for longer is sent again"
            );
        }
        Ok(allowed)
    }
}
