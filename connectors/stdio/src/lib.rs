//! Standard input and output: `zcat a.gz | logmill run pipeline.yaml | jq`.
//!
//! Neither side can be asked again: what a run read is gone with it, and what it wrote is with
//! somebody else. So it promises at least once, and only within one run.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod ahead;
pub mod config;
mod failpoints;
mod intake;
#[cfg(test)]
mod pieces;
mod sink;
mod source;

use std::io;
use std::sync::Arc;

use contract::sink::Sink;
use contract::source::Source;
use contract::spec::{About, Answer, BuildContext, Change, Connector, SinkSpec, Spec};
use contract::{Result, Section};

use crate::ahead::Ahead;

static SPEC: Spec = Spec {
    name: "stdio",
    summary: "Reads lines from standard input, writes rows to standard output.",
    source: Some(|| schemars::schema_for!(config::SourceConfig)),
    sink: Some(SinkSpec {
        config_schema: || schemars::schema_for!(config::SinkConfig),
        promise: sink::PROMISE,
        changes: &[Change {
            when: "whoever reads the output goes away (`| head`)",
            then: "the run stops (1)",
            proofs: &["a_reader_that_went_away_ends_the_run"],
        }],
        answers: &[Answer {
            answer: "whoever reads the output went away",
            about: About::Stops,
            then: "rejects nothing",
            proofs: &["a_reader_that_went_away_ends_the_run"],
        }],
    }),
    failpoints: failpoints::FAILPOINTS,
    example: include_str!("../example.yaml"),
};

/// The connector `stdio`.
#[derive(Debug)]
pub struct Stdio;

impl Stdio {
    /// The first whole lines of standard input, decompressed, and nothing of it is taken away:
    /// about so many bytes, fewer where it pauses or ends before. Waits for the first line. Cancel
    /// safe.
    ///
    /// # Errors
    /// External: it cannot be read or decompressed.
    pub async fn first_text(bytes_max: usize) -> Result<Vec<u8>> {
        Ahead::standard().text(bytes_max).await.map_err(source::unreadable)
    }
}

impl Connector for Stdio {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Source>> {
        let config = section.read::<config::SourceConfig>()?;
        Ok(Arc::new(source::Lines::new(&config, Box::new(Ahead::standard().reader()))))
    }

    fn sink(&self, section: &Section, _ctx: &BuildContext) -> Result<Arc<dyn Sink>> {
        let config = section.read::<config::SinkConfig>()?;
        Ok(Arc::new(sink::Output::new(config, || Box::new(io::stdout()))))
    }
}
