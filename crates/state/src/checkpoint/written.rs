//! How a checkpoint is written down.
//!
//! It is two lines of text: a header with the number of the layout and the SHA-256 of the second
//! line, and the checkpoint. Layouts 1 and 2, which are only read, have JSON there, with every
//! split that is known. Layouts 3 and 4 have JSON that is compressed by zstd and written as base64,
//! with the splits that changed and the names of those that they speak of; since layout 5 also with
//! what is left of splits that retired. It stays text: earlier
//! programs find the number, and stop: what is no text they take for damage, and set aside.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::error::Context;
use contract::source::{KnownSplit, Split};
use contract::{Error, Result, SplitId};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Checkpoint, RosterFiles, sha256_hex};
use crate::roster::{Grave, Roster, SplitState};

/// The layout that is written.
pub const FORMAT: u32 = 5;
/// Layouts that are read. In the second one a file of refused rows may be named. Beside those of
/// the fourth one stand packs and folds that earlier programs cannot read. In the fifth one splits
/// retire.
const READ: [u32; 5] = [1, 2, COMPRESSED_FROM, 4, FORMAT];
/// The first layout that is compressed.
const COMPRESSED_FROM: u32 = 3;
/// How hard it is compressed: more gains little and takes time at each epoch.
const LEVEL: i32 = 3;
/// The most that a checkpoint may hold once it is unpacked.
const BYTES_MAX: u64 = 4 << 30;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    sha256: String,
}

/// A checkpoint as JSON.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(flatten)]
    checkpoint: Cow<'a, Checkpoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    roster: Option<Part<'a>>,
    /// What the splits are called that it names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<Name<'a>>,
    /// All splits, in layouts before 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    splits: Option<Vec<SplitState>>,
}

/// What a checkpoint says of its splits.
#[derive(Serialize, Deserialize)]
struct Part<'a> {
    /// The number of the next split that is new.
    next: usize,
    #[serde(flatten)]
    files: Cow<'a, RosterFiles>,
    /// Splits that changed since the newest file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<(usize, Cow<'a, SplitState>)>,
    /// Splits that retired since, and those whose tombstones are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<(usize, Cow<'a, Grave>)>,
}

#[derive(Serialize, Deserialize)]
struct Name<'a>(usize, Cow<'a, str>, Cow<'a, str>);

impl Checkpoint {
    /// The bytes of the file.
    ///
    /// # Errors
    /// Bug: something in it is no JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let roster = Part {
            next: self.roster.next(),
            files: Cow::Borrowed(&self.files),
            changes: borrowed(self.roster.changes()),
            retired: borrowed(self.roster.changed_graves()),
        };
        let json = self.to_json(Some(roster), self.names())?;
        let packed = zstd::bulk::compress(&json, LEVEL).bug("a checkpoint is not compressed")?;
        let body = STANDARD.encode(packed);
        let header = Header { format: FORMAT, sha256: sha256_hex(body.as_bytes()) };
        let header = serde_json::to_string(&header).bug("a header is no JSON")?;
        Ok(format!("{header}\n{body}\n").into_bytes())
    }

    /// The checkpoint as earlier programs packed it: a line with the names of its splits, and
    /// nothing else of them.
    ///
    /// # Errors
    /// As for [`Checkpoint::to_bytes`].
    pub fn to_line(&self) -> Result<Vec<u8>> {
        self.to_json(None, self.names())
    }

    /// The same for a pack that has the names of splits elsewhere.
    ///
    /// # Errors
    /// As for [`Checkpoint::to_bytes`].
    pub fn to_nameless_line(&self) -> Result<Vec<u8>> {
        self.to_json(None, Vec::new())
    }

    fn names(&self) -> Vec<Name<'_>> {
        let names = self.named().into_iter().map(|(number, state)| {
            let id = state.known.split.id.as_str();
            Name(number, Cow::Borrowed(&state.source), Cow::Borrowed(id))
        });
        names.collect()
    }

    fn to_json(&self, roster: Option<Part<'_>>, names: Vec<Name<'_>>) -> Result<Vec<u8>> {
        let body = Body { checkpoint: Cow::Borrowed(self), roster, names, splits: None };
        serde_json::to_vec(&body).bug("a checkpoint is no JSON")
    }

    /// Reads the bytes of a file. The splits that stand in other files are not among its own.
    ///
    /// # Errors
    /// External: the bytes are not a whole checkpoint. Config: a later version wrote them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| damaged().because(error))?;
        let (header, body) = text.split_once('\n').ok_or_else(damaged)?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| damaged().because(error))?;
        if !READ.contains(&header.format) {
            return Err(Error::config(format!(
                "checkpoint has format {}, this program reads formats up to {FORMAT}",
                header.format
            ))
            .hint("use the version of logmill that wrote it; nothing was changed"));
        }
        let body = body.strip_suffix('\n').ok_or_else(damaged)?;
        if sha256_hex(body.as_bytes()) != header.sha256 {
            return Err(damaged());
        }
        let read = match header.format >= COMPRESSED_FROM {
            true => unpacked(body)?,
            false => body.as_bytes().to_vec(),
        };
        let read = serde_json::from_slice(&read);
        let Line(checkpoint) = read.map_err(|error| damaged().because(error))?;
        Ok(Self { format: header.format, ..checkpoint })
    }
}

/// A checkpoint as a line of a pack.
pub struct Line(pub Checkpoint);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let body = Body::deserialize(from)?;
        let mut checkpoint = body.checkpoint.into_owned();
        checkpoint.roster = match body.splits {
            Some(splits) => splits.into_iter().collect(),
            None => Roster::named(body.names.into_iter().map(Name::into_state)),
        };
        if let Some(Part { next, files, changes, retired }) = body.roster {
            checkpoint.files = files.into_owned();
            let changes = changes.into_iter();
            checkpoint.roster.change(changes.map(|(number, state)| (number, state.into_owned())));
            let retired = retired.into_iter();
            checkpoint.roster.change(retired.map(|(number, grave)| (number, grave.into_owned())));
            checkpoint.roster.begin_at(next);
        }
        Ok(Self(checkpoint))
    }
}

impl Name<'_> {
    /// A split of which nothing but its name is known.
    fn into_state(self) -> (usize, SplitState) {
        let Self(number, source, id) = self;
        let split = Split { id: SplitId::new(&*id), descriptor: serde_json::Value::Null };
        let known = KnownSplit { split, position: None };
        (number, SplitState::new(source, known))
    }
}

fn borrowed<'a, S: Clone>(all: impl Iterator<Item = (usize, &'a S)>) -> Vec<(usize, Cow<'a, S>)> {
    all.map(|(number, one)| (number, Cow::Borrowed(one))).collect()
}

fn unpacked(body: &str) -> Result<Vec<u8>> {
    let packed = STANDARD.decode(body).map_err(|error| damaged().because(error))?;
    let mut bytes = Vec::new();
    let mut decoder =
        zstd::stream::read::Decoder::new(&*packed).map_err(|error| damaged().because(error))?;
    let mut limited = std::io::Read::take(&mut decoder, BYTES_MAX);
    std::io::Read::read_to_end(&mut limited, &mut bytes)
        .map_err(|error| damaged().because(error))?;
    Ok(bytes)
}

fn damaged() -> Error {
    Error::external("checkpoint is damaged: its content does not match its checksum")
}

#[cfg(test)]
mod tests {
    use contract::{Lineage, Position};

    use super::*;
    use crate::checkpoint::{Cut, NamedFile};
    use crate::ledger::{Counts, Entry};

    fn split(id: &str) -> Split {
        Split { id: SplitId::new(id), descriptor: serde_json::json!({ "path": id }) }
    }

    /// Of three splits one was read, and another one is booked.
    fn checkpoint() -> Checkpoint {
        let mut checkpoint = Checkpoint::first("web-logs", &Lineage::new("main"), 7);
        for id in ["a", "b", "c"] {
            checkpoint.roster.enter("access", split(id));
        }
        checkpoint.roster.advance(1, &Position::new(9).with_note("here"));
        let to = Position::new(9);
        checkpoint.cuts.push(Cut { split: 1, from: None, to, marks: Vec::new() });
        let counts = Counts { lost: 1, rejected_after: 1, ..Counts::default() };
        let (split, sink) = ("c".to_owned(), "lake".to_owned());
        checkpoint.ledger.push(Entry { split, sink, counts, hash: String::new() });
        checkpoint
    }

    #[test]
    fn a_checkpoint_reads_what_it_writes_and_sees_every_damaged_byte() {
        let bytes = checkpoint().to_bytes().expect("written");
        let read = Checkpoint::from_bytes(&bytes).expect("read");
        assert_eq!((read.incarnation, read.format), (7, FORMAT));
        assert_eq!(read.to_bytes().expect("written"), bytes);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert!(Checkpoint::from_bytes(&damaged).is_err(), "byte {at} was changed unseen");
            assert!(Checkpoint::from_bytes(&bytes[..at]).is_err(), "cut at {at} unseen");
        }
    }

    #[test]
    fn a_checkpoint_names_what_it_speaks_of_and_holds_what_changed() {
        let mut checkpoint = checkpoint();
        let file = NamedFile { name: "base-1".to_owned(), bytes: 10 };
        checkpoint.files.base = Some(file);
        checkpoint.roster.settle();
        checkpoint.roster.advance(0, &Position::new(3));
        let read = Checkpoint::from_bytes(&checkpoint.to_bytes().expect("written")).expect("read");
        assert_eq!(read.files, checkpoint.files);
        let ids = |checkpoint: &Checkpoint| -> Vec<String> {
            checkpoint.roster.states().map(|state| state.known.split.id.to_string()).collect()
        };
        assert_eq!(ids(&read), ["a", "b", "c"]);
        let changes: Vec<_> = read.roster.changes().map(|(number, _)| number).collect();
        assert_eq!(changes, [0], "what stands in the base is not held");
        let line = checkpoint.to_line().expect("written");
        let Line(line) = serde_json::from_slice(&line).expect("read");
        assert_eq!(ids(&line), ["b", "c"], "a pack has what it read and what it booked");
        assert_eq!(line.roster.changes().count(), 0);
    }

    #[test]
    fn earlier_programs_find_the_number_of_the_layout_in_text() {
        let bytes = checkpoint().to_bytes().expect("written");
        let text = String::from_utf8(bytes).expect("they look for text first");
        let (header, _) = text.split_once('\n').expect("two lines");
        let header: serde_json::Value = serde_json::from_str(header).expect("a header");
        assert_eq!(header["format"], FORMAT);
    }

    #[test]
    fn layouts_of_earlier_programs_are_read() {
        let body = r#"{"pipeline":"p","lineage":"main","epoch":4,"incarnation":5,"writer":"w",
            "semantics":2,"now_us":6,"plan":"q","splits":[
            {"source":"s","split":{"id":"a"},"position":{"at":3}},
            {"source":"s","split":{"id":"b"}}],"cuts":[{"split":0,"to":{"at":3}}]}"#;
        let body = body.replace('\n', "");
        for format in [1, 2] {
            let sha256 = sha256_hex(body.as_bytes());
            let header = serde_json::json!({ "format": format, "sha256": sha256 });
            let read = Checkpoint::from_bytes(format!("{header}\n{body}\n").as_bytes());
            let read = read.expect("read");
            assert_eq!((read.epoch, read.format, read.roster.len()), (4, format, 2));
            assert_eq!(read.roster[0].known.position, Some(Position::new(3)));
            let changes: Vec<_> = read.roster.changes().map(|(number, _)| number).collect();
            assert_eq!(changes, [0, 1], "they stand in no file yet");
        }
    }

    #[test]
    fn a_layout_that_is_not_known_is_no_damage() {
        let bytes = checkpoint().to_bytes().expect("written");
        let later =
            String::from_utf8(bytes).expect("text").replacen("\"format\":5", "\"format\":6", 1);
        let error = Checkpoint::from_bytes(later.as_bytes()).expect_err("a later one");
        assert_eq!(error.kind(), contract::ErrorKind::Config);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("nothing was changed")));
    }
}
