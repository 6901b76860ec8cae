//! What is measured, one function for each kind of work.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::measure::{Cost, Tools, best};
use super::report::{Goal, Table};
use crate::steps;

/// What a generated line takes, about.
const LINE_BYTES: u64 = 243;
const MEGABYTE: f64 = 1e6;
const MEBIBYTE: f64 = 1_048_576.0;
/// What the documentation promises beyond `memory.limit`, and the limit itself.
const MEMORY_MAX_MIB: f64 = 256.0 + 150.0;
/// Rounds of short work, of which the quickest counts.
const ROUNDS: usize = 5;
/// How often the shell and DuckDB answer in turn, as the machine is quicker in some minutes.
const TURNS: usize = 3;
/// Rounds of long work, of which the one that took the least processor time counts.
const LONG_ROUNDS: usize = 3;

/// What is left of the speed of an earlier program; two runs of one program differ by as much.
pub(super) const BEFORE_MIN: f64 = 0.95;
const PLAIN_RUN: &str = "file → parse → lake";
const ENRICHED_RUN: &str = "file → parse → user agent, GeoIP → lake";
const DUCKDB_RUN: &str = "DuckDB: log as CSV → Parquet";
/// What was promised, in MB per CPU-second, and what DuckDB did where that was promised: a machine
/// that does less in a second does so for both.
const PLAIN_MIN: f64 = 180.0;
const ENRICHED_MIN: f64 = 125.0;
const DUCKDB_THERE: f64 = 155.0;
const PLAIN: &str = "lake: { type: lake, input: parsed, table: web_logs }";
const ENRICHED: &str = "lake: { type: lake, input: enriched, table: web_logs }";
const QUERIES: [(&str, &str, &str); 3] = [
    ("status", "requests by status", "SELECT status, count(*) AS hits FROM {} GROUP BY 1"),
    (
        "hours",
        "hits per hour",
        "SELECT date_trunc('hour', ts) AS hour, count(*) FROM {} GROUP BY 1",
    ),
    (
        "paths",
        "top paths",
        "SELECT path, count(*) AS hits FROM {} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10",
    ),
];

/// The log, and what measures.
pub struct Bench {
    pub(super) tools: Tools,
    pub(super) log: PathBuf,
    pub(super) megabytes: f64,
}

impl Bench {
    /// Generates the log.
    pub fn prepare(tools: Tools, megabytes: u64) -> Result<Self, String> {
        let log = tools.path("access.log");
        let megabytes = generate(&tools, &log, megabytes * 1_000_000 / LINE_BYTES, &[])?;
        Ok(Self { tools, log, megabytes })
    }

    /// Lines to columns on one core, beside counting line ends.
    pub fn parse(&self, table: &mut Table) -> Result<(), String> {
        // Built together with the program, so that both have dependencies with the same features.
        let mut cargo = steps::cargo([
            "bench",
            "--quiet",
            "--package",
            "formats",
            "--package",
            "logmill",
            "--bench",
            "parse",
        ]);
        let output = cargo.output().map_err(|error| format!("could not start cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        for (line, goal) in
            [("count line ends", Goal::None), ("combined, all columns", Goal::AtLeast(1000.0))]
        {
            let rest = said.lines().find_map(|said| said.strip_prefix(line));
            let figure = rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            let figure = figure.ok_or_else(|| format!("`cargo bench` did not say {line:?}"))?;
            table.add(&format!("one core: {line}"), figure, "MB/s", goal);
        }
        Ok(())
    }

    /// From the file into the lake, with and without enrichment.
    pub fn pipelines(&self, geoip: Option<&Path>, table: &mut Table) -> Result<(), String> {
        let enrich = self.enrichment(geoip)?;
        for (name, steps, sink, goal) in
            [("enriched", enrich.as_str(), ENRICHED, ENRICHED_MIN), ("plain", "", PLAIN, PLAIN_MIN)]
        {
            let cost = best(LONG_ROUNDS, || self.run_pipeline(name, &self.log, steps, sink))?;
            let what = match name {
                "plain" => PLAIN_RUN,
                _ => ENRICHED_RUN,
            };
            let speed = self.megabytes / cost.cpu_seconds;
            table.add(what, speed, "MB per CPU-second", Goal::AtLeast(goal));
            table.add(&format!("{what}: cores in use"), cost.cores(), "", Goal::AtLeast(1.5));
            let memory = cost.memory_bytes / MEBIBYTE;
            table.add(&format!("{what}: memory"), memory, "MiB", Goal::AtMost(MEMORY_MAX_MIB));
        }
        Ok(())
    }

    /// From the file into the lake, each time by an earlier program right before: one best of
    /// each, as the machine is quicker in some minutes.
    pub fn before(
        &self,
        earlier: &Path,
        geoip: Option<&Path>,
        table: &mut Table,
    ) -> Result<(), String> {
        let enrich = self.enrichment(geoip)?;
        for (what, name, steps, sink) in
            [(PLAIN_RUN, "plain", "", PLAIN), (ENRICHED_RUN, "enriched", enrich.as_str(), ENRICHED)]
        {
            let yaml = pipeline(name, &self.log, steps, sink);
            let (mut then, mut now) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..LONG_ROUNDS {
                then = then.min(self.run_yaml_by(earlier, name, &yaml)?.cpu_seconds);
                now = now.min(self.run_yaml(name, &yaml)?.cpu_seconds);
            }
            let before = format!("{what}: before");
            table.add(&before, self.megabytes / then, "MB per CPU-second", Goal::None);
            table.add(what, self.megabytes / now, "MB per CPU-second", Goal::None);
            table.ratio(what, &before, Goal::AtLeast(BEFORE_MIN));
        }
        Ok(())
    }

    fn enrichment(&self, geoip: Option<&Path>) -> Result<String, String> {
        let geoip = geoip.map_or_else(|| self.tools.geoip(), |path| Ok(path.to_owned()))?;
        Ok(format!(
            "  enriched: {{ type: enrich, input: parsed, user_agent: user_agent, geoip: {{ field: \
             ip, database: {:?} }} }}\n",
            geoip.display(),
        ))
    }

    /// Over the lake table of the last run, beside DuckDB on the same files: as a process of its
    /// own, and in a shell that is warm, as DuckDB is.
    pub fn queries(&self, table: &mut Table) -> Result<(), String> {
        let data = self.tools.path("plain");
        let lake = data.join("lake/web_logs");
        for (name, what, sql) in QUERIES {
            let sql = sql.replace("{}", "web_logs");
            let ours = self.quickest(&["query", &sql, "--data"], &data)?.seconds;
            let (mut warm, mut theirs) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..TURNS {
                warm = warm.min(self.tools.shell_seconds(&sql, &data)?);
                let work = [OsStr::new(name), lake.as_os_str()];
                theirs = theirs.min(self.tools.duckdb_seconds(&work)?);
            }
            let (goal, beside_duckdb) = match name {
                "paths" => (Goal::None, Goal::AtMost(theirs * 1e3)),
                _ => (Goal::AtMost(100.0), Goal::None),
            };
            table.add(&format!("{what}: whole process"), ours * 1e3, "ms", goal);
            table.add(&format!("{what}: in the shell"), warm * 1e3, "ms", beside_duckdb);
            table.add(&format!("{what}: DuckDB without its start"), theirs * 1e3, "ms", Goal::None);
        }
        Ok(())
    }

    /// Over the raw file.
    pub fn raw_queries(&self, table: &mut Table) -> Result<(), String> {
        let log = format!("log('{}', 'combined')", self.log.display());
        for ((_, what, sql), goal) in QUERIES.into_iter().zip([600.0, 600.0, 250.0]) {
            let sql = sql.replace("{}", &log);
            let query = [OsStr::new("query"), OsStr::new(&sql)];
            let cost = best(LONG_ROUNDS, || self.tools.logmill(&query))?;
            let speed = self.megabytes / cost.cpu_seconds;
            let what = format!("{what} of the raw log");
            table.add(&what, speed, "MB per CPU-second", Goal::AtLeast(goal));
        }
        let work = [OsStr::new("top-paths-of-log"), self.log.as_os_str()];
        let cost = best(LONG_ROUNDS, || self.tools.duckdb(&work))?;
        let speed = self.megabytes / cost.cpu_seconds;
        let theirs = "top paths of the raw log: DuckDB as CSV";
        table.add(theirs, speed, "MB per CPU-second", Goal::None);
        table.ratio("top paths of the raw log", theirs, Goal::None);
        Ok(())
    }

    /// From the start of a process to the end of a run over one line, which is more than what was
    /// promised: until that line is read.
    pub fn first_row(&self, table: &mut Table) -> Result<(), String> {
        let log = self.tools.path("one.log");
        generate(&self.tools, &log, 1, &[])?;
        let runs = (0..ROUNDS).map(|_| self.run_pipeline("one", &log, "", PLAIN));
        let runs: Vec<Cost> = runs.collect::<Result<_, _>>()?;
        let quickest = runs.iter().map(|cost| cost.seconds).fold(f64::INFINITY, f64::min);
        let what = "a run over one line, start to durable row";
        table.add(what, quickest * 1e3, "ms", Goal::AtMost(100.0));
        Ok(())
    }

    /// What a record costs when there are more of them.
    pub fn growth(&self, millions: &[u64], table: &mut Table) -> Result<(), String> {
        let mut first = None;
        for million in millions {
            let log = self.tools.path("growth.log");
            generate(&self.tools, &log, million * 1_000_000, &[])?;
            let cost = best(LONG_ROUNDS, || self.run_pipeline("growth", &log, "", PLAIN))?;
            let each = cost.cpu_seconds / *million as f64;
            let goal = first.map_or(Goal::None, |first: f64| Goal::AtMost(first * 1.1));
            first.get_or_insert(each);
            let what = format!("CPU per record of {million} million");
            table.add(&what, each, "µs", goal);
        }
        Ok(())
    }

    /// Other programs on the same file.
    pub fn others(&self, table: &mut Table) -> Result<(), String> {
        let parquet = self.tools.path("duckdb.parquet");
        let work = [OsStr::new("convert"), self.log.as_os_str(), parquet.as_os_str()];
        let cost = best(LONG_ROUNDS, || self.tools.duckdb(&work))?;
        let speed = self.megabytes / cost.cpu_seconds;
        table.add(DUCKDB_RUN, speed, "MB per CPU-second", Goal::None);
        for (run, promised) in [(PLAIN_RUN, PLAIN_MIN), (ENRICHED_RUN, ENRICHED_MIN)] {
            table.ratio(run, DUCKDB_RUN, Goal::AtLeast(promised / DUCKDB_THERE));
        }
        let report = self.tools.path("goaccess.json");
        let arguments = [
            self.log.as_os_str(),
            "--no-progress".as_ref(),
            "--log-format=COMBINED".as_ref(),
            "-o".as_ref(),
            report.as_os_str(),
        ];
        if let Some(cost) = self.tools.if_installed("goaccess", &arguments)? {
            let speed = self.megabytes / cost.cpu_seconds;
            table.add("GoAccess: log → report", speed, "MB per CPU-second", Goal::None);
            table.ratio(PLAIN_RUN, "GoAccess: log → report", Goal::None);
        }
        let file = format!("path={}", self.log.display());
        let arguments = [
            "-q",
            "-R",
            "/etc/fluent-bit/parsers.conf",
            "-i",
            "tail",
            "-p",
            &file,
            "-p",
            "read_from_head=true",
            "-p",
            "exit_on_eof=true",
            "-p",
            "parser=apache2",
            "-o",
            "null",
        ];
        let arguments = arguments.map(OsStr::new);
        if let Some(cost) = self.tools.if_installed("fluent-bit", &arguments)? {
            let speed = self.megabytes / cost.cpu_seconds;
            table.add("Fluent Bit: log → nothing", speed, "MB per CPU-second", Goal::None);
            table.ratio(PLAIN_RUN, "Fluent Bit: log → nothing", Goal::None);
        }
        Ok(())
    }

    /// Runs a pipeline to its end, with a new lake in the folder `name`.
    pub(super) fn run_pipeline(
        &self,
        name: &str,
        log: &Path,
        steps: &str,
        sink: &str,
    ) -> Result<Cost, String> {
        self.run_yaml(name, &pipeline(name, log, steps, sink))
    }

    /// Runs a pipeline file to its end, with a new data folder `name`.
    pub(super) fn run_yaml(&self, name: &str, yaml: &str) -> Result<Cost, String> {
        self.run_yaml_by(self.tools.program(), name, yaml)
    }

    pub(super) fn run_yaml_by(
        &self,
        program: &Path,
        name: &str,
        yaml: &str,
    ) -> Result<Cost, String> {
        let file = self.tools.write(&format!("{name}.yaml"), yaml)?;
        let data = self.tools.fresh_folder(name)?;
        let flags = ["--until-end", "--quiet", "--data"].map(OsStr::new);
        let arguments: Vec<_> = [OsStr::new("run"), file.as_os_str()]
            .into_iter()
            .chain(flags)
            .chain([data.as_os_str()])
            .collect();
        self.tools.run(program, &arguments)
    }

    /// The quickest of some runs.
    fn quickest(&self, arguments: &[&str], last: &Path) -> Result<Cost, String> {
        let arguments: Vec<_> =
            arguments.iter().map(OsStr::new).chain([last.as_os_str()]).collect();
        let mut best = self.tools.logmill(&arguments)?;
        for _ in 1..ROUNDS {
            let cost = self.tools.logmill(&arguments)?;
            if cost.seconds < best.seconds {
                best = cost;
            }
        }
        Ok(best)
    }
}

/// Generates a log of so many lines and says how many megabytes it has.
pub(super) fn generate(
    tools: &Tools,
    log: &Path,
    rows: u64,
    flags: &[&str],
) -> Result<f64, String> {
    let rows = rows.to_string();
    let [generate, kind, flag, output] =
        ["generate", "access-log", "--rows", "--output"].map(OsStr::new);
    let arguments = [generate, kind, flag, rows.as_ref(), output, log.as_os_str()];
    let arguments: Vec<_> = arguments.into_iter().chain(flags.iter().map(OsStr::new)).collect();
    tools.logmill(&arguments)?;
    let metadata = fs::metadata(log).map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(metadata.len() as f64 / MEGABYTE)
}

/// A pipeline file that reads a log into the lake.
pub(super) fn pipeline(name: &str, log: &Path, steps: &str, sink: &str) -> String {
    format!(
        "name: {name}\nsources:\n  access: {{ type: file, paths: [{:?}] }}\ntransforms:\n  \
         parsed: {{ type: parse, input: access, format: combined }}\n{steps}sinks:\n  {sink}\n",
        log.display(),
    )
}
