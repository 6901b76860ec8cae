//! The settings of a window.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use contract::quantity::Period;
use contract::transform::EventTime;
use contract::zone::zone;
use contract::{Error, Result, Section};
use schemars::JsonSchema;
use serde::Deserialize;

use super::calendar::{Calendar, Unit};
use super::placed;
use super::times::{self, Windows};
use crate::columns::column;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which rows belong together. `epoch`: those of one epoch; each group gives a row for each
    /// epoch that has rows of it, and the rows of several epochs add up. `{ tumbling: 60s }`: those
    /// of one stretch of event time, aligned to 1970; each group gives one row, once the watermark
    /// has passed the end, with the columns `window_start` and `window_end`.
    /// `{ hopping: { size: 60s, every: 10s } }`: stretches that overlap, so that a row belongs to
    /// several. `{ calendar: { unit: day, time_zone: Europe/Berlin } }`: days, weeks or months of
    /// a place, with its summer time.
    span: Span,

    /// The column of points in time, for spans of event time: `ts`, or
    /// `{ column: ts, disorder: 5s }`.
    time: Option<Time>,

    /// Columns or SQL expressions; rows that agree in all of them are one group (nulls are equal).
    /// An expression needs a name: `date_trunc('minute', ts) AS minute`. Without any, all rows are
    /// one group.
    #[serde(default)]
    pub group_by: Vec<String>,

    /// What is made of the rows of a group, by the name of its column: one call of `count`, `sum`,
    /// `min`, `max`, `avg`, `approx_distinct`, `bool_and` or `bool_or`, with `DISTINCT` in `count`,
    /// and `FILTER (WHERE …)`.
    pub aggregate: BTreeMap<String, String>,

    /// How long after the end of a span of event time its rows may still come. Later ones are
    /// counted as `late`, and leave by the output `late` of the step with the columns of its input.
    #[serde(default)]
    allowed_lateness: Option<Period>,
}

impl Config {
    /// The column of points in time.
    pub fn column(&self) -> Option<&str> {
        match self.time.as_ref()? {
            Time::Column(column) => Some(column),
            Time::Rules(rules) => Some(&rules.column),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "`epoch`, or event time: `{ tumbling: 60s }`, \
                 `{ hopping: { size: 60s, every: 10s } }`, `{ calendar: { unit: day } }`"
)]
enum Span {
    Epoch(Epoch),
    Tumbling(Tumbling),
    Hopping(Hopping),
    Calendar(OfCalendar),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Epoch {
    Epoch,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tumbling {
    /// How long a stretch is; the next one begins where it ends.
    tumbling: Period,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hopping {
    /// Stretches that overlap.
    hopping: Hops,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Hops {
    /// How long a stretch is.
    size: Period,

    /// From the beginning of one to that of the next; at most `size`.
    every: Period,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfCalendar {
    /// Days, weeks or months.
    calendar: Days,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Days {
    /// `day`, `week` (from Monday) or `month`.
    unit: Unit,

    /// Whose days they are: `Europe/Berlin`.
    #[serde(default = "utc")]
    time_zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Span {
    /// Where its windows begin and end; none where an epoch is the window.
    fn windows(&self) -> Result<Option<times::Span>> {
        Ok(Some(match self {
            Self::Epoch(Epoch::Epoch) => return Ok(None),
            Self::Tumbling(Tumbling { tumbling }) => even(*tumbling, *tumbling)?,
            Self::Hopping(Hopping { hopping: Hops { size, every } }) => even(*size, *every)?,
            Self::Calendar(OfCalendar { calendar: Days { unit, time_zone } }) => {
                times::Span::Calendar(Calendar { unit: *unit, zone: zone(time_zone)? })
            }
        }))
    }
}

/// Windows of one length.
fn even(size: Period, every: Period) -> Result<times::Span> {
    if size.0.is_zero() || every.0.is_zero() {
        return Err(Error::config("a stretch of event time cannot be empty"));
    }
    if every > size {
        return Err(Error::config(format!(
            "`every: {every}` is longer than `size: {size}`: rows between two stretches would \
             belong to none"
        ))
        .hint("leave out with a `filter` step what is not to count"));
    }
    let span = times::Span::Even { size_us: micros(size.0), every_us: micros(every.0) };
    match span.panes() > PANES_MAX {
        false => Ok(span),
        true => Err(Error::config(format!(
            "a stretch of {size} every {every} is put together of {} pieces, more than {PANES_MAX}",
            span.panes()
        ))
        .hint("let `size` be a multiple of `every`, or `every` longer")),
    }
}

/// Pieces of which a window is put together at most.
const PANES_MAX: i64 = 3_600;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a column, or `{ column: ts, disorder: 5s }`")]
enum Time {
    Column(String),
    Rules(Rules),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// The column of points in time.
    column: String,

    /// How far rows of one split may stand behind the greatest time of it (5 s).
    disorder: Option<Period>,

    /// A split that has nothing more to give for so long holds no window open (30 s).
    idle: Option<Period>,

    /// Rows further ahead of the clock are refused, and move nothing (1 h).
    ahead_max: Option<Period>,

    /// How long a split that cannot be read holds windows open (10 min); 0 for ever.
    hold_max: Option<Period>,
}

const DISORDER: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);
const AHEAD_MAX: Duration = Duration::from_secs(3_600);
const HOLD_MAX: Duration = Duration::from_secs(600);

/// The windows of event time, and how it is measured; nothing where an epoch is the window.
pub fn times(
    config: &Config,
    input: &SchemaRef,
    section: &Section,
) -> Result<(Option<Windows>, Option<EventTime>)> {
    let span = config.span.windows().map_err(|error| placed(error, section, "span"))?;
    let span = match (span, &config.time, config.allowed_lateness) {
        (None, None, None) => return Ok((None, None)),
        (None, ..) => {
            return Err(Error::config("`span: epoch` has no time, and no row is late for it")
                .hint(
                    "leave `time` and `allowed_lateness` out, or say `span: { tumbling: 60s }`",
                ));
        }
        (Some(_), None, _) => {
            let error = Error::config("expected the column of points in time, `time: ts`");
            return Err(error.field("time"));
        }
        (Some(span), Some(_), _) => span,
    };
    let name = config.column().unwrap_or_default();
    let place = |error| placed(error, section, "time");
    let index = column(input, name).map_err(place)?;
    let found = input.field(index).data_type();
    if !matches!(found, DataType::Timestamp(..)) {
        let message = format!("column {name:?} is {found}, expected a point in time");
        return Err(place(Error::config(message)));
    }
    let rules = match &config.time {
        Some(Time::Rules(rules)) => Some(rules),
        _ => None,
    };
    let period = |given: fn(&Rules) -> Option<Period>, default: Duration| {
        rules.and_then(given).map_or(default, |period| period.0)
    };
    let time = EventTime {
        column: name.to_owned(),
        disorder: period(|rules| rules.disorder, DISORDER),
        idle: period(|rules| rules.idle, IDLE),
        ahead_max: period(|rules| rules.ahead_max, AHEAD_MAX),
        hold_max: period(|rules| rules.hold_max, HOLD_MAX),
    };
    let windows = Windows {
        column: index,
        span,
        lateness_us: micros(config.allowed_lateness.map_or(Duration::ZERO, |period| period.0)),
        ahead_us: micros(time.ahead_max),
    };
    Ok((Some(windows), Some(time)))
}

fn micros(period: Duration) -> i64 {
    i64::try_from(period.as_micros()).unwrap_or(i64::MAX)
}
