//! A cluster behind TLS whose certificate only the user knows, in front of a real one.

#![allow(clippy::unwrap_used, clippy::panic)]

use connector_opensearch::OpenSearch;
use contract::sink::ReadBack;
use contract::spec::{BuildContext, Connector};
use futures::TryStreamExt;
use testkit::services::{find, unique};
use testkit::tls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_authority_is_named_holds_each_row_once() {
    let Some(server) = find("opensearch") else { return };
    let folder = tempfile::tempdir().unwrap();
    tls::certify(folder.path());
    let port = tls::terminate(folder.path(), &server).await;
    let index = unique("tls");
    let settings = format!("url: \"https://localhost:{port}\", index: {index}");
    let authority = folder.path().join("ca.pem");
    let known = format!("{{ {settings}, ca_certificate: {authority:?} }}");
    testkit::check_sink(&OpenSearch, &testkit::section(&known), folder.path()).await;

    let ctx = BuildContext::new("proof", "proof", folder.path());
    let stranger = OpenSearch.sink(&testkit::section(&format!("{{ {settings} }}")), &ctx).unwrap();
    let found = async {
        let rows = stranger.read_back("proof", ReadBack::Origins).await?;
        rows.try_collect::<Vec<_>>().await
    };
    found.await.expect_err("nobody vouches for the certificate");
}
