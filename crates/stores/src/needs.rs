//! The bucket or container that must be there before anything is put into it.

use async_trait::async_trait;
use contract::Result;
use contract::needs::{Maker, Need, Needs, State};

use crate::bucket::{Wish, project};
use crate::location::{BucketLocation, Location};
use crate::open::{Manner, has_bucket, open_bucket};
use crate::settings::{Provider, Settings};

/// The bucket of a store. No run makes it, `setup` does.
pub struct BucketNeeds {
    settings: Settings,
    place: BucketLocation,
}

impl BucketNeeds {
    /// The bucket that settings name; none where they name a folder.
    ///
    /// # Errors
    /// Config: they name no store.
    pub fn of(settings: &Settings) -> Result<Option<Self>> {
        let settings = settings.clone();
        Ok(match Location::parse(settings.url.as_deref().unwrap_or_default())? {
            Location::Folder(_) => None,
            Location::Bucket(place) => Some(Self { settings, place }),
        })
    }

    fn wish(&self) -> Result<Wish> {
        let project = match self.place.provider {
            Provider::Google => project(None, &self.settings)?,
            Provider::S3 | Provider::Azure => String::new(),
        };
        Ok(Wish { project, location: None })
    }
}

#[async_trait]
impl Needs for BucketNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let opened = open_bucket(&self.settings, self.place.clone(), &Manner::default())?;
        let prefix = Some(&opened.prefix).filter(|prefix| !prefix.as_ref().is_empty());
        let is_there = has_bucket(opened.objects.as_ref(), prefix).await?;
        Ok(vec![Need {
            kind: "bucket",
            name: self.settings.shown_bucket().to_owned(),
            shape: self.place.shape(),
            state: if is_there { State::Present } else { State::Missing },
            maker: if self.wish().is_ok() { Maker::Setup } else { Maker::Other },
        }])
    }

    async fn make(&self, _need: &Need) -> Result<()> {
        let opened = open_bucket(&self.settings, self.place.clone(), &Manner::default())?;
        opened.bucket(self.wish()?).ensure().await
    }
}
