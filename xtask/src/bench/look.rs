//! A first look at a log, from the command to answers about every row, beside GoAccess.

use super::cases::Bench;
use super::report::{Goal, Table};
use crate::services::tools;

const LOOK: &str = include_str!("look.py");
/// What was promised for a log of 1 GB on two cores.
const USABLE_MAX_SECONDS: f64 = 6.0;
const FIRST_ROWS_MAX_SECONDS: f64 = 2.0;
/// How often both look, in turn; the quickest of each counts.
const TURNS: usize = 3;
const OURS: &str = "look: every panel is there";
const THEIRS: &str = "GoAccess: HTML report";

impl Bench {
    /// Looks at the log some times, each time with GoAccess right after.
    pub fn look(&self, table: &mut Table) -> Result<(), String> {
        tools::need("goaccess", "goaccess")?;
        let script = self.tools.write("look.py", LOOK)?;
        let report = self.tools.path("goaccess.html");
        let mut best = [f64::INFINITY; 7];
        for _ in 0..TURNS {
            let data = self.tools.fresh_folder("look")?;
            let program = self.tools.program().as_os_str();
            self.tools.python(&[
                script.as_os_str(),
                program,
                self.log.as_os_str(),
                data.as_os_str(),
                report.as_os_str(),
            ])?;
            let figures: [f64; 7] = self.tools.answer()?;
            for (best, figure) in best.iter_mut().zip(figures) {
                *best = best.min(figure);
            }
        }
        let [address, first, milled, panels, visitors, again, goaccess] = best;
        let log = format!("look at {:.0} MB", self.megabytes);
        let goal = Goal::AtMost(FIRST_ROWS_MAX_SECONDS);
        table.add(&format!("{log}: the dashboard has an address"), address, "s", Goal::None);
        table.add(&format!("{log}: the first rows are seen"), first, "s", goal);
        table.add(&format!("{log}: all rows are in the table"), milled, "s", Goal::None);
        table.add(OURS, panels, "s", Goal::AtMost(USABLE_MAX_SECONDS));
        table.add("look: visitors are counted too", visitors, "s", Goal::None);
        table.add("look: all of it asked again", again, "ms", Goal::None);
        table.add(THEIRS, goaccess, "s", Goal::None);
        table.ratio(THEIRS, OURS, Goal::AtLeast(1.0));
        Ok(())
    }
}
