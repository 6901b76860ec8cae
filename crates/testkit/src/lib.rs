//! Proofs that any connector can be put to: conformance by its promise, and crashes.
//!
//! A connector's test file is one call to [`check_source`] or [`check_sink`], one to [`check_end`]
//! where its splits grow, and one to [`check_rejects`] where its destination refuses rows.
//! [`crash`] runs whole pipelines in one process, drops them at a named point and starts them
//! again; [`kill`] and [`stream`] do so to the real program, at the points that it names itself.
//! Everything here fails by panicking, as a test does.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a proof fails by panicking")]

// What lies with the connectors is a part of this crate, and names it as their own tests do.
extern crate self as testkit;

pub mod crash;
pub mod http;
pub mod kill;
pub mod program;
pub mod services;
mod sinks;
mod sources;
pub mod stream;
pub mod tls;
pub mod wait;

use std::path::Path;

use contract::spec::BuildContext;
use contract::{Error, Result, Section};

pub use sinks::{check_promise, check_rejects, check_sink};
pub use sources::{check_end, check_source};

/// The settings of one connector, from YAML as it would stand in a pipeline file.
///
/// # Panics
/// The text is no YAML.
pub fn section(yaml: &str) -> Section {
    plan::parse_section(yaml, "settings").unwrap_or_else(|error| panic!("{error:?}"))
}

fn build_context(data: &Path) -> BuildContext {
    BuildContext::new("proof", "proof", data)
}

/// The value of a result that a proof needs.
fn must<T>(result: Result<T>, what: &str) -> T {
    result.unwrap_or_else(|error: Error| panic!("{what}: {}", error.chain()))
}
