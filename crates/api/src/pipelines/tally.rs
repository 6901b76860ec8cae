//! The sums of one lineage's ledger, kept up to date by reading only what is new.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use contract::Result;
use runtime::standing::{self, SplitView, Standing, StepView};
use runtime::{DEAD_LETTERS, Trouble};
use serde::Serialize;
use state::ledger::{Counts, Entry};
use state::{Checkpoint, Followed, History};
use utoipa::ToSchema;

use crate::analytics::params::written;

/// Epochs that are remembered one by one.
pub const EPOCHS_MAX: usize = 1000;
/// How long what was seen is taken for what is.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long it is not looked again at files of which no process says anything new.
const FILES_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The stretch over which rates are taken.
const RATE_OVER: Duration = Duration::from_secs(60);

/// An epoch.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Epoch {
    /// Whose it is.
    pub lineage: String,
    /// Its number.
    pub epoch: u64,
    /// When it began.
    #[schema(format = DateTime)]
    pub at: String,
    /// From its beginning to its decision, where that is still known.
    pub seconds: Option<f64>,
    /// Records read.
    pub read: u64,
    /// Rows that sinks accepted, dead letters apart.
    pub delivered: u64,
    /// Rows that were refused.
    pub dead_lettered: u64,
    #[serde(skip)]
    decided: Option<SystemTime>,
    #[serde(skip)]
    by_source: HashMap<String, u64>,
    #[serde(skip)]
    by_sink: HashMap<String, u64>,
}

/// The sums of a lineage.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records read.
    pub read: u64,
    /// Counts by sink, dead letters among them.
    pub sinks: BTreeMap<String, Counts>,
    /// The newest epochs, in order.
    pub recent: VecDeque<Epoch>,
    /// The newest checkpoint, without its splits.
    pub newest: Option<Checkpoint>,
    splits: Followed,
    /// When it was decided.
    pub decided: Option<SystemTime>,
    looked: Option<Instant>,
    shown: Option<Shown>,
}

/// How splits were when they were looked at last, and what that was made of.
#[derive(Debug)]
struct Shown {
    at: Instant,
    epoch: Option<u64>,
    troubles: Vec<Trouble>,
    standing: Option<Standing>,
    views: Vec<SplitView>,
}

impl Tally {
    /// Takes in what happened since the last call.
    ///
    /// # Errors
    /// External: the checkpoints cannot be read.
    pub async fn refresh(&mut self, history: &History) -> Result<()> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN_AFTER) {
            return Ok(());
        }
        let known = self.newest.as_ref().map(|known| (known.epoch, known.writer.clone()));
        let from = known.as_ref().map_or(0, |(epoch, _)| *epoch);
        let mut since = history.since(from).await?;
        let first = since.epochs.first().map(|(first, _)| (first.epoch, first.writer.clone()));
        if known.is_some() && first != known {
            // The history is another one, or forgot what we knew: from the beginning.
            *self = Self::default();
            since = history.since(0).await?;
        }
        if let Some((until, entries)) = since.folded
            && self.newest.is_none()
        {
            self.add(&entries);
            since.epochs.retain(|(checkpoint, _)| checkpoint.epoch > until);
        }
        let last = self.newest.as_ref().map(|newest| newest.epoch);
        for (checkpoint, decided) in since.epochs {
            if last.is_none_or(|last| checkpoint.epoch > last) {
                self.take(checkpoint, decided);
            }
        }
        if let Some(newest) = &self.newest {
            history.follow(&mut self.splits, newest).await?;
        }
        self.looked = Some(Instant::now());
        Ok(())
    }

    /// All splits as they are, with what was noted of them. They are listed again only where
    /// something new was noted or committed, or the files were not looked at for a while.
    pub fn views(&mut self, troubles: Vec<Trouble>, standing: Option<Standing>) -> &[SplitView] {
        let epoch = self.newest.as_ref().map(|newest| newest.epoch);
        let is_fresh = |shown: &Shown| {
            shown.epoch == epoch
                && shown.at.elapsed() < FILES_AGAIN_AFTER
                && (&shown.troubles, &shown.standing) == (&troubles, &standing)
        };
        let shown = match self.shown.take().filter(is_fresh) {
            Some(shown) => shown,
            None => {
                let of = (&troubles[..], standing.as_ref());
                let views = standing::list(self.splits.roster(), of, standing::size);
                Shown { at: Instant::now(), epoch, troubles, standing, views }
            }
        };
        &self.shown.insert(shown).views
    }

    /// The steps with an event time, as the newest checkpoint has them.
    pub fn steps(&self, standing: Option<&Standing>) -> Vec<StepView> {
        let newest = self.newest.as_ref();
        let roster = self.splits.roster();
        newest.map(|newest| standing::steps(&newest.times, roster, standing)).unwrap_or_default()
    }

    fn take(&mut self, checkpoint: Checkpoint, decided: Option<SystemTime>) {
        self.add(&checkpoint.ledger);
        if checkpoint.epoch > 0 {
            self.recent.push_back(epoch(&checkpoint, decided));
        }
        if self.recent.len() > EPOCHS_MAX {
            self.recent.pop_front();
        }
        self.newest = Some(checkpoint);
        self.decided = decided;
    }

    fn add(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.sinks.entry(entry.sink.clone()).or_default().add(&entry.counts);
        }
        self.read += read(entries).values().sum::<u64>();
    }

    /// Records per second of the last minute: by source, and what each sink got.
    pub fn rates(&self) -> (HashMap<String, f64>, HashMap<String, f64>) {
        let (mut sources, mut sinks) = (HashMap::new(), HashMap::new());
        for epoch in self.recent.iter().rev() {
            let age = epoch.decided.and_then(|decided| decided.elapsed().ok());
            if age.is_none_or(|age| age > RATE_OVER) {
                break;
            }
            for (sums, counted) in [(&mut sources, &epoch.by_source), (&mut sinks, &epoch.by_sink)]
            {
                for (name, count) in counted {
                    *sums.entry(name.clone()).or_insert(0.0) +=
                        *count as f64 / RATE_OVER.as_secs_f64();
                }
            }
        }
        (sources, sinks)
    }
}

/// Records read by split: the same for every sink that its source reaches.
fn read(entries: &[Entry]) -> BTreeMap<&str, u64> {
    let mut read: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.sink != DEAD_LETTERS) {
        let known = read.entry(entry.split.as_str()).or_default();
        *known = (*known).max(entry.counts.read);
    }
    read
}

fn epoch(checkpoint: &Checkpoint, decided: Option<SystemTime>) -> Epoch {
    let sources: HashMap<&str, &str> = checkpoint
        .roster
        .states()
        .map(|state| (state.known.split.id.as_str(), state.source.as_str()))
        .collect();
    let mut by_source: HashMap<String, u64> = HashMap::new();
    for (split, count) in read(&checkpoint.ledger) {
        let source = sources.get(split).copied().unwrap_or_default();
        *by_source.entry(source.to_owned()).or_default() += count;
    }
    let mut by_sink: HashMap<String, u64> = HashMap::new();
    let mut dead_lettered = 0;
    for entry in &checkpoint.ledger {
        match entry.sink == DEAD_LETTERS {
            true => dead_lettered += entry.counts.delivered,
            false => *by_sink.entry(entry.sink.clone()).or_default() += entry.counts.delivered,
        }
    }
    let begun = u64::try_from(checkpoint.now_us).unwrap_or_default();
    let begun = SystemTime::UNIX_EPOCH + Duration::from_micros(begun);
    let took = decided.and_then(|decided| decided.duration_since(begun).ok());
    Epoch {
        lineage: checkpoint.lineage.clone(),
        epoch: checkpoint.epoch,
        at: written(checkpoint.now_us),
        seconds: took.map(|took| took.as_secs_f64()),
        read: by_source.values().sum(),
        delivered: by_sink.values().sum(),
        dead_lettered,
        decided,
        by_source,
        by_sink,
    }
}

/// A moment of the system as answers write it.
pub fn moment(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    written(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
