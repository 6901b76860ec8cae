//! `logmill where`: follows one line to its epoch, its rows in every sink, or its dead letter.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use clap::Args;
use contract::record::{EPOCH, ORDINAL, positions};
use contract::source::{Again, Until};
use contract::{Error, Origin, Position, Result};
use query::letters::ShownLetter;
use query::results::{self, InWindow, MadeOf, Passage};
use query::trace::{self, Found, Places, Trace, TracedSource};
use runtime::DEAD_LETTERS;
use runtime::graph::Pipeline;

use crate::arguments::{self, Global};
use crate::failure::Exit;
use crate::output::rows::visible;
use crate::pipeline::{self, Named};
use crate::{origins, output};

const EXAMPLES: &str = "\
Examples:
  logmill where web.yaml '83.149.9.216 - - [17/May/2015:10:05:03'     any part of the line
  logmill where web.yaml '/var/log/nginx/access.log@4096'            an origin, split@position
  logmill where web.yaml 'GET /admin' --limit 3 --format json
  logmill where web.yaml 'GET /admin' --all";

/// Follow a line, by a part of its text or by its origin `split@position`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Where {
    #[command(flatten)]
    place: Named,

    /// A part of the line as the source has it, or an origin.
    #[arg(value_name = "TEXT|ID")]
    wanted: String,

    /// Lines that are followed at most, if several contain the text.
    #[arg(long, value_name = "LINES", default_value_t = 10, value_parser = arguments::at_least_one)]
    limit: usize,

    /// Follow all lines that contain the text.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

pub async fn start(place: &Where, global: &Global) -> Result<Exit> {
    if place.wanted.trim().is_empty() {
        return Err(Error::config("there is no text to look for")
            .hint("name a part of the line as the source has it, or an origin, split@position"));
    }
    let bound = place.place.load(&global.data);
    let bound = bound.map_err(|error| if_exchanged(error, place))?;
    let bound = Arc::new(bound.pipeline);
    let checkpoints = pipeline::checkpoints(&bound).await?;
    let sources = bound.sources.iter();
    let sources: Vec<_> = sources
        .map(|node| TracedSource { name: node.name.clone(), source: node.source.clone() })
        .collect();
    let sinks = pipeline::audited(&bound, &checkpoints).await?;
    let places = Places {
        pipeline: &bound.name,
        sources: &sources,
        sinks: &sinks,
        checkpoints: checkpoints.objects(),
    };
    let Found { records, mut traces } = find(place, &places).await?;
    if traces.is_empty() {
        return Err(Error::config(format!("no line contains {:?}", place.wanted))
            .hint("lines that the sources no longer have are found by origin, split@position"));
    }
    for trace in &mut traces {
        trace.windows = windows(trace, &bound, &places).await?;
        update_states(trace, &global.data, &bound.name).await?;
    }
    output::list(global, &traces, |out| traces.iter().try_for_each(|trace| print(trace, out)))?;
    if (traces.len() as u64) < records {
        let (shown, lines) = (traces.len(), output::counted(records, "line"));
        output::remark(
            global,
            &format!("{shown} of {lines} that contain it; `--all` follows them all"),
        );
    }
    Ok(Exit::Done)
}

/// The error of a pipeline file that is none, where it stands second.
fn if_exchanged(error: Error, place: &Where) -> Error {
    if place.place.file.exists() || !Path::new(&place.wanted).is_file() {
        return error;
    }
    let (file, wanted) = (place.place.file.display(), &place.wanted);
    error.hint(format!("the pipeline file comes first: logmill where {wanted} '{file}'"))
}

async fn find(place: &Where, places: &Places<'_>) -> Result<Found> {
    for origin in origins::forms(&place.wanted) {
        if trace::is_known(&origin, places).await? {
            let trace = trace::by_origin(&origin, places).await?;
            return Ok(Found { records: 1, traces: vec![trace] });
        }
    }
    let limit = if place.all { usize::MAX } else { place.limit };
    trace::by_text(&place.wanted, limit, places).await
}

/// The windows that a record went into which its source still has.
async fn windows(
    trace: &Trace,
    pipeline: &Arc<Pipeline>,
    places: &Places<'_>,
) -> Result<Vec<InWindow>> {
    let has_windows = pipeline.steps.iter().any(|node| node.step.makes_records());
    let Some(origin) = Origin::parse(&trace.origin).filter(|_| has_windows) else {
        return Ok(Vec::new());
    };
    let (Some(_), Some(passage)) = (&trace.text, results::passage(&origin, places).await?) else {
        return Ok(Vec::new());
    };
    let source = pipeline.sources.iter().position(|node| node.name == passage.source);
    let Some(source) = source else { return Ok(Vec::new()) };
    let Some(record) = read(pipeline, source, &passage, origin.position).await? else {
        return Ok(Vec::new());
    };
    let Passage { epoch, watermarks, results, .. } = passage;
    let found = runtime::windows::of_record(pipeline, (source, record), epoch, &watermarks)?;
    let found = found.into_iter().map(|one| InWindow {
        results: results.get(&one.step).cloned().filter(|_| !one.is_late),
        step: one.step,
        window: one.window,
        late: one.is_late,
    });
    Ok(found.collect())
}

/// A record as its source gives it; none where it refuses it.
async fn read(
    pipeline: &Pipeline,
    source: usize,
    passage: &Passage,
    position: i64,
) -> Result<Option<RecordBatch>> {
    let source = &pipeline.sources[source].source;
    if source.again() == Again::Never {
        return Ok(None);
    }
    let (from, to) = (Position::new(position), Position::new(position + 1));
    let mut reader = source.open(&passage.split, Some(&from), Until::Position(to)).await?;
    let Some(batch) = reader.next_batch().await? else { return Ok(None) };
    let row = positions(&batch.records)?.values().iter().position(|at| *at == position);
    Ok(row.map(|row| batch.records.slice(row, 1)))
}

/// Gives the dead letters of a record the states that they have now: what a replay or an `ack` made
/// of one stands beside it.
async fn update_states(trace: &mut Trace, data: &Path, pipeline: &str) -> Result<()> {
    let letters = trace.sinks.iter_mut().filter(|held| held.sink == DEAD_LETTERS);
    let rows = letters.flat_map(|held| &mut held.rows).collect::<Vec<_>>();
    let Some(origin) = Origin::parse(&trace.origin).filter(|_| !rows.is_empty()) else {
        return Ok(());
    };
    let known = query::letters::of_record(data, pipeline, &origin).await?;
    for row in rows {
        let is_it = |shown: &&ShownLetter| {
            let letter = &shown.letter;
            let same = |key: &str, name: &Option<String>| row[key].as_str() == name.as_deref();
            same("step", &letter.step)
                && same("sink", &letter.sink)
                && row[EPOCH].as_u64() == Some(letter.epoch)
                && row[ORDINAL].as_i64().unwrap_or_default() == letter.reject.ordinal
        };
        if let Some(shown) = known.iter().find(is_it) {
            row["state"] = shown.state.clone().into();
        }
    }
    Ok(())
}

fn print(trace: &Trace, out: &mut output::Stdout) -> std::io::Result<()> {
    if let Some(asked) = &trace.asked {
        writeln!(out, "{asked} lies inside of the record that begins at")?;
    }
    writeln!(out, "{}", trace.origin)?;
    match &trace.text {
        None if trace.made_of.is_some() => {}
        Some(text) => writeln!(out, "  text: {}", visible(text))?,
        None => writeln!(out, "  text: the source no longer has it")?,
    }
    match (trace.epoch, &trace.made_of) {
        (epoch, Some(made_of)) => print_made(epoch, made_of, out)?,
        (Some(epoch), None) => writeln!(out, "  read in epoch {epoch}")?,
        (None, None) => writeln!(out, "  not read, or in an epoch that is no longer known")?,
    }
    for InWindow { step, window, late, results } in &trace.windows {
        match late {
            true => writeln!(out, "  {step}: too late, its window was closed")?,
            false => writeln!(out, "  {step}: in the window {window}")?,
        }
        if let Some(made) = results {
            let (split, last, epoch) = (&made.split, made.to - 1, made.epoch);
            writeln!(out, "    epoch {epoch} made {split}@{} to {last}", made.from)?;
        }
    }
    for held in &trace.sinks {
        match held.rows.as_slice() {
            _ if !held.readable => writeln!(out, "  {}: cannot be read back", held.sink)?,
            [] => writeln!(out, "  {}: no row", held.sink)?,
            rows => {
                for row in rows {
                    writeln!(out, "  {}: {row}", held.sink)?;
                }
            }
        }
    }
    Ok(())
}

fn print_made(
    epoch: Option<u64>,
    made_of: &MadeOf,
    out: &mut output::Stdout,
) -> std::io::Result<()> {
    let MadeOf { step, ranges } = made_of;
    match epoch {
        Some(epoch) => writeln!(out, "  made by transform {step} in epoch {epoch}")?,
        None => writeln!(out, "  made by transform {step}, in an epoch that is no longer known")?,
    }
    for range in ranges {
        let (split, last, epoch) = (&range.split, range.to - 1, range.epoch);
        writeln!(
            out,
            "    of records among {split}@{} to {last}, read in epoch {epoch}",
            range.from
        )?;
    }
    Ok(())
}
