//! How each column is encoded.
//!
//! The writer is most of the work of a pipeline: nothing is looked up or compared that makes files
//! neither smaller nor quicker to read.

use arrow::datatypes::{DataType, Field, Schema};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
    WriterVersion,
};
use parquet::schema::types::ColumnPath;

/// Values of a dictionary page, in bytes; beyond it a column falls back to plain text.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a data page before compression.
const PAGE_BYTES: usize = 256 << 10;
/// Longest text of a smallest or largest value.
const STATISTICS_BYTES_MAX: usize = 32;

/// The properties of all files with these columns.
pub fn properties(schema: &Schema, compression: Compression) -> WriterPropertiesPtr {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by("logmill".to_owned())
        .set_compression(compression)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(usize::MAX)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES_MAX))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true);
    for field in schema.fields() {
        builder = column(builder, field);
    }
    builder.build().into()
}

fn column(builder: WriterPropertiesBuilder, field: &Field) -> WriterPropertiesBuilder {
    let path = ColumnPath::new(vec![field.name().clone()]);
    match field.data_type() {
        // Rising or constant numbers: their differences take a byte or less, without any lookup.
        DataType::Timestamp(_, _) => differences(builder, path),
        // Sizes and the like: a dictionary of them costs twice as much and soon grows too large.
        DataType::Int64 => differences(builder, path),
        // Where a dictionary of numbers grows too large, packed differences take its place.
        data_type if data_type.is_signed_integer() => {
            builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        }
        // Text that is not a dictionary already has as good as any value in each file: comparing
        // it all for bounds that skip no file is wasted.
        data_type if data_type.is_string() => {
            builder.set_column_statistics_enabled(path, EnabledStatistics::None)
        }
        _ => builder,
    }
}

fn differences(builder: WriterPropertiesBuilder, path: ColumnPath) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
}
