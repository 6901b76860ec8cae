//! Reads pieces of log files as batches of parsed columns.
//!
//! Each partition of the scan takes the next piece from one shared list, so that no thread waits
//! for another. Reading and parsing happen where the batch is asked for: the block is still in
//! the processor's cache when the query works on its columns.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::ErrorKind as IoErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use contract::error::Context;
use contract::{Error, ErrorKind, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use formats::Parser;
use formats::ahead::Ahead;
use formats::decoded::{Decoded, Reached};
use formats::join::Join;
use formats::lines::{LineBatch, Lines, Start};

use super::files::{LogFile, Opened, Piece};
use crate::session::lend;

/// Bytes that are read, cut and parsed at once: about the rows of one batch of DataFusion.
const BLOCK_BYTES: usize = 2 << 20;
/// How far ahead of what is read a file is fetched: about a piece.
const AHEAD_BYTES: u64 = 16 << 20;
/// Bytes of the longest line; a longer one is refused.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Letters of a refused line that are kept.
const KEPT_LETTERS: usize = 8_192;

/// The lines that could not be read, by file.
#[derive(Debug, Default)]
pub struct RefusedLines {
    files: Mutex<BTreeMap<PathBuf, Refusal>>,
    accepted: AtomicU64,
}

/// What of one file could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// How many.
    pub lines: u64,
    /// Where the first of them begins, in bytes of the decompressed file.
    pub position: i64,
    /// Why that one was refused.
    pub reason: String,
    /// How that one begins; none if it is longer than a line may be.
    pub line: Option<String>,
    /// NULs that were left out where text should stand.
    pub skipped: u64,
    /// Where the first of them stands.
    pub skipped_from: i64,
}

impl RefusedLines {
    /// What was counted since the last call.
    pub fn take(&self) -> BTreeMap<PathBuf, Refusal> {
        std::mem::take(&mut self.lock())
    }

    /// How many lines were read since the last call.
    pub fn take_accepted(&self) -> u64 {
        self.accepted.swap(0, Ordering::Relaxed)
    }

    /// Adds what was refused of a block; the position, reason and line are those of the first.
    fn add(&self, file: &LogFile, refused: Refusal) {
        let mut files = self.lock();
        let known = files.entry(file.path().to_owned()).or_default();
        if known.lines == 0 || refused.position < known.position {
            known.position = refused.position;
            known.reason = refused.reason;
            known.line = refused.line;
        }
        known.lines += refused.lines;
    }

    fn add_skipped(&self, file: &LogFile, bytes: u64, from: i64) {
        let mut files = self.lock();
        let known = files.entry(file.path().to_owned()).or_default();
        if known.skipped == 0 || from < known.skipped_from {
            known.skipped_from = from;
        }
        known.skipped += bytes;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Refusal>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that could not be read to their end, each with why: the others answer all the same.
#[derive(Debug, Default)]
pub struct UnreadFiles(Mutex<BTreeMap<PathBuf, Error>>);

impl UnreadFiles {
    /// Those since the last call, by name.
    pub fn take(&self) -> BTreeMap<PathBuf, Error> {
        std::mem::take(&mut self.lock())
    }

    /// Adds a file; what was said of it first stays.
    pub fn add(&self, path: PathBuf, error: Error) {
        self.lock().entry(path).or_insert(error);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Error>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all partitions of one scan share.
pub struct Scan {
    /// The columns that come out.
    pub schema: SchemaRef,
    /// Their places among the parser's columns.
    pub projection: Vec<usize>,
    /// Turns lines into columns.
    pub parser: Arc<dyn Parser>,
    /// Who is told about lines that are refused.
    pub refused: Arc<RefusedLines>,
    /// Who is told about files that cannot be read; none where that is an error.
    pub unread: Option<Arc<UnreadFiles>>,
    /// Which lines are parts of one.
    pub join: Option<Join>,
    /// What nobody has begun to read yet.
    pub pieces: Mutex<VecDeque<Piece>>,
}

impl Scan {
    fn next_piece(&self) -> Option<Piece> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// The lines of a block as a batch.
    fn parse(&self, lines: &LineBatch, file: &LogFile) -> Result<RecordBatch> {
        let parsed = self.parser.parse(&lines.text, Some(&self.projection));
        if let Some(first) = lines.rejects.first() {
            let refusal = Refusal {
                lines: lines.rejects.len() as u64,
                position: first.position,
                reason: first.reason.clone(),
                ..Refusal::default()
            };
            self.refused.add(file, refusal);
        }
        if let Some(gap) = lines.gaps.first() {
            self.refused.add_skipped(file, lines.skipped(), gap.position);
        }
        if let Some(first) = parsed.refused.first() {
            let line = lines.text.value(first.row).chars().take(KEPT_LETTERS).collect();
            let refusal = Refusal {
                lines: parsed.refused.len() as u64,
                position: lines.positions.value(first.row),
                reason: first.reason.clone(),
                line: Some(line),
                ..Refusal::default()
            };
            self.refused.add(file, refusal);
        }
        let rows = lines.positions.len() - parsed.refused.len();
        self.refused.accepted.fetch_add(rows as u64, Ordering::Relaxed);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), parsed.columns, &options)
            .bug("a parser made other columns than it declares")
    }
}

/// One partition of a scan.
pub struct Partition(pub Arc<Scan>);

impl fmt::Debug for Partition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("log")
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reader = Reader { scan: self.0.clone(), open: None };
        let batches = futures::stream::iter(reader.map(|batch| batch.map_err(lend)));
        Box::pin(RecordBatchStreamAdapter::new(self.0.schema.clone(), batches))
    }
}

/// Reads piece after piece until none is left.
struct Reader {
    scan: Arc<Scan>,
    open: Option<OpenPiece>,
}

impl Reader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some(piece) = &mut self.open else {
                let Some(piece) = self.scan.next_piece() else { return Ok(None) };
                let path = piece.file().path().to_owned();
                self.open = self.passing(&path, OpenPiece::new(piece, self.scan.join))?;
                continue;
            };
            let lines = match piece.next_lines() {
                Ok(lines) => lines,
                Err(error) => {
                    let path = piece.piece.file().path().to_owned();
                    self.passing(&path, Err(error))?
                }
            };
            let (Some(lines), Some(piece)) = (lines, &self.open) else {
                self.open = None;
                continue;
            };
            let batch = self.scan.parse(&lines, piece.piece.file())?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

impl Reader {
    /// What was read of a file of a pattern; nothing where it cannot be read.
    fn passing<T>(&self, path: &Path, read: Result<T>) -> Result<Option<T>> {
        match (read, &self.scan.unread) {
            (Ok(read), _) => Ok(Some(read)),
            (Err(error), Some(unread)) if error.kind() == ErrorKind::External => {
                unread.add(path.to_owned(), error);
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch().transpose();
        if matches!(batch, Some(Err(_))) {
            // An error ends the partition: nothing behind it is read.
            self.open = None;
            self.scan.pieces.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        batch
    }
}

/// A piece that is being read.
pub struct OpenPiece {
    piece: Piece,
    text: Decoded,
    file: Option<File>,
    ahead: Ahead,
    lines: Lines,
    ended: bool,
    /// Told after the lines that could be read before it.
    failure: Option<Error>,
}

impl OpenPiece {
    /// Begins to read a piece.
    ///
    /// # Errors
    /// External: the file cannot be read. Config: it is a pipe that was read before.
    pub fn new(piece: Piece, join: Option<Join>) -> Result<Self> {
        let Opened { from, text, file } = piece.open()?;
        let from = i64::try_from(from).bug("a file is longer than 8 EiB")?;
        let lines = Lines::resume(LINE_BYTES_MAX, from, Start::Line).with_join(join);
        let ahead = Ahead::default();
        Ok(Self { piece, text, file, ahead, lines, ended: false, failure: None })
    }

    /// The lines of the next block; none at the end.
    ///
    /// # Errors
    /// External: the file cannot be read or decompressed.
    pub fn next_lines(&mut self) -> Result<Option<LineBatch>> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.ended {
            return Ok(None);
        }
        if let Some(file) = &self.file {
            self.ahead.fetch(file, AHEAD_BYTES);
        }
        let mut block = self.lines.block(BLOCK_BYTES);
        let refusal = self.text.foreign_reason();
        let reached = self.text.fill(&mut block, BLOCK_BYTES);
        let mut failed = None;
        let reached = reached.map_err(|error| failed = Some(error));
        self.ended = !matches!(reached, Ok(Reached::Room | Reached::Stretch | Reached::Torn));
        let lines = match (refusal, reached) {
            (Some(reason), Ok(Reached::Room)) => self.lines.refuse(block, &reason),
            (Some(reason), Ok(Reached::Stretch)) => self.lines.refuse_ended(block, &reason),
            (Some(reason), _) => self.lines.refuse_last(block, &reason),
            (None, Ok(Reached::Stretch)) => self.lines.cut_ended(block),
            (None, Ok(Reached::End)) => self.lines.cut_last(block),
            // What the tear left of a line stands with what follows.
            (None, Ok(Reached::Room | Reached::Torn) | Err(())) => self.lines.cut(block),
        };
        // Only now it is known how far the lines go.
        self.failure = failed.map(|error| self.broken(error));
        Ok(Some(lines))
    }

    fn broken(&self, error: std::io::Error) -> Error {
        let path = self.piece.file().path().display();
        let at = self.lines.at();
        let decompressed = if self.piece.file().is_packed() { " (decompressed)" } else { "" };
        let hint = match error.kind() {
            IoErrorKind::QuotaExceeded => {
                "decompress it outside: `zstd --long=31 -dc FILE | logmill query …` with \
                 '/dev/stdin' as its name"
            }
            IoErrorKind::UnexpectedEof => {
                "if the file is still being compressed, wait until it is complete"
            }
            _ => "its compressed form is damaged: restore it, or leave it out",
        };
        Error::external(format!("could not read \"{path}\" beyond byte {at}{decompressed}"))
            .hint(hint)
            .because(error)
    }
}
