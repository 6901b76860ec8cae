//! The topics that must be there, for a source or a sink.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use contract::needs::{Maker, Need, Needs, State};
use contract::{Error, Result};

use crate::admin;
use crate::catalog::Catalog;
use crate::client::{Connection, blocking};
use crate::config::{CreateTopics, SourceConfig};
use crate::sink::Shared;
use crate::topics::TopicSet;

const TOPIC: &str = "topic";

/// What a source reads.
pub struct SourceNeeds {
    set: TopicSet,
    catalog: Arc<Catalog>,
}

impl SourceNeeds {
    /// The topics of these settings. No I/O.
    ///
    /// # Errors
    /// Config: a setting is wrong.
    pub fn new(config: &SourceConfig) -> Result<Self> {
        let connection = Connection::new(&config.brokers, &config.client)?;
        let set = TopicSet::parse(config.topics.all())?;
        Ok(Self { set, catalog: Arc::new(Catalog::new(connection)) })
    }
}

#[async_trait]
impl Needs for SourceNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let (catalog, set) = (self.catalog.clone(), self.set.clone());
        let found = blocking(move || catalog.topics(&set)).await?;
        let mut needs: Vec<_> = self
            .set
            .names()
            .iter()
            .map(|name| {
                let partitions = found.get(name).map(|partitions| partitions_of(*partitions));
                let state = if partitions.is_some() { State::Present } else { State::Missing };
                need(name.clone(), partitions.unwrap_or_default(), state, Maker::Other)
            })
            .collect();
        if self.set.has_patterns() {
            let matching = found.keys().filter(|name| self.set.matches(name)).count();
            let state = if matching > 0 { State::Present } else { State::Missing };
            let name = self.set.patterns().collect::<Vec<_>>().join(", ");
            needs.push(need(name, format!("topics that match: {matching}"), state, Maker::Later));
        }
        Ok(needs)
    }

    async fn make(&self, need: &Need) -> Result<()> {
        Err(Error::bug(format!("a source makes no topic {:?}", need.name)))
    }
}

/// What a sink writes to.
pub struct SinkNeeds {
    shared: Arc<Shared>,
}

impl SinkNeeds {
    /// The topics of a sink.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn topics(&self) -> BTreeSet<&str> {
        let token_topic = Some(self.shared.token_topic()).filter(|topic| !topic.is_empty());
        self.shared.templates.topic.constant().into_iter().chain(token_topic).collect()
    }
}

#[async_trait]
impl Needs for SinkNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let wanted = self.shared.config.create_topics.as_ref();
        let maker = if wanted.is_some() { Maker::Run } else { Maker::Setup };
        let mut needs = Vec::new();
        for topic in self.topics() {
            let found = self.shared.topics.look_at(topic).await?;
            let (shape, state) = match found {
                None => (shape_of(wanted), State::Missing),
                Some(found) => {
                    let differences = differences(wanted, &found);
                    let state = match differences.is_empty() {
                        true => State::Present,
                        false => State::Different(differences.join(", ")),
                    };
                    (partitions_of(found.partitions), state)
                }
            };
            needs.push(need(topic.to_owned(), shape, state, maker));
        }
        if needs.is_empty() {
            // Who writes to topics by columns without a token is asked for nothing else.
            self.shared.topics.reach().await?;
        }
        if self.shared.config.transactional {
            self.shared.transaction_timeout.check(&self.shared.topics).await?;
        }
        Ok(needs)
    }

    async fn make(&self, need: &Need) -> Result<()> {
        self.shared.topics.make(&need.name).await
    }
}

fn need(name: String, shape: String, state: State, maker: Maker) -> Need {
    Need { kind: TOPIC, name, shape, state, maker }
}

fn partitions_of(partitions: i32) -> String {
    format!("{partitions} partition{}", if partitions == 1 { "" } else { "s" })
}

/// What a topic looks like that is made.
fn shape_of(wanted: Option<&CreateTopics>) -> String {
    let wanted = wanted.cloned().unwrap_or_default();
    let partitions =
        wanted.partitions.map(|count| partitions_of(i32::try_from(count).unwrap_or(0)));
    let replication = wanted.replication.map(|count| format!("replication {count}"));
    let config = wanted.config.iter().map(|(name, value)| format!("{name}={value}"));
    let parts: Vec<_> = partitions.into_iter().chain(replication).chain(config).collect();
    match parts.is_empty() {
        true => "as the brokers' defaults say".to_owned(),
        false => parts.join(", "),
    }
}

/// In what a topic differs from the settings: partitions and its own configuration.
fn differences(wanted: Option<&CreateTopics>, found: &admin::Looked) -> Vec<String> {
    let Some(wanted) = wanted else { return Vec::new() };
    let differs = |count: &u32| i32::try_from(*count) != Ok(found.partitions);
    let partitions = wanted.partitions.filter(differs);
    let partitions =
        partitions.map(|count| format!("{} instead of {count}", partitions_of(found.partitions)));
    let config = wanted.config.iter().filter_map(|(name, value)| {
        let now = found.config.as_ref()?.get(name).map_or("unset", String::as_str);
        (now != value.to_string()).then(|| format!("{name} is {now} instead of {value}"))
    });
    partitions.into_iter().chain(config).collect()
}
