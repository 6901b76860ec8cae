//! Toxiproxy: the ways to Kafka, PostgreSQL and S3 that a test can slow down or cut.

use std::path::PathBuf;
use std::process::Command;

use super::cache::{Cache, write};
use super::go::Program;
use super::ports::{address, is_well};
use super::{Gives, Launch, Service, Site};

/// What each is called, where it listens, and before whom it stands.
const PROXIES: [(&str, &str, &str); 3] = [
    ("kafka", "kafka_cut", "kafka_behind"),
    ("postgres", "postgres_cut", "postgres"),
    ("s3", "s3_cut", "s3"),
];
const SERVER: Program =
    Program { name: "toxiproxy", package: "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0" };

/// A proxy before Kafka, PostgreSQL and S3 that tests can cut.
pub const SERVICE: Service =
    Service { name: "toxiproxy", installer: "go", install, gives: Gives::Server(launch) };

/// The program.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    SERVER.install(cache)
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.of("toxiproxy")?;
    let mut proxies = Vec::new();
    for (name, listen, upstream) in PROXIES {
        let (listen, upstream) =
            (address(site.ports.of(listen)?), address(site.ports.of(upstream)?));
        proxies.push(format!(
            r#"{{"name":"{name}","listen":"{listen}","upstream":"{upstream}","enabled":true}}"#
        ));
    }
    let settings = site.folder.join("proxies.json");
    write(&settings, &format!("[{}]\n", proxies.join(",\n")), &[])?;
    let mut command = Command::new(install(site.cache)?);
    command.args(["-host", "127.0.0.1", "-port", &port.to_string(), "-config"]).arg(settings);
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || is_well(port, "/version")),
        variables: vec![("TOXIPROXY", format!("http://{}", address(port)))],
    })
}
