//! Notes beside a decided epoch: what a replay of it could not deliver.

use std::collections::BTreeMap;

use bytes::Bytes;
use contract::error::Context;
use contract::{Position, Result};
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};

use super::History;
use crate::checkpoint::{SinkRejectState, StepTime, Target};
use crate::ledger::Entry;

/// What could not be delivered of a decided epoch, as the next one will have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// As it will stand in the ledger.
    pub entries: Vec<Entry>,
    /// Rows that a sink took before and refuses now, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Vec<SinkRejectState>>,
    /// Where splits were cut off whose rest is lost, by number, as their source says it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<(usize, Position)>,
    /// What steps with a state hold without what is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Remaining>,
    /// Where sinks, by name, get this epoch on the operator's word that wrote elsewhere before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub moved: BTreeMap<String, Target>,
}

/// What steps with a state hold after an epoch of which something is lost: the next epoch goes on
/// with it, so that what is brought back is news to them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remaining {
    /// Where their states are stored, by name of step.
    pub states: BTreeMap<String, String>,
    /// What those hold that have an event time.
    pub times: BTreeMap<String, StepTime>,
    /// Rows that windows do not hold any more, as they will stand in the ledger.
    pub entries: Vec<Entry>,
}

impl Losses {
    /// Whether everything was delivered, and all splits go on where the epoch ended.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cut_off.is_empty()
    }
}

/// The note as it was ever written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Note {
    Whole(Losses),
    /// By programs that booked refused rows as lost.
    Entries(Vec<Entry>),
}

impl History {
    /// Keeps what could not be delivered of a decided epoch, as it will stand in the ledger of the
    /// next. Durable before any sink commits without these rows.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep_losses(&self, epoch: u64, losses: &Losses) -> Result<()> {
        let path = self.losses_path(epoch);
        let bytes = serde_json::to_vec(losses).bug("losses are no JSON")?;
        let put = self.store.put(&path, Bytes::from(bytes).into()).await;
        put.transient(|| format!("could not write \"{path}\""))?;
        Ok(())
    }

    /// What [`History::keep_losses`] kept of an epoch.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the note is damaged.
    pub async fn losses(&self, epoch: u64) -> Result<Losses> {
        let path = self.losses_path(epoch);
        let Some(bytes) = self.if_there(&path).await? else { return Ok(Losses::default()) };
        let note = serde_json::from_slice(&bytes).external(|| format!("\"{path}\" is damaged"))?;
        Ok(match note {
            Note::Whole(losses) => losses,
            Note::Entries(entries) => Losses { entries, ..Losses::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_earlier_versions_are_read() {
        let note = serde_json::from_str(
            r#"[{"split":"a","sink":"out","read":0,"expanded":0,
            "delivered":0,"filtered":0,"deduplicated":0,"late":0,"aggregated":0,
            "dead_lettered":0,"rejected_after":2,"staged":0,"lost":2,"hash":"0"}]"#,
        );
        let is_read = |note: &Note| match note {
            Note::Entries(entries) => entries[0].counts.lost == 2,
            _ => false,
        };
        assert!(note.is_ok_and(|note| is_read(&note)));
    }
}
