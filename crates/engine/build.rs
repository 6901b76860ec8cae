//! Embeds the user-agent rules of uap-core, which the package of `ua-parser` carries as YAML.
//!
//! They are written as deflated JSON, so that the program needs no YAML reader for them, and are
//! found through `cargo metadata`, so that no copy of them lies in this repository.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let folder = package_folder("ua-parser")?.join("uap-core");
    let rules = read_yaml(&fs::read_to_string(folder.join("regexes.yaml"))?)?;
    let target = PathBuf::from(env::var("OUT_DIR")?).join("user_agents.json.deflate");
    let mut encoder = DeflateEncoder::new(fs::File::create(target)?, Compression::best());
    encoder.write_all(&serde_json::to_vec(&rules)?)?;
    encoder.finish()?;
    // The tests read uap-core's own cases; the program itself never looks there.
    println!("cargo:rustc-env=UAP_CORE={}", folder.display());
    Ok(())
}

/// The folder into which cargo unpacked a dependency of ours.
fn package_folder(name: &str) -> Result<PathBuf> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .current_dir(env::var("CARGO_MANIFEST_DIR")?)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("no packages in cargo's metadata")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == name)
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| format!("package {name:?} is not in cargo's metadata"))?;
    Ok(Path::new(manifest).parent().ok_or("a manifest without a folder")?.to_owned())
}

fn read_yaml(text: &str) -> Result<Value> {
    let mut events = Parser::new_from_str(text).map(|event| event.map(|(event, _)| event));
    while let Some(event) = events.next() {
        let event = event?;
        if matches!(event, Event::MappingStart(..)) {
            return read_value(event, &mut events);
        }
    }
    Err("no map in the YAML file".into())
}

fn read_value<'input, E: Error + 'static>(
    first: Event<'input>,
    events: &mut impl Iterator<Item = std::result::Result<Event<'input>, E>>,
) -> Result<Value> {
    match first {
        Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => Ok(Value::Null),
        Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => return Ok(Value::Array(items)),
                    event => items.push(read_value(event, events)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                match next(events)? {
                    Event::MappingEnd => return Ok(Value::Object(entries)),
                    Event::Scalar(key, ..) => {
                        let value = next(events)?;
                        entries.insert(key.into_owned(), read_value(value, events)?);
                    }
                    event => return Err(format!("unexpected key {event:?}").into()),
                }
            }
        }
        event => Err(format!("unexpected {event:?}").into()),
    }
}

fn next<'input, E: Error + 'static>(
    events: &mut impl Iterator<Item = std::result::Result<Event<'input>, E>>,
) -> Result<Event<'input>> {
    Ok(events.next().ok_or("the YAML file ends too early")??)
}
