//! NULs with text behind them in a file that is still written: pages that reach the file in another
//! order than they were written in, or a writer that goes on behind a truncation. Nobody can tell
//! which, so they wait, and the text behind them with them, until nobody wrote to the file or to
//! them for a while.
//!
//! Invariant: what waits is remembered with the position, so that it is waited for once, whoever
//! reads the file meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use formats::lines::Gap;
use serde::{Deserialize, Serialize};

use crate::identity::Signature;

/// NULs that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first one, in bytes of the text.
    begin: i64,
    /// The first byte behind them.
    end: i64,
    /// How many bytes the file had on disk when they were seen first.
    size: u64,
    /// When that was, in milliseconds since 1970.
    seen_ms: i64,
}

impl Hole {
    /// NULs that are seen for the first time, in a file that looks so.
    pub fn new(gap: Gap, seen: &Signature) -> Self {
        Self { begin: gap.position, end: gap.end(), size: seen.size, seen_ms: now_ms() }
    }

    /// The same after a restart: where the clock was set back meanwhile, they are seen now.
    #[must_use]
    pub fn resumed(self) -> Self {
        Self { seen_ms: self.seen_ms.min(now_ms()), ..self }
    }

    /// Whether just these NULs were seen.
    pub fn is(&self, gap: &Gap) -> bool {
        (self.begin, self.end) == (gap.position, gap.end())
    }

    /// The first byte behind them.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// For how long they have stood there.
    pub fn age(&self) -> Duration {
        Duration::from_millis(u64::try_from(now_ms() - self.seen_ms).unwrap_or(0))
    }

    /// The position before which all NULs have stood there for as long: text never becomes NULs.
    /// Where a byte on disk is no byte of the text, only these are known.
    pub fn stood_to(&self, is_plain: bool) -> i64 {
        match is_plain {
            true => self.end.max(self.size.cast_signed()),
            false => self.end,
        }
    }

    /// Whether the first and the last of them still stand in a plain file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stands_in(&self, file: &File) -> io::Result<bool> {
        for at in [self.begin, self.end - 1] {
            let mut byte = [1];
            file.read_at(&mut byte, at.cast_unsigned())?;
            if byte != [0] {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Which NULs of a file are no text that is still to come.
#[derive(Clone, Copy, Debug)]
pub enum Settled {
    /// All that have text behind them.
    All,
    /// Those before the position, if those that were waited for are the first of them, or were
    /// passed.
    Waited(Hole, i64),
    /// None yet.
    Nothing,
}

impl Settled {
    /// The position before which they end, if the first ones of a block are these.
    pub fn up_to(self, first: &Gap) -> i64 {
        match self {
            Self::All => i64::MAX,
            Self::Waited(hole, stood_to) if hole.is(first) || first.position >= hole.end => {
                stood_to
            }
            Self::Waited(..) | Self::Nothing => 0,
        }
    }
}
