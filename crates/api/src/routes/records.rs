//! Single records: the columns there are, the newest rows, and rows as they come.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use serde::ser::SerializeMap;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tracing::debug;
use utoipa::{IntoParams, ToSchema};

use super::inquiry::{Inquiry, Problems, ScopeParams};
use crate::analytics::cell::Row;
use crate::analytics::columns::Columns;
use crate::analytics::desk::Desk;
use crate::analytics::params::Params;
use crate::analytics::question::Scope;
use crate::problem::{Answer, Problem};
use crate::site::Site;

/// Rows of an answer where the request does not say.
const LIMIT: u64 = 100;
/// The most rows of an answer.
const LIMIT_MAX: u64 = 1000;
/// How often a stream looks for new rows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a stream says that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Rows that a stream sends at once; the older ones of more are left out.
const BURST_MAX: u64 = 500;

/// A column.
#[derive(Serialize, ToSchema)]
pub struct ColumnInfo {
    /// Its name.
    name: String,
    /// `text`, `number`, `time` or `boolean`.
    r#type: &'static str,
    /// Whether `filter` can name it.
    filterable: bool,
}

/// The newest rows.
#[derive(Serialize, ToSchema)]
pub struct Records {
    /// The names of the columns, in the table's order.
    columns: Vec<String>,
    /// The rows, the newest first.
    #[schema(value_type = Vec<std::collections::HashMap<String, serde_json::Value>>)]
    rows: Vec<Named>,
}

/// A row with the names of its values.
pub struct Named {
    names: Arc<[String]>,
    row: Row,
}

impl Serialize for Named {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.row.len()))?;
        for (name, value) in self.names.iter().zip(&self.row) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How many rows at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct RowLimitParams {
    /// How many rows at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// The columns of the table.
#[utoipa::path(
    get, path = "/analytics/columns", tag = "analytics", security(("token" = [])),
    responses((status = 200, body = Vec<ColumnInfo>), Problems)
)]
pub async fn columns(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<ColumnInfo>>> {
    let _place = site.place()?;
    Params::read(query.as_deref())?.end()?;
    let table = site.desk()?.newest().await?;
    let columns = table.columns().all.iter().map(|column| ColumnInfo {
        name: column.name.clone(),
        r#type: column.kind.word(),
        filterable: true,
    });
    Ok(Json(columns.collect()))
}

/// The newest rows.
#[utoipa::path(
    get, path = "/analytics/records", tag = "analytics", params(RowLimitParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Records), Problems)
)]
pub async fn records(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Records>> {
    let (inquiry, mut params) = Inquiry::begin(&site, query.as_deref()).await?;
    let limit = params.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    params.end()?;
    let rows = inquiry.desk.records(&inquiry.table, &inquiry.scope, limit).await?;
    let names = names(inquiry.table.columns());
    let columns = names.to_vec();
    let rows = rows.iter().map(|row| Named { names: names.clone(), row: row.clone() });
    Ok(Json(Records { columns, rows: rows.collect() }))
}

fn names(columns: &Columns) -> Arc<[String]> {
    columns.all.iter().map(|column| column.name.clone()).collect()
}

/// Rows as they are committed, from now on: server-sent events, each with one row as JSON.
#[utoipa::path(
    get, path = "/analytics/tail", tag = "analytics", params(ScopeParams),
    security(("token" = [])),
    responses((status = 200, body = String, content_type = "text/event-stream"), Problems)
)]
pub async fn tail(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Answer<Response> {
    let inquiry = Inquiry::plain(&site, query.as_deref()).await?;
    let stream = site.tails.clone().try_acquire_owned();
    let stream = stream.map_err(|_| Problem::busy("too many streams are open"))?;
    let tail = Tail {
        mark: inquiry.table.mark(),
        names: names(inquiry.table.columns()),
        desk: inquiry.desk.clone(),
        scope: inquiry.scope.clone(),
        waiting: VecDeque::from([Bytes::from_static(b": rows follow as they are committed\n\n")]),
        beat: Instant::now() + BEAT_EVERY,
        ending: site.ending(),
        _place: stream,
    };
    let events = stream::unfold(tail, |mut tail| async {
        let event = tail.next().await?;
        Some((Ok::<_, Infallible>(event), tail))
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(events)).into_response())
}

/// A stream of rows to one client.
struct Tail {
    desk: Arc<Desk>,
    scope: Scope,
    names: Arc<[String]>,
    mark: i64,
    waiting: VecDeque<Bytes>,
    beat: Instant,
    ending: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// What is to be sent next; none once the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.beat = Instant::now() + BEAT_EVERY;
                return Some(event);
            }
            if Instant::now() >= self.beat {
                self.waiting.push_back(Bytes::from_static(b": still here\n\n"));
                continue;
            }
            tokio::select! {
                _ = self.ending.wait_for(|ending| *ending) => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Err(problem) = self.look().await {
                debug!(?problem, "a stream could not look for rows");
            }
        }
    }

    /// Queues the rows that are new, the oldest first.
    async fn look(&mut self) -> Answer<()> {
        let table = self.desk.newest().await?;
        if table.mark() <= self.mark {
            return Ok(());
        }
        let rows = self.desk.after(&table, self.mark, &self.scope, BURST_MAX).await?;
        self.mark = table.mark();
        self.names = names(table.columns());
        if rows.len() as u64 == BURST_MAX {
            let left_out = b": older rows of this moment are left out\n\n";
            self.waiting.push_back(Bytes::from_static(left_out));
        }
        for row in rows.into_iter().rev() {
            let row = Named { names: self.names.clone(), row };
            let row = serde_json::to_string(&row).unwrap_or_default();
            self.waiting.push_back(Bytes::from(format!("data: {row}\n\n")));
        }
        Ok(())
    }
}
