//! How the lines are written: what the command line says, or what the first of them show.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::StringViewArray;
use arrow::datatypes::{DataType, SchemaRef};
use contract::error::Context;
use contract::record::{LOSSY, is_origin};
use contract::{Error, Result, Section};
use formats::join::Join;
use formats::{Format, FormatConfig};

use super::files::Input;
use super::place::{Decided, family};
use super::samples;

/// How the pattern of a regular expression is known: it names its columns.
const GROUPS: [&str; 2] = ["(?<", "(?P<"];
/// A regular expression to begin with.
const PATTERN: &str = r"^(?<level>\w+) (?<text>.*)$";
/// A log format to begin with.
const LOG_FORMAT: &str = "%h %l %u %t \"%r\" %>s %b";
/// The name of a column of times, where formats agree on one.
const TIME: &str = "ts";
/// What stands before the name of a field whose own name is that of a column of ours.
const OF_THE_LOG: &str = "log";
/// The column of user agents.
const USER_AGENT: &str = "user_agent";
/// Names of tables that are there before anything ran.
const TAKEN: [&str; 4] = [query::DEAD_LETTERS, query::MARKS, "ledger", "late"];

/// Decides how lines are written, and what becomes of them.
///
/// # Errors
/// Config: there is no line, or no format fits all files; the format that was named is none.
/// External: the input cannot be read.
pub fn decide(input: &Input, format: Option<&str>) -> Result<(Decided, Vec<String>)> {
    let samples = samples::take(input)?;
    let name = input.name();
    if samples.is_empty() {
        return Err(Error::config(format!("{name} holds no line yet"))
            .hint("look again once there is something in it"));
    }
    let (config, told) = match format.filter(|name| *name != Format::Auto.name()) {
        Some(format) => {
            let config = named(format, &samples::joined(&samples)?)?;
            let told = format!("format {}", config.format.name());
            (config, told)
        }
        None => {
            let detected = samples::agree(&samples)?;
            let told = detected.to_string();
            (detected.for_pipeline().format, told)
        }
    };
    // Where one file alone has no line of it, the summary says so.
    let odd = match samples.len() {
        1 => Vec::new(),
        _ => samples::without_any(&config, &samples),
    };
    let schema = formats::parser(&config)?.schema();
    let has = |name: &str| schema.column_with_name(name).is_some();
    let renamed = renamed(&schema);
    let told = renamed.iter().fold(told, |told, (field, column)| {
        format!("{told}; its field {field} is the column {column}, as every row has a {field}")
    });
    let decided = Decided {
        parse: serde_json::to_string(&config).bug("a format is no JSON")?,
        join: Join::of(config.format).map(|join| join.name().to_owned()),
        renamed,
        table: table(input),
        time: time(&schema),
        user_agent: has(USER_AGENT).then(|| USER_AGENT.to_owned()),
        told,
    };
    Ok((decided, odd))
}

/// Compares the files with what an earlier look decided; says which of them have no line of it.
///
/// # Errors
/// Config: a file is of another format. External: none can be read.
pub fn compare(input: &Input, decided: &Decided, format: Option<&str>) -> Result<Vec<String>> {
    let config = serde_json::from_str(&decided.parse)
        .external(|| "could not read the format that an earlier look took".to_owned())?;
    let samples = samples::take(input)?;
    match format {
        Some(_) => Ok(samples::without_any(&config, &samples)),
        None => samples::compare(&config, &samples),
    }
}

/// What the command line names: a format, or the server's own.
fn named(name: &str, sample: &StringViewArray) -> Result<FormatConfig> {
    let Some(format) = Format::named(name) else {
        if GROUPS.iter().any(|group| name.contains(group)) {
            let mut config = FormatConfig::new(Format::Regex);
            config.pattern = Some(name.to_owned());
            return Ok(config);
        }
        if name.contains(['%', '$']) {
            let mut config = FormatConfig::new(Format::Custom);
            config.log_format = Some(name.to_owned());
            return Ok(config);
        }
        return Err(Error::config(format!("there is no format {name:?}"))
            .hint(Section::did_you_mean(name, formats::formats())));
    };
    match format {
        Format::Regex => {
            return Err(Error::config("format regex needs its pattern").hint(format!(
                "give the pattern itself, with a name for each column: --as '{PATTERN}'"
            )));
        }
        Format::Custom => {
            return Err(Error::config("format custom needs the server's own log format")
                .hint(format!("copy it from the server's configuration: --as '{LOG_FORMAT}'")));
        }
        _ => {}
    }
    let mut config = match format.is_container() {
        true => formats::detect_inside(format, sample),
        false => FormatConfig::new(format),
    };
    if matches!(format, Format::Json | Format::Logfmt) {
        config.fields = Some(formats::named_fields(format, sample)?);
    }
    Ok(config)
}

/// Other names for fields whose names are those of columns of ours.
fn renamed(schema: &SchemaRef) -> BTreeMap<String, String> {
    let names = schema.fields().iter().map(|field| field.name());
    let taken = names.filter(|name| is_origin(name) || *name == LOSSY);
    let renamed = taken.map(|name| {
        let mut free = format!("{OF_THE_LOG}{name}");
        while schema.column_with_name(&free).is_some() {
            free.push('_');
        }
        (name.clone(), free)
    });
    renamed.collect()
}

/// The column of times: `ts`, or else the first.
fn time(schema: &SchemaRef) -> String {
    let times =
        schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::Timestamp(..)));
    let mut names = times.map(|field| field.name().as_str()).collect::<Vec<_>>();
    names.sort_by_key(|name| *name != TIME);
    names.first().copied().unwrap_or(TIME).to_owned()
}

/// A name for the table, which SQL takes without quotes.
fn table(input: &Input) -> String {
    let name = match input {
        Input::Stdin(_) => "stdin".to_owned(),
        Input::Files { found, .. } => {
            let first = found.first().map(|path| family(path)).unwrap_or_default();
            let name = Path::new(first.file_name().unwrap_or_default()).to_string_lossy();
            name.to_lowercase()
        }
    };
    let plain = |sign: char| if sign.is_ascii_alphanumeric() { sign } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let is_name = name.starts_with(|sign: char| sign.is_ascii_lowercase());
    match is_name && !TAKEN.contains(&name.as_str()) {
        true => name,
        false => format!("log_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name_that_sql_takes() {
        let check = |path: &str, expect: &str| {
            let found = vec![path.into()];
            assert_eq!(
                table(&Input::Files { named: found.clone(), found, left_out: Vec::new() }),
                expect
            );
        };
        check("/var/log/nginx/access.log.2.gz", "access_log");
        check("/l/Fehler-Über.log", "fehler__ber_log");
        check("/l/2026.log", "log_2026_log");
        check("/l/ledger", "log_ledger");
        assert_eq!(table(&Input::Stdin(Vec::new())), "stdin");
    }
}
