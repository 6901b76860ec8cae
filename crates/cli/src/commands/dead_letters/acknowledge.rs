//! `logmill dead-letters ack`: closes dead letters that nobody needs any more.
//!
//! What is closed stays in the table `dead_letters` with the state `acknowledged`. It is noted in
//! epochs, as a replay is, so that an interrupted call is finished by the next one.

use std::io::Write;

use clap::{ArgGroup, Args};
use contract::Result;
use query::Session;
use runtime::replay::Purpose;

use super::requests::Selection;
use super::{of_record, replay};
use crate::arguments::Global;
use crate::failure::Exit;
use crate::pipeline::Named;
use crate::{origins, output, signals};

const EXAMPLES: &str = "\
Examples:
  logmill dead-letters ack web.yaml 'access.log@4096' 'access.log@9120'
  logmill dead-letters ack web.yaml --reason 'no status'
  logmill dead-letters ack web.yaml --all

They are not deleted: `dead-letters list --all` shows them as acknowledged. Where an origin has no
dead letter at all, nothing is closed, and the exit code is 2.";

/// Close open dead letters without giving them again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = which())]
pub struct Acknowledge {
    #[command(flatten)]
    place: Named,

    /// Origins of records, `split@position`, as `list` prints them; a file also by its path from
    /// here. That closes all open letters of a record; `#number` behind it one of its rows, and
    /// `--sink` those of one sink.
    ids: Vec<String>,

    /// Those that this sink lacks.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,

    /// Those whose reason contains this text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// All that are open.
    #[arg(long, conflicts_with_all = ["ids", "sink", "reason"])]
    all: bool,
}

/// Closing everything must be asked for.
fn which() -> ArgGroup {
    ArgGroup::new("which").required(true).multiple(true).args(["ids", "sink", "reason", "all"])
}

pub async fn start(acknowledge: &Acknowledge, session: &Session, global: &Global) -> Result<Exit> {
    let origins = acknowledge.ids.iter().map(|id| origins::required(id));
    let origins = origins.collect::<Result<Vec<_>>>()?;
    if !acknowledge.ids.is_empty() {
        let name = acknowledge.place.load(&global.data)?.pipeline.name;
        for id in &acknowledge.ids {
            of_record(session, id, Some(&name)).await?;
        }
    }
    let selection = Selection {
        purpose: Purpose::Acknowledge,
        sink: acknowledge.sink.clone(),
        reason: acknowledge.reason.clone(),
        origins: origins.concat(),
    };
    let report = replay::take(&acknowledge.place, &selection, global, signals::stop()?).await?;
    output::value(global, &report, |out| match (report.taken, report.finished_interrupted) {
        (_, true) => writeln!(out, "finished what was interrupted; call again for what is open"),
        (0, false) => writeln!(out, "{} has no such dead letter that is open", report.pipeline),
        (taken, false) => writeln!(out, "{} closed", output::plain(taken, "dead letter")),
    })?;
    Ok(signals::exit())
}
