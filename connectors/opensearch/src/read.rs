//! Reads documents back by scrolling: origins for `audit`, whole documents for `where`.
//!
//! What is ours among the documents of the indices is told by the `_id`, which others make
//! differently.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::sink::{BatchStream, ReadBack};
use contract::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tracing::warn;

use crate::client::{Client, Method};
use crate::names::{Names, origin_id};

/// Documents of one answer: origins are small, whole documents are not.
const ORIGINS_AT_ONCE: u32 = 5_000;
const DOCUMENTS_AT_ONCE: u32 = 100;
/// How long the cluster keeps a scroll that nobody asks for.
const KEPT: &str = "1m";

/// Reads back what the indices hold, with all that was written before.
///
/// # Errors
/// External: the cluster does not answer, or refuses, or the one index is closed.
pub async fn read_back(client: Client, names: Arc<Names>, what: ReadBack) -> Result<BatchStream> {
    let indices = names.index_pattern();
    let closed = closed(&client, &indices).await?;
    if closed.contains(&indices) {
        return Err(Error::external(format!(
            "index {indices:?} is closed, so nothing can be read"
        ))
        .hint(format!("open it: POST /{indices}/_open")));
    }
    if !closed.is_empty() {
        // Among those that a pattern meets there may be some of others.
        let indices = closed.join(", ");
        warn!(indices, "these indices are closed: the rows that they hold cannot be read");
    }
    let lenient = "ignore_unavailable=true&allow_no_indices=true";
    let refresh = format!("/{indices}/_refresh?{lenient}");
    let refreshed = client.call(Method::Post, &refresh, None).await?;
    refreshed.json(|| format!("could not refresh indices {indices:?}"))?;
    let search = format!("/{indices}/_search?scroll={KEPT}&{lenient}");
    let scroll = Scroll { client, names, what, next: Next::Search(search) };
    let pages = stream::try_unfold(scroll, |mut scroll| async move {
        Ok(scroll.page().await?.map(|batches| (batches, scroll)))
    });
    Ok(pages.map_ok(|batches| stream::iter(batches).map(Ok)).try_flatten().boxed())
}

#[derive(Deserialize)]
struct Resolved {
    indices: Vec<ResolvedIndex>,
}

#[derive(Deserialize)]
struct ResolvedIndex {
    name: String,
    #[serde(default)]
    attributes: Vec<String>,
}

/// The closed ones among the indices of a pattern, as far as the login may see them.
async fn closed(client: &Client, pattern: &str) -> Result<Vec<String>> {
    let path = format!("/_resolve/index/{pattern}?expand_wildcards=all&ignore_unavailable=true");
    let answer = client.call(Method::Get, &path, None).await?;
    // A cluster that does not tell is asked for documents all the same.
    let resolved = serde_json::from_slice::<Resolved>(&answer.body).ok();
    let indices = resolved.map(|resolved| resolved.indices).unwrap_or_default();
    let is_closed = |index: &ResolvedIndex| index.attributes.iter().any(|it| it == "closed");
    Ok(indices.into_iter().filter(is_closed).map(|index| index.name).collect())
}

struct Scroll {
    client: Client,
    names: Arc<Names>,
    what: ReadBack,
    next: Next,
}

enum Next {
    /// The first page, at this path.
    Search(String),
    /// A further page of this scroll.
    Page(String),
}

#[derive(Deserialize)]
struct Page<'a> {
    /// None where there is no index.
    #[serde(rename = "_scroll_id")]
    scroll: Option<String>,
    #[serde(borrow)]
    hits: Hits<'a>,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<Hit<'a>>,
}

#[derive(Deserialize)]
struct Hit<'a> {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source", borrow)]
    source: &'a RawValue,
}

/// Where a document says that it came from.
#[derive(Deserialize)]
struct Origins {
    #[serde(rename = "_split")]
    split: String,
    #[serde(rename = "_position")]
    position: i64,
    #[serde(rename = "_ordinal", default)]
    ordinal: i64,
    #[serde(rename = "_epoch")]
    epoch: i64,
}

impl Scroll {
    /// The next documents; none behind the last.
    async fn page(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        let failed = || "could not read documents back".to_owned();
        let answer = match &self.next {
            Next::Search(path) => {
                let query = self.query();
                self.client.call(Method::Post, path, Some(&query)).await?
            }
            Next::Page(scroll) => {
                let body = json!({ "scroll": KEPT, "scroll_id": scroll });
                self.client.call(Method::Post, "/_search/scroll", Some(&body)).await?
            }
        };
        if !(200..300).contains(&answer.status) {
            return Err(answer.error(failed()));
        }
        let page: Page<'_> = serde_json::from_slice(&answer.body).transient(failed)?;
        let Some(scroll) = page.scroll else { return Ok(None) };
        if page.hits.hits.is_empty() {
            let body = json!({ "scroll_id": scroll });
            // A scroll that stays open ends by itself.
            let _ = self.client.call(Method::Delete, "/_search/scroll", Some(&body)).await;
            return Ok(None);
        }
        let batches = match &self.what {
            ReadBack::Origins => vec![self.origins(&page.hits.hits)?],
            ReadBack::Record(_) => self.records(&page.hits.hits)?,
        };
        self.next = Next::Page(scroll);
        Ok(Some(batches))
    }

    fn query(&self) -> Value {
        match &self.what {
            ReadBack::Origins => json!({
                "size": ORIGINS_AT_ONCE, "sort": ["_doc"], "query": { "match_all": {} },
                "_source": [SPLIT, POSITION, ORDINAL, EPOCH],
            }),
            ReadBack::Record(origin) => json!({
                "size": DOCUMENTS_AT_ONCE, "sort": ["_doc"],
                "query": { "term": { (POSITION): { "value": origin.position } } },
            }),
        }
    }

    fn origins(&self, hits: &[Hit<'_>]) -> Result<RecordBatch> {
        // Documents without an origin are somebody else's: they are counted. So much cannot be said
        // of those that another sink wrote.
        let is_told = |hit: &Hit<'_>| serde_json::from_str::<Origins>(hit.source.get()).is_ok();
        let rows: Vec<Option<Origins>> = hits
            .iter()
            .filter_map(|hit| match self.ours(hit) {
                Some(row) => Some(Some(row)),
                None => (!is_told(hit)).then_some(None),
            })
            .collect();
        let number = |of: fn(&Origins) -> i64| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row.as_ref().map(of)).collect::<Int64Array>())
        };
        let split = |row: &Option<Origins>| row.as_ref().map(|row| row.split.clone());
        let splits: StringArray = rows.iter().map(split).collect();
        RecordBatch::try_from_iter_with_nullable([
            (SPLIT, Arc::new(splits) as ArrayRef, true),
            (POSITION, number(|row| row.position), true),
            (ORDINAL, number(|row| row.ordinal), true),
            (EPOCH, number(|row| row.epoch), true),
        ])
        .bug("could not make a batch of origins")
    }

    /// The origin of a document, if it is one of ours.
    fn ours(&self, hit: &Hit<'_>) -> Option<Origins> {
        let row: Origins = serde_json::from_str(hit.source.get()).ok()?;
        let split_id = self.names.split_id(&row.split);
        let made = origin_id(&split_id, row.position, row.ordinal);
        // A template of ids tells nothing of the origin.
        (self.names.id_template().is_some() || made == hit.id).then_some(row)
    }

    fn records(&self, hits: &[Hit<'_>]) -> Result<Vec<RecordBatch>> {
        let ReadBack::Record(origin) = &self.what else { return Ok(Vec::new()) };
        let wanted = hits
            .iter()
            .filter(|hit| self.ours(hit).is_some_and(|row| row.split == origin.split.as_str()));
        let documents: Vec<&str> = wanted.map(|hit| hit.source.get()).collect();
        match documents.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(vec![formats::documents::rows(&documents)?]),
        }
    }
}
