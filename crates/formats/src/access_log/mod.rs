//! Access logs of Apache, nginx and their kin, in the usual forms or in the user's own.
//!
//! Every form, the usual ones too, is written in Apache's or nginx's own notation ([`notation`]),
//! laid out as fields with what ends them ([`layout`]) and read by one scanner ([`scan`]).
//!
//! `-` is null, and so is `-1` where a size, a status or a duration should stand. Escapes are
//! understood. A request that is not HTTP is kept as it stands, as endpoint without method and
//! protocol. A line is refused if its frame is broken, or if it could be read in two ways: a
//! column never shifts.

mod block;
mod columns;
pub mod escape;
mod kind;
mod layout;
mod literal;
mod marks;
mod notation;
mod refusal;
pub mod request;
mod scan;
mod value;

use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::{Schema, SchemaRef};
use contract::{Error, Result};

use crate::text::Lines;
use crate::timestamp::Zones;
use crate::{Format, FormatConfig, Parsed, Parser, Refused};
use block::Block;
use columns::Columns;
use layout::{Layout, Tail};
use scan::Scanner;

const COMMON: &str = r#"%h %l %u %t "%r" %>s %b"#;
const COMBINED: &str = r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
const VHOST_COMBINED: &str = r#"%v %h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#;
/// `main` of nginx's own package (nginx.org/en/docs/http/ngx_http_log_module.html, and
/// `conf/nginx.conf` of the package).
const NGINX: &str =
    r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" "%{X-Forwarded-For}i""#;

/// The parser of one form of access log.
pub struct AccessLog {
    layout: Layout,
    schema: SchemaRef,
}

impl AccessLog {
    /// The parser of a usual form, or of the user's own.
    ///
    /// # Errors
    /// Config: `log_format` is missing or cannot be read.
    pub fn new(config: &FormatConfig) -> Result<Self> {
        let zones = Zones::read(config.time_zone.as_deref(), config.zones.as_ref())?;
        let layout = match config.format {
            Format::Common => Layout::new(notation::apache(COMMON, &zones)?, Tail::ResponseTime)?
                .with_absent(&["referrer", "user_agent"]),
            Format::VhostCombined => {
                Layout::new(notation::apache(VHOST_COMBINED, &zones)?, Tail::ResponseTime)?
            }
            Format::Nginx => Layout::new(notation::apache(NGINX, &zones)?, Tail::ResponseTime)?,
            Format::Custom => {
                let text = config.log_format.as_deref().ok_or_else(|| {
                    Error::config("format \"custom\" needs the form of the lines")
                        .field("log_format")
                        .hint("copy it from the web server's configuration")
                })?;
                let form = notation::read(text, &zones);
                let layout = form.and_then(|form| Layout::new(form, Tail::None));
                layout.map_err(|error| match error.field_name() {
                    Some(_) => error,
                    None => error.field("log_format"),
                })?
            }
            _ => Layout::new(notation::apache(COMBINED, &zones)?, Tail::ResponseTime)?,
        };
        let schema = Arc::new(Schema::new(layout.columns()));
        Ok(Self { layout, schema })
    }
}

impl Parser for AccessLog {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn parse(&self, lines: &StringViewArray, projection: Option<&[usize]>) -> Parsed {
        let lines = Lines::new(lines);
        let mut columns = Columns::new(&self.schema, &lines, projection);
        let mut scanner = Scanner::new(&self.layout);
        let mut block = Block::new(self.layout.fields.len());
        let mut refused = Vec::new();
        for row in 0..lines.rows() {
            let Some(line) = lines.line(row) else {
                refused.push(Refused { row, reason: "the line is null".into() });
                continue;
            };
            if !scanner.divide(line.text)
                && let Err(broken) = scanner.scan(line.text)
            {
                refused.push(Refused { row, reason: broken.reason(line.text) });
                continue;
            }
            block.push(row, line, scanner.fields());
            if block.is_full() {
                refused.extend(block.read_values(&mut scanner, self.layout.framed()));
                columns.store(&block);
                block.clear();
            }
        }
        refused.extend(block.read_values(&mut scanner, self.layout.framed()));
        columns.store(&block);
        refused.sort_by_key(|refused| refused.row);
        Parsed { columns: columns.finish(), refused }
    }
}

#[cfg(test)]
mod tests;
