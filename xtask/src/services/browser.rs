//! What the dashboard's tests need: Chromium, and the packages of its lock file.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::azure::trust_system;
use super::cache::Cache;
use super::{guard, tools};

/// Files that decide what npm installs.
const RECIPE: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// Where Debian's package puts the browser; the tests take another one by `CHROMIUM`.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The folder with `node_modules`, for the lock file in the folder `dashboard`.
pub fn install(dashboard: &Path) -> Result<PathBuf, String> {
    let has_browser = || std::env::var_os("CHROMIUM").is_some() || Path::new(CHROMIUM).exists();
    tools::need_that(has_browser, "Chromium", "chromium")?;
    tools::need("npm", "npm")?;
    let mut texts = Vec::new();
    for name in RECIPE {
        let path = dashboard.join(name);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("could not read {}: {error}", path.display()))?;
        texts.push(text);
    }
    let recipe: Vec<_> = texts.iter().map(String::as_str).collect();
    Cache::open()?.installed("dashboard", &recipe, |folder| {
        for (name, text) in RECIPE.iter().zip(&texts) {
            std::fs::write(folder.join(name), text)
                .map_err(|error| format!("could not write {name}: {error}"))?;
        }
        let mut npm = Command::new("npm");
        trust_system(&mut npm);
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        guard::run(npm.arg(folder), &folder.join("log"))
    })
}
