//! Files of one column that one of our column writers made.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use contract::Result;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::FinishedChunk;

/// A file with the chunk that `write` makes of the column.
pub fn file(
    column: Field,
    write: impl FnOnce(ColumnDescPtr) -> Result<FinishedChunk>,
) -> Result<Bytes> {
    let columns = ArrowSchemaConverter::new().convert(&Schema::new(vec![column])).unwrap();
    let properties = WriterProperties::builder().build().into();
    let mut file =
        SerializedFileWriter::new(Vec::new(), columns.root_schema_ptr(), properties).unwrap();
    let chunk = write(columns.column(0))?;
    let mut row_group = file.next_row_group().unwrap();
    let close = ColumnCloseResult {
        bytes_written: chunk.metadata.compressed_size() as u64,
        rows_written: chunk.metadata.num_values() as u64,
        metadata: chunk.metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    row_group.append_column(&Bytes::from(chunk.pages.concat()), close).unwrap();
    row_group.close().unwrap();
    Ok(file.into_inner().unwrap().into())
}

/// What another reader finds in it.
pub fn read(file: Bytes) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.collect::<std::result::Result<_, _>>().unwrap()
}
