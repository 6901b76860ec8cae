//! Makes decided objects visible: a put of what stands in the checkpoint, the end of an upload.
//!
//! Every object of an epoch has a name that follows from its rows, so that a repeat overwrites
//! itself. An upload that is gone was completed, if the object holds the very bytes; else its rows
//! are sent again.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use contract::error::Context;
use contract::failpoint::reach;
use contract::sink::CommitOutcome;
use contract::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::place::Place;

/// Objects of an epoch that are published at once.
const PUBLISHED_AT_ONCE: usize = 8;
/// What stores say of an upload that they do not have, beside status 404.
const GONE: [&str; 4] = ["NoSuchUpload", "InvalidPart", "InvalidBlockList", "InvalidBlobOrBlock"];

/// What a checkpoint holds of an epoch's objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committable {
    /// All of them.
    pub objects: Vec<StagedObject>,
}

/// An object that is durable and not seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedObject {
    /// Its name below the prefix.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Where its bytes are.
    pub body: StagedBody,
}

/// An object as it is once it is visible.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its name below the prefix.
    pub key: String,
    /// Its size.
    bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    sha256: String,
}

impl Published {
    /// What a staged object becomes.
    pub fn of(staged: &StagedObject) -> Self {
        let StagedObject { key, bytes, sha256, .. } = staged;
        Self { key: key.clone(), bytes: *bytes, sha256: sha256.clone() }
    }
}

/// Where the bytes of an object wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StagedBody {
    /// Here, in Base64.
    Inline(String),
    /// In the parts of an upload.
    Upload {
        /// What the store calls it.
        id: String,
        /// What the store calls its parts, in their order.
        parts: Vec<String>,
    },
}

/// Publishes the objects of an epoch; what was published before stays as it is.
///
/// # Errors
/// Retryable External: the store does not answer as it should.
pub async fn publish(place: &Place, committable: Committable) -> Result<CommitOutcome> {
    let published = stream::iter(committable.objects)
        .map(|object| async move { publish_one(place, &object).await })
        .buffer_unordered(PUBLISHED_AT_ONCE);
    let all: Vec<bool> = published.try_collect().await?;
    Ok(match all.into_iter().all(|published| published) {
        true => CommitOutcome::Committed,
        false => CommitOutcome::NeedsReplay,
    })
}

/// Publishes an object; false if its bytes are gone.
async fn publish_one(place: &Place, object: &StagedObject) -> Result<bool> {
    reach("object_store.commit.object").await?;
    let path = place.path(&object.key)?;
    let refused = || format!("could not publish object \"{path}\"");
    match &object.body {
        StagedBody::Inline(text) => {
            let bytes = BASE64_STANDARD.decode(text).bug("a checkpoint holds a broken object")?;
            place.objects.put(&path, PutPayload::from(bytes)).await.transient(refused)?;
            Ok(true)
        }
        StagedBody::Upload { id, parts } => {
            let parts = parts.iter().map(|part| PartId { content_id: part.clone() });
            match place.uploads.complete_multipart(&path, id, parts.collect()).await {
                Ok(_) => Ok(true),
                Err(error) if is_gone(&error) => holds(place, &path, &Published::of(object)).await,
                Err(error) => Err(Error::transient(refused()).because(error)),
            }
        }
    }
}

/// Whether the store says for certain that the upload is none of its own.
fn is_gone(error: &object_store::Error) -> bool {
    let text = error.to_string();
    matches!(error, object_store::Error::NotFound { .. })
        || GONE.iter().any(|code| text.contains(code))
}

/// Whether the object is there with the very bytes.
async fn holds(place: &Place, path: &Path, object: &Published) -> Result<bool> {
    let failed = || format!("could not look at object \"{path}\"");
    let found = match place.objects.get(path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        found => found.transient(failed)?,
    };
    if found.meta.size != object.bytes {
        return Ok(false);
    }
    let mut hash = Sha256::new();
    let mut pieces = found.into_stream();
    while let Some(piece) = pieces.next().await {
        hash.update(&piece.transient(failed)?);
    }
    Ok(format!("{:x}", hash.finalize()) == object.sha256)
}

/// Removes an object that an epoch had before it was sent again, unless somebody else wrote it
/// anew.
///
/// # Errors
/// Retryable External: the store does not answer as it should.
pub async fn remove(place: &Place, object: &Published) -> Result<()> {
    let path = place.path(&object.key)?;
    if !holds(place, &path, object).await? {
        return Ok(());
    }
    match place.objects.delete(&path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => {
            let message = format!("could not remove object \"{path}\", which was sent again");
            Err(Error::transient(message).because(error))
        }
    }
}

/// Drops an object that no epoch names.
///
/// # Errors
/// Retryable External: the store does not answer as it should.
pub async fn abandon(place: &Place, object: &StagedObject) -> Result<()> {
    let StagedBody::Upload { id, .. } = &object.body else { return Ok(()) };
    let path = place.path(&object.key)?;
    match place.uploads.abort_multipart(&path, id).await {
        Err(error) if !is_gone(&error) => {
            let message = format!("could not drop the upload of object \"{path}\"");
            Err(Error::transient(message).because(error))
        }
        _ => Ok(()),
    }
}
