//! Toxiproxy: the ways to Kafka, PostgreSQL and S3 that a test can slow down or cut.

use std::path::PathBuf;
use std::process::Command;

use super::cache::{Cache, write};
use super::go::Program;
use super::ports::{address, is_well};
use super::{Launch, Site};

const SERVER: Program =
    Program { name: "toxiproxy", package: "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0" };

/// The program.
pub fn install(cache: &Cache) -> Result<PathBuf, String> {
    SERVER.install(cache)
}

pub fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.toxiproxy;
    let proxies = [
        ("kafka", site.ports.kafka.cut, site.ports.kafka.behind),
        ("postgres", site.ports.postgres_cut, site.ports.postgres),
        ("s3", site.ports.s3_cut, site.ports.s3),
    ];
    let proxies = proxies.map(|(name, listen, upstream)| {
        let (listen, upstream) = (address(listen), address(upstream));
        format!(r#"{{"name":"{name}","listen":"{listen}","upstream":"{upstream}","enabled":true}}"#)
    });
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
