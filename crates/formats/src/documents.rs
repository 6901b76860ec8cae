//! JSON objects that a destination gave back, as rows: the reverse of [`crate::encode`], for
//! objects of any shape.
//!
//! Objects and lists inside stay the text that they are, as columns that are marked as JSON; so no
//! two rows can have columns that do not go together. Of many documents a batch has only some
//! columns; of one it has those that it has.

use std::collections::HashSet;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::json::ReaderBuilder;
use arrow::json::reader::infer_json_schema;
use contract::error::Context;
use contract::record::with_json_mark;
use contract::{Error, Result};

use crate::object::{self, Entry, ObjectText, quoted};

/// The rows that documents are.
///
/// # Errors
/// External: one is no JSON object.
pub fn rows(documents: &[&str]) -> Result<RecordBatch> {
    let broken = || "a document is no row".to_owned();
    let mut objects = Vec::with_capacity(documents.len());
    for document in documents {
        let mut entries = Vec::new();
        object::read_entries(document, &mut entries).external(broken)?;
        objects.push(entries);
    }
    let nested: HashSet<&str> = objects
        .iter()
        .flatten()
        .filter(|(_, value)| value.starts_with(['{', '[']))
        .map(|(key, _)| key.as_ref())
        .collect();
    let lines: String = objects.iter().map(|entries| line(entries, &nested) + "\n").collect();
    let inferred = infer_json_schema(Cursor::new(&lines), None).external(broken)?.0;
    let fields = inferred.fields().iter().map(|field| {
        let field = field.as_ref().clone();
        if nested.contains(field.name().as_str()) { with_json_mark(field) } else { field }
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(schema.clone()).with_coerce_primitive(true);
    let batches = reader.build(Cursor::new(&lines)).external(broken)?;
    let batches = batches.collect::<arrow::error::Result<Vec<_>>>().external(broken)?;
    concat_batches(&schema, &batches).map_err(|error| Error::bug(broken()).because(error))
}

/// An object in which every value of a nested column is text.
fn line(entries: &[Entry<'_>], nested: &HashSet<&str>) -> String {
    let mut line = ObjectText::new();
    for (key, value) in entries {
        match nested.contains(key.as_ref()) && *value != "null" {
            true => line.push(key, &quoted(value)),
            false => line.push(key, value),
        }
    }
    line.finish()
}

#[cfg(test)]
mod tests {
    use crate::encode::{EncodeFormat, Encoder};

    use super::*;

    fn check(documents: &[&str], expect: &str) {
        let rows = rows(documents).expect("documents");
        let mut out = Vec::new();
        Encoder::new(EncodeFormat::Json, &rows.schema()).encode(&rows, &mut out).expect("written");
        assert_eq!(String::from_utf8(out).expect("text"), expect);
    }

    #[test]
    fn what_is_nested_comes_back_as_it_stands() {
        check(
            &[r#"{"a":1,"o":{"x": [1,"b",{"c":1.50}],"x":2},"t":"v"}"#],
            "{\"a\":1,\"o\":{\"x\": [1,\"b\",{\"c\":1.50}],\"x\":2},\"t\":\"v\"}\n",
        );
        check(
            &[r#"{"o":{"x":1}}"#, r#"{"o":"text","a":null}"#, r#"{"o":null,"a":[]}"#],
            "{\"o\":{\"x\":1},\"a\":null}\n{\"o\":\"text\",\"a\":null}\n{\"o\":null,\"a\":[]}\n",
        );
        check(&[r#"{"a":1}"#, r#"{"a":"b"}"#], "{\"a\":\"1\"}\n{\"a\":\"b\"}\n");
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(rows(&["[1]"]).is_err());
        assert!(rows(&["{\"a\":1"]).is_err());
    }
}
