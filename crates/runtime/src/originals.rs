//! The originals of rows that a sink refused: read again by origin.
//!
//! By then the batch in which a row came is gone. What cannot be read again keeps what the sink
//! knew of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::sink::SinkReject;
use contract::source::{OriginalKind, Until};
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

/// The rows that a sink refused as dead letters, by split.
///
/// # Errors
/// Bug: a row that was read again has no position.
pub async fn of_sink(
    owner: &Owner,
    checkpoint: &Checkpoint,
    sink: usize,
    rejects: &[SinkReject],
) -> Result<Vec<Refused>> {
    let name: Arc<str> = owner.pipeline.sinks[sink].name.as_str().into();
    let mut by_split: BTreeMap<usize, Vec<DeadLetter>> = BTreeMap::new();
    for row in rejects {
        let letter =
            DeadLetter { step: None, sink: Some(name.clone()), reject: row.reject.clone() };
        let split = split_of(&owner.pipeline, checkpoint, sink, row)?;
        by_split.entry(split).or_default().push(letter);
    }
    let mut refused = Vec::new();
    for (index, mut letters) in by_split {
        let split = context_at(owner, checkpoint, index).ok_or_else(|| {
            let id = &checkpoint.roster[index].known.split.id;
            let sink = &owner.pipeline.sinks[sink].name;
            nobodys(sink, id, letters[0].reject.position)
        })?;
        let id = split.id().clone();
        letters.sort_by_key(|letter| letter.reject.position);
        let is_near = |one: &DeadLetter, next: &DeadLetter| {
            next.reject.position - one.reject.position <= NEAR
        };
        for letters in letters.chunk_by_mut(is_near) {
            if let Err(error) = read_again(owner, &split, letters).await {
                let origin = format!("{id}@{}", letters[0].reject.position);
                let records = letters.len();
                warn!(
                    origin,
                    records,
                    error = error.chain(),
                    "could not read refused records again"
                );
            }
        }
        for letter in letters.iter_mut().filter(|letter| letter.reject.original.is_none()) {
            letter.reject.kind = OriginalKind::Row;
        }
        refused.push(Refused { split, letters });
    }
    Ok(refused)
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

/// Gives letters of one split, in order, the originals that they lack.
async fn read_again(owner: &Owner, split: &SplitContext, letters: &mut [DeadLetter]) -> Result<()> {
    let mut lacking = letters.iter().filter(|letter| letter.reject.original.is_none());
    let Some(first) = lacking.next().map(|letter| letter.reject.position) else { return Ok(()) };
    let last = lacking.next_back().map_or(first, |letter| letter.reject.position);
    let until = Until::Position(Position::new(last + 1));
    let source = &owner.pipeline.sources[split.source].source;
    let mut reader = source.open(&split.split, Some(&Position::new(first)), until).await?;
    while let Some(batch) = reader.next_batch().await? {
        add_originals(letters, &batch.records)?;
    }
    Ok(())
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
