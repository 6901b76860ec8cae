//! From flags and a configuration file to the source that is watched.

use std::path::Path;
use std::sync::Arc;

use contract::section::{Entry, Value};
use contract::source::Source;
use contract::spec::BuildContext;
use contract::{Error, Place, Result, Section};
use desk::Tail;

/// Where a broker listens if nobody says otherwise.
const BROKERS: &str = "localhost:9092";
/// The consumer group if nobody says otherwise.
const GROUP: &str = "logmill-tail";

/// The source of the command line.
///
/// # Errors
/// Config: a flag or the file is wrong.
pub fn source(tail: &Tail, data: &Path) -> Result<Arc<dyn Source>> {
    let connectors = registry::connectors().iter();
    let kafka = connectors.copied().find(|connector| connector.spec().name == "kafka");
    let kafka = kafka.ok_or_else(|| Error::bug("this program was built without Kafka"))?;
    let ctx = BuildContext::new("tail", "tail", data);
    kafka.source(&section(tail)?, &ctx)
}

fn section(tail: &Tail) -> Result<Section> {
    let file = match &tail.config {
        Some(file) => read(file)?,
        None => Section::new(Place::default(), Value::Map(Vec::new())),
    };
    let mut entries = file.entries().to_vec();
    let brokers = tail.brokers.as_deref().map(|list| texts(list.split(',')));
    set(&mut entries, "brokers", brokers, || texts([BROKERS]));
    let topics = (!tail.topics.is_empty()).then(|| texts(tail.topics.iter().map(String::as_str)));
    if topics.is_none() && file.get("topics").is_none() {
        return Err(Error::config("no topic is named")
            .hint("`-t NAME` names one, `-t '/PATTERN/'` those that match"));
    }
    set(&mut entries, "topics", topics, || texts([]));
    set(&mut entries, "group", tail.group.as_deref().map(text), || text(GROUP));
    set(&mut entries, "start", tail.start.as_deref().map(text), || text("latest"));
    if !tail.client.is_empty() {
        let known = entries.iter().find(|entry| &*entry.key == "client");
        let mut client = known.map_or(Vec::new(), |entry| entry.value.entries().to_vec());
        for property in &tail.client {
            let (name, value) = property.split_once('=').ok_or_else(|| {
                Error::config(format!("{property:?} is no property")).hint("write `-X name=value`")
            })?;
            let value = Section::secret(Place::default(), value);
            set(&mut client, name, Some(value), || text(""));
        }
        let client = Section::new(Place::default(), Value::Map(client));
        set(&mut entries, "client", Some(client), || text(""));
    }
    Ok(Section::new(file.place().clone(), Value::Map(entries)))
}

fn read(file: &Path) -> Result<Section> {
    let name = file.display().to_string();
    let yaml = std::fs::read_to_string(file).map_err(|error| {
        Error::config(format!("could not read configuration file {name:?}")).because(error)
    })?;
    plan::parse_section(&yaml, &name)
}

/// Sets a key to a flag's value, or to the default if the file is silent.
fn set(
    entries: &mut Vec<Entry>,
    key: &str,
    flag: Option<Section>,
    default: impl FnOnce() -> Section,
) {
    let known = entries.iter_mut().find(|entry| &*entry.key == key);
    match (known, flag) {
        (Some(known), Some(flag)) => known.value = flag,
        (Some(_), None) => {}
        (None, flag) => {
            let value = flag.unwrap_or_else(default);
            entries.push(Entry { key: key.into(), place: Place::default(), value });
        }
    }
}

fn text(text: &str) -> Section {
    Section::new(Place::default(), Value::Text(text.into()))
}

fn texts<'a>(list: impl IntoIterator<Item = &'a str>) -> Section {
    let list = list.into_iter().map(|one| text(one.trim()));
    Section::new(Place::default(), Value::List(list.collect()))
}
