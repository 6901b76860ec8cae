//! How pipelines are, from what their runs left behind: checkpoints, ledger, leases, dead letters.
//!
//! Nothing here asks a running process; what is shown is what is durable. Reading order: [`tally`]
//! (sums of a lineage), [`graph`], [`letters`], then [`Board`].

pub mod graph;
pub mod letters;
pub mod tally;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use contract::Lineage;
use runtime::replay::DEAD_LETTER_STATES;
use runtime::standing::{HeldBy, SplitPhase, SplitView, Standing, StepView};
use runtime::{DEAD_LETTERS, Trouble, TroubleState, troubles};
use serde::Serialize;
use state::ledger::Counts;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::host::{Schedule, Served, State};
use crate::problem::Answer;
use graph::Graph;
use tally::{Epoch, Tally, moment};

/// Splits that are shown one by one: those in trouble first, then those that are read.
const SPLITS_MAX: usize = 1_000;

/// A pipeline in the list.
#[derive(Serialize, ToSchema)]
pub struct Overview {
    /// Its name.
    name: String,
    /// `running`, `idle`, `failed`, `scheduled` or `unknown`.
    state: State,
    /// Its file, where that is known.
    file: Option<String>,
    /// The number of the newest epoch, of all lineages together.
    epochs: u64,
    /// Records read.
    read: u64,
    /// Rows that sinks accepted, dead letters apart.
    delivered: u64,
    /// Dead letters that are open.
    dead_letters: u64,
    /// Bytes or records that are not read yet, where that is known.
    lag: Option<u64>,
    /// Its splits.
    splits_total: u64,
    /// Splits that cannot be read, and files that should be one.
    failing_splits: u64,
    /// Those of them for which somebody has to do something.
    broken_splits: u64,
    /// Splits of which something is there that was not read.
    lagging_splits: u64,
    /// Of what is not read, what waits for longest.
    oldest_unread: Option<Unread>,
    /// When the newest epoch began.
    #[schema(format = DateTime)]
    last_epoch_at: Option<String>,
    /// When it runs by itself.
    schedule: Option<Schedule>,
}

/// A pipeline with its parts.
#[derive(Serialize, ToSchema)]
pub struct Detail {
    /// What the list says.
    #[serde(flatten)]
    overview: Overview,
    /// Its parts; empty where the file is not known.
    graph: Graph,
    /// Its chains of epochs.
    lineages: Vec<LineageState>,
    /// Where it stands in its sources: up to 1,000 splits, those in trouble first.
    splits: Vec<SplitLag>,
    /// How far the event time of its steps has come.
    steps: Vec<StepTime>,
    /// What cannot be read in its sources, as the newest run noted it.
    failing: Vec<FailingSplit>,
    /// What became of its rows, by sink.
    sinks: Vec<SinkSums>,
    /// Whether the ledger adds up for every sink.
    balanced: bool,
}

/// A split of which something is there that was not read.
#[derive(Serialize, ToSchema)]
pub struct Unread {
    /// The source.
    source: String,
    /// The split.
    split: String,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
}

/// A chain of epochs.
#[derive(Serialize, ToSchema)]
pub struct LineageState {
    /// Its name.
    lineage: String,
    /// The newest epoch.
    epoch: u64,
    /// When that was decided, where it is known.
    #[schema(format = DateTime)]
    committed_at: Option<String>,
    /// `held` while a process runs it; null where none does, or nobody can tell.
    owner: Option<&'static str>,
}

/// Where a pipeline stands in a part of a source.
#[derive(Serialize, ToSchema)]
pub struct SplitLag {
    /// The source.
    source: String,
    /// The part.
    split: String,
    /// The next record; null before the first.
    position: Option<i64>,
    /// Bytes, or else records, that are not read yet, where that is known.
    lag: Option<u64>,
    /// `broken`, `failed`, `reading`, `waiting` or `resting`.
    #[schema(value_type = String)]
    phase: SplitPhase,
}

impl From<SplitView> for SplitLag {
    fn from(view: SplitView) -> Self {
        let lag = view.lag_bytes.or(view.lag_records);
        let SplitView { source, split, position, phase, .. } = view;
        Self { source, split, position, lag, phase }
    }
}

/// A step with an event time.
#[derive(Serialize, ToSchema)]
pub struct StepTime {
    /// The step.
    step: String,
    /// How far its event time has come; null before the first.
    #[schema(format = DateTime)]
    watermark: Option<String>,
    /// Its open windows.
    open_windows: u64,
    /// Rows in them, once for each window.
    open_records: u64,
    /// The event time at which the first of them closes.
    #[schema(format = DateTime)]
    closes_next: Option<String>,
    /// Who holds the event time where it stands: `split` (the one whose times are the least, or
    /// that gave none yet), `failed` (one cannot be read), `waiting` (some wait for a reader); null
    /// where no process says so.
    #[schema(value_type = Option<String>)]
    held_by: Option<HeldBy>,
    /// The split that does, where it is one.
    held_by_split: Option<String>,
    /// Since when.
    #[schema(format = DateTime)]
    held_since: Option<String>,
}

impl From<StepView> for StepTime {
    fn from(view: StepView) -> Self {
        let StepView { step, watermark, open_windows, open_records, closes_next, .. } = view;
        let StepView { held_by, held_by_split, held_since, .. } = view;
        Self {
            step,
            watermark,
            open_windows,
            open_records,
            closes_next,
            held_by,
            held_by_split,
            held_since,
        }
    }
}

/// Something that cannot be read.
#[derive(Serialize, ToSchema)]
pub struct FailingSplit {
    /// The source.
    source: String,
    /// The split, or the file that should be one.
    split: String,
    /// `failed`: it is tried again soon. `broken`: somebody has to do something. `waiting`: its end
    /// waits for something to be written. `passed_over`: no records are missed.
    #[schema(value_type = String)]
    state: TroubleState,
    /// Why.
    error: String,
    /// The way out, where somebody has to do something.
    hint: Option<String>,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// When it is tried again, if it does not change before.
    #[schema(format = DateTime)]
    next_try: Option<String>,
}

impl From<Trouble> for FailingSplit {
    fn from(trouble: Trouble) -> Self {
        let Trouble { source, split, state, error, hint, since, next_try } = trouble;
        Self { source, split, state, error, hint, since, next_try }
    }
}

/// What became of the rows for a sink.
#[derive(Serialize, ToSchema)]
pub struct SinkSums {
    /// The sink.
    sink: String,
    /// What it promises, where the file is known.
    promise: Option<String>,
    /// What became of the rows.
    #[serde(flatten)]
    counts: RowCounts,
}

/// What became of rows.
#[derive(Serialize, ToSchema)]
pub struct RowCounts {
    /// Records read.
    read: u64,
    /// Rows that the sink accepted.
    delivered: u64,
    /// Rows that a condition left out.
    filtered: u64,
    /// Rows that stood before.
    deduplicated: u64,
    /// Rows behind the watermark.
    late: u64,
    /// Rows that went into a window.
    aggregated: u64,
    /// Rows that were refused.
    dead_lettered: u64,
    /// Records that can no longer be read.
    lost: u64,
    /// Rows beyond the first made of one record.
    expanded: u64,
    /// Rows booked as delivered before and refused later.
    rejected_after: u64,
}

/// A tally that one request at a time brings up to date.
type Shared = Arc<Mutex<Tally>>;

/// What is known of all lineages.
#[derive(Default)]
pub struct Board(std::sync::Mutex<HashMap<(String, String), Shared>>);

impl Board {
    /// A pipeline as the list shows it, and with its parts.
    ///
    /// # Errors
    /// 503: the checkpoints cannot be read.
    pub async fn detail(&self, served: &Served, dead_letters: u64) -> Answer<Detail> {
        let mut sums = Sums::default();
        for lineage in lineages(served).await? {
            self.add(served, &lineage, &mut sums).await?;
        }
        let file = served.file.as_ref();
        let graph = file.map(|(_, plan)| graph::graph(plan, &sums.by_source, &sums.by_sink));
        let sinks = sums.sinks.iter().map(|(name, counts)| row(served, name, counts));
        let sinks = sinks.collect();
        let balanced = sums.sinks.iter().all(|(name, counts)| counts.check("", name).is_ok());
        let overview = Overview {
            name: served.name.clone(),
            state: state(served, &sums),
            file: file.map(|(path, _)| path.display().to_string()),
            epochs: sums.epochs,
            read: sums.read,
            delivered: sums.sinks.values().map(|counts| counts.delivered).sum(),
            dead_letters,
            lag: lag(&sums.splits),
            splits_total: sums.splits.len() as u64,
            failing_splits: sums.failing.iter().filter(|one| one.is_missed()).count() as u64,
            broken_splits: sums.count(|view| view.phase == SplitPhase::Broken),
            lagging_splits: sums.count(SplitView::is_lagging),
            oldest_unread: oldest(&sums.splits),
            last_epoch_at: sums.last.map(crate::analytics::params::written),
            schedule: served.schedule.clone(),
        };
        let graph = graph.unwrap_or_default();
        let Sums { lineages, splits, failing, steps, .. } = sums;
        let steps = steps.into_iter().map(StepTime::from).collect();
        let splits = splits.into_iter().take(SPLITS_MAX).map(SplitLag::from).collect();
        Ok(Detail { overview, graph, lineages, splits, steps, failing, sinks, balanced })
    }

    /// The newest epochs of a pipeline, the newest first.
    ///
    /// # Errors
    /// As for [`Board::detail`].
    pub async fn epochs(&self, served: &Served, limit: usize) -> Answer<Vec<Epoch>> {
        let mut epochs = Vec::new();
        for lineage in lineages(served).await? {
            let Some(tally) = self.tally(served, &lineage).await? else { continue };
            let tally = tally.lock().await;
            epochs.extend(tally.recent.iter().rev().take(limit).cloned());
        }
        epochs.sort_by(|one, other| (&other.at, other.epoch).cmp(&(&one.at, one.epoch)));
        epochs.truncate(limit);
        Ok(epochs)
    }

    async fn tally(&self, served: &Served, lineage: &Lineage) -> Answer<Option<Shared>> {
        let Some(checkpoints) = &served.checkpoints else { return Ok(None) };
        let key = (served.name.clone(), lineage.as_str().to_owned());
        let tally = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(key).or_default().clone()
        };
        let history = checkpoints.history(&served.name, lineage);
        tally.lock().await.refresh(&history).await?;
        Ok(Some(tally))
    }

    async fn add(&self, served: &Served, lineage: &Lineage, sums: &mut Sums) -> Answer<()> {
        let history = served.checkpoints.as_ref().map(|one| one.history(&served.name, lineage));
        let noted = match &history {
            Some(history) if *lineage == Lineage::main() => troubles::kept(history).await?,
            _ => Vec::new(),
        };
        sums.failing.extend(noted.iter().cloned().map(FailingSplit::from));
        let Some(tally) = self.tally(served, lineage).await? else { return Ok(()) };
        let mut tally = tally.lock().await;
        let newest = tally.newest.as_ref().map(|newest| (newest.epoch, newest.now_us));
        let Some((epoch, now_us)) = newest else { return Ok(()) };
        for (name, counts) in &tally.sinks {
            if ![DEAD_LETTERS, DEAD_LETTER_STATES].contains(&name.as_str()) {
                sums.sinks.entry(name.clone()).or_default().add(counts);
            }
        }
        sums.epochs += epoch;
        let held = match &served.checkpoints {
            Some(checkpoints) => checkpoints.is_held(&served.name, lineage).await?,
            None => None,
        };
        sums.is_running |= held == Some(true) && !lineage.is_replay();
        sums.lineages.push(LineageState {
            lineage: lineage.as_str().to_owned(),
            epoch,
            committed_at: tally.decided.map(moment),
            owner: (held == Some(true)).then_some("held"),
        });
        if lineage.is_replay() {
            return Ok(());
        }
        sums.read += tally.read;
        sums.last = sums.last.max((epoch > 0).then_some(now_us));
        let (by_source, by_sink) = tally.rates();
        for (sums, rates) in [(&mut sums.by_source, by_source), (&mut sums.by_sink, by_sink)] {
            for (name, rate) in rates {
                *sums.entry(name).or_insert(0.0) += rate;
            }
        }
        let standing = match &history {
            Some(history) if held == Some(true) => Standing::kept(history).await?,
            _ => None,
        };
        sums.steps.extend(tally.steps(standing.as_ref()));
        sums.splits.extend_from_slice(tally.views(noted, standing));
        Ok(())
    }
}

/// All lineages of a pipeline added up.
#[derive(Default)]
struct Sums {
    epochs: u64,
    read: u64,
    last: Option<i64>,
    is_running: bool,
    sinks: BTreeMap<String, Counts>,
    by_source: HashMap<String, f64>,
    by_sink: HashMap<String, f64>,
    lineages: Vec<LineageState>,
    splits: Vec<SplitView>,
    steps: Vec<StepView>,
    failing: Vec<FailingSplit>,
}

impl Sums {
    fn count(&self, is_it: impl Fn(&SplitView) -> bool) -> u64 {
        self.splits.iter().filter(|view| is_it(view)).count() as u64
    }
}

impl FailingSplit {
    /// Whether records may be missed because of it.
    fn is_missed(&self) -> bool {
        self.state.is_failure()
    }
}

impl Detail {
    /// What the list says.
    pub fn overview(self) -> Overview {
        self.overview
    }
}

impl Overview {
    /// Name, state and the main numbers, for a table.
    pub fn words(&self) -> Vec<String> {
        let state = format!("{:?}", self.state).to_lowercase();
        let numbers = [self.epochs, self.read, self.delivered, self.dead_letters];
        let numbers = numbers.iter().map(u64::to_string);
        [self.name.clone(), state].into_iter().chain(numbers).collect()
    }
}

async fn lineages(served: &Served) -> Answer<Vec<Lineage>> {
    match &served.checkpoints {
        Some(checkpoints) => Ok(checkpoints.lineages(&served.name).await?),
        None => Ok(Vec::new()),
    }
}

/// What the program around knows, else what the leases say.
fn state(served: &Served, sums: &Sums) -> State {
    match served.state {
        Some(state) => state,
        None if sums.is_running => State::Running,
        None if served.schedule.is_some() => State::Scheduled,
        None if sums.lineages.is_empty() => State::Unknown,
        None => State::Idle,
    }
}

fn row(served: &Served, name: &str, counts: &Counts) -> SinkSums {
    let promise = served.promises.iter().find(|(sink, _)| sink == name);
    SinkSums {
        sink: name.to_owned(),
        promise: promise.map(|(_, promise)| promise.clone()),
        counts: RowCounts::from(counts),
    }
}

impl From<&Counts> for RowCounts {
    fn from(counts: &Counts) -> Self {
        Self {
            read: counts.read,
            delivered: counts.delivered,
            filtered: counts.filtered,
            deduplicated: counts.deduplicated,
            late: counts.late,
            aggregated: counts.aggregated,
            dead_lettered: counts.dead_lettered,
            lost: counts.lost,
            expanded: counts.expanded,
            rejected_after: counts.rejected_after,
        }
    }
}

/// The sum of what is known; none if nothing is.
fn lag(splits: &[SplitView]) -> Option<u64> {
    let known = splits.iter().filter_map(|split| split.lag_bytes.or(split.lag_records));
    known.fold(None, |sum, lag| Some(sum.unwrap_or(0) + lag))
}

/// Of all that is not read, because it fails or because nobody came to it, what waits for longest.
fn oldest(splits: &[SplitView]) -> Option<Unread> {
    let unread = splits.iter().filter_map(|view| {
        let since = view.unread_since.iter().chain(&view.failing_since).min()?;
        Some((since, view))
    });
    let (since, view) = unread.min_by_key(|(since, _)| *since)?;
    let (source, split) = (view.source.clone(), view.split.clone());
    Some(Unread { source, split, since: since.clone() })
}
