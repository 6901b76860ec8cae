//! One file per command: its arguments with their help, and what it does.

pub mod audit;
pub mod check;
pub mod completions;
pub mod config;
pub mod connectors;
pub mod dead_letters;
pub mod demo;
pub mod generate;
pub mod locate;
pub mod look;
pub mod query;
pub mod run;
pub mod serve;
pub mod setup;
pub mod splits;
pub mod tail;
pub mod test;
