//! Reads rows back from the objects of a sink: origins for `audit`, whole rows for `where`.
//!
//! Objects are found by listing and told from those of others by their names: `{split}` in a name
//! must be the hash of what the rows say.

use std::io::{BufRead, BufReader, Cursor};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    StringBuilder,
};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::error::ArrowError;
use bytes::Bytes;
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::sink::{BatchStream, ReadBack};
use contract::{Error, Origin, Result};
use formats::compression::{Compression, Limits};
use formats::decoded::Decoded;
use formats::encoding::Growth;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use regex::Regex;
use serde::Deserialize;

use crate::config::{Config, Format};
use crate::key::KeyTemplate;
use crate::place::Place;

/// Rows of a batch that is read back.
const BATCH_ROWS: usize = 1 << 14;
/// Whole rows of JSON lines that are read at once.
const DOCUMENTS: usize = 1 << 10;

/// Batches of one object, read as they are asked for.
type Batches = Box<dyn Iterator<Item = arrow::error::Result<RecordBatch>> + Send>;

/// Reads back what the objects of a sink hold.
///
/// # Errors
/// External: the store does not answer.
pub fn read_back(
    place: Place,
    config: Arc<Config>,
    key: Arc<KeyTemplate>,
    what: ReadBack,
) -> Result<BatchStream> {
    let reader = Arc::new(Reader { pattern: key.pattern()?, place, config, key, what });
    let folder = reader.place.path(&reader.key.folder()).unwrap_or_default();
    let listed = Some(&folder).filter(|folder| !folder.as_ref().is_empty());
    let objects = reader.place.objects.list(listed);
    let of_object = move |object: object_store::Result<object_store::ObjectMeta>| {
        let reader = reader.clone();
        async move {
            match object {
                Ok(object) => reader.read(object.location).await,
                Err(error) if stores::has_no_bucket(&error) => Ok(stream::empty().boxed()),
                Err(error) => Err(Error::transient("could not list objects").because(error)),
            }
        }
    };
    Ok(objects.then(of_object).try_flatten().boxed())
}

struct Reader {
    place: Place,
    config: Arc<Config>,
    key: Arc<KeyTemplate>,
    pattern: Regex,
    what: ReadBack,
}

impl Reader {
    /// The wanted rows of an object; none if its name is not one of ours.
    async fn read(self: Arc<Self>, path: Path) -> Result<BatchStream> {
        let none = || Ok(stream::empty().boxed());
        let Some(key) = self.place.key(&path) else { return none() };
        let Some(found) = self.pattern.captures(&key) else { return none() };
        let hash = found[1].to_owned();
        if let ReadBack::Record(origin) = &self.what
            && self.key.split_hash(origin.split.as_str()) != hash
        {
            return none();
        }
        let failed = || format!("could not read object \"{path}\"");
        let object = self.place.objects.get(&path).await.transient(failed)?;
        let bytes = object.bytes().await.transient(failed)?;
        let batches = self.batches(bytes).map_err(|error| error.context(failed()))?;
        let rows = stream::iter(batches).map(move |batch| {
            let failed = || format!("could not read object \"{path}\"");
            self.shape(batch.external(failed)?, &hash)
        });
        Ok(rows.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
    }

    fn batches(&self, bytes: Bytes) -> Result<Batches> {
        let broken = || "it is not what this sink writes".to_owned();
        match self.config.format {
            Format::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).external(broken)?;
                let reader = builder.with_batch_size(BATCH_ROWS).build().external(broken)?;
                Ok(Box::new(reader))
            }
            Format::Csv => self.csv(bytes),
            Format::Jsonl | Format::Text => self.json(bytes),
        }
    }

    fn json(&self, bytes: Bytes) -> Result<Batches> {
        let lines = decoded(bytes)?;
        match &self.what {
            ReadBack::Record(_) => Ok(Box::new(Documents(lines))),
            ReadBack::Origins => Ok(Box::new(Origins { lines, line: Vec::new() })),
        }
    }

    fn csv(&self, bytes: Bytes) -> Result<Batches> {
        let broken = || "it holds no CSV".to_owned();
        let format = arrow::csv::reader::Format::default().with_header(true);
        let (names, _) = format.infer_schema(decoded(bytes.clone())?, Some(0)).external(broken)?;
        let text = |field: &Arc<Field>| Field::new(field.name(), DataType::Utf8, true);
        let schema = Arc::new(Schema::new(names.fields().iter().map(text).collect::<Vec<_>>()));
        let builder = arrow::csv::ReaderBuilder::new(schema).with_format(format);
        let reader = builder.with_batch_size(BATCH_ROWS).build(decoded(bytes)?);
        Ok(Box::new(reader.external(broken)?))
    }

    /// Brings rows into the wanted columns and leaves only those of this sink that are wanted.
    fn shape(&self, batch: RecordBatch, hash: &str) -> Result<RecordBatch> {
        let batch = with_types(&batch)?;
        if batch.column_by_name(SPLIT).is_none() {
            // Rows without origin can only be counted, by their names alone.
            return only_origins(&batch);
        }
        let ours = self.ours(&batch, hash)?;
        let batch = filter_record_batch(&batch, &ours).bug("could not filter rows")?;
        match &self.what {
            ReadBack::Origins => only_origins(&batch),
            ReadBack::Record(_) => Ok(batch),
        }
    }

    fn ours(&self, batch: &RecordBatch, hash: &str) -> Result<BooleanArray> {
        let missing = || Error::external("rows of an object lost their origin");
        let splits = batch.column_by_name(SPLIT).ok_or_else(missing)?.as_string::<i32>();
        let positions = batch.column_by_name(POSITION).ok_or_else(missing)?;
        let positions = positions.as_primitive::<Int64Type>();
        let mut known: Option<(&str, bool)> = None;
        let ours = splits.iter().zip(positions).map(|(split, position)| {
            let Some(split) = split else {
                // A row of somebody else is counted.
                return Some(matches!(self.what, ReadBack::Origins));
            };
            let is_ours = match known {
                Some((same, is_ours)) if same == split => is_ours,
                _ => self.key.split_hash(split) == hash,
            };
            known = Some((split, is_ours));
            let wanted = match &self.what {
                ReadBack::Origins => true,
                ReadBack::Record(Origin { split: of, position: at }) => {
                    split == of.as_str() && position == Some(*at)
                }
            };
            Some(is_ours && wanted)
        });
        Ok(ours.collect())
    }
}

/// The rows of an object of JSON lines, as many at once as a batch holds.
struct Documents<R>(R);

impl<R: BufRead> Iterator for Documents<R> {
    type Item = arrow::error::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let lines: std::io::Result<Vec<_>> = (&mut self.0).lines().take(DOCUMENTS).collect();
        let lines = match lines {
            Ok(lines) if lines.is_empty() => return None,
            Ok(lines) => lines,
            Err(error) => return Some(Err(error.into())),
        };
        let documents: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rows = formats::documents::rows(&documents);
        Some(rows.map_err(|error| ArrowError::JsonError(error.chain())))
    }
}

/// The origins of the rows of an object of JSON lines. Nothing else of a line is looked into: what
/// stands in it may be no text at all, such as half a pair of surrogates.
struct Origins<R> {
    lines: R,
    line: Vec<u8>,
}

/// Where a line says that it came from.
#[derive(Deserialize)]
struct OriginOf {
    #[serde(rename = "_split", default)]
    split: Option<String>,
    #[serde(rename = "_position", default)]
    position: Option<i64>,
    #[serde(rename = "_ordinal", default)]
    ordinal: Option<i64>,
    #[serde(rename = "_epoch", default)]
    epoch: Option<i64>,
}

impl<R: BufRead> Origins<R> {
    /// The next rows; none behind the last.
    fn read(&mut self) -> arrow::error::Result<Option<RecordBatch>> {
        let mut splits = StringBuilder::new();
        let (mut positions, mut ordinals, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
        while positions.len() < BATCH_ROWS {
            self.line.clear();
            if self.lines.read_until(b'\n', &mut self.line)? == 0 {
                break;
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let row: OriginOf = serde_json::from_slice(&self.line)
                .map_err(|error| ArrowError::JsonError(error.to_string()))?;
            splits.append_option(row.split);
            positions.push(row.position);
            ordinals.push(row.ordinal);
            epochs.push(row.epoch);
        }
        if positions.is_empty() {
            return Ok(None);
        }
        let numbers = |numbers| -> ArrayRef { Arc::new(Int64Array::from(numbers)) };
        let splits = Arc::new(splits.finish());
        let columns = vec![splits, numbers(positions), numbers(ordinals), numbers(epochs)];
        RecordBatch::try_new(Arc::new(Schema::new(origin_fields())), columns).map(Some)
    }
}

impl<R: BufRead> Iterator for Origins<R> {
    type Item = arrow::error::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn decoded(bytes: Bytes) -> Result<impl BufRead + Send> {
    let (compression, whole) = Compression::detect(Cursor::new(bytes)).bug("memory can be read")?;
    let stream = Decoded::new(compression, Box::new(whole), Limits::default(), Growth::Closed);
    Ok(BufReader::new(stream))
}

fn origin_fields() -> Vec<Field> {
    vec![
        Field::new(SPLIT, DataType::Utf8, true),
        Field::new(POSITION, DataType::Int64, true),
        Field::new(ORDINAL, DataType::Int64, true),
        Field::new(EPOCH, DataType::Int64, true),
    ]
}

/// Gives the columns of the origin their types, whatever the format made of them. A column without
/// any value is one that the format does not hold.
fn with_types(batch: &RecordBatch) -> Result<RecordBatch> {
    let origin = origin_fields();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        match origin.iter().find(|known| known.name() == field.name()) {
            Some(_) if column.null_count() == column.len() => {}
            Some(known) => {
                fields.push(Arc::new(known.clone()));
                columns.push(cast(column, known.data_type()).external(|| {
                    format!("column {:?} of an object has another type", field.name())
                })?);
            }
            None => {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
    }
    rows(fields, columns, batch.num_rows())
}

fn only_origins(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let is_origin = |name: &str| contract::record::is_origin(name);
    let wanted = schema.fields().iter().zip(batch.columns());
    let wanted = wanted.filter(|(field, _)| is_origin(field.name()));
    let (fields, columns) = wanted.map(|(field, column)| (field.clone(), column.clone())).unzip();
    rows(fields, columns, batch.num_rows())
}

fn rows(fields: Vec<Arc<Field>>, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .bug("could not make a batch of what an object holds")
}
