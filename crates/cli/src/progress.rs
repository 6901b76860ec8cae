//! Shows how a run gets on: a spinner on terminals, plain lines elsewhere, nothing for programs.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use runtime::Progress;
use tokio::task::JoinHandle;

use crate::arguments::Global;
use crate::output::plain;

/// How often a spinner is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// How often a plain line is written.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// The display of one run.
pub struct Display {
    task: Option<JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

impl Display {
    /// Begins to show the progress of a pipeline.
    pub fn start(pipeline: &str, progress: Arc<Progress>, global: &Global) -> Self {
        let name = pipeline.to_owned();
        if global.logs_everything() {
            let task = tokio::spawn(every(SAY_EVERY, progress, move |line| {
                tracing::info!(pipeline = name, "{line}");
            }));
            return Self { task: Some(task), bar: None };
        }
        if global.quiet || global.format.is_for_machines() {
            return Self { task: None, bar: None };
        }
        if !std::io::stderr().is_terminal() {
            let task = tokio::spawn(every(SAY_EVERY, progress, move |line| {
                // Where stderr is closed there is nobody to tell.
                let _ = writeln!(std::io::stderr(), "{name}: {line}");
            }));
            return Self { task: Some(task), bar: None };
        }
        let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}");
        let bar = ProgressBar::new_spinner().with_prefix(name);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let shown = bar.clone();
        let task = tokio::spawn(every(DRAW_EVERY, progress, move |line| {
            shown.set_message(line);
            shown.tick();
        }));
        Self { task: Some(task), bar: Some(bar) }
    }

    /// Takes the display away.
    pub fn end(self) {
        if let Some(task) = self.task {
            task.abort();
        }
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn every(period: Duration, progress: Arc<Progress>, say: impl Fn(String)) {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(period);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let seen = progress.seen();
        let speed = seen.bytes as f64 / begun.elapsed().as_secs_f64();
        say(format!(
            "{}, {} ({}/s), {}, {}",
            plain(seen.read, "record"),
            HumanBytes(seen.bytes),
            HumanBytes(speed as u64),
            plain(seen.dead_lettered, "dead letter"),
            plain(seen.epochs, "epoch"),
        ));
    }
}
