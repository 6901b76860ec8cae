//! The browser of whoever sits at the terminal.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::arguments::environment;

/// What opens an address in the desktop's browser.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
/// One of these is set where there is a desktop.
const DESKTOPS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

/// What opens an address; nothing where there is no browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Browser(Option<PathBuf>);

impl Browser {
    /// No browser.
    pub fn none() -> Self {
        Self(None)
    }

    /// What `BROWSER` names, or what the desktop has.
    pub fn find() -> Self {
        if let Some(named) = environment("BROWSER") {
            return Self(Some(named.into()));
        }
        let is_set = |name: &&str| environment(name).is_some();
        if !cfg!(target_os = "macos") && !DESKTOPS.iter().any(is_set) {
            return Self(None);
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut openers = std::env::split_paths(&folders).map(|folder| folder.join(OPENER));
        Self(openers.find(|path| path.is_file()))
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Opens an address. Where that fails, the address was printed.
    pub fn open(&self, address: &str) {
        let Some(program) = &self.0 else { return };
        let started = Command::new(program)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            // It ends by itself, or with whoever started us.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(error) => tracing::warn!(%error, "could not open a browser"),
        }
    }
}
