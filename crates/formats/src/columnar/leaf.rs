//! A leaf column that Parquet's own writer encodes.
//!
//! The writer's pages are kept as they are: what it makes is handed on without being copied.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, PageKey, PageStore,
    PageStoreArgs, PageStoreFactory,
};
use parquet::basic::{Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::SerializedFileWriter;

use super::chunk::FinishedChunk;

/// Among fewer values even those repeat little that will repeat among many.
const ROWS_TO_JUDGE_MIN: i64 = 8192;
/// A page is put as its header and its content.
const BLOBS_OF_PAGE: usize = 2;

/// A column chunk in the making.
pub struct LeafColumn {
    writer: ArrowColumnWriter,
    blobs: Arc<Mutex<Blobs>>,
}

/// Headers and contents of pages, in the order in which the writer made them.
#[derive(Debug, Default)]
struct Blobs {
    all: Vec<Bytes>,
    bytes: usize,
}

/// What the writers of one row group put, by leaf column.
#[derive(Debug, Default)]
struct Stores(Mutex<Vec<Arc<Mutex<Blobs>>>>);

struct Store(Arc<Mutex<Blobs>>);

impl LeafColumn {
    /// Begins the chunks of all leaf columns of a row group.
    ///
    /// # Errors
    /// Bug: the schema is not that of the file.
    pub fn begin_all(
        file: &SerializedFileWriter<io::Sink>,
        schema: &SchemaRef,
        row_group: usize,
    ) -> Result<Vec<Self>> {
        let stores = Arc::new(Stores::default());
        let factory = ArrowRowGroupWriterFactory::new(file, schema.clone())
            .with_page_store_factory(stores.clone());
        let writers =
            factory.create_column_writers(row_group).bug("could not begin a row group")?;
        let blobs = std::mem::take(&mut *held(&stores.0));
        let columns = writers.into_iter().zip(blobs);
        Ok(columns.map(|(writer, blobs)| Self { writer, blobs }).collect())
    }

    /// Adds rows.
    ///
    /// # Errors
    /// Bug: they do not have the column's type.
    pub fn push(&mut self, rows: &ArrowLeafColumn) -> Result<()> {
        self.writer.write(rows).bug("could not encode a column")
    }

    /// Bytes that it holds in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// Ends the chunk.
    ///
    /// # Errors
    /// Bug: the writer fails.
    pub fn close(self) -> Result<FinishedChunk> {
        const FAILED: &str = "could not end a column";
        let close = self.writer.close().bug(FAILED)?.close().clone();
        let blobs = std::mem::take(&mut *held(&self.blobs));
        let hardly_repeats = hardly_repeats(&close.metadata);
        let (pages, dictionary_bytes) = in_order(blobs.all, &close)?;
        let close = close.update_dictionary_location(dictionary_bytes).bug(FAILED)?;
        Ok(FinishedChunk { pages, metadata: close.metadata, hardly_repeats })
    }
}

/// The blobs in the order of the file, and the size of the dictionary's page: the writer makes it
/// behind others, but it comes first.
fn in_order(blobs: Vec<Bytes>, close: &ColumnCloseResult) -> Result<(Vec<Bytes>, usize)> {
    let Some(begins) = close.metadata.dictionary_page_offset() else { return Ok((blobs, 0)) };
    let (mut ordered, mut others) = (Vec::with_capacity(blobs.len()), Vec::new());
    let (mut at, mut dictionary_bytes) = (0, 0);
    for page in blobs.chunks(BLOBS_OF_PAGE) {
        let bytes = page.iter().map(Bytes::len).sum::<usize>();
        if at == begins {
            dictionary_bytes = bytes;
            ordered.extend_from_slice(page);
        } else {
            others.extend_from_slice(page);
        }
        at += bytes as i64;
    }
    if dictionary_bytes == 0 {
        return Err(Error::bug("a column's dictionary is not where its writer says"));
    }
    ordered.append(&mut others);
    Ok((ordered, dictionary_bytes))
}

/// Whether the dictionary was built for nothing: it grew too large, so that some of its pages are
/// plain, or takes more room than all that refers to it.
fn hardly_repeats(metadata: &ColumnChunkMetaData) -> bool {
    let Some(dictionary_begins) = metadata.dictionary_page_offset() else { return false };
    let mut pages = metadata.page_encoding_stats().into_iter().flatten();
    let is_plain = |encoding| encoding == Encoding::PLAIN;
    if pages.any(|it| it.page_type == PageType::DATA_PAGE && is_plain(it.encoding)) {
        return true;
    }
    // The writer puts the dictionary behind the other pages.
    let others = dictionary_begins - metadata.data_page_offset();
    metadata.num_values() >= ROWS_TO_JUDGE_MIN && others < metadata.compressed_size() / 2
}

impl PageStoreFactory for Stores {
    /// Asked for each leaf column in turn.
    fn create(&self, _: &PageStoreArgs<'_>) -> parquet::errors::Result<Box<dyn PageStore>> {
        let blobs = Arc::<Mutex<Blobs>>::default();
        held(&self.0).push(blobs.clone());
        Ok(Box::new(Store(blobs)))
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageStore for Store {
    fn put(&mut self, blob: Bytes) -> parquet::errors::Result<PageKey> {
        let mut blobs = held(&self.0);
        blobs.bytes += blob.len();
        blobs.all.push(blob);
        Ok(PageKey::new(blobs.all.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> parquet::errors::Result<Bytes> {
        let blobs = held(&self.0);
        let blob = usize::try_from(key.get()).ok().and_then(|index| blobs.all.get(index).cloned());
        blob.ok_or_else(|| parquet::errors::ParquetError::General("no such page".to_owned()))
    }

    fn memory_size(&self) -> usize {
        held(&self.0).bytes
    }
}
