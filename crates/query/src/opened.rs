//! One lake table that is asked again and again: opened once for each of its versions.
//!
//! Every question of a version is planned against the same list of files, and all questions share
//! one memory pool. SQL comes with its values apart from it; nothing of a value is ever text of
//! the query.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use connector_lake::table::{self, Location};
use contract::error::Context;
use contract::record::SPLIT;
use contract::{Result, SplitId};
use datafusion::catalog::TableProvider;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use object_store::path::Path as FilePath;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::begin_of::BeginOf;
use crate::date_trunc::DateTrunc;
use crate::fingerprint::Fingerprint;
use crate::lake::{self, LakeTable};
use crate::session::{NEW_GROUPS_FOR_ONE_STEP, from_datafusion};

/// The name of the table in every query.
pub const TABLE: &str = "records";
/// Rows of a partition after which it is decided whether groups are made in one step or in two. A
/// day often lies in one file, so in one partition: in one step, all cores group its rows.
const ROWS_BEFORE_ONE_STEP: usize = 20_000;
/// How long the newest version that was seen is taken for the newest.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A place at which there is a table, or will be.
pub struct TablePlace {
    location: Location,
    means: Means,
    newest: Mutex<Option<Newest>>,
}

/// What all versions of a table have in common.
#[derive(Clone)]
struct Means {
    runtime: Arc<RuntimeEnv>,
    /// Splits whose rows do not count.
    without: Arc<[SplitId]>,
}

struct Newest {
    seen: Instant,
    table: Arc<OpenedTable>,
}

/// One version of a table.
pub struct OpenedTable {
    version: u64,
    table: Arc<LakeTable>,
    means: Means,
    context: SessionContext,
}

impl TablePlace {
    /// Nothing is opened. All questions together hold so many bytes; beyond it
    /// they spill to disk.
    ///
    /// # Errors
    /// External: no folder for temporary files.
    pub fn new(location: Location, memory_bytes: usize) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .build_arc()
            .map_err(from_datafusion)?;
        let means = Means { runtime, without: Arc::default() };
        Ok(Self { location, means, newest: Mutex::new(None) })
    }

    /// The same, where the rows of some splits do not count.
    #[must_use]
    pub fn without(mut self, splits: &[SplitId]) -> Self {
        self.means.without = splits.into();
        self
    }

    /// The newest version; none while there is no table.
    ///
    /// # Errors
    /// External: the table cannot be read.
    pub async fn newest(&self) -> Result<Option<Arc<OpenedTable>>> {
        let mut newest = self.newest.lock().await;
        if let Some(newest) = newest.as_ref()
            && newest.seen.elapsed() < LOOK_AGAIN_AFTER
        {
            return Ok(Some(newest.table.clone()));
        }
        let table = match newest.as_ref() {
            Some(known) => self.again(&known.table).await?,
            None => self.first().await?,
        };
        *newest = table.clone().map(|table| Newest { seen: Instant::now(), table });
        Ok(table)
    }

    async fn first(&self) -> Result<Option<Arc<OpenedTable>>> {
        let folder = self.location.folder()?;
        if folder.is_some_and(|folder| !folder.join("_delta_log").is_dir()) {
            return Ok(None);
        }
        match table::open(&self.location).await? {
            Some(table) => {
                OpenedTable::new(lake::read(table, &self.location)?, &self.means).map(Some)
            }
            None => Ok(None),
        }
    }

    async fn again(&self, known: &Arc<OpenedTable>) -> Result<Option<Arc<OpenedTable>>> {
        let mut table = known.table.delta().clone();
        if table.update_state().await.is_err() {
            // The table may have been removed, or made anew.
            return self.first().await;
        }
        match table.version() == Some(known.version) {
            true => Ok(Some(known.clone())),
            false => OpenedTable::new(lake::read(table, &self.location)?, &self.means).map(Some),
        }
    }
}

impl Means {
    /// The rows that count.
    fn rows_of(&self, table: Arc<LakeTable>) -> Result<Arc<dyn TableProvider>> {
        if self.without.is_empty() {
            return Ok(table);
        }
        let splits = self.without.iter().map(|split| lit(split.as_str())).collect();
        let rows = LogicalPlanBuilder::scan(TABLE, provider_as_source(table), None)
            .and_then(|rows| rows.filter(col(SPLIT).in_list(splits, true)))
            .and_then(LogicalPlanBuilder::build)
            .map_err(from_datafusion)?;
        Ok(Arc::new(ViewTable::new(rows, None)))
    }
}

impl OpenedTable {
    fn new(table: LakeTable, means: &Means) -> Result<Arc<Self>> {
        let version = table.delta().version().unwrap_or_default();
        let table = Arc::new(table);
        let mut config = SessionConfig::new();
        let execution = &mut config.options_mut().execution;
        execution.parquet.pushdown_filters = true;
        execution.parquet.reorder_filters = true;
        execution.skip_partial_aggregation_probe_ratio_threshold = NEW_GROUPS_FOR_ONE_STEP;
        execution.skip_partial_aggregation_probe_rows_threshold = ROWS_BEFORE_ONE_STEP;
        let context = SessionContext::new_with_config_rt(config, means.runtime.clone());
        context.register_udf(DateTrunc::udf());
        context.register_udf(Fingerprint::udf());
        context.register_udf(BeginOf::udf());
        context.register_table(TABLE, means.rows_of(table.clone())?).map_err(from_datafusion)?;
        Ok(Arc::new(Self { version, table, means: means.clone(), context }))
    }

    /// The version of the table's log.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    /// Asks the table, which is named [`TABLE`]; `$1` stands for the first value. Beside SQL's
    /// functions there is `fingerprint(…)`, by which groups of several texts are made at the cost
    /// of one number, and `begin_of(time, 'a,b,…')`, the last of some moments that is not after a
    /// time.
    ///
    /// # Errors
    /// Config: the query is wrong. External: a file cannot be read, or memory is short.
    pub async fn ask(&self, sql: &str, values: Vec<ScalarValue>) -> Result<Vec<RecordBatch>> {
        let frame = self.context.sql(sql).await.map_err(from_datafusion)?;
        let frame = frame.with_param_values(ParamValues::from(values)).map_err(from_datafusion)?;
        let stream = frame.execute_stream().await.map_err(from_datafusion)?;
        stream.try_collect().await.map_err(from_datafusion)
    }

    /// The rows that came with the versions after another one: this version, with only the files
    /// that they added. Files into which rows were merged do not count.
    ///
    /// # Errors
    /// External: the log cannot be read.
    pub async fn since(&self, version: u64) -> Result<Arc<Self>> {
        let log = self.table.delta().log_store();
        let mut files = HashSet::new();
        for version in version + 1..=self.version {
            let failed = || format!("could not read version {version} of a lake table");
            let entry = log.read_commit_entry(version).await.external(failed)?;
            for line in entry.iter().flat_map(|entry| entry.split(|byte| *byte == b'\n')) {
                if let Ok(Action { add: Some(Add { path, data_change: true }) }) =
                    serde_json::from_slice(line)
                {
                    let path = FilePath::from_url_path(path).external(failed)?;
                    files.insert(path);
                }
            }
        }
        let opened = Self::new(self.table.only(files), &self.means)?;
        Ok(opened)
    }
}

/// A line of the table's log, of which only new files are of interest.
#[derive(Deserialize)]
struct Action {
    add: Option<Add>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    path: String,
    data_change: bool,
}

/// The tables of the embedded lake that a folder of data holds, sorted.
///
/// # Errors
/// External: the folder cannot be listed.
pub fn tables(data: &Path) -> Result<Vec<String>> {
    let folder = data.join("lake");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = || format!("could not list {:?}", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).external(failed)? {
        let entry = entry.external(failed)?;
        if entry.path().join("_delta_log").is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The names of the columns of a table; none while there is no table.
///
/// # Errors
/// External: it cannot be read.
pub async fn columns(location: &Location) -> Result<Vec<String>> {
    let place = TablePlace::new(location.clone(), 1 << 20)?;
    let Some(opened) = place.newest().await? else { return Ok(Vec::new()) };
    Ok(opened.schema().fields().iter().map(|field| field.name().clone()).collect())
}
