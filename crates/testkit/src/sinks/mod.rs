//! What every sink must hold, by the kind that it declares (EPOCH §3).

mod kinds;
mod refusals;
mod rows;
mod ways;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use contract::record::{ORDINAL, POSITION, SPLIT, for_sink, sink_schema};
use contract::sink::{
    Commit, CommitOutcome, Footprint, Held, Prepared, Promise, Proof, ReadBack, Sink, SinkKind,
    Stage, Token, Writer, WriterContext,
};
use contract::spec::Connector;
use contract::transform::EpochStart;
use contract::{Lineage, Origin, Result, Section, SplitId};
use futures::TryStreamExt;

use crate::{build_context, must};
use rows::{Likeness, steps};

pub use refusals::check_rejects;

const INCARNATION: u32 = 7;
/// A name that needs care wherever it stands.
const SPLIT_NAME: &str = "proof/a b.log";
/// How the names of all splits of a proof begin.
const SPLITS: &str = "proof/";
/// A sink that fails so often for now has something wrong with it.
const ATTEMPTS_MAX: u32 = 3;
/// From one epoch to the next.
const EPOCH_US: i64 = 1_000_000;

/// Proves a sink against an empty destination that `settings` name.
///
/// # Panics
/// The sink breaks its contract; the message says which part.
pub async fn check_sink(connector: &dyn Connector, settings: &Section, data: &Path) {
    let sink = made(connector, settings, data);
    let declared = connector.spec().sink.as_ref().expect("its Spec has a sink").promise;
    let told = |promise: Promise| (promise.kind, promise.token, promise.proof);
    assert_eq!(told(declared), told(sink.promise()), "it promises what its Spec declares");
    check_promise(connector, settings, data).await;
}

/// As [`check_sink`], where settings make a sink of another kind than its Spec declares.
///
/// # Panics
/// As for [`check_sink`].
pub async fn check_promise(connector: &dyn Connector, settings: &Section, data: &Path) {
    let sink = made(connector, settings, data);
    let kind = sink.promise().kind;
    let (lineage, likeness) = (Lineage::new("main"), Likeness::default());
    let proof = SinkProof { sink, lineage, split: SPLIT_NAME, likeness };
    match kind {
        SinkKind::Transaction => proof.transaction().await,
        SinkKind::Staged => proof.staged().await,
        SinkKind::Idempotent => proof.idempotent().await,
        SinkKind::None => return proof.no_promise().await,
    }
    proof.finds_one_record().await;
    proof.keeps_lineages_apart().await;
    proof.keeps_lineages_apart_in_one_writer().await;
    proof.tells_ways_apart().await;
    proof.tells_lineages_of_one_split_apart().await;
}

fn made(connector: &dyn Connector, settings: &Section, data: &Path) -> Arc<dyn Sink> {
    must(connector.sink(settings, &build_context(data)), "could not make the sink")
}

/// Rows of one lineage, all from one split and by one way.
struct SinkProof {
    sink: Arc<dyn Sink>,
    lineage: Lineage,
    split: &'static str,
    likeness: Likeness,
}

impl SinkProof {
    /// A record is found by its origin, whole and alone; none is found where none was written.
    async fn finds_one_record(&self) {
        if self.sink.promise().proof != Proof::Origin {
            return;
        }
        for (position, rows) in [(8, 1), (1_000_000, 0)] {
            let origin = Origin { split: SplitId::new(self.split), position };
            let found = self.read_back(ReadBack::Record(origin)).await;
            let count: usize = found.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(count, rows, "rows of the record at {position}");
            for batch in found.iter().filter(|batch| batch.num_rows() > 0) {
                // Where records are documents, their columns are not read back.
                let Some(number) = batch.column_by_name("number") else { continue };
                let number = cast(number, &DataType::Utf8).expect("a number has a text");
                assert_eq!(number.as_string::<i32>().value(0), "8", "it is the record asked for");
            }
        }
    }

    /// Two lineages write side by side, each with a writer of its own: what one drops or commits
    /// leaves the other as it is.
    async fn keeps_lineages_apart(&self) {
        let (left, right) = (self.of("left", "proof/left"), self.of("right", "proof/right"));
        left.expect_token(None).await;
        let mut lefts = left.writer().await;
        right.expect_token(None).await;
        let mut rights = right.writer().await;
        left.write(lefts.as_mut(), 1, 0..40).await;
        right.write(rights.as_mut(), 1, 0..60).await;
        let prepared = left.prepared(lefts.as_mut(), 1).await;
        must(rights.abort(&right.lineage).await, "could not abort");
        let commit = left.commit_of(1, None, &prepared);
        assert_eq!(left.commit(lefts.as_mut(), &commit).await, CommitOutcome::Committed);
        left.expect(40).await;
        if self.sink.promise().token {
            right.expect(0).await;
        }
        let prepared = right.prepare(rights.as_mut(), 1, 0..60).await;
        let commit = right.commit_of(1, None, &prepared);
        assert_eq!(right.commit(rights.as_mut(), &commit).await, CommitOutcome::Committed);
        left.expect(40).await;
        right.expect(60).await;
        let epoch = self.sink.promise().token.then_some(1);
        left.expect_token(epoch).await;
        right.expect_token(epoch).await;
    }

    /// The same of another lineage, which reads another split.
    fn of(&self, lineage: &str, split: &'static str) -> Self {
        let likeness = self.likeness;
        Self { sink: self.sink.clone(), lineage: Lineage::new(lineage), split, likeness }
    }

    async fn writer(&self) -> Box<dyn Writer> {
        must(self.sink.open(self.ctx()).await, "could not open a writer")
    }

    fn ctx(&self) -> WriterContext {
        WriterContext {
            pipeline: "proof".into(),
            sink: "proof".into(),
            incarnation: INCARNATION,
            writer_id: format!("{:?}", std::time::Instant::now())
                .chars()
                .filter(char::is_ascii_digit)
                .collect(),
            schema: sink_schema(&self.likeness.schema(), self.sink.promise().with_origin),
            memory_bytes: 16 << 20,
            client_bytes: 16 << 20,
            threads: 2,
        }
    }

    /// Fences as a new owner does, and finds this token, also where a history was begun anew; a
    /// sink without tokens says so.
    async fn expect_token(&self, epoch: Option<u64>) {
        let anew = WriterContext { incarnation: INCARNATION + 1, ..self.ctx() };
        self.expect_token_in(&anew, epoch).await;
        self.expect_token_in(&self.ctx(), epoch).await;
    }

    async fn expect_token_in(&self, ctx: &WriterContext, epoch: Option<u64>) {
        let held = self.sink.fence_and_read(ctx, &self.lineage).await;
        let expected = match (self.sink.promise().token, epoch) {
            (false, _) => Held::Untold,
            (true, None) => Held::Nothing,
            (true, Some(epoch)) => Held::Token(Token { epoch, incarnation: INCARNATION }),
        };
        let held = must(held, "could not read the token");
        assert_eq!(held, expected, "the token, as history {} asks for it", ctx.incarnation);
    }

    /// Writes the rows of an epoch, all of which are accepted. As the runtime does, drops an
    /// attempt that fails for now, and repeats it.
    async fn prepare(
        &self,
        writer: &mut dyn Writer,
        epoch: u64,
        rows: std::ops::Range<i64>,
    ) -> Prepared {
        let mut attempt = 1;
        let prepared = loop {
            match self.try_prepare(writer, epoch, rows.clone()).await {
                Ok(prepared) => break prepared,
                Err(error) if error.retry() && attempt < ATTEMPTS_MAX => {
                    eprintln!("attempt {attempt} at epoch {epoch}: {}", error.chain());
                    must(writer.abort(&self.lineage).await, "could not abort");
                    attempt += 1;
                }
                Err(error) => panic!("no epoch in {attempt} attempts: {}", error.chain()),
            }
        };
        let accepted = (prepared.rows, prepared.rejects.len());
        assert_eq!(accepted, (rows.count() as u64, 0), "the rows of the epoch alone are counted");
        prepared
    }

    async fn try_prepare(
        &self,
        writer: &mut dyn Writer,
        epoch: u64,
        rows: std::ops::Range<i64>,
    ) -> Result<Prepared> {
        for part in steps(rows, 30) {
            self.try_write(writer, epoch, &part).await?;
        }
        let prepared = writer.prepare(&self.lineage, epoch).await?;
        assert_eq!(writer.footprint(), Footprint::default(), "nothing is held once it is prepared");
        Ok(prepared)
    }

    async fn write(&self, writer: &mut dyn Writer, epoch: u64, rows: std::ops::Range<i64>) {
        for part in steps(rows, 30) {
            must(self.try_write(writer, epoch, &part).await, "could not write");
        }
    }

    /// Writes the rows at these positions as one batch.
    async fn try_write(&self, writer: &mut dyn Writer, epoch: u64, rows: &[i64]) -> Result<()> {
        let (split, schema) = (SplitId::new(self.split), self.ctx().schema);
        let now_us = EPOCH_US * epoch.cast_signed();
        writer.start_epoch(EpochStart { epoch, now_us }, Stage::Undecided);
        let batch = for_sink(&self.likeness.batch(rows), &schema, &split, epoch);
        writer.write(&self.lineage, must(batch, "rows for a sink")).await?;
        let (held, ctx) = (writer.footprint(), self.ctx());
        let keeps = held.own <= ctx.memory_bytes && held.clients <= ctx.client_bytes;
        assert!(keeps, "a writer holds no more than it may: {held:?}");
        Ok(())
    }

    async fn prepared(&self, writer: &mut dyn Writer, epoch: u64) -> Prepared {
        must(writer.prepare(&self.lineage, epoch).await, "could not prepare")
    }

    fn commit_of(&self, epoch: u64, prev: Option<u64>, prepared: &Prepared) -> Commit {
        let committable = prepared.committable.clone();
        Commit { lineage: self.lineage.clone(), epoch, prev, committable }
    }

    async fn commit(&self, writer: &mut dyn Writer, commit: &Commit) -> CommitOutcome {
        let outcome = writer.commit(commit).await;
        must(outcome, "could not commit")
    }

    /// Commits what was decided; `when` says which commit it is.
    async fn committed(&self, writer: &mut dyn Writer, commit: &Commit, when: &str) {
        assert_eq!(self.commit(writer, commit).await, CommitOutcome::Committed, "{when}");
    }

    /// The destination holds the rows 0 to `rows` of the split and the way, each once.
    async fn expect(&self, rows: i64) {
        self.expect_when(rows, "after the commit").await;
    }

    async fn expect_when(&self, rows: i64, when: &str) {
        self.expect_rows(0..rows, when).await;
    }

    async fn expect_rows(&self, rows: impl Iterator<Item = i64>, when: &str) {
        let mut found: BTreeMap<i64, u64> = BTreeMap::new();
        for batch in self.read_back(ReadBack::Origins).await {
            let splits = batch.column_by_name(SPLIT).expect("its split is read back");
            let splits = cast(splits, &DataType::Utf8).expect("a split is text");
            let positions = batch.column_by_name(POSITION).expect("its position is read back");
            let positions = positions.as_primitive::<Int64Type>().values();
            let ordinals = batch.column_by_name(ORDINAL).map(|it| it.as_primitive::<Int64Type>());
            let rows = splits.as_string::<i32>().iter().zip(positions).enumerate();
            for (row, (split, position)) in rows {
                let split = split.expect("a row has a split");
                assert!(split.starts_with(SPLITS), "{split:?} is no split of this proof");
                let ordinal = ordinals.filter(|it| it.is_valid(row)).map_or(0, |it| it.value(row));
                if split == self.split && ordinal == self.likeness.ordinal.unwrap_or(0) {
                    *found.entry(*position).or_default() += 1;
                }
            }
        }
        let expected: BTreeMap<i64, u64> = rows.map(|row| (row, 1)).collect();
        let (split, way) = (self.split, self.likeness.ordinal);
        assert_eq!(found, expected, "{when}: each record of {split:?} once, by way {way:?}");
    }

    async fn read_back(&self, what: ReadBack) -> Vec<RecordBatch> {
        let stream = must(self.sink.read_back("proof", what).await, "could not read back");
        must(stream.try_collect().await, "could not read back")
    }
}
