//! The entries of a JSON object as they stand in its text, one level deep.
//!
//! No value is built: a value is the piece of text between its key and the next one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A key and the text of its value.
pub type Entry<'a> = (Cow<'a, str>, &'a str);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Adds the entries of an object; a key that stands twice is added twice.
///
/// # Errors
/// The text is not one JSON object.
pub fn read_entries<'a>(text: &'a str, entries: &mut Vec<Entry<'a>>) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Entries(entries))?;
    deserializer.end()
}

struct Entries<'v, 'a>(&'v mut Vec<Entry<'a>>);

impl<'a> Visitor<'a> for Entries<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Key(key), value)) = map.next_entry::<Key<'a>, &'a RawValue>()? {
            self.0.push((key, value.get()));
        }
        Ok(())
    }
}

/// A JSON object in the making.
pub struct ObjectText(String);

impl ObjectText {
    /// An object without entries.
    pub fn new() -> Self {
        Self(String::from("{"))
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Adds a key with a value that is JSON text already.
    pub fn push(&mut self, key: &str, value: &str) {
        if !self.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&quoted(key));
        self.0.push(':');
        self.0.push_str(value);
    }

    /// The text of the object.
    pub fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// Text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
