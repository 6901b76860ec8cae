//! `key=value` pairs; the fields that the user names become columns.
//!
//! A value may stand in quotes, with JSON's escapes. A key without a value is `true`. A key that
//! stands twice counts where it stands last.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::{Schema, SchemaRef};
use contract::Result;

use crate::object::{ObjectText, quoted};
use crate::text::Lines;
use crate::timestamp::TimeFormat;
use crate::typed::{self, Cell};
use crate::{FieldType, FormatConfig, Parsed, Parser};

/// The parser of logfmt.
pub struct Logfmt {
    schema: SchemaRef,
    types: Vec<FieldType>,
    index: HashMap<String, usize>,
    times: TimeFormat,
    rest: bool,
}

impl Logfmt {
    /// A parser of these fields.
    ///
    /// # Errors
    /// Config: no fields, two fields of one column, or a time format that is none.
    pub fn new(config: &FormatConfig) -> Result<Self> {
        let mut columns = config.required_fields()?.0.clone();
        let names = columns.iter().enumerate().map(|(at, (name, _))| (name.clone(), at));
        let index = names.collect();
        columns.extend(config.rest.iter().map(|name| (name.clone(), FieldType::Json)));
        Ok(Self {
            schema: Arc::new(Schema::new(typed::columns_of(&columns)?)),
            types: columns.iter().map(|(_, field_type)| *field_type).collect(),
            index,
            times: typed::time_format(config)?,
            rest: config.rest.is_some(),
        })
    }

    fn cells<'a>(&self, line: &'a str, cells: &mut [Cell<'a>]) -> std::result::Result<(), String> {
        let mut rest = ObjectText::new();
        for pair in Pairs::of(line)? {
            let (key, value) = pair?;
            match self.index.get(key) {
                Some(at) => {
                    let field_type = self.types[*at];
                    let refused =
                        || format!("field {key:?} {}", field_type.refusal(&value, &self.times));
                    cells[*at] = typed::convert_cow(value.clone(), field_type, &self.times)
                        .ok_or_else(refused)?;
                }
                None if self.rest => rest.push(key, &quoted(&value)),
                None => {}
            }
        }
        if let Some(cell) = cells.last_mut().filter(|_| self.rest && !rest.is_empty()) {
            *cell = Cell::Text(rest.finish());
        }
        Ok(())
    }
}

impl Parser for Logfmt {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        typed::parse_rows(&Lines::new(lines), &self.types, projection, |line, cells| {
            self.cells(line, cells)
        })
    }
}

/// A key and its value, without quotes and escapes.
type Pair<'a> = (&'a str, Cow<'a, str>);

/// The pairs of a line.
pub struct Pairs<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Pairs<'a> {
    /// The pairs of a line; a reason if it plainly has none.
    pub fn of(line: &'a str) -> std::result::Result<Self, String> {
        if line.contains('=') {
            Ok(Self { line, at: 0 })
        } else {
            Err("expected pairs such as `key=value`, the line has no `=`".into())
        }
    }

    fn pair(&mut self, start: usize) -> std::result::Result<Pair<'a>, String> {
        let key_end = self.seek(start, |byte| byte == b'=' || byte <= b' ' || byte == b'"');
        let key = &self.line[start..key_end];
        if key.is_empty() {
            return Err(format!("expected a key at byte {}", start + 1));
        }
        let value_start = key_end + 1;
        match self.line.as_bytes().get(key_end) {
            Some(b'=') => {}
            Some(b'"') => return Err(format!("expected `=` at byte {}", key_end + 1)),
            _ => {
                self.at = key_end;
                return Ok((key, Cow::Borrowed("true")));
            }
        }
        if self.line.as_bytes().get(value_start) == Some(&b'"') {
            return Ok((key, self.quoted_value(value_start)?));
        }
        self.at = self.seek(value_start, |byte| byte <= b' ');
        Ok((key, Cow::Borrowed(&self.line[value_start..self.at])))
    }

    fn quoted_value(&mut self, open: usize) -> std::result::Result<Cow<'a, str>, String> {
        let mut escaped = false;
        let mut at = open + 1;
        loop {
            at = self.seek(at, |byte| byte == b'"' || byte == b'\\');
            match self.line.as_bytes().get(at) {
                None => return Err(format!("the quote at byte {} is never closed", open + 1)),
                Some(b'"') => break,
                Some(_) => {
                    escaped = true;
                    at += 2;
                }
            }
        }
        self.at = at + 1;
        if self.line.as_bytes().get(self.at).is_some_and(|byte| *byte > b' ') {
            return Err(format!("expected a blank at byte {}", self.at + 1));
        }
        if !escaped {
            return Ok(Cow::Borrowed(&self.line[open + 1..at]));
        }
        let text = serde_json::from_str(&self.line[open..self.at]);
        text.map(Cow::Owned)
            .map_err(|_| format!("the quoted text at byte {} has a wrong escape", open + 1))
    }

    /// The first byte from `start` on that is wanted, or the end of the line.
    fn seek(&self, start: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = self.line.as_bytes().get(start..).unwrap_or_default();
        let found = rest.iter().position(|byte| wanted(*byte));
        found.map_or(self.line.len(), |at| start + at)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = std::result::Result<Pair<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.seek(self.at, |byte| byte > b' ');
        if start == self.line.len() {
            return None;
        }
        let pair = self.pair(start);
        if pair.is_err() {
            self.at = self.line.len();
        }
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::said;
    use crate::{Fields, Format};

    fn check(line: &str, expect: &str) {
        let field = |name: &str, field_type| (name.to_owned(), field_type);
        let config = FormatConfig {
            fields: Some(Fields(vec![
                field("ts", FieldType::Timestamp),
                field("msg", FieldType::Text),
                field("n", FieldType::Integer),
                field("ok", FieldType::Boolean),
            ])),
            rest: Some("rest".into()),
            ..FormatConfig::new(Format::Logfmt)
        };
        assert_eq!(said(&config, &[line]), expect, "{line}");
    }

    #[test]
    fn pairs_become_typed_columns() {
        check(
            r#"ts=2015-05-17T10:05:03Z msg="two words" n=7 ok other=x"#,
            r#"2015-05-17T10:05:03Z|two words|7|true|{"other":"x"}"#,
        );
        check("  msg=plain\tn= ok=false  ", "~|plain|~|false|~");
        check("msg=", "~||~|~|~");
        check(r#"msg="say \"hi\"\né" n="8""#, "~|say \"hi\"\né|8|~|~");
        check("n=1 n=2", "~|~|2|~|~");
        check("ts=- msg=- n=- ok=-", "~|-|~|~|~");
        check(r#"ts="" n="-" N=4"#, r#"~|~|~|~|{"N":"4"}"#);
        check("msg=a=b ключ=значение", r#"~|a=b|~|~|{"ключ":"значение"}"#);
        check(r#"msg="" a flag"#, r#"~||~|~|{"a":"true","flag":"true"}"#);
    }

    #[test]
    fn what_is_no_pair_refuses_the_line() {
        check("just some words", "0: expected pairs such as `key=value`, the line has no `=`");
        check("n=1 =2", "0: expected a key at byte 5");
        check(r#"msg="open"#, "0: the quote at byte 5 is never closed");
        check(r#"msg="open\"#, "0: the quote at byte 5 is never closed");
        check(r#"msg="a"b"#, "0: expected a blank at byte 8");
        check(r#"ms"g=a"#, "0: expected `=` at byte 3");
        check(r#"msg="\q""#, "0: the quoted text at byte 5 has a wrong escape");
        check("n=seven", "0: field \"n\" is not a whole number of 64 bits");
        check("ts=soon", "0: field \"ts\" is not a time");
        check("", "0: the line is blank");
    }
}
