//! Records that a step makes itself of many: made once, whatever crashes.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use connector_memory::store::{origins, store};
use contract::failpoint::Passed;
use testkit::crash::{Proof, Start, points};

use super::{Fixture, ROWS, SPLITS, block_on, points_of_epochs};

const COLUMNS: [&str; 3] = ["number", "rows", "made"];

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    let (head, _) = fixture.yaml.split_once("transforms:").unwrap();
    let name = &fixture.name;
    let yaml = format!(
        "{head}transforms:
  sums: {{ type: sums, input: numbers }}
  some: {{ type: without_nines, input: sums }}
sinks:
  raw: {{ type: memory, input: numbers, store: {name}-raw, kind: transaction }}
  transaction: {{ type: memory, input: sums, store: {name}-transaction, kind: transaction, refuse_multiples_of: 5 }}
  staged: {{ type: memory, input: sums, store: {name}-staged, kind: staged }}
  others: {{ type: memory, input: some, store: {name}-some, kind: transaction }}
"
    );
    Fixture { yaml, ..fixture }
}

fn proof(fixture: &Fixture) -> Proof {
    Proof { transforms: &["sums", "without_nines"], ..fixture.proof() }
}

/// The rows of a sink that a step made, by position.
fn made(fixture: &Fixture, sink: &str) -> BTreeMap<i64, [i64; 3]> {
    let mut found = BTreeMap::new();
    for batch in store(&format!("{}-{sink}", fixture.name)).rows() {
        let column = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        for (row, (split, position, _)) in origins(&batch).unwrap().into_iter().enumerate() {
            assert_eq!(split, "sums/main");
            let values = COLUMNS.map(|name| column(name).value(row));
            assert_eq!(found.insert(position, values), None, "{sink} has {position} twice");
        }
    }
    found
}

/// The dead letters: by position, who refused the row, and its original.
fn letters(fixture: &Fixture) -> BTreeMap<i64, (String, String)> {
    let text = |batch: &RecordBatch, name: &str, row: usize| {
        let column = batch.column_by_name(name).unwrap();
        column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_owned())
    };
    let mut found = BTreeMap::new();
    for batch in store(&format!("{}-dead", fixture.name)).rows() {
        let originals = batch.column_by_name("original").unwrap().as_binary::<i32>();
        for (row, (_, position, _)) in origins(&batch).unwrap().into_iter().enumerate() {
            let by = text(&batch, "sink", row).or_else(|| text(&batch, "step", row)).unwrap();
            let original = String::from_utf8(originals.value(row).to_vec()).unwrap();
            assert_eq!(found.insert(position, (by, original)), None, "{position} twice");
        }
    }
    found
}

/// Every number was counted once, and all sinks have the same rows of it.
fn check(fixture: &Fixture) {
    let staged = made(fixture, "staged");
    let letters = letters(fixture);
    let of_step = letters.iter().filter(|(_, (by, _))| by == "sums");
    let sevens: i64 = of_step
        .clone()
        .map(|(_, (_, text))| text.replace(" sevens", "").parse::<i64>().unwrap())
        .sum();
    let counted: i64 = staged.values().map(|[_, rows, _]| rows).sum();
    assert_eq!(counted + sevens, ROWS * SPLITS);
    let known: Vec<i64> =
        staged.keys().chain(of_step.map(|(position, _)| position)).copied().collect();
    let mut sorted = known.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..known.len() as i64).collect::<Vec<_>>(), "numbered one after the other");
    let mut taken = made(fixture, "transaction");
    for (position, (_, original)) in letters.iter().filter(|(_, (by, _))| by == "transaction") {
        let row: serde_json::Value = serde_json::from_str(original).unwrap();
        taken.insert(*position, COLUMNS.map(|name| row[name].as_i64().unwrap()));
    }
    assert_eq!(taken, staged, "one sink and the dead letters have what another one has");
    let some: BTreeMap<_, _> =
        staged.iter().filter(|(_, [digit, ..])| *digit != 9).map(|(at, row)| (*at, *row)).collect();
    assert_eq!(made(fixture, "some"), some);
    check_ledger(fixture, known.len() as u64);
}

fn check_ledger(fixture: &Fixture, results: u64) {
    let (mut read, mut aggregated, mut made) = (0, 0, 0);
    for row in block_on(fixture.history().ledger()).unwrap().rows {
        row.entry.counts.check(&row.entry.split, &row.entry.sink).unwrap();
        if row.entry.sink == "staged" {
            read += row.entry.counts.read;
            aggregated += row.entry.counts.aggregated;
            made += row.entry.counts.expanded;
        }
    }
    assert_eq!((read, aggregated, made), ((ROWS * SPLITS) as u64, read, results));
}

#[test]
fn records_that_a_step_makes_are_delivered_once_and_counted() {
    let _alone = Proof::alone();
    let fixture = fixture();
    let Start::Ended(summary) = proof(&fixture).start().unwrap() else { panic!("no crash") };
    check(&fixture);
    assert_eq!(summary.read, (ROWS * SPLITS) as u64, "what a step made was not read");
    assert!(summary.epochs > 1);
    let Start::Ended(summary) = proof(&fixture).start().unwrap() else { panic!("no crash") };
    assert_eq!((summary.read, summary.epochs), (0, 0));
    check(&fixture);
}

#[test]
fn what_a_decided_epoch_made_is_never_made_again() {
    let _alone = Proof::alone();
    let own = [("copy.before", 1), ("copy.before", 3), ("copy.after", 1), ("copy.after", 3)];
    let often = points_of_epochs().flat_map(|point| [1, 2, 3, 7].map(|pass| (point, pass)));
    for (point, pass) in own.into_iter().chain(often) {
        let fixture = fixture().in_short_epochs();
        proof(&fixture).crash_at(point, pass);
        check(&fixture);
    }
}

#[test]
fn a_crash_while_an_epoch_is_finished_makes_nothing_again() {
    let _alone = Proof::alone();
    for second in points(&[Passed::Recovery, Passed::Replay]) {
        let fixture = fixture();
        proof(&fixture).crash_twice(("decide.after", 2), second);
        check(&fixture);
    }
}

#[test]
fn a_sink_that_shows_rows_early_is_refused_below_such_a_step() {
    let fixture = fixture();
    let yaml = fixture.yaml.replace("kind: staged", "kind: idempotent");
    let Err(error) = (Proof { yaml, ..proof(&fixture) }).pipeline() else { panic!("refused") };
    let said = format!("{error}; {}", error.hint_text().unwrap_or_default());
    assert!(said.contains("sink \"staged\" shows rows before their epoch is decided"), "{said}");
    assert!(said.contains("a lake table"), "{said}");
}
