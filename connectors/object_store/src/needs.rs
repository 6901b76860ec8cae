//! The bucket, container or folder that must be there.

use async_trait::async_trait;
use contract::Result;
use contract::error::Context;
use contract::needs::{Maker, Need, Needs, State};
use stores::Location;

use crate::config::Config;
use crate::place;

/// What a sink writes to.
pub struct BucketNeeds {
    config: Config,
}

impl BucketNeeds {
    /// The bucket of checked settings.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    async fn is_there(&self) -> Result<bool> {
        match Location::parse(self.config.url())? {
            Location::Folder(folder) => Ok(folder.is_dir()),
            Location::Bucket(_) => place::open(&self.config)?.has_bucket().await,
        }
    }
}

#[async_trait]
impl Needs for BucketNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let store = &self.config.store;
        let (kind, name, shape) = match Location::parse(self.config.url())? {
            Location::Folder(_) => ("folder", store.shown(), String::new()),
            Location::Bucket(place) => ("bucket", store.shown_bucket(), place.shape()),
        };
        Ok(vec![Need {
            kind,
            name: name.to_owned(),
            shape,
            state: if self.is_there().await? { State::Present } else { State::Missing },
            maker: if self.config.create_bucket { Maker::Run } else { Maker::Setup },
        }])
    }

    async fn make(&self, _need: &Need) -> Result<()> {
        if let Location::Folder(folder) = Location::parse(self.config.url())? {
            let failed = || format!("could not make folder {:?}", folder.display());
            return tokio::fs::create_dir_all(&folder).await.external(failed);
        }
        let config = Config { create_bucket: true, ..self.config.clone() };
        place::open(&config)?.ensure_bucket().await
    }
}
