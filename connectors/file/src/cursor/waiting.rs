//! What a cursor does where it has read all that it may read: how long a line without end and NULs
//! with text behind them wait, and when the file is finished.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use contract::Result;
use contract::source::Held;
use formats::compression::Compression;
use formats::lines::{Gap, LineBatch, Tail};

use super::{Cursor, Stop};
use crate::hole::{Hole, Settled};
use crate::identity::{Signature, is_rotated_name};

/// What is said of a file of UTF-16 whose last byte is the first of two, or which ends between two
/// units that are one character.
const HALF: &str = "the file ends inside a character of UTF-16";

#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub since: Instant,
    pub seen: Signature,
    /// Whether a compressed file ends with a whole member.
    pub is_whole: bool,
    /// Whether there is more behind a hole.
    pub is_at_hole: bool,
    /// Whether the file had no name any more at the last look.
    pub is_removed: bool,
}

impl Waiting {
    /// At the end of a file that was read whole before.
    pub fn behind_all(seen: Signature) -> Self {
        let (is_at_hole, is_removed) = (false, false);
        Self { since: Instant::now(), seen, is_whole: true, is_at_hole, is_removed }
    }
}

/// Why nothing more was read.
#[derive(Clone, Copy, Debug)]
pub enum Unread {
    /// The compressed form ends inside a member.
    Torn,
    /// All was, perhaps but for text behind NULs.
    Lines(Option<Gap>),
}

/// What a look at a quiet file found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Quiet,
    /// The line without end was waited for long enough.
    Settled,
    Changed,
    Truncated,
    Finished,
}

impl Cursor {
    pub(super) fn look(&mut self) -> Result<Look> {
        if self.waiting.is_none() {
            return Ok(Look::Changed);
        }
        let metadata = self.metadata()?;
        let Some(waiting) = &mut self.waiting else { return Ok(Look::Changed) };
        waiting.is_removed = metadata.nlink() == 0;
        let (waiting, seen) = (*waiting, Signature::of(&metadata));
        // Asked before a decoder begins anew, and comes to the end on its way.
        self.seen = seen;
        if waiting.is_at_hole {
            return self.look_at_hole(seen);
        }
        if seen != waiting.seen {
            return self.read_on();
        }
        if waiting.since.elapsed() >= self.rotate_wait && self.is_rotated(&waiting.seen) {
            return Ok(Look::Finished);
        }
        Ok(if self.settles_in() == Some(Duration::ZERO) { Look::Settled } else { Look::Quiet })
    }

    /// Reads on once the NULs that are waited for changed or stood for long enough. What is written
    /// behind them meanwhile changes nothing.
    fn look_at_hole(&mut self, seen: Signature) -> Result<Look> {
        let (Some(waiting), Some(hole)) = (&mut self.waiting, self.hole) else {
            return self.read_on();
        };
        let has_changed = std::mem::replace(&mut waiting.seen, seen) != seen;
        let is_due = self.fills_in(&seen).is_zero() || hole.age() >= self.settle;
        if is_due {
            return self.read_on();
        }
        if !has_changed {
            return Ok(Look::Quiet);
        }
        // Where a byte on disk is no byte of the text, only reading tells.
        let stands = self.opened.is_plain()
            && hole.stands_in(&self.opened.file).map_err(|error| self.unreadable(error))?;
        if stands { Ok(Look::Quiet) } else { self.read_on() }
    }

    /// How long what is held back must still wait, if nobody writes to the file: a line without
    /// end, or NULs and what is behind them.
    pub fn settles_in(&self) -> Option<Duration> {
        let waiting = self.waiting.as_ref()?;
        let due = match self.lines.tail() {
            _ if waiting.is_at_hole => {
                let cap = self.hole.map(|hole| self.settle.saturating_sub(hole.age()));
                let due = self.due_in(&waiting.seen, false, self.rotate_wait);
                due.min(cap.unwrap_or_default())
            }
            Tail::Blank => return None,
            _ if self.is_packed() && !waiting.is_whole => return None,
            tail => self.due_in(&waiting.seen, tail == Tail::Nuls, self.rotate_wait),
        };
        (due < Duration::MAX).then_some(due)
    }

    /// Remembers the hole before which a block ended that began at a position, or forgets the one
    /// that was waited for.
    pub(super) fn note_holes(&mut self, lines: &LineBatch, begin: i64, seen: &Signature) {
        let (at, is_plain) = (self.lines.at(), self.opened.is_plain());
        self.hole = self.hole.filter(|hole| {
            let is_here = begin < hole.end() && hole.end() <= at;
            let is_written = is_here && !lines.gaps.iter().any(|gap| hole.is(gap));
            !is_written && at < hole.stood_to(is_plain)
        });
        let Some(gap) = lines.waits else { return };
        if !self.hole.is_some_and(|hole| hole.is(&gap)) {
            self.hole = Some(Hole::new(gap, seen));
            self.is_news = true;
        }
    }

    /// Whether the file had no name any more when it was looked at last.
    pub fn is_removed(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_removed)
    }

    /// Which NULs with text behind them stay as they are.
    pub(super) fn settled(&self, seen: &Signature) -> Settled {
        let is_plain = self.opened.is_plain();
        match self.hole {
            _ if self.fills_in(seen).is_zero() => Settled::All,
            Some(hole) if hole.age() >= self.settle => {
                Settled::Waited(hole, hole.stood_to(is_plain))
            }
            _ => Settled::Nothing,
        }
    }

    /// How long NULs with text behind them may still be written over, if nobody writes to the file.
    fn fills_in(&self, seen: &Signature) -> Duration {
        let grace = match self.stop {
            Stop::AtEnd if *seen != self.opened.signature => return self.settle,
            Stop::Never | Stop::AtEnd => self.rotate_wait,
            Stop::At(_) | Stop::Before(_) => return Duration::ZERO,
        };
        if self.is_packed() {
            return Duration::ZERO;
        }
        match self.due_in(seen, false, grace) {
            due if due.is_zero() => due,
            due if self.is_rotated(seen) => due.min(grace.saturating_sub(seen.age())),
            due => due,
        }
    }

    /// Whether the line at the end of the last block may still get an end, so that it waits for the
    /// next run.
    pub(super) fn may_grow(&self, seen: &Signature, block: &[u8]) -> bool {
        match self.stop {
            Stop::At(_) | Stop::Before(_) => false,
            Stop::Never | Stop::AtEnd => {
                let is_deleted =
                    self.opened.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0);
                let ends_with_nuls = block.last() == Some(&0);
                !is_deleted
                    && (*seen != self.opened.signature
                        || !self.due_in(seen, ends_with_nuls, self.rotate_wait).is_zero())
            }
        }
    }

    /// Whether it is compressed: it may grow by whole members, but never change.
    fn is_packed(&self) -> bool {
        self.opened.compression != Compression::None
    }

    /// How long a line without end must still wait, under a rotated name at least for `grace`. A
    /// file whose room was taken in advance ends with NULs, however long nobody writes to it.
    fn due_in(&self, seen: &Signature, ends_with_nuls: bool, grace: Duration) -> Duration {
        match ends_with_nuls {
            _ if is_rotated_name(&self.path, seen) => grace.saturating_sub(seen.age()),
            true if !self.is_packed() => Duration::MAX,
            _ => self.settle.saturating_sub(seen.age()),
        }
    }

    /// Whether the file was deleted, or its path belongs to another file now.
    fn is_rotated(&self, ours: &Signature) -> bool {
        self.opened.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
            || std::fs::metadata(&self.path)
                .is_ok_and(|metadata| !Signature::of(&metadata).is_same_file(ours))
    }

    /// What waits for something to be written.
    pub(super) fn held_back(&self, unread: Unread) -> Option<Held> {
        let bytes = self.lines.waiting_bytes();
        let (bytes, reason) = match (unread, self.lines.tail()) {
            (Unread::Torn, _) => (bytes, "its compressed form is not complete yet"),
            (Unread::Lines(Some(_)), _) => {
                let text = "NULs stand before text that was just written, and may be written over";
                (self.left().unwrap_or(bytes), text)
            }
            (_, Tail::Blank) if self.bytes.half() > 0 => (self.bytes.half() as u64, HALF),
            (_, Tail::Blank) => return None,
            (_, Tail::Text) => (bytes, "its last line has no end yet"),
            (_, Tail::Nuls) => (bytes, "it ends with NULs, which may be written over"),
        };
        Some(Held { bytes, reason, is_odd: matches!(unread, Unread::Torn) })
    }

    /// Names a part of a character that stands at the end, and in no record.
    pub(super) fn tell_of_half(&self) {
        let (path, position, bytes) = (self.path.display(), self.lines.at(), self.bytes.half());
        if bytes > 0 {
            tracing::warn!(%path, position, bytes, "{HALF}; it waits until the rest is written");
        }
    }

    /// Says what waits for the next run.
    pub(super) fn tell_of_the_rest(&self, waits: Option<Gap>) {
        let (path, position, bytes) = (&self.path, self.lines.at(), self.lines.waiting_bytes());
        if let Some(Gap { position: nuls_at, bytes: nuls }) = waits {
            let bytes = self.left();
            tracing::warn!(
                path = %path.display(), position, bytes, nuls_at, nuls,
                "NULs stand before text in a file that was just written; both wait until the NULs \
                 are written over, or were left alone for `settle`"
            );
            return;
        }
        match self.lines.tail() {
            Tail::Blank => self.tell_of_half(),
            Tail::Text => tracing::warn!(
                path = %path.display(), position, bytes,
                "the last line has no end; it waits until its end is written"
            ),
            Tail::Nuls => tracing::warn!(
                path = %path.display(), position, bytes,
                "the file ends with NULs; they wait until something is written behind them"
            ),
        }
    }
}
