//! What pipelines delivered and how they are, over HTTP: analytics, SQL, ledger, dead letters,
//! health, metrics and the dashboard.
//!
//! Reading order: [`options`] and [`host`] (what a server is told), [`server`] (connections and
//! their clocks), [`answers`] (the same without any), [`report`] (as one page), `routes` (which
//! handler answers what, and what every request passes), `problem` (errors), `analytics` (questions
//! and the two backends), `pipelines` (how they are), [`milling`], [`worker`] (SQL of strangers).
//! Nothing here writes but a replay of dead letters, which the [`host`] does.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod analytics;
pub mod answers;
pub mod host;
pub mod milling;
pub mod monitor;
pub mod options;
mod pipelines;
mod problem;
pub mod report;
mod routes;
pub mod server;
mod site;
mod stream;
mod tls;
mod traffic;
pub mod worker;

pub use answers::Answers;
pub use host::{Host, LastRun, Replay, Replayed, Schedule, ScheduledRun, Served, State};
pub use milling::Milling;
pub use monitor::{Audience, Monitor, Watched};
pub use options::{Access, Analytics, Backend, Limits, Options};
pub use server::Server;
