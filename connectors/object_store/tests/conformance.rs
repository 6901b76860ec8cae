//! What every sink must hold, proved in a local folder and on real stores.

use connector_object_store::Objects;
use testkit::services::{find, gcs_settings, setting, unique};

/// One row in five has a moment that neither JSON nor CSV can write.
async fn prove_refusals(store: &str) {
    for format in ["jsonl, compression: gzip", "csv"] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store.replace("BUCKET", &unique("proof"));
        let settings = format!("{{ {store}, format: {format}, rows_max: 7, create_bucket: true }}");
        let settings = testkit::section(&settings);
        testkit::check_rejects(&Objects, (&settings, folder.path()), |row| row % 5 == 2).await;
    }
}

/// Proves each format: a small object stands in the checkpoint, a larger one in an upload.
async fn prove(store: &str) {
    for format in ["jsonl", "csv, compression: gzip", "parquet", "jsonl, compression: zstd"] {
        let folder = tempfile::tempdir().expect("a folder");
        let key = "{plain}/{split}-{position}-{epoch}";
        let bucket = unique("proof");
        let store = store.replace("BUCKET", &bucket);
        let settings = format!(
            "{{ {store}, format: {format}, key: \"{key}\", rows_max: 40, create_bucket: true }}"
        );
        testkit::check_sink(&Objects, &testkit::section(&settings), folder.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_folder_holds_each_epoch_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = format!("url: \"{}/BUCKET/below\"", folder.path().display());
    prove(&place).await;
    prove_refusals(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_holds_each_epoch_once() {
    let Some(endpoint) = find("s3") else { return };
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let place = format!(
        "url: s3://BUCKET/below, endpoint: \"{endpoint}\", allow_http: true, \
         access_key: {key}, secret_key: {secret}"
    );
    prove(&place).await;
    prove_refusals(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azure_holds_each_epoch_once() {
    let Some(endpoint) = find("azure") else { return };
    let (account, key) = (setting("azure_account"), setting("azure_key"));
    prove(&format!(
        "url: az://BUCKET/below, endpoint: \"{endpoint}/{account}\", allow_http: true, \
         access_key: {account}, secret_key: {key}"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcs_holds_each_epoch_once() {
    let Some(endpoint) = find("gcs") else { return };
    prove(&format!("url: gs://BUCKET/below, {}", gcs_settings(&endpoint))).await;
}
