//! The originals of rows that a sink refused: read again by origin.
//!
//! By then the batch in which a row came is gone. What cannot be read again keeps what the sink
//! knew of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::record::positions;
use contract::sink::SinkReject;
use contract::source::{OriginalKind, SplitReader, Until};
use contract::transform::EpochStart;
use contract::{Error, Position, Result, SplitId};
use state::Checkpoint;
use tracing::warn;

use crate::dead_letters::{self, DeadLetter, add_originals};
use crate::flow::{Parcel, Refused, Share, SplitContext};
use crate::graph::Pipeline;
use crate::owner::Owner;

/// Refused records no farther apart than this, in positions, are read again by one reader,
/// together with what stands between them.
const NEAR: i64 = 1 << 16;

/// Dead letters whose originals cannot be read, in one part.
const PART_ROWS: usize = 4096;

/// The rows that a sink refused, as dead letters with their originals: in parts, as they may be
/// more than memory can hold together with what is made of them.
pub struct Letters<'a> {
    owner: &'a Owner,
    sink: Arc<str>,
    stretches: VecDeque<Stretch<'a>>,
}

/// Rows of one split that are near each other, in order.
struct Stretch<'a> {
    split: Arc<SplitContext>,
    rows: VecDeque<&'a SinkReject>,
    reading: Reading,
}

/// How far the originals of a stretch were read.
enum Reading {
    Before,
    Open(Box<dyn SplitReader>),
    Over,
}

impl<'a> Letters<'a> {
    /// What a sink refused in the epoch behind a checkpoint.
    ///
    /// # Errors
    /// Bug: a row is of a split that no source has.
    pub fn new(
        owner: &'a Owner,
        checkpoint: &Checkpoint,
        sink: usize,
        rejects: impl Iterator<Item = &'a SinkReject>,
    ) -> Result<Self> {
        let mut by_split: BTreeMap<usize, Vec<&SinkReject>> = BTreeMap::new();
        for row in rejects {
            let split = split_of(&owner.pipeline, checkpoint, sink, row)?;
            by_split.entry(split).or_default().push(row);
        }
        let name = owner.pipeline.sinks[sink].name.as_str();
        let mut stretches = VecDeque::new();
        for (index, mut rows) in by_split {
            let read = context_at(owner, checkpoint, index);
            let split = read.or_else(|| made_at(checkpoint, index)).ok_or_else(|| {
                let id = &checkpoint.roster[index].known.split.id;
                nobodys(name, id, rows[0].reject.position)
            })?;
            rows.sort_by_key(|row| row.reject.position);
            let is_near = |one: &&SinkReject, next: &&SinkReject| {
                next.reject.position - one.reject.position <= NEAR
            };
            stretches.extend(rows.chunk_by(is_near).map(|rows| Stretch {
                split: split.clone(),
                rows: rows.iter().copied().collect(),
                reading: Reading::Before,
            }));
        }
        Ok(Self { owner, sink: name.into(), stretches })
    }

    /// The next part; none once all were given.
    ///
    /// # Errors
    /// Bug: a row that was read again has no position.
    pub async fn next(&mut self) -> Result<Option<Refused>> {
        while let Some(stretch) = self.stretches.front_mut() {
            if stretch.rows.is_empty() {
                self.stretches.pop_front();
                continue;
            }
            let letters = stretch.part(self.owner, &self.sink).await?;
            if !letters.is_empty() {
                return Ok(Some(Refused { split: stretch.split.clone(), letters }));
            }
        }
        Ok(None)
    }
}

impl Stretch<'_> {
    /// The letters of the rows up to the end of the next batch that is read again; there may be
    /// none.
    async fn part(&mut self, owner: &Owner, sink: &Arc<str>) -> Result<Vec<DeadLetter>> {
        let batch = self.read_again(owner).await;
        let last = match &batch {
            Some(batch) => positions(batch)?.values().last().copied(),
            None => None,
        };
        let count = match (&batch, last) {
            (Some(_), None) => 0,
            (Some(_), Some(last)) => self.rows.partition_point(|row| row.reject.position <= last),
            (None, _) => self.rows.len().min(PART_ROWS),
        };
        let letter = |row: &SinkReject| DeadLetter {
            step: None,
            sink: Some(sink.clone()),
            reject: row.reject.clone(),
        };
        let mut letters: Vec<_> = self.rows.drain(..count).map(letter).collect();
        if let Some(batch) = &batch {
            add_originals(&mut letters, batch)?;
        }
        for letter in letters.iter_mut().filter(|letter| letter.reject.original.is_none()) {
            letter.reject.kind = OriginalKind::Row;
        }
        Ok(letters)
    }

    /// The next batch of the originals; none where there is no more. What cannot be read is told.
    async fn read_again(&mut self, owner: &Owner) -> Option<RecordBatch> {
        let read = match &mut self.reading {
            Reading::Over => return None,
            Reading::Before => match self.open(owner).await {
                Ok(Some(mut reader)) => {
                    let read = reader.next_batch().await;
                    self.reading = Reading::Open(reader);
                    read
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            },
            Reading::Open(reader) => reader.next_batch().await,
        };
        match read {
            Ok(Some(batch)) => return Some(batch.records),
            Ok(None) => {}
            Err(error) => {
                let first = self.rows.front().map_or(0, |row| row.reject.position);
                let origin = format!("{}@{first}", self.split.id());
                let (records, error) = (self.rows.len(), error.chain());
                warn!(origin, records, error, "could not read refused records again");
            }
        }
        self.reading = Reading::Over;
        None
    }

    /// A reader of the originals that are lacking; none if none is.
    async fn open(&mut self, owner: &Owner) -> Result<Option<Box<dyn SplitReader>>> {
        let lacks = |row: &&&SinkReject| row.reject.original.is_none();
        let Some(first) = self.rows.iter().find(lacks) else { return Ok(None) };
        let last = self.rows.iter().rfind(lacks).unwrap_or(first);
        let from = Position::new(first.reject.position);
        let until = Until::Position(Position::new(last.reject.position + 1));
        // What a step made, nobody can read again.
        let Some(node) = owner.pipeline.sources.get(self.split.source) else { return Ok(None) };
        node.source.open(&self.split.split, Some(&from), until).await.map(Some)
    }
}

/// The number of the split from which a row came that a sink refused. Two sources may read splits
/// of one name: then the number of the row says by which way it came.
///
/// # Errors
/// Bug: nobody knows such a split, so that the row cannot be booked.
pub fn split_of(
    pipeline: &Pipeline,
    checkpoint: &Checkpoint,
    sink: usize,
    row: &SinkReject,
) -> Result<usize> {
    let found: Vec<_> = checkpoint.roster.of_id(&row.split).collect();
    if let [(index, _)] = found[..] {
        return Ok(index);
    }
    let givers = pipeline.givers(sink, row.reject.ordinal);
    let gave = |source: &str| givers.iter().any(|giver| pipeline.sources[*giver].name == source);
    let given = found.iter().find(|(_, state)| gave(&state.source)).or(found.first());
    let (index, _) = given
        .ok_or_else(|| nobodys(&pipeline.sinks[sink].name, &row.split, row.reject.position))?;
    Ok(*index)
}

fn nobodys(sink: &str, split: &SplitId, position: i64) -> Error {
    Error::bug(format!(
        "sink {sink:?} refused the row \"{split}@{position}\", of a split that no source has"
    ))
    .hint("nothing more was committed; report this with the pipeline file and the log")
}

/// The context of the split that the checkpoint keeps under a number.
pub fn context_at(
    owner: &Owner,
    checkpoint: &Checkpoint,
    index: usize,
) -> Option<Arc<SplitContext>> {
    let state = checkpoint.roster.get(index)?;
    let source = owner.pipeline.sources.iter().position(|node| node.name == state.source)?;
    Some(SplitContext::new(index, source, state.known.split.clone()))
}

/// The context of such a split where a step makes its records.
fn made_at(checkpoint: &Checkpoint, index: usize) -> Option<Arc<SplitContext>> {
    let split = &checkpoint.roster.get(index)?.known.split;
    split.is_made().then(|| SplitContext::made(index, split.clone()))
}

impl Refused {
    /// The dead letters as rows on their way.
    ///
    /// # Errors
    /// Bug: they do not fit their columns.
    pub fn into_parcel(self, pipeline: &str, epoch: EpochStart, share: Share) -> Result<Parcel> {
        let records = dead_letters::batch(pipeline, epoch.now_us, &self.letters)?;
        Ok(Parcel { split: self.split, records, now_us: epoch.now_us, share })
    }
}
