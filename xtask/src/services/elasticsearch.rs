//! Elasticsearch: one node put together from its published libraries.
//!
//! Its HTTP module must not lie on the class path, so it gets a folder of its own, as in a
//! distribution; the module that answers `GET /` is not published and is made here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, write};
use super::java::{self, Library};
use super::ports::{address, is_well};
use super::{Gives, Launch, Service, Site, create, guard, opensearch};

const VERSION: &str = "8.19.21";
const SERVER: &str = include_str!("texts/ElasticsearchServer.java");
const GREETING: &str = include_str!("texts/GreetingPlugin.java");
const NETTY: &str = "transport-netty4";

/// Elasticsearch.
pub const SERVICE: Service =
    Service { name: "elasticsearch", installer: "mvn", install, gives: Gives::Server(launch) };

/// The folder with its libraries, its modules and the class that starts it.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("elasticsearch", &[VERSION, SERVER, GREETING], |folder| {
        let library = |group, name| Library { group, name, version: VERSION, alone: false };
        let libraries = [
            library("org.elasticsearch", "elasticsearch"),
            library("org.elasticsearch.plugin", NETTY),
        ];
        java::fetch(folder, &libraries)?;
        netty_module(folder)?;
        java::compile(folder, &folder.join("classes"), "ElasticsearchServer", SERVER)?;
        greeting_module(folder)
    })
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let installed = install(site.cache)?;
    let port = site.ports.of("elasticsearch")?;
    let transport = site.ports.of("elasticsearch_transport")?;
    create(&site.folder.join("home/config"))?;
    let mut command = java::machine(&installed);
    command.arg("ElasticsearchServer").arg(installed.join("modules"));
    command.arg(site.folder.join("home"));
    command.args([port, transport].map(|port| port.to_string()));
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || is_well(port, opensearch::HEALTH)),
        variables: vec![("ELASTICSEARCH", format!("http://{}", address(port)))],
    })
}

fn netty_module(folder: &Path) -> Result<(), String> {
    let module = module(folder, NETTY, "org.elasticsearch.transport.netty4.Netty4Plugin")?;
    let failed = |error: std::io::Error| format!("could not move the HTTP module: {error}");
    for entry in fs::read_dir(folder.join("lib")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name_text = name.to_string_lossy();
        if name_text.starts_with("netty-") || name_text.starts_with(NETTY) {
            fs::rename(entry.path(), module.join(&name)).map_err(failed)?;
        }
    }
    Ok(())
}

fn greeting_module(folder: &Path) -> Result<(), String> {
    let module = module(folder, "greeting", "GreetingPlugin")?;
    let classes = folder.join("greeting");
    java::compile(folder, &classes, "GreetingPlugin", GREETING)?;
    let mut jar = Command::new("jar");
    jar.arg("cf").arg(module.join("greeting.jar")).arg("-C").arg(classes).arg(".");
    guard::run(&jar, &folder.join("log"))
}

/// A module's folder with its description.
fn module(folder: &Path, name: &str, class: &str) -> Result<PathBuf, String> {
    let module = folder.join("modules").join(name);
    create(&module)?;
    let description = "name={name}\ndescription={name}\nversion={version}\n\
        elasticsearch.version={version}\njava.version=17\nclassname={class}\n\
        extended.plugins=\nhas.native.controller=false\n";
    let values = [("name", name), ("version", VERSION), ("class", class)];
    write(&module.join("plugin-descriptor.properties"), description, &values)?;
    Ok(module)
}
