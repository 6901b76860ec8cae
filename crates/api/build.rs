//! Builds the dashboard where Node.js and npm are to be had, and lists its files for `assets`.
//!
//! Works on a copy, so that the source tree stays as it is. Whatever is missing (Node.js, npm,
//! the network for `npm ci`) is a warning: the program then shows plain tables.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Node.js that builds the dashboard.
const NODE_VERSION_MIN: u32 = 20;
/// Folders that are made, not written.
const MADE: [&str; 4] = ["node_modules", "dist", "test-results", "playwright-report"];
/// What the build of the dashboard depends on.
const SOURCES: [&str; 7] = [
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LOGMILL_DASHBOARD");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let dashboard = Path::new(&root).join("../../dashboard");
    let files = match build(&dashboard, &out.join("dashboard")) {
        Ok(Some(dist)) => list(&dist),
        Ok(None) => Vec::new(),
        Err(reason) => {
            println!("cargo:warning=built without the dashboard: {reason}");
            Vec::new()
        }
    };
    write_list(&files, &out.join("assets.rs")).expect("OUT_DIR can be written");
}

/// Builds the dashboard in a copy; gives the folder of its files, or nothing where there is no
/// dashboard to build.
fn build(dashboard: &Path, copy: &Path) -> Result<Option<PathBuf>, String> {
    let skipped = env::var("LOGMILL_DASHBOARD").is_ok_and(|value| value == "skip");
    if skipped || !dashboard.join("package.json").is_file() {
        return Ok(None);
    }
    for source in SOURCES.iter().map(|source| dashboard.join(source)).filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", source.display());
    }
    let version = output("node", &["--version"])?;
    let major = version.trim().trim_start_matches('v').split('.').next().map(str::parse);
    if !matches!(major, Some(Ok(major)) if NODE_VERSION_MIN <= major) {
        return Err(format!("Node.js {NODE_VERSION_MIN} is needed, found {}", version.trim()));
    }
    output("npm", &["--version"])?;
    let failed = |error: io::Error| format!("could not copy its sources: {error}");
    copy_sources(dashboard, copy).map_err(failed)?;
    let built = ["ci", "--omit=dev", "--ignore-scripts"];
    let quiet = ["--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"];
    npm(copy, &[&built[..], &quiet].concat())?;
    npm(copy, &["run", "build"])?;
    let dist = copy.join("dist");
    match dist.join("index.html").is_file() {
        true => Ok(Some(dist)),
        false => Err("its build made no index.html".to_owned()),
    }
}

fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => Err(format!("`{program}` is not to be had")),
    }
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm does not start: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).take(3).collect();
    Err(format!("`npm {}` failed: {}", arguments[0], lines.join(" · ")))
}

/// Makes the copy equal to the sources; what npm installed in it before stays.
fn copy_sources(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if MADE.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    copy_folder(from, to)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if MADE.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ())?,
        }
    }
    Ok(())
}

/// All files below a folder, sorted, with their names from there.
fn list(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap_or(&path);
                    found.push((name.to_string_lossy().replace('\\', "/"), path.clone()));
                }
            }
        }
    }
    found.sort();
    found
}

fn write_list(files: &[(String, PathBuf)], to: &Path) -> io::Result<()> {
    let mut text = String::from("/// The files of the dashboard.\n");
    text.push_str("static FILES: &[(&str, &[u8])] = &[\n");
    for (name, path) in files {
        text.push_str(&format!("    ({name:?}, include_bytes!({:?})),\n", path.display()));
    }
    text.push_str("];\n");
    fs::write(to, text)
}
