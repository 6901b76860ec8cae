//! The files in which the splits of a lineage stand: a base with all of them, and layers with those
//! that changed since.
//!
//! Each is written once, before the first checkpoint that names it, and never changed. A base and
//! its layers become a new base by being merged as files, in order of numbers: nobody stands still
//! for it, and no more is in memory than the files, compressed as they are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::iter::Peekable;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result, failpoint};
use futures::future::try_join_all;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::History;
use super::namer::Namer;
use crate::Checkpoint;
use crate::checkpoint::{NamedFile, RosterFiles};
use crate::roster::{Grave, Roster, SplitState, Standing};

/// Bytes of changed splits, as JSON, that a checkpoint holds itself.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Layers are merged with their base when they exceed this part of it, if they are …
const BASE_PART: u64 = 4;
/// … at least so many bytes, …
const MERGED_BYTES_MIN: u64 = 1 << 20;
/// … or when there are so many: each is a request at a start.
const LAYERS_MAX: usize = 32;
/// How hard the files are compressed.
const LEVEL: i32 = 3;
/// The folder of bases, in that of the pipeline.
pub(crate) const BASES: &str = "_base";
/// The folder of layers.
pub(crate) const LAYERS: &str = "_layer";
/// Version of the files. The first one had no splits that retired.
const FORMAT: u32 = 2;
/// Versions that are read.
const READ: [u32; 2] = [1, FORMAT];

/// The first line of a file. What the file holds is known by its name.
#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
}

/// A split, or what is left of it, as a line of a file.
#[derive(Deserialize)]
struct Line {
    number: usize,
    #[serde(flatten)]
    standing: Standing,
}

impl RosterFiles {
    /// Whether a new base is to be made of them.
    pub fn want_base(&self) -> bool {
        let layers: u64 = self.layers.iter().map(|layer| layer.bytes).sum();
        let base = self.base.as_ref().map_or(0, |base| base.bytes);
        let is_much = layers >= MERGED_BYTES_MIN && layers > base / BASE_PART;
        is_much || self.layers.len() >= LAYERS_MAX
    }

    /// Takes a base in the place of the files that were merged into it, if those are still its own.
    pub fn rebase(&mut self, merged: &Self, base: NamedFile) {
        if self.base == merged.base && self.layers.starts_with(&merged.layers) {
            self.layers.drain(..merged.layers.len());
            self.base = Some(base);
        }
    }
}

impl History {
    /// Puts the changes of a checkpoint into a layer where they are too many to stand in it. By
    /// then the layer is kept, and the checkpoint names it. Who has no lease makes no names: then
    /// all of them stand in the checkpoint. Where nobody merges files in time, all splits are put
    /// into a base instead.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub(super) async fn set_changes_apart(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let Some(namer) = &self.namer else { return Ok(()) };
        if namer.wants_base(&checkpoint.files) {
            return self.set_all_apart(namer, checkpoint).await;
        }
        let lines = lines(checkpoint.roster.changes(), checkpoint.roster.changed_graves())?;
        if lines.iter().map(Vec::len).sum::<usize>() <= INLINE_BYTES_MAX {
            return Ok(());
        }
        let mut file = Writer::new()?;
        lines.iter().try_for_each(|line| file.put(line))?;
        let bytes = file.finish()?;
        failpoint::reach("layer.before").await?;
        let layer = namer.keep(self, LAYERS, bytes).await?;
        failpoint::reach("layer.after").await?;
        checkpoint.files.layers.push(layer);
        checkpoint.roster.settle();
        Ok(())
    }

    /// Makes a base of all splits as they are in memory, and lets the checkpoint name it alone.
    async fn set_all_apart(&self, namer: &Namer, checkpoint: &mut Checkpoint) -> Result<()> {
        let roster = std::mem::take(&mut checkpoint.roster);
        let written = tokio::task::spawn_blocking(move || {
            let bytes = written(&roster);
            (roster, bytes)
        });
        let (roster, bytes) = written.await.bug("a thread that writes splits failed")?;
        checkpoint.roster = roster;
        let base = self.keep_base(namer, bytes?).await?;
        checkpoint.files = RosterFiles { base: Some(base), layers: Vec::new() };
        checkpoint.roster.settle();
        namer.has_base();
        Ok(())
    }

    async fn keep_base(&self, namer: &Namer, bytes: Bytes) -> Result<NamedFile> {
        failpoint::reach("base.before").await?;
        let base = namer.keep(self, BASES, bytes).await?;
        failpoint::reach("base.after").await?;
        Ok(base)
    }

    /// Makes one base of all files that a checkpoint names. Nothing names it yet. Where they cannot
    /// be read any more, the next decision makes one of what is in memory.
    ///
    /// # Errors
    /// External: a file is gone or damaged, or the store does not answer (retryable).
    pub async fn merge(&self, files: RosterFiles) -> Result<NamedFile> {
        let namer = self.namer.as_ref().ok_or_else(|| Error::bug("nobody owns this history"))?;
        let made = self.made_of(namer, files).await;
        if made.as_ref().is_err_and(|error| !error.retry()) {
            namer.cannot_merge();
        }
        made
    }

    async fn made_of(&self, namer: &Namer, files: RosterFiles) -> Result<NamedFile> {
        let read = self.read_files(&files).await?;
        let merged = tokio::task::spawn_blocking(move || merged(read));
        let bytes = merged.await.bug("a thread that merges files failed")??;
        self.keep_base(namer, bytes).await
    }

    /// Gives a checkpoint, read from a path, all splits that its history knows.
    ///
    /// # Errors
    /// External: a file is gone or damaged, or the store does not answer (retryable).
    pub(super) async fn with_roster(
        &self,
        checkpoint: Checkpoint,
        path: &Path,
    ) -> Result<Checkpoint> {
        let read = self.filled(checkpoint).await;
        read.map_err(|error| error.context(format!("could not read checkpoint \"{path}\"")))
    }

    async fn filled(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        if checkpoint.files.all().next().is_none() {
            return Ok(checkpoint);
        }
        let files = self.read_files(&checkpoint.files).await?;
        let own = std::mem::take(&mut checkpoint.roster);
        let (next, changes) = (own.next(), own.take_changes());
        for file in files {
            checkpoint.roster.fill(lines_of(&file)?.into_iter());
        }
        checkpoint.roster.change(changes.into_iter());
        checkpoint.roster.begin_at(next);
        Ok(checkpoint)
    }

    /// The files of a checkpoint, in order, side by side. Each is the one that was meant: as long,
    /// and with the sum in its name.
    pub(super) async fn read_files(&self, files: &RosterFiles) -> Result<Vec<(Path, Bytes)>> {
        let base = files.base.iter().map(|file| (BASES, file));
        let layers = files.layers.iter().map(|file| (LAYERS, file));
        let read = base.chain(layers).map(|(kind, file)| async move {
            let path = self.path_of_file(kind, &file.name);
            let bytes = self.bytes(&path).await?;
            match file.holds(&bytes) {
                true => Ok((path, bytes)),
                false => Err(damaged(&path)),
            }
        });
        try_join_all(read).await
    }

    /// Where a file lies that checkpoints name: never below the folder of a lineage, so that this
    /// has decisions alone.
    pub(super) fn path_of_file(&self, kind: &str, name: &str) -> Path {
        self.folder_of(kind).join(name)
    }

    /// The folder of the files of a kind.
    pub(super) fn folder_of(&self, kind: &str) -> Path {
        let mut parts = self.prefix.parts();
        let pipeline = parts.next();
        pipeline.into_iter().chain([kind.into()]).chain(parts).collect()
    }
}

fn damaged(path: &Path) -> Error {
    Error::external(format!("\"{path}\" is damaged"))
}

fn line(number: usize, standing: impl Serialize) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Borrowed<S> {
        number: usize,
        #[serde(flatten)]
        standing: S,
    }
    let mut line = serde_json::to_vec(&Borrowed { number, standing }).bug("a split is no JSON")?;
    line.push(b'\n');
    Ok(line)
}

/// Splits and what is left of others, in order of their numbers.
fn lines<'a>(
    splits: impl Iterator<Item = (usize, &'a SplitState)>,
    graves: impl Iterator<Item = (usize, &'a Grave)>,
) -> Result<Vec<Vec<u8>>> {
    let (mut splits, mut graves) = (splits.peekable(), graves.peekable());
    let mut lines = Vec::new();
    loop {
        let split =
            splits.next_if(|(split, _)| graves.peek().is_none_or(|(grave, _)| split < grave));
        lines.push(match split {
            Some((number, state)) => line(number, state)?,
            None => match graves.next() {
                Some((number, grave)) => line(number, grave)?,
                None => return Ok(lines),
            },
        });
    }
}

/// A file that is being made.
struct Writer(zstd::stream::write::Encoder<'static, Vec<u8>>);

impl Writer {
    fn new() -> Result<Self> {
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL);
        encoder.bug("a compressor cannot be made").map(Self)
    }

    fn put(&mut self, line: &[u8]) -> Result<()> {
        self.0.write_all(line).bug("memory cannot be written")
    }

    fn finish(self) -> Result<Bytes> {
        let packed = self.0.finish().bug("memory cannot be written")?;
        let header = Header { format: FORMAT };
        let mut bytes = serde_json::to_vec(&header).bug("a header is no JSON")?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&packed);
        Ok(bytes.into())
    }
}

/// The splits of a file, in order of their numbers.
struct Lines<'a> {
    path: Path,
    lines: std::io::Lines<BufReader<zstd::stream::read::Decoder<'static, BufReader<&'a [u8]>>>>,
}

impl<'a> Lines<'a> {
    fn open(path: Path, bytes: &'a [u8]) -> Result<Self> {
        let damaged = || damaged(&path);
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let (header, packed) = (&bytes[..end], &bytes[end + 1..]);
        let header: Header =
            serde_json::from_slice(header).map_err(|error| damaged().because(error))?;
        if !READ.contains(&header.format) {
            return Err(Error::config(format!(
                "\"{path}\" has format {}, this program reads formats up to {FORMAT}",
                header.format
            ))
            .hint("use the version of logmill that wrote it; nothing was changed"));
        }
        let decoder = zstd::stream::read::Decoder::new(packed);
        let decoder = decoder.map_err(|error| damaged().because(error))?;
        Ok(Self { path, lines: BufReader::new(decoder).lines() })
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(damaged(&self.path).because(error))),
        };
        Some(serde_json::from_str(&line).map_err(|error| damaged(&self.path).because(error)))
    }
}

/// What stands in a file, by number.
pub(super) fn lines_of(file: &(Path, Bytes)) -> Result<Vec<(usize, Standing)>> {
    let lines = Lines::open(file.0.clone(), &file.1)?;
    lines.map(|read| read.map(|line| (line.number, line.standing))).collect()
}

/// All splits as a file.
fn written(roster: &Roster) -> Result<Bytes> {
    let mut file = Writer::new()?;
    lines(roster.iter(), roster.graves())?.iter().try_for_each(|line| file.put(line))?;
    file.finish()
}

/// Merges files, of which the later ones count.
fn merged(files: Vec<(Path, Bytes)>) -> Result<Bytes> {
    let mut sources: Vec<Peekable<Lines<'_>>> = Vec::with_capacity(files.len());
    for (path, bytes) in &files {
        sources.push(Lines::open(path.clone(), bytes)?.peekable());
    }
    // By number, the places of the files whose next split that is.
    let mut heads: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, source) in sources.iter_mut().enumerate() {
        enter(&mut heads, place, source)?;
    }
    let mut written = Writer::new()?;
    while let Some((number, places)) = heads.pop_first() {
        let mut newest = None;
        for place in places {
            let Some(next) = sources[place].next().transpose()? else { continue };
            // Whoever stands further behind in the list is the later one.
            if newest.as_ref().is_none_or(|(before, _)| place > *before) {
                newest = Some((place, next.standing));
            }
            enter(&mut heads, place, &mut sources[place])?;
        }
        if let Some((_, standing)) = newest {
            written.put(&line(number, &standing)?)?;
        }
    }
    written.finish()
}

/// Notes the next split of a file.
fn enter(
    heads: &mut BTreeMap<usize, Vec<usize>>,
    place: usize,
    source: &mut Peekable<Lines<'_>>,
) -> Result<()> {
    match source.peek() {
        Some(Err(_)) => source.next().transpose().map(|_| ()),
        Some(Ok(line)) => {
            heads.entry(line.number).or_default().push(place);
            Ok(())
        }
        None => Ok(()),
    }
}
