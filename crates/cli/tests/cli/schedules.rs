//! Pipelines that `serve` runs by their schedule, and what it counts of others.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use runtime::metrics::{METRICS, Origin};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::{http, wait};

use crate::Desk;
use crate::blueprints::blueprint;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(60);

/// Due once a year, so that only a missed time begins a run while a test looks.
const YEARLY: &str = "\
name: yearly
schedule: { cron: 0 0 1 1 *, time_zone: Europe/Berlin, missed: MISSED }
sources:
  access: { type: file, paths: [access.log] }
sinks:
  lake: { type: lake, input: access, table: yearly }
";

/// As an earlier process left it, that saw the pipeline first then.
const BEGUN: &str = r#"{"due":"2020-06-01T00:00:00Z","started":"2020-06-01T00:00:00Z",
"ended":"2020-06-01T00:00:00Z","outcome":"begun","attempts":0,"read":0,"delivered":0,
"message":null,"process":"0"}"#;

pub struct Served {
    child: Child,
    /// `http://host:port`.
    pub address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    pub fn start(desk: &Desk, arguments: &[&str]) -> Self {
        let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
        let command = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let mut address = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut address).expect("a line");
        Self { child, address: format!("http://{}", address.trim()) }
    }

    fn metrics(&self) -> String {
        http::send("GET", &self.address, "/metrics", "").expect("metrics")
    }

    fn wait_for(&self, line: &str) {
        let mut text = String::new();
        let shown = wait::up_to(LIMIT, || {
            text = self.metrics();
            text.lines().any(|shown| shown == line).then_some(())
        });
        assert!(shown.is_some(), "waited for {line} in {text}");
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it lives");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(143));
    }
}

/// A pipeline that an earlier process served.
pub fn desk(missed: &str) -> Desk {
    let desk = Desk::new();
    desk.write("access.log", "one\ntwo\n");
    desk.write("yearly.yaml", &YEARLY.replace("MISSED", missed));
    let runs = desk.path().join("logmill-data/checkpoints/yearly/runs");
    std::fs::create_dir_all(&runs).expect("a folder");
    std::fs::write(runs.join("due-20200601T000000Z"), BEGUN).expect("written");
    desk
}

/// What the history says of each run.
fn history(desk: &Desk) -> Vec<Value> {
    let runs = desk.path().join("logmill-data/checkpoints/yearly/runs");
    let mut files: Vec<_> =
        std::fs::read_dir(runs).expect("runs").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let runs = files.iter().map(|file| std::fs::read(file).expect("a run"));
    runs.map(|bytes| serde_json::from_slice(&bytes).expect("JSON")).collect()
}

#[test]
fn serve_runs_what_was_missed_once_and_a_new_start_runs_nothing_twice() {
    let desk = desk("once");
    let served = Served::start(&desk, &["yearly.yaml"]);
    served.wait_for("logmill_schedule_runs_total{pipeline=\"yearly\",outcome=\"ok\"} 1");
    let runs = history(&desk);
    let last = runs.last().expect("a run");
    assert_eq!((&last["outcome"], &last["read"]), (&Value::from("ok"), &Value::from(2)), "{last}");
    // The first of January begins in Berlin an hour before it does in UTC.
    assert!(last["due"].as_str().expect("a time").ends_with("-12-31T23:00:00Z"), "{last}");
    assert_eq!(runs[runs.len() - 2]["outcome"], "skipped", "the years before");
    // The next time is known a moment after the run is counted.
    let metrics = wait::until("every metric that is documented", LIMIT, || {
        let metrics = served.metrics();
        let mut scheduled = METRICS.iter().filter(|metric| metric.origin == Origin::Schedule);
        let shows = |name: &str| metrics.contains(&format!("\n{name}{{pipeline=\"yearly\""));
        scheduled.all(|metric| shows(metric.name)).then_some(metrics)
    });
    let page = include_str!("../../../../docs/metrics.md");
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().expect("a name");
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
    assert!(metrics.contains("log_records_processed_total{pipeline=\"yearly\"} 2"), "{metrics}");
    let told = |path: &str| -> Value {
        let answer = http::send("GET", &served.address, path, "").expect("an answer");
        serde_json::from_str(&answer).expect("JSON")
    };
    let pipeline = &told("/pipelines")[0];
    assert_eq!(pipeline["schedule"]["time_zone"], "Europe/Berlin", "{pipeline}");
    assert_eq!(pipeline["schedule"]["last"]["outcome"], "ok", "{pipeline}");
    let listed = told("/pipelines/yearly/runs");
    let outcomes: Vec<_> =
        listed.as_array().expect("runs").iter().map(|run| &run["outcome"]).collect();
    assert_eq!(outcomes, ["ok", "skipped"], "{listed}");
    assert_eq!(listed[0]["read"], 2);
    served.stop();
    let again = Served::start(&desk, &["yearly.yaml"]);
    again.wait_for("logmill_schedule_running{pipeline=\"yearly\"} 0");
    again.stop();
    assert_eq!(history(&desk), runs, "nothing was due");
    let sql = "SELECT count(*) AS rows FROM yearly";
    assert_eq!(desk.done(&["query", sql, "--format", "json"]).json()[0]["rows"], 2);
}

#[test]
fn a_scheduled_run_whose_process_was_killed_is_finished_by_the_next() {
    let desk = desk("once");
    let mut killed = desk.command(&["serve", "--listen", "127.0.0.1:0", "yearly.yaml"]);
    killed.env("LOGMILL_FAILPOINT", "commit.sink.before:1");
    let status = killed.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert_eq!(status.expect("it starts").code(), None, "the point is passed");
    assert_eq!(history(&desk).last().expect("a claim")["outcome"], "running");
    let served = Served::start(&desk, &["yearly.yaml"]);
    served.wait_for("logmill_schedule_runs_total{pipeline=\"yearly\",outcome=\"ok\"} 1");
    served.stop();
    assert_eq!(history(&desk).last().expect("a run")["outcome"], "ok");
    let audit = desk.done(&["audit", "yearly.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    let sql = "SELECT count(*) AS rows FROM yearly";
    assert_eq!(desk.done(&["query", sql, "--format", "json"]).json()[0]["rows"], 2);
}

#[test]
fn two_servers_of_one_schedule_run_each_time_once() {
    let desk = desk("once");
    let servers = [0; 2].map(|_| Served::start(&desk, &["yearly.yaml"]));
    for server in &servers {
        server.wait_for("logmill_schedule_running{pipeline=\"yearly\"} 0");
        wait::until("the next time is known", LIMIT, || {
            server.metrics().contains("logmill_schedule_next_timestamp_seconds{").then_some(())
        });
    }
    let mut runs = Vec::new();
    // Who took a run up from the other one notes its end later than that one knows its next time.
    let ended = wait::up_to(LIMIT, || {
        runs = history(&desk);
        let outcomes: Vec<_> = runs.iter().map(|run| &run["outcome"]).collect();
        (outcomes == ["begun", "skipped", "ok"]).then_some(())
    });
    assert!(ended.is_some(), "{runs:?}");
    servers.into_iter().for_each(Served::stop);
    let sql = "SELECT count(*) AS rows FROM yearly";
    assert_eq!(desk.done(&["query", sql, "--format", "json"]).json()[0]["rows"], 2);
}

#[test]
fn serve_counts_what_others_run_from_the_ledger() {
    let desk = desk("skip");
    desk.done(&["run", "yearly.yaml", "--until-end"]);
    let served = Served::start(&desk, &[]);
    served.wait_for("log_records_processed_total{pipeline=\"yearly\",from=\"ledger\"} 2");
    desk.write("access.log", "one\ntwo\nthree\n");
    desk.done(&["run", "yearly.yaml", "--until-end"]);
    served.wait_for("log_records_processed_total{pipeline=\"yearly\",from=\"ledger\"} 3");
    served.stop();
}

#[test]
fn serve_with_run_follows_pipelines_without_a_schedule() {
    let desk = Desk::new();
    desk.write("access.log", "one\n");
    let file = YEARLY.lines().filter(|line| !line.starts_with("schedule")).collect::<Vec<_>>();
    let file = file.join("\n").replace("name: yearly", "name: yearly\nepoch: { interval: 200ms }");
    desk.write("followed.yaml", &file);
    let served = Served::start(&desk, &["--run", "followed.yaml"]);
    served.wait_for("log_records_processed_total{pipeline=\"yearly\"} 1");
    desk.write("access.log", "one\ntwo\n");
    served.wait_for("log_records_processed_total{pipeline=\"yearly\"} 2");
    let second = desk.run(&["run", "followed.yaml", "--until-end"]);
    assert_eq!(second.code, 4, "one process at a time: {}", second.stderr);
    served.stop();
}

#[test]
fn the_blueprint_takes_its_schedule_from_a_variable() {
    let desk = Desk::new();
    desk.write("access.log", "line\n");
    let file = blueprint("pipeline.yaml").display().to_string();
    for (schedule, cron) in [("", Value::Null), ("30 4 * * *", Value::from("30 4 * * *"))] {
        let mut check = desk.command(&["check", &file, "--format", "json"]);
        check.env("SAMPLE_LOG_PATH", "access.log").env("BATCH_SCHEDULE", schedule);
        let output = check.output().expect("it starts");
        let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(checked["schedule"]["cron"], cron, "{checked}");
    }
}

#[test]
fn check_shows_the_next_times_and_refuses_what_cannot_be_scheduled() {
    let desk = desk("all");
    let checked = desk.done(&["check", "yearly.yaml", "--format", "json"]).json();
    let schedule = &checked["schedule"];
    assert_eq!(schedule["time_zone"], "Europe/Berlin");
    assert_eq!(schedule["next"].as_array().expect("times").len(), 3);
    let wrong = YEARLY.replace("MISSED", "once").replace("0 0 1 1 *", "0 0 1 13 *");
    desk.write("yearly.yaml", &wrong);
    let ran = desk.run(&["check", "yearly.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--> yearly.yaml:2:19"), "{}", ran.stderr);
    let endless = "{ type: stdio }";
    let endless =
        YEARLY.replace("MISSED", "once").replace("{ type: file, paths: [access.log] }", endless);
    desk.write("yearly.yaml", &endless);
    let ran = desk.run(&["check", "yearly.yaml"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("can be read only once"), "{}", ran.stderr);
}
