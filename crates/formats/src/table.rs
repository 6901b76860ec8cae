//! Parsed lines as text, for the tests of every format.

use arrow::array::{AsArray, StringViewArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use contract::record::is_json;
use serde::de::IgnoredAny;

use crate::{FormatConfig, Parsed, parser};

/// Parses lines and shows each row as `a|b|~`, where `~` is null, and each refused line as
/// `row: reason`. Both ways of asking for columns must agree.
pub fn rows(config: &FormatConfig, lines: &[&str]) -> (Vec<String>, Vec<String>) {
    let parser = parser(config).expect("a valid configuration");
    let array = StringViewArray::from(lines.to_vec());
    let parsed = parser.parse(&array, None);
    let schema = parser.schema();
    for (column, field) in parsed.columns.iter().zip(schema.fields()) {
        assert_eq!(column.data_type(), field.data_type(), "column {}", field.name());
        assert!(field.is_nullable() || column.null_count() == 0, "column {}", field.name());
        assert_eq!(column.len() + parsed.refused.len(), lines.len(), "column {}", field.name());
        column.to_data().validate_full().expect("every array is valid");
        for text in is_json(field).then(|| column.as_string_view().iter()).into_iter().flatten() {
            let json = text.map(serde_json::from_str::<IgnoredAny>);
            assert!(json.is_none_or(|json| json.is_ok()), "column {}: {text:?}", field.name());
        }
    }
    let all: Vec<usize> = (0..schema.fields().len()).rev().collect();
    let some = parser.parse(&array, Some(&all));
    assert!(some.columns.iter().rev().eq(&parsed.columns), "a projection changes no value");
    assert_eq!(parser.parse(&array, Some(&[])).refused, parsed.refused);
    (shown(&parsed), refused(&parsed))
}

/// The rows and the refusals, one per line.
pub fn said(config: &FormatConfig, lines: &[&str]) -> String {
    let (rows, refused) = rows(config, lines);
    [rows, refused].concat().join("\n")
}

fn shown(parsed: &Parsed) -> Vec<String> {
    let options = FormatOptions::new().with_null("~");
    let columns: Vec<_> = parsed
        .columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("it can be shown"))
        .collect();
    let rows = parsed.columns.first().map_or(0, |column| column.len());
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>();
    (0..rows).map(|at| row(at).join("|")).collect()
}

fn refused(parsed: &Parsed) -> Vec<String> {
    parsed.refused.iter().map(|refused| format!("{}: {}", refused.row, refused.reason)).collect()
}
