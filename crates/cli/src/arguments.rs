//! The command line: what every command understands, and the list of commands.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use contract::quantity::Period;
use desk::Blueprint;

use crate::variables::Given;
use crate::{blueprints, commands};

/// The exit codes, as scripts may rely on them: those of README.md in its words.
const EXIT_CODES: &str = "\
Exit codes:
  0        done
  1        stopped by something outside: a disk, a server, an unreadable file (what else was
           named is done)
  2        the command line or the pipeline file is wrong, or a sink changed under its name
  3        `audit` or `test` found a difference, or an epoch that is not finished; dead letters
           that were to be replayed stay open, or are refused again
  4        another process owns the pipeline
  5        every record that was read was refused: `run --until-end`, `look`, `query` over `log(…)`
  70       a defect of Logmill
  130, 143 ended by SIGINT or SIGTERM after a clean stop

Start here:
  logmill look access.log
  logmill demo
  logmill query \"SELECT status, count(*) FROM log('access.log*', 'combined') GROUP BY status\"";

/// Mills logs and events: reads, parses, enriches, delivers exactly once, and proves it.
#[derive(Debug, Parser)]
#[command(name = "logmill", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Reads the command line and the variables that stand for options of it.
    ///
    /// # Errors
    /// It is wrong, or asks for help only.
    pub fn read() -> std::result::Result<Self, clap::Error> {
        let mut command = without_empty_variables(command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::of(&matches).map_err(|error| error.format(&mut command))
    }

    fn of(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let own = matches.subcommand();
        match own.and_then(|(name, own)| Some((blueprints::find(name)?, own))) {
            Some((blueprint, own)) => Ok(Self {
                global: Global::from_arg_matches(matches)?,
                command: Command::Blueprint(blueprint, own.clone()),
            }),
            None => Self::from_arg_matches(matches),
        }
    }
}

/// The whole command line, with the commands of blueprints.
pub fn command() -> clap::Command {
    let own = blueprints::ALL.iter().map(|blueprint| (blueprint.command)());
    Arguments::command().subcommands(own)
}

/// A command for which a variable that is empty counts as one that is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let is_empty = argument.get_env().is_some_and(|name| environment(name).is_none());
        if is_empty { argument.env(Resettable::Reset) } else { argument }
    });
    command.mut_subcommands(without_empty_variables)
}

/// The value of a variable; none where it is empty, as scripts leave those that they do not need.
pub fn environment(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Where the embedded lake and the checkpoints live.
    #[arg(
        long,
        value_name = "DIR",
        env = "LOGMILL_DATA",
        default_value = "./logmill-data",
        global = true
    )]
    pub data: PathBuf,

    /// The form of results on stdout; errors and logs follow it on stderr. Only `query` writes csv
    /// and parquet.
    #[arg(short, long, value_enum, default_value_t = Format::Text, global = true)]
    pub format: Format,

    /// Say more; twice for debugging.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Say nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Whether to use colours.
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true)]
    pub color: Color,

    /// The form of logs on stderr. By default `short`, and `json` where `--format` is for programs.
    #[arg(long, value_enum, env = "LOGMILL_LOG_FORMAT", value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,

    #[command(flatten)]
    pub given: Given,
}

impl Global {
    /// The form of logs.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(match self.format.is_for_machines() {
            true => LogFormat::Json,
            false => LogFormat::Short,
        })
    }

    /// Whether errors and progress are log lines like all others.
    pub fn logs_everything(&self) -> bool {
        self.log_format.is_some_and(|format| format != LogFormat::Short)
    }
}

/// The form of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Level and message, for people at a terminal.
    Short,
    /// `time | service | LEVEL | logger | message field=value …`, one line each.
    Text,
    /// One JSON object per line: `time`, `service`, `level`, `logger`, `message`, and the fields.
    Json,
}

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences for people.
    Text,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Whether a program reads the output.
    pub fn is_for_machines(self) -> bool {
        matches!(self, Self::Json | Self::Ndjson)
    }
}

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The decision for a stream.
    pub fn on(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && environment("NO_COLOR").is_none(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// A limit of results, which cannot be none.
///
/// # Errors
/// It is no whole number, or zero.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| *limit > 0);
    limit.ok_or_else(|| "expected a whole number from 1 on".to_owned())
}

/// A time, as pipeline files write it.
///
/// # Errors
/// It has no unit, or is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let period = Period::parse(text).map(|period| period.0).filter(|time| !time.is_zero());
    period.ok_or_else(|| "expected a duration such as 500ms, 30s or 5m".to_owned())
}

/// All that the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Look(commands::look::Look),
    Demo(commands::demo::Demo),
    Run(commands::run::Run),
    Serve(commands::serve::Serve),
    Check(commands::check::Check),
    Setup(commands::setup::Setup),
    Test(commands::test::Test),
    Query(commands::query::Query),
    Audit(commands::audit::Audit),
    Where(commands::locate::Where),
    Splits(commands::splits::Splits),
    Tail(commands::tail::Tail),
    DeadLetters(commands::dead_letters::DeadLetters),
    Connectors(commands::connectors::Connectors),
    Config(commands::config::Config),
    Generate(commands::generate::Generate),
    Completions(commands::completions::Completions),
    /// Answers one query for `serve`: asked on stdin, answered on stdout.
    #[command(hide = true)]
    AnswerQuery,
    /// What a blueprint brings, with its own arguments.
    #[command(skip)]
    Blueprint(&'static Blueprint, ArgMatches),
}
