//! The table function itself: its arguments, and the table that they make.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
use formats::join::Join;
use formats::{Detected, Format, FormatConfig, Parser};

use super::files::{self, LogFile, Named};
use super::scan::{OpenPiece, Partition, RefusedLines, Scan, UnreadFiles};
use crate::session::lend;

/// How the function is called, for hints.
const USAGE: &str = "log('access.log*') finds out the format, log('access.log*', 'combined') names \
                     it; the third argument of `regex` is its pattern, that of `custom` the \
                     server's log format, that of `docker` and `cri` the format inside";

/// Which formats were taken where none was named, for whoever asked.
#[derive(Debug, Default)]
pub struct TakenFormats(Mutex<Vec<String>>);

impl TakenFormats {
    /// What was taken since the last call, a sentence each.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lock())
    }

    fn add(&self, sentence: String) {
        let mut taken = self.lock();
        // A query is planned more than once.
        if !taken.contains(&sentence) {
            taken.push(sentence);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The function `log`.
pub struct LogFunction {
    refused: Arc<RefusedLines>,
    unread: Arc<UnreadFiles>,
    taken: Arc<TakenFormats>,
}

impl LogFunction {
    /// A function that tells `refused` about lines it cannot read, `unread` about files of a
    /// pattern that it cannot read, and `taken` about formats that it found out.
    pub fn new(
        refused: Arc<RefusedLines>,
        unread: Arc<UnreadFiles>,
        taken: Arc<TakenFormats>,
    ) -> Self {
        Self { refused, unread, taken }
    }
}

impl fmt::Debug for LogFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("log")
    }
}

impl TableFunctionImpl for LogFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> PlanResult<Arc<dyn TableProvider>> {
        let table = LogTable::new(args.exprs(), self).map_err(lend)?;
        Ok(Arc::new(table))
    }
}

/// Log files with the parser of their format.
struct LogTable {
    files: Vec<Arc<LogFile>>,
    parser: Arc<dyn Parser>,
    join: Option<Join>,
    schema: SchemaRef,
    refused: Arc<RefusedLines>,
    /// Who is told about files that cannot be read; none where that is an error.
    unread: Option<Arc<UnreadFiles>>,
}

impl LogTable {
    fn new(arguments: &[Expr], function: &LogFunction) -> Result<Self> {
        let texts = arguments.iter().map(literal).collect::<Option<Vec<_>>>();
        let (pattern, format, detail) = match texts.as_deref() {
            Some([pattern]) => (pattern, Format::Auto.name(), None),
            Some([pattern, format]) => (pattern, format.as_str(), None),
            Some([pattern, format, detail]) => (pattern, format.as_str(), Some(detail.clone())),
            _ => {
                return Err(Error::config("log() takes one to three texts")
                    .hint(format!("texts stand in single quotes: {USAGE}")));
            }
        };
        let Named { files, unread, is_strict } = files::find(pattern)?;
        let mut failed = None;
        for (path, error) in unread {
            match files.is_empty() {
                true => failed = failed.or(Some(error)),
                false => function.unread.add(path, error),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let config = match Format::named(format) {
            Some(Format::Auto) if detail.is_none() => {
                let detected = found_out(pattern, &files)?;
                function.taken.add(format!("{pattern}: {detected}"));
                detected.format
            }
            _ => config(format, detail, &files)?,
        };
        let parser = formats::parser(&config)?;
        let schema = parser.schema();
        let join = Join::of(config.format);
        let unread = (!is_strict).then(|| function.unread.clone());
        Ok(Self { files, parser, join, schema, refused: function.refused.clone(), unread })
    }
}

/// The format that the first lines show.
fn found_out(pattern: &str, files: &[Arc<LogFile>]) -> Result<Detected> {
    let lines = first_lines(files)?;
    formats::detect(&lines).map_err(|undecided| {
        let message = format!("could not tell the format of {pattern:?}: {undecided}");
        let error = Error::config(message);
        match lines.iter().next().is_none() {
            true => error.hint(format!(
                "it is empty; with a format it has no rows: log('{pattern}', 'combined')"
            )),
            false => error.hint(USAGE),
        }
    })
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
    let format = Format::named(name).ok_or_else(|| unknown(name))?;
    let mut config = FormatConfig::new(format);
    match format {
        Format::Regex => config.pattern = detail,
        Format::Custom => config.log_format = detail,
        Format::Docker | Format::Cri if detail.is_some() => {
            let inner = detail.as_deref().unwrap_or_default();
            let inner = Format::named(inner).ok_or_else(|| unknown(inner))?;
            config.inner = Some(inner);
            if matches!(inner, Format::Json | Format::Logfmt) {
                let found = formats::detect_inside(format, &first_lines(files)?);
                config.fields = found.fields.filter(|_| found.inner == Some(inner));
            }
        }
        _ if detail.is_some() => {
            let message = format!("log format {name:?} takes no third argument");
            return Err(Error::config(message).hint(USAGE));
        }
        Format::Json | Format::Logfmt => {
            config.fields = Some(formats::named_fields(format, &first_lines(files)?)?);
        }
        Format::Docker | Format::Cri => {
            config = formats::detect_inside(format, &first_lines(files)?);
        }
        _ => {}
    }
    Ok(config)
}

fn unknown(name: &str) -> Error {
    Error::config(format!("unknown log format {name:?}"))
        .hint(Section::did_you_mean(name, formats::formats()))
}

/// The lines of the first block that holds any. A file that cannot be read is told about when its
/// rows are wanted; here it counts only where no other one holds a line.
fn first_lines(files: &[Arc<LogFile>]) -> Result<StringViewArray> {
    let mut failed = None;
    for file in files {
        match first_lines_of(file) {
            Ok(Some(lines)) => return Ok(lines),
            Ok(None) => {}
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or_else(|| Ok(StringViewArray::new_null(0)), Err)
}

fn first_lines_of(file: &Arc<LogFile>) -> Result<Option<StringViewArray>> {
    let mut piece = OpenPiece::new(files::sample(file), None)?;
    while let Some(lines) = piece.next_lines()? {
        if !lines.positions.is_empty() {
            return Ok(Some(lines.text));
        }
    }
    Ok(None)
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
        let pieces = match self.join {
            None => files::cut(&self.files),
            Some(_) => files::whole(&self.files),
        };
        let partitions = session.config().target_partitions().min(pieces.len()).max(1);
        let projection =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let scan = Arc::new(Scan {
            schema: Arc::new(self.schema.project(&projection)?),
            projection,
            parser: self.parser.clone(),
            refused: self.refused.clone(),
            unread: self.unread.clone(),
            join: self.join,
            pieces: Mutex::new(VecDeque::from(pieces)),
        });
        let schema = scan.schema.clone();
        let partitions = (0..partitions).map(|_| Arc::new(Partition(scan.clone())) as _);
        let plan =
            StreamingTableExec::try_new(schema, partitions.collect(), None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}
