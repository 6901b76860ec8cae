//! Encodes batches into the column chunks of a Parquet row group, columns in parallel.
//!
//! Only encoded bytes stay in memory: each group of batches is encoded at once, by as many threads
//! as are free, the columns that cost most first. Rows keep the order in which they came.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Int32Type, SchemaRef};
use contract::error::Context;
use contract::{Error, Result};
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use tokio::task::JoinSet;

use super::chunk::FinishedChunk;
use super::leaf::LeafColumn;
use super::plain::Plain;
use super::text::TextColumn;
use super::words::WordColumn;

/// For fewer rows a further thread costs more than it does.
const ROWS_OF_THREAD_MIN: usize = 1024;

/// A row group that is being encoded.
pub struct RowGroup {
    columns: Vec<Column>,
    rows: usize,
    plain: Arc<Plain>,
}

/// One column.
struct Column {
    field: FieldRef,
    encoder: Encoder,
    /// What the last group of batches cost, to begin the next with the costly columns.
    cost: Duration,
}

enum Encoder {
    /// Parquet's own, one for each leaf.
    Leaves(Vec<LeafColumn>),
    /// Ours, for dictionaries of text.
    Words(Box<WordColumn>),
    /// Ours, for text that hardly repeats.
    Text(Box<TextColumn>),
}

/// What row groups are begun with.
pub struct Parts<'a> {
    /// Makes the writers of Parquet's own.
    pub file: &'a SerializedFileWriter<io::Sink>,
    /// The columns as Arrow has them.
    pub schema: &'a SchemaRef,
    /// The columns as Parquet has them.
    pub leaves: &'a SchemaDescriptor,
    /// Compression, among others.
    pub properties: &'a WriterProperties,
    /// Columns of text that need no dictionary.
    pub plain: &'a Arc<Plain>,
}

impl RowGroup {
    /// Begins the row group of this number.
    ///
    /// # Errors
    /// Bug: the schema does not fit the factory's file.
    pub fn begin(parts: &Parts<'_>, number: usize) -> Result<Self> {
        let mut writers = LeafColumn::begin_all(parts.file, parts.schema, number)?.into_iter();
        let mut columns = Vec::with_capacity(parts.schema.fields().len());
        let mut leaf = 0;
        for field in parts.schema.fields() {
            let leaves: Vec<_> = writers.by_ref().take(leaf_count(field)).collect();
            let first = leaf;
            leaf += leaves.len();
            let encoder = parts.ours(field, first).unwrap_or(Encoder::Leaves(leaves));
            columns.push(Column { field: field.clone(), encoder, cost: Duration::ZERO });
        }
        Ok(Self { columns, rows: 0, plain: parts.plain.clone() })
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.encoder.memory_bytes()).sum()
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
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let threads = threads.min(rows.div_ceil(ROWS_OF_THREAD_MIN));
        self.columns = in_parallel(&mut jobs, &order, threads, encode).await?;
        self.rows += rows;
        Ok(())
    }

    /// Ends the row group.
    ///
    /// # Errors
    /// Bug: a column cannot be closed.
    pub async fn close(self, threads: usize) -> Result<Vec<FinishedChunk>> {
        let mut columns = self.columns;
        let order: Vec<usize> = (0..columns.len()).collect();
        let close = |column: Column| column.encoder.close();
        let chunks = in_parallel(&mut columns, &order, threads, close).await?;
        let chunks: Vec<FinishedChunk> = chunks.into_iter().flatten().collect();
        for (leaf, chunk) in chunks.iter().enumerate() {
            if chunk.hardly_repeats {
                self.plain.hardly_repeats(leaf);
            }
        }
        Ok(chunks)
    }
}

impl Column {
    fn encode(&mut self, arrays: &[ArrayRef]) -> Result<()> {
        let began = Instant::now();
        for array in arrays {
            self.encoder.push(&self.field, array)?;
        }
        self.cost = began.elapsed();
        Ok(())
    }
}

impl Encoder {
    fn push(&mut self, field: &FieldRef, array: &ArrayRef) -> Result<()> {
        match self {
            Self::Words(words) => words.push(array.as_dictionary::<Int32Type>()),
            Self::Text(text) => text.push(array.as_string_view()),
            Self::Leaves(writers) => {
                let leaves = compute_leaves(field, array).bug("could not take a column apart")?;
                writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.push(leaf))
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Words(words) => words.memory_bytes(),
            Self::Text(text) => text.memory_bytes(),
            Self::Leaves(writers) => writers.iter().map(LeafColumn::memory_bytes).sum(),
        }
    }

    fn close(self) -> Result<Vec<FinishedChunk>> {
        match self {
            Self::Words(words) => Ok(vec![words.close()?]),
            Self::Text(text) => Ok(vec![text.close()?]),
            Self::Leaves(leaves) => leaves.into_iter().map(LeafColumn::close).collect(),
        }
    }
}

impl Parts<'_> {
    /// An encoder of ours for a column that begins with this leaf; none if Parquet's own is to
    /// take it.
    fn ours(&self, field: &FieldRef, leaf: usize) -> Option<Encoder> {
        let descriptor = self.leaves.column(leaf);
        let compression = self.properties.compression(descriptor.path());
        if is_words(field) {
            let words = WordColumn::begin(descriptor, compression)?;
            return Some(Encoder::Words(words.into()));
        }
        if *field.data_type() == DataType::Utf8View && self.plain.take(leaf) {
            let text = TextColumn::begin(descriptor, compression)?;
            return Some(Encoder::Text(text.into()));
        }
        None
    }
}

/// Whether the column comes as dictionaries that [`WordColumn`] takes.
fn is_words(field: &FieldRef) -> bool {
    let DataType::Dictionary(key, value) = field.data_type() else { return false };
    **key == DataType::Int32 && **value == DataType::Utf8
}

fn costly_first(jobs: &[(Column, Vec<ArrayRef>)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(jobs[*index].0.cost));
    order
}

/// How many leaf columns a schema has in Parquet.
pub fn leaves(schema: &SchemaRef) -> usize {
    schema.fields().iter().map(leaf_count).sum()
}

/// How many leaf columns a field has in Parquet.
fn leaf_count(field: &FieldRef) -> usize {
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
