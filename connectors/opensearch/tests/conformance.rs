//! What every sink must hold, proved in OpenSearch and in Elasticsearch.

use connector_opensearch::OpenSearch;
use testkit::services::{find, unique};

async fn prove(server: &str, index: &str) {
    let Some(url) = find(server) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let index = index.replace("INDEX", &unique("proof"));
    let settings = format!("{{ url: \"{url}\", index: \"{index}\", bulk_bytes_max: 8KiB }}");
    testkit::check_sink(&OpenSearch, &testkit::section(&settings), folder.path()).await;
}

/// One row in five has a moment that JSON cannot write.
async fn prove_refusals(server: &str) {
    let Some(url) = find(server) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = format!("{{ url: \"{url}\", index: \"{}\" }}", unique("proof"));
    let settings = testkit::section(&settings);
    testkit::check_rejects(&OpenSearch, (&settings, folder.path()), |row| row % 5 == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_none_are_rejects() {
    prove_refusals("opensearch").await;
    prove_refusals("elasticsearch").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensearch_holds_each_row_once() {
    prove("opensearch", "INDEX").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elasticsearch_holds_each_row_once() {
    prove("elasticsearch", "INDEX").await;
}
