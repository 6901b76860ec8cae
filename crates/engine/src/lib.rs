//! The transforms: what a step of a pipeline does to a batch.
//!
//! Pure: no I/O in the flow, no clock but the epoch's, no randomness. The files that a step needs
//! are read when it is made. The same batches in the same order give the same rows again, and each
//! row that goes in comes out, is counted, or is refused with a reason.
//!
//! Reading order: `steps` (the list of transforms), one module per transform, `planner` (SQL text
//! to checked expressions), `expressions` (expressions over batches), `functions`.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod steps;

mod dedupe;
mod enrich;
mod parse;
mod route;
mod sql;
mod window;

mod address;
mod checked;
mod columns;
mod expressions;
mod functions;
mod planner;

#[cfg(test)]
mod testing;

pub use checked::CheckedArithmetic;
pub use functions::functions;
pub use parse::{decided as decided_parse, is_undecided};
pub use planner::{QUERY_BATCH_BYTES_MAX, TextJoins, Worded, bounded, missing_column, reworded};
pub use steps::{TransformSpec, inputs, specs, step};
