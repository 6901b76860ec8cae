//! The table that must be there.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::Result;
use contract::needs::{Maker, Need, Needs};

use crate::sink::LakeSink;

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
}

#[async_trait]
impl Needs for TableNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        Ok(vec![Need {
            kind: "lake table",
            name: self.sink.name().to_owned(),
            shape: format!("in {}", self.sink.location().shown()),
            state: self.sink.look(&self.columns).await?,
            maker: Maker::Run,
        }])
    }

    async fn make(&self, _need: &Need) -> Result<()> {
        self.sink.make(&self.columns).await
    }
}
