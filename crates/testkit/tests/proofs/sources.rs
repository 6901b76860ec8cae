//! Sources that break their contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use connector_memory::Memory;
use contract::discovery::{Differences, Discoverer, Gone, Moved};
use contract::source::{KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Error, Position, Result, Section, SplitId};
use testkit::{check_source, section};

use crate::assert_found_out;

/// Records in one batch of the source.
const BATCH: i64 = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    GivesNothing,
    RenamesSplits,
    SaysAllAgain,
    SaysLessTheSecondTime,
    TakesSplitsBack,
    SkipsWhereItGoesOn,
    RepeatsTheEnd,
    BeginsAtABatch,
    StopsAtABatch,
    LosesADroppedCall,
    RefusesToHearAgain,
    SkipsWhenItHearsAgain,
    SkipsWhatWasSafeBefore,
}

/// `memory` with a fault.
struct Faulty(Fault);

impl Connector for Faulty {
    fn spec(&self) -> &'static Spec {
        Memory.spec()
    }

    fn source(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let (inner, asked) = (Memory.source(section, ctx)?, Arc::default());
        let attempts = Arc::default();
        Ok(Arc::new(FaultySource { inner, fault: self.0, asked, attempts }))
    }
}

#[derive(Clone)]
struct FaultySource {
    inner: Arc<dyn Source>,
    fault: Fault,
    asked: Arc<AtomicU32>,
    attempts: Arc<AtomicU32>,
}

/// What is said of the splits of a source with a fault.
struct FaultyDiscoverer {
    inner: Box<dyn Discoverer>,
    source: FaultySource,
    /// The number of the attempt, and all that it was told at first.
    attempt: u32,
    first: Option<Vec<Split>>,
}

#[async_trait]
impl Discoverer for FaultyDiscoverer {
    async fn look(&mut self, moved: Moved) -> Result<Differences> {
        let mut said = self.inner.look(moved).await?;
        let asked = self.source.asked.fetch_add(1, Ordering::Relaxed);
        match (self.source.fault, &self.first) {
            (Fault::RenamesSplits, None) => {
                said.found[0].id = SplitId::new(format!("split {asked}"));
            }
            (Fault::SaysLessTheSecondTime, None) if self.attempt > 1 => said.found.truncate(1),
            (Fault::SaysAllAgain, Some(first)) => said.found.clone_from(first),
            (Fault::TakesSplitsBack, Some(first)) => {
                let gone = first.iter().map(|split| Gone { id: split.id.clone(), end: None });
                said.gone = gone.collect();
            }
            _ => {}
        }
        self.first.get_or_insert_with(|| said.found.clone());
        Ok(said)
    }
}

#[async_trait]
impl Source for FaultySource {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let is_attempt = known.is_some();
        let attempt = self.attempts.fetch_add(is_attempt.into(), Ordering::Relaxed);
        let (inner, source) = (self.inner.discover(known), self.clone());
        Box::new(FaultyDiscoverer { inner, source, attempt, first: None })
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
                Fault::BeginsAtABatch => from.at -= from.at % BATCH,
                _ => {}
            }
        }
        let until = match until {
            Until::Position(to) if self.fault == Fault::StopsAtABatch => {
                Until::Position(Position::new((to.at + BATCH - 1) / BATCH * BATCH))
            }
            until => until,
        };
        let inner = self.inner.open(split, from.as_ref(), until).await?;
        let (heard, has_given, skips) = (None, false, false);
        Ok(Box::new(FaultyReader { inner, fault: self.fault, heard, has_given, skips }))
    }
}

struct FaultyReader {
    inner: Box<dyn SplitReader>,
    fault: Fault,
    heard: Option<i64>,
    has_given: bool,
    /// Whether the next batch lacks its first record.
    skips: bool,
}

#[async_trait]
impl SplitReader for FaultyReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.fault == Fault::GivesNothing {
            return Ok(None);
        }
        let mut batch = self.inner.next_batch().await?;
        if self.fault == Fault::LosesADroppedCall {
            tokio::task::yield_now().await;
        }
        self.has_given = true;
        if let Some(batch) = batch.as_mut().filter(|_| std::mem::take(&mut self.skips)) {
            batch.records = batch.records.slice(1, batch.records.num_rows() - 1);
        }
        Ok(batch)
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<()> {
        let is_again = self.heard.replace(position.at) == Some(position.at);
        match self.fault {
            Fault::RefusesToHearAgain if is_again => {
                return Err(Error::external("this is known"));
            }
            Fault::SkipsWhenItHearsAgain => self.skips |= is_again && self.has_given,
            Fault::SkipsWhatWasSafeBefore => self.skips |= !self.has_given,
            _ => {}
        }
        self.inner.acknowledge(position).await
    }
}

async fn prove(fault: Fault) {
    let settings = format!("{{ rows_max: 24, batch_rows: {BATCH}, splits: 2 }}");
    check_source(&Faulty(fault), &section(&settings)).await;
}

#[tokio::test]
async fn a_source_that_breaks_its_contract_is_found_out() {
    prove(Fault::None).await;
    for (fault, words) in [
        (Fault::GivesNothing, "the source of a proof gives 2 records or more"),
        (Fault::RenamesSplits, "splits keep their names"),
        (Fault::SaysLessTheSecondTime, "the attempt after it is told of all splits at first"),
        (Fault::SaysAllAgain, "what did not change is not said again: split 0"),
        (Fault::TakesSplitsBack, "a split that is there does not go"),
        (Fault::SkipsWhereItGoesOn, "split 0 cut after batch 0"),
        (Fault::RepeatsTheEnd, "split 0 cut after batch 0"),
        (Fault::BeginsAtABatch, "split 0, read inside a batch: 3..=3"),
        (Fault::StopsAtABatch, "split 0, read inside a batch: 3..=3"),
        (Fault::LosesADroppedCall, "split 0, dropped after"),
        (Fault::RefusesToHearAgain, "could not acknowledge: this is known"),
        (Fault::SkipsWhenItHearsAgain, "split 0, acknowledged twice after each batch"),
        (Fault::SkipsWhatWasSafeBefore, "split 0, acknowledged again after a restart"),
    ] {
        assert_found_out(&format!("{fault:?}"), prove(fault), words).await;
    }
}
