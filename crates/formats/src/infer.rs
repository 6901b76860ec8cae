//! Guesses the fields of JSON and logfmt from some lines, for queries over logs as they lie.
//!
//! A pipeline names its fields itself: a guess may change with the lines.

use std::collections::{HashMap, HashSet};

use arrow::array::StringViewArray;
use contract::{Error, Result};

use crate::logfmt::Pairs;
use crate::object;
use crate::text::Lines;
use crate::timestamp::rfc3339;
use crate::typed::is_missing;
use crate::{FieldType, Fields, Format};

/// More fields than this are left out: keys that are values must not become columns.
const FIELDS_MAX: usize = 500;

/// The length of `2015-05-17`.
const DATE_BYTES: usize = 10;

/// Characters of a line in a message.
const SHOWN_CHARS_MAX: usize = 160;

/// Objects nested deeper are kept as JSON.
const DEPTH_MAX: usize = 4;

/// The fields that stand in the lines, in the order in which they appear, with types that hold
/// every value seen. Lines that do not have the format are passed over.
///
/// # Errors
/// Config: the format is neither JSON nor logfmt, or there is no line. Record: no line has it.
pub fn infer(format: Format, lines: &StringViewArray) -> Result<Fields> {
    let lines = Lines::new(lines);
    let mut seen = Seen::default();
    for line in (0..lines.rows()).filter_map(|row| lines.line(row)) {
        match format {
            Format::Json => seen.object("", line.text, 1),
            Format::Logfmt => seen.pairs(line.text),
            _ => {
                let message = format!("the fields of format {:?} are not guessed", format.name());
                return Err(Error::config(message));
            }
        }
    }
    if seen.fields.is_empty() {
        return Err(without_any(format, &lines));
    }
    let named = |(name, field_type): (String, Option<FieldType>)| {
        (name, field_type.unwrap_or(FieldType::Text))
    };
    Ok(Fields(seen.fields.into_iter().map(named).collect()))
}

/// The error of lines of which none has a format: every record is refused.
fn without_any(format: Format, lines: &Lines<'_>) -> Error {
    let name = format.name();
    let texts = (0..lines.rows()).filter_map(|row| lines.line(row));
    let mut texts = texts.filter(|line| !line.text.is_empty());
    let Some(first) = texts.next() else {
        return Error::config(format!("there is no line that could tell the fields of {name:?}"));
    };
    let mut shown: String = first.text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < first.text.len() {
        shown.push('…');
    }
    let message = format!(
        "every record was refused: none of the first {} has the format {name:?}; the first: {}",
        texts.count() + 1,
        shown.escape_debug()
    );
    Error::record(message).hint("look at the first lines; is it another format?")
}

#[derive(Default)]
struct Seen {
    /// No type as long as only null was seen.
    fields: Vec<(String, Option<FieldType>)>,
    /// By the name of the column; a field whose column another has taken stands at none.
    index: HashMap<String, usize>,
    /// Paths at which an object was taken apart; where something else stands too, both are JSON.
    objects: HashSet<String>,
}

impl Seen {
    fn object(&mut self, prefix: &str, text: &str, depth: usize) {
        let mut entries = Vec::new();
        if object::read_entries(text, &mut entries).is_err() {
            return;
        }
        for (key, value) in entries {
            let path = format!("{prefix}{key}");
            if value.starts_with('{') && depth < DEPTH_MAX {
                self.object(&format!("{path}."), value, depth + 1);
                if self.index.contains_key(&path.replace('.', "_")) {
                    self.add(path.clone(), Some(FieldType::Json));
                }
                self.objects.insert(path);
            } else if self.objects.contains(&path) {
                self.add(path, Some(FieldType::Json));
            } else {
                self.add(path, type_of_json(value));
            }
        }
    }

    fn pairs(&mut self, line: &str) {
        let pairs: std::result::Result<Vec<_>, String> = match Pairs::of(line) {
            Ok(pairs) => pairs.collect(),
            Err(_) => return,
        };
        for (key, value) in pairs.unwrap_or_default() {
            let seen = (!is_missing(&value)).then(|| type_of_text(&value));
            self.add(key.to_owned(), seen);
        }
    }

    fn add(&mut self, name: String, seen: Option<FieldType>) {
        let column = name.replace('.', "_");
        if let Some(at) = self.index.get(&column) {
            let (known, before) = &mut self.fields[*at];
            if *known == name {
                *before = wider(*before, seen);
            }
        } else if self.fields.len() < FIELDS_MAX {
            self.index.insert(column, self.fields.len());
            self.fields.push((name, seen));
        }
    }
}

/// The type of a JSON value; none for null, and for what says that there is nothing.
fn type_of_json(value: &str) -> Option<FieldType> {
    match value.as_bytes() {
        b"null" | b"\"\"" | b"\"-\"" => None,
        [b'{' | b'[', ..] => Some(FieldType::Json),
        [b'"', ..] if is_time(value.trim_matches('"')) => Some(FieldType::Timestamp),
        [b'"', ..] => Some(FieldType::Text),
        _ => Some(type_of_text(value)),
    }
}

fn type_of_text(text: &str) -> FieldType {
    if text.parse::<i64>().is_ok() {
        FieldType::Integer
    } else if text.parse::<f64>().is_ok_and(f64::is_finite) {
        FieldType::Float
    } else if text.parse::<bool>().is_ok() {
        FieldType::Boolean
    } else if is_time(text) {
        FieldType::Timestamp
    } else {
        FieldType::Text
    }
}

/// A date alone stays text, which sorts and compares just as well.
fn is_time(text: &str) -> bool {
    text.len() > DATE_BYTES && rfc3339(text).is_some()
}

/// The narrowest type that holds both.
fn wider(before: Option<FieldType>, seen: Option<FieldType>) -> Option<FieldType> {
    use FieldType::{Float, Integer, Json, Text};
    match (before, seen) {
        (None, other) | (other, None) => other,
        (Some(before), Some(seen)) if before == seen => Some(before),
        (Some(Integer | Float), Some(Integer | Float)) => Some(Float),
        (Some(Json), _) | (_, Some(Json)) => Some(Json),
        _ => Some(Text),
    }
}

#[cfg(test)]
mod tests {
    use contract::ErrorKind;

    use super::*;
    use crate::table::rows;
    use crate::{FormatConfig, parser};

    fn check(format: Format, lines: &[&str], expect: &[(&str, FieldType)]) {
        let fields = infer(format, &StringViewArray::from(lines.to_vec())).expect("it is found");
        let found: Vec<_> = fields.0.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        assert_eq!(found, expect);
        let config = FormatConfig { fields: Some(fields), ..FormatConfig::new(format) };
        assert!(parser(&config).is_ok());
        assert_eq!(rows(&config, lines).1.len(), 1, "the lines read are those with the format");
    }

    #[test]
    fn types_hold_every_value_seen() {
        check(
            Format::Json,
            &[
                r#"{"t":"2015-05-17T10:05:03Z","n":1,"x":1,"m":1,"o":{"a":true,"b":null}}"#,
                "no json",
                r#"{"n":2,"x":1.5,"m":"one","o":{"a":false},"l":[1],"o_a":7}"#,
                r#"{"l":5,"p":1}"#,
                r#"{"p":{"q":2},"n":"-","x":"","t":"-","Status":"200"}"#,
                r#"{"status":200}"#,
            ],
            &[
                ("t", FieldType::Timestamp),
                ("n", FieldType::Integer),
                ("x", FieldType::Float),
                ("m", FieldType::Text),
                ("o.a", FieldType::Boolean),
                ("o.b", FieldType::Text),
                ("l", FieldType::Json),
                ("p", FieldType::Json),
                ("p.q", FieldType::Integer),
                ("Status", FieldType::Text),
                ("status", FieldType::Integer),
            ],
        );
        check(
            Format::Logfmt,
            &["level=info n=5 done", "no pairs", "n= level=7 f=1.5", "n=- level=- none=-"],
            &[
                ("level", FieldType::Text),
                ("n", FieldType::Integer),
                ("done", FieldType::Boolean),
                ("f", FieldType::Float),
                ("none", FieldType::Text),
            ],
        );
    }

    #[test]
    fn a_sample_without_such_a_line_is_refused() {
        let lines = StringViewArray::from(vec!["plain", ""]);
        let error = infer(Format::Json, &lines).expect_err("nothing is JSON");
        assert_eq!(error.kind(), ErrorKind::Record);
        assert_eq!(
            error.to_string(),
            "every record was refused: none of the first 1 has the format \"json\"; the first: \
             plain"
        );
        let none = StringViewArray::new_null(0);
        let error = infer(Format::Json, &none).expect_err("there is nothing to look at");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
