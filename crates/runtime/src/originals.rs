//! The originals of rows that a sink refused: read again by origin.
//!
//! By then the batch in which a row came is gone. What cannot be read again keeps what the sink
//! knew of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::sink::SinkReject;
use contract::source::{OriginalKind, Until};
use contract::transform::EpochStart;
use contract::{Position, Result, SplitId};
use state::Checkpoint;
use tracing::warn;

use crate::dead_letters::{self, DeadLetter, add_originals};
use crate::flow::{Parcel, Refused, Share, SplitContext};
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
    let mut by_split: BTreeMap<&SplitId, Vec<DeadLetter>> = BTreeMap::new();
    for row in rejects {
        let letter =
            DeadLetter { step: None, sink: Some(name.clone()), reject: row.reject.clone() };
        by_split.entry(&row.split).or_default().push(letter);
    }
    let mut refused = Vec::new();
    for (id, mut letters) in by_split {
        let Some(split) = context_of(owner, checkpoint, id) else { continue };
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

/// The context of a split that the checkpoint knows.
pub fn context_of(
    owner: &Owner,
    checkpoint: &Checkpoint,
    id: &SplitId,
) -> Option<Arc<SplitContext>> {
    let index = checkpoint.splits.iter().position(|state| state.known.split.id == *id)?;
    context_at(owner, checkpoint, index)
}

/// The context of the split that the checkpoint keeps under a number.
pub fn context_at(
    owner: &Owner,
    checkpoint: &Checkpoint,
    index: usize,
) -> Option<Arc<SplitContext>> {
    let state = checkpoint.splits.get(index)?;
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
