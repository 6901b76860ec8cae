//! Sources whose runs do not end where they must.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use connector_memory::Memory;
use contract::discovery::Discoverer;
use contract::source::{KnownSplit, Lineages, ReadBatch, Source, Split, SplitReader, Terms, Until};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Position, Result, Section};
use testkit::{check_end, section};

use crate::assert_found_out;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Takes the end of a split where it is opened for the end where the run began.
    ForgetsWhereItBegan,
    /// Reads whatever there is.
    IgnoresTheEnd,
    /// Sees only what was there when the program began.
    NeverGrows,
}

/// Numbers that become more.
struct Growing {
    fault: Fault,
    lineages: &'static [Lineages],
    rows: Arc<AtomicI64>,
}

impl Connector for Growing {
    fn spec(&self) -> &'static Spec {
        Memory.spec()
    }

    fn source(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let rows = match self.fault {
            Fault::NeverGrows => Arc::new(AtomicI64::new(20)),
            _ => self.rows.clone(),
        };
        let (inner, end) = (Memory.source(section, ctx)?, OnceLock::new());
        Ok(Arc::new(Numbers { inner, fault: self.fault, lineages: self.lineages, rows, end }))
    }
}

struct Numbers {
    /// Says which splits and columns there are.
    inner: Arc<dyn Source>,
    fault: Fault,
    lineages: &'static [Lineages],
    rows: Arc<AtomicI64>,
    end: OnceLock<i64>,
}

#[async_trait]
impl Source for Numbers {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn lineages(&self) -> &'static [Lineages] {
        self.lineages
    }

    async fn begin(&self, terms: &Terms) -> Result<()> {
        if terms.lineages == Lineages::One {
            return Ok(());
        }
        self.end.get_or_init(|| self.rows.load(Ordering::SeqCst));
        Ok(())
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        self.inner.discover(known)
    }

    async fn open(
        &self,
        _split: &Split,
        _from: Option<&Position>,
        _until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let now = || self.rows.load(Ordering::SeqCst);
        let end = match self.fault {
            Fault::IgnoresTheEnd => None,
            Fault::ForgetsWhereItBegan => Some(now()),
            Fault::None | Fault::NeverGrows => Some(self.end.get().copied().unwrap_or_else(now)),
        };
        let (schema, rows) = (self.schema(), self.rows.clone());
        Ok(Box::new(NumbersReader { schema, rows, end, next: 0 }))
    }
}

struct NumbersReader {
    schema: SchemaRef,
    rows: Arc<AtomicI64>,
    end: Option<i64>,
    next: i64,
}

#[async_trait]
impl SplitReader for NumbersReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        let end = self.end.unwrap_or_else(|| self.rows.load(Ordering::SeqCst));
        if self.next >= end {
            return Ok(None);
        }
        let numbers = Arc::new(Int64Array::from_iter_values(self.next..end)) as ArrayRef;
        let records = RecordBatch::try_new(self.schema.clone(), vec![numbers.clone(), numbers]);
        self.next = end;
        Ok(Some(ReadBatch::new(records.unwrap(), Position::new(end))))
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
}

async fn prove(fault: Fault, lineages: &'static [Lineages]) {
    let rows = Arc::new(AtomicI64::new(20));
    let append = async || _ = rows.fetch_add(5, Ordering::SeqCst);
    let connector = Growing { fault, lineages, rows: rows.clone() };
    check_end(&connector, &section("{ rows_max: 20 }"), append).await;
}

#[tokio::test]
async fn a_source_whose_runs_end_elsewhere_is_found_out() {
    const ONE: &[Lineages] = &[Lineages::One];
    const SPLIT: &[Lineages] = &[Lineages::Split];
    prove(Fault::None, ONE).await;
    prove(Fault::None, SPLIT).await;
    let stops = "a run with an end stops where its splits ended";
    let (opened, begun) = (format!("{stops} when it was opened"), format!("{stops} when the run"));
    for (fault, lineages, words) in [
        (Fault::ForgetsWhereItBegan, SPLIT, begun.as_str()),
        (Fault::IgnoresTheEnd, SPLIT, &begun),
        (Fault::IgnoresTheEnd, ONE, &opened),
        (Fault::NeverGrows, SPLIT, "a run that begins later gives what was appended"),
        (Fault::NeverGrows, ONE, "a run that begins later gives what was appended"),
    ] {
        let what = format!("{fault:?}, {lineages:?}");
        assert_found_out(&what, prove(fault, lineages), words).await;
    }
}
