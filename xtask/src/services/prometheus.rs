//! Prometheus from Debian's package, unpacked: tests start one for themselves, over their rules.

use std::path::PathBuf;

use super::cache::Cache;
use super::tools;

/// The programs, for tests.
pub fn programs(cache: &Cache) -> Result<Vec<(&'static str, String)>, String> {
    let folder = install(cache)?.join("usr/bin");
    let program = |name: &str| folder.join(name).display().to_string();
    Ok(vec![("PROMETHEUS", program("prometheus")), ("PROMTOOL", program("promtool"))])
}

/// The folder in which the package lies. Nothing is started, as an installation would.
pub fn install(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("prometheus", &["debian"], |folder| tools::unpack("prometheus", folder))
}
