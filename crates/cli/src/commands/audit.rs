//! `logmill audit`: proves that every sink holds what was delivered to it, once.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use contract::sink::Proof;
use contract::{Lineage, Result};
use query::audit::{
    Difference, DifferenceKind, Elsewhere, Gone, Missed, Moved, Replaced, Report, SinkReport,
    Unexplained, Unfinished, Unreadable,
};
use runtime::Pipeline;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::pipeline::{self, Loaded, Several};
use crate::{failure, output};

const EXAMPLES: &str = "\
Examples:
  logmill audit web.yaml
  logmill audit web.yaml --format json | jq .complete

Exits with 3 if anything is missing, doubled or unexpected, or if an epoch was decided and is not
finished; else with 1 if a sink cannot be read. The others are audited all the same, and so are the
other pipelines where the file has several: the exit code is the worst.";

/// Compare what every sink holds with the ledger, row by row.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Audit {
    #[command(flatten)]
    pipelines: Several,
}

pub async fn start(audit: &Audit, global: &Global) -> Result<Exit> {
    let all = audit.pipelines.load(&global.data)?;
    if let [one] = &all[..] {
        let report = report_of(&one.pipeline).await?;
        output::value(global, &report, |out| print(&report, out))?;
        return Ok(exit(&report));
    }
    let (mut reports, mut worst) = (Vec::new(), Exit::Done);
    for Loaded { pipeline, .. } in &all {
        match report_of(pipeline).await {
            Ok(report) => {
                worst = worst.worse(exit(&report));
                reports.push(report);
            }
            Err(error) => {
                let error = error.context(format!("pipeline {:?}", pipeline.name));
                worst = worst.worse(failure::report(&error, global));
            }
        }
    }
    output::list(global, &reports, |out| reports.iter().try_for_each(|report| print(report, out)))?;
    Ok(worst)
}

async fn report_of(pipeline: &Pipeline) -> Result<Report> {
    let checkpoints = pipeline::checkpoints(pipeline).await?;
    let sinks = pipeline::audited(pipeline, &checkpoints).await?;
    query::audit::audit(&pipeline.name, &sinks, &checkpoints).await
}

/// How a command ends with this report: what is known to be wrong weighs more than what is not
/// known.
pub fn exit(report: &Report) -> Exit {
    match report {
        Report { complete: true, .. } => Exit::Done,
        report if report.differs() => Exit::Difference,
        _ => Exit::External,
    }
}

/// Prints a report for people.
///
/// # Errors
/// Those of `out`.
pub fn print(report: &Report, out: &mut output::Stdout) -> std::io::Result<()> {
    for lineage in &report.lineages {
        let part = match Lineage::new(lineage.lineage.as_str()) {
            main if main == Lineage::main() => String::new(),
            other => format!(", {other},"),
        };
        writeln!(out, "audit of {}{part} up to epoch {}", report.pipeline, lineage.epoch)?;
    }
    for Unfinished { lineage, epoch, gone } in &report.unfinished {
        let then = match gone.is_empty() {
            true => "the next start delivers it to each sink whose token lacks it",
            false => "nobody is known to have finished it",
        };
        writeln!(out, "epoch {epoch} of {lineage} is decided and not finished: {then}")?;
        for Gone { sink, place } in gone {
            writeln!(
                out,
                "  {place:?} of sink {sink:?} is not there: restore it, or start again, which \
                 delivers the epoch where a token shows that it is lacking, and else names the \
                 ways to go on"
            )?;
        }
    }
    for sink in &report.sinks {
        writeln!(out, "  {}: {}", sink.sink, verdict(sink, report.unfinished.is_empty()))?;
        if let Some(hint) = sink.unreadable.as_ref().and_then(|why| why.hint.as_ref()) {
            writeln!(out, "    hint: {hint}")?;
        }
        if sink.foreign > 0 {
            writeln!(out, "    {} without an origin: somebody else's", sink.foreign)?;
        }
        if sink.lost > 0 {
            writeln!(out, "    {} booked as lost with `--accept-loss`", sink.lost)?;
        }
        for Replaced { place, was, now, from, to, rows, .. } in &sink.replaced {
            let epochs = output::epochs(*from, *to);
            writeln!(out, "    {rows} of {epochs} went into an earlier {place}: {was}, now {now}")?;
        }
        if let Some(unexplained) = &sink.unexplained {
            print_unexplained(unexplained, out)?;
        }
        for Missed { lineage, from, to } in &sink.gaps {
            let epochs = output::epochs(*from, *to);
            writeln!(out, "    did not see {epochs} of {lineage}: the file had it not then")?;
        }
        print_moved(sink, out)?;
        for difference in &sink.differences {
            let kind = match difference.kind {
                DifferenceKind::Missing => "missing",
                DifferenceKind::Duplicate => "twice or more",
                DifferenceKind::Unexpected => "not expected",
            };
            let Difference { rows, split, epoch, from, to, .. } = difference;
            match split.is_empty() {
                true => writeln!(out, "    {rows} {kind}: of splits that are gone")?,
                false => writeln!(out, "    {rows} {kind}: {split}@{from}..{to}, epoch {epoch}")?,
            }
        }
    }
    report.elsewhere.iter().try_for_each(|elsewhere| print_elsewhere(elsewhere, out))?;
    writeln!(out, "{}", if report.complete { "complete" } else { "NOT COMPLETE" })
}

/// Says which checkpoints are missing that could explain rows.
fn print_unexplained(unexplained: &Unexplained, out: &mut output::Stdout) -> std::io::Result<()> {
    let Unexplained { lineages, decided, from, until, rows } = unexplained;
    let (lineages, rows) = (lineages.join(", "), output::plain(*rows, "row"));
    if *decided == 0 {
        return writeln!(
            out,
            "    the checkpoints of {lineages} up to epoch {until} are missing, of which {rows} \
             are here: restore them, or `run --adopt` to go on from what the sinks hold"
        );
    }
    let epochs = output::epochs(*from, *until);
    writeln!(
        out,
        "    the checkpoints of {lineages} end with epoch {decided}, and {rows} of {epochs} are \
         here: the checkpoints of {epochs} are missing; restore the folder that holds them"
    )
}

/// Says where rows went that are not here, and need not be.
fn print_moved(sink: &SinkReport, out: &mut output::Stdout) -> std::io::Result<()> {
    if sink.away == 0 {
        return Ok(());
    }
    // Lineages have epochs of their own; people want to know which place.
    let mut places: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
    for Moved { kind, place, from, to, rows, .. } in &sink.moved {
        let (first, last, all) = places.entry((kind, place)).or_insert((*from, *to, 0));
        (*first, *last, *all) = ((*first).min(*from), (*last).max(*to), *all + rows);
    }
    for ((kind, place), (from, to, rows)) in places {
        let (rows, epochs) = (output::plain(rows, "row"), output::epochs(from, to));
        let place = place.as_deref().map_or_else(String::new, |place| format!(" {place:?}"));
        writeln!(out, "    {rows} of {epochs} went to {kind}{place}, where it wrote then")?;
    }
    let away = output::plain(sink.away, "row");
    writeln!(out, "    {away} of these are not here; where they went was not read")
}

fn print_elsewhere(elsewhere: &Elsewhere, out: &mut output::Stdout) -> std::io::Result<()> {
    let Elsewhere { sink, kind, place, rows } = elsewhere;
    let rows = output::plain(*rows, "row");
    let place = match (kind, place) {
        (Some(kind), Some(place)) => format!(" into {kind} {place:?}"),
        _ => String::new(),
    };
    writeln!(
        out,
        "  {sink}: {rows} delivered{place}; the file has no sink of this name any more, so they \
         were not read"
    )
}

/// What is found of a sink. Of an epoch that is not finished nothing is said.
fn verdict(sink: &SinkReport, is_all: bool) -> String {
    let SinkReport { expected, found, missing, duplicate, unexpected, .. } = sink;
    if let Some(Unreadable { error, .. }) = &sink.unreadable {
        return format!("not read: {error}");
    }
    let (rows, sent) = (output::plain(*found, "row"), output::plain(*expected, "row"));
    let part = if is_all { "" } else { " of finished epochs" };
    match sink.proof {
        Proof::None => format!("{sent} sent, cannot be read back"),
        Proof::Count if sink.is_complete() => format!("{rows}{part}, as many as there should be"),
        Proof::Origin if sink.is_complete() => format!("{rows}{part}, each of them once"),
        _ => format!(
            "{rows} of {expected}: {missing} missing, {duplicate} doubled, {unexpected} not \
             expected"
        ),
    }
}
