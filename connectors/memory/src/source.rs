//! The counting source: split `i` holds the numbers from 0 to `rows_max`.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use contract::discovery::{Differences, Discoverer, Gone, Moved};
use contract::record::position_field;
use contract::source::{
    KnownSplit, Lag, Lineages, ReadBatch, Rest, Source, Split, SplitReader, Until,
};
use contract::{Error, Position, Result, SplitId};

use crate::config::SourceConfig;

/// Counts upwards in every split.
pub struct Counter {
    config: SourceConfig,
    schema: SchemaRef,
}

impl Counter {
    /// A source with these settings.
    pub fn new(config: SourceConfig) -> Self {
        let number = Field::new("number", DataType::Int64, false);
        Self { config, schema: Arc::new(Schema::new(vec![number, position_field()])) }
    }

    fn has(&self, split: &SplitId) -> bool {
        split.as_str().parse::<u32>().is_ok_and(|number| number < self.config.splits)
    }
}

/// All that there is to say, until it is said.
struct Once(Differences);

#[async_trait]
impl Discoverer for Once {
    async fn look(&mut self, _moved: Moved) -> Result<Differences> {
        Ok(std::mem::take(&mut self.0))
    }
}

#[async_trait]
impl Source for Counter {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn lineages(&self) -> &'static [Lineages] {
        &[Lineages::One, Lineages::Split]
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let gone = known.into_iter().flatten().map(|known| known.split.id);
        let gone = gone.filter(|id| !self.has(id)).map(|id| Gone { id, end: None }).collect();
        let splits = (0..self.config.splits).map(|number| Split {
            id: SplitId::new(number.to_string()),
            // Whoever reads a split again after its rows became more sees that it grew.
            descriptor: self.config.rows_max.into(),
        });
        let first = Differences { found: splits.collect(), gone, ..Differences::default() };
        Box::new(Once(first))
    }

    async fn open(
        &self,
        _split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let rows_max = i64::try_from(self.config.rows_max).unwrap_or(i64::MAX);
        let end = match &until {
            Until::Position(to) | Until::Proven { to, .. } => to.at.min(rows_max),
            Until::End | Until::Forever => rows_max,
        };
        Ok(Box::new(CounterReader {
            schema: self.schema.clone(),
            next: from.map_or(0, |from| from.at),
            end,
            batch_rows: i64::try_from(self.config.batch_rows.max(1)).unwrap_or(i64::MAX),
            waits: until == Until::Forever,
            is_whole: end == rows_max,
        }))
    }
}

struct CounterReader {
    schema: SchemaRef,
    next: i64,
    end: i64,
    batch_rows: i64,
    waits: bool,
    /// Whether it ends where the split does.
    is_whole: bool,
}

#[async_trait]
impl SplitReader for CounterReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.next >= self.end {
            return match self.waits {
                true => std::future::pending().await,
                false => Ok(None),
            };
        }
        // Leaves the thread to the others, as a source that waits for a disk would. A call that is
        // dropped here has consumed nothing.
        tokio::task::yield_now().await;
        let to = self.end.min(self.next + self.batch_rows);
        let numbers: Int64Array = (self.next..to).collect();
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(numbers.clone()), Arc::new(numbers)];
        let records = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::bug("numbers do not fit their columns").because(error))?;
        let bytes = (to - self.next).unsigned_abs() * 8;
        self.next = to;
        Ok(Some(ReadBatch { bytes, ..ReadBatch::new(records, Position::new(to)) }))
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }

    fn rest(&self) -> Rest {
        match self.is_whole && self.next >= self.end {
            true => Rest::UntilChanged,
            false => Rest::None,
        }
    }

    fn lag(&self) -> Lag {
        Lag { records: Some((self.end - self.next).max(0).unsigned_abs()), ..Lag::default() }
    }
}
