//! One Parquet file in the making, in memory. Its owner takes the bytes that are done.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use contract::error::Context;
use contract::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::Compression;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedFileWriter;

use super::encode::{Chunk, Parts, RowGroup, leaves};
use super::group::Group;
use super::plain::Plain;
use super::properties::properties;

/// Raw bytes that are encoded together, at least and at most.
const GROUP_BYTES: RangeInclusive<usize> = (1 << 20)..=(8 << 20);
/// One part in so many of a writer's memory is for batches that wait.
const GROUP_SHARE: usize = 4;

/// What the files of a writer have in common.
pub struct Shape {
    schema: SchemaRef,
    properties: WriterPropertiesPtr,
    plain: Arc<Plain>,
    means: Means,
}

/// What a writer may use for its files.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Memory of all files of the writer together, in bytes.
    pub memory_bytes: usize,
    /// Threads that encode columns.
    pub threads: usize,
    /// Rows of a row group.
    pub row_group_rows_max: usize,
}

impl Shape {
    /// The shape of files with these columns.
    pub fn new(schema: SchemaRef, compression: Compression, means: Means) -> Self {
        let properties = properties(&schema, compression);
        let plain = Arc::new(Plain::new(leaves(&schema)));
        Self { schema, properties, plain, means }
    }

    /// The columns in the files.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn group_bytes_max(&self) -> usize {
        let share = self.means.memory_bytes / GROUP_SHARE;
        share.clamp(*GROUP_BYTES.start(), *GROUP_BYTES.end())
    }
}

/// A file in the making.
pub struct FileWriter {
    shape: Arc<Shape>,
    group: Group,
    /// Begun with its first rows: many files may be open, and most of them wait.
    row_group: Option<RowGroup>,
    factory: ArrowRowGroupWriterFactory,
    row_groups: usize,
    file: SerializedFileWriter<Vec<u8>>,
}

impl FileWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// Config: a column has a type that Parquet does not have.
    pub fn begin(shape: Arc<Shape>) -> Result<Self> {
        let columns = ArrowSchemaConverter::new().convert(&shape.schema).map_err(|error| {
            Error::config("the columns do not make a Parquet file").because(error)
        })?;
        let file = SerializedFileWriter::new(
            Vec::new(),
            columns.root_schema_ptr(),
            shape.properties.clone(),
        )
        .bug("could not begin a Parquet file")?;
        let factory = ArrowRowGroupWriterFactory::new(&file, shape.schema.clone());
        let (group, row_group) = Default::default();
        Ok(Self { shape, group, row_group, factory, row_groups: 0, file })
    }

    /// Takes rows. True if a row group ended, so that there are bytes to [take](Self::take).
    ///
    /// # Errors
    /// Bug: the rows do not have the columns of the file.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<bool> {
        self.group.push(batch);
        if self.group.is_full(self.shape.group_bytes_max()) {
            self.encode().await?;
        }
        let rows = self.row_group.as_ref().map_or(0, RowGroup::rows);
        let is_full = rows >= self.shape.means.row_group_rows_max;
        if is_full {
            self.end_row_group().await?;
        }
        Ok(is_full)
    }

    /// Bytes of rows that wait for being encoded together with others.
    pub fn waiting_bytes(&self) -> usize {
        self.group.bytes()
    }

    /// Bytes that are done and not taken.
    pub fn done_bytes(&self) -> usize {
        self.file.inner().len()
    }

    /// Bytes that are encoded and not taken.
    pub fn encoded_bytes(&self) -> usize {
        self.done_bytes() + self.row_group.as_ref().map_or(0, RowGroup::memory_bytes)
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.waiting_bytes() + self.encoded_bytes()
    }

    /// Takes the bytes that are done.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }

    /// Encodes the rows that wait.
    ///
    /// # Errors
    /// Bug: the rows do not have the columns of the file.
    pub async fn encode(&mut self) -> Result<()> {
        let batches = self.group.take();
        if batches.is_empty() {
            return Ok(());
        }
        let row_group = match &mut self.row_group {
            Some(begun) => begun,
            None => {
                let parts = parts(&self.shape, &self.factory, &self.file);
                self.row_group.insert(RowGroup::begin(&parts, self.row_groups)?)
            }
        };
        row_group.encode(&batches, self.shape.means.threads).await
    }

    /// Ends the row group if it has rows.
    ///
    /// # Errors
    /// Bug: the rows do not have the columns of the file.
    pub async fn end_row_group(&mut self) -> Result<()> {
        self.encode().await?;
        let Some(done) = self.row_group.take() else { return Ok(()) };
        self.row_groups += 1;
        let chunks = done.close(self.shape.means.threads).await?;
        // Growing by doubling would copy all of it, each time into fresh memory.
        self.file.inner_mut().reserve(chunks.iter().map(Chunk::bytes).sum());
        let mut row_group = self.file.next_row_group().bug("could not begin a row group")?;
        for chunk in chunks {
            chunk.append(&mut row_group).bug("could not write a column")?;
        }
        row_group.close().bug("could not end a row group")?;
        self.file.flush().bug("could not write to memory")
    }

    /// Ends the file: its last bytes and its footer.
    ///
    /// # Errors
    /// Bug: the rows do not have the columns of the file.
    pub async fn finish(mut self) -> Result<(Vec<u8>, ParquetMetaData)> {
        self.end_row_group().await?;
        let footer = self.file.finish().bug("could not end a Parquet file")?;
        Ok((self.take(), footer))
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

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringViewArray};
    use arrow::datatypes::Int64Type;
    use parquet::basic::ZstdLevel;

    use super::super::testing;
    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let texts = rows.clone().map(|row| format!("row {row} of many"));
        RecordBatch::try_from_iter([
            ("number", Arc::new(rows.clone().collect::<Int64Array>()) as _),
            ("text", Arc::new(StringViewArray::from_iter_values(texts)) as _),
        ])
        .unwrap()
    }

    fn writer() -> FileWriter {
        let means = Means { memory_bytes: 1 << 20, threads: 2, row_group_rows_max: 5000 };
        let zstd = Compression::ZSTD(ZstdLevel::default());
        FileWriter::begin(Arc::new(Shape::new(batch(0..0).schema(), zstd, means))).unwrap()
    }

    #[tokio::test]
    async fn rows_come_back_in_their_order_from_several_row_groups() {
        let (mut writer, mut bytes) = (writer(), Vec::new());
        for begin in (0..12_000).step_by(500) {
            writer.write(batch(begin..begin + 500)).await.unwrap();
            writer.encode().await.unwrap();
            bytes.append(&mut writer.take());
        }
        let (mut rest, footer) = writer.finish().await.unwrap();
        bytes.append(&mut rest);
        assert_eq!(footer.num_row_groups(), 3);
        let batches = testing::read(bytes.into());
        let numbers = batches.iter().flat_map(|it| it.column(0).as_primitive::<Int64Type>());
        assert!(numbers.map(Option::unwrap).eq(0..12_000));
    }

    #[tokio::test]
    async fn a_file_between_two_row_groups_holds_no_memory() {
        let mut writer = writer();
        assert_eq!(writer.memory_bytes(), 0);
        writer.write(batch(0..100)).await.unwrap();
        assert!(writer.memory_bytes() > 0);
        writer.end_row_group().await.unwrap();
        assert!(!writer.take().is_empty());
        assert_eq!(writer.memory_bytes(), 0);
    }

    #[tokio::test]
    async fn text_that_hardly_repeats_gets_no_dictionary_in_the_row_groups_that_follow() {
        let texts = |of: fn(i64) -> String, rows: std::ops::Range<i64>| {
            Arc::new(StringViewArray::from_iter_values(rows.map(of))) as _
        };
        let batch = |rows: std::ops::Range<i64>| {
            RecordBatch::try_from_iter([
                ("own", texts(|row| format!("{:x}", row * 0x9E37_79B9), rows.clone())),
                ("shared", texts(|row| format!("a word, number {}", row % 100), rows)),
            ])
            .unwrap()
        };
        for (rows, begins_plain) in [(10_000, true), (1_000, false)] {
            let means = Means { memory_bytes: 1 << 20, threads: 1, row_group_rows_max: 1 << 20 };
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let shape = Arc::new(Shape::new(batch(0..0).schema(), zstd, means));
            let mut writer = FileWriter::begin(shape).unwrap();
            for begin in [0, rows] {
                writer.write(batch(begin..begin + rows)).await.unwrap();
                writer.end_row_group().await.unwrap();
            }
            let (_, footer) = writer.finish().await.unwrap();
            let has = |group: usize, column: usize| {
                footer.row_group(group).column(column).dictionary_page_offset().is_some()
            };
            assert!(has(0, 0) && has(0, 1) && has(1, 1));
            assert_eq!(has(1, 0), !begins_plain, "{rows} rows");
        }
    }
}
