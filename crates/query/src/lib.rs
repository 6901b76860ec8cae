//! Looks at what pipelines wrote: SQL over lake tables and raw logs, the audit, and the way of a
//! single record.
//!
//! Everything here reads and nothing writes. It is what the command line and the HTTP interface
//! share; it prints nothing.
//!
//! Reading order: [`session`] (SQL and its limits), `catalog` (which tables there are), `lake` and
//! `records` (the tables), [`log`] (the table function over raw files), [`audit`] (do the sinks
//! hold what the ledger says), [`trace`] (where is this record), [`results`] (what it was made
//! of), [`letters`] (which refused records are open), [`spill`] (what goes to disk meanwhile),
//! [`opened`] (one table that is asked again and again).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod audit;
mod begin_of;
mod catalog;
mod date_trunc;
mod fingerprint;
mod lake;
pub mod letters;
pub mod log;
pub mod opened;
mod records;
pub mod results;
pub mod session;
pub mod spill;
mod sums;
pub mod trace;

pub use catalog::{Elsewhere, PlacedTable};
pub use records::{DEAD_LETTERS, Ledger, MARKS};
pub use session::{Limits, Rows, Session};
