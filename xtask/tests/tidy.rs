#![allow(clippy::unwrap_used, clippy::panic)]
//! The shape of the repository: rules that a reviewer need not repeat.
//!
//! Each rule is a function that names what it dislikes; a test of its own shows that it can fail.

mod sources;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use sources::{Source, files_in, root, walk};

/// A crate may depend only on crates with a smaller number, so that connectors cannot meet.
const LEVELS: &[(&str, u8)] = &[
    ("contract", 0),
    ("formats", 1),
    ("stores", 1),
    ("plan", 2),
    ("state", 2),
    ("engine", 3),
    ("connector-", 3),
    ("registry", 4),
    ("runtime", 4),
    ("query", 4),
    ("api", 5),
    ("desk", 5),
    ("testkit", 5),
    ("command-", 6),
    ("logmill", 7),
    ("xtask", 8),
];
const PRODUCTION_LINES_MAX: usize = 600;
const LINE_CHARS_MAX: usize = 100;
/// Drawers for everything, and words that say nothing.
const BANNED_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "data", "info", "process", "handle",
];
/// The one file of the program that knows blueprints.
const BLUEPRINTS_LIST: &str = "crates/cli/src/blueprints.rs";
/// What every connector's folder holds.
const CONNECTOR_FILES: &[&str] =
    &["src/lib.rs", "src/config.rs", "README.md", "example.yaml", "tests/conformance.rs"];
/// Libraries whose types cross crates: a second version would not fit the first.
const SINGLE_PACKAGES: &[&str] = &["arrow", "parquet", "datafusion", "deltalake", "object_store"];
/// Marks of unfinished work, in two pieces so that this file does not hold them.
const UNFINISHED: &[(&str, &str)] =
    &[("TO", "DO"), ("FIX", "ME"), ("dbg", "!("), ("#[ig", "nore"), ("unimple", "mented!")];
/// Folders of the machine of whoever wrote the file.
const MACHINE_PATHS: &[(&str, &str)] = &[("/wo", "rk/"), ("/ro", "ot/")];

#[test]
fn sources_are_tidy() {
    let rules = [short_files, short_lines, module_docs, plain_imports, finished, honest_names];
    let sources = rust_files();
    assert!(sources.len() > 50, "the walk found only {} files", sources.len());
    let complaints: Vec<_> =
        sources.iter().flat_map(|source| rules.iter().flat_map(|rule| rule(source))).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The dashboard keeps the rules that are not Rust's; prettier and the compiler keep the others.
#[test]
fn the_dashboard_is_tidy() {
    let rules = [short_files, finished, honest_names, headed];
    let sources = files_in(&["dashboard"], &["ts", "tsx"]);
    assert!(sources.len() > 20, "the walk found only {} files", sources.len());
    let complaints: Vec<_> =
        sources.iter().flat_map(|source| rules.iter().flat_map(|rule| rule(source))).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// What a file in TypeScript is for stands in its first line.
fn headed(source: &Source) -> Vec<String> {
    let is_source = source.path.contains("/src/");
    match source.text.starts_with("// ") || !is_source {
        true => Vec::new(),
        false => vec![format!("{}: says not what it is for; begin with `//`", source.path)],
    }
}

fn short_files(source: &Source) -> Vec<String> {
    let lines = source.production().lines().count();
    match lines > PRODUCTION_LINES_MAX && !source.is_test() {
        true => vec![format!("{}: {lines} lines; divide it", source.path)],
        false => Vec::new(),
    }
}

/// Rows in tests are data, as wide as they are.
fn short_lines(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    complain(source, source.production(), "longer than 100 columns", |line| {
        line.chars().count() > LINE_CHARS_MAX
    })
}

fn module_docs(source: &Source) -> Vec<String> {
    let mut lines = source.text.lines().filter(|line| !line.is_empty() && !line.starts_with("#!["));
    let documented = lines.next().is_some_and(|line| line.starts_with("//!"));
    match documented || source.is_test() {
        true => Vec::new(),
        false => vec![format!("{}: says not what it is for; begin with `//!`", source.path)],
    }
}

fn plain_imports(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    complain(source, source.production(), "a glob import; name what is used", |line| {
        let line = line.trim_start().trim_start_matches("pub ");
        line.starts_with("use ") && line.ends_with("::*;")
    })
}

fn finished(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (front, back) in UNFINISHED {
        let mark = format!("{front}{back}");
        let what = format!("holds `{mark}`; finish it or remove it");
        complaints.extend(complain(source, &source.text, &what, |line| line.contains(&mark)));
    }
    for (front, back) in MACHINE_PATHS {
        let folder = format!("{front}{back}");
        let what = "names a folder of one machine";
        complaints.extend(complain(source, &source.text, what, |line| line.contains(&folder)));
    }
    complaints
}

fn honest_names(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if BANNED_NAMES.contains(&part) {
            complaints.push(format!("{}: {part:?} says nothing as a name", source.path));
        }
    }
    let what = "declares a name that says nothing";
    complaints.extend(complain(source, &source.text, what, |line| {
        declared_name(line).is_some_and(|name| BANNED_NAMES.contains(&&*name.to_lowercase()))
    }));
    complaints
}

/// The name of the item that a line declares.
fn declared_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let kinds = ["fn", "struct", "enum", "trait", "mod", "type"];
    let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const"];
    let kind = words.find(|word| !modifiers.contains(word))?;
    if !kinds.contains(&kind) {
        return None;
    }
    words.next()?.split(|character: char| !character.is_alphanumeric() && character != '_').next()
}

fn complain(
    source: &Source,
    text: &str,
    what: &str,
    is_wrong: impl Fn(&str) -> bool,
) -> Vec<String> {
    let lines = text.lines().enumerate().filter(|(_, line)| is_wrong(line));
    lines.map(|(at, _)| format!("{}:{}: {what}", source.path, at + 1)).collect()
}

#[test]
fn crates_depend_downwards() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs this test, so it can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {text}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let complaints = upward_dependencies(&metadata);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn upward_dependencies(metadata: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().expect("a list of packages") {
        let name = package["name"].as_str().expect("a package has a name");
        let Some(own) = level(name) else {
            complaints.push(format!("{name} has no level; add it to LEVELS"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a list") {
            let below = dependency["name"].as_str().expect("a dependency has a name");
            let for_tests = dependency["kind"] == "dev" && below == "testkit";
            if dependency["path"].is_null() || for_tests {
                continue;
            }
            if level(below).is_none_or(|below| below >= own) {
                complaints.push(format!("{name} depends on {below}, which is not below it"));
            }
        }
    }
    complaints
}

fn level(name: &str) -> Option<u8> {
    let fits = |known: &str| known == name || (known.ends_with('-') && name.starts_with(known));
    LEVELS.iter().find(|(known, _)| fits(known)).map(|(_, level)| *level)
}

/// The program fits every pipeline: what one team calls its things stands with its blueprint. The
/// names of blueprints are such words, and what they list in `command/words.txt`.
#[test]
fn the_program_speaks_no_blueprints_words() {
    let (mut words, mut lists) = (Vec::new(), 0);
    for entry in fs::read_dir(root().join("blueprints")).expect("the folder of blueprints") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().and_then(OsStr::to_str).expect("a name").to_owned();
        words.extend([name.replace('-', "_"), name]);
        if let Ok(text) = fs::read_to_string(folder.join("command/words.txt")) {
            lists += 1;
            words.extend(text.lines().map(str::to_lowercase));
        }
    }
    assert!(lists > 0, "no blueprint has words");
    let program = ["crates/cli/src", "crates/api/src", "dashboard/src"];
    let sources = files_in(&program, &["rs", "yaml", "ts", "tsx"]);
    assert!(program.iter().all(|part| sources.iter().any(|one| one.path.starts_with(part))));
    let complaints: Vec<_> = sources.iter().flat_map(|source| general(source, &words)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn general(source: &Source, words: &[String]) -> Vec<String> {
    if source.path == BLUEPRINTS_LIST {
        return Vec::new();
    }
    complain(source, &source.text, "holds a word of a blueprint; move it there", |line| {
        words.iter().any(|word| line.to_lowercase().contains(word))
    })
}

#[test]
fn connectors_look_alike() {
    let folders: Vec<_> = fs::read_dir(root().join("connectors"))
        .expect("the folder of connectors")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert!(!folders.is_empty());
    let missing: Vec<_> = folders
        .iter()
        .flat_map(|folder| CONNECTOR_FILES.iter().map(|file| folder.join(file)))
        .filter(|path| !path.is_file())
        .collect();
    assert!(missing.is_empty(), "missing: {missing:#?}");
}

#[test]
fn shared_libraries_stand_once_in_the_tree() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    for package in SINGLE_PACKAGES {
        let count = lock.matches(&format!("[[package]]\nname = \"{package}\"\n")).count();
        assert_eq!(count, 1, "versions of {package}");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut pages = Vec::new();
    walk(&root(), &|path| path.extension().is_some_and(|kind| kind == "md"), &mut pages);
    assert!(pages.contains(&root().join("README.md")), "the walk found no README.md");
    let broken: Vec<_> = pages.iter().flat_map(|page| broken_links(page)).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn broken_links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page is text");
    let folder = page.parent().expect("a page lies in a folder");
    links(&text)
        .filter(|link| !link.contains("://") && !link.starts_with('#') && !link.is_empty())
        .filter(|link| !folder.join(link.split('#').next().unwrap_or_default()).exists())
        .map(|link| format!("{}: {link:?} leads nowhere", page.display()))
        .collect()
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

fn rust_files() -> Vec<Source> {
    files_in(&["crates", "connectors", "blueprints", "xtask"], &["rs"])
}

type Rule = fn(&Source) -> Vec<String>;

fn check(rule: Rule, path: &str, text: &str, expect: &[&str]) {
    let source = Source { path: path.to_owned(), text: text.to_owned() };
    assert_eq!(rule(&source), expect, "of {text:?}");
}

#[test]
fn each_rule_finds_what_it_forbids() {
    let path = "crates/a/src/b.rs";
    let long = "x\n".repeat(601);
    check(short_files, path, &long, &["crates/a/src/b.rs: 601 lines; divide it"]);
    check(short_files, path, &format!("\n#[cfg(test)]\nmod tests {{\n{long}"), &[]);
    let wide = "é".repeat(101);
    check(short_lines, path, &wide, &["crates/a/src/b.rs:1: longer than 100 columns"]);
    check(short_lines, path, &"é".repeat(100), &[]);
    let undocumented = "crates/a/src/b.rs: says not what it is for; begin with `//!`";
    check(module_docs, path, "#![allow(x)]\n\nuse a::b;", &[undocumented]);
    check(module_docs, path, "#![allow(x)]\n//! For b.", &[]);
    let unheaded = "a/src/b.ts: says not what it is for; begin with `//`";
    check(headed, "a/src/b.ts", "import x", &[unheaded]);
    check(headed, "a/src/b.ts", "// For b.", &[]);
    let glob = "crates/a/src/b.rs:2: a glob import; name what is used";
    check(plain_imports, path, "\npub use a::*;", &[glob]);
    check(plain_imports, path, "\n#[cfg(test)]\nmod tests {\n    use super::*;\n}", &[]);
    let mark = format!("// {}{}: more", UNFINISHED[0].0, UNFINISHED[0].1);
    assert_eq!(finished(&Source { path: path.to_owned(), text: mark }).len(), 1);
    let named = "crates/a/src/b.rs:1: declares a name that says nothing";
    check(honest_names, path, "pub(crate) async fn process(a: u8) {", &[named]);
    check(honest_names, path, "pub struct Info<T> {", &[named]);
    check(honest_names, path, "let process = spawn(); fn processes() {}", &[]);
    let words = ["clicks".to_owned()];
    let own = Source { path: path.to_owned(), text: "a\n// Clicks\n".to_owned() };
    let spoken = "crates/a/src/b.rs:2: holds a word of a blueprint; move it there";
    assert_eq!(general(&own, &words), [spoken]);
    assert!(general(&Source { path: BLUEPRINTS_LIST.to_owned(), ..own }, &words).is_empty());
    let path = "crates/a/src/util/b.rs";
    check(honest_names, path, "", &["crates/a/src/util/b.rs: \"util\" says nothing as a name"]);
}

#[test]
fn an_upward_dependency_is_found() {
    let package = |name: &str, kind: Option<&str>, below: &str| {
        let dependency = serde_json::json!({ "name": below, "kind": kind, "path": "/x" });
        serde_json::json!({ "packages": [{ "name": name, "dependencies": [dependency] }] })
    };
    let count = |metadata: Value| upward_dependencies(&metadata).len();
    assert_eq!(count(package("plan", None, "contract")), 0);
    assert_eq!(count(package("plan", None, "runtime")), 1);
    assert_eq!(count(package("connector-file", None, "connector-lake")), 1);
    assert_eq!(count(package("connector-file", Some("dev"), "testkit")), 0);
    assert_eq!(count(package("connector-file", None, "testkit")), 1);
    assert_eq!(count(package("mystery", None, "contract")), 1);
}
