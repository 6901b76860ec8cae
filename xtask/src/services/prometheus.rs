//! Prometheus from Debian's package, unpacked: tests start one for themselves, over their rules.

use std::path::PathBuf;

use super::cache::Cache;
use super::{Gives, Service, Variables, tools};

/// Prometheus, for tests to start.
pub const SERVICE: Service =
    Service { name: "prometheus", installer: "apt-get", install, gives: Gives::Programs(programs) };

/// The programs, for tests.
fn programs(cache: &Cache) -> Result<Variables, String> {
    let folder = install(cache)?;
    let program = |name: &str| folder.join(name).display().to_string();
    Ok(vec![("PROMETHEUS", program("prometheus")), ("PROMTOOL", program("promtool"))])
}

/// The folder with the programs: where they are, or where the package is unpacked. Installed, it
/// would start a server.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    if let Some(there) = tools::folder_of(&["prometheus", "promtool"]) {
        return Ok(there);
    }
    let unpacked =
        cache.installed("prometheus", &["debian"], |folder| tools::unpack(&["prometheus"], folder));
    unpacked.map(|folder| folder.join("usr/bin"))
}
