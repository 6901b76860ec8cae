//! The settings of a window.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use contract::quantity::Period;
use contract::transform::EventTime;
use contract::{Error, Result, Section};
use schemars::JsonSchema;
use serde::Deserialize;

use super::placed;
use super::times::Tumbling;
use crate::columns::column;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which rows belong together. `epoch`: those of one epoch; each group gives a row for each
    /// epoch that has rows of it, and the rows of several epochs add up. `{ tumbling: 60s }`: those
    /// of one stretch of event time, aligned to 1970; each group gives one row, once the watermark
    /// has passed the end, with the columns `window_start` and `window_end`.
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
#[serde(untagged, expecting = "`epoch`, or a stretch of event time: `{ tumbling: 60s }`")]
enum Span {
    Epoch(Epoch),
    Stretch(Stretch),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Epoch {
    Epoch,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stretch {
    /// How long it is.
    tumbling: Period,
}

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

/// The stretches of event time, and how it is measured; nothing where an epoch is the window.
pub fn times(
    config: &Config,
    input: &SchemaRef,
    section: &Section,
) -> Result<(Option<Tumbling>, Option<EventTime>)> {
    let stretch = match (&config.span, &config.time, config.allowed_lateness) {
        (Span::Epoch(Epoch::Epoch), None, None) => return Ok((None, None)),
        (Span::Epoch(Epoch::Epoch), ..) => {
            return Err(Error::config("`span: epoch` has no time, and no row is late for it")
                .hint(
                    "leave `time` and `allowed_lateness` out, or say `span: { tumbling: 60s }`",
                ));
        }
        (Span::Stretch(_), None, _) => {
            let error = Error::config("expected the column of points in time, `time: ts`");
            return Err(error.field("time"));
        }
        (Span::Stretch(stretch), Some(_), _) => stretch,
    };
    if stretch.tumbling.0.is_zero() {
        let error = Error::config("a stretch of event time cannot be empty");
        return Err(placed(error, section, "span"));
    }
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
    let micros = |period: Duration| i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
    let tumbling = Tumbling {
        column: index,
        size_us: micros(stretch.tumbling.0),
        lateness_us: micros(config.allowed_lateness.map_or(Duration::ZERO, |period| period.0)),
        ahead_us: micros(time.ahead_max),
    };
    Ok((Some(tumbling), Some(time)))
}
