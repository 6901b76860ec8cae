use arrow::array::RecordBatch;
use contract::sink::Room;
use contract::transform::{EpochStart, Means, Output, Transform};

use crate::testing::{Setting, Table, shown, step, step_error};

fn table() -> Table {
    Table::new()
        .dictionary("ip", &[Some("a"), Some("b"), Some("a"), None, None, Some("a")])
        .integers("n", &[Some(1), Some(2), Some(3), None, Some(5), Some(6)])
        .times("ts", &[Some(0), Some(10), Some(70), None, Some(30), Some(100)])
}

fn settings(group_by: &[&str], aggregate: &[(&str, &str)]) -> Vec<(&'static str, Setting)> {
    vec![
        ("span", "epoch".into()),
        ("group_by", group_by.to_vec().into()),
        ("aggregate", aggregate.into()),
    ]
}

fn worker(settings: &[(&str, Setting)]) -> Box<dyn Transform> {
    let step = step("window", settings, &table()).unwrap();
    let mut worker = step.build(Means::default()).unwrap();
    worker.start_epoch(EpochStart { epoch: 1, now_us: 0 }).unwrap();
    worker
}

/// What comes of batches in one epoch.
fn close(worker: &mut dyn Transform, batches: &[RecordBatch]) -> Output {
    let mut went_in = Output::default();
    for batch in batches {
        worker.apply(batch, &mut went_in).unwrap();
    }
    assert!(went_in.batches.is_empty(), "nothing comes out before the epoch ends");
    let mut out = Output { aggregated: went_in.aggregated, ..Output::default() };
    out.rejects.extend(went_in.rejects);
    worker.close(&mut out).unwrap();
    out
}

fn check(group_by: &[&str], aggregate: &[(&str, &str)], expect: &str) {
    let settings = settings(group_by, aggregate);
    let batch = table().batch();
    // However the rows share batches, the groups are the same.
    for at in 0..=batch.num_rows() {
        let parts = [batch.slice(0, at), batch.slice(at, batch.num_rows() - at)];
        let out = close(worker(&settings).as_mut(), &parts);
        assert_eq!(shown(&out).trim(), expect.trim(), "divided at {at}");
        assert_eq!(out.aggregated + out.rejects.len() as u64, 6);
    }
}

#[test]
fn each_group_becomes_a_row() {
    check(
        &["ip"],
        &[("hits", "count(*)"), ("sum", "sum(n)"), ("large", "count(*) FILTER (WHERE n > 2)")],
        "port 0
ip=a hits=3 sum=10 large=2 _position=0
ip=b hits=1 sum=2 large=0 _position=1
ip= hits=2 sum=5 large=1 _position=2",
    );
    check(
        &["date_trunc('minute', ts) AS minute", "n > 2 AS large"],
        &[("hits", "count(n)")],
        "port 0
minute=1970-01-01T00:00:00Z large=false hits=2 _position=0
minute=1970-01-01T00:01:00Z large=true hits=2 _position=1
minute= large= hits=0 _position=2
minute=1970-01-01T00:00:00Z large=true hits=1 _position=3",
    );
}

#[test]
fn rows_without_a_group_are_one() {
    check(
        &[],
        &[("hits", "count(*)"), ("ips", "count(DISTINCT ip)"), ("about", "approx_distinct(ip)")],
        "port 0\nhits=6 ips=2 about=2 _position=0",
    );
    check(
        &[],
        &[("least", "min(n)"), ("most", "max(n)"), ("mean", "avg(n)")],
        "port 0\nleast=1 most=6 mean=3.4 _position=0",
    );
    check(
        &[],
        &[("all", "bool_and(n > 1)"), ("any", "bool_or(n > 1)"), ("first", "min(ip)")],
        "port 0\nall=false any=true first=a _position=0",
    );
}

#[test]
fn a_row_that_cannot_be_computed_is_refused_alone() {
    let settings = settings(&["10 / (n - 2) AS part"], &[("hits", "count(*)")]);
    let out = close(worker(&settings).as_mut(), &[table().batch()]);
    assert_eq!((out.aggregated, out.rejects.len()), (5, 1));
    assert_eq!((out.rejects[0].position, &*out.rejects[0].reason), (1, "division by zero"));
}

#[test]
fn a_sum_that_fits_no_column_is_refused_and_never_wraps() {
    let most = Some(i64::MAX);
    let table = Table::new()
        .texts("who", &[Some("a"), Some("b"), Some("a")])
        .integers("n", &[most, most, Some(1)]);
    let settings = settings(&["who"], &[("sum", "sum(n)"), ("hits", "count(*)")]);
    let mut worker = step("window", &settings, &table).unwrap().build(Means::default()).unwrap();
    let out = close(worker.as_mut(), &[table.batch()]);
    assert_eq!(shown(&out).trim(), format!("port 0\nwho=b sum={} hits=1 _position=1", i64::MAX));
    let [reject] = &out.rejects[..] else { panic!("{:?}", out.rejects) };
    assert_eq!(reject.position, 0);
    assert_eq!(reject.reason, "\"sum\" is 9223372036854775808, which is no Int64");
    let original = String::from_utf8(reject.original.clone().unwrap().to_vec()).unwrap();
    assert!(
        original.contains(r#""who":"a""#) && original.contains("9223372036854775808"),
        "{original}"
    );
}

#[test]
fn an_epoch_knows_nothing_of_the_one_before() {
    let settings = settings(&["ip"], &[("hits", "count(*)"), ("sum", "sum(n)")]);
    let mut worker = worker(&settings);
    let first = shown(&close(worker.as_mut(), &[table().batch()]));
    assert_eq!(shown(&close(worker.as_mut(), &[])), "", "an epoch without rows gives none");
    assert_eq!(shown(&close(worker.as_mut(), &[table().batch()])), first);
    assert_eq!(worker.snapshot().unwrap(), None, "nothing is kept");
}

#[test]
fn many_groups_leave_no_room() {
    let settings = settings(&["n"], &[("hits", "count(*)")]);
    let step = step("window", &settings, &table()).unwrap();
    let mut worker = step.build(Means { state_bytes: 250_000, ..Means::default() }).unwrap();
    assert_eq!(worker.room(), Room::Left);
    let numbers: Vec<_> = (0..10_000).map(Some).collect();
    let table = Table::new()
        .dictionary("ip", &vec![None; 10_000])
        .integers("n", &numbers)
        .times("ts", &vec![None; 10_000]);
    worker.apply(&table.batch(), &mut Output::default()).unwrap();
    assert_eq!(worker.room(), Room::Full);
    worker.close(&mut Output::default()).unwrap();
    assert_eq!(worker.room(), Room::Left);
}

#[test]
fn wrong_settings_are_named() {
    let check = |group_by: &[&str], aggregate: &[(&str, &str)], expect: &str| {
        let settings = settings(group_by, aggregate);
        assert_eq!(step_error("window", &settings, &table()), expect);
    };
    check(&["ip"], &[], "aggregate: expected at least one column; `hits: count(*)`");
    check(
        &["upper(ip)"],
        &[("hits", "count(*)")],
        "group_by: \"upper(ip)\" has no name; name the column that it makes: `upper(ip) AS name`",
    );
    check(
        &["ip"],
        &[("hits", "sum(n) / count(*)")],
        "aggregate.hits: \"sum(n) / count(*)\" is not one call of an aggregate function; \
         `sum(bytes)` is one; a `sql` step below can compute with what comes out",
    );
    check(
        &["ip"],
        &[("all", "array_agg(n)")],
        "aggregate.all: array_agg() is not possible in a window; allowed: count, sum, min, \
         max, avg, approx_distinct, bool_and, bool_or",
    );
    check(
        &["ip"],
        &[("sum", "sum(DISTINCT n)")],
        "aggregate.sum: DISTINCT is possible in count() alone, not in sum(); -",
    );
    check(&["ip"], &[("ip", "count(*)")], "-: column \"ip\" would stand twice; -");
}
