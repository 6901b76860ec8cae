//! The places that a stream goes to, each read from outside by its own protocol.
//!
//! A row counts when a stranger finds it: no connector's code is used here, and nothing that a sink
//! says about itself. What reads a place lies with its connector, in `tests/destination`, and is
//! found there when this crate is built. The lake alone is asked by the program's own `query`.

use std::path::Path;

use super::servers::Called;
use super::tally::Tally;
use crate::program::Program;

include!(concat!(env!("OUT_DIR"), "/destinations.rs"));

/// Makes a place of its own, to be written by a pipeline that calls its server so; none where that
/// server is absent.
pub type Make = fn(Called) -> Option<Box<dyn Destination>>;

/// A place that one sink of the pipeline writes to.
pub trait Destination {
    /// The sink's settings, below its name in the pipeline file, without YAML's braces.
    fn settings(&self) -> String;

    /// Counts every row that a stranger finds.
    fn read(&self, program: &Program, data: &Path, tally: &mut Tally);

    /// Whether rows lie here of which it is open if a stranger will ever find them.
    fn has_undecided(&self) -> bool {
        false
    }
}

/// The names of all connectors that have one.
pub fn places() -> Vec<&'static str> {
    DESTINATIONS.iter().map(|(name, _)| *name).collect()
}

/// A place of a connector; none where its server is absent.
///
/// # Panics
/// There is no such connector, or it has no such place.
pub fn destination(name: &str, called: Called) -> Option<Box<dyn Destination>> {
    let found = DESTINATIONS.iter().find(|(known, _)| *known == name);
    let (_, make) = found.unwrap_or_else(|| panic!("nothing reads {name:?} from outside"));
    make(called)
}
