//! From produce to visible: how long a record of a steady stream takes through the program.

use std::ffi::OsStr;

use super::cases::Bench;
use super::report::{Goal, Table};
use crate::services::Installation;

/// Where records go, and the milliseconds within which 99 of 100 should be there.
const PLACES: [(&str, &str, f64); 3] =
    [("kafka", "Kafka", 500.0), ("postgres", "PostgreSQL", 500.0), ("lake", "the lake", 1000.0)];

impl Bench {
    /// From a topic to each place, with epochs of 200 ms and checkpoints on the local disk.
    pub fn latency(&self, table: &mut Table) -> Result<(), String> {
        let chosen = ["kafka", "postgres"];
        let servers = Installation::begin(&chosen)?.finish()?.start(&chosen)?;
        let (brokers, postgres) = (servers.find("KAFKA")?, servers.find("POSTGRES")?);
        for (place, name, goal) in PLACES {
            self.tools.beside("latency", &[place, brokers, postgres].map(OsStr::new))?;
            let [median, slow] = self.tools.answer()?;
            let what = format!("produce to visible in {name}");
            table.add(&format!("{what}, median"), median, "ms", Goal::None);
            table.add(&format!("{what}, p99"), slow, "ms", Goal::AtMost(goal));
        }
        Ok(())
    }
}
