//! Proofs against a real broker, through the contract alone.

mod altered;
mod broker;
mod recreated;
mod secure;
mod sink;
mod source;
