//! Where rows go: all to one table, or each to the table that it names.
//!
//! Invariant: a row's table depends on nothing but the row, lies in the schema that the settings
//! name, and is never the table of tokens.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Schema;
use contract::error::Context;
use contract::sink::Piece;
use contract::{Error, Result};
use formats::template::{Part, Template};

use crate::table::{DEFAULT_SCHEMA, NAME_BYTES_MAX, TOKENS, TableName, is_name};

/// The tables of a sink.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The table of all rows, or the schema with the name as the settings write it: what tokens
    /// are kept under.
    written: TableName,
    named: Named,
}

/// How a row finds its table.
#[derive(Clone, Debug)]
enum Named {
    /// There is but one.
    Once(TableName),
    /// Its columns make the name.
    ByRows(Template),
}

/// Rows of one batch that go to one table.
pub struct Division {
    /// The table, or why there is none.
    pub table: std::result::Result<TableName, String>,
    /// The rows, in their order.
    pub records: RecordBatch,
}

impl Tables {
    /// Reads `table`, `schema.table`, or either with columns in the name of the table.
    ///
    /// # Errors
    /// Config: it is none of these, or makes no name that PostgreSQL keeps.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|error| error.field("table"))
    }

    fn read(text: &str) -> Result<Self> {
        // A dot behind a brace is one of a column, or of a time.
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) if !schema.contains(['{', '}']) => (Some(schema), name),
            _ => (None, text),
        };
        let template = Template::parse(name, &[])?;
        let only: Vec<_> = template.sample();
        let named = match &only[..] {
            [] => Named::Once(TableName::parse(text)?),
            [(Part::Text(name), _)] => {
                Named::Once(TableName::of(schema.unwrap_or(DEFAULT_SCHEMA), name, text)?)
            }
            parts => {
                check_parts(text, schema, parts)?;
                Named::ByRows(template)
            }
        };
        let schema = schema.unwrap_or(DEFAULT_SCHEMA).to_owned();
        let written = match &named {
            Named::Once(table) => table.clone(),
            Named::ByRows(_) => TableName { schema, name: name.to_owned() },
        };
        Ok(Self { written, named })
    }

    /// The table of all rows, or the schema of all tables with the name as the settings write it.
    pub fn written(&self) -> &TableName {
        &self.written
    }

    /// The table, where all rows go to one.
    pub fn only(&self) -> Option<&TableName> {
        match &self.named {
            Named::Once(table) => Some(table),
            Named::ByRows(_) => None,
        }
    }

    /// Without quotes, for people.
    pub fn shown(&self) -> String {
        self.written.shown()
    }

    /// Checks that a schema has the columns that make names.
    ///
    /// # Errors
    /// Config: it has not.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        match &self.named {
            Named::Once(_) => Ok(()),
            Named::ByRows(template) => template.check(schema).map_err(|error| error.field("table")),
        }
    }

    /// Divides the rows of a batch by where they go.
    ///
    /// # Errors
    /// Bug: the batch has not the columns of [`Tables::check`].
    pub fn divide(&self, records: RecordBatch) -> Result<Vec<Division>> {
        let template = match &self.named {
            Named::Once(table) => return Ok(vec![Division { table: Ok(table.clone()), records }]),
            Named::ByRows(template) => template,
        };
        let groups = template.divide(&records)?;
        let names: Vec<_> =
            groups.values.iter().map(|values| self.name(template, values)).collect();
        // Different values may name one table, whose rows stay in their order.
        let mut first: HashMap<&TableName, usize> = HashMap::new();
        let numbers = names.iter().enumerate().map(|(number, name)| match name {
            Ok(name) => *first.entry(name).or_insert(number),
            Err(_) => number,
        });
        let numbers: Vec<_> = numbers.collect();
        let mut rows = vec![Vec::new(); names.len()];
        for (row, group) in (0_u32..).zip(&groups.of_row) {
            rows[numbers[*group as usize]].push(row);
        }
        let divisions = names.into_iter().zip(rows).filter(|(_, rows)| !rows.is_empty());
        let divisions = divisions.map(|(table, rows)| {
            let records = take_record_batch(&records, &UInt32Array::from(rows));
            let records = records.bug("could not divide the rows of a batch")?;
            Ok(Division { table, records })
        });
        divisions.collect()
    }

    fn name(
        &self,
        template: &Template,
        values: &[Option<Arc<str>>],
    ) -> std::result::Result<TableName, String> {
        let mut name = String::new();
        for part in template.parts(values) {
            match part {
                Part::Text(text) | Part::Value(Some(text)) | Part::Time(Some(text)) => {
                    name.push_str(text);
                }
                _ => return Err("a column that names the table is null".to_owned()),
            }
        }
        let bad = |why: &str| Err(format!("{:?} is no name for a table: {why}", shortened(&name)));
        match name.len() {
            length if length > NAME_BYTES_MAX => {
                bad(&format!("it has {length} bytes, and {NAME_BYTES_MAX} are kept"))
            }
            _ if name == TOKENS => bad("tokens are kept there"),
            _ if !is_name(&name) => bad("it is empty, or holds a dot or a NUL"),
            _ => Ok(self.written.beside(&name)),
        }
    }

    /// What `LIKE` takes every name for that rows can make.
    pub fn like(&self) -> String {
        let pieces = self.pieces();
        let pieces = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => escaped(text),
            Piece::Any => "%".to_owned(),
        });
        pieces.collect()
    }

    /// The names that rows can make, which are those of the tables that are read back.
    pub fn pieces(&self) -> Vec<Piece> {
        let parts = match &self.named {
            Named::Once(table) => return vec![Piece::Text(table.name.clone())],
            Named::ByRows(template) => template.sample(),
        };
        let pieces = parts.iter().map(|(part, _)| match part {
            Part::Text(text) => Piece::Text((*text).to_owned()),
            _ => Piece::Any,
        });
        pieces.collect()
    }
}

/// Refuses a template whose names would be bad whatever the rows are.
fn check_parts(text: &str, schema: Option<&str>, parts: &[(Part<'_>, String)]) -> Result<()> {
    let bad = |what: &str| Error::config(format!("{text:?} names no table: {what}"));
    if schema.is_some_and(|schema| !is_name(schema)) {
        return Err(bad("its schema has no name").hint("write schema.table_{column}"));
    }
    let starts_with_text = matches!(parts.first(), Some((Part::Text(_), _)));
    if !starts_with_text && schema.is_none() {
        return Err(bad("it does not begin with text").hint(format!(
            "values must not choose among all tables of the schema `{DEFAULT_SCHEMA}`: begin with \
             text, or name a schema: `logs.{text}`"
        )));
    }
    let shortest: String = parts.iter().map(|(_, sample)| sample.as_str()).collect();
    if shortest.contains(['.', '\0']) {
        return Err(bad("a dot or a NUL stands in the name of a table")
            .hint("rows name a table, never its schema: write schema.table_{column}"));
    }
    match shortest.len() > NAME_BYTES_MAX {
        true => Err(bad(&format!("no name has more than {NAME_BYTES_MAX} bytes"))),
        false => Ok(()),
    }
}

/// Text as `LIKE` takes for itself.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(80).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    fn only(text: &str, expect: Option<&str>) {
        let tables = Tables::parse(text).ok();
        let table = tables.as_ref().and_then(Tables::only);
        assert_eq!(table.map(TableName::to_string).as_deref(), expect, "{text}");
    }

    #[test]
    fn a_name_without_columns_is_one_table() {
        only("web_logs", Some(r#""public"."web_logs""#));
        only("Archive.Web Logs", Some(r#""Archive"."Web Logs""#));
        only("a{{b}}", Some(r#""public"."a{b}""#));
        only("a.b.c", None);
        only("", None);
        only("a.", None);
        only(&"x".repeat(64), None);
    }

    #[test]
    fn tokens_of_one_table_are_kept_under_the_name_that_it_has() {
        let written = |text: &str| Tables::parse(text).unwrap().written().shown();
        assert_eq!(written("a{{b}}"), "public.a{b}");
        assert_eq!(written("logs.a{{b}}"), "logs.a{b}");
        assert_eq!(written("logs.a_{s}"), "logs.a_{s}");
    }

    /// What rows are divided into: the table or the reason, with the rows.
    fn divided(text: &str, values: &[Option<&str>]) -> Vec<String> {
        let rows: Int64Array = (0..values.len() as i64).collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("s", Arc::new(values.iter().copied().collect::<StringViewArray>())),
            ("n", Arc::new(rows)),
        ];
        let records = RecordBatch::try_from_iter_with_nullable(
            columns.map(|(name, column)| (name, column, true)),
        );
        let divisions = Tables::parse(text).unwrap().divide(records.unwrap()).unwrap();
        let said = divisions.iter().map(|division| {
            let rows = division.records.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
            let table = division.table.as_ref().map_or_else(Clone::clone, TableName::shown);
            let rows = rows.values().to_vec();
            format!("{table} {rows:?}")
        });
        said.collect()
    }

    #[test]
    fn each_row_goes_to_the_table_that_it_names() {
        let values = [Some("a"), Some("B c"), None, Some("a")];
        let null = "a column that names the table is null [2]";
        assert_eq!(divided("t_{s}", &values), ["public.t_a [0, 3]", "public.t_B c [1]", null]);
        assert_eq!(divided("logs.{s}", &values), ["logs.a [0, 3]", "logs.B c [1]", null]);
        assert_eq!(divided("t", &values), ["public.t [0, 1, 2, 3]"]);
    }

    #[test]
    fn rows_of_one_table_stay_in_their_order_whatever_values_name_it() {
        let mut values = [Some("y"); 11];
        (values[0], values[10]) = (Some("x1"), Some("x"));
        assert_eq!(divided("t_{s}{n}", &values)[0], "public.t_x10 [0, 10]");
    }

    #[test]
    fn no_value_leaves_the_schema_or_reaches_the_tokens() {
        let long = "ä".repeat(200);
        let said = |value: &str| divided("logs.{s}", &[Some(value)]).remove(0);
        for value in ["a.b", "", "a\0b", "logmill_tokens", &long] {
            assert!(said(value).contains("is no name for a table"), "{}", said(value));
        }
        assert!(said(&long).len() < 300);
        assert_eq!(said("\"; drop table x"), "logs.\"; drop table x [0]");
    }

    #[test]
    fn templates_that_can_name_nothing_are_refused() {
        let refused = |text: &str, expect: &str| {
            let error = Tables::parse(text).expect_err(text);
            assert!(error.to_string().contains(expect), "{text}: {error}");
            assert_eq!(error.field_name(), Some("table"));
        };
        refused("{s}", "does not begin with text");
        refused("{s}.t", "does not begin with text");
        refused("t_{s}.x", "a dot or a NUL");
        refused("t_{ts:%Y.%m}", "a dot or a NUL");
        refused(".t_{s}", "its schema has no name");
        refused("t_{", "is no template");
        refused(&format!("{}_{{s}}", "x".repeat(63)), "no name has more than");
    }

    #[test]
    fn the_pattern_takes_letters_of_the_template_for_themselves() {
        assert_eq!(Tables::parse("web_{s}-%{ts:%Y}").unwrap().like(), r"web\_%-\%%");
    }
}
