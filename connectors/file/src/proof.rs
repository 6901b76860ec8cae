//! What is left of a file of which something was read: how far it is proven to be that file.
//!
//! A place in it is known by the bytes before it, as its beginning is by the first ones. All places
//! up to one must be as they were; what stands behind the last of them proves nothing.

use contract::source::KnownSplit;
use contract::{Position, Result};

use crate::discover::Finder;
use crate::found::Found;
use crate::identity::{Descriptor, Fingerprint, Note};
use crate::inheritance::Evidence;
use crate::matching::{Candidate, Proof};

/// A file that was cut off, or is whole.
pub struct Proven {
    /// The file.
    pub found: Found,
    /// The last place up to which it holds what was read.
    pub to: Position,
}

impl Finder {
    /// Looks how far the file of a split is proven to hold what was read of it from the position of
    /// `known` on: up to one of `places`, in order. None if no file holds what was read before all
    /// of them.
    ///
    /// # Errors
    /// As for [`Finder::locate`].
    pub fn prove(&mut self, known: &KnownSplit, places: &[Position]) -> Result<Option<Proven>> {
        let from = known.position.as_ref().filter(|from| from.note.is_some());
        let mut places = from.into_iter().chain(places);
        let Some(first) = places.next() else { return Ok(None) };
        let split = known.split.clone();
        let at = |place: &Position| {
            self.candidate(&KnownSplit { split: split.clone(), position: Some(place.clone()) })
        };
        // Who holds the last place is the file; else who holds the first.
        let (whole, part) = (at(places.clone().last().unwrap_or(first))?, begun(at(first)?)?);
        let mut found = None;
        for (candidate, proof) in [
            (&whole, Proof::History),
            (&whole, Proof::Bytes),
            (&part, Proof::History),
            (&part, Proof::Bytes),
        ] {
            if found.is_none() {
                found = self.locate_candidate(candidate.anew(), proof)?;
            }
        }
        let Some(found) = found else { return Ok(None) };
        self.note_restored(&whole, &found);
        let mut to = first.clone();
        for place in places {
            if found.end().is_some_and(|end| end < place.at)
                || found.holds_before(place)? != Some(true)
            {
                break;
            }
            to = place.clone();
        }
        Ok(Some(Proven { found, to }))
    }
}

/// A split that is known by what stands before its position, where its file was cut off within the
/// bytes that it began with.
fn begun(candidate: Candidate) -> Result<Candidate> {
    let note = candidate.position.as_ref().map(Note::of).transpose()?.flatten();
    let at = candidate.position.as_ref().map_or(0, |position| position.at);
    let head = note.map(|note| note.before).filter(|before| {
        before.length < candidate.descriptor.head.length && before.length as i64 == at
    });
    Ok(match head {
        None => candidate,
        Some(head) => {
            let descriptor =
                Descriptor { head, is_settled: false, ..(*candidate.descriptor).clone() };
            Candidate { descriptor: descriptor.into(), ..candidate }
        }
    })
}

/// The position of a split whose file was cut off there.
///
/// # Errors
/// Bug: the position is not ours.
pub fn cut_off(to: &Position) -> Result<Position> {
    with_cut_off(to, true)
}

/// The same of a split of which nothing is left behind the position that it had.
///
/// # Errors
/// Bug: the position is not ours.
pub fn cut_off_before(position: Option<&Position>) -> Result<Position> {
    let begin = || Position::new(0).with_note(Note::of_line(Fingerprint::of(b"")).to_text());
    cut_off(&position.cloned().unwrap_or_else(begin))
}

/// Where a file goes on, as a split of its own, that holds what was read of a split before its file
/// was cut off; none if it does not.
///
/// # Errors
/// External: the file cannot be read. Bug: the split is not ours.
pub fn goes_on(found: &Found, candidates: &[Candidate]) -> Result<Option<Position>> {
    let mut newest: Option<Position> = None;
    for candidate in candidates.iter().filter(|one| one.found.is_none()) {
        let Some(position) = &candidate.position else { continue };
        if position.at == 0 || !Note::of(position)?.is_some_and(|note| note.is_cut_off) {
            continue;
        }
        let position = Some(with_cut_off(position, false)?);
        let candidate =
            Candidate::new(candidate.id.clone(), position, candidate.descriptor.clone());
        let candidate = begun(candidate)?;
        let is_whole = candidate.is_tied(found) && candidate.is_in(found)? == Some(true);
        if is_whole && may_be_back(found, &candidate)? {
            newest = newest.max(candidate.position);
        }
    }
    Ok(newest)
}

/// Whether a file can be one that was cut off and is brought back: under its name, or one that
/// rotation gives; under another one if its lines say so.
fn may_be_back(found: &Found, candidate: &Candidate) -> Result<bool> {
    match candidate.evidence(found, false)? {
        Evidence::Nothing => Ok(false),
        Evidence::Lines if candidate.descriptor.path != found.path => {
            found.proves(candidate.position.as_ref(), None)
        }
        _ => Ok(true),
    }
}

fn with_cut_off(position: &Position, is_cut_off: bool) -> Result<Position> {
    let note = Note::of(position)?.map(|note| Note { is_cut_off, ..note });
    let at = Position::new(position.at);
    Ok(note.map_or(at.clone(), |note| at.with_note(note.to_text())))
}
