//! What is asked: which rows, in which groups, and what of each group.
//!
//! Both backends make their query from a [`Question`], so that they cannot mean different things.

use std::sync::Arc;

use super::columns::Columns;
use super::filter::Filter;
use super::interval::{Calendar, Interval};
use super::params::{Bound, Params};
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
    /// Whose days they are.
    pub calendar: Calendar,
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
        let calendar = params.zone("zone")?;
        let filters = filters.iter().map(|text| Filter::read(text, columns, calendar));
        let scope = Self {
            start: params.time("start", calendar, Bound::First)?,
            end: params.time("end", calendar, Bound::Last)?,
            filters: filters.collect::<Answer<_>>()?,
            bots: params.choice("bots", &SIDES)?.unwrap_or_default(),
            statics: params.choice("static", &SIDES)?.unwrap_or_default(),
            calendar,
        };
        if let (Some(start), Some(end)) = (scope.start, scope.end)
            && start > end
        {
            return Err(Problem::bad_request("`start` lies after `end`"));
        }
        Ok(scope)
    }
}

/// The steps of time that rows are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Those of an interval, in UTC.
    Utc(Interval),
    /// Those that begin at these moments, ascending.
    From(Arc<[i64]>),
}

/// What rows of one group have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// The value of a column.
    Column(String),
    /// The step that the column of times lies in.
    Time(Steps),
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
