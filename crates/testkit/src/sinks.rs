//! What every sink must hold, by the kind that it declares (EPOCH §3).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use contract::record::{POSITION, SPLIT, for_sink, position_field, sink_schema};
use contract::sink::{
    Commit, CommitOutcome, Held, Prepared, Proof, ReadBack, Sink, SinkKind, Token, Writer,
    WriterContext,
};
use contract::spec::Connector;
use contract::transform::EpochStart;
use contract::{Lineage, Origin, Section, SplitId};
use futures::TryStreamExt;

use crate::{build_context, must};

const INCARNATION: u32 = 7;
/// A name that needs care wherever it stands.
const SPLIT_NAME: &str = "proof/a b.log";
const SPLITS: [&str; 3] = [SPLIT_NAME, "proof/left", "proof/right"];
/// From one epoch to the next.
const EPOCH_US: i64 = 1_000_000;

/// Proves a sink against an empty destination that `settings` name.
///
/// # Panics
/// The sink breaks its contract; the message says which part.
pub async fn check_sink(connector: &dyn Connector, settings: &Section, data: &Path) {
    let sink = must(connector.sink(settings, &build_context(data)), "could not make the sink");
    let declared = connector.spec().sink.as_ref().expect("its Spec has a sink").promise;
    assert_eq!(declared.kind, sink.promise().kind, "it promises what its Spec declares");
    check_promise(connector, settings, data).await;
}

/// As [`check_sink`], where settings make a sink of another kind than its Spec declares.
///
/// # Panics
/// As for [`check_sink`].
pub async fn check_promise(connector: &dyn Connector, settings: &Section, data: &Path) {
    let sink = must(connector.sink(settings, &build_context(data)), "could not make the sink");
    let kind = sink.promise().kind;
    let proof = SinkProof { sink, lineage: Lineage::new("main"), split: SPLIT_NAME };
    match kind {
        SinkKind::Transaction => proof.transaction().await,
        SinkKind::Staged => proof.staged().await,
        SinkKind::Idempotent => proof.idempotent().await,
        SinkKind::None => return proof.no_promise().await,
    }
    proof.finds_one_record().await;
    proof.keeps_lineages_apart().await;
}

/// Proves that a sink sets rows aside that its destination never takes, and delivers the others:
/// `settings` name an empty destination that refuses the row of a position where `refuses` says
/// so. The row's `number` is its position, or null where that is a multiple of seven.
///
/// # Panics
/// As for [`check_sink`].
pub async fn check_rejects(
    connector: &dyn Connector,
    (settings, data): (&Section, &Path),
    refuses: fn(i64) -> bool,
) {
    let sink = must(connector.sink(settings, &build_context(data)), "could not make the sink");
    let proof = SinkProof { sink, lineage: Lineage::new("main"), split: SPLIT_NAME };
    proof.expect_token(None).await;
    let (refused, taken): (Vec<i64>, Vec<i64>) = (0..100).partition(|row| refuses(*row));
    assert!(!refused.is_empty() && !taken.is_empty(), "some rows are refused and some are not");
    let mut writer = proof.writer().await;
    // The second time after an attempt that was dropped: nothing of it is told again.
    proof.prepare(writer.as_mut(), 1, 0..100).await;
    must(writer.abort(&proof.lineage).await, "could not abort");
    let prepared = proof.prepare(writer.as_mut(), 1, 0..100).await;
    let mut told: Vec<i64> = prepared.rejects.iter().map(|row| row.reject.position).collect();
    told.sort_unstable();
    assert_eq!(told, refused, "each refused row is told once, by its position");
    for row in &prepared.rejects {
        assert_eq!(row.split.as_str(), proof.split, "it is told by its split");
        assert!(!row.reject.reason.is_empty(), "it has a reason");
    }
    assert_eq!(prepared.rows, taken.len() as u64, "the others count as delivered");
    let commit = proof.commit_of(1, None, &prepared);
    assert_eq!(proof.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
    proof.expect_rows(taken).await;
}

/// Rows of one lineage, all from one split.
struct SinkProof {
    sink: Arc<dyn Sink>,
    lineage: Lineage,
    split: &'static str,
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
        let of = |lineage: &str, split| Self {
            sink: self.sink.clone(),
            lineage: Lineage::new(lineage),
            split,
        };
        let (left, right) = (of("left", "proof/left"), of("right", "proof/right"));
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
            schema: sink_schema(&row_schema(), self.sink.promise().with_origin),
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
        let split = SplitId::new(self.split);
        let schema = self.ctx().schema;
        let now_us = EPOCH_US * epoch.cast_signed();
        writer.start_epoch(EpochStart { epoch, now_us });
        for from in rows.clone().step_by(30) {
            let batch = row_batch(from..(from + 30).min(rows.end));
            let batch = must(for_sink(&batch, &schema, &split, epoch), "rows for a sink");
            must(writer.write(&self.lineage, batch).await, "could not write");
        }
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

    /// The destination holds the rows 0 to `rows` of the split, each once.
    async fn expect(&self, rows: i64) {
        self.expect_rows(0..rows).await;
    }

    /// The destination holds these rows of the split, each once.
    async fn expect_rows(&self, rows: impl IntoIterator<Item = i64>) {
        let mut found: BTreeMap<i64, u64> = BTreeMap::new();
        for batch in self.read_back(ReadBack::Origins).await {
            let splits = batch.column_by_name(SPLIT).expect("its split is read back");
            let splits = cast(splits, &DataType::Utf8).expect("a split is text");
            let positions = batch.column_by_name(POSITION).expect("its position is read back");
            let positions = positions.as_primitive::<Int64Type>().values();
            for (split, position) in splits.as_string::<i32>().iter().zip(positions) {
                let split = split.expect("a row has a split");
                assert!(SPLITS.contains(&split), "{split:?} is no split of this proof");
                if split == self.split {
                    *found.entry(*position).or_default() += 1;
                }
            }
        }
        let expected: BTreeMap<i64, u64> = rows.into_iter().map(|row| (row, 1)).collect();
        assert_eq!(found, expected, "each record of {:?} once", self.split);
    }

    async fn read_back(&self, what: ReadBack) -> Vec<RecordBatch> {
        let stream = must(self.sink.read_back("proof", what).await, "could not read back");
        must(stream.try_collect().await, "could not read back")
    }
}

fn row_schema() -> Schema {
    Schema::new(vec![
        Field::new("number", DataType::Int64, true),
        Field::new("text", DataType::Utf8View, true),
        Field::new("plain", DataType::Utf8, true),
        position_field(),
    ])
}

fn row_batch(rows: std::ops::Range<i64>) -> RecordBatch {
    let numbers: Int64Array = rows.clone().map(|row| (row % 7 != 0).then_some(row)).collect();
    let texts: StringViewArray = rows
        .clone()
        .map(|row| Some(format!("row {row}, with \"quotes\" and a longer text")))
        .collect();
    let plain: StringArray = rows.clone().map(|row| (row % 3 != 0).then_some("x")).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(numbers),
        Arc::new(texts),
        Arc::new(plain),
        Arc::new(rows.collect::<Int64Array>()),
    ];
    RecordBatch::try_new(Arc::new(row_schema()), columns).expect("columns fit their schema")
}
