//! Files that are written, rotated, compressed and truncated in any order while runs with an end
//! read them: every line comes once, and what was left out is told.
//!
//! `LOGMILL_FUZZ_CASES` and `LOGMILL_FUZZ_SEED` as in the tests of the crate `formats`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::AsArray;
use connector_file::File;
use contract::discovery::list;
use contract::source::{KnownSplit, Source, Until};
use contract::spec::{BuildContext, Connector};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const CASES: u64 = 150;
/// What comes late ends where a page does.
const PAGE_BYTES: usize = 4096;
/// Fewer NULs may be a part of a line.
const LATE_BYTES_MIN: usize = 16;
/// Files cost a thousand times what memory does.
const CASES_OF_MEMORY: u64 = 1_000;

#[tokio::test]
async fn every_line_comes_once_whatever_happens_to_its_file() {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("LOGMILL_FUZZ_SEED").unwrap_or(0);
    let cases = number("LOGMILL_FUZZ_CASES")
        .map_or(CASES, |cases| cases.div_ceil(CASES_OF_MEMORY).max(CASES.min(cases)));
    for seed in first..first + cases {
        eprintln!("LOGMILL_FUZZ_SEED={seed} LOGMILL_FUZZ_CASES=1 repeats a failure");
        Case::new(seed).run().await;
    }
    println!("files: {cases} histories from seed {first} on, 0 failures");
}

/// A folder with logs of one family.
struct Case {
    folder: tempfile::TempDir,
    random: SmallRng,
    source: Arc<dyn Source>,
    known: Vec<KnownSplit>,
    lines: usize,
    /// Whether the last line has no end yet.
    is_half: bool,
    rotated: Vec<PathBuf>,
    /// Lines of the live file that were not written where they belong yet, and their place.
    late: Vec<(u64, String)>,
    /// NULs that stand before lines, and those that were told.
    nuls: u64,
    skipped: u64,
    read: Vec<String>,
    refused: Vec<String>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let random = SmallRng::seed_from_u64(seed);
        let source = source(folder.path());
        let (known, rotated, read, refused) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let late = Vec::new();
        Self {
            folder,
            random,
            source,
            known,
            lines: 0,
            is_half: false,
            rotated,
            late,
            nuls: 0,
            skipped: 0,
            read,
            refused,
        }
    }

    fn live(&self) -> PathBuf {
        self.folder.path().join("a.log")
    }

    async fn run(mut self) {
        for _ in 0..self.random.random_range(3..25) {
            match self.random.random_range(0..15) {
                0..4 => self.write(),
                4 => self.write_half(),
                5 => self.rename(),
                6 => self.copy_and_truncate().await,
                7 => self.compress(),
                8 => self.source = source(self.folder.path()),
                9 => self.leave_nuls(),
                10 | 11 => self.write_late(),
                12 => self.fill(),
                _ => self.read().await,
            }
        }
        self.end_line();
        self.fill_all();
        self.read().await;
        // NULs that nobody wrote over are none that anybody will write over.
        if let Ok(live) = fs::File::options().append(true).open(self.live()) {
            let long_ago = SystemTime::now() - Duration::from_secs(2 * 3600);
            live.set_modified(long_ago).expect("our own file");
        }
        self.read().await;
        self.read().await;
        let expect: Vec<_> = (0..self.lines).map(line).collect();
        self.read.sort();
        assert_eq!(self.read, expect);
        assert_eq!(self.refused, [""; 0]);
        assert_eq!(self.skipped, self.nuls);
    }

    fn append(&self, bytes: &[u8]) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.live());
        file.and_then(|mut file| file.write_all(bytes)).expect("a file can be written");
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_half) {
            self.append(&line(self.lines - 1).as_bytes()[5..]);
            self.append(b"\n");
        }
    }

    fn write(&mut self) {
        self.end_line();
        let lines = self.random.random_range(1..30);
        let mut text = String::new();
        for number in self.lines..self.lines + lines {
            writeln!(text, "{}", line(number)).expect("memory takes it");
        }
        self.lines += lines;
        self.append(text.as_bytes());
    }

    fn write_half(&mut self) {
        self.end_line();
        self.append(&line(self.lines).as_bytes()[..5]);
        self.lines += 1;
        self.is_half = true;
    }

    /// What a crash of the machine leaves.
    fn leave_nuls(&mut self) {
        self.end_line();
        let nuls = self.random.random_range(1..3000);
        self.append(&vec![0; nuls]);
        self.nuls += nuls as u64;
        self.write();
    }

    /// Lines of which a page, or the rest of one, comes after what is behind it.
    fn write_late(&mut self) {
        self.end_line();
        let lines = self.lines..self.lines + self.random.random_range(1..200);
        self.lines = lines.end;
        let text: String = lines.map(|number| line(number) + "\n").collect();
        let place = fs::metadata(self.live()).map_or(0, |metadata| metadata.len()) as usize;
        let page_end = (place + 1).next_multiple_of(PAGE_BYTES) - place;
        let mut bytes = text.clone().into_bytes();
        if (LATE_BYTES_MIN..bytes.len()).contains(&page_end) {
            let begin = self.random.random_range(0..=page_end - LATE_BYTES_MIN);
            bytes[begin..page_end].fill(0);
            self.late.push(((place + begin) as u64, text[begin..page_end].to_owned()));
        }
        self.append(&bytes);
        self.write();
    }

    /// One of the pages comes.
    fn fill(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let (place, text) = self.late.swap_remove(self.random.random_range(0..self.late.len()));
        let live = fs::File::options().write(true).open(self.live()).expect("it was written");
        live.write_all_at(text.as_bytes(), place).expect("a file can be written");
    }

    fn fill_all(&mut self) {
        while !self.late.is_empty() {
            self.fill();
        }
    }

    fn next_name(&mut self) -> Option<PathBuf> {
        self.end_line();
        self.fill_all();
        if !self.live().exists() {
            return None;
        }
        // The newest is 1, as logrotate has it.
        for path in self.rotated.iter_mut().rev() {
            let name = path.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
            let mut parts = name.splitn(4, '.').skip(2);
            let number: usize = parts.next().expect("a number").parse().expect("a number");
            let suffix = parts.next().map(|suffix| format!(".{suffix}")).unwrap_or_default();
            let moved = path.with_file_name(format!("a.log.{}{suffix}", number + 1));
            fs::rename(&path, &moved).expect("a file can be renamed");
            *path = moved;
        }
        let name = self.folder.path().join("a.log.1");
        self.rotated.insert(0, name.clone());
        self.rotated.sort_by_key(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("text");
            name.split('.').nth(2).and_then(|number| number.parse::<usize>().ok())
        });
        Some(name)
    }

    fn rename(&mut self) {
        let Some(name) = self.next_name() else { return };
        fs::rename(self.live(), name).expect("a file can be renamed");
    }

    async fn copy_and_truncate(&mut self) {
        let Some(name) = self.next_name() else { return };
        fs::copy(self.live(), name).expect("a file can be copied");
        if self.random.random_bool(0.5) {
            self.read().await;
        }
        // What is written behind the copy and was not read is gone.
        let grows = self.read.len() == self.lines && self.random.random_bool(0.5);
        if grows {
            self.read().await;
            self.write();
            self.read().await;
        }
        fs::write(self.live(), "").expect("a file can be truncated");
        if grows {
            self.read().await;
        }
    }

    fn compress(&mut self) {
        let plain = self.rotated.iter_mut().filter(|path| path.extension() != Some("gz".as_ref()));
        let plain: Vec<_> = plain.collect();
        let Some(path) = plain.into_iter().next_back() else { return };
        let packed = path.with_file_name(format!(
            "{}.gz",
            path.file_name().and_then(|name| name.to_str()).expect("text")
        ));
        let text = fs::read(&*path).expect("a file can be read");
        let file = fs::File::create(&packed).expect("a file can be made");
        let level = *[0, 1, 9].choose(&mut self.random).expect("three");
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::new(level));
        encoder.write_all(&text).and_then(|()| encoder.finish().map(drop)).expect("written");
        fs::remove_file(&*path).expect("a file can be removed");
        *path = packed;
    }

    /// A run with an end.
    async fn read(&mut self) {
        let discovery = list(self.source.as_ref(), Some(&self.known)).await.expect("files");
        for split in discovery.splits {
            if !self.known.iter().any(|known| known.split.id == split.id) {
                self.known.push(KnownSplit { split: split.clone(), position: None });
            }
            let known = self.known.iter_mut().find(|known| known.split.id == split.id);
            let known = known.expect("it was just added");
            known.split = split.clone();
            let from = known.position.clone();
            let opened = self.source.open(&split, from.as_ref(), Until::End).await;
            let mut reader = opened.expect("a file");
            while let Some(batch) = reader.next_batch().await.expect("a file") {
                let lines = batch.records.column(0).as_string_view();
                self.read.extend(lines.iter().map(|line| line.expect("never null").to_owned()));
                self.refused.extend(batch.rejects.into_iter().map(|reject| reject.reason));
                self.skipped += batch.skipped;
                known.position = Some(batch.next);
            }
        }
    }
}

fn line(number: usize) -> String {
    format!("{number:06} {}", "x".repeat(number * 37 % 90))
}

fn source(folder: &Path) -> Arc<dyn Source> {
    let paths = format!("paths: [\"{}/a.log*\"]", folder.display());
    let section = testkit::section(&format!("{{ {paths}, block_bytes: 4KiB, settle: 1h }}"));
    let ctx = BuildContext::new("p", "s", Path::new(""));
    File.source(&section, &ctx).expect("the settings are right")
}
