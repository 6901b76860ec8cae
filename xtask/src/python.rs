//! Installs the Python packages that tests need, once, outside the checkout.
//!
//! Other programs must find the rows that we wrote (DuckDB and the `deltalake` package), and find
//! nothing wrong with the HTTP API (schemathesis).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// A running installation, or a finished one.
pub struct Installation {
    folder: PathBuf,
    child: Option<Child>,
}

/// Starts the installation, unless these very versions are installed already.
pub fn start() -> Result<Installation, String> {
    let folder = folder()?;
    let installed = fs::read_to_string(stamp(&folder)).is_ok_and(|text| text == REQUIREMENTS);
    if installed {
        return Ok(Installation { folder, child: None });
    }
    fs::create_dir_all(&folder)
        .map_err(|error| format!("could not create {}: {error}", folder.display()))?;
    let wanted = folder.join("requirements.txt");
    fs::write(&wanted, REQUIREMENTS)
        .map_err(|error| format!("could not write {}: {error}", wanted.display()))?;
    let child = Command::new("sh")
        .args(["-c", r#"python3 -m venv "$0" && "$0/bin/pip" install --quiet -r "$1""#])
        .arg(&folder)
        .arg(&wanted)
        .spawn()
        .map_err(|error| format!("could not start sh: {error}"))?;
    Ok(Installation { folder, child: Some(child) })
}

impl Installation {
    /// Waits until it is done; gives the interpreter that sees the packages.
    pub fn finish(mut self) -> Result<PathBuf, String> {
        if let Some(mut child) = self.child.take() {
            let status =
                child.wait().map_err(|error| format!("could not wait for pip: {error}"))?;
            if !status.success() {
                return Err(format!(
                    "could not install Python packages into {} ({status}); python3 with venv and \
                     a reachable package index are needed",
                    self.folder.display()
                ));
            }
            fs::write(stamp(&self.folder), REQUIREMENTS)
                .map_err(|error| format!("could not write the stamp: {error}"))?;
        }
        Ok(self.folder.join("bin/python"))
    }
}

impl Drop for Installation {
    /// A chore that failed leaves no pip behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn folder() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").ok_or("HOME is not set, so there is no cache folder")?;
    Ok(Path::new(&home).join(".cache/logmill-services/python"))
}

/// Written last, so that an installation that was cut short is done again.
fn stamp(folder: &Path) -> PathBuf {
    folder.join("installed.txt")
}
