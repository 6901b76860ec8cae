//! One bulk request: rows on their way, and what the cluster says of each.
//!
//! A row is delivered once it is answered with success, or with a conflict, which says that a later
//! epoch has overwritten it. What the cluster will never take is a reject; what it is too busy for
//! is sent again, after a while, up to a limit.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use contract::failpoint::reach;
use contract::sink::SinkReject;
use contract::source::{OriginalKind, Reject};
use contract::{Error, Result, SplitId};
use serde::Deserialize;
use serde_json::Value;

use crate::client::{Answer, Client};

/// So often a bulk is sent before the runtime backs off.
const ATTEMPTS_MAX: u32 = 8;
/// The wait before the second attempt; it doubles with each. Tests do not wait so long.
const WAIT_MIN: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 100 });
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest reason of a reject, in characters.
const REASON_CHARS_MAX: usize = 500;
/// Only what is looked at is answered.
const PATH: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error";

/// A row as a document.
#[derive(Debug)]
pub struct Document {
    /// Where the row came from.
    pub split: SplitId,
    /// The number of its record.
    pub position: i64,
    /// Its number among the rows of that record.
    pub ordinal: i64,
    /// The action and the document, a line each.
    pub lines: Vec<u8>,
}

impl Document {
    /// The row as one that the cluster will never take.
    pub fn reject(&self, reason: &str) -> SinkReject {
        let reject = Reject {
            position: self.position,
            ordinal: self.ordinal,
            reason: reason.chars().take(REASON_CHARS_MAX).collect(),
            kind: OriginalKind::Row,
            original: None,
        };
        SinkReject { split: self.split.clone(), reject }
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
    pub fn push(&mut self, document: Document) {
        self.bytes += document.lines.len();
        self.documents.push(document);
    }

    /// Adds a document that takes the place of an earlier one of the same name.
    pub fn put(&mut self, name: String, document: Document) {
        match self.named.get(&name) {
            Some(at) => {
                self.bytes += document.lines.len();
                self.bytes -= self.documents[*at].lines.len();
                self.documents[*at] = document;
            }
            None => {
                self.named.insert(name, self.documents.len());
                self.push(document);
            }
        }
    }

    /// Bytes that it will send.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Sends everything and returns what the cluster will never take.
    ///
    /// # Errors
    /// External: the cluster refuses the call as a whole; retryable where it does not answer, or
    /// stays too busy.
    pub async fn deliver(self, client: &Client) -> Result<Vec<SinkReject>> {
        let mut rejects = Vec::new();
        let mut waiting = vec![self.documents];
        let mut attempt = 0;
        while let Some(documents) = waiting.pop() {
            if documents.is_empty() {
                continue;
            }
            match send(client, documents, &mut rejects).await? {
                Sent::All => attempt = 0,
                Sent::TooLarge(mut documents) => {
                    let half = documents.split_off(documents.len() / 2);
                    waiting.extend([half, documents]);
                }
                Sent::Busy(documents, why) => {
                    attempt += 1;
                    if attempt == ATTEMPTS_MAX {
                        let rows = documents.len();
                        let address = client.shown();
                        return Err(Error::transient(format!(
                            "{address:?} did not take {rows} rows in {ATTEMPTS_MAX} attempts: {why}"
                        )));
                    }
                    tracing::warn!(attempt, why, "the cluster is busy; rows are sent again");
                    waiting.push(documents);
                    wait(attempt).await;
                }
            }
        }
        Ok(rejects)
    }
}

/// What came of a request.
enum Sent {
    /// Every document was answered for good.
    All,
    /// These have to be sent again, because of this.
    Busy(Vec<Document>, String),
    /// The request was too large as a whole.
    TooLarge(Vec<Document>),
}

async fn send(
    client: &Client,
    documents: Vec<Document>,
    rejects: &mut Vec<SinkReject>,
) -> Result<Sent> {
    let body: Vec<u8> = documents.iter().flat_map(|it| it.lines.iter().copied()).collect();
    reach("opensearch.bulk.before").await?;
    let answer = client.call_lines(PATH, Bytes::from(body)).await?;
    reach("opensearch.bulk.after").await?;
    match answer.status {
        200..=299 => sort_out(client, &answer, documents, rejects),
        413 if documents.len() == 1 => {
            let bytes = documents[0].lines.len();
            let reason = format!("a document of {bytes} bytes is larger than the cluster takes");
            rejects.push(documents[0].reject(&reason));
            Ok(Sent::All)
        }
        413 => Ok(Sent::TooLarge(documents)),
        429 | 502..=504 => Ok(Sent::Busy(documents, format!("status {}", answer.status))),
        _ => Err(answer.error(format!("{:?} refused a bulk of rows", client.shown()))),
    }
}

/// What the cluster answers a bulk.
#[derive(Deserialize)]
struct BulkAnswer {
    errors: bool,
    #[serde(default)]
    items: Vec<HashMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Option<Value>,
}

/// What an item's answer means for its row.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Delivered,
    Again,
    Never,
    /// Nothing in the row is wrong, and nothing will change by itself.
    Stop,
}

/// Sorts the documents of an answered bulk by what the cluster says of each.
fn sort_out(
    client: &Client,
    answer: &Answer,
    documents: Vec<Document>,
    rejects: &mut Vec<SinkReject>,
) -> Result<Sent> {
    let broken = || Error::transient(format!("{:?} gave a strange answer", client.shown()));
    let bulk: BulkAnswer =
        serde_json::from_slice(&answer.body).map_err(|error| broken().because(error))?;
    if !bulk.errors {
        return Ok(Sent::All);
    }
    if bulk.items.len() != documents.len() {
        return Err(broken());
    }
    let (mut again, mut why) = (Vec::new(), String::new());
    for (document, item) in documents.into_iter().zip(&bulk.items) {
        let Some(item) = item.values().next() else { return Err(broken()) };
        let reason = reason(item);
        match verdict(item) {
            Verdict::Delivered => {}
            Verdict::Never => rejects.push(document.reject(&reason)),
            Verdict::Again => {
                again.push(document);
                why = reason;
            }
            Verdict::Stop => {
                let message = format!("{:?} refused a row: {reason}", client.shown());
                return Err(Error::external(message)
                    .hint("check what the login is allowed, and that indices may be made"));
            }
        }
    }
    Ok(if again.is_empty() { Sent::All } else { Sent::Busy(again, why) })
}

fn verdict(item: &Item) -> Verdict {
    let error_type = item.error.as_ref().and_then(|error| error["type"].as_str()).unwrap_or("");
    match item.status {
        200..=299 | 409 => Verdict::Delivered,
        // A full disk makes indices read-only until there is room again.
        408 | 429 | 500.. => Verdict::Again,
        403 if error_type == "cluster_block_exception" => Verdict::Again,
        400 | 413 => Verdict::Never,
        _ => Verdict::Stop,
    }
}

/// Why the cluster refuses a row, with the innermost cause.
fn reason(item: &Item) -> String {
    let Some(error) = &item.error else { return format!("status {}", item.status) };
    let text = |error: &Value| {
        let part = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", part("type"), part("reason"))
    };
    let mut reason = text(error);
    let mut cause = &error["caused_by"];
    while cause.is_object() {
        if !cause["caused_by"].is_object() {
            reason = format!("{reason}: {}", text(cause));
        }
        cause = &cause["caused_by"];
    }
    reason
}

async fn wait(attempt: u32) {
    let longest = WAIT_MAX.min(WAIT_MIN * 2_u32.pow(attempt - 1));
    tokio::time::sleep(longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, error: &str, expect: Verdict) {
        let error = (!error.is_empty()).then(|| serde_json::json!({ "type": error }));
        assert_eq!(verdict(&Item { status, error }), expect, "{status}");
    }

    #[test]
    fn only_the_row_itself_makes_a_dead_letter() {
        check(201, "", Verdict::Delivered);
        check(409, "version_conflict_engine_exception", Verdict::Delivered);
        check(400, "mapper_parsing_exception", Verdict::Never);
        check(429, "es_rejected_execution_exception", Verdict::Again);
        check(503, "unavailable_shards_exception", Verdict::Again);
        check(403, "cluster_block_exception", Verdict::Again);
        check(403, "security_exception", Verdict::Stop);
        check(404, "index_not_found_exception", Verdict::Stop);
    }

    #[test]
    fn a_reason_names_the_innermost_cause() {
        let error = serde_json::json!({
            "type": "mapper_parsing_exception", "reason": "failed to parse field [status]",
            "caused_by": { "type": "illegal", "reason": "x", "caused_by": {
                "type": "number_format_exception", "reason": "For input string: \"abc\"" } },
        });
        assert_eq!(
            reason(&Item { status: 400, error: Some(error) }),
            "mapper_parsing_exception: failed to parse field [status]: number_format_exception: \
             For input string: \"abc\""
        );
    }

    #[test]
    fn of_two_rows_of_one_name_the_later_one_is_sent() {
        let document = |position: i64, lines: &str| Document {
            split: SplitId::new("a"),
            position,
            ordinal: 0,
            lines: lines.as_bytes().to_vec(),
        };
        let mut bulk = Bulk::default();
        bulk.put("x".to_owned(), document(1, "one"));
        bulk.put("y".to_owned(), document(2, "two"));
        bulk.put("x".to_owned(), document(3, "three"));
        let lines: Vec<_> = bulk.documents.iter().map(|it| it.lines.as_slice()).collect();
        assert_eq!(lines, [b"three".as_slice(), b"two"]);
        assert_eq!(bulk.bytes(), 8);
    }
}
