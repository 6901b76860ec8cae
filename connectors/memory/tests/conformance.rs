//! The memory connector keeps the contract, as a source and as a sink of every kind.

use connector_memory::Memory;
use testkit::{check_promise, check_rejects, check_source, section};

#[tokio::test]
async fn counts_the_same_from_every_position() {
    let settings = section("{ rows_max: 20, batch_rows: 6, splits: 2 }");
    check_source(&Memory, &settings).await;
}

#[tokio::test]
async fn keeps_an_epoch_once_as_each_kind_of_sink_does() {
    let data = tempfile::tempdir().expect("a folder");
    for kind in ["transaction", "staged", "idempotent", "none"] {
        let settings = section(&format!("{{ store: conformance-{kind}, kind: {kind} }}"));
        check_promise(&Memory, &settings, data.path()).await;
    }
}

#[tokio::test]
async fn sets_aside_what_it_refuses_as_each_kind_of_sink_does() {
    let data = tempfile::tempdir().expect("a folder");
    for kind in ["transaction", "staged", "idempotent"] {
        let store = format!("store: refusing-{kind}, kind: {kind}");
        let settings = section(&format!("{{ {store}, refuse_multiples_of: 25 }}"));
        let refuses = |row| row % 7 == 0 || row % 25 == 0;
        check_rejects(&Memory, (&settings, data.path()), refuses).await;
    }
}
