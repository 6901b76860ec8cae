//! What every sink must hold, by the kind that it declares (EPOCH §3).

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
    Commit, CommitOutcome, Held, Prepared, Proof, ReadBack, Sink, SinkKind, Token, Writer,
    WriterContext,
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
/// From one epoch to the next.
const EPOCH_US: i64 = 1_000_000;

/// Proves a sink against an empty destination that `settings` name.
///
/// # Panics
/// The sink breaks its contract; the message says which part.
pub async fn check_sink(connector: &dyn Connector, settings: &Section, data: &Path) {
    let sink = made(connector, settings, data);
    let declared = connector.spec().sink.as_ref().expect("its Spec has a sink").promise;
    assert_eq!(declared.kind, sink.promise().kind, "it promises what its Spec declares");
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
    /// Rows and token appear together; what was open when the writer was lost is gone.
    async fn transaction(&self) {
        self.first_epoch().await;
        let mut lost = self.writer().await;
        self.prepare(lost.as_mut(), 2, 100..200).await;
        drop(lost);
        self.expect_token(Some(1)).await;
        let mut next = self.writer().await;
        let commit = self.commit_of(2, Some(1), &Prepared::default());
        assert_eq!(self.commit(next.as_mut(), &commit).await, CommitOutcome::NeedsReplay);
        self.expect(100).await;
        let prepared = self.prepare(next.as_mut(), 2, 100..200).await;
        let commit = self.commit_of(2, Some(1), &prepared);
        assert_eq!(self.commit(next.as_mut(), &commit).await, CommitOutcome::Committed);
        self.expect(200).await;
        self.shuts_out_the_old_writer().await;
    }

    /// What was prepared is published by another writer, once, from the committable alone.
    async fn staged(&self) {
        self.first_epoch().await;
        let mut lost = self.writer().await;
        let prepared = self.prepare(lost.as_mut(), 2, 100..200).await;
        drop(lost);
        self.expect_token(Some(1)).await;
        self.expect(100).await;
        let commit = self.commit_of(2, Some(1), &prepared);
        for _ in 0..2 {
            let mut next = self.writer().await;
            assert_eq!(self.commit(next.as_mut(), &commit).await, CommitOutcome::Committed);
            self.expect_token(Some(2)).await;
            self.expect(200).await;
        }
        if !self.sink.promise().token {
            return;
        }
        let mut stale = self.writer().await;
        let prepared = self.prepare(stale.as_mut(), 3, 200..300).await;
        let wrong = self.commit_of(3, Some(1), &prepared);
        assert_eq!(self.commit(stale.as_mut(), &wrong).await, CommitOutcome::NotOwner);
        self.expect(200).await;
    }

    /// The same rows again change nothing.
    async fn idempotent(&self) {
        for _ in 0..2 {
            let mut writer = self.writer().await;
            let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
            let commit = self.commit_of(1, None, &prepared);
            assert_eq!(self.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
            self.expect(100).await;
        }
    }

    /// Rows are accepted and flushed; nothing more is promised.
    async fn no_promise(&self) {
        let mut writer = self.writer().await;
        let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
        assert_eq!((prepared.rows, prepared.rejects.len()), (100, 0));
        let commit = self.commit_of(1, None, &prepared);
        assert_eq!(self.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        if self.sink.promise().proof == Proof::Origin {
            self.expect(100).await;
        }
    }

    async fn first_epoch(&self) {
        self.expect_token(None).await;
        let mut writer = self.writer().await;
        self.prepare(writer.as_mut(), 1, 0..50).await;
        must(writer.abort(&self.lineage).await, "could not abort");
        let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
        self.expect(0).await;
        let commit = self.commit_of(1, None, &prepared);
        assert_eq!(self.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        assert_eq!(self.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        self.expect_token(Some(1)).await;
        self.expect(100).await;
    }

    async fn shuts_out_the_old_writer(&self) {
        let mut old = self.writer().await;
        let prepared = self.prepare(old.as_mut(), 3, 200..300).await;
        self.expect_token(Some(2)).await;
        let commit = self.commit_of(3, Some(2), &prepared);
        let outcome = old.commit(&commit).await;
        let committed = matches!(outcome, Ok(CommitOutcome::Committed));
        assert!(!committed, "a writer that was shut out commits nothing");
        self.expect(200).await;
    }

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
        assert_eq!(must(held, "could not read the token"), expected);
    }

    async fn prepare(
        &self,
        writer: &mut dyn Writer,
        epoch: u64,
        rows: std::ops::Range<i64>,
    ) -> Prepared {
        self.write(writer, epoch, rows).await;
        self.prepared(writer, epoch).await
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
        writer.start_epoch(EpochStart { epoch, now_us });
        let batch = for_sink(&self.likeness.batch(rows), &schema, &split, epoch);
        writer.write(&self.lineage, must(batch, "rows for a sink")).await.map(|_| ())
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

    /// The destination holds the rows 0 to `rows` of the split and the way, each once.
    async fn expect(&self, rows: i64) {
        self.expect_rows(0..rows).await;
    }

    async fn expect_rows(&self, rows: impl Iterator<Item = i64>) {
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
        assert_eq!(found, expected, "each record of {split:?} once, by way {way:?}");
    }

    async fn read_back(&self, what: ReadBack) -> Vec<RecordBatch> {
        let stream = must(self.sink.read_back("proof", what).await, "could not read back");
        must(stream.try_collect().await, "could not read back")
    }
}
