//! The sink: checks names against the columns, puts the index template, makes writers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::sink::{
    BatchStream, Choice, Held, Piece, Promise, Proof, ReadBack, Sink, SinkKind, Writer,
    WriterContext,
};
use contract::spec::BuildContext;
use contract::{Error, Lineage, Result};
use serde_json::{Map, Value, json};

use crate::client::{Client, Method, address, shown};
use crate::config::Config;
use crate::names::{Names, confine};
use crate::writer::SearchWriter;
use crate::{identity, read};

/// What documents promise whose `_id` is made of their origin.
pub const PROMISE: Promise = Promise {
    kind: SinkKind::Idempotent,
    token: false,
    proof: Proof::Origin,
    sentence: "effectively once: a repeat overwrites itself",
    with_origin: true,
};

/// Above the templates that the servers bring, which stand at 100 and below.
const TEMPLATE_PRIORITY: u32 = 200;

/// Indices of a cluster as a sink.
pub struct SearchSink {
    config: Arc<Config>,
    names: Arc<Names>,
    /// What the cluster calls the index template.
    template_name: String,
}

impl SearchSink {
    /// Makes the sink of checked settings.
    ///
    /// # Errors
    /// Config: the address is none, or a template makes no name.
    pub fn new(config: Config, ctx: &BuildContext) -> Result<Self> {
        address(&config.url)?;
        let (pipeline, sink) = (&ctx.pipeline, &ctx.name);
        let names = Names::parse(&config.index, config.id.as_deref(), pipeline, sink)?;
        let mut template_name = "logmill-".to_owned();
        confine(pipeline, &mut template_name);
        template_name.push('-');
        confine(sink, &mut template_name);
        Ok(Self { config: Arc::new(config), names: Arc::new(names), template_name })
    }

    /// A client of the cluster; connects with its first call.
    ///
    /// # Errors
    /// As for [`Client::new`].
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.config)
    }

    /// What the cluster calls the index template.
    pub fn template_name(&self) -> &str {
        &self.template_name
    }

    /// Where it stands; none where the settings have none.
    pub fn template_path(&self) -> Option<String> {
        self.config.template.as_ref().map(|_| format!("/_index_template/{}", self.template_name))
    }

    /// A pattern of all indices that rows can go to.
    pub fn index_pattern(&self) -> String {
        self.names.index_pattern()
    }

    /// The index of all rows, where they go to one.
    pub fn only_index(&self) -> Option<String> {
        Some(self.names.index_pattern()).filter(|pattern| !pattern.contains('*'))
    }

    /// Puts the index template, if the settings have one.
    ///
    /// # Errors
    /// Config: the cluster refuses it. External: it does not answer.
    pub async fn put_template(&self, client: &Client) -> Result<()> {
        let Some(template) = &self.config.template else { return Ok(()) };
        let mut template = template.clone();
        if self.config.origin {
            add_origin(&mut template)?;
        }
        let body = json!({
            "index_patterns": [self.names.index_pattern()],
            "priority": TEMPLATE_PRIORITY,
            "template": template,
        });
        let Some(path) = self.template_path() else { return Ok(()) };
        let answer = client.call(Method::Put, &path, Some(&body)).await?;
        match answer.status {
            400 => {
                let error = answer.error("the cluster refused the index template".to_owned());
                Err(Error::config("the cluster refused the index template")
                    .because(error)
                    .field("template"))
            }
            _ => answer.json(|| "could not put the index template".to_owned()).map(|_| ()),
        }
    }
}

/// Adds the columns of the origin to the mappings, so that a strict one takes them.
fn add_origin(template: &mut Map<String, Value>) -> Result<()> {
    let no_map = || Error::config("mappings have properties, by their names").field("template");
    let mappings = template.entry("mappings").or_insert_with(|| json!({}));
    let mappings = mappings.as_object_mut().ok_or_else(no_map)?;
    let properties = mappings.entry("properties").or_insert_with(|| json!({}));
    let properties = properties.as_object_mut().ok_or_else(no_map)?;
    for (column, kind) in
        [(SPLIT, "keyword"), (POSITION, "long"), (ORDINAL, "long"), (EPOCH, "long")]
    {
        properties.entry(column).or_insert_with(|| json!({ "type": kind }));
    }
    Ok(())
}

#[async_trait]
impl Sink for SearchSink {
    fn promise(&self) -> Promise {
        match (&self.config.id, self.config.origin) {
            (None, true) => PROMISE,
            // Ids are made of split and position even where documents do not hold them.
            (None, false) => Promise { proof: Proof::None, ..PROMISE },
            (Some(_), _) => Promise {
                proof: Proof::None,
                sentence: "effectively once: of rows with one `_id` the last remains",
                ..PROMISE
            },
        }
    }

    fn destination(&self, columns: &SchemaRef) -> Result<Option<String>> {
        self.names.check(columns)?;
        Ok(Some(format!("{} {}", shown(&address(&self.config.url)?), self.config.index)))
    }

    fn choice(&self) -> Option<Choice> {
        let pattern = self.names.index_pattern();
        let mut pieces = Vec::new();
        for (number, text) in pattern.split('*').enumerate() {
            pieces.extend((number > 0).then_some(Piece::Any));
            pieces.push(Piece::Text(text.to_owned()));
        }
        Some(Choice { within: shown(&address(&self.config.url).ok()?), pieces })
    }

    async fn fence_and_read(&self, _ctx: &WriterContext, _lineage: &Lineage) -> Result<Held> {
        // Nothing shuts an earlier writer out: what it sends has the version of its epoch, and
        // gives way to what is newer.
        Ok(Held::Untold)
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let client = Client::new(&self.config)?;
        self.put_template(&client).await?;
        Ok(Box::new(SearchWriter::new(client, self.names.clone(), &self.config, &ctx)))
    }

    async fn read_back(&self, _pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        if !self.config.origin {
            return Err(Error::config("the documents do not carry their origin")
                .hint("set `origin: true` on the sink"));
        }
        let client = Client::new(&self.config)?;
        read::read_back(client, self.names.clone(), what).await
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        let client = Client::new(&self.config)?;
        let ids = identity::ids(&client, &[&self.names.index_pattern()]).await?;
        Ok(ids.unwrap_or_default())
    }
}
