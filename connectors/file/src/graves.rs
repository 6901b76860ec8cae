//! What is left of files that are gone: enough to know their bytes if they come back under another
//! name, or compressed.
//!
//! A tombstone has the sums of the first KiB, of the KiB before the position and of all bytes up to
//! there, the position, and when the file was last written. A file that is new is looked up by the
//! sum of what it begins with; it goes on from the position if it holds all of that and can be that
//! file (`inheritance`). One of less than a KiB is known by its whole content and its family:
//! unrelated files often hold the same few bytes.
//!
//! Invariant: no look at a file that is there goes through all tombstones.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use contract::discovery::{NameSum, Retired, Tombstone};
use contract::{Position, Result, SplitId};
use formats::lines::Start;
use sha2::{Digest, Sha256};

use crate::found::{Found, unreadable};
use crate::identity::{FINGERPRINT_BYTES, Fingerprint, Note, family};
use crate::inheritance::{Evidence, Traces, evidence};
use crate::kin::Relation;
use crate::matching::{Alike, Candidate, Failures};
use crate::packed::Way;
use crate::stream::is_damage;
use crate::trail::Trail;

/// The form in which a tombstone is written, its first byte.
const FORM: u8 = 2;
/// That of earlier versions: without time and sum of all bytes, with one sum of folder and name.
const FORM_BEFORE: u8 = 1;
/// Set beside how a line starts where the sum of all bytes is known.
const HAS_BLOCKS: u8 = 0x40;
/// How many bytes of a fingerprint it has.
const SUM_BYTES: usize = 12;
/// How many bytes of the sum of a folder, and of the name of a family.
const NAME_BYTES: usize = 4;
/// How many of the sum of both, in the form before.
const FAMILY_BYTES: usize = 2 * NAME_BYTES;
/// A tombstone is as long.
const WRITTEN_BYTES: usize = 2 + 2 * (2 + SUM_BYTES) + 8 + FAMILY_BYTES + 8 + 8;
/// With how many lengths of short files a new file of their family is compared.
const LENGTHS_MAX: usize = 64;

/// A fingerprint as a tombstone has it: how many bytes it covers, and their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Short {
    length: u16,
    sum: [u8; SUM_BYTES],
}

/// The sums of a folder and of the name of a family in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Sums {
        folder: [u8; NAME_BYTES],
        name: [u8; NAME_BYTES],
    },
    /// Of both together.
    Sum([u8; FAMILY_BYTES]),
}

/// What is left of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Remains {
    head: Short,
    before: Short,
    at: i64,
    start: Start,
    place: Place,
    /// When it was last written; none if nobody knows any more.
    modified_ns: Option<i64>,
    /// The sum of the whole blocks up to the position, if it was known.
    blocks: Option<u64>,
}

/// What is left of all files of a source.
#[derive(Default)]
pub struct Graves {
    names: HashSet<NameSum>,
    /// By what they begin with, the one that was read farthest last.
    remains: HashMap<Short, Vec<Remains>>,
    /// How long files of less than a KiB were, by where they lay.
    lengths: HashMap<Place, BTreeSet<u16>>,
}

impl Graves {
    /// Takes in splits that retired.
    pub fn add(&mut self, retired: Vec<Retired>) {
        for Retired { name, tombstone } in retired {
            self.names.insert(name);
            let remains = tombstone.as_deref().and_then(Remains::read);
            let Some(remains) = remains else { continue };
            if usize::from(remains.head.length) < FINGERPRINT_BYTES {
                self.lengths.entry(remains.place).or_default().insert(remains.head.length);
            }
            let alike = self.remains.entry(remains.head).or_default();
            let place = alike.partition_point(|other| other.at <= remains.at);
            alike.insert(place, remains);
        }
    }

    /// Whether a split of this name retired.
    pub fn has(&self, id: &SplitId) -> bool {
        !self.names.is_empty() && self.names.contains(&NameSum::of(id))
    }

    /// Whether nothing is left of any file.
    pub fn is_empty(&self) -> bool {
        self.remains.is_empty()
    }

    /// Whether a file retired that had this path, or one that rotation made of it. Goes through
    /// what is left of all, and is asked for paths without a file alone.
    pub fn has_of(&self, path: &Path) -> bool {
        let places = Place::of(path);
        self.remains.values().flatten().any(|remains| places.contains(&remains.place))
    }

    /// Lets files that are new begin behind what was read of them before they were gone.
    pub fn pass_over(&self, unknown: &mut Vec<Found>, failures: &mut Failures) {
        if self.is_empty() {
            return;
        }
        unknown.retain_mut(|found| match self.read_before(found, failures) {
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

    /// Whether a file that is not all there may be one that is gone: it begins as that did, and
    /// ends before its position, or nobody knows where.
    pub fn may_become(&self, found: &Found) -> bool {
        let is_behind = |remains: &&Remains| found.end().is_none_or(|end| end < remains.at);
        let mut remains = self.that_begin(found).filter(is_behind);
        remains.any(|remains| remains.evidence(found) != Evidence::Nothing)
    }

    /// How far a file was read before it was gone that another one holds all of, if that is beyond
    /// a position.
    ///
    /// # Errors
    /// External: the file cannot be read.
    pub fn hold_beyond(&self, found: &Found, position: i64) -> Result<Option<i64>> {
        for remains in self.that_begin(found).filter(|remains| remains.at > position) {
            if let Known::UpTo(known) = remains.are_in(found)?
                && remains.evidence(found) != Evidence::Nothing
                && found.has_sum(Some(&known), remains.blocks)?
            {
                return Ok(Some(known.at));
            }
        }
        Ok(None)
    }

    fn read_before(&self, found: &Found, failures: &mut Failures) -> Result<Known> {
        if found.from.is_some() {
            return Ok(Known::Nothing);
        }
        for remains in self.that_begin(found) {
            match remains.are_in(found)? {
                Known::Nothing => {}
                Known::UpTo(position) if !remains.inherits(found, &position)? => {
                    let at = position.at;
                    let what = format!("what was read of another file up to byte {at}");
                    failures.note(&found.path, Some(Alike { what, taken: None }));
                }
                known => return Ok(known),
            }
        }
        Ok(Known::Nothing)
    }

    /// What is left of files that began as one does, the one that was read farthest first.
    fn that_begin(&self, found: &Found) -> impl Iterator<Item = &Remains> {
        let long = Short::of(found.fingerprint());
        let lengths = Place::of(&found.path).into_iter().flat_map(|place| {
            let lengths = self.lengths.get(&place).into_iter().flatten();
            lengths.rev().take(LENGTHS_MAX).filter_map(|length| {
                let head = found.first_bytes().get(..usize::from(*length))?;
                Short::of(&Fingerprint::of(head))
            })
        });
        let heads = long.into_iter().chain(lengths.filter(move |short| Some(*short) != long));
        heads.flat_map(|head| self.remains.get(&head).into_iter().flatten().rev())
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
    let [place, _] = Place::of(&candidate.descriptor.path);
    let trail = Trail::of(Some(position))?;
    let remains = Remains {
        head,
        before,
        at: position.at,
        start: note.start,
        place,
        modified_ns: Some(candidate.modified_ns()?),
        blocks: trail.map(|trail| trail.blocks()),
    };
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

impl Place {
    /// That of a file, in the present form and in the one before.
    fn of(path: &Path) -> [Self; 2] {
        let (folder, name) = (path.parent().unwrap_or(Path::new("/")), family(path));
        let sums = Self::Sums { folder: sum(folder), name: sum(Path::new(name)) };
        [sums, Self::Sum(sum(&folder.join(name)))]
    }

    /// How the name and place of a file are related to it.
    fn relation(&self, path: &Path) -> Relation {
        let places = Self::of(path);
        let [Self::Sums { name: ours, .. }, _] = places else { return Relation::Other };
        match self {
            _ if places.contains(self) => Relation::Kin,
            Self::Sums { name, .. } if *name == ours => Relation::Apart,
            _ => Relation::Other,
        }
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
        let Place::Sums { folder, name } = self.place else { return None };
        let start = start | if self.blocks.is_some() { HAS_BLOCKS } else { 0 };
        let mut bytes = Vec::with_capacity(WRITTEN_BYTES);
        bytes.extend([FORM, start]);
        self.head.write(&mut bytes);
        self.before.write(&mut bytes);
        bytes.extend(self.at.to_le_bytes());
        bytes.extend(folder);
        bytes.extend(name);
        bytes.extend(self.modified_ns.unwrap_or_default().to_le_bytes());
        bytes.extend(self.blocks.unwrap_or_default().to_le_bytes());
        Some(bytes)
    }

    /// None if these bytes are of another form.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let [form, flags] = take(&mut bytes)?;
        let start = match flags & !HAS_BLOCKS {
            0 => Start::Line,
            1 => Start::Continuation,
            2 => Start::Overlong,
            3 => Start::Foreign,
            _ => return None,
        };
        let (head, before) = (Short::read(&mut bytes)?, Short::read(&mut bytes)?);
        let at = i64::from_le_bytes(take(&mut bytes)?);
        let mut remains = Self {
            head,
            before,
            at,
            start,
            place: Place::Sum([0; FAMILY_BYTES]),
            modified_ns: None,
            blocks: None,
        };
        match form {
            FORM_BEFORE => remains.place = Place::Sum(take(&mut bytes)?),
            FORM => {
                let (folder, name) = (take(&mut bytes)?, take(&mut bytes)?);
                remains.place = Place::Sums { folder, name };
                remains.modified_ns = Some(i64::from_le_bytes(take(&mut bytes)?));
                let blocks = u64::from_le_bytes(take(&mut bytes)?);
                remains.blocks = (flags & HAS_BLOCKS > 0).then_some(blocks);
            }
            _ => return None,
        }
        Some(remains)
    }

    /// What speaks for a file being this one.
    fn evidence(&self, found: &Found) -> Evidence {
        evidence(
            found,
            &Traces {
                relation: self.place.relation(&found.path),
                modified_ns: self.modified_ns,
                was_missed: true,
                is_truncated: false,
                // An earlier version did not note what could tell.
                may_be_copied: self.modified_ns.is_none(),
            },
        )
    }

    /// Whether a file that holds what was read of this one up to a position can be it.
    fn inherits(&self, found: &Found, position: &Position) -> Result<bool> {
        match self.evidence(found) {
            Evidence::Explained | Evidence::Copied | Evidence::Replaced => {
                found.has_sum(Some(position), self.blocks)
            }
            Evidence::Lines => found.proves(Some(position), self.blocks),
            Evidence::Nothing => Ok(false),
        }
    }

    /// How far a file that begins as this one did was read as it.
    fn are_in(&self, found: &Found) -> Result<Known> {
        let is_short = usize::from(self.head.length) < FINGERPRINT_BYTES;
        let is_other = is_short && !Place::of(&found.path).contains(&self.place);
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

fn sum<const N: usize>(path: &Path) -> [u8; N] {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let mut sum = [0; N];
    sum.copy_from_slice(&digest[..N]);
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

    fn remains(start: Start) -> Remains {
        let short = |text: &str| Short::of(&Fingerprint::of(text.as_bytes())).expect("digits");
        let [place, _] = Place::of(Path::new("/logs/a.log"));
        let (head, before, at) = (short("head"), short("before"), 1 << 40);
        let (modified_ns, blocks) = (Some(1 << 60), Some(5));
        Remains { head, before, at, start, place, modified_ns, blocks }
    }

    #[test]
    fn a_tombstone_reads_what_it_writes_and_is_short() {
        for start in [Start::Line, Start::Continuation, Start::Overlong, Start::Foreign] {
            for blocks in [None, Some(7)] {
                let remains = Remains { blocks, ..remains(start) };
                let written = remains.write().expect("it is no part of another line");
                assert!(written.len() == WRITTEN_BYTES && WRITTEN_BYTES <= TOMBSTONE_BYTES_MAX);
                assert_eq!(Remains::read(&written), Some(remains));
                assert_eq!(Remains::read(&written[..20]), None);
                assert_eq!(Remains::read(&[&[9], &written[1..]].concat()), None, "another form");
            }
        }
    }

    #[test]
    fn a_tombstone_of_an_earlier_version_is_read() {
        let path = Path::new("/logs/a.log");
        let [_, place] = Place::of(path);
        let Place::Sum(family) = place else { panic!("it is the earlier form") };
        let now = remains(Start::Continuation);
        let written = now.write().expect("it is no part of another line");
        let sums_to = 2 + 2 * (2 + SUM_BYTES) + 8;
        let before = [&[FORM_BEFORE, 1], &written[2..sums_to], &family[..]].concat();
        assert_eq!(before.len(), 46);
        let expect = Remains { place, modified_ns: None, blocks: None, ..now };
        assert_eq!(Remains::read(&before), Some(expect));
        assert_eq!(place.relation(path), Relation::Kin);
        assert_eq!(place.relation(Path::new("/logs/a.log.1.gz")), Relation::Kin);
        assert_eq!(place.relation(Path::new("/logs/b.log")), Relation::Other);
    }

    #[test]
    fn a_place_tells_logs_of_one_name_in_two_folders() {
        let [place, _] = Place::of(Path::new("/host1/a.log"));
        assert_eq!(place.relation(Path::new("/host1/a.log.3.gz")), Relation::Kin);
        assert_eq!(place.relation(Path::new("/host2/a.log")), Relation::Apart);
        assert_eq!(place.relation(Path::new("/host1/b.log")), Relation::Other);
    }
}
