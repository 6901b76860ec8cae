//! What survives a crash: checkpoints, the ledger, the lease, kept resources.
//!
//! Everything lies in one object store and every decision is a conditional create in it. This
//! crate stores and finds; it never decides when: the runtime does.
//!
//! Reading order: [`checkpoint`] (what an epoch leaves behind), [`roster`] (its splits),
//! [`history`] (the chain of checkpoints of a lineage), [`ledger`] (their counts as rows),
//! [`lease`] (who may write), [`runs`] (what a schedule did), [`checkpoint_store`] (where all of it
//! lies), [`lineages`] (how splits are divided among them), `starts` (where splits that are
//! lineages of their own begin), `formats` (which format a step takes that was told to find it
//! out).

pub mod checkpoint;
pub mod checkpoint_store;
mod failpoints;
mod formats;
pub mod history;
pub mod lease;
pub mod ledger;
pub mod lineages;
mod moment;
pub mod roster;
pub mod runs;
mod starts;

pub use checkpoint::Checkpoint;
pub use checkpoint_store::CheckpointStore;
pub use failpoints::FAILPOINTS;
pub use formats::TakenFormat;
pub use history::{Followed, History};
pub use ledger::LedgerRow;
pub use roster::{Roster, SplitState};
pub use runs::{Run, RunOutcome, Runs};
