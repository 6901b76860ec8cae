//! `logmill splits list`: how each split is.

use std::io::Write;

use clap::Args;
use contract::{Error, Result, Section};
use runtime::standing::{HeldBy, SplitPhase, SplitView, StepView};
use serde::Serialize;

use super::Known;
use crate::arguments::{self, Format, Global};
use crate::failure::Exit;
use crate::output::{self, rows::visible};
use crate::pipeline::Named;

/// List the splits, those that cannot be read first: source, split, phase, position, what is not
/// read yet, and why not.
///
/// Beside a running pipeline it says what that one noted last, some seconds ago at most; else what
/// the newest checkpoint says.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pipeline: Named,

    /// Only those that cannot be read: failed or broken.
    #[arg(long)]
    failing: bool,

    /// Only those that cannot be read before somebody does something.
    #[arg(long)]
    broken: bool,

    /// Only those of which something is there that was not read.
    #[arg(long)]
    lagging: bool,

    /// Only those of this source; may be repeated.
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<String>,

    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = arguments::at_least_one)]
    limit: usize,
}

/// What is printed.
#[derive(Serialize)]
struct Shown<'a> {
    pipeline: &'a str,
    /// Whether a process runs it; null where nobody can tell.
    running: Option<bool>,
    /// Splits of the pipeline.
    total: usize,
    failed: usize,
    broken: usize,
    lagging: usize,
    /// Those that were asked for, as many as there are.
    matching: usize,
    /// The first of them.
    splits: Vec<&'a SplitView>,
    /// The steps with an event time.
    steps: &'a [StepView],
}

pub async fn start(list: &List, global: &Global) -> Result<Exit> {
    let known = Known::read(&list.pipeline, &global.data).await?;
    list.refuse_unknown_sources(&known)?;
    let shown = list.of(&known);
    match global.format {
        Format::Ndjson => output::list(global, &shown.splits, |_| Ok(()))?,
        _ => output::value(global, &shown, |out| print(&shown, out))?,
    }
    let left = shown.matching - shown.splits.len();
    if left > 0 {
        let left = output::counted(left as u64, "more split");
        output::remark(global, &format!("{left}: narrow it down, or `--limit {}`", shown.matching));
    }
    Ok(Exit::Done)
}

impl List {
    fn refuse_unknown_sources(&self, known: &Known) -> Result<()> {
        let names: Vec<_> = known.pipeline.sources.iter().map(|node| node.name.as_str()).collect();
        match self.sources.iter().find(|source| !names.contains(&source.as_str())) {
            None => Ok(()),
            Some(source) => Err(Error::config(format!(
                "pipeline {:?} has no source {source:?}",
                known.pipeline.name
            ))
            .hint(Section::did_you_mean(source, names))),
        }
    }

    fn of<'a>(&self, known: &'a Known) -> Shown<'a> {
        let count = |is_it: &dyn Fn(&SplitView) -> bool| {
            known.views.iter().filter(|view| is_it(view)).count()
        };
        let matching = known.views.iter().filter(|view| self.wants(view));
        let splits: Vec<_> = matching.collect();
        Shown {
            pipeline: &known.pipeline.name,
            running: known.is_running,
            total: known.views.len(),
            failed: count(&|view| view.phase == SplitPhase::Failed),
            broken: count(&|view| view.phase == SplitPhase::Broken),
            lagging: count(&SplitView::is_lagging),
            matching: splits.len(),
            splits: splits.into_iter().take(self.limit).collect(),
            steps: &known.steps,
        }
    }

    fn wants(&self, view: &SplitView) -> bool {
        let is_of = self.sources.is_empty() || self.sources.contains(&view.source);
        is_of
            && (!self.failing || view.phase.is_failure())
            && (!self.broken || view.phase == SplitPhase::Broken)
            && (!self.lagging || view.is_lagging())
    }
}

fn print(shown: &Shown<'_>, out: &mut output::Stdout) -> std::io::Result<()> {
    let by = match shown.running {
        Some(true) => "running",
        Some(false) => "not running",
        None => "perhaps running",
    };
    let Shown { pipeline, total, failed, broken, lagging, .. } = shown;
    let total = output::counted(*total as u64, "split");
    writeln!(
        out,
        "{pipeline}, {by}: {total}, {broken} broken, {failed} failed, {lagging} lagging"
    )?;
    for step in shown.steps {
        writeln!(out, "  {}", event_time(step))?;
    }
    let widest = |value: fn(&SplitView) -> usize| {
        shown.splits.iter().map(|view| value(view)).max().unwrap_or(0)
    };
    let (source, split) =
        (widest(|view| view.source.chars().count()), widest(|view| view.split.chars().count()));
    for view in &shown.splits {
        let position = view.position.map_or("-".to_owned(), |position| position.to_string());
        writeln!(
            out,
            "  {:<8} {:<source$}  {:<split$}  at {position}{}",
            view.phase.word(),
            visible(&view.source),
            visible(&view.split),
            lag(view)
        )?;
        print_why(view, out)?;
    }
    Ok(())
}

/// How far a step is, what it holds, and what holds it.
fn event_time(step: &StepView) -> String {
    let mut text = format!("step {}: ", visible(&step.step));
    match &step.watermark {
        Some(watermark) => text += &format!("event time is at {watermark}"),
        None => text += "no event time yet",
    }
    if let (Some(by), Some(since)) = (step.held_by, &step.held_since) {
        let by = match (by, &step.held_by_split) {
            (HeldBy::Split, Some(split)) => format!("split {}", visible(split)),
            (HeldBy::Failed, _) => "a split that cannot be read".to_owned(),
            _ => "splits that wait for a reader".to_owned(),
        };
        text += &format!(" and goes by {by} since {since}");
    }
    let windows = output::plain(step.open_windows, "open window");
    text += &format!("; {windows} with {}", output::plain(step.open_records, "row"));
    if let Some(next) = &step.closes_next {
        text += &format!(", the first closes at {next}");
    }
    text
}

fn lag(view: &SplitView) -> String {
    let lag = match (view.lag_records, view.lag_bytes) {
        (Some(records), _) if records > 0 => output::plain(records, "record"),
        (_, Some(bytes)) if bytes > 0 => output::plain(bytes, "byte"),
        (None, None) => return String::new(),
        _ => return ", nothing behind that".to_owned(),
    };
    let since = view.unread_since.as_ref().map(|since| format!(", since {since}"));
    format!(", {lag} to read{}", since.unwrap_or_default())
}

fn print_why(view: &SplitView, out: &mut output::Stdout) -> std::io::Result<()> {
    let Some(why) = &view.why else { return Ok(()) };
    let since = view.failing_since.as_ref().map(|since| format!("since {since}: "));
    writeln!(out, "    {}{}", since.unwrap_or_default(), visible(why))?;
    if let Some(hint) = &view.hint {
        writeln!(out, "    hint: {}", visible(hint))?;
    }
    if let Some(next) = &view.next_try {
        writeln!(out, "    next try: {next}")?;
    }
    Ok(())
}
