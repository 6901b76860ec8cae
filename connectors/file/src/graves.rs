//! What is left of files that are gone: enough to know their bytes if they come back under another
//! name, or compressed.
//!
//! A tombstone has the sums of the first KiB and of the KiB before the position, and the position.
//! A file that is new is looked up by the sum of what it begins with; it goes on from the position
//! if it holds both. One of less than a KiB is known by its whole content and its family: unrelated
//! files often hold the same few bytes.
//!
//! Invariant: nothing here goes through all tombstones.

use std::collections::{HashMap, HashSet};

use contract::discovery::{NameSum, Retired, Tombstone};
use contract::{Position, Result, SplitId};
use formats::lines::Start;
use sha2::{Digest, Sha256};

use crate::found::{Found, unreadable};
use crate::identity::{Fingerprint, Note};
use crate::matching::{Candidate, Failures, family_of};
use crate::packed::Way;
use crate::stream::is_damage;

/// The form in which a tombstone is written, its first byte.
const FORM: u8 = 1;
/// How many bytes of a fingerprint it has.
const SUM_BYTES: usize = 12;
/// How many bytes of the sum of a family.
const FAMILY_BYTES: usize = 8;
/// A tombstone is as long.
const WRITTEN_BYTES: usize = 2 + 2 * (2 + SUM_BYTES) + 8 + FAMILY_BYTES;

/// A fingerprint as a tombstone has it: how many bytes it covers, and their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Short {
    length: u16,
    sum: [u8; SUM_BYTES],
}

/// What is left of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remains {
    head: Short,
    before: Short,
    at: i64,
    start: Start,
    family: [u8; FAMILY_BYTES],
}

/// What is left of all files of a source.
#[derive(Default)]
pub struct Graves {
    names: HashSet<NameSum>,
    /// By what they begin with, the one that was read farthest last.
    remains: HashMap<Short, Vec<Remains>>,
}

impl Graves {
    /// Takes in splits that retired.
    pub fn add(&mut self, retired: Vec<Retired>) {
        for Retired { name, tombstone } in retired {
            self.names.insert(name);
            let remains = tombstone.as_deref().and_then(Remains::read);
            let Some(remains) = remains else { continue };
            let alike = self.remains.entry(remains.head).or_default();
            let place = alike.partition_point(|other| other.at <= remains.at);
            alike.insert(place, remains);
        }
    }

    /// Whether a split of this name retired.
    pub fn has(&self, id: &SplitId) -> bool {
        !self.names.is_empty() && self.names.contains(&NameSum::of(id))
    }

    /// Lets files that are new begin behind what was read of them before they were gone.
    pub fn pass_over(&self, unknown: &mut Vec<Found>, failures: &mut Failures) {
        if self.remains.is_empty() {
            return;
        }
        unknown.retain_mut(|found| match self.read_before(found) {
            Ok(Known::Nothing) => true,
            Ok(Known::UpTo(position)) => {
                found.from = Some(position);
                true
            }
            Ok(Known::Moved) => {
                failures.any_moved = true;
                false
            }
            Err(error) => {
                failures.unreadable.push((found.path.clone(), error));
                false
            }
        });
    }

    fn read_before(&self, found: &Found) -> Result<Known> {
        if found.from.is_some() {
            return Ok(Known::Nothing);
        }
        let alike = Short::of(found.fingerprint()).and_then(|head| self.remains.get(&head));
        for remains in alike.into_iter().flatten().rev() {
            match remains.are_in(found)? {
                Known::Nothing => {}
                known => return Ok(known),
            }
        }
        Ok(Known::Nothing)
    }
}

/// What was read of a file before it was gone.
enum Known {
    Nothing,
    UpTo(Position),
    /// It was moved while it was looked at.
    Moved,
}

/// What is left of a split that is gone; none if it must stay known, as more is to be remembered
/// of it.
///
/// # Errors
/// Bug: its position is not ours.
pub fn tombstone(candidate: &Candidate) -> Result<Option<Tombstone>> {
    let Some(position) = &candidate.position else { return Ok(None) };
    let Some(note) = Note::of(position)? else { return Ok(None) };
    if note.is_cut_off || note.hole.is_some() {
        return Ok(None);
    }
    // What a short file holds may be more by now than was seen of it at the last look.
    let head = match candidate.descriptor.head.is_full() {
        true => &candidate.descriptor.head,
        false if note.before.length as i64 == position.at && position.at > 0 => &note.before,
        false => return Ok(None),
    };
    let (Some(head), Some(before)) = (Short::of(head), Short::of(&note.before)) else {
        return Ok(None);
    };
    let family = sum_of_family(&candidate.descriptor.path);
    let remains = Remains { head, before, at: position.at, start: note.start, family };
    Ok(remains.write())
}

impl Short {
    /// None if that fingerprint is none of ours.
    fn of(fingerprint: &Fingerprint) -> Option<Self> {
        let length = u16::try_from(fingerprint.length).ok()?;
        let mut sum = [0; SUM_BYTES];
        for (byte, digits) in sum.iter_mut().zip(fingerprint.sha256.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self { length, sum })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(self.sum);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { length: u16::from_le_bytes(take(bytes)?), sum: take(bytes)? })
    }
}

impl Remains {
    /// None where lines are amid being joined: that takes more.
    fn write(&self) -> Option<Tombstone> {
        let start = match self.start {
            Start::Line => 0,
            Start::Continuation => 1,
            Start::Overlong => 2,
            Start::Foreign => 3,
            Start::Torn(_) | Start::TornContinuation(_) | Start::TornOverlong(_) => return None,
        };
        let mut bytes = Vec::with_capacity(WRITTEN_BYTES);
        bytes.extend([FORM, start]);
        self.head.write(&mut bytes);
        self.before.write(&mut bytes);
        bytes.extend(self.at.to_le_bytes());
        bytes.extend(self.family);
        Some(bytes)
    }

    /// None if these bytes are of another form.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let [FORM, start] = take(&mut bytes)? else { return None };
        let start = match start {
            0 => Start::Line,
            1 => Start::Continuation,
            2 => Start::Overlong,
            3 => Start::Foreign,
            _ => return None,
        };
        let (head, before) = (Short::read(&mut bytes)?, Short::read(&mut bytes)?);
        let (at, family) = (i64::from_le_bytes(take(&mut bytes)?), take(&mut bytes)?);
        Some(Self { head, before, at, start, family })
    }

    /// How far a file that begins as this one did was read as it.
    fn are_in(&self, found: &Found) -> Result<Known> {
        let is_short = found.beginning().is_none();
        let is_other = is_short && self.family != sum_of_family(&found.path);
        if is_other || found.end().is_some_and(|end| end < self.at) {
            return Ok(Known::Nothing);
        }
        let Some(opened) = found.open()? else { return Ok(Known::Moved) };
        let before = match opened.near(self.at, u64::MAX, &Way::default()) {
            Err(error) if is_damage(&error) => None,
            Err(error) => return Err(unreadable(&found.path, &error)),
            Ok(placed) => placed.map(|placed| placed.recent.fingerprint()),
        };
        let before = before.filter(|before| Short::of(before) == Some(self.before));
        Ok(before.map_or(Known::Nothing, |before| {
            let note = Note { start: self.start, ..Note::of_line(before) };
            Known::UpTo(Position::new(self.at).with_note(note.to_text()))
        }))
    }
}

fn sum_of_family(path: &std::path::Path) -> [u8; FAMILY_BYTES] {
    let (folder, family) = family_of(path);
    let digest = Sha256::digest(folder.join(family).as_os_str().as_encoded_bytes());
    let mut sum = [0; FAMILY_BYTES];
    sum.copy_from_slice(&digest[..FAMILY_BYTES]);
    sum
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use contract::discovery::TOMBSTONE_BYTES_MAX;

    use super::*;

    #[test]
    fn a_tombstone_reads_what_it_writes_and_is_short() {
        let short = |text: &str| Short::of(&Fingerprint::of(text.as_bytes())).expect("digits");
        for start in [Start::Line, Start::Continuation, Start::Overlong, Start::Foreign] {
            let (head, before) = (short("head"), short("before"));
            let remains = Remains { head, before, at: 1 << 40, start, family: [7; FAMILY_BYTES] };
            let written = remains.write().expect("it is no part of another line");
            assert!(written.len() == WRITTEN_BYTES && WRITTEN_BYTES <= TOMBSTONE_BYTES_MAX);
            assert_eq!(Remains::read(&written), Some(remains));
            assert_eq!(Remains::read(&written[..20]), None);
            assert_eq!(Remains::read(&[&[9], &written[1..]].concat()), None, "another form");
        }
    }
}
