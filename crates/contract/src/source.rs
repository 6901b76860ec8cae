//! The contract of a source: what can be read, and from where to where.
//!
//! A source never retries, never checkpoints and never decides: the runtime does. A range that
//! was read once must give the same records again, or the source must say that it cannot.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::discovery::Discoverer;
use crate::{Lineage, Position, Result, SplitId};

/// A part of a source that is read in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Split {
    /// Assigned once, never changed, never used again for something else.
    pub id: SplitId,
    /// What the connector must know to find the split again (a path, a fingerprint).
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub descriptor: serde_json::Value,
}

/// The key of a descriptor under which stands what a split shares with others.
const FAMILY: &str = "family";
/// The key under which stands which step makes the records of a split.
const MADE_BY: &str = "made_by";

impl Split {
    /// A split of which nothing is known but what it is called, and what it shares with others.
    pub fn named(id: SplitId, family: Option<&str>) -> Self {
        let descriptor = match family {
            Some(family) => serde_json::json!({ FAMILY: family }),
            None => serde_json::Value::Null,
        };
        Self { id, descriptor }
    }

    /// The split of the records that a step makes itself in a lineage.
    pub fn made_by(step: &str, lineage: &Lineage) -> Self {
        let id = SplitId::new(format!("{step}/{lineage}"));
        Self { id, descriptor: serde_json::json!({ MADE_BY: step }) }
    }

    /// Whether a step makes its records: no source has it.
    pub fn is_made(&self) -> bool {
        self.descriptor.get(MADE_BY).is_some()
    }

    /// What the split shares with others of its source (an environment, a bucket, a folder), if its
    /// source says so, in the descriptor under `family`: these are counted together.
    pub fn family(&self) -> Option<&str> {
        self.descriptor.get(FAMILY)?.as_str()
    }
}

/// A split as the newest checkpoint knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownSplit {
    /// The split, with the descriptor that the source gave last.
    pub split: Split,
    /// The next record to read; none if nothing was read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// Where a reader stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never: at the end it waits for more.
    Forever,
    /// At the end that the split had when [`Source::begin`] was called, or, in sources that keep no
    /// ends, has when it is opened.
    End,
    /// Before this position; used to read recorded ranges again.
    Position(Position),
    /// Before this position, or where the split is not proven any more to be what was read; used
    /// where the loss of the rest is accepted. A source of [`Again::Exact`] that gave
    /// [`ReadBatch::marks`] ends at the last of these places, in order, up to which it is proven.
    /// The position that it gives last then says that the split was cut off there: what stands
    /// behind it by now is no part of the split. Other sources read up to the position.
    Proven {
        /// What was marked in the range when it was read.
        marks: Vec<Position>,
        /// The position.
        to: Position,
    },
}

/// What a source is told of a run before it is asked for splits.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Where the readers will stop.
    pub until: Until,
    /// How its splits are divided among lineages.
    pub lineages: Lineages,
    /// Bytes that its readers together may hold of what they fetched and did not give yet.
    pub fetch_bytes: usize,
}

/// How the splits of a source are divided among lineages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lineages {
    /// Each split is a lineage of its own, with checkpoints, a lease and writers of its own, and
    /// can move to another process.
    Split,
    /// All splits share one lineage with those of other sources that say so.
    One,
}

impl Lineages {
    /// The word in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::One => "one",
        }
    }
}

/// What a source gives where a range that was read before is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Every record, or an error. Whatever gives others is not what was read before, even where
    /// all that it gives stands at known positions.
    Exact,
    /// The same records, but for those that the outside removed meanwhile (compaction): what
    /// stands at a position is what always stood there.
    Sparse,
    /// Nothing: the range cannot be read twice, which `check` says.
    Never,
}

/// A connector's reading side, made from its settings.
#[async_trait]
pub trait Source: Send + Sync {
    /// The columns of every batch, `_position` among them. Asked once, when the plan is checked.
    fn schema(&self) -> SchemaRef;

    /// What comes where a range is read again.
    fn again(&self) -> Again {
        Again::Exact
    }

    /// The ways in which its splits can be divided among lineages, at least one; the first is taken
    /// where the pipeline file says nothing.
    fn lineages(&self) -> &'static [Lineages] {
        &[Lineages::One]
    }

    /// Learns where the readers of a run will stop, how its splits are divided among lineages, and
    /// how much they may fetch ahead. Called once for every source, before the run asks it for
    /// splits. Where splits are lineages, a run that follows takes part in whatever divides them
    /// among processes; nothing does where they share one. A run with an end reads all of them. A
    /// source whose splits can be lineages keeps where they end now: that is [`Until::End`],
    /// however late a split is opened, or opened again.
    ///
    /// # Errors
    /// As for [`Discoverer::look`].
    async fn begin(&self, _terms: &Terms) -> Result<()> {
        Ok(())
    }

    /// Who finds its splits during one attempt; no I/O. Made from the checkpoint at which the
    /// attempt begins, after the lease is held, and dropped with it: a source keeps nothing between
    /// two attempts but what it may lose without giving another answer.
    ///
    /// `known` holds the splits that were found before. It is none only where nobody ever looked:
    /// then the settings say where the splits start, and splits that are found later start at their
    /// beginning.
    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer>;

    /// Opens a split at a position (none: its beginning). Called once per split and attempt, again
    /// for every recovery, and again for a split that rested or failed.
    ///
    /// # Errors
    /// External keeps the split alone from being read: a retryable one is tried again with
    /// back-off, another one makes the split broken. While a recorded range is replayed, and where
    /// the split is a lineage of its own, a non-retryable External stops the run, which names it,
    /// and `run --accept-loss` books the range as lost.
    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>>;
}

/// What lies between the position of a reader and the end of its split, where that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records.
    pub records: Option<u64>,
    /// Bytes, as they are stored.
    pub bytes: Option<u64>,
    /// What of it was read and waits for something to be written; none while there is more to read.
    pub held: Option<Held>,
    /// Bytes that the reader fetched and did not give yet.
    pub fetched_bytes: usize,
}

/// What stands in a split and is no record yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its bytes, as they are read.
    pub bytes: u64,
    /// Why it waits: a sentence about the split without a full stop.
    pub reason: &'static str,
    /// Whether a writer at work would not leave it so: then people are told of it.
    pub is_odd: bool,
}

/// Whether a reader can be dropped now and its split opened again later, with nothing lost by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// No: there is more to read, or nobody would say when there is.
    #[default]
    None,
    /// Until the source gives the split another descriptor: all that it held when it was opened
    /// was given. If nothing is held back either ([`Lag::held`]), that is kept with the position,
    /// and later starts do not open the split as long as its descriptor is the same.
    UntilChanged,
    /// The same, but no longer than this: something is held back that is due then, and would be
    /// lost if the split were removed before. Such a reader gives up its place last.
    AtMost(Duration),
    /// No, but once all that it gave is committed: what it gave last must be the end of an epoch.
    OnceCommitted,
}

/// Reads one split in order.
#[async_trait]
pub trait SplitReader: Send {
    /// The next records and the position after them; none at the end.
    ///
    /// Cancel safe: a call that is dropped before it answered has consumed nothing. It must not
    /// block the thread for longer than one batch takes.
    ///
    /// # Errors
    /// External: the runtime drops this reader and keeps what it gave before. The split is opened
    /// again at its position, with back-off; without [`Error::retry`](crate::Error::retry) it
    /// counts as broken until that succeeds. Where a split is a lineage of its own, a retryable
    /// error drops the attempt and any other stops the run, as everything that is not External
    /// does everywhere.
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>>;

    /// Says that everything before `position` is committed everywhere. May be repeated.
    ///
    /// # Errors
    /// As for [`SplitReader::next_batch`]; nothing is lost if it fails.
    async fn acknowledge(&mut self, position: &Position) -> Result<()>;

    /// Makes sure that everything it gave still is of the split that it was opened for, where the
    /// outside can put another thing of the same name in its place while it is read. Called at
    /// every barrier before the position is taken, if anything was read since the last one.
    ///
    /// # Errors
    /// As for [`SplitReader::next_batch`]; nothing that was read since the last barrier is decided.
    async fn confirm(&mut self) -> Result<()> {
        Ok(())
    }

    /// A record that is gone from the source, made again of its original bytes, in the columns of
    /// [`Source::schema`]; none where they do not make one. For dead letters; no I/O. A source
    /// whose readers do so opens a range without records even where its split is gone.
    ///
    /// # Errors
    /// Bug: the columns were counted wrong.
    fn remake(&self, _position: i64, _original: &[u8]) -> Result<Option<RecordBatch>> {
        Ok(None)
    }

    /// Whether the reader, which follows its split, may give up its place to one that waits, and
    /// whether it has given all that there was. Asked between two calls of
    /// [`SplitReader::next_batch`] while there are more splits than places, and at every barrier,
    /// also at the end; no I/O. A reader that rests is dropped without an acknowledgement.
    fn rest(&self) -> Rest {
        Rest::None
    }

    /// What was not read yet, as far as the reader heard of it, and what it fetched ahead. Asked at
    /// every barrier and between batches; no I/O.
    fn lag(&self) -> Lag {
        Lag::default()
    }
}

/// What a reader gives at once.
#[derive(Debug)]
pub struct ReadBatch {
    /// The records, in order of position, in the columns of [`Source::schema`].
    pub records: RecordBatch,
    /// The next record after these.
    pub next: Position,
    /// Records of this range that the reader itself refuses (a line longer than the limit).
    pub rejects: Vec<Reject>,
    /// Records of this range that can no longer be read.
    pub lost: u64,
    /// Bytes of the source that this range stands for, for limits and rates.
    pub bytes: u64,
    /// Those of them that stand where records should and hold none, as NULs do where a file was
    /// truncated under its writer. The reader warned of them.
    pub skipped: u64,
    /// Places inside of the range, in order, up to which the source can prove later that it still
    /// holds what was read, for [`Until::Proven`]. A few; the runtime keeps those it has room for.
    pub marks: Vec<Position>,
}

impl ReadBatch {
    /// Records that are all that there is up to a position; the rest is added where it is known.
    pub fn new(records: RecordBatch, next: Position) -> Self {
        let (rejects, marks) = (Vec::new(), Vec::new());
        Self { records, next, rejects, lost: 0, bytes: 0, skipped: 0, marks }
    }
}

/// What the original of a refused record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginalKind {
    /// The bytes that the source delivered.
    Bytes,
    /// The row as JSON, because the bytes are not to be had.
    Row,
}

/// A record that was refused, and why. It becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The number of the record in its split.
    pub position: i64,
    /// The number of the row among those made of the record.
    #[serde(default)]
    pub ordinal: i64,
    /// A sentence without a full stop: what was expected and what stood there.
    pub reason: String,
    /// What `original` is.
    pub kind: OriginalKind,
    /// The original; none if the refuser does not have it: the runtime reads it again by origin.
    #[serde(default, with = "original", skip_serializing_if = "Option::is_none")]
    pub original: Option<Bytes>,
}

impl Reject {
    /// A record that is refused, without its original: the runtime reads it again by origin, and
    /// says what it found.
    pub fn new(position: i64, reason: impl Into<String>) -> Self {
        let (kind, original) = (OriginalKind::Row, None);
        Self { position, ordinal: 0, reason: reason.into(), kind, original }
    }

    /// The same of one of the rows that were made of the record.
    #[must_use]
    pub fn with_ordinal(self, ordinal: i64) -> Self {
        Self { ordinal, ..self }
    }

    /// The same with the bytes that the source delivered.
    #[must_use]
    pub fn with_original(self, bytes: Bytes) -> Self {
        Self { kind: OriginalKind::Bytes, original: Some(bytes), ..self }
    }
}

/// Bytes inside JSON: text where they are UTF-8, else a list of numbers.
mod original {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(value: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
        let stored = value.as_ref().map(|bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Stored::Text(text.to_owned()),
            Err(_) => Stored::Bytes(bytes.to_vec()),
        });
        stored.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
        let stored = Option::<Stored>::deserialize(from)?;
        Ok(stored.map(|stored| match stored {
            Stored::Text(text) => Bytes::from(text),
            Stored::Bytes(bytes) => Bytes::from(bytes),
        }))
    }
}
