//! The only loops of the program: tasks, queues, epochs, retries, the memory budget.
//!
//! It sees the traits of `contract`, never a connector. One attempt at a lineage is a set of tasks
//! joined by bounded queues; the coordinator ends epochs by the protocol of EPOCH.md.
//!
//! Reading order: [`graph`] (what is run), `run` (the loop around attempts), `recovery`,
//! `attempt`, `barrier` (the end of an epoch), `draft` (its books), the tasks, then [`replay`].

mod attempt;
mod barrier;
mod chain;
pub mod dead_letters;
mod draft;
mod flow;
pub mod graph;
mod losses;
mod originals;
mod outlet;
mod owner;
mod progress;
mod reader_task;
mod recovery;
pub mod replay;
mod run;
mod sink_task;
mod step_task;
mod summary;

pub use graph::{BindContext, DEAD_LETTERS, MakeStep, Pipeline};
pub use owner::{Owner, Rebuild, Recipe, RunOptions};
pub use progress::{Progress, Seen};
pub use run::{Outcome, run};
pub use summary::{SinkSummary, Summary};
