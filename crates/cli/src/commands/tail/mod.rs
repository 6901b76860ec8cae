//! `logmill tail`: live records of Kafka topics, filtered, as text or JSON.
//!
//! It reads as any pipeline would, by the connector's own source, but delivers nothing and keeps
//! no checkpoint: what it did not show is not lost, somebody else has it.

mod filter;
mod print;
mod settings;

use std::collections::HashSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use contract::discovery::{Discoverer, Moved};
use contract::source::{Source, Split, Until};
use contract::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::{output, signals};
use filter::{Filter, Sieve};
use print::{Printer, Record};

/// Batches that may wait to be printed.
const QUEUE_BATCHES_MAX: usize = 16;
/// How often new topics and partitions are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  logmill tail --brokers localhost:9092 -t requests
  logmill tail -t '/orders-.*/' --where \"message LIKE '%timeout%' AND partition < 3\"
  logmill tail -t orders --start earliest --limit 10 --raw | jq .value
  logmill tail -c kafka.yaml -t orders -f json

A configuration file has the settings of a kafka source: brokers, topics, client. Flags win.";

/// Watch Kafka topics live.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tail {
    #[command(flatten)]
    records: desk::Tail,

    /// A file is not watched here; who names one is told where it is.
    #[arg(hide = true)]
    file: Option<PathBuf>,
}

pub async fn start(tail: &Tail, global: &Global) -> Result<Exit> {
    if let Some(file) = &tail.file {
        return Err(no_topic(file));
    }
    let records = &tail.records;
    if records.config.is_none() && records.brokers.is_none() && records.topics.is_empty() {
        return Err(Error::config("`tail` needs to know what to watch").hint(
            "name a broker and topics: `logmill tail --brokers localhost:9092 -t TOPIC`; a file is \
             watched by `logmill look FILE --follow`",
        ));
    }
    watch(records, global).await?;
    Ok(signals::exit())
}

/// Shows records until a signal comes or enough was shown.
///
/// # Errors
/// Config: the arguments are wrong. External: the brokers do not answer.
pub async fn watch(tail: &desk::Tail, global: &Global) -> Result<()> {
    let source = settings::source(tail, &global.data)?;
    let filter = Filter::new(tail.condition.as_deref(), &source.schema())?;
    let colored = global.color.on(std::io::stdout().is_terminal());
    let mut watch = Watch {
        discoverer: source.discover(None),
        source,
        opened: HashSet::new(),
        tasks: JoinSet::new(),
        filter,
        printer: Printer::new(tail.raw, global.format, colored),
        left: tail.limit.unwrap_or(usize::MAX),
    };
    watch.run().await
}

/// The error of a file where topics are meant.
fn no_topic(file: &Path) -> Error {
    let file = file.display();
    Error::config(format!("`tail` watches Kafka topics, not {:?}", file.to_string())).hint(format!(
        "`logmill look {file} --follow` watches a file; a topic is named by `-t {file}`"
    ))
}

/// Readers of all splits, and what is done with their records.
struct Watch {
    source: Arc<dyn Source>,
    discoverer: Box<dyn Discoverer>,
    opened: HashSet<String>,
    tasks: JoinSet<Result<()>>,
    filter: Filter,
    printer: Printer,
    /// Records that are still to be shown.
    left: usize,
}

type Queue = mpsc::Sender<Vec<Record>>;

impl Watch {
    /// Until a signal comes, enough was shown, or a reader fails.
    async fn run(&mut self) -> Result<()> {
        let mut stop = signals::stop()?;
        let (queue, mut records) = mpsc::channel(QUEUE_BATCHES_MAX);
        let mut discovers = tokio::time::interval(DISCOVER_EVERY);
        discovers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.left > 0 {
            tokio::select! {
                _ = stop.changed() => return Ok(()),
                _ = discovers.tick() => self.discover(&queue).await?,
                Some(batch) = records.recv() => self.show(&batch)?,
                Some(ended) = self.tasks.join_next() => {
                    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
                }
            }
        }
        Ok(())
    }

    async fn discover(&mut self, queue: &Queue) -> Result<()> {
        let found = self.discoverer.look(Moved::new()).await?;
        found.warnings.iter().for_each(|warning| warn!("{warning}"));
        for split in found.found {
            if self.opened.insert(split.id.to_string()) {
                let (source, sieve) = (self.source.clone(), self.filter.sieve()?);
                self.tasks.spawn(follow(source, split, sieve, queue.clone()));
            }
        }
        Ok(())
    }

    fn show(&mut self, batch: &[Record]) -> Result<()> {
        let shown = &batch[..batch.len().min(self.left)];
        self.left -= shown.len();
        output::write(|out| shown.iter().try_for_each(|record| self.printer.print(record, out)))
    }
}

/// Reads one split for as long as somebody takes its records.
async fn follow(
    source: Arc<dyn Source>,
    split: Split,
    mut sieve: Sieve,
    queue: Queue,
) -> Result<()> {
    let mut reader = source.open(&split, None, Until::Forever).await?;
    while let Some(batch) = reader.next_batch().await? {
        for passed in sieve.pass(batch.records)? {
            if queue.send(print::records(&passed)?).await.is_err() {
                return Ok(());
            }
        }
        if let Err(error) = reader.acknowledge(&batch.next).await {
            warn!(%split.id, error = error.chain(), "the group's offset was not kept");
        }
    }
    Ok(())
}
