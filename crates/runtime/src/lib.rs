//! The only loops of the program: tasks, queues, epochs, retries, the memory budget.
//!
//! It sees the traits of `contract`, never a connector. One attempt at a lineage is a set of tasks
//! joined by bounded queues; its coordinator ends epochs by the protocol of EPOCH.md.
//!
//! Reading order: [`graph`] (what is run), `branches` (which rows are numbered), `run`,
//! `supervisor` (all lineages), `division` (how splits share them), `lookout` and `scout` (which
//! there are), `coordinator` (one of them), `recovery`, `feed` (what it reads again), `renamed` and
//! `gaps` (what it refuses), [`targets`], `inspection` (what `check` sees of that), `attempt`,
//! `epochs` (its loop), `roster` (its splits), `barrier` (the end of an epoch), `draft` (its
//! books), the tasks, `reading` and `weight` (what they may hold), [`troubles`], [`standing`] and
//! [`retries`] (splits, as people see them and ask for them), then [`replay`], [`schedule`],
//! [`shares`] and [`metrics`].

mod assume;
mod attempt;
mod barrier;
mod beginnings;
mod branches;
mod chain;
mod columns;
mod contained;
mod coordinator;
pub mod dead_letters;
pub mod descriptors;
mod division;
mod draft;
mod ends;
mod epochs;
mod event_times;
mod failpoints;
mod feed;
mod flow;
mod forgotten;
mod gaps;
pub mod graph;
mod identities;
mod inspection;
mod joins;
mod lookout;
mod losses;
mod made;
mod memory;
pub mod metrics;
mod ordered;
mod originals;
mod outlet;
mod owner;
mod patience;
mod places;
mod progress;
mod reader_task;
mod reading;
mod recovery;
mod remaining;
mod renamed;
pub mod replay;
pub mod retries;
mod roster;
mod run;
pub mod schedule;
mod scout;
pub mod shares;
mod sink_task;
pub mod standing;
mod step_task;
mod summary;
mod supervisor;
pub mod targets;
mod times;
pub mod troubles;
mod watermarks;
mod weight;
pub mod windows;

pub use assume::Assumption;
pub use contained::{contain, contained, is_contained};
pub use failpoints::failpoints;
pub use graph::{BindContext, DEAD_LETTERS, MakeStep, Pipeline};
pub use identities::Replaced;
pub use inspection::inspect;
pub use owner::{Rebuild, Recipe, RunOptions};
pub use progress::{Progress, Seen};
pub use renamed::{NamesSplit, refuse_named};
pub use run::{Outcome, run};
pub use summary::{FirstRefused, SinkSummary, Summary};
pub use troubles::{Trouble, TroubleState};
