//! `logmill`: mills logs and events, delivers them exactly once, and proves it.
//!
//! One file per command under `commands`. Results go to stdout, everything else to stderr; the
//! exit code says who has to act.

mod allocator;
mod arguments;
mod blueprints;
mod commands;
mod detection;
mod elsewhere;
mod failure;
mod logging;
mod memory;
mod needs;
mod origins;
mod output;
mod pipeline;
mod progress;
mod secrets;
mod signals;
mod standard_input;
mod variables;
mod watch;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use contract::error::Context;
use failure::Exit;

fn main() -> ExitCode {
    let arguments = Arguments::read().unwrap_or_else(|error| failure::misread(error));
    match &arguments.command {
        Command::Query(_) => allocator::keep_until_the_end(),
        _ => allocator::give_back_soon(),
    }
    failure::stop_on_defects();
    runtime::descriptors::raise();
    logging::start(&arguments.command, &arguments.global);
    match start(&arguments) {
        Ok(exit) => exit.code(),
        Err(error) => failure::report(&error, &arguments.global).code(),
    }
}

fn start(arguments: &Arguments) -> contract::Result<Exit> {
    arguments.global.given.install()?;
    let tasks = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(allocator::IDLE_THREAD_KEPT)
        .build()
        .bug("could not start the threads")?;
    let outcome = tasks.block_on(dispatch(arguments));
    // After an error other tasks may be in the middle of something that takes its being dropped
    // for a defect; they end with the process.
    std::mem::forget(tasks);
    query::spill::remove_all();
    outcome
}

async fn dispatch(arguments: &Arguments) -> contract::Result<Exit> {
    let global = &arguments.global;
    if !matches!(arguments.command, Command::Query(_)) {
        output::check_format(global)?;
    }
    match &arguments.command {
        Command::Look(look) => commands::look::start(look, global).await,
        Command::Demo(demo) => commands::demo::start(demo, global).await,
        Command::Run(run) => commands::run::start(run, global).await,
        Command::Serve(serve) => commands::serve::start(serve, global).await,
        Command::Check(check) => commands::check::start(check, global).await,
        Command::Setup(setup) => commands::setup::start(setup, global).await,
        Command::Test(test) => commands::test::start(test, global),
        Command::Query(query) => commands::query::start(query, global).await,
        Command::Audit(audit) => commands::audit::start(audit, global).await,
        Command::Where(place) => commands::locate::start(place, global).await,
        Command::Splits(splits) => commands::splits::start(splits, global).await,
        Command::Tail(tail) => commands::tail::start(tail, global).await,
        Command::DeadLetters(letters) => commands::dead_letters::start(letters, global).await,
        Command::Connectors(connectors) => commands::connectors::start(connectors, global),
        Command::Config(config) => commands::config::start(config),
        Command::Generate(generate) => commands::generate::start(generate),
        Command::AnswerQuery => commands::serve::answer_query().await,
        Command::Blueprint(blueprint, own) => blueprints::start(blueprint, own, global).await,
        Command::Completions(completions) => commands::completions::start(completions),
    }
}
