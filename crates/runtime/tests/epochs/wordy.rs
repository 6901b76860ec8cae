//! Refusals that are too long for their checkpoint.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, ReadBack, Room, Sink, Writer,
    WriterContext,
};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Lineage, Result, Section};
use testkit::crash::Proof;

use super::{Fixture, block_on};

struct Wordy;

static SPEC: Spec =
    Spec { name: "wordy", summary: "", source: None, sink: None, failpoints: &[], example: "" };

impl Connector for Wordy {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(WordySink(connector_memory::Memory.sink(section, ctx)?)))
    }
}

struct WordySink(Arc<dyn Sink>);

#[async_trait]
impl Sink for WordySink {
    fn promise(&self) -> Promise {
        self.0.promise()
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        self.0.fence_and_read(ctx, lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        Ok(Box::new(WordyWriter(self.0.open(ctx).await?)))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        self.0.read_back(pipeline, what).await
    }
}

struct WordyWriter(Box<dyn Writer>);

#[async_trait]
impl Writer for WordyWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.0.write(lineage, records).await
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        let mut prepared = self.0.prepare(lineage, epoch).await?;
        for row in &mut prepared.rejects {
            row.reject.reason = "too long ".repeat(60_000);
        }
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.0.commit(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.0.abort(lineage).await
    }
}

/// A sink that refuses rows at great length; a few epochs have several of them.
fn wordy() -> (Fixture, Proof) {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("2KiB", "4KiB");
    let yaml = yaml.replace("transaction: { type: memory", "transaction: { type: wordy");
    let fixture = Fixture { yaml, ..fixture };
    let proof = Proof { connectors: &[&connector_memory::Memory, &Wordy], ..fixture.proof() };
    (fixture, proof)
}

#[test]
fn a_crash_at_every_point_keeps_refusals_that_stand_beside_their_checkpoint() {
    let _alone = Proof::alone();
    let points = ["prepare.done", "rejects.before", "rejects.after", "decide.answer"];
    for point in points.into_iter().chain(["decide.after", "commit.sink.before"]) {
        let (fixture, proof) = wordy();
        proof.crash_at(point, 1);
        fixture.check();
        let lineage = fixture.data.path().join("checkpoints").join(&fixture.name).join("main");
        let beside = std::fs::read_dir(lineage).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("rejects-")
        });
        assert!(beside.count() > 0, "{point}");
    }
}

#[test]
fn a_replay_skips_what_was_refused_beside_its_checkpoint() {
    let _alone = Proof::alone();
    let (fixture, proof) = wordy();
    proof.crash_twice(("decide.after", 1), "recover.replayed");
    fixture.check();
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    assert_eq!(newest.rejects_file, None, "what is read is whole");
}
