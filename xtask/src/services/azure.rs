//! Azure Blob Storage: Azurite.
//!
//! In memory: on disk it loses what it acknowledged when it is killed, so no test may kill it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::Cache;
use super::ports::{address, speaks};
use super::{Gives, Launch, Service, Site, guard, tools};

/// The newest that runs on Node 20.
const VERSION: &str = "3.35.0";
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const ACCOUNT: &str = "testaccount";
/// Base64, as Azure's keys are.
const KEY: &str = "YSB0ZXN0IGtleSwgbm90IGEgc2VjcmV0";

/// Azurite.
pub const SERVICE: Service =
    Service { name: "azure", installer: "npm", install, gives: Gives::Server(launch) };

/// The folder with its modules.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("azurite", &[VERSION], |folder| {
        tools::need("npm", "npm")?;
        // Without a manifest here, npm would install into a project further up.
        let manifest = format!(r#"{{"private":true,"dependencies":{{"azurite":"{VERSION}"}}}}"#);
        std::fs::write(folder.join("package.json"), manifest)
            .map_err(|error| format!("could not write package.json: {error}"))?;
        let mut npm = Command::new("npm");
        trust_system(&mut npm);
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        guard::run(npm.arg(folder), &folder.join("log"))
    })
}

/// Node has a list of authorities of its own; behind a company's proxy the system's counts too.
pub fn trust_system(npm: &mut Command) {
    let is_set = std::env::var_os("NODE_EXTRA_CA_CERTS").is_some();
    if !is_set && Path::new(SYSTEM_AUTHORITIES).exists() {
        npm.env("NODE_EXTRA_CA_CERTS", SYSTEM_AUTHORITIES);
    }
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.of("azure")?;
    let mut command = Command::new("node");
    command.arg(install(site.cache)?.join("node_modules/azurite/dist/src/blob/main.js"));
    command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
    command.args(["--inMemoryPersistence", "--blobHost", "127.0.0.1"]);
    command.args(["--blobPort", &port.to_string()]);
    command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"));
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || speaks(port)),
        variables: vec![
            ("AZURE", format!("http://{}", address(port))),
            ("AZURE_ACCOUNT", ACCOUNT.into()),
            ("AZURE_KEY", KEY.into()),
        ],
    })
}
