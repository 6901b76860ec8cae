//! The hash of what decides which rows come out of a plan.
//!
//! Not of what decides where they come from or go to: values of variables in sources, secrets and
//! the settings of sinks may change between two runs of the same history.

use std::fmt::Write;

use contract::section::Value;
use contract::{Result, Section};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::substitute::substitute;
use crate::{Input, NodeRef, Plan, Vocabulary};

/// Hashes a plan; `written` is its file before substitution.
///
/// # Errors
/// None that [`crate::read`] has not met before.
pub(crate) fn of(plan: &Plan, written: &Section, vocabulary: &Vocabulary<'_>) -> Result<String> {
    let reference = |path: &str| Ok(format!("${{secret:{path}}}"));
    let masked = Vocabulary { secrets: &reference, ..*vocabulary };
    let node = |part: &str, name: &str| {
        let part = written.get(part).expect("the plan was made of this file");
        part.get(name).expect("the plan was made of this file")
    };
    let mut sources = Vec::new();
    for source in &plan.sources {
        let section = node("sources", &source.name).without(&["type", "enabled"]);
        sources.push(json!([source.name, source.kind, json_of(&section)]));
    }
    let mut transforms = Vec::new();
    for transform in &plan.transforms {
        let section = node("transforms", &transform.name).without(&["type", "input"]);
        let section = substitute(&section, &masked.lookups())?;
        let inputs = edges(plan, &transform.inputs);
        transforms.push(json!([transform.name, transform.kind, inputs, json_of(&section)]));
    }
    let sinks = plan.sinks.iter().map(|sink| {
        let inputs = edges(plan, &sink.inputs);
        json!([sink.name, sink.kind, inputs])
    });
    let sinks: Vec<_> = sinks.collect();
    let whole = json!(["plan 1", plan.name, sources, transforms, sinks]);
    Ok(hexadecimal(&Sha256::digest(whole.to_string())))
}

fn edges(plan: &Plan, inputs: &[Input]) -> Vec<String> {
    inputs
        .iter()
        .map(|input| {
            let name = match input.node {
                NodeRef::Source(at) => &plan.sources[at].name,
                NodeRef::Transform(at) => &plan.transforms[at].name,
            };
            format!("{name}.{}", input.port)
        })
        .collect()
}

/// A section as JSON; maps as lists of pairs, because the order of keys may matter.
fn json_of(section: &Section) -> Json {
    match section.value() {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!({ "float": number.to_string() }),
        Value::Text(text) => json!(text),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| json!([entry.key, json_of(&entry.value)]));
            json!({ "map": pairs.collect::<Vec<_>>() })
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
