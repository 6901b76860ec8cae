//! `format: auto`: finds out which format a step takes, and keeps it for all later runs.
//!
//! The columns of a step follow from its format, so it is decided before the pipeline is made: by
//! what an earlier run kept beside the checkpoints, else from the first lines of the sources. Only
//! who runs the pipeline keeps it; whoever else asks changes nothing.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, StringViewArray};
use connector_stdio::Stdio;
use contract::discovery::list;
use contract::error::Context;
use contract::record::MESSAGE;
use contract::source::{Again, Lineages, Source, Split, Until};
use contract::spec::BuildContext;
use contract::{Error, Place, Result, Section};
use formats::join::Join;
use formats::{Detected, Format, FormatConfig, Undecided};
use plan::{NodeRef, Plan, SourceNode};
use runtime::Pipeline;
use runtime::graph::{checkpoint_folder, checkpoint_store};
use state::TakenFormat;
use tokio::sync::watch;

/// So many splits are looked at for lines.
const SPLITS_MAX: usize = 16;

/// The sources that can join lines.
const JOINING: [&str; 2] = ["file", "stdio"];

/// So many lines are enough to guess the fields of JSON from.
const LINES_ENOUGH: usize = 2_000;

/// Lines that are enough while more of them come.
const LINES_PATIENT: usize = 100;

/// How long until sources without a line are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// So much of standard input is looked at.
const STDIN_BYTES: usize = 256 << 10;

/// The source whose lines come once, and so are looked at where they wait for their reader.
const STDIN: &str = "stdio";

/// Who waits where there is no line yet to tell a format from.
#[derive(Clone, Debug)]
pub enum Patience {
    /// Nobody: it is an error.
    None,
    /// Who reads standard input now, until this turns true: its lines are still to come.
    ForStdin(watch::Receiver<bool>),
    /// Who follows all sources.
    ForAll(watch::Receiver<bool>),
}

impl Patience {
    /// Does some work, if that is not to stop before.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        let (Self::ForStdin(stop) | Self::ForAll(stop)) = self else { return Ok(work.await) };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {
                Err(Error::external("stopped before there was a line to tell the format from"))
            }
            done = work => Ok(done),
        }
    }
}

/// Where the first lines of an input stand.
enum Seen {
    Stdin,
    Splits(Arc<dyn Source>),
}

/// Which format a step takes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The step.
    pub step: String,
    /// The format.
    pub format: FormatConfig,
    taken: TakenFormat,
    is_kept: bool,
}

impl Decision {
    /// What is taken, and why.
    pub fn seen(&self) -> String {
        let kept = if self.is_kept { ", as an earlier run saw" } else { "" };
        format!("{}{kept}", self.taken.seen)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.step, self.seen())
    }
}

/// The formats of all steps that are told to find theirs out.
///
/// # Errors
/// Config, with the place in the file: no format fits, there is no line yet and nobody waits, or
/// what the step reads cannot be looked at. External: a source or the checkpoints cannot be read,
/// or who waits is to stop.
pub fn decide(plan: &Plan, data: &Path, patience: Patience) -> Result<Vec<Decision>> {
    let mut undecided = Vec::new();
    for (number, node) in plan.transforms.iter().enumerate() {
        if node.kind == "parse" && engine::is_undecided(&node.section)? {
            undecided.push(number);
        }
    }
    if undecided.is_empty() {
        return Ok(Vec::new());
    }
    // The caller may itself be a task, which cannot wait for others.
    let decided = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build();
            tasks.bug("could not start a thread")?.block_on(find_all(
                (plan, data),
                &undecided,
                patience,
            ))
        });
        looking.join()
    });
    decided.unwrap_or_else(|_| Err(Error::bug("looking for a format failed")))
}

/// Keeps what was decided, before the first record is read.
///
/// # Errors
/// External: the store does not answer, or another process decided otherwise just now.
pub async fn keep(decisions: &[Decision], pipeline: &Pipeline) -> Result<()> {
    for decision in decisions.iter().filter(|decision| !decision.is_kept) {
        let store = pipeline.checkpoint_store()?;
        let Decision { step, taken, .. } = decision;
        tracing::info!(pipeline = pipeline.name, step, format = taken.seen, "took a format");
        let held = store.decide_format(&pipeline.name, step, taken).await?;
        if held.settings != taken.settings {
            let message = format!("another process took another format for {step:?} just now");
            return Err(Error::external(message).hint("start again: the first decision holds"));
        }
    }
    Ok(())
}

/// Refuses a source that would give parts of containers' lines as if they were whole.
///
/// # Errors
/// Config, with the place in the file.
pub fn refuse_unjoined(plan: &Plan, decisions: &[Decision]) -> Result<()> {
    for node in plan.transforms.iter().filter(|node| node.kind == "parse") {
        let decided = decisions.iter().find(|decision| decision.step == node.name);
        let named = || Format::named(node.section.get("format")?.as_text()?);
        let format = decided.map(|decision| decision.format.format).or_else(named);
        let Some(join) = format.and_then(Join::of) else { continue };
        for input in &node.inputs {
            let NodeRef::Source(number) = input.node else { continue };
            let source = &plan.sources[number];
            let is_joined = source.section.get("join").and_then(Section::as_text);
            if JOINING.contains(&source.kind.as_str()) && is_joined != Some(join.name()) {
                let name = join.name();
                let message = format!("source {:?} does not join lines of {name}", source.name);
                return Err(Error::config(message).at(source.section.place()).field("join").hint(
                    format!("add `join: {name}` to it: long lines stand there in several parts"),
                ));
            }
        }
    }
    Ok(())
}

async fn find_all(
    (plan, data): (&Plan, &Path),
    numbers: &[usize],
    mut patience: Patience,
) -> Result<Vec<Decision>> {
    let mut decisions = Vec::with_capacity(numbers.len());
    for number in numbers {
        let node = &plan.transforms[*number];
        let decision = match kept(plan, data, &node.name).await? {
            Some(taken) => read(&node.name, taken)?,
            None => find((plan, data), *number, &mut patience).await.map_err(|error| {
                error.at(node.section.place()).context(format!("transform {:?}", node.name))
            })?,
        };
        decisions.push(decision);
    }
    Ok(decisions)
}

/// What an earlier run kept. Looking makes nothing.
async fn kept(plan: &Plan, data: &Path, step: &str) -> Result<Option<TakenFormat>> {
    if let Some(folder) = checkpoint_folder(&plan.settings, data)?
        && !folder.join(&plan.name).is_dir()
    {
        return Ok(None);
    }
    checkpoint_store(&plan.settings, data)?.taken_format(&plan.name, step).await
}

fn read(step: &str, taken: TakenFormat) -> Result<Decision> {
    let format = serde_json::from_str(&taken.settings)
        .external(|| format!("could not read the format that was kept for {step:?}"))?;
    Ok(Decision { step: step.to_owned(), format, taken, is_kept: true })
}

async fn find(
    (plan, data): (&Plan, &Path),
    number: usize,
    patience: &mut Patience,
) -> Result<Decision> {
    let node = &plan.transforms[number];
    let mut inputs = Vec::new();
    for input in &node.inputs {
        let NodeRef::Source(number) = input.node else { return Err(cannot_look(&input.place)) };
        let node = &plan.sources[number];
        let seen = match (node.kind.as_str(), &*patience) {
            (STDIN, Patience::None) => return Err(no_line_yet(&input.place)),
            (STDIN, _) => Seen::Stdin,
            _ => Seen::Splits(source(node, plan, data)?.ok_or_else(|| cannot_look(&input.place))?),
        };
        inputs.push((node.name.as_str(), seen));
    }
    let samples = samples(&node.name, &inputs, patience).await?;
    let detected = detect(&samples).map_err(Undecided::into_error)?.for_pipeline();
    let settings = serde_json::to_string(&detected.format).bug("a format is not JSON")?;
    let taken = TakenFormat { settings, seen: detected.to_string() };
    Ok(Decision { step: node.name.clone(), format: detected.format, taken, is_kept: false })
}

/// The first lines of the inputs of a step, which are waited for where somebody has the patience.
async fn samples(
    step: &str,
    inputs: &[(&str, Seen)],
    patience: &mut Patience,
) -> Result<Vec<Vec<String>>> {
    // A stream without a line has ended.
    let may_come = inputs.iter().any(|(_, seen)| matches!(seen, Seen::Splits(_)));
    let mut before = None;
    loop {
        let mut samples = Vec::new();
        for (name, seen) in inputs {
            let looked = match seen {
                Seen::Stdin => patience.unless_stopped(first_of_stdin(&mut samples)).await?,
                Seen::Splits(source) => first_lines(source.as_ref(), &mut samples).await,
            };
            looked.map_err(|error| error.context(format!("could not look at source {name:?}")))?;
        }
        let count = samples.iter().map(Vec::len).sum::<usize>();
        // What is written just now is waited for: the format is told by as many lines as come at
        // once.
        let is_settled = before.is_none_or(|before| count == before) || count >= LINES_PATIENT;
        let is_waited_for = may_come && matches!(patience, Patience::ForAll(_));
        if !is_waited_for || (count > 0 && is_settled) {
            return Ok(samples);
        }
        if before.is_none() {
            tracing::warn!(step, "there is no line yet to tell the format from; waiting for one");
        }
        before = Some(count);
        patience.unless_stopped(tokio::time::sleep(LOOK_AGAIN)).await?;
    }
}

fn cannot_look(place: &Place) -> Error {
    Error::config("the first lines of this input cannot be looked at before the pipeline runs")
        .at(place)
        .field("format")
        .hint("`auto` reads the files of a source itself; name the format for any other input")
}

fn no_line_yet(place: &Place) -> Error {
    Error::config("there is no line of standard input yet to tell the format from")
        .at(place)
        .field("format")
        .hint("`run` tells it from the first lines that come; or name the format")
}

/// A source of its own to look at; none where looking would take something from somebody.
fn source(node: &SourceNode, plan: &Plan, data: &Path) -> Result<Option<Arc<dyn Source>>> {
    let mut connectors = registry::connectors().iter();
    let found = connectors.find(|connector| connector.spec().name == node.kind);
    let Some(connector) = found else { return Ok(None) };
    let ctx = BuildContext::new(&plan.name, &node.name, data);
    let source = connector
        .source(&node.section, &ctx)
        .map_err(|error| error.context(format!("source {:?}", node.name)))?;
    Ok(Some(source).filter(|source| {
        source.again() != Again::Never && source.lineages().first() == Some(&Lineages::One)
    }))
}

/// What the samples are: all of them, or else the first that is anything by itself, as there may be
/// a foreign file among many.
fn detect(samples: &[Vec<String>]) -> std::result::Result<Detected, Undecided> {
    let of = |lines: &mut dyn Iterator<Item = &String>| {
        formats::detect(&StringViewArray::from_iter_values(lines))
    };
    let all = of(&mut samples.iter().flatten());
    match all {
        Err(_) if samples.len() > 1 => {
            let mut each = samples.iter().map(|lines| of(&mut lines.iter()));
            each.find_map(|one| one.ok()).map_or(all, Ok)
        }
        all => all,
    }
}

/// Adds the first lines of a source, a sample for each of its first splits. One that cannot be read
/// is left out, where any other can: the run names it.
async fn first_lines(source: &dyn Source, samples: &mut Vec<Vec<String>>) -> Result<()> {
    let found = list(source, None).await?;
    let mut failed = None;
    let mut room = LINES_ENOUGH;
    for split in found.splits.iter().take(SPLITS_MAX) {
        let mut lines = Vec::new();
        if let Err(error) = lines_of(source, split, (&mut lines, room)).await {
            failed = failed.or(Some(error));
        }
        room -= lines.len();
        samples.extend(Some(lines).filter(|lines| !lines.is_empty()));
    }
    match failed {
        Some(error) if samples.is_empty() => Err(error),
        _ => Ok(()),
    }
}

/// Adds the first lines of standard input, which still holds them.
async fn first_of_stdin(samples: &mut Vec<Vec<String>>) -> Result<()> {
    let text = Stdio::first_text(STDIN_BYTES).await?;
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_start_matches('\u{feff}').trim_start_matches('\0');
    let lines = text.lines().filter(|line| !line.trim().is_empty()).take(LINES_ENOUGH);
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    samples.extend(Some(lines).filter(|lines| !lines.is_empty()));
    Ok(())
}

/// Adds so many lines of a split, and those before an error.
async fn lines_of(
    source: &dyn Source,
    split: &Split,
    (lines, room): (&mut Vec<String>, usize),
) -> Result<()> {
    if room == 0 {
        return Ok(());
    }
    let mut reader = source.open(split, None, Until::End).await?;
    while lines.len() < room {
        let Some(batch) = reader.next_batch().await? else { break };
        let Some(column) = batch.records.column_by_name(MESSAGE) else { return Ok(()) };
        let texts = column.as_string_view();
        let room = room - lines.len();
        lines.extend(texts.iter().flatten().take(room).map(str::to_owned));
    }
    Ok(())
}
