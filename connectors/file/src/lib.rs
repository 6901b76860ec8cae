//! Lines of files: whole, growing, rotated, truncated, replaced, compressed.
//!
//! Not a parser: a line is text, its position the byte where it begins once decompressed.
//!
//! Reading order: [`config`], `identity` (how a file is recognised under another name), `stream`
//! (its bytes, decompressed) with `packed`, `points`, `shortcuts`, `discover` with
//! `expand`, `look`, `found`, `repeats` with `kin`, `matching` with `inheritance`, `graves` and
//! `copies` (which files there are, which of them are copies, and which split each one is), `trail`
//! with `sum` (what a position remembers to tell copies by), `proof` (what is left of one that was
//! cut off), `cursor` (reads one file, blocking), `tail` (the same for the runtime), `source`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod attempt;
pub mod config;
mod copies;
mod cursor;
mod discover;
mod expand;
mod found;
mod graves;
mod hole;
mod identity;
mod inheritance;
mod kin;
mod look;
mod matching;
mod missing;
mod packed;
mod points;
mod proof;
mod repeats;
mod shortcuts;
mod source;
mod stream;
mod sum;
mod tail;
#[cfg(test)]
mod tests;
mod trail;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::discovery::Unreadable;
use contract::source::{KnownSplit, Source, Split};
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Result, Section};
use formats::compression::Limits;

use crate::attempt::Attempt;
use crate::discover::Finder;
use crate::identity::Descriptor;

static SPEC: Spec = Spec {
    name: "file",
    summary: "Reads the lines of files, plain or compressed, once or as they grow.",
    source: Some(|| schemars::schema_for!(config::Config)),
    sink: None,
    failpoints: &[],
    example: include_str!("../example.yaml"),
};

/// The connector `file`.
#[derive(Debug)]
pub struct File;

impl File {
    /// The path, without links, that the file of a split had when the split was given out.
    ///
    /// # Errors
    /// Bug: the split is none of a source of this type.
    pub fn path(split: &Split) -> Result<PathBuf> {
        let known = KnownSplit { split: split.clone(), position: None };
        Descriptor::of(&known).map(|descriptor| descriptor.path)
    }

    /// Which of some files a source would read that names all of them, in their order, and why not
    /// the others, a sentence each: a copy of another file is read once.
    pub fn without_copies(paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<String>) {
        let patterns = config::Patterns::default();
        let (compression, limits) = (config::Compression::Auto, Limits::default());
        let packing = stream::Packing { compression, limits };
        Finder::new(patterns, packing, Duration::ZERO).without_repeated(paths)
    }
}

impl Connector for File {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let config = section.read::<config::Config>()?;
        let patterns = config::patterns(&config, section)?;
        Ok(Arc::new(source::Files::new(config, patterns)))
    }

    fn unreadable(&self, section: &Section, known: &[KnownSplit]) -> Result<Vec<Unreadable>> {
        let config = section.read::<config::Config>()?;
        let patterns = config::patterns(&config, section)?;
        let packing = config.packing();
        let mut attempt = Attempt::new(known)?;
        Ok(Finder::new(patterns, packing, Duration::ZERO).discover(&mut attempt)?.unreadable)
    }
}
