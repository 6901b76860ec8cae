//! The source: the lines of standard input, once.
//!
//! Each run's input is a split of its own; nobody can read it again.

use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Known, Listing, Lists};
use contract::record::message_schema;
use contract::source::{Again, KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::{Error, Position, Result, SplitId};
use formats::compression::{Limits, unpacks};
use formats::join::Join;
use formats::lines;

use crate::config::SourceConfig;
use crate::intake::{Foreign, Intake, Reading, Taken, is_panic};

/// Lines of a stream that can be read once.
pub struct Lines {
    split: Split,
    line_bytes_max: usize,
    limits: Limits,
    join: Option<Join>,
    stream: Mutex<Option<Box<dyn Read + Send>>>,
    /// Whether all that there ever will be is committed.
    is_done: Arc<AtomicBool>,
}

impl Lines {
    /// A source over `stream`, which is standard input but in tests.
    pub fn new(config: &SourceConfig, stream: Box<dyn Read + Send>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = format!("stdin-{}-{}", since.as_micros(), std::process::id());
        Self {
            split: Split { id: SplitId::new(id), descriptor: serde_json::Value::Null },
            line_bytes_max: config.line_bytes_max.as_usize(),
            limits: Limits { zstd_window_max: config.zstd_window_max },
            join: config.join,
            stream: Mutex::new(Some(stream)),
            is_done: Arc::default(),
        }
    }
}

/// The split of this run, until it is done.
struct Once {
    split: Split,
    is_done: Arc<AtomicBool>,
}

#[async_trait]
impl Lists for Once {
    async fn list(&self, _known: Option<&Known>) -> Result<Listing> {
        let is_done = self.is_done.load(Ordering::Relaxed);
        Ok(Listing::of((!is_done).then(|| self.split.clone())))
    }
}

#[async_trait]
impl Source for Lines {
    fn schema(&self) -> SchemaRef {
        message_schema()
    }

    fn again(&self) -> Again {
        Again::Never
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let once = Once { split: self.split.clone(), is_done: self.is_done.clone() };
        Box::new(ByListing::new(once, known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let is_whole = split.id == self.split.id
            && from.is_none_or(|from| from.at == 0)
            && !matches!(until, Until::Position(_) | Until::Proven { .. });
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = stream.take().filter(|_| is_whole).ok_or_else(|| {
            Error::external(format!("could not read standard input {:?} again", split.id.as_str()))
                .hint("start again with the same input; a file could have been read on")
        })?;
        let reading = Reading { limits: self.limits, foreign_bytes_max: self.line_bytes_max };
        Ok(Box::new(Reader {
            lines: lines::Lines::new(self.line_bytes_max).with_join(self.join),
            intake: Intake::start(stream, reading),
            foreign: None,
            has_ended: false,
            reached: 0,
            acknowledged: 0,
            is_done: self.is_done.clone(),
        }))
    }
}

struct Reader {
    lines: lines::Lines,
    intake: Intake,
    /// What stands behind text that was read.
    foreign: Option<Foreign>,
    has_ended: bool,
    /// Where the last batch ended.
    reached: i64,
    acknowledged: i64,
    is_done: Arc<AtomicBool>,
}

impl Reader {
    fn note_done(&self) {
        if self.has_ended && self.acknowledged >= self.reached {
            self.is_done.store(true, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        while !self.has_ended {
            let mut block = self.lines.block(0);
            let lines = match self.foreign.take() {
                Some(foreign) => {
                    block.extend_from_slice(&foreign.bytes);
                    self.lines.refuse_ended(block, &foreign.reason)
                }
                None => match self.intake.take(&mut block).await.map_err(unreadable)? {
                    Taken::Bytes => self.lines.cut(block),
                    Taken::End => {
                        self.has_ended = true;
                        self.lines.cut_ended(block)
                    }
                    Taken::Foreign(foreign) => {
                        let is_torn = foreign.is_torn;
                        self.foreign = Some(foreign);
                        match is_torn {
                            // What is left of a line stands with what follows.
                            true => self.lines.cut(block),
                            false => self.lines.cut_ended(block),
                        }
                    }
                },
            };
            // Of blank lines and the rest of a refused one the next batch tells, or the last one.
            if lines.is_empty() && !(self.has_ended && lines.next > self.reached) {
                continue;
            }
            if let Some(gap) = lines.gaps.first() {
                let (position, bytes, holes) = (gap.position, lines.skipped(), lines.gaps.len());
                tracing::warn!(position, bytes, holes, "NULs in standard input were left out");
            }
            let next = Position::new(lines.next);
            let bytes = (next.at - self.reached).cast_unsigned();
            let skipped = lines.skipped();
            let (records, rejects) = lines.into_records();
            self.reached = next.at;
            let batch = ReadBatch::new(records, next);
            return Ok(Some(ReadBatch { rejects, bytes, skipped, ..batch }));
        }
        self.note_done();
        Ok(None)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.acknowledged = position.at;
        self.note_done();
        Ok(())
    }
}

/// The error of a stream that cannot be read.
pub fn unreadable(error: io::Error) -> Error {
    if is_panic(&error) {
        return Error::bug("could not read standard input").because(error);
    }
    let hint = match error.kind() {
        ErrorKind::QuotaExceeded => Some("raise `zstd_window_max`, up to 2GiB".to_owned()),
        ErrorKind::UnexpectedEof => Some("its compressed end is missing".to_owned()),
        _ => unpacks(&error).map(|it| format!("unpack it on the way: `{it} | logmill …`")),
    };
    let error = Error::external("could not read standard input").because(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;
    use std::time::Duration;

    use arrow::array::AsArray;
    use contract::ErrorKind;
    use contract::discovery::list;
    use contract::quantity::ByteSize;

    use crate::pieces::{Panicking, Pieces};

    fn source(stream: impl Read + Send + 'static) -> Lines {
        let config = SourceConfig {
            line_bytes_max: ByteSize(20),
            zstd_window_max: Limits::default().zstd_window_max,
            join: None,
        };
        Lines::new(&config, Box::new(stream))
    }

    async fn open(source: &Lines) -> Result<Box<dyn SplitReader>> {
        let split = list(source, None).await?.splits.remove(0);
        source.open(&split, None, Until::Forever).await
    }

    async fn next(reader: &mut Box<dyn SplitReader>) -> Vec<String> {
        let Some(batch) = reader.next_batch().await.expect("memory can be read") else {
            return vec!["end".to_owned()];
        };
        let text = batch.records.column(0).as_string_view();
        let records = text.iter().map(|text| text.expect("never null").to_owned());
        records.chain(batch.rejects.into_iter().map(|reject| reject.reason)).collect()
    }

    #[tokio::test]
    async fn lines_come_as_soon_as_they_are_whole() {
        let (sender, receiver) = mpsc::channel();
        let mut reader = open(&source(Pieces(receiver))).await.expect("the first time");
        for (piece, expect) in [
            ("one\ntw", "one"),
            ("o\n", "two"),
            ("a line beyond the limit\n", "line is longer than 20B; only its first 20B are kept"),
        ] {
            for byte in piece.as_bytes() {
                sender.send(vec![*byte]).expect("somebody reads");
            }
            assert_eq!(next(&mut reader).await, [expect]);
        }
        sender.send(b"last".to_vec()).expect("somebody reads");
        drop(sender);
        assert_eq!(next(&mut reader).await, ["last"]);
        assert_eq!(next(&mut reader).await, ["end"]);
        assert_eq!(next(&mut reader).await, ["end"]);
    }

    #[tokio::test]
    async fn a_fast_stream_is_read_whole() {
        let text: String = (0..500_000).map(|number| format!("line {number}\n")).collect();
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        let mut lines = 0;
        loop {
            let batch = next(&mut reader).await;
            if batch == ["end"] {
                break;
            }
            for line in batch {
                assert_eq!(line, format!("line {lines}"));
                lines += 1;
            }
        }
        assert_eq!(lines, 500_000);
    }

    #[tokio::test]
    async fn a_compressed_stream_is_decompressed() {
        let text = [gzip_of_two_lines(), gzip_of_two_lines()].concat();
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != "end") {
            lines.extend(next(&mut reader).await);
        }
        assert_eq!(lines, ["one", "two", "one", "two", "end"]);
    }

    #[tokio::test]
    async fn a_compressed_line_comes_as_soon_as_it_is_flushed() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let mut flushed = |text: &str| {
            encoder.write_all(text.as_bytes()).and_then(|()| encoder.flush()).expect("memory");
            std::mem::take(encoder.get_mut())
        };
        let (sender, receiver) = mpsc::channel();
        let mut reader = open(&source(Pieces(receiver))).await.expect("the first time");
        for line in ["one", "b", "three"] {
            // The second of them takes less than the header of a member.
            for byte in flushed(&format!("{line}\n")) {
                sender.send(vec![byte]).expect("somebody reads");
            }
            let said = tokio::time::timeout(Duration::from_secs(30), next(&mut reader)).await;
            assert_eq!(said.expect("all of the line is there"), [line]);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_one_member_spares_the_others() {
        let cut = gzip_of_two_lines()[..18].to_vec();
        let mut wrong = gzip_of_two_lines();
        wrong[20] ^= 1;
        let last = gzip_of_two_lines();
        let text = [cut, wrong, vec![0; 30], b"garbage".to_vec(), last].concat();
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != "end") {
            said.extend(next(&mut reader).await);
        }
        let torn = "the gzip member that begins at byte 0 of the compressed form was not finished \
                    before the next one begins";
        let wrong = "the checksum of the gzip member that begins at byte 18 of the compressed form \
                     is wrong: what it holds may be damaged";
        let garbage = "what follows byte 76 of the compressed form belongs to no gzip member; \
                       reading goes on at the next one";
        assert_eq!(said, ["one", torn, "one", "two", wrong, garbage, "one", "two", "end"]);
    }

    #[tokio::test]
    async fn what_stands_behind_a_compressed_stream_is_one_refused_record() {
        let text = [gzip_of_two_lines(), b"garbage\nof two lines".to_vec()].concat();
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != "end") {
            said.extend(next(&mut reader).await);
        }
        let refusal = "what follows byte 28 of the compressed form belongs to no gzip member; \
                       reading goes on at the next one";
        assert_eq!(said, ["one", "two", refusal, "end"]);
    }

    #[tokio::test]
    async fn utf_16_and_nuls_are_read() {
        let text: Vec<u8> = "\u{feff}one\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        assert_eq!(next(&mut reader).await, ["one"]);
        let mut reader = open(&source(io::Cursor::new("\0\0two"))).await.expect("the first time");
        let (mut skipped, mut bytes) = (0, 0);
        while let Some(batch) = reader.next_batch().await.expect("readable") {
            skipped += batch.skipped;
            bytes += batch.bytes;
        }
        assert_eq!((skipped, bytes), (2, 5));
    }

    #[tokio::test]
    async fn each_byte_is_counted_and_nuls_at_the_end_are_told() {
        let texts: [(&[u8], u64); 10] = [
            (b"one\n\0\0\0", 3),
            (b"one\0\0\0", 0),
            (b"one\n\n \t", 0),
            (b"one\n\r\n", 0),
            (b"a line beyond the limit\0\0\0", 0),
            (b"a line beyond the limit that goes on and on\n", 0),
            (b"a line beyond the limit\0\0\0\nthe next", 0),
            (b"one\n\0\0\0\r\n", 3),
            (b"one\n\xef\xbb\xbf", 0),
            (&[0; 9000], 9000),
        ];
        for (text, nuls) in texts {
            let (sender, receiver) = mpsc::channel();
            text.iter().for_each(|byte| sender.send(vec![*byte]).expect("somebody reads"));
            drop(sender);
            let at_once = Box::new(io::Cursor::new(text.to_vec())) as Box<dyn Read + Send>;
            for stream in [at_once, Box::new(Pieces(receiver))] {
                let mut reader = open(&source(stream)).await.expect("the first time");
                let (mut bytes, mut skipped, mut reached) = (0, 0, 0);
                while let Some(batch) = reader.next_batch().await.expect("readable") {
                    bytes += batch.bytes;
                    skipped += batch.skipped;
                    reached = batch.next.at;
                }
                assert_eq!((bytes, skipped), (text.len() as u64, nuls), "{text:?}");
                assert_eq!(reached, text.len() as i64, "{text:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_torn_stream_gives_what_stands_before_the_tear() {
        let mut text = [gzip_of_two_lines(), gzip_of_two_lines()].concat();
        text.truncate(text.len() - 4);
        let mut reader = open(&source(io::Cursor::new(text))).await.expect("the first time");
        let mut lines = 0;
        let error = loop {
            match reader.next_batch().await {
                Ok(Some(batch)) => lines += batch.records.num_rows(),
                Ok(None) => panic!("the tear was overlooked"),
                Err(error) => break error,
            }
        };
        assert!(lines >= 2, "{lines} lines");
        assert_eq!(error.to_string(), "could not read standard input");
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_that_reads_is_an_error_of_ours() {
        let mut reader = open(&source(Panicking)).await.expect("the first time");
        let read = tokio::time::timeout(Duration::from_secs(30), reader.next_batch()).await;
        let error = read.expect("nobody waits").expect_err("the thread panicked");
        assert_eq!(error.kind(), ErrorKind::Bug, "{error:?}");
    }

    /// `printf 'one\ntwo\n' | gzip -n`
    fn gzip_of_two_lines() -> Vec<u8> {
        vec![
            0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0xcf, 0x4b, 0xe5,
            0x2a, 0x29, 0xcf, 0xe7, 0x02, 0x00, 0xe6, 0x0b, 0xba, 0x12, 0x08, 0x00, 0x00, 0x00,
        ]
    }

    #[tokio::test]
    async fn a_stream_is_done_once_its_last_line_is_committed() {
        let (sender, receiver) = mpsc::channel();
        let source = source(Pieces(receiver));
        let mut reader = open(&source).await.expect("the first time");
        let mut batches = Vec::new();
        // One by one: what is there at once comes in as many batches as its thread is slow.
        for line in ["one\n", "two\n"] {
            line.bytes().for_each(|byte| sender.send(vec![byte]).expect("somebody reads"));
            batches.push(reader.next_batch().await.expect("readable").expect("a line"));
        }
        drop(sender);
        assert!(reader.next_batch().await.expect("readable").is_none());
        let rows: Vec<_> = batches.iter().map(|batch| batch.records.num_rows()).collect();
        assert_eq!(rows, [1, 1]);
        reader.acknowledge(&batches[0].next).await.expect("noted");
        assert_eq!(list(&source, None).await.expect("known").splits.len(), 1);
        reader.acknowledge(&batches[1].next).await.expect("noted");
        assert!(list(&source, None).await.expect("known").splits.is_empty());
    }

    #[tokio::test]
    async fn nothing_can_be_read_twice() {
        let source = source(io::empty());
        assert_eq!(source.again(), Again::Never);
        open(&source).await.expect("the first time");
        let error = open(&source).await.err().expect("the stream is gone");
        assert!(!error.retry());
    }
}
