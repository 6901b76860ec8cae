//! Numbers over all rows of a scope, and the largest groups.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::inquiry::{Inquiry, Problems, ScopeParams};
use crate::analytics::cell::Cell;
use crate::analytics::params::Params;
use crate::analytics::question::{Group, Measure, Question};
use crate::analytics::sql::DURATION;
use crate::problem::{Answer, Problem};
use crate::site::Site;

/// Groups that an answer has where the request does not say.
const LIMIT: u64 = 10;
/// The most that `limit` may ask for.
const LIMIT_MAX: u64 = 1000;
/// The percentiles of an answer.
const LATENCY: [Measure; 6] = [
    Measure::TimedCount,
    Measure::Percentile(50),
    Measure::Percentile(90),
    Measure::Percentile(95),
    Measure::Percentile(99),
    Measure::Slowest,
];

type Shared = State<Arc<Site>>;

/// A path and how often it was asked for.
#[derive(Serialize, ToSchema)]
pub struct EndpointCount {
    /// The request's target, with its query.
    #[schema(value_type = Option<String>)]
    endpoint: Cell,
    /// Requests.
    count: u64,
}

/// An address and how often it asked.
#[derive(Serialize, ToSchema)]
pub struct IpCount {
    /// The client's address.
    #[schema(value_type = Option<String>)]
    ip: Cell,
    /// Requests.
    count: u64,
}

/// How many requests the server failed.
#[derive(Serialize, ToSchema)]
pub struct ErrorRate {
    /// Requests.
    total: u64,
    /// Those with a status of 500 or more.
    errors: u64,
    /// Their share; 0 where there are no requests.
    error_rate: f64,
}

/// All at a glance.
#[derive(Serialize, ToSchema)]
pub struct Summary {
    /// Requests.
    requests: u64,
    /// Distinct address, day and user agent.
    visitors: Option<u64>,
    /// Bytes sent.
    bytes: Option<u64>,
    /// Requests with a status of 500 or more; null where the table knows no statuses.
    errors: Option<u64>,
    /// Their share.
    error_rate: Option<f64>,
    /// The first moment; null where the table knows no times.
    #[schema(value_type = Option<String>, format = DateTime)]
    first: Cell,
    /// The last moment; null where the table knows no times.
    #[schema(value_type = Option<String>, format = DateTime)]
    last: Cell,
    /// How long requests took.
    latency_ms: Option<Percentiles>,
    /// Open dead letters of the pipelines that are served.
    dead_letters: u64,
}

/// How long requests took, in milliseconds.
#[derive(Serialize, ToSchema)]
pub struct Percentiles {
    /// Half of them took no longer.
    #[serde(serialize_with = "number")]
    p50: Option<f64>,
    /// Nine in ten.
    #[serde(serialize_with = "number")]
    p90: Option<f64>,
    /// 19 in 20.
    #[serde(serialize_with = "number")]
    p95: Option<f64>,
    /// 99 in 100.
    #[serde(serialize_with = "number")]
    p99: Option<f64>,
    /// The longest.
    #[serde(serialize_with = "number")]
    max: Option<f64>,
}

/// How long requests took, and of how many that is known.
#[derive(Serialize, ToSchema)]
pub struct Latency {
    /// Requests of which it is known.
    count: u64,
    /// The percentiles, by nearest rank.
    #[serde(flatten)]
    percentiles: Percentiles,
}

/// Requests by the hundreds of their status.
#[derive(Serialize, ToSchema)]
pub struct ClassCount {
    /// `1xx` to `5xx`.
    class: &'static str,
    /// Requests.
    count: u64,
}

/// A group.
#[derive(Serialize, ToSchema)]
pub struct Top {
    /// What its rows have in common.
    #[schema(value_type = Value)]
    value: Cell,
    /// Requests.
    count: u64,
    /// Bytes sent; null where the table does not know.
    bytes: Option<u64>,
    /// Distinct address, day and user agent; null where the table does not know.
    visitors: Option<u64>,
}

/// Bytes sent.
#[derive(Serialize, ToSchema)]
pub struct Bytes {
    /// Together.
    total: u64,
    /// By request that says how many.
    mean: Option<f64>,
    /// In one request, at most.
    max: Option<u64>,
}

/// What is counted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct SummaryParams {
    /// Whether visitors are counted, which is most of the work.
    #[param(inline)]
    visitors: Option<VisitorsWord>,
}

/// How many groups at most.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct LimitParams {
    /// How many groups at most.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
}

/// How many groups at most; all where nothing is said.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct OptionalLimitParams {
    /// How many groups at most; all where nothing is said.
    #[param(minimum = 1, maximum = 100000)]
    limit: Option<u32>,
}

/// Which groups.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct TopParams {
    /// How many groups at most.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<u32>,
    /// What makes a group large.
    #[param(inline)]
    by: Option<ByWord>,
    /// Whether visitors are counted, which is most of the work.
    #[param(inline)]
    visitors: Option<VisitorsWord>,
}

/// Whether visitors are counted.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VisitorsWord {
    /// They are, where the table says who they were.
    Include,
    /// They are not.
    Exclude,
}

/// What makes a group large.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ByWord {
    /// Requests.
    Count,
    /// Bytes sent.
    Bytes,
    /// Distinct address, day and user agent.
    Visitors,
}

/// How often each endpoint was asked for, the most frequent first.
#[utoipa::path(
    get, path = "/analytics/requests_per_endpoint", tag = "analytics",
    params(OptionalLimitParams, ScopeParams), security(("token" = [])),
    responses((status = 200, body = Vec<EndpointCount>), Problems)
)]
pub async fn requests_per_endpoint(
    State(site): Shared,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<EndpointCount>>> {
    let (inquiry, mut params) = Inquiry::begin(&site, query.as_deref()).await?;
    let limit = params.number("limit", 1..=100_000)?;
    params.end()?;
    let rows = counted(&inquiry, "endpoint", limit).await?;
    let counts = rows.into_iter().map(|(endpoint, count)| EndpointCount { endpoint, count });
    Ok(Json(counts.collect()))
}

/// The addresses that asked most often.
#[utoipa::path(
    get, path = "/analytics/top_ips", tag = "analytics", params(LimitParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<IpCount>), Problems)
)]
pub async fn top_ips(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<IpCount>>> {
    let (inquiry, mut params) = Inquiry::begin(&site, query.as_deref()).await?;
    let limit = params.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    params.end()?;
    let rows = counted(&inquiry, "ip", Some(limit)).await?;
    Ok(Json(rows.into_iter().map(|(ip, count)| IpCount { ip, count }).collect()))
}

async fn counted(inquiry: &Inquiry, column: &str, limit: Option<u64>) -> Answer<Vec<(Cell, u64)>> {
    let question = Question::of(&inquiry.scope, &[Measure::Count])
        .by(vec![Group::Column(column.to_owned())])
        .largest(0, limit);
    let rows = inquiry.ask(&question).await?;
    Ok(rows.iter().map(|row| (row[0].clone(), row[1].count())).collect())
}

/// How many requests the server failed.
#[utoipa::path(
    get, path = "/analytics/error_rate", tag = "analytics", params(ScopeParams),
    security(("token" = [])), responses((status = 200, body = ErrorRate), Problems)
)]
pub async fn error_rate(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<ErrorRate>> {
    let inquiry = Inquiry::plain(&site, query.as_deref()).await?;
    let rows = inquiry.all(&[Measure::Count, Measure::Errors]).await?;
    let (total, errors) = (rows[0][0].count(), rows[0][1].count());
    Ok(Json(ErrorRate { total, errors, error_rate: share(errors, total) }))
}

/// All at a glance.
#[utoipa::path(
    get, path = "/analytics/summary", tag = "analytics", params(SummaryParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Summary), Problems)
)]
pub async fn summary(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Summary>> {
    let (inquiry, mut params) = Inquiry::begin(&site, query.as_deref()).await?;
    let wanted = params.choice("visitors", &VISITORS)?.unwrap_or(true);
    params.end()?;
    let mut measures = vec![Measure::Count];
    let errors = inquiry.has(&["status"]).then(|| add(&mut measures, Measure::Errors));
    let times = inquiry
        .table
        .columns()
        .time()
        .is_ok()
        .then(|| (add(&mut measures, Measure::First), add(&mut measures, Measure::Last)));
    let bytes = inquiry.has(&["bytes"]).then(|| add(&mut measures, Measure::Bytes));
    let known = wanted && inquiry.knows_visitors();
    let visitors = known.then(|| add(&mut measures, Measure::Visitors));
    let (rows, latency) = tokio::try_join!(inquiry.all(&measures), timed(&inquiry))?;
    let row = &rows[0];
    let requests = row[0].count();
    let errors = errors.map(|at| row[at].count());
    let (first, last) = times.map(|(first, last)| (row[first].clone(), row[last].clone())).unzip();
    Ok(Json(Summary {
        requests,
        visitors: visitors.map(|at| row[at].count()),
        bytes: bytes.map(|at| row[at].count()),
        errors,
        error_rate: errors.map(|errors| share(errors, requests)),
        first: first.unwrap_or_default(),
        last: last.unwrap_or_default(),
        latency_ms: latency.filter(|latency| latency.count > 0).map(|latency| latency.percentiles),
        dead_letters: site.open_letters().await?,
    }))
}

/// How long requests took: percentiles by nearest rank, each the time of a request.
#[utoipa::path(
    get, path = "/analytics/latency", tag = "analytics", params(ScopeParams),
    security(("token" = [])), responses((status = 200, body = Latency), Problems)
)]
pub async fn latency(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Latency>> {
    let inquiry = Inquiry::plain(&site, query.as_deref()).await?;
    inquiry.table.columns().needed(DURATION)?;
    let latency = timed(&inquiry).await?;
    let none = Percentiles { p50: None, p90: None, p95: None, p99: None, max: None };
    Ok(Json(latency.unwrap_or(Latency { count: 0, percentiles: none })))
}

async fn timed(inquiry: &Inquiry) -> Answer<Option<Latency>> {
    if !inquiry.has(&[DURATION]) {
        return Ok(None);
    }
    let rows = inquiry.all(&LATENCY).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let percentiles = Percentiles {
        p50: row[1].number(),
        p90: row[2].number(),
        p95: row[3].number(),
        p99: row[4].number(),
        max: row[5].number(),
    };
    Ok(Some(Latency { count: row[0].count(), percentiles }))
}

/// Requests by the hundreds of their status.
#[utoipa::path(
    get, path = "/analytics/status_classes", tag = "analytics", params(ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<ClassCount>), Problems)
)]
pub async fn status_classes(
    State(site): Shared,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<ClassCount>>> {
    let inquiry = Inquiry::plain(&site, query.as_deref()).await?;
    let rows = inquiry.all(&[1, 2, 3, 4, 5].map(Measure::Class)).await?;
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&rows[0]);
    let counts = classes.map(|(class, count)| ClassCount { class, count: count.count() });
    Ok(Json(counts.collect()))
}

/// Bytes sent.
#[utoipa::path(
    get, path = "/analytics/bytes", tag = "analytics", params(ScopeParams),
    security(("token" = [])), responses((status = 200, body = Bytes), Problems)
)]
pub async fn bytes(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Bytes>> {
    let inquiry = Inquiry::plain(&site, query.as_deref()).await?;
    let measures = [Measure::Bytes, Measure::BytesCount, Measure::BytesMax];
    let rows = inquiry.all(&measures).await?;
    let (total, count) = (rows[0][0].count(), rows[0][1].count());
    let mean = (count > 0).then(|| total as f64 / count as f64);
    let max = matches!(rows[0][2], Cell::Integer(_)).then(|| rows[0][2].count());
    Ok(Json(Bytes { total, mean, max }))
}

/// The largest groups by any column.
#[utoipa::path(
    get, path = "/analytics/top/{column}", tag = "analytics",
    params(
        ("column" = String, Path, description = "A column of the table"), TopParams, ScopeParams,
    ),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn top(
    State(site): Shared,
    Path(column): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Vec<Top>>> {
    largest(&site, &column, query).await
}

/// Requests by country.
#[utoipa::path(
    get, path = "/analytics/countries", tag = "analytics", params(TopParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn countries(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Top>>> {
    largest(&site, "country", query).await
}

/// Requests by browser.
#[utoipa::path(
    get, path = "/analytics/browsers", tag = "analytics", params(TopParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn browsers(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Top>>> {
    largest(&site, "ua_browser", query).await
}

/// Requests by operating system.
#[utoipa::path(
    get, path = "/analytics/systems", tag = "analytics", params(TopParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn systems(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Top>>> {
    largest(&site, "ua_os", query).await
}

/// Requests of bots and of people.
#[utoipa::path(
    get, path = "/analytics/bots", tag = "analytics", params(TopParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn bots(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Top>>> {
    largest(&site, "ua_bot", query).await
}

/// Requests by the page that led to them.
#[utoipa::path(
    get, path = "/analytics/referrers", tag = "analytics", params(TopParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Vec<Top>), Problems)
)]
pub async fn referrers(State(site): Shared, RawQuery(query): RawQuery) -> Answer<Json<Vec<Top>>> {
    largest(&site, "referrer", query).await
}

async fn largest(site: &Site, column: &str, query: Option<String>) -> Answer<Json<Vec<Top>>> {
    let (inquiry, mut params) = Inquiry::begin(site, query.as_deref()).await?;
    inquiry.table.columns().needed(column)?;
    let mut measures = vec![Measure::Count];
    let bytes = inquiry.has(&["bytes"]).then(|| add(&mut measures, Measure::Bytes));
    let wanted = params.choice("visitors", &VISITORS)?.unwrap_or(true);
    let known = wanted && inquiry.knows_visitors();
    let visitors = known.then(|| add(&mut measures, Measure::Visitors));
    let limit = params.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let by = order(&mut params, &inquiry, bytes, visitors)?;
    params.end()?;
    let question = Question::of(&inquiry.scope, &measures)
        .by(vec![Group::Column(column.to_owned())])
        .largest(by, Some(limit));
    let rows = inquiry.ask(&question).await?;
    let groups = rows.iter().map(|row| Top {
        value: row[0].clone(),
        count: row[1].count(),
        bytes: bytes.map(|at| row[at + 1].count()),
        visitors: visitors.map(|at| row[at + 1].count()),
    });
    Ok(Json(groups.collect()))
}

/// The words of `visitors`.
pub const VISITORS: [(&str, bool); 2] = [("include", true), ("exclude", false)];

/// The number of the measure that makes a group large.
fn order(
    params: &mut Params,
    inquiry: &Inquiry,
    bytes: Option<usize>,
    visitors: Option<usize>,
) -> Answer<usize> {
    let words = [("count", Some(0)), ("bytes", bytes), ("visitors", visitors)];
    match params.choice("by", &words)? {
        None => Ok(0),
        Some(Some(at)) => Ok(at),
        Some(None) => {
            let columns = inquiry.table.columns();
            for name in ["bytes", "ip", "user_agent"] {
                columns.needed(name)?;
            }
            Err(Problem::bad_request("`by=visitors` needs what `visitors=exclude` leaves out"))
        }
    }
}

/// Adds a measure; gives its number.
fn add(measures: &mut Vec<Measure>, measure: Measure) -> usize {
    measures.push(measure);
    measures.len() - 1
}

fn share(part: u64, all: u64) -> f64 {
    match all {
        0 => 0.0,
        all => part as f64 / all as f64,
    }
}

/// A whole number without a fraction of nought.
pub fn number<S: Serializer>(number: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    /// Up to here every whole number is one of `f64`.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match number {
        None => to.serialize_none(),
        Some(whole) if whole.fract() == 0.0 && whole.abs() < WHOLE_MAX => {
            to.serialize_i64(*whole as i64)
        }
        Some(number) => to.serialize_f64(*number),
    }
}
