#![allow(clippy::unwrap_used)]
//! What the build runs beside Rust's own tools stands in README.md, and nothing else does.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use sources::root;

/// Where README.md lists the programs.
const LIST_BEGINS: &str = "The build needs ";

const C: &str = "C compiler";
const CPLUSPLUS: &str = "C++ compiler";
const MAKE: &str = "make";
const PERL: &str = "Perl";
const BASH: &str = "Bash";

/// Packages whose build scripts make something that is not Rust, and by which programs.
const BUILT: &[(&str, &[&str])] = &[
    ("aws-lc-sys", &[C]),
    ("blake3", &[C]),
    ("liblzma-sys", &[C]),
    ("libmimalloc-sys", &[C]),
    ("libz-sys", &[C]),
    // From the sources in `openssl-src`.
    ("openssl-sys", &[C, MAKE, PERL]),
    ("psm", &[C]),
    ("rdkafka-sys", &[C, CPLUSPLUS, MAKE, BASH]),
    ("ring", &[C]),
    ("stacker", &[C]),
    ("zstd-sys", &[C]),
];

/// Libraries of build scripts that start programs.
const STARTERS: &[&str] = &["autotools", "bindgen", "cc", "cmake", "openssl-src", "prost-build"];

/// All packages that cargo resolved for this machine.
fn metadata() -> Value {
    let said = |command: &mut Command| {
        let output = command.current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let rustc = said(Command::new("rustc").arg("-vV"));
    let rustc = String::from_utf8(rustc).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--offline", "--format-version", "1", "--filter-platform", host]);
    serde_json::from_slice(&said(&mut cargo)).unwrap()
}

/// The packages that bring a library which is not Rust, or whose build scripts start programs.
fn builders(metadata: &Value) -> BTreeSet<&str> {
    let list = |value: &'static str| move |of: &Value| of[value].as_array().unwrap().clone();
    let names: BTreeMap<_, _> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let starts = |node: &Value| {
        list("deps")(node).iter().any(|dependency| {
            let name = names[dependency["pkg"].as_str().unwrap()]["name"].as_str().unwrap();
            let kinds = list("dep_kinds")(dependency);
            STARTERS.contains(&name) && kinds.iter().any(|kind| kind["kind"] == "build")
        })
    };
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    let built = nodes.filter(|node| {
        let package = names[node["id"].as_str().unwrap()];
        package["source"].is_string() && starts(node)
            || package["links"].is_string() && has_native_library(package)
    });
    built.map(|node| names[node["id"].as_str().unwrap()]["name"].as_str().unwrap()).collect()
}

/// `links` also marks packages that only must not come twice.
fn has_native_library(package: &Value) -> bool {
    package["name"].as_str().unwrap().ends_with("-sys")
}

#[test]
fn each_package_that_is_not_rust_alone_is_known() {
    let metadata = metadata();
    let known: BTreeSet<_> = BUILT.iter().map(|(name, _)| *name).collect();
    assert_eq!(builders(&metadata), known, "and the README says by which programs it is built");
}

#[test]
fn the_readme_names_each_program_that_the_build_starts() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let list = readme.split(LIST_BEGINS).nth(1).expect("README.md says what the build needs");
    let list = list.split_inclusive(". ").next().unwrap();
    for (package, programs) in BUILT {
        for program in *programs {
            assert!(list.contains(program), "{package} needs {program}: {list}");
        }
    }
    assert!(!list.contains("CMake"), "nothing needs it: {list}");
}
