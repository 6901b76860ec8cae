//! Reads the sections `sources`, `transforms` and `sinks` into declared nodes.
//!
//! Knows nothing of edges but their names; `graph` links them.

use std::collections::HashMap;

use contract::section::{Entry, Value};
use contract::source::Lineages;
use contract::{Error, Place, Result, Section};

use crate::Vocabulary;
use crate::substitute::substitute;

/// Most sources, transforms and sinks together.
const NODES_MAX: usize = 1_000;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A node as the file declares it.
pub(crate) struct Node {
    pub name: String,
    pub kind: String,
    pub section: Section,
    pub place: Place,
    pub enabled: bool,
    pub lineages: Option<Lineages>,
    pub inputs: Vec<Reference>,
}

/// The name of an input, and where it stands.
pub(crate) struct Reference {
    pub node: String,
    pub port: String,
    pub place: Place,
}

/// All nodes of a file, in its order.
pub(crate) struct Declared {
    pub sources: Vec<Node>,
    pub transforms: Vec<Node>,
    pub sinks: Vec<Node>,
}

/// What one of the three sections holds.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    Source,
    Transform,
    Sink,
}

impl Half {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Transform => "transforms",
            Self::Sink => "sinks",
        }
    }

    fn kinds<'a>(self, vocabulary: &Vocabulary<'a>) -> &'a [&'a str] {
        match self {
            Self::Source => vocabulary.sources,
            Self::Transform => vocabulary.transforms,
            Self::Sink => vocabulary.sinks,
        }
    }
}

/// Reads all nodes of a file.
///
/// # Errors
/// Config: a section is not a map, a name is taken or not allowed, a kind is unknown, a variable
/// of an enabled node is not set.
pub(crate) fn declare(written: &Section, vocabulary: &Vocabulary<'_>) -> Result<Declared> {
    let declared = Declared {
        sources: half(written, Half::Source, vocabulary)?,
        transforms: half(written, Half::Transform, vocabulary)?,
        sinks: half(written, Half::Sink, vocabulary)?,
    };
    if declared.sources.is_empty() {
        let place = written.get("sources").unwrap_or(written).place();
        return Err(Error::config("the pipeline has no source")
            .at(place)
            .hint("add `sources: { NAME: { type: …, … } }`"));
    }
    check_unique(&declared)?;
    Ok(declared)
}

fn half(written: &Section, half: Half, vocabulary: &Vocabulary<'_>) -> Result<Vec<Node>> {
    let Some(section) = written.get(half.key()).filter(|part| *part.value() != Value::Null) else {
        return Ok(Vec::new());
    };
    expect_map(section, half.key())?;
    section.entries().iter().map(|entry| node(entry, half, vocabulary)).collect()
}

fn node(entry: &Entry, half: Half, vocabulary: &Vocabulary<'_>) -> Result<Node> {
    check_name(&entry.key, &entry.place)?;
    let word = format!("{} {:?}", half.word(), entry.key);
    expect_map(&entry.value, &word)?;
    let enabled = half == Half::Transform || enabled(&entry.value, vocabulary)?;
    let section = match enabled {
        true => substitute(&entry.value, &vocabulary.lookups())?,
        false => entry.value.clone(),
    };
    let kind = kind(&section, entry, half, vocabulary)?;
    let own_keys: &[&str] = match half {
        Half::Source => &["type", "enabled", "lineages"],
        Half::Transform => &["type", "input"],
        Half::Sink => &["type", "enabled", "input"],
    };
    let mut node = Node {
        name: entry.key.to_string(),
        kind,
        section: section.without(own_keys),
        place: entry.place.clone(),
        enabled,
        lineages: lineages(&section, half)?,
        inputs: Vec::new(),
    };
    node.inputs = match half {
        Half::Source => Vec::new(),
        Half::Transform => transform_inputs(&node, section.get("input"), vocabulary)?,
        Half::Sink => named_inputs(&node, section.get("input"))?,
    };
    Ok(node)
}

fn enabled(section: &Section, vocabulary: &Vocabulary<'_>) -> Result<bool> {
    let Some(written) = section.get("enabled") else { return Ok(true) };
    let value = substitute(written, &vocabulary.lookups())?;
    value.read().map_err(|error| error.field("enabled"))
}

/// How a source's splits are to be divided among lineages, where the file says so.
fn lineages(section: &Section, half: Half) -> Result<Option<Lineages>> {
    let written = section.get("lineages").filter(|_| half == Half::Source);
    written.map(|written| written.read().map_err(|error| error.field("lineages"))).transpose()
}

fn kind(
    section: &Section,
    entry: &Entry,
    half: Half,
    vocabulary: &Vocabulary<'_>,
) -> Result<String> {
    let kinds = half.kinds(vocabulary);
    let Some(written) = section.get("type") else {
        let (word, kinds) = (half.word(), kinds.join(", "));
        return Err(Error::config(format!("{word} {:?} has no type", entry.key))
            .at(&entry.place)
            .hint(format!("add `type: …`, one of: {kinds}")));
    };
    let kind = expect_text(written, "type")?;
    if !kinds.contains(&kind) {
        return Err(Error::config(format!("unknown {} type {kind:?}", half.word()))
            .at(written.place())
            .field("type")
            .hint(Section::did_you_mean(kind, kinds.iter().copied())));
    }
    Ok(kind.to_owned())
}

/// The inputs of a transform: those that it finds itself, or those that the file names.
fn transform_inputs(
    node: &Node,
    named: Option<&Section>,
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<Reference>> {
    let found = (vocabulary.inputs)(&node.kind, &node.section)
        .map_err(|error| error.at(node.section.place()))?;
    let Some(found) = found else { return named_inputs(node, named) };
    if let Some(named) = named {
        return Err(Error::config(format!("a {} transform names its inputs itself", node.kind))
            .at(named.place())
            .field("input")
            .hint("remove `input`"));
    }
    Ok(found.iter().map(|name| reference(name, &node.place)).collect())
}

fn named_inputs(node: &Node, input: Option<&Section>) -> Result<Vec<Reference>> {
    let Some(input) = input.filter(|input| *input.value() != Value::List(Vec::new())) else {
        return Err(Error::config(format!("{:?} does not say what it reads", node.name))
            .at(&node.place)
            .hint("add `input: NAME`, the name of a source or transform"));
    };
    let names = match input.value() {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(input),
    };
    let mut references: Vec<Reference> = Vec::with_capacity(names.len());
    for name in names {
        let text = expect_text(name, "input")?;
        let new = reference(text, name.place());
        if references.iter().any(|old| (&old.node, &old.port) == (&new.node, &new.port)) {
            return Err(Error::config(format!("the input {text:?} is named twice"))
                .at(name.place())
                .field("input")
                .hint("remove one of them"));
        }
        references.push(new);
    }
    Ok(references)
}

/// Reads `node` or `node.port`.
pub(crate) fn reference(text: &str, place: &Place) -> Reference {
    let (node, port) = text.split_once('.').unwrap_or((text, ""));
    Reference { node: node.to_owned(), port: port.to_owned(), place: place.clone() }
}

fn check_unique(declared: &Declared) -> Result<()> {
    let Declared { sources, transforms, sinks } = declared;
    let mut places = HashMap::new();
    for node in sources.iter().chain(transforms).chain(sinks) {
        if let Some(first) = places.insert(node.name.as_str(), &node.place) {
            return Err(Error::config(format!(
                "the name {:?} is taken by the node at {first}",
                node.name
            ))
            .at(&node.place)
            .hint("sources, transforms and sinks need different names"));
        }
        if places.len() > NODES_MAX {
            return Err(Error::config(format!("the pipeline has more than {NODES_MAX} nodes"))
                .at(&node.place)
                .hint("split it into several pipelines"));
        }
    }
    Ok(())
}

/// Refuses a name that could not stand in a path, a table or a metric.
pub(crate) fn check_name(name: &str, place: &Place) -> Result<()> {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if first && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::config(format!("{name:?} is not a name")).at(place).hint(format!(
        "begin with a lowercase letter; then lowercase letters, digits, `_` and `-`, at most \
         {NAME_BYTES_MAX} in all"
    )))
}

/// Refuses keys that nothing reads.
pub(crate) fn check_keys(section: &Section, allowed: &[&str]) -> Result<()> {
    match section.entries().iter().find(|entry| !allowed.contains(&&*entry.key)) {
        None => Ok(()),
        Some(entry) => Err(Error::config(format!("unknown key {:?}", entry.key))
            .at(&entry.place)
            .hint(Section::did_you_mean(&entry.key, allowed.iter().copied()))),
    }
}

/// Refuses anything but `key: value` lines.
pub(crate) fn expect_map(section: &Section, what: &str) -> Result<()> {
    match section.value() {
        Value::Map(_) => Ok(()),
        _ => Err(Error::config(format!("{what} must be a map"))
            .at(section.place())
            .hint("write `key: value` lines, indented under it")),
    }
}

/// The text of a setting.
pub(crate) fn expect_text<'a>(section: &'a Section, field: &str) -> Result<&'a str> {
    section.as_text().filter(|text| !text.is_empty()).ok_or_else(|| {
        Error::config("expected text").at(section.place()).field(field).hint("quote it")
    })
}
