//! What every sink must hold, proved on tables of their own: on local disk, in S3, Azure and GCS.

use connector_lake::Lake;
use testkit::services::{azure_container, find, gcs_settings, setting, unique};

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

/// Proves a plain and a partitioned table of a store.
async fn prove(store: &str) {
    for partitions in ["[]", "[plain]"] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store.replace("TABLE", &unique("proof"));
        let settings = format!("{{ table: proof, partition_by: {partitions}, {store} }}");
        testkit::check_sink(&Lake, &testkit::section(&settings), folder.path()).await;
        let made = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(made, 0, "nothing of it lies on local disk");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_s3_holds_each_epoch_once() {
    let Some(endpoint) = find("s3") else { return };
    let (key, secret, bucket) = (setting("s3_key"), setting("s3_secret"), setting("s3_bucket"));
    prove(&format!(
        "url: s3://{bucket}/lake/TABLE, endpoint: \"{endpoint}\", allow_http: true, \
         access_key: {key}, secret_key: {secret}"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_azure_holds_each_epoch_once() {
    let Some(endpoint) = find("azure") else { return };
    let (account, key) = (setting("azure_account"), setting("azure_key"));
    let container = azure_container("lake").await;
    prove(&format!(
        "url: az://{container}/below/TABLE, endpoint: \"{endpoint}/{account}\", \
         allow_http: true, access_key: {account}, secret_key: {key}"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_in_gcs_holds_each_epoch_once() {
    let Some(endpoint) = find("gcs") else { return };
    let bucket = setting("gcs_bucket");
    prove(&format!("url: gs://{bucket}/lake/TABLE, {}", gcs_settings(&endpoint))).await;
}
