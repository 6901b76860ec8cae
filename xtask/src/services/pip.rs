//! Programs written in Python, each in an environment of its own.

use std::path::PathBuf;
use std::process::Command;

use super::cache::Cache;
use super::guard;

/// The interpreter that sees these packages alone: what `pip` resolved once, with what it needs.
pub fn install(cache: &Cache, name: &str, requirements: &str) -> Result<PathBuf, String> {
    let folder = cache.installed(name, &[requirements], |folder| {
        let wanted = folder.join("requirements.txt");
        std::fs::write(&wanted, requirements)
            .map_err(|error| format!("could not write {}: {error}", wanted.display()))?;
        let script =
            r#"python3 -m venv "$0" && "$0/bin/python" -m pip install --quiet --no-deps -r "$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(folder).arg(&wanted);
        guard::run(&command, &folder.join("log"))
    })?;
    Ok(folder.join("bin/python"))
}
