//! The settings of the source, and what can be said about them before anything is read.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::quantity::{ByteSize, Period};
use contract::section::Value;
use contract::{Error, Place, Result, Section};
use formats::compression::Limits;
use formats::join::Join;
use glob::Pattern;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::stream::Packing;

use crate::expand::is_pattern;

/// Reads the lines of files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The files: paths, or patterns with `*`, `?`, `[…]` and `**`, which stands for any number of
    /// folders, and at the end for all files below: `logs/**`. A path without pattern must exist
    /// and be readable when the pipeline starts; a pattern may match nothing yet, and what it names
    /// and cannot be read keeps nothing else back. Brackets that stand in a name, as in
    /// `access[1].log`, are taken as they are where such a name exists; `[[]` is always a bracket.
    pub paths: Vec<String>,

    /// Patterns of files to leave out. One without `/` is compared with the file's name, another
    /// with its whole path.
    #[serde(default)]
    pub exclude: Vec<String>,

    /// `auto` tells gzip, zstd, bzip2 and xz by the first bytes of each file, whatever its name;
    /// where these are no text either, by its name (`a.gz`, `a.gz.1`).
    #[serde(default)]
    pub compression: Compression,

    /// The largest window of a file of zstd, from 8MiB to 2GiB; so much memory is taken while it is
    /// read. `zstd --long` makes windows of 128MiB, `--long=31` of 2GiB.
    #[serde(default = "Limits::zstd_window_max_default")]
    pub zstd_window_max: ByteSize,

    /// What becomes of a file that holds nothing but what another one begins with and that has a
    /// name or a place as rotation, compression or `cp` give it to a copy: `pass_over` names it and
    /// does not read it, `read` reads every file as a log of its own.
    #[serde(default)]
    pub copies: Repeated,

    /// A longer line becomes a dead letter, with so many of its first bytes.
    #[serde(default = "line_bytes_max_default")]
    pub line_bytes_max: ByteSize,

    /// Joins lines that a container runtime wrote in parts, for `format: docker` and `format: cri`:
    /// `docker` those of its `json-file`, `cri` those of containerd and CRI-O. The parts of one
    /// stream are one record at the place of the first; with their headers they may have
    /// `line_bytes_max` together.
    #[serde(default)]
    pub join: Option<Join>,

    /// Bytes that are read, decompressed and cut into lines at once, per file.
    #[serde(default = "block_bytes_default")]
    pub block_bytes: ByteSize,

    /// How often a file that is followed is looked at; a quiet one up to four times less often.
    #[serde(default = "poll_interval_default")]
    pub poll_interval: Period,

    /// How long a file that was rotated or deleted must be quiet before it counts as finished.
    #[serde(default = "rotate_wait_default")]
    pub rotate_wait: Period,

    /// How long a file must not have been written to before its last line counts as a record
    /// although it has no end, and NULs up to the end of a page of 4 KiB, with text behind them,
    /// count as nothing that is still to be written. A rotated file need rest for `rotate_wait`
    /// alone; a compressed one may still get another member. NULs that stand unchanged for so long
    /// are left out even where somebody writes behind them without pause.
    #[serde(default = "settle_default")]
    pub settle: Period,
}

impl Config {
    /// What it says of how files are compressed.
    pub(crate) fn packing(&self) -> Packing {
        let limits = Limits { zstd_window_max: self.zstd_window_max };
        Packing { compression: self.compression, limits }
    }
}

/// How the files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// By the first bytes of each file.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

/// What becomes of the copy of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repeated {
    /// It is named, and not read.
    #[default]
    PassOver,
    /// It is read, as every file.
    Read,
}

const BLOCK_BYTES_MIN: ByteSize = ByteSize(4 << 10);
/// Positions in a block are 32-bit numbers, and a repaired text may be three times as long.
const SIZE_MAX: ByteSize = ByteSize(256 << 20);

fn line_bytes_max_default() -> ByteSize {
    ByteSize(1 << 20)
}

fn block_bytes_default() -> ByteSize {
    ByteSize(2 << 20)
}

fn poll_interval_default() -> Period {
    Period::from_millis(250)
}

fn rotate_wait_default() -> Period {
    Period::from_secs(5)
}

fn settle_default() -> Period {
    Period::from_secs(60)
}

/// What stands in `paths` and `exclude`, checked.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// The files to read.
    pub included: Vec<Included>,
    /// The files to leave out.
    pub excluded: Vec<Excluded>,
    /// What becomes of copies.
    pub repeated: Repeated,
}

/// One entry of `paths`.
#[derive(Clone, Debug)]
pub enum Included {
    /// One file, and where the pipeline file names it.
    File {
        /// Its path.
        path: PathBuf,
        /// Where it is named.
        place: Place,
        /// The setting that names it.
        field: String,
    },
    /// All files of a pattern.
    Glob(String),
}

/// One entry of `exclude`.
#[derive(Clone, Debug)]
pub enum Excluded {
    /// Compared with the file's name.
    Name(Pattern),
    /// Compared with the whole path.
    Path(Pattern),
}

impl Excluded {
    /// Whether a file is to be left out.
    pub fn matches(&self, path: &Path) -> bool {
        match self {
            Self::Path(pattern) => pattern.matches_path(path),
            Self::Name(pattern) => {
                path.file_name().is_some_and(|name| pattern.matches_path(Path::new(name)))
            }
        }
    }
}

/// Checks the settings. Whether files are there that are named without a pattern, the first look
/// says: it knows what was read before.
///
/// # Errors
/// Config: a bad pattern or size, a folder. External: a folder on the way to a file may not be
/// searched.
pub fn patterns(config: &Config, section: &Section) -> Result<Patterns> {
    let size = |name: &str, size: ByteSize, allowed: RangeInclusive<ByteSize>| {
        if allowed.contains(&size) {
            return Ok(());
        }
        let (least, most) = (allowed.start(), allowed.end());
        Err(Error::config(format!("{name} is {size}, expected {least} to {most}"))
            .at(section.get(name).unwrap_or(section).place())
            .field(name))
    };
    size("line_bytes_max", config.line_bytes_max, ByteSize(1)..=SIZE_MAX)?;
    size("block_bytes", config.block_bytes, BLOCK_BYTES_MIN..=SIZE_MAX)?;
    let windows = Limits::ZSTD_WINDOW_MIN..=Limits::ZSTD_WINDOW_MAX;
    size("zstd_window_max", config.zstd_window_max, windows)?;
    if config.paths.is_empty() {
        return Err(Error::config("no path is named")
            .at(section.place())
            .field("paths")
            .hint("add a path or a pattern, e.g. `paths: [\"/var/log/nginx/*.log*\"]`"));
    }
    let mut included = each(section, "paths", &config.paths, included)?;
    for (index, one) in included.iter_mut().enumerate() {
        if let Included::File { field, .. } = one {
            *field = format!("paths.{index}");
        }
    }
    Ok(Patterns {
        included,
        excluded: each(section, "exclude", &config.exclude, excluded)?,
        repeated: config.copies,
    })
}

/// Reads the entries of a list; an error names the place of the entry.
fn each<T>(
    section: &Section,
    name: &str,
    texts: &[String],
    read: fn(&str, &Place) -> Result<T>,
) -> Result<Vec<T>> {
    let read_at = |(index, text): (usize, &String)| {
        let place = item_place(section, name, index);
        read(text, &place).map_err(|error| error.at(&place).field(format!("{name}.{index}")))
    };
    texts.iter().enumerate().map(read_at).collect()
}

fn item_place(section: &Section, name: &str, index: usize) -> Place {
    let list = section.get(name).unwrap_or(section);
    match list.value() {
        Value::List(items) => items.get(index).unwrap_or(list).place().clone(),
        _ => list.place().clone(),
    }
}

fn included(text: &str, place: &Place) -> Result<Included> {
    let path = Path::new(text);
    // Such a name may exist, too, as after `touch *.log`; the pattern names it with the others.
    if text.contains(['*', '?']) {
        pattern(text)?;
        return Ok(Included::Glob(text.to_owned()));
    }
    if path.is_dir() {
        return Err(Error::config(format!("{text:?} is a folder"))
            .hint(format!("name its files, e.g. \"{}/*.log*\"", text.trim_end_matches('/'))));
    }
    let exists = path.try_exists().external(|| format!("could not look for file {text:?}"))?;
    if !exists && is_pattern(text) {
        pattern(text)?;
        return Ok(Included::Glob(text.to_owned()));
    }
    let (path, place) = (path.to_owned(), place.clone());
    Ok(Included::File { path, place, field: String::new() })
}

fn excluded(text: &str, _place: &Place) -> Result<Excluded> {
    let pattern = pattern(text)?;
    Ok(if text.contains('/') { Excluded::Path(pattern) } else { Excluded::Name(pattern) })
}

fn pattern(text: &str) -> Result<Pattern> {
    Pattern::new(text).map_err(|error| {
        Error::config(format!("{text:?} is not a pattern: {}", error.msg)).hint(
            "`*` stands for any text, `?` for a character, `[ab]` for one of several, `[[]` \
                 for a bracket",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::section::Entry;

    fn section(key: &str, item: &str) -> Section {
        let place = |line| Place { file: "p.yaml".into(), line, column: 1 };
        let entry = |line, key: &str, value| Entry {
            key: key.into(),
            place: place(line),
            value: Section::new(place(line), value),
        };
        let list = |text: &str| Value::List(vec![Section::new(place(3), Value::Text(text.into()))]);
        let mut entries = vec![entry(1, "paths", list("*.log"))];
        if key == "paths" {
            entries.clear();
        }
        let value = match key {
            "paths" | "exclude" => list(item),
            _ => Value::Text(item.into()),
        };
        entries.push(entry(2, key, value));
        Section::new(place(1), Value::Map(entries))
    }

    fn check(key: &str, item: &str, expect: &str) {
        let section = section(key, item);
        let said = match section.read().and_then(|config| patterns(&config, &section)) {
            Ok(_) => "fine".to_owned(),
            Err(error) => format!("{}: {error}", error.place().expect("a place")),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn wrong_settings_name_their_place() {
        check("paths", "/no/such/*.log", "fine");
        check("paths", "/no/such.log", "fine");
        check("paths", "/", "p.yaml:3:1: \"/\" is a folder");
        check("paths", "a[", "p.yaml:3:1: \"a[\" is not a pattern: invalid range pattern");
        check("exclude", "*.gz", "fine");
        check(
            "line_bytes_max",
            "1GiB",
            "p.yaml:2:1: line_bytes_max is 1GiB, expected 1B to 256MiB",
        );
    }

    #[test]
    fn an_exclusion_without_slash_is_about_names() {
        let check = |pattern: &str, path: &str, expect: bool| {
            let excluded = excluded(pattern, &Place::default()).expect("a pattern");
            assert_eq!(excluded.matches(Path::new(path)), expect, "{pattern} {path}");
        };
        check("*.gz", "/logs/a.gz", true);
        check("*.gz", "/logs.gz/a", false);
        check("/logs/*", "/logs/a", true);
    }
}
