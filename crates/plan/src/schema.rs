//! The JSON Schema of a pipeline file, for editors.
//!
//! Only helps while typing: what decides is [`crate::read`], which also knows names and edges.

use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::document::Values;
use crate::schedule::Written;
use crate::settings::{Epoch, History, Memory, Retry, Serve, TopLevel};

/// The settings of one half of the vocabulary, by the word after `type:`.
pub type Kinds<'a> = &'a [(&'a str, Schema)];

/// Assembles the JSON Schema (draft 2020-12) of a pipeline file from the settings of everything
/// that it may name.
pub fn pipeline_schema(sources: Kinds<'_>, transforms: Kinds<'_>, sinks: Kinds<'_>) -> Value {
    let mut definitions = Map::new();
    let properties = json!({
        "name": {
            "description": "The pipeline's name; checkpoints are kept under it.",
            "type": "string",
            "pattern": NAME,
        },
        "sources": nodes("source", sources, &mut definitions),
        "transforms": nodes("transform", transforms, &mut definitions),
        "sinks": nodes("sink", sinks, &mut definitions),
        "epoch": part::<Epoch>("epoch", &mut definitions),
        "memory": part::<Memory>("memory", &mut definitions),
        "checkpoint": part::<stores::Settings>("checkpoint", &mut definitions),
        "retry": part::<Retry>("retry", &mut definitions),
        "on_split_error": top_level("on_split_error"),
        "history": part::<History>("history", &mut definitions),
        "serve": part::<Serve>("serve", &mut definitions),
        "schedule": schedule(&mut definitions),
        "values": part::<Values>("values", &mut definitions),
        "secrets": top_level("secrets"),
        "metrics": top_level("metrics"),
        "without_effect": top_level("without_effect"),
        "tests": tests(),
    });
    definitions.insert("input".to_owned(), input());
    definitions.insert(REFERENCE.to_owned(), json!({ "type": "string", "pattern": r"^\$\{.+\}$" }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Logmill pipeline",
        "type": "object",
        "properties": properties,
        "required": ["name", "sources"],
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// The settings of a pipeline as a whole, as `(key, schema)`; those without key stand at the top.
pub fn settings() -> Vec<(&'static str, Schema)> {
    vec![
        ("epoch", schemars::schema_for!(Epoch)),
        ("memory", schemars::schema_for!(Memory)),
        ("checkpoint", schemars::schema_for!(stores::Settings)),
        ("retry", schemars::schema_for!(Retry)),
        ("", schemars::schema_for!(TopLevel)),
        ("history", schemars::schema_for!(History)),
        ("serve", schemars::schema_for!(Serve)),
        ("schedule", schemars::schema_for!(Written)),
        ("values", schemars::schema_for!(Values)),
    ]
}

const NAME: &str = "^[a-z][a-z0-9_-]{0,63}$";
/// The definition of a value that is only `${…}`.
const REFERENCE: &str = "reference";

fn part<T: JsonSchema>(name: &str, definitions: &mut Map<String, Value>) -> Value {
    adopt(&schemars::schema_for!(T), name, definitions)
}

/// One of the settings that stand at the top level themselves.
fn top_level(key: &str) -> Value {
    let inline = schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let schema = inline.into_generator().into_root_schema_for::<TopLevel>().to_value();
    schema["properties"][key].clone()
}

/// The text of `cron`, or all settings.
fn schedule(definitions: &mut Map<String, Value>) -> Value {
    let settings = part::<Written>("schedule", definitions);
    json!({ "description": settings["description"], "oneOf": [{ "type": "string" }, settings] })
}

/// A map from names to nodes, each one of several kinds.
fn nodes(half: &str, kinds: Kinds<'_>, definitions: &mut Map<String, Value>) -> Value {
    let any: Vec<_> =
        kinds.iter().map(|(kind, schema)| node(half, kind, schema, definitions)).collect();
    json!({
        "type": "object",
        "propertyNames": { "pattern": NAME },
        "additionalProperties": { "oneOf": any },
    })
}

fn node(half: &str, kind: &str, schema: &Schema, definitions: &mut Map<String, Value>) -> Value {
    let mut node = adopt(schema, &format!("{half}-{kind}"), definitions);
    let properties = object(&mut node, "properties");
    properties.insert("type".to_owned(), json!({ "const": kind }));
    if half != "transform" {
        let enabled = json!({ "type": ["boolean", "string"], "default": true });
        properties.insert("enabled".to_owned(), enabled);
    }
    match half {
        "source" => properties.insert("lineages".to_owned(), lineages()),
        _ => properties.insert("input".to_owned(), json!({ "$ref": "#/$defs/input" })),
    };
    let mut required = node["required"].as_array().cloned().unwrap_or_default();
    required.push(json!("type"));
    if half == "sink" {
        required.push(json!("input"));
    }
    node["required"] = Value::Array(required);
    node["additionalProperties"] = json!(false);
    node
}

fn object<'a>(schema: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !schema[key].is_object() {
        schema[key] = json!({});
    }
    schema[key].as_object_mut().expect("it was made an object just now")
}

/// Takes a schema over: its definitions move up under names of their own, and wherever a value
/// that is not text stands, a reference may stand too.
fn adopt(schema: &Schema, prefix: &str, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = schema.as_value().clone();
    let Some(map) = schema.as_object_mut() else { return json!({ "type": "object" }) };
    map.remove("$schema");
    map.remove("title");
    let own = map.remove("$defs").unwrap_or_default();
    rewrite(&mut schema, prefix);
    for (name, definition) in own.as_object().into_iter().flatten() {
        let mut definition = definition.clone();
        rewrite(&mut definition, prefix);
        definitions.insert(format!("{prefix}-{name}"), definition);
    }
    schema
}

/// Rewrites references to definitions and admits `${…}`, all the way down.
fn rewrite(schema: &mut Value, prefix: &str) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("$ref", Value::String(target)) => {
                *target = target.replace("#/$defs/", &format!("#/$defs/{prefix}-"));
            }
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|property| rewrite(property, prefix));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(choices)) => {
                choices.iter_mut().for_each(|choice| rewrite(choice, prefix));
            }
            ("items" | "additionalProperties", value) => rewrite(value, prefix),
            _ => {}
        }
    }
    if refuses_references(map) {
        admit_references(map);
    }
}

/// Whether a schema describes scalars, but not any text.
fn refuses_references(map: &Map<String, Value>) -> bool {
    let words = map.get("oneOf").and_then(Value::as_array);
    let of_words =
        words.is_some_and(|choices| choices.iter().all(|choice| choice["const"].is_string()));
    let is_number = |name: &Value| matches!(name.as_str(), Some("integer" | "number" | "boolean"));
    let of_numbers = match map.get("type") {
        Some(Value::Array(names)) => {
            names.iter().any(is_number) && !names.iter().any(|name| name == "string")
        }
        Some(name) => is_number(name),
        None => false,
    };
    of_words || of_numbers || map.contains_key("enum") || map.contains_key("pattern")
}

/// Turns a schema into a choice between itself and a reference; what describes it stays outside.
fn admit_references(map: &mut Map<String, Value>) {
    let mut inner = std::mem::take(map);
    for key in ["description", "default", "title"] {
        if let Some(value) = inner.remove(key) {
            map.insert(key.to_owned(), value);
        }
    }
    let reference = json!({ "$ref": format!("#/$defs/{REFERENCE}") });
    map.insert("anyOf".to_owned(), json!([inner, reference]));
}

fn lineages() -> Value {
    json!({
        "description": "Whether each split is a lineage of its own (`split`), or all of them share \
                        one (`one`). Decided at the first start, for good.",
        "enum": ["split", "one"],
    })
}

fn input() -> Value {
    let name = json!({ "type": "string", "pattern": r"^[a-z][a-z0-9_-]{0,63}(\..+)?$" });
    json!({
        "description": "The node that is read, or `node.output`; a list for several.",
        "anyOf": [name, { "type": "array", "items": name, "minItems": 1 }],
    })
}

fn tests() -> Value {
    let row = json!({ "type": "object" });
    let rows_in = json!({ "type": "array", "items": { "type": ["string", "object"] } });
    json!({
        "description": "Unit tests: rows in, rows expected.",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": { "description": "What the test shows.", "type": "string" },
                "now": { "description": "The clock's time.", "type": "string" },
                "input": {
                    "description": "Rows by source: text is a message, a map is a row.",
                    "type": "object",
                    "additionalProperties": rows_in,
                },
                "expect": {
                    "description": "Rows by node: the columns that are compared.",
                    "type": "object",
                    "additionalProperties": { "type": "array", "items": row },
                },
                "dead_letters": {
                    "description": "Dead letters: the columns that are compared.",
                    "type": "array",
                    "items": row,
                },
            },
            "required": ["name", "input"],
            "additionalProperties": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use contract::quantity::Period;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Config {
        /// What to match.
        pattern: String,
        #[serde(default)]
        every: Option<Period>,
        mode: Mode,
        limits: Limits,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    enum Mode {
        /// One.
        One,
        /// Two.
        Two,
    }

    #[derive(Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only its schema is looked at")]
    struct Limits {
        rows: u32,
    }

    fn schema() -> Value {
        let config = || schemars::schema_for!(Config);
        pipeline_schema(&[("file", config())], &[("parse", config())], &[("lake", config())])
    }

    #[test]
    fn a_node_knows_its_kind_and_its_edges() {
        let schema = schema();
        let of =
            |half: &str| schema["properties"][half]["additionalProperties"]["oneOf"][0].clone();
        assert_eq!(of("sources")["properties"]["type"]["const"], "file");
        assert!(of("sources")["properties"]["input"].is_null());
        assert!(of("transforms")["properties"]["enabled"].is_null());
        let required = of("sinks")["required"].clone();
        assert_eq!(required, json!(["pattern", "mode", "limits", "type", "input"]));
        assert_eq!(of("sinks")["additionalProperties"], false);
    }

    #[test]
    fn a_reference_may_stand_where_no_text_may() {
        let schema = schema();
        let source = &schema["properties"]["sources"]["additionalProperties"]["oneOf"][0];
        let reference = json!({ "$ref": "#/$defs/reference" });
        assert_eq!(source["properties"]["pattern"]["type"], "string");
        assert_eq!(source["properties"]["every"]["anyOf"][1], reference);
        assert_eq!(schema["$defs"]["source-file-Mode"]["anyOf"][1], reference);
        let rows = &schema["$defs"]["source-file-Limits"]["properties"]["rows"];
        assert_eq!(rows["anyOf"][1], reference);
    }

    #[test]
    fn every_reference_has_its_definition() {
        let schema = schema();
        let text = schema.to_string();
        for part in text.split("\"#/$defs/").skip(1) {
            let name = part.split('"').next().expect("a closing quote");
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
    }
}
