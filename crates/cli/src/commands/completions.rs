//! `logmill completions`: a script that makes a shell complete commands and options.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;
use contract::Result;

use crate::arguments;
use crate::failure::Exit;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  logmill completions bash > /etc/bash_completion.d/logmill
  logmill completions zsh > \"${fpath[1]}/_logmill\"";

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn start(completions: &Completions) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut arguments::command(), "logmill", &mut script);
    output::write(|out| out.write_all(&script))?;
    Ok(Exit::Done)
}
