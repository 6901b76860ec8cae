//! Rows to the bytes of one object, in any format and compression.
//!
//! The bytes of lines do not depend on how rows come in batches; those of Parquet do.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use contract::Result;
use contract::error::Context;
use formats::columnar::{FileWriter, Means, Shape};
use formats::encode::{EncodeFormat, Encoder};
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};

use crate::config::{Compression, Config};

/// Lines are compressed in blocks of this size, each by itself, so that an object that waits for
/// more holds no compressor.
const BLOCK_BYTES: usize = 1 << 20;
/// Rows of a row group of Parquet.
const ROW_GROUP_ROWS_MAX: usize = 1 << 18;
const ZSTD_LEVEL: i32 = 3;

/// What the objects of a writer have in common.
pub enum Form {
    /// Whole lines.
    Lines {
        /// How a row becomes a line.
        format: EncodeFormat,
        /// How lines are compressed.
        compression: Compression,
        /// The columns.
        schema: SchemaRef,
    },
    /// Parquet.
    Parquet(Arc<Shape>),
}

/// Writes the rows of one object.
pub enum Rows {
    /// Whole lines.
    Lines(Lines),
    /// Parquet.
    Parquet(Box<FileWriter>),
}

/// Lines that wait to be compressed, and those that were.
pub struct Lines {
    encoder: Encoder,
    compression: Compression,
    raw: Vec<u8>,
    done: Vec<u8>,
}

impl Form {
    /// The form of objects with these columns, for a writer with so much memory and so many
    /// threads.
    pub fn new(config: &Config, schema: SchemaRef, memory_bytes: usize, threads: usize) -> Self {
        let compression = config.compression();
        if let Some(format) = config.format.lines() {
            return Self::Lines { format, compression, schema };
        }
        let means = Means { memory_bytes, threads, row_group_rows_max: ROW_GROUP_ROWS_MAX };
        Self::Parquet(Arc::new(Shape::new(schema, codec(compression), means)))
    }

    /// Checks that the format can write columns.
    ///
    /// # Errors
    /// Config: it cannot.
    pub fn check(config: &Config, schema: &Schema) -> Result<()> {
        let schema = SchemaRef::new(schema.clone());
        let checked = match Self::new(config, schema.clone(), 0, 1).begin() {
            Ok(Rows::Lines(mut lines)) => lines.write(&RecordBatch::new_empty(schema)),
            Ok(Rows::Parquet(_)) => Ok(()),
            Err(error) => Err(error),
        };
        checked.map_err(|error| error.hint("convert or leave out columns in a `sql` step"))
    }

    /// Begins an object.
    ///
    /// # Errors
    /// Config: a column has a type that the format cannot write.
    pub fn begin(&self) -> Result<Rows> {
        match self {
            Self::Lines { format, compression, schema } => Ok(Rows::Lines(Lines {
                encoder: Encoder::new(*format, schema),
                compression: *compression,
                raw: Vec::new(),
                done: Vec::new(),
            })),
            Self::Parquet(shape) => Ok(Rows::Parquet(Box::new(FileWriter::begin(shape.clone())?))),
        }
    }
}

impl Rows {
    /// Takes rows. They need not wait for more where `at_once` is set.
    ///
    /// # Errors
    /// Config: a column has a type that the format cannot write.
    pub async fn write(&mut self, batch: RecordBatch, at_once: bool) -> Result<()> {
        match self {
            Self::Lines(lines) => lines.write(&batch),
            Self::Parquet(file) => {
                file.write(batch).await?;
                match at_once {
                    true => file.encode().await,
                    false => Ok(()),
                }
            }
        }
    }

    /// The bytes that are done since the last call.
    pub fn take(&mut self) -> Vec<Bytes> {
        match self {
            Self::Lines(lines) => vec![std::mem::take(&mut lines.done).into()],
            Self::Parquet(file) => file.take(),
        }
    }

    /// Bytes that wait in memory.
    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.raw.len(),
            Self::Parquet(file) => file.memory_bytes(),
        }
    }

    /// Makes bytes of what waits, as far as that can be done before the end and frees memory.
    ///
    /// # Errors
    /// Bug: the encoder fails.
    pub async fn shrink(&mut self) -> Result<()> {
        match self {
            // Whole blocks are done already; a block is small.
            Self::Lines(_) => Ok(()),
            // Rows that wait hold the blocks that they came in: encoded they are a tenth of that.
            Self::Parquet(file) if file.waiting_bytes() > file.encoded_bytes() => {
                file.encode().await
            }
            Self::Parquet(file) => file.end_row_group().await,
        }
    }

    /// Ends the object and returns its last bytes.
    ///
    /// # Errors
    /// Bug: the encoder fails.
    pub async fn finish(self) -> Result<Vec<Bytes>> {
        match self {
            Self::Lines(mut lines) => {
                let rest = std::mem::take(&mut lines.raw);
                lines.compress(&rest)?;
                Ok(vec![lines.done.into()])
            }
            Self::Parquet(file) => Ok(file.finish().await?.0),
        }
    }
}

impl Lines {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.compression == Compression::None {
            return self.encoder.encode(batch, &mut self.done);
        }
        self.encoder.encode(batch, &mut self.raw)?;
        self.compress_blocks()
    }

    fn compress_blocks(&mut self) -> Result<()> {
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

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Gzip => Codec::GZIP(GzipLevel::default()),
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    use formats::compression::{Compression as Stream, Limits};
    use formats::decoded::{Decoded, Reached};
    use formats::encoding::Growth;

    use super::*;

    fn config(settings: &str) -> Config {
        Config::read(&testkit::section(settings)).expect("settings")
    }

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let texts = rows.clone().map(|row| format!("row {row} {}", "x".repeat(100)));
        RecordBatch::try_from_iter([
            ("number", Arc::new(rows.clone().collect::<Int64Array>()) as _),
            ("text", Arc::new(StringViewArray::from_iter_values(texts)) as _),
        ])
        .expect("two columns")
    }

    async fn object(settings: &str, step: usize) -> Vec<u8> {
        let form = Form::new(&config(settings), batch(0..0).schema(), 1 << 20, 2);
        let mut rows = form.begin().expect("an object");
        let mut bytes = Vec::new();
        for from in (0..20_000).step_by(step) {
            let batch = batch(from..(from + step as i64).min(20_000));
            rows.write(batch, false).await.expect("written");
            bytes.append(&mut rows.take().concat());
        }
        bytes.append(&mut rows.finish().await.expect("finished").concat());
        bytes
    }

    #[tokio::test]
    async fn the_bytes_of_lines_do_not_depend_on_batches() {
        for compression in ["none", "gzip", "zstd"] {
            let settings = format!("{{ url: out, compression: {compression} }}");
            let bytes = object(&settings, 5_000).await;
            assert!(bytes == object(&settings, 777).await, "{compression}");
            let source = Box::new(std::io::Cursor::new(bytes.clone()));
            let (stream, limits) = (Stream::of(&bytes), Limits::default());
            let mut decoded = Decoded::new(stream, source, limits, Growth::Closed);
            let mut text = Vec::new();
            assert_eq!(decoded.fill(&mut text, usize::MAX).expect("whole"), Reached::End);
            let text = String::from_utf8(text).expect("text");
            assert_eq!(text.lines().count(), 20_000);
            assert!(text.ends_with("\"}\n"));
        }
    }

    #[test]
    fn columns_that_a_format_cannot_write_are_refused_at_once() {
        let nested = arrow::datatypes::DataType::new_list(arrow::datatypes::DataType::Int64, true);
        let schema = Schema::new(vec![arrow::datatypes::Field::new("list", nested, true)]);
        let check = |format: &str| {
            Form::check(&config(&format!("{{ url: out, format: {format} }}")), &schema)
        };
        check("csv").expect_err("CSV has no lists");
        check("jsonl").expect("JSON has lists");
        check("parquet").expect("Parquet has lists");
    }
}
