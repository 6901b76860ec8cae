//! Which format a step takes that was told to find it out, decided once for all runs.
//!
//! The columns of everything below the step follow from it, and a range that is read again must
//! give the same rows. So before the first epoch one object, `<pipeline>/format-<step>`, is created
//! and never changed: a restart, a replay, a recovery and a second process all use it.

use contract::error::Context;
use contract::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::CheckpointStore;

/// Version of the object.
const FORMAT: u32 = 1;

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenFormat {
    /// The settings of the format, as the step reads them, as JSON.
    pub settings: String,
    /// What was seen: a sentence without a full stop.
    pub seen: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    taken: TakenFormat,
}

impl CheckpointStore {
    /// The format of a step; none if nobody decided yet.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the object is damaged.
    pub async fn taken_format(&self, pipeline: &str, step: &str) -> Result<Option<TakenFormat>> {
        let path = path(pipeline, step);
        let unreadable = || format!("could not read \"{path}\"");
        let bytes = match self.objects().get(&path).await {
            Ok(found) => found.bytes().await.transient(unreadable)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Error::transient(unreadable()).because(error)),
        };
        let stored: Stored = serde_json::from_slice(&bytes).external(unreadable)?;
        match stored.format {
            FORMAT => Ok(Some(stored.taken)),
            other => Err(Error::external(format!(
                "\"{path}\" has format {other}, this program reads format {FORMAT}"
            ))
            .hint("use the version of logmill that wrote it")),
        }
    }

    /// Decides the format of a step, unless somebody has; says what holds.
    ///
    /// # Errors
    /// As for [`CheckpointStore::taken_format`]. May be called again with the same format.
    pub async fn decide_format(
        &self,
        pipeline: &str,
        step: &str,
        taken: &TakenFormat,
    ) -> Result<TakenFormat> {
        let path = path(pipeline, step);
        let stored = Stored { format: FORMAT, taken: taken.clone() };
        let bytes = serde_json::to_vec(&stored).bug("a format is not JSON")?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects().put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(stored.taken),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let held = self.taken_format(pipeline, step).await?;
                held.ok_or_else(|| Error::transient(format!("\"{path}\" was there and is gone")))
            }
            Err(error) => {
                Err(Error::transient(format!("could not write \"{path}\"")).because(error))
            }
        }
    }
}

fn path(pipeline: &str, step: &str) -> Path {
    Path::from_iter([pipeline, &format!("format-{step}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_decision_holds_for_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        assert!(store.taken_format("logs", "parsed").await.expect("read").is_none());
        for (settings, seen) in [("{1}", "one"), ("{2}", "two")] {
            let taken = TakenFormat { settings: settings.into(), seen: seen.into() };
            let held = store.decide_format("logs", "parsed", &taken).await.expect("decided");
            assert_eq!(held.settings, "{1}");
        }
        let again = store.taken_format("logs", "parsed").await.expect("read").expect("there");
        assert_eq!(again.seen, "one");
        assert!(store.lineages("logs").await.expect("listed").is_empty(), "it is no lineage");
        std::fs::write(folder.path().join("logs/format-parsed"), "{").expect("written");
        let error = store.taken_format("logs", "parsed").await.expect_err("damaged");
        assert!(error.chain().contains("logs/format-parsed"), "{}", error.chain());
    }
}
