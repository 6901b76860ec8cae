//! The columns of a table: how Arrow types are stored, and how a table's schema grows.
//!
//! Text is given to Parquet as it is (views, dictionaries); only types that Delta does not know
//! are converted. All columns of a table may be null, so that columns can come and go.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use contract::error::Context;
use contract::{Error, Result};
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::{StructField, StructType};

/// The schema in which batches are written to Parquet.
///
/// # Errors
/// Config: a column of a type that tables do not have.
pub fn stored(schema: &Schema) -> Result<SchemaRef> {
    refuse_twins(schema)?;
    let fields = schema.fields().iter().map(|field| {
        check_name(field.name())?;
        let stored = stored_type(field.data_type()).ok_or_else(|| {
            Error::config(format!(
                "column {:?} has type {}, which a lake table cannot hold",
                field.name(),
                field.data_type()
            ))
            .hint("convert it in a `sql` step, for example with `CAST(… AS text)`")
        })?;
        // Metadata of Arrow fields means nothing to a table.
        Ok(Field::new(field.name(), stored, field.is_nullable()))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// A table knows a column by its name in any case.
fn refuse_twins(schema: &Schema) -> Result<()> {
    let mut names = HashMap::new();
    for field in schema.fields() {
        let Some(other) = names.insert(field.name().to_lowercase(), field.name()) else { continue };
        let message = format!(
            "columns {other:?} and {:?} differ in nothing but capitals, and a lake table has one \
             of them",
            field.name()
        );
        return Err(Error::config(message)
            .hint("give one another name: `rename` in the `parse` step, or AS in a `sql` step"));
    }
    Ok(())
}

/// Spark and others refuse tables with such names.
fn check_name(name: &str) -> Result<()> {
    if !name.is_empty() && !name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '=']) {
        return Ok(());
    }
    Err(Error::config(format!("{name:?} is no name for a column of a lake table"))
        .hint("rename it in a `sql` step, without spaces and without any of ,;{}()="))
}

/// Brings a batch into the schema that [`stored`] made of its own.
///
/// # Errors
/// Bug: the batch has another schema.
pub fn convert(batch: &RecordBatch, stored: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(stored.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast(column, field.data_type()).bug("could not convert a column to its stored type")
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    RecordBatch::try_new(stored.clone(), columns)
        .bug("a batch does not have the columns that its sink was opened with")
}

fn stored_type(data_type: &DataType) -> Option<DataType> {
    let utc = || Some("UTC".into());
    Some(match data_type {
        DataType::Null => DataType::Utf8,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        // A timestamp without zone is taken as UTC: not every reader knows `timestamp_ntz`.
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        DataType::Dictionary(_, value) if matches!(**value, DataType::Utf8) => data_type.clone(),
        DataType::Dictionary(_, value) => stored_type(value)?,
        DataType::List(item) => DataType::List(stored_item(item)?),
        DataType::LargeList(item) => DataType::LargeList(stored_item(item)?),
        DataType::ListView(item) => DataType::List(stored_item(item)?),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(stored_item).collect::<Option<_>>()?)
        }
        DataType::Map(entries, sorted) => DataType::Map(stored_item(entries)?, *sorted),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Decimal128(_, _) => data_type.clone(),
        _ => return None,
    })
}

fn stored_item(field: &FieldRef) -> Option<FieldRef> {
    let stored = stored_type(field.data_type())?;
    Some(Arc::new(field.as_ref().clone().with_data_type(stored)))
}

/// The table's columns for batches of a stored schema, with its derived partition columns.
///
/// # Errors
/// Config: a type that tables do not have.
pub fn table_columns(stored: &Schema, derived: &[Field]) -> Result<Vec<StructField>> {
    let fields = stored.fields().iter().map(AsRef::as_ref).chain(derived);
    let columns = fields.map(|field| {
        let nullable = field.clone().with_nullable(true);
        (&nullable)
            .try_into_kernel()
            .map_err(|error| Error::config("a lake table cannot hold a column").because(error))
            .map_err(|error| error.field(field.name()))
    });
    columns.collect()
}

/// The Arrow schema of a table's columns.
///
/// # Errors
/// Config: a column of a type that Arrow does not have.
pub fn arrow_schema(table: &StructType) -> Result<SchemaRef> {
    let schema: Schema = table.try_into_arrow().map_err(|error| {
        Error::config("the table has a column that cannot be read").because(error)
    })?;
    Ok(Arc::new(schema))
}

/// The table's schema with the columns that it lacks; none if it has them all.
///
/// # Errors
/// Config: the table has a column of another type under the same name.
pub fn grow(table: &StructType, columns: &[StructField], name: &str) -> Result<Option<StructType>> {
    let mut missing = Vec::new();
    for column in columns {
        match table.field(&column.name) {
            None => missing.push(column.clone()),
            Some(there) if there.data_type() == column.data_type() => {}
            Some(there) => {
                return Err(Error::config(format!(
                    "lake table {name:?} was made by another schema: column {:?} is {} there and \
                     {} here",
                    column.name,
                    there.data_type(),
                    column.data_type()
                ))
                .hint("write to another `table`, or convert the column in a `sql` step"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(None);
    }
    let all = table.fields().cloned().chain(missing);
    StructType::try_new(all)
        .map(Some)
        .map_err(|error| Error::config("the columns do not make a table").because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, data_type: DataType, stored_as: std::result::Result<DataType, &str>) {
        let schema = Schema::new(vec![Field::new(name, data_type, true)]);
        match (stored(&schema), stored_as) {
            (Ok(schema), Ok(expected)) => assert_eq!(schema.field(0).data_type(), &expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (stored, expected) => panic!("{name}: {stored:?}, expected {expected:?}"),
        }
    }

    fn text_dictionary() -> DataType {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    }

    #[test]
    fn text_stays_as_it_is_and_the_rest_becomes_what_tables_know() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        check("a", DataType::Utf8View, Ok(DataType::Utf8View));
        check("a", text_dictionary(), Ok(text_dictionary()));
        check("a", DataType::UInt8, Ok(DataType::Int16));
        check("a", DataType::UInt64, Ok(DataType::Decimal128(20, 0)));
        check("a", DataType::Timestamp(TimeUnit::Second, None), Ok(micros));
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        check("a", list(DataType::UInt16), Ok(list(DataType::Int32)));
        check("a", DataType::Duration(TimeUnit::Second), Err("which a lake table cannot hold"));
        check("a b", DataType::Utf8, Err("no name for a column"));
    }
}
