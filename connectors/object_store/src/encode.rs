//! Rows to the bytes of one object, in any format and compression.
//!
//! The bytes do not depend on how rows come in batches, except where memory is short and Parquet
//! has to end a row group early.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use contract::error::Context;
use contract::{Error, Result};
use formats::encode::Encoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::config::{Compression, Config};

/// Lines are compressed in blocks of this size, each by itself, so that an object that waits for
/// more holds no compressor.
const BLOCK_BYTES: usize = 1 << 20;
/// Rows of a row group of Parquet.
const ROW_GROUP_ROWS: usize = 1 << 18;
const ZSTD_LEVEL: i32 = 3;

/// Writes the rows of one object.
pub enum Rows {
    /// Whole lines.
    Lines(Lines),
    /// Parquet.
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

/// Lines that wait to be compressed, and those that were.
pub struct Lines {
    encoder: Encoder,
    compression: Compression,
    raw: Vec<u8>,
    done: Vec<u8>,
}

impl Rows {
    /// Begins an object with these columns.
    ///
    /// # Errors
    /// Config: a column has a type that the format cannot write.
    pub fn new(config: &Config, schema: &SchemaRef) -> Result<Self> {
        let compression = config.compression();
        let Some(format) = config.format.lines() else {
            let properties = properties(compression);
            let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
            return writer.map(|writer| Self::Parquet(Box::new(writer))).map_err(|error| {
                Error::config("the columns do not make a Parquet file").because(error)
            });
        };
        let encoder = Encoder::new(format, schema);
        Ok(Self::Lines(Lines { encoder, compression, raw: Vec::new(), done: Vec::new() }))
    }

    /// Checks that the format can write these columns.
    ///
    /// # Errors
    /// Config: it cannot.
    pub fn check(config: &Config, schema: &Schema) -> Result<()> {
        let schema = SchemaRef::new(schema.clone());
        let mut rows = Self::new(config, &schema)?;
        rows.write(&RecordBatch::new_empty(schema))
            .map_err(|error| error.hint("convert or leave out columns in a `sql` step"))
    }

    /// Takes rows.
    ///
    /// # Errors
    /// Config: a column has a type that the format cannot write.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Lines(lines) => {
                lines.encoder.encode(batch, &mut lines.raw)?;
                lines.compress_blocks()
            }
            Self::Parquet(writer) => writer
                .write(batch)
                .map_err(|error| Error::config("could not write rows as Parquet").because(error)),
        }
    }

    /// The bytes that are done since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Lines(lines) => std::mem::take(&mut lines.done),
            Self::Parquet(writer) => std::mem::take(writer.inner_mut()),
        }
    }

    /// Bytes that wait in memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.raw.len(),
            Self::Parquet(writer) => writer.memory_size(),
        }
    }

    /// Makes bytes of what waits, as far as that can be done before the end.
    ///
    /// # Errors
    /// Bug: the encoder fails.
    pub fn flush(&mut self) -> Result<()> {
        match self {
            // Whole blocks are done already; a block is small.
            Self::Lines(_) => Ok(()),
            Self::Parquet(writer) => writer.flush().bug("could not end a row group"),
        }
    }

    /// Ends the object and returns its last bytes.
    ///
    /// # Errors
    /// Bug: the encoder fails.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self {
            Self::Lines(mut lines) => {
                let rest = std::mem::take(&mut lines.raw);
                lines.compress(&rest)?;
                Ok(lines.done)
            }
            Self::Parquet(mut writer) => {
                writer.finish().bug("could not end a Parquet file")?;
                Ok(std::mem::take(writer.inner_mut()))
            }
        }
    }
}

impl Lines {
    fn compress_blocks(&mut self) -> Result<()> {
        if self.compression == Compression::None {
            self.done.append(&mut self.raw);
            return Ok(());
        }
        let whole = self.raw.len() - self.raw.len() % BLOCK_BYTES;
        let raw = std::mem::take(&mut self.raw);
        for block in raw[..whole].chunks(BLOCK_BYTES) {
            self.compress(block)?;
        }
        self.raw = raw[whole..].to_vec();
        Ok(())
    }

    /// Adds a block as a member (gzip) or a frame (zstd) of its own: their sequence is one stream.
    fn compress(&mut self, block: &[u8]) -> Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        match self.compression {
            Compression::None => self.done.extend_from_slice(block),
            Compression::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(&mut self.done, level);
                let written = encoder.write_all(block).and_then(|()| encoder.finish().map(|_| ()));
                written.bug("could not compress in memory")?;
            }
            Compression::Zstd => zstd::stream::copy_encode(block, &mut self.done, ZSTD_LEVEL)
                .bug("could not compress in memory")?,
        }
        Ok(())
    }
}

fn properties(compression: Compression) -> WriterProperties {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    };
    WriterProperties::builder()
        .set_created_by("logmill".to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    use formats::compression::Compression as Stream;

    use super::*;

    fn config(settings: &str) -> Config {
        testkit::section(settings).read().expect("settings")
    }

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let texts = rows.clone().map(|row| format!("row {row} {}", "x".repeat(100)));
        RecordBatch::try_from_iter([
            ("number", Arc::new(rows.clone().collect::<Int64Array>()) as _),
            ("text", Arc::new(StringViewArray::from_iter_values(texts)) as _),
        ])
        .expect("two columns")
    }

    fn object(settings: &str, step: usize) -> Vec<u8> {
        let config = config(settings);
        let mut rows = Rows::new(&config, &batch(0..0).schema()).expect("an object");
        let mut bytes = Vec::new();
        for from in (0..20_000).step_by(step) {
            rows.write(&batch(from..(from + step as i64).min(20_000))).expect("written");
            bytes.append(&mut rows.take());
        }
        bytes.append(&mut rows.finish().expect("finished"));
        bytes
    }

    #[test]
    fn the_bytes_do_not_depend_on_batches() {
        for compression in ["none", "gzip", "zstd"] {
            let settings = format!("{{ url: out, compression: {compression} }}");
            let bytes = object(&settings, 5_000);
            assert!(bytes == object(&settings, 777), "{compression}");
            let (_, whole) = Stream::detect(bytes.as_slice()).expect("a stream");
            let mut text = String::new();
            let mut decoded = Stream::of(&bytes).decode(whole).expect("a decoder");
            decoded.read_to_string(&mut text).expect("whole");
            assert_eq!(text.lines().count(), 20_000);
            assert!(text.ends_with("\"}\n"));
        }
    }

    #[test]
    fn columns_that_a_format_cannot_write_are_refused_at_once() {
        let nested = arrow::datatypes::DataType::new_list(arrow::datatypes::DataType::Int64, true);
        let schema = Schema::new(vec![arrow::datatypes::Field::new("list", nested, true)]);
        let check = |format: &str| {
            Rows::check(&config(&format!("{{ url: out, format: {format} }}")), &schema)
        };
        check("csv").expect_err("CSV has no lists");
        check("jsonl").expect("JSON has lists");
        check("parquet").expect("Parquet has lists");
    }
}
