//! What survives a crash: checkpoints, the ledger, the lease, kept resources.
//!
//! Everything lies in one object store and every decision is a conditional create in it. This
//! crate stores and finds; it never decides when: the runtime does.
//!
//! Reading order: [`store`] (durable objects), [`checkpoint`] (what an epoch leaves behind),
//! [`history`] (the chain of checkpoints of a pipeline), [`ledger`] (their counts as rows),
//! [`lease`] (who may write).

pub mod checkpoint;
pub mod history;
pub mod lease;
pub mod ledger;
pub mod store;

pub use checkpoint::Checkpoint;
pub use history::History;
pub use ledger::LedgerRow;
