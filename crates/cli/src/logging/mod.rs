//! What the program says while it works: lines on stderr, as loud as `-v` and `-q` ask for, in the
//! form that `--log-format` asks for.

mod lines;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{Command, Global, LogFormat};
use lines::Lines;

/// Libraries that log as errors what they return as errors, or what is none: a table that is not
/// there yet.
const SILENT: [&str; 2] = ["buoyant_kernel=off", "delta_kernel=off"];
/// What `look` says itself, once and in its own words.
const SAID_BY_LOOK: &str = "runtime::troubles=error";
/// What the lines of this program are told from those of others by, unless `LOGMILL_SERVICE` says.
const SERVICE: &str = "logmill";

/// Starts logging. `LOGMILL_LOG` takes a filter such as `runtime=debug` and wins over `-v`, which
/// wins over a level such as `INFO` in `LOG_LEVEL`.
pub fn start(command: &Command, global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => level_of_environment().unwrap_or(LevelFilter::WARN),
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("LOGMILL_LOG")
        .from_env_lossy();
    let says_itself = matches!(command, Command::Look(_)) && global.verbose == 0;
    let silent = SILENT.into_iter().chain(says_itself.then_some(SAID_BY_LOOK));
    let silent = silent.filter_map(|directive| directive.parse().ok());
    let filter = silent.fold(filter, EnvFilter::add_directive);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match global.log_format() {
        LogFormat::Short => {
            let colored = global.color.on(stderr().is_terminal());
            lines.with_target(global.verbose > 1).with_ansi(colored).without_time().init();
        }
        LogFormat::Text => lines.event_format(Lines::text(service())).init(),
        LogFormat::Json => lines.event_format(Lines::json(service())).init(),
    }
}

fn service() -> String {
    let name = std::env::var("LOGMILL_SERVICE").ok().filter(|name| !name.is_empty());
    name.unwrap_or_else(|| SERVICE.to_owned())
}

/// The level that many programs of a host are given together; a word that is none is not one.
fn level_of_environment() -> Option<LevelFilter> {
    let word = std::env::var("LOG_LEVEL").ok()?;
    match word.to_lowercase().as_str() {
        "warning" => Some(LevelFilter::WARN),
        "critical" | "fatal" => Some(LevelFilter::ERROR),
        level => level.parse().ok(),
    }
}
