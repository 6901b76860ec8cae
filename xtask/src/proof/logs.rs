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

/// Logs that are known by their names, with their formats.
const LOGS: &[(&str, &str)] = &[("apache_logs", "combined"), ("s3_access.log", "s3_access")];
/// The one that is killed.
const KILLED: &str = "apache_logs";

/// Tries each file below `data`.
pub fn run(site: &Site<'_>, tried: &mut Tried<'_>) -> Result<(), String> {
    for file in files_below(&site.folder.join("data"))? {
        let name = file.strip_prefix(&site.folder).unwrap_or(&file).display().to_string();
        tried.one(&name, || raw(site, &file));
        let known = LOGS.iter().find(|(log, _)| file.ends_with(log));
        for format in known.into_iter().flat_map(|(_, format)| [*format, "auto"]) {
            tried.one(format!("{name} as {format}"), || parsed(site, &file, format));
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

/// A log of lines: besides, there are as many records as lines.
fn parsed(site: &Site<'_>, file: &Path, format: &str) -> Result<String, String> {
    let scratch = Scratch::new(LIMIT)?;
    let variables = [("FILE", file.as_os_str()), ("FORMAT", OsStr::new(format))];
    let records = milled(site, &scratch, PARSED, &variables)?;
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').count();
    match records == lines {
        true => Ok(format!("{records} records")),
        false => Err(format!("{lines} lines, and {records} rows and dead letters")),
    }
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
    let text = call(&["query", RECORDS, "--format", "csv"])?.ended(&[0])?;
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
