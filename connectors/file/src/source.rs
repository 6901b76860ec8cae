//! The source: files as splits. All I/O runs in threads for blocking work.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::discovery::{Differences, Discoverer, Moved, Retired};
use contract::error::Context;
use contract::record::message_schema;
use contract::source::{KnownSplit, Source, Split, SplitReader, Terms, Until};
use contract::{Error, Position, Result};
use formats::blocks::Blocks;

use crate::attempt::Attempt;
use crate::config::{Config, Patterns};
use crate::cursor::{Cursor, Reading};
use crate::discover::{Finder, Whereabouts, locked};
use crate::found::Found;
use crate::identity::Descriptor;
use crate::points::Points;
use crate::proof::{self, Proven};
use crate::tail::Tail;

/// What the blocks of all files that are read may take where nobody says so.
const FETCH_BYTES: usize = 64 << 20;

/// Files that become splits.
pub struct Files {
    config: Config,
    finder: Arc<Mutex<Finder>>,
    side_by_side: Arc<Blocks>,
    points: Arc<Points>,
    /// What the blocks of all files that are read may take.
    fetch_bytes: AtomicUsize,
}

impl Files {
    /// A source over the files that `patterns` name.
    pub fn new(config: Config, patterns: Patterns) -> Self {
        let finder = Finder::new(patterns, config.packing(), config.rotate_wait.0);
        let finder = Arc::new(Mutex::new(finder));
        let fetch_bytes = AtomicUsize::new(FETCH_BYTES);
        Self { config, finder, side_by_side: Arc::default(), points: Arc::default(), fetch_bytes }
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    finder: &Arc<Mutex<Finder>>,
    work: impl FnOnce(&Mutex<Finder>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let finder = finder.clone();
    tokio::task::spawn_blocking(move || work(&finder))
        .await
        .bug("a thread that looks for files failed")?
}

/// Looks for files during one attempt.
struct Looks {
    finder: Arc<Mutex<Finder>>,
    /// What the checkpoint knows, until the first look.
    known: Vec<KnownSplit>,
    /// None before that, and while a thread has it.
    attempt: Option<Attempt>,
    /// Splits that retired since.
    retired: Vec<Retired>,
}

#[async_trait]
impl Discoverer for Looks {
    async fn look(&mut self, moved: Moved) -> Result<Differences> {
        let (attempt, known) = (self.attempt.take(), std::mem::take(&mut self.known));
        let retired = std::mem::take(&mut self.retired);
        let looked = blocking(&self.finder, move |finder| {
            let mut finder = locked(finder);
            let mut attempt = match attempt {
                Some(attempt) => attempt,
                None => finder.begin(&known)?,
            };
            finder.bury(&mut attempt, retired);
            attempt.hear(moved);
            let said = finder.discover(&mut attempt);
            Ok((attempt, said))
        });
        let (attempt, said) = looked.await?;
        self.attempt = Some(attempt);
        said
    }

    fn hear_retired(&mut self, retired: Vec<Retired>) {
        self.retired.extend(retired);
    }
}

#[async_trait]
impl Source for Files {
    fn schema(&self) -> SchemaRef {
        message_schema()
    }

    async fn begin(&self, terms: &Terms) -> Result<()> {
        self.fetch_bytes.store(terms.fetch_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn discover(&self, known: Option<Vec<KnownSplit>>) -> Box<dyn Discoverer> {
        let known = known.unwrap_or_default();
        let (attempt, retired) = (None, Vec::new());
        Box::new(Looks { finder: self.finder.clone(), known, attempt, retired })
    }

    async fn open(
        &self,
        split: &Split,
        from: Option<&Position>,
        until: Until,
    ) -> Result<Box<dyn SplitReader>> {
        let mut known = KnownSplit { split: split.clone(), position: from.cloned() };
        if from.is_none() {
            known.position = Descriptor::of(&known)?.from;
        }
        let reading = Reading {
            from: known.position.clone(),
            until,
            line_bytes_max: self.config.line_bytes_max.as_usize(),
            join: self.config.join,
            block_bytes: self.config.block_bytes.as_usize(),
            fetch_bytes: self.fetch_bytes.load(Ordering::Relaxed),
            rotate_wait: self.config.rotate_wait.0,
            settle: self.config.settle.0,
            side_by_side: self.side_by_side.clone(),
            whereabouts: Whereabouts { finder: self.finder.clone(), split: split.clone() },
            points: self.points.clone(),
        };
        let opened = blocking(&self.finder, move |finder| match &reading.until {
            Until::Proven { marks, to } => {
                let places = marks.iter().chain([to]).cloned().collect();
                open_proven(finder, &known, places, reading)
            }
            _ => open(finder, &known, reading).map(|cursor| (Some(cursor), None)),
        });
        let (cursor, cut_off) = opened
            .await
            .map_err(|error| error.context(format!("could not open split \"{}\"", split.id)))?;
        let tail = match cursor {
            Some(cursor) => Tail::new(cursor, self.config.poll_interval.0),
            None => Tail::ended(split.id.clone(), self.points.clone()),
        };
        Ok(Box::new(tail.with_cut_off(cut_off)))
    }
}

/// The way to a position may be long in a compressed file: nobody is kept from looking meanwhile.
fn open(finder: &Mutex<Finder>, known: &KnownSplit, reading: Reading) -> Result<Cursor> {
    let located = match &reading.until {
        Until::Position(to) => locked(finder).locate_up_to(known, to)?,
        _ => locked(finder).locate(known)?,
    };
    // But for a recorded range, looking for splits again tells what there is instead.
    let found = located.ok_or_else(|| match reading.until {
        Until::Position(_) | Until::Proven { .. } => gone(),
        Until::Forever | Until::End => Error::transient(GONE).hint(LOOKED_FOR),
    })?;
    cursor(found, reading)
}

/// Opens what is left of a recorded range, and says where the file was cut off, if it was: no
/// cursor where nothing is.
fn open_proven(
    finder: &Mutex<Finder>,
    known: &KnownSplit,
    places: Vec<Position>,
    mut reading: Reading,
) -> Result<(Option<Cursor>, Option<Position>)> {
    let Some(Proven { found, to }) = locked(finder).prove(known, &places)? else {
        let cut_off = proof::cut_off_before(known.position.as_ref())?;
        return Ok((None, Some(cut_off)));
    };
    let is_whole = places.last() == Some(&to);
    let cut_off = (!is_whole).then(|| proof::cut_off(&to)).transpose()?;
    reading.until = Until::Position(to);
    Ok((Some(cursor(found, reading)?), cut_off))
}

/// What nobody finds any more.
const GONE: &str = "no file holds any more what was read of it";
/// What becomes of a file whose reader lost it.
pub const LOOKED_FOR: &str =
    "it was removed, truncated or rewritten just now; what is there instead is looked for and read";

fn gone() -> Error {
    Error::external(GONE).hint("restore the file, or go on without the rest by `--accept-loss`")
}

fn cursor(found: Found, reading: Reading) -> Result<Cursor> {
    let opened = found
        .open()?
        .ok_or_else(|| Error::transient(format!("file {:?} was just replaced", found.path)))?;
    Cursor::new(found.path, opened, reading)
}
