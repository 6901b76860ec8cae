//! `logmill connectors`: what can be read from and written to, and what is done to records in
//! between, with every setting.

use std::io::{self, Write};

use clap::Args;
use contract::failpoint::Failpoint;
use contract::sink::Promise;
use contract::spec::Spec;
use contract::{Error, Result, Section};
use plan::table::{self, Setting};
use serde::Serialize;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  logmill connectors
  logmill connectors file
  logmill connectors parse          a transform, here with all formats
  logmill connectors lake --format json | jq .sink.settings";

/// List the connectors, or show the settings of one, or of a transform, with an example.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Connectors {
    /// The connector or transform to show.
    name: Option<String>,
}

/// A connector as it is printed.
#[derive(Serialize)]
struct Shown {
    connector: &'static str,
    summary: &'static str,
    source: Option<Half>,
    sink: Option<Half>,
    /// Where tests kill it.
    failpoints: &'static [Failpoint],
    example: &'static str,
}

/// A transform as it is printed.
#[derive(Serialize)]
struct ShownTransform {
    transform: &'static str,
    summary: &'static str,
    settings: Vec<ShownSetting>,
    /// The formats of `parse`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    formats: Vec<ShownFormat>,
    example: &'static str,
}

/// A format of `parse`.
#[derive(Serialize)]
struct ShownFormat {
    format: &'static str,
    meaning: String,
}

/// The reading or the writing side.
#[derive(Serialize)]
struct Half {
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<Promise>,
    settings: Vec<ShownSetting>,
}

/// One setting of a connector.
#[derive(Serialize)]
struct ShownSetting {
    setting: String,
    kind: String,
    default: Option<String>,
    required: bool,
    meaning: String,
}

impl From<Setting> for ShownSetting {
    fn from(setting: Setting) -> Self {
        let Setting { name, kind, default, required, meaning } = setting;
        Self { setting: name, kind, default, required, meaning }
    }
}

pub fn start(connectors: &Connectors, global: &Global) -> Result<Exit> {
    let specs: Vec<_> = registry::connectors().iter().map(|connector| connector.spec()).collect();
    let Some(name) = &connectors.name else {
        let all: Vec<_> = specs.into_iter().map(shown).collect();
        output::list(global, &all, |out| all.iter().try_for_each(|one| print_line(one, out)))?;
        return Ok(Exit::Done);
    };
    if let Some(spec) = engine::specs().iter().find(|spec| spec.name == name) {
        let one = shown_transform(spec);
        output::value(global, &one, |out| print_transform(&one, out))?;
        return Ok(Exit::Done);
    }
    let spec = specs.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let transforms = engine::specs().iter().map(|spec| spec.name);
        let names = specs.iter().map(|spec| spec.name).chain(transforms);
        Error::config(format!("there is no connector {name:?}"))
            .hint(Section::did_you_mean(name, names))
    })?;
    let one = shown(spec);
    output::value(global, &one, |out| print(&one, out))?;
    Ok(Exit::Done)
}

fn shown(spec: &'static Spec) -> Shown {
    let settings = |schema: fn() -> schemars::Schema| {
        table::settings(&schema()).into_iter().map(ShownSetting::from).collect()
    };
    Shown {
        connector: spec.name,
        summary: spec.summary,
        source: spec.source.map(|schema| Half { promise: None, settings: settings(schema) }),
        sink: spec.sink.as_ref().map(|sink| Half {
            promise: Some(sink.promise),
            settings: settings(sink.config_schema),
        }),
        failpoints: spec.failpoints,
        example: spec.example,
    }
}

fn shown_transform(spec: &'static engine::TransformSpec) -> ShownTransform {
    let settings = table::settings(&(spec.config_schema)());
    let format = |(format, meaning)| ShownFormat { format, meaning };
    let formats = match spec.name {
        "parse" => formats::summaries().into_iter().map(format).collect(),
        _ => Vec::new(),
    };
    let settings = settings.into_iter().map(ShownSetting::from).map(|mut setting| {
        // What each word means stands in the list of formats.
        if let Some(end) = setting.meaning.find(" `combined`: ") {
            setting.meaning.truncate(end);
        }
        setting
    });
    ShownTransform {
        transform: spec.name,
        summary: spec.summary,
        settings: settings.collect(),
        formats,
        example: spec.example,
    }
}

fn print_line(shown: &Shown, out: &mut output::Stdout) -> io::Result<()> {
    let halves = match (&shown.source, &shown.sink) {
        (Some(_), Some(_)) => "source, sink",
        (Some(_), None) => "source",
        _ => "sink",
    };
    writeln!(out, "{:<12} {halves:<13} {}", shown.connector, shown.summary)
}

fn print(shown: &Shown, out: &mut output::Stdout) -> io::Result<()> {
    writeln!(out, "{}: {}", shown.connector, shown.summary)?;
    for (half, name) in [(&shown.source, "source"), (&shown.sink, "sink")] {
        let Some(half) = half else { continue };
        writeln!(out, "\nAs a {name}:")?;
        if let Some(promise) = half.promise {
            writeln!(out, "  promise: {}", promise.sentence)?;
        }
        half.settings.iter().try_for_each(|setting| print_setting(setting, out))?;
    }
    writeln!(out, "\nExample:")?;
    shown.example.lines().try_for_each(|line| writeln!(out, "  {line}"))
}

fn print_transform(shown: &ShownTransform, out: &mut output::Stdout) -> io::Result<()> {
    writeln!(out, "{}: {}", shown.transform, shown.summary)?;
    if !shown.formats.is_empty() {
        writeln!(out, "\nFormats:")?;
    }
    for ShownFormat { format, meaning } in &shown.formats {
        writeln!(out, "  {format:<15} {meaning}")?;
    }
    writeln!(out, "\nSettings:")?;
    shown.settings.iter().try_for_each(|setting| print_setting(setting, out))?;
    writeln!(out, "\nExample:")?;
    shown.example.lines().try_for_each(|line| writeln!(out, "  {line}"))
}

fn print_setting(setting: &ShownSetting, out: &mut output::Stdout) -> io::Result<()> {
    let default = match (&setting.default, setting.required) {
        (_, true) => ", required".to_owned(),
        (Some(default), _) => format!(", default {default}"),
        (None, _) => String::new(),
    };
    writeln!(out, "  {} ({}{default})", setting.setting, setting.kind)?;
    writeln!(out, "      {}", setting.meaning)
}
