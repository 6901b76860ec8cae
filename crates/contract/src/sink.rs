//! The contract of a sink: prepare, then commit what was decided, any number of times.
//!
//! The runtime decides by creating the checkpoint between [`Writer::prepare`] and
//! [`Writer::commit`]. A sink never decides, and a commit that is repeated changes nothing.

use std::collections::BTreeMap;
use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::source::Reject;
use crate::transform::EpochStart;
use crate::{Error, Lineage, Origin, Result};

/// How a sink makes an epoch visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// Rows and token in one open transaction; after a crash the recorded cuts are replayed.
    Transaction,
    /// Data is durable under names that nobody reads; the committable publishes it.
    Staged,
    /// Rows may be seen early; sending them again changes nothing.
    Idempotent,
    /// Rows are gone once flushed; never replayed. At least once.
    None,
}

/// What `audit` can prove about a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Every row carries its origin.
    Origin,
    /// Rows can be counted.
    Count,
    /// Nothing can be read back.
    None,
}

/// What a destination promises, as `check` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// How an epoch becomes visible.
    pub kind: SinkKind,
    /// Whether the sink stores which epoch it holds.
    pub token: bool,
    /// What `audit` can prove.
    pub proof: Proof,
    /// One sentence for people: `exactly once`, or what is weaker and why.
    pub sentence: &'static str,
    /// Whether the rows that it is given carry their origin, as all do but where it has no use.
    #[serde(skip)]
    pub with_origin: bool,
}

/// The mark in a sink that says which epoch it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The newest epoch that the sink holds of this lineage.
    pub epoch: u64,
    /// The random number of checkpoint 0; another one belongs to another history.
    pub incarnation: u32,
}

/// What a sink answers when it is asked for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The sink keeps no tokens.
    Untold,
    /// The sink keeps tokens and has none of this lineage.
    Nothing,
    /// The sink holds this epoch.
    Token(Token),
}

/// Who writes, and with which means.
#[derive(Clone, Debug)]
pub struct WriterContext {
    /// The pipeline's name.
    pub pipeline: String,
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// The random number of checkpoint 0.
    pub incarnation: u32,
    /// Random per attempt, to make names unique.
    pub writer_id: String,
    /// The columns of every batch, as [`crate::record::sink_schema`] makes them.
    pub schema: SchemaRef,
    /// Bytes that the writer may hold of its own: rows that it gathers, files that it encodes.
    pub memory_bytes: usize,
    /// Bytes that may be on their way: queues of its client library, requests, parts of uploads.
    pub client_bytes: usize,
    /// Threads that it may keep busy.
    pub threads: usize,
}

/// What is known of the rows of an epoch when a writer gets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nobody took them yet, or nobody knows.
    #[default]
    Undecided,
    /// The epoch is decided: the sink took each of them before, and gets them again.
    Decided,
}

/// Bytes that a writer holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Its own: bounded by [`WriterContext::memory_bytes`].
    pub own: usize,
    /// On their way: bounded by [`WriterContext::client_bytes`].
    pub clients: usize,
    /// Rows of its own that were refused: those of all writers together are bounded by
    /// [`Rejects::BYTES_MAX`].
    pub refused: usize,
}

/// Which of all the tables, topics, indexes or buckets that ever had one name rows went into. Who
/// deletes one and makes it anew gives the new one another number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The name, as the other system calls it.
    pub place: String,
    /// What tells it from another one of that name: the number that its system gave it.
    pub id: String,
    /// Rows of the epoch that went into it.
    pub rows: u64,
}

/// What is ready once everything of an epoch is flushed and answered.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Rows that the destination accepted.
    pub rows: u64,
    /// Rows that it will never accept; they become dead letters of this sink.
    pub rejects: Vec<SinkReject>,
    /// What a staged sink needs to publish the epoch later, in whatever process.
    pub committable: Option<serde_json::Value>,
    /// What stood under the names that rows of the epoch went to, as far as the system tells. All
    /// of them went into these very ones: where a name changed hands in the middle of the epoch,
    /// [`Writer::prepare`] fails, so that its rows are sent again.
    pub identities: Vec<Identity>,
}

/// A row that a destination refuses for good.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SinkReject {
    /// The split of the row.
    pub split: crate::SplitId,
    /// The row and the reason.
    #[serde(flatten)]
    pub reject: Reject,
}

/// Rows that a writer's destination refused in the epoch under way. They stay in memory, with what
/// is made of them, until it is decided.
#[derive(Debug, Default)]
pub struct Rejects {
    rows: Vec<SinkReject>,
    bytes: usize,
}

impl Rejects {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of refused rows, of all lineages of a pipeline, from which on the epoch is to end.
    pub const BYTES_MAX: usize = 2 << 20;
    /// What a row takes beside its reason and its original.
    const ROW_BYTES: usize = 128;

    /// Adds a row.
    pub fn push(&mut self, row: SinkReject) {
        let original = row.reject.original.as_ref().map_or(0, bytes::Bytes::len);
        self.bytes += Self::ROW_BYTES + row.reject.reason.len() + original;
        self.rows.push(row);
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there is room for more, as [`Writer::write`] says it.
    pub fn room(&self) -> Room {
        if self.bytes < Self::BYTES_MAX { Room::Left } else { Room::Full }
    }

    /// Takes them, for [`Prepared::rejects`].
    pub fn take(&mut self) -> Vec<SinkReject> {
        self.bytes = 0;
        std::mem::take(&mut self.rows)
    }
}

impl Extend<SinkReject> for Rejects {
    fn extend<T: IntoIterator<Item = SinkReject>>(&mut self, rows: T) {
        rows.into_iter().for_each(|row| self.push(row));
    }
}

/// Whether a writer can hold more in the epoch under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// It can.
    #[default]
    Left,
    /// The epoch is to end: what is read from now on goes into the next one. Rows that are under
    /// way already still come, and so do all rows of an epoch that is sent again; they are taken.
    Full,
}

/// An epoch that was decided and is to be made visible.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose epoch it is.
    pub lineage: Lineage,
    /// Which epoch.
    pub epoch: u64,
    /// The epoch that the sink must hold before; none if it held nothing.
    pub prev: Option<u64>,
    /// What [`Writer::prepare`] returned, as the checkpoint recorded it.
    pub committable: Option<serde_json::Value>,
}

/// What came of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The sink holds the epoch now, or held it before.
    Committed,
    /// What was prepared is gone, at least in part: send the recorded cuts again. Nothing of it is
    /// visible, or what is becomes what the commit of that replay makes of it.
    NeedsReplay,
    /// Somebody else writes under this name with a newer epoch.
    NotOwner,
}

/// What to read back from a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// The columns `_split, _position, _epoch` (and `_ordinal`) of every row.
    Origins,
    /// All columns of the rows of one record.
    Record(Origin),
}

/// A part of a name that rows choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// Any text, which a column or a time makes.
    Any,
}

/// All names that rows of a sink can choose among: what is read back as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What the names stand in: a schema of a server, a cluster.
    pub within: String,
    /// What they are made of.
    pub pieces: Vec<Piece>,
}

impl Choice {
    /// Whether both can make one name.
    pub fn meets(&self, other: &Self) -> bool {
        let letters = |choice: &Self| -> Vec<Option<char>> {
            let pieces = choice.pieces.iter();
            let letters = pieces.map(|piece| match piece {
                Piece::Text(text) => text.chars().map(Some).collect(),
                Piece::Any => vec![None],
            });
            letters.collect::<Vec<_>>().concat()
        };
        let (one, two) = (letters(self), letters(other));
        // Behind each place of `one`, whether the rests of both can be one text; place by place of
        // `two`, from its end.
        let any =
            |letters: &[Option<char>], from: usize| letters[from..].iter().all(Option::is_none);
        let mut behind: Vec<bool> = (0..=one.len()).map(|from| any(&one, from)).collect();
        for at in (0..two.len()).rev() {
            let mut here = vec![any(&two, at); one.len() + 1];
            for from in (0..one.len()).rev() {
                here[from] = match (one[from], two[at]) {
                    (Some(letter), Some(other)) => letter == other && behind[from + 1],
                    _ => here[from + 1] || behind[from],
                };
            }
            behind = here;
        }
        self.within == other.within && behind[0]
    }
}

/// Batches read back from a sink.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// A connector's writing side, made from its settings.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What it promises under these settings. No I/O.
    fn promise(&self) -> Promise;

    /// Where rows of these columns go; none where several sinks may write to one place. Called
    /// before anything opens; a pipeline may name each destination once, because an origin that
    /// stands twice in one place is a doubled record. No I/O: `check` calls it.
    ///
    /// # Errors
    /// Config: the settings do not suit the columns.
    fn destination(&self, _columns: &SchemaRef) -> Result<Option<String>> {
        Ok(None)
    }

    /// The names among which rows choose where they go; none where they have no choice. Called with
    /// [`Sink::destination`]: no two sinks of a pipeline may have a name in common. No I/O.
    fn choice(&self) -> Option<Choice> {
        None
    }

    /// Shuts out every earlier writer of the lineage and reads the token. Called once after the
    /// lease is held, before [`Sink::open`]'s writer gets rows, and again when the outcome of a
    /// commit is unknown. `ctx.incarnation` says what our own tokens look like.
    ///
    /// # Errors
    /// Retryable External backs off; anything else stops the run.
    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held>;

    /// Makes a writer; creates the destination (table, bucket) where the settings say so.
    ///
    /// # Errors
    /// Config: the destination has another shape. Retryable External backs off.
    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>>;

    /// Reads back what the sink really holds, never tokens or statistics. For `audit`, `where`.
    ///
    /// # Errors
    /// Config: the sink cannot be read. External: it does not answer.
    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream>;

    /// What stands now under the names that it writes to, as [`Identity::place`] and
    /// [`Identity::id`]; nothing where its system does not tell. For `audit`, and for a start.
    ///
    /// # Errors
    /// As for [`Sink::read_back`].
    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
}

/// The lineage of a writer that serves one alone, as one with an open transaction does.
#[derive(Debug, Default)]
pub struct OneLineage(Option<Lineage>);

impl OneLineage {
    /// Takes the lineage that comes first.
    ///
    /// # Errors
    /// Bug: another one comes, whose rows would be committed or dropped with those of the first.
    pub fn take(&mut self, lineage: &Lineage) -> Result<()> {
        let known = self.0.get_or_insert_with(|| lineage.clone());
        match known == lineage {
            true => Ok(()),
            false => {
                let what = format!("lineage {lineage} came to the writer of lineage {known}");
                Err(Error::bug(what))
            }
        }
    }
}

/// Writes the epochs of lineages into one destination. Each lineage is given a writer of its own;
/// one that could not keep several apart refuses all but the first ([`OneLineage`]).
#[async_trait]
pub trait Writer: Send {
    /// Called before the first rows of every epoch. An epoch that is sent again after it was
    /// decided has the moment that its checkpoint recorded; one that was not decided has a later
    /// one than every attempt before it.
    fn start_epoch(&mut self, _epoch: EpochStart, _stage: Stage) {}

    /// Takes rows of one split. May buffer up to the context's memory, may wait.
    ///
    /// # Errors
    /// Retryable External: the attempt is dropped and repeated. A row that the destination will
    /// never accept is no error: it is a reject of [`Writer::prepare`].
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room>;

    /// Flushes and waits for every answer. After it returns, everything staged is durable.
    /// Called once per epoch in which the sink got rows; no `write` comes before the decision.
    ///
    /// # Errors
    /// As for [`Writer::write`].
    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared>;

    /// Makes a decided epoch visible: the same call when all goes well and in recovery, where the
    /// writer is new and has prepared nothing. Changes nothing the second time.
    ///
    /// # Errors
    /// The outcome is unknown: the runtime fences, reads the token and decides.
    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome>;

    /// Drops all that is undecided. The writer can be used again afterwards.
    ///
    /// # Errors
    /// Logged; what is left behind is garbage that nobody reads.
    async fn abort(&mut self, lineage: &Lineage) -> Result<()>;

    /// What it holds in memory. Asked after each call of the others; no I/O. Whoever holds more of
    /// its own than its context allows has the epoch ended, as if it had said that it is full.
    fn footprint(&self) -> Footprint {
        Footprint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(one: &str, two: &str, expect: bool) {
        let choice = |text: &str| {
            let mut pieces = Vec::new();
            for (number, text) in text.split('*').enumerate() {
                if number > 0 {
                    pieces.push(Piece::Any);
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(text.to_owned()));
                }
            }
            Choice { within: "db".into(), pieces }
        };
        let (one, two) = (choice(one), choice(two));
        assert_eq!((one.meets(&two), two.meets(&one)), (expect, expect), "{one:?} {two:?}");
        let elsewhere = Choice { within: "other".into(), ..two };
        assert!(!one.meets(&elsewhere));
    }

    #[test]
    fn choices_meet_where_both_can_make_one_name() {
        check("logs_*", "logs_*", true);
        check("logs_*", "logs_x_*", true);
        check("logs_*", "*_x", true);
        check("logs_*", "logs_x", true);
        check("logs_*", "logs_", true);
        check("logs_*_a", "logs_b_*", true);
        check("*", "", true);
        check("a*b*c", "*bb*", true);
        check("logs_*", "log_*", false);
        check("logs_*_a", "logs_*_b", false);
        check("logs_*", "logs", false);
        check("a*b", "a*c", false);
        check("ab", "ab", true);
        check("ab", "abc", false);
        check("ä*", "äö", true);
    }
}
