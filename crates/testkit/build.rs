//! Finds what reads the connectors' destinations from outside: `tests/destination/mod.rs` in the
//! folder of a connector. Whoever adds a connector adds nothing here.

use std::fmt::Write;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // As it is now: a build folder can serve several checkouts.
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest.join("../..").canonicalize()?;
    // A new connector changes the manifest of the workspace.
    println!("cargo::rerun-if-changed={}", root.join("Cargo.toml").display());
    let mut folders = Vec::new();
    for entry in fs::read_dir(root.join("connectors"))? {
        folders.push(entry?.path());
    }
    folders.sort();
    let (mut modules, mut list) = (String::new(), String::new());
    for folder in folders {
        println!("cargo::rerun-if-changed={}", folder.join("tests").display());
        let module = folder.join("tests/destination/mod.rs");
        if !module.is_file() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().display();
        let written = writeln!(modules, "#[path = {module:?}]\npub mod {name};")
            .and_then(|()| writeln!(list, "    ({:?}, {name}::destination),", name.to_string()));
        written.map_err(io::Error::other)?;
    }
    let text = format!(
        "{modules}\n/// Every destination, by the name of its connector.\n\
         pub const DESTINATIONS: &[(&str, Make)] = &[\n{list}];\n"
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("destinations.rs"), text)
}
