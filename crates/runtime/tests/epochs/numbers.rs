//! Two ways from one split into one sink: each row has a number, and is delivered or refused once.

use std::collections::BTreeMap;

use connector_memory::store::{origins, store};
use contract::failpoint::{self, Action, Passed};
use state::Checkpoint;
use testkit::crash::{Proof, Start, points};

use super::{Fixture, ROWS, SPLITS, block_on};

/// Rows by sink, then split, position and number: how often they are held.
type Held = BTreeMap<(String, i64, i64), u32>;

/// What each way lets pass, as a sink numbers them.
type Ways = [fn(i64) -> bool; 2];

fn all(_: i64) -> bool {
    true
}

fn wanted(number: i64) -> bool {
    number % 10 != 9
}

fn refused(number: i64) -> bool {
    number % 25 == 0
}

/// Every record by itself, and once more through a filter, into each sink.
fn two_branches() -> (Fixture, Ways) {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("  first: { type: first_seen, input: numbers }\n", "");
    let yaml = yaml.replace("input: first", "input: numbers");
    let yaml = yaml.replace("input: some", "input: [numbers, some]");
    (Fixture { yaml, ..fixture }, [all, wanted])
}

/// The two ways meet in a step with a state that lets the first three of each number pass.
fn met_in_a_step() -> (Fixture, Ways) {
    let (fixture, _) = two_branches();
    let yaml = fixture
        .yaml
        .replace("sinks:", "  met: { type: without_nines, input: [numbers, some] }\nsinks:");
    let yaml = yaml.replace("input: [numbers, some], store", "input: met, store");
    (Fixture { yaml, ..fixture }, [wanted, wanted])
}

/// Two sources that have splits of the same names.
fn two_sources() -> (Fixture, Ways) {
    let (fixture, _) = two_branches();
    let line = fixture.yaml.lines().find(|line| line.contains("numbers:")).unwrap();
    let again = line.replace("numbers:", "again:");
    let yaml = fixture.yaml.replace(line, &format!("{line}\n{again}"));
    let yaml = yaml.replace("input: [numbers, some]", "input: [again, some]");
    (Fixture { yaml, ..fixture }, [all, wanted])
}

fn held(fixture: &Fixture, sink: &str) -> Held {
    let mut held = Held::new();
    for batch in store(&format!("{}-{sink}", fixture.name)).rows() {
        for origin in origins(&batch).unwrap() {
            *held.entry(origin).or_default() += 1;
        }
    }
    held
}

fn expected(ways: &Ways, which: fn(i64) -> bool) -> Held {
    let mut expected = Held::new();
    for split in (0..SPLITS).map(|split| split.to_string()) {
        for number in (0..ROWS).filter(|number| which(*number)) {
            for (way, _) in ways.iter().enumerate().filter(|(_, passes)| passes(number)) {
                expected.insert((split.clone(), number, way as i64 + 1), 1);
            }
        }
    }
    expected
}

fn check(fixture: &Fixture, ways: &Ways) {
    let taken = expected(ways, |number| !refused(number));
    assert_eq!(held(fixture, "transaction"), taken);
    assert_eq!(held(fixture, "staged"), expected(ways, all));
    assert_eq!(held(fixture, "idempotent"), expected(ways, all));
    assert_eq!(held(fixture, "dead"), expected(ways, refused));
    let rows = block_on(fixture.history().ledger()).unwrap().rows;
    let of_sink = rows.iter().filter(|row| row.entry.sink == "transaction");
    let delivered: u64 = of_sink.map(|row| row.entry.counts.delivered).sum();
    assert_eq!(delivered, taken.len() as u64);
}

const SHAPES: [fn() -> (Fixture, Ways); 3] = [two_branches, met_in_a_step, two_sources];

#[test]
fn rows_of_one_record_that_come_by_two_ways_have_numbers_of_their_own() {
    let _alone = Proof::alone();
    for shape in SHAPES {
        let (fixture, ways) = shape();
        assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
        check(&fixture, &ways);
    }
}

#[test]
fn a_crash_at_every_point_keeps_the_numbers_of_rows_and_of_refusals() {
    let _alone = Proof::alone();
    for shape in SHAPES {
        for (passed, pass) in [(Passed::First, 1), (Passed::Start, 1), (Passed::Epoch, 2)] {
            for point in points(&[passed]) {
                let (fixture, ways) = shape();
                fixture.proof().crash_at(point, pass);
                check(&fixture, &ways);
            }
        }
        for point in points(&[Passed::Recovery, Passed::Replay]) {
            let (fixture, ways) = shape();
            fixture.proof().crash_twice(("decide.after", 2), point);
            check(&fixture, &ways);
        }
        for point in ["commit.sink.before", "commit.sink.after", "memory.commit.after"] {
            let (fixture, ways) = shape();
            fixture.proof().fail_at(point, 2);
            check(&fixture, &ways);
        }
    }
}

/// The newest checkpoint of a fixture, which was decided and not delivered.
fn undelivered(fixture: &Fixture) -> (std::path::PathBuf, Checkpoint) {
    failpoint::arm("decide.after", 2, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed));
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    let folder = fixture.data.path().join("checkpoints").join(&fixture.name).join("main");
    (folder.join(format!("epoch-{:020}", newest.epoch)), newest)
}

#[test]
fn an_epoch_that_an_earlier_program_decided_is_finished_without_numbers() {
    let _alone = Proof::alone();
    // The earlier program could not finish an epoch in which one of two such rows was refused.
    let (fixture, _) = two_branches();
    let yaml = fixture.yaml.replace("refuse_multiples_of: 25", "refuse_multiples_of: 0");
    let fixture = Fixture { yaml, ..fixture };
    let earlier = |fixture: &Fixture| Proof { semantics: 1, ..fixture.proof() };
    failpoint::arm("decide.after", 2, Action::Halt);
    assert!(matches!(earlier(&fixture).start().unwrap(), Start::Crashed));
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    assert_eq!((newest.epoch, newest.semantics), (2, 1));
    assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
    let held = held(&fixture, "transaction");
    let [none, first, second] = [0, 1, 2].map(|number| -> u32 {
        held.iter().filter(|((_, _, ordinal), _)| *ordinal == number).map(|(_, rows)| *rows).sum()
    });
    let rows = (SPLITS * ROWS) as u32;
    assert_eq!(none + first + second, rows + rows / 10 * 9, "{none} {first} {second}");
    assert!(none > 0 && first > 0 && second > 0, "{none} {first} {second}");
}

#[test]
fn an_epoch_of_later_rules_is_left_to_the_program_that_made_it() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let (path, newest) = undelivered(&fixture);
    let before = held(&fixture, "staged");
    let later = Checkpoint { semantics: newest.semantics + 1, ..newest };
    std::fs::write(&path, later.to_bytes().unwrap()).unwrap();
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), contract::ErrorKind::Config, "{error:?}");
    assert!(error.hint_text().unwrap().contains("the version of logmill that made it"));
    assert_eq!(held(&fixture, "staged"), before, "nothing was delivered");
}
