//! Refusals that are too long for their checkpoint.

use contract::sink::Prepared;
use testkit::crash::Proof;

use super::altered::{Altered, Habit, named};
use super::{Fixture, block_on};

/// Refuses at great length.
#[derive(Clone)]
struct Wordy;

impl Habit for Wordy {
    fn alter(&mut self, mut prepared: Prepared) -> Prepared {
        for row in &mut prepared.rejects {
            row.reject.reason = "too long ".repeat(60_000);
        }
        prepared
    }
}

static WORDY: Altered<Wordy> = Altered { spec: &named("wordy"), habit: Wordy };

/// A few epochs have several such refusals.
fn wordy() -> (Fixture, Proof) {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("2KiB", "4KiB");
    let fixture = Fixture { yaml, ..fixture };
    let proof = WORDY.proof(&fixture, "transaction");
    (fixture, proof)
}

#[test]
fn a_crash_at_every_point_keeps_refusals_that_stand_beside_their_checkpoint() {
    let _alone = Proof::alone();
    let points = ["prepare.done", "rejects.before", "rejects.after", "decide.answer"];
    for point in points.into_iter().chain(["decide.after", "commit.sink.before"]) {
        let (fixture, proof) = wordy();
        proof.crash_at(point, 1);
        fixture.check();
        let lineage = fixture.data.path().join("checkpoints").join(&fixture.name).join("main");
        let beside = std::fs::read_dir(lineage).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("rejects-")
        });
        assert!(beside.count() > 0, "{point}");
    }
}

#[test]
fn a_replay_skips_what_was_refused_beside_its_checkpoint() {
    let _alone = Proof::alone();
    let (fixture, proof) = wordy();
    proof.crash_twice(("decide.after", 1), "recover.replayed");
    fixture.check();
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    assert_eq!(newest.rejects_file, None, "what is read is whole");
}
