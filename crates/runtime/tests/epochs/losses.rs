//! A decided epoch whose records have changed since: what is left is delivered, where that is
//! accepted, and the difference is booked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use connector_memory::store::{origins, store};
use contract::discovery::{ByListing, Discoverer, Known, Listing, Lists};
use contract::failpoint::{self, Action};
use contract::record::position_field;
use contract::source::{Again, KnownSplit, ReadBatch, Source, Split, SplitReader, Until};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Error, ErrorKind, Lineage, Position, Result, Section, SplitId};
use runtime::{Progress, Rebuild, RunOptions, Summary};
use state::CheckpointStore;
use state::checkpoint::SEMANTICS;
use state::ledger::Counts;
use testkit::crash::Proof;
use tokio::sync::watch;

use super::{block_on, dead_letters, steps};

/// A record stands at every even position before this.
const END: i64 = 100;
/// Positions of a batch.
const BATCH: i64 = 10;

const PIPELINE: &str = "
sources:
  numbers: { type: aging }
sinks:
  out: { type: memory, input: numbers, store: NAME-out, kind: transaction }
";

/// The same into two sinks, which do not commit at once.
const TWO: &str = "
sources:
  numbers: { type: aging }
sinks:
  out: { type: memory, input: numbers, store: NAME-out, kind: transaction }
  also: { type: memory, input: numbers, store: NAME-also, kind: transaction }
";

/// What has become of the records of a pipeline.
#[derive(Clone, Default)]
struct Shape {
    /// Records before this are gone, and the source says so.
    begins: i64,
    /// Records that are gone without a word.
    holes: Vec<i64>,
    /// A record that stands one further.
    moved: Option<i64>,
    /// Whether the source never has holes.
    exact: bool,
    /// Where the records end by now; what stood behind is gone.
    cut: Option<i64>,
}

/// What the source says of a position at which the records were cut off.
const CUT_OFF: &str = "cut off";

static SHAPES: Mutex<BTreeMap<String, Shape>> = Mutex::new(BTreeMap::new());

struct Agings;

#[derive(Clone)]
struct Aging(String);

static SPEC: Spec =
    Spec { name: "aging", summary: "", source: None, sink: None, failpoints: &[], example: "" };

impl Connector for Agings {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, _: &Section, ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(Aging(ctx.pipeline.clone())))
    }
}

fn gone() -> Error {
    Error::external("nothing of it is left")
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![position_field()]))
}

#[async_trait]
impl Lists for Aging {
    /// The records are one split until they are cut off, then another one.
    async fn list(&self, known: Option<&Known>) -> Result<Listing> {
        let known = known
            .into_iter()
            .flat_map(|known| known.iter())
            .find(|one| one.split.id.as_str() == "numbers");
        let position = known.and_then(|one| one.position.as_ref());
        let shape = SHAPES.lock().unwrap().get(&self.0).cloned().unwrap_or_default();
        let (id, begin) = match position {
            Some(at) if at.note.as_deref() == Some(CUT_OFF) => ("rest", at.at),
            Some(at) if shape.cut.is_some_and(|cut| cut < at.at) => ("rest", 0),
            _ => ("numbers", 0),
        };
        let split = Split { id: SplitId::new(id), descriptor: begin.into() };
        Ok(Listing { splits: vec![split], ..Listing::default() })
    }
}

#[async_trait]
impl Source for Aging {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn again(&self) -> Again {
        let exact = SHAPES.lock().unwrap().get(&self.0).is_some_and(|shape| shape.exact);
        if exact { Again::Exact } else { Again::Sparse }
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(self.clone(), known))
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let shape = SHAPES.lock().unwrap().get(&self.0).cloned().unwrap_or_default();
        let from = from.map_or(split.descriptor.as_i64().unwrap(), |from| from.at);
        let there = shape.cut.unwrap_or(END);
        let mut note = None;
        let end = match until {
            Until::Proven { marks, to } if there < to.at => {
                note = Some(CUT_OFF);
                marks
                    .iter()
                    .map(|mark| mark.at)
                    .take_while(|mark| *mark <= there)
                    .last()
                    .ok_or_else(gone)?
            }
            Until::Position(to) if there < to.at => {
                return Err(Error::external("the records end before"));
            }
            Until::Position(_) if from < shape.begins => {
                return Err(Error::external("records are gone"));
            }
            Until::Position(to) | Until::Proven { to, .. } => to.at,
            Until::End | Until::Forever => there,
        };
        let lost = (shape.begins - from).max(0).unsigned_abs() / 2;
        let next = from.max(shape.begins);
        Ok(Box::new(AgingReader { next, end, note, lost, shape }))
    }
}

struct AgingReader {
    next: i64,
    end: i64,
    /// Of the last position.
    note: Option<&'static str>,
    lost: u64,
    shape: Shape,
}

#[async_trait]
impl SplitReader for AgingReader {
    async fn next_batch(&mut self) -> Result<Option<ReadBatch>> {
        if self.next >= self.end {
            return Ok(None);
        }
        let to = self.end.min(self.next + BATCH);
        let Shape { holes, moved, .. } = &self.shape;
        let there = (self.next..to).filter(|at| at % 2 == 0 && !holes.contains(at));
        let rows: Int64Array =
            there.map(|at| if *moved == Some(at) { at + 1 } else { at }).collect();
        let marks =
            (self.next + 5 < to).then(|| Position::new(self.next + 5)).into_iter().collect();
        self.next = to;
        let mut next = Position::new(to);
        next.note = self.note.filter(|_| to == self.end).map(Into::into);
        Ok(Some(ReadBatch {
            records: RecordBatch::try_new(schema(), vec![Arc::new(rows)]).unwrap(),
            next,
            rejects: Vec::new(),
            lost: std::mem::take(&mut self.lost),
            bytes: 1,
            skipped: 0,
            marks,
        }))
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<()> {
        Ok(())
    }
}

struct Fixture {
    data: tempfile::TempDir,
    name: String,
    yaml: &'static str,
}

impl Fixture {
    /// An epoch that is decided and was lost by its sink, over records that are not as they were.
    fn new(shape: Shape) -> Self {
        Self::of(PIPELINE, shape)
    }

    /// The same of another pipeline.
    fn of(yaml: &'static str, shape: Shape) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("losses-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let fixture = Self { data: tempfile::tempdir().unwrap(), name, yaml };
        fixture.killed("decide.after", 1, false);
        fixture.becomes(shape);
        fixture
    }

    /// What becomes of the records.
    fn becomes(&self, shape: Shape) {
        SHAPES.lock().unwrap().insert(self.name.clone(), shape);
    }

    /// A run that dies at a point.
    fn killed(&self, point: &'static str, pass: u64, accept_loss: bool) {
        failpoint::arm(point, pass, Action::Halt);
        block_on(async {
            tokio::select! {
                ended = self.run(accept_loss) => panic!("{point}:{pass} was not passed: {ended:?}"),
                () = failpoint::halted() => {}
            }
        });
    }

    async fn run(&self, accept_loss: bool) -> Result<Summary> {
        let proof = Proof {
            yaml: format!("name: {}{}", self.name, self.yaml.replace("NAME", &self.name)),
            transforms: &[],
            make_step: steps::make,
            connectors: &[&connector_memory::Memory, &Agings],
            data: self.data.path().to_owned(),
            checkpoints: None,
            adopt: false,
            dead_letters: dead_letters(&self.name),
            semantics: SEMANTICS,
        };
        let pipeline = proof.pipeline()?;
        let (_keep, stop) = watch::channel(false);
        let rebuild: Rebuild = Arc::new(|_| Err(Error::bug("the file did not change")));
        let options = RunOptions {
            checkpoints: pipeline.checkpoint_store()?,
            lineage: Lineage::main(),
            not_before_us: 0,
            rebuild,
            until_end: true,
            adopt: false,
            assume: None,
            accept_loss,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop,
        };
        runtime::run(pipeline, options, Arc::new(Progress::default())).await
    }

    fn held(&self) -> Vec<i64> {
        self.held_by("out")
    }

    fn held_by(&self, sink: &str) -> Vec<i64> {
        let rows = store(&format!("{}-{sink}", self.name)).rows();
        let mut positions: Vec<_> =
            rows.iter().flat_map(|batch| origins(batch).unwrap()).map(|row| row.1).collect();
        positions.sort_unstable();
        positions
    }

    fn lost(&self) -> u64 {
        self.sum(|counts| counts.lost)
    }

    fn sum(&self, count: fn(&Counts) -> u64) -> u64 {
        let checkpoints = CheckpointStore::local(&self.data.path().join("checkpoints")).unwrap();
        let ledger = block_on(checkpoints.history(&self.name, &Lineage::main()).ledger()).unwrap();
        ledger.rows.iter().map(|row| count(&row.entry.counts)).sum()
    }

    /// The positions of dead letters.
    fn letters(&self) -> Vec<i64> {
        let rows = store(&format!("{}-dead", self.name)).rows();
        let mut positions: Vec<_> =
            rows.iter().flat_map(|batch| origins(batch).unwrap()).map(|row| row.1).collect();
        positions.sort_unstable();
        positions
    }

    /// From which position on the sink refuses rows by now.
    fn refuse(&self, from: Option<i64>) {
        store(&format!("{}-out", self.name)).content().refuses_from = from;
    }
}

/// Nothing is delivered without a word; with `accept_loss` these rows are, and the others lost.
fn check(shape: Shape, says: &str, held: Vec<i64>) {
    let fixture = Fixture::new(shape);
    let error = block_on(fixture.run(false)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External, "{}", error.chain());
    assert!(!error.retry());
    assert!(error.chain().contains(says), "{}", error.chain());
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--accept-loss")), "{error:?}");
    assert_eq!(fixture.held(), [0_i64; 0]);
    block_on(fixture.run(true)).unwrap();
    assert_eq!(fixture.held(), held);
    assert_eq!(fixture.lost(), END as u64 / 2 - held.len() as u64);
    // It is booked once.
    block_on(fixture.run(false)).unwrap();
    assert_eq!(fixture.lost(), END as u64 / 2 - held.len() as u64);
}

fn even(from: i64) -> impl Iterator<Item = i64> {
    (from..END).filter(|at| at % 2 == 0)
}

#[test]
fn what_lies_behind_a_gap_is_delivered() {
    let _alone = Proof::alone();
    let shape = |begins| Shape { begins, ..Shape::default() };
    check(shape(40), "records 0 to", even(40).collect());
    check(shape(END), "records 0 to", Vec::new());
}

#[test]
fn holes_that_nobody_told_of_are_named_and_the_rest_is_delivered() {
    let _alone = Proof::alone();
    let holes = vec![10, 12, 50];
    let held = even(0).filter(|at| !holes.contains(at)).collect();
    let shape = Shape { holes, ..Shape::default() };
    check(shape, "47 rows of split \"numbers\", records 0 to 100, where 50 were recorded", held);
}

#[test]
fn fewer_rows_of_a_source_without_holes_are_other_rows() {
    let _alone = Proof::alone();
    let shape = Shape { holes: vec![10, 12, 50], exact: true, ..Shape::default() };
    check(shape, "47 rows of split \"numbers\"", Vec::new());
}

/// Up to the last mark before 57, at 55, it is proven; the number 56 is no number of that split any
/// more.
fn cut() -> Shape {
    Shape { cut: Some(57), exact: true, ..Shape::default() }
}

#[test]
fn what_is_proven_of_records_that_were_cut_off_is_delivered_and_the_rest_is_another_split() {
    let _alone = Proof::alone();
    let fixture = Fixture::new(cut());
    let error = block_on(fixture.run(false)).unwrap_err();
    assert!(error.chain().contains("records 0 to 100"), "{}", error.chain());
    assert_eq!(fixture.held(), [0_i64; 0]);
    block_on(fixture.run(true)).unwrap();
    assert_eq!(fixture.held(), (0..57).step_by(2).collect::<Vec<i64>>());
    assert_eq!((fixture.lost(), fixture.sum(|counts| counts.delivered)), (22, 50 + 1));
    block_on(fixture.run(false)).unwrap();
    assert_eq!((fixture.held().len(), fixture.lost()), (29, 22));
}

#[test]
fn records_that_were_cut_off_are_delivered_once_wherever_the_process_dies() {
    let _alone = Proof::alone();
    for (point, pass) in [
        ("recover.replay", 1),
        ("recover.replayed", 1),
        ("commit.sink.before", 1),
        ("commit.sink.after", 1),
        ("decide.answer", 1),
        ("recover.done", 1),
        ("decide.before", 1),
        ("decide.after", 1),
        ("acknowledge.done", 1),
    ] {
        let fixture = Fixture::new(cut());
        fixture.killed(point, pass, true);
        block_on(fixture.run(true)).unwrap();
        let held: Vec<i64> = (0..57).step_by(2).collect();
        assert_eq!((fixture.held(), fixture.lost()), (held, 22), "{point}:{pass}");
    }
}

/// One sink committed without what was cut off, or none did, when the process died; then
/// everything is back. What a sink lacks comes as another split, to whom it is not there yet.
#[test]
fn what_was_cut_off_and_is_back_is_delivered_once_to_each_sink() {
    let _alone = Proof::alone();
    let all: Vec<i64> = even(0).collect();
    // Both sinks are first asked to commit what they had, which is gone.
    for (point, pass, is_behind) in [
        ("recover.replay", 1, false),
        ("recover.replayed", 1, false),
        ("commit.sink.after", 3, true),
        ("recover.done", 1, false),
    ] {
        for accept_loss in [false, true] {
            let fixture = Fixture::of(TWO, cut());
            fixture.killed(point, pass, true);
            let held = ["out", "also"].map(|sink| fixture.held_by(sink).len());
            assert_eq!(is_behind, held[0] != held[1], "{point}: {held:?}");
            fixture.becomes(Shape { exact: true, ..Shape::default() });
            block_on(fixture.run(accept_loss)).unwrap();
            for sink in ["out", "also"] {
                assert_eq!(fixture.held_by(sink), all, "{point}: {sink}");
            }
            // It was lost in both sinks, which got it as another split, or in none.
            let (lost, delivered) = (fixture.lost(), fixture.sum(|counts| counts.delivered));
            assert_eq!(delivered - lost, 2 * all.len() as u64, "{point}: {lost}");
        }
    }
}

/// One sink committed without what was cut off; for the other one more is gone.
#[test]
fn what_is_cut_off_further_is_lost_to_the_sink_that_lacks_it() {
    let _alone = Proof::alone();
    let fixture = Fixture::of(TWO, cut());
    fixture.killed("commit.sink.after", 3, true);
    fixture.becomes(Shape { cut: Some(37), exact: true, ..Shape::default() });
    let error = block_on(fixture.run(false)).unwrap_err();
    assert!(error.chain().contains("records 0 to 100"), "{}", error.chain());
    block_on(fixture.run(true)).unwrap();
    let mut held = ["out", "also"].map(|sink| fixture.held_by(sink));
    held.sort_by_key(Vec::len);
    // Behind the place at 35 stands another split, whose record 36 comes.
    assert_eq!(held[0], (0..37).step_by(2).collect::<Vec<i64>>());
    assert_eq!(fixture.lost(), 22 + 32);
}

#[test]
fn a_replay_of_records_that_were_cut_off_before_every_mark_loses_all_of_them() {
    let _alone = Proof::alone();
    let fixture = Fixture::new(Shape { begins: 0, cut: Some(0), exact: true, ..Shape::default() });
    // There is no mark up to which anything could be proven.
    block_on(fixture.run(true)).unwrap();
    assert_eq!((fixture.held(), fixture.lost()), (Vec::new(), 50));
}

#[test]
fn what_a_replay_finds_refused_becomes_dead_letters() {
    let _alone = Proof::alone();
    let fixture = Fixture::new(Shape::default());
    for refused_from in [60, 0] {
        fixture.refuse(Some(refused_from));
        let error = block_on(fixture.run(false)).unwrap_err();
        assert!(error.chain().contains("is refused"), "{}", error.chain());
        assert!(error.hint_text().is_some_and(|hint| hint.contains("dead letters")), "{error:?}");
    }
    fixture.refuse(Some(60));
    block_on(fixture.run(true)).unwrap();
    fixture.refuse(None);
    block_on(fixture.run(false)).unwrap();
    assert_eq!(fixture.held(), even(0).filter(|at| *at < 60).collect::<Vec<_>>());
    assert_eq!((fixture.letters(), fixture.lost()), (even(60).collect(), 0));
    assert_eq!(fixture.sum(|counts| counts.dead_lettered), 20);
}

#[test]
fn a_sink_that_takes_nothing_of_a_replay_any_more_makes_letters_of_it_and_goes_on() {
    let _alone = Proof::alone();
    let shape = Shape { holes: vec![10], ..Shape::default() };
    let fixture = Fixture::new(shape);
    fixture.refuse(Some(0));
    block_on(fixture.run(true)).unwrap();
    fixture.refuse(None);
    block_on(fixture.run(false)).unwrap();
    assert_eq!((fixture.held(), fixture.lost()), (Vec::new(), 1));
    assert_eq!(fixture.letters(), even(0).filter(|at| *at != 10).collect::<Vec<_>>());
}

#[test]
fn late_letters_stand_once_wherever_the_process_dies() {
    let _alone = Proof::alone();
    // The replay of the epoch is the first; that of its letters the second.
    for (point, pass) in [
        ("recover.replayed", 1),
        ("commit.sink.after", 1),
        ("recover.replayed", 2),
        ("commit.sink.before", 2),
        ("commit.sink.after", 2),
        ("recover.done", 1),
    ] {
        let fixture = Fixture::new(Shape::default());
        fixture.refuse(Some(60));
        fixture.killed(point, pass, true);
        block_on(fixture.run(true)).unwrap();
        let held: Vec<_> = even(0).filter(|at| *at < 60).collect();
        assert_eq!(
            (fixture.held(), fixture.letters()),
            (held, even(60).collect()),
            "{point}:{pass}"
        );
        assert_eq!(fixture.sum(|counts| counts.dead_lettered), 20, "{point}:{pass}");
    }
}

#[test]
fn a_split_of_which_other_records_come_is_left_out_whole() {
    let _alone = Proof::alone();
    let shape = Shape { moved: Some(10), ..Shape::default() };
    check(shape, "50 rows of split \"numbers\"", Vec::new());
}
