//! Reads rows back from a table's current files: origins for `audit`, whole rows for `where`.
//!
//! Statistics of the log only choose which files to open; every row that is returned was read
//! from its file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::array::{StringArray, new_null_array};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use bytes::Bytes;
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::sink::{BatchStream, ReadBack};
use contract::{Error, Origin, Result};
use deltalake::kernel::LogicalFileView;
use deltalake::logstore::LogStoreRef;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use tracing::warn;

use crate::table::Location;
use crate::{schema, table};

/// Rows of a batch that is read back.
const BATCH_ROWS: usize = 1 << 14;

/// A current file of a table.
pub struct CurrentFile {
    /// Its place under the table's folder.
    pub path: object_store::path::Path,
    /// Its size in bytes.
    pub size: u64,
    /// The values of its partition columns.
    pub partition_values: HashMap<String, Option<String>>,
    /// What the log says of its values.
    statistics: serde_json::Value,
}

impl CurrentFile {
    /// What a table's log says of a file.
    pub fn new(view: &LogicalFileView) -> Self {
        let statistics = view.stats().and_then(|text| serde_json::from_str(&text).ok());
        Self {
            path: view.object_store_path(),
            size: view.size().cast_unsigned(),
            partition_values: view.partition_values_map(),
            statistics: statistics.unwrap_or_default(),
        }
    }

    /// The smallest and largest value of a column of whole numbers, where the log tells them.
    pub fn bounds(&self, column: &str) -> Option<(i64, i64)> {
        let bound = |which: &str| self.statistics.get(which)?.get(column)?.as_i64();
        Some((bound("minValues")?, bound("maxValues")?))
    }

    fn may_hold(&self, position: i64) -> bool {
        self.bounds(POSITION).is_none_or(|(min, max)| (min..=max).contains(&position))
    }
}

/// Whose a row is, in the table of dead letters.
const PIPELINE: &str = "pipeline";

/// Reads back what a table holds; nothing where there is no table, nor of a file that is gone. With
/// a pipeline, only the rows that are its own by their column `pipeline`.
///
/// # Errors
/// External: the table cannot be read.
pub async fn read_back(
    location: &Location,
    what: ReadBack,
    of: Option<String>,
) -> Result<BatchStream> {
    if !table::exists_locally(location)? {
        return Ok(stream::empty().boxed());
    }
    let log_store = table::log_store(location)?;
    let Some(snapshot) = table::snapshot(&log_store).await? else {
        return Ok(stream::empty().boxed());
    };
    let files = snapshot.log_data();
    if files.iter().any(|view| view.deletion_vector_descriptor().is_some()) {
        return Err(Error::config(format!(
            "rows of lake table {:?} were deleted in place",
            location.shown()
        ))
        .hint("rewrite its files with the tool that deleted the rows (purge, reorganise)"));
    }
    let mut files: Vec<_> = files.iter().map(|view| CurrentFile::new(&view)).collect();
    if let ReadBack::Record(origin) = &what {
        files.retain(|file| file.may_hold(origin.position));
    }
    let wanted = match &what {
        ReadBack::Origins => origin_schema(),
        ReadBack::Record(_) => schema::arrow_schema(snapshot.schema().as_ref())?,
    };
    let reader = Arc::new(Reader { log_store, wanted, what, of });
    let batches = stream::iter(files).then(move |file| {
        let reader = reader.clone();
        async move { reader.read(file).await }
    });
    Ok(batches.try_flatten().boxed())
}

/// Whether the store says that there is no such file.
async fn is_gone(store: &Arc<dyn ObjectStore>, file: &CurrentFile) -> bool {
    matches!(store.head(&file.path).await, Err(object_store::Error::NotFound { .. }))
}

/// The columns that say where a row came from.
fn origin_schema() -> SchemaRef {
    let split = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new(SPLIT, split, true),
        Field::new(POSITION, DataType::Int64, true),
        Field::new(ORDINAL, DataType::Int64, true),
        Field::new(EPOCH, DataType::Int64, true),
    ]))
}

struct Reader {
    log_store: LogStoreRef,
    wanted: SchemaRef,
    what: ReadBack,
    of: Option<String>,
}

impl Reader {
    async fn read(self: Arc<Self>, file: CurrentFile) -> Result<BatchStream> {
        let store = self.log_store.object_store(None);
        let mut names: Vec<String> =
            self.wanted.fields().iter().map(|field| field.name().clone()).collect();
        if self.of.is_some() && !names.iter().any(|name| name == PIPELINE) {
            names.push(PIPELINE.to_owned());
        }
        let batches = match read_columns(store.clone(), &file, &names).await {
            Err(_) if is_gone(&store, &file).await => {
                warn!(file = %file.path, "a file of the lake table is gone, and its rows with it");
                return Ok(stream::empty().boxed());
            }
            batches => batches?,
        };
        let shaped = batches.map(move |batch| self.shape(&batch?, &file));
        Ok(shaped.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
    }

    /// Brings what a file holds into the wanted columns, and leaves only the wanted rows.
    fn shape(&self, batch: &RecordBatch, file: &CurrentFile) -> Result<RecordBatch> {
        let owned = self.of.as_ref().map(|pipeline| of_pipeline(batch, pipeline)).transpose()?;
        let batch = owned.as_ref().unwrap_or(batch);
        match &self.what {
            ReadBack::Record(origin) => {
                let matching = matching(batch, origin)?;
                let found = filter_record_batch(batch, &matching).bug("could not filter rows")?;
                conform(&found, &self.wanted, file)
            }
            ReadBack::Origins => {
                // Rows without origin can only be counted: what the file lacks is left out.
                let there = self.wanted.fields().iter();
                let there = there.filter(|field| batch.column_by_name(field.name()).is_some());
                let there: Vec<_> = there.cloned().collect();
                conform(batch, &Arc::new(Schema::new(there)), file)
            }
        }
    }
}

/// The rows of a pipeline.
fn of_pipeline(batch: &RecordBatch, pipeline: &str) -> Result<RecordBatch> {
    let Some(column) = batch.column_by_name(PIPELINE) else { return Ok(batch.clone()) };
    let names = cast(column, &DataType::Utf8).bug("a name is text")?;
    let is_own = eq(&names, &StringArray::new_scalar(pipeline)).bug("names are compared")?;
    filter_record_batch(batch, &is_own).bug("could not filter rows")
}

/// Brings rows of a file into the columns of a table; what the file lacks is a partition's value
/// or null.
///
/// # Errors
/// External: the file has a column of another type.
pub fn conform(batch: &RecordBatch, wanted: &SchemaRef, file: &CurrentFile) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let columns = wanted.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => cast(column, field.data_type()).external(|| {
            format!("column {:?} of file {} has another type", field.name(), file.path)
        }),
        None => absent(field, file, rows),
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(wanted.clone(), columns, &options)
        .bug("could not make a batch of what a table holds")
}

/// Opens a file and reads some of its columns, those that it has, in the order of its rows.
///
/// # Errors
/// External: the file cannot be read.
pub async fn read_columns(
    store: Arc<dyn ObjectStore>,
    file: &CurrentFile,
    names: &[String],
) -> Result<BatchStream> {
    let path = file.path.clone();
    let failed = move |error: ParquetError| table::unread_file(&path, error);
    let reader = StoredFile { store, path: file.path.clone(), size: file.size };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed.clone())?;
    let there = builder.schema().fields().iter().enumerate();
    let roots = there.filter(|(_, field)| names.contains(field.name())).map(|(index, _)| index);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let batches = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed.clone())?;
    Ok(batches.map(move |batch| batch.map_err(&failed)).boxed())
}

/// A Parquet file in a store.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: object_store::path::Path,
    size: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        Box::pin(async move { Ok(self.store.get_range(&self.path, range).await?) })
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        Box::pin(async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let size = self.size;
        Box::pin(async move {
            ParquetMetaDataReader::new().load_and_finish(self, size).await.map(Arc::new)
        })
    }
}

/// Which rows of a batch come from an origin.
fn matching(batch: &RecordBatch, origin: &Origin) -> Result<BooleanArray> {
    let (Some(splits), Some(positions)) =
        (batch.column_by_name(SPLIT), batch.column_by_name(POSITION))
    else {
        return Err(Error::config("the rows of the table do not carry their origin")
            .hint("set `origin: true` on the sink"));
    };
    let splits = cast(splits, &DataType::Utf8).bug("could not read the column \"_split\"")?;
    let splits = splits.as_string::<i32>();
    let positions = positions.as_primitive_opt::<Int64Type>();
    let positions = positions.ok_or_else(|| Error::external("\"_position\" is no number"))?;
    let rows = (0..batch.num_rows()).map(|row| {
        let same_split = splits.is_valid(row) && splits.value(row) == origin.split.as_str();
        Some(same_split && positions.is_valid(row) && positions.value(row) == origin.position)
    });
    Ok(rows.collect())
}

/// A column that the file does not hold: a partition's value, or null.
fn absent(field: &Field, file: &CurrentFile, rows: usize) -> Result<ArrayRef> {
    let value = file.partition_values.get(field.name()).cloned().flatten();
    let Some(value) = value else { return Ok(new_null_array(field.data_type(), rows)) };
    let text = StringArray::from(vec![value.as_str(); rows]);
    cast(&text, field.data_type())
        .external(|| format!("{value:?} is no value of partition column {:?}", field.name()))
}
