//! A sink that can hold few rows of an epoch says so, and the epoch ends.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, ReadBack, Room, Sink, Writer,
    WriterContext,
};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Lineage, Result, Section};
use testkit::crash::{Proof, Start};

use super::Fixture;

/// Rows that an epoch of the sink can hold.
const ROWS_MAX: usize = 60;

struct Narrow;

static SPEC: Spec =
    Spec { name: "narrow", summary: "", source: None, sink: None, failpoints: &[], example: "" };

impl Connector for Narrow {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(NarrowSink(connector_memory::Memory.sink(section, ctx)?)))
    }
}

struct NarrowSink(Arc<dyn Sink>);

#[async_trait]
impl Sink for NarrowSink {
    fn promise(&self) -> Promise {
        self.0.promise()
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        self.0.fence_and_read(ctx, lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(NarrowWriter { inner: self.0.open(ctx).await?, rows: 0 }))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        self.0.read_back(pipeline, what).await
    }
}

struct NarrowWriter {
    inner: Box<dyn Writer>,
    rows: usize,
}

#[async_trait]
impl Writer for NarrowWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.rows += records.num_rows();
        self.inner.write(lineage, records).await?;
        Ok(if self.rows < ROWS_MAX { Room::Left } else { Room::Full })
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        self.rows = 0;
        self.inner.prepare(lineage, epoch).await
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.inner.commit(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.inner.abort(lineage).await
    }
}

/// Epochs that neither time nor bytes would end, into a sink that is soon full. Few rows are under
/// way at once.
fn narrow() -> (Fixture, Proof) {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("2KiB", "1GiB").replace("batch_rows: 50", "batch_rows: 5");
    let yaml = yaml.replace("\nepoch:", "\nmemory: { limit: 128KiB }\nepoch:");
    let yaml = yaml.replace("transaction: { type: memory", "transaction: { type: narrow");
    let fixture = Fixture { yaml, ..fixture };
    let proof = Proof { connectors: &[&connector_memory::Memory, &Narrow], ..fixture.proof() };
    (fixture, proof)
}

#[test]
fn a_sink_that_is_full_ends_the_epoch_and_refuses_nothing() {
    let _alone = Proof::alone();
    let (fixture, proof) = narrow();
    let Start::Ended(summary) = proof.start().unwrap() else { panic!("no crash") };
    fixture.check();
    assert!(summary.epochs > 3, "{} epochs", summary.epochs);
}

#[test]
fn an_epoch_that_a_full_sink_ended_is_sent_again_as_it_was() {
    let _alone = Proof::alone();
    for point in ["decide.after", "commit.sink.before", "recover.replayed"] {
        let (fixture, proof) = narrow();
        proof.crash_twice(("decide.after", 2), point);
        fixture.check();
    }
}
