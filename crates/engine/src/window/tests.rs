use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use chrono::DateTime;
use contract::sink::Room;
use contract::transform::{Close, EpochStart, Means, Output, Transform};
use proptest::prelude::*;

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
    worker.close(Close::Until(None), &mut out).unwrap();
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
    worker.close(Close::Until(None), &mut Output::default()).unwrap();
    assert_eq!(worker.room(), Room::Left);
}

/// Settings of windows of one minute.
fn minutes(more: &[(&'static str, Setting)]) -> Vec<(&'static str, Setting)> {
    let span: &[(&str, &str)] = &[("tumbling", "60s")];
    let aggregate: &[(&str, &str)] = &[("hits", "count(*)"), ("sum", "sum(n)")];
    let mut settings = vec![
        ("span", span.into()),
        ("time", "ts".into()),
        ("group_by", vec!["ip"].into()),
        ("aggregate", aggregate.into()),
    ];
    settings.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    settings.extend(more.iter().cloned());
    settings
}

fn until(second: i64) -> Close {
    Close::Until(Some(second * 1_000_000))
}

/// What a worker makes of the rows at a barrier, after it went through a checkpoint.
fn next(worker: &mut Box<dyn Transform>, batches: &[RecordBatch], close: Close) -> Output {
    let mut out = Output::default();
    for batch in batches {
        worker.apply(batch, &mut out).unwrap();
    }
    worker.close(close, &mut out).unwrap();
    out
}

/// The same windows in another process.
fn restored(mut worker: Box<dyn Transform>, settings: &[(&str, Setting)]) -> Box<dyn Transform> {
    let mut other = self::worker(settings);
    other.restore(&worker.snapshot().unwrap().unwrap()).unwrap();
    other.begin_at(worker.held().watermark_us);
    assert_eq!(other.held(), worker.held());
    other
}

#[test]
fn a_stretch_of_time_gives_its_rows_once_the_watermark_has_passed_it() {
    let settings = minutes(&[]);
    let mut worker = restored(self::worker(&settings), &settings);
    let out = next(&mut worker, &[table().batch()], Close::Until(None));
    assert_eq!((shown(&out).as_str(), out.aggregated, out.closed), ("", 5, 0));
    assert_eq!(out.rejects.len(), 1);
    assert_eq!((out.rejects[0].position, &*out.rejects[0].reason), (3, "the row has no time"));
    let held = worker.held();
    assert_eq!((held.rows, held.windows), (5, 2));
    assert_eq!((held.first_us, held.last_us), (Some(60_000_000), Some(120_000_000)));
    let mut worker = restored(worker, &settings);
    assert_eq!(shown(&next(&mut worker, &[], until(59))), "");
    let out = next(&mut worker, &[], until(60));
    let bounds = "window_start=1970-01-01T00:00:00Z window_end=1970-01-01T00:01:00Z";
    let expect = format!(
        "port 0
ip=a {bounds} hits=1 sum=1 _position=0
ip=b {bounds} hits=1 sum=2 _position=1
ip= {bounds} hits=1 sum=5 _position=2"
    );
    assert_eq!((shown(&out).trim(), out.closed), (&*expect, 3));
    // Now these are late, the others are not.
    let mut worker = restored(worker, &settings);
    let out = next(&mut worker, &[table().batch()], until(60));
    let late: Vec<_> = out.batches.iter().map(|(port, batch)| (*port, batch.num_rows())).collect();
    assert_eq!((late, out.aggregated), (vec![(1, 3)], 2));
    let out = next(&mut worker, &[], Close::All);
    assert!(shown(&out).contains("hits=4 sum=18 _position=0"), "{}", shown(&out));
    assert_eq!((out.closed, worker.held().windows), (4, 0));
    assert_eq!(worker.held().watermark_us, Some(120_000_000));
}

#[test]
fn rows_may_come_as_late_as_the_file_says() {
    let settings = minutes(&[("allowed_lateness", "30s".into())]);
    let mut worker = worker(&settings);
    next(&mut worker, &[table().batch()], until(89));
    let out = next(&mut worker, &[table().batch()], until(90));
    assert_eq!((out.aggregated, out.closed), (5, 6));
    assert!(shown(&out).contains("hits=2 sum=2 "), "{}", shown(&out));
}

#[test]
fn what_is_far_ahead_is_refused_and_belongs_to_no_window() {
    let ahead: &[(&str, &str)] = &[("column", "ts"), ("ahead_max", "90s")];
    let settings = minutes(&[("time", ahead.into())]);
    let mut worker = worker(&settings);
    let out = next(&mut worker, &[table().batch()], Close::Until(None));
    let reasons: Vec<_> = out.rejects.iter().map(|one| (one.position, &*one.reason)).collect();
    let ahead = "the time 1970-01-01T00:01:40+00:00 is 100 s ahead of the clock, more than \
                 `ahead_max`";
    assert_eq!(reasons, [(3, "the row has no time"), (5, ahead)]);
    assert_eq!(out.aggregated, 4);
}

#[test]
fn many_epochs_add_up_in_one_window_and_its_state_stays_small() {
    let settings = minutes(&[]);
    let mut worker = worker(&settings);
    let batch = table().batch().slice(0, 1);
    let mut least = usize::MAX;
    for _ in 0..100 {
        next(&mut worker, std::slice::from_ref(&batch), Close::Until(None));
        worker = restored(worker, &settings);
        least = least.min(worker.snapshot().unwrap().unwrap().len());
    }
    let most = worker.snapshot().unwrap().unwrap().len();
    assert!(most < 10 * least, "{least} {most}");
    let out = next(&mut worker, &[], Close::All);
    assert!(shown(&out).contains("hits=100 sum=100 _position=0"), "{}", shown(&out));
}

#[test]
fn every_aggregate_goes_on_from_its_state() {
    let aggregate: &[(&str, &str)] = &[
        ("hits", "count(*)"),
        ("large", "count(*) FILTER (WHERE n > 2)"),
        ("ips", "count(DISTINCT ip)"),
        ("numbers", "count(DISTINCT n)"),
        ("about", "approx_distinct(ip)"),
        ("least", "min(n)"),
        ("most", "max(ts)"),
        ("name", "max(ip)"),
        ("mean", "avg(n)"),
        ("whole", "sum(n)"),
        ("half", "sum(n / 2.0)"),
        ("every", "bool_and(n > 0)"),
        ("some", "bool_or(n > 5)"),
    ];
    for group_by in [vec![], vec!["1 AS one"], vec!["ip IS NULL AS a", "n > 100 AS b"]] {
        let settings = minutes(&[
            ("group_by", group_by.into()),
            ("aggregate", aggregate.into()),
            ("span", Setting::from(&[("tumbling", "1h")][..])),
        ]);
        let batch = table().batch();
        let mut whole = worker(&settings);
        let whole = next(&mut whole, std::slice::from_ref(&batch), Close::All);
        let mut parts = worker(&settings);
        for row in 0..batch.num_rows() {
            let part = [batch.slice(row, 1)];
            assert_eq!(shown(&next(&mut parts, &part, Close::Until(None))), "");
            parts = restored(parts, &settings);
        }
        assert_eq!(shown(&next(&mut parts, &[], Close::All)), shown(&whole));
    }
}

#[test]
fn stretches_that_overlap_share_their_rows() {
    let hops: Vec<(&str, Setting)> = vec![("size", "60s".into()), ("every", "30s".into())];
    let settings = minutes(&[("span", vec![("hopping", Setting::from(hops))].into())]);
    let mut worker = restored(self::worker(&settings), &settings);
    let out = next(&mut worker, &[table().batch()], until(30));
    let first = "window_start=1969-12-31T23:59:30Z window_end=1970-01-01T00:00:30Z";
    let expect =
        format!("ip=a {first} hits=1 sum=1 _position=0\nip=b {first} hits=1 sum=2 _position=1");
    assert_eq!(shown(&out).trim(), format!("port 0\n{expect}"));
    assert_eq!((out.aggregated, out.entered, out.missed, out.closed), (5, 10, 0, 2));
    assert_eq!((worker.held().rows, worker.held().windows), (8, 4));
    // What is too late for one of its windows is in time for the other.
    let mut worker = restored(worker, &settings);
    let out = next(&mut worker, &[table().batch().slice(0, 2)], until(60));
    assert_eq!((out.aggregated, out.entered, out.missed, out.closed), (2, 2, 2, 5));
    assert!(shown(&out).contains("hits=2 sum=2 _position=0"), "{}", shown(&out));
    let mut worker = restored(worker, &settings);
    let out = next(&mut worker, &[table().batch().slice(0, 1)], Close::All);
    let late: Vec<_> = out.batches.iter().map(|(port, batch)| (*port, batch.num_rows())).collect();
    assert_eq!((late[0], worker.held().windows), ((1, 1), 0));
}

#[test]
fn days_are_those_of_a_place() {
    let days = vec![("unit", "day".into()), ("time_zone", "Europe/Berlin".into())];
    let settings = minutes(&[
        ("span", vec![("calendar", Setting::from(days))].into()),
        ("group_by", Vec::<&str>::new().into()),
    ]);
    let mut worker = worker(&settings);
    next(&mut worker, &[table().batch()], Close::Until(None));
    let mut worker = restored(worker, &settings);
    let bounds = "window_start=1969-12-31T23:00:00Z window_end=1970-01-01T23:00:00Z";
    let out = next(&mut worker, &[], until(23 * 3_600));
    assert_eq!(shown(&out).trim(), format!("port 0\n{bounds} hits=5 sum=17 _position=0"));
}

#[test]
fn a_window_that_gave_its_rows_is_closed_whatever_the_lateness_is_later() {
    let short = minutes(&[]);
    let mut worker = self::worker(&short);
    next(&mut worker, &[table().batch()], until(60));
    let long = minutes(&[("allowed_lateness", "1h".into())]);
    let mut worker = {
        let mut other = self::worker(&long);
        other.restore(&worker.snapshot().unwrap().unwrap()).unwrap();
        other.begin_at(worker.held().watermark_us);
        other
    };
    let out = next(&mut worker, &[table().batch().slice(0, 1)], until(61));
    assert_eq!((out.aggregated, out.batches.len(), out.batches[0].0), (0, 1, 1), "it is late");
    // And one that did not give them yet gives them, however short it is.
    let mut worker = self::worker(&long);
    next(&mut worker, &[table().batch()], until(500));
    let mut other = self::worker(&short);
    other.restore(&worker.snapshot().unwrap().unwrap()).unwrap();
    other.begin_at(worker.held().watermark_us);
    let out = next(&mut other, &[], until(500));
    assert_eq!((out.closed, other.held().rows), (5, 0));
}

/// A span with its windows, by their beginning and end in seconds.
#[derive(Clone, Debug)]
enum Stretches {
    Tumbling(i64),
    Hopping(i64, i64),
    Days,
}

impl Stretches {
    fn setting(&self) -> Setting {
        let seconds = |seconds: i64| Setting::from(&*format!("{seconds}s"));
        match self {
            Self::Tumbling(size) => vec![("tumbling", seconds(*size))].into(),
            Self::Hopping(size, every) => {
                let hops = vec![("size", seconds(*size)), ("every", seconds(*every))];
                vec![("hopping", Setting::from(hops))].into()
            }
            Self::Days => {
                let days = vec![("unit", "day".into()), ("time_zone", "Asia/Tokyo".into())];
                vec![("calendar", Setting::from(days))].into()
            }
        }
    }

    fn windows(&self, second: i64) -> Vec<(i64, i64)> {
        let (size, every, shift) = match self {
            Self::Tumbling(size) => (*size, *size, 0),
            Self::Hopping(size, every) => (*size, *every, 0),
            Self::Days => (86_400, 86_400, 9 * 3_600),
        };
        let last = (second + shift).div_euclid(every) * every - shift;
        let all = (0..).map(|number| last - number * every);
        let all = all.take_while(|start| second < start + size);
        all.map(|start| (start, start + size)).collect()
    }
}

/// What happens in an epoch: rows by second and number, where the watermark stands at its end, and
/// whether another process goes on.
type Happens = (Vec<(i64, i64)>, i64, bool);

/// Everything that is kept, one row at a time.
#[derive(Default)]
struct Oracle {
    open: BTreeMap<(i64, i64), BTreeMap<i64, (i64, i64)>>,
    watermark: Option<i64>,
    late: u64,
    missed: u64,
    made: Vec<(i64, i64, i64, i64)>,
}

impl Oracle {
    fn take(&mut self, stretches: &Stretches, lateness: i64, (second, number): (i64, i64)) {
        let all = stretches.windows(second);
        let is_open = |end: i64| self.watermark.is_none_or(|us| end + lateness > us);
        let open: Vec<_> = all.iter().filter(|window| is_open(window.1)).collect();
        match open.is_empty() {
            true => self.late += 1,
            false => self.missed += (all.len() - open.len()) as u64,
        }
        for window in open {
            let groups = self.open.entry(*window).or_default();
            let (hits, sum) = groups.entry(number % 3).or_default();
            (*hits, *sum) = (*hits + 1, *sum + number);
        }
    }

    fn close(&mut self, lateness: i64, watermark: i64) {
        self.watermark = self.watermark.max(Some(watermark));
        let until = self.watermark;
        let due = self.open.extract_if(.., |window, _| Some(window.1 + lateness) <= until);
        for ((start, _), groups) in due {
            let groups = groups.into_iter();
            self.made.extend(groups.map(|(key, (hits, sum))| (start, key, hits, sum)));
        }
    }
}

fn made(out: &Output) -> Vec<(i64, i64, i64, i64)> {
    let text = shown(out);
    let rows = text.lines().skip_while(|line| *line != "port 0").skip(1);
    let rows = rows.take_while(|line| !line.starts_with("port"));
    let rows = rows.map(|line| {
        let value = |name: &str| {
            let field = line.split(' ').find_map(|field| field.strip_prefix(name));
            field.unwrap().to_owned()
        };
        let start = DateTime::parse_from_rfc3339(&value("window_start=")).unwrap().timestamp();
        let number = |name| value(name).parse::<i64>().unwrap();
        (start, number("key="), number("hits="), number("sum="))
    });
    rows.collect()
}

fn history() -> impl Strategy<Value = (Stretches, i64, Vec<Happens>)> {
    let stretches = prop_oneof![
        (1..50_i64).prop_map(Stretches::Tumbling),
        (1..50_i64, 1..50_i64)
            .prop_map(|(one, other)| Stretches::Hopping(one.max(other), one.min(other))),
        Just(Stretches::Days),
    ];
    let row = (-200..400_i64, 0..100_i64);
    let epoch = (prop::collection::vec(row, 0..12), -250..450_i64, any::<bool>());
    (stretches, prop_oneof![Just(0), 1..40_i64], prop::collection::vec(epoch, 1..12))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn windows_give_what_somebody_gives_who_keeps_every_row(
        (stretches, lateness, epochs) in history()
    ) {
        let settings = minutes(&[
            ("span", stretches.setting()),
            ("group_by", vec!["n % 3 AS key"].into()),
            ("allowed_lateness", (&*format!("{lateness}s")).into()),
        ]);
        let scale = if let Stretches::Days = stretches { 3_600 } else { 1 };
        let mut worker = worker(&settings);
        let mut oracle = Oracle::default();
        let (mut late, mut missed, mut found, mut held) = (0, 0, Vec::new(), 0);
        let last = (Vec::new(), 1_000_000, false);
        for (rows, watermark, restarts) in epochs.into_iter().chain([last]) {
            let rows = rows.into_iter().map(|(second, number)| (second * scale, number));
            let rows: Vec<_> = rows.collect();
            rows.iter().for_each(|row| oracle.take(&stretches, lateness, *row));
            let watermark = oracle.watermark.map_or(watermark * scale, |us| us.max(watermark * scale));
            oracle.close(lateness, watermark);
            let (times, numbers): (Vec<_>, Vec<_>) =
                rows.iter().map(|(second, number)| (Some(*second), Some(*number))).unzip();
            let batch = Table::new()
                .dictionary("ip", &vec![None; rows.len()])
                .integers("n", &numbers)
                .times("ts", &times)
                .batch();
            let batches = [batch.slice(0, rows.len() / 2), batch.slice(rows.len() / 2, rows.len().div_ceil(2))];
            worker.start_epoch(EpochStart { epoch: 1, now_us: 10_000_000_000_000 }).unwrap();
            let out = next(&mut worker, &batches, until(watermark));
            let of_late = out.batches.iter().filter(|(port, _)| *port == 1);
            late += of_late.map(|(_, batch)| batch.num_rows() as u64).sum::<u64>();
            missed += out.missed;
            found.extend(made(&out));
            prop_assert_eq!(held + out.entered, out.closed + worker.held().rows);
            held = worker.held().rows;
            if restarts {
                worker = restored(worker, &settings);
            }
        }
        found.sort_unstable();
        oracle.made.sort_unstable();
        prop_assert_eq!((found, late, missed), (oracle.made, oracle.late, oracle.missed));
        prop_assert_eq!(held, 0);
    }
}

#[test]
fn open_windows_that_take_too_much_stop_the_run() {
    let step = step("window", &minutes(&[]), &table()).unwrap();
    let mut worker = step.build(Means { state_bytes: 1_000, ..Means::default() }).unwrap();
    worker.apply(&table().batch(), &mut Output::default()).unwrap();
    let error = worker.close(Close::Until(None), &mut Output::default()).unwrap_err();
    assert_eq!(error.kind(), contract::ErrorKind::Config);
    assert!(error.hint_text().unwrap().contains("memory.limit"), "{error:?}");
}

#[test]
fn what_open_windows_take_is_known_and_grows_by_no_restart() {
    let settings = minutes(&[]);
    let mut full = worker(&settings);
    let taken = |worker: &mut Box<dyn Transform>| {
        let mut out = Output::default();
        worker.close(Close::Until(None), &mut out).unwrap();
        out.state_bytes
    };
    let empty = taken(&mut full);
    let mut out = Output::default();
    full.apply(&table().batch(), &mut out).unwrap();
    assert!(out.state_bytes > empty, "{out:?}");
    let before = taken(&mut full);
    assert!(before > empty, "{before} {empty}");
    let mut after = restored(full, &settings);
    let kept = taken(&mut after);
    assert!(kept > empty && kept <= before, "{empty} {kept} {before}");
    next(&mut after, &[], Close::All);
    assert_eq!(taken(&mut after), empty);
}

#[test]
fn open_windows_of_other_settings_are_not_taken_up() {
    let settings = minutes(&[]);
    let mut full = worker(&settings);
    next(&mut full, &[table().batch()], Close::Until(None));
    let state = full.snapshot().unwrap().unwrap();
    let same = minutes(&[("allowed_lateness", "1h".into())]);
    assert!(self::worker(&same).restore(&state).is_ok(), "this may change");
    let other = minutes(&[("group_by", vec!["ip", "n"].into())]);
    let error = self::worker(&other).restore(&state).unwrap_err();
    assert_eq!(error.kind(), contract::ErrorKind::Config);
    assert!(error.hint_text().unwrap().contains("--flush-windows"), "{error:?}");
    next(&mut full, &[], Close::All);
    let empty = full.snapshot().unwrap().unwrap();
    assert!(self::worker(&other).restore(&empty).is_ok(), "no window is open");
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
    let timed = |more: &[(&'static str, Setting)], expect: &str| {
        assert_eq!(step_error("window", &minutes(more), &table()), expect);
    };
    timed(&[("time", "n".into())], "time: column \"n\" is Int64, expected a point in time; -");
    let hops = |size: &str, every: &str| -> Vec<(&'static str, Setting)> {
        let hops = vec![("size", Setting::from(size)), ("every", Setting::from(every))];
        vec![("span", vec![("hopping", Setting::from(hops))].into())]
    };
    timed(
        &hops("10s", "60s"),
        "span: `every: 1m` is longer than `size: 10s`: rows between two stretches would belong to \
         none; leave out with a `filter` step what is not to count",
    );
    timed(
        &hops("1h", "7ms"),
        "span: a stretch of 1h every 7ms is put together of 3600000 pieces, more than 3600; \
         let `size` be a multiple of `every`, or `every` longer",
    );
    let days = vec![("unit", "day".into()), ("time_zone", "Europe/Berln".into())];
    timed(
        &[("span", vec![("calendar", Setting::from(days))].into())],
        "span: there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?",
    );
    timed(
        &[("span", "epoch".into())],
        "-: `span: epoch` has no time, and no row is late for it; \
         leave `time` and `allowed_lateness` out, or say `span: { tumbling: 60s }`",
    );
    check(&["ip"], &[("ip", "count(*)")], "-: column \"ip\" would stand twice; -");
}
