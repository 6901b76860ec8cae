//! Dead letters given again: to the sinks that lack them and to no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use connector_memory::store::{origins, store};
use contract::discovery::{ByListing, Discoverer, Known, Listing, Lists};
use contract::failpoint::{self, Action};
use contract::record::{POSITION, message_schema};
use contract::sink::Sink;
use contract::source::Until;
use contract::source::{KnownSplit, Reject, Source, Split, SplitReader};
use contract::spec::{BuildContext, Connector, Spec};
use contract::transform::{Means, Output, Port, Step, Transform};
use contract::{Error, Position, Result, Section, SplitId};
use runtime::replay::{Letter, Purpose, Refuser, Request};
use runtime::{Progress, Rebuild, RunOptions, Summary};
use state::checkpoint::SEMANTICS;
use testkit::crash::Proof;
use tokio::sync::watch;

use super::{block_on, dead_letters};

/// `even` and `odd` stand below `fork`, `last` only above `odd`.
const PIPELINE: &str = "
sources:
  lines: { type: lines }
transforms:
  first: { type: pass, input: lines }
  fork: { type: fork, input: first }
  last: { type: pass, input: fork.odd }
sinks:
  raw: { type: memory, input: lines, store: NAME-raw, kind: transaction }
  firsts: { type: memory, input: first, store: NAME-firsts, kind: idempotent }
  even: { type: memory, input: fork.even, store: NAME-even, kind: staged }
  odd: { type: memory, input: last, store: NAME-odd, kind: transaction }
";

/// A source whose records are not to be had any more.
struct Lines;

static SPEC: Spec =
    Spec { name: "lines", summary: "", source: None, sink: None, failpoints: &[], example: "" };

impl Connector for Lines {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, _: &Section, _: &BuildContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(Lines))
    }
}

#[async_trait]
impl Lists for Lines {
    async fn list(&self, _: Option<&Known>) -> Result<Listing> {
        Err(Error::bug("a replay reads no source"))
    }
}

#[async_trait]
impl Source for Lines {
    fn schema(&self) -> SchemaRef {
        message_schema()
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        Box::new(ByListing::new(Lines, known))
    }

    async fn open(
        &self,
        _: &Split,
        _: Option<&Position>,
        _: Until,
    ) -> Result<Box<dyn SplitReader>> {
        Err(Error::bug("a replay reads no source"))
    }
}

/// Sends rows out by all of its ports in turn, as their positions say.
struct Deal(Vec<Port>);

impl Step for Deal {
    fn ports(&self) -> &[Port] {
        &self.0
    }

    fn build(&self, _: Means) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Dealing(self.0.len() as i64)))
    }
}

struct Dealing(i64);

impl Transform for Dealing {
    fn apply(&mut self, batch: &RecordBatch, out: &mut Output) -> Result<()> {
        let positions = batch[POSITION].as_primitive::<Int64Type>().values();
        for port in 0..self.0 {
            let mask: BooleanArray =
                positions.iter().map(|position| Some(position % self.0 == port)).collect();
            out.push_to(port as usize, filter_record_batch(batch, &mask).unwrap());
        }
        Ok(())
    }
}

fn make(
    kind: &str,
    _name: &str,
    _section: &Section,
    inputs: &[(String, SchemaRef)],
) -> Result<Arc<dyn Step>> {
    let names: &[&str] = if kind == "fork" { &["even", "odd"] } else { &[""] };
    let port = |name: &&str| Port { name: (*name).into(), schema: inputs[0].1.clone() };
    Ok(Arc::new(Deal(names.iter().map(port).collect())))
}

struct Fixture {
    data: tempfile::TempDir,
    name: String,
    request: Arc<Request>,
}

impl Fixture {
    fn new(refuser: Refuser, positions: &[i64]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("replay-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let letters = positions.iter().map(|position| Letter {
            source: "lines".into(),
            split: SplitId::new("a"),
            reject: Reject::new(*position, "broken").with_original(b"line"[..].into()),
        });
        let request = Request {
            purpose: Purpose::Replay,
            refuser,
            newest_us: 1,
            letters: letters.collect(),
            tries: 0,
            ordinal: 0,
            ways: Vec::new(),
            numbering: Vec::new(),
            splits: Vec::new(),
        };
        Self { data: tempfile::tempdir().unwrap(), name, request: Arc::new(request) }
    }

    fn proof(&self) -> Proof {
        Proof {
            yaml: format!("name: {}{}", self.name, PIPELINE.replace("NAME", &self.name)),
            transforms: &["pass", "fork"],
            make_step: make,
            connectors: &[&connector_memory::Memory, &Lines],
            data: self.data.path().to_owned(),
            checkpoints: None,
            adopt: false,
            dead_letters: dead_letters(&self.name),
            semantics: SEMANTICS,
        }
    }

    fn marks(&self) -> Arc<dyn Sink> {
        let section = testkit::section(&format!("{{ store: {}-marks, kind: staged }}", self.name));
        let ctx = BuildContext::new(&self.name, "marks", self.data.path());
        connector_memory::Memory.sink(&section, &ctx).unwrap()
    }

    async fn run(&self) -> Result<Summary> {
        let pipeline = self.proof().pipeline()?.replaying(&self.request, self.marks())?;
        let (_keep, stop) = watch::channel(false);
        let rebuild: Rebuild = Arc::new(|_| Err(Error::bug("the file did not change")));
        let options = RunOptions {
            checkpoints: pipeline.checkpoint_store()?,
            lineage: self.request.lineage(),
            not_before_us: 0,
            rebuild,
            until_end: true,
            adopt: false,
            assume: None,
            accept_loss: false,
            accept_gap: false,
            flush_windows: false,
            standby: false,
            stop,
        };
        runtime::run(pipeline, options, Arc::new(Progress::default())).await
    }

    fn held(&self, sink: &str) -> Vec<i64> {
        let rows = store(&format!("{}-{sink}", self.name)).rows();
        let mut positions: Vec<_> =
            rows.iter().flat_map(|batch| origins(batch).unwrap()).map(|row| row.1).collect();
        positions.sort_unstable();
        positions
    }

    /// `held` are the positions in `raw`, `firsts`, `even` and `odd`.
    fn check(&self, held: [&[i64]; 4]) {
        for (sink, expect) in ["raw", "firsts", "even", "odd"].iter().zip(held) {
            assert_eq!(self.held(sink), expect, "{sink}: {:?}", self.request.refuser);
        }
        let taken: Vec<_> = self.request.letters.iter().map(|one| one.reject.position).collect();
        assert_eq!(self.held("marks"), taken);
    }
}

fn step(name: &str) -> Refuser {
    Refuser::Step(name.into())
}

fn sink(name: &str) -> Refuser {
    Refuser::Sink(name.into())
}

#[test]
fn letters_reach_only_the_sinks_below_the_one_who_refused_them() {
    let _alone = Proof::alone();
    let check = |refuser: Refuser, positions: &[i64], held: [&[i64]; 4]| {
        let fixture = Fixture::new(refuser, positions);
        let summary = block_on(fixture.run()).unwrap();
        assert_eq!(summary.read, positions.len() as u64);
        fixture.check(held);
    };
    check(step("first"), &[0, 1, 2], [&[], &[0, 1, 2], &[0, 2], &[1]]);
    check(step("fork"), &[0, 1, 2], [&[], &[], &[0, 2], &[1]]);
    check(step("last"), &[1, 3], [&[], &[], &[], &[1, 3]]);
    check(sink("raw"), &[0, 1], [&[0, 1], &[], &[], &[]]);
    check(sink("firsts"), &[0, 1], [&[], &[0, 1], &[], &[]]);
    check(sink("odd"), &[1, 3], [&[], &[], &[], &[1, 3]]);
}

#[test]
fn a_replay_that_stopped_anywhere_gives_each_letter_once() {
    let _alone = Proof::alone();
    let points = [
        "flow.batch",
        "prepare.done",
        "decide.before",
        "decide.after",
        "commit.sink.before",
        "commit.sink.after",
        "publish.done",
    ];
    for point in points {
        let fixture = Fixture::new(step("first"), &[0, 1, 2, 5]);
        failpoint::arm(point, 1, Action::Halt);
        block_on(async {
            tokio::select! {
                ended = fixture.run() => panic!("{point} is not passed: {ended:?}"),
                () = failpoint::halted() => {}
            }
        });
        block_on(fixture.run()).unwrap();
        fixture.check([&[], &[0, 1, 2, 5], &[0, 2], &[1, 5]]);
    }
}

#[test]
fn a_refuser_that_left_the_pipeline_is_named() {
    let fixture = Fixture::new(step("parsed"), &[0]);
    let error = block_on(fixture.run()).unwrap_err();
    assert!(error.to_string().contains("transform \"parsed\""), "{error}");
}
