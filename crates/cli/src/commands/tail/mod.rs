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
use contract::source::{KnownSplit, Source, Split, Until};
use contract::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::warn;

use crate::arguments::Global;
use crate::failure::Exit;
use crate::{output, signals};
use filter::Filter;
use print::{Printer, Record};

/// Batches that may wait to be printed.
const QUEUE_BATCHES_MAX: usize = 16;
/// How often new topics and partitions are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  logmill tail --brokers localhost:9092 -t webserver-logs
  logmill tail -t '/Extracted\\..*/' -s shop -e production --service checkout
  logmill tail -t orders --start earliest --limit 10 --raw | jq .value
  logmill tail -c kafka.yaml -t orders -f json

A configuration file has the settings of a kafka source: brokers, topics, client. Flags win.
Keys are taken apart at colons: the first part is the subscription, the second the environment.";

/// Watch Kafka topics live.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Tail {
    /// Settings of a kafka source, as a YAML file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Brokers to ask first: `host:port`, several with commas between them.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "LIST")]
    brokers: Option<String>,

    /// Topics, or patterns between slashes; several with commas between them.
    #[arg(short, long, value_delimiter = ',', value_name = "LIST")]
    topics: Vec<String>,

    /// The consumer group that tools know this reader by. It gets no partitions by it: it shows
    /// all of them.
    #[arg(short, long, value_name = "NAME", default_value = "log-tail-cli")]
    group: String,

    /// A property of librdkafka; may be repeated.
    #[arg(short = 'X', long = "client", value_name = "NAME=VALUE")]
    client: Vec<String>,

    /// Where to begin: latest, earliest, or a time such as 2026-01-31T00:00:00Z.
    #[arg(long, default_value = "latest")]
    start: String,

    /// Only records whose key belongs to this subscription.
    #[arg(short, long, value_name = "NAME")]
    subscription: Option<String>,

    /// Only records whose key belongs to this environment.
    #[arg(short, long, value_name = "NAME")]
    environment: Option<String>,

    /// Only records of this service: part of the pod's name, the source's service, or any text in
    /// the record.
    #[arg(long, value_name = "TEXT")]
    service: Option<String>,

    /// One JSON object per record, with the value as it is.
    #[arg(long)]
    raw: bool,

    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// A file is not watched here; who names one is told where it is.
    #[arg(hide = true)]
    file: Option<PathBuf>,
}

pub async fn start(tail: &Tail, global: &Global) -> Result<Exit> {
    if let Some(file) = &tail.file {
        return Err(no_topic(file));
    }
    if tail.config.is_none() && tail.brokers.is_none() && tail.topics.is_empty() {
        return Err(Error::config("`tail` needs to know what to watch").hint(
            "name a broker and topics: `logmill tail --brokers localhost:9092 -t TOPIC`; a file is \
             watched by `logmill look FILE --follow`",
        ));
    }
    let source = settings::source(tail, &global.data)?;
    let colored = global.color.on(std::io::stdout().is_terminal());
    let mut watch = Watch {
        source,
        known: None,
        opened: HashSet::new(),
        tasks: JoinSet::new(),
        filter: Filter::new(tail),
        printer: Printer::new(tail.raw, global.format, colored),
        left: tail.limit.unwrap_or(usize::MAX),
    };
    watch.run().await?;
    Ok(signals::exit())
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
    known: Option<Vec<KnownSplit>>,
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
        let found = self.source.splits(self.known.as_deref()).await?;
        found.warnings.iter().for_each(|warning| warn!("{warning}"));
        let known = self.known.get_or_insert_default();
        for split in found.splits {
            if self.opened.insert(split.id.to_string()) {
                known.push(KnownSplit { split: split.clone(), position: None });
                self.tasks.spawn(follow(self.source.clone(), split, queue.clone()));
            }
        }
        Ok(())
    }

    fn show(&mut self, batch: &[Record]) -> Result<()> {
        let shown = batch.iter().filter(|record| self.filter.lets_pass(record)).take(self.left);
        let shown: Vec<_> = shown.collect();
        self.left -= shown.len();
        output::write(|out| shown.iter().try_for_each(|record| self.printer.print(record, out)))
    }
}

/// Reads one split for as long as somebody takes its records.
async fn follow(source: Arc<dyn Source>, split: Split, queue: Queue) -> Result<()> {
    let mut reader = source.open(&split, None, Until::Forever).await?;
    while let Some(batch) = reader.next_batch().await? {
        if queue.send(print::records(&batch.records)?).await.is_err() {
            return Ok(());
        }
        if let Err(error) = reader.acknowledge(&batch.next).await {
            warn!(%split.id, error = error.chain(), "the group's offset was not kept");
        }
    }
    Ok(())
}
