//! The memory connector keeps the contract, as a source and as a sink of every kind.

use connector_memory::Memory;
use testkit::{check_sink, check_source, section};

#[tokio::test]
async fn counts_the_same_from_every_position() {
    let settings = section("{ rows_max: 20, batch_rows: 6, splits: 2 }");
    check_source(&Memory, &settings).await;
}

#[tokio::test]
async fn keeps_an_epoch_once_in_a_transaction() {
    let data = tempfile::tempdir().expect("a folder");
    check_sink(&Memory, &section("{ store: conformance }"), data.path()).await;
}
