//! The proofs can fail: each of these connectors breaks its contract in one way, and is found out.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use connector_memory::Memory;
use contract::record::{ORDINAL, ordinals};
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Held, Prepared, Promise, ReadBack, Room, Sink, Writer,
    WriterContext,
};
use contract::source::{Discovery, KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::spec::{BuildContext, Connector, Spec};
use contract::transform::EpochStart;
use contract::{Lineage, Position, Result, Section, SplitId};
use futures::FutureExt;
use testkit::{check_rejects, check_sink, check_source, section};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    GivesNothing,
    RenamesSplits,
    SkipsWhereItGoesOn,
    RepeatsTheEnd,
    LosesADroppedCall,
    KeepsWhatWasAborted,
    MixesLineages,
    LosesTheToken,
    LosesARow,
    CommitsEveryTime,
    FindsEveryRecord,
    HidesARefusal,
    CountsRefusals,
    ForgetsTheWay,
    ForgetsNumbers,
    TakesAllForOneLineage,
}

/// `memory` with a fault.
struct Faulty(Fault);

impl Connector for Faulty {
    fn spec(&self) -> &'static Spec {
        Memory.spec()
    }

    fn source(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let (inner, asked) = (Memory.source(section, ctx)?, AtomicU32::new(0));
        Ok(Arc::new(FaultySource { inner, fault: self.0, asked }))
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FaultySink { inner: Memory.sink(section, ctx)?, fault: self.0 }))
    }
}

struct FaultySource {
    inner: Arc<dyn Source>,
    fault: Fault,
    asked: AtomicU32,
}

#[async_trait]
impl Source for FaultySource {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    async fn splits(&self, known: Option<&[KnownSplit]>) -> Result<Discovery> {
        let mut found = self.inner.splits(known).await?;
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.fault == Fault::RenamesSplits {
            found.splits[0].id = SplitId::new(format!("split {asked}"));
        }
        Ok(found)
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let mut from = from.cloned();
        if let Some(from) = &mut from {
            match self.fault {
                Fault::SkipsWhereItGoesOn => from.at += 1,
                Fault::RepeatsTheEnd => from.at -= 1,
                _ => {}
            }
        }
        let inner = self.inner.open(split, from.as_ref(), until).await?;
        Ok(Box::new(FaultyReader { inner, fault: self.fault }))
    }
}

struct FaultyReader {
    inner: Box<dyn SplitReader>,
    fault: Fault,
}

#[async_trait]
impl SplitReader for FaultyReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.fault == Fault::GivesNothing {
            return Ok(None);
        }
        let batch = self.inner.next_batch().await;
        if self.fault == Fault::LosesADroppedCall {
            tokio::task::yield_now().await;
        }
        batch
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        self.inner.acknowledge(position).await
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
        let one = Lineage::new("one");
        let lineage = if self.fault == Fault::MixesLineages { &one } else { lineage };
        let held = self.inner.fence_and_read(ctx, lineage).await?;
        Ok(if self.fault == Fault::LosesTheToken { Held::Nothing } else { held })
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let (inner, fault) = (self.inner.open(ctx).await?, self.fault);
        Ok(Box::new(FaultyWriter { inner, fault, written: Vec::new() }))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let what = if self.fault == Fault::FindsEveryRecord { ReadBack::Origins } else { what };
        self.inner.read_back(pipeline, what).await
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    fault: Fault,
    written: Vec<(Lineage, RecordBatch)>,
}

#[async_trait]
impl Writer for FaultyWriter {
    fn start_epoch(&mut self, epoch: EpochStart) {
        self.inner.start_epoch(epoch);
    }

    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        let from = usize::from(self.fault == Fault::LosesARow);
        let mut records = records.slice(from, records.num_rows() - from);
        if self.fault == Fault::ForgetsNumbers && ordinals(&records).is_some() {
            records = records_without_numbers(&records);
        }
        if self.fault == Fault::TakesAllForOneLineage {
            let first = self.written.first().map(|(first, _)| first.clone());
            let first = first.unwrap_or_else(|| lineage.clone());
            self.written.push((first.clone(), records.clone()));
            return self.inner.write(&first, records).await;
        }
        self.written.push((lineage.clone(), records.clone()));
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
            _ => {}
        }
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        let outcome = self.inner.commit(commit).await?;
        if self.fault == Fault::CommitsEveryTime {
            // The rows once more, as an epoch that nobody decided.
            let Commit { lineage, epoch, .. } = commit;
            for (of, records) in std::mem::take(&mut self.written) {
                self.inner.write(&of, records).await?;
            }
            let prepared = self.inner.prepare(lineage, epoch + 1).await?;
            let commit = Commit {
                lineage: lineage.clone(),
                epoch: epoch + 1,
                prev: Some(*epoch),
                committable: prepared.committable,
            };
            self.inner.commit(&commit).await?;
        }
        Ok(outcome)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        if self.fault == Fault::KeepsWhatWasAborted {
            return Ok(());
        }
        self.inner.abort(lineage).await
    }
}

fn records_without_numbers(records: &RecordBatch) -> RecordBatch {
    let schema = records.schema();
    let columns = schema.fields().iter().zip(records.columns()).map(|(field, column)| {
        let zeros = || Arc::new(Int64Array::from(vec![0; records.num_rows()])) as ArrayRef;
        if field.name() == ORDINAL { zeros() } else { column.clone() }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

async fn source_holds(fault: Fault) -> bool {
    let settings = section("{ rows_max: 20, batch_rows: 6, splits: 2 }");
    AssertUnwindSafe(check_source(&Faulty(fault), &settings)).catch_unwind().await.is_ok()
}

async fn sink_holds(fault: Fault) -> bool {
    let data = tempfile::tempdir().unwrap();
    let settings = section(&format!("{{ store: proof-{fault:?} }}"));
    let connector = Faulty(fault);
    let proof = check_sink(&connector, &settings, data.path());
    AssertUnwindSafe(proof).catch_unwind().await.is_ok()
}

async fn refusals_hold(fault: Fault) -> bool {
    let data = tempfile::tempdir().unwrap();
    let settings = section(&format!("{{ store: refused-{fault:?}, refuse_multiples_of: 25 }}"));
    let (connector, refuses) = (Faulty(fault), |row| row % 7 == 0 || row % 25 == 0);
    let proof = check_rejects(&connector, (&settings, data.path()), refuses);
    AssertUnwindSafe(proof).catch_unwind().await.is_ok()
}

#[tokio::test]
async fn a_sink_that_tells_refusals_wrongly_is_found_out() {
    assert!(refusals_hold(Fault::None).await);
    for fault in [Fault::HidesARefusal, Fault::CountsRefusals, Fault::ForgetsTheWay] {
        assert!(!refusals_hold(fault).await, "{fault:?}");
    }
}

#[tokio::test]
async fn a_source_that_breaks_its_contract_is_found_out() {
    assert!(source_holds(Fault::None).await);
    for fault in [
        Fault::GivesNothing,
        Fault::RenamesSplits,
        Fault::SkipsWhereItGoesOn,
        Fault::RepeatsTheEnd,
        Fault::LosesADroppedCall,
    ] {
        assert!(!source_holds(fault).await, "{fault:?}");
    }
}

#[tokio::test]
async fn a_sink_that_breaks_its_contract_is_found_out() {
    assert!(sink_holds(Fault::None).await);
    for fault in [
        Fault::KeepsWhatWasAborted,
        Fault::MixesLineages,
        Fault::LosesTheToken,
        Fault::LosesARow,
        Fault::CommitsEveryTime,
        Fault::FindsEveryRecord,
        Fault::ForgetsNumbers,
        Fault::TakesAllForOneLineage,
    ] {
        assert!(!sink_holds(fault).await, "{fault:?}");
    }
}
