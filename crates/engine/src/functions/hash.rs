//! `hash(value, …)`: the first 64 bits of a SHA-256, as 16 hexadecimal digits.
//!
//! It is the same in every version and on every machine, so it may stand in a key or replace a
//! name. It is no protection for values that can be guessed.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use sha2::{Digest, Sha256};

use super::{Definition, Parameters, value};

pub(super) const HASH: Definition = Definition {
    name: "hash",
    parameters: Parameters::AnyTexts,
    returns: DataType::Utf8View,
    checked: None,
    evaluate: hash,
};

fn hash(arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns: Vec<_> = arguments.iter().map(|values| values.as_string_view()).collect();
    let mut hashes = StringViewBuilder::with_capacity(rows);
    let mut digits = String::with_capacity(16);
    for row in 0..rows {
        let mut hasher = Sha256::new();
        for texts in &columns {
            // Length before text: ("ab", "c") and ("a", "bc") differ, and null has its own mark.
            match value(texts, row) {
                None => hasher.update(u64::MAX.to_le_bytes()),
                Some(text) => {
                    hasher.update((text.len() as u64).to_le_bytes());
                    hasher.update(text.as_bytes());
                }
            }
        }
        digits.clear();
        for byte in &hasher.finalize()[..8] {
            write!(digits, "{byte:02x}").expect("writing into a text cannot fail");
        }
        hashes.append_value(&digits);
    }
    Ok(Arc::new(hashes.finish()))
}
