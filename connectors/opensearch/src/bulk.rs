//! One bulk request: rows on their way, and what the cluster says of each.
//!
//! Every row must be answered for itself: one that is not is sent again, as is one that the cluster
//! cannot take now, after a while, up to a limit. A row is delivered once it is answered with
//! a document that was written, or with a conflict with one that may stand in its place
//! ([`version`]). What the cluster will never take, or drops, is a reject.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use contract::failpoint::reach;
use contract::sink::{SinkReject, Stage};
use contract::source::Reject;
use contract::{Error, Result, SplitId};
use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::verdict::{Item, Verdict};
use crate::version::{self, Settled};

/// So often a bulk is sent before the runtime backs off.
const ATTEMPTS_MAX: u32 = 8;
/// The wait before the second attempt; it doubles with each. Tests do not wait so long.
const WAIT_MIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest reason of a reject, in characters.
const REASON_CHARS_MAX: usize = 500;
/// So often a bulk is sent whose answer got lost.
const CUTS_MAX: u32 = 3;
/// Only what is looked at is answered.
const PATH: &str = "/_bulk?filter_path=items.*._index,items.*._id,items.*.status,items.*.error,\
                    items.*.result";

/// Why a row is a reject that the cluster answered with success, and left out.
const DROPPED: &str = "an ingest pipeline of the cluster dropped the row";

/// A row as a document.
#[derive(Debug)]
pub struct Document {
    /// Where the row came from.
    pub split: SplitId,
    /// The number of its record.
    pub position: i64,
    /// Its number among the rows of that record.
    pub ordinal: i64,
    /// Its `_id`.
    pub id: String,
    /// Its version.
    pub version: i64,
    /// What is known of the rows of its epoch.
    pub stage: Stage,
    /// Whether others may have the same `_id`; else only this very record has it.
    pub named: bool,
    /// Whether the document says where its row came from.
    pub with_origin: bool,
    /// The action and the document, a line each.
    pub lines: Vec<u8>,
    /// Rows of the same name before it, in whose place it is sent; the latest last.
    pub earlier: Vec<Document>,
}

impl Document {
    /// The row that is sent where this one is refused.
    fn before(mut self) -> Option<Self> {
        let mut before = self.earlier.pop()?;
        before.earlier = self.earlier;
        Some(before)
    }

    /// The document as JSON, without the action before it.
    pub fn source(&self) -> &[u8] {
        let end = self.lines.iter().position(|byte| *byte == b'\n');
        end.map_or(&[], |end| &self.lines[end + 1..])
    }

    /// The row as one that the cluster will never take.
    pub fn reject(&self, reason: &str) -> SinkReject {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let reject = Reject::new(self.position, reason).with_ordinal(self.ordinal);
        SinkReject { split: self.split.clone(), reject }
    }
}

/// What came of documents.
#[derive(Debug, Default)]
pub struct Done {
    /// Those that the cluster will never take.
    pub rejects: Vec<SinkReject>,
    /// How many stand in which index. An alias is named by the index that it stands for.
    pub indices: BTreeMap<String, u64>,
    /// Those to be sent in the place of refused ones.
    next: Vec<Document>,
}

impl Done {
    fn refuse(&mut self, document: Document, reason: &str) {
        self.rejects.push(document.reject(reason));
        self.next.extend(document.before());
    }

    fn stands_in(&mut self, index: String) {
        *self.indices.entry(index).or_default() += 1;
    }
}

/// Documents that are sent together.
#[derive(Debug, Default)]
pub struct Bulk {
    documents: Vec<Document>,
    bytes: usize,
    /// Where a document stands, by its name: of two the later one counts.
    named: HashMap<String, usize>,
}

impl Bulk {
    /// Adds a document whose name no other row has.
    fn push(&mut self, document: Document) {
        self.bytes += document.lines.len();
        self.documents.push(document);
    }

    /// Adds a document; one that others may be called as takes the place of an earlier one, which
    /// is kept for the case that it is refused.
    pub fn put(&mut self, index: &str, mut document: Document) {
        if !document.named {
            return self.push(document);
        }
        match self.named.entry(format!("{index}/{}", document.id)) {
            Entry::Occupied(known) => {
                let known = &mut self.documents[*known.get()];
                self.bytes += document.lines.len();
                document.earlier = std::mem::take(&mut known.earlier);
                let before = std::mem::replace(known, document);
                known.earlier.push(before);
            }
            Entry::Vacant(free) => {
                free.insert(self.documents.len());
                self.push(document);
            }
        }
    }

    /// Bytes that it holds: those that it will send, and those that may be sent instead.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Sends everything and says what came of it.
    ///
    /// # Errors
    /// External: the cluster refuses the call as a whole; retryable where it does not answer, or
    /// stays too busy.
    pub async fn deliver(self, client: &Client) -> Result<Done> {
        let mut done = Done::default();
        let mut waiting = vec![self.documents];
        let (mut attempt, mut cuts) = (0, 0);
        while let Some(documents) = waiting.pop() {
            if documents.is_empty() {
                continue;
            }
            let sent = send(client, documents, &mut done).await?;
            waiting.push(std::mem::take(&mut done.next));
            match sent {
                Sent::All => (attempt, cuts) = (0, 0),
                Sent::TooLarge(mut documents) => {
                    let half = documents.split_off(documents.len() / 2);
                    waiting.extend([half, documents]);
                }
                Sent::Cut(documents, error) => {
                    cuts += 1;
                    if cuts == CUTS_MAX {
                        return Err(error);
                    }
                    // If it stays so, whoever begins the epoch anew says it.
                    tracing::debug!(attempt = cuts, why = error.chain(), "rows are sent again");
                    waiting.push(documents);
                    wait(cuts).await;
                }
                Sent::Again(documents, why) => {
                    attempt += 1;
                    if attempt == ATTEMPTS_MAX {
                        return Err(why.error(client, documents.len()));
                    }
                    tracing::warn!(attempt, why = why.reason, "rows are sent again");
                    waiting.push(documents);
                    wait(attempt).await;
                }
            }
        }
        Ok(done)
    }
}

/// Why rows have to be sent again.
#[derive(Debug, Default)]
struct Why {
    reason: String,
    hint: Option<&'static str>,
}

impl Why {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), hint: None }
    }

    fn error(self, client: &Client, rows: usize) -> Error {
        let address = client.shown();
        let error = Error::transient(format!(
            "{address:?} did not take {rows} rows in {ATTEMPTS_MAX} attempts: {}",
            self.reason
        ));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What came of a request.
enum Sent {
    /// Every document was answered for good.
    All,
    /// These have to be sent again, because of this.
    Again(Vec<Document>, Why),
    /// No answer came; nobody knows what the cluster took.
    Cut(Vec<Document>, Error),
    /// The request was too large as a whole.
    TooLarge(Vec<Document>),
}

async fn send(client: &Client, documents: Vec<Document>, done: &mut Done) -> Result<Sent> {
    let mut body = Vec::with_capacity(documents.iter().map(|it| it.lines.len()).sum());
    documents.iter().for_each(|it| body.extend_from_slice(&it.lines));
    reach("opensearch.bulk.before").await?;
    let answer = match client.call_lines(PATH, Bytes::from(body)).await {
        Ok(answer) => answer,
        // The same rows again change nothing.
        Err(error) if error.retry() => return Ok(Sent::Cut(documents, error)),
        Err(error) => return Err(error),
    };
    reach("opensearch.bulk.after").await?;
    match answer.status {
        200..=299 => sort_out(client, &answer, documents, done).await,
        413 if documents.len() == 1 => {
            for document in documents {
                let bytes = document.lines.len();
                let reason =
                    format!("a document of {bytes} bytes is larger than the cluster takes");
                done.refuse(document, &reason);
            }
            Ok(Sent::All)
        }
        413 => Ok(Sent::TooLarge(documents)),
        429 | 502..=504 => {
            Ok(Sent::Again(documents, Why::new(format!("status {}", answer.status))))
        }
        // The whole cluster is blocked.
        403 if is_blocked(&answer) => {
            let why = "cluster_block_exception: the cluster is read-only";
            Ok(Sent::Again(documents, Why::new(why)))
        }
        _ => Err(answer.error(format!("{:?} refused a bulk of rows", client.shown()))),
    }
}

fn is_blocked(answer: &Answer) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["error"]["type"] == "cluster_block_exception"
}

/// What the cluster answers a bulk: one item for each row, in the order of the rows.
#[derive(Deserialize)]
struct BulkAnswer {
    #[serde(default)]
    items: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    index: Item,
}

/// The items of an answer, one for each document; else what is wrong with it.
fn items(answer: &Answer, documents: &[Document]) -> std::result::Result<Vec<Item>, String> {
    let bulk: BulkAnswer = serde_json::from_slice(&answer.body)
        .map_err(|error| format!("the cluster gave a strange answer: {error}"))?;
    let (rows, found) = (documents.len(), bulk.items.len());
    if rows != found {
        return Err(format!("the cluster answered {found} of {rows} rows"));
    }
    let items = bulk.items.into_iter().map(|action| action.index);
    let items: Vec<_> = items.collect();
    match documents.iter().zip(&items).find(|(document, item)| document.id != item.id) {
        Some((document, item)) => {
            Err(format!("the cluster answered row {:?} for row {:?}", item.id, document.id))
        }
        None => Ok(items),
    }
}

/// Sorts the documents of an answered bulk by what the cluster says of each.
async fn sort_out(
    client: &Client,
    answer: &Answer,
    documents: Vec<Document>,
    done: &mut Done,
) -> Result<Sent> {
    let items = match items(answer, &documents) {
        Ok(items) => items,
        Err(wrong) => return Ok(Sent::Again(documents, Why::new(wrong))),
    };
    let (mut again, mut why, mut conflicts) = (Vec::new(), Why::default(), Vec::new());
    for (document, item) in documents.into_iter().zip(items) {
        match item.verdict() {
            Verdict::Delivered => done.stands_in(item.index),
            Verdict::Conflict => conflicts.push((document, item.index)),
            Verdict::Dropped => done.refuse(document, DROPPED),
            Verdict::Never => done.refuse(document, &item.reason()),
            Verdict::Again => {
                why = Why { reason: item.reason(), hint: item.hint() };
                again.push(document);
            }
            Verdict::Stop => {
                let message = format!("{:?} refused a row: {}", client.shown(), item.reason());
                return Err(Error::external(message)
                    .hint("check what the login is allowed, and that indices may be made"));
            }
        }
    }
    if !conflicts.is_empty() {
        for ((document, index), settled) in settled(client, conflicts).await? {
            match settled {
                Settled::Delivered => done.stands_in(index),
                Settled::Foreign(reason) => done.refuse(document, &reason),
                Settled::Again => {
                    why = Why::new("a document was deleted while a row gave way to it");
                    again.push(document);
                }
            }
        }
    }
    Ok(if again.is_empty() { Sent::All } else { Sent::Again(again, why) })
}

type Conflicts = Vec<(Document, String)>;

async fn settled(
    client: &Client,
    conflicts: Conflicts,
) -> Result<impl Iterator<Item = ((Document, String), Settled)>> {
    let settled = version::settle(client, &conflicts).await?;
    Ok(conflicts.into_iter().zip(settled))
}

async fn wait(attempt: u32) {
    let longest = WAIT_MAX.min(WAIT_MIN * 2_u32.pow(attempt - 1));
    tokio::time::sleep(longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_rows_of_one_name_the_later_one_is_sent() {
        let document = |id: &str, position: i64, lines: &str| Document {
            split: SplitId::new("a"),
            position,
            ordinal: 0,
            id: id.to_owned(),
            version: 1,
            stage: Stage::Undecided,
            named: true,
            with_origin: true,
            lines: lines.as_bytes().to_vec(),
            earlier: Vec::new(),
        };
        let mut bulk = Bulk::default();
        bulk.put("logs", document("x", 1, "one"));
        bulk.put("logs", document("y", 2, "two"));
        bulk.put("logs", document("x", 3, "three"));
        let lines: Vec<_> = bulk.documents.iter().map(|it| it.lines.as_slice()).collect();
        assert_eq!(lines, [b"three".as_slice(), b"two"]);
        assert_eq!(bulk.bytes(), 11);
        let mut done = Done::default();
        for document in bulk.documents {
            done.refuse(document, "no number");
        }
        assert_eq!(done.rejects.len(), 2);
        let next: Vec<_> = done.next.iter().map(|it| it.lines.as_slice()).collect();
        assert_eq!(next, [b"one".as_slice()]);
    }
}
