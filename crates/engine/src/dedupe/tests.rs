use contract::transform::{EpochStart, Means, Output, Transform};
use proptest::prelude::{any, prop, proptest};

use crate::testing::{Setting, Table, apply, run, shown, step, step_error};

fn table() -> Table {
    Table::new()
        .dictionary("ip", &[Some("a"), Some("b"), Some("a"), None, None, Some("a")])
        .integers("n", &[Some(1), Some(1), Some(1), Some(1), Some(1), Some(2)])
        .times("ts", &[Some(0), Some(10), Some(20), None, Some(30), Some(100)])
}

fn positions(output: &Output) -> Vec<String> {
    let rows = shown(output);
    let rows = rows.lines().filter(|row| row.contains("_position="));
    rows.map(|row| row.rsplit_once('=').expect("a position").1.to_owned()).collect()
}

fn check(settings: &[(&str, Setting)], expect: &[&str]) {
    let output = run("dedupe", settings, &table());
    assert_eq!(positions(&output), expect);
    assert_eq!(output.deduplicated, 6 - expect.len() as u64);
}

#[test]
fn a_repeated_key_is_dropped_and_nulls_are_equal() {
    check(&[("key", vec!["ip", "n"].into())], &["0", "1", "3", "5"]);
    check(&[("key", vec!["ip"].into())], &["0", "1", "3"]);
    check(&[("key", vec!["coalesce(ip, 'b')", "n % 2"].into())], &["0", "1", "5"]);
    check(&[("key", vec!["ts"].into())], &["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn the_oldest_key_is_forgotten_first() {
    check(&[("key", vec!["ip"].into()), ("keys_max", 1.into())], &["0", "1", "2", "3", "5"]);
}

#[test]
fn a_key_is_forgotten_when_event_time_has_moved_on() {
    let settings = |within: &'static str| {
        [("key", vec!["ip"].into()), ("within", within.into()), ("time", "ts".into())]
    };
    check(&settings("15s"), &["0", "1", "2", "3", "5"]);
    check(&settings("1h"), &["0", "1", "3"]);
}

#[test]
fn a_row_whose_key_cannot_be_computed_is_refused_alone() {
    let output = run("dedupe", &[("key", vec!["10 / (n - 2)"].into())], &table());
    assert_eq!(positions(&output), ["0"]);
    assert_eq!((output.deduplicated, output.rejects.len()), (4, 1));
    assert_eq!(output.rejects[0].position, 5);
}

#[test]
fn wrong_settings_are_named() {
    let check = |settings: &[(&str, Setting)], expect: &str| {
        assert_eq!(step_error("dedupe", settings, &table()), expect);
    };
    check(&[("key", Vec::<&str>::new().into())], "key: expected at least one column; -");
    check(&[("key", vec!["ipp"].into())], "key: unknown column \"ipp\"; did you mean \"ip\"?");
    check(
        &[("key", vec!["make_array(n)"].into())],
        "key: \"make_array(n)\" is List(Int64), which cannot be part of a key; \
         cast it: `CAST(x AS TEXT)`",
    );
    check(
        &[("key", vec!["ip"].into()), ("within", "1h".into())],
        "-: `within` and `time` belong together; `within: 1h, time: ts`",
    );
    check(
        &[("key", vec!["ip"].into()), ("within", "1h".into()), ("time", "n".into())],
        "time: column \"n\" is Int64, expected a point in time; -",
    );
}

#[test]
fn a_state_of_somebody_else_is_refused() {
    let settings = [("key", vec!["ip"].into())];
    let mut worker = step("dedupe", &settings, &table()).unwrap().build(Means::default()).unwrap();
    for state in [&b""[..], b"\x01short", &[9; 33]] {
        assert!(worker.restore(state).is_err());
    }
}

fn start(worker: &mut dyn Transform) {
    worker.start_epoch(EpochStart { epoch: 1, now_us: 0 }).unwrap();
}

proptest! {
    #[test]
    fn a_restored_worker_answers_as_one_that_never_stopped(
        keys in prop::collection::vec(0i64..20, 1..80),
        jitter in prop::collection::vec(any::<u8>(), 80),
        cut in 0usize..80,
    ) {
        let values: Vec<_> = keys.iter().map(|key| Some(*key)).collect();
        let times: Vec<_> = (0i64..)
            .zip(&jitter)
            .take(keys.len())
            .map(|(row, jitter)| Some(row * 10 + i64::from(*jitter)))
            .collect();
        let table = Table::new().integers("k", &values).times("ts", &times);
        let settings = [
            ("key", vec!["k"].into()),
            ("keys_max", 7.into()),
            ("within", "90s".into()),
            ("time", "ts".into()),
        ];
        let step = step("dedupe", &settings, &table).unwrap();
        let whole = table.batch();
        let expect = apply(step.as_ref(), std::slice::from_ref(&whole));

        let cut = cut.min(whole.num_rows());
        let mut first = step.build(Means::default()).unwrap();
        let mut out = Output::default();
        start(first.as_mut());
        first.apply(&whole.slice(0, cut), &mut out).unwrap();
        let state = first.snapshot().unwrap().unwrap();
        let mut second = step.build(Means::default()).unwrap();
        second.restore(&state).unwrap();
        start(second.as_mut());
        second.apply(&whole.slice(cut, whole.num_rows() - cut), &mut out).unwrap();
        assert_eq!(positions(&out), positions(&expect));
        assert_eq!(out.deduplicated, expect.deduplicated);
    }
}
