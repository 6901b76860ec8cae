//! Whether a new file can be one that is gone: renamed, moved, compressed, restored or written
//! anew. Equal bytes alone do not say so, as logs without times often hold the same lines.
//!
//! Decided by where both lie, what they are called and when they were made and written; where that
//! leaves it open, by whether the lines have times, as equal ones then are those of one log.
//!
//! Invariant: what leaves it open is another log. Read twice it can be seen, passed over it is
//! lost.

use std::fs::Metadata;

use contract::{Position, Result};

use crate::found::Found;
use crate::identity::{Descriptor, Signature, made_ns};
use crate::kin::{Relation, relation};
use crate::matching::{Alike, Candidate};
use crate::sum::Sum;
use crate::trail::Trail;

/// So many digits has a number of seconds, or of thousandths, millionths or billionths of them,
/// since 1970.
const EPOCH_DIGITS: [usize; 4] = [10, 13, 16, 19];
/// How far before a clock time its date ends: `2026-11-28, 23:59:59`.
const DATE_GAP_MAX: usize = 2;
/// How long a clock time is: `23:59:59`.
const CLOCK_BYTES: usize = 8;

/// What speaks for a new file being one that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Times and names explain how it came to be.
    Explained,
    /// Rotation or compression made it of some log, which can have been that one.
    Copied,
    /// It took the place of the other one, as a program does that writes a file anew.
    Replaced,
    /// The times in its lines decide.
    Lines,
    /// Nothing: such names are those of logs of their own.
    Nothing,
}

/// What is known of a file that is gone.
#[derive(Clone, Copy, Debug)]
pub struct Traces {
    /// How its name and place are related to those of the new one.
    pub relation: Relation,
    /// When it was last written, as far as that was seen; none if nobody knows.
    pub modified_ns: Option<i64>,
    /// Whether a look found it gone, and nothing in its place.
    pub was_missed: bool,
    /// Whether it is there still, without what was read of it.
    pub is_truncated: bool,
    /// Whether the new one may have been made of it by rotation or compression.
    pub may_be_copied: bool,
}

/// What speaks for a file being one that is gone, if it holds what was read of that.
pub fn evidence(found: &Found, before: &Traces) -> Evidence {
    let Traces { relation, modified_ns, was_missed, is_truncated, may_be_copied } = *before;
    if modified_ns.is_some_and(|modified_ns| found.has_time_of(modified_ns)) {
        return Evidence::Explained;
    }
    let was_there = found.made_ns.zip(modified_ns).is_some_and(|(made, modified)| made < modified);
    match relation {
        Relation::Path | Relation::Kin if was_there => Evidence::Explained,
        Relation::Path if !was_missed && found.may_be_written_anew() => Evidence::Replaced,
        Relation::Kin if is_truncated => Evidence::Explained,
        Relation::Kin if may_be_copied => Evidence::Copied,
        Relation::Apart if !found.is_dated_back() => Evidence::Nothing,
        _ => Evidence::Lines,
    }
}

impl Candidate {
    /// When its file was last written, as far as that was seen.
    ///
    /// # Errors
    /// Bug: the position is not ours.
    pub fn modified_ns(&self) -> Result<i64> {
        let trail = Trail::of(self.position.as_ref())?.unwrap_or_default();
        Ok(self.descriptor.signature.modified_ns.max(trail.modified_ns()))
    }

    /// What speaks for another file being that of this split; `is_truncated` says whether that is
    /// there still, with other bytes.
    ///
    /// # Errors
    /// Bug: the position is not ours.
    pub fn evidence(&self, found: &Found, is_truncated: bool) -> Result<Evidence> {
        let relation = relation(&self.descriptor.path, &found.path);
        let there = match relation {
            Relation::Kin => std::fs::symlink_metadata(&self.descriptor.path).ok(),
            _ => None,
        };
        Ok(evidence(
            found,
            &Traces {
                relation,
                modified_ns: Some(self.modified_ns()?),
                was_missed: self.gone_since.is_some(),
                is_truncated: is_truncated || there.as_ref().is_some_and(|it| self.is_at(it)),
                may_be_copied: found.may_be_copy() && !is_later_than(found, there.as_ref()),
            },
        ))
    }

    /// Whether the file that this split was last seen in lies at its path still.
    fn is_at(&self, there: &Metadata) -> bool {
        let Descriptor { signature, made_ns: before, .. } = &*self.descriptor;
        // An earlier version did not note when it was made.
        signature.inode == Signature::of(there).inode
            && (before.is_none() || *before == made_ns(there))
    }

    /// Whether another file than that of this split, which holds what was read of it, can be that
    /// file all the same, and what is said of it.
    ///
    /// # Errors
    /// External: the file cannot be read. Bug: the position is not ours.
    pub fn is_inherited(&self, found: &Found, is_truncated: bool) -> Result<(bool, Option<Alike>)> {
        let position = self.position.as_ref().filter(|position| position.at > 0);
        let evidence = self.evidence(found, is_truncated)?;
        let is_taken = match evidence {
            Evidence::Explained => return Ok((true, None)),
            Evidence::Nothing => false,
            _ if found.proves(position, self.blocks()?)? => return Ok((true, None)),
            Evidence::Copied | Evidence::Replaced => found.has_sum(position, self.blocks()?)?,
            Evidence::Lines => false,
        };
        let alike = position.map(|position| Alike {
            what: format!("what was read of \"{}\" up to byte {}", self.id, position.at),
            taken: is_taken.then_some(evidence),
        });
        Ok((is_taken, alike))
    }

    /// Whether a file may become that of this split while it is written: it begins so, and ends
    /// before the position, or nobody knows where.
    ///
    /// # Errors
    /// Bug: the position is not ours.
    pub fn may_become(&self, found: &Found) -> Result<bool> {
        let Some(position) = &self.position else { return Ok(false) };
        let head = &self.descriptor.head;
        let begins = head.is_full() && found.holds_head(head);
        let ends = found.end().is_none_or(|end| end < position.at);
        Ok(begins && ends && self.evidence(found, false)? != Evidence::Nothing)
    }

    /// The sum of what was read of its file, if it is known.
    fn blocks(&self) -> Result<Option<u64>> {
        Ok(Trail::of(self.position.as_ref())?.map(|trail| trail.blocks()))
    }
}

/// Whether a file may be a copy of the one that lies at a path now: what it holds was last written
/// when that was there.
fn is_later_than(found: &Found, there: Option<&Metadata>) -> bool {
    let made_ns = there.and_then(made_ns);
    made_ns.zip(found.written_ns()).is_some_and(|(made_ns, written_ns)| made_ns <= written_ns)
}

impl Found {
    /// Whether the lines that it has before a position have times, and all bytes up to there have a
    /// sum, if that is known.
    ///
    /// # Errors
    /// External: it cannot be read.
    pub fn proves(&self, position: Option<&Position>, blocks: Option<u64>) -> Result<bool> {
        let text = match position {
            None => Some(self.first_bytes().to_vec()),
            Some(position) => self.text_before(position.at)?,
        };
        let has_times = text.is_some_and(|text| has_times(&text));
        Ok(has_times && self.has_sum(position, blocks)?)
    }

    /// Whether all bytes up to a position have a sum, if one is known.
    ///
    /// # Errors
    /// External: it cannot be read.
    pub fn has_sum(&self, position: Option<&Position>, blocks: Option<u64>) -> Result<bool> {
        let (Some(position), Some(blocks)) = (position, blocks) else { return Ok(true) };
        Ok(self.sum_to(position.at)?.as_ref().map(Sum::blocks) == Some(blocks))
    }
}

/// Whether lines say when they were written: most of them have a clock time behind a date, or a
/// number of seconds since 1970, which is not the same in all, as a size that every line names is.
/// A clock time alone comes again every day.
fn has_times(text: &[u8]) -> bool {
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    // The last one may be cut off.
    lines.pop_if(|line| line.is_empty());
    let are_most = |count: usize| count > 0 && count * 2 >= lines.len();
    let numbers: Vec<_> = lines.iter().filter_map(|line| epoch(line)).collect();
    let is_one = lines.len() > 1 && numbers.windows(2).all(|two| two[0] == two[1]);
    are_most(lines.iter().filter(|line| has_clock(line)).count())
        || are_most(numbers.len()) && !is_one
}

/// Whether a line has a clock time behind a date.
fn has_clock(line: &[u8]) -> bool {
    line.windows(CLOCK_BYTES).enumerate().any(|(at, clock)| {
        let digits = [0, 1, 3, 4, 6, 7].iter().all(|place| clock[*place].is_ascii_digit());
        let is_clock = digits && clock[2] == b':' && clock[5] == b':';
        let between = &line[at.saturating_sub(DATE_GAP_MAX + 1)..at];
        is_clock && between.iter().any(u8::is_ascii_digit)
    })
}

/// A number that may be one of seconds since 1970, or of parts of them.
fn epoch(line: &[u8]) -> Option<&[u8]> {
    let mut numbers = line.split(|byte| !byte.is_ascii_digit());
    numbers.find(|digits| EPOCH_DIGITS.contains(&digits.len()) && digits.starts_with(b"1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for line in ["step ok, heap limit 1073741824 bytes", "step 3 took 00:00:00 and ended"] {
            assert!(!has_times(format!("{line}\n{line}\n{line}\n").as_bytes()), "{line}");
        }
        assert!(!has_times(b"step 1 took 00:00:02\nstep 2 took 00:00:03\n"));
        let banner = "app, built 2026-01-15 09:30:00\nstep 1 ok\nstep 2 ok\nstep 3 ok\n";
        assert!(!has_times(banner.as_bytes()));
        let log = "started\n2026-01-15T09:30:00Z a\n  at b\n2026-01-15T09:30:01Z c\n";
        assert!(has_times(log.as_bytes()));
    }

    #[test]
    fn lines_have_times_where_no_later_line_can_be_equal() {
        for line in [
            "2026-11-28T10:00:01Z GET /",
            "192.0.2.1 - - [28/Nov/2026:10:00:01 +0000] \"GET / HTTP/1.1\" 200",
            "Nov  8 10:00:01 host sshd[1]: session opened",
            "20261128 10:00:01 ok",
            "1732800000.123 TCP_MISS",
            "{\"ts\":1732800000123}",
        ] {
            assert!(has_times(line.as_bytes()), "{line}");
        }
        for line in [
            "heartbeat ok",
            "10:00:01 heartbeat ok",
            "step one took 10:20",
            "line number 00000001",
            "id 2732800000",
            "12345678901",
        ] {
            assert!(!has_times(line.as_bytes()), "{line}");
        }
    }
}
