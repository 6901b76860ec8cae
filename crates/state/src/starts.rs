//! Where the splits of a source start, decided once for all lineages of a pipeline.
//!
//! A source whose splits are lineages of their own has no checkpoint in which all of them stand.
//! So before the first of their checkpoints one object, `<pipeline>/starts-<source>`, is created
//! and never changed: a crash between two checkpoints, or a second process, cannot make two
//! splits of one start at different moments. Splits that it does not name start at their beginning.

use contract::error::Context;
use contract::source::Split;
use contract::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};

use crate::CheckpointStore;

/// Version of the object.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Starts {
    format: u32,
    splits: Vec<Split>,
}

impl CheckpointStore {
    /// The splits that were there when the source was first looked at, each with its start; none
    /// if nobody looked yet.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the object is damaged.
    pub async fn starts(&self, pipeline: &str, source: &str) -> Result<Option<Vec<Split>>> {
        let path = path(pipeline, source);
        let unreadable = || format!("could not read \"{path}\"");
        let bytes = match self.objects().get(&path).await {
            Ok(found) => found.bytes().await.transient(unreadable)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Error::transient(unreadable()).because(error)),
        };
        let starts: Starts = serde_json::from_slice(&bytes).external(unreadable)?;
        match starts.format {
            FORMAT => Ok(Some(starts.splits)),
            other => Err(Error::external(format!(
                "\"{path}\" has format {other}, this program reads format {FORMAT}"
            ))
            .hint("use the version of logmill that wrote it")),
        }
    }

    /// Decides where the splits start, unless somebody has; says what holds.
    ///
    /// # Errors
    /// As for [`CheckpointStore::starts`]. May be called again with the same splits.
    pub async fn decide_starts(
        &self,
        pipeline: &str,
        source: &str,
        splits: &[Split],
    ) -> Result<Vec<Split>> {
        let path = path(pipeline, source);
        let starts = Starts { format: FORMAT, splits: splits.to_vec() };
        let bytes = serde_json::to_vec(&starts).bug("starts are not JSON")?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects().put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(starts.splits),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let held = self.starts(pipeline, source).await?;
                held.ok_or_else(|| Error::transient(format!("\"{path}\" was there and is gone")))
            }
            Err(error) => {
                Err(Error::transient(format!("could not write \"{path}\"")).because(error))
            }
        }
    }
}

fn path(pipeline: &str, source: &str) -> Path {
    Path::from_iter([pipeline, &format!("starts-{source}")])
}

#[cfg(test)]
mod tests {
    use contract::SplitId;

    use super::*;

    fn split(start: i64) -> Split {
        Split { id: SplitId::new("web/0"), descriptor: serde_json::json!({ "start": start }) }
    }

    #[tokio::test]
    async fn the_first_decision_holds_for_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        assert!(store.starts("logs", "orders").await.expect("read").is_none());
        for start in [7, 9] {
            let held = store.decide_starts("logs", "orders", &[split(start)]).await;
            assert_eq!(held.expect("decided")[0].descriptor["start"], 7);
        }
        let again = store.starts("logs", "orders").await.expect("read").expect("there");
        assert_eq!(again[0].descriptor["start"], 7);
        assert!(store.lineages("logs").await.expect("listed").is_empty(), "it is no lineage");
    }

    #[tokio::test]
    async fn a_damaged_object_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        store.decide_starts("logs", "orders", &[]).await.expect("decided");
        std::fs::write(folder.path().join("logs/starts-orders"), "{").expect("written");
        let error = store.starts("logs", "orders").await.expect_err("damaged");
        assert!(error.chain().contains("logs/starts-orders"), "{}", error.chain());
        assert!(!error.retry());
    }
}
