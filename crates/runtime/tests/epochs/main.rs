//! The epoch protocol on every kind of sink, dropped at every point and started again.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use connector_memory::store::{origins, store};
use contract::failpoint::{self, Action, Passed};
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector};
use contract::{ErrorKind, Lineage};
use state::checkpoint::SEMANTICS;
use state::{Checkpoint, CheckpointStore, History};
use testkit::crash::{Proof, Start, points};

mod altered;
mod away;
mod cluster;
mod discovery;
mod isolation;
mod latency;
mod lineages;
mod losses;
mod made;
mod memory;
mod narrow;
mod numbers;
mod orders;
mod packs;
mod replays;
mod steps;
mod strays;
mod upgrade;
mod wordy;

const ROWS: i64 = 300;
const SPLITS: i64 = 3;
const LEASE_TTL: Duration = Duration::from_millis(300);

/// A pipeline into one sink of each kind, with names of its own.
struct Fixture {
    data: tempfile::TempDir,
    name: String,
    yaml: String,
    checkpoints: CheckpointStore,
}

impl Fixture {
    /// One lineage, with a stateful step.
    fn new() -> Self {
        Self::of("")
    }

    /// Each split is a lineage; no state.
    fn of_lineages() -> Self {
        let fixture = Self::of(", lineages: split");
        let yaml = fixture.yaml.replace("input: first", "input: numbers").replace("2KiB", "512B");
        let without_first = yaml.lines().filter(|line| !line.contains("first:"));
        Self { yaml: without_first.collect::<Vec<_>>().join("\n"), ..fixture }
    }

    /// The same, with so many epochs that each of their points is passed at least seven times.
    fn in_short_epochs(self) -> Self {
        let yaml = self.yaml.replace("2KiB", "256B").replace("batch_rows: 50", "batch_rows: 20");
        Self { yaml, ..self }
    }

    /// The same, in a store that several machines could share.
    fn in_shared_store(self) -> Self {
        self.in_store_with(LEASE_TTL)
    }

    /// The same, with leases that last so long.
    fn in_store_with(self, lease_ttl: Duration) -> Self {
        let store = Arc::new(object_store::memory::InMemory::new());
        let checkpoints = CheckpointStore::shared(store, lease_ttl, "memory");
        Self { checkpoints, ..self }
    }

    fn of(settings: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("proof-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let yaml = format!(
            "
name: {name}
epoch: {{ interval: 1h, bytes_max: 2KiB }}
sources:
  numbers: {{ type: memory, rows_max: {ROWS}, batch_rows: 50, splits: {SPLITS}{settings} }}
transforms:
  first: {{ type: first_seen, input: numbers }}
  some: {{ type: without_nines, input: first }}
sinks:
  transaction: {{ type: memory, input: some, store: {name}-transaction, kind: transaction, refuse_multiples_of: 25 }}
  staged: {{ type: memory, input: some, store: {name}-staged, kind: staged }}
  idempotent: {{ type: memory, input: some, store: {name}-idempotent, kind: idempotent }}
"
        );
        let data = tempfile::tempdir().unwrap();
        let checkpoints = CheckpointStore::local(&data.path().join("checkpoints")).unwrap();
        Self { data, name, yaml, checkpoints }
    }

    fn proof(&self) -> Proof {
        Proof {
            yaml: self.yaml.clone(),
            transforms: &["first_seen", "without_nines"],
            make_step: steps::make,
            connectors: &[&connector_memory::Memory],
            data: self.data.path().to_owned(),
            checkpoints: Some(self.checkpoints.clone()),
            adopt: false,
            dead_letters: dead_letters(&self.name),
            semantics: SEMANTICS,
        }
    }

    /// Every record stands once where it belongs, and the ledger adds up.
    fn check(&self) {
        let wanted = |number: i64| number % 10 != 9;
        let taken = |number: i64| wanted(number) && number % 25 != 0;
        let refused = |number: i64| wanted(number) && number % 25 == 0;
        self.check_store("transaction", &taken);
        self.check_store("staged", &wanted);
        self.check_store("idempotent", &wanted);
        self.check_store("dead", &refused);
        self.check_ledger(&taken, &refused);
    }

    fn check_store(&self, store_name: &str, expect: &dyn Fn(i64) -> bool) {
        let mut found: BTreeMap<(String, i64), u32> = BTreeMap::new();
        for batch in store(&format!("{}-{store_name}", self.name)).rows() {
            for (split, position, _) in origins(&batch).unwrap() {
                *found.entry((split, position)).or_default() += 1;
            }
        }
        let splits = (0..SPLITS).map(|split| split.to_string());
        let expected: BTreeMap<_, _> = splits
            .flat_map(|split| (0..ROWS).map(move |number| (split.clone(), number)))
            .filter(|(_, number)| expect(*number))
            .map(|key| (key, 1))
            .collect();
        let wrong: Vec<_> = expected
            .keys()
            .chain(found.keys())
            .filter(|key| found.get(key) != expected.get(key))
            .map(|key| (key, found.get(key).copied().unwrap_or(0)))
            .take(10)
            .collect();
        assert!(wrong.is_empty(), "{}-{store_name}: {wrong:?} (found so often)", self.name);
    }

    fn check_ledger(&self, taken: &dyn Fn(i64) -> bool, refused: &dyn Fn(i64) -> bool) {
        let count = |which: &dyn Fn(i64) -> bool| {
            SPLITS as u64 * (0..ROWS).filter(|number| which(*number)).count() as u64
        };
        let mut read = 0;
        let mut delivered = 0;
        let mut dead = 0;
        let rows = self.lineages().into_iter().flat_map(|lineage| {
            let history = self.checkpoints.history(&self.name, &lineage);
            block_on(history.ledger()).unwrap().rows
        });
        for row in rows.filter(|row| row.entry.sink == "transaction") {
            row.entry.counts.check(&row.entry.split, &row.entry.sink).unwrap();
            read += row.entry.counts.read;
            delivered += row.entry.counts.delivered;
            dead += row.entry.counts.dead_lettered;
        }
        let all = |_: i64| true;
        assert_eq!((read, delivered, dead), (count(&all), count(taken), count(refused)));
    }

    fn lineages(&self) -> Vec<Lineage> {
        block_on(self.checkpoints.lineages(&self.name)).unwrap()
    }

    fn history(&self) -> History {
        self.checkpoints.history(&self.name, &Lineage::main())
    }
}

fn dead_letters(name: &str) -> Arc<dyn Sink> {
    let section = testkit::section(&format!("{{ store: {name}-dead, kind: staged }}"));
    let ctx = BuildContext::new(name, "dead_letters", Path::new("."));
    connector_memory::Memory.sink(&section, &ctx).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_run_without_a_crash_delivers_each_record_once() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    fixture.check();
    assert_eq!(summary.read, (ROWS * SPLITS) as u64);
    assert!(summary.epochs > 1, "epochs end by size");
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    assert_eq!((summary.read, summary.epochs), (0, 0), "a second run finds nothing new");
    fixture.check();
}

/// Points that every epoch passes, those of the connector too.
fn points_of_epochs() -> impl Iterator<Item = &'static str> {
    let own = connector_memory::Memory.spec().failpoints.iter();
    points(&[Passed::Epoch]).chain(own.map(|point| point.name))
}

#[test]
fn a_crash_at_every_point_loses_nothing_and_doubles_nothing() {
    let _alone = Proof::alone();
    let once = points(&[Passed::First, Passed::Start]).map(|point| (point, 1));
    let often = points_of_epochs().flat_map(|point| [1, 2, 3, 7].map(|pass| (point, pass)));
    for (point, pass) in once.chain(often) {
        let fixture = Fixture::new().in_short_epochs();
        fixture.proof().crash_at(point, pass);
        fixture.check();
    }
}

#[test]
fn a_crash_during_recovery_is_recovered_too() {
    let _alone = Proof::alone();
    let finishing = points(&[Passed::Recovery, Passed::Replay]);
    let finishing = finishing.map(|second| (("decide.after", 2), second));
    // Which sinks owe the epoch then, if any, is left to chance.
    let starting = [("commit.sink.after", 2), ("publish.done", 2)];
    let starting = starting.into_iter().flat_map(|first| {
        let points = points(&[Passed::Start]).filter(|point| point.starts_with("recover."));
        points.map(move |second| (first, second))
    });
    for (first, second) in finishing.chain(starting) {
        let fixture = Fixture::new();
        fixture.proof().crash_twice(first, second);
        fixture.check();
    }
}

#[test]
fn a_point_that_is_not_passed_so_often_fails_its_proof() {
    let _alone = Proof::alone();
    let claim = || Fixture::new().proof().crash_at("recover.done", 2);
    let claimed = std::panic::catch_unwind(claim);
    let said = claimed.unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("recover.done is to be passed 2 times") && said.contains("Some(1)"));
}

#[test]
fn a_lost_answer_is_settled_by_asking_again() {
    let _alone = Proof::alone();
    let points = ["decide.answer", "commit.sink.before", "commit.sink.after"];
    let points = points.into_iter().chain(["memory.commit.before", "memory.commit.after"]);
    for point in points.chain(["prepare.sink.after", "flow.batch"]) {
        for pass in [1, 2, 5] {
            let fixture = Fixture::new().in_short_epochs();
            fixture.proof().fail_at(point, pass);
            fixture.check();
        }
    }
}

#[test]
fn what_is_read_again_after_a_failure_is_counted_once() {
    let _alone = Proof::alone();
    let ended = |proof: Proof| match proof.start().unwrap() {
        Start::Ended(summary) => summary,
        Start::Crashed => panic!("no crash"),
    };
    let plain = ended(Fixture::new().proof());
    for (point, pass) in
        [("flow.batch", 5), ("prepare.done", 2), ("decide.before", 2), ("publish.done", 2)]
    {
        let fixture = Fixture::new();
        failpoint::arm(point, pass, Action::Fail);
        let again = ended(fixture.proof());
        failpoint::disarm();
        fixture.check();
        assert_eq!((again.read, again.bytes), (plain.read, plain.bytes), "{point}");
        let delivered = |summary: &runtime::Summary| {
            summary.sinks.iter().map(|sink| sink.counts.delivered).sum::<u64>()
        };
        assert_eq!(delivered(&again), delivered(&plain), "{point}");
    }
}

#[test]
fn a_decided_epoch_is_finished_by_the_version_that_decided_it() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    failpoint::arm("decide.after", 2, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed));
    let decided = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    let mut changed = fixture.proof();
    changed.yaml = fixture.yaml.replace("input: some", "input: first");
    assert!(matches!(changed.start().unwrap(), Start::Ended(_)));
    for batch in store(&format!("{}-staged", fixture.name)).rows() {
        let epochs = batch.column_by_name("_epoch").unwrap().as_primitive::<Int64Type>();
        let numbers = batch.column_by_name("number").unwrap().as_primitive::<Int64Type>();
        for (epoch, number) in epochs.values().iter().zip(numbers.values()) {
            assert!(*epoch > 2 || number % 10 != 9, "epoch {epoch} is of the old version");
        }
    }
    let rows: u64 = block_on(fixture.history().ledger())
        .unwrap()
        .rows
        .iter()
        .filter(|row| row.entry.sink == "staged" && row.epoch > decided.epoch)
        .map(|row| row.entry.counts.filtered)
        .sum();
    assert_eq!((decided.epoch, rows), (2, 0), "later epochs are of the new version");
}

#[test]
fn an_owner_that_was_overtaken_in_its_sleep_changes_nothing() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let name = fixture.name.clone();
    let folder = fixture.data.path().join("checkpoints").join(&name).join("main");
    // Another owner, which the lease did not keep out, decides the epoch that is under way.
    steps::meanwhile(move || {
        let other = Checkpoint { epoch: 1, ..Checkpoint::first(&name, &Lineage::new("main"), 7) };
        let path = folder.join(format!("epoch-{:020}", 1));
        std::fs::write(path, other.to_bytes().unwrap()).unwrap();
    });
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotOwner, "{error:?}");
    for sink in ["transaction", "staged", "dead"] {
        let rows = store(&format!("{}-{sink}", fixture.name)).rows();
        assert!(rows.is_empty(), "{sink} shows nothing of what was not decided");
    }
}

#[test]
fn lost_checkpoints_over_kept_sinks_stop_the_start() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    fixture.proof().start().unwrap();
    std::fs::remove_dir_all(fixture.data.path().join("checkpoints")).unwrap();
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.hint_text().unwrap().contains("--adopt"));
    fixture.check_store("staged", &|number| number % 10 != 9);
    let mut adopting = fixture.proof();
    adopting.adopt = true;
    let Start::Ended(summary) = adopting.start().unwrap() else { panic!("no crash") };
    assert_eq!(summary.read, (ROWS * SPLITS) as u64, "an adopted history reads everything again");
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    assert_eq!(summary.read, 0, "and goes on as any other");
}

#[test]
fn a_token_that_is_lost_after_a_clean_end_stops_the_start_and_doubles_nothing() {
    let _alone = Proof::alone();
    let one_epoch = |mut fixture: Fixture| {
        fixture.yaml = fixture.yaml.replace("2KiB", "64MiB");
        fixture
    };
    for (fixture, epochs) in [(one_epoch(Fixture::new()), 1), (Fixture::new(), 2)] {
        for sink in ["transaction", "staged"] {
            let Start::Ended(summary) = fixture.proof().start().unwrap() else {
                panic!("no crash")
            };
            assert!(sink == "staged" || summary.epochs.min(2) == epochs, "{}", summary.epochs);
            let store = store(&format!("{}-{sink}", fixture.name));
            let held = store.content().tokens.clone();
            for token in store.content().tokens.values_mut() {
                token.epoch -= 1;
            }
            store.content().tokens.retain(|_, token| token.epoch > 0);
            let error = fixture.proof().start().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
            assert!(error.hint_text().unwrap().contains("--assume missing"), "{error:?}");
            fixture.check();
            store.content().tokens = held;
        }
        fixture.proof().start().unwrap();
        fixture.check();
    }
}

#[test]
fn a_damaged_newest_checkpoint_stops_the_start_where_a_sink_cannot_prove_its_epoch() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    fixture.proof().start().unwrap();
    let newest = block_on(fixture.history().newest_epoch()).unwrap().unwrap();
    let folder = fixture.data.path().join("checkpoints").join(&fixture.name).join("main");
    let path = folder.join(format!("epoch-{newest:020}"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = fixture.proof().start().unwrap_err();
    assert!(error.chain().contains("damaged"), "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("backup"));
}

#[test]
fn a_checkpoint_that_is_a_copy_of_another_is_damage_and_no_other_owner() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    fixture.proof().start().unwrap();
    let newest = block_on(fixture.history().newest_epoch()).unwrap().unwrap();
    let folder = fixture.data.path().join("checkpoints").join(&fixture.name).join("main");
    let path = |epoch: u64| folder.join(format!("epoch-{epoch:020}"));
    std::fs::copy(path(newest - 1), path(newest)).unwrap();
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External, "{error:?}");
    let copy = format!("it is a copy of that of epoch {} of {}/main", newest - 1, fixture.name);
    assert!(error.chain().contains(&copy), "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("backup"));
}
