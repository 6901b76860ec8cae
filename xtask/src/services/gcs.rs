//! Google Cloud Storage: fake-gcs-server, with the XML API that clients in Rust speak before it.
//!
//! In memory: no test may kill it.

use std::path::PathBuf;
use std::process::Command;

use super::cache::Cache;
use super::go::Own;
use super::ports::{address, is_well};
use super::{Gives, Launch, Service, Site};

const SERVER: Own = Own {
    name: "gcs",
    text: include_str!("texts/gcs.go"),
    module: "github.com/fsouza/fake-gcs-server@v1.56.1",
};
/// A bucket that is there from the beginning.
const BUCKET: &str = "shared";

/// Google Cloud Storage.
pub const SERVICE: Service =
    Service { name: "gcs", installer: "go", install, gives: Gives::Server(launch) };

/// The program.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    SERVER.install(cache)
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.of("gcs")?;
    let mut command = Command::new(install(site.cache)?);
    command.args([&address(port), BUCKET]);
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || is_well(port, "/_internal/healthcheck")),
        variables: vec![
            ("GCS", format!("http://{}", address(port))),
            ("GCS_BUCKET", BUCKET.into()),
        ],
    })
}
