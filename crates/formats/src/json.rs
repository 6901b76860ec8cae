//! One JSON object per line; the fields that the user names become columns.
//!
//! A key that stands twice counts where it stands last; keys that differ in case are two keys. A
//! number, a time or a truth may stand in quotes, and is null where they hold nothing or `-`. A
//! value of another type than its field refuses the line. Numbers beyond 64 bits, NaN and halves of
//! surrogate pairs are such values.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::{Schema, SchemaRef};
use contract::Result;

use crate::object::{self, ObjectText};
use crate::text::Lines;
use crate::timestamp::TimeFormat;
use crate::typed::{self, Cell};
use crate::{FieldType, FormatConfig, Parsed, Parser};

/// The parser of JSON lines.
pub struct Json {
    schema: SchemaRef,
    types: Vec<FieldType>,
    names: Vec<String>,
    times: TimeFormat,
    root: Node,
    rest: bool,
}

/// What is wanted of a value: itself as a column, and entries of the object that it may be.
#[derive(Default)]
pub struct Node {
    column: Option<usize>,
    children: HashMap<String, Node>,
}

impl Json {
    /// A parser of these fields.
    ///
    /// # Errors
    /// Config: no fields, two fields of one column, or a time format that is none.
    pub fn new(config: &FormatConfig) -> Result<Self> {
        let fields = &config.required_fields()?.0;
        let mut root = Node::default();
        let mut columns = Vec::with_capacity(fields.len() + 1);
        for (column, (path, field_type)) in fields.iter().enumerate() {
            columns.push((path.replace('.', "_"), *field_type));
            root.insert(path.split('.'), column);
            // Loggers also write the path as one key: `{"http.status": 200}`.
            root.insert(std::iter::once(path.as_str()), column);
        }
        columns.extend(config.rest.iter().map(|name| (name.clone(), FieldType::Json)));
        Ok(Self {
            schema: Arc::new(Schema::new(typed::columns_of(&columns)?)),
            types: columns.iter().map(|(_, field_type)| *field_type).collect(),
            names: fields.iter().map(|(path, _)| path.clone()).collect(),
            times: typed::time_format(config)?,
            root,
            rest: config.rest.is_some(),
        })
    }

    fn cells<'a>(
        &self,
        line: &'a str,
        values: &mut Vec<Option<&'a str>>,
        cells: &mut [Cell<'a>],
    ) -> std::result::Result<(), String> {
        values.clear();
        values.resize(self.names.len(), None);
        let mut rest = self.rest.then(ObjectText::new);
        self.root
            .collect(line, values, rest.as_mut())
            .map_err(|error| format!("expected a JSON object: {error}"))?;
        for (at, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let field_type = self.types[at];
            cells[at] = cell(value, field_type, &self.times).ok_or_else(|| {
                let text = value.trim_matches('"');
                format!("field {:?} {}", self.names[at], field_type.refusal(text, &self.times))
            })?;
        }
        if let (Some(rest), Some(cell)) = (rest, cells.last_mut()) {
            *cell = if rest.is_empty() { Cell::Null } else { Cell::Text(rest.finish()) };
        }
        Ok(())
    }
}

impl Parser for Json {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        let mut values = Vec::new();
        typed::parse_rows(&Lines::new(lines), &self.types, projection, |line, cells| {
            self.cells(line, &mut values, cells)
        })
    }
}

impl Node {
    /// Wants the value at a path as a column.
    pub fn insert<'p>(&mut self, path: impl Iterator<Item = &'p str>, column: usize) {
        let mut node = self;
        for key in path {
            node = node.children.entry(key.to_owned()).or_default();
        }
        node.column = Some(column);
    }

    /// Puts the text of every wanted value where its column is, and all else into `rest`.
    ///
    /// # Errors
    /// The text is not one JSON object.
    pub fn collect<'a>(
        &self,
        text: &'a str,
        values: &mut [Option<&'a str>],
        mut rest: Option<&mut ObjectText>,
    ) -> serde_json::Result<()> {
        let mut entries = Vec::new();
        object::read_entries(text, &mut entries)?;
        for (key, value) in entries {
            let child = self.children.get(key.as_ref());
            if let Some(column) = child.and_then(|child| child.column) {
                values[column] = Some(value);
            }
            match child.filter(|child| !child.children.is_empty()) {
                Some(child) if value.starts_with('{') => {
                    let mut inner = rest.is_some().then(ObjectText::new);
                    child.collect(value, values, inner.as_mut())?;
                    let inner = inner.filter(|inner| child.column.is_none() && !inner.is_empty());
                    if let (Some(rest), Some(inner)) = (rest.as_deref_mut(), inner) {
                        rest.push(&key, &inner.finish());
                    }
                }
                _ if child.is_some_and(|child| child.column.is_some()) => {}
                _ => {
                    if let Some(rest) = rest.as_deref_mut() {
                        rest.push(&key, value);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Converts the text of a JSON value; none if it has another type.
fn cell<'a>(value: &'a str, field_type: FieldType, times: &TimeFormat) -> Option<Cell<'a>> {
    if value == "null" {
        return Some(Cell::Null);
    }
    let scalar = !value.starts_with(['{', '[']);
    match (field_type, value.strip_prefix('"')) {
        (FieldType::Json, _) => Some(Cell::Piece(value)),
        (_, Some(_)) => typed::convert_cow(string(value)?, field_type, times),
        (_, None) if scalar => field_type.convert(value, times),
        _ => None,
    }
}

/// The text of a JSON string; none if it has half of a surrogate pair.
fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(value).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{rows, said};
    use crate::{Fields, Format};

    fn config(rest: bool) -> FormatConfig {
        let field = |name: &str, field_type| (name.to_owned(), field_type);
        FormatConfig {
            fields: Some(Fields(vec![
                field("at", FieldType::Timestamp),
                field("text", FieldType::Text),
                field("count", FieldType::Integer),
                field("share", FieldType::Float),
                field("ok", FieldType::Boolean),
                field("http.status", FieldType::Integer),
                field("tags", FieldType::Json),
            ])),
            rest: rest.then(|| "rest".into()),
            ..FormatConfig::new(Format::Json)
        }
    }

    fn check(line: &str, expect: &str) {
        assert_eq!(said(&config(false), &[line]), expect, "{line}");
    }

    #[test]
    fn fields_become_typed_columns() {
        check(
            r#" {"at":"2015-05-17T10:05:03Z","text":"a text that is long","count":-7,"share":2.5,
               "ok":true,"http":{"status":200,"x":1},"tags":["a", {"b":1}],"more":0} "#,
            r#"2015-05-17T10:05:03Z|a text that is long|-7|2.5|true|200|["a", {"b":1}]"#,
        );
        check(r#"{}"#, "~|~|~|~|~|~|~");
        check(r#"{"at":null,"text":null,"count":null,"tags":null}"#, "~|~|~|~|~|~|~");
        check(r#"{"http.status":404}"#, "~|~|~|~|~|404|~");
        check(r#"{"http":5}"#, "~|~|~|~|~|~|~");
        check(r#"{"at":1431857103,"share":2}"#, "2015-05-17T10:05:03Z|~|~|2.0|~|~|~");
        check(r#"{"text":"tab\t\u00e9 \ud83d\ude00"}"#, "~|tab\té 😀|~|~|~|~|~");
        check(r#"{"te\u0078t":"x","count":1,"count":2}"#, "~|x|2|~|~|~|~");
        check(r#"{"text":1.50,"tags":"\ud800"}"#, r#"~|1.50|~|~|~|~|"\ud800""#);
    }

    #[test]
    fn numbers_and_times_may_stand_in_quotes() {
        check(
            r#"{"at":"1431857103","text":"-","count":"200","share":"0.010","ok":"true"}"#,
            "2015-05-17T10:05:03Z|-|200|0.01|true|~|~",
        );
        check(
            r#"{"at":"-","text":"","count":"-","share":"","ok":"-","tags":"-"}"#,
            r#"~||~|~|~|~|"-""#,
        );
        check(r#"{"count":"\u0037","share":"-1"}"#, "~|~|7|-1.0|~|~|~");
    }

    #[test]
    fn keys_that_differ_in_case_are_two_fields() {
        let fields = ["status", "Status"].map(|name| (name.to_owned(), FieldType::Integer));
        let config = FormatConfig {
            fields: Some(Fields(fields.to_vec())),
            rest: Some("rest".into()),
            ..FormatConfig::new(Format::Json)
        };
        let check = |line: &str, expect: &str| assert_eq!(said(&config, &[line]), expect, "{line}");
        check(r#"{"Status":404,"status":200}"#, "200|404|~");
        check(r#"{"STATUS":500,"status":200}"#, r#"200|~|{"STATUS":500}"#);
    }

    #[test]
    fn a_wrong_type_refuses_the_line() {
        let refused = |line: &str, field: &str, wanted: &str| {
            check(line, &format!("0: field {field:?} is not {wanted}"));
        };
        refused(r#"{"count":1.5}"#, "count", "a whole number of 64 bits");
        refused(r#"{"count":"1.5"}"#, "count", "a whole number of 64 bits");
        refused(r#"{"count":9223372036854775808}"#, "count", "a whole number of 64 bits");
        refused(r#"{"share":1e999}"#, "share", "a number");
        refused(r#"{"ok":"yes"}"#, "ok", "true or false");
        refused(r#"{"at":"soon"}"#, "at", "a time");
        refused(r#"{"at":true}"#, "at", "a time");
        refused(r#"{"text":{"a":1}}"#, "text", "text");
        refused(r#"{"text":"\ud800"}"#, "text", "text");
        refused(r#"{"http":{"status":[]}}"#, "http.status", "a whole number of 64 bits");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let nested = format!("{{\"tags\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(rows(&config(false), &[&nested]).1, [] as [String; 0]);
        for line in [
            "[]",
            "7",
            "null",
            "{",
            r#"{"count":NaN}"#,
            r#"{"count":01}"#,
            r#"{"text":"a"} x"#,
            r#"{"text":'a'}"#,
            r#"{"text":"a",}"#,
            "{\"text\":\"a\nb\"}",
            "plain text",
            "\u{feff}{}",
        ] {
            let said = said(&config(false), &[line]);
            assert!(said.starts_with("0: expected a JSON object: "), "{line}: {said}");
        }
        check(" \t", "0: the line is blank");
    }

    #[test]
    fn rest_keeps_what_was_not_named() {
        let check = |line: &str, expect: &str| {
            let said = said(&config(true), &[line]);
            assert_eq!(said.rsplit('|').next(), Some(expect), "{line}");
        };
        check(r#"{"count":1}"#, "~");
        check(r#"{"b":[1, 2],"count":1,"a":"x"}"#, r#"{"b":[1, 2],"a":"x"}"#);
        check(r#"{"http":{"status":1,"m":"GET"}}"#, r#"{"http":{"m":"GET"}}"#);
        check(r#"{"http":"odd"}"#, r#"{"http":"odd"}"#);
        check(r#"{"q\"k":"\ud800"}"#, r#"{"q\"k":"\ud800"}"#);
    }

    #[test]
    fn fields_are_asked_for() {
        let error = Json::new(&FormatConfig::new(Format::Json)).err().expect("no fields");
        assert_eq!(error.field_name(), Some("fields"));
        let twice = ["a.b", "a_b"].map(|name| (name.to_owned(), FieldType::Text));
        let config = FormatConfig { fields: Some(Fields(twice.to_vec())), ..config(false) };
        let error = Json::new(&config).err().expect("one column of two fields");
        assert_eq!(error.to_string(), "two fields make the column \"a_b\"");
    }
}
