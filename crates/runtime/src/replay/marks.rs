//! Notes of every record that passes that it was replayed, or seen by somebody.
//!
//! A later mark closes an earlier dead letter of the same record, number and refuser. A record that
//! is refused again in the same epoch makes a letter as new as the mark, which stays open.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::record::{ORDINAL, POSITION, position_field};
use contract::transform::{EpochStart, Means, Output, Port, Step, Transform};
use contract::{Error, Result};

use super::{Purpose, Refuser, Request};

/// A step that makes a mark of each record.
pub struct Marks {
    pipeline: String,
    refuser: Refuser,
    purpose: Purpose,
    ordinal: i64,
    ports: Vec<Port>,
}

impl Marks {
    /// Marks for the letters of a request.
    pub fn new(pipeline: &str, request: &Request) -> Self {
        let ports = vec![Port { name: "".into(), schema: schema() }];
        let (refuser, purpose) = (request.refuser.clone(), request.purpose);
        let ordinal = request.ordinal;
        Self { pipeline: pipeline.to_owned(), refuser, purpose, ordinal, ports }
    }

    /// The columns of a mark.
    pub fn schema(&self) -> SchemaRef {
        self.ports[0].schema.clone()
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let ts = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("ts", ts, false),
        text("pipeline", false),
        text("sink", true),
        text("step", true),
        text("state", false),
        position_field(),
        Field::new(ORDINAL, DataType::Int64, false),
    ]))
}

impl Step for Marks {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Marking {
            schema: self.schema(),
            pipeline: self.pipeline.clone(),
            refuser: self.refuser.clone(),
            purpose: self.purpose,
            ordinal: self.ordinal,
            now_us: 0,
        }))
    }
}

struct Marking {
    schema: SchemaRef,
    pipeline: String,
    refuser: Refuser,
    purpose: Purpose,
    ordinal: i64,
    now_us: i64,
}

impl Transform for Marking {
    fn start_epoch(&mut self, epoch: EpochStart) -> Result<()> {
        self.now_us = epoch.now_us;
        Ok(())
    }

    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let rows = batch.num_rows();
        let text = |value: Option<&str>| Arc::new(StringArray::from(vec![value; rows])) as ArrayRef;
        let (sink, step) = match &self.refuser {
            Refuser::Sink(name) => (Some(name.as_str()), None),
            Refuser::Step(name) => (None, Some(name.as_str())),
        };
        let positions = batch
            .column_by_name(POSITION)
            .ok_or_else(|| Error::bug("a batch lost its column \"_position\""))?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![self.now_us; rows]).with_timezone("UTC")),
            text(Some(&self.pipeline)),
            text(sink),
            text(step),
            text(Some(self.purpose.state())),
            positions.clone(),
            Arc::new(Int64Array::from(vec![self.ordinal; rows])),
        ];
        let marks = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|error| Error::bug("marks do not fit their columns").because(error))?;
        out.push(marks);
        Ok(())
    }
}
