//! Numbers over time: one point per interval, also where nothing happened.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::analytics::{VISITORS, VisitorsWord, number};
use super::inquiry::{Inquiry, Problems, ScopeParams};
use crate::analytics::cell::Row;
use crate::analytics::desk::Rows;
use crate::analytics::interval::{Calendar, Interval};
use crate::analytics::outliers::{Outliers, outliers};
use crate::analytics::params::{Params, written};
use crate::analytics::question::{Group, Measure, Question, Scope, Steps};
use crate::analytics::sql::DURATION;
use crate::problem::{Answer, Problem};
use crate::site::Site;

/// Points of an answer where the request does not say.
const POINTS: u64 = 200;
/// The most points of an answer.
const POINTS_MAX: u64 = 1000;
/// The words of `interval`; none for whatever fits.
const INTERVALS: [(&str, Option<Interval>); 8] = [
    ("auto", None),
    ("minute", Some(Interval::Minute)),
    ("5m", Some(Interval::FiveMinutes)),
    ("hour", Some(Interval::Hour)),
    ("day", Some(Interval::Day)),
    ("week", Some(Interval::Week)),
    ("month", Some(Interval::Month)),
    ("year", Some(Interval::Year)),
];
/// How long requests took.
const TIMED: [Measure; 3] =
    [Measure::Percentile(50), Measure::Percentile(95), Measure::Percentile(99)];

/// Points in time, in order.
#[derive(Serialize, ToSchema)]
pub struct Series {
    /// `minute`, `5m`, `hour`, `day`, `week`, `month` or `year`.
    interval: &'static str,
    /// One for each interval from the first moment to the last.
    points: Vec<Point>,
    /// Where the first interval after the last point begins; null where there is no point.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Rows far outside of all others, where neither `start` nor `end` says what is looked at.
    outliers: Option<Far>,
}

/// Rows far outside of all others: beyond 30 days and more without any row, longer than all the
/// others span, and no more than one row in a hundred.
#[derive(Serialize, ToSchema)]
pub struct Far {
    /// Rows before the others.
    before: u64,
    /// Rows after them.
    after: u64,
    /// The day on which the others begin.
    #[schema(format = Date)]
    start: String,
    /// The day on which they end.
    #[schema(format = Date)]
    end: String,
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
    /// Requests with a status of 100 to 199; null where the table knows no statuses, as below.
    s1xx: Option<u64>,
    /// 200 to 299.
    s2xx: Option<u64>,
    /// 300 to 399.
    s3xx: Option<u64>,
    /// 400 to 499.
    s4xx: Option<u64>,
    /// 500 to 599.
    s5xx: Option<u64>,
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
    /// How many points `auto` may give, as long as they are no years.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    points: Option<u32>,
    /// Whether visitors are counted, which is most of the work.
    #[param(inline)]
    visitors: Option<VisitorsWord>,
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
    /// From midnight to midnight.
    Day,
    /// From Monday to Sunday.
    Week,
    /// A month of the calendar.
    Month,
    /// A year of the calendar.
    Year,
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
    let wanted = params.choice("visitors", &VISITORS)?.unwrap_or(true);
    params.end()?;
    let Some(range) = range(&inquiry, interval, points).await? else {
        let interval = interval.unwrap_or(Interval::Hour).word();
        return Ok(Json(Series { interval, points: Vec::new(), until: None, outliers: None }));
    };
    let mut measures = vec![Measure::Count];
    let mut add = |known: bool, measure: Measure| {
        measures.extend(known.then_some(measure));
        known.then_some(measures.len())
    };
    let classes = [1, 2, 3, 4, 5].map(|class| add(inquiry.has(&["status"]), Measure::Class(class)));
    let bytes = add(inquiry.has(&["bytes"]), Measure::Bytes);
    let visitors = add(wanted && inquiry.knows_visitors(), Measure::Visitors);
    let places = Places { classes, bytes, visitors };
    let steps = match inquiry.scope.calendar.is_utc() || range.interval < Interval::Day {
        true => Steps::Utc(range.interval),
        false => Steps::From(range.steps.clone()),
    };
    let groups = vec![Group::Time(steps)];
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
    let begins = range.steps.split_last().map_or(&[][..], |(_, begins)| begins);
    let points = begins.iter().map(|at| point(*at, counted.get(at), timed.get(at), &places));
    Ok(Json(Series {
        interval: range.interval.word(),
        points: points.collect(),
        until: range.steps.last().map(|until| written(*until)),
        outliers: far(&inquiry, &range).await,
    }))
}

fn width(params: &mut Params) -> Answer<(Option<Interval>, u64)> {
    let interval = params.choice("interval", &INTERVALS)?.flatten();
    let points = params.number("points", 1..=POINTS_MAX)?.unwrap_or(POINTS);
    Ok((interval, points))
}

fn by_time(rows: &Rows) -> HashMap<i64, &Row> {
    rows.iter().filter_map(|row| Some((row.first()?.time()?, row))).collect()
}

/// Where the measures stand in a row that the table may not know.
struct Places {
    classes: [Option<usize>; 5],
    bytes: Option<usize>,
    visitors: Option<usize>,
}

fn point(at: i64, counted: Option<&&Row>, timed: Option<&&Row>, places: &Places) -> Point {
    let count = |at: usize| counted.and_then(|row| row.get(at)).map_or(0, |cell| cell.count());
    let took = |at: usize| timed.and_then(|row| row.get(at)).and_then(|cell| cell.number());
    let [s1xx, s2xx, s3xx, s4xx, s5xx] = places.classes.map(|place| place.map(count));
    Point {
        ts: written(at),
        requests: count(1),
        visitors: places.visitors.map(count),
        bytes: places.bytes.map(count),
        s1xx,
        s2xx,
        s3xx,
        s4xx,
        s5xx,
        p50: took(1),
        p95: took(2),
        p99: took(3),
    }
}

/// The points that an answer has.
struct Range {
    interval: Interval,
    /// Where they begin, and where the last one ends.
    steps: Arc<[i64]>,
}

/// From where to where, in which steps; none where nothing happened and nobody says when.
async fn range(
    inquiry: &Inquiry,
    interval: Option<Interval>,
    points: u64,
) -> Answer<Option<Range>> {
    let Scope { start, end, calendar, .. } = inquiry.scope;
    let fit = |start, end| fit(calendar, (start, end), interval, points);
    let is_whole =
        |start, end| interval.is_some() || calendar.count(Interval::Year, start, end) <= POINTS_MAX;
    if let (Some(start), Some(end)) = (start, end)
        && is_whole(start, end)
        && let Ok(range) = fit(start, end)
    {
        return Ok(Some(range));
    }
    let rows = inquiry.all(&[Measure::First, Measure::Last]).await?;
    let (first, last) = (rows[0][0].time(), rows[0][1].time());
    let Some((first, last)) = first.zip(last) else { return Ok(None) };
    // A range that nobody can show is cut down to where there is anything.
    let (start, end) = (start.unwrap_or(first), end.unwrap_or(last));
    let asked = Some(fit(start, end)).filter(|_| is_whole(start, end)).and_then(Result::ok);
    match asked.map_or_else(|| fit(first, last), Ok) {
        Ok(range) => Ok(Some(range)),
        Err(points) => Err(Problem::too_much(format!("the answer would have {points} points"))
            .hint(format!("ask for {POINTS_MAX} at most, with wider ones or a shorter range"))),
    }
}

/// The points from one moment to another, or how many there would be.
fn fit(
    calendar: Calendar,
    (start, end): (i64, i64),
    interval: Option<Interval>,
    points: u64,
) -> Result<Range, u64> {
    let count = |interval: Interval| calendar.count(interval, start, end);
    let range = |interval: Interval, start: i64| Range {
        interval,
        steps: calendar.steps(interval, start, end).into(),
    };
    if let Some(interval) = interval {
        let count = count(interval);
        return if count <= POINTS_MAX { Ok(range(interval, start)) } else { Err(count) };
    }
    let shortest = Interval::ALL.into_iter().find(|interval| count(*interval) <= points);
    let interval = shortest.unwrap_or(Interval::Year);
    // Of more years than an answer may have, the newest are shown.
    let start = match count(interval) <= POINTS_MAX {
        true => start,
        false => calendar.years_before(end, POINTS_MAX - 1).max(start),
    };
    Ok(range(interval, start))
}

/// Rows far outside of all others. Where that cannot be told, nobody is told.
async fn far(inquiry: &Inquiry, range: &Range) -> Option<Far> {
    let Scope { start, end, .. } = inquiry.scope;
    if start.is_some() || end.is_some() || range.interval < Interval::Hour {
        return None;
    }
    let by_day = Question::of(&inquiry.scope, &[Measure::Count])
        .by(vec![Group::Time(Steps::Utc(Interval::Day))]);
    let rows = inquiry.ask(&by_day).await.ok()?;
    let utc = Calendar::default();
    let number = |day: NaiveDate| i64::from(day.to_epoch_days());
    let days = rows.iter().filter_map(|row| Some((row.first()?.time()?, row.get(1)?.count())));
    let mut days: Vec<_> = days.map(|(at, rows)| (number(utc.day_of(at)), rows)).collect();
    days.sort_unstable();
    let Outliers { before, after, bulk } = outliers(&days)?;
    let written = |day: i64| {
        let day = i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days)?;
        Some(day.to_string())
    };
    Some(Far { before, after, start: written(bulk.0)?, end: written(bulk.1)? })
}
