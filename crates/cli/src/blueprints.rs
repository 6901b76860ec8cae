//! The list of commands that blueprints bring.
//!
//! A new one is a crate in the blueprint's folder, one line here and one in two manifests. Nothing
//! else in this program knows a blueprint by its name.

use async_trait::async_trait;
use clap::ArgMatches;
use contract::Result;
use desk::{Blueprint, Desk, Tail};

use crate::arguments::Global;
use crate::commands::tail;
use crate::failure::Exit;
use crate::signals;

/// Every command of a blueprint.
pub static ALL: &[Blueprint] = &[Blueprint {
    command: command_commerce_logs::command,
    run: |matches, desk| Box::pin(command_commerce_logs::run(matches, desk)),
}];

/// The command of this name, if a blueprint brings it.
pub fn find(name: &str) -> Option<&'static Blueprint> {
    ALL.iter().find(|blueprint| (blueprint.command)().get_name() == name)
}

/// Runs the command of a blueprint.
///
/// # Errors
/// Those of the command.
pub async fn start(blueprint: &Blueprint, matches: &ArgMatches, global: &Global) -> Result<Exit> {
    (blueprint.run)(matches, &Program { global }).await?;
    Ok(signals::exit())
}

/// This program, as blueprints know it.
struct Program<'a> {
    global: &'a Global,
}

#[async_trait(?Send)]
impl Desk for Program<'_> {
    async fn tail(&self, tail: &Tail) -> Result<()> {
        tail::watch(tail, self.global).await
    }
}
