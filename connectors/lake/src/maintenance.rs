//! Care of a table beside the pipeline that writes it: checkpoints of its log, merged files,
//! removal of what is old.
//!
//! Nothing here may stand in the way of a commit: a round that loses a race is simply done again
//! later, a failure is a warning, and a round ends when its writer is dropped.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use chrono::Utc;
use contract::error::Context;
use contract::{Error, Result};
use deltalake::checkpoints::{cleanup_expired_logs_for, create_checkpoint};
use deltalake::kernel::transaction::{CommitData, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, EagerSnapshot, Remove};
use deltalake::logstore::{CommitOrBytes, LogStoreRef, get_actions};
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::DeltaOperation;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, ObjectStore};
use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::config::{Config, MaintenanceConfig};
use crate::read::{self, CurrentFile};
use crate::writer::{self, Files, OpenFile};
use crate::{schema, table};

/// Memory that merging may use, beside the pipeline's own: as much as a writer of the table has,
/// within these bounds.
const MERGE_MEMORY_BYTES: RangeInclusive<usize> = (4 << 20)..=(32 << 20);
/// How often the commit of a merge may find the version behind the newest one taken before it is
/// given up.
const MERGE_ATTEMPTS_MAX: usize = 20;
/// Files that no log entry names may be staged for a commit that is still to come.
const ORPHANS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The whole folder of the table is listed for orphans this often.
const ORPHANS_SOUGHT_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Tables of a process are taken care of one after another: each round holds the list of a table's
/// files, and what it merges.
static ROUNDS_AT_ONCE: Semaphore = Semaphore::const_new(1);
/// Files of one size class differ by less than this factor.
const SIZE_CLASS_FACTOR: u64 = 8;

/// Starts rounds of care after commits, one at a time.
pub struct Caretaker {
    care: Arc<Care>,
    looked_at: Option<u64>,
    orphans_sought: Option<Instant>,
    round: Option<JoinHandle<()>>,
}

impl Caretaker {
    /// Takes care of a table, as its settings say, with about as much memory as a writer has.
    pub fn new(log_store: LogStoreRef, config: &Config, memory_bytes: usize) -> Self {
        let care = Arc::new(Care { log_store, config: config.clone(), memory_bytes });
        Self { care, looked_at: None, orphans_sought: None, round: None }
    }

    /// A commit made this version. Returns at once.
    pub fn committed(&mut self, version: u64) {
        let settings = &self.care.config.maintenance;
        let early = self.looked_at.is_some_and(|at| version < at + settings.every_commits);
        let busy = self.round.as_ref().is_some_and(|round| !round.is_finished());
        if !settings.enabled || early || busy {
            return;
        }
        self.looked_at = Some(version);
        let sought = self.orphans_sought.is_some_and(|at| at.elapsed() < ORPHANS_SOUGHT_EVERY);
        if !sought {
            self.orphans_sought = Some(Instant::now());
        }
        let care = self.care.clone();
        self.round = Some(tokio::spawn(async move {
            if let Err(error) = care.round(version, !sought).await {
                let (table, error) = (&care.config.table, error.chain());
                tracing::warn!(table, error, "the care of a lake table is put off");
            }
        }));
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        if let Some(round) = &self.round {
            round.abort();
        }
    }
}

/// The care of one table.
pub struct Care {
    /// The table.
    pub log_store: LogStoreRef,
    /// The sink's settings.
    pub config: Config,
    /// Memory of a writer of the table, in bytes.
    pub memory_bytes: usize,
}

impl Care {
    /// One round, unless the log's newest checkpoint is young.
    async fn round(&self, version: u64, with_orphans: bool) -> Result<()> {
        let _alone = ROUNDS_AT_ONCE.acquire().await.bug("the care of lake tables was closed")?;
        let checkpoint = last_checkpoint(self.log_store.object_store(None).as_ref()).await?;
        if version < checkpoint + self.config.maintenance.every_commits {
            return Ok(());
        }
        // Files are removed before the checkpoint, which forgets what was removed long ago.
        self.remove_old_files(with_orphans).await?;
        self.shorten_log().await?;
        self.merge_small_files().await
    }

    async fn load(&self) -> Result<DeltaTable> {
        let snapshot = table::snapshot(&self.log_store).await?;
        let snapshot = snapshot.ok_or_else(|| {
            Error::external(format!("lake table {:?} is gone", self.config.table))
        })?;
        let mut table = DeltaTable::new(self.log_store.clone());
        table.state = Some(DeltaTableState::new(snapshot));
        Ok(table)
    }

    /// Writes a checkpoint of the log and removes the entries that it makes superfluous.
    ///
    /// # Errors
    /// External: the store refused.
    pub async fn shorten_log(&self) -> Result<()> {
        let table = self.load().await?;
        let failed = || format!("could not shorten the log of lake table {:?}", self.config.table);
        create_checkpoint(&table, None).await.external(failed)?;
        let keep = millis(self.config.maintenance.keep_log.0);
        let version = table.version().unwrap_or_default();
        let before = Utc::now().timestamp_millis() - keep;
        cleanup_expired_logs_for(version, self.log_store.as_ref(), before, None)
            .await
            .external(failed)?;
        Ok(())
    }

    /// Removes files that left the table long ago, and those that never came into it.
    ///
    /// # Errors
    /// External: the store refused.
    pub async fn remove_old_files(&self, with_orphans: bool) -> Result<()> {
        let keep = self.config.maintenance.keep_files.0;
        let (mode, keep) = if with_orphans {
            (VacuumMode::Full, keep.max(ORPHANS_KEPT))
        } else {
            (VacuumMode::Lite, keep)
        };
        let commits = CommitProperties::default()
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        let vacuum = self
            .load()
            .await?
            .vacuum()
            .with_mode(mode)
            .with_retention_period(chrono::Duration::milliseconds(millis(keep)))
            .with_enforce_retention_duration(false)
            .with_commit_properties(commits);
        let table = &self.config.table;
        let (_, removed) = vacuum
            .await
            .external(|| format!("could not remove old files of lake table {table:?}"))?;
        let files = removed.files_deleted.len();
        if with_orphans && let Ok(folder) = self.log_store.root_url().to_file_path() {
            let removed = spawn_blocking(move || remove_unfinished(&folder, ORPHANS_KEPT)).await;
            removed
                .bug("a thread that removes files died")?
                .external(|| format!("could not remove unfinished files of table {table:?}"))?;
        }
        tracing::debug!(table, files, "removed old files");
        Ok(())
    }

    /// Merges files of like size in the same partition. The rows stay the same.
    ///
    /// # Errors
    /// External: the store refused.
    pub async fn merge_small_files(&self) -> Result<()> {
        let Some(snapshot) = table::snapshot(&self.log_store).await? else { return Ok(()) };
        let all = snapshot.log_data();
        let whole = all.iter().filter(|view| view.deletion_vector_descriptor().is_none());
        let files: Vec<_> = whole.map(|view| CurrentFile::new(&view)).collect();
        let file_bytes_max = self.config.file_bytes_max.0;
        for files in choose(files, &self.config.maintenance, file_bytes_max) {
            self.merge(&snapshot, files).await?;
        }
        Ok(())
    }

    async fn merge(&self, snapshot: &EagerSnapshot, files: Vec<CurrentFile>) -> Result<()> {
        let partition_columns = snapshot.metadata().partition_columns();
        let columns = schema::arrow_schema(snapshot.schema().as_ref())?;
        let in_files = columns.fields().iter();
        let in_files: Vec<_> =
            in_files.filter(|field| !partition_columns.contains(field.name())).cloned().collect();
        let columns: SchemaRef = Arc::new(arrow::datatypes::Schema::new(in_files));
        let means = (self.merge_bytes(), 1);
        let into = writer::files(&self.log_store, columns.clone(), &self.config, means);
        let merged = self.write_merged(into, &files).await?;
        let rows = merged.metadata.file_metadata().num_rows();
        let path = merged.path.clone();
        let partition_values = files[0].partition_values.clone();
        let add = Add { data_change: false, ..writer::add(merged, &columns, partition_values)? };
        let (table, count) = (&self.config.table, files.len());
        if self.replace(snapshot.version(), &files, add).await? {
            tracing::debug!(table, files = count, rows, "merged small files");
            return Ok(());
        }
        tracing::debug!(table, files = count, "others changed the files that were merged");
        let path = Path::parse(&path).bug("a merged file has no valid name")?;
        let deleted = self.log_store.object_store(None).delete(&path).await;
        deleted.external(|| format!("could not remove file {path}"))
    }

    fn merge_bytes(&self) -> usize {
        self.memory_bytes.clamp(*MERGE_MEMORY_BYTES.start(), *MERGE_MEMORY_BYTES.end())
    }

    /// Writes the rows of files into one, in the order of the files.
    async fn write_merged(
        &self,
        into: Arc<Files>,
        files: &[CurrentFile],
    ) -> Result<writer::ClosedFile> {
        let folder = files[0].path.as_ref().rsplit_once('/').map_or("", |(folder, _)| folder);
        let separator = if folder.is_empty() { "" } else { "/" };
        let (id, end) = (Uuid::new_v4(), writer::extension(self.config.compression));
        let path = format!("{folder}{separator}merged-{id}.{end}");
        let names: Vec<String> =
            into.shape.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut merged = OpenFile::begin(into.clone(), path)?;
        for file in files {
            let mut batches = read::read_columns(into.store.clone(), file, &names).await?;
            while let Some(batch) = batches.next().await {
                merged.write(read::conform(&batch?, into.shape.schema(), file)?).await?;
                if merged.unsent_bytes() > self.merge_bytes() {
                    merged.end_row_group().await?;
                }
            }
        }
        merged.close().await
    }

    /// Puts one file in the place of others, unless somebody else has touched these.
    async fn replace(&self, version: u64, files: &[CurrentFile], add: Add) -> Result<bool> {
        let now = Utc::now().timestamp_millis();
        let removed: HashSet<&str> = files.iter().map(|file| file.path.as_ref()).collect();
        let removes = files.iter().map(|file| Action::Remove(remove(file, now)));
        let actions: Vec<Action> = removes.chain([Action::Add(add)]).collect();
        let target_size = self.config.file_bytes_max.0.cast_signed();
        let operation = DeltaOperation::Optimize { predicate: None, target_size };
        let entry = CommitData::new(actions, operation, HashMap::new(), Vec::new());
        let bytes = entry.get_bytes().bug("could not write an entry of a table's log")?;
        let failed = || format!("could not commit to lake table {:?}", self.config.table);
        let mut next = version + 1;
        for attempt in 0.. {
            // Many entries may have come while many files were read: none of them is tried for.
            while let Some(theirs) =
                self.log_store.read_commit_entry(next).await.transient(failed)?
            {
                if theirs == bytes {
                    // The store did it and its answer was lost, so that its client met itself.
                    return Ok(true);
                }
                if clashes(&get_actions(next, &theirs).external(failed)?, &removed) {
                    return Ok(false);
                }
                next += 1;
            }
            if attempt == MERGE_ATTEMPTS_MAX {
                break;
            }
            let entry = CommitOrBytes::LogBytes(bytes.clone());
            match self.log_store.write_commit_entry(next, entry, Uuid::new_v4()).await {
                Ok(()) => return Ok(true),
                Err(TransactionError::VersionAlreadyExists(_)) => {}
                Err(error) => return Err(Error::transient(failed()).because(error)),
            }
        }
        Ok(false)
    }
}

/// Whether an entry of somebody else leaves no place for a merge of these files.
fn clashes(theirs: &[Action], merged: &HashSet<&str>) -> bool {
    theirs.iter().any(|action| match action {
        Action::Metadata(_) | Action::Protocol(_) => true,
        Action::Remove(remove) => merged.contains(remove.path.as_str()),
        _ => false,
    })
}

/// Removes what a killed process left half written under a local folder. Object stores keep such
/// files out of their lists, so nobody else finds them: their names end in `#` and digits.
fn remove_unfinished(folder: &std::path::Path, older_than: Duration) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            remove_unfinished(&entry.path(), older_than)?;
            continue;
        }
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.rsplit_once('#')).map(|(_, number)| number);
        let unfinished = number.is_some_and(|number| number.parse::<u64>().is_ok());
        let old = metadata.modified()?.elapsed().is_ok_and(|age| age >= older_than);
        if unfinished && old {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn remove(file: &CurrentFile, now: i64) -> Remove {
    Remove {
        path: file.path.to_string(),
        data_change: false,
        deletion_timestamp: Some(now),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values.clone()),
        size: Some(file.size.cast_signed()),
        ..Remove::default()
    }
}

/// The version of the newest checkpoint of a log; 0 where there is none.
async fn last_checkpoint(store: &dyn ObjectStore) -> Result<u64> {
    #[derive(Deserialize)]
    struct LastCheckpoint {
        version: u64,
    }
    let failed = || "could not read the last checkpoint of a lake table".to_owned();
    let found = match store.get(&Path::from("_delta_log/_last_checkpoint")).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(0),
        Err(error) => return Err(Error::transient(failed()).because(error)),
    };
    let bytes = found.bytes().await.transient(failed)?;
    let checkpoint: LastCheckpoint = serde_json::from_slice(&bytes).external(failed)?;
    Ok(checkpoint.version)
}

/// What merged files have in common: the values of their partition, and a class of size.
type Alike = (Vec<(String, Option<String>)>, u32);

/// Which files to merge with which: small ones of one partition and of like size, so that a row
/// is written again only a few times, in the order of their epochs.
fn choose(
    files: Vec<CurrentFile>,
    settings: &MaintenanceConfig,
    bytes_max: u64,
) -> Vec<Vec<CurrentFile>> {
    if settings.compact_files_min < 2 {
        return Vec::new();
    }
    let mut classes: HashMap<Alike, Vec<CurrentFile>> = HashMap::new();
    for file in files.into_iter().filter(|file| file.size < settings.compact_below.0) {
        let mut partition: Vec<_> = file.partition_values.clone().into_iter().collect();
        partition.sort();
        let class = file.size.max(1).ilog(SIZE_CLASS_FACTOR);
        classes.entry((partition, class)).or_default().push(file);
    }
    let mut chosen = Vec::new();
    for mut files in classes.into_values() {
        files.sort_by_cached_key(|file| (file.bounds(contract::record::EPOCH), file.path.clone()));
        let mut together: Vec<CurrentFile> = Vec::new();
        for file in files {
            let bytes: u64 = together.iter().map(|file| file.size).sum();
            if bytes + file.size > bytes_max && together.len() >= settings.compact_files_min {
                chosen.push(std::mem::take(&mut together));
            }
            together.push(file);
        }
        if together.len() >= settings.compact_files_min {
            chosen.push(together);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_half_written_is_removed_once_it_is_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let day = folder.path().join("ts_day=2015-05-17");
        std::fs::create_dir(&day).expect("made");
        let unfinished = day.join("part-1.parquet#123000001");
        for path in [&unfinished, &day.join("part-1.parquet"), &day.join("a#b")] {
            std::fs::write(path, "rows").expect("written");
        }
        remove_unfinished(folder.path(), ORPHANS_KEPT).expect("removed");
        assert!(unfinished.exists(), "it may still be written");
        remove_unfinished(folder.path(), Duration::ZERO).expect("removed");
        assert!(!unfinished.exists());
        assert_eq!(std::fs::read_dir(&day).expect("listed").count(), 2);
    }
}
