//! An object that is read piece by piece.

use bytes::{Bytes, BytesMut};
use contract::error::Context;
use contract::{Error, Result};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::History;

/// The longest line between parts.
const LINE_BYTES_MAX: usize = 64 << 10;

/// What comes of an object.
pub(super) struct Pieces {
    path: Path,
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    /// What came and was not taken.
    rest: BytesMut,
}

impl History {
    /// Begins to read an object.
    ///
    /// # Errors
    /// External: it is not there, or the store does not answer (retryable).
    pub(super) async fn pieces(&self, path: &Path) -> Result<Pieces> {
        let chunks = match self.store.get(path).await {
            Ok(found) => found.into_stream(),
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::external(format!("\"{path}\" is not in the checkpoint store")));
            }
            Err(error) => {
                return Err(Error::transient(format!("could not read \"{path}\"")).because(error));
            }
        };
        Ok(Pieces { path: path.clone(), chunks, rest: BytesMut::new() })
    }
}

impl Pieces {
    /// The object.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sentence for whatever is not as it was written.
    pub fn damaged(&self) -> String {
        format!("\"{}\" is damaged", self.path)
    }

    /// Whether the object begins so. Takes nothing.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn begins_with(&mut self, beginning: &[u8]) -> Result<bool> {
        while self.rest.len() < beginning.len() && self.more().await? {}
        Ok(self.rest.starts_with(beginning))
    }

    /// Whether everything was taken.
    ///
    /// # Errors
    /// As for [`Pieces::begins_with`].
    pub async fn is_at_end(&mut self) -> Result<bool> {
        while self.rest.is_empty() {
            if !self.more().await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a line without its end.
    ///
    /// # Errors
    /// External: there is none, or the store does not answer (retryable).
    pub async fn line(&mut self) -> Result<BytesMut> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.rest[looked..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.rest.split_to(looked + at + 1);
                line.truncate(looked + at);
                return Ok(line);
            }
            looked = self.rest.len();
            if looked > LINE_BYTES_MAX {
                return Err(Error::external(self.damaged()));
            }
            self.more_or_damaged().await?;
        }
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// As for [`Pieces::line`].
    pub async fn take(&mut self, bytes: usize) -> Result<Bytes> {
        while self.rest.len() < bytes {
            self.more_or_damaged().await?;
        }
        Ok(self.rest.split_to(bytes).freeze())
    }

    /// Takes whatever comes next; none at the end.
    ///
    /// # Errors
    /// As for [`Pieces::begins_with`].
    pub async fn any(&mut self) -> Result<Option<Bytes>> {
        match self.is_at_end().await? {
            true => Ok(None),
            false => Ok(Some(self.rest.split().freeze())),
        }
    }

    async fn more(&mut self) -> Result<bool> {
        let path = &self.path;
        let next = self.chunks.try_next().await;
        let next = next.transient(|| format!("could not read \"{path}\""))?;
        next.iter().for_each(|chunk| self.rest.extend_from_slice(chunk));
        Ok(next.is_some())
    }

    async fn more_or_damaged(&mut self) -> Result<()> {
        match self.more().await? {
            true => Ok(()),
            false => {
                Err(Error::external(format!("\"{}\" is damaged: its end is missing", self.path)))
            }
        }
    }
}
