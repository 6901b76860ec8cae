//! The first lines of each file, and the format that all of them have.
//!
//! One lake has one format: files of two are refused before anything is read, for the second of
//! them would become dead letters from the first line to the last.

use std::path::Path;
use std::time::Duration;

use arrow::array::{Array, StringViewArray};
use arrow::compute::concat;
use connector_stdio::Stdio;
use contract::error::Context;
use contract::{Error, Result};
use formats::{Detected, FormatConfig, Undecided};

use super::files::{self, Input};
use crate::arguments::Global;
use crate::output::remark;
use crate::output::rows::visible;
use crate::signals;

/// So much of the first file is looked at.
const BYTES_MAX: usize = 256 << 10;
/// Lines of the first file, from which fields are guessed.
const LINES_MAX: usize = 1000;
/// So much of each other file is looked at.
const OTHER_BYTES_MAX: usize = 64 << 10;
/// Lines of each other file.
const OTHER_LINES_MAX: usize = 100;
/// Files that are looked at.
const FILES_MAX: usize = 1000;
/// How long until a file without a line is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Characters of a line in a message.
const SHOWN_CHARS_MAX: usize = 160;
/// Formats, and files of which nothing is known, that a message names.
const NAMED_MAX: usize = 3;

/// The first lines of a file, or of standard input.
pub struct Sample {
    /// Its path, as a command in this folder would name it.
    pub name: String,
    /// The lines; at least one.
    pub lines: StringViewArray,
}

/// The samples of what is looked at. Files without a line are left out, and so are those that
/// cannot be read, where any other can.
///
/// # Errors
/// External: none can be read.
pub fn take(input: &Input) -> Result<Vec<Sample>> {
    let found = match input {
        Input::Files { found, .. } => found,
        Input::Stdin(first) => {
            let sample = Sample { name: input.name(), lines: lines(first, BYTES_MAX, LINES_MAX) };
            return Ok(Some(sample).filter(|it| !it.lines.is_empty()).into_iter().collect());
        }
    };
    let mut samples = Vec::new();
    let mut failed = None;
    for path in found.iter().take(FILES_MAX) {
        let (bytes_max, lines_max) = match samples.is_empty() {
            true => (BYTES_MAX, LINES_MAX),
            false => (OTHER_BYTES_MAX, OTHER_LINES_MAX),
        };
        match files::of_file(path, bytes_max) {
            Ok(bytes) => {
                let lines = lines(&bytes, bytes_max, lines_max);
                let sample = Sample { name: as_named(path), lines };
                samples.extend(Some(sample).filter(|sample| !sample.lines.is_empty()));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) if samples.is_empty() => Err(error),
        _ => Ok(samples),
    }
}

/// Waits for the first lines of standard input, which are kept with it. False where a signal came
/// first.
///
/// # Errors
/// External: it cannot be read.
pub async fn look_ahead(input: &mut Input) -> Result<bool> {
    let Input::Stdin(first) = input else { return Ok(true) };
    let mut stop = signals::stop()?;
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(false),
        text = Stdio::first_text(BYTES_MAX) => *first = text?,
    }
    Ok(true)
}

/// Waits until files that are followed hold a line; not at all where they do. False where a signal
/// came first.
///
/// # Errors
/// As for [`take`].
pub async fn wait(input: &Input, global: &Global) -> Result<bool> {
    let Input::Files { .. } = input else { return Ok(true) };
    let mut stop = signals::stop()?;
    let count = |samples: &[Sample]| samples.iter().map(|sample| sample.lines.len()).sum::<usize>();
    let mut before = count(&take(input)?);
    if before > 0 {
        return Ok(true);
    }
    remark(global, &format!("{} holds no line yet; waiting for the first", input.name()));
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(false),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        // The format is told by as many lines as come at once, and by whole ones.
        let now = count(&take(input)?);
        if now > 0 && (now == before || now >= OTHER_LINES_MAX) {
            return Ok(true);
        }
        before = now;
    }
}

/// The first whole lines of so many bytes at most.
fn lines(bytes: &[u8], bytes_max: usize, lines_max: usize) -> StringViewArray {
    let is_cut = bytes.len() >= bytes_max;
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(end) if is_cut => &bytes[..end],
        _ => bytes,
    };
    let text = String::from_utf8_lossy(whole);
    let text = text.trim_start_matches('\u{feff}').trim_start_matches('\0');
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let lines = lines.filter(|line| !line.trim().is_empty()).take(lines_max);
    StringViewArray::from_iter_values(lines)
}

/// All lines of all samples, one behind the other.
///
/// # Errors
/// Bug: they are more than an array holds.
pub fn joined(samples: &[Sample]) -> Result<StringViewArray> {
    let arrays: Vec<&dyn Array> = samples.iter().map(|sample| &sample.lines as _).collect();
    let joined = concat(&arrays).bug("could not join samples")?;
    let joined = joined.as_any().downcast_ref::<StringViewArray>().cloned();
    joined.ok_or_else(|| Error::bug("joined texts are no text"))
}

/// The format that the files have.
///
/// # Errors
/// Config: no format fits, or they are of several ones.
pub fn agree(samples: &[Sample]) -> Result<Detected> {
    let found = samples.iter().map(|sample| (sample, formats::detect(&sample.lines)));
    let found = found.collect::<Vec<_>>();
    let known = || found.iter().filter_map(|(sample, found)| Some((*sample, found.as_ref().ok()?)));
    let Some((_, first)) = known().next() else {
        return Err(match found.into_iter().next() {
            Some((sample, Err(undecided))) => unknown(&undecided, sample),
            _ => Error::bug("there is no sample"),
        });
    };
    if known().all(|(_, other)| other.name() == first.name()) {
        // Fields are guessed from the lines of all.
        return Ok(formats::detect(&joined(samples)?).unwrap_or_else(|_| first.clone()));
    }
    let fits_all = |one: &Detected| known().all(|(sample, _)| accepted(&one.format, sample) > 0);
    let one = known().map(|(_, one)| one).find(|one| fits_all(one)).cloned();
    one.ok_or_else(|| {
        differ(&known().map(|(sample, one)| (sample, one.name())).collect::<Vec<_>>())
    })
}

/// Compares the files with a format that was taken before; says which of them have no line of it.
///
/// # Errors
/// Config: one of them is of another format.
pub fn compare(format: &FormatConfig, samples: &[Sample]) -> Result<Vec<String>> {
    let taken = || Detected { format: format.clone(), matched: 0, lines: 0 }.name();
    let mut formats = Vec::new();
    let mut odd = Vec::new();
    for sample in samples {
        if accepted(format, sample) > 0 {
            formats.push((sample, taken()));
            continue;
        }
        match formats::detect(&sample.lines) {
            Ok(other) => formats.push((sample, other.name())),
            Err(_) => odd.push(sample),
        }
    }
    match formats.iter().find(|(_, name)| *name != taken()) {
        Some((sample, name)) if formats.iter().all(|(_, other)| other == name) => {
            let name = name.split(',').next().unwrap_or_default();
            Err(Error::config(format!(
                "{} is in format {name} now, and an earlier look took {}",
                sample.name,
                taken()
            ))
            .hint(format!("name the format: `logmill look {} --as {name}`", sample.name)))
        }
        Some(_) => Err(differ(&formats)),
        None => Ok(odd.into_iter().map(|sample| none_of(sample, format)).collect()),
    }
}

/// Says which files have no line of the format that the command line names.
pub fn without_any(format: &FormatConfig, samples: &[Sample]) -> Vec<String> {
    let odd = samples.iter().filter(|sample| accepted(format, sample) == 0);
    odd.map(|sample| none_of(sample, format)).collect()
}

/// How many lines have a format.
fn accepted(format: &FormatConfig, sample: &Sample) -> usize {
    let Ok(parser) = formats::parser(format) else { return 0 };
    sample.lines.len() - parser.parse(&sample.lines, Some(&[])).refused.len()
}

fn none_of(sample: &Sample, format: &FormatConfig) -> String {
    let lines = match sample.lines.len() {
        1 => "its first line is not".to_owned(),
        count => format!("none of its first {count} lines is"),
    };
    format!("{}: {lines} in format {}: {}", sample.name, format.format.name(), begin(sample))
}

/// The error of files of several formats.
fn differ(files: &[(&Sample, String)]) -> Error {
    let mut groups: Vec<(&str, &str, usize)> = Vec::new();
    for (sample, name) in files {
        match groups.iter_mut().find(|(known, ..)| *known == name.as_str()) {
            Some((_, _, count)) => *count += 1,
            None => groups.push((name.as_str(), sample.name.as_str(), 1)),
        }
    }
    let shown = groups.iter().take(NAMED_MAX);
    let what = shown.clone().map(|(format, file, count)| match count {
        1 => format!("{file} is in format {format}"),
        _ => format!("{file} and {} more are in format {format}", count - 1),
    });
    let apart = shown.map(|(_, file, _)| format!("`logmill look {file}`"));
    let (what, apart) = (what.collect::<Vec<_>>(), apart.collect::<Vec<_>>());
    Error::config(format!("the files are not of one format: {}", what.join(", ")))
        .hint(format!("look at them apart: {}", apart.join(", ")))
}

/// Says what stands there, and how to go on.
fn unknown(undecided: &Undecided, sample: &Sample) -> Error {
    let message = format!("{}: {undecided}; the first line is: {}", sample.name, begin(sample));
    if [".yaml", ".yml"].iter().any(|end| sample.name.ends_with(end)) {
        let name = &sample.name;
        return Error::config(message).hint(format!("a pipeline is run: `logmill run {name}`"));
    }
    if let Some((format, _)) = undecided.closest.first() {
        let (file, name) = (&sample.name, format.name());
        return Error::config(message).hint(format!(
            "take that format all the same: `logmill look {file} --as {name}`; or name another, or \
             the server's own log format: --as '%h %l %u %t \"%r\" %>s %b'"
        ));
    }
    Error::config(message).hint(
        "say how its lines are written: `logmill look … --as FORMAT`, with a name that `logmill \
         connectors parse` lists, or the server's own log format: --as '%h %l %u %t \"%r\" %>s %b'",
    )
}

/// How the first line begins.
fn begin(sample: &Sample) -> String {
    let line = sample.lines.value(0);
    let mut shown: String = line.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    visible(&shown)
}

/// A path as a command in this folder would name it.
fn as_named(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMBINED: &str = "192.0.2.1 - - [03/Mar/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 1 \
                            \"-\" \"-\"";

    fn sample(name: &str, line: &str) -> Sample {
        let lines = StringViewArray::from_iter_values([line, line]);
        Sample { name: name.to_owned(), lines }
    }

    #[test]
    fn lines_are_whole_and_not_blank() {
        let of = |bytes: &[u8]| {
            let lines = lines(bytes, 100, 10);
            lines.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(of(b"\xef\xbb\xbfa\r\n\n \nb\nc"), ["a", "b", "c"]);
        let long = [vec![b'x'; 97], b"\nyy".to_vec()].concat();
        assert_eq!(of(&long).len(), 1);
    }

    #[test]
    fn files_of_two_formats_are_named() {
        let json = "{\"level\":\"info\",\"message\":\"m\"}";
        let files = [sample("a.log", COMBINED), sample("b.json", json), sample("c.log", COMBINED)];
        let error = agree(&files).expect_err("two formats");
        assert_eq!(
            error.to_string(),
            "the files are not of one format: a.log and 1 more are in format combined, b.json is \
             in format json"
        );
        let hint = error.hint_text().expect("a way out");
        assert_eq!(hint, "look at them apart: `logmill look a.log`, `logmill look b.json`");
        let odd = [sample("a.log", COMBINED), sample("odd.log", "~~ what is this ~~")];
        let taken = agree(&odd).expect("one format");
        assert_eq!(taken.name(), "combined");
        let said = compare(&taken.format, &odd).expect("nothing else is known");
        assert_eq!(
            said,
            ["odd.log: none of its first 2 lines is in format combined: ~~ what is this ~~"]
        );
        let now = compare(&taken.format, &[sample("a.log", json)]).expect_err("it is another one");
        assert!(now.hint_text().expect("a way out").ends_with("look a.log --as json`"));
    }

    #[test]
    fn fields_are_guessed_from_all_files() {
        let files = [sample("a.json", "{\"a\":1}"), sample("b.json", "{\"b\":\"x\"}")];
        let fields = agree(&files).expect("one format").format.fields.expect("fields");
        let names = fields.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "b"]);
    }
}
