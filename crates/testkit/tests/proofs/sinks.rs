//! Sinks of each kind that break their contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use connector_memory::Memory;
use connector_memory::store::{Store, store};
use contract::record::{ORDINAL, ordinals};
use contract::sink::{
    BatchStream, Commit, CommitOutcome, Footprint, Held, Prepared, Promise, Proof, ReadBack, Room,
    Sink, Stage, Token, Writer, WriterContext,
};
use contract::spec::{BuildContext, Connector, Spec};
use contract::transform::EpochStart;
use contract::{Error, Lineage, Result, Section};
use testkit::{check_promise, check_sink, section};

use crate::assert_found_out;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    PromisesNoToken,
    PromisesCounts,
    KeepsWhatWasAborted,
    MixesLineages,
    LosesTheToken,
    ClaimsTheToken,
    HidesTheToken,
    LosesARow,
    CountsARowLess,
    FailsOnce,
    FailsEachTime,
    ShowsWhatIsPrepared,
    DoublesASecondCommit,
    DoublesAnothersCommit,
    DoublesARepeat,
    CommitsMore,
    ClaimsALostEpoch,
    CommitsOntoAnything,
    CommitsShutOut,
    ShowsShutOut,
    NeedsItsOwnWriter,
    FindsEveryRecord,
    ForgetsNumbers,
    TakesAllForOneLineage,
    HoldsTooMuch,
    HoldsOn,
}

/// `memory` with a fault.
struct Faulty {
    fault: Fault,
    store: String,
}

impl Connector for Faulty {
    fn spec(&self) -> &'static Spec {
        Memory.spec()
    }

    fn sink(&self, section: &Section, ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let (inner, store) = (Memory.sink(section, ctx)?, store(&self.store));
        let has_failed = Arc::default();
        Ok(Arc::new(FaultySink { inner, fault: self.fault, store, has_failed }))
    }
}

struct FaultySink {
    inner: Arc<dyn Sink>,
    fault: Fault,
    store: Store,
    has_failed: Arc<AtomicBool>,
}

#[async_trait]
impl Sink for FaultySink {
    fn promise(&self) -> Promise {
        let promise = self.inner.promise();
        match self.fault {
            Fault::PromisesNoToken => Promise { token: false, ..promise },
            Fault::PromisesCounts => Promise { proof: Proof::Count, ..promise },
            _ => promise,
        }
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        let one = Lineage::new("one");
        let lineage = if self.fault == Fault::MixesLineages { &one } else { lineage };
        let held = self.inner.fence_and_read(ctx, lineage).await?;
        Ok(match (self.fault, held) {
            (Fault::LosesTheToken, _) => Held::Nothing,
            (Fault::ClaimsTheToken, Held::Token(token)) => {
                Held::Token(Token { incarnation: ctx.incarnation, ..token })
            }
            (Fault::HidesTheToken, Held::Token(token)) if token.incarnation != ctx.incarnation => {
                Held::Nothing
            }
            (_, held) => held,
        })
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let context = ctx.clone();
        let (inner, fault, store) = (self.inner.open(ctx).await?, self.fault, self.store.clone());
        let (first, written, prepared, committables, lost) = Default::default();
        let found_rows = !self.store.rows().is_empty();
        let has_failed = self.has_failed.clone();
        Ok(Box::new(FaultyWriter {
            inner,
            fault,
            store,
            context,
            first,
            written,
            prepared,
            committables,
            lost,
            found_rows,
            has_failed,
        }))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let what = if self.fault == Fault::FindsEveryRecord { ReadBack::Origins } else { what };
        self.inner.read_back(pipeline, what).await
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer>,
    fault: Fault,
    store: Store,
    context: WriterContext,
    first: Option<Lineage>,
    /// What came since the last epoch was prepared.
    written: Vec<RecordBatch>,
    /// What was prepared last.
    prepared: Vec<RecordBatch>,
    committables: Vec<serde_json::Value>,
    lost: u64,
    /// Whether there were rows when it was opened.
    found_rows: bool,
    has_failed: Arc<AtomicBool>,
}

impl FaultyWriter {
    fn held(&self, lineage: &Lineage) -> Option<u64> {
        let key = format!("{}/{lineage}/{}", self.context.pipeline, self.context.sink);
        self.store.content().tokens.get(&key).map(|token| token.epoch)
    }

    fn show(&self, rows: &[RecordBatch]) {
        self.store.content().visible.extend_from_slice(rows);
    }

    /// What a batch becomes before it is written.
    fn changed(&mut self, records: RecordBatch) -> RecordBatch {
        match self.fault {
            Fault::LosesARow => {
                self.lost += 1;
                records.slice(1, records.num_rows() - 1)
            }
            Fault::ForgetsNumbers if ordinals(&records).is_some() => without_numbers(&records),
            _ => records,
        }
    }

    fn outcome(&self, commit: &Commit, before: Option<u64>, told: CommitOutcome) -> CommitOutcome {
        use CommitOutcome::{Committed, NeedsReplay, NotOwner};
        let is_shut_out = told == NotOwner && before == commit.prev;
        let is_repeat = told == Committed && before == Some(commit.epoch);
        match self.fault {
            Fault::ClaimsALostEpoch if told == NeedsReplay => Committed,
            Fault::CommitsOntoAnything if told == NotOwner && !is_shut_out => {
                self.show(&self.prepared);
                Committed
            }
            Fault::CommitsShutOut if is_shut_out => Committed,
            Fault::ShowsShutOut if is_shut_out => {
                self.show(&self.prepared);
                told
            }
            Fault::DoublesASecondCommit if is_repeat => {
                self.show(&self.prepared);
                told
            }
            Fault::DoublesAnothersCommit if is_repeat && self.prepared.is_empty() => {
                let last = self.store.content().visible.last().cloned();
                self.show(last.as_slice());
                told
            }
            _ => told,
        }
    }

    /// The rows once more, as an epoch that nobody decided.
    async fn commit_more(&mut self, commit: &Commit) -> Result<()> {
        let Commit { lineage, epoch, .. } = commit;
        for records in std::mem::take(&mut self.prepared) {
            self.inner.write(lineage, records).await?;
        }
        let prepared = self.inner.prepare(lineage, epoch + 1).await?;
        let commit = Commit {
            lineage: lineage.clone(),
            epoch: epoch + 1,
            prev: Some(*epoch),
            committable: prepared.committable,
        };
        self.inner.commit(&commit).await?;
        Ok(())
    }
}

#[async_trait]
impl Writer for FaultyWriter {
    fn start_epoch(&mut self, epoch: EpochStart, stage: Stage) {
        self.inner.start_epoch(epoch, stage);
    }

    async fn write(&mut self, lineage: &Lineage, records: RecordBatch) -> Result<Room> {
        let records = self.changed(records);
        if self.fault == Fault::DoublesARepeat {
            let origins = connector_memory::store::origins(&records)?;
            let is_known = self.store.content().by_origin.contains_key(&origins[0]);
            if is_known && self.found_rows {
                self.show(std::slice::from_ref(&records));
            }
        }
        let first = self.first.get_or_insert_with(|| lineage.clone()).clone();
        let takes_all = self.fault == Fault::TakesAllForOneLineage;
        let room = self.inner.write(if takes_all { &first } else { lineage }, records.clone());
        let room = room.await?;
        self.written.push(records);
        Ok(room)
    }

    async fn prepare(&mut self, lineage: &Lineage, epoch: u64) -> Result<Prepared> {
        let has_failed = self.has_failed.swap(true, Ordering::SeqCst);
        if self.fault == Fault::FailsEachTime || self.fault == Fault::FailsOnce && !has_failed {
            return Err(Error::transient("the server is busy"));
        }
        let mut prepared = self.inner.prepare(lineage, epoch).await?;
        self.prepared = std::mem::take(&mut self.written);
        self.committables.extend(prepared.committable.clone());
        prepared.rows += std::mem::take(&mut self.lost);
        match self.fault {
            Fault::CountsARowLess => prepared.rows -= 1,
            Fault::ShowsWhatIsPrepared => self.show(&self.prepared),
            _ => {}
        }
        Ok(prepared)
    }

    async fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        let is_own = commit.committable.iter().all(|own| self.committables.contains(own));
        if self.fault == Fault::NeedsItsOwnWriter && !is_own {
            return Ok(CommitOutcome::NeedsReplay);
        }
        let before = self.held(&commit.lineage);
        let told = self.inner.commit(commit).await?;
        let outcome = self.outcome(commit, before, told);
        if self.fault == Fault::CommitsMore {
            self.commit_more(commit).await?;
        }
        Ok(outcome)
    }

    async fn abort(&mut self, lineage: &Lineage) -> Result<()> {
        let is_other = self.first.as_ref().is_some_and(|first| first != lineage);
        match self.fault {
            Fault::KeepsWhatWasAborted => Ok(()),
            Fault::TakesAllForOneLineage if is_other => Ok(()),
            _ => {
                self.written.clear();
                self.lost = 0;
                self.inner.abort(lineage).await
            }
        }
    }

    fn footprint(&self) -> Footprint {
        match self.fault {
            Fault::HoldsTooMuch => {
                Footprint { own: self.context.memory_bytes + 1, ..Footprint::default() }
            }
            Fault::HoldsOn => Footprint { clients: 1, ..Footprint::default() },
            _ => self.inner.footprint(),
        }
    }
}

fn without_numbers(records: &RecordBatch) -> RecordBatch {
    let schema = records.schema();
    let columns = schema.fields().iter().zip(records.columns()).map(|(field, column)| {
        let zeros = || Arc::new(Int64Array::from(vec![0; records.num_rows()])) as ArrayRef;
        if field.name() == ORDINAL { zeros() } else { column.clone() }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

const TRANSACTION: &str = "transaction";
const STAGED: &str = "staged";
const IDEMPOTENT: &str = "idempotent";
const NONE: &str = "none";

async fn prove(fault: Fault, kind: &str) {
    let data = tempfile::tempdir().unwrap();
    let store = format!("proof-{kind}-{fault:?}");
    let settings = section(&format!("{{ store: {store}, kind: {kind} }}"));
    check_promise(&Faulty { fault, store }, &settings, data.path()).await;
}

async fn check(fault: Fault, kinds: &[&str], words: &str) {
    for kind in kinds {
        assert_found_out(&format!("{fault:?}, {kind}"), prove(fault, kind), words).await;
    }
}

#[tokio::test]
async fn a_sink_that_breaks_its_contract_is_found_out() {
    for kind in [TRANSACTION, STAGED, IDEMPOTENT, NONE] {
        prove(Fault::None, kind).await;
        // A server may be busy for a moment.
        prove(Fault::FailsOnce, kind).await;
    }
    let (tokens, all) = ([TRANSACTION, STAGED], [TRANSACTION, STAGED, IDEMPOTENT, NONE]);
    let tellers = [TRANSACTION, STAGED, IDEMPOTENT];
    let counted = "the rows of the epoch alone are counted";
    check(Fault::LosesARow, &all, "after the commit: each record of").await;
    check(Fault::CountsARowLess, &all, counted).await;
    check(Fault::FailsEachTime, &all, "no epoch in 3 attempts: the server is busy").await;
    check(Fault::FindsEveryRecord, &all, "rows of the record at 8").await;
    check(Fault::ForgetsNumbers, &all, "after the commit: each record of…by way Some(1)").await;
    check(Fault::KeepsWhatWasAborted, &[TRANSACTION], "after the commit: each record of").await;
    check(Fault::KeepsWhatWasAborted, &[STAGED, IDEMPOTENT], counted).await;
    let mixed = "rows of the other lineage are not counted";
    check(Fault::TakesAllForOneLineage, &tellers, mixed).await;
    check(Fault::CommitsMore, &tokens, "after the commit: each record of").await;
    check(Fault::HoldsTooMuch, &all, "a writer holds no more than it may").await;
    check(Fault::HoldsOn, &all, "nothing is held once it is prepared").await;
}

#[tokio::test]
async fn a_sink_that_tells_of_its_token_wrongly_is_found_out() {
    let tokens = [TRANSACTION, STAGED];
    check(Fault::LosesTheToken, &tokens, "the token…left: Nothing…right: Token").await;
    check(Fault::LosesTheToken, &[IDEMPOTENT, NONE], "the token…right: Untold").await;
    check(Fault::MixesLineages, &tokens, "the token…left: Nothing…right: Token").await;
    let another = "the token, as history 8 asks for it";
    check(Fault::ClaimsTheToken, &tokens, &format!("{another}…left: Token…incarnation: 8")).await;
    check(Fault::HidesTheToken, &tokens, &format!("{another}…left: Nothing")).await;
}

#[tokio::test]
async fn a_sink_that_shows_an_epoch_too_early_or_twice_is_found_out() {
    let tokens = [TRANSACTION, STAGED];
    check(Fault::ShowsWhatIsPrepared, &tokens, "before the commit: each record of").await;
    check(Fault::DoublesASecondCommit, &tokens, "after a second commit: each record of").await;
    let again = "one more does so again: each record of";
    check(Fault::DoublesAnothersCommit, &[STAGED], again).await;
    let repeated = "after the same rows again: each record of";
    check(Fault::DoublesARepeat, &[IDEMPOTENT], repeated).await;
}

#[tokio::test]
async fn a_sink_that_takes_a_commit_from_anyone_or_from_its_writer_alone_is_found_out() {
    let tokens = [TRANSACTION, STAGED];
    check(Fault::ClaimsALostEpoch, &[TRANSACTION], "a lost transaction is gone").await;
    check(Fault::CommitsOntoAnything, &tokens, "epoch 3 does not follow epoch 1").await;
    let shut_out = "a writer that was shut out commits nothing";
    check(Fault::CommitsShutOut, &[TRANSACTION], shut_out).await;
    let shown = "after a writer was shut out: each record of";
    check(Fault::ShowsShutOut, &[TRANSACTION], shown).await;
    let tied = "another writer publishes what is staged";
    check(Fault::NeedsItsOwnWriter, &[STAGED], tied).await;
}

#[tokio::test]
async fn a_sink_that_promises_something_else_than_its_spec_is_found_out() {
    let prove = async |fault: Fault| {
        let data = tempfile::tempdir().unwrap();
        let store = format!("promise-{fault:?}");
        let settings = section(&format!("{{ store: {store} }}"));
        check_sink(&Faulty { fault, store }, &settings, data.path()).await;
    };
    prove(Fault::None).await;
    for fault in [Fault::PromisesNoToken, Fault::PromisesCounts] {
        let words = "it promises what its Spec declares";
        assert_found_out(&format!("{fault:?}"), prove(fault), words).await;
    }
}
