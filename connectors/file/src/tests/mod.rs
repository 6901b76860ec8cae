//! Real files in a folder of their own, read through the contract as the runtime does it.

mod bytes;
mod changes;
mod copied;
mod follow;
mod gzip;
mod holes;
mod hostile;
mod identity;
mod inheritance;
mod meanwhile;
mod members;
mod proof;
mod remembered;
mod retired;
mod twins;
mod whole;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use contract::discovery::{Listing, list};
use contract::section::{Entry, Value};
use contract::source::{KnownSplit, ReadBatch, Source, SplitReader, Until};
use contract::spec::{BuildContext, Connector};
use contract::{Place, Result, Section};
use serde_json::json;
use tempfile::TempDir;

/// A folder, a source over it, and what the newest checkpoint would know.
struct Bench {
    folder: TempDir,
    settings: serde_json::Value,
    source: Arc<dyn Source>,
    known: Vec<KnownSplit>,
}

impl Bench {
    /// A source over all files of a new folder.
    fn new() -> Self {
        Self::with("*", json!({}))
    }

    /// A source over the files of a pattern, with further settings.
    fn with(pattern: &str, settings: serde_json::Value) -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path().canonicalize().expect("the folder exists");
        let mut all = json!({
            "paths": [root.join(pattern)],
            "poll_interval": "1ms",
            "rotate_wait": "0ms",
            "settle": "0ms",
        });
        for (key, value) in settings.as_object().expect("settings") {
            all[key] = value.clone();
        }
        let source = source(&all).expect("the settings are right");
        Self { folder, settings: all, source, known: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().expect("the folder exists").join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("a file can be written");
    }

    /// A file that was last written long ago.
    fn write_old(&self, name: &str, bytes: impl AsRef<[u8]>) {
        self.write(name, bytes);
        let long_ago = std::time::Duration::from_secs(1_700_000_000);
        self.set_modified(name, std::time::UNIX_EPOCH + long_ago);
    }

    fn modified(&self, name: &str) -> std::time::SystemTime {
        let metadata = fs::metadata(self.path(name));
        metadata.and_then(|metadata| metadata.modified()).expect("it is there")
    }

    fn set_modified(&self, name: &str, time: std::time::SystemTime) {
        let file = fs::OpenOptions::new().append(true).open(self.path(name));
        file.and_then(|file| file.set_modified(time)).expect("a file can be written");
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let file = fs::OpenOptions::new().append(true).open(self.path(name));
        file.and_then(|mut file| file.write_all(bytes.as_ref())).expect("a file can be written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("a file can be renamed");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file can be removed");
    }

    /// A new process: what only memory knew is forgotten.
    fn restart(&mut self) {
        self.source = source(&self.settings).expect("the settings are right");
    }

    async fn discover(&mut self) -> Listing {
        let discovery =
            list(self.source.as_ref(), Some(&self.known)).await.expect("files can be looked at");
        for split in &discovery.splits {
            match self.known.iter_mut().find(|known| known.split.id == split.id) {
                Some(known) => known.split = split.clone(),
                None => self.known.push(KnownSplit { split: split.clone(), position: None }),
            }
        }
        discovery
    }

    /// Reads all that is there; each record as `split@position text`, each reject with `!`.
    async fn read(&mut self) -> Vec<String> {
        self.try_read().await.expect("files can be read")
    }

    async fn try_read(&mut self) -> Result<Vec<String>> {
        let discovery = self.discover().await;
        let mut said = Vec::new();
        for split in discovery.splits {
            let mut reader = self.open(split.id.as_str(), Until::End).await?;
            while let Some(batch) = reader.next_batch().await? {
                said.extend(self.take(split.id.as_str(), batch));
            }
        }
        Ok(said)
    }

    async fn open(&self, id: &str, until: Until) -> Result<Box<dyn SplitReader>> {
        let known = self.known.iter().find(|known| known.split.id.as_str() == id);
        let known = known.expect("the split was discovered");
        self.source.open(&known.split, known.position.as_ref(), until).await
    }

    /// Describes a batch and remembers its end, as a checkpoint would.
    fn take(&mut self, id: &str, batch: ReadBatch) -> Vec<String> {
        let name = id.rsplit('/').next().unwrap_or(id);
        let said = describe(&batch).into_iter().map(|text| format!("{name}@{text}")).collect();
        let known = self.known.iter_mut().find(|known| known.split.id.as_str() == id);
        known.expect("the split was discovered").position = Some(batch.next);
        said
    }

    fn id(&self, name: &str) -> String {
        self.path(name).to_str().expect("the folder's name is text").to_owned()
    }
}

/// Each record as `position text`, each reject as `position! reason`.
fn describe(batch: &ReadBatch) -> Vec<String> {
    let text = batch.records.column(0).as_string_view();
    let positions = batch.records.column(2).as_primitive::<Int64Type>().values();
    let records = positions.iter().zip(text.iter());
    let mut said: Vec<_> = records
        .map(|(position, text)| (*position, format!("{position} {}", text.expect("never null"))))
        .collect();
    said.extend(
        batch
            .rejects
            .iter()
            .map(|reject| (reject.position, format!("{}! {}", reject.position, reject.reason))),
    );
    said.sort();
    said.into_iter().map(|(_, text)| text).collect()
}

fn source(settings: &serde_json::Value) -> Result<Arc<dyn Source>> {
    let ctx = BuildContext::new("p", "s", Path::new(""));
    crate::File.source(&section(settings), &ctx)
}

fn section(json: &serde_json::Value) -> Section {
    let value = match json {
        serde_json::Value::String(text) => Value::Text(text.as_str().into()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(section).collect()),
        serde_json::Value::Object(map) => Value::Map(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.as_str().into(),
                    place: Place::default(),
                    value: section(value),
                })
                .collect(),
        ),
        _ => Value::Null,
    };
    Section::new(Place::default(), value)
}

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes.as_ref()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn zstd(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(bytes.as_ref(), 1).expect("memory takes it")
}

/// The same with times.
fn dated_lines(name: &str, lines: std::ops::Range<usize>) -> String {
    lines.map(|number| format!("2026-11-28T10:00:{:02}Z {name} {number}\n", number % 60)).collect()
}

/// Numbered lines, more than a fingerprint covers.
fn many_lines(name: &str, lines: std::ops::Range<usize>) -> String {
    lines.map(|number| format!("{name} line number {number}\n")).collect()
}
