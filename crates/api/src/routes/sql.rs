//! `POST /query`: SQL over the tables of the lake, in a process of its own.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body;
use super::inquiry::Problems;
use crate::problem::{Answer, Problem, ProblemBody};
use crate::site::Site;
use crate::worker::{self, Ask, Table};

/// Rows of an answer where the request does not say.
const LIMIT: usize = 1000;
/// The most rows of an answer.
const LIMIT_MAX: usize = 10_000;

/// A query.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryBody {
    /// A SELECT over the tables of the lake, and over `ledger`, `dead_letters` and `late`.
    #[schema(example = "SELECT sink, sum(delivered) FROM ledger GROUP BY sink")]
    sql: String,
    /// Rows at most.
    #[serde(default = "limit_default")]
    #[schema(minimum = 1, maximum = 10000, default = 1000)]
    limit: usize,
}

fn limit_default() -> usize {
    LIMIT
}

/// Runs a SELECT over the tables of the lake.
#[utoipa::path(
    post, path = "/query", tag = "query", security(("token" = [])), request_body = QueryBody,
    responses(
        (status = 200, body = Table),
        (status = 413, body = ProblemBody, content_type = "application/problem+json",
         description = "The body is too large."),
        (status = 415, body = ProblemBody, content_type = "application/problem+json",
         description = "The body is no JSON."),
        Problems,
    )
)]
pub async fn query(State(site): State<Arc<Site>>, request: Request) -> Answer<Json<Table>> {
    let _place = site.place()?;
    let limits = &site.options.limits;
    let body: QueryBody = body::json(request, limits.body_bytes_max).await?;
    if !(1..=LIMIT_MAX).contains(&body.limit) {
        return Err(Problem::bad_request(format!(
            "\"limit\" is a whole number from 1 to {LIMIT_MAX}"
        )));
    }
    if body.sql.trim().is_empty() {
        return Err(Problem::bad_request("\"sql\" is empty"));
    }
    let worker = site.workers.acquire().await;
    let _worker = worker.map_err(|_| Problem::busy("the server is ending"))?;
    let ask = Ask {
        data: site.options.data.clone(),
        sql: body.sql,
        rows_max: body.limit,
        memory_bytes: limits.query_memory_bytes,
        time_ms: u64::try_from(limits.query_timeout.as_millis()).unwrap_or(u64::MAX),
    };
    Ok(Json(worker::ask(site.options.host.worker(), &ask).await?))
}
