//! The sink: checks the template against the columns, makes writers, reads rows back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use contract::error::Context;
use contract::record::is_origin;
use contract::sink::{
    BatchStream, Held, Promise, Proof, ReadBack, Sink, SinkKind, Writer, WriterContext,
};
use contract::spec::BuildContext;
use contract::{Error, Lineage, Result};
use tracing::{debug, info};

use crate::config::{Config, Format};
use crate::encode::Form;
use crate::key::KeyTemplate;
use crate::spill::Spill;
use crate::unsettled::Unsettled;
use crate::writer::{ObjectWriter, Target};
use crate::{place, read};

/// What objects promise while rows carry their origin.
pub const PROMISE: Promise = Promise {
    kind: SinkKind::Staged,
    token: false,
    proof: Proof::Origin,
    sentence: "exactly once: a repeat overwrites itself",
    with_origin: true,
};

/// Objects below a prefix as a sink.
pub struct ObjectSink {
    config: Arc<Config>,
    key: Arc<KeyTemplate>,
    /// Where bytes wait while memory is short.
    spill: PathBuf,
    /// Whether the bucket was found before.
    was_there: AtomicBool,
    /// What its writers staged.
    unsettled: Arc<Unsettled>,
}

impl ObjectSink {
    /// Makes the sink of checked settings.
    ///
    /// # Errors
    /// Config: the settings name no store, or make no names.
    pub fn new(config: Config, ctx: &BuildContext) -> Result<Self> {
        place::check(&config)?;
        let key = KeyTemplate::parse(&config.key(), &ctx.pipeline, &ctx.name);
        let key = key.map_err(|error| error.field("key"))?;
        let spill = ctx.data.join("spill");
        let (config, key, was_there) = (Arc::new(config), Arc::new(key), AtomicBool::new(false));
        Ok(Self { config, key, spill, was_there, unsettled: Arc::default() })
    }
}

#[async_trait]
impl Sink for ObjectSink {
    fn promise(&self) -> Promise {
        // Names are made of split and position even where objects do not hold them.
        let proof = match (self.config.format, self.config.origin) {
            (Format::Text, _) => Proof::None,
            (_, true) => Proof::Origin,
            (_, false) => Proof::Count,
        };
        Promise { proof, ..PROMISE }
    }

    fn destination(&self, columns: &SchemaRef) -> Result<Option<String>> {
        self.key.check(columns).map_err(|error| error.field("key"))?;
        let written = columns.project(&written(&self.config, columns));
        Form::check(&self.config, &written.bug("the columns were counted wrong")?)?;
        // One bucket's name may be in use at several endpoints.
        let endpoint = self.config.store.endpoint.as_deref().unwrap_or_default();
        let place = format!("{} {} {endpoint}", self.config.url(), self.config.key());
        Ok(Some(place.trim_end().to_owned()))
    }

    async fn fence_and_read(&self, _ctx: &WriterContext, _lineage: &Lineage) -> Result<Held> {
        // Nothing shuts an earlier writer out: it can only publish, under the same names, what was
        // decided.
        Ok(Held::Untold)
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let place = place::open(&self.config)?;
        place.ensure_bucket().await?;
        if !place.has_bucket().await? {
            let missing = format!("there is no bucket or container for {:?}", self.config.url());
            return Err(match self.was_there.load(Ordering::Relaxed) {
                true => Error::transient(missing),
                false => Error::config(missing)
                    .field("url")
                    .hint("make it, or set `create_bucket: true`"),
            });
        }
        if !self.was_there.swap(true, Ordering::Relaxed) {
            tokio::spawn(remove_left(place::open(&self.config)?, self.key.clone()));
        }
        let spill = Spill::new(self.spill.clone());
        let (config, key) = (self.config.clone(), self.key.clone());
        let target = Target { place, spill, unsettled: self.unsettled.clone() };
        Ok(Box::new(ObjectWriter::new(config, key, target, &ctx)?))
    }

    async fn read_back(&self, _pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        if self.config.format == Format::Text {
            return Err(Error::config("objects of plain text cannot be read back")
                .hint("write `format: jsonl`, `csv` or `parquet`"));
        }
        let location = stores::Location::parse(self.config.url())?;
        if matches!(&location, stores::Location::Folder(folder) if !folder.is_dir()) {
            return Ok(Box::pin(futures::stream::empty()));
        }
        let place = place::open(&self.config)?;
        read::read_back(place, self.config.clone(), self.key.clone(), what)
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        if let stores::Location::Folder(_) = stores::Location::parse(self.config.url())? {
            return Ok(BTreeMap::new());
        }
        Ok(place::open(&self.config)?.identity().await?.into_iter().collect())
    }
}

/// Removes uploads that killed processes left; who may not list them leaves that to the bucket.
async fn remove_left(place: place::Place, key: Arc<KeyTemplate>) {
    match place::left::remove(&place, &key).await {
        Ok(0) => {}
        Ok(uploads) => info!(uploads, "removed unfinished uploads that nobody will complete"),
        Err(error) => debug!(error = error.chain(), "could not look for unfinished uploads"),
    }
}

/// The columns that objects hold: all, or all but the origin.
pub fn written(config: &Config, schema: &Schema) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    let wanted = fields.filter(|(_, field)| config.origin || !is_origin(field.name()));
    wanted.map(|(index, _)| index).collect()
}
