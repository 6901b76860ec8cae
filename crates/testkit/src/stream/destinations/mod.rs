//! The places that a stream goes to, each read from outside by its own protocol.
//!
//! A row counts when a stranger finds it: no connector's code is used here, and nothing that a sink
//! says about itself. The lake alone is asked by the program's own `query`.

mod kafka;
mod lake;
mod objects;
mod postgres;
mod search;

use std::path::Path;

use crate::program::Program;
use crate::stream::tally::Tally;

pub use kafka::Stream;
pub use lake::Lake;
pub use objects::Objects;
pub use postgres::Table;
pub use search::Search;

/// A place that one sink of the pipeline writes to.
pub trait Destination {
    /// The sink's settings, below its name in the pipeline file, in YAML's braces.
    fn settings(&self) -> String;

    /// Counts every row that a stranger finds.
    fn read(&self, program: &Program, data: &Path, tally: &mut Tally);

    /// Whether rows lie here of which it is open if a stranger will ever find them.
    fn has_undecided(&self) -> bool {
        false
    }
}

/// What every destination reads from a line of JSON.
fn count_line(line: &str, tally: &mut Tally) {
    let row: serde_json::Value = serde_json::from_str(line).expect("a row is JSON");
    count_row(&row, tally);
}

fn count_row(row: &serde_json::Value, tally: &mut Tally) {
    let id = row["id"].as_u64().expect("a row has an id");
    tally.count(id, row["word"].as_str().expect("a row has a word"));
}
