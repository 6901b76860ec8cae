//! The counting source: split `i` holds the numbers from 0 to `rows_max`.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use contract::discovery::{ByListing, Discoverer, Listing};
use contract::record::position_field;
use contract::source::{KnownSplit, Lag, Lineages, ReadBatch, Source, Split, SplitReader, Until};
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
        let splits = (0..self.config.splits).map(|number| Split {
            id: SplitId::new(number.to_string()),
            descriptor: serde_json::Value::Null,
        });
        Box::new(ByListing::new(Listing::of(splits), known))
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
        }))
    }
}

struct CounterReader {
    schema: SchemaRef,
    next: i64,
    end: i64,
    batch_rows: i64,
    waits: bool,
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

    fn lag(&self) -> Lag {
        Lag { records: Some((self.end - self.next).max(0).unsigned_abs()), ..Lag::default() }
    }
}
