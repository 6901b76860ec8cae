//! How the lines are written: what the command line says, or what the first of them show.

use std::path::Path;

use arrow::array::StringViewArray;
use arrow::datatypes::{DataType, SchemaRef};
use contract::error::Context;
use contract::{Error, Result, Section};
use formats::{Format, FormatConfig, Undecided};

use super::files::{self, Input};
use super::place::{Decided, family};
use crate::output::rows::visible;

/// So much of the input is looked at.
const BYTES_MAX: usize = 256 << 10;
/// Lines from which fields are guessed.
const LINES_MAX: usize = 1000;
/// Characters of a line in a message.
const SHOWN_CHARS_MAX: usize = 160;
/// The name of a column of times, where formats agree on one.
const TIME: &str = "ts";
/// The column of user agents.
const USER_AGENT: &str = "user_agent";
/// Names of tables that are there before anything ran.
const TAKEN: [&str; 4] = [query::DEAD_LETTERS, query::MARKS, "ledger", "late"];

/// Decides how lines are written, and what becomes of them.
///
/// # Errors
/// Config: there is no line, or no format fits; the format that was named is none, or fits no line.
/// External: the input cannot be read.
pub fn decide(input: &Input, format: Option<&str>) -> Result<Decided> {
    let lines = lines(&files::first_bytes(input, BYTES_MAX)?);
    let name = input.name();
    if lines.is_empty() {
        return Err(Error::config(format!("{name} holds no line yet"))
            .hint("look again once there is something in it"));
    }
    let sample = StringViewArray::from_iter_values(&lines);
    let (config, told) = match format.filter(|name| *name != Format::Auto.name()) {
        Some(format) => {
            let config = named(format, &sample)?;
            let told = format!("format {}", config.format.name());
            (config, told)
        }
        None => {
            let detected = formats::detect(&sample);
            let detected = detected.map_err(|error| unknown(&error, &name, &lines[0]))?;
            let told = detected.to_string();
            (detected.for_pipeline().format, told)
        }
    };
    let schema = formats::parser(&config)?.schema();
    let has = |name: &str| schema.column_with_name(name).is_some();
    Ok(Decided {
        parse: serde_json::to_string(&config).bug("a format is no JSON")?,
        table: table(input),
        time: time(&schema),
        user_agent: has(USER_AGENT).then(|| USER_AGENT.to_owned()),
        told,
    })
}

/// The first whole lines.
fn lines(bytes: &[u8]) -> Vec<String> {
    let is_cut = bytes.len() == BYTES_MAX;
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if is_cut => &bytes[..end],
        _ => bytes,
    };
    let text = String::from_utf8_lossy(whole);
    let text = text.trim_start_matches('\u{feff}').trim_start_matches('\0');
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.filter(|line| !line.trim().is_empty()).take(LINES_MAX).map(str::to_owned).collect()
}

/// What the command line names: a format, or the server's own.
fn named(name: &str, sample: &StringViewArray) -> Result<FormatConfig> {
    let Some(format) = Format::named(name) else {
        if name.contains(['%', '$']) {
            let mut config = FormatConfig::new(Format::Custom);
            config.log_format = Some(name.to_owned());
            return Ok(config);
        }
        return Err(Error::config(format!("there is no format {name:?}"))
            .hint(Section::did_you_mean(name, formats::formats())));
    };
    let mut config = match format.is_container() {
        true => formats::detect_inside(format, sample),
        false => FormatConfig::new(format),
    };
    if matches!(format, Format::Json | Format::Logfmt) {
        config.fields = Some(formats::infer(format, sample)?);
    }
    Ok(config)
}

/// Says what stands there, and how to go on.
fn unknown(undecided: &Undecided, name: &str, line: &str) -> Error {
    let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    let message = format!("{name}: {undecided}; the first line is: {}", visible(&shown));
    Error::config(message).hint(
        "say how its lines are written: `logmill look … --as FORMAT`, with a name that `logmill \
         connectors parse` lists, or the server's own log format: --as '%h %l %u %t \"%r\" %>s %b'",
    )
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
        Input::Stdin => "stdin".to_owned(),
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
            assert_eq!(table(&Input::Files { named: found.clone(), found }), expect);
        };
        check("/var/log/nginx/access.log.2.gz", "access_log");
        check("/l/Fehler-Über.log", "fehler__ber_log");
        check("/l/2026.log", "log_2026_log");
        check("/l/ledger", "log_ledger");
        assert_eq!(table(&Input::Stdin), "stdin");
    }

    #[test]
    fn lines_are_whole_and_not_blank() {
        assert_eq!(lines(b"\xef\xbb\xbfa\r\n\n \nb\nc"), ["a", "b", "c"]);
        let long = [vec![b'x'; BYTES_MAX - 3], b"\nyy".to_vec()].concat();
        assert_eq!(lines(&long).len(), 1);
    }
}
