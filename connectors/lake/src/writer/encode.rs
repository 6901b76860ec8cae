//! Encodes batches into the column chunks of a Parquet row group, columns in parallel.
//!
//! Only encoded bytes stay in memory: each group of batches is encoded at once, by as many threads
//! as are free, the columns that cost most first. Rows keep the order in which they came.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{FieldRef, SchemaRef};
use contract::error::Context;
use contract::{Error, Result};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use tokio::task::JoinSet;

/// A row group that is being encoded.
pub struct RowGroup {
    columns: Vec<Column>,
    rows: usize,
}

/// One column, with a writer for each of its leaves.
struct Column {
    field: FieldRef,
    leaves: Vec<ArrowColumnWriter>,
    /// What the last group of batches cost, to begin the next with the costly columns.
    cost: Duration,
}

impl RowGroup {
    /// Begins the row group of this number.
    ///
    /// # Errors
    /// Bug: the schema does not fit the factory's file.
    pub fn begin(
        factory: &ArrowRowGroupWriterFactory,
        schema: &SchemaRef,
        number: usize,
    ) -> Result<Self> {
        let leaves = factory.create_column_writers(number).bug("could not begin a row group")?;
        let mut leaves = leaves.into_iter();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            columns.push(Column {
                field: field.clone(),
                leaves: leaves.by_ref().take(leaf_count(field)).collect(),
                cost: Duration::ZERO,
            });
        }
        Ok(Self { columns, rows: 0 })
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        let leaves = self.columns.iter().flat_map(|column| &column.leaves);
        leaves.map(ArrowColumnWriter::memory_size).sum()
    }

    /// Encodes batches.
    ///
    /// # Errors
    /// Bug: a batch does not fit the schema.
    pub async fn encode(&mut self, batches: &[RecordBatch], threads: usize) -> Result<()> {
        let columns = std::mem::take(&mut self.columns).into_iter().enumerate();
        let jobs = columns.map(|(index, column)| {
            let arrays = batches.iter().map(|batch| batch.column(index).clone()).collect();
            (column, arrays)
        });
        let mut jobs: Vec<(Column, Vec<ArrayRef>)> = jobs.collect();
        let order = costly_first(&jobs);
        let encode =
            |(mut column, arrays): (Column, Vec<ArrayRef>)| column.encode(&arrays).map(|()| column);
        self.columns = in_parallel(&mut jobs, &order, threads, encode).await?;
        self.rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(())
    }

    /// Ends the row group.
    ///
    /// # Errors
    /// Bug: a column cannot be closed.
    pub async fn close(self, threads: usize) -> Result<Vec<ArrowColumnChunk>> {
        let mut columns = self.columns;
        let order: Vec<usize> = (0..columns.len()).collect();
        let close = |column: Column| {
            let chunks = column.leaves.into_iter().map(ArrowColumnWriter::close);
            chunks.collect::<parquet::errors::Result<Vec<_>>>().bug("could not end a column")
        };
        let chunks = in_parallel(&mut columns, &order, threads, close).await?;
        Ok(chunks.into_iter().flatten().collect())
    }
}

impl Column {
    fn encode(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let began = Instant::now();
        for array in arrays {
            let leaves = compute_leaves(&self.field, array).bug("could not take a column apart")?;
            for (writer, leaf) in self.leaves.iter_mut().zip(&leaves) {
                writer.write(leaf).bug("could not encode a column")?;
            }
        }
        self.cost = began.elapsed();
        Ok(())
    }
}

fn costly_first(jobs: &[(Column, Vec<ArrayRef>)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(jobs[*index].0.cost));
    order
}

/// How many leaf columns a field has in Parquet.
fn leaf_count(field: &FieldRef) -> usize {
    use arrow::datatypes::DataType;
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(leaf_count).sum(),
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            leaf_count(item)
        }
        _ => 1,
    }
}

/// Does work on items with several threads, beginning them in the given order; answers in the
/// order of the items.
async fn in_parallel<T, R>(
    items: &mut Vec<T>,
    order: &[usize],
    threads: usize,
    work: impl Fn(T) -> Result<R> + Clone + Send + 'static,
) -> Result<Vec<R>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let count = items.len();
    let mut slots: Vec<Option<T>> = items.drain(..).map(Some).collect();
    let in_order = order.iter().rev().filter_map(|index| Some((*index, slots[*index].take()?)));
    let queue: Arc<Mutex<Vec<(usize, T)>>> = Arc::new(Mutex::new(in_order.collect()));
    let mut tasks = JoinSet::new();
    for _ in 0..threads.clamp(1, count.max(1)) {
        let (queue, work) = (queue.clone(), work.clone());
        tasks.spawn_blocking(move || {
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((index, item)) = next else { return Ok(done) };
                done.push((index, work(item)?));
            }
        });
    }
    let mut answers: Vec<Option<R>> = std::iter::repeat_with(|| None).take(count).collect();
    while let Some(joined) = tasks.join_next().await {
        let done: Result<Vec<(usize, R)>> = joined.bug("a thread that encodes columns died")?;
        for (index, answer) in done? {
            answers[index] = Some(answer);
        }
    }
    let complete: Option<Vec<R>> = answers.into_iter().collect();
    complete.ok_or_else(|| Error::bug("a column was not encoded"))
}
