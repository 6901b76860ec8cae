//! Dictionary columns from what was found for distinct texts.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use contract::{Error, Result};
use datafusion::common::HashMap;

/// A column with one value per row: `values` has one for each distinct text, `rows` says which
/// text a row has.
///
/// # Errors
/// Bug: a row names a text that is not there.
pub fn column(values: &[Option<&str>], rows: &[Option<i32>]) -> Result<ArrayRef> {
    let mut words: Vec<&str> = Vec::new();
    let mut known: HashMap<&str, i32> = HashMap::new();
    let mut keys: Vec<Option<i32>> = Vec::with_capacity(values.len());
    for value in values {
        keys.push(value.map(|word| {
            *known.entry(word).or_insert_with(|| {
                words.push(word);
                words.len() as i32 - 1
            })
        }));
    }
    let rows: Int32Array = rows.iter().map(|row| keys[(*row)? as usize]).collect();
    let words = Arc::new(StringArray::from_iter_values(words));
    let column = DictionaryArray::<Int32Type>::try_new(rows, words)
        .map_err(|error| Error::bug("a dictionary lost a word").because(error))?;
    Ok(Arc::new(column))
}
