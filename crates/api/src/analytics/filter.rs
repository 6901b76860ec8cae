//! Conditions on single columns: `status>=500`, `endpoint~/api/`, `country=`.

use super::columns::{Column, Columns, Kind};
use super::interval::Calendar;
use super::params::{Bound, moment};
use crate::problem::{Answer, Problem};

/// How a value is compared. Longer operators come first.
const OPERATORS: [(&str, Test); 5] = [
    ("!=", Test::Unequal),
    (">=", Test::AtLeast),
    ("<=", Test::AtMost),
    ("=", Test::Equal),
    ("~", Test::Contains),
];
/// The characters that an operator begins with.
const FIRST: [char; 5] = ['!', '>', '<', '=', '~'];

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is the value.
    Equal,
    /// It is another value, or none.
    Unequal,
    /// It contains the text.
    Contains,
    /// It is the value or more.
    AtLeast,
    /// It is the value or less.
    AtMost,
}

/// A value that goes to the database apart from the query's text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A moment, in microseconds since 1970.
    Time(i64),
    /// True or false.
    Boolean(bool),
}

/// A condition on a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// The column.
    pub column: Column,
    /// How it is compared.
    pub test: Test,
    /// With what; none for what is null or empty.
    pub value: Option<Value>,
}

impl Filter {
    /// Reads a condition. A date is the whole day where it bounds one: `>=` takes its first moment,
    /// `<=` its last.
    ///
    /// # Errors
    /// 400: there is no operator or no such column, or the value is none of the column.
    pub fn read(text: &str, columns: &Columns, calendar: Calendar) -> Answer<Self> {
        let wrong = || {
            Problem::bad_request(format!("the filter {text:?} is no condition"))
                .hint("write `status=404`, `status!=200`, `endpoint~/api/` or `status>=500`")
        };
        let at = text.find(FIRST).ok_or_else(wrong)?;
        let (name, rest) = text.split_at(at);
        let found = OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator));
        let (operator, test) = found.ok_or_else(wrong)?;
        let column = columns.named(name)?.clone();
        let value = &rest[operator.len()..];
        let value = match (value, test) {
            ("", Test::Equal | Test::Unequal) => None,
            _ => Some(value_of(&column, *test, value, calendar)?),
        };
        Ok(Self { column, test: *test, value })
    }
}

fn value_of(column: &Column, test: Test, text: &str, calendar: Calendar) -> Answer<Value> {
    let name = &column.name;
    let wrong = |what: &str| {
        Problem::bad_request(format!("column {name:?} holds {what}, and {text:?} is none of them"))
    };
    match (test, column.kind) {
        (Test::Contains, Kind::Text) => return Ok(Value::Text(text.to_owned())),
        (Test::Contains, kind) => {
            let word = kind.word();
            return Err(Problem::bad_request(format!(
                "`~` looks into text, and {name:?} is a column of type {word}"
            )));
        }
        (Test::AtLeast | Test::AtMost, Kind::Text | Kind::Boolean) => {
            return Err(Problem::bad_request(format!(
                "column {name:?} has no order that `>=` and `<=` could use"
            )));
        }
        _ => {}
    }
    match column.kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Integer | Kind::Real => number(text).ok_or_else(|| wrong("numbers")),
        Kind::Time => {
            let bound = if test == Test::AtMost { Bound::Last } else { Bound::First };
            moment(text, calendar, bound).map(Value::Time).ok_or_else(|| wrong("times"))
        }
        Kind::Boolean => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(wrong("`true` and `false`")),
        },
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(number) = text.parse() {
        return Some(Value::Integer(number));
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Real)
}
