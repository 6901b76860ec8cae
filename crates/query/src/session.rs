//! A SQL session: tables by name, the functions of pipelines, `log(…)`, and limits.
//!
//! Read only: statements that create, change or copy anything are refused. A [`Session`] costs a
//! few milliseconds and opens no table before a query names it.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use contract::sink::BatchStream;
use contract::{Error, Result};
use datafusion::common::{Column, DataFusionError, ParamValues, ScalarValue, SchemaError};
use datafusion::error::Result as PlanResult;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{FunctionRegistry, SendableRecordBatchStream};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::parser::ParserError;
use engine::{CheckedArithmetic, TextJoins, Worded};
use futures::{Stream, StreamExt, TryFutureExt};
use tokio::time::{Instant, timeout_at};

use crate::catalog::{self, Elsewhere, LakeFolder};
use crate::date_trunc::DateTrunc;
use crate::lake;
use crate::log::{LogFunction, RefusedLines, TakenFormats, UnreadFiles};
use crate::spill::SpillFolder;
use crate::sums;

/// Bytes that all queries of a closed session spill to disk.
const SPILLED_BYTES_MAX: u64 = 1 << 30;
/// Partitions of a query for each core.
const PARTITIONS_PER_CORE: usize = 8;
/// Rows that are worked on at a time.
const BATCH_ROWS: usize = 32_768;
/// The share of rows with a new group from which on groups are made in one step, not in two.
pub(crate) const NEW_GROUPS_FOR_ONE_STEP: f64 = 0.1;

/// How DataFusion begins to say that a value is missing.
const NO_VALUE: &str = "No value found for placeholder";

/// What a query may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory; beyond it sorts, joins and groups spill to disk.
    pub memory_bytes: usize,
    /// Time until the last row; none for no limit.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, time: None }
    }
}

/// What a query answers.
pub struct Rows {
    /// The columns of every batch.
    pub schema: SchemaRef,
    /// The rows. Ends with an error where a limit is reached.
    pub batches: BatchStream,
}

/// SQL over everything under one data folder, and over raw logs.
pub struct Session {
    context: SessionContext,
    limits: Limits,
    refused: Arc<RefusedLines>,
    unread: Arc<UnreadFiles>,
    taken: Arc<TakenFormats>,
}

impl Session {
    /// A session over the data folder (`--data`), which need not exist.
    ///
    /// # Errors
    /// External: no folder for temporary files.
    pub fn open(data: &Path, limits: Limits) -> Result<Self> {
        Self::open_with(data, limits, Elsewhere::default())
    }

    /// The same, where pipelines keep ledgers and tables outside of the data folder too.
    ///
    /// # Errors
    /// As for [`Session::open`].
    pub fn open_with(data: &Path, limits: Limits, elsewhere: Elsewhere) -> Result<Self> {
        let spill = Arc::new(SpillFolder::make(data)?);
        let disk = spilling_to(spill.path());
        let config = SessionConfig::new().with_information_schema(true);
        // Whoever still reads rows holds the session's settings, and with them the folder.
        let config = config.with_extension(spill);
        let context = context(data, limits, elsewhere, (disk, config))?;
        let refused = Arc::new(RefusedLines::default());
        let unread = Arc::new(UnreadFiles::default());
        let taken = Arc::new(TakenFormats::default());
        let function = LogFunction::new(refused.clone(), unread.clone(), taken.clone());
        context.register_udtf("log", Arc::new(function));
        Ok(Self { context, limits, refused, unread, taken })
    }

    /// A session for people whom nobody knows: the tables of the data folder and of its pipelines,
    /// and nothing else. It has no `log(…)`, tells nothing of settings or places, and spills only
    /// so much to disk: into the folder `spill`, which is its caller's to remove.
    ///
    /// # Errors
    /// As for [`Session::open`].
    pub fn closed(data: &Path, limits: Limits, elsewhere: Elsewhere, spill: &Path) -> Result<Self> {
        let disk = spilling_to(spill).with_max_temp_directory_size(SPILLED_BYTES_MAX);
        let context = context(data, limits, elsewhere, (disk, SessionConfig::new()))?;
        let (refused, unread, taken) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { context, limits, refused, unread, taken })
    }

    /// As [`Session::query`], for a `SELECT` and nothing else: no `EXPLAIN`, which tells where
    /// files lie, and no `SHOW`.
    ///
    /// # Errors
    /// As for [`Session::query`]; Config: it is something else.
    pub async fn select(&self, sql: &str) -> Result<Rows> {
        let state = self.context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let statement = state.sql_to_statement(sql, &dialect).map_err(from_datafusion)?;
        match statement {
            Statement::Statement(statement) if matches!(*statement, SqlStatement::Query(_)) => {
                self.query(sql).await
            }
            _ => Err(Error::config("only SELECT can be run")
                .hint("this query is not one; WITH, UNION and VALUES may be part of it")),
        }
    }

    /// Plans a query; it runs while its rows are taken.
    ///
    /// # Errors
    /// Config: the query is wrong, or wants to change something. External: a table or file cannot
    /// be read.
    pub async fn query(&self, sql: &str) -> Result<Rows> {
        self.ask(Asked { sql: sql.to_owned(), values: None }).await
    }

    /// As [`Session::query`], with the values of `$name` in the query. A value is what it looks
    /// like: a number, `true` or `false`, else a text, which stands for a time where one is
    /// compared.
    ///
    /// # Errors
    /// As for [`Session::query`]; Config: the query names what has no value.
    pub async fn query_with(&self, sql: &str, values: &[(String, String)]) -> Result<Rows> {
        let values = values.iter().map(|(name, text)| (name.clone(), scalar(text)));
        let values = Some(ParamValues::from(values.collect::<Vec<_>>()));
        self.ask(Asked { sql: sql.to_owned(), values }).await
    }

    async fn ask(&self, asked: Asked) -> Result<Rows> {
        let deadline = self.limits.time.map(|time| Instant::now() + time);
        // A plan needs the logs of its tables, which may lie on a store that does not answer.
        let planned = stream(&self.context, &asked);
        let planned = match deadline {
            Some(deadline) => timeout_at(deadline, planned).await.map_err(|_| out_of_time())?,
            None => planned.await,
        };
        let planned = planned.map_err(from_datafusion)?;
        let schema = planned.schema();
        let batches = self.or_with_less_memory(planned, asked);
        let batches = batches.map(|batch| batch.map_err(from_datafusion)).boxed();
        let batches = match deadline {
            Some(deadline) => until(batches, deadline),
            None => batches,
        };
        Ok(Rows { schema, batches })
    }

    /// The rows of a plan. If its memory does not suffice for the first of them, the query is
    /// planned again, slower, so that it needs less memory and spills to disk.
    fn or_with_less_memory(
        &self,
        mut planned: SendableRecordBatchStream,
        asked: Asked,
    ) -> impl Stream<Item = PlanResult<RecordBatch>> + use<> {
        let (frugal, refused) = (frugal(&self.context), self.refused.clone());
        let rows = async move {
            let first = planned.next().await;
            if let Some(Err(error)) = &first
                && matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
            {
                drop(planned);
                drop(refused.take());
                return stream(&frugal, &asked).await;
            }
            let schema = planned.schema();
            let rows = futures::stream::iter(first).chain(planned);
            let rows: SendableRecordBatchStream =
                Box::pin(RecordBatchStreamAdapter::new(schema, rows));
            Ok(rows)
        };
        rows.try_flatten_stream()
    }

    /// The context, for queries that are not written as SQL.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The formats that `log(…)` found out where a query named none.
    pub fn taken_formats(&self) -> &TakenFormats {
        &self.taken
    }

    /// The lines that `log(…)` could not read since the session began.
    pub fn refused_lines(&self) -> &RefusedLines {
        &self.refused
    }

    /// The files of patterns that `log(…)` could not read to their end since the session began.
    pub fn unread_files(&self) -> &UnreadFiles {
        &self.unread
    }

    /// The names of all tables, sorted.
    pub fn tables(&self) -> Vec<String> {
        let schema =
            self.context.catalog(catalog::CATALOG).and_then(|found| found.schema(catalog::SCHEMA));
        schema.map_or_else(Vec::new, |schema| schema.table_names())
    }
}

fn spilling_to(folder: &Path) -> DiskManagerBuilder {
    DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![folder.to_owned()]))
}

/// The tables of the data folder and the functions of pipelines, within limits.
fn context(
    data: &Path,
    limits: Limits,
    elsewhere: Elsewhere,
    (disk, config): (DiskManagerBuilder, SessionConfig),
) -> Result<SessionContext> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(limits.memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(from_datafusion)?;
    let config = quick_groups(config)
        .with_default_catalog_and_schema(catalog::CATALOG, catalog::SCHEMA)
        .with_create_default_catalog_and_schema(false);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rule(Arc::new(CheckedArithmetic));
    let mut context = SessionContext::new_with_state(state.build());
    let folder = LakeFolder::new(data).with(elsewhere);
    context.register_catalog(catalog::CATALOG, catalog::catalog(folder)?);
    for function in engine::functions() {
        context.register_udf(function);
    }
    context.register_udf(DateTrunc::udf());
    context.register_udaf(sums::sum());
    let functions: Vec<_> = context.state().scalar_functions().values().cloned().collect();
    for function in functions {
        let function = engine::bounded(function, engine::QUERY_BATCH_BYTES_MAX);
        context.register_udf(Arc::unwrap_or_clone(function));
    }
    context.register_expr_planner(Arc::new(TextJoins::InQueries)).map_err(from_datafusion)?;
    Ok(context)
}

/// A query, and the values that it names.
struct Asked {
    sql: String,
    values: Option<ParamValues>,
}

/// Plans a query that only reads.
async fn stream(context: &SessionContext, asked: &Asked) -> PlanResult<SendableRecordBatchStream> {
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let planned = context.sql_with_options(&asked.sql, read_only).await?;
    let planned = match &asked.values {
        Some(values) => planned.with_param_values(values.clone())?,
        None => planned,
    };
    planned.execute_stream().await
}

/// A value of a query as it was written: a number only where it is written as numbers are shown.
fn scalar(text: &str) -> ScalarValue {
    let whole = text.parse::<i64>().ok().filter(|whole| whole.to_string() == text);
    let part = || text.parse::<f64>().ok().filter(|part| part.to_string() == text);
    match (whole, text) {
        (Some(whole), _) => ScalarValue::Int64(Some(whole)),
        (None, "true" | "false") => ScalarValue::Boolean(Some(text == "true")),
        (None, _) => match part() {
            Some(part) => ScalarValue::Float64(Some(part)),
            None => ScalarValue::Utf8(Some(text.to_owned())),
        },
    }
}

/// The same session with DataFusion's own settings in place of [`quick_groups`].
fn frugal(context: &SessionContext) -> SessionContext {
    let state = context.state();
    let own = SessionConfig::new();
    let ratio = own.options().execution.skip_partial_aggregation_probe_ratio_threshold;
    let mut config = state
        .config()
        .clone()
        .with_target_partitions(own.target_partitions())
        .with_batch_size(own.batch_size());
    config.options_mut().execution.skip_partial_aggregation_probe_ratio_threshold = ratio;
    SessionContext::new_with_state(
        SessionStateBuilder::new_from_existing(state).with_config(config).build(),
    )
}

/// Settings by which groups of many values (paths, addresses) are counted quickly.
///
/// The table of groups of one partition should fit into the cache of a core, and one row in ten
/// that makes a new group is enough for counting in one step to cost less than in two.
/// They take more memory, which a server of many questions does not have.
fn quick_groups(config: SessionConfig) -> SessionConfig {
    let partitions = config.target_partitions() * PARTITIONS_PER_CORE;
    let mut config = config.with_target_partitions(partitions).with_batch_size(BATCH_ROWS);
    let execution = &mut config.options_mut().execution;
    execution.skip_partial_aggregation_probe_ratio_threshold = NEW_GROUPS_FOR_ONE_STEP;
    config
}

/// Ends a stream with an error once the deadline has passed.
fn until(batches: BatchStream, deadline: Instant) -> BatchStream {
    let limited = futures::stream::unfold(Some(batches), move |batches| async move {
        let mut batches = batches?;
        match timeout_at(deadline, batches.next()).await {
            Ok(batch) => batch.map(|batch| (batch, Some(batches))),
            Err(_) => Some((Err(out_of_time()), None)),
        }
    });
    limited.boxed()
}

fn out_of_time() -> Error {
    Error::external("the query ran out of time").hint("raise the limit with `--timeout`")
}

/// An error of ours on its way through DataFusion; [`from_datafusion`] takes it back.
pub(crate) fn lend(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Says who has to act: whoever wrote the query, or whoever owns what it reads.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(file) = missing_file(&error) {
        return lake::gone(None, &file);
    }
    match error.find_root() {
        DataFusionError::External(cause) => match cause.downcast_ref::<Error>() {
            Some(ours) => again(ours),
            // What is wrong with a constant is found while the plan is made.
            None if error.to_string().starts_with("Optimizer rule") => refused(&error),
            None => Error::external("could not read what the query names").because(error),
        },
        DataFusionError::ResourcesExhausted(_) => Error::external("the query ran out of memory")
            .hint("raise the limit with `--memory`, or ask for fewer groups")
            .because(error),
        DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::ParquetError(_) => {
            Error::external("could not read what the query names").because(error)
        }
        DataFusionError::SchemaError(cause, _) => match &**cause {
            SchemaError::FieldNotFound { field, valid_fields } => unknown(field, valid_fields),
            _ => refused(&error),
        },
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => {
            let Worded { message, .. } = engine::reworded(&error.strip_backtrace());
            Error::bug("the query failed inside").because(message)
        }
        _ => refused(&error),
    }
}

/// The file of a store that is not there, if that is behind the error.
fn missing_file(error: &DataFusionError) -> Option<String> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let boxed = error.downcast_ref::<Box<object_store::Error>>().map(|error| &**error);
        if let Some(object_store::Error::NotFound { path, .. }) = error.downcast_ref().or(boxed) {
            return Some(path.clone());
        }
        cause = error.source();
    }
    None
}

/// The error of a column that is not there.
fn unknown(field: &Column, valid: &[Column]) -> Error {
    let valid = valid.iter().map(|column| column.name.as_str());
    let hint = engine::missing_column(&field.name, valid);
    let is_name = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '-' | '.');
    let is_text = field.name.starts_with(|sign: char| sign.is_ascii_digit())
        || !field.name.chars().all(is_name);
    let hint = match is_text {
        true => format!("a text stands in single quotes, a column in double ones; {hint}"),
        false => hint,
    };
    Error::config(format!("there is no column {:?}", field.name)).hint(hint)
}

/// An error of the query itself, as one line and a hint.
fn refused(error: &DataFusionError) -> Error {
    if let DataFusionError::SQL(parser, _) = error.find_root()
        && let ParserError::ParserError(text) | ParserError::TokenizerError(text) = &**parser
    {
        return Error::config("the query is wrong").because(text.clone());
    }
    let text = error.strip_backtrace();
    let text = text.strip_prefix("Error during planning: ").unwrap_or(&text);
    match text {
        text if text.starts_with("DDL not") || text.starts_with("DML not") => {
            Error::config("a query only reads").because(text.to_owned())
        }
        text if text.starts_with("Statement not") => {
            Error::config("only SELECT, EXPLAIN, DESCRIBE and SHOW TABLES can be run")
                .because(text.to_owned())
        }
        text if text.starts_with("table '") => {
            no_table(text.split('\'').nth(1).unwrap_or_default())
        }
        text if text.contains(NO_VALUE) => {
            let name = text.split('$').nth(1).unwrap_or_default().trim();
            Error::config(format!("the query names `${name}`, and nothing gives its value"))
                .hint(format!("`--param {name}=VALUE` does"))
        }
        text if text.contains("only supports a single SQL statement") => {
            Error::config("there is more than one query").hint("ask one after the other")
        }
        text => {
            let Worded { message, hint } = engine::reworded(text);
            let refused = Error::config("the query is wrong").because(message);
            match hint {
                Some(hint) => refused.hint(hint),
                None => refused,
            }
        }
    }
}

/// The error of a table that is not there, by its whole name.
fn no_table(full: &str) -> Error {
    let name = full.strip_prefix(catalog::CATALOG).and_then(|name| name.strip_prefix('.'));
    let name = name.unwrap_or(full);
    let bare = name.strip_prefix(catalog::SCHEMA).and_then(|name| name.strip_prefix('.'));
    let is_file = |name: &&str| name.contains(['.', '/']) && Path::new(name).is_file();
    if let Some(name) = [Some(name), bare].into_iter().flatten().find(is_file) {
        return Error::config(format!("there is no table {name:?}"))
            .hint(format!("a file is read by log('{name}')"));
    }
    let name = name.rsplit('.').next().unwrap_or_default();
    Error::config(format!("there is no table {name:?}")).hint(
        "`SHOW TABLES` lists the tables (a name with capitals or hyphens stands in double \
         quotes); log('FILE', 'FORMAT') reads raw logs",
    )
}

/// An error of ours that came back through DataFusion, which only lends it.
fn again(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.chain());
    if error.retry() {
        copy = copy.retryable();
    }
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}
