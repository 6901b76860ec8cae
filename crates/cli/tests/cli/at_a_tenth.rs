//! What holds for many files, at a tenth of its size; `cargo xtask whole` runs all of it, and
//! prints the figures.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(300);
/// How long a line may take from its file into the sink.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// So many; a tenth of them unless all is to be run.
fn tenth_of(whole: usize) -> usize {
    if std::env::var_os("LOGMILL_WHOLE").is_some() { whole } else { whole / 10 }
}

/// A run that prints its lines, and dies with the test.
struct Printing {
    child: Child,
    /// Each line, and when it came.
    lines: Receiver<(String, Instant)>,
}

impl Printing {
    /// Follows with so few descriptors.
    fn start(desk: &Desk, descriptors: usize) -> Self {
        let program = desk.command(&["run", "p.yaml"]);
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        command.args(["-c", &limited]).arg(program.get_program()).args(program.get_args());
        command.current_dir(desk.path()).env_remove("LOGMILL_DATA");
        let told = fs::File::create(desk.path().join("told")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(told).spawn().unwrap();
        let (came, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = came.send((line, Instant::now()));
            }
        });
        Self { child, lines }
    }

    fn next(&self, what: &str) -> (String, Instant) {
        self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no {what} within {LIMIT:?}"))
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn append(path: &Path, line: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn percentile(times: &mut [Duration], hundredths: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * hundredths / 100).min(times.len() - 1)]
}

#[test]
fn a_line_of_any_of_many_files_is_in_the_sink_within_5_seconds_though_few_can_be_open() {
    let (files, descriptors) = (tenth_of(5_000), tenth_of(256).max(96));
    let desk = Desk::new();
    desk.write(
        "p.yaml",
        "name: many\nepoch: { interval: 1s }\nsources:\n  logs: { type: file, paths: \
         [\"logs/*.log\"] }\nsinks:\n  out: { type: stdio, input: logs, format: json }\n",
    );
    fs::create_dir(desk.path().join("logs")).unwrap();
    let path = |file: usize| -> PathBuf { desk.path().join(format!("logs/{file:05}.log")) };
    (0..files).for_each(|file| append(&path(file), &format!("first {file}")));
    let run = Printing::start(&desk, descriptors);
    let begun = Instant::now();
    for number in 0..files {
        run.next(&format!("first line of file {number}"));
    }
    let read = begun.elapsed();
    let (rounds, at_once) = (40, (files / 25).max(1));
    let begun = Instant::now();
    let mut written: Vec<Instant> = Vec::new();
    for round in 0..rounds {
        for _ in 0..at_once {
            // A prime, so that all files have their turn.
            append(&path(written.len() * 7_919 % files), &format!("line {} ", written.len()));
            written.push(Instant::now());
        }
        // The load that is to be carried, not something to wait for.
        let due = begun + Duration::from_millis(250) * (round + 1);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let mut seen = HashSet::new();
    let mut times: Vec<_> = Vec::new();
    while seen.len() < written.len() {
        let (line, came) = run.next("line");
        let number = line.split_once("line ").and_then(|(_, rest)| rest.split_once(' '));
        let number: usize = number.unwrap_or_else(|| panic!("{line}")).0.parse().unwrap();
        assert!(seen.insert(number), "{line} came twice");
        times.push(came.saturating_duration_since(written[number]));
    }
    let (most, p99, p50) =
        (percentile(&mut times, 100), percentile(&mut times, 99), percentile(&mut times, 50));
    println!(
        "{files} files, {descriptors} descriptors: first lines in {read:.1?}; {} lines later, \
         {at_once} files at once: p50 {p50:.2?}, p99 {p99:.2?}, most {most:.2?}",
        written.len()
    );
    assert!(most <= LATENCY_MAX, "p50 {p50:?}, p99 {p99:?}, most {most:?}");
}

/// Files in a second that a run reads, without a step and with one that parses.
const FILES_PER_SECOND: [(&str, f64); 2] = [("", 5_000.0), (PARSE, 3_000.0)];
const PARSE: &str = "transforms:\n  parsed: { type: parse, input: logs, format: regex, pattern: \
                     '^(?<file>\\d+) (?<line>\\d+) (?<text>.*)$' }\n";

#[test]
fn many_small_files_come_into_the_lake_in_one_run() {
    const LINES: usize = 3;
    let files = tenth_of(50_000);
    for (steps, least) in FILES_PER_SECOND {
        let desk = Desk::new();
        let input = if steps.is_empty() { "logs" } else { "parsed" };
        let yaml = format!(
            "name: small\nsources:\n  logs: {{ type: file, paths: [\"logs/*.log\"] \
             }}\n{steps}sinks:\n  lake: {{ type: lake, input: {input}, table: lines }}\n"
        );
        desk.write("p.yaml", &yaml);
        fs::create_dir(desk.path().join("logs")).unwrap();
        for file in 0..files {
            let lines = (0..LINES).map(|line| format!("{file} {line} a line of a small file\n"));
            desk.write(&format!("logs/{file:05}.log"), &lines.collect::<String>());
        }
        let begun = Instant::now();
        desk.done(&["run", "p.yaml", "--until-end", "--quiet"]);
        let rate = files as f64 / begun.elapsed().as_secs_f64();
        println!("{files} files of {LINES} lines, input {input}: {rate:.0} files/s");
        let sql = "SELECT count(*), count(DISTINCT _split || '@' || _position) FROM lines";
        let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
        let all = files * LINES;
        assert_eq!(rows.lines().nth(1), Some(&*format!("{all},{all}")));
        // What is not released says nothing of speed.
        assert!(cfg!(debug_assertions) || rate >= least, "{rate:.0} files/s, expected {least}");
    }
}
