//! Pipelines: how they are, their epochs, ledger and dead letters, and replay.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use contract::Origin;
use query::letters::Page;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body;
use super::inquiry::Problems;
use crate::analytics::params::Params;
use crate::host::{Replay, Replayed, ScheduledRun, Served};
use crate::pipelines::letters::{Letter, Letters};
use crate::pipelines::tally::{EPOCHS_MAX, Epoch};
use crate::pipelines::{Detail, Overview, RowCounts};
use crate::problem::{Answer, Problem, ProblemBody};
use crate::site::Site;

/// Rows of an answer where the request does not say.
const LIMIT: u64 = 100;
/// The most rows of an answer.
const LIMIT_MAX: u64 = 1000;
/// The states of dead letters, and none for all of them.
const STATES: [(&str, Option<&str>); 4] = [
    ("open", Some("open")),
    ("replayed", Some("replayed")),
    ("acknowledged", Some("acknowledged")),
    ("all", None),
];
/// Records that one request can name.
const ORIGINS_MAX: usize = 1000;

type Shared = State<Arc<Site>>;

/// A row of the ledger.
#[derive(Serialize, ToSchema)]
pub struct LedgerEntry {
    /// The lineage.
    lineage: String,
    /// The epoch.
    epoch: u64,
    /// Where the records were read.
    split: String,
    /// The sink.
    sink: String,
    /// What became of the rows.
    #[serde(flatten)]
    counts: RowCounts,
    /// Rows of `delivered` that are not published yet.
    staged: u64,
    /// Sum over the origins of the delivered rows, in hexadecimal.
    hash: String,
}

/// How many epochs at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct EpochParams {
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
}

/// How many rows at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct LedgerParams {
    /// How many at most, the newest epochs first.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Which dead letters.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct LetterParams {
    /// Their state; `open` where nothing is said.
    #[param(inline)]
    state: Option<StateWord>,
    /// Only those that this sink refused.
    sink: Option<String>,
    /// A text that their reason contains.
    reason: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// How many of the newest are left out.
    #[param(minimum = 0, maximum = 1000000, default = 0)]
    offset: Option<u32>,
}

/// The state of a dead letter.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateWord {
    /// Nobody has done anything about it.
    Open,
    /// It was given again.
    Replayed,
    /// It was closed without.
    Acknowledged,
    /// Any of these.
    All,
}

/// Which dead letters are given again.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayBody {
    /// Only those that this sink lacks.
    sink: Option<String>,
    /// Only those of these records, `split@position`; all that are open where nothing is said.
    #[schema(max_items = 1000)]
    origins: Vec<String>,
}

/// All pipelines, by name.
#[utoipa::path(
    get, path = "/pipelines", tag = "pipelines", security(("token" = [])),
    responses((status = 200, body = Vec<Overview>), Problems)
)]
pub async fn list(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Overview>>> {
    let _place = site.place()?;
    Params::read(query.as_deref())?.end()?;
    let list = site.details().await?.into_iter().map(Detail::overview).collect();
    Ok(Json(list))
}

/// A pipeline with its parts, its lineages and what became of its rows.
#[utoipa::path(
    get, path = "/pipelines/{name}", tag = "pipelines", security(("token" = [])),
    params(("name" = String, Path, description = "The pipeline")),
    responses((status = 200, body = Detail), Problems)
)]
pub async fn one(
    State(site): Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Detail>> {
    let _place = site.place()?;
    Params::read(query.as_deref())?.end()?;
    let served = find(&site, &name).await?;
    let open = site.letters.counts(&site.options.data).await?;
    let open = open.get(&name).copied().unwrap_or_default();
    Ok(Json(site.board.detail(&served, open).await?))
}

/// The newest epochs of a pipeline, the newest first.
#[utoipa::path(
    get, path = "/pipelines/{name}/epochs", tag = "pipelines", security(("token" = [])),
    params(("name" = String, Path, description = "The pipeline"), EpochParams),
    responses((status = 200, body = Vec<Epoch>), Problems)
)]
pub async fn epochs(
    State(site): Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<Epoch>>> {
    const EPOCHS: usize = 50;
    let _place = site.place()?;
    let mut params = Params::read(query.as_deref())?;
    let limit = params.number("limit", 1..=EPOCHS_MAX as u64)?;
    params.end()?;
    let served = find(&site, &name).await?;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(EPOCHS);
    Ok(Json(site.board.epochs(&served, limit).await?))
}

/// The ledger of a pipeline, the newest epochs first.
#[utoipa::path(
    get, path = "/pipelines/{name}/ledger", tag = "pipelines", security(("token" = [])),
    params(("name" = String, Path, description = "The pipeline"), LedgerParams),
    responses((status = 200, body = Vec<LedgerEntry>), Problems)
)]
pub async fn ledger(
    State(site): Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<LedgerEntry>>> {
    let _place = site.place()?;
    let mut params = Params::read(query.as_deref())?;
    let limit = params.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    params.end()?;
    let served = find(&site, &name).await?;
    let mut rows = Vec::new();
    if let Some(checkpoints) = &served.checkpoints {
        for lineage in checkpoints.lineages(&name).await? {
            let history = checkpoints.history(&name, &lineage);
            rows.extend(history.ledger().await?.rows);
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.epoch));
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Json(rows.into_iter().map(LedgerEntry::from).collect()))
}

impl From<state::LedgerRow> for LedgerEntry {
    fn from(row: state::LedgerRow) -> Self {
        let state::LedgerRow { lineage, epoch, entry, .. } = row;
        Self {
            lineage,
            epoch,
            split: entry.split,
            sink: entry.sink,
            counts: RowCounts::from(&entry.counts),
            staged: entry.counts.staged,
            hash: entry.hash,
        }
    }
}

/// The dead letters of a pipeline, the newest first.
#[utoipa::path(
    get, path = "/pipelines/{name}/dead_letters", tag = "pipelines", security(("token" = [])),
    params(("name" = String, Path, description = "The pipeline"), LetterParams),
    responses((status = 200, body = Letters), Problems)
)]
pub async fn dead_letters(
    State(site): Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Letters>> {
    let _place = site.place()?;
    let mut params = Params::read(query.as_deref())?;
    let state = params.choice("state", &STATES)?.unwrap_or(Some("open"));
    let (sink, reason) = (params.one("sink")?, params.one("reason")?);
    let limit = params.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let offset = params.number("offset", 0..=1_000_000)?.unwrap_or_default();
    params.end()?;
    find(&site, &name).await?;
    let page = Page {
        pipeline: &name,
        state,
        sink: sink.as_deref(),
        reason: reason.as_deref(),
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        offset: usize::try_from(offset).unwrap_or(usize::MAX),
    };
    let (total, letters) = query::letters::page(&site.options.data, page).await?;
    Ok(Json(Letters { total, letters: letters.into_iter().map(Letter::from).collect() }))
}

/// Gives open dead letters again, exactly once, to the sinks that lack them.
#[utoipa::path(
    post, path = "/pipelines/{name}/dead_letters/replay", tag = "pipelines",
    security(("token" = [])), params(("name" = String, Path, description = "The pipeline")),
    request_body = ReplayBody,
    responses(
        (status = 200, body = Replayed),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "Another process replays, or owns what the replay needs."),
        (status = 413, body = ProblemBody, content_type = "application/problem+json",
         description = "The body is too large."),
        (status = 415, body = ProblemBody, content_type = "application/problem+json",
         description = "The body is no JSON."),
        Problems,
    )
)]
pub async fn replay(
    State(site): Shared,
    Path(name): Path<String>,
    request: axum::extract::Request,
) -> Answer<Json<Replayed>> {
    let _place = site.place()?;
    let body: ReplayBody = body::json(request, site.options.limits.body_bytes_max).await?;
    find(&site, &name).await?;
    if !site.options.host.is_writable() {
        return Err(Problem::new(
            axum::http::StatusCode::CONFLICT,
            "the server knows no pipeline file, and a replay needs it",
        )
        .hint("start it with the file: `logmill serve web.yaml`"));
    }
    if body.origins.len() > ORIGINS_MAX {
        return Err(Problem::bad_request(format!("more than {ORIGINS_MAX} origins")));
    }
    let origins = body.origins.iter().map(|text| {
        Origin::parse(text).ok_or_else(|| {
            Problem::bad_request(format!("{text:?} is no origin"))
                .hint("write it as `split@position`")
        })
    });
    let replay = Replay { sink: body.sink, origins: origins.collect::<Answer<_>>()? };
    // A client that leaves does not interrupt what was begun.
    let (host, pipeline) = (site.options.host.clone(), name.clone());
    let replayed = tokio::spawn(async move { host.replay(&pipeline, replay).await }).await;
    site.letters.forget().await;
    let replayed = replayed.map_err(|_| Problem::busy("the replay ended early"))?;
    Ok(Json(replayed?))
}

/// The runs of a pipeline's schedule, the newest first.
#[utoipa::path(
    get, path = "/pipelines/{name}/runs", tag = "pipelines", security(("token" = [])),
    params(("name" = String, Path, description = "The pipeline")),
    responses((status = 200, body = Vec<ScheduledRun>), Problems)
)]
pub async fn runs(
    State(site): Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<ScheduledRun>>> {
    let _place = site.place()?;
    Params::read(query.as_deref())?.end()?;
    find(&site, &name).await?;
    Ok(Json(site.options.host.runs(&name).await?))
}

async fn find(site: &Site, name: &str) -> Answer<Served> {
    let pipelines = site.options.host.pipelines().await?;
    let names: Vec<_> = pipelines.iter().map(|served| served.name.clone()).collect();
    pipelines.into_iter().find(|served| served.name == name).ok_or_else(|| {
        let names = names.iter().map(String::as_str);
        Problem::not_found(format!("there is no pipeline {name:?}"))
            .hint(contract::Section::did_you_mean(name, names))
    })
}
