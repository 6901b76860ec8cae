//! What took how long: each step, each program of tests, and the slowest tests.
//!
//! Stable libtest says of no test how long it took, but when each one ends. It begins them in the
//! order of their names, a new one as soon as one of its threads is free, so with `n` threads the
//! `k`th begins when `k - n` have ended. That is what is measured: from there to the line of its
//! result, as it is read here, with all that the test waited for, another test included.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// How many tests are named.
const TESTS_MAX: usize = 20;
/// Programs of tests that took less than this are not named.
const PROGRAM_MIN: Duration = Duration::from_secs(5);
/// What libtest is told about its threads.
const THREADS: &str = "RUST_TEST_THREADS";

/// What took how long, so far.
#[derive(Default)]
pub struct Times {
    steps: Vec<(String, Duration)>,
    programs: Vec<Program>,
}

/// What one program of tests said.
struct Program {
    name: String,
    begun: Instant,
    /// Tests with the time of their results, in the order of these.
    results: Vec<(String, Instant)>,
}

impl Times {
    /// Runs a command to its end, with its output going where ours goes.
    ///
    /// # Errors
    /// It could not be started, or ended with another exit code than 0.
    pub fn step(&mut self, name: &str, mut command: Command) -> Result<(), String> {
        self.taken(name, &mut command, |_, command| command.status())
    }

    /// The same for tests that cargo runs; both outputs go to ours.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn tests(&mut self, name: &str, mut command: Command) -> Result<(), String> {
        command.env(THREADS, threads().to_string());
        self.taken(name, &mut command, Self::listen)
    }

    /// Something that is no command took so long.
    pub fn add(&mut self, name: &str, time: Duration) {
        self.steps.push((name.to_owned(), time));
    }

    fn taken(
        &mut self,
        name: &str,
        command: &mut Command,
        run: impl FnOnce(&mut Self, &mut Command) -> std::io::Result<ExitStatus>,
    ) -> Result<(), String> {
        println!("xtask: {name}");
        let started = Instant::now();
        let status = run(self, command);
        self.add(name, started.elapsed());
        let program = command.get_program();
        let status =
            status.map_err(|error| format!("{name}: could not run {program:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{name} failed ({status})"));
        }
        println!("xtask: {name} took {} s", started.elapsed().as_secs());
        Ok(())
    }

    /// Runs tests, and reads what they say while it goes on to our output.
    fn listen(&mut self, command: &mut Command) -> std::io::Result<ExitStatus> {
        // One pipe, so that the names of programs come before what these say.
        let (output, input) = std::io::pipe()?;
        let mut child = command.stdout(input.try_clone()?).stderr(input).spawn()?;
        // The command holds the pipe's other end, which must close when the child is gone.
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut line = Vec::new();
        let mut output = BufReader::new(output);
        while output.read_until(b'\n', &mut line)? > 0 {
            std::io::stdout().write_all(&line)?;
            self.read(&String::from_utf8_lossy(&line), Instant::now());
            line.clear();
        }
        child.wait()
    }

    /// Learns from a line of cargo or of a program of tests, which came at this time.
    fn read(&mut self, line: &str, now: Instant) {
        let line = line.trim();
        if let Some(name) = program_name(line) {
            self.programs.push(Program { name, begun: now, results: Vec::new() });
            return;
        }
        let Some(program) = self.programs.last_mut() else { return };
        match test_name(line) {
            Some(name) => program.results.push((name.to_owned(), now)),
            None if line.starts_with("running ") => program.begun = now,
            None => {}
        }
    }

    /// Prints all of it, the slowest first.
    pub fn print(&self) {
        println!("\nxtask: what took how long");
        for (name, time) in &self.steps {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
        let mut programs: Vec<_> = self.programs.iter().filter_map(Program::took).collect();
        programs.retain(|(_, time)| *time >= PROGRAM_MIN);
        slowest_first(&mut programs);
        if !programs.is_empty() {
            println!("xtask: the slowest programs of tests");
        }
        for (name, time) in programs {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
        let tests = self.slowest_tests(threads());
        if !tests.is_empty() {
            println!("xtask: the slowest tests, with what they waited for");
        }
        for (name, time) in tests {
            println!("{:>7.1} s  {name}", time.as_secs_f64());
        }
    }

    fn slowest_tests(&self, threads: usize) -> Vec<(String, Duration)> {
        let tests = self.programs.iter().flat_map(|program| program.tests(threads));
        let mut tests: Vec<_> = tests.collect();
        slowest_first(&mut tests);
        tests.truncate(TESTS_MAX);
        tests
    }
}

impl Program {
    /// From the beginning to the last result; none where there was no test.
    fn took(&self) -> Option<(String, Duration)> {
        let (_, last) = self.results.last()?;
        Some((self.name.clone(), last.duration_since(self.begun)))
    }

    fn tests(&self, threads: usize) -> Vec<(String, Duration)> {
        let mut begun: Vec<_> = self.results.iter().collect();
        begun.sort();
        let tests = begun.into_iter().enumerate().map(|(number, (name, result))| {
            let begin = match number.checked_sub(threads) {
                Some(ended) => self.results[ended].1,
                None => self.begun,
            };
            (format!("{} {name}", self.name), result.duration_since(begin))
        });
        tests.collect()
    }
}

/// Tests that run at once.
fn threads() -> usize {
    let chosen = std::env::var(THREADS).ok().and_then(|threads| threads.parse().ok());
    chosen.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn slowest_first(times: &mut [(String, Duration)]) {
    times.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
}

/// The program of a line such as `Running unittests src/lib.rs (target/debug/deps/api-e030)`.
fn program_name(line: &str) -> Option<String> {
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{package} (documentation)"));
    }
    let (what, file) = line.strip_prefix("Running ")?.rsplit_once(" (")?;
    let file = file.strip_suffix(')')?.rsplit('/').next()?;
    let (program, _hash) = file.rsplit_once('-')?;
    Some(match what.strip_prefix("unittests ") {
        Some(_) => program.to_owned(),
        None => format!("{program} ({what})"),
    })
}

/// The test of a line such as `test name ... ok`.
fn test_name(line: &str) -> Option<&str> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let is_result = result == "ok" || result == "FAILED" || result.starts_with("ignored");
    is_result.then_some(name)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Times;

    /// What is said of lines that come after so many seconds, with so many threads.
    fn check(threads: usize, lines: &[(u64, &str)], expect: &[(&str, u64)]) {
        let (begin, mut times) = (Instant::now(), Times::default());
        for (second, line) in lines {
            times.read(line, begin + Duration::from_secs(*second));
        }
        let found = times.slowest_tests(threads);
        let found: Vec<_> = found.iter().map(|(name, time)| (&**name, time.as_secs())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_test_begins_when_a_thread_is_free_and_ends_with_its_result() {
        let lines = [
            (0, "     Running unittests src/lib.rs (/target/debug/deps/connector_file-f79)"),
            (1, "running 4 tests"),
            (4, "test b ... ok"),
            (5, "test c - should panic ... ok"),
            (7, "noise ... ok"),
            (9, "test a has been running for over 60 seconds"),
            (11, "test a ... FAILED"),
            (12, "test d ... ok"),
            (12, "test result: FAILED. 3 passed; 1 failed; finished in 11.00s"),
        ];
        // `a` and `b` at 1, `c` when `b` has ended, `d` when `c` has.
        let expect = [
            ("connector_file a", 10),
            ("connector_file d", 7),
            ("connector_file b", 3),
            ("connector_file c - should panic", 1),
        ];
        check(2, &lines, &expect);
    }

    #[test]
    fn programs_are_named_and_one_without_tests_says_nothing() {
        let lines = [
            (0, "   Compiling xtask v0.1.0"),
            (0, "running 1 tests of nobody"),
            (0, "     Running tests/cli/main.rs (/target/debug/deps/cli-9d)"),
            (0, "running 1 test"),
            (2, "test name ... ok"),
            (2, "   Doc-tests api"),
            (3, "running 0 tests"),
            (3, "     Running tests/tls.rs (/target/debug/deps/tls-6b)"),
            (3, "running 2 tests"),
            (3, "test ignored_here ... ignored, needs much"),
            (4, "test name ... ok"),
        ];
        let expect = [
            ("cli (tests/cli/main.rs) name", 2),
            ("tls (tests/tls.rs) name", 1),
            ("tls (tests/tls.rs) ignored_here", 0),
        ];
        check(1, &lines, &expect);
    }
}
