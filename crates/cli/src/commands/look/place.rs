//! The lake of a set of files: where it lies, and what was decided when it was made.
//!
//! A set is known by the names of its files without what rotation adds, and by what they hold: as
//! long as one of the files that were looked at is still among them, the lake goes on. Where none
//! is, the names stand for other logs, which get a lake of their own; nothing is removed. A lake
//! may hold rows of files that are not named this time: `others` finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::{Error, Lineage, Result};
use serde::{Deserialize, Serialize};
use state::CheckpointStore;
use state::checkpoint::sha256_hex;
use tempfile::TempDir;

use super::files::{self, Input};
use super::mill;

/// The folder of all lakes of `look`, in the data folder.
const FOLDER: &str = "look";
/// What was decided, beside the lake.
const DECIDED: &str = "look.json";
/// The folder of the checkpoints in a data folder, where a pipeline names no other.
const CHECKPOINTS: &str = "checkpoints";
/// Where the dashboard of a look is served, while it is.
const ADDRESS: &str = "address";
/// A file is known by so many of its first bytes.
const HEAD_BYTES: usize = 1024;
/// Files of earlier looks by which a lake is known.
const HEADS_MAX: usize = 10_000;
/// Characters of a set's key.
const KEY_CHARS: usize = 12;
/// Lakes of one set of names, whose files were others each time.
const GENERATIONS_MAX: u32 = 10_000;
/// What tools add to a name when they compress a file.
const COMPRESSED: [&str; 6] = [".gz", ".zst", ".xz", ".bz2", ".Z", ".lz4"];

/// What was decided about a set of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The settings of the step `parse`, as a JSON object.
    pub parse: String,
    /// How the source joins lines that stand in several parts.
    #[serde(default)]
    pub join: Option<String>,
    /// Fields of the log whose columns have another name, because theirs is taken.
    #[serde(default)]
    pub renamed: BTreeMap<String, String>,
    /// The lake table.
    pub table: String,
    /// Its column of times.
    pub time: String,
    /// The column of user agents, if there is one.
    pub user_agent: Option<String>,
    /// What a person is told about it.
    pub told: String,
}

/// What is kept beside a lake.
#[derive(Serialize, Deserialize)]
struct Kept {
    decided: Decided,
    heads: Vec<Head>,
}

/// The first bytes of a file, decompressed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Head {
    bytes: usize,
    sha256: String,
}

/// The folder of a set's lake.
pub struct Place {
    data: PathBuf,
    kept: Option<Kept>,
    /// What standard input gave is gone with it, and so is its lake.
    _passing: Option<TempDir>,
}

impl Place {
    /// The lake of an input; `format` is what the command line says of its lines.
    ///
    /// # Errors
    /// External: the data folder or a file cannot be read or written.
    pub fn of(input: &Input, format: Option<&str>, data: &Path) -> Result<Self> {
        let data =
            std::path::absolute(data).external(|| "could not find the data folder".into())?;
        let folder = data.join(FOLDER);
        let failed = || format!("could not write into {:?}", folder.display().to_string());
        fs::create_dir_all(&folder).external(failed)?;
        let Input::Files { found, .. } = input else {
            let passing = tempfile::Builder::new().prefix("stdin-").tempdir_in(&folder);
            let passing = passing.external(failed)?;
            return Ok(Self {
                data: passing.path().to_owned(),
                kept: None,
                _passing: Some(passing),
            });
        };
        let key = key(found, format);
        for generation in 1..GENERATIONS_MAX {
            let name = match generation {
                1 => key.clone(),
                later => format!("{key}-{later}"),
            };
            let data = folder.join(name);
            let Some(kept) = read(&data.join(DECIDED))? else {
                return Ok(Self { data, kept: None, _passing: None });
            };
            if goes_on(&kept.heads, found) {
                return Ok(Self { data, kept: Some(kept), _passing: None });
            }
        }
        Err(Error::external(format!("there are {GENERATIONS_MAX} lakes of these files"))
            .hint(format!("remove some of {:?}", folder.display().to_string())))
    }

    /// The folder, which is one of data as any other.
    pub fn folder(&self) -> &Path {
        &self.data
    }

    /// What was decided when it was made; none if it is made now.
    pub fn decided(&self) -> Option<Decided> {
        self.kept.as_ref().map(|kept| kept.decided.clone())
    }

    /// Whether another look fills the lake now.
    ///
    /// # Errors
    /// External: the folder cannot be read.
    pub async fn is_busy(&self) -> Result<bool> {
        let folder = self.data.join(CHECKPOINTS);
        if !folder.join(mill::NAME).is_dir() {
            return Ok(false);
        }
        let store = CheckpointStore::local(&folder)?;
        Ok(store.is_held(mill::NAME, &Lineage::main()).await? == Some(true))
    }

    /// Keeps what was decided, and how the files begin that were looked at.
    ///
    /// # Errors
    /// External: it cannot be written.
    pub fn keep(&self, input: &Input, decided: &Decided) -> Result<()> {
        let Input::Files { found, .. } = input else { return Ok(()) };
        let mut heads: Vec<_> = found.iter().filter_map(|path| head(path, HEAD_BYTES)).collect();
        let now: BTreeSet<_> = heads.iter().cloned().collect();
        let before = self.kept.iter().flat_map(|kept| &kept.heads);
        heads.extend(before.filter(|head| !now.contains(head)).cloned());
        heads.truncate(HEADS_MAX.max(now.len()));
        let kept = Kept { decided: decided.clone(), heads };
        let text = serde_json::to_vec(&kept).bug("a decision is no JSON")?;
        let file = self.data.join(DECIDED);
        let failed = || format!("could not write {:?}", file.display().to_string());
        // A file that is half written would be taken for none, and all be read again.
        let draft = self.data.join("look.json.new");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &file)).external(failed)
    }
}

/// The note of where the dashboard of a look is served.
pub struct Address(PathBuf);

impl Address {
    /// That of the look whose data folder this is.
    pub fn of(data: &Path) -> Self {
        Self(data.join(ADDRESS))
    }

    /// Notes an address.
    ///
    /// # Errors
    /// External: it cannot be written.
    pub fn write(&self, url: &str) -> Result<()> {
        fs::write(&self.0, url).external(|| format!("could not write {:?}", self.0.display()))
    }

    /// What is noted. A look that was killed leaves its note behind.
    pub fn read(&self) -> Option<String> {
        fs::read_to_string(&self.0).ok().filter(|url| !url.is_empty())
    }

    /// Forgets the address.
    pub fn remove(&self) {
        // What stays means nothing once nobody holds the lease.
        let _ = fs::remove_file(&self.0);
    }
}

fn read(file: &Path) -> Result<Option<Kept>> {
    let failed = || format!("could not read {:?}", file.display().to_string());
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).external(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).external(failed),
    }
}

/// Whether one of the files that were looked at is among those that there are now.
fn goes_on(heads: &[Head], found: &[PathBuf]) -> bool {
    let known: BTreeSet<_> = heads.iter().collect();
    let lengths: BTreeSet<_> = heads.iter().map(|head| head.bytes).collect();
    let begins = |path: &PathBuf, bytes| head(path, bytes).is_some_and(|it| known.contains(&it));
    heads.is_empty() || found.iter().any(|path| lengths.iter().any(|bytes| begins(path, *bytes)))
}

/// The first bytes of a file, decompressed, so that it is the same one once it was compressed; none
/// if it is empty, or cannot be read.
fn head(path: &Path, bytes: usize) -> Option<Head> {
    let mut first = files::of_file(path, bytes).ok()?;
    first.truncate(bytes);
    let head = Head { bytes: first.len(), sha256: sha256_hex(&first) };
    (head.bytes > 0).then_some(head)
}

/// What stands for the names of a set of files.
fn key(found: &[PathBuf], format: Option<&str>) -> String {
    // By whatever way a file is named, it is the same one.
    let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let names: BTreeSet<_> =
        found.iter().map(|path| family(&real(path)).display().to_string()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join("\0");
    let key = sha256_hex(format!("{names}\0{}", format.unwrap_or_default()).as_bytes());
    key.chars().take(KEY_CHARS).collect()
}

/// A path without what rotation and compression add to a name: `access.log` of `access.log.2.gz`
/// and of `access.log-20260301`.
pub fn family(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut short = name.as_str();
    loop {
        let packed = COMPRESSED.iter().find_map(|end| short.strip_suffix(end));
        let numbered = short.trim_end_matches(|sign: char| sign.is_ascii_digit());
        let numbered = numbered
            .strip_suffix(['.', '-', '_'])
            .filter(|rest| rest.len() + 1 < short.len() && !rest.is_empty());
        match packed.or(numbered).filter(|rest| !rest.is_empty()) {
            Some(rest) => short = rest,
            None => return path.with_file_name(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn rotation_does_not_change_whose_file_it_is() {
        let check = |name: &str, expect: &str| {
            assert_eq!(family(Path::new(name)), Path::new(expect), "{name}");
        };
        check("/l/access.log", "/l/access.log");
        check("/l/access.log.1", "/l/access.log");
        check("/l/access.log.12.gz", "/l/access.log");
        check("/l/access.log-20260301.zst", "/l/access.log");
        check("/l/access.log.2026-03-01", "/l/access.log");
        check("/l/2026", "/l/2026");
        check("/l/u_ex150101.log", "/l/u_ex150101.log");
    }

    #[test]
    fn a_lake_goes_on_as_long_as_one_of_its_files_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).expect("written");
        write("a.log", "one\n");
        let decided = Decided {
            parse: "{}".to_owned(),
            join: None,
            renamed: BTreeMap::new(),
            table: "a_log".to_owned(),
            time: "ts".to_owned(),
            user_agent: None,
            told: String::new(),
        };
        let of = |names: &[&str]| {
            let found = names.iter().map(|name| path(name)).collect::<Vec<_>>();
            let input = Input::Files { named: found.clone(), found, left_out: Vec::new() };
            let place = Place::of(&input, None, &path("data")).expect("a place");
            fs::create_dir_all(place.folder()).expect("made");
            let known = place.decided().is_some();
            place.keep(&input, &decided).expect("kept");
            (place.folder().to_owned(), known)
        };
        let (first, known) = of(&["a.log"]);
        assert!(!known);
        write("a.log", "one\ntwo\n");
        assert_eq!(of(&["a.log"]), (first.clone(), true), "it grew");
        fs::rename(path("a.log"), path("a.log.1")).expect("rotated");
        write("a.log", "three\n");
        let (other, known) = of(&["a.log"]);
        assert!(other != first && !known, "it is another file");
        assert_eq!(of(&["a.log", "a.log.1"]), (first.clone(), true), "one of both is known");
        fs::rename(path("a.log.1"), path("a.log.2")).expect("rotated");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"one\ntwo\n").expect("packed");
        fs::write(path("a.log.2.gz"), packed.finish().expect("packed")).expect("written");
        fs::remove_file(path("a.log.2")).expect("removed");
        write("a.log", "four\n");
        assert_eq!(of(&["a.log", "a.log.2.gz"]), (first, true), "it was compressed");
    }
}
