//! What queries spill to disk, and that nothing of it stays.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::wait;

use super::Server;
use crate::Desk;

const ROWS: u32 = 4_000;
/// Many rows in an order that no file has.
const SORTED: &str = "SELECT a.message AS one, b.message AS other FROM lines a CROSS JOIN lines b \
     ORDER BY concat(b.message, a.message) DESC";
const LIMIT: Duration = Duration::from_secs(120);

fn desk() -> Desk {
    let desk = Desk::new();
    let lines = (0..ROWS).map(|number| format!("{:08}\n", u64::from(number) * 7919 % 100_003));
    desk.write("access.log", &lines.collect::<String>());
    desk.write(
        "web.yaml",
        "name: web\nsources:\n  access: { type: file, paths: [access.log] }\nsinks:\n  lake: { \
         type: lake, input: access, table: lines }\n",
    );
    desk.done(&["run", "web.yaml", "--until-end"]);
    std::fs::create_dir(desk.path().join("tmp")).expect("a folder");
    desk
}

/// Bytes of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |known| known.len()),
    });
    sizes.sum()
}

fn names_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).into_iter().flatten().count()
}

fn spill(desk: &Desk) -> std::path::PathBuf {
    desk.path().join("logmill-data/spill")
}

fn spills(desk: &Desk) {
    wait::until("the query spills", LIMIT, || (bytes_below(&spill(desk)) > 0).then_some(()));
}

/// Nothing is left, in the data folder nor among the system's temporary files.
fn nothing_stays(desk: &Desk) {
    wait::until("nothing stays", LIMIT, || (names_in(&spill(desk)) == 0).then_some(()));
    assert_eq!(names_in(&desk.path().join("tmp")), 0);
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("it lives");
}

fn query(desk: &Desk) -> Child {
    let mut command = desk.command(&["query", "--memory", "32MiB", SORTED]);
    command.env("TMPDIR", desk.path().join("tmp"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn a_query_that_is_ended_leaves_nothing_and_the_next_one_clears_what_a_killed_one_left() {
    let desk = desk();
    for (how, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut child = query(&desk);
        spills(&desk);
        signal(&child, how);
        assert_eq!(child.wait().expect("it ends").code(), Some(code));
        nothing_stays(&desk);
    }
    let mut killed = query(&desk);
    spills(&desk);
    killed.kill().expect("it lives");
    killed.wait().expect("it ends");
    let left = std::fs::read_dir(spill(&desk)).expect("listed").next().expect("one");
    let left = left.expect("an entry").path();
    assert!(bytes_below(&left) > 0, "nobody could remove it");
    let mut living = query(&desk);
    wait::until("what was left goes", LIMIT, || (!left.exists()).then_some(()));
    spills(&desk);
    // Another process over the same folder leaves it alone.
    desk.done(&["query", "SELECT count(*) FROM lines"]);
    assert!(bytes_below(&spill(&desk)) > 0, "the query that runs keeps its own");
    signal(&living, Signal::TERM);
    living.wait().expect("it ends");
    nothing_stays(&desk);
}

#[test]
fn a_server_removes_what_its_queries_spilled_however_they_end() {
    let desk = desk();
    let mut server = Server::start_with(&desk, &[], |command| {
        command.env("TMPDIR", desk.path().join("tmp"));
    });
    let body = serde_json::json!({ "sql": SORTED }).to_string();
    let ask = |server: &Server| {
        let (host, length) = (&server.address, body.len());
        let mut stream = server.connect();
        let head =
            format!("POST /query HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json");
        write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").expect("sent");
        stream
    };
    // A client that leaves.
    let stream = ask(&server);
    spills(&desk);
    drop(stream);
    nothing_stays(&desk);
    // A query that takes longer than it may.
    let hasty = Server::start(&desk, &["--query-timeout", "1s"]);
    let refused = hasty.post("/query", &body);
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("longer than 1 s"), "{refused:?}");
    nothing_stays(&desk);
    drop(hasty);
    // A server that is told to end, and one that is killed.
    let stream = ask(&server);
    spills(&desk);
    signal(&server.child, Signal::TERM);
    server.child.wait().expect("it ends");
    nothing_stays(&desk);
    drop(stream);
    let mut server = Server::start(&desk, &[]);
    let stream = ask(&server);
    spills(&desk);
    server.child.kill().expect("it lives");
    server.child.wait().expect("it ends");
    drop(stream);
    let _next = Server::start(&desk, &[]);
    nothing_stays(&desk);
}
