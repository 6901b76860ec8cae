//! Formats that have a name: the logs of servers and clouds as their vendors document them.
//!
//! Each is a [`Form`] that turns a line into cells; [`Named`] makes columns of them. Every access
//! log has the columns of `combined` first, under the same names ([`rows::HEAD`]), then its own.
//! Formats of fields in a fixed order are tables ([`fields`]); the others read the line themselves.
//!
//! `-` is null, and so is `-1` where a vendor writes it for a time that there was none.

mod aws;
mod caddy;
pub mod container;
mod entries;
mod fields;
mod haproxy;
mod plain;
mod rows;
mod traefik;

use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::{Schema, SchemaRef};
use contract::Result;

use crate::text::Lines;
use crate::{Format, FormatConfig, Parsed, Parser, Refused};
use rows::{Column, Columns, Row, TS};

/// How the lines of one format become cells.
trait Form: Send + Sync {
    /// All its columns.
    fn columns(&self) -> &[Column];

    /// Fills the cells of a line that is not blank, or says what was expected and where.
    fn read<'a>(&self, line: &'a str, row: &mut Row<'a>) -> std::result::Result<(), String>;
}

/// The parser of a named format.
pub struct Named {
    form: Box<dyn Form>,
    schema: SchemaRef,
}

impl Named {
    /// The parser of a format that stands for itself; none for any other.
    ///
    /// # Errors
    /// Config: `rest` names a column of the format.
    pub fn new(config: &FormatConfig) -> Result<Option<Self>> {
        let form: Box<dyn Form> = match config.format {
            Format::Caddy => Box::new(caddy::form(config.rest.as_deref())?),
            Format::TraefikJson => Box::new(traefik::json(config.rest.as_deref())?),
            Format::Traefik => Box::new(traefik::clf()),
            Format::Elb => Box::new(aws::elb()),
            Format::Alb => Box::new(aws::alb()),
            Format::S3Access => Box::new(aws::s3_access()),
            Format::Haproxy => Box::new(haproxy::Haproxy::new(config.time_zone.as_deref())?),
            Format::Text => Box::new(plain::Plain::new()),
            _ => return Ok(None),
        };
        let columns = form.columns().iter().map(Column::field);
        let schema = Arc::new(Schema::new(columns.collect::<Vec<_>>()));
        Ok(Some(Self { form, schema }))
    }
}

impl Parser for Named {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        let lines = Lines::new(lines);
        let mut columns = Columns::new(self.form.columns(), &lines, projection);
        let mut row = Row::new(self.form.columns().len());
        let has_time = self.schema.fields().get(TS).is_some_and(|field| field.name() == "ts");
        let mut refused = Vec::new();
        for at in 0..lines.rows() {
            let Some(line) = lines.line(at) else {
                refused.push(Refused { row: at, reason: "the line is null".into() });
                continue;
            };
            if line.text.trim_ascii().is_empty() {
                refused.push(Refused { row: at, reason: "the line is blank".into() });
                continue;
            }
            row.clear();
            match self.form.read(line.text, &mut row) {
                Ok(()) if has_time && row.is_null(TS) => {
                    refused.push(Refused { row: at, reason: "the line has no time".into() });
                }
                Ok(()) => columns.push(line, &row),
                Err(reason) => refused.push(Refused { row: at, reason }),
            }
        }
        Parsed { columns: columns.finish(), refused }
    }
}

#[cfg(test)]
pub mod tests;
