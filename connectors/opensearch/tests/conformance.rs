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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opensearch_holds_each_row_once() {
    prove("opensearch", "INDEX").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elasticsearch_holds_each_row_once() {
    prove("elasticsearch", "INDEX").await;
}
