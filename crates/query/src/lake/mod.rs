//! A lake table for DataFusion: the current files of a Delta table, read as plain Parquet.
//!
//! Not a Delta reader of its own: `deltalake` says which files are current and what their
//! statistics are. Text is read as views, files are pruned by the log's statistics before they
//! are opened, and what the log counts (`count(*)`) is answered without opening any.

mod log;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use connector_lake::table::{self, Location};
use contract::error::Context;
use contract::{Error, Result};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as PlanResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use deltalake::DeltaTable;
use object_store::ObjectMeta;
use object_store::path::Path as FilePath;

use crate::session::lend;
use log::LogFiles;

/// One version of a lake table.
#[derive(Debug)]
pub struct LakeTable {
    table: DeltaTable,
    store: ObjectStoreUrl,
    /// Its folder, where it lies on this machine.
    folder: Option<PathBuf>,
    /// The columns in the files, in order, then those in the names of folders.
    columns: TableSchema,
    /// The files that are read; all if none are named.
    only: Option<HashSet<FilePath>>,
}

/// Opens the newest version of the table at a place.
///
/// # Errors
/// External: there is none, or it cannot be read as a Delta table.
pub async fn open(location: &Location) -> Result<LakeTable> {
    let table = table::open(location).await?;
    let table = table.ok_or_else(|| {
        Error::external(format!("there is no lake table at {:?} yet", location.shown()))
            .hint("the first records that `logmill run` commits make it")
    })?;
    read(table, location)
}

/// The version of a table that was opened at a place.
///
/// # Errors
/// External: it holds what cannot be read as plain Parquet.
pub fn read(table: DeltaTable, location: &Location) -> Result<LakeTable> {
    let name = table.table_url().as_str().to_owned();
    let unreadable = || format!("could not read lake table {name:?}");
    let snapshot = table.snapshot().external(unreadable)?;
    if snapshot.log_data().iter().any(|file| file.deletion_vector_descriptor().is_some()) {
        return Err(Error::external(format!("lake table {name:?} has deletion vectors"))
            .hint("rewrite it with the tool that deleted rows from it (`REORG … APPLY (PURGE)`)"));
    }
    let partitions = snapshot.metadata().partition_columns();
    let (in_names, in_files): (Vec<FieldRef>, Vec<FieldRef>) = snapshot
        .snapshot()
        .arrow_schema()
        .fields()
        .iter()
        .map(|field| as_read(field))
        .partition(|field| partitions.contains(field.name()));
    let columns = TableSchema::builder(Arc::new(Schema::new(in_files)))
        .with_table_partition_cols(in_names)
        .build();
    let store = store_url(&table, location)?;
    let folder = location.folder()?;
    Ok(LakeTable { table, store, folder, columns, only: None })
}

/// The error of a file that the log of a table names and that is not there; `folder` is the
/// table's, where that is known.
pub fn gone(folder: Option<&Path>, file: &str) -> Error {
    let table = match folder {
        Some(folder) => format!("lake table {:?}", folder.display().to_string()),
        None => "a lake table".to_owned(),
    };
    Error::external(format!("{table} lacks its file {file:?}")).hint(
        "put the file back; if it is lost, `logmill audit` says which records it held, and a \
         pipeline with another `name` and table reads them again",
    )
}

/// The name of the table's store in a session: of its own, as one URL may name a table at each of
/// several endpoints.
fn store_url(table: &DeltaTable, location: &Location) -> Result<ObjectStoreUrl> {
    let mut hasher = DefaultHasher::new();
    (table.table_url(), &location.store.endpoint).hash(&mut hasher);
    let named = format!("lake://{:016x}", hasher.finish());
    ObjectStoreUrl::parse(named).bug("the name of a store is no URL")
}

/// The column as it is read from Parquet: text and bytes as views.
fn as_read(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, value) => {
            as_read(&Field::new("", (**value).clone(), true)).data_type().clone()
        }
        other => other.clone(),
    };
    Arc::new(field.clone().with_data_type(data_type))
}

impl LakeTable {
    /// The same table, of which only these files are read.
    pub fn only(&self, files: HashSet<FilePath>) -> Self {
        Self {
            table: self.table.clone(),
            store: self.store.clone(),
            folder: self.folder.clone(),
            columns: self.columns.clone(),
            only: Some(files),
        }
    }

    /// The table as it was opened.
    pub fn delta(&self) -> &DeltaTable {
        &self.table
    }

    /// The current files that may hold rows for which the condition is true.
    fn files(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Result<Vec<PartitionedFile>> {
        let snapshot = self.table.snapshot().bug("an open table has no snapshot")?;
        let log = LogFiles::read(snapshot)?;
        let wanted = match predicate {
            Some(predicate) => PruningPredicateBuilder::new()
                .with_file_schema(self.columns.table_schema().clone())
                .try_build(predicate.clone())
                .and_then(|pruning| pruning.prune(&log))
                // A condition that statistics cannot answer prunes nothing.
                .unwrap_or_default(),
            None => Vec::new(),
        };
        let partitions = self.partition_values(&log)?;
        let nulls = self.null_counts(&log);
        let mut files = Vec::with_capacity(log.num_containers());
        for (index, file) in snapshot.log_data().iter().enumerate() {
            if !wanted.get(index).copied().unwrap_or(true) {
                continue;
            }
            if self.only.as_ref().is_some_and(|only| !only.contains(&file.object_store_path())) {
                continue;
            }
            let location = file.object_store_path();
            self.refuse_missing(&location)?;
            let meta = ObjectMeta {
                location,
                last_modified: file.modification_datetime().unwrap_or_default(),
                size: u64::try_from(file.size()).unwrap_or_default(),
                e_tag: None,
                version: None,
            };
            let values = partitions.iter().map(|values| values[index].clone()).collect();
            let mut statistics = Statistics::new_unknown(self.columns.file_schema());
            if let Some(rows) = file.num_records() {
                statistics.num_rows = Precision::Exact(rows);
            }
            for (column, counts) in statistics.column_statistics.iter_mut().zip(&nulls) {
                let known = counts.as_ref().filter(|counts| counts.is_valid(index));
                if let Some(counts) = known {
                    column.null_count = Precision::Exact(counts.value(index) as usize);
                }
            }
            let file = PartitionedFile::new_from_meta(meta)
                .with_partition_values(values)
                .with_statistics(Arc::new(statistics));
            files.push(file);
        }
        Ok(files)
    }

    /// Refuses a file that is gone from this machine: what the log counts is answered without
    /// opening any file, and would count its rows.
    fn refuse_missing(&self, file: &FilePath) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(file.as_ref());
        match path.try_exists() {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone(Some(folder), file.as_ref())),
            Err(error) => {
                let path = path.display().to_string();
                Err(Error::external(format!("could not look for {path:?}")).because(error))
            }
        }
    }

    /// For each column in folder names, the value of each file.
    fn partition_values(&self, log: &LogFiles) -> Result<Vec<Vec<ScalarValue>>> {
        let columns = self.columns.table_partition_cols().iter().map(|field| {
            let values = log
                .partition_values(field.name())
                .ok_or_else(|| Error::bug(format!("no values of partition {:?}", field.name())))?;
            let values = arrow::compute::cast(&values, field.data_type())
                .bug("a partition value has another type than its column")?;
            let values = (0..values.len()).map(|row| ScalarValue::try_from_array(&values, row));
            values.collect::<PlanResult<Vec<_>>>().bug("a partition value is no scalar")
        });
        columns.collect()
    }

    /// For each column in the files, the number of nulls in each file, as far as the log knows.
    fn null_counts(&self, log: &LogFiles) -> Vec<Option<UInt64Array>> {
        self.columns.file_schema().fields().iter().map(|field| log.nulls(field.name())).collect()
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        self.columns.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let predicate = conjunction(filters.iter().cloned())
            .map(|filter| {
                let columns = DFSchema::try_from(self.schema())?;
                session.create_physical_expr(filter, &columns)
            })
            .transpose()?;
        let files = self.files(predicate.as_ref()).map_err(lend)?;
        if files.is_empty() {
            let columns = datafusion::physical_plan::project_schema(&self.schema(), projection)?;
            return Ok(Arc::new(EmptyExec::new(columns)));
        }
        let statistics = add_up(&files, self.columns.table_schema());
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let store = self.table.log_store().object_store(None);
        session.runtime_env().register_object_store(self.store.as_ref(), store);
        let source = ParquetSource::new(self.columns.clone())
            .with_table_parquet_options(session.table_options().parquet.clone());
        let source = match predicate {
            Some(predicate) => source.with_predicate(predicate),
            None => source,
        };
        let source: Arc<dyn FileSource> = Arc::new(source);
        let config = FileScanConfigBuilder::new(self.store.clone(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// The statistics of the files together; unknown where one of them is.
fn add_up(files: &[PartitionedFile], columns: &Schema) -> Statistics {
    let parts = files.iter().filter_map(|file| file.statistics.as_deref());
    Statistics::try_merge_iter(parts, columns).unwrap_or_else(|_| Statistics::new_unknown(columns))
}
