//! `logmill check`: reads a pipeline file as `run` would and says what every sink promises.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use contract::sink::Promise;
use contract::source::{Again, Lineages};
use contract::spec::Change;
use contract::{Lineage, Result, Section};
use plan::schedule::{Missed, Schedule};
use runtime::graph::SinkNode;
use runtime::schedule::next_times;
use runtime::{Pipeline, Trouble, troubles};
use serde::Serialize;
use state::SplitState;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::memory::Memory;
use crate::needs::{self, Refusal, Told};
use crate::output;
use crate::pipeline::{self, Loaded, Provenance, Several};
use crate::standard_input;
use crate::variables::{Giver, Untaken, Unused, Variable};

/// The next times of a schedule that are shown.
const TIMES: usize = 3;

const EXAMPLES: &str = "\
Examples:
  logmill check web.yaml
  logmill check web.yaml --connect     asks every server too, and changes nothing
  logmill check web.yaml -v            and says what sinks do when their destinations change
  logmill check web.yaml --format json | jq .sinks";

/// Check pipeline files, with the history and the lake tables that it has on this machine, and
/// print the promise of every sink. Connects to nothing unless told to, and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    pipelines: Several,

    #[command(flatten)]
    memory: Memory,

    /// Reach every server of the pipeline, and say what is missing there or refused. Exits with 1
    /// if a run would fail for it. Changes nothing; `setup --apply` makes what is missing.
    #[arg(long)]
    connect: bool,
}

/// What `check` prints.
#[derive(Serialize)]
struct Checked {
    pipeline: String,
    sources: Vec<Source>,
    transforms: Vec<Transform>,
    sinks: Vec<Sink>,
    checkpoints: Checkpoints,
    /// Bytes that it may hold, of those of the process.
    memory_limit: u64,
    /// Where the values of its variables come from.
    variables: Vec<Variable>,
    /// Variables that are set and have no effect.
    without_effect: Vec<Unused>,
    secrets: Vec<Secret>,
    schedule: Option<Scheduled>,
    tests: usize,
    /// What it needs outside, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<Vec<Told>>,
    /// With `--connect`: the parts whose servers did not answer, or refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusals: Option<Vec<Refusal>>,
    /// With `--connect`: whether every server answered, and nothing is missing that a run needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<bool>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Source {
    source: String,
    r#type: String,
    replayable: bool,
    /// How its splits are divided among lineages.
    lineages: Lineages,
    /// What its settings name and cannot be read now.
    unreadable: Vec<Unreadable>,
    /// What the newest run on this machine could not read, or not to its end.
    unread: Vec<Trouble>,
}

#[derive(Serialize)]
struct Unreadable {
    name: String,
    reason: String,
    hint: Option<String>,
    /// Whether records may stand there; else it is passed over.
    may_hold_records: bool,
}

impl From<contract::discovery::Unreadable> for Unreadable {
    fn from(unreadable: contract::discovery::Unreadable) -> Self {
        let contract::discovery::Unreadable { name, reason, hint, may_hold_records, .. } =
            unreadable;
        Self { name, reason, hint, may_hold_records }
    }
}

#[derive(Serialize)]
struct Checkpoints {
    place: String,
    /// Whether several machines reach it.
    shared: bool,
}

#[derive(Serialize)]
struct Scheduled {
    cron: String,
    time_zone: String,
    missed: Missed,
    /// When `serve` would run it, from now on.
    next: Vec<DateTime<Utc>>,
}

/// A secret, and the file that has it.
#[derive(Serialize)]
struct Secret {
    secret: String,
    file: PathBuf,
}

#[derive(Serialize)]
struct Transform {
    transform: String,
    r#type: String,
    /// The format that `format: auto` takes, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    takes: Option<String>,
}

#[derive(Serialize)]
struct Sink {
    sink: String,
    r#type: String,
    columns: usize,
    #[serde(flatten)]
    promise: Promise,
    /// What it does when somebody else changes its destination.
    changes: &'static [Change],
}

pub async fn start(check: &Check, global: &Global) -> Result<Exit> {
    let mut all = check.pipelines.load(&global.data)?;
    standard_input::refuse_second_reader(&all)?;
    check.memory.divide(&mut all);
    let (mut checked, mut exit) = (Vec::with_capacity(all.len()), Exit::Done);
    for one in &all {
        checked.push(look_at(one).await?);
    }
    // What another pipeline of the file takes is unknown where only some of them were read.
    if check.pipelines.names.is_empty() {
        warn_of_untaken(&all, &mut checked);
    }
    warn_of_shared_places(&all, &mut checked);
    if check.connect {
        exit = connect(&all, &mut checked, global).await?;
    }
    match &checked[..] {
        [one] => output::value(global, one, |out| {
            print(one, None, out)?;
            print_changes(std::slice::from_ref(one), global, out)
        })?,
        several => output::list(global, several, |out| {
            several.iter().try_for_each(|one| print(one, Some(one.memory_limit), out))?;
            print_changes(several, global, out)
        })?,
    }
    Ok(exit)
}

/// Warns of sinks of several pipelines that write to one place, or whose rows can name one. That is
/// allowed, and rows are told apart by the records that they come from alone.
fn warn_of_shared_places(all: &[Loaded], checked: &mut [Checked]) {
    let mut before: Vec<(&String, &SinkNode)> = Vec::new();
    for (loaded, checked) in all.iter().zip(checked) {
        let name = &loaded.pipeline.name;
        for node in &loaded.pipeline.sinks {
            let same = before.iter().rev().find(|(_, other)| may_share(node, other));
            if let Some((other, sink)) = same {
                checked.warnings.push(format!(
                    "sink {:?} writes to the place of sink {:?} of pipeline {other:?}: where both \
                     read one file or topic their rows cannot be told apart, and `audit` counts \
                     them twice",
                    node.name, sink.name
                ));
            }
        }
        before.extend(loaded.pipeline.sinks.iter().map(|node| (name, node)));
    }
}

/// Whether rows of two sinks can come to one place.
fn may_share(one: &SinkNode, other: &SinkNode) -> bool {
    let place = |node: &SinkNode| node.target.as_ref()?.place.clone();
    if one.kind != other.kind {
        return false;
    }
    let same = place(one).is_some_and(|its| place(other).is_some_and(|other| its == other));
    let choices = one.sink.choice().zip(other.sink.choice());
    same || choices.is_some_and(|(one, other)| one.meets(&other))
}

/// Warns of what stands in files of values and is taken by none of the pipelines that have them.
fn warn_of_untaken(all: &[Loaded], checked: &mut [Checked]) {
    let takes = |loaded: &Loaded, untaken: &Untaken| {
        let Provenance { files, untaken: others, .. } = &loaded.provenance;
        files.contains(&untaken.file) && !others.contains(untaken)
    };
    let mut told = Vec::new();
    for (loaded, checked) in all.iter().zip(checked) {
        for untaken in &loaded.provenance.untaken {
            if told.contains(&untaken) || all.iter().any(|other| takes(other, untaken)) {
                continue;
            }
            told.push(untaken);
            let Untaken { name, file } = untaken;
            let known = loaded.provenance.variables.iter().map(|known| known.name.as_str());
            let hint = Section::did_you_mean(name, known);
            let hint = if hint.starts_with("did") { format!("; {hint}") } else { String::new() };
            checked.warnings.push(format!("{file} sets {name}, and nothing takes it{hint}"));
        }
    }
}

/// Asks what all of them need together: a topic that one makes is there for another.
async fn connect(all: &[Loaded], checked: &mut [Checked], global: &Global) -> Result<Exit> {
    let (mut asked, mut exit) = (Vec::new(), Exit::Done);
    for (loaded, checked) in all.iter().zip(&mut *checked) {
        let answers = needs::ask(loaded, global).await?;
        asked.extend(answers.asked);
        checked.connected = Some(answers.exit == Exit::Done);
        checked.refusals = Some(answers.refusals);
        exit = exit.worse(answers.exit);
    }
    let told = needs::planned(&asked);
    for checked in checked {
        let own = told.iter().filter(|one| one.pipeline() == checked.pipeline);
        let needs: Vec<_> = own.cloned().collect();
        if needs.iter().any(Told::blocks) {
            checked.connected = Some(false);
            exit = exit.worse(Exit::External);
        }
        checked.needs = Some(needs);
    }
    Ok(exit)
}

async fn look_at(loaded: &Loaded) -> Result<Checked> {
    if loaded.plan.settings.schedule.is_some() {
        runtime::schedule::check(&loaded.pipeline)?;
    }
    let known = pipeline::known_splits(&loaded.pipeline).await?;
    let mut checked = describe(loaded, &known)?;
    for transform in &mut checked.transforms {
        let mut decisions = loaded.decisions.iter();
        let decision = decisions.find(|decision| decision.step == transform.transform);
        transform.takes = decision.map(|decision| decision.seen());
    }
    for trouble in noted(&loaded.pipeline).await? {
        let mut sources = checked.sources.iter_mut();
        let source = sources.find(|source| source.source == trouble.source);
        source.into_iter().for_each(|source| source.unread.push(trouble.clone()));
    }
    let told = pipeline::inspect(&loaded.plan, &loaded.pipeline).await?;
    pipeline::inspect_names(&loaded.plan, &loaded.pipeline).await?;
    let told = told.iter().map(|it| format!("{it}; `run` goes on if both are one place"));
    checked.warnings.extend(told);
    Ok(checked)
}

/// What the newest run noted of what it could not read, where the checkpoints lie on this machine.
async fn noted(pipeline: &Pipeline) -> Result<Vec<Trouble>> {
    let folder = pipeline.checkpoint_folder()?.map(|folder| folder.join(&pipeline.name));
    if !folder.is_some_and(|folder| folder.is_dir()) {
        return Ok(Vec::new());
    }
    let store = pipeline.checkpoint_store()?;
    troubles::kept(&store.history(&pipeline.name, &Lineage::main())).await
}

fn describe(loaded: &Loaded, known: &[SplitState]) -> Result<Checked> {
    let Loaded { plan, pipeline: bound, provenance, .. } = loaded;
    let sources = plan.sources.iter().zip(&bound.sources).map(|(planned, node)| {
        let known = known.iter().filter(|state| state.source == node.name);
        let known: Vec<_> = known.map(|state| state.known.clone()).collect();
        let connectors = registry::connectors().iter();
        let connector = connectors.into_iter().find(|one| one.spec().name == planned.kind);
        let unreadable =
            connector.map(|one| one.unreadable(&planned.section, &known)).transpose()?;
        Ok(Source {
            source: node.name.clone(),
            r#type: planned.kind.clone(),
            replayable: node.source.again() != Again::Never,
            lineages: node.lineages,
            unreadable: unreadable.into_iter().flatten().map(Unreadable::from).collect(),
            unread: Vec::new(),
        })
    });
    let sources = sources.collect::<Result<_>>()?;
    let transforms = plan.transforms.iter().map(|planned| {
        let (transform, kind) = (planned.name.clone(), planned.kind.clone());
        Transform { transform, r#type: kind, takes: None }
    });
    let sinks = bound.sinks.iter().map(|node| Sink {
        sink: node.name.clone(),
        r#type: node.kind.clone(),
        columns: node.schema.fields().len(),
        promise: node.sink.promise(),
        changes: changes_of(&node.kind),
    });
    Ok(Checked {
        pipeline: plan.name.clone(),
        sources,
        transforms: transforms.collect(),
        sinks: sinks.collect(),
        checkpoints: checkpoints(bound)?,
        memory_limit: bound.settings.memory_limit,
        variables: provenance.variables.clone(),
        without_effect: provenance.unused.clone(),
        secrets: secrets(provenance),
        schedule: plan.settings.schedule.as_ref().map(scheduled),
        tests: plan.tests.len(),
        needs: None,
        refusals: None,
        connected: None,
        warnings: plan.warnings.clone(),
    })
}

fn secrets(provenance: &Provenance) -> Vec<Secret> {
    let secrets = provenance.secrets.iter().cloned();
    secrets.map(|(secret, file)| Secret { secret, file }).collect()
}

/// The changes of a destination that a connector knows.
fn changes_of(kind: &str) -> &'static [Change] {
    let connector = registry::connectors().iter().find(|one| one.spec().name == kind);
    let sink = connector.and_then(|connector| connector.spec().sink.as_ref());
    sink.map_or(&[], |sink| sink.changes)
}

fn scheduled(schedule: &Schedule) -> Scheduled {
    Scheduled {
        cron: schedule.text.to_string(),
        time_zone: schedule.time_zone.name().to_owned(),
        missed: schedule.missed,
        next: next_times(schedule, Utc::now(), TIMES),
    }
}

fn checkpoints(bound: &Pipeline) -> Result<Checkpoints> {
    if let Some(folder) = bound.checkpoint_folder()? {
        return Ok(Checkpoints { place: folder.display().to_string(), shared: false });
    }
    let store = bound.checkpoint_store()?;
    Ok(Checkpoints { place: store.shown().to_owned(), shared: true })
}

/// Prints what was found, a line for each part of the pipeline, and the memory that it shares in.
fn print(checked: &Checked, share: Option<u64>, out: &mut output::Stdout) -> std::io::Result<()> {
    let but = match checked.connected {
        Some(false) => " as it is written, but not all that it needs is there or answers",
        _ => "",
    };
    writeln!(out, "pipeline {} is right{but}", checked.pipeline)?;
    for source in &checked.sources {
        let replay = if source.replayable { "" } else { ", cannot be read twice" };
        let lineages = match source.lineages {
            Lineages::Split => ", each split a lineage of its own",
            Lineages::One => "",
        };
        writeln!(out, "  source {} ({}{replay}{lineages})", source.source, source.r#type)?;
        for Unreadable { name, reason, hint, may_hold_records } in &source.unreadable {
            let what = match may_hold_records {
                // It says so itself.
                true if reason.starts_with("could not read") && reason.contains(name) => "",
                true => &format!("cannot read {name}: "),
                false => &format!("passes over {name}: "),
            };
            let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            writeln!(out, "    {what}{reason}{hint}")?;
        }
        // What can be seen now was said above.
        let is_seen = |name: &str| source.unreadable.iter().any(|one| one.name == name);
        for Trouble { split, error, .. } in &source.unread {
            if !is_seen(split) {
                writeln!(out, "    in the newest run {split}: {error}")?;
            }
        }
    }
    for transform in &checked.transforms {
        let takes = transform.takes.as_ref().map(|takes| format!(": {takes}"));
        let takes = takes.unwrap_or_default();
        writeln!(out, "  transform {} ({}){takes}", transform.transform, transform.r#type)?;
    }
    for sink in &checked.sinks {
        writeln!(out, "  sink {} ({}): {}", sink.sink, sink.r#type, sink.promise.sentence)?;
    }
    let Checkpoints { place, shared } = &checked.checkpoints;
    let shared = if *shared { ", shared: leases are objects there" } else { "" };
    writeln!(out, "  checkpoints in {place}{shared}")?;
    if let Some(share) = share {
        writeln!(out, "  memory {} MiB, its share of the process's", share >> 20)?;
    }
    print_provenance(checked, out)?;
    checked.needs.iter().flatten().try_for_each(|need| need.print(out))?;
    if let Some(Scheduled { cron, time_zone, next, .. }) = &checked.schedule {
        let next: Vec<_> = next.iter().map(|time| time.format("%F %R").to_string()).collect();
        writeln!(out, "  schedule {cron} ({time_zone}): {} UTC", next.join(", "))?;
    }
    for warning in &checked.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}

/// With `-v`, what each type of sink does when somebody else changes its destination.
fn print_changes(
    checked: &[Checked],
    global: &Global,
    out: &mut output::Stdout,
) -> std::io::Result<()> {
    let sinks = checked.iter().flat_map(|one| &one.sinks).filter(|sink| !sink.changes.is_empty());
    let kinds: BTreeMap<_, _> = sinks.map(|sink| (sink.r#type.as_str(), sink.changes)).collect();
    if global.verbose == 0 && !kinds.is_empty() {
        return writeln!(out, "`-v` says what sinks do when somebody else changes what they wrote");
    }
    for (kind, changes) in kinds {
        writeln!(out, "sinks of type {kind}, when somebody else changes their destination")?;
        for Change { when, then, .. } in changes {
            writeln!(out, "  {when}: {then}")?;
        }
    }
    Ok(())
}

/// Where values come from, never what they are.
fn print_provenance(checked: &Checked, out: &mut output::Stdout) -> std::io::Result<()> {
    let mut by_default = Vec::new();
    for Variable { name, from, file } in &checked.variables {
        match (from, file) {
            (Giver::Default, _) => by_default.push(name.as_str()),
            (Giver::Flag, _) => writeln!(out, "  variable {name} from --set")?,
            (Giver::File, Some(file)) => writeln!(out, "  variable {name} from {file}")?,
            (Giver::Empty, _) => writeln!(
                out,
                "  variable {name} is empty in the environment: its default holds if it has one"
            )?,
            (Giver::Environment | Giver::File, _) => {
                writeln!(out, "  variable {name} from the environment")?;
            }
        }
    }
    if !by_default.is_empty() {
        writeln!(out, "  variables by default: {}", by_default.join(", "))?;
    }
    for Unused { variable: Variable { name, from, file }, reason } in &checked.without_effect {
        let from = match (from, file) {
            (Giver::Flag, _) => "--set",
            (Giver::File, Some(file)) => file,
            _ => "the environment",
        };
        writeln!(out, "  without effect: {name} from {from}: {reason}")?;
    }
    for Secret { secret, file } in &checked.secrets {
        writeln!(out, "  secret {secret} from {}", file.display())?;
    }
    Ok(())
}
