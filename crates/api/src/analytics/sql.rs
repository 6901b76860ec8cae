//! From a question to the SQL of a backend: names are quoted, values stay apart.
//!
//! The two dialects differ in how a type is written, how moments are rounded, what a visitor is
//! grouped by and how the newest rows are found, in nothing else.

use std::fmt::Write;

use connector_postgres::quoted;

use super::columns::{Column, Columns, Kind};
use super::filter::{Filter, Test, Value};
use super::interval::Interval;
use super::params::written;
use super::question::{Group, Measure, Question, Scope, Side, Steps};
use crate::problem::{Answer, Problem};

/// The ends of paths of images, styles, scripts, fonts and media.
const STATIC: &str = "[.](css|js|mjs|map|png|jpe?g|gif|svg|ico|webp|avif|bmp|woff2?|ttf|otf|eot|\
                      mp[34]|webm|og[gv]|wav|m4a|mov)$";

/// The column that says how long a request took, in milliseconds.
pub const DURATION: &str = "response_time_ms";

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// DataFusion's.
    Lake,
    /// PostgreSQL's.
    Postgres,
}

/// A query and the values that it names `$1`, `$2`, …
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sql {
    /// The query.
    pub text: String,
    /// The values.
    pub values: Vec<Value>,
    /// What the columns of the answer are.
    pub kinds: Vec<Kind>,
    /// A query that is asked first: the one time that it answers is the last of the values.
    pub first: Option<Box<Sql>>,
}

impl Sql {
    /// What tells this query from every other.
    pub fn key(&self) -> String {
        format!("{}\n{:?}", self.text, self.values)
    }
}

/// Writes queries about one table.
pub struct Writer<'a> {
    /// Whose SQL it is.
    pub dialect: Dialect,
    /// The table, quoted.
    pub table: &'a str,
    /// Its columns.
    pub columns: &'a Columns,
    values: Vec<Value>,
}

impl<'a> Writer<'a> {
    /// A writer of queries about a table, whose name is quoted already.
    pub fn new(dialect: Dialect, table: &'a str, columns: &'a Columns) -> Self {
        Self { dialect, table, columns, values: Vec::new() }
    }

    /// The query of a question: one row per group, its groups and then its measures.
    ///
    /// # Errors
    /// 404: the table lacks a column that the question needs.
    pub fn question(mut self, question: &Question) -> Answer<Sql> {
        let groups = question.groups.iter().map(|group| self.group(group));
        let groups = groups.collect::<Answer<Vec<_>>>()?;
        let condition = self.scope(&question.scope)?;
        let timed = question.measures.iter().any(|measure| measure.is_timed());
        let mut text = match (timed, question.measures.contains(&Measure::Visitors)) {
            (true, _) => self.by_rank(question, &groups, &condition)?,
            (_, true) => self.in_two_steps(question, &groups, &condition)?,
            (_, false) => self.in_one_step(question, &groups, &condition)?,
        };
        if let Some(measure) = question.largest {
            let by = groups.len() + measure;
            let ties = (0..groups.len()).map(|at| format!(", c{at} ASC NULLS LAST"));
            let _ = write!(text, " ORDER BY c{by} DESC{}", ties.collect::<String>());
        }
        if let Some(limit) = question.limit {
            let _ = write!(text, " LIMIT {limit}");
        }
        let kinds = groups.iter().map(|(_, kind)| *kind);
        let timed = self.columns.find(DURATION).map_or(Kind::Real, |column| column.kind);
        let measures = question.measures.iter().map(|measure| measure.kind(timed));
        let kinds = kinds.chain(measures);
        Ok(Sql { text, kinds: kinds.collect(), values: self.values, first: None })
    }

    /// The newest rows of a scope, or the oldest after a moment.
    ///
    /// # Errors
    /// 404: there is no column of times.
    pub fn records(mut self, scope: &Scope, limit: u64) -> Answer<Sql> {
        let time = self.value(self.columns.time()?);
        let names = self.columns.all.iter().map(|column| self.value(column));
        let names = names.collect::<Vec<_>>().join(", ");
        let condition = self.scope(scope)?;
        let newest = |what: &str, condition: &str| {
            let (table, order) = (self.table, format!("{time} DESC NULLS LAST"));
            format!("SELECT {what} FROM {table}{condition} ORDER BY {order} LIMIT {limit}")
        };
        let kinds = self.columns.all.iter().map(|column| column.kind).collect();
        if self.dialect == Dialect::Postgres {
            let text = newest(&names, &condition);
            return Ok(Sql { text, kinds, values: self.values, first: None });
        }
        // First their times alone: of the other columns, only what lies behind them is then read.
        let times = newest(&format!("{time} AS time"), &condition);
        let first = Sql {
            text: format!("SELECT min(time) AS c0 FROM ({times}) AS newest"),
            values: self.values.clone(),
            kinds: vec![Kind::Time],
            first: None,
        };
        let joint = if condition.is_empty() { "WHERE" } else { "AND" };
        let oldest = self.values.len() + 1;
        let bound = format!("{condition} {joint} ({time} >= ${oldest} OR {time} IS NULL)");
        let text = newest(&names, &bound);
        Ok(Sql { text, kinds, values: self.values, first: Some(Box::new(first)) })
    }

    fn in_one_step(
        &self,
        question: &Question,
        groups: &[(String, Kind)],
        condition: &str,
    ) -> Answer<String> {
        let measures = question.measures.iter().map(|measure| self.measure(*measure));
        let measures = measures.collect::<Answer<Vec<_>>>()?;
        let list = groups.iter().map(|(group, _)| group).chain(&measures);
        let list = named(list.map(String::as_str));
        let table = self.table;
        Ok(format!("SELECT {list} FROM {table}{condition}{}", by_first(groups.len())))
    }

    /// Visitors are counted by first making groups of them: exact, and able to spill to disk.
    fn in_two_steps(
        &self,
        question: &Question,
        groups: &[(String, Kind)],
        condition: &str,
    ) -> Answer<String> {
        let mut inner: Vec<String> = Vec::new();
        for (at, (group, _)) in groups.iter().enumerate() {
            inner.push(format!("{group} AS g{at}"));
        }
        let visitor = [
            self.value(self.columns.needed("ip")?),
            self.rounded(Interval::Day)?,
            self.value(self.columns.needed("user_agent")?),
        ];
        match self.dialect {
            Dialect::Lake => inner.push(format!("fingerprint({}) AS v", visitor.join(", "))),
            Dialect::Postgres => {
                let parts = visitor.iter().enumerate();
                inner.extend(parts.map(|(at, part)| format!("{part} AS v{at}")));
            }
        }
        let keys = inner.len();
        let mut outer: Vec<String> = (0..groups.len()).map(|at| format!("g{at}")).collect();
        for (at, measure) in question.measures.iter().enumerate() {
            if *measure == Measure::Visitors {
                outer.push(self.whole("count(*)"));
                continue;
            }
            inner.push(format!("{} AS m{at}", self.measure(*measure)?));
            outer.push(match measure {
                Measure::First => format!("min(m{at})"),
                Measure::Last | Measure::BytesMax => format!("max(m{at})"),
                _ => self.whole(&format!("coalesce(sum(m{at}), 0)")),
            });
        }
        let largest = self.largest_groups(question, groups, condition)?;
        Ok(format!(
            "SELECT {} FROM (SELECT {} FROM {}{largest}{condition}{}) AS visitors{}",
            named(outer.iter().map(String::as_str)),
            inner.join(", "),
            self.table,
            by_first(keys),
            by_first(groups.len()),
        ))
    }

    /// A join with the few groups that will be in the answer, where these can be told without
    /// counting visitors: most rows then need not be told apart by visitor.
    fn largest_groups(
        &self,
        question: &Question,
        groups: &[(String, Kind)],
        condition: &str,
    ) -> Answer<String> {
        let largest = question.largest.map(|at| question.measures[at]);
        let (Some(largest), Some(limit), [(group, _)]) = (largest, question.limit, groups) else {
            return Ok(String::new());
        };
        if largest == Measure::Visitors {
            return Ok(String::new());
        }
        Ok(format!(
            " JOIN (SELECT {group} AS largest_group FROM {}{condition}{} ORDER BY {} DESC, \
             largest_group ASC NULLS LAST LIMIT {limit}) AS largest ON {group} IS NOT DISTINCT \
             FROM largest_group",
            self.table,
            by_first(1),
            self.measure(largest)?,
        ))
    }

    /// Equal times are counted first, then ranked: exact, and the same in both dialects.
    fn by_rank(
        &self,
        question: &Question,
        groups: &[(String, Kind)],
        condition: &str,
    ) -> Answer<String> {
        let took = self.value(self.columns.needed(DURATION)?);
        let keys = (0..groups.len()).map(|at| format!("g{at}, ")).collect::<String>();
        let inner = groups.iter().enumerate();
        let inner = inner.map(|(at, (group, _))| format!("{group} AS g{at}, "));
        let inner = inner.collect::<String>();
        let partition = match groups.len() {
            0 => String::new(),
            _ => format!("PARTITION BY {}", keys.trim_end_matches(", ")),
        };
        let timed = match condition {
            "" => format!(" WHERE {took} IS NOT NULL"),
            condition => format!("{condition} AND {took} IS NOT NULL"),
        };
        let measures = question.measures.iter().map(|measure| match measure {
            Measure::Percentile(hundredths) => {
                format!("min(took) FILTER (WHERE upto * 100 >= total * {hundredths})")
            }
            Measure::Slowest => "max(took)".to_owned(),
            _ => self.whole("coalesce(sum(times), 0)"),
        });
        let measures = measures.collect::<Vec<_>>().join(", ");
        Ok(format!(
            "SELECT {keys}{measures} FROM (\
             SELECT {keys}took, times, sum(times) OVER ({partition} ORDER BY took) AS upto, \
             sum(times) OVER ({partition}) AS total FROM (\
             SELECT {inner}{took} AS took, count(*) AS times FROM {}{timed}{}) AS counted\
             ) AS ranked{}",
            self.table,
            by_first(groups.len() + 1),
            by_first(groups.len()),
        ))
    }

    fn group(&self, group: &Group) -> Answer<(String, Kind)> {
        match group {
            Group::Time(Steps::Utc(interval)) => Ok((self.rounded(*interval)?, Kind::Time)),
            Group::Time(Steps::From(moments)) => Ok((self.step(moments)?, Kind::Time)),
            Group::Column(name) => {
                let column = self.columns.needed(name)?;
                let value = self.value(column);
                // The order of texts is that of their bytes, whatever the database's language.
                let binary = self.dialect == Dialect::Postgres && column.kind == Kind::Text;
                let value = if binary { format!("{value} COLLATE \"C\"") } else { value };
                Ok((value, column.kind))
            }
        }
    }

    fn measure(&self, measure: Measure) -> Answer<String> {
        let column = |name: &str| self.columns.needed(name).map(|column| self.value(column));
        Ok(match measure {
            // Those of times are asked for by rank.
            Measure::TimedCount | Measure::Percentile(_) | Measure::Slowest => String::new(),
            Measure::Count | Measure::Visitors => self.whole("count(*)"),
            Measure::Bytes => self.whole(&format!("coalesce(sum({}), 0)", column("bytes")?)),
            Measure::BytesCount => self.whole(&format!("count({})", column("bytes")?)),
            Measure::BytesMax => self.whole(&format!("max({})", column("bytes")?)),
            Measure::Errors => {
                self.whole(&format!("count(*) FILTER (WHERE {} >= 500)", column("status")?))
            }
            Measure::Class(hundreds) => {
                let (status, from, to) = (column("status")?, hundreds * 100, hundreds * 100 + 100);
                let of_class = format!("{status} >= {from} AND {status} < {to}");
                self.whole(&format!("count(*) FILTER (WHERE {of_class})"))
            }
            Measure::First => format!("min({})", self.value(self.columns.time()?)),
            Measure::Last => format!("max({})", self.value(self.columns.time()?)),
        })
    }

    /// The beginning of the interval of UTC.
    fn rounded(&self, interval: Interval) -> Answer<String> {
        let time = self.value(self.columns.time()?);
        let word = interval.word();
        Ok(match (self.dialect, interval, interval.counted_seconds()) {
            (Dialect::Lake, Interval::FiveMinutes, _) => {
                format!("date_bin(INTERVAL '5 minutes', {time})")
            }
            // Counted, where `date_bin` would go through the calendar for every row.
            (Dialect::Lake, ..) => format!("date_trunc('{word}', {time})"),
            (Dialect::Postgres, _, Some(seconds)) => format!(
                "date_bin(INTERVAL '{seconds} seconds', {time}, TIMESTAMPTZ '1970-01-01 00:00+00')"
            ),
            (Dialect::Postgres, ..) => format!("date_trunc('{word}', {time}, 'UTC')"),
        })
    }

    /// The last of some moments that is not after the time of a row.
    fn step(&self, moments: &[i64]) -> Answer<String> {
        let time = self.value(self.columns.time()?);
        Ok(match self.dialect {
            Dialect::Lake => {
                let list = moments.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                format!("begin_of({time}, '{list}')")
            }
            Dialect::Postgres => {
                let list = moments.iter().map(|moment| written(*moment)).collect::<Vec<_>>();
                let list = format!("'{{{}}}'::timestamptz[]", list.join(","));
                format!("({list})[width_bucket({time}, {list})]")
            }
        })
    }

    fn whole(&self, expression: &str) -> String {
        format!("CAST({expression} AS BIGINT)")
    }

    /// The value of a column, brought to the type that the answer takes it as.
    fn value(&self, column: &Column) -> String {
        let name = quoted(&column.name);
        match column.cast {
            Some("timestamptz") => format!("(CAST({name} AS timestamp) AT TIME ZONE 'UTC')"),
            Some(cast) => format!("CAST({name} AS {cast})"),
            None => name,
        }
    }

    fn scope(&mut self, scope: &Scope) -> Answer<String> {
        let mut conditions = Vec::new();
        if scope.start.is_some() || scope.end.is_some() {
            let time = self.value(self.columns.time()?);
            if let Some(start) = scope.start {
                conditions.push(format!("{time} >= {}", self.bound(Value::Time(start))));
            }
            if let Some(end) = scope.end {
                conditions.push(format!("{time} <= {}", self.bound(Value::Time(end))));
            }
        }
        for filter in &scope.filters {
            let condition = self.filter(filter);
            conditions.push(condition);
        }
        conditions.extend(self.bots(scope.bots)?);
        conditions.extend(self.statics(scope.statics)?);
        Ok(match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        })
    }

    fn filter(&mut self, filter: &Filter) -> String {
        let column = self.value(&filter.column);
        let Some(value) = &filter.value else {
            let empty = match filter.column.kind {
                Kind::Text => format!("({column} IS NULL OR {column} = '')"),
                _ => format!("{column} IS NULL"),
            };
            return if filter.test == Test::Equal { empty } else { format!("NOT ({empty})") };
        };
        let column = match (value, filter.column.kind) {
            (Value::Real(_), Kind::Integer) => format!("CAST({column} AS DOUBLE PRECISION)"),
            _ => column,
        };
        let value = self.bound(value.clone());
        match filter.test {
            Test::Equal => format!("{column} = {value}"),
            Test::Unequal => format!("({column} IS DISTINCT FROM {value})"),
            Test::Contains => format!("strpos({column}, {value}) > 0"),
            Test::AtLeast => format!("{column} >= {value}"),
            Test::AtMost => format!("{column} <= {value}"),
        }
    }

    fn bots(&self, side: Side) -> Answer<Option<String>> {
        if side == Side::Include {
            return Ok(None);
        }
        let column = self.columns.needed("ua_bot")?;
        let value = self.value(column);
        let bot = match column.kind {
            Kind::Boolean => format!("coalesce({value}, false)"),
            Kind::Text => format!("coalesce({value}, '') <> ''"),
            _ => return Err(Problem::not_found("column \"ua_bot\" is neither true nor false")),
        };
        Ok(Some(if side == Side::Only { bot } else { format!("NOT ({bot})") }))
    }

    fn statics(&self, side: Side) -> Answer<Option<String>> {
        if side == Side::Include {
            return Ok(None);
        }
        let path = match self.columns.find("path") {
            Some(path) => self.value(path),
            None => {
                let endpoint = self.value(self.columns.needed("endpoint")?);
                format!("split_part({endpoint}, '?', 1)")
            }
        };
        let is_static = format!("coalesce({path} ~* '{STATIC}', false)");
        Ok(Some(if side == Side::Only { is_static } else { format!("NOT {is_static}") }))
    }

    fn bound(&mut self, value: Value) -> String {
        let kind = match (&value, self.dialect) {
            (_, Dialect::Lake) => "",
            (Value::Text(_), _) => "::text",
            (Value::Integer(_), _) => "::bigint",
            (Value::Real(_), _) => "::float8",
            (Value::Time(_), _) => "::timestamptz",
            (Value::Boolean(_), _) => "::boolean",
        };
        self.values.push(value);
        format!("${}{kind}", self.values.len())
    }
}

impl Measure {
    /// What its values are, where those of times are of this kind.
    fn kind(self, timed: Kind) -> Kind {
        match self {
            Self::First | Self::Last => Kind::Time,
            Self::Percentile(_) | Self::Slowest => timed,
            _ => Kind::Integer,
        }
    }
}

/// Columns under the names `c0`, `c1`, …, by which they are ordered.
fn named<'a>(columns: impl Iterator<Item = &'a str>) -> String {
    let columns = columns.enumerate().map(|(at, column)| format!("{column} AS c{at}"));
    columns.collect::<Vec<_>>().join(", ")
}

fn by_first(columns: usize) -> String {
    match columns {
        0 => String::new(),
        _ => {
            let numbers = (1..=columns).map(|at| at.to_string()).collect::<Vec<_>>();
            format!(" GROUP BY {}", numbers.join(", "))
        }
    }
}
