//! Brokers that do not answer: told soon, by every command that asks them, which go on asking.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Desk;

/// How soon it is told.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// What a command says first of the brokers, how long that took, and whether it went on.
fn told(desk: &Desk, arguments: &[&str]) -> (String, Duration, bool) {
    let begun = Instant::now();
    let mut command = desk.command(arguments);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("broker") {
        line.clear();
        if stderr.read_line(&mut line).expect("text") == 0 {
            break;
        }
    }
    let took = begun.elapsed();
    let is_running = child.try_wait().expect("a child").is_none();
    child.kill().expect("it runs");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    child.wait().expect("it ends");
    (line, took, is_running)
}

#[test]
fn brokers_that_do_not_answer_are_told_within_five_seconds() {
    let desk = Desk::new();
    // One port where nobody listens, and one where nobody takes what comes.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address.to_string()));
    let (_open, silent) = silent.expect("an address");
    for (brokers, heard) in [("127.0.0.1:1", "Connection refused"), (silent.as_str(), "answer")] {
        desk.write(
            "far.yaml",
            &format!(
                "name: far\nsources:\n  a: {{ type: kafka, brokers: '{brokers}', topics: [t] }}\n\
                 sinks:\n  out: {{ type: kafka, input: a, brokers: '{brokers}', topic: u }}\n"
            ),
        );
        for arguments in [
            &["run", "far.yaml", "--until-end"][..],
            &["run", "far.yaml"],
            &["check", "far.yaml", "--connect"],
            &["setup", "far.yaml"],
            &["tail", "--brokers", brokers, "-t", "t"],
        ] {
            let (line, took, is_running) = told(&desk, arguments);
            assert!(line.contains(brokers) && line.contains(heard), "{arguments:?}: {line}");
            assert!(is_running, "{arguments:?} goes on");
            assert!(took < TOLD_WITHIN, "{arguments:?} took {took:?}: {line}");
        }
    }
}
