//! Real data: whatever a file holds, each record of it is delivered or set aside, and the program
//! proves it.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::scratch::Scratch;
use super::tried::Tried;
use super::{Site, files_below};

const LIMIT: Duration = Duration::from_secs(300);
const KILLS_LIMIT: Duration = Duration::from_secs(3600);
/// Done; or a file cannot be read to its end, and all before that is delivered.
const ENDINGS: [i32; 2] = [0, 1];

const RAW: &str = "\
name: raw
sources:
  any: { type: file, paths: [\"${FILE}\"] }
sinks:
  lake: { type: lake, input: any, table: lines }
";
const PARSED: &str = "\
name: parsed
sources:
  log: { type: file, paths: [\"${FILE}\"] }
transforms:
  parsed: { type: parse, input: log, format: \"${FORMAT}\" }
sinks:
  lake: { type: lake, input: parsed, table: lines }
";
const RECORDS: &str =
    "SELECT (SELECT count(*) FROM lines) + (SELECT count(*) FROM dead_letters) AS records";

const REASONS: &str = "SELECT reason FROM dead_letters ORDER BY reason";

/// A log that is known by its name.
struct Log {
    name: &'static str,
    format: &'static str,
    /// Why its lines are refused that are.
    refused: &'static [&'static str],
}

const LOGS: &[Log] = &[
    Log {
        name: "apache_logs",
        format: "combined",
        refused: &["the quotes around user_agent are never closed"],
    },
    Log { name: "s3_access.log", format: "s3_access", refused: &[] },
];
/// The one that is killed.
const KILLED: &str = "apache_logs";

/// Tries each file below `data`.
pub fn run(site: &Site<'_>, tried: &mut Tried<'_>) -> Result<(), String> {
    for file in files_below(&site.folder.join("data"))? {
        let name = file.strip_prefix(&site.folder).unwrap_or(&file).display().to_string();
        tried.one(&name, || raw(site, &file));
        for log in LOGS.iter().filter(|log| file.ends_with(log.name)) {
            for format in [log.format, "auto"] {
                let refused = log.refused;
                tried.one(format!("{name} as {format}"), || parsed(site, &file, format, refused));
            }
        }
        if file.ends_with(KILLED) && site.options.kills > 0 {
            tried.one(format!("{name}, killed"), || killed(site, &file));
        }
    }
    Ok(())
}

/// Any bytes: the run ends in good order, and what it read adds up.
fn raw(site: &Site<'_>, file: &Path) -> Result<String, String> {
    let scratch = Scratch::new(LIMIT)?;
    let records = milled(site, &scratch, RAW, &[("FILE", file.as_os_str())])?;
    Ok(format!("{records} records"))
}

/// A log of lines: besides, there are as many records as lines, and those alone are refused that
/// are known to be broken.
fn parsed(site: &Site<'_>, file: &Path, format: &str, refused: &[&str]) -> Result<String, String> {
    let scratch = Scratch::new(LIMIT)?;
    let variables = [("FILE", file.as_os_str()), ("FORMAT", OsStr::new(format))];
    let records = milled(site, &scratch, PARSED, &variables)?;
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    if records != lines {
        return Err(format!("{lines} lines, and {records} rows and dead letters"));
    }
    let reasons = asked(site, &scratch, REASONS)?;
    let reasons: Vec<&str> = reasons.lines().skip(1).collect();
    // A format that was told from the first lines is named behind the reason.
    let is_known = reasons.len() == refused.len()
        && reasons.iter().zip(refused).all(|(reason, known)| reason.starts_with(known));
    match is_known {
        true => Ok(format!("{records} records, {} of them refused", refused.len())),
        false => Err(format!("refused are {reasons:?}, and not {refused:?}")),
    }
}

/// What a query says, as CSV with a header.
fn asked(site: &Site<'_>, scratch: &Scratch, query: &str) -> Result<String, String> {
    scratch.run(&site.program, &["query", query, "--format", "csv"], &[])?.ended(&[0])
}

/// Runs a pipeline and audits it; gives the number of records that it holds.
fn milled(
    site: &Site<'_>,
    scratch: &Scratch,
    pipeline: &str,
    variables: &[(&str, &OsStr)],
) -> Result<usize, String> {
    let call = |arguments: &[&str]| scratch.run(&site.program, arguments, variables);
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    scratch.write("pipeline.yaml", pipeline)?;
    call(&["run", "pipeline.yaml", "--until-end", "--quiet"])?
        .ended(&ENDINGS)
        .map_err(failed("run"))?;
    call(&["audit", "pipeline.yaml"])?.ended(&[0]).map_err(failed("audit"))?;
    let text = asked(site, scratch, RECORDS)?;
    let number = text.lines().last().and_then(|line| line.trim().parse().ok());
    number.ok_or_else(|| format!("query: expected a number, got {text:?}"))
}

/// Kills at every point and at random moments: each record once.
fn killed(site: &Site<'_>, log: &Path) -> Result<String, String> {
    let program = site.program.to_string_lossy();
    let (log, kills) = (log.to_string_lossy(), site.options.kills.to_string());
    let arguments = [&*program, "log", "--log", &log, "--kills", &kills];
    let text = Scratch::new(KILLS_LIMIT)?.run(&site.crash, &arguments, &[])?.ended(&[0])?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}
