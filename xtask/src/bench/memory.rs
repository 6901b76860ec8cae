//! How much memory runs take where they are given little, beside what they may take.

use std::fs;
use std::path::{Path, PathBuf};

use super::cases::{Bench, generate};
use super::report::{Goal, Table};

/// The smallest limit that is measured.
const LIMIT_MIB: u64 = 32;
/// What the program may take beside its limit: itself, its threads, what its allocator keeps.
const BESIDE_MIB: u64 = 150;
const MEBIBYTE: f64 = 1_048_576.0;
/// Files that are read into one lake.
const FILES: u64 = 300;
/// An epoch may end after this part of their bytes; it has a whole batch at the least, so that
/// there are fewer.
const EPOCHS: u64 = 2_000;
const ROWS_PER_FILE: u64 = 5_000;

const ONE_SINK: &str = "\
sinks:
  lake: { type: lake, input: enriched, table: web }
";
const MANY_SINKS: &str = "  \
  failed: { type: sql, query: \"SELECT * FROM enriched WHERE status >= 400\" }
sinks:
  lake: { type: lake, input: enriched, table: web }
  days: { type: lake, input: enriched, table: days, partition_by: day(ts) }
  errors: { type: lake, input: failed, table: errors }
  objects: { type: object_store, input: enriched, url: \"{objects}\", create_bucket: true }
";

impl Bench {
    /// One log into one sink, one log into many, many files over many epochs.
    pub fn memory(&self, table: &mut Table) -> Result<(), String> {
        let log = format!("{:?}", self.log.display().to_string());
        let goal = Goal::AtMost((LIMIT_MIB + BESIDE_MIB) as f64);
        let objects = self.tools.fresh_folder("memory-objects")?;
        let many_sinks = MANY_SINKS.replace("{objects}", &objects.display().to_string());
        let files = self.many_files()?;
        let bytes_per_epoch = (Self::bytes_of(&files)? / EPOCHS).max(1);
        let short = format!("epoch: {{ interval: 1h, bytes_max: {bytes_per_epoch}B }}\n");
        let all_files = format!("{:?}", files.join("*.log").display().to_string());
        for (what, name, paths, epoch, sinks) in [
            ("one lake", "memory-one", &log, "", ONE_SINK),
            ("three lakes and objects", "memory-many", &log, "", &*many_sinks),
            (
                "300 files, the shortest epochs, one lake",
                "memory-files",
                &all_files,
                &short,
                ONE_SINK,
            ),
        ] {
            let yaml = format!(
                "name: {name}\nmemory: {{ limit: {LIMIT_MIB}MiB }}\n{epoch}sources:\n  access: {{ \
                 type: file, paths: [{paths}] }}\ntransforms:\n  parsed: {{ type: parse, input: \
                 access, format: combined }}\n  enriched: {{ type: enrich, input: parsed, \
                 user_agent: user_agent }}\n{sinks}"
            );
            let cost = self.run_yaml(name, &yaml)?;
            let what = format!("limit of {LIMIT_MIB} MiB, {what}: memory");
            table.add(&what, cost.memory_bytes / MEBIBYTE, "MiB", goal);
        }
        Ok(())
    }

    fn many_files(&self) -> Result<PathBuf, String> {
        let folder = self.tools.fresh_folder("memory-logs")?;
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for number in 0..FILES {
            let seed = number.to_string();
            let log = folder.join(format!("{number}.log"));
            generate(&self.tools, &log, ROWS_PER_FILE, &["--seed", &seed])?;
        }
        Ok(folder)
    }

    fn bytes_of(folder: &Path) -> Result<u64, String> {
        let failed = |error| format!("could not list {}: {error}", folder.display());
        let mut bytes = 0;
        for entry in fs::read_dir(folder).map_err(failed)? {
            bytes += entry.and_then(|entry| entry.metadata()).map_err(failed)?.len();
        }
        Ok(bytes)
    }
}
