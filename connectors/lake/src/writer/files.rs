//! One file of a table on its way to the store: uploaded as its row groups are done.
//!
//! A file has a name that nobody else uses and that nobody reads before a commit names it. It is
//! durable when [`OpenFile::close`] returns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use formats::columnar::{FileWriter, Shape};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use parquet::file::metadata::ParquetMetaData;

/// A file below this size is put at once; a larger one is uploaded in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file that are on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// What one file has on its way at most.
pub const UPLOAD_BYTES: usize = PARTS_AT_ONCE * PART_BYTES;

/// What the files of a writer have in common.
pub struct Files {
    /// Where they go.
    pub store: Arc<dyn ObjectStore>,
    /// Their columns, and how they are encoded.
    pub shape: Arc<Shape>,
}

/// A finished file.
pub struct ClosedFile {
    /// Its name under the table's folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its Parquet footer.
    pub metadata: ParquetMetaData,
}

/// A file that is being written.
pub struct OpenFile {
    files: Arc<Files>,
    path: String,
    writer: FileWriter,
    uploaded: u64,
    upload: Option<WriteMultipart>,
}

impl OpenFile {
    /// Begins a file.
    ///
    /// # Errors
    /// Config: a column has a type that Parquet does not have.
    pub fn begin(files: Arc<Files>, path: String) -> Result<Self> {
        let writer = FileWriter::begin(files.shape.clone())?;
        Ok(Self { files, path, writer, uploaded: 0, upload: None })
    }

    /// Takes rows.
    ///
    /// # Errors
    /// Retryable External: the store did not take a part.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match self.writer.write(batch).await? {
            true => self.upload_parts().await,
            false => Ok(()),
        }
    }

    /// Bytes so far, uploaded and waiting.
    pub fn size(&self) -> u64 {
        self.uploaded + self.writer.encoded_bytes() as u64
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.unsent_bytes() + self.sent_bytes()
    }

    /// Bytes that the store was handed and has not taken, at most.
    pub fn sent_bytes(&self) -> usize {
        if self.upload.is_some() { UPLOAD_BYTES } else { 0 }
    }

    /// Bytes that it holds in memory and has not handed to the store.
    pub fn unsent_bytes(&self) -> usize {
        self.writer.memory_bytes()
    }

    /// Ends the file and waits until it is durable.
    ///
    /// # Errors
    /// Retryable External: the store did not take it.
    pub async fn close(mut self) -> Result<ClosedFile> {
        self.end_row_group().await?;
        let (rest, metadata) = self.writer.finish().await?;
        let size = self.uploaded + bytes_of(&rest);
        let refused = |error| write_error(&self.path, error);
        match self.upload {
            None => {
                let path = object_path(&self.path)?;
                let payload = PutPayload::from_iter(rest);
                self.files.store.put(&path, payload).await.map_err(refused)?;
            }
            Some(mut upload) => {
                rest.into_iter().for_each(|piece| upload.put(piece));
                upload.finish().await.map_err(refused)?;
            }
        }
        Ok(ClosedFile { path: self.path, size, metadata })
    }

    /// Drops what was uploaded, as far as the store does it.
    pub async fn abandon(self) {
        if let Some(upload) = self.upload
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(path = self.path, %error, "an upload was left behind");
        }
    }

    /// Ends the row group if it has rows, and hands finished parts to the store.
    ///
    /// # Errors
    /// Retryable External: the store did not take a part.
    pub async fn end_row_group(&mut self) -> Result<()> {
        self.writer.end_row_group().await?;
        self.upload_parts().await
    }

    async fn upload_parts(&mut self) -> Result<()> {
        if self.writer.done_bytes() < PART_BYTES {
            return Ok(());
        }
        if self.upload.is_none() {
            let upload = self.files.store.put_multipart(&object_path(&self.path)?).await;
            let upload = upload.map_err(|error| write_error(&self.path, error))?;
            self.upload = Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
        }
        let pieces = self.writer.take();
        self.uploaded += bytes_of(&pieces);
        let upload = self.upload.as_mut().expect("it was begun above");
        pieces.into_iter().for_each(|piece| upload.put(piece));
        let waited = upload.wait_for_capacity(PARTS_AT_ONCE).await;
        waited.map_err(|error| write_error(&self.path, error))
    }
}

fn bytes_of(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

fn object_path(path: &str) -> Result<Path> {
    Path::parse(path).bug("a file of a lake table has no valid name")
}

fn write_error(path: &str, error: object_store::Error) -> Error {
    Error::transient(format!("could not write file {path:?}"))
        .because(error)
        .hint("make room on the disk, or check the access rights of the store")
}
