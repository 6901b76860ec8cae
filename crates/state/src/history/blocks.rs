//! The form of packs and folds: a header, then blocks, each with the counts of some epochs by
//! column and what else is kept of them.
//!
//! The first line says the layout. Before each block stands a line with the epochs and the lengths
//! of its two parts, both compressed by zstd: the ledger as a stream of Arrow, and lines of JSON,
//! of which the first one is a dictionary of the splits that the others, a checkpoint each, speak
//! of. The last line says how many epochs there were. Whoever writes or reads has one block in
//! memory, however many there are; who counts does not unpack the checkpoints.

use std::collections::BTreeMap;
use std::io::Write;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use contract::error::Context;
use contract::source::{KnownSplit, Split};
use contract::{Error, Result, SplitId, failpoint};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::History;
use super::pieces::Pieces;
use crate::Checkpoint;
use crate::checkpoint::Line;
use crate::ledger::Entry;
use crate::ledger::columns::{Columns, Counted, Rows, schema};
use crate::roster::{Roster, SplitState};

/// The layout that is written. Those of earlier programs have no header.
const FORMAT: u32 = 2;
/// How every header begins, and nothing that an earlier program packed.
pub(super) const BEGINNING: &[u8] = br#"{"format":"#;
/// Parts in which a file is written; stores want at least 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Parts that are under way to the store at once.
const PARTS_MAX: usize = 2;
/// How hard it is compressed.
const LEVEL: i32 = 3;
/// A block ends where its checkpoints take so many bytes …
const BLOCK_BYTES: usize = 1 << 20;
/// … or its ledger so many rows.
const BLOCK_ROWS: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
}

/// What stands between blocks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Block(Extent),
    End { epochs: u64 },
}

/// What a block holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Extent {
    /// Its first epoch.
    pub first: u64,
    /// Its last one.
    pub last: u64,
    /// The `now()` of the last one.
    pub now_us: i64,
    /// How many epochs it has.
    epochs: u64,
    /// The bytes of its ledger.
    ledger: usize,
    /// The bytes of its checkpoints.
    checkpoints: usize,
}

/// A split by its number: source, id, family.
type Named = (usize, String, String, Option<String>);

/// What is written in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Pack,
    Fold,
}

/// A pack or a fold that is being written.
pub(super) struct Writer {
    kind: Kind,
    to: BufWriter,
    path: Path,
    block: Option<Extent>,
    rows: Columns,
    names: BTreeMap<usize, Named>,
    text: Vec<u8>,
    epochs: u64,
    has_begun: bool,
}

impl Writer {
    /// A file of this name, which is there once it is finished.
    pub fn new(history: &History, path: &Path, kind: Kind) -> Self {
        let to = BufWriter::with_capacity(history.store.clone(), path.clone(), PART_BYTES);
        Self {
            kind,
            to: to.with_max_concurrency(PARTS_MAX),
            path: path.clone(),
            block: None,
            rows: Columns::default(),
            names: BTreeMap::new(),
            text: Vec::new(),
            epochs: 0,
            has_begun: false,
        }
    }

    /// Takes in a checkpoint, the next in order.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn add(&mut self, mut checkpoint: Checkpoint) -> Result<()> {
        for (number, state) in checkpoint.named() {
            let SplitState { source, known, .. } = state;
            let family = known.split.family().map(str::to_owned);
            let id = known.split.id.to_string();
            self.names.insert(number, (number, source.clone(), id, family));
        }
        for entry in &checkpoint.ledger {
            self.rows.add(checkpoint.epoch, entry, checkpoint.family_of(entry));
        }
        checkpoint.ledger.clear();
        self.text.append(&mut checkpoint.to_nameless_line()?);
        self.text.push(b'\n');
        self.extend(checkpoint.epoch, checkpoint.now_us, 1);
        self.flush_if_full().await
    }

    /// Takes in a sum over all epochs up to one, the next in order.
    ///
    /// # Errors
    /// As for [`Writer::add`].
    pub async fn add_sum(&mut self, until: u64, sum: &Counted) -> Result<()> {
        self.rows.add(until, &sum.entry, (sum.source.as_deref(), sum.family.as_deref()));
        self.extend(until, 0, 0);
        self.flush_if_full().await
    }

    fn extend(&mut self, epoch: u64, now_us: i64, epochs: u64) {
        let none =
            Extent { first: epoch, last: epoch, now_us, epochs: 0, ledger: 0, checkpoints: 0 };
        let block = self.block.get_or_insert(none);
        (block.last, block.now_us) = (epoch, now_us);
        block.epochs += epochs;
    }

    async fn flush_if_full(&mut self) -> Result<()> {
        match self.text.len() >= BLOCK_BYTES || self.rows.len() >= BLOCK_ROWS {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    /// Writes the block that is open.
    async fn flush(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            let header = serde_json::to_vec(&Header { format: FORMAT });
            self.put_line(header.bug("a header is no JSON")?).await?;
        }
        let Some(mut block) = self.block.take() else { return Ok(()) };
        let names: Vec<_> = std::mem::take(&mut self.names).into_values().collect();
        let text = std::mem::take(&mut self.text);
        let checkpoints = packed_lines(&names, &text)?;
        let ledger = packed_rows(&self.rows.take()?)?;
        (block.ledger, block.checkpoints) = (ledger.len(), checkpoints.len());
        self.epochs += block.epochs;
        let mark = serde_json::to_vec(&Mark::Block(block)).bug("a mark is no JSON")?;
        self.put_line(mark).await?;
        self.put(ledger).await?;
        self.put(checkpoints).await?;
        match self.kind {
            Kind::Pack => failpoint::reach("pack.block").await,
            Kind::Fold => failpoint::reach("fold.block").await,
        }
    }

    /// Writes what is left; by then the file is there.
    ///
    /// # Errors
    /// As for [`Writer::add`].
    pub async fn finish(&mut self) -> Result<()> {
        self.flush().await?;
        let end = serde_json::to_vec(&Mark::End { epochs: self.epochs });
        self.put_line(end.bug("a mark is no JSON")?).await?;
        let path = &self.path;
        self.to.shutdown().await.transient(|| format!("could not write the end of \"{path}\""))
    }

    /// Gives up what was written so far: it is no object yet.
    pub async fn abort(mut self) {
        // What a store keeps of it, it forgets by itself.
        let _ = self.to.abort().await;
    }

    async fn put_line(&mut self, mut line: Vec<u8>) -> Result<()> {
        line.push(b'\n');
        self.put(line).await
    }

    async fn put(&mut self, bytes: Vec<u8>) -> Result<()> {
        let path = &self.path;
        let put = self.to.put(bytes.into()).await;
        put.transient(|| format!("could not write a part of \"{path}\""))
    }
}

fn packed_rows(rows: &RecordBatch) -> Result<Vec<u8>> {
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let failed = "a ledger is not written by column";
    let mut writer = StreamWriter::try_new(compressor()?, &rows.schema()).bug(failed)?;
    writer.write(rows).bug(failed)?;
    writer.into_inner().bug(failed)?.finish().bug("memory cannot be written")
}

fn packed_lines(names: &[Named], text: &[u8]) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut packed = compressor()?;
    let names = serde_json::to_vec(names).bug("names are no JSON")?;
    for part in [&names, b"\n".as_slice(), text] {
        packed.write_all(part).bug("memory cannot be written")?;
    }
    packed.finish().bug("memory cannot be written")
}

fn compressor() -> Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    let packed = zstd::stream::write::Encoder::new(Vec::new(), LEVEL);
    let mut packed = packed.bug("a compressor cannot be made")?;
    packed.include_checksum(true).bug("a compressor takes no checksum")?;
    Ok(packed)
}

/// A pack or a fold that is being read.
pub(super) struct Blocks {
    pieces: Pieces,
    epochs: u64,
    is_through: bool,
}

impl Blocks {
    /// Reads the header.
    ///
    /// # Errors
    /// Config: a later version wrote it. External: it is damaged, or the store does not answer
    /// (retryable).
    pub async fn open(mut pieces: Pieces) -> Result<Self> {
        let line = pieces.line().await?;
        let header: Header = serde_json::from_slice(&line).external(|| pieces.damaged())?;
        if header.format != FORMAT {
            return Err(Error::config(format!(
                "\"{}\" has format {}, this program reads formats up to {FORMAT}",
                pieces.path(),
                header.format
            ))
            .hint("use the version of logmill that wrote it; nothing was changed"));
        }
        Ok(Self { pieces, epochs: 0, is_through: false })
    }

    /// The next block; none at the end.
    ///
    /// # Errors
    /// External: the file is damaged, or the store does not answer (retryable).
    pub async fn next(&mut self) -> Result<Option<Block>> {
        if self.is_through {
            return Ok(None);
        }
        let line = self.pieces.line().await?;
        let mark: Mark = serde_json::from_slice(&line).external(|| self.pieces.damaged())?;
        let extent = match mark {
            Mark::Block(extent) => extent,
            Mark::End { epochs } if epochs == self.epochs && self.pieces.is_at_end().await? => {
                self.is_through = true;
                return Ok(None);
            }
            Mark::End { .. } => return Err(Error::external(self.pieces.damaged())),
        };
        self.epochs += extent.epochs;
        let ledger = self.pieces.take(extent.ledger).await?;
        let checkpoints = self.pieces.take(extent.checkpoints).await?;
        Ok(Some(Block { extent, ledger, checkpoints, path: self.pieces.path().clone() }))
    }
}

/// Some epochs, compressed as they are.
pub(super) struct Block {
    /// Which ones.
    pub extent: Extent,
    ledger: Bytes,
    checkpoints: Bytes,
    path: Path,
}

impl Block {
    /// The ledger of its epochs, in order of these.
    ///
    /// # Errors
    /// External: it is damaged.
    pub fn rows(&self) -> Result<RecordBatch> {
        if self.ledger.is_empty() {
            return Ok(RecordBatch::new_empty(schema()));
        }
        let damaged = || self.damaged();
        let bytes = zstd::decode_all(&*self.ledger).external(damaged)?;
        let mut batches = StreamReader::try_new(&*bytes, None).external(damaged)?;
        let batch = batches.next().ok_or_else(|| Error::external(damaged()))?;
        let batch = batch.external(damaged)?;
        match batch.schema() == schema() && batches.next().is_none() {
            true => Ok(batch),
            false => Err(Error::external(damaged())),
        }
    }

    /// Its checkpoints with their ledger and the splits that they name, in order.
    ///
    /// # Errors
    /// External: they are damaged.
    pub fn checkpoints(&self) -> Result<Vec<Checkpoint>> {
        let damaged = || self.damaged();
        let text = zstd::decode_all(&*self.checkpoints).external(damaged)?;
        let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let Some(names) = lines.next() else { return Ok(Vec::new()) };
        let names: Vec<Named> = serde_json::from_slice(names).external(damaged)?;
        let dictionary = Dictionary::of(names);
        let mut ledgers = self.ledgers()?;
        let mut checkpoints = Vec::new();
        for line in lines {
            let Line(mut checkpoint) = serde_json::from_slice(line).external(damaged)?;
            checkpoint.ledger = ledgers.remove(&checkpoint.epoch).unwrap_or_default();
            checkpoint.roster = dictionary.named_in(&checkpoint);
            checkpoints.push(checkpoint);
        }
        let Extent { first, last, epochs, .. } = self.extent;
        let span = checkpoints.first().zip(checkpoints.last());
        let is_whole = span.is_none_or(|(one, other)| (one.epoch, other.epoch) == (first, last));
        match is_whole && epochs == checkpoints.len() as u64 {
            true => Ok(checkpoints),
            false => Err(Error::external(damaged())),
        }
    }

    fn ledgers(&self) -> Result<BTreeMap<u64, Vec<Entry>>> {
        let batch = self.rows()?;
        let rows = Rows::of(&batch)?;
        let mut ledgers: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        for row in 0..rows.len() {
            ledgers.entry(rows.epoch(row)).or_default().push(rows.get(row).entry);
        }
        Ok(ledgers)
    }

    fn damaged(&self) -> String {
        format!("\"{}\" is damaged", self.path)
    }
}

/// The splits that checkpoints of a block speak of.
struct Dictionary {
    by_number: BTreeMap<usize, SplitState>,
    by_id: BTreeMap<SplitId, Vec<usize>>,
}

impl Dictionary {
    fn of(names: Vec<Named>) -> Self {
        let (mut by_number, mut by_id) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        for (number, source, id, family) in names {
            let id = SplitId::new(id);
            by_id.entry(id.clone()).or_default().push(number);
            let split = Split::named(id, family.as_deref());
            let known = KnownSplit { split, position: None };
            by_number.insert(number, SplitState::new(source, known));
        }
        Self { by_number, by_id }
    }

    /// Those that one checkpoint names.
    fn named_in(&self, checkpoint: &Checkpoint) -> Roster {
        let read = checkpoint.cuts.iter().map(|cut| cut.split);
        let booked = checkpoint.ledger.iter().map(|entry| SplitId::new(entry.split.as_str()));
        let booked = booked.filter_map(|id| self.by_id.get(&id)).flatten().copied();
        let mut numbers: Vec<_> = read.chain(booked).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let named = numbers.into_iter();
        Roster::named(
            named.filter_map(|number| Some((number, self.by_number.get(&number)?.clone()))),
        )
    }
}
