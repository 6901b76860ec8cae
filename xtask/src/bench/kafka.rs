//! Delivery from Kafka, beside a plain copy of the same topic by librdkafka, `psql \copy`, and
//! the same rows from a file.
//!
//! Measured by the clock: much of the work is the broker's, which runs on the same machine. The
//! programs take turns, and the quickest round of each counts.

use std::ffi::OsStr;

use super::cases::Bench;
use super::report::{Goal, Table};
use crate::services::{Installation, Servers};

/// Rounds, one program after the other in each.
const ROUNDS: usize = 3;
/// What was promised, in hundredths of the speed of a plain copy.
const SHARE_OF_LINES_MIN: f64 = 70.0;
const SHARE_OF_JSON_MIN: f64 = 50.0;
/// And in hundredths of the speed from a file into the lake.
const SHARE_OF_FILE_MIN: f64 = 50.0;
const PARTITIONS: usize = 4;

/// Where the servers are.
struct Places<'a> {
    brokers: &'a str,
    s3: &'a str,
    access_key: &'a str,
    secret_key: &'a str,
    postgres: &'a str,
}

impl<'a> Places<'a> {
    fn of(servers: &'a Servers) -> Result<Self, String> {
        Ok(Self {
            brokers: servers.find("KAFKA")?,
            s3: servers.find("S3")?,
            access_key: servers.find("S3_KEY")?,
            secret_key: servers.find("S3_SECRET")?,
            postgres: servers.find("POSTGRES")?,
        })
    }

    /// A sink that writes topics.
    fn topic(&self, input: &str, topic: &str, settings: &str) -> String {
        format!(
            "out: {{ type: kafka, input: {input}, brokers: {:?}, topic: {topic}, create_topics: \
             {{ partitions: {PARTITIONS} }}, {settings} }}",
            self.brokers
        )
    }

    /// A pipeline from the topic of lines into a sink that takes `parsed` (the line and its
    /// columns) or `rows` (its columns alone).
    fn lines_into(&self, name: &str, sink: &str) -> String {
        format!(
            "name: {name}\nsources:\n  lines: {{ type: kafka, brokers: {:?}, topics: [lines] }}\n\
             transforms:\n  \
             parsed: {{ type: parse, input: lines, format: combined, keep: true }}\n  \
             rows: {{ type: sql, query: \"SELECT * EXCEPT (message, key, headers, timestamp, \
             topic, partition, offset) FROM parsed\" }}\nsinks:\n  {sink}\n",
            self.brokers
        )
    }
}

impl Bench {
    /// From topic to topic, into PostgreSQL, and into S3.
    pub fn kafka(&self, table: &mut Table) -> Result<(), String> {
        let chosen = ["kafka", "s3", "postgres"];
        let servers = Installation::begin(&chosen)?.finish()?.start(&chosen)?;
        let places = Places::of(&servers)?;
        // As a web server's shipper fills a topic: lines without headers.
        let settings = "format: text, transactional: false, origin: false";
        let fill = places.topic("access", "lines", settings);
        let log = &self.log;
        self.run_yaml(
            "fill",
            &format!(
                "name: fill\nsources:\n  access: {{ type: file, paths: [{log:?}] }}\nsinks:\n  \
                 {fill}\n"
            ),
        )?;
        self.topics(&places, table)?;
        let what = "Kafka → parse → PostgreSQL, exactly once";
        self.beside_psql(places.postgres, what, table, |settings| {
            let sink = format!("out: {{ type: postgres, input: rows, {settings} }}");
            self.run_yaml("warehouse", &places.lines_into("warehouse", &sink))
        })?;
        self.objects(&places, table)
    }

    fn topics(&self, places: &Places<'_>, table: &mut Table) -> Result<(), String> {
        let mut best = [f64::INFINITY; 3];
        for round in 0..ROUNDS {
            let to = format!("copied-{round}");
            let copied = [places.brokers, "lines", to.as_str()].map(OsStr::new);
            best[0] = best[0].min(self.tools.beside("copy", &copied)?.seconds);
            for (number, format, input) in [(1, "text", "parsed"), (2, "json", "rows")] {
                let to = format!("{format}-{round}");
                let sink = places.topic(input, &to, &format!("format: {format}"));
                let yaml = places.lines_into(format, &sink);
                best[number] = best[number].min(self.run_yaml(format, &yaml)?.seconds);
            }
        }
        let [copy, text, json] = best;
        table.add("Kafka → Kafka, librdkafka alone", self.megabytes / copy, "MB/s", Goal::None);
        for (what, seconds, goal) in [
            ("Kafka → parse → Kafka, exactly once, the line", text, SHARE_OF_LINES_MIN),
            ("Kafka → parse → Kafka, exactly once, JSON", json, SHARE_OF_JSON_MIN),
        ] {
            table.add(what, self.megabytes / seconds, "MB/s of lines", Goal::None);
            let share = format!("{what}, of librdkafka alone");
            table.add(&share, copy / seconds * 100.0, "%", Goal::AtLeast(goal));
        }
        Ok(())
    }

    fn objects(&self, places: &Places<'_>, table: &mut Table) -> Result<(), String> {
        let Places { s3, access_key, secret_key, .. } = places;
        let lake = "lake: { type: lake, input: parsed, table: web_logs }";
        let (mut ours, mut file) = (f64::INFINITY, f64::INFINITY);
        for round in 0..ROUNDS {
            let sink = format!(
                "out: {{ type: object_store, input: rows, url: \"s3://bench-{round}/rows\", \
                 format: parquet, create_bucket: true, endpoint: {s3:?}, allow_http: true, \
                 access_key: {access_key:?}, secret_key: {secret_key:?} }}"
            );
            let yaml = places.lines_into("objects", &sink);
            ours = ours.min(self.run_yaml("objects", &yaml)?.seconds);
            file = file.min(self.run_pipeline("plain", &self.log, "", lake)?.seconds);
        }
        let what = "Kafka → parse → S3 as Parquet, exactly once";
        table.add(what, self.megabytes / ours, "MB/s of lines", Goal::None);
        let share = file / ours * 100.0;
        let what = format!("{what}, of file → parse → lake");
        table.add(&what, share, "%", Goal::AtLeast(SHARE_OF_FILE_MIN));
        Ok(())
    }
}
