//! What an operator says that a sink holds, where its token and the history do not explain each
//! other (EPOCH §3): a table that came back from a backup, or was removed on purpose.
//!
//! Nothing is ever assumed without being told to. What is assumed becomes part of the history by
//! an epoch of no rows, so that later starts find it explained.

use contract::Result;
use contract::sink::Held;
use state::Checkpoint;
use state::checkpoint::SinkState;
use tracing::warn;

use crate::owner::Owner;

/// What a sink is taken to hold whose token is not explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumption {
    /// Everything up to the newest epoch: nothing is delivered again.
    Held,
    /// Everything before the newest epoch: that epoch is delivered again.
    Missing,
}

/// Changes what the checkpoint says of a sink whose token is not explained to what the operator
/// says, unless the token belongs to another history. Returns whether it was.
pub fn take(owner: &Owner, checkpoint: &mut Checkpoint, sink: usize, held: Held) -> bool {
    let Some(assumption) = owner.options.assume else { return false };
    let held = match held {
        Held::Nothing => None,
        Held::Token(token) if token.incarnation == checkpoint.incarnation => Some(token.epoch),
        Held::Token(_) | Held::Untold => return false,
    };
    let epoch = checkpoint.epoch;
    let name = &owner.pipeline.sinks[sink].name;
    let state = checkpoint.sinks.entry(name.clone()).or_default();
    let taken = match assumption {
        Assumption::Held => "taken to hold every epoch, as `--assume held` says",
        Assumption::Missing => "taken to miss the newest epoch, as `--assume missing` says",
    };
    warn!(sink = name, ?held, newest = epoch, "{taken}");
    state.prev = held;
    state.owes &= assumption == Assumption::Missing;
    true
}

/// Makes an epoch of no rows that says of every sink what it is known to hold now, and where.
///
/// # Errors
/// NotOwner: another process made that epoch. External, from the store.
pub async fn keep(owner: &Owner, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
    count_earlier(owner, &mut checkpoint).await?;
    let sinks = checkpoint.sinks.iter().map(|(name, state)| {
        let prev = state.token_after(checkpoint.epoch);
        (name.clone(), state.at_rest(prev))
    });
    owner.decide_without_rows(&checkpoint, sinks.collect(), Vec::new()).await
}

/// Counts the rows that went where sinks do not write any more, while the ledger has each epoch.
async fn count_earlier(owner: &Owner, checkpoint: &mut Checkpoint) -> Result<()> {
    let lacks = |state: &SinkState| state.earlier.iter().any(|earlier| earlier.rows.is_none());
    if !checkpoint.sinks.values().any(lacks) {
        return Ok(());
    }
    let ledger = owner.history.ledger().await?;
    for (name, state) in checkpoint.sinks.iter_mut().filter(|(_, state)| lacks(state)) {
        let mut counted = 0;
        for earlier in &mut state.earlier {
            let rows = ledger.rows.iter();
            let rows = rows.filter(|row| row.entry.sink == *name && row.epoch <= earlier.to);
            let until: u64 = rows.map(|row| row.entry.counts.delivered).sum();
            counted += *earlier.rows.get_or_insert(until.saturating_sub(counted));
        }
    }
    Ok(())
}
