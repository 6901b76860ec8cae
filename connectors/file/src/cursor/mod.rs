//! Reads one file block by block. Blocking: [`crate::tail`] calls it from a thread of its own.
//!
//! Invariant: what was read so far and [`Cursor::step`]'s position always belong together, and a
//! file that no longer holds what was read from it is never read on.

mod errors;
mod marks;
mod packed;
mod waiting;

use std::fs::Metadata;
use std::io::{self, ErrorKind, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::source::{Held, ReadBatch, Until};
use contract::{Error, Position, Result};
use formats::ahead::Ahead;
use formats::blocks::Blocks;
use formats::compression::Compression;
use formats::decoded::{Decoded, Reached};
use formats::encoding;
use formats::join::Join;
use formats::lines::{LineBatch, Lines, Start, before_holes};

use crate::discover::Whereabouts;
use crate::hole::Hole;
use crate::identity::{Fingerprint, Note, Recent, Signature};
use crate::packed::{Packed, Way};
use crate::points::Points;
use crate::shortcuts::Shortcuts;
use crate::stream::{Bytes, Opened, Placed, Trace, is_damage};
use crate::sum::Sum;
use crate::trail::Trail;
use errors::{changed, too_short, unreadable};
use waiting::{Look, Unread, Waiting};

/// The least that is read at once, however many files share the memory for that.
const BLOCK_BYTES_LEAST: usize = 16 << 10;
/// How far all files that are read side by side are fetched ahead, together. Half of it is enough
/// for a disk that answers after 20 ms to give 800 MB/s.
const AHEAD_BYTES_MAX: usize = 32 << 20;

/// What a cursor reads of its file, and how.
#[derive(Debug)]
pub struct Reading {
    /// The first record; none for the beginning.
    pub from: Option<Position>,
    /// Where to stop.
    pub until: Until,
    /// See the setting.
    pub line_bytes_max: usize,
    /// See the setting.
    pub join: Option<Join>,
    /// See the setting.
    pub block_bytes: usize,
    /// What the blocks of all files that are read side by side may take.
    pub fetch_bytes: usize,
    /// See the setting.
    pub rotate_wait: Duration,
    /// See the setting.
    pub settle: Duration,
    /// Held by every cursor of a source: its count tells how many there are.
    pub side_by_side: Arc<Blocks>,
    /// Asked where what was read lies once the file does not hold it any more.
    pub whereabouts: Whereabouts,
    /// Where gzip files are gone on with.
    pub points: Arc<Points>,
}

/// What one step brought.
#[derive(Debug)]
pub struct Step {
    /// Records, if there were any.
    pub batch: Option<ReadBatch>,
    /// What to do next.
    pub then: Then,
}

/// What to do after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Step again: there may be more at once.
    Read,
    /// Step again after a while: all that stands in the file was read.
    Wait,
    /// Step again once what the batch holds is committed: its last line had no end, and a recorded
    /// range must end where it does to give the same line again.
    Hold,
    /// Nothing more will come.
    End,
}

/// Reads one file.
pub struct Cursor {
    path: PathBuf,
    opened: Opened,
    ahead: Ahead,
    bytes: Bytes,
    /// How far the file was read, decompressed; a line that has no end yet included.
    read_to: i64,
    /// Where the last batch ended.
    reached: i64,
    lines: Lines,
    /// The bytes before the position of `lines`, and their fingerprint.
    recent: Recent,
    before: Fingerprint,
    /// How many units of two bytes stand before that position in a file of UTF-16.
    units: u64,
    /// What a plain file begins with, as long as no bytes stand before the position.
    first: Option<Fingerprint>,
    /// What any other file begins with on disk, and what was read of it there last, if anything
    /// was.
    first_on_disk: Fingerprint,
    trace: Trace,
    stop: Stop,
    /// Whether lines may be parts of one.
    joins: bool,
    block_bytes: usize,
    fetch_bytes: usize,
    rotate_wait: Duration,
    settle: Duration,
    side_by_side: Arc<Blocks>,
    whereabouts: Whereabouts,
    points: Arc<Points>,
    /// What the file was before its end was met, or at the last look.
    seen: Signature,
    /// What the last position remembered of a gzip file.
    packed: Option<Packed>,
    shortcuts: Shortcuts,
    /// Set while all that can be read of the file is read.
    waiting: Option<Waiting>,
    /// NULs behind which nothing is read before they are known to stay; kept until all that are as
    /// old were passed.
    hole: Option<Hole>,
    /// Whether the next position says something new of it, even where no record comes with it.
    is_news: bool,
    /// Told after the records that could be read before it.
    failure: Option<Error>,
    /// What was said last of bytes that belong to no member of the archive.
    told_of_foreign: Option<String>,
    /// What waits at the end that was read last.
    held: Option<Held>,
    /// The way to the position of `lines`, and the sum of all bytes before it; none of a file that
    /// is not plain, or of which that was not noted before.
    trail: Option<(Trail, Sum)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Never,
    AtEnd,
    /// Behind a line that had no end when it was taken for a record: just there.
    At(i64),
    /// Behind the last line that begins before.
    Before(i64),
}

impl Stop {
    fn before(position: &Position) -> Result<Self> {
        let start = Note::of(position)?.map_or(Start::Line, |note| note.start);
        Ok(match start {
            Start::Line => Self::Before(position.at),
            // Parts of a line that had no end were given as they were: just up to there, too.
            _ => Self::At(position.at),
        })
    }
}

impl Cursor {
    /// Begins to read an open file.
    ///
    /// # Errors
    /// External: the file cannot be read, or ends before the position.
    pub fn new(path: PathBuf, opened: Opened, reading: Reading) -> Result<Self> {
        let at = reading.from.as_ref().map_or(0, |position| position.at);
        let note = reading.from.as_ref().map(Note::of).transpose()?.flatten();
        let point = reading.point(at);
        let (stop, size) = match reading.until {
            Until::Forever => (Stop::Never, u64::MAX),
            Until::End => (Stop::AtEnd, opened.signature.size),
            // What is read again was read with what followed: nobody waits for more of it.
            Until::Position(to) | Until::Proven { to, .. } => match opened.compression {
                Compression::None => (Stop::before(&to)?, u64::MAX),
                _ => (Stop::before(&to)?, opened.signature.size),
            },
        };
        let (start, whole, hole) = note.as_ref().map_or_else(Default::default, |note| {
            (note.start, note.whole, note.hole.map(Hole::resumed))
        });
        let is_read = whole == Some(opened.signature);
        let first = (at == 0).then(|| first_of(&opened)).transpose();
        let first = first.map_err(|error| unreadable(&path, at, error))?.flatten();
        let on_disk = opened.first().map_err(|error| unreadable(&path, at, error))?;
        let Placed { bytes, recent, units, trace } = match is_read {
            true => Placed::first(Decoded::plain(Box::new(io::empty()))),
            false => opened
                .near(at, size, &Way::of(note.as_ref(), point))
                .map_err(|error| unreadable(&path, at, error))?
                // It was truncated just now: looking for splits again tells what there is instead.
                .ok_or_else(|| too_short(&path, at, stop).retryable())?,
        };
        let packed = note.as_ref().and_then(|note| note.packed.clone());
        let trail = marks::trail((&path, &opened), reading.from.as_ref(), stop)?;
        let before = note.map_or_else(|| recent.fingerprint(), |note| note.before);
        let waits = is_read && stop == Stop::Never;
        let waiting = waits.then(|| Waiting::behind_all(opened.signature));
        Ok(Self {
            path,
            seen: opened.signature,
            opened,
            ahead: Ahead::default(),
            bytes,
            read_to: at,
            reached: at,
            lines: Lines::resume(reading.line_bytes_max, at, start)
                .with_blocks(reading.side_by_side.as_ref().clone())
                .with_join(reading.join),
            recent,
            before,
            units,
            first,
            first_on_disk: on_disk,
            trace,
            stop,
            joins: reading.join.is_some(),
            block_bytes: reading.block_bytes,
            fetch_bytes: reading.fetch_bytes,
            rotate_wait: reading.rotate_wait,
            settle: reading.settle,
            side_by_side: reading.side_by_side,
            whereabouts: reading.whereabouts,
            points: reading.points,
            packed,
            shortcuts: Shortcuts::of(reading.from.as_ref()),
            waiting,
            hole,
            is_news: false,
            failure: None,
            told_of_foreign: None,
            held: None,
            trail,
        })
    }

    /// Reads a block, or looks whether there is one now.
    ///
    /// # Errors
    /// External: the file cannot be read, is damaged, or ends before the place to stop at.
    pub fn step(&mut self) -> Result<Step> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.look()? {
            Look::Quiet => Ok(Step { batch: None, then: Then::Wait }),
            Look::Settled => {
                let lines = self.lines.cut_last(self.lines.block(0));
                self.held = self.held_back(Unread::Lines(None));
                Ok(Step { batch: self.deliver(lines, None), then: Then::Hold })
            }
            Look::Changed => self.read(),
            Look::Truncated => self.leave(),
            Look::Finished => self.finish(),
        }
    }

    /// Whether it stops at the end that the file had when it was opened.
    pub fn stops_at_end(&self) -> bool {
        self.stop == Stop::AtEnd
    }

    /// What waits at the end that was read last; none while there is more to read.
    pub fn held(&self) -> Option<Held> {
        self.held
    }

    /// Bytes on disk, compressed as they are, that stand behind what was read.
    pub fn left(&self) -> Option<u64> {
        let size = self.opened.file.metadata().ok()?.len();
        let read = match self.hole {
            Some(_) if self.opened.is_plain() => self.lines.at().cast_unsigned(),
            _ => (&*self.opened.file).stream_position().ok()?,
        };
        Some(size.saturating_sub(read))
    }

    fn read(&mut self) -> Result<Step> {
        if self.is_at_stop() {
            return Ok(Step { batch: None, then: Then::End });
        }
        // Asked before the read, so that what is written in between is seen as a change.
        let seen = self.see()?;
        let room = self.room();
        self.ahead.fetch(&self.opened.file, self.share_of(AHEAD_BYTES_MAX) as u64);
        let mut block = self.lines.block(room);
        let held = block.len();
        let read_before = self.trace.last();
        let refusal = self.bytes.foreign_reason();
        self.tell_of_foreign(refusal.as_deref());
        let outcome = self.bytes.fill(&mut block, room);
        if self.trail.is_some() {
            let modified_ns = Signature::of(&self.metadata()?).modified_ns;
            self.trail.iter_mut().for_each(|(trail, _)| trail.note_time(modified_ns));
        }
        // Asked behind the read: what was read before the answer belongs to it.
        if !self.holds_what_was_read(&read_before)? {
            return self.leave();
        }
        self.read_to += (block.len() - held) as i64;
        let reached = outcome.as_ref().ok().copied();
        let is_whole = reached == Some(Reached::End);
        let is_torn = outcome.is_err();
        let then = self.conclude(outcome);
        let whole = match self.stop {
            _ if self.opened.compression == Compression::None || !is_whole => None,
            Stop::AtEnd => Some(self.opened.signature),
            Stop::Never | Stop::At(_) | Stop::Before(_) => Some(seen),
        };
        let (settled, begin) = (self.settled(&seen), self.lines.at());
        let lines = match (refusal, reached) {
            (Some(reason), Some(Reached::End)) => self.lines.refuse_last(block, &reason),
            (Some(reason), Some(Reached::Stretch)) => self.lines.refuse_ended(block, &reason),
            (Some(reason), _) => match then {
                Then::End => self.lines.refuse_last(block, &reason),
                _ => self.lines.refuse(block, &reason),
            },
            (None, Some(Reached::Stretch)) => self.lines.cut_ended(block),
            // What the tear left of a line stands with what follows.
            (None, Some(Reached::Torn)) => self.lines.cut(block),
            (None, _) if then == Then::End && !self.may_grow(&seen, &block) => {
                self.lines.cut_last(block)
            }
            (None, _) => self.lines.cut_settled(block, |first| settled.up_to(&first)),
        };
        self.note_holes(&lines, begin, &seen);
        let then = match lines.waits {
            Some(_) if self.failure.is_none() => self.after_hole(),
            _ => then,
        };
        if then == Then::Wait {
            let is_at_hole = lines.waits.is_some();
            self.side_by_side.clear();
            let (since, is_removed) = (Instant::now(), false);
            self.waiting = Some(Waiting { since, seen, is_whole, is_at_hole, is_removed });
            self.keep_point();
        }
        if then == Then::End {
            self.tell_of_the_rest(lines.waits);
        }
        let rest = if is_torn { Unread::Torn } else { Unread::Lines(lines.waits) };
        self.held = if then == Then::Read { None } else { self.held_back(rest) };
        // A line that waits must be read again by whoever begins anew.
        let whole = whole.filter(|_| self.lines.waiting_bytes() == 0);
        let batch = match self.stop {
            Stop::Before(stop) => self.deliver(lines.before(stop), None),
            _ => self.deliver(lines, whole),
        };
        Ok(Step { batch, then })
    }

    /// Names the archive, once for each stretch; the bytes themselves become a dead letter.
    fn tell_of_foreign(&mut self, reason: Option<&str>) {
        let told = self.told_of_foreign.as_deref();
        let Some(reason) = reason.filter(|reason| told != Some(*reason)) else { return };
        self.told_of_foreign = Some(reason.to_owned());
        tracing::warn!(path = %self.path.display(), "{reason}");
    }

    fn is_at_stop(&self) -> bool {
        match self.stop {
            Stop::Never | Stop::AtEnd => false,
            Stop::At(stop) => self.read_to >= stop,
            Stop::Before(stop) => self.lines.at() >= stop,
        }
    }

    /// How it goes on where a hole waits.
    fn after_hole(&self) -> Then {
        match self.stop {
            Stop::Never => Then::Wait,
            Stop::AtEnd | Stop::At(_) | Stop::Before(_) => Then::End,
        }
    }

    /// What is left of something for each of the files that are read side by side.
    fn share_of(&self, all: usize) -> usize {
        all / Arc::strong_count(&self.side_by_side)
    }

    /// How much to read at once: less where many files are read side by side, and never beyond
    /// the place to stop at, unless a line begins before it.
    pub fn room(&self) -> usize {
        let share = self.share_of(self.fetch_bytes);
        let room = self.block_bytes.min(share.max(BLOCK_BYTES_LEAST));
        match self.stop {
            Stop::At(stop) | Stop::Before(stop) if self.read_to < stop => {
                room.min((stop - self.read_to) as usize)
            }
            _ => room,
        }
    }

    /// Decides how it goes on after a block.
    fn conclude(&mut self, outcome: io::Result<Reached>) -> Then {
        match (outcome, self.stop) {
            (Err(error), Stop::Never) if error.kind() == ErrorKind::UnexpectedEof => Then::Wait,
            (Err(error), _) => {
                self.failure = Some(self.unreadable(error));
                Then::Read
            }
            (Ok(_), Stop::At(stop)) if self.read_to >= stop => Then::End,
            (Ok(Reached::Room | Reached::Stretch | Reached::Torn), _) => Then::Read,
            (Ok(Reached::End), Stop::At(stop) | Stop::Before(stop)) if self.read_to < stop => {
                self.failure = Some(too_short(&self.path, stop, self.stop));
                Then::Read
            }
            (Ok(Reached::End), Stop::AtEnd) if self.is_cut_short() => {
                let size = self.opened.signature.size.cast_signed();
                self.failure = Some(too_short(&self.path, size, self.stop).retryable());
                Then::Read
            }
            (Ok(Reached::End), Stop::AtEnd | Stop::At(_) | Stop::Before(_)) => Then::End,
            (Ok(Reached::End), Stop::Never) => Then::Wait,
        }
    }

    /// Whether the file lost bytes that it had when it was opened.
    fn is_cut_short(&self) -> bool {
        self.opened.is_plain() && self.read_to.cast_unsigned() < self.opened.signature.size
    }

    fn metadata(&self) -> Result<Metadata> {
        self.opened.file.metadata().map_err(|error| self.unreadable(error))
    }

    /// Goes on in a file that changed, if it still holds what was read.
    fn read_on(&mut self) -> Result<Look> {
        if self.goes_on().map_err(|error| self.unreadable(error))? {
            return Ok(Look::Changed);
        }
        let at = self.lines.at();
        if at == 0 {
            self.opened.look().map_err(|error| self.unreadable(error))?;
            let head = self.opened.head().map_err(|error| self.unreadable(error))?;
            if self.first.as_ref().is_some_and(|first| !first.begins(&head)) {
                return Ok(Look::Truncated);
            }
        }
        let found = match self.opened.is_utf16() && at > 0 {
            true => self.opened.behind_units(self.units, &self.recent),
            false => self.opened.near(at, u64::MAX, &self.way()),
        };
        let found = match found {
            Err(error) if is_damage(&error) => None,
            other => other.map_err(|error| self.unreadable(error))?,
        };
        let is_ours = |found: &Placed| found.recent.fingerprint() == self.before;
        let Some(found) = found.filter(is_ours) else { return Ok(Look::Truncated) };
        self.bytes = found.bytes;
        self.trace = found.trace;
        self.recent = found.recent;
        self.units = found.units;
        self.read_to = at;
        self.lines.forget_tail();
        self.waiting = None;
        Ok(Look::Changed)
    }

    /// Whether the file still holds what stood before the position, and in a file whose bytes are
    /// not the text themselves, what was read of it on disk before the last block.
    fn holds_what_was_read(&self, (last, end): &(Fingerprint, i64)) -> Result<bool> {
        if !self.opened.is_plain() {
            let first = (&self.first_on_disk, self.first_on_disk.length as i64);
            let (bytes, end) = if *end == 0 { first } else { (last, *end) };
            let held = self.opened.holds(bytes, end);
            return held.map_err(|error| self.unreadable(error));
        }
        let at = self.lines.at();
        let held = match (&self.first, at) {
            (Some(first), 0) => self.opened.holds(first, first.length as i64),
            (None, 0) => Ok(true),
            _ => self.opened.holds(&self.before, at),
        };
        held.map_err(|error| self.unreadable(error))
    }

    /// Ends where the file does not hold any more what was read. A line that it began is a record
    /// only if no other file has all of it.
    fn leave(&mut self) -> Result<Step> {
        let (path, position) = (self.path.display(), self.lines.at());
        self.whereabouts.doubt(self.opened.signature);
        match self.stop {
            Stop::Never => {}
            Stop::AtEnd => return Err(changed(&self.path, position, self.stop).retryable()),
            Stop::At(_) | Stop::Before(_) => {
                return Err(changed(&self.path, position, self.stop));
            }
        }
        tracing::warn!(%path, position, "file was truncated while it was read");
        let (before, start) = (self.before.clone(), self.lines.start());
        let note = Note { start, hole: self.hole, ..Note::of_line(before) };
        let position = Position::new(position).with_note(note.to_text());
        if self.lines.waiting_bytes() > 0 && self.whereabouts.hold(position) {
            self.lines.forget_tail();
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<Step> {
        self.held = None;
        self.tell_of_half();
        let block = self.lines.block(0);
        let lines = match self.bytes.foreign_reason() {
            Some(reason) => self.lines.refuse_last(block, &reason),
            None => self.lines.cut_last(block),
        };
        Ok(Step { batch: self.deliver(lines, None), then: Then::End })
    }

    /// Makes a batch of lines; `whole` is the compressed file if it ends behind them.
    fn deliver(&mut self, lines: LineBatch, whole: Option<Signature>) -> Option<ReadBatch> {
        let marks = self.marks(&lines);
        let places = self.sum_up(&lines);
        self.recent.push(&lines.consumed);
        if self.opened.is_utf16() {
            // NULs that were left out were units, too.
            let left_out = lines.bytes().saturating_sub(lines.consumed.len() as u64);
            self.units += encoding::units(&lines.consumed) + left_out;
        }
        self.before = self.recent.fingerprint();
        let is_news = std::mem::take(&mut self.is_news);
        if lines.is_empty() && !is_news {
            return None;
        }
        if let Some(gap) = lines.gaps.first() {
            let (path, position) = (self.path.display(), gap.position);
            let (bytes, holes) = (lines.skipped(), lines.gaps.len());
            tracing::warn!(
                %path, position, bytes, holes,
                "NULs were left out: the file was truncated under its writer, or its writer crashed"
            );
        }
        let (start, hole, packed) = (lines.start, self.hole, self.note_packed(lines.next));
        let shortcut = self.shortcut(lines.next, whole.is_some());
        let trail = self.trail.as_mut().map(|(trail, sum)| {
            trail.add(places, lines.next, sum);
            trail.write(lines.next)
        });
        let trail = trail.unwrap_or_default();
        let note = Note { start, whole, hole, packed, trail, ..Note::of_line(self.before.clone()) };
        let next = Position::new(lines.next).with_note(note.to_text()).with_shortcut(shortcut);
        // Blank lines of which no batch told count with what follows them.
        let bytes = (next.at - self.reached).max(0).cast_unsigned();
        self.reached = next.at;
        let skipped = lines.skipped();
        let (records, rejects) = lines.into_records();
        Some(ReadBatch { records, next, rejects, lost: 0, bytes, skipped, marks })
    }

    fn unreadable(&self, error: io::Error) -> Error {
        unreadable(&self.path, self.read_to, error)
    }
}

/// What a plain file begins with and will begin with.
fn first_of(opened: &Opened) -> io::Result<Option<Fingerprint>> {
    let head = opened.is_plain().then(|| opened.head()).transpose()?;
    Ok(head.map(|head| Fingerprint::of(&head[..before_holes(&head)])))
}
