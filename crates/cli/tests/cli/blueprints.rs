//! The blueprints, run whole: what goes in and what must come out lies beside them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use testkit::services;

use crate::{Desk, Ran};

/// The columns of a record, as the original system has them.
const RECORD: &str = "ip, ts, method, endpoint, status, response_time_ms, user_agent, ua_device, \
                      ua_os, ua_browser, country, city";
const LINES: usize = 300;

pub fn blueprint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../blueprints/web-logs").join(name)
}

fn finished(mut command: Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs a pipeline of the blueprint to its end, with settings.
fn run(desk: &Desk, file: &str, settings: &[(&str, &str)]) -> Ran {
    let file = blueprint(file);
    let file = file.to_str().expect("a path");
    let mut command = desk.command(&["run", file, "--until-end", "--format", "json"]);
    finished({
        command.envs(settings.iter().copied());
        command
    })
}

/// The rows of the lake table as JSON lines, in the order of the input.
fn rows(desk: &Desk) -> String {
    let sql = format!("SELECT {RECORD} FROM web_logs ORDER BY _position");
    desk.done(&["query", &sql, "--format", "ndjson"]).stdout
}

/// Compares with the file in the blueprint, or writes it where `LOGMILL_GOLDEN=write`.
fn check_expected(found: &str) {
    let file = blueprint("expected/web_logs.ndjson");
    if std::env::var("LOGMILL_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::create_dir_all(blueprint("expected")).expect("a folder");
        std::fs::write(&file, found).expect("written");
    }
    let expected = std::fs::read_to_string(&file).expect("the blueprint has expected rows");
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "row {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn web_logs_of_a_file_are_the_expected_rows() {
    let desk = Desk::new();
    let input = blueprint("input/access.log");
    let ran = run(&desk, "pipeline.yaml", &[("SAMPLE_LOG_PATH", input.to_str().expect("a path"))]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let found = rows(&desk);
    check_expected(&found);
    let refused = ran.json()["sinks"][0]["dead_lettered"].as_u64().expect("a count") as usize;
    assert_eq!(found.lines().count() + refused, LINES);
}

#[test]
fn web_logs_are_the_same_with_a_stop_and_a_crash_in_the_middle() {
    let desk = Desk::new();
    let input = std::fs::read_to_string(blueprint("input/access.log")).expect("a log");
    let middle = input.match_indices('\n').nth(LINES / 2).expect("a line").0 + 1;
    desk.write("access.log", &input[..middle]);
    let settings = [("SAMPLE_LOG_PATH", "access.log")];
    assert_eq!(run(&desk, "pipeline.yaml", &settings).code, 0);
    desk.write("access.log", &input);
    let killed = [settings[0], ("LOGMILL_FAILPOINT", "commit.sink.before:1")];
    assert_eq!(run(&desk, "pipeline.yaml", &killed).code, -1, "the point is passed");
    assert_eq!(run(&desk, "pipeline.yaml", &settings).code, 0);
    check_expected(&rows(&desk));
}

#[test]
fn web_logs_come_through_kafka_to_every_server() {
    let needed = ["kafka", "postgres", "s3", "opensearch"].map(services::find);
    let [Some(kafka), Some(postgres), Some(s3), Some(opensearch)] = needed else { return };
    let desk = Desk::new();
    let input = blueprint("input/access.log");
    let (topic, bucket) = (services::unique("web-logs"), services::unique("archive"));
    let (index, database) = (services::unique("web-logs"), services::unique("logs"));
    let (key, secret) = (services::setting("s3_key"), services::setting("s3_secret"));
    psql(&postgres, &format!("CREATE DATABASE {}", database.replace('-', "_")));
    let server = Server::parse(&postgres);
    let database = database.replace('-', "_");
    let settings = [
        ("SAMPLE_LOG_PATH", input.to_str().expect("a path")),
        ("FILES_ENABLED", "false"),
        ("KAFKA_ENABLED", "true"),
        ("KAFKA_BOOTSTRAP_SERVERS", &kafka),
        ("KAFKA_TOPIC", &topic),
        ("KAFKA_GROUP_ID", &topic),
        ("POSTGRES_ENABLED", "true"),
        ("POSTGRES_HOST", &server.host),
        ("POSTGRES_PORT", &server.port),
        ("POSTGRES_USER", &server.user),
        ("POSTGRES_PASSWORD", &server.password),
        ("POSTGRES_DB", &database),
        ("S3_ENABLED", "true"),
        ("S3_ENDPOINT_URL", &s3),
        ("S3_BUCKET", &bucket),
        ("S3_ACCESS_KEY", &key),
        ("S3_SECRET_KEY", &secret),
        ("CONSUMER_S3_BATCH_SIZE", "40"),
        ("ENABLE_ELASTICSEARCH", "true"),
        ("ELASTICSEARCH_HOST", &opensearch),
        ("ELASTICSEARCH_INDEX", &index),
    ];
    let produced = run(&desk, "produce.yaml", &settings);
    assert_eq!(produced.code, 0, "{}", produced.stderr);
    check_tail(&desk, &kafka, &topic);
    let ran = run(&desk, "pipeline.yaml", &settings);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let expected = std::fs::read_to_string(blueprint("expected/web_logs.ndjson")).expect("rows");
    let delivered = expected.lines().count() as u64;
    for sink in ran.json()["sinks"].as_array().expect("sinks") {
        // One line has a byte NUL in it, which PostgreSQL's text cannot hold.
        let refused = u64::from(sink["sink"] == "warehouse");
        assert_eq!(sink["delivered"], delivered - refused, "{sink}");
        assert_eq!(sink["dead_lettered"], LINES as u64 - delivered + refused, "{sink}");
    }
    let file = blueprint("pipeline.yaml");
    let mut audit = desk.command(&["audit", file.to_str().expect("a path"), "--format", "json"]);
    audit.envs(settings);
    let audit = finished(audit);
    assert_eq!(audit.code, 0, "{} {}", audit.stdout, audit.stderr);
    let file = file.to_str().expect("a path");
    let mut replay = desk.command(&["dead-letters", "replay", file, "--format", "json"]);
    replay.envs(settings);
    let replay = finished(replay);
    assert_eq!(replay.code, 3, "all of them stay open: {}", replay.stderr);
    let report = replay.json();
    let refused = LINES as u64 - delivered + 1;
    let expected = (&Value::from(refused), &Value::from(refused), &Value::from(Vec::<u8>::new()));
    assert_eq!((&report["taken"], &report["refused_again"], &report["left"]), expected, "{report}");
    let again = run(&desk, "pipeline.yaml", &settings);
    assert_eq!((again.code, &again.json()["read"]), (0, &Value::from(0)), "{}", again.stderr);
}

/// Every setting of the system that the blueprint replaces.
const ORIGINAL: &[&str] = &[
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_DB",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_TOPIC",
    "KAFKA_GROUP_ID",
    "S3_ENDPOINT_URL",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "S3_REGION",
    "S3_BUCKET",
    "S3_USE_SSL",
    "ENABLE_ELASTICSEARCH",
    "ELASTICSEARCH_HOST",
    "ELASTICSEARCH_INDEX",
    "GEOIP_ENABLED",
    "GEOIP_DB_PATH",
    "API_HOST",
    "API_PORT",
    "PROMETHEUS_SCRAPE_PATH",
    "CONSUMER_S3_BATCH_SIZE",
    "CONSUMER_S3_BATCH_SECONDS",
    "SAMPLE_LOG_PATH",
];

#[test]
fn every_setting_of_the_original_has_an_effect_or_is_named() {
    let desk = Desk::new();
    let (file, input) = (blueprint("pipeline.yaml"), blueprint("input/access.log"));
    let mut check = desk.command(&["check", file.to_str().expect("a path"), "-f", "json"]);
    let value = |name: &str| match name {
        "SAMPLE_LOG_PATH" => input.display().to_string(),
        "POSTGRES_PORT" | "API_PORT" | "CONSUMER_S3_BATCH_SIZE" | "CONSUMER_S3_BATCH_SECONDS" => {
            "17".to_owned()
        }
        "S3_USE_SSL" | "GEOIP_ENABLED" => "false".to_owned(),
        "ENABLE_ELASTICSEARCH" => "true".to_owned(),
        "S3_ENDPOINT_URL" | "ELASTICSEARCH_HOST" => "http://localhost:9000".to_owned(),
        "KAFKA_BOOTSTRAP_SERVERS" => "localhost:9092".to_owned(),
        _ => "some-name".to_owned(),
    };
    check.envs(ORIGINAL.iter().map(|name| (*name, value(name))));
    check.envs(["KAFKA_ENABLED", "POSTGRES_ENABLED", "S3_ENABLED"].map(|name| (name, "true")));
    let checked = finished(check);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let checked = checked.json();
    let of_environment = |list: &Value, name: &str| {
        let mut named = list.as_array().expect("a list").iter();
        named.any(|one| one["name"] == name && one["from"] == "environment")
    };
    for name in ORIGINAL {
        let has_effect = of_environment(&checked["variables"], name);
        let is_named = of_environment(&checked["without_effect"], name);
        assert!(has_effect != is_named, "{name} has an effect: {has_effect}, named: {is_named}");
    }
}

/// All lines of the topic, as programs and as people see them.
fn check_tail(desk: &Desk, kafka: &str, topic: &str) {
    let all = ["tail", "--brokers", kafka, "-t", topic, "--start", "earliest", "--limit", "300"];
    let raw = desk.done(&[&all[..], &["--raw"]].concat()).stdout;
    let log = std::fs::read_to_string(blueprint("input/access.log")).expect("a log");
    let mut expected: Vec<_> = log.lines().collect();
    let shown: Vec<Value> =
        raw.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let mut found: Vec<_> =
        shown.iter().map(|record| record["value"].as_str().expect("text")).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert!(shown.iter().all(|record| record["topic"] == topic && record["offset"].is_u64()));
    let only =
        [&all[..6], &["earliest", "--limit", "1", "--where", "strpos(message, 'Googlebot') > 0"]]
            .concat();
    let one = desk.done(&only).stdout;
    assert_eq!((one.lines().count(), one.contains("Googlebot")), (1, true), "{one}");
}

/// The parts of `postgres://user:password@host:port/database`.
struct Server {
    user: String,
    password: String,
    host: String,
    port: String,
}

impl Server {
    fn parse(url: &str) -> Self {
        let rest = url.split_once("://").expect("a URL").1;
        let (who, place) = rest.split_once('@').expect("a user");
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let address = place.split('/').next().expect("a host");
        let (host, port) = address.split_once(':').unwrap_or((address, "5432"));
        let [user, password, host, port] = [user, password, host, port].map(str::to_owned);
        Self { user, password, host, port }
    }
}

fn psql(url: &str, sql: &str) {
    let done = Command::new("psql").args([url, "-q", "-c", sql]).status().expect("psql is there");
    assert!(done.success(), "{sql}");
}
