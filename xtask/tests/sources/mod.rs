//! The files of the checkout, as tests read them.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file, with its path from the root.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Whether the whole file is a test.
    pub fn is_test(&self) -> bool {
        ["/tests/", "/benches/"].iter().any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
    }

    /// What stands before the tests.
    pub fn production(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Its tests, if it has any.
    pub fn into_tests(mut self) -> Option<String> {
        if self.is_test() {
            return Some(self.text);
        }
        let tests = self.text.split_off(self.production().len());
        (!tests.is_empty()).then_some(tests)
    }
}

/// The files of these kinds below these folders of the checkout.
pub fn files_in(folders: &[&str], kinds: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        let is_wanted = |path: &Path| {
            let kind = path.extension().unwrap_or_default().to_string_lossy();
            kinds.contains(&&*kind)
        };
        walk(&root().join(folder), &is_wanted, &mut paths);
    }
    let source = |path: &PathBuf| Source {
        path: path.strip_prefix(root()).expect("below the root").display().to_string(),
        text: fs::read_to_string(path).expect("a source is text"),
    };
    paths.iter().map(source).collect()
}

/// Collects files below a folder, without what is built or hidden.
pub fn walk(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the checkout") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            walk(&path, wanted, found);
        } else if path.is_file() && wanted(&path) {
            found.push(path);
        }
    }
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned()
}
