//! The named groups of a regular expression as columns.
//!
//! The expressions are those of the `regex` crate: linear in the length of the line, without
//! look-around and back-references.

use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::{Schema, SchemaRef};
use contract::{Error, Result};

use crate::text::Lines;
use crate::timestamp::TimeFormat;
use crate::typed::{self, Cell};
use crate::{FieldType, Fields, FormatConfig, Parsed, Parser};

/// The parser that a pattern describes.
pub struct Regex {
    pattern: regex::Regex,
    schema: SchemaRef,
    /// The number of the group of each column.
    groups: Vec<usize>,
    names: Vec<String>,
    types: Vec<FieldType>,
    times: TimeFormat,
}

impl Regex {
    /// A parser of this pattern.
    ///
    /// # Errors
    /// Config: the pattern is missing, wrong or has no named group, or a field names none.
    pub fn new(config: &FormatConfig) -> Result<Self> {
        let text = config.pattern.as_deref().ok_or_else(|| {
            pattern_error("format \"regex\" needs a pattern")
                .hint("such as `^(?<level>\\w+) (?<text>.*)$`")
        })?;
        let pattern = regex::Regex::new(text).map_err(|error| {
            let shown = error.to_string();
            // The library draws the pattern over several lines; the last one says what is wrong.
            let reason = shown.lines().last().unwrap_or_default();
            pattern_error("the pattern is no regular expression")
                .because(reason.trim_start_matches("error: "))
        })?;
        let named = pattern.capture_names().enumerate();
        let (groups, names): (Vec<_>, Vec<_>) =
            named.filter_map(|(group, name)| Some((group, name?.to_owned()))).unzip();
        if names.is_empty() {
            return Err(pattern_error("the pattern has no named group, so there is no column")
                .hint("name the groups to keep: `(?<level>\\w+)`"));
        }
        let types = types_of(&names, config.fields.as_ref())?;
        let columns: Vec<_> = names.iter().cloned().zip(types.iter().copied()).collect();
        let schema = Arc::new(Schema::new(typed::columns_of(&columns)?));
        let times = typed::time_format(config)?;
        Ok(Self { pattern, schema, groups, names, types, times })
    }

    fn cells<'a>(
        &self,
        line: &'a str,
        found: &mut regex::CaptureLocations,
        cells: &mut [Cell<'a>],
    ) -> std::result::Result<(), String> {
        if self.pattern.captures_read(found, line).is_none() {
            return Err("the pattern does not match".into());
        }
        for (at, cell) in cells.iter_mut().enumerate() {
            let Some((start, end)) = found.get(self.groups[at]) else { continue };
            let field_type = self.types[at];
            let text = &line[start..end];
            *cell = field_type.convert(text, &self.times).ok_or_else(|| {
                format!("field {:?} {}", self.names[at], field_type.refusal(text, &self.times))
            })?;
        }
        Ok(())
    }
}

impl Parser for Regex {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        let mut found = self.pattern.capture_locations();
        typed::parse_rows(&Lines::new(lines), &self.types, projection, |line, cells| {
            self.cells(line, &mut found, cells)
        })
    }
}

fn pattern_error(message: &str) -> Error {
    Error::config(message).field("pattern")
}

/// The type of each group: text unless the fields say otherwise.
fn types_of(names: &[String], fields: Option<&Fields>) -> Result<Vec<FieldType>> {
    let fields = fields.map_or(&[] as &[_], |fields| fields.0.as_slice());
    if let Some((name, _)) = fields.iter().find(|(name, _)| !names.contains(name)) {
        return Err(Error::config(format!("the pattern has no group {name:?}"))
            .field("fields")
            .hint(format!("its groups are {}", names.join(", "))));
    }
    let type_of = |name: &String| {
        let field = fields.iter().find(|(known, _)| known == name);
        field.map_or(FieldType::Text, |(_, field_type)| *field_type)
    };
    Ok(names.iter().map(type_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;
    use crate::table::said;

    fn config(pattern: &str, fields: &[(&str, FieldType)]) -> FormatConfig {
        let fields = fields.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
        FormatConfig {
            pattern: Some(pattern.into()),
            fields: Some(Fields(fields)),
            time_format: Some("%y%m%d".into()),
            ..FormatConfig::new(Format::Regex)
        }
    }

    #[test]
    fn named_groups_become_columns() {
        let fields = [("n", FieldType::Integer), ("day", FieldType::Timestamp)];
        let config =
            config(r"^(?<day>\d+) (?<level>[A-Z]+)(?: n=(?<n>\S*))?: (?<text>.*)$", &fields);
        let check = |line, expect| assert_eq!(said(&config, &[line]), expect, "{line}");
        check("150517 INFO n=7: all is well, é", "2015-05-17T00:00:00Z|INFO|7|all is well, é");
        check("150517 WARN: short", "2015-05-17T00:00:00Z|WARN|~|short");
        check("150517 WARN n=: \r", "2015-05-17T00:00:00Z|WARN|~|");
        check("150517 WARN n=-: -", "2015-05-17T00:00:00Z|WARN|~|-");
        check("150517 WARN n=-1: -", "2015-05-17T00:00:00Z|WARN|-1|-");
        check("150517 WARN n=x: y", "0: field \"n\" is not a whole number of 64 bits");
        check("159999 WARN: y", "0: field \"day\" is not a time");
        check("something else", "0: the pattern does not match");
        check("", "0: the line is blank");
    }

    #[test]
    fn a_time_that_clocks_left_out_is_told_as_one() {
        let fields = [("at", FieldType::Timestamp)];
        for time_format in [None, Some("%Y-%m-%d %H:%M:%S".to_owned())] {
            let config = FormatConfig {
                time_format,
                time_zone: Some("Europe/Berlin".into()),
                ..config("^(?<at>.*)$", &fields)
            };
            let check = |line, expect| assert_eq!(said(&config, &[line]), expect, "{line}");
            check("2026-03-29 01:30:00", "2026-03-29T00:30:00Z");
            check(
                "2026-03-29 02:30:00",
                "0: field \"at\" is not a time: in Europe/Berlin the clocks were set forward over \
                 it",
            );
            check("2026-03-29 25:30:00", "0: field \"at\" is not a time");
        }
    }

    #[test]
    fn a_wrong_pattern_is_refused() {
        let check = |pattern, fields, expect| {
            let error = Regex::new(&config(pattern, fields)).err().expect("it is wrong");
            assert_eq!(error.to_string(), expect);
        };
        check("(", &[], "the pattern is no regular expression");
        check("(a)", &[], "the pattern has no named group, so there is no column");
        check("(?<a>.)", &[("b", FieldType::Text)], "the pattern has no group \"b\"");
    }
}
