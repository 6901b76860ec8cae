//! The tables that every data folder has: `dead_letters`, `late` and `ledger`.
//!
//! The first two are lake tables that `run` makes with the first such record; before that they
//! are empty here, with the same columns. The ledger is a view over the checkpoints.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::error::Context;
use contract::record::{EPOCH, ORDINAL, POSITION, SPLIT};
use contract::{Error, Result};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::error::Result as PlanResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, col, lit, when,
};
use state::CheckpointStore;
use state::ledger::COUNTS;

/// The table of refused records.
pub const DEAD_LETTERS: &str = "dead_letters";
/// The lake table that says which of them were replayed or closed, and when.
pub const MARKS: &str = "dead_letter_states";
/// The state of a dead letter that was given again.
const REPLAYED: &str = "replayed";
/// The state of one that was closed without.
const ACKNOWLEDGED: &str = "acknowledged";
/// The table of records behind the watermark.
pub const LATE: &str = "late";
/// The table of counts per epoch, split and sink.
pub const LEDGER: &str = "ledger";
/// The tables that exist whatever the sinks are.
pub const ALWAYS: &[&str] = &[DEAD_LETTERS, LATE, LEDGER];

/// The number of the row that a mark is for; 0 where it has none.
const MARKED: &str = "marked_ordinal";

/// What tells one dead letter from every other of its time, but for the number of its row.
const LETTER_KEY: [&str; 5] = ["pipeline", "step", "sink", SPLIT, POSITION];

/// The ledger of a pipeline whose checkpoints lie outside of the data folder.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The pipeline's name.
    pub pipeline: String,
    /// Where its checkpoints lie.
    pub checkpoints: CheckpointStore,
}

/// The empty form of a table that always exists; none for any other name.
///
/// # Errors
/// Bug: DataFusion refuses the columns.
pub fn empty(name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if !matches!(name, DEAD_LETTERS | LATE) {
        return Ok(None);
    }
    let fields = vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        text("pipeline"),
        text("sink"),
        text("step"),
        text("split"),
        number("position"),
        number("ordinal"),
        number("epoch"),
        text("reason"),
        text("kind"),
        text("original"),
        text("state"),
    ];
    table(Arc::new(Schema::new(fields)), Vec::new()).map(Some)
}

/// The lake table of refused records under the names of [`empty`], the original as text. A letter
/// is replayed or acknowledged where `marks`, the lake table of replays, holds a later row of it.
///
/// # Errors
/// External: a table has other columns.
pub fn letters(
    table: Arc<dyn TableProvider>,
    marks: Option<Arc<dyn TableProvider>>,
) -> Result<Arc<dyn TableProvider>> {
    let as_text = ScalarUDF::from(LossyText::new());
    let columns = [
        col("ts"),
        col("pipeline"),
        col("sink"),
        col("step"),
        col("_split").alias("split"),
        col("_position").alias("position"),
        col(ORDINAL).alias("ordinal"),
        col("_epoch").alias("epoch"),
        col("reason"),
        col("kind"),
        as_text.call(vec![col("original")]).alias("original"),
        col("state"),
    ];
    let plan = letters_with_state(table, marks)
        .and_then(|letters| letters.project(columns))
        .and_then(LogicalPlanBuilder::build)
        .external(|| format!("lake table {DEAD_LETTERS:?} was not made by `run`"))?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The lake table of refused records, every column as it is stored but the state.
///
/// # Errors
/// As DataFusion gives them: a table has other columns.
pub fn letters_with_state(
    table: Arc<dyn TableProvider>,
    marks: Option<Arc<dyn TableProvider>>,
) -> PlanResult<LogicalPlanBuilder> {
    let letters = LogicalPlanBuilder::scan(DEAD_LETTERS, provider_as_source(table), None)?;
    let Some(marks) = marks else { return Ok(letters) };
    let marked = |state: &str| -> PlanResult<Expr> {
        let ts = when(col("state").eq(lit(text_view(state))), col("ts")).end()?;
        Ok(max(ts).alias(state))
    };
    // The table of an earlier program has no such column, and its older rows have none in it.
    let number = match marks.schema().index_of(ORDINAL) {
        Ok(_) => coalesce(vec![col(ORDINAL), lit(0_i64)]),
        Err(_) => lit(0_i64),
    };
    let marks = LogicalPlanBuilder::scan(MARKS, provider_as_source(marks), None)?;
    let columns = ["ts", "state"].into_iter().chain(LETTER_KEY).map(col);
    let newest = marks
        .project(columns.chain([number.alias(MARKED)]))?
        .aggregate(
            LETTER_KEY.into_iter().chain([MARKED]).map(col),
            [marked(REPLAYED)?, marked(ACKNOWLEDGED)?],
        )?
        .build()?;
    let keys = |table: &str, number: &str| -> Vec<Column> {
        let keys = LETTER_KEY.iter().map(|name| Column::new(Some(table), *name));
        keys.chain([Column::from_name(number)]).collect()
    };
    let is_later = |state: &str| col(state).gt(col("dead_letters.ts"));
    let state = when(is_later(REPLAYED), lit(text_view(REPLAYED)))
        .when(is_later(ACKNOWLEDGED), lit(text_view(ACKNOWLEDGED)))
        .otherwise(col("dead_letters.state"))?
        .alias("state");
    let stored = ["ts", "pipeline", "sink", "step", "reason", "kind", "original"];
    let stored = stored.into_iter().chain([SPLIT, POSITION, ORDINAL, EPOCH]);
    let stored = stored.map(|name| Expr::Column(Column::new(Some(DEAD_LETTERS), name)).alias(name));
    letters
        .join_detailed(
            newest,
            JoinType::Left,
            (keys(DEAD_LETTERS, ORDINAL), keys(MARKS, MARKED)),
            None,
            // A step or a sink refused the record, so that the other one is null.
            NullEquality::NullEqualsNull,
        )?
        .project(stored.chain([state]))
}

fn text_view(text: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(text.to_owned()))
}

/// The ledger of every pipeline under a data folder.
///
/// # Errors
/// External: a checkpoint cannot be read.
pub async fn ledger(data: &Path, elsewhere: &[Ledger]) -> Result<Arc<dyn TableProvider>> {
    let mut batches = Vec::new();
    let folder = data.join("checkpoints");
    if folder.is_dir() {
        let store = stores::open(&stores::Settings::at(folder.to_string_lossy()))?;
        for (pipeline, lineage) in state::history::lineages(&store).await? {
            let history = state::History::new(store.clone(), &pipeline, &lineage);
            for columns in history.ledger_columns().await? {
                batches.push(shown(&columns, (&pipeline, lineage.as_str()))?);
            }
        }
    }
    for Ledger { pipeline, checkpoints } in elsewhere {
        for lineage in checkpoints.lineages(pipeline).await? {
            let history = checkpoints.history(pipeline, &lineage);
            for columns in history.ledger_columns().await? {
                batches.push(shown(&columns, (pipeline, lineage.as_str()))?);
            }
        }
    }
    table(ledger_schema(), batches)
}

fn ledger_schema() -> SchemaRef {
    let mut fields = vec![text("pipeline"), text("lineage"), number("epoch")];
    fields.extend([text("split"), text("sink")]);
    fields.extend(COUNTS.map(number));
    fields.push(text("hash"));
    Arc::new(Schema::new(fields))
}

/// Rows of a lineage's ledger under the names of the table, column by column.
fn shown(columns: &RecordBatch, (pipeline, lineage): (&str, &str)) -> Result<RecordBatch> {
    let rows = columns.num_rows();
    let schema = ledger_schema();
    let of_all = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; rows])) };
    let shown = schema.fields().iter().map(|field| match field.name().as_str() {
        "pipeline" => Ok(of_all(pipeline)),
        "lineage" => Ok(of_all(lineage)),
        name => {
            let column = columns.column_by_name(name);
            let column = column.ok_or_else(|| Error::bug("the ledger lacks a column"))?;
            cast(column, field.data_type()).bug("a column of the ledger has another type")
        }
    });
    let shown = shown.collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema, shown).bug("the ledger's columns differ")
}

fn table(schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<Arc<dyn TableProvider>> {
    let table = MemTable::try_new(schema, vec![rows]).bug("could not make a table")?;
    Ok(Arc::new(table))
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

/// Bytes as text, with U+FFFD for what is no UTF-8: originals are bytes and are read by people.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LossyText {
    signature: Signature,
}

impl LossyText {
    fn new() -> Self {
        Self { signature: Signature::exact(vec![DataType::BinaryView], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LossyText {
    fn name(&self) -> &str {
        "lossy_text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = arrays[0].as_binary_view().iter();
        let texts: StringArray = texts.map(|bytes| bytes.map(String::from_utf8_lossy)).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}
