//! How the splits of a pipeline's sources are divided among lineages, decided once for all starts.
//!
//! The object `<pipeline>/lineages` is created before any checkpoint 0. A source that it lacks is
//! added by an update that names the state which it replaces; what stands in it never changes and
//! never goes, also when its source leaves the pipeline file.

use std::collections::BTreeMap;

use contract::error::Context;
use contract::source::Lineages;
use contract::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use serde::{Deserialize, Serialize};

use crate::CheckpointStore;

/// The name of the object.
const NAME: &str = "lineages";
/// Version of the object.
const FORMAT: u32 = 1;
/// How often others may have added a source meanwhile.
const ATTEMPTS_MAX: u32 = 16;

/// How each source is divided, by its name.
pub type LineagePlan = BTreeMap<String, Lineages>;

#[derive(Serialize, Deserialize)]
struct Object {
    format: u32,
    sources: LineagePlan,
}

impl CheckpointStore {
    /// What was decided; none before the first start of a program that decides it.
    ///
    /// # Errors
    /// External: the store does not answer (retryable), or the object is damaged. Config: a later
    /// version wrote it.
    pub async fn lineage_plan(&self, pipeline: &str) -> Result<Option<LineagePlan>> {
        Ok(self.read_plan(pipeline).await?.map(|(plan, _)| plan))
    }

    /// Decides what is not decided yet, and says what holds for all sources. `wanted` has the
    /// sources of the pipeline file; where nothing was decided, `inferred` says what histories
    /// show.
    ///
    /// # Errors
    /// As for [`CheckpointStore::lineage_plan`]. May be called again.
    pub async fn decide_lineages(
        &self,
        pipeline: &str,
        wanted: &LineagePlan,
        inferred: &LineagePlan,
    ) -> Result<LineagePlan> {
        let path = path(pipeline);
        for _ in 0..ATTEMPTS_MAX {
            let (mut plan, mode) = match self.read_plan(pipeline).await? {
                Some((plan, version)) => (plan, PutMode::Update(version)),
                None => (inferred.clone(), PutMode::Create),
            };
            let known = plan.len();
            for (source, lineages) in wanted {
                plan.entry(source.clone()).or_insert(*lineages);
            }
            if plan.len() == known && mode != PutMode::Create {
                return Ok(plan);
            }
            let object = Object { format: FORMAT, sources: plan };
            let bytes = serde_json::to_vec(&object).bug("a plan of lineages is no JSON")?;
            let options = PutOptions { mode, ..PutOptions::default() };
            match self.objects().put_opts(&path, bytes.into(), options).await {
                Ok(_) => return Ok(object.sources),
                // Somebody else was first: what it decided is read.
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. },
                ) => {}
                Err(error) => {
                    let failed = Error::transient(format!("could not write \"{path}\""));
                    return Err(failed.because(error));
                }
            }
        }
        // What can neither be read nor made is no file.
        Err(match self.read_plan(pipeline).await? {
            Some(_) => Error::transient(format!("others changed \"{path}\" again and again")),
            None => Error::external(format!("\"{path}\" can neither be read nor made"))
                .hint("something else than a file stands there: move it out of the way"),
        })
    }

    async fn read_plan(&self, pipeline: &str) -> Result<Option<(LineagePlan, UpdateVersion)>> {
        let path = path(pipeline);
        let unreadable = || format!("could not read \"{path}\"");
        let found = match self.objects().get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(Error::transient(unreadable()).because(error)),
        };
        let version =
            UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let bytes = found.bytes().await.transient(unreadable)?;
        // A later format may divide splits in ways that this program does not know.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            Error::external(format!("\"{path}\" is damaged: it says how splits are divided"))
                .because(error)
                .hint(
                    "restore it from a backup, or remove it: the next start makes it again, from \
                     what the checkpoints beside it show",
                )
        };
        let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::config(format!(
                "\"{path}\" has format {format}, this program reads format {FORMAT}"
            ))
            .hint("use the version of logmill that wrote it; nothing was changed"));
        }
        let object: Object = serde_json::from_slice(&bytes).map_err(damaged)?;
        Ok(Some((object.sources, version)))
    }
}

fn path(pipeline: &str) -> Path {
    Path::from_iter([pipeline, NAME])
}

#[cfg(test)]
mod tests {
    use contract::ErrorKind;

    use super::*;

    fn plan(sources: &[(&str, Lineages)]) -> LineagePlan {
        sources.iter().map(|(name, lineages)| ((*name).to_owned(), *lineages)).collect()
    }

    #[tokio::test]
    async fn the_first_plan_holds_and_sources_are_added_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        assert_eq!(store.lineage_plan("logs").await.expect("read"), None);
        let first = plan(&[("orders", Lineages::Split)]);
        let held = store.decide_lineages("logs", &first, &LineagePlan::new()).await;
        assert_eq!(held.expect("decided"), first);
        let other = plan(&[("orders", Lineages::One), ("files", Lineages::One)]);
        let both = plan(&[("orders", Lineages::Split), ("files", Lineages::One)]);
        // What histories show counts before anything was decided, and never again.
        for inferred in [LineagePlan::new(), plan(&[("files", Lineages::Split)])] {
            let held = store.decide_lineages("logs", &other, &inferred).await;
            assert_eq!(held.expect("decided"), both);
        }
        assert_eq!(store.lineage_plan("logs").await.expect("read"), Some(both));
        assert!(store.lineages("logs").await.expect("listed").is_empty(), "it is no lineage");
    }

    #[tokio::test]
    async fn sources_that_are_added_at_once_are_both_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        let none = LineagePlan::new();
        store.decide_lineages("logs", &plan(&[("a", Lineages::One)]), &none).await.expect("made");
        let (one, two) = (plan(&[("b", Lineages::One)]), plan(&[("c", Lineages::Split)]));
        let both = futures::join!(
            store.decide_lineages("logs", &one, &none),
            store.decide_lineages("logs", &two, &none)
        );
        both.0.and(both.1).expect("both decided");
        let held = store.lineage_plan("logs").await.expect("read").expect("there");
        assert_eq!(held.len(), 3, "{held:?}");
    }

    #[tokio::test]
    async fn a_damaged_plan_is_named_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        std::fs::create_dir(folder.path().join("logs")).expect("made");
        for text in ["", "{", "{\"format\":1}"] {
            std::fs::write(folder.path().join("logs/lineages"), text).expect("written");
            let error = store.lineage_plan("logs").await.expect_err("damaged");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false), "{error:?}");
            assert!(error.chain().contains("\"logs/lineages\" is damaged"), "{error:?}");
            assert!(error.hint_text().is_some_and(|hint| hint.contains("remove it")), "{error:?}");
        }
        std::fs::remove_file(folder.path().join("logs/lineages")).expect("removed");
        assert_eq!(store.lineage_plan("logs").await.expect("read"), None);
    }

    #[tokio::test]
    async fn the_plan_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = CheckpointStore::local(folder.path()).expect("opened");
        std::fs::create_dir(folder.path().join("logs")).expect("made");
        let text = r#"{"format":2,"sources":{"a":{"shards":8}}}"#;
        std::fs::write(folder.path().join("logs/lineages"), text).expect("written");
        let wanted = plan(&[("b", Lineages::One)]);
        let error = store.decide_lineages("logs", &wanted, &wanted).await.expect_err("later");
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        let kept = std::fs::read_to_string(folder.path().join("logs/lineages")).expect("there");
        assert_eq!(kept, text);
    }
}
