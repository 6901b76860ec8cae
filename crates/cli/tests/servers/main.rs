#![allow(clippy::unwrap_used, clippy::panic)]
//! The program between real servers, while everything around it fails.
//!
//! A stream flows from four partitions of Kafka into every kind of destination; afterwards
//! strangers count what arrived. One proof runs at a time: some of them kill the servers.

mod ends;
mod kills;
mod lakes;
mod members;
mod outages;
mod upgrades;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use testkit::stream::servers::Called;
use testkit::stream::{Layout, StreamProof};

const EPOCH_BYTES: u64 = 256 << 10;
/// What the sink of a topic is told where brokers are to drop its transactions soon.
const SHORT_TRANSACTIONS: &[(&str, &str)] = &[("kafka", "transaction_timeout: 3s")];
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(3);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A stream, and what must outlive it.
struct Bench {
    proof: StreamProof,
    _folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Whether the program goes through proxies that can be cut, and where its checkpoints lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Setup {
    Direct,
    ThroughProxies,
    /// Through proxies, with transactions that brokers soon drop.
    ShortTransactions,
    SharedCheckpoints,
}

/// A stream to these places; `None` where a server is absent.
fn bench(places: &[&str], setup: Setup) -> Option<Bench> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let called = match setup {
        Setup::ThroughProxies | Setup::ShortTransactions => Called::ThroughProxies,
        Setup::Direct | Setup::SharedCheckpoints => Called::Directly,
    };
    let settings = match setup {
        Setup::ShortTransactions => SHORT_TRANSACTIONS,
        _ => &[],
    };
    let shared = setup == Setup::SharedCheckpoints;
    let layout = Layout { called, settings, shared, ..Layout::plain(places, EPOCH_BYTES) };
    let proof = StreamProof::new(Path::new(env!("CARGO_BIN_EXE_logmill")), folder.path(), &layout)?;
    Some(Bench { proof, _folder: folder, _alone: alone })
}
