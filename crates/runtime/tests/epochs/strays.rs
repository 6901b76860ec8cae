//! A sink that refuses a row of a split that no source of the pipeline has.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use connector_memory::store::store;
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, ReadBack, Room, Sink, SinkReject,
    Writer, WriterContext,
};
use contract::source::Reject;
use contract::spec::{BuildContext, Connector, Spec};
use contract::{ErrorKind, Lineage, Result, Section, SplitId};
use testkit::crash::Proof;

use super::Fixture;

struct Stray;

static SPEC: Spec =
    Spec { name: "stray", summary: "", source: None, sink: None, failpoints: &[], example: "" };

impl Connector for Stray {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(StraySink(connector_memory::Memory.sink(section, ctx)?)))
    }
}

struct StraySink(Arc<dyn Sink>);

#[async_trait]
impl Sink for StraySink {
    fn promise(&self) -> Promise {
        self.0.promise()
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        self.0.fence_and_read(ctx, lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(StrayWriter(self.0.open(ctx).await?)))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        self.0.read_back(pipeline, what).await
    }
}

struct StrayWriter(Box<dyn Writer>);

#[async_trait]
impl Writer for StrayWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.0.write(lineage, records).await
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        let mut prepared = self.0.prepare(lineage, epoch).await?;
        let reject = Reject::new(3, "too long");
        prepared.rejects.push(SinkReject { split: SplitId::new("elsewhere"), reject });
        prepared.rows -= 1;
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.0.commit(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.0.abort(lineage).await
    }
}

#[test]
fn a_refused_row_of_nobodys_split_is_a_defect_and_no_silence() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("staged: { type: memory", "staged: { type: stray");
    let connectors: &[&dyn Connector] = &[&connector_memory::Memory, &Stray];
    let error = Proof { yaml, connectors, ..fixture.proof() }.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error:?}");
    let said = error.chain();
    assert!(said.contains("sink \"staged\" refused the row \"elsewhere@3\""), "{said}");
    assert!(error.hint_text().unwrap().contains("report this"), "{error:?}");
    assert!(store(&format!("{}-transaction", fixture.name)).rows().is_empty());
}
