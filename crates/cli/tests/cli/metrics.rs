//! What a run tells Prometheus, and how it logs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use runtime::metrics::{Form, METRICS, Origin, PROCESS};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{http, services, wait};

use crate::Desk;
use crate::blueprints::blueprint;
use crate::schedules;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

/// A pipeline with sources that know their lag in bytes and in records, a step that refuses, and one
/// with an event time.
const PIPELINE: &str = "\
name: told
epoch: { interval: 200ms }
sources:
  access: { type: file, paths: [access.log] }
  numbers: { type: memory, rows_max: 100 }
transforms:
  parsed: { type: parse, input: access, format: json, fields: { status: integer } }
  timed: { type: sql, query: \"SELECT number, to_timestamp(number) AS ts FROM numbers\" }
  tens: { type: window, input: timed, time: ts, span: { tumbling: 10s }, \
aggregate: { hits: count(*) } }
sinks:
  lake: { type: lake, input: parsed, table: statuses }
  counted: { type: lake, input: numbers, table: counted }
  made: { type: lake, input: tens, table: tens }
";

/// A child that dies with the test.
pub struct Server {
    child: Child,
    /// `http://host:port`.
    pub address: String,
}

impl Server {
    /// Starts a program that says `metrics at ADDRESS/metrics` on stderr.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let line = said.find_map(|line| {
            let line = line.expect("text");
            line.strip_prefix("metrics at ")
                .map(|rest| rest.trim_end_matches("/metrics").to_owned())
        });
        // Whoever reads no further would stop a program that says more.
        std::thread::spawn(move || said.for_each(drop));
        Self { child, address: line.expect("it says where it listens") }
    }

    /// The program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The body of an answer.
    pub fn get(&self, path: &str) -> Result<String, String> {
        http::send("GET", &self.address, path, "")
    }

    /// Tells it to stop; its exit code.
    pub fn stop(mut self) -> i32 {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it lives");
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a series, by its name and labels as they are shown.
pub fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn told(desk: &Desk) -> Server {
    let lines = "{\"status\": 200}\n{\"status\": 404}\nno JSON\n";
    desk.write("access.log", lines);
    desk.write("told.yaml", PIPELINE);
    Server::start(desk.command(&["run", "told.yaml", "--metrics", "127.0.0.1:0"]))
}

/// The metrics, asked for once more when an answer fulfils a condition: an answer is put together
/// series by series while the run goes on counting, and only the next one has to have them all.
fn told_once(server: &Server, what: &str, fulfilled: impl Fn(&str) -> bool) -> String {
    let metrics = || server.get("/metrics").expect("metrics");
    wait::until(what, LIMIT, || fulfilled(&metrics()).then_some(()));
    metrics()
}

const WATERMARK: &str = "logmill_step_watermark_timestamp_seconds{pipeline=\"told\",step=\"tens\"}";

fn all_processed(server: &Server) -> String {
    let processed = "log_records_processed_total{pipeline=\"told\"}";
    // The other source, which gives no times, holds back no window of this one.
    told_once(server, "all records, and windows that closed", |text| {
        value(text, processed) == Some(103.0) && value(text, WATERMARK) >= Some(94.0)
    })
}

#[test]
fn a_pipeline_gives_series_the_names_that_boards_use() {
    let desk = Desk::new();
    desk.write("access.log", "{\"status\": 200}\n{\"status\": 404}\nno JSON\n");
    let own = "metrics:\n  uploads_total{status=\"ok\"}: sum(log_records_processed_total) - \
               sum(log_records_errors_total)\n  uploads_total{status=\"bad\"}: \
               sum(log_records_errors_total) * 2\n";
    desk.write("told.yaml", &format!("{PIPELINE}{own}"));
    let server = Server::start(desk.command(&["run", "told.yaml", "--metrics", "127.0.0.1:0"]));
    let text = all_processed(&server);
    assert!(text.contains("# TYPE uploads_total gauge\n"), "{text}");
    assert_eq!(value(&text, "uploads_total{status=\"ok\"}"), Some(102.0));
    assert_eq!(value(&text, "uploads_total{status=\"bad\"}"), Some(2.0));
    assert_eq!(server.stop(), 143);
    desk.write("wrong.yaml", &format!("{PIPELINE}metrics:\n  a_total: sum(log_record_errors)\n"));
    let wrong = desk.run(&["check", "wrong.yaml"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("wrong.yaml:15:12"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("there is no metric \"log_record_errors\""), "{}", wrong.stderr);
}

#[test]
fn a_run_shows_every_metric_that_is_documented_and_no_other() {
    let desk = Desk::new();
    let server = told(&desk);
    let text = all_processed(&server);
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let shown: BTreeMap<&str, &str> = types.filter_map(|line| line.split_once(' ')).collect();
    let ours = METRICS.iter().filter(|metric| metric.origin != Origin::Schedule);
    let ours = ours.map(|metric| (metric.name, metric.form));
    let documented: BTreeMap<&str, Form> =
        ours.chain(PROCESS.iter().map(|(name, form, _)| (*name, *form))).collect();
    for (name, form) in &documented {
        assert_eq!(shown.get(name), Some(&form.word()), "{name} is documented");
    }
    let unknown: BTreeSet<_> =
        shown.keys().filter(|name| !documented.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
    for metric in METRICS.iter().filter(|metric| documented.contains_key(metric.name)) {
        let (name, help) = (metric.name, metric.help);
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name} has its help");
        let series = text.lines().find(|line| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with('{') || rest.starts_with("_bucket{") || rest.starts_with(' ')
        });
        let series = series.unwrap_or_else(|| panic!("{name} has no series"));
        let labels: BTreeSet<_> =
            labels(series).into_iter().filter(|label| label != "le").collect();
        let expected: BTreeSet<_> = metric.labels.iter().map(ToString::to_string).collect();
        assert_eq!(labels, expected, "{name}");
    }
    assert_eq!(server.stop(), 143);
}

/// The names of the labels of a line.
fn labels(line: &str) -> Vec<String> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let Some((inside, _)) = inside else { return Vec::new() };
    let pairs = inside.split("\",").filter_map(|pair| pair.split_once("=\""));
    pairs.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn what_is_counted_is_what_the_ledger_says() {
    let desk = Desk::new();
    let server = told(&desk);
    let text = all_processed(&server);
    let has = |parts: &[&str], expected: &str| {
        let line = text.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        let line = line.unwrap_or_else(|| panic!("{parts:?} in {text}"));
        assert!(line.ends_with(&format!(" {expected}")), "{line}");
    };
    let ledger = "logmill_ledger_rows_total{";
    has(&[ledger, "sink=\"lake\"", "column=\"read\""], "3");
    has(&[ledger, "sink=\"lake\"", "column=\"delivered\""], "2");
    has(&[ledger, "sink=\"lake\"", "column=\"dead_lettered\""], "1");
    has(&[ledger, "sink=\"dead_letters\"", "column=\"delivered\""], "1");
    has(&["logmill_dead_letters_total{", "refuser=\"parsed\"", "kind=\"step\""], "1");
    has(&["logmill_source_records_total{", "source=\"numbers\""], "100");
    has(&[ledger, "sink=\"made\"", "column=\"aggregated\""], "100");
    has(&["logmill_step_late_records_total{", "step=\"tens\""], "0");
    has(&["logmill_split_lag_bytes{", "source=\"access\""], "0");
    has(&["logmill_split_lag_records{", "source=\"numbers\""], "0");
    let ready: Value = serde_json::from_str(&server.get("/readyz").expect("ready")).expect("JSON");
    assert_eq!(ready["status"], "ok");
    assert!(server.get("/healthz").expect("alive").contains("ok"));
    assert!(server.get("/query").is_err(), "nothing else is served");
    assert_eq!(server.stop(), 143);
    let sql = "SELECT sum(delivered) AS rows FROM ledger WHERE sink = 'lake'";
    assert_eq!(desk.done(&["query", sql, "--format", "json"]).json()[0]["rows"], 2);
}

#[test]
fn a_sink_that_does_not_answer_is_named_and_the_run_is_not_ready() {
    let desk = Desk::new();
    desk.write("access.log", "{\"status\": 200}\n");
    // Nobody listens on the port of the discard service.
    let sink =
        "{ type: postgres, input: numbers, url: \"postgres://a:b@127.0.0.1:9/a\", table: a }";
    let file = PIPELINE.replace("{ type: lake, input: numbers, table: counted }", sink);
    desk.write("told.yaml", &file);
    let server = Server::start(desk.command(&["run", "told.yaml", "--metrics", "127.0.0.1:0"]));
    let text = told_once(&server, "a second try", |text| {
        value(text, "logmill_retries_total{pipeline=\"told\"}") >= Some(2.0)
    });
    let failures = |node: &str| {
        value(&text, &format!("logmill_failures_total{{pipeline=\"told\",node=\"{node}\"}}"))
    };
    assert!(failures("counted") >= Some(2.0), "{text}");
    assert_eq!(failures("lake"), Some(0.0));
    let trouble = server.get("/readyz").expect_err("it is not ready");
    assert!(trouble.contains(" 503 ") && trouble.contains("recover"), "{trouble}");
    assert!(server.get("/healthz").is_ok(), "but it lives");
}

#[test]
fn metrics_for_everybody_must_be_meant() {
    let desk = Desk::new();
    desk.write("access.log", "{\"status\": 200}\n");
    desk.write("told.yaml", PIPELINE);
    let ran = desk.run(&["run", "told.yaml", "--until-end", "--metrics", "0.0.0.0:0"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--metrics-open"), "{}", ran.stderr);
    assert!(!desk.path().join("logmill-data").exists(), "nothing was run");
    let open = ["run", "told.yaml", "--until-end", "--metrics", "0.0.0.0:0", "--metrics-open"];
    desk.done(&open);
}

#[test]
fn logs_are_lines_of_one_form_errors_too() {
    let desk = Desk::new();
    desk.write("access.log", "{\"status\": 200}\n");
    desk.write("told.yaml", PIPELINE);
    let arguments = ["run", "told.yaml", "--until-end", "-v", "--log-format"];
    let mut command = desk.command(&arguments);
    command.arg("text").env("LOGMILL_SERVICE", "consumer");
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(!text.is_empty());
    for line in text.lines() {
        let columns: Vec<_> = line.splitn(5, " | ").collect();
        assert_eq!((columns.len(), columns[1]), (5, "consumer"), "{line}");
    }
    let failing = desk.run(&["check", "nothing.yaml", "--log-format", "json"]);
    assert_eq!(failing.code, 2);
    for line in failing.stderr.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let keys = ["time", "service", "level", "logger", "message", "kind", "hint"];
        keys.iter().for_each(|key| assert!(line[*key].is_string(), "{key}: {line}"));
    }
}

/// A Prometheus of its own, over the blueprint's files with other addresses.
struct Prometheus {
    child: Child,
    address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(program: &str, desk: &Desk, targets: &[(&str, &str)]) -> Self {
        let mut settings =
            std::fs::read_to_string(blueprint("prometheus.yml")).expect("the blueprint has it");
        for (written, target) in targets {
            assert!(settings.contains(written), "{written}");
            settings = settings.replace(written, target.trim_start_matches("http://"));
        }
        let settings = settings.replace("interval: 15s", "interval: 1s");
        desk.write("prometheus.yml", &settings);
        let rules = std::fs::read_to_string(blueprint("alerts.yaml")).expect("rules");
        desk.write("alerts.yaml", &rules);
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut command = Command::new(program);
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus"]);
        command.arg(format!("--web.listen-address={address}")).arg("--log.level=error");
        let child = command.current_dir(desk.path()).spawn().expect("Prometheus starts");
        let server = Self { child, address: format!("http://{address}") };
        wait::until("Prometheus", LIMIT, || {
            http::send("GET", &server.address, "/-/ready", "").ok()
        });
        server
    }

    /// The series that an expression gives now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let bytes = expression.bytes();
        let encoded: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let answer = http::send("GET", &self.address, &path, "");
        let answer = answer.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

/// Every expression of the dashboard, with the title of its panel.
fn panels() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(blueprint("grafana/dashboards/logmill.json"));
    let dashboard: Value = serde_json::from_str(&text.expect("a dashboard")).expect("JSON");
    let mut panels = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            panels.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    panels
}

#[test]
fn a_real_prometheus_has_data_for_every_panel_and_understands_every_alert() {
    let needed = ["prometheus", "promtool", "kafka"].map(services::find);
    let [Some(prometheus), Some(promtool), Some(kafka)] = needed else { return };
    let desk = Desk::new();
    for (verb, file) in [("check", "alerts.yaml"), ("test", "alerts_test.yaml")] {
        let mut rules = Command::new(&promtool);
        let said = rules.args([verb, "rules"]).arg(blueprint(file)).output();
        let said = said.expect("promtool starts");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }

    let input = std::fs::read_to_string(blueprint("input/access.log")).expect("a log");
    desk.write("access.log", &input);
    let topic = services::unique("metrics");
    let settings = [
        ("SAMPLE_LOG_PATH", "access.log"),
        ("KAFKA_ENABLED", "true"),
        ("KAFKA_BOOTSTRAP_SERVERS", &kafka),
        ("KAFKA_TOPIC", &topic),
        ("KAFKA_GROUP_ID", &topic),
        ("CONSUMER_S3_BATCH_SECONDS", "1"),
    ];
    let file = |name: &str| blueprint(name).display().to_string();
    let mut produce = desk.command(&["run", &file("produce.yaml"), "--until-end", "--quiet"]);
    produce.env("LOGMILL_DATA", "produced").envs(settings);
    assert!(produce.status().expect("it starts").success());
    let mut run = desk.command(&["run", &file("pipeline.yaml"), "--metrics", "127.0.0.1:0"]);
    run.envs(settings);
    let run = Server::start(run);
    let scheduled = schedules::desk("once");
    let served = schedules::Served::start(&scheduled, &["yearly.yaml"]);
    let targets = [("127.0.0.1:8001", &*run.address), ("127.0.0.1:8000", &*served.address)];
    let prometheus = Prometheus::start(&prometheus, &desk, &targets);

    // Rates need records that come while it looks.
    let mut log = std::fs::File::options().append(true).open(desk.path().join("access.log"));
    let log = log.as_mut().expect("a log");
    let mut missing: Vec<_> = panels();
    wait::up_to(LIMIT, || {
        log.write_all(input.as_bytes()).expect("written");
        log.write_all(b"no access log\n").expect("written");
        missing.retain(|(_, expression)| !has_data(&prometheus.query(expression)));
        missing.is_empty().then_some(())
    });
    assert!(missing.is_empty(), "panels without data: {missing:#?}");
    let rules = http::send("GET", &prometheus.address, "/api/v1/rules", "").expect("rules");
    let rules: Value = serde_json::from_str(&rules).expect("JSON");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.len() > 5);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        prometheus.query(rule["query"].as_str().expect("an expression"));
    }
    let firing = prometheus.query("ALERTS{alertname=\"LogmillLedgerDoesNotAddUp\"}");
    assert!(firing.is_empty(), "{firing:?}");

    let linted = Command::new(promtool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
    let mut linted = linted.expect("promtool starts");
    let exposition = run.get("/metrics").expect("metrics");
    let mut stdin = linted.stdin.take().expect("piped");
    stdin.write_all(exposition.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(linted.wait().expect("it ends").success(), "names, units and help are in order");
    // Behind its records the topic has markers of transactions, which nobody has to read.
    wait::until("the end of the topic", LIMIT, || {
        let lag = prometheus.query("sum(logmill_split_lag_records)");
        (lag.first()?["value"][1] == "0").then_some(())
    });
    drop(run);
    wait::until("the alert of a run that is gone", LIMIT, || {
        let down = prometheus.query("ALERTS{alertname=\"LogmillDown\"}");
        (!down.is_empty()).then_some(())
    });
}

/// Whether there is a series that is a number.
fn has_data(series: &[Value]) -> bool {
    let values = series.iter().filter_map(|series| series["value"][1].as_str());
    values.filter_map(|value| value.parse::<f64>().ok()).any(f64::is_finite)
}
