//! The table that must be there, and the bucket that it lies in.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::Result;
use contract::needs::{Maker, Need, Needs, State};
use stores::BucketNeeds;

use crate::sink::LakeSink;

/// What a table is called among what is needed.
const TABLE: &str = "lake table";

/// What a sink writes to.
pub struct TableNeeds {
    sink: LakeSink,
    columns: SchemaRef,
}

impl TableNeeds {
    /// The table of a sink that gets these columns.
    pub fn new(sink: LakeSink, columns: &SchemaRef) -> Self {
        Self { sink, columns: columns.clone() }
    }

    fn bucket(&self) -> Result<Option<BucketNeeds>> {
        BucketNeeds::of(&self.sink.location().store)
    }
}

#[async_trait]
impl Needs for TableNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let mut needs = match self.bucket()? {
            Some(bucket) => bucket.look().await?,
            None => Vec::new(),
        };
        let state = match needs.iter().any(|need| need.state == State::Missing) {
            true => State::Missing,
            false => self.sink.look(&self.columns).await?,
        };
        needs.push(Need {
            kind: TABLE,
            name: self.sink.name().to_owned(),
            shape: format!("in {}", self.sink.location().shown()),
            state,
            maker: Maker::Run,
        });
        Ok(needs)
    }

    async fn make(&self, need: &Need) -> Result<()> {
        match self.bucket()?.filter(|_| need.kind != TABLE) {
            Some(bucket) => bucket.make(need).await,
            None => self.sink.make(&self.columns).await,
        }
    }
}
