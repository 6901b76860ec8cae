//! The bytes of one object on their way: in memory, in the spill file, in parts of an upload.
//!
//! Small bodies never leave memory: they stand in the checkpoint. All parts but the last have one
//! size, as every store wants it.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::commit::{StagedBody, StagedObject};
use crate::place::{PART_BYTES, Place};
use crate::spill::{Chunk, Spill};

/// A body up to this size stands in the checkpoint.
pub const INLINE_BYTES_MAX: u64 = 128 << 10;

/// What the bodies of a writer share.
#[derive(Clone)]
pub struct Means {
    /// Where they go.
    pub place: Arc<Place>,
    /// Where they wait while memory is short.
    pub spill: Arc<Spill>,
    /// How many parts may be on their way at once.
    pub parts: Arc<Semaphore>,
}

/// The bytes of an object.
pub struct Body {
    means: Means,
    key: String,
    path: Path,
    spilled: Vec<Chunk>,
    spilled_bytes: usize,
    tail: Vec<u8>,
    bytes: u64,
    hash: Sha256,
    upload: Option<Upload>,
}

struct Upload {
    id: String,
    begun: usize,
    under_way: JoinSet<Result<(usize, String)>>,
    done: Vec<(usize, String)>,
}

impl Body {
    /// A body without bytes.
    ///
    /// # Errors
    /// Bug: the key is no path.
    pub fn new(means: Means, key: String) -> Result<Self> {
        let path = means.place.path(&key)?;
        Ok(Self {
            means,
            key,
            path,
            spilled: Vec::new(),
            spilled_bytes: 0,
            tail: Vec::new(),
            bytes: 0,
            hash: Sha256::new(),
            upload: None,
        })
    }

    /// Adds bytes, which come in pieces; full parts go to the store.
    ///
    /// # Errors
    /// Retryable External: the store did not take a part.
    pub async fn push(&mut self, pieces: &[Bytes]) -> Result<()> {
        for piece in pieces {
            self.hash.update(piece);
            self.bytes += piece.len() as u64;
            let mut piece = &piece[..];
            // What waits never grows beyond a part: twice that much would stand there for long.
            while self.spilled_bytes + self.tail.len() + piece.len() >= PART_BYTES {
                let fitting = PART_BYTES - self.spilled_bytes - self.tail.len();
                self.add(&piece[..fitting]);
                piece = &piece[fitting..];
                self.send_what_waits().await?;
            }
            self.add(piece);
        }
        Ok(())
    }

    /// Adds bytes that fit into the part, which is never given more room than it can need.
    fn add(&mut self, bytes: &[u8]) {
        let most = PART_BYTES - self.spilled_bytes;
        let (len, room) = (self.tail.len(), self.tail.capacity());
        if len + bytes.len() > room && room * 2 > most {
            self.tail.reserve_exact(most - len);
        }
        self.tail.extend_from_slice(bytes);
    }

    /// Bytes that wait in memory.
    pub fn memory_bytes(&self) -> usize {
        self.tail.capacity()
    }

    /// Moves what waits in memory to the spill file.
    ///
    /// # Errors
    /// Retryable External: the disk does not take it.
    pub async fn spill(&mut self) -> Result<()> {
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() {
            return Ok(());
        }
        self.spilled_bytes += tail.len();
        self.spilled.push(self.means.spill.write(tail).await?);
        Ok(())
    }

    /// Whether it is small enough for the checkpoint.
    pub fn fits_checkpoint(&self) -> bool {
        self.upload.is_none() && self.bytes <= INLINE_BYTES_MAX
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the body as text for the checkpoint.
    ///
    /// # Errors
    /// Retryable External: the disk does not give back what was spilled.
    pub async fn into_inline(mut self) -> Result<StagedObject> {
        self.gather().await?;
        let text = BASE64_STANDARD.encode(&self.tail);
        Ok(self.staged(StagedBody::Inline(text)))
    }

    /// Ends the body as an upload that is whole and durable, and not complete. Nothing of it is
    /// left in the store where that fails.
    ///
    /// # Errors
    /// Retryable External: the store did not take a part.
    pub async fn into_upload(mut self) -> Result<StagedObject> {
        match self.end_upload().await {
            Ok(body) => Ok(self.staged(body)),
            Err(error) => {
                self.abandon().await;
                Err(error)
            }
        }
    }

    async fn end_upload(&mut self) -> Result<StagedBody> {
        if self.spilled_bytes + self.tail.len() > 0 {
            self.send_what_waits().await?;
        }
        let Some(upload) = &mut self.upload else {
            return Err(Error::bug("an object without bytes"));
        };
        while let Some(part) = upload.under_way.join_next().await {
            upload.done.push(part.bug("a part's upload failed")??);
        }
        upload.done.sort_unstable();
        let parts = upload.done.drain(..).map(|(_, part)| part).collect();
        Ok(StagedBody::Upload { id: upload.id.clone(), parts })
    }

    /// Drops what was uploaded, as far as the store does it.
    pub async fn abandon(mut self) {
        self.means.spill.forget(self.spilled.drain(..));
        let Some(mut upload) = self.upload.take() else { return };
        upload.under_way.shutdown().await;
        let uploads = &self.means.place.uploads;
        if let Err(error) = uploads.abort_multipart(&self.path, &upload.id).await {
            tracing::debug!(key = self.key, %error, "an upload was left behind");
        }
    }

    fn staged(self, body: StagedBody) -> StagedObject {
        let sha256 = format!("{:x}", self.hash.finalize());
        StagedObject { key: self.key, bytes: self.bytes, sha256, body }
    }

    /// Brings all that waits into memory, in its order.
    async fn gather(&mut self) -> Result<()> {
        if self.spilled.is_empty() {
            return Ok(());
        }
        let mut whole = Vec::with_capacity(self.spilled_bytes + self.tail.len());
        for chunk in self.spilled.drain(..) {
            whole.append(&mut self.means.spill.read(chunk).await?);
        }
        whole.append(&mut self.tail);
        (self.tail, self.spilled_bytes) = (whole, 0);
        Ok(())
    }

    /// Begins to upload what waits as a part, as soon as few enough are on their way: before that
    /// it is not brought into memory.
    async fn send_what_waits(&mut self) -> Result<()> {
        let permit = self.means.parts.clone().acquire_owned().await.bug("parts are limited")?;
        self.gather().await?;
        let part = Bytes::from(std::mem::take(&mut self.tail));
        self.send(part, permit).await
    }

    async fn send(&mut self, part: Bytes, permit: OwnedSemaphorePermit) -> Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let id = self.means.place.uploads.create_multipart(&self.path).await;
                let id = id.transient(|| format!("could not begin object {:?}", self.key))?;
                let (under_way, done) = (JoinSet::new(), Vec::new());
                self.upload.insert(Upload { id, begun: 0, under_way, done })
            }
        };
        while let Some(part) = upload.under_way.try_join_next() {
            upload.done.push(part.bug("a part's upload failed")??);
        }
        let number = upload.begun;
        upload.begun += 1;
        let (place, path) = (self.means.place.clone(), self.path.clone());
        let id = upload.id.clone();
        upload.under_way.spawn(async move {
            let put = place.uploads.put_part(&path, &id, number, part.into()).await;
            drop(permit);
            let put = put.transient(|| format!("could not write a part of object \"{path}\""))?;
            Ok((number, put.content_id))
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::place;

    #[tokio::test]
    async fn what_waits_takes_no_more_room_than_a_part_and_all_of_it_arrives() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = folder.path().join("out");
        let settings = format!("{{ url: \"{}\", create_bucket: true }}", url.display());
        let config = Config::read(&testkit::section(&settings)).expect("settings");
        for spills in [false, true] {
            let means = Means {
                place: Arc::new(place::open(&config).expect("a folder")),
                spill: Arc::new(Spill::new(folder.path().to_owned())),
                parts: Arc::new(Semaphore::new(1)),
            };
            let mut body = Body::new(means.clone(), "an object".to_owned()).expect("a key");
            // Pieces whose ends fall anywhere in a part, one of them longer than two.
            for (number, length) in [700_001; 12].into_iter().chain([11 << 20]).enumerate() {
                let piece = vec![number as u8; length];
                body.push(&[piece.into()]).await.expect("taken");
                assert!(body.memory_bytes() <= PART_BYTES, "{}", body.memory_bytes());
                if spills && number % 3 == 0 {
                    body.spill().await.expect("spilled");
                }
            }
            assert_eq!(body.bytes(), 12 * 700_001 + (11 << 20));
            let parts = body.bytes().div_ceil(PART_BYTES as u64) as usize;
            let staged = body.into_upload().await.expect("whole");
            let StagedBody::Upload { parts: found, .. } = staged.body else {
                panic!("too large for a checkpoint")
            };
            assert_eq!(found.len(), parts);
        }
    }
}
