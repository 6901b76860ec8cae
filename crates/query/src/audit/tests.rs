//! Audits of a sink whose rows are given, against a ledger that was written for them.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::Schema;
use async_trait::async_trait;
use contract::record::{OriginSum, for_sink, position_field, sink_schema, split_seed};
use contract::sink::{BatchStream, Held, Promise, Proof, ReadBack, Sink, SinkKind};
use contract::sink::{Writer, WriterContext};
use contract::source::Split;
use contract::{Error, Lineage, Position, Result, SplitId};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use state::checkpoint::{Cut, SinkState, Target};
use state::ledger::{Counts, Entry, GONE, hash_text};
use state::{Checkpoint, CheckpointStore, History};

use super::{AuditedSink, Report, SinkReport, Unfinished, audit};

/// Rows as (epoch, position), all of the split `a`.
type Rows = &'static [(u64, i64)];

/// The epoch of a row that another program wrote.
const FOREIGN: u64 = u64::MAX;

struct Given(Rows);

#[async_trait]
impl Sink for Given {
    fn promise(&self) -> Promise {
        Promise {
            kind: SinkKind::Staged,
            token: true,
            proof: Proof::Origin,
            sentence: "exactly once",
            with_origin: true,
        }
    }

    async fn fence_and_read(&self, _: &WriterContext, _: &Lineage) -> Result<Held> {
        Ok(Held::Untold)
    }

    async fn open(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Err(Error::bug("an audit writes nothing"))
    }

    async fn read_back(&self, _: &str, _: ReadBack) -> Result<BatchStream> {
        let schema = Arc::new(Schema::new(vec![position_field()]));
        let sink_schema = sink_schema(&schema, true);
        let rows = self.0.iter().map(|(epoch, position)| {
            if *epoch == FOREIGN {
                let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
                let foreign = RecordBatch::try_from_iter([("id", column)]);
                return Ok(foreign.expect("one column"));
            }
            let column = Arc::new(Int64Array::from(vec![*position]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("one column");
            for_sink(&batch, &sink_schema, &SplitId::new("a"), *epoch)
        });
        Ok(Box::pin(futures::stream::iter(rows.collect::<Vec<_>>())))
    }
}

/// The same, where rows may be seen before their epoch is decided.
struct Early(Rows);

#[async_trait]
impl Sink for Early {
    fn promise(&self) -> Promise {
        Promise { kind: SinkKind::Idempotent, token: false, ..Given(self.0).promise() }
    }

    async fn fence_and_read(&self, _: &WriterContext, _: &Lineage) -> Result<Held> {
        Ok(Held::Untold)
    }

    async fn open(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Err(Error::bug("an audit writes nothing"))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        Given(self.0).read_back(pipeline, what).await
    }
}

/// A sink whose rows cannot be told from others.
struct Unproven;

#[async_trait]
impl Sink for Unproven {
    fn promise(&self) -> Promise {
        Promise { proof: Proof::None, ..Given(&[]).promise() }
    }

    async fn fence_and_read(&self, _: &WriterContext, _: &Lineage) -> Result<Held> {
        Ok(Held::Untold)
    }

    async fn open(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Err(Error::bug("an audit writes nothing"))
    }

    async fn read_back(&self, _: &str, _: ReadBack) -> Result<BatchStream> {
        Err(Error::bug("its rows prove nothing"))
    }
}

/// A sink that does not answer.
struct Silent;

#[async_trait]
impl Sink for Silent {
    fn promise(&self) -> Promise {
        Given(&[]).promise()
    }

    async fn fence_and_read(&self, _: &WriterContext, _: &Lineage) -> Result<Held> {
        Ok(Held::Untold)
    }

    async fn open(&self, _: WriterContext) -> Result<Box<dyn Writer>> {
        Err(Error::bug("an audit writes nothing"))
    }

    async fn read_back(&self, _: &str, _: ReadBack) -> Result<BatchStream> {
        Err(Error::external("it does not answer").hint("wake it"))
    }
}

/// A history of two epochs that delivered the positions 0 to 2 and 3 to 5.
async fn store(complete: bool) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let lineage = Lineage::new("main");
    let history = History::new(store.clone(), "p", &lineage);
    for (epoch, from) in [(1, 0), (2, 3)] {
        let mut checkpoint = Checkpoint::first("p", &lineage, 1);
        checkpoint.epoch = epoch;
        let split = Split { id: SplitId::new("a"), descriptor: serde_json::Value::Null };
        let split = checkpoint.roster.enter("s", split).number;
        let (from, to) = (Some(Position::new(from)), Position::new(from + 3));
        checkpoint.cuts.push(Cut { split, from: from.clone(), to, marks: Vec::new() });
        checkpoint.ledger.push(entry(from.expect("given").at));
        history.decide(&mut checkpoint).await.expect("decided");
    }
    if complete {
        history.mark_complete(2).await.expect("marked");
    }
    store
}

fn entry(from: i64) -> Entry {
    let mut sum = OriginSum::default();
    (from..from + 3).for_each(|position| sum.add(split_seed("a"), position, 0));
    Entry {
        split: "a".into(),
        sink: "lake".into(),
        counts: Counts { read: 3, delivered: 3, ..Counts::default() },
        hash: hash_text(sum.hash),
    }
}

fn audited(name: &str, sink: impl Sink + 'static) -> AuditedSink {
    AuditedSink { name: name.to_owned(), sink: Arc::new(sink), target: None }
}

/// A sink that cannot be read back.
pub fn silent(name: &str) -> AuditedSink {
    audited(name, Silent)
}

fn checkpoints(store: Arc<dyn ObjectStore>) -> CheckpointStore {
    CheckpointStore::shared(store, Duration::from_secs(10), "memory")
}

async fn report(rows: Rows, complete: bool) -> Report {
    let sinks = [audited("lake", Given(rows))];
    audit("p", &sinks, &checkpoints(store(complete).await)).await.expect("audited")
}

async fn check(rows: Rows, expect: &str) {
    let report = report(rows, true).await;
    let sink = &report.sinks[0];
    let differences = sink.differences.iter().map(|difference| {
        let (kind, epoch) = (difference.kind, difference.epoch);
        let (count, from, to) = (difference.rows, difference.from, difference.to);
        format!("{count} {kind:?} in epoch {epoch} at a@{from}..{to}")
    });
    assert_eq!(differences.collect::<Vec<_>>().join("; "), expect, "{rows:?}");
    assert_eq!(report.complete, expect.is_empty(), "{rows:?}");
}

#[tokio::test]
async fn every_kind_of_difference_is_named_with_its_place() {
    check(&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)], "").await;
    check(&[(2, 5), (1, 2), (2, 4), (1, 0), (2, 3), (1, 1)], "").await;
    check(&[(1, 0), (1, 1), (1, 2), (2, 3)], "2 Missing in epoch 2 at a@3..6").await;
    check(&[(1, 0), (1, 1), (1, 2)], "3 Missing in epoch 2 at a@3..6").await;
    check(
        &[(1, 0), (1, 1), (1, 1), (1, 2), (1, 2), (1, 2), (2, 3), (2, 4), (2, 5)],
        "3 Duplicate in epoch 1 at a@1..3",
    )
    .await;
    check(
        &[(1, 0), (1, 0), (1, 2), (2, 3), (2, 4), (2, 5)],
        "1 Duplicate in epoch 1 at a@0..1; 1 Missing in epoch 1 at a@0..3",
    )
    .await;
    check(
        &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (2, 9)],
        "1 Unexpected in epoch 2 at a@3..10",
    )
    .await;
    check(
        &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (3, 8)],
        "2 Unexpected in epoch 3 at a@6..9",
    )
    .await;
    check(
        &[(1, 0), (1, 1), (1, 7), (2, 3), (2, 4), (2, 5)],
        "1 Missing in epoch 1 at a@0..3; 1 Unexpected in epoch 1 at a@0..8",
    )
    .await;
}

/// Epochs after which those before them are packed.
const MANY: u64 = 300;

/// Decides epochs behind the newest one until all up to it are folded. They know no split, or `a`
/// anew, of which the first one reads a record.
async fn fold(history: &History, back_at: Option<i64>) -> u64 {
    let first = history.newest_epoch().await.expect("listed").expect("an epoch") + 1;
    for epoch in first..first + 2 * MANY {
        let mut checkpoint = Checkpoint::first("p", &Lineage::main(), 1);
        checkpoint.epoch = epoch;
        if back_at.is_some() {
            checkpoint.roster.enter("s", Split::named(SplitId::new("a"), None));
        }
        if let (Some(position), true) = (back_at, epoch == first) {
            let mut sum = OriginSum::default();
            sum.add(split_seed("a"), position, 0);
            let mut entry = entry(0);
            entry.counts = Counts { read: 1, delivered: 1, ..Counts::default() };
            entry.hash = hash_text(sum.hash);
            checkpoint.ledger.push(entry);
        }
        history.decide(&mut checkpoint).await.expect("decided");
        if epoch == first + MANY {
            history.collect(epoch, 0).await;
        }
    }
    let newest = first + 2 * MANY - 1;
    history.mark_complete(newest).await.expect("marked");
    history.collect(newest, i64::MAX).await;
    let ledger = history.ledger().await.expect("read");
    assert!(ledger.folded_until > first, "folded until {}", ledger.folded_until);
    assert!(ledger.rows.iter().any(|row| row.entry.split == GONE), "one of them is gone");
    first
}

#[tokio::test]
async fn rows_of_a_split_that_is_gone_are_counted_to_its_family() {
    let store = store(true).await;
    let history = History::new(store.clone(), "p", &Lineage::main());
    fold(&history, None).await;
    let check = async |store: &Arc<dyn ObjectStore>, rows: Rows, expect: &str| {
        let sinks = [audited("lake", Given(rows))];
        let report = audit("p", &sinks, &checkpoints(store.clone())).await.expect("audited");
        let SinkReport { found, expected, missing, duplicate, unexpected, .. } = &report.sinks[0];
        let said =
            format!("{found} of {expected}, {missing} missing, {} more", duplicate + unexpected);
        assert_eq!(said, expect, "{rows:?}");
        assert_eq!(report.complete, expect.ends_with("0 missing, 0 more"), "{rows:?}");
    };
    let whole: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)];
    check(&store, whole, "6 of 6, 0 missing, 0 more").await;
    check(&store, &whole[1..], "5 of 6, 1 missing, 0 more").await;
    let twice: Rows = &[(1, 0), (1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)];
    check(&store, twice, "7 of 6, 0 missing, 1 more").await;
    let other: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 6)];
    check(&store, other, "6 of 6, 1 missing, 1 more").await;
    // It comes back under its name, and that is folded, too.
    let back = fold(&history, Some(6)).await;
    assert_eq!(back, 603);
    let whole: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (603, 6)];
    check(&store, whole, "7 of 7, 0 missing, 0 more").await;
    let lacks = audited("lake", Given(&whole[1..]));
    let report = audit("p", &[lacks], &checkpoints(store)).await.expect("audited");
    assert!(!report.complete);
}

#[tokio::test]
async fn a_decided_epoch_that_nobody_delivers_is_unfinished() {
    let report = report(&[(1, 0), (1, 1), (1, 2), (2, 3)], false).await;
    assert!(!report.complete);
    assert_eq!((report.lineages[0].epoch, report.sinks[0].found), (1, 3));
    assert!(report.sinks[0].is_complete(), "what was published before is there");
    let unfinished = Unfinished { lineage: "main".to_owned(), epoch: 2, gone: Vec::new() };
    assert_eq!(report.unfinished, [unfinished]);
}

#[tokio::test]
async fn a_decided_epoch_that_every_sink_holds_needs_no_mark() {
    let report = report(&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)], false).await;
    assert!(report.complete);
    assert_eq!((report.lineages[0].epoch, report.sinks[0].found), (2, 6));
}

#[tokio::test]
async fn a_decided_epoch_is_unfinished_where_nobody_can_tell() {
    for (complete, epoch) in [(true, 2), (false, 1)] {
        let sinks = [audited("lake", Unproven)];
        let checkpoints = checkpoints(store(complete).await);
        let report = audit("p", &sinks, &checkpoints).await.expect("audited");
        assert_eq!((report.complete, report.lineages[0].epoch), (complete, epoch));
        assert_eq!(report.unfinished.is_empty(), complete);
    }
}

#[tokio::test]
async fn a_decided_epoch_is_under_way_while_somebody_owns_the_lineage() {
    let checkpoints = checkpoints(store(false).await);
    let lease = checkpoints.lease("p", &Lineage::main()).await.expect("free");
    let sink = Given(&[(1, 0), (1, 1), (1, 2), (2, 3)]);
    let sinks = [audited("lake", sink)];
    let report = audit("p", &sinks, &checkpoints).await.expect("audited");
    assert!(report.complete && report.unfinished.is_empty());
    assert_eq!(report.lineages[0].epoch, 1);
    lease.release().await;
    assert!(!audit("p", &sinks, &checkpoints).await.expect("audited").complete);
}

/// A replay delivers rows of the same split in epochs of the same numbers as the main lineage.
#[tokio::test]
async fn epochs_of_several_lineages_are_compared_together() {
    let check = async |complete: (bool, bool), rows: Rows, expect: &str| {
        let (main_complete, replay_complete) = complete;
        let store = store(main_complete).await;
        let lineage = Lineage::replay("once");
        let history = History::new(store.clone(), "p", &lineage);
        for (epoch, position) in [(1, 10), (2, 11), (3, 12)] {
            let mut checkpoint = Checkpoint::first("p", &lineage, 1);
            checkpoint.epoch = epoch;
            let mut entry = entry(position);
            let mut sum = OriginSum::default();
            sum.add(split_seed("a"), position, 0);
            (entry.counts.delivered, entry.hash) = (1, hash_text(sum.hash));
            checkpoint.ledger.push(entry);
            history.decide(&mut checkpoint).await.expect("decided");
        }
        if replay_complete {
            history.mark_complete(3).await.expect("marked");
        }
        let sinks = [audited("lake", Given(rows))];
        let report = audit("p", &sinks, &checkpoints(store)).await.expect("audited");
        let sink = &report.sinks[0];
        let found = format!("{} of {}", sink.found, sink.expected);
        assert_eq!(found, expect, "{rows:?}");
        (report.complete, sink.is_complete())
    };
    let whole: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (1, 10), (2, 11), (3, 12)];
    let (both, lacks, unfinished) = ((true, true), (false, false), (false, true));
    assert_eq!(check(both, whole, "9 of 9").await, (true, true));
    assert_eq!(check(both, &whole[..8], "8 of 9").await, lacks, "a row of the replay is missing");
    assert_eq!(check(both, &whole[1..], "8 of 9").await, lacks, "a row of main is missing");
    // The main lineage has not finished its second epoch: its rows may be there, those of the
    // replay must.
    let main = (false, true);
    assert_eq!(check(main, &whole[..3], "3 of 6").await, lacks);
    let certain: Rows = &[(1, 0), (1, 1), (1, 2), (1, 10), (2, 4), (2, 11), (3, 12)];
    assert_eq!(check(main, certain, "6 of 6").await, unfinished, "a row under way is no mistake");
    let other: Rows = &[(1, 0), (1, 1), (1, 2), (1, 10), (2, 4), (3, 12)];
    assert_eq!(check(main, other, "6 of 6").await, lacks, "it stands for one of the replay");
    // The replay has not finished its newest epoch: those of main must be there.
    let replay = (true, false);
    assert_eq!(check(replay, &whole[..8], "8 of 8").await, unfinished);
    assert_eq!(check(replay, &[], "0 of 8").await, lacks);
    assert_eq!(check(replay, &whole[..5], "5 of 8").await, lacks);
}

/// A replay whose first epoch has the number of one that main has finished long ago.
#[tokio::test]
async fn a_replay_that_was_interrupted_hides_nothing_of_what_is_finished() {
    for (rows, expect) in [
        (&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)][..], (6, 0, true)),
        (&[(1, 0), (1, 1), (1, 2)], (3, 3, false)),
        (&[], (0, 6, false)),
    ] {
        let store = store(true).await;
        let lineage = Lineage::replay("cut");
        let mut checkpoint = Checkpoint::first("p", &lineage, 1);
        checkpoint.epoch = 1;
        checkpoint.ledger.push(entry(20));
        let history = History::new(store.clone(), "p", &lineage);
        history.decide(&mut checkpoint).await.expect("decided");
        let sinks = [audited("lake", Given(rows))];
        let report = audit("p", &sinks, &checkpoints(store)).await.expect("audited");
        let sink = &report.sinks[0];
        assert_eq!((sink.found, sink.missing, sink.is_complete()), expect, "{rows:?}");
        assert_eq!((sink.expected, report.complete), (6, false), "{rows:?}");
        assert_eq!(report.unfinished.len(), 1, "{:?}", report.unfinished);
    }
}

#[tokio::test]
async fn rows_without_an_origin_are_somebody_elses() {
    let sink = Given(&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (FOREIGN, 0)]);
    let sinks = [audited("lake", sink)];
    let report = audit("p", &sinks, &checkpoints(store(true).await)).await.expect("audited");
    assert!(report.complete);
    assert_eq!((report.sinks[0].found, report.sinks[0].foreign), (6, 1));
}

#[tokio::test]
async fn a_sink_that_cannot_be_read_does_not_keep_the_others_from_being_audited() {
    let audit_beside = async |rows: Rows, complete: bool| {
        let silent = silent("silent");
        let lake = audited("lake", Given(rows));
        let checkpoints = checkpoints(store(complete).await);
        audit("p", &[silent, lake], &checkpoints).await.expect("audited")
    };
    let whole: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)];
    for complete in [true, false] {
        let report = audit_beside(whole, complete).await;
        assert!(!report.complete && !report.differs() && report.unfinished.is_empty());
        let why = report.sinks[0].unreadable.as_ref().expect("it was not read");
        assert_eq!(why.error, "it does not answer");
        assert_eq!(why.hint.as_deref(), Some("wake it"));
        assert!(report.sinks[1].is_complete() && report.sinks[1].found == 6);
    }
    let report = audit_beside(&whole[1..], true).await;
    assert!(report.differs() && report.sinks[1].missing == 1);
}

/// Rows of the first epoch went where the sink does not write any more.
#[tokio::test]
async fn rows_that_went_to_another_place_are_not_missing_in_the_present_one() {
    let target = |place: &str| Target { kind: "lake".to_owned(), place: Some(place.to_owned()) };
    let store = store(true).await;
    let history = History::new(store.clone(), "p", &Lineage::main());
    let mut checkpoint = history.newest().await.expect("read").expect("decided").checkpoint;
    checkpoint.epoch += 1;
    (checkpoint.cuts, checkpoint.ledger) = (Vec::new(), Vec::new());
    let mut state = SinkState { target: Some(target("a")), ..SinkState::default() };
    state.move_to(&target("b"), 1);
    checkpoint.sinks.insert("lake".to_owned(), state);
    history.decide(&mut checkpoint).await.expect("decided");
    history.mark_complete(checkpoint.epoch).await.expect("marked");
    let check = async |rows: Rows, now: &str, expect: &str| {
        let sinks = [AuditedSink { target: Some(target(now)), ..audited("lake", Given(rows)) }];
        let report = audit("p", &sinks, &checkpoints(store.clone())).await.expect("audited");
        let SinkReport { found, expected, missing, away, moved, .. } = &report.sinks[0];
        let said = format!("{found} of {expected}, {missing} missing, {away} away");
        assert_eq!(said, expect, "{rows:?}");
        assert_eq!(report.complete, *missing == 0);
        moved.iter().map(|one| (one.from, one.to, one.rows)).collect::<Vec<_>>()
    };
    let whole: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5)];
    let moved = check(&whole[3..], "b", "3 of 3, 0 missing, 3 away").await;
    assert_eq!(moved, [(1, 1, 3)]);
    check(whole, "b", "6 of 6, 0 missing, 0 away").await;
    check(&whole[2..], "b", "4 of 4, 0 missing, 2 away").await;
    check(&whole[4..], "b", "2 of 3, 1 missing, 3 away").await;
    check(&whole[..3], "a", "3 of 3, 0 missing, 3 away").await;
    check(&whole[..2], "a", "2 of 3, 1 missing, 3 away").await;
}

#[tokio::test]
async fn what_may_be_seen_early_may_be_of_the_epoch_under_way_and_of_no_later_one() {
    let check = async |rows: Rows, expect: Option<(u64, u64, u64)>| {
        let sinks = [audited("lake", Early(rows))];
        let report = audit("p", &sinks, &checkpoints(store(true).await)).await.expect("audited");
        let found = report.sinks[0].unexplained.as_ref();
        assert_eq!(found.map(|it| (it.decided, it.until, it.rows)), expect, "{rows:?}");
        assert_eq!(report.complete, expect.is_none(), "{rows:?}");
    };
    check(&[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (3, 7)], None).await;
    let later: Rows = &[(1, 0), (1, 1), (1, 2), (2, 3), (2, 4), (2, 5), (3, 6), (4, 7)];
    check(later, Some((2, 4, 1))).await;
}
