//! How a cursor goes on in a gzip file that grows, at the cost of what is new.

use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use contract::{Result, Shortcut, SplitId};
use formats::compression::gzip::{Point, Start};
use formats::encoding;

use super::{Cursor, Reading, Stop};
use crate::identity::{Fingerprint, Signature};
use crate::packed::{Packed, Way};
use crate::points::Points;
use crate::shortcuts;

impl Reading {
    /// The point from which a position is nearest; one that it brings along is kept.
    pub(super) fn point(&self, at: i64) -> Option<Point> {
        let split = &self.whereabouts.split.id;
        if let Some(point) = shortcuts::point_of(self.from.as_ref()) {
            self.points.meet(split, &point);
        }
        self.points.nearest(split, at)
    }
}

impl Cursor {
    /// Where it keeps its points, and under which name.
    pub fn points(&self) -> (Arc<Points>, SplitId) {
        (self.points.clone(), self.whereabouts.split.id.clone())
    }

    /// What the file is now; where the decoder met the end in a block before, what it was before
    /// that. So what was written since is seen as a change, and no position takes it for read.
    pub(super) fn see(&mut self) -> Result<Signature> {
        if !self.bytes.has_met_end() {
            self.seen = Signature::of(&self.metadata()?);
        }
        Ok(self.seen)
    }

    /// Goes on with the decoder that came to the end, if the file still holds what it read.
    pub(super) fn goes_on(&mut self) -> io::Result<bool> {
        let may_stay = self.stop == Stop::Never && self.is_encoding_known();
        let Some(gzip) = self.bytes.gzip().filter(|_| may_stay) else { return Ok(false) };
        let (read, last) = gzip.reached();
        if last.is_empty() || !self.opened.holds_bytes(last, read)? {
            return Ok(false);
        }
        (&*self.opened.file).seek(SeekFrom::Start(read))?;
        gzip.go_on();
        self.waiting = None;
        Ok(true)
    }

    /// The way to the position, for whoever must begin anew.
    pub(super) fn way(&self) -> Way {
        let point = self.points.nearest(&self.whereabouts.split.id, self.lines.at());
        Way { point, packed: self.packed.clone(), before: Some(self.before.clone()) }
    }

    /// What a position remembers of the compressed bytes, and keeps the points that were passed.
    pub(super) fn note_packed(&mut self, position: i64) -> Option<Packed> {
        if let Some(gzip) = self.bytes.gzip() {
            let (read, last) = gzip.reached();
            let position = position.max(0).cast_unsigned();
            let Start { text, packed } = gzip.start_before(position);
            // Whoever began at a point knows of no member before.
            let known = self.packed.as_ref().map(|packed| packed.member);
            let member = known.unwrap_or_default().max((text, packed));
            let last = Fingerprint::of(last);
            self.packed = Some(Packed { read, last, member });
            if let Some(point) = gzip.take_point() {
                self.points.put(&self.whereabouts.split.id, &point);
                self.shortcuts.pass(&point);
            }
        }
        self.packed.clone()
    }

    /// What leads to a position beside its note. Behind all members no text is needed.
    pub(super) fn shortcut(&mut self, position: i64, is_whole: bool) -> Option<Arc<Shortcut>> {
        let (member, _) = self.packed.as_ref()?.member;
        let position = position.max(0).cast_unsigned();
        let here = self.bytes.gzip().filter(|_| is_whole).and_then(|gzip| gzip.point_here());
        if let Some(here) = here {
            self.shortcuts.pass(&here.shortened(position));
        }
        self.shortcuts.to(position, member)
    }

    /// Keeps a point just where all that there is was read, if there can be one.
    pub(super) fn keep_point(&mut self) {
        if !self.is_encoding_known() {
            return;
        }
        if let Some(point) = self.bytes.gzip().and_then(|gzip| gzip.point_here()) {
            let point = point.shortened(self.lines.at().max(0).cast_unsigned());
            self.points.put(&self.whereabouts.split.id, &point);
            let member = self.packed.as_ref().map_or(0, |packed| packed.member.0);
            self.shortcuts.rest_at(&point, member);
        }
    }

    /// Of fewer bytes nobody can tell how characters are written.
    fn is_encoding_known(&self) -> bool {
        self.read_to >= encoding::FIRST_BYTES as i64
    }
}
