//! Text with placeholders over columns: `logs/{host}/{ts:%Y/%m/%d}`.
//!
//! `{column}` stands for a value, `{column:%Y-%m-%d}` for a time in UTC, `{{` and `}}` for braces
//! themselves, and a caller may add words of its own. A colon without a `%` behind it belongs to
//! the name of a column. Not the place that decides what a value may
//! contain: whoever builds a path or the name of an index of the parts confines each of them. The
//! same row always gives the same parts.

mod divide;
mod time;

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use contract::record::EPOCH;
use contract::{Error, Result, Section};

pub use divide::Groups;
pub use time::{TimeFormat, check_time};

/// A text with placeholders.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What a template is made of.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text, which stands for itself.
    Text(String),
    /// A word of the caller.
    Word(&'static str),
    /// A column, whose value stands there.
    Column(String),
    /// A column of times, and how they are written.
    Time(String, TimeFormat),
}

/// The values of a template's columns in one row, in their order; none where a value is null.
pub type Values = Vec<Option<Arc<str>>>;

/// A piece of a text in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text of the template.
    Text(&'a str),
    /// A word of the caller.
    Word(&'static str),
    /// The value of a column; none where it is null.
    Value(Option<&'a str>),
    /// A time as the template writes it; none where it is null or no date.
    Time(Option<&'a str>),
}

impl Template {
    /// Reads a template; `words` are placeholders that are no columns.
    ///
    /// # Errors
    /// Config: braces that do not match, an empty placeholder, a time format that is none.
    pub fn parse(text: &str, words: &[&'static str]) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(open);
            push_text(&mut pieces, before);
            if let Some(behind) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                push_text(&mut pieces, &after[..1]);
                rest = behind;
                continue;
            }
            let inside = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((placeholder, behind)) = inside else {
                return Err(bad(text, "a brace stands alone"));
            };
            pieces.push(Piece::parse(text, placeholder, words)?);
            rest = behind;
        }
        push_text(&mut pieces, rest);
        Ok(Self { pieces })
    }

    /// What it is made of, for those who write values in their own way.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Checks that a schema has the columns, of types that can be written.
    ///
    /// # Errors
    /// Config: it has not, or the text would depend on the epoch.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(_) | Piece::Word(_) => Ok(()),
            Piece::Column(column) => check_column(schema, column),
            Piece::Time(column, _) => check_time(schema, column),
        })
    }

    /// Whether a word of the caller stands in it.
    pub fn has_word(&self, word: &str) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Word(own) if *own == word))
    }

    /// The first column that is written as a time.
    pub fn time_column(&self) -> Option<&str> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Time(column, _) => Some(column.as_str()),
            _ => None,
        })
    }

    /// The columns that a row's text depends on.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column(column) | Piece::Time(column, _) => Some(column.as_str()),
            Piece::Text(_) | Piece::Word(_) => None,
        })
    }

    /// The parts of a row's text. The values are those that [`Template::divide`] gave.
    pub fn parts<'a>(&'a self, values: &'a [Option<Arc<str>>]) -> impl Iterator<Item = Part<'a>> {
        let mut values = values.iter();
        self.pieces.iter().map(move |piece| match piece {
            Piece::Text(text) => Part::Text(text),
            Piece::Word(word) => Part::Word(word),
            Piece::Column(_) => Part::Value(values.next().and_then(Option::as_deref)),
            Piece::Time(..) => Part::Time(values.next().and_then(Option::as_deref)),
        })
    }

    /// What the parts are made of, for checks and patterns: times as of 2000-02-29, values absent.
    pub fn sample(&self) -> Vec<(Part<'_>, String)> {
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (Part::Text(text), text.clone()),
                Piece::Word(word) => (Part::Word(word), (*word).to_owned()),
                Piece::Column(_) => (Part::Value(None), String::new()),
                Piece::Time(_, format) => (Part::Time(None), format.sample()),
            })
            .collect()
    }
}

impl Piece {
    fn parse(text: &str, placeholder: &str, words: &[&'static str]) -> Result<Self> {
        if let Some(word) = words.iter().find(|word| **word == placeholder) {
            return Ok(Self::Word(word));
        }
        let (column, format) = match placeholder.split_once(':') {
            // What writes a time has a `%`; else the colon is one of the column's name.
            Some((column, format)) if format.contains('%') => (column, Some(format)),
            _ => (placeholder, None),
        };
        if column.is_empty() || column.contains('{') {
            return Err(bad(text, "a placeholder names no column"));
        }
        let column = column.to_owned();
        Ok(match format {
            Some(format) => Self::Time(column, TimeFormat::parse(format)?),
            None => Self::Column(column),
        })
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

fn bad(text: &str, what: &str) -> Error {
    Error::config(format!("{text:?} is no template: {what}")).hint(
        "write `{column}` for a value, `{column:%Y-%m-%d}` for a time, `{{` and `}}` for braces",
    )
}

fn find<'a>(schema: &'a Schema, column: &str) -> Result<&'a DataType> {
    if column == EPOCH {
        return Err(Error::config("a name cannot depend on the column \"_epoch\"")
            .hint("a record that is read again must get the same name"));
    }
    let field = schema.field_with_name(column).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        Error::config(format!("column {column:?} does not exist"))
            .hint(Section::did_you_mean(column, names))
    })?;
    Ok(field.data_type())
}

fn check_column(schema: &Schema, column: &str) -> Result<()> {
    let data_type = find(schema, column)?;
    let plain = match data_type {
        DataType::Dictionary(_, value) => value,
        other => other,
    };
    let fits = plain.is_integer()
        || plain.is_string()
        || matches!(plain, DataType::Boolean | DataType::Date32);
    if fits {
        return Ok(());
    }
    let error = Error::config(format!("column {column:?} of type {data_type} makes no name"));
    Err(match data_type.is_temporal() {
        true => error.hint(format!("say how to write it, for example `{{{column}:%Y-%m-%d}}`")),
        false => error.hint("use text, whole numbers, booleans or times"),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringViewArray,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn batch() -> RecordBatch {
        let times = [Some(0), Some(DAY - 1), Some(DAY), None, Some(-1), Some(i64::MIN)];
        let times = TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC");
        let hosts =
            StringViewArray::from(vec![Some("a"), Some("b"), Some("b"), Some("b"), None, None]);
        let methods: DictionaryArray<Int32Type> =
            ["GET", "GET", "GET", "GET", "PUT", "PUT"].into_iter().collect();
        RecordBatch::try_from_iter_with_nullable([
            ("ts", Arc::new(times) as ArrayRef, true),
            ("host", Arc::new(hosts), true),
            ("method", Arc::new(methods), true),
            ("status", Arc::new(Int64Array::from(vec![200; 6])), true),
            ("a:b", Arc::new(Int64Array::from(vec![7; 6])), true),
        ])
        .expect("columns of one length")
    }

    fn rows(template: &str) -> Vec<String> {
        let template = Template::parse(template, &["unit"]).expect("a template");
        template.check(&batch().schema()).expect("its columns exist");
        let groups = template.divide(&batch()).expect("a division");
        let text = |group: &u32| {
            let parts = template.parts(&groups.values[*group as usize]).map(|part| match part {
                Part::Text(text) => text,
                Part::Word(word) => word,
                Part::Value(value) | Part::Time(value) => value.unwrap_or("~"),
            });
            parts.collect::<String>()
        };
        groups.of_row.iter().map(text).collect()
    }

    #[test]
    fn each_row_gets_its_own_text() {
        let days = ["1970/01/01", "1970/01/01", "1970/01/02", "~", "1969/12/31", "~"];
        assert_eq!(rows("{ts:%Y/%m/%d}"), days);
        assert_eq!(rows("{host}-{method}"), ["a-GET", "b-GET", "b-GET", "b-GET", "~-PUT", "~-PUT"]);
        assert_eq!(rows("{unit}.x"), ["unit.x"; 6]);
        assert_eq!(rows("{ts:%H:%M:%S}")[1], "23:59:59");
        assert_eq!(rows("{ts:%s}")[4], "-1");
        assert_eq!(rows("{status}"), ["200"; 6]);
        assert_eq!(rows("{a:b}"), ["7"; 6]);
    }

    #[test]
    fn braces_that_stand_twice_are_braces() {
        assert_eq!(rows("{{{host}}}")[0], "{a}");
        assert_eq!(rows("a{{b}}c")[0], "a{b}c");
        let template = Template::parse("a{{b}}", &[]).expect("a template");
        assert!(matches!(template.pieces(), [Piece::Text(text)] if text == "a{b}"));
    }

    #[test]
    fn rows_of_one_text_are_one_group() {
        let template = Template::parse("{host}/{ts:%Y}", &[]).expect("a template");
        let groups = template.divide(&batch()).expect("a division");
        assert_eq!(groups.of_row, [0, 1, 1, 2, 3, 4]);
    }

    fn refused(template: &str, expect: &str) {
        let checked = Template::parse(template, &[]).and_then(|it| it.check(&batch().schema()));
        let error = checked.expect_err(template).chain();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn what_names_nothing_is_refused() {
        refused("{ts", "a brace stands alone");
        refused("ts}", "a brace stands alone");
        refused("{}", "names no column");
        refused("{tss:%Y}", "does not exist");
        refused("{ts:YYYY}", "column \"ts:YYYY\" does not exist");
        refused("{ts}", "makes no name");
        refused("{host:%Y}", "is no time");
        refused("{ts:%Q}", "no format of a time");
        refused("{ts:%f}", "parts of a second");
        refused("{_epoch}", "cannot depend on");
    }
}
