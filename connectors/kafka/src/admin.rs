//! What the sink must know of a topic before it sends to it, and topics that it makes.
//!
//! A transaction with one record that is refused is lost as a whole. So what can be known before,
//! is: whether the topic exists, how many partitions it has, how large a record may be.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use contract::{Error, Result};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::catalog::Catalog;
use crate::client::{Connection, REQUEST_LIMIT, Witness, blocking, failed};
use crate::config::CreateTopics;
use crate::topic_id::{TopicId, made_anew};

/// What a batch takes in the log beside its records, at most.
const BATCH_OVERHEAD_BYTES: usize = 128;
/// Batches are no larger than this, nor than any topic that is written to takes.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// What brokers take where nothing says otherwise (`message.max.bytes`).
const RECORD_BYTES_DEFAULT: usize = 1_048_588;
/// How long a topic that is missing is not asked for again.
const MISSING_FOR: Duration = Duration::from_secs(10);
/// Pauses while a new topic becomes known to all brokers.
const CREATED_POLLS_MAX: u32 = 50;
/// One of them.
const CREATED_POLL: Duration = Duration::from_millis(100);

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The number of its partitions.
    pub partitions: i32,
    /// The largest record that it takes, with its headers and what the log adds.
    pub record_bytes_max: usize,
    /// Whether it keeps the newest record of each key, and so takes none without a key.
    pub needs_key: bool,
    /// Its id; none where the brokers give none.
    pub id: Option<TopicId>,
}

/// The topics that a sink writes to.
pub struct Topics {
    connection: Connection,
    catalog: Arc<Catalog>,
    create: Option<CreateTopics>,
    count_max: usize,
    batch_bytes: AtomicUsize,
    client: OnceLock<AdminClient<Witness>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    topics: HashMap<String, Topic>,
    missing: HashMap<String, Instant>,
    /// Every topic that was found once.
    seen: HashSet<String>,
}

/// A topic as somebody who only looks sees it.
pub struct Looked {
    /// The number of its partitions.
    pub partitions: i32,
    /// Its settings; none where they may not be asked for.
    pub config: Option<HashMap<String, String>>,
}

/// Whether a row can go to a topic.
pub enum Found {
    /// It is there.
    Topic(Topic),
    /// It is not, for this reason.
    Refused(String),
}

impl Topics {
    /// The topics of these brokers; missing ones are created as `create` says.
    pub fn new(
        connection: Connection,
        catalog: Arc<Catalog>,
        create: Option<CreateTopics>,
        count_max: usize,
    ) -> Self {
        Self {
            connection,
            catalog,
            create,
            count_max,
            batch_bytes: AtomicUsize::new(BATCH_BYTES_MAX),
            client: OnceLock::new(),
            known: Mutex::default(),
        }
    }

    /// The largest batch that every topic takes which is known.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Ordering::Relaxed)
    }

    /// Looks a topic up, and creates it if that is wanted.
    ///
    /// # Errors
    /// External: the brokers do not answer, or refuse to create it.
    pub async fn find(&self, name: &str) -> Result<Found> {
        let mut known = self.known.lock().await;
        if let Some(topic) = known.topics.get(name) {
            return Ok(Found::Topic(*topic));
        }
        if known.topics.len() >= self.count_max {
            let count = self.count_max;
            return Ok(Found::Refused(format!("{count} topics are written to already")));
        }
        known.missing.retain(|_, since| since.elapsed() < MISSING_FOR);
        if known.missing.contains_key(name) {
            return Ok(Found::Refused(missing(name)));
        }
        let mut partitions = self.partitions(name).await?;
        if partitions.is_none() && self.create.is_some() {
            if known.seen.contains(name) {
                warn!(topic = name, "the topic was deleted; it is made anew, without its records");
            }
            self.create(name).await?;
            partitions = Some(self.wait_for(name).await?);
        }
        let Some(partitions) = partitions else {
            if known.missing.len() < self.count_max {
                known.missing.insert(name.to_owned(), Instant::now());
            }
            return Ok(Found::Refused(missing(name)));
        };
        let topic = self.describe(name, partitions).await?;
        known.topics.insert(name.to_owned(), topic);
        if known.seen.len() < self.count_max {
            known.seen.insert(name.to_owned());
        }
        self.batch_bytes.fetch_min(topic.record_bytes_max, Ordering::Relaxed);
        Ok(Found::Topic(topic))
    }

    /// Looks at a topic, and at nothing else; none where it is not there.
    ///
    /// # Errors
    /// External: the brokers do not answer, or refuse to.
    pub async fn look_at(&self, name: &str) -> Result<Option<Looked>> {
        let Some(partitions) = self.partitions(name).await? else { return Ok(None) };
        let config = self.settings_of(name).await?.map(|config| {
            let entries = config.entries.into_iter();
            entries.filter_map(|entry| Some((entry.name, entry.value?))).collect()
        });
        Ok(Some(Looked { partitions, config }))
    }

    /// Makes a topic unless it is there, as the settings say.
    ///
    /// # Errors
    /// Config: the settings do not suit the brokers. External: they refuse, or do not answer.
    pub async fn make(&self, name: &str) -> Result<()> {
        if self.partitions(name).await?.is_none() {
            self.create(name).await?;
            self.wait_for(name).await?;
        }
        Ok(())
    }

    /// Makes sure that the brokers answer.
    ///
    /// # Errors
    /// External: they do not.
    pub async fn reach(&self) -> Result<()> {
        let catalog = self.catalog.clone();
        blocking(move || catalog.brokers()).await.map(drop)
    }

    /// A topic that must be there.
    ///
    /// # Errors
    /// Config: it never was. External: it is away (retryable); as for [`Topics::find`].
    pub async fn need(&self, name: &str) -> Result<Topic> {
        match self.find(name).await? {
            Found::Topic(topic) => Ok(topic),
            Found::Refused(_) if self.known.lock().await.seen.contains(name) => {
                Err(Error::transient(format!("topic {name:?} is away")))
            }
            Found::Refused(reason) => Err(Error::config(reason)
                .field("topic")
                .hint("create it, or let `create_topics` do so")),
        }
    }

    /// How long the brokers allow a transaction to be open; none where they do not say.
    ///
    /// # Errors
    /// External: the brokers do not answer.
    pub async fn transaction_timeout_max(&self) -> Result<Option<Duration>> {
        let catalog = self.catalog.clone();
        for broker in blocking(move || catalog.brokers()).await? {
            let resource = ResourceSpecifier::Broker(broker);
            let answers = self.client()?.describe_configs([&resource], &options()).await;
            let tried = || "could not ask for the settings of a broker".to_owned();
            let answers = answers.map_err(|error| failed(error, tried()))?;
            let Some(Ok(config)) = answers.first() else { continue };
            let value = setting_of(config, "transaction.max.timeout.ms");
            if let Some(allowed_ms) = value.and_then(|value| value.parse().ok()) {
                return Ok(Some(Duration::from_millis(allowed_ms)));
            }
        }
        Ok(None)
    }

    /// Forgets what is known, after a refusal that it does not explain.
    pub async fn forget(&self) {
        let mut known = self.known.lock().await;
        (known.topics, known.missing) = (HashMap::new(), HashMap::new());
    }

    /// Makes sure that a topic is there that was there before.
    ///
    /// # Errors
    /// Retryable External: it is away, or the brokers do not answer.
    pub async fn look_for(&self, name: &str) -> Result<()> {
        if self.partitions(name).await?.is_some() {
            return Ok(());
        }
        self.forget().await;
        Err(Error::transient(format!("topic {name:?} is away")))
    }

    /// Makes sure that topics are those that were written to before.
    ///
    /// # Errors
    /// External: one was deleted and made anew; the brokers do not answer (retryable).
    pub async fn confirm(
        &self,
        topics: &HashMap<String, Topic>,
        sent: &HashMap<String, u64>,
    ) -> Result<()> {
        let (catalog, names) = (self.catalog.clone(), topics.keys().cloned().collect::<Vec<_>>());
        let ask = move || catalog.topic_ids(names.iter().map(String::as_str));
        let ids = blocking(ask).await?;
        for (name, topic) in topics {
            let now = ids.get(name).copied();
            if let Some((before, now)) = topic.id.zip(now).filter(|(before, now)| before != now) {
                return Err(made_anew(name, before, now).hint(
                    "what was delivered into the old one is gone; the next start says what it \
                     finds, and the ways to go on",
                ));
            }
            // Another one may have stood there, and have taken the rows with it.
            if topic.id.is_some() && now.is_none() && sent.contains_key(name) {
                return Err(Error::transient(format!(
                    "the topic {name:?} was deleted before its rows were decided"
                )));
            }
        }
        Ok(())
    }

    async fn partitions(&self, name: &str) -> Result<Option<i32>> {
        let (catalog, name) = (self.catalog.clone(), name.to_owned());
        blocking(move || catalog.partitions(&name)).await
    }

    async fn create(&self, name: &str) -> Result<()> {
        let tried = || format!("could not create topic {name:?}");
        let wanted = self.create.as_ref().map_or_else(CreateTopics::default, Clone::clone);
        let count = |number: Option<u32>| {
            number.map_or(-1, |number| i32::try_from(number).unwrap_or(i32::MAX))
        };
        let replication = TopicReplication::Fixed(count(wanted.replication));
        let config: Vec<_> =
            wanted.config.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
        let mut topic = NewTopic::new(name, count(wanted.partitions), replication);
        for (name, value) in &config {
            topic = topic.set(name, value);
        }
        let answers = self.client()?.create_topics([&topic], &options()).await;
        let answers = answers.map_err(|error| failed(error, tried()))?;
        let Some(Err((_, code))) = answers.into_iter().next() else {
            info!(topic = name, "created a topic");
            return Ok(());
        };
        use RDKafkaErrorCode as Code;
        match code {
            Code::TopicAlreadyExists => Ok(()),
            Code::InvalidConfig | Code::InvalidPartitions | Code::InvalidReplicationFactor => {
                let error = KafkaError::AdminOp(code);
                Err(Error::config(tried()).because(error).field("create_topics"))
            }
            _ => Err(failed(KafkaError::AdminOp(code), tried())),
        }
    }

    /// Waits until the brokers know a topic that was created just now.
    async fn wait_for(&self, name: &str) -> Result<i32> {
        for _ in 0..CREATED_POLLS_MAX {
            if let Some(partitions) = self.partitions(name).await.ok().flatten() {
                return Ok(partitions);
            }
            tokio::time::sleep(CREATED_POLL).await;
        }
        Err(Error::transient(format!("topic {name:?} was created and does not appear")))
    }

    /// The settings of a topic; none where they may not be asked for.
    async fn settings_of(&self, name: &str) -> Result<Option<ConfigResource>> {
        let tried = || format!("could not ask for the settings of topic {name:?}");
        let resource = ResourceSpecifier::Topic(name);
        let answers = self.client()?.describe_configs([&resource], &options()).await;
        let answers = answers.map_err(|error| failed(error, tried()))?;
        match answers.into_iter().next() {
            Some(Ok(config)) => Ok(Some(config)),
            Some(Err(RDKafkaErrorCode::TopicAuthorizationFailed)) | None => Ok(None),
            Some(Err(code)) => Err(failed(KafkaError::AdminOp(code), tried())),
        }
    }

    async fn describe(&self, name: &str, partitions: i32) -> Result<Topic> {
        let config = self.settings_of(name).await?;
        if config.is_none() {
            warn!(topic = name, "may not ask for its settings; taking the brokers' defaults");
        }
        let value = |setting: &str| config.as_ref().and_then(|config| setting_of(config, setting));
        let limit = value("max.message.bytes").and_then(|value| value.parse().ok());
        let limit: usize = limit.unwrap_or(RECORD_BYTES_DEFAULT);
        let own = self.connection.property("message.max.bytes");
        let own = own.and_then(|own| own.parse().ok()).unwrap_or(usize::MAX);
        let cleanup = value("cleanup.policy").unwrap_or_default();
        let (catalog, wanted) = (self.catalog.clone(), name.to_owned());
        let ids = blocking(move || catalog.topic_ids(std::iter::once(wanted.as_str()))).await?;
        Ok(Topic {
            id: ids.get(name).copied(),
            partitions,
            record_bytes_max: limit.saturating_sub(BATCH_OVERHEAD_BYTES).clamp(1, own.max(1)),
            needs_key: cleanup.split(',').any(|policy| policy.trim() == "compact"),
        })
    }

    fn client(&self) -> Result<&AdminClient<Witness>> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.connection.config(&[]).create_with_context(Witness::default());
        let client: AdminClient<Witness> =
            client.map_err(|error| failed(error, "could not make a Kafka client"))?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_LIMIT)).operation_timeout(Some(REQUEST_LIMIT))
}

fn missing(name: &str) -> String {
    format!("there is no topic {name:?}")
}

fn setting_of(config: &ConfigResource, name: &str) -> Option<String> {
    config.get(name).and_then(|entry| entry.value.clone())
}
