//! The sink: rows on standard output as they come, flushed at each barrier.
//!
//! Nothing can be taken back or asked for: a row that was written before a crash may be written
//! again after it. A reader that went away ends the run, as it ends other tools.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::error::Context;
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, Proof, ReadBack, Room, Sink,
    SinkKind, Writer, WriterContext,
};
use contract::{Error, Lineage, Result, failpoint};
use formats::encode::Encoder;

use crate::config::SinkConfig;

/// What standard output can promise.
pub const PROMISE: Promise = Promise {
    kind: SinkKind::None,
    token: false,
    proof: Proof::None,
    sentence: "at least once: what was written before a crash may be written again",
    with_origin: true,
};

/// A stream to write to, which is standard output but in tests.
type Stream = Box<dyn Write + Send>;

/// Rows for whoever reads standard output.
pub struct Output {
    config: SinkConfig,
    open_stream: fn() -> Stream,
}

impl Output {
    /// A sink that writes to what `open_stream` gives.
    pub fn new(config: SinkConfig, open_stream: fn() -> Stream) -> Self {
        Self { config, open_stream }
    }
}

#[async_trait]
impl Sink for Output {
    fn promise(&self) -> Promise {
        Promise { with_origin: self.config.origin, ..PROMISE }
    }

    async fn fence_and_read(&self, _ctx: &WriterContext, _lineage: &Lineage) -> Result<Held> {
        Ok(Held::Untold)
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(RowWriter {
            encoder: Encoder::new(self.config.format, &ctx.schema),
            stream: Some((self.open_stream)()),
            rows: HashMap::new(),
        }))
    }

    async fn read_back(&self, _pipeline: &str, _what: ReadBack) -> Result<BatchStream> {
        Err(Error::config("standard output cannot be read back"))
    }
}

struct RowWriter {
    encoder: Encoder,
    /// None only while a thread writes to it.
    stream: Option<Stream>,
    /// Rows of each lineage since its last barrier.
    rows: HashMap<Lineage, u64>,
}

impl RowWriter {
    /// Uses the stream in a thread where it may block for as long as its reader likes.
    async fn with_stream(
        &mut self,
        work: impl FnOnce(&mut Stream) -> io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut stream = self.stream.take().ok_or_else(|| {
            Error::external("could not write to standard output: an earlier write was given up")
        })?;
        let job = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut stream);
            (stream, outcome)
        });
        let (stream, outcome) = job.await.bug("a thread that writes failed")?;
        self.stream = Some(stream);
        outcome.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => {
                Error::external("standard output was closed by its reader").because(error)
            }
            _ => Error::external("could not write to standard output").because(error),
        })
    }
}

#[async_trait]
impl Writer for RowWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        let mut encoded = Vec::new();
        self.encoder.encode(&records, &mut encoded)?;
        self.with_stream(move |stream| stream.write_all(&encoded)).await?;
        *self.rows.entry(lineage.clone()).or_default() += records.num_rows() as u64;
        Ok(Room::Left)
    }

    async fn prepare(&mut self, lineage: &Lineage, _epoch: u64) -> Result<Prepared> {
        failpoint::reach("stdio.prepare.before_flush").await?;
        self.with_stream(|stream| stream.flush()).await?;
        Ok(Prepared { rows: self.rows.remove(lineage).unwrap_or(0), ..Prepared::default() })
    }

    async fn commit(&mut self, _commit: &Commit) -> Result<CommitOutcome> {
        Ok(CommitOutcome::Committed)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.rows.remove(lineage);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use arrow::array::{Int64Array, StringViewArray};
    use contract::ErrorKind as Kind;
    use formats::encode::EncodeFormat;

    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Kept;

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.lock().expect("no other test uses it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("path", Arc::new(StringViewArray::from(vec!["/", "/a,b"])) as _),
            ("status", Arc::new(Int64Array::from(vec![200, 404])) as _),
        ])
        .expect("two columns of one length")
    }

    async fn writer(open_stream: fn() -> Stream) -> Box<dyn Writer> {
        let config = SinkConfig { format: EncodeFormat::Csv, origin: false };
        let ctx = WriterContext {
            pipeline: "p".into(),
            sink: "out".into(),
            incarnation: 1,
            writer_id: "w".into(),
            schema: rows().schema(),
            memory_bytes: 1 << 20,
            client_bytes: 1 << 20,
            threads: 1,
        };
        Output::new(config, open_stream).open(ctx).await.expect("standard output is open")
    }

    #[tokio::test]
    async fn rows_are_written_as_they_come_and_counted_at_the_barrier() {
        let mut writer = writer(|| Box::new(Kept)).await;
        let lineage = Lineage::new("main");
        for epoch in 1..=2 {
            writer.write(&lineage, rows()).await.expect("memory takes it");
            let prepared = writer.prepare(&lineage, epoch).await.expect("memory takes it");
            assert_eq!(prepared.rows, 2);
        }
        let written = WRITTEN.lock().expect("no other test uses it").clone();
        let written = String::from_utf8(written).expect("text");
        assert_eq!(written, "path,status\n/,200\n\"/a,b\",404\n/,200\n\"/a,b\",404\n");
    }

    #[tokio::test]
    async fn a_reader_that_went_away_ends_the_run() {
        let mut writer = writer(|| Box::new(Closed)).await;
        let error = writer.write(&Lineage::new("main"), rows()).await.expect_err("it is closed");
        assert_eq!((error.kind(), error.retry()), (Kind::External, false));
        assert_eq!(error.to_string(), "standard output was closed by its reader");
    }
}
