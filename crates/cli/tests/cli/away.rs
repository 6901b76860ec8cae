//! A source whose system is away keeps no other back, and nobody who stops the run.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::services::{find, unique};
use testkit::wait;

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(60);
/// The most that a run takes to stop.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How long a source is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon after that a run ends.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(3);
/// Where nobody listens.
const NOBODY: &str = "127.0.0.1:1";

impl Desk {
    /// A file and a topic, each into a table of its own.
    fn of_file_and_topic(&self, name: &str, brokers: &str, topic: &str) {
        let yaml = format!(
            "name: {name}\nepoch: {{ interval: 200ms }}\nretry: {{ for: 2s }}\nsources:\n  lines: \
             {{ type: file, paths: [l.log] }}\n  topic: {{ type: kafka, brokers: '{brokers}', \
             topics: [{topic}], lineages: one, start: latest }}\nsinks:\n  near: {{ type: lake, \
             input: lines, table: near }}\n  far: {{ type: lake, input: topic, table: far }}\n"
        );
        self.write("away.yaml", &yaml);
    }

    fn append_line(&self, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.path().join("l.log"));
        writeln!(file.expect("it can be written"), "{line}").expect("written");
    }

    fn follow(&self) -> Child {
        let mut command = self.command(&["run", "away.yaml", "--quiet"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
    }

    fn count(&self, table: &str) -> Option<u64> {
        let counted = self.run(&["query", "-f", "csv", &format!("SELECT count(*) FROM {table}")]);
        counted.stdout.lines().nth(1)?.parse().ok()
    }
}

/// Stops a run at once, and says how it ended.
fn stop(mut run: Child) -> Option<i32> {
    let begun = Instant::now();
    kill_process(Pid::from_child(&run), Signal::TERM).expect("it lives");
    let code = run.wait().expect("it ends").code();
    assert!(begun.elapsed() < STOP_MAX, "it took {:?}", begun.elapsed());
    code
}

#[test]
fn where_a_broker_is_away_files_are_read_and_a_run_stops_when_it_is_told() {
    let desk = Desk::new();
    desk.of_file_and_topic("away", NOBODY, "nothing");
    desk.append_line("one");
    // First while the start still waits for an answer, then in the middle of it.
    let run = desk.follow();
    wait::until("it has begun", LIMIT, || desk.path().join("logmill-data").exists().then_some(()));
    assert_eq!(stop(run), Some(143));
    for lines in 1..=2 {
        let run = desk.follow();
        wait::until("the line is there", LIMIT, || (desk.count("near")? == lines).then_some(()));
        assert_eq!(stop(run), Some(143));
        desk.append_line("two");
    }
    let ended = desk.run(&["run", "away.yaml", "--until-end"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("source \"topic\""), "{}", ended.stderr);
    assert!(ended.stderr.contains("everything else is committed"), "{}", ended.stderr);
    assert_eq!(desk.count("near"), Some(3));
}

#[test]
fn who_is_told_to_stop_while_a_sink_is_away_stops_cleanly() {
    let desk = Desk::new();
    desk.append_line("one");
    desk.write(
        "sink.yaml",
        "name: sink\nsources:\n  lines: { type: file, paths: [l.log] }\nsinks:\n  out: { type: \
         postgres, input: lines, url: 'postgres://x@127.0.0.1:1/x', table: t }\n",
    );
    let mut command = desk.command(&["run", "sink.yaml"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = command.spawn().expect("it starts");
    let stderr = BufReader::new(run.stderr.take().expect("a pipe"));
    // Somebody must read on, or it could not write any more.
    let (told, tells) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = stderr.lines().map_while(std::result::Result::ok);
        lines
            .filter(|line| line.contains("trying again"))
            .for_each(|_| told.send(()).expect("read"));
    });
    let is_away = tells.recv_timeout(LIMIT);
    let code = stop(run);
    is_away.expect("it is away");
    assert_eq!(code, Some(143));
}

#[test]
fn with_an_end_brokers_are_waited_for_as_long_as_the_settings_say() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_address = silent.local_addr().expect("an address").to_string();
    for brokers in [NOBODY, &silent_address] {
        for lineages in ["one", "split"].map(|word| format!("lineages: {word}")) {
            let desk = Desk::new();
            desk.of_file_and_topic("away", brokers, "nothing");
            let yaml = std::fs::read_to_string(desk.path().join("away.yaml")).expect("text");
            desk.write("away.yaml", &yaml.replace("lineages: one", &lineages));
            desk.append_line("one");
            let begun = Instant::now();
            let ended = desk.run(&["run", "away.yaml", "--until-end"]);
            let took = begun.elapsed();
            let case = format!("{brokers} {lineages}: {took:?} {}", ended.stderr);
            assert_eq!(ended.code, 1, "{case}");
            assert!(ended.stderr.contains("source \"topic\""), "{case}");
            assert!(ended.stderr.contains("everything else is committed"), "{case}");
            assert_eq!(desk.count("near"), Some(1), "{case}");
            assert!(took < PATIENCE + GIVEN_UP_WITHIN, "{case}");
        }
    }
}

#[test]
fn a_topic_whose_broker_was_away_starts_where_it_ends_when_it_is_reached() {
    let Some(brokers) = find("kafka") else { return };
    let topic = unique("away");
    let desk = Desk::new();
    let fill = |line: &str| {
        desk.write("fill.log", &format!("{line}\n"));
        let name = unique("fill");
        let yaml = format!(
            "name: {name}\nsources:\n  lines: {{ type: file, paths: [fill.log] }}\nsinks:\n  out: \
             {{ type: kafka, input: lines, brokers: '{brokers}', topic: {topic}, create_topics: \
             {{ partitions: 1 }} }}\n"
        );
        desk.write("fill.yaml", &yaml);
        desk.done(&["run", "fill.yaml", "--until-end", "--quiet"]);
    };
    desk.append_line("one");
    desk.of_file_and_topic(&topic, NOBODY, &topic);
    assert_eq!(desk.run(&["run", "away.yaml", "--until-end"]).code, 1);
    fill("before it was reached");
    desk.of_file_and_topic(&topic, &brokers, &topic);
    desk.done(&["run", "away.yaml", "--until-end"]);
    fill("after it was reached");
    // It is known now: while it is away again the file goes on, and nothing of it is missed.
    desk.append_line("two");
    desk.of_file_and_topic(&topic, NOBODY, &topic);
    assert_eq!(desk.run(&["run", "away.yaml", "--until-end"]).code, 1);
    assert_eq!(desk.count("near"), Some(2));
    desk.of_file_and_topic(&topic, &brokers, &topic);
    desk.done(&["run", "away.yaml", "--until-end"]);
    let messages = desk.done(&["query", "-f", "csv", "SELECT message FROM far"]).stdout;
    assert!(messages.contains("after it was reached"), "{messages}");
    assert!(!messages.contains("before it was reached"), "{messages}");
    desk.done(&["audit", "away.yaml"]);
}
