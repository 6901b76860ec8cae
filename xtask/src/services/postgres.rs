//! PostgreSQL from the system's package: a cluster of its own, with every guarantee left on.

use std::path::PathBuf;
use std::process::Command;

use super::cache::{Cache, write};
use super::{Gives, Launch, Service, Site, guard, kafka, ports, tools};

const SETTINGS: &str = include_str!("texts/postgresql.conf");
const PREPARE: &str = include_str!("texts/postgres.sh");
/// Where Debian puts the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The server refuses to run as root.
const AS_POSTGRES: &[&str] = &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"];

/// PostgreSQL.
pub const SERVICE: Service =
    Service { name: "postgres", installer: "apt-get", install, gives: Gives::Server(launch) };

/// The folder with its programs.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    kafka::certificates(cache)?;
    tools::need_that(|| programs().is_some(), "PostgreSQL", "postgresql")?;
    programs().ok_or_else(|| format!("no PostgreSQL under {VERSIONS}"))
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let programs = install(site.cache)?;
    let port = site.ports.of("postgres")?;
    let values = [("folder", &*site.folder.to_string_lossy()), ("port", &port.to_string())];
    write(&site.folder.join("postgresql.conf"), SETTINGS, &values)?;
    let user = if tools::is_root() { AS_POSTGRES } else { &[] };
    let mut prepare = Command::new("sh");
    prepare.args(["-c", PREPARE, "sh"]).arg(&site.folder).arg(&programs);
    prepare.arg(kafka::certificates(site.cache)?).args(user);
    guard::run(&prepare, &site.folder.join("prepare.log"))?;

    // `env` runs the next program as itself, so that the pid is the server's in both cases.
    let mut command = Command::new("env");
    command.args(user).arg(programs.join("postgres")).arg("-D").arg(site.folder.join("data"));
    let cut = site.ports.of("postgres_cut")?;
    let is_ready = programs.join("pg_isready");
    Ok(Launch {
        command,
        // Ends sessions, then itself; SIGTERM would wait for its clients.
        signal: "INT",
        ready: Box::new(move || {
            let mut ask = Command::new(&is_ready);
            ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            ask.status().is_ok_and(|status| status.success())
        }),
        variables: vec![("POSTGRES", url(port)), ("POSTGRES_CUT", url(cut))],
    })
}

fn url(port: u16) -> String {
    format!("postgres://postgres:secret@{}/postgres", ports::address(port))
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(VERSIONS).ok()?;
    let number = |path: &PathBuf| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
    let versions = versions.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let newest = versions.filter(|path| path.join("bin/postgres").exists()).max_by_key(number)?;
    Some(newest.join("bin"))
}
