//! `logmill setup`: what pipelines need in other systems, and makes it.

use std::io::Write;

use clap::Args;
use contract::Result;

use crate::arguments::Global;
use crate::failure::{self, Exit};
use crate::needs::{self, Action, Asked, Told};
use crate::output;
use crate::pipeline::Several;

const EXAMPLES: &str = "\
Examples:
  logmill setup web.yaml                what would be made; changes nothing
  logmill setup web.yaml --apply        makes it: a second time there is nothing to do
  logmill setup web.yaml --format json | jq '.[] | select(.action == \"make\")'

Made are topics, tables, buckets and index templates, as the pipeline file describes them (else as
the other system does by default), so that a run needs no right to do so. What exists is never
changed: where it differs from the file, that is told. Exits with 1 if a server does not answer or
refuses, and after --apply also if something is missing that somebody else must make.";

/// Show what pipelines need in other systems (topics, tables, buckets, index templates), or make
/// what is missing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Setup {
    #[command(flatten)]
    pipelines: Several,

    /// Only show what would be made; this is the default.
    #[arg(long, conflicts_with = "apply")]
    plan: bool,

    /// Make what is missing.
    #[arg(long)]
    apply: bool,
}

pub async fn start(setup: &Setup, global: &Global) -> Result<Exit> {
    let (mut asked, mut exit) = (Vec::new(), Exit::Done);
    let mut is_known = true;
    for loaded in &setup.pipelines.load(&global.data)? {
        let answers = needs::ask(loaded, global).await?;
        asked.extend(answers.asked);
        is_known &= answers.exit == Exit::Done;
        exit = exit.worse(answers.exit);
    }
    let told = match setup.apply {
        false => needs::planned(&asked),
        true => {
            let (told, made) = apply(&asked, global).await;
            exit = exit.worse(made);
            told
        }
    };
    output::list(global, &told, |out| print(&told, setup.apply, is_known, out))?;
    Ok(exit)
}

/// Makes what is missing, in the order of the files. What fails is told and leaves the rest to be
/// made.
async fn apply(asked: &[Asked], global: &Global) -> (Vec<Told>, Exit) {
    let (mut told, mut exit) = (needs::planned(asked), Exit::Done);
    let needed = asked.iter().flat_map(|one| one.found.iter().map(move |it| (one, it)));
    for ((one, need), told) in needed.zip(&mut told) {
        if !need.is_made() {
            continue;
        }
        match one.make(need).await {
            Ok(()) => told.action = Action::Made,
            Err(error) => {
                let tried =
                    format!("could not make {} {:?} for {}", need.kind, need.name, one.part);
                exit = exit.worse(failure::report(&error.context(tried), global));
                told.action = Action::Act;
            }
        }
    }
    needs::settle(&mut told);
    if told.iter().any(|one| one.action == Action::Act) {
        exit = exit.worse(Exit::External);
    }
    (told, exit)
}

fn print(
    told: &[Told],
    applied: bool,
    is_known: bool,
    out: &mut output::Stdout,
) -> std::io::Result<()> {
    let mut pipeline = "";
    for one in told {
        if one.pipeline() != pipeline {
            pipeline = one.pipeline();
            writeln!(out, "{pipeline}")?;
        }
        one.print(out)?;
    }
    let count = |action| told.iter().filter(|one| one.action == action).count() as u64;
    match (applied, count(Action::Make), count(Action::Made)) {
        (_, 0, 0) if is_known => writeln!(out, "nothing to make"),
        (_, 0, 0) => writeln!(out, "nothing to make of what could be asked"),
        (false, to_make, _) => {
            writeln!(out, "{} to make; `--apply` does so", output::plain(to_make, "thing"))
        }
        (true, _, made) => writeln!(out, "{} made", output::plain(made, "thing")),
    }
}
