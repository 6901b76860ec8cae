//! The questions of the dashboard over a month of requests, beside GoAccess on the same log.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::cases::{Bench, generate};
use super::report::{Goal, Table};
use crate::services::browser;
use crate::steps;

const ASK: &str = include_str!("ask.py");
const PAINT: &str = include_str!("paint.mjs");
const ROWS: u64 = 10_000_000;
const DAYS: &str = "30";
/// What was promised.
const ANSWER_MAX_MS: f64 = 200.0;
const PAINT_MAX_MS: f64 = 1000.0;

impl Bench {
    /// Loads a log of ten million requests in thirty days, serves it, and asks.
    pub fn serve(&self, table: &mut Table) -> Result<(), String> {
        let log = self.tools.path("month.log");
        let megabytes = generate(&self.tools, &log, ROWS, &["--days", DAYS])?;
        let yaml = format!(
            "name: served\nsources:\n  access: {{ type: file, paths: [{:?}] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: access, format: combined }}\n  enriched: {{ type: \
             enrich, input: parsed, user_agent: user_agent }}\nsinks:\n  lake: {{ type: lake, \
             input: enriched, table: web_logs, partition_by: day(ts) }}\n",
            log.display()
        );
        let cost = self.run_yaml("served", &yaml)?;
        let what = format!("{ROWS} requests of {DAYS} days ({megabytes:.0} MB) loaded");
        table.add(&what, cost.seconds, "s", Goal::None);
        let server = Server::start(self.tools.program(), &self.tools.path("served"))?;
        self.paint(&server, table)?;
        self.ask(&server, &log, table)
    }

    fn ask(&self, server: &Server, log: &Path, table: &mut Table) -> Result<(), String> {
        let script = self.tools.write("ask.py", ASK)?;
        let arguments = [script.as_os_str(), server.url.as_ref(), DAYS.as_ref(), log.as_os_str()];
        self.tools.python(&arguments)?;
        let [first, most, longest, goaccess] = self.tools.answer()?;
        let what = "a question of the dashboard, one day and one field";
        table.add(&format!("{what}: the first one"), first, "ms", Goal::None);
        let goal = Goal::AtMost(ANSWER_MAX_MS);
        let of_one = "95th percentile of the question with the largest";
        table.add(&format!("{what}: {of_one}"), most, "ms", goal);
        table.add(&format!("{what}: the longest of them all"), longest, "ms", Goal::None);
        if goaccess.is_finite() {
            let goal = Goal::AtLeast(longest / 1e3);
            let what = "GoAccess: report of one day and status, picked by grep";
            table.add(what, goaccess, "s", goal);
        }
        Ok(())
    }

    /// In Chromium, where it and Node.js can be had.
    fn paint(&self, server: &Server, table: &mut Table) -> Result<(), String> {
        let packages = browser::install(&steps::root().join("dashboard"))?;
        let script = self.tools.write("paint.mjs", PAINT)?;
        let output = Command::new("node")
            .args([script.as_os_str(), packages.as_os_str(), server.url.as_ref()])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("could not start node: {error}"))?;
        fs::write(self.tools.path("answer"), output.stdout)
            .map_err(|error| format!("could not note an answer: {error}"))?;
        let [paint, first, others] = self.tools.answer()?;
        let what = "the dashboard over all of it";
        table.add(&format!("{what}: first paint"), paint, "ms", Goal::AtMost(PAINT_MAX_MS));
        for (visit, whole) in [("at the first visit", first), ("at the next ones", others)] {
            let what = format!("{what}: every answer is there, {visit}");
            table.add(&what, whole, "ms", Goal::None);
        }
        Ok(())
    }
}

/// A server over a data folder. Dropped, it is killed.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(program: &Path, data: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("could not start `logmill serve`: {error}");
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--quiet", "--data"].map(OsStr::new))
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut address).map_err(failed)?;
        }
        Ok(Self { child, url: format!("http://{}", address.trim()) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What cannot be killed is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
