//! The table function itself: its arguments, and the table that they make.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::StringViewArray;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::{Error, Result, Section};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use formats::{Format, FormatConfig, Parser};

use super::files::{self, LogFile};
use super::scan::{OpenPiece, Partition, RefusedLines, Scan};
use crate::session::lend;

/// How the function is called, for hints.
const USAGE: &str = "log('access.log*', 'combined'); the third argument of `regex` is its pattern, \
                     that of `custom` the server's log format";

/// The function `log`.
pub struct LogFunction {
    refused: Arc<RefusedLines>,
}

impl LogFunction {
    /// A function that tells `refused` about lines it cannot read.
    pub fn new(refused: Arc<RefusedLines>) -> Self {
        Self { refused }
    }
}

impl fmt::Debug for LogFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("log")
    }
}

impl TableFunctionImpl for LogFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> PlanResult<Arc<dyn TableProvider>> {
        let table = LogTable::new(args.exprs(), self.refused.clone()).map_err(lend)?;
        Ok(Arc::new(table))
    }
}

/// Log files with the parser of their format.
struct LogTable {
    files: Vec<Arc<LogFile>>,
    parser: Arc<dyn Parser>,
    schema: SchemaRef,
    refused: Arc<RefusedLines>,
}

impl LogTable {
    fn new(arguments: &[Expr], refused: Arc<RefusedLines>) -> Result<Self> {
        let texts = arguments.iter().map(literal).collect::<Option<Vec<_>>>();
        let (pattern, format, detail) = match texts.as_deref() {
            Some([pattern, format]) => (pattern, format, None),
            Some([pattern, format, detail]) => (pattern, format, Some(detail.clone())),
            _ => {
                return Err(Error::config("log() takes two or three texts").hint(USAGE));
            }
        };
        let files = files::find(pattern)?;
        let config = config(format, detail, &files)?;
        let parser = formats::parser(&config)?;
        let schema = parser.schema();
        Ok(Self { files, parser, schema, refused })
    }
}

fn literal(argument: &Expr) -> Option<String> {
    match argument {
        Expr::Literal(
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text),
            _,
        ) => text.clone(),
        _ => None,
    }
}

/// The settings of a format; those that list fields learn them from the first lines.
fn config(name: &str, detail: Option<String>, files: &[Arc<LogFile>]) -> Result<FormatConfig> {
    let format = Format::named(name).ok_or_else(|| {
        Error::config(format!("unknown log format {name:?}"))
            .hint(Section::did_you_mean(name, formats::formats()))
    })?;
    let mut config = FormatConfig::new(format);
    match format {
        Format::Regex => config.pattern = detail,
        Format::Custom => config.log_format = detail,
        _ if detail.is_some() => {
            let message = format!("log format {name:?} takes no third argument");
            return Err(Error::config(message).hint(USAGE));
        }
        Format::Json | Format::Logfmt => {
            config.fields = Some(formats::infer(format, &first_lines(files)?)?);
        }
        Format::Combined | Format::Common | Format::VhostCombined => {}
    }
    Ok(config)
}

/// The lines of the first block that holds any.
fn first_lines(files: &[Arc<LogFile>]) -> Result<StringViewArray> {
    for file in files {
        let mut piece = OpenPiece::new(files::sample(file))?;
        while let Some(lines) = piece.next_lines()? {
            if !lines.positions.is_empty() {
                return Ok(lines.text);
            }
        }
    }
    Ok(StringViewArray::new_null(0))
}

impl fmt::Debug for LogTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "log of {} files", self.files.len())
    }
}

#[async_trait]
impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let pieces = files::cut(&self.files);
        let partitions = session.config().target_partitions().min(pieces.len()).max(1);
        let projection =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let scan = Arc::new(Scan {
            schema: Arc::new(self.schema.project(&projection)?),
            projection,
            parser: self.parser.clone(),
            refused: self.refused.clone(),
            pieces: Mutex::new(VecDeque::from(pieces)),
        });
        let schema = scan.schema.clone();
        let partitions = (0..partitions).map(|_| Arc::new(Partition(scan.clone())) as _);
        let plan =
            StreamingTableExec::try_new(schema, partitions.collect(), None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}
