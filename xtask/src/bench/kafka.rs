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
#[derive(Clone)]
pub(super) struct Places {
    brokers: String,
    s3: String,
    access_key: String,
    secret_key: String,
    pub(super) postgres: String,
}

impl Places {
    pub(super) fn of(servers: &Servers) -> Result<Self, String> {
        let find = |name| servers.find(name).map(str::to_owned);
        Ok(Self {
            brokers: find("KAFKA")?,
            s3: find("S3")?,
            access_key: find("S3_KEY")?,
            secret_key: find("S3_SECRET")?,
            postgres: find("POSTGRES")?,
        })
    }

    /// A sink that writes topics.
    pub(super) fn topic(&self, input: &str, topic: &str, settings: &str) -> String {
        format!(
            "out: {{ type: kafka, input: {input}, brokers: {:?}, topic: {topic}, create_topics: \
             {{ partitions: {PARTITIONS} }}, {settings} }}",
            self.brokers
        )
    }

    /// A sink that writes Parquet into this bucket.
    pub(super) fn objects(&self, bucket: &str) -> String {
        let Self { s3, access_key, secret_key, .. } = self;
        format!(
            "out: {{ type: object_store, input: rows, url: \"s3://{bucket}/rows\", format: \
             parquet, create_bucket: true, endpoint: {s3:?}, allow_http: true, access_key: \
             {access_key:?}, secret_key: {secret_key:?} }}"
        )
    }

    /// A pipeline from the topic of lines into a sink that takes `parsed` (the line and its
    /// columns) or `rows` (its columns alone).
    pub(super) fn lines_into(&self, name: &str, sink: &str) -> String {
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
        self.fill_lines(&places)?;
        self.topics(&places, table)?;
        let what = "Kafka → parse → PostgreSQL, exactly once";
        self.beside_psql(&places.postgres, what, table, |settings| {
            let sink = format!("out: {{ type: postgres, input: rows, {settings} }}");
            self.run_yaml("warehouse", &places.lines_into("warehouse", &sink))
        })?;
        self.objects(&places, table)
    }

    /// Fills the topic `lines` as a web server's shipper does: lines without headers.
    pub(super) fn fill_lines(&self, places: &Places) -> Result<(), String> {
        let settings = "format: text, transactional: false, origin: false";
        let fill = places.topic("access", "lines", settings);
        let log = &self.log;
        let yaml = format!(
            "name: fill\nsources:\n  access: {{ type: file, paths: [{log:?}] }}\nsinks:\n  {fill}\n"
        );
        self.run_yaml("fill", &yaml).map(drop)
    }

    fn topics(&self, places: &Places, table: &mut Table) -> Result<(), String> {
        let mut best = [f64::INFINITY; 3];
        for round in 0..ROUNDS {
            let to = format!("copied-{round}");
            let copied = [places.brokers.as_str(), "lines", to.as_str()].map(OsStr::new);
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

    fn objects(&self, places: &Places, table: &mut Table) -> Result<(), String> {
        let lake = "lake: { type: lake, input: parsed, table: web_logs }";
        let (mut ours, mut file) = (f64::INFINITY, f64::INFINITY);
        for round in 0..ROUNDS {
            let yaml = places.lines_into("objects", &places.objects(&format!("bench-{round}")));
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
