//! What is answered: the analytics by hand, the two backends beside each other, pipelines, replay.

use serde_json::{Value, json};
use testkit::services;

use super::{LOG, PIPELINE, Server, loaded, wait_for};
use crate::Desk;

fn check(server: &Server, path: &str, expect: Value) {
    let got = server.get(path);
    assert_eq!((got.status, got.json()), (200, expect), "{path}");
}

#[test]
fn analytics_answer_as_counted_by_hand() {
    let desk = loaded();
    let server = Server::start(&desk, &[]);
    let check = |path: &str, expect: Value| check(&server, path, expect);
    check(
        "/analytics/requests_per_endpoint",
        json!([{"endpoint": "/a?x=1", "count": 2}, {"endpoint": "/b", "count": 1},
               {"endpoint": "/c.css", "count": 1}]),
    );
    check("/analytics/top_ips?limit=1", json!([{"ip": "10.0.0.1", "count": 2}]));
    check("/analytics/error_rate", json!({"total": 4, "errors": 1, "error_rate": 0.25}));
    let none = "/analytics/error_rate?start=2030-01-01";
    check(none, json!({"total": 0, "errors": 0, "error_rate": 0.0}));
    // Both ends belong to the range.
    let range = "start=2026-11-20T10:00:00Z&end=2026-11-20T12:00:00Z";
    check(
        &format!("/analytics/error_rate?{range}"),
        json!({"total": 3, "errors": 0, "error_rate": 0.0}),
    );
    check(
        "/analytics/summary?end=2026-11-20T23:59:59Z",
        json!({"requests": 3, "visitors": 2, "bytes": 450, "errors": 0, "error_rate": 0.0,
               "first": "2026-11-20T10:00:00Z", "last": "2026-11-20T12:00:00Z",
               "latency_ms": {"p50": 20, "p90": 30, "p95": 30, "p99": 30, "max": 30},
               "dead_letters": 1}),
    );
    check(
        "/analytics/status_classes?filter=endpoint~/",
        json!([{"class": "1xx", "count": 0}, {"class": "2xx", "count": 2},
               {"class": "3xx", "count": 0}, {"class": "4xx", "count": 1},
               {"class": "5xx", "count": 1}]),
    );
    check(
        "/analytics/top/path?by=bytes&limit=2",
        json!([{"value": "/a", "count": 2, "bytes": 400, "visitors": 1},
               {"value": "/b", "count": 1, "bytes": 50, "visitors": 1}]),
    );
    check(
        "/analytics/top/path?limit=1&visitors=exclude",
        json!([{"value": "/a", "count": 2, "bytes": 400, "visitors": null}]),
    );
    let torn = server.get("/analytics/top/path?by=visitors&visitors=exclude");
    assert_eq!(torn.status, 400, "{}", torn.body);
    check(
        "/analytics/latency?static=exclude",
        json!({"count": 3, "p50": 20, "p90": 30, "p95": 30, "p99": 30, "max": 30}),
    );
    check("/analytics/bytes?filter=status!=404", json!({"total": 400, "mean": 200.0, "max": 300}));
    check(
        "/analytics/referrers?filter=referrer!=",
        json!([{"value": "https://x.example/", "count": 1, "bytes": 50, "visitors": 1}]),
    );
    let series = server.get("/analytics/timeseries?interval=hour&end=2026-11-20T12:30:00Z").json();
    let counts: Vec<_> = series["points"].as_array().expect("points").iter().collect();
    assert_eq!((series["interval"].as_str(), counts.len()), (Some("hour"), 3));
    assert_eq!(counts[0]["ts"], "2026-11-20T10:00:00Z");
    assert_eq!((&counts[0]["requests"], &counts[0]["p95"]), (&json!(2), &json!(30)));
    assert_eq!((&counts[1]["requests"], &counts[1]["p50"]), (&json!(0), &Value::Null));
    // A range of more years than an answer has points is cut down to where there is anything.
    let all = server.get("/analytics/timeseries?start=0001-01-01&end=9999-12-31").json();
    assert_eq!(all["points"], server.get("/analytics/timeseries").json()["points"]);
    let records = server.get("/analytics/records?limit=1").json();
    assert_eq!(records["rows"][0]["endpoint"], "/c.css", "the newest");
}

#[test]
fn the_newest_records_come_first_and_those_without_a_time_last() {
    let desk = crate::Desk::new();
    let line = |number: u32| match number % 7 {
        0 => format!("{{\"number\": {number}}}\n"),
        _ => format!(
            "{{\"number\": {number}, \"ts\": \"2026-11-2{}T10:{:02}:00Z\"}}\n",
            number % 3,
            number % 60
        ),
    };
    desk.write("access.log", &(1..60).map(line).collect::<String>());
    let fields = "format: json, fields: { number: integer, ts: timestamp }";
    let pipeline =
        PIPELINE.replace("format: combined", fields).replace("input: enriched", "input: parsed");
    let steps = pipeline.lines().filter(|line| !line.contains("enriched:"));
    desk.write("web.yaml", &steps.collect::<Vec<_>>().join("\n"));
    desk.done(&["run", "web.yaml", "--until-end"]);
    let server = Server::start(&desk, &["--table", "web_logs"]);
    let numbers = |parameters: &str| {
        let answer = server.get(&format!("/analytics/records?{parameters}")).json();
        let rows = answer["rows"].as_array().expect("rows").clone();
        rows.iter().filter_map(|row| row["number"].as_u64()).collect::<Vec<_>>()
    };
    let key = |number: &u64| (!number.is_multiple_of(7)).then_some((number % 3, number % 60));
    let sorted = |mut numbers: Vec<u64>| {
        numbers.sort_by_key(|number| std::cmp::Reverse(key(number)));
        numbers
    };
    let timed = sorted((1..60).filter(|number: &u64| !number.is_multiple_of(7)).collect());
    assert_eq!(numbers("limit=5"), timed[..5]);
    let all = numbers("limit=1000");
    assert_eq!((all.len(), &all[..timed.len()]), (59, &timed[..]));
    let early = timed.iter().copied().filter(|number| *number <= 20).collect::<Vec<_>>();
    assert_eq!(numbers("limit=3&filter=number<=20"), early[..3]);
    assert_eq!(numbers("limit=3&filter=number=14"), [14_u64], "it has no time");
    assert!(numbers("limit=3&filter=number=99").is_empty());
}

/// What both backends are asked.
const QUESTIONS: &[&str] = &[
    "requests_per_endpoint",
    "top_ips?limit=7",
    "error_rate?start=2025-01-08&filter=method=GET",
    "summary",
    "summary?bots=exclude&static=only",
    "summary?filter=status>=400&filter=status<=404",
    "summary?filter=endpoint~/users/&end=2025-01-09T12:00:00Z",
    "summary?filter=status!=200&filter=response_time_ms>=10.5",
    "timeseries?interval=hour&start=2025-01-07&end=2025-01-07T23:59:59Z",
    "timeseries?interval=5m&start=2025-01-07&end=2025-01-07T03:00:00Z",
    "timeseries",
    "status_classes?filter=user_agent=",
    "top/path?limit=50&by=visitors",
    "top/status?by=bytes",
    "top/ua_bot",
    "top/referrer?filter=referrer=",
    // Most requests have no referrer: the largest group is that of nothing.
    "top/referrer?limit=3",
    "top/endpoint?limit=4&filter=status=200&static=exclude",
    "latency?filter=status=200",
    "bytes",
    "browsers",
    "systems?filter=ua_device=mobile",
];

#[test]
fn the_lake_and_postgres_give_the_same_answers() {
    let Some(postgres) = services::find("postgres") else { return };
    let desk = crate::Desk::new();
    desk.done(&["generate", "access-log", "--rows", "6000", "--response-time", "-o", "access.log"]);
    // PostgreSQL's text cannot hold a NUL, which scanners send.
    let log = std::fs::read_to_string(desk.path().join("access.log")).expect("a log");
    let plain: Vec<_> = log.lines().filter(|line| !line.contains("\\x")).collect();
    desk.write("access.log", &(plain.join("\n") + "\n"));
    let table = services::unique("requests");
    let sink = format!(
        "  warehouse: {{ type: postgres, input: enriched, url: \"{postgres}\", table: {table}, \
         create: true }}\n"
    );
    desk.write("lake.yaml", &format!("{PIPELINE}{sink}"));
    let serve = format!("serve: {{ backend: postgres, table: {table} }}\n");
    desk.write("postgres.yaml", &format!("{PIPELINE}{sink}{serve}"));
    desk.done(&["run", "lake.yaml", "--until-end"]);
    let lake = Server::start(&desk, &["lake.yaml"]);
    let warehouse = Server::start(&desk, &["postgres.yaml"]);
    assert_eq!(lake.get("/session").json()["analytics"]["backend"], "lake");
    assert_eq!(warehouse.get("/session").json()["analytics"]["backend"], "postgres");
    for question in QUESTIONS {
        let path = format!("/analytics/{question}");
        let (ours, theirs) = (lake.get(&path), warehouse.get(&path));
        assert_eq!((ours.status, theirs.status), (200, 200), "{path}: {ours:?} {theirs:?}");
        let same = ours.json() == theirs.json();
        assert!(same, "{path}\n{:.3000}\n{:.3000}", ours.body, theirs.body);
        assert!(ours.body.len() > 2, "{path} has an answer");
    }
    let newest = lake.get("/analytics/records?limit=1").json()["rows"][0].clone();
    let path = format!("/analytics/records?filter=_position={}", newest["_position"]);
    let theirs = warehouse.get(&path).json()["rows"].clone();
    assert_eq!(theirs.as_array().map(Vec::len), Some(1), "{path}");
    for (column, value) in theirs[0].as_object().expect("a row") {
        assert_eq!(newest[column], *value, "{column}");
    }
}

#[test]
fn pipelines_show_what_their_runs_left_behind() {
    let desk = loaded();
    let server = Server::start(&desk, &["web.yaml"]);
    let list = server.get("/pipelines").json();
    let expect = json!({"name": "web", "state": "idle", "read": 5, "delivered": 4});
    for (key, value) in expect.as_object().expect("an object") {
        assert_eq!(list[0][key], *value, "{key}");
    }
    assert_eq!((&list[0]["dead_letters"], &list[0]["lag"]), (&json!(1), &json!(0)));
    let one = server.get("/pipelines/web").json();
    assert_eq!(one["balanced"], true);
    assert_eq!(one["sinks"][0]["dead_lettered"], 1);
    let kinds: Vec<_> = one["graph"]["nodes"].as_array().expect("nodes").iter().collect();
    let kinds: Vec<_> = kinds.iter().map(|node| node["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["source", "transform", "transform", "sink"]);
    assert_eq!(server.get("/pipelines/web/epochs").json()[0]["read"], 5);
    assert_eq!(server.get("/pipelines/web/ledger").json()[0]["sink"], "lake");
    assert_eq!(server.get("/pipelines/other").status, 404);
    let mut run = desk.command(&["run", "web.yaml", "--quiet"]).spawn().expect("it starts");
    wait_for("a run is seen", || server.get("/pipelines").json()[0]["state"] == "running");
    run.kill().expect("killed");
    run.wait().expect("ended");
    wait_for("its end is seen", || server.get("/pipelines").json()[0]["state"] == "idle");
}

#[test]
fn all_splits_are_shown_wherever_they_stand() {
    const FILES: usize = 300;
    let desk = Desk::new();
    desk.write("web.yaml", &PIPELINE.replace("[access.log]", "[\"many/*.log\"]"));
    std::fs::create_dir(desk.path().join("many")).expect("made");
    let write = |number: usize, times: usize| {
        let text = LOG.replace("/a?x=1", &format!("/{number:03}")).repeat(times);
        desk.write(&format!("many/{number}.log"), &text);
        text.len()
    };
    let mut ends: Vec<_> = (0..FILES).map(|number| write(number, 1)).collect();
    let server = Server::start(&desk, &["web.yaml"]);
    // More than a checkpoint holds are read, then a few of them.
    for again in [0..0, 7..9] {
        again.for_each(|number| ends[number] = write(number, 2));
        desk.done(&["run", "web.yaml", "--until-end"]);
        let mut expect: Vec<_> = ends.iter().map(|end| (json!(end), json!(0))).collect();
        expect.sort_by_key(|(end, _)| end.as_u64());
        wait_for("all splits are shown at their ends", || {
            let splits = server.get("/pipelines/web").json()["splits"].clone();
            let splits = splits.as_array().into_iter().flatten();
            let shown = splits.map(|split| (split["position"].clone(), split["lag"].clone()));
            let mut shown: Vec<_> = shown.collect();
            shown.sort_by_key(|(end, _)| end.as_u64());
            shown == expect
        });
    }
}

#[test]
fn a_dead_letter_that_is_replayed_goes_through_the_pipeline_again() {
    let desk = loaded();
    let server = Server::start(&desk, &["web.yaml"]);
    let letters = "/pipelines/web/dead_letters";
    let found = server.get(letters).json();
    assert_eq!(
        (&found["total"], &found["letters"][0]["original"]),
        (&json!(1), &json!("not a request"))
    );
    let refused = server.post(&format!("{letters}/replay"), "{}");
    assert_eq!(refused.json(), json!({"replayed": 0, "remaining": 1, "failed": 1}));
    let all = server.get(&format!("{letters}?state=all")).json();
    assert_eq!(all["total"], 2, "the first one was replayed, and refused again");
    let wrong = server.post(&format!("{letters}/replay"), "{\"sink\": \"lak\"}");
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert!(wrong.body.contains("did you mean"), "{}", wrong.body);
}

/// Follows the tail of a server while `web.yaml` delivers two rows more.
fn follow(desk: &crate::Desk, server: &Server) {
    use std::io::{BufRead, BufReader, Write};
    let mut stream = server.connect();
    let request = "GET /analytics/tail?filter=status=201 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with(':')), "it begins");
    let line = |status| {
        format!(
            "10.0.0.9 - - [22/Nov/2026:10:00:00 +0000] \"GET /{status} HTTP/1.1\" {status} 1 \"-\" \"x\"\n"
        )
    };
    let log = format!("{}{}{}", super::LOG, line(200), line(201));
    desk.write("access.log", &log);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let event = lines.find(|line| line.starts_with("data: ")).expect("an event");
    let row: Value = serde_json::from_str(&event["data: ".len()..]).expect("a row");
    assert_eq!((&row["status"], &row["endpoint"]), (&json!(201), &json!("/201")));
}

#[test]
fn a_tail_shows_rows_as_they_are_committed() {
    let desk = loaded();
    follow(&desk, &Server::start(&desk, &[]));
}

#[test]
fn a_tail_of_postgres_follows_the_serial_id_and_else_the_time() {
    let Some(postgres) = services::find("postgres") else { return };
    for create in ["{ serial_id: id }", "true"] {
        let desk = crate::Desk::new();
        let table = services::unique("tail");
        let pipeline = format!(
            "{PIPELINE}  warehouse: {{ type: postgres, input: enriched, url: \"{postgres}\", table: \
             {table}, create: {create} }}\nserve: {{ backend: postgres, table: {table} }}\n"
        );
        desk.write("web.yaml", &pipeline);
        desk.write("access.log", super::LOG);
        desk.done(&["run", "web.yaml", "--until-end"]);
        follow(&desk, &Server::start(&desk, &["web.yaml"]));
    }
}
