//! Proofs against a real broker, through the contract alone.

mod broker;
mod secure;
mod sink;
mod source;
