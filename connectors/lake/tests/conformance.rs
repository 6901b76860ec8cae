//! What every sink must hold, proved on a table of its own.

use connector_lake::Lake;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_table_holds_each_epoch_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = testkit::section("{ table: proof }");
    testkit::check_sink(&Lake, &settings, folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_holds_each_epoch_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = testkit::section("{ table: proof, partition_by: [plain, number] }");
    testkit::check_sink(&Lake, &settings, folder.path()).await;
}
