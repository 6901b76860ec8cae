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
