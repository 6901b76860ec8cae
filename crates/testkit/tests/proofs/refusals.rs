//! Sinks that tell wrongly what their destination refuses.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use connector_memory::Memory;
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, ReadBack, Room, Sink, SinkReject,
    Writer, WriterContext,
};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Lineage, Result, Section};
use testkit::{check_rejects, section};

use crate::assert_found_out;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    HidesARefusal,
    CountsRefusals,
    ForgetsTheWay,
    KeepsWhatWasAborted,
    TellsRefusalsAgain,
}

/// `memory` with a fault.
struct Faulty(Fault);

impl Connector for Faulty {
    fn spec(&self) -> &'static Spec {
        Memory.spec()
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FaultySink { inner: Memory.sink(section, ctx)?, fault: self.0 }))
    }
}

struct FaultySink {
    inner: Arc<dyn Sink>,
    fault: Fault,
}

#[async_trait]
impl Sink for FaultySink {
    fn promise(&self) -> Promise {
        self.inner.promise()
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        self.inner.fence_and_read(ctx, lineage).await
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let inner = self.inner.open(ctx).await?;
        Ok(Box::new(FaultyWriter { inner, fault: self.fault, told: Vec::new() }))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        self.inner.read_back(pipeline, what).await
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    fault: Fault,
    told: Vec<SinkReject>,
}

#[async_trait]
impl Writer for FaultyWriter {
    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        self.inner.write(lineage, records).await
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        let mut prepared = self.inner.prepare(lineage, epoch).await?;
        match self.fault {
            Fault::HidesARefusal => drop(prepared.rejects.pop()),
            Fault::CountsRefusals => prepared.rows += prepared.rejects.len() as u64,
            Fault::ForgetsTheWay => {
                prepared.rejects.iter_mut().for_each(|row| row.reject.ordinal = 0)
            }
            Fault::KeepsWhatWasAborted | Fault::TellsRefusalsAgain => {
                let told = std::mem::take(&mut self.told);
                self.told = prepared.rejects.clone();
                prepared.rejects.extend(told);
            }
            Fault::None => {}
        }
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        self.inner.commit(commit).await
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        if self.fault == Fault::TellsRefusalsAgain {
            self.told.clear();
        }
        self.inner.abort(lineage).await
    }
}

async fn prove(fault: Fault, kind: &str) {
    let data = tempfile::tempdir().unwrap();
    let store = format!("store: refused-{kind}-{fault:?}, kind: {kind}");
    let settings = section(&format!("{{ {store}, refuse_multiples_of: 25 }}"));
    let refuses = |row| row % 7 == 0 || row % 25 == 0;
    check_rejects(&Faulty(fault), (&settings, data.path()), refuses).await;
}

#[tokio::test]
async fn a_sink_that_tells_refusals_wrongly_is_found_out() {
    for kind in ["transaction", "staged", "idempotent"] {
        prove(Fault::None, kind).await;
        let once = "each refused row is told once, by its position";
        for (fault, words) in [
            (Fault::HidesARefusal, once),
            (Fault::KeepsWhatWasAborted, once),
            (Fault::CountsRefusals, "the others count as delivered"),
            (Fault::ForgetsTheWay, "it is told by its way"),
        ] {
            assert_found_out(&format!("{fault:?}, {kind}"), prove(fault, kind), words).await;
        }
    }
    // After a transaction was lost, its replay has no refused rows that could be told again.
    for kind in ["staged", "idempotent"] {
        let proof = prove(Fault::TellsRefusalsAgain, kind);
        assert_found_out(kind, proof, "refused rows are told once").await;
    }
}
