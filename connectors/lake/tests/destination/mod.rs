//! The embedded lake.

use std::path::Path;

use testkit::program::Program;
use testkit::stream::servers::Called;
use testkit::stream::{Destination, Tally};

/// A table of the lake in the program's data.
pub struct Table;

/// There is nothing to make.
pub fn destination(_: Called) -> Option<Box<dyn Destination>> {
    Some(Box::new(Table))
}

impl Destination for Table {
    fn settings(&self) -> String {
        "type: lake, table: milled".into()
    }

    fn read(&self, program: &Program, data: &Path, tally: &mut Tally) {
        let query = "SELECT id, word FROM milled";
        let rows = program.ask(data, &["query", query, "--format", "ndjson"]);
        rows.lines().for_each(|line| tally.count_line(line));
    }
}
