//! Partitions of Kafka that share one lineage: a step sees all of them, one process reads them, and
//! others stand by.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use testkit::services::{find, unique};
use testkit::wait;

use crate::Desk;

const LIMIT: Duration = Duration::from_secs(60);

/// A desk from which lines go into topics.
struct Topics {
    desk: Desk,
    brokers: String,
}

impl Topics {
    fn find() -> Option<Self> {
        Some(Self { brokers: find("kafka")?, desk: Desk::new() })
    }

    /// Sends a line for each number into a topic, which is made with 3 partitions.
    fn fill(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let name = unique("fill");
        let file = format!("{name}.log");
        self.desk.write(&file, &numbers.map(|number| format!("{number}\n")).collect::<String>());
        let yaml = format!(
            "name: {name}\nsources:\n  lines: {{ type: file, paths: [{file}] }}\nsinks:\n  \
             topic: {{ type: kafka, input: lines, brokers: '{}', topic: {topic}, \
             key: '{{message}}', create_topics: {{ partitions: 3 }} }}\n",
            self.brokers
        );
        self.desk.write("fill.yaml", &yaml);
        self.desk.done(&["run", "fill.yaml", "--until-end", "--quiet"]);
    }

    /// A source that reads a topic in the lineage of all.
    fn source(&self, name: &str, topic: &str, start: &str) -> String {
        let brokers = &self.brokers;
        format!(
            "  {name}: {{ type: kafka, brokers: '{brokers}', topics: [{topic}], start: {start}, \
             lineages: one }}\n"
        )
    }

    fn numbers(&self, sql: &str) -> String {
        self.desk.done(&["query", sql, "--format", "csv"]).stdout
    }
}

/// Starts a process, and gives it back with what it says.
fn start(desk: &Desk, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut command = desk.command(arguments);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    (child, stderr)
}

#[test]
fn topics_meet_in_a_step_and_a_standby_takes_over_what_a_killed_process_read() {
    let Some(topics) = Topics::find() else { return };
    let (one, two) = (unique("one"), unique("two"));
    topics.fill(&one, 0..3_000);
    topics.fill(&two, 2_000..5_000);
    let sources =
        [topics.source("a", &one, "earliest"), topics.source("b", &two, "earliest")].concat();
    let yaml = format!(
        "name: {one}\nepoch: {{ interval: 200ms, bytes_max: 16KiB }}\nsources:\n{sources}\
         transforms:\n  once: {{ type: dedupe, input: [a, b], key: [message] }}\nsinks:\n  \
         lake: {{ type: lake, input: once, table: met }}\n"
    );
    let desk = &topics.desk;
    desk.write("met.yaml", &yaml);
    let (mut first, _said) = start(desk, &["run", "met.yaml", "--quiet"]);
    wait::until("the first process delivers", LIMIT, || {
        let audit = desk.run(&["audit", "met.yaml", "--format", "json"]);
        (audit.code == 0 && audit.json()["lineages"][0]["epoch"].as_u64()? > 0).then_some(())
    });
    let refused = desk.run(&["run", "met.yaml", "--until-end"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let (mut second, said) = start(desk, &["run", "met.yaml", "--until-end", "--standby"]);
    let mut lines = said.lines();
    let told = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("standing by")));
    let told = told.expect("it says so").expect("text");
    assert!(told.contains(&format!("process {}", first.id())), "{told}");
    first.kill().expect("it lives");
    first.wait().expect("it ends");
    assert_eq!(second.wait().expect("it ends").code(), Some(0));
    let sql = "SELECT count(*) AS n, count(DISTINCT message) AS d FROM met";
    assert_eq!(topics.numbers(sql), "n,d\n5000,5000\n");
    let audit = desk.done(&["audit", "met.yaml", "--format", "json"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
    assert_eq!(audit["lineages"].as_array().map(Vec::len), Some(1), "{audit}");
}

#[test]
fn where_a_source_starts_is_decided_once_also_for_one_that_comes_later() {
    let Some(topics) = Topics::find() else { return };
    let (one, two) = (unique("early"), unique("late"));
    topics.fill(&one, 0..10);
    topics.fill(&two, 100..110);
    let yaml = |sources: &str, inputs: &str| {
        format!(
            "name: {one}\nsources:\n{sources}sinks:\n  \
             lake: {{ type: lake, input: {inputs}, table: begun }}\n"
        )
    };
    let desk = &topics.desk;
    let early = topics.source("early", &one, "latest");
    desk.write("begun.yaml", &yaml(&early, "early"));
    let mut killed = desk.command(&["run", "begun.yaml", "--until-end", "--quiet"]);
    let killed = killed.env("LOGMILL_FAILPOINT", "recover.first:1").status().expect("it starts");
    assert_eq!(killed.code(), None, "it was killed");
    topics.fill(&one, 10..15);
    desk.done(&["run", "begun.yaml", "--until-end"]);
    let both = early + &topics.source("other", &two, "latest");
    desk.write("begun.yaml", &yaml(&both, "[early, other]"));
    desk.done(&["run", "begun.yaml", "--until-end"]);
    topics.fill(&two, 110..115);
    desk.done(&["run", "begun.yaml", "--until-end"]);
    let sql = "SELECT min(m) AS a, max(m) AS b, count(*) AS n FROM \
               (SELECT CAST(regexp_match(message, '[0-9]+')[1] AS INT) AS m FROM begun) WHERE m";
    assert_eq!(topics.numbers(&format!("{sql} < 100")), "a,b,n\n10,14,5\n");
    assert_eq!(topics.numbers(&format!("{sql} >= 100")), "a,b,n\n110,114,5\n");
    desk.done(&["audit", "begun.yaml"]);
}
