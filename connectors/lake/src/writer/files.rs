//! One Parquet file on its way to the store: encoded row groups, uploaded as they are done.
//!
//! A file has a name that nobody else uses and that nobody reads before a commit names it. It is
//! durable when [`OpenFile::close`] returns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedFileWriter;

use super::encode::{Chunk, Parts, RowGroup};
use super::group::Group;
use super::plain::Plain;

/// A file below this size is put at once; a larger one is uploaded in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file that are on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// What the files of a writer have in common.
pub struct Shape {
    /// Where the files go.
    pub store: Arc<dyn ObjectStore>,
    /// The columns in the files.
    pub schema: SchemaRef,
    /// Encodings, compression, statistics.
    pub properties: WriterPropertiesPtr,
    /// Columns of text that need no dictionary.
    pub plain: Arc<Plain>,
    /// Threads that encode columns.
    pub threads: usize,
    /// Rows of a row group.
    pub row_group_rows_max: usize,
    /// Raw bytes that wait for being encoded together.
    pub group_bytes_max: usize,
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
    shape: Arc<Shape>,
    path: String,
    group: Group,
    row_group: RowGroup,
    factory: ArrowRowGroupWriterFactory,
    row_groups: usize,
    file: SerializedFileWriter<Vec<u8>>,
    uploaded: u64,
    upload: Option<WriteMultipart>,
}

impl OpenFile {
    /// Begins a file.
    ///
    /// # Errors
    /// Bug: the schema is none of Parquet's.
    pub fn begin(shape: Arc<Shape>, path: String) -> Result<Self> {
        let columns = ArrowSchemaConverter::new()
            .convert(&shape.schema)
            .bug("could not make a Parquet schema of a table's columns")?;
        let file = SerializedFileWriter::new(
            Vec::new(),
            columns.root_schema_ptr(),
            shape.properties.clone(),
        )
        .bug("could not begin a Parquet file")?;
        let factory = ArrowRowGroupWriterFactory::new(&file, shape.schema.clone());
        let row_group = RowGroup::begin(&parts(&shape, &factory, &file), 0)?;
        let group = Group::default();
        let (uploaded, upload) = (0, None);
        Ok(Self { shape, path, group, row_group, factory, row_groups: 0, file, uploaded, upload })
    }

    /// Takes rows.
    ///
    /// # Errors
    /// Retryable External: the store did not take a part.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.group.push(batch);
        if self.group.is_full(self.shape.group_bytes_max) {
            self.encode().await?;
        }
        if self.row_group.rows() >= self.shape.row_group_rows_max {
            self.end_row_group().await?;
        }
        Ok(())
    }

    /// Bytes so far, written and waiting.
    pub fn size(&self) -> u64 {
        self.uploaded + (self.file.inner().len() + self.row_group.memory_bytes()) as u64
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        let on_their_way = if self.upload.is_some() { PARTS_AT_ONCE * PART_BYTES } else { 0 };
        self.group.bytes() + self.row_group.memory_bytes() + self.file.inner().len() + on_their_way
    }

    /// Ends the file and waits until it is durable.
    ///
    /// # Errors
    /// Retryable External: the store did not take it.
    pub async fn close(mut self) -> Result<ClosedFile> {
        self.end_row_group().await?;
        let metadata = self.file.finish().bug("could not end a Parquet file")?;
        let rest = Bytes::from(std::mem::take(self.file.inner_mut()));
        let size = self.uploaded + rest.len() as u64;
        let refused = |error| write_error(&self.path, error);
        match self.upload {
            None => {
                let path = object_path(&self.path)?;
                self.shape.store.put(&path, rest.into()).await.map_err(refused)?;
            }
            Some(mut upload) => {
                upload.put(rest);
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

    async fn encode(&mut self) -> Result<()> {
        let batches = self.group.take();
        if batches.is_empty() {
            return Ok(());
        }
        self.row_group.encode(&batches, self.shape.threads).await
    }

    /// Ends the row group if it has rows, and hands finished parts to the store.
    pub async fn end_row_group(&mut self) -> Result<()> {
        self.encode().await?;
        if self.row_group.rows() == 0 {
            return Ok(());
        }
        self.row_groups += 1;
        let parts = parts(&self.shape, &self.factory, &self.file);
        let next = RowGroup::begin(&parts, self.row_groups)?;
        let done = std::mem::replace(&mut self.row_group, next);
        let chunks = done.close(self.shape.threads).await?;
        // Growing by doubling would copy all of it, each time into fresh memory.
        self.file.inner_mut().reserve(chunks.iter().map(Chunk::bytes).sum());
        let mut row_group = self.file.next_row_group().bug("could not begin a row group")?;
        for chunk in chunks {
            chunk.append(&mut row_group).bug("could not write a column")?;
        }
        row_group.close().bug("could not end a row group")?;
        self.file.flush().bug("could not write to memory")?;
        self.upload_parts().await
    }

    async fn upload_parts(&mut self) -> Result<()> {
        if self.file.inner().len() < PART_BYTES {
            return Ok(());
        }
        if self.upload.is_none() {
            let upload = self.shape.store.put_multipart(&object_path(&self.path)?).await;
            let upload = upload.map_err(|error| write_error(&self.path, error))?;
            self.upload = Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES));
        }
        let bytes = Bytes::from(std::mem::take(self.file.inner_mut()));
        self.uploaded += bytes.len() as u64;
        let upload = self.upload.as_mut().expect("it was begun above");
        upload.put(bytes);
        let waited = upload.wait_for_capacity(PARTS_AT_ONCE).await;
        waited.map_err(|error| write_error(&self.path, error))
    }
}

fn parts<'a>(
    shape: &'a Shape,
    factory: &'a ArrowRowGroupWriterFactory,
    file: &'a SerializedFileWriter<Vec<u8>>,
) -> Parts<'a> {
    Parts {
        factory,
        schema: &shape.schema,
        leaves: file.schema_descr(),
        properties: &shape.properties,
        plain: &shape.plain,
    }
}

fn object_path(path: &str) -> Result<Path> {
    Path::parse(path).bug("a file of a lake table has no valid name")
}

fn write_error(path: &str, error: object_store::Error) -> Error {
    Error::transient(format!("could not write file {path:?}"))
        .because(error)
        .hint("make room on the disk, or check the access rights of the store")
}
