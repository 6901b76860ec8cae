//! One Parquet file in the making, in memory. Its owner takes the bytes that are done.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{ColumnOrder, Compression};
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescPtr;

use super::encode::{Parts, RowGroup, leaves};
use super::group::Group;
use super::plain::Plain;
use super::properties::properties;

/// Raw bytes that are encoded together, at least and at most.
const GROUP_BYTES: RangeInclusive<usize> = (1 << 20)..=(8 << 20);
/// What a file begins with, and ends with too.
const MAGIC: &[u8] = b"PAR1";
/// Smaller pieces of a file are copied into one.
const PIECE_BYTES_MIN: usize = 64 << 10;
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

/// A file in the making. Pages are handed on as the column writers made them.
pub struct FileWriter {
    shape: Arc<Shape>,
    group: Group,
    /// Begun with its first rows: many files may be open, and most of them wait.
    row_group: Option<RowGroup>,
    row_groups: Vec<RowGroupMetaData>,
    columns: SchemaDescPtr,
    /// Makes Parquet's own column writers, and writes nothing itself.
    parquet: SerializedFileWriter<io::Sink>,
    /// What is done and not taken: whole pieces, then bytes that make the next one.
    pieces: Vec<Bytes>,
    piece: Vec<u8>,
    done_bytes: usize,
    /// Bytes of the file so far.
    position: i64,
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
        let parquet = SerializedFileWriter::new(
            io::sink(),
            columns.root_schema_ptr(),
            shape.properties.clone(),
        )
        .bug("could not begin a Parquet file")?;
        Ok(Self {
            shape,
            group: Group::default(),
            row_group: None,
            row_groups: Vec::new(),
            columns: Arc::new(columns),
            parquet,
            pieces: Vec::new(),
            piece: Vec::new(),
            done_bytes: 0,
            position: 0,
        })
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
        self.done_bytes
    }

    /// Bytes that are encoded and not taken.
    pub fn encoded_bytes(&self) -> usize {
        self.done_bytes() + self.row_group.as_ref().map_or(0, RowGroup::memory_bytes)
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.waiting_bytes() + self.encoded_bytes()
    }

    /// Takes the bytes that are done, in pieces.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.end_piece();
        self.done_bytes = 0;
        std::mem::take(&mut self.pieces)
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
                let parts = Parts {
                    file: &self.parquet,
                    schema: &self.shape.schema,
                    leaves: &self.columns,
                    properties: &self.shape.properties,
                    plain: &self.shape.plain,
                };
                self.row_group.insert(RowGroup::begin(&parts, self.row_groups.len())?)
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
        if self.position == 0 {
            self.push(Bytes::from_static(MAGIC));
        }
        let Some(done) = self.row_group.take() else { return Ok(()) };
        let (begins, rows) = (self.position, done.rows());
        let mut columns = Vec::new();
        for chunk in done.close(self.shape.means.threads).await? {
            columns.push(moved(chunk.metadata, self.position)?);
            chunk.pages.into_iter().for_each(|page| self.push(page));
        }
        let uncompressed = columns.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
        let number = i16::try_from(self.row_groups.len()).bug("a file has too many row groups")?;
        let row_group = RowGroupMetaData::builder(self.columns.clone())
            .set_column_metadata(columns)
            .set_total_byte_size(uncompressed)
            .set_num_rows(rows as i64)
            .set_ordinal(number)
            .set_file_offset(begins);
        self.row_groups.push(row_group.build().bug("could not describe a row group")?);
        Ok(())
    }

    /// Ends the file: its last bytes and its footer.
    ///
    /// # Errors
    /// Bug: the rows do not have the columns of the file.
    pub async fn finish(mut self) -> Result<(Vec<Bytes>, ParquetMetaData)> {
        self.end_row_group().await?;
        let properties = &self.shape.properties;
        let file = FileMetaData::new(
            properties.writer_version().as_num(),
            self.row_groups.iter().map(RowGroupMetaData::num_rows).sum(),
            Some(properties.created_by().to_owned()),
            None,
            self.columns.clone(),
            Some(column_orders(&self.columns)),
        );
        let footer = ParquetMetaData::new(file, std::mem::take(&mut self.row_groups));
        let mut bytes = Vec::new();
        let writer = ParquetMetaDataWriter::new(&mut bytes, &footer);
        writer.finish().bug("could not write the footer of a Parquet file")?;
        self.push(bytes.into());
        Ok((self.take(), footer))
    }

    fn push(&mut self, bytes: Bytes) {
        self.position += bytes.len() as i64;
        self.done_bytes += bytes.len();
        if bytes.len() >= PIECE_BYTES_MIN {
            self.end_piece();
            self.pieces.push(bytes);
            return;
        }
        self.piece.extend_from_slice(&bytes);
        if self.piece.len() >= PIECE_BYTES_MIN {
            self.end_piece();
        }
    }

    fn end_piece(&mut self) {
        if !self.piece.is_empty() {
            self.pieces.push(std::mem::take(&mut self.piece).into());
        }
    }
}

/// What the footer says of a chunk that begins there in the file.
fn moved(chunk: ColumnChunkMetaData, position: i64) -> Result<ColumnChunkMetaData> {
    let data = chunk.data_page_offset() + position;
    let dictionary = chunk.dictionary_page_offset().map(|offset| offset + position);
    let chunk = chunk.into_builder().set_data_page_offset(data);
    chunk.set_dictionary_page_offset(dictionary).build().bug("could not describe a column")
}

/// How the bounds of each column are compared.
fn column_orders(columns: &SchemaDescPtr) -> Vec<ColumnOrder> {
    let orders = columns.columns().iter().map(|column| {
        ColumnOrder::TYPE_DEFINED_ORDER(ColumnOrder::sort_order_for_type(
            column.logical_type_ref(),
            column.converted_type(),
            column.physical_type(),
        ))
    });
    orders.collect()
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
            bytes.append(&mut writer.take().concat());
        }
        let (rest, footer) = writer.finish().await.unwrap();
        bytes.append(&mut rest.concat());
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
