//! What a run tells Prometheus: the list of all metrics, who counts them, and how they are shown.
//!
//! Counters of records follow the ledger: they grow when an epoch is committed everywhere, so that
//! an attempt that is repeated counts once. Everything is counted per batch or per epoch, never per
//! row, and costs nothing where nobody installed an [`Exporter`].
//!
//! Reading order: `catalog` (what there is), `instruments` (who counts), `splits`, `totals`
//! (of other processes), `derived` (under names of one's own), `exporter`.

mod catalog;
mod derived;
mod exporter;
mod instruments;
mod splits;
mod totals;

/// The names of what the schedules of a process show.
pub(crate) mod schedule {
    pub use super::catalog::{
        SCHEDULE_MISSED as MISSED, SCHEDULE_NEXT as NEXT, SCHEDULE_RUNNING as RUNNING,
        SCHEDULE_RUNS as RUNS, SCHEDULE_SUCCESS as SUCCESS,
    };
}

pub use catalog::{Form, METRICS, Metric, Origin, PROCESS};
pub use derived::{Own, check};
pub use exporter::Exporter;
pub use instruments::{Instruments, Observed};
pub use totals::Totals;
