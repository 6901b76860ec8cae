//! Sinks that do one thing otherwise: what a writer of another sink answers goes through a habit.

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

use super::Fixture;

/// What a writer does otherwise. Each writer has one of its own, cloned from that of its sink.
pub trait Habit: Clone + Send + Sync + 'static {
    /// What it says of the room that is left, once it has taken so many rows more.
    fn room_after(&mut self, _rows: usize) -> Room {
        Room::Left
    }

    /// What it makes of an answer to a barrier.
    fn alter(&mut self, prepared: Prepared) -> Prepared {
        prepared
    }

    /// What it answers instead of a commit.
    fn instead(&mut self, _commit: &Commit) -> Option<Result<CommitOutcome>> {
        None
    }
}

/// A connector with sinks of `memory` that have a habit.
pub struct Altered<H> {
    /// Its name, see [`named`].
    pub spec: &'static Spec,
    /// What its writers do otherwise.
    pub habit: H,
}

/// What there is to say of such a connector.
pub const fn named(name: &'static str) -> Spec {
    Spec { name, summary: "", source: None, sink: None, failpoints: &[], example: "" }
}

impl<H: Habit> Altered<H> {
    /// The proof of a fixture in which a sink has the habit.
    pub fn proof(&'static self, fixture: &Fixture, sink: &str) -> Proof {
        let of_type = |name: &str| format!("{sink}: {{ type: {name}");
        let yaml = fixture.yaml.replace(&of_type("memory"), &of_type(self.spec.name));
        assert_ne!(yaml, fixture.yaml, "{sink:?} is a sink of memory");
        let connectors: Vec<&dyn Connector> = vec![&connector_memory::Memory, self];
        Proof { yaml, connectors: connectors.leak(), ..fixture.proof() }
    }
}

impl<H: Habit> Connector for Altered<H> {
    fn spec(&self) -> &'static Spec {
        self.spec
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let inner = connector_memory::Memory.sink(section, ctx)?;
        Ok(Arc::new(AlteredSink { inner, habit: self.habit.clone() }))
    }
}

/// A sink before which a habit was put.
pub struct AlteredSink<H> {
    /// The sink.
    pub inner: Arc<dyn Sink>,
    /// Its habit.
    pub habit: H,
}

#[async_trait]
impl<H: Habit> Sink for AlteredSink<H> {
    fn promise(&self) -> Promise {
        self.inner.promise()
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        self.inner.fence_and_read(ctx, lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let inner = self.inner.open(ctx).await?;
        Ok(Box::new(AlteredWriter { inner, habit: self.habit.clone() }))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        self.inner.read_back(pipeline, what).await
    }
}

struct AlteredWriter<H> {
    inner: Box<dyn Writer>,
    habit: H,
}

#[async_trait]
impl<H: Habit> Writer for AlteredWriter<H> {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        let rows = records.num_rows();
        let room = self.inner.write(lineage, records).await?;
        let own = self.habit.room_after(rows);
        Ok(if room == Room::Full { room } else { own })
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        Ok(self.habit.alter(self.inner.prepare(lineage, epoch).await?))
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        match self.habit.instead(commit) {
            Some(answer) => answer,
            None => self.inner.commit(commit).await,
        }
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        self.inner.abort(lineage).await
    }
}
