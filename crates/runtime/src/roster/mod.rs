//! The splits of an attempt: which there are, and how each of them is just now.
//!
//! What is durable of a split stands in the checkpoint ([`state::Roster`]); what stands here
//! belongs to the process and is made anew by each attempt. Nothing is done for all splits per
//! second or per epoch in the task of the coordinator: it hears of those that changed.
//!
//! Reading order: [`arrivals`] (how sources come), [`discovery`] (what changed, found out in tasks
//! of their own), [`phases`], [`ready`] (who is read next), [`retirement`] (who leaves),
//! [`files`] (where all splits stand on disk).

pub mod arrivals;
pub mod awaited;
pub mod discovery;
pub mod files;
pub mod phases;
pub mod ready;
pub mod retirement;
