//! The server as its clients meet it: answers, refusals, and what it does under load.

mod answers;
mod lakes;
mod load;
mod safety;
mod schema;
mod spills;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::wait;

use crate::Desk;
use crate::memory::held_bytes;

/// An answer that takes longer hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Requests of a day and the next, one of them no request.
const LOG: &str = "\
10.0.0.1 - - [20/Nov/2026:10:00:00 +0000] \"GET /a?x=1 HTTP/1.1\" 200 100 \"-\" \"curl/8.0\" 10
10.0.0.1 - - [20/Nov/2026:10:20:00 +0000] \"GET /a?x=1 HTTP/1.1\" 200 300 \"-\" \"curl/8.0\" 30
10.0.0.2 - - [20/Nov/2026:12:00:00 +0000] \"GET /b HTTP/1.1\" 404 50 \"https://x.example/\" \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36\" 20
not a request
10.0.0.2 - - [21/Nov/2026:10:00:00 +0000] \"GET /c.css HTTP/1.1\" 503 - \"-\" \"curl/8.0\" 400
";
const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
transforms:
  parsed: { type: parse, input: access, format: combined }
  enriched: { type: enrich, input: parsed, user_agent: user_agent }
sinks:
  lake: { type: lake, input: enriched, table: web_logs, partition_by: day(ts) }
";

/// A server over a folder. Dropped, it is killed.
pub struct Server {
    child: Child,
    address: String,
    /// One that nobody reads any more ends the program.
    _stdout: BufReader<ChildStdout>,
}

/// What a request got.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A folder in which the pipeline has run.
fn loaded() -> Desk {
    let desk = Desk::new();
    desk.write("access.log", LOG);
    desk.write("web.yaml", PIPELINE);
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk
}

impl Server {
    fn start(desk: &Desk, arguments: &[&str]) -> Self {
        Self::start_with(desk, arguments, |_| ())
    }

    fn start_with(desk: &Desk, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let all = [&["serve", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut command = desk.command(&all);
        command.env_remove("LOGMILL_TOKEN");
        change(&mut command);
        Self::of(command)
    }

    /// The server that a command starts, which says first where it listens.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut address = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut address).expect("an address");
        assert!(!address.trim().is_empty(), "the server says where it listens");
        let address = address.trim().trim_start_matches("http://");
        let address = address.split('/').next().unwrap_or_default().to_owned();
        Self { child, address, _stdout: stdout }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it as Ctrl-C does; gives the exit code.
    pub fn interrupt(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is there");
        self.child.wait().expect("it ends").code()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("set");
        stream
    }

    /// Sends a whole request and takes the whole answer.
    fn send(&self, request: &str) -> Got {
        let mut stream = self.connect();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}"));
        Got { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub fn get(&self, path: &str) -> Got {
        self.get_with(path, "")
    }

    fn get_with(&self, path: &str, headers: &str) -> Got {
        let host = &self.address;
        let path = path.replace('<', "%3C").replace('>', "%3E");
        self.send(&format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n"))
    }

    pub fn post(&self, path: &str, json: &str) -> Got {
        let (host, length) = (&self.address, json.len());
        self.send(&format!(
            "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{json}"
        ))
    }

    /// Bytes that the process holds in memory.
    fn resident(&self) -> u64 {
        held_bytes(&self.child, "VmRSS").expect("the server lives")
    }

    /// Files and connections that the process has open.
    fn opened(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a process").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something holds.
pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    wait::until(what, ANSWER_LIMIT, || holds().then_some(()));
}
