//! Splits that are lineages of their own: crashes, leases, groups that move them about.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connector_memory::store::{origins, store};
use contract::failpoint::{self, Action, Passed};
use contract::sink::CommitOutcome;
use contract::{Error, ErrorKind, Lineage, Result};
use object_store::{ObjectStoreExt, path::Path};
use state::Checkpoint;
use state::history::Decision;
use testkit::crash::{Proof, Start, points};

use super::cluster::{Following, Group, StartsLate, Trouble, until};
use super::{Fixture, LEASE_TTL, ROWS, SPLITS, steps};

/// A lease that nobody waits for in a test.
const LONG_TTL: Duration = Duration::from_secs(600);
/// A run, its crash and the run that takes over.
const TAKEOVER_MAX: Duration = Duration::from_secs(30);
const LINEAGES: [&str; SPLITS as usize] = ["numbers.0", "numbers.1", "numbers.2"];

/// A run that a test drives while it goes on.
fn drive(test: impl Future<Output = ()>) {
    let mut tasks = tokio::runtime::Builder::new_multi_thread();
    tasks.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

impl Fixture {
    /// Epochs by time, as a run that follows has them.
    fn following(self) -> Self {
        let yaml = self.yaml.replace("interval: 1h, bytes_max: 512B", "interval: 20ms");
        Self { yaml, ..self }
    }

    /// Rows of each split in a sink.
    fn held_in(&self, sink: &str) -> BTreeMap<String, usize> {
        let mut held = BTreeMap::new();
        for batch in store(&format!("{}-{sink}", self.name)).rows() {
            for (split, _, _) in origins(&batch).unwrap() {
                *held.entry(split).or_default() += 1;
            }
        }
        held
    }

    fn held(&self) -> BTreeMap<String, usize> {
        self.held_in("staged")
    }

    fn holds_all_of(&self, splits: &[&str]) -> bool {
        let all = (0..ROWS).filter(|number| number % 10 != 9).count();
        let refused = (0..ROWS).filter(|number| number % 25 == 0 && number % 10 != 9).count();
        [("staged", all), ("transaction", all - refused)].into_iter().all(|(sink, rows)| {
            let held = self.held_in(sink);
            splits.iter().all(|split| held.get(*split) == Some(&rows))
        })
    }
}

#[test]
fn each_split_has_a_history_of_its_own() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages();
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    fixture.check();
    assert_eq!(summary.read, (ROWS * SPLITS) as u64);
    assert!(summary.epochs > SPLITS as u64, "{} epochs of all lineages", summary.epochs);
    assert_eq!(fixture.lineages(), LINEAGES.map(Lineage::new));
    let Start::Ended(summary) = fixture.proof().start().unwrap() else { panic!("no crash") };
    assert_eq!((summary.read, summary.epochs), (0, 0), "a second run finds nothing new");
}

#[test]
fn a_crash_at_every_point_of_several_lineages_loses_nothing_and_doubles_nothing() {
    let _alone = Proof::alone();
    // Each of three lineages passes what a start passes, but for their division.
    let starts = points(&[Passed::Start]).flat_map(|point| {
        let passes = if point.starts_with("lineages.") { 1 } else { 3 };
        (1..=passes).map(move |pass| (point, pass))
    });
    let epochs = points(&[Passed::Epoch]).flat_map(|point| [1, 2, 5].map(|pass| (point, pass)));
    for (point, pass) in starts.chain(epochs) {
        let fixture = Fixture::of_lineages();
        fixture.proof().crash_at(point, pass);
        fixture.check();
    }
}

#[test]
fn a_crash_in_a_shared_store_is_taken_over_at_once() {
    let _alone = Proof::alone();
    let starts = points(&[Passed::Start]).map(|point| (point, 1));
    // Nothing here lies on local disk.
    let epochs = points(&[Passed::Epoch]).filter(|point| *point != "store.put.staged");
    for (point, pass) in starts.chain(epochs.map(|point| (point, 2))) {
        for fixture in [Fixture::new(), Fixture::of_lineages()] {
            let fixture = fixture.in_store_with(LONG_TTL);
            let begun = Instant::now();
            fixture.proof().crash_at(point, pass);
            assert!(begun.elapsed() < TAKEOVER_MAX, "{point}: {:?}", begun.elapsed());
            fixture.check();
        }
    }
}

#[test]
fn a_crash_while_a_lease_is_renewed_is_taken_over() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages().following().in_shared_store();
    failpoint::arm("lease.renew", 2, Action::Halt);
    drive(async {
        let _dropped = Following::start(&fixture.proof(), |_| {});
        failpoint::halted().await;
    });
    let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
    fixture.check();
}

#[test]
fn a_crash_while_a_lineage_is_recovered_is_recovered_too() {
    let _alone = Proof::alone();
    for second in points(&[Passed::Recovery, Passed::Replay]) {
        let fixture = Fixture::of_lineages();
        fixture.proof().crash_twice(("decide.after", 2), second);
        fixture.check();
    }
    for first in [("commit.sink.after", 4), ("publish.done", 2)] {
        for second in points(&[Passed::Start]).filter(|point| point.starts_with("recover.")) {
            let fixture = Fixture::of_lineages();
            fixture.proof().crash_twice(first, second);
            fixture.check();
        }
    }
}

#[test]
fn a_lost_answer_is_settled_in_place_beside_the_other_lineages() {
    let _alone = Proof::alone();
    let points =
        ["decide.answer", "commit.sink.before", "commit.sink.after", "memory.commit.after"];
    let epochs = points.into_iter().chain(["prepare.sink.after", "flow.batch"]);
    let epochs = epochs.flat_map(|point| [1, 2, 5].map(|pass| (point, pass)));
    // Each of three lineages passes this one.
    let starts = [1, 2, 3].map(|pass| ("recover.fenced", pass));
    for (point, pass) in epochs.chain(starts) {
        let fixture = Fixture::of_lineages();
        fixture.proof().fail_at(point, pass);
        fixture.check();
    }
}

#[test]
fn a_sink_that_fails_for_one_lineage_holds_back_that_one_alone() {
    let answers: [fn() -> Result<CommitOutcome>; 2] =
        [|| Err(Error::transient("down")), || Ok(CommitOutcome::NeedsReplay)];
    let _alone = Proof::alone();
    for answer in answers {
        for sink in 0..2 {
            let fixture = Fixture::of_lineages().following();
            let times = Arc::new(AtomicU64::new(u64::MAX));
            let lineage = Lineage::new("numbers.1");
            let trouble = Trouble { lineage, answer, times: times.clone() };
            drive(async {
                let run = Following::start(&fixture.proof(), |it| trouble.befall(it, sink));
                until("the others go on", async || fixture.holds_all_of(&["0", "2"])).await;
                let tries = || u64::MAX - times.load(Ordering::Relaxed);
                until("it is tried again", async || tries() > 3).await;
                times.store(0, Ordering::Relaxed);
                until("it recovers", async || fixture.holds_all_of(&["0", "1", "2"])).await;
                run.stop().await.unwrap();
            });
            fixture.check();
        }
    }
}

#[test]
fn an_error_that_stays_stops_the_others_after_their_epochs() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages().following();
    let trouble = Trouble {
        lineage: Lineage::new("numbers.1"),
        answer: || Err(Error::external("refused for good")),
        times: Arc::new(AtomicU64::new(1)),
    };
    drive(async {
        let run = Following::start(&fixture.proof(), |it| trouble.befall(it, 0));
        let error = run.ended().await.unwrap_err();
        assert!(error.chain().contains("refused for good"), "{}", error.chain());
        assert!(error.chain().contains("numbers.1"), "{}", error.chain());
    });
    let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
    fixture.check();
}

#[test]
fn a_lineage_that_lives_elsewhere_stops_the_start_before_anything_is_touched() {
    let _alone = Proof::alone();
    for fixture in [Fixture::of_lineages(), Fixture::of_lineages().in_shared_store()] {
        drive(async {
            let lineage = Lineage::new(LINEAGES[1]);
            let lease = fixture.checkpoints.lease(&fixture.name, &lineage).await.unwrap();
            let error = Following::start(&fixture.proof(), |_| {}).ended().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotOwner, "{error:?}");
            lease.release().await;
        });
        assert!(fixture.held().is_empty());
        let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
        fixture.check();
    }
}

#[test]
fn lineages_move_between_processes_as_the_group_says() {
    let _alone = Proof::alone();
    for fixture in [Fixture::of_lineages(), Fixture::of_lineages().in_shared_store()] {
        let fixture = fixture.following();
        drive(async {
            let group = Group::default();
            let start = |member: &'static str, stuck_at| {
                let group = group.clone();
                let join = move |it: &mut _| group.join_stuck(it, member, stuck_at);
                Following::start(&fixture.proof(), join)
            };
            group.assign("a", &["0", "1", "2"]);
            let first = start("a", ROWS / 2);
            until("the first delivers", async || fixture.held().len() == 3).await;
            let second = start("b", i64::MAX);
            group.assign("a", &["0"]);
            group.assign("b", &["1", "2"]);
            until("what moved goes on", async || fixture.holds_all_of(&["1", "2"])).await;
            assert!(!fixture.holds_all_of(&["0"]), "what did not move is stuck");
            group.assign("a", &[]);
            group.assign("b", &["0", "1", "2"]);
            until("all is delivered", async || fixture.holds_all_of(&["0", "1", "2"])).await;
            let read = [first.stop().await.unwrap().read, second.stop().await.unwrap().read];
            assert!(read.iter().all(|read| *read > 0), "both read something: {read:?}");
            assert_eq!(read.iter().sum::<u64>(), (ROWS * SPLITS) as u64);
        });
        fixture.check();
    }
}

#[test]
fn a_lineage_waits_until_its_owner_lets_go() {
    let _alone = Proof::alone();
    for fixture in [Fixture::of_lineages(), Fixture::of_lineages().in_shared_store()] {
        let fixture = fixture.following();
        drive(async {
            let lineage = Lineage::new("numbers.1");
            let lease = fixture.checkpoints.lease(&fixture.name, &lineage).await.unwrap();
            let group = Group::default();
            group.assign("a", &["0", "1", "2"]);
            let run = Following::start(&fixture.proof(), |it| group.join(it, "a"));
            until("the others go on", async || fixture.holds_all_of(&["0", "2"])).await;
            assert_eq!(fixture.held().get("1"), None, "its owner lives");
            lease.release().await;
            drop(lease);
            until("it is taken", async || fixture.holds_all_of(&["0", "1", "2"])).await;
            run.stop().await.unwrap();
        });
        fixture.check();
    }
}

/// Takes the lease object of a lineage by force, as an owner would that saw it expire.
async fn steal(fixture: &Fixture, lineage: &str) {
    let path = Path::from_iter([fixture.name.as_str(), lineage, "lease"]);
    let objects = fixture.checkpoints.objects();
    let bytes = objects.get(&path).await.unwrap().bytes().await.unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    record["holder"]["id"] = "another".into();
    record["holder"]["boot"] = "elsewhere".into();
    objects.put(&path, serde_json::to_vec(&record).unwrap().into()).await.unwrap();
}

#[test]
fn who_slept_through_its_lease_changes_nothing() {
    let _alone = Proof::alone();
    // At each of these points nothing but the lease keeps the sleeper from going on.
    for point in ["decide.before", "commit.sink.before"] {
        let fixture = Fixture::of_lineages().following().in_shared_store();
        drive(async {
            failpoint::arm(point, 1, Action::Pause);
            let run = Following::start(&fixture.proof(), |_| {});
            failpoint::halted().await;
            for lineage in LINEAGES {
                steal(&fixture, lineage).await;
            }
            tokio::time::sleep(LEASE_TTL).await;
            failpoint::resume();
            let error = run.ended().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotOwner, "{error:?}");
        });
        let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
        fixture.check();
    }
}

#[test]
fn an_epoch_that_an_earlier_owner_decided_late_is_taken_over() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages().in_shared_store();
    let history = fixture.checkpoints.history(&fixture.name, &Lineage::new(LINEAGES[0]));
    // A put that an earlier owner had sent arrives while the next one is at work.
    steps::meanwhile(move || {
        let decided = futures::executor::block_on(async {
            let first = history.newest().await.unwrap().unwrap().checkpoint;
            let mut late = Checkpoint { epoch: 1, writer: "earlier".into(), ..first };
            history.decide(&mut late).await.unwrap()
        });
        assert_eq!(decided, Decision::Decided);
    });
    let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
    fixture.check();
}

#[test]
fn a_lineage_that_was_taken_is_dropped_and_taken_back_once_it_is_free() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages().following().in_shared_store();
    let yaml = fixture.yaml.replace("batch_rows: 50", "batch_rows: 1");
    let fixture = Fixture { yaml, ..fixture };
    drive(async {
        let group = Group::default();
        group.assign("a", &["0", "1", "2"]);
        let run = Following::start(&fixture.proof(), |it| group.join(it, "a"));
        until("it delivers", async || fixture.held().contains_key("1")).await;
        steal(&fixture, "numbers.1").await;
        until("all is delivered", async || fixture.holds_all_of(&["0", "1", "2"])).await;
        run.stop().await.unwrap();
    });
    fixture.check();
}

#[test]
fn splits_start_together_whatever_happens_between_their_first_checkpoints() {
    const START: i64 = 200;
    let _alone = Proof::alone();
    let points = ["scout.starts", "scout.begun", "scout.begun", "scout.begun"];
    for (pass, point) in (0..).zip(points) {
        for action in [Action::Halt, Action::Fail] {
            let fixture = Fixture::of_lineages().following();
            let start = || Following::start(&fixture.proof(), |it| StartsLate::befall(it, START));
            if matches!(action, Action::Halt) {
                failpoint::arm(point, pass.max(1), action);
                drive(async {
                    let _dropped = start();
                    failpoint::halted().await;
                });
            } else {
                failpoint::arm(point, pass.max(1), action);
            }
            drive(async {
                let run = start();
                until("all have begun", async || fixture.held().len() == SPLITS as usize).await;
                run.stop().await.unwrap();
            });
            assert_eq!(failpoint::disarm(), None, "{point} is passed");
            let Start::Ended(_) = fixture.proof().start().unwrap() else { panic!("no crash") };
            let after_start = (START..ROWS).filter(|number| number % 10 != 9).count();
            for (split, held) in fixture.held() {
                assert_eq!(held, after_start, "{point}, pass {pass}, split {split}");
            }
        }
    }
}

#[test]
fn a_stateful_step_below_lineages_of_splits_is_refused() {
    let fixture = Fixture::of(", lineages: split");
    let Err(error) = fixture.proof().pipeline() else { panic!("it is not refused") };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("\"first\" keeps a state"), "{error}");
    assert!(error.place().is_some_and(|place| place.line > 0), "at the step");
}

/// The same pipeline with its splits in one lineage, and with a lineage for each.
fn both_ways(fixture: &Fixture) -> [Proof; 2] {
    let one = fixture.yaml.replace("lineages: split", "lineages: one");
    [Proof { yaml: one, ..fixture.proof() }, fixture.proof()]
}

fn refused(proof: &Proof) -> String {
    let error = proof.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.hint_text().unwrap().contains("set it back to"), "{error:?}");
    error.to_string()
}

#[test]
fn splits_stay_in_the_lineages_in_which_they_were_begun() {
    let _alone = Proof::alone();
    for (first, second) in [(0, 1), (1, 0)] {
        let fixture = Fixture::of_lineages();
        let ways = both_ways(&fixture);
        ways[first].start().unwrap();
        let begun = fixture.lineages();
        let said = refused(&ways[second]);
        let words = ["one", "split"];
        assert!(said.contains(&format!("begun with `lineages: {}`", words[first])), "{said}");
        assert_eq!(fixture.lineages(), begun, "nothing was begun");
        // A history of a program that had no plan shows how its splits were divided.
        let object = fixture.data.path().join("checkpoints").join(&fixture.name).join("lineages");
        std::fs::remove_file(&object).unwrap();
        refused(&ways[second]);
        let Start::Ended(summary) = ways[first].start().unwrap() else { panic!("no crash") };
        assert_eq!(summary.read, 0, "it goes on");
        assert!(object.exists());
    }
}

#[test]
fn a_source_that_left_the_file_keeps_its_lineages() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages();
    let [one, split] = both_ways(&fixture);
    one.start().unwrap();
    let others = |proof: &Proof, store: &str| Proof {
        yaml: proof.yaml.replace("numbers", "others").replace("-staged", store),
        ..proof.clone()
    };
    // Another source in its place: what it reads has other names of splits.
    let mut without = others(&split, "-staged");
    without.yaml = without.yaml.replace("rows_max: 300", "rows_max: 0");
    let Start::Ended(_) = without.start().unwrap() else { panic!("no crash") };
    refused(&split);
    refused(&others(&one, "-staged"));
}

#[test]
fn of_two_first_starts_with_different_plans_one_is_refused() {
    let _alone = Proof::alone();
    let fixture = Fixture::of_lineages();
    let ways = both_ways(&fixture);
    let outcomes = std::thread::scope(|scope| {
        let begun = ways.each_ref().map(|proof| scope.spawn(|| proof.start()));
        begun.map(|start| start.join().unwrap())
    });
    let errors: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    fixture.check();
}

#[test]
fn what_a_source_cannot_be_is_refused_when_the_file_is_checked() {
    let fixture = Fixture::of_lineages();
    let yaml = fixture.yaml.replace("lineages: split", "lineages: many");
    let Err(error) = (Proof { yaml, ..fixture.proof() }).pipeline() else { panic!("accepted") };
    assert_eq!((error.kind(), error.field_name()), (ErrorKind::Config, Some("lineages")));
}
