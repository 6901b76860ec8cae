//! The embedded lake.

use std::path::Path;

use super::{Destination, count_line};
use crate::program::Program;
use crate::stream::tally::Tally;

/// A table of the lake in the program's data.
pub struct Lake;

impl Destination for Lake {
    fn settings(&self) -> String {
        "type: lake, table: milled".into()
    }

    fn read(&self, program: &Program, data: &Path, tally: &mut Tally) {
        let query = "SELECT id, word FROM milled";
        let rows = program.ask(data, &["query", query, "--format", "ndjson"]);
        rows.lines().for_each(|line| count_line(line, tally));
    }
}
