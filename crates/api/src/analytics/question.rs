//! What is asked: which rows, in which groups, and what of each group.
//!
//! Both backends make their query from a [`Question`], so that they cannot mean different things.

use super::columns::Columns;
use super::filter::Filter;
use super::params::Params;
use crate::problem::{Answer, Problem};

/// Conditions in one question.
const FILTERS_MAX: usize = 20;
/// The words of `bots` and `static`.
const SIDES: [(&str, Side); 3] =
    [("include", Side::Include), ("exclude", Side::Exclude), ("only", Side::Only)];

/// Whether rows of some sort count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// They count, as all others.
    #[default]
    Include,
    /// They do not count.
    Exclude,
    /// Only they count.
    Only,
}

/// Which rows count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// The first moment, in microseconds since 1970.
    pub start: Option<i64>,
    /// The last moment, which still counts.
    pub end: Option<i64>,
    /// Conditions; a row meets them all.
    pub filters: Vec<Filter>,
    /// Requests of bots.
    pub bots: Side,
    /// Requests for images, styles, scripts, fonts and media.
    pub statics: Side,
}

impl Scope {
    /// Reads what every endpoint takes.
    ///
    /// # Errors
    /// 400; 404 where the table lacks a column that a parameter needs.
    pub fn read(params: &mut Params, columns: &Columns) -> Answer<Self> {
        let filters = params.many("filter");
        if filters.len() > FILTERS_MAX {
            return Err(Problem::bad_request(format!("more than {FILTERS_MAX} filters")));
        }
        let filters = filters.iter().map(|text| Filter::read(text, columns));
        let scope = Self {
            start: params.time("start")?,
            end: params.time("end")?,
            filters: filters.collect::<Answer<_>>()?,
            bots: params.choice("bots", &SIDES)?.unwrap_or_default(),
            statics: params.choice("static", &SIDES)?.unwrap_or_default(),
        };
        if let (Some(start), Some(end)) = (scope.start, scope.end)
            && start > end
        {
            return Err(Problem::bad_request("`start` lies after `end`"));
        }
        Ok(scope)
    }
}

/// The width of a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// 60 seconds.
    Minute,
    /// Five of them.
    FiveMinutes,
    /// 60 minutes.
    Hour,
    /// 24 hours, in UTC.
    Day,
}

impl Interval {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::FiveMinutes, Self::Hour, Self::Day];

    /// The word in requests and answers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::FiveMinutes => "5m",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Its length.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// Its length in microseconds.
    pub fn micros(self) -> i64 {
        self.seconds() * 1_000_000
    }
}

/// What rows of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// The value of a column.
    Column(String),
    /// The interval of the column of times.
    Time(Interval),
}

/// What is asked of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Rows.
    Count,
    /// Distinct (address, day, user agent).
    Visitors,
    /// Sum of the bytes sent.
    Bytes,
    /// Rows that say how many bytes were sent.
    BytesCount,
    /// The most bytes sent in one row.
    BytesMax,
    /// Rows with a status of 500 or more.
    Errors,
    /// Rows with a status of so many hundreds, 1 to 5.
    Class(u16),
    /// The first moment.
    First,
    /// The last moment.
    Last,
    /// Rows that say how long the request took.
    TimedCount,
    /// The shortest time that so many hundredths of all did not exceed (nearest rank). Where it is
    /// asked for, only [`Measure::TimedCount`] and [`Measure::Slowest`] stand beside it.
    Percentile(u8),
    /// The longest time.
    Slowest,
}

impl Measure {
    /// Whether it is about how long requests took.
    pub fn is_timed(self) -> bool {
        matches!(self, Self::TimedCount | Self::Percentile(_) | Self::Slowest)
    }
}

/// A question about groups of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which rows count.
    pub scope: Scope,
    /// What rows of one group have in common.
    pub groups: Vec<Group>,
    /// What is asked of each group.
    pub measures: Vec<Measure>,
    /// The groups come by this measure, the largest first, then by themselves.
    pub largest: Option<usize>,
    /// How many groups at most.
    pub limit: Option<u64>,
}

impl Question {
    /// A question about all rows of a scope together.
    pub fn of(scope: &Scope, measures: &[Measure]) -> Self {
        Self {
            scope: scope.clone(),
            groups: Vec::new(),
            measures: measures.to_vec(),
            largest: None,
            limit: None,
        }
    }

    /// The same in groups.
    #[must_use]
    pub fn by(self, groups: Vec<Group>) -> Self {
        Self { groups, ..self }
    }

    /// The groups with the largest of a measure.
    #[must_use]
    pub fn largest(self, measure: usize, limit: Option<u64>) -> Self {
        Self { largest: Some(measure), limit, ..self }
    }
}
