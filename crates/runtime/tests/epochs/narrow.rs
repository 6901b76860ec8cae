//! A sink that can hold few rows of an epoch says so, and the epoch ends.

use contract::sink::{Prepared, Room};
use testkit::crash::{Proof, Start};

use super::Fixture;
use super::altered::{Altered, Habit, named};

/// Rows that an epoch of the sink can hold.
const ROWS_MAX: usize = 60;

/// Has room for few rows of an epoch.
#[derive(Clone)]
struct Narrow {
    rows: usize,
}

impl Habit for Narrow {
    fn room_after(&mut self, rows: usize) -> Room {
        self.rows += rows;
        if self.rows < ROWS_MAX { Room::Left } else { Room::Full }
    }

    fn alter(&mut self, prepared: Prepared) -> Prepared {
        self.rows = 0;
        prepared
    }
}

static NARROW: Altered<Narrow> = Altered { spec: &named("narrow"), habit: Narrow { rows: 0 } };

/// Epochs that neither time nor bytes would end, into a sink that is soon full. Few rows are under
/// way at once.
fn narrow() -> (Fixture, Proof) {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("2KiB", "1GiB").replace("batch_rows: 50", "batch_rows: 5");
    let yaml = yaml.replace("\nepoch:", "\nmemory: { limit: 128KiB }\nepoch:");
    let fixture = Fixture { yaml, ..fixture };
    let proof = NARROW.proof(&fixture, "transaction");
    (fixture, proof)
}

#[test]
fn a_sink_that_is_full_ends_the_epoch_and_refuses_nothing() {
    let _alone = Proof::alone();
    let (fixture, proof) = narrow();
    let Start::Ended(summary) = proof.start().unwrap() else { panic!("no crash") };
    fixture.check();
    assert!(summary.epochs > 3, "{} epochs", summary.epochs);
}

#[test]
fn an_epoch_that_a_full_sink_ended_is_sent_again_as_it_was() {
    let _alone = Proof::alone();
    for point in ["decide.after", "commit.sink.before", "recover.replayed"] {
        let (fixture, proof) = narrow();
        proof.crash_twice(("decide.after", 2), point);
        fixture.check();
    }
}
