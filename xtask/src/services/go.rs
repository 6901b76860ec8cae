//! Servers written in Go, built from the Go module proxy, whose checksums `go` verifies.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, write};
use super::{guard, tools};

/// A program of a module.
pub struct Program {
    pub name: &'static str,
    /// With its version, which never changes its content.
    pub package: &'static str,
}

impl Program {
    /// The built program.
    pub fn install(&self, cache: &Cache) -> Result<PathBuf, String> {
        let folder = cache.installed(self.name, &[self.package], |folder| {
            tools::need("go", "golang-go")?;
            let mut go = Command::new("go");
            go.args(["install", self.package]).env("GOBIN", folder);
            guard::run(&go, &folder.join("log"))?;
            let path = self.package.split('@').next().unwrap_or_default();
            let built = path.rsplit('/').next().unwrap_or_default();
            rename(&folder.join(built), &folder.join(self.name))
        })?;
        Ok(folder.join(self.name))
    }
}

/// A program of our own, over a module.
pub struct Own {
    pub name: &'static str,
    pub text: &'static str,
    /// The module with its version, which never changes its content.
    pub module: &'static str,
}

impl Own {
    /// The built program.
    pub fn install(&self, cache: &Cache) -> Result<PathBuf, String> {
        let folder = cache.installed(self.name, &[self.text, self.module], |folder| {
            tools::need("go", "golang-go")?;
            write(&folder.join("main.go"), self.text, &[])?;
            let build = ["build", "-o", self.name, "."];
            for arguments in [&["mod", "init", "logmill.test"][..], &["get", self.module], &build] {
                let mut go = Command::new("go");
                go.args(arguments).current_dir(folder);
                guard::run(&go, &folder.join("log"))?;
            }
            Ok(())
        })?;
        Ok(folder.join(self.name))
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), String> {
    std::fs::rename(from, to).map_err(|error| format!("go built no {}: {error}", from.display()))
}
