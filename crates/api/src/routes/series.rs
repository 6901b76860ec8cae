//! Numbers over time: one point per interval, also where nothing happened.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::analytics::number;
use super::inquiry::{Inquiry, Problems, ScopeParams};
use crate::analytics::cell::Row;
use crate::analytics::desk::Rows;
use crate::analytics::params::{Params, written};
use crate::analytics::question::{Group, Interval, Measure, Question};
use crate::analytics::sql::DURATION;
use crate::problem::{Answer, Problem};
use crate::site::Site;

/// Points of an answer where the request does not say.
const POINTS: u64 = 200;
/// The most points of an answer.
const POINTS_MAX: u64 = 1000;
/// The words of `interval`; none for whatever fits.
const INTERVALS: [(&str, Option<Interval>); 5] = [
    ("auto", None),
    ("minute", Some(Interval::Minute)),
    ("5m", Some(Interval::FiveMinutes)),
    ("hour", Some(Interval::Hour)),
    ("day", Some(Interval::Day)),
];
/// How long requests took.
const TIMED: [Measure; 3] =
    [Measure::Percentile(50), Measure::Percentile(95), Measure::Percentile(99)];

/// Points in time, in order.
#[derive(Serialize, ToSchema)]
pub struct Series {
    /// `minute`, `5m`, `hour` or `day`.
    interval: &'static str,
    /// One for each interval from the first moment to the last.
    points: Vec<Point>,
}

/// What happened in an interval.
#[derive(Serialize, ToSchema)]
pub struct Point {
    /// When it begins.
    #[schema(format = DateTime)]
    ts: String,
    /// Requests.
    requests: u64,
    /// Distinct address, day and user agent; null where the table does not know.
    visitors: Option<u64>,
    /// Bytes sent; null where the table does not know.
    bytes: Option<u64>,
    /// Requests with a status of 100 to 199.
    s1xx: u64,
    /// 200 to 299.
    s2xx: u64,
    /// 300 to 399.
    s3xx: u64,
    /// 400 to 499.
    s4xx: u64,
    /// 500 to 599.
    s5xx: u64,
    /// Half of the requests took no longer, in milliseconds.
    #[serde(serialize_with = "number")]
    p50: Option<f64>,
    /// 19 in 20.
    #[serde(serialize_with = "number")]
    p95: Option<f64>,
    /// 99 in 100.
    #[serde(serialize_with = "number")]
    p99: Option<f64>,
}

/// How wide points are.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read by hand")]
pub struct SeriesParams {
    /// The width of a point; `auto` takes the shortest that gives no more points than `points`.
    #[param(inline)]
    interval: Option<IntervalWord>,
    /// How many points `auto` may give.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    points: Option<u32>,
}

/// The width of a point.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IntervalWord {
    /// Whatever fits.
    Auto,
    /// 60 seconds.
    Minute,
    /// 5 minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// 60 minutes.
    Hour,
    /// 24 hours, in UTC.
    Day,
}

/// The points that an answer has.
struct Range {
    interval: Interval,
    /// The beginning of the first point.
    first: i64,
    /// The beginning of the last point.
    last: i64,
}

/// Requests, visitors, bytes, statuses and latencies over time.
#[utoipa::path(
    get, path = "/analytics/timeseries", tag = "analytics", params(SeriesParams, ScopeParams),
    security(("token" = [])), responses((status = 200, body = Series), Problems)
)]
pub async fn timeseries(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
) -> Answer<Json<Series>> {
    let (inquiry, mut params) = Inquiry::begin(&site, query.as_deref()).await?;
    let (interval, points) = width(&mut params)?;
    params.end()?;
    let Some(range) = range(&inquiry, interval, points).await? else {
        let interval = interval.unwrap_or(Interval::Hour).word();
        return Ok(Json(Series { interval, points: Vec::new() }));
    };
    let mut measures = vec![Measure::Count];
    measures.extend([1, 2, 3, 4, 5].map(Measure::Class));
    let bytes = inquiry.has(&["bytes"]).then_some(measures.len() + 1);
    measures.extend(bytes.map(|_| Measure::Bytes));
    let visitors = inquiry.knows_visitors().then_some(measures.len() + 1);
    measures.extend(visitors.map(|_| Measure::Visitors));
    let groups = vec![Group::Time(range.interval)];
    let counted = Question::of(&inquiry.scope, &measures).by(groups.clone());
    let timed = Question::of(&inquiry.scope, &TIMED).by(groups);
    let timed = async {
        match inquiry.has(&[DURATION]) {
            true => inquiry.ask(&timed).await,
            false => Ok(Rows::default()),
        }
    };
    let (counted, timed) = tokio::try_join!(inquiry.ask(&counted), timed)?;
    let (counted, timed) = (by_time(&counted), by_time(&timed));
    let mut points = Vec::new();
    let mut at = range.first;
    while at <= range.last {
        points.push(point(at, counted.get(&at), timed.get(&at), (bytes, visitors)));
        at += range.interval.micros();
    }
    Ok(Json(Series { interval: range.interval.word(), points }))
}

fn width(params: &mut Params) -> Answer<(Option<Interval>, u64)> {
    let interval = params.choice("interval", &INTERVALS)?.flatten();
    let points = params.number("points", 1..=POINTS_MAX)?.unwrap_or(POINTS);
    Ok((interval, points))
}

fn by_time(rows: &Rows) -> HashMap<i64, &Row> {
    rows.iter().filter_map(|row| Some((row.first()?.time()?, row))).collect()
}

fn point(
    at: i64,
    counted: Option<&&Row>,
    timed: Option<&&Row>,
    (bytes, visitors): (Option<usize>, Option<usize>),
) -> Point {
    let count = |at: usize| counted.and_then(|row| row.get(at)).map_or(0, |cell| cell.count());
    let took = |at: usize| timed.and_then(|row| row.get(at)).and_then(|cell| cell.number());
    Point {
        ts: written(at),
        requests: count(1),
        visitors: visitors.map(count),
        bytes: bytes.map(count),
        s1xx: count(2),
        s2xx: count(3),
        s3xx: count(4),
        s4xx: count(5),
        s5xx: count(6),
        p50: took(1),
        p95: took(2),
        p99: took(3),
    }
}

/// From where to where, in which steps; none where nothing happened and nobody says when.
async fn range(
    inquiry: &Inquiry,
    interval: Option<Interval>,
    points: u64,
) -> Answer<Option<Range>> {
    let (start, end) = (inquiry.scope.start, inquiry.scope.end);
    if let (Some(start), Some(end)) = (start, end)
        && let Ok(range) = fit(start, end, interval, points)
    {
        return Ok(Some(range));
    }
    let rows = inquiry.all(&[Measure::First, Measure::Last]).await?;
    let (first, last) = (rows[0][0].time(), rows[0][1].time());
    let Some((first, last)) = first.zip(last) else { return Ok(None) };
    // A range that nobody can show is cut down to where there is anything.
    let asked = fit(start.unwrap_or(first), end.unwrap_or(last), interval, points);
    match asked.or_else(|_| fit(first, last, interval, points)) {
        Ok(range) => Ok(Some(range)),
        Err(points) => Err(Problem::too_much(format!("the answer would have {points} points"))
            .hint(format!("ask for {POINTS_MAX} at most, with wider ones or a shorter range"))),
    }
}

/// The points from one moment to another, or how many there would be.
fn fit(start: i64, end: i64, interval: Option<Interval>, points: u64) -> Result<Range, u64> {
    let fitted = |interval: Interval| {
        let step = interval.micros();
        let (first, last) = (start.div_euclid(step) * step, end.div_euclid(step) * step);
        let count = u64::try_from((last - first) / step).unwrap_or_default() + 1;
        (Range { interval, first, last }, count)
    };
    if let Some(interval) = interval {
        let (range, count) = fitted(interval);
        return if count <= POINTS_MAX { Ok(range) } else { Err(count) };
    }
    let shortest = Interval::ALL.map(fitted).into_iter().find(|(_, count)| *count <= points);
    match shortest {
        Some((range, _)) => Ok(range),
        None => match fitted(Interval::Day) {
            (range, count) if count <= POINTS_MAX => Ok(range),
            (_, count) => Err(count),
        },
    }
}
