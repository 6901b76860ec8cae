//! `logmill connectors`: what can be read from and written to, with every setting.

use std::io::{self, Write};

use clap::Args;
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
  logmill connectors lake --format json | jq .sink.settings";

/// List the connectors, or show the settings of one with an example.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Connectors {
    /// The connector to show.
    name: Option<String>,
}

/// A connector as it is printed.
#[derive(Serialize)]
struct Shown {
    connector: &'static str,
    summary: &'static str,
    source: Option<Half>,
    sink: Option<Half>,
    example: &'static str,
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
    let spec = specs.iter().find(|spec| spec.name == name).ok_or_else(|| {
        Error::config(format!("there is no connector {name:?}"))
            .hint(Section::did_you_mean(name, specs.iter().map(|spec| spec.name)))
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

fn print_setting(setting: &ShownSetting, out: &mut output::Stdout) -> io::Result<()> {
    let default = match (&setting.default, setting.required) {
        (_, true) => ", required".to_owned(),
        (Some(default), _) => format!(", default {default}"),
        (None, _) => String::new(),
    };
    writeln!(out, "  {} ({}{default})", setting.setting, setting.kind)?;
    writeln!(out, "      {}", setting.meaning)
}
