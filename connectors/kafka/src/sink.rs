//! The sink: fences lineages, makes writers, reads rows back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use contract::sink::{
    BatchStream, Choice, Held, Promise, Proof, ReadBack, Sink, SinkKind, Writer, WriterContext,
};
use contract::spec::BuildContext;
use contract::{Error, Lineage, Result};

use crate::admin;
use crate::catalog::Catalog;
use crate::client::{Connection, blocking};
use crate::config::{Compression, PartitionSetting, Partitioner, SinkConfig};
use crate::headers;
use crate::needs::SinkNeeds;
use crate::read_back::{self, Wanted};
use crate::session::{Opening, Sender, Session};
use crate::template::Template;
use crate::timeout::TransactionTimeout;
use crate::topics::{TopicSet, check_name};
use crate::values::Values;
use crate::writer::{Delivery, TopicWriter};

/// What transactions promise while records carry their origin.
pub const EXACTLY_ONCE: Promise = Promise {
    kind: SinkKind::Transaction,
    token: true,
    proof: Proof::Origin,
    sentence: "exactly once for readers of committed records",
    with_origin: true,
};
/// What is left of it without transactions.
const AT_LEAST_ONCE: Promise = Promise {
    kind: SinkKind::None,
    token: false,
    proof: Proof::Origin,
    sentence: "at least once: without transactions, what was sent before a crash is sent again",
    with_origin: true,
};

/// What librdkafka keeps beside the value of a record that waits.
const WAITING_OVERHEAD_BYTES: usize = 512;
/// librdkafka checks no record; we do, by the limit of its topic.
const RECORD_BYTES_MAX: &str = "1000000000";

/// Topics as a sink.
pub struct Topics {
    shared: Arc<Shared>,
}

/// What all writers share.
pub struct Shared {
    /// The settings.
    pub config: SinkConfig,
    /// How to reach the brokers.
    pub connection: Connection,
    /// What there is on them.
    pub topics: admin::Topics,
    /// The templates of the settings.
    pub templates: Templates,
    catalog: Arc<Catalog>,
    token_topic: String,
    /// How long a transaction may be open.
    pub transaction_timeout: TransactionTimeout,
    /// The producers that hold the fences of this process.
    sessions: Mutex<HashMap<Lineage, Arc<Session>>>,
}

/// The templates of the settings.
pub struct Templates {
    /// The topic.
    pub topic: Template,
    /// The key.
    pub key: Option<Template>,
    /// The partition.
    pub partition: Option<Template>,
    /// The headers, by name.
    pub headers: Vec<(String, Template)>,
}

impl Templates {
    fn new(config: &SinkConfig) -> Result<Self> {
        let parse = |text: &str, field: &'static str| {
            Template::parse(text).map_err(|error| error.field(field))
        };
        let partition = config.partition.as_ref().map(|partition| match partition {
            PartitionSetting::Number(number) => parse(&number.to_string(), "partition"),
            PartitionSetting::Template(text) => parse(text, "partition"),
        });
        let headers = config.headers.iter().map(|(name, value)| {
            check_header(name).map_err(|error| error.field("headers"))?;
            Ok((name.clone(), parse(value, "headers")?))
        });
        Ok(Self {
            topic: parse(&config.topic, "topic")?,
            key: config.key.as_ref().map(|key| parse(key, "key")).transpose()?,
            partition: partition.transpose()?,
            headers: headers.collect::<Result<_>>()?,
        })
    }

    fn check(&self, schema: &Schema) -> Result<()> {
        let bind = |template: &Template, field: &'static str| {
            template.bind(schema).map_err(|error| error.field(field))
        };
        bind(&self.topic, "topic")?;
        self.key.as_ref().map_or(Ok(()), |key| bind(key, "key"))?;
        self.partition.as_ref().map_or(Ok(()), |partition| bind(partition, "partition"))?;
        self.headers.iter().try_for_each(|(_, header)| bind(header, "headers"))
    }
}

impl Topics {
    /// A sink with these settings. No I/O.
    ///
    /// # Errors
    /// Config: a setting is wrong.
    pub fn new(config: SinkConfig, ctx: &BuildContext) -> Result<Self> {
        let transaction_timeout = TransactionTimeout::new(&config, ctx.epoch_interval)?;
        let connection = Connection::new(&config.brokers, &config.client)?;
        let templates = Templates::new(&config)?;
        let token_topic = token_topic(&config, &templates)?;
        let catalog = Arc::new(Catalog::new(connection.clone()));
        let create = config.create_topics.clone();
        let topics =
            admin::Topics::new(connection.clone(), catalog.clone(), create, config.topics_max);
        let sessions = Mutex::default();
        let shared = Shared {
            config,
            connection,
            topics,
            templates,
            catalog,
            token_topic,
            transaction_timeout,
            sessions,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The topics that must be there.
    pub fn needs(&self) -> SinkNeeds {
        SinkNeeds::new(self.shared.clone())
    }
}

/// Refuses a name that no header has, or that one of ours has.
fn check_header(name: &str) -> Result<()> {
    if name.contains('\0') {
        return Err(Error::config("a header's name holds a NUL"));
    }
    match headers::ORIGIN.contains(&name) {
        false => Ok(()),
        true => Err(Error::config(format!("header {name:?} is the origin of a row"))
            .hint("give the header another name; `origin` decides whether rows carry theirs")),
    }
}

/// The topic under whose partition 0 tokens are kept.
fn token_topic(config: &SinkConfig, templates: &Templates) -> Result<String> {
    let topic = match (&config.token_topic, templates.topic.constant()) {
        (Some(topic), _) => topic,
        (None, Some(topic)) => topic,
        (None, None) if !config.transactional => return Ok(String::new()),
        (None, None) => {
            return Err(Error::config("the topic has columns in it, so the token has no place")
                .field("token_topic")
                .hint("name a topic that exists as `token_topic`; no record goes there"));
        }
    };
    check_name(topic).map_err(|reason| Error::config(reason).field("topic"))?;
    Ok(topic.to_owned())
}

#[async_trait]
impl Sink for Topics {
    fn promise(&self) -> Promise {
        let promise = match self.shared.config.transactional {
            true => EXACTLY_ONCE,
            false => AT_LEAST_ONCE,
        };
        match self.shared.config.origin {
            true => promise,
            false => Promise { proof: Proof::Count, ..promise },
        }
    }

    fn destination(&self, columns: &SchemaRef) -> Result<Option<String>> {
        self.shared.templates.check(columns)?;
        Values::new(&self.shared.config, columns)?;
        let brokers = self.shared.connection.brokers();
        let topic = &self.shared.config.topic;
        let place = format!("kafka://{brokers}/{topic}");
        let token_topic = &self.shared.token_topic;
        Ok(Some(match self.shared.config.transactional && token_topic != topic {
            true => format!("{place}, tokens in {token_topic}"),
            false => place,
        }))
    }

    fn choice(&self) -> Option<Choice> {
        let within = self.shared.connection.brokers().to_owned();
        Some(Choice { within, pieces: self.shared.templates.topic.choice() })
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        let shared = self.shared.clone();
        if !shared.config.transactional {
            return Ok(Held::Untold);
        }
        let topic = shared.topics.need(&shared.token_topic).await?;
        let opening = Opening {
            name: format!("logmill.{}.{}.{lineage}", ctx.pipeline, ctx.sink),
            token_topic: shared.token_topic.clone(),
            incarnation: ctx.incarnation,
            batch_bytes: shared.topics.batch_bytes(),
            transaction_timeout: shared.transaction_timeout.get(),
            settings: shared.settings(ctx, topic.record_bytes_max),
        };
        let session = shared.open_session(opening).await?;
        let held = session.held();
        self.shared.keep(lineage, session);
        Ok(held.map_or(Held::Nothing, Held::Token))
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let shared = self.shared.clone();
        let record_bytes = match shared.templates.topic.constant() {
            Some(topic) => shared.topics.need(topic).await?.record_bytes_max,
            None => 0,
        };
        let delivery = match shared.config.transactional {
            true => Delivery::Transaction(None),
            false => {
                let settings = shared.settings(&ctx, record_bytes);
                Delivery::Plain(blocking(move || plain(&shared, &settings)).await?)
            }
        };
        let writer = TopicWriter::new(self.shared.clone(), &ctx.schema, delivery)?;
        Ok(Box::new(writer))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let shared = self.shared.clone();
        let written = blocking(move || shared.written()).await?;
        let wanted = Wanted { what, with_origin: self.shared.config.origin };
        let catalog = self.shared.catalog.clone();
        read_back::stream(&self.shared.connection, pipeline, catalog, written, wanted)
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        let shared = self.shared.clone();
        let ask = move || {
            let written = shared.written()?;
            shared.catalog.topic_ids(written.keys().map(String::as_str))
        };
        let ids = blocking(ask).await?;
        Ok(ids.into_iter().map(|(topic, id)| (topic, id.to_string())).collect())
    }
}

fn plain(shared: &Shared, settings: &[(&'static str, String)]) -> Result<Sender> {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Sender::new(&shared.connection, &settings)
}

impl Shared {
    /// The topic under which tokens are kept; empty where there are none.
    pub fn token_topic(&self) -> &str {
        match self.config.transactional {
            true => &self.token_topic,
            false => "",
        }
    }

    /// The producer that holds the fence of a lineage.
    ///
    /// # Errors
    /// Bug: nobody fenced the lineage.
    pub fn session(&self, lineage: &Lineage) -> Result<Arc<Session>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(lineage).cloned();
        session.ok_or_else(|| Error::bug(format!("lineage {lineage:?} is written before a fence")))
    }

    /// Opens a session, if need be with transactions that are only as long as the brokers allow.
    async fn open_session(self: Arc<Self>, opening: Opening) -> Result<Session> {
        let open = async |opening: Opening| {
            let shared = self.clone();
            blocking(move || Session::open(&shared.connection, opening)).await
        };
        if let Some(session) = open(opening.clone()).await? {
            return Ok(session);
        }
        let topic = opening.token_topic.as_str();
        let transaction_timeout = self.transaction_timeout.lower(&self.topics, topic).await?;
        let opened = open(Opening { transaction_timeout, ..opening }).await?;
        opened.ok_or_else(|| Error::transient("the brokers refuse transactions that they allow"))
    }

    fn keep(&self, lineage: &Lineage, session: Session) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = Arc::new(session);
        tokio::spawn(Session::keep(Arc::downgrade(&session)));
        sessions.insert(lineage.clone(), session);
    }

    /// The topics that can hold rows, with the number of their partitions. Blocks.
    fn written(&self) -> Result<BTreeMap<String, i32>> {
        let Some(topic) = self.templates.topic.constant() else {
            let pattern = format!("/{}/", self.templates.topic.pattern());
            return self.catalog.topics(&TopicSet::parse(&[pattern])?);
        };
        let partitions = self.catalog.partitions(topic)?;
        Ok(partitions.map(|partitions| (topic.to_owned(), partitions)).into_iter().collect())
    }

    /// The settings of a producer, whose queue is within the memory of its writer, if that is
    /// enough for one record of `record_bytes`.
    fn settings(&self, ctx: &WriterContext, record_bytes: usize) -> Vec<(&'static str, String)> {
        let partitioner = match self.config.partitioner {
            Partitioner::Murmur2 => "murmur2_random",
            Partitioner::Fnv1a => "fnv1a_random",
        };
        let compression = match self.config.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        let waiting_bytes = ctx.client_bytes.max(record_bytes);
        let waiting_rows = waiting_bytes / WAITING_OVERHEAD_BYTES;
        let unless_set = [
            ("enable.idempotence", "true".to_owned()),
            ("queue.buffering.max.kbytes", waiting_bytes.div_ceil(1 << 10).max(1).to_string()),
            ("queue.buffering.max.messages", waiting_rows.max(1).to_string()),
        ];
        let unset = unless_set.into_iter();
        let unset = unset.filter(|(name, _)| self.connection.property(name).is_none());
        let ours = [
            ("partitioner", partitioner.to_owned()),
            ("compression.codec", compression.to_owned()),
            ("message.max.bytes", RECORD_BYTES_MAX.to_owned()),
            ("batch.size", self.topics.batch_bytes().to_string()),
        ];
        ours.into_iter().chain(unset).collect()
    }
}
