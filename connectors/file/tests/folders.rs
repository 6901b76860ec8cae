//! Logs in several folders that all begin with the same lines, without times, and are rotated,
//! copied, compressed, moved, removed, brought back and made anew in any order, while runs with an
//! end read them, forget those that are gone, and begin anew as new processes.
//!
//! No line is lost. None comes twice unless something was said of it.
//!
//! `LOGMILL_FUZZ_CASES` and `LOGMILL_FUZZ_SEED` as in the tests of the crate `formats`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::AsArray;
use contract::discovery::{Finished, Moved, NameSum, Retired, Unreadable};
use contract::source::{KnownSplit, Source, Split, Until};
use contract::spec::{BuildContext, Connector};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const CASES: u64 = 150;
/// Files cost a thousand times what memory does.
const CASES_OF_MEMORY: u64 = 1_000;
/// Lines that every log begins with: more than tells one file from another.
const BANNER: usize = 60;
const FOLDERS: [&str; 2] = ["host1", "host2"];
/// Such names are never those of copies of one another.
const LOGS: [&str; 2] = ["worker-1.log", "worker-2.log"];
/// How the lines begin that all logs have.
const BEGIN: &str = "the server says hello";
/// What is said of those that are taken for one that is gone, as their names and times say.
const TAKEN: [&str; 2] = ["was written anew", "as rotation and compression give such names"];
/// What is said of those that are not read again.
const PASSED_OVER: [&str; 3] =
    ["is passed over", "begins with what was read", "nothing but what was read"];
/// Words of which one at least is in what is said of lines that may come twice.
const WORDS: [&str; 3] = ["read as a new one", "may be read again", "may be a copy"];

#[tokio::test]
async fn no_line_is_lost_and_none_doubled_without_a_word_whatever_becomes_of_logs_that_begin_alike()
{
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("LOGMILL_FUZZ_SEED").unwrap_or(0);
    let cases = number("LOGMILL_FUZZ_CASES")
        .map_or(CASES, |cases| cases.div_ceil(CASES_OF_MEMORY).max(CASES.min(cases)));
    let (mut steps, mut doubled) = (0, 0);
    for seed in first..first + cases {
        let (took, again) = Case::new(seed).run().await;
        (steps, doubled) = (steps + took, doubled + again);
    }
    println!(
        "folders: {cases} histories of {steps} steps from seed {first} on, 0 failures; \
         {doubled} lines came twice, with a word"
    );
}

/// A file as it was when it was removed.
struct Removed {
    path: PathBuf,
    bytes: Vec<u8>,
    modified: SystemTime,
}

struct Case {
    seed: u64,
    folder: tempfile::TempDir,
    random: SmallRng,
    source: Arc<dyn Source>,
    known: Vec<KnownSplit>,
    retired: Vec<Retired>,
    /// Lines that were written, and how often.
    written: BTreeMap<String, usize>,
    read: BTreeMap<String, usize>,
    lines: usize,
    /// Whether logs are truncated behind a copy, and not renamed.
    truncates: bool,
    removed: Vec<Removed>,
    said: Vec<String>,
    steps: Vec<String>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in FOLDERS {
            fs::create_dir_all(folder.path().join(name).join("old")).expect("a folder");
        }
        let source = source(folder.path());
        let mut random = SmallRng::seed_from_u64(seed);
        Self {
            seed,
            folder,
            truncates: random.random_bool(0.3),
            random,
            source,
            known: Vec::new(),
            retired: Vec::new(),
            written: BTreeMap::new(),
            read: BTreeMap::new(),
            lines: 0,
            removed: Vec::new(),
            said: Vec::new(),
            steps: Vec::new(),
        }
    }

    async fn run(mut self) -> (usize, usize) {
        for _ in 0..self.random.random_range(5..40) {
            match self.random.random_range(0..18) {
                0..5 => self.write(),
                5 | 6 if self.truncates => self.copy_and_truncate(),
                5 | 6 => self.rename(),
                7 => self.compress(),
                8 => self.move_aside(),
                9 | 10 => self.remove().await,
                11 => self.bring_back(),
                12 => self.source = source(self.folder.path()),
                13 => self.write_anew().await,
                14 => self.forget().await,
                _ => self.read().await,
            }
        }
        self.read().await;
        self.read().await;
        let doubled = self.check();
        (self.steps.len(), doubled)
    }

    /// Compares what came with what was written; returns how many lines came more often.
    fn check(&self) -> usize {
        let mut doubled = 0;
        // Behind a log that was truncated and says the same again stands what may be its copy.
        let is_passed_over = self.truncates && self.has_said(&PASSED_OVER) || self.has_said(&TAKEN);
        for (line, written) in &self.written {
            let read = self.read.get(line).copied().unwrap_or(0);
            let is_told = is_passed_over && line.starts_with(BEGIN);
            assert!(is_told || read >= *written, "{line}: {read} of {written}\n{}", self.history());
            doubled += read.saturating_sub(*written);
        }
        assert!(
            doubled == 0 || self.has_said(&WORDS),
            "{doubled} lines came twice\n{}",
            self.history()
        );
        doubled
    }

    fn has_said(&self, words: &[&str]) -> bool {
        self.said.iter().any(|it| words.iter().any(|word| it.contains(word)))
    }

    fn history(&self) -> String {
        let (steps, said) = (self.steps.join("\n"), self.said.join("\n"));
        let seed = self.seed;
        format!("{steps}\n{said}\nLOGMILL_FUZZ_SEED={seed} LOGMILL_FUZZ_CASES=1 repeats it")
    }

    fn note(&mut self, what: &str, path: &Path) {
        let path = path.strip_prefix(self.folder.path()).unwrap_or(path);
        self.steps.push(format!("{what} {}", path.display()));
    }

    fn live(&mut self) -> PathBuf {
        let folder = FOLDERS.choose(&mut self.random).expect("two");
        let name = LOGS.choose(&mut self.random).expect("two");
        self.folder.path().join(folder).join(name)
    }

    /// All files, by path.
    fn files(&self) -> Vec<PathBuf> {
        let folders = FOLDERS.iter().flat_map(|name| [name.to_string(), format!("{name}/old")]);
        let entries = folders.flat_map(|name| {
            fs::read_dir(self.folder.path().join(name)).expect("it is there").flatten()
        });
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.is_file());
        files.sort();
        files
    }

    fn any_file(&mut self) -> Option<PathBuf> {
        self.files().choose(&mut self.random).cloned()
    }

    /// Some lines, each of them once in all logs.
    fn some_lines(&mut self) -> String {
        let lines = self.lines..self.lines + self.random.random_range(1..60);
        self.lines = lines.end;
        let lines: Vec<_> = lines.map(|number| format!("line {number} of a log")).collect();
        lines.into_iter().map(|line| self.written_once(line) + "\n").collect()
    }

    fn written_once(&mut self, line: String) -> String {
        *self.written.entry(line.clone()).or_default() += 1;
        line
    }

    fn banner(&mut self) -> String {
        (0..BANNER).map(|number| self.written_once(format!("{BEGIN} {number}")) + "\n").collect()
    }

    /// Appends to a log, which is made where it is not there.
    fn write(&mut self) {
        let path = self.live();
        let is_new = fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0;
        let mut text = if is_new { self.banner() } else { String::new() };
        // Some say nothing but what all say.
        if !is_new || self.random.random_bool(0.7) {
            text += &self.some_lines();
        }
        self.note(if is_new { "make" } else { "append to" }, &path);
        if is_new {
            wait_for_the_clock(&path);
        }
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be written");
    }

    /// Makes room for a log under its name.
    fn shift(&mut self, live: &Path) -> PathBuf {
        let name = live.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
        for number in (1..30).rev() {
            for suffix in ["", ".gz"] {
                let from = live.with_file_name(format!("{name}.{number}{suffix}"));
                let to = live.with_file_name(format!("{name}.{}{suffix}", number + 1));
                if from.exists() {
                    fs::rename(from, to).expect("it can be renamed");
                }
            }
        }
        live.with_file_name(format!("{name}.1"))
    }

    fn rename(&mut self) {
        let live = self.live();
        if !live.exists() {
            return;
        }
        self.note("rotate", &live);
        // What is renamed as it is made cannot be told from a copy.
        wait_for_the_clock(&live);
        let to = self.shift(&live);
        fs::rename(&live, to).expect("it can be renamed");
    }

    fn copy_and_truncate(&mut self) {
        let live = self.live();
        if fs::metadata(&live).map_or(0, |metadata| metadata.len()) == 0 {
            return;
        }
        self.note("copy and truncate", &live);
        let to = self.shift(&live);
        fs::copy(&live, to).expect("it can be copied");
        OpenOptions::new().write(true).truncate(true).open(&live).expect("it can be truncated");
    }

    fn compress(&mut self) {
        let is_plain = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("text");
            !LOGS.contains(&name) && !name.ends_with(".gz")
        };
        let Some(path) = self.files().iter().find(is_plain).cloned() else { return };
        let to = packed(&path);
        if to.exists() {
            return;
        }
        self.note("compress", &path);
        let modified = fs::metadata(&path).and_then(|it| it.modified()).expect("it is there");
        let file = File::create(&to).expect("it can be made");
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&fs::read(&path).expect("it can be read")).expect("it can be written");
        encoder.finish().and_then(|file| file.set_modified(modified)).expect("our own file");
        fs::remove_file(&path).expect("it can be removed");
    }

    /// Moves a rotated file to the folder of old ones, or as to another disk.
    fn move_aside(&mut self) {
        let is_rotated = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("text");
            !LOGS.contains(&name) && !path.parent().is_some_and(|folder| folder.ends_with("old"))
        };
        let Some(path) = self.files().iter().find(is_rotated).cloned() else { return };
        let name = path.file_name().expect("a name");
        let to = path.parent().expect("a folder").join("old").join(name);
        // One beside its own name with `.gz` is taken for the same.
        if to.exists() || packed(&to).exists() || unpacked(&to).exists() {
            return;
        }
        self.note("move aside", &path);
        if self.random.random_bool(0.5) {
            fs::rename(&path, &to).expect("it can be moved");
            return;
        }
        let modified = fs::metadata(&path).and_then(|it| it.modified()).expect("it is there");
        fs::copy(&path, &to).expect("it can be copied");
        File::options()
            .append(true)
            .open(&to)
            .and_then(|file| file.set_modified(modified))
            .unwrap();
        fs::remove_file(&path).expect("it can be removed");
    }

    /// A file is removed once all of it was read.
    async fn remove(&mut self) {
        self.read().await;
        let Some(path) = self.any_file() else { return };
        self.note("remove", &path);
        let bytes = fs::read(&path).expect("it can be read");
        let modified = fs::metadata(&path).and_then(|it| it.modified()).expect("it is there");
        fs::remove_file(&path).expect("it can be removed");
        self.removed.push(Removed { path, bytes, modified });
        if self.random.random_bool(0.5) {
            self.read().await;
        }
    }

    /// One that was removed comes back, with its times or without.
    fn bring_back(&mut self) {
        let Some(number) = self.removed.len().checked_sub(1) else { return };
        let number = self.random.random_range(0..=number);
        if self.removed[number].path.exists() {
            return;
        }
        let Removed { path, bytes, modified } = self.removed.swap_remove(number);
        let has_times = self.random.random_bool(0.5);
        self.note(if has_times { "bring back" } else { "bring back without times" }, &path);
        wait_for_the_clock(&path);
        fs::write(&path, bytes).expect("it can be written");
        if has_times {
            let file = File::options().append(true).open(&path).expect("it is there");
            file.set_modified(modified).expect("our own file");
        }
    }

    /// A log that was read is written anew under another name, as editors and `rsync` do.
    async fn write_anew(&mut self) {
        self.read().await;
        let path = self.live();
        if fs::metadata(&path).map_or(0, |metadata| metadata.len()) == 0 {
            return;
        }
        let has_times = self.random.random_bool(0.5);
        self.note(if has_times { "write anew with times" } else { "write anew" }, &path);
        let mut bytes = fs::read(&path).expect("it can be read");
        bytes.extend_from_slice(self.some_lines().as_bytes());
        let modified = SystemTime::now();
        let hidden = path.with_file_name(".new");
        wait_for_the_clock(&hidden);
        fs::write(&hidden, bytes).expect("it can be written");
        if has_times {
            let file = File::options().append(true).open(&hidden).expect("it is there");
            file.set_modified(modified - Duration::from_secs(1)).expect("our own file");
        }
        let written = fs::metadata(&hidden).and_then(|it| it.modified()).expect("it is there");
        wait_for(&path.with_file_name(".clock"), written);
        fs::rename(hidden, path).expect("it can be renamed");
    }

    /// Tombstones are not kept for ever.
    async fn forget(&mut self) {
        if self.removed.is_empty() {
            self.read().await;
            self.steps.push("forget tombstones".to_owned());
            self.retired.iter_mut().for_each(|one| one.tombstone = None);
        }
    }

    /// A run with an end, which lets those retire that are gone.
    async fn read(&mut self) {
        self.steps.push(format!("read ({} known)", self.known.len()));
        let mut discoverer = self.source.discover(Some(self.known.clone()));
        discoverer.hear_retired(self.retired.clone());
        let mut moved = Moved::new();
        // What holds more than another one waits until that is read.
        for _ in 0..3 {
            let said = discoverer.look(std::mem::take(&mut moved)).await.expect("files");
            for word in said.warnings.into_iter().chain(said.unreadable.into_iter().map(named)) {
                if !self.said.contains(&word) {
                    self.said.push(word);
                }
            }
            self.enter(&said.found);
            for split in said.found {
                self.read_split(&split, &mut moved).await;
            }
            let mut retired = Vec::new();
            for Finished { id, at, tombstone } in said.finished {
                let place = self.known.iter().position(|known| known.split.id == id);
                let Some(place) = place.filter(|place| self.known[*place].position == at) else {
                    continue;
                };
                self.known.remove(place);
                retired.push(Retired { name: NameSum::of(&id), tombstone: Some(tombstone) });
            }
            discoverer.hear_retired(retired.clone());
            self.retired.extend(retired);
        }
    }

    fn enter(&mut self, found: &[Split]) {
        for split in found {
            match self.known.iter_mut().find(|known| known.split.id == split.id) {
                Some(known) => known.split = split.clone(),
                None => self.known.push(KnownSplit { split: split.clone(), position: None }),
            }
        }
    }

    async fn read_split(&mut self, split: &Split, moved: &mut Moved) {
        let known = self.known.iter_mut().find(|known| known.split.id == split.id).unwrap();
        let from = known.position.clone();
        let opened = self.source.open(split, from.as_ref(), Until::End).await;
        let mut reader = opened.expect("a file");
        let begin = from.map_or(0, |from| from.at);
        while let Some(batch) = reader.next_batch().await.expect("a file") {
            for line in batch.records.column(0).as_string_view().iter().flatten() {
                *self.read.entry(line.to_owned()).or_default() += 1;
            }
            moved.insert(split.id.clone(), batch.next.clone());
            known.position = Some(batch.next);
        }
        let end = known.position.as_ref().map_or(0, |position| position.at);
        let name = split.id.as_str().trim_start_matches(&*self.folder.path().to_string_lossy());
        self.steps.push(format!("  {name} from byte {begin} to {end}"));
    }
}

fn named(one: Unreadable) -> String {
    format!("{} is passed over: {}", one.name, one.reason)
}

/// The name of a file once it is compressed.
fn packed(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", path.display()))
}

/// The name of a file before it was compressed.
fn unpacked(path: &Path) -> PathBuf {
    let name = path.to_str().expect("text");
    PathBuf::from(name.strip_suffix(".gz").unwrap_or(name))
}

/// Waits until what is made now is made later than all that there is.
fn wait_for_the_clock(beside: &Path) {
    wait_for(&beside.with_file_name(".clock"), SystemTime::now());
}

/// Waits until the clock of the file system is later.
fn wait_for(path: &Path, time: SystemTime) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        fs::write(path, "").expect("it can be written");
        let now = fs::metadata(path).and_then(|metadata| metadata.modified()).expect("a time");
        fs::remove_file(path).expect("it can be removed");
        if now > time {
            return;
        }
        assert!(Instant::now() < limit, "the clock stands still");
    }
}

fn source(folder: &Path) -> Arc<dyn Source> {
    let paths = format!("paths: [\"{}/**\"]", folder.display());
    let waits = "rotate_wait: 0ms, settle: 0ms";
    let section = testkit::section(&format!("{{ {paths}, exclude: ['.*'], {waits} }}"));
    let ctx = BuildContext::new("p", "s", Path::new(""));
    connector_file::File.source(&section, &ctx).expect("the settings are right")
}
