//! Batches to Parquet files: every column encoded as suits it, columns in parallel.
//!
//! The writer is most of the work of a pipeline. Where Parquet's own column writers hash or copy
//! what need not be, columns of text have writers of ours.

mod chunk;
mod encode;
mod file;
mod group;
mod hybrid;
mod leaf;
mod lengths;
mod plain;
mod properties;
#[cfg(test)]
mod testing;
mod text;
mod words;

pub use file::{FileWriter, Means, Shape};
