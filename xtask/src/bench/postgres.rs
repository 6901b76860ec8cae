//! Delivery to PostgreSQL, beside `psql \copy` of the same rows into the same server.
//!
//! Both are measured by the clock: most of the work is the server's.

use std::ffi::OsStr;

use super::cases::Bench;
use super::measure::Cost;
use super::report::{Goal, Table};
use crate::services::Installation;

/// Rounds, one program after the other in each, of which the quickest counts.
const ROUNDS: usize = 3;
/// What was promised, in hundredths of the speed of `psql`.
const SHARE_MIN: f64 = 70.0;

impl Bench {
    /// From the file into a table.
    pub fn postgres(&self, table: &mut Table) -> Result<(), String> {
        let servers = Installation::begin(&["postgres"])?.finish()?;
        let servers = servers.start(&["postgres"])?;
        let what = "file → parse → PostgreSQL, exactly once";
        self.beside_psql(servers.find("POSTGRES")?, what, table, |settings| {
            let sink = format!("warehouse: {{ type: postgres, input: parsed, {settings} }}");
            self.run_pipeline("postgres", &self.log, "", &sink)
        })
    }

    /// A run into a table with these settings of its sink, beside `psql \copy` of the rows of
    /// that table from a file into another one.
    pub(super) fn beside_psql(
        &self,
        url: &str,
        what: &str,
        table: &mut Table,
        run: impl Fn(&str) -> Result<Cost, String>,
    ) -> Result<(), String> {
        let settings = format!("url: {url:?}, table: delivered, create: true");
        let rows = self.tools.path("rows.tsv");
        let (mut ours, mut theirs) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            self.psql(url, "DROP TABLE IF EXISTS delivered, copied, logmill_tokens")?;
            ours = ours.min(run(&settings)?.seconds);
            self.psql(url, &format!("\\copy delivered TO '{}'", rows.display()))?;
            self.psql(url, "CREATE TABLE copied (LIKE delivered)")?;
            let copied = self.psql(url, &format!("\\copy copied FROM '{}'", rows.display()))?;
            theirs = theirs.min(copied.seconds);
        }
        table.add(what, self.megabytes / ours, "MB/s of lines", Goal::None);
        let share = theirs / ours * 100.0;
        let what = format!("{what}, of `psql \\copy` of the same rows");
        table.add(&what, share, "%", Goal::AtLeast(SHARE_MIN));
        Ok(())
    }

    fn psql(&self, url: &str, command: &str) -> Result<Cost, String> {
        let arguments =
            [url, "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", command];
        let cost = self.tools.if_installed("psql", &arguments.map(OsStr::new))?;
        cost.ok_or_else(|| "psql is not installed".to_owned())
    }
}
