//! The settings that a JSON Schema describes, as the rows of a table for people.
//!
//! Knows no layout: the documentation and the command line print the same rows, each in its way.

use schemars::Schema;
use serde_json::Value;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name; `outer.inner` inside another setting.
    pub name: String,
    /// What may be written, in words: `text`, `size`, `list of text`, `` `a` or `b` ``.
    pub kind: String,
    /// What holds where it is left out; none if nothing does, or nothing that can be written.
    pub default: Option<String>,
    /// Whether it must be written.
    pub required: bool,
    /// What it is for: its doc comment.
    pub meaning: String,
}

/// The settings of a schema: those that are required first, else by name, each followed by the
/// settings inside it.
pub fn settings(schema: &Schema) -> Vec<Setting> {
    let mut rows = Vec::new();
    let root = schema.as_value();
    collect(root, root, "", &mut rows);
    rows
}

fn collect(root: &Value, object: &Value, prefix: &str, rows: &mut Vec<Setting>) {
    let Some(properties) = object["properties"].as_object() else { return };
    let required = |name: &str| {
        object["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
    };
    let mut names: Vec<_> = properties.keys().collect();
    names.sort_by_key(|name| (!required(name), name.as_str()));
    for name in names {
        let property = &properties[name];
        let dotted = format!("{prefix}{name}");
        rows.push(Setting {
            name: dotted.clone(),
            kind: kind(root, property),
            default: default(property),
            required: required(name),
            meaning: meaning(root, property),
        });
        if let Some(inner) = inner_object(root, property) {
            collect(root, inner, &format!("{dotted}."), rows);
        }
    }
}

/// The settings inside a setting, if it has any: itself, what it refers to, or a choice of it.
fn inner_object<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let schema = resolve(root, schema);
    if schema["properties"].is_object() {
        return Some(schema);
    }
    choices(schema)?.iter().find_map(|choice| inner_object(root, choice))
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let target = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(schema)
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[*key].as_array())
}

fn kind(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(word) = schema["const"].as_str() {
        return format!("`{word}`");
    }
    if let Some(title @ ("size" | "duration")) = schema["title"].as_str() {
        return title.to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = choices(schema) {
        let mut kinds: Vec<String> = Vec::new();
        for kind in choices.iter().map(|choice| kind(root, choice)) {
            if !kind.is_empty() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        return kinds.join(" or ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.as_slice(),
        single => std::slice::from_ref(single),
    };
    let words = types.iter().filter_map(Value::as_str).map(|name| type_words(root, schema, name));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" or ")
}

fn type_words(root: &Value, schema: &Value, name: &str) -> String {
    match name {
        "string" => "text".to_owned(),
        "integer" => "whole number".to_owned(),
        "number" => "number".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => format!("list of {}", kind(root, &schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(root, &schema["additionalProperties"]))
        }
        "object" => "map".to_owned(),
        _ => String::new(),
    }
}

fn default(schema: &Value) -> Option<String> {
    match &schema["default"] {
        Value::Null | Value::Object(_) => None,
        Value::Array(items) if items.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The doc comment of the setting, else that of its type, on one line; then the words that may be
/// written, where each has a comment of its own.
fn meaning(root: &Value, schema: &Value) -> String {
    let target = resolve(root, schema);
    let own = schema["description"].as_str().or_else(|| target["description"].as_str());
    let mut text = one_line(own.unwrap_or_default());
    for choice in documented_words(root, target) {
        text.push(' ');
        text.push_str(&choice);
    }
    text
}

fn documented_words(root: &Value, schema: &Value) -> Vec<String> {
    let mut words = Vec::new();
    for choice in choices(schema).into_iter().flatten() {
        match (choice["const"].as_str(), choice["description"].as_str()) {
            (Some(word), Some(text)) => words.push(format!("`{word}`: {}", one_line(text))),
            (None, _) => words.extend(documented_words(root, resolve(root, choice))),
            _ => {}
        }
    }
    words
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::quantity::{ByteSize, Period};
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// How to write.
    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        /// In one go.
        #[default]
        Batch,
        /// For ever.
        Follow,
    }

    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Limits {
        /// Rows at
        /// most.
        rows: u32,
    }

    fn every() -> Period {
        Period::from_secs(10)
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Config {
        /// Which files.
        paths: Vec<String>,
        /// How often.
        #[serde(default = "every")]
        every: Period,
        /// How much.
        size: Option<ByteSize>,
        #[serde(default)]
        mode: Mode,
        /// Bounds.
        #[serde(default)]
        limits: Option<Limits>,
        /// More.
        #[serde(default)]
        fields: BTreeMap<String, String>,
        /// On or off.
        #[serde(default)]
        on: bool,
    }

    #[test]
    fn a_schema_becomes_rows() {
        let rows = settings(&schemars::schema_for!(Config));
        let lines: Vec<_> = rows
            .iter()
            .map(|row| {
                let default = match (&row.default, row.required) {
                    (Some(default), _) => default,
                    (None, true) => "required",
                    (None, false) => "-",
                };
                format!("{} | {} | {default} | {}", row.name, row.kind, row.meaning)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "paths | list of text | required | Which files.",
                "every | duration | 10s | How often.",
                "fields | map to text | - | More.",
                "limits | map | - | Bounds.",
                "limits.rows | whole number | 0 | Rows at most.",
                "mode | `batch` or `follow` | batch | How to write. `batch`: In one go. \
                 `follow`: For ever.",
                "on | `true` or `false` | false | On or off.",
                "size | size | - | How much.",
            ]
        );
    }
}
