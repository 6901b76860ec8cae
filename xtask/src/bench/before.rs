//! Runs into each kind of sink, in turn with an earlier program of ours on the same servers.
//!
//! Compared by the processor time of the program alone: what the servers do beside it is theirs.

use std::path::{Path, PathBuf};

use super::cases::{BEFORE_MIN, Bench, pipeline};
use super::kafka::Places;
use super::measure::Cost;
use super::report::{Goal, Table};
use crate::services::Installation;

/// Rounds, one program after the other in each, of which the one that took the least counts.
const ROUNDS: usize = 3;
/// The servers behind the sinks.
const SERVERS: [&str; 4] = ["kafka", "s3", "postgres", "opensearch"];

/// Where runs read and write.
struct Ground {
    log: PathBuf,
    places: Places,
    opensearch: String,
}

/// A run that both programs do.
struct Case {
    what: &'static str,
    name: &'static str,
    /// The pipeline file of a run, whose destination has this name.
    yaml: fn(&Ground, &str) -> String,
}

const CASES: [Case; 5] = [
    Case {
        what: "file → parse → PostgreSQL",
        name: "before-postgres",
        yaml: |ground, to| pipeline("before", &ground.log, "", &ground.table("parsed", to)),
    },
    Case {
        what: "Kafka → parse → PostgreSQL",
        name: "before-warehouse",
        yaml: |ground, to| ground.lines_into(&ground.table("rows", to)),
    },
    Case {
        what: "Kafka → parse → Kafka, JSON",
        name: "before-topic",
        yaml: |ground, to| ground.lines_into(&ground.places.topic("rows", to, "format: json")),
    },
    Case {
        what: "Kafka → parse → S3 as Parquet",
        name: "before-objects",
        yaml: |ground, to| ground.lines_into(&ground.places.objects(to)),
    },
    Case {
        what: "Kafka → parse → OpenSearch",
        name: "before-index",
        yaml: |ground, to| ground.lines_into(&ground.index(to)),
    },
];

impl Ground {
    fn lines_into(&self, sink: &str) -> String {
        self.places.lines_into("before", sink)
    }

    fn table(&self, input: &str, to: &str) -> String {
        let (url, to) = (&self.places.postgres, to.replace('-', "_"));
        format!(
            "out: {{ type: postgres, input: {input}, url: {url:?}, table: {to}, create: true }}"
        )
    }

    fn index(&self, to: &str) -> String {
        format!("out: {{ type: opensearch, input: rows, url: {:?}, index: {to} }}", self.opensearch)
    }
}

impl Bench {
    /// From the file and from a topic into Kafka, PostgreSQL, S3 and OpenSearch.
    pub fn before_with_servers(&self, earlier: &Path, table: &mut Table) -> Result<(), String> {
        let servers = Installation::begin(&SERVERS)?.finish()?.start(&SERVERS)?;
        let opensearch = servers.find("OPENSEARCH")?.to_owned();
        let ground = Ground { log: self.log.clone(), places: Places::of(&servers)?, opensearch };
        self.fill_lines(&ground.places)?;
        CASES.iter().try_for_each(|case| self.in_turn(earlier, case, &ground, table))
    }

    fn in_turn(
        &self,
        earlier: &Path,
        case: &Case,
        ground: &Ground,
        table: &mut Table,
    ) -> Result<(), String> {
        let (mut then, mut now) = (f64::INFINITY, f64::INFINITY);
        for round in 0..ROUNDS {
            let run = |who: &str, program: &Path| -> Result<Cost, String> {
                let yaml = (case.yaml)(ground, &format!("{}-{who}-{round}", case.name));
                self.run_yaml_by(program, case.name, &yaml)
            };
            then = then.min(run("then", earlier)?.cpu_seconds);
            now = now.min(run("now", self.tools.program())?.cpu_seconds);
        }
        let before = format!("{}: before", case.what);
        table.add(&before, self.megabytes / then, "MB per CPU-second", Goal::None);
        table.add(case.what, self.megabytes / now, "MB per CPU-second", Goal::None);
        table.ratio(case.what, &before, Goal::AtLeast(BEFORE_MIN));
        Ok(())
    }
}
