//! `logmill splits retry`: another try for what cannot be read, now.

use std::io::Write;

use clap::Args;
use contract::source::Lineages;
use contract::{Error, Result, Section};
use runtime::retries;
use serde::Serialize;

use super::Known;
use crate::arguments::Global;
use crate::failure::Exit;
use crate::output;
use crate::pipeline::Named;

/// Have a running pipeline try at once what it could not read, instead of at the next try.
///
/// It is asked through its data folder, on the same machine and with the same `--data`. Where
/// nobody runs the pipeline there is nothing to do: each start tries all of them.
#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    pipeline: Named,

    /// Only this split, as `splits list` prints it; a file also by its path from here.
    split: Option<String>,
}

/// What came of it.
#[derive(Serialize)]
struct Asked<'a> {
    pipeline: &'a str,
    /// Whether a process runs it; null where nobody can tell.
    running: Option<bool>,
    /// Whether a split that cannot be read is tried alone; where each is a lineage of its own, none
    /// is.
    isolated: bool,
    /// How many splits are tried now.
    tried: usize,
    /// The first of them.
    splits: Vec<String>,
}

pub async fn start(retry: &Retry, global: &Global) -> Result<Exit> {
    let known = Known::read(&retry.pipeline, &global.data).await?;
    let split = retry.split.as_deref().map(|split| find(split, &known)).transpose()?;
    let (name, isolated) = (&known.pipeline.name, has_shared(&known));
    let mut asked =
        Asked { pipeline: name, running: known.is_running, tried: 0, splits: Vec::new(), isolated };
    if known.is_running != Some(false) && has_shared(&known) {
        let answer = retries::ask(&known.pipeline.data, name, split.as_deref()).await?;
        let answer = answer.ok_or_else(|| unreachable(&known))?;
        (asked.tried, asked.splits) = (answer.count, answer.splits);
    }
    output::value(global, &asked, |out| print(&asked, out))?;
    Ok(Exit::Done)
}

/// Whether any source has splits that share a lineage: only these are tried alone.
fn has_shared(known: &Known) -> bool {
    known.pipeline.sources.iter().any(|node| node.lineages == Lineages::One)
}

/// The split that is meant.
fn find(wanted: &str, known: &Known) -> Result<String> {
    let path = std::path::absolute(wanted).ok();
    let path = path.and_then(|path| path.to_str().map(str::to_owned));
    let forms = [Some(wanted.to_owned()), path];
    let is_it = |id: &str| forms.iter().flatten().any(|form| form == id);
    let Some(view) = known.views.iter().find(|view| is_it(&view.split)) else {
        let failing = known.views.iter().filter(|view| view.phase.is_failure());
        let names: Vec<_> = failing.map(|view| view.split.as_str()).take(10).collect();
        let hint = match names.is_empty() {
            true => "`splits list` names them".to_owned(),
            false => Section::did_you_mean(wanted, names),
        };
        let name = &known.pipeline.name;
        return Err(Error::config(format!("pipeline {name:?} has no split {wanted:?}")).hint(hint));
    };
    match view.phase.is_failure() {
        true => Ok(view.split.clone()),
        false => Err(Error::config(format!(
            "split {wanted:?} did not fail: it is {}",
            view.phase.word()
        ))
        .hint("`splits list FILE --failing` names those that did")),
    }
}

fn unreachable(known: &Known) -> Error {
    let data = known.pipeline.data.display().to_string();
    let name = &known.pipeline.name;
    match &known.pipeline.settings.checkpoint.url {
        Some(url) => Error::external(format!(
            "who runs {name:?} does not answer through the data folder {data:?}, and cannot be \
             reached through the shared store {url:?}"
        ))
        .hint(
            "ask on the machine that runs it, with its `--data`; it also tries them by itself \
             (`splits list` says when), and at each start",
        ),
        None => Error::external(format!(
            "who runs {name:?} does not answer through the data folder {data:?}"
        ))
        .hint("it may be starting, or stand still: ask again, or restart it, which tries all"),
    }
}

fn print(asked: &Asked<'_>, out: &mut output::Stdout) -> std::io::Result<()> {
    let Asked { pipeline, running, tried, splits, .. } = asked;
    match (running, tried) {
        (_, 0) if !asked.isolated => writeln!(
            out,
            "each split of {pipeline} is a lineage of its own, which recovers as a whole and tries \
             again by itself: there is none to be tried alone"
        ),
        (Some(false), _) => {
            writeln!(out, "nobody runs {pipeline}: each start tries all that could not be read")
        }
        (_, 0) => writeln!(out, "{pipeline} has no such split that waits for another try"),
        _ => {
            let count = output::counted(*tried as u64, "split");
            writeln!(out, "{pipeline} tries {count} now; `splits list` says what comes of it")?;
            splits.iter().try_for_each(|split| writeln!(out, "  {split}"))?;
            match tried - splits.len() {
                0 => Ok(()),
                more => writeln!(out, "  and {}", output::counted(more as u64, "more split")),
            }
        }
    }
}
