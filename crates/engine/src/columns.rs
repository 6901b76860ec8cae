//! What several transforms do with columns: find them, read them as text, keep the origin.
//!
//! Columns whose name begins with `_` are the program's own and stand at the end of a schema.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use contract::record::keep_common_mark;
use contract::{Error, Result, Section};

use crate::steps::Site;

/// The one schema of all inputs of a step. A column that is nullable in one is nullable, and one
/// that is JSON in all of them is JSON.
///
/// # Errors
/// Config: the inputs differ, and in what.
pub fn input_schema(site: &Site<'_>) -> Result<SchemaRef> {
    let Some(((first_name, first), others)) = site.inputs.split_first() else {
        return Err(Error::config(format!("step {:?} has no input", site.name)));
    };
    let mut fields = fields(first);
    for (name, schema) in others {
        if let Some(difference) = difference(&fields, schema) {
            let message = format!("inputs {first_name:?} and {name:?} differ: {difference}");
            return Err(Error::config(message)
                .field("input")
                .hint("bring them to the same columns with a `sql` step before this one"));
        }
        for (field, other) in fields.iter_mut().zip(schema.fields()) {
            field.set_nullable(field.is_nullable() || other.is_nullable());
            keep_common_mark(field, other);
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn difference(fields: &[Field], schema: &Schema) -> Option<String> {
    if fields.len() != schema.fields().len() {
        return Some(format!("{} columns and {}", fields.len(), schema.fields().len()));
    }
    fields.iter().zip(schema.fields()).find_map(|(one, other)| {
        let same = one.name() == other.name() && one.data_type() == other.data_type();
        (!same).then(|| {
            format!(
                "column \"{}: {}\" and \"{}: {}\"",
                one.name(),
                one.data_type(),
                other.name(),
                other.data_type()
            )
        })
    })
}

/// The fields of a schema, to be changed.
pub fn fields(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|field| field.as_ref().clone()).collect()
}

/// The index of a column of text.
///
/// # Errors
/// Config: no such column, or no text.
pub fn text_column(schema: &Schema, name: &str) -> Result<usize> {
    let index = column(schema, name)?;
    let found = schema.field(index).data_type();
    if is_text(found) {
        return Ok(index);
    }
    Err(Error::config(format!("column {name:?} is {found}, expected text")))
}

/// The index of a column.
///
/// # Errors
/// Config, with the name that was meant.
pub fn column(schema: &Schema, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        Error::config(format!("unknown column {name:?}")).hint(Section::did_you_mean(name, names))
    })
}

/// Whether a type is text, plain or dictionary.
pub fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// A column of text in the form that all steps read.
///
/// # Errors
/// Bug: the column is no text, though the schema says so.
pub fn as_text(column: &ArrayRef) -> Result<StringViewArray> {
    if let Some(texts) = column.as_string_view_opt() {
        return Ok(texts.clone());
    }
    let texts = cast(column, &DataType::Utf8View)
        .map_err(|error| Error::bug("a column of text is none").because(error))?;
    Ok(texts.as_string_view().clone())
}

/// Where new columns of the user go: before the program's own at the end.
pub fn end_of_user_columns(schema: &Schema) -> usize {
    let own = schema.fields().iter().rev().take_while(|field| field.name().starts_with('_'));
    schema.fields().len() - own.count()
}

/// A schema in which no name stands twice.
///
/// # Errors
/// Config: names the column that does.
pub fn unique(fields: Vec<Field>) -> Result<SchemaRef> {
    for (index, field) in fields.iter().enumerate() {
        if fields[..index].iter().any(|other| other.name() == field.name()) {
            return Err(Error::config(format!("column {:?} would stand twice", field.name())));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A batch of columns that were made for a schema.
///
/// # Errors
/// Bug: they do not fit.
pub fn assemble(schema: &SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Error::bug("a step made columns that are not its own").because(error))
}
