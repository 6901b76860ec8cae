//! How each split of a pipeline is, for people: who is read, who waits, who cannot be read, and
//! what is not read yet.
//!
//! A running process notes now and then, beside its checkpoints, what it alone knows; nothing
//! depends on it. All else stands in the checkpoint and in the list of troubles. What is noted is
//! never longer for more splits than have a reader.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use contract::Result;
use contract::error::Context;
use contract::source::Lag;
use serde::{Deserialize, Serialize};
use state::checkpoint::StepTime;
use state::{History, Roster, SplitState};
use tracing::debug;

use crate::attempt::Attempt;
use crate::owner::Scope;
use crate::reader_task::{ReaderHandle, ReaderReport};
use crate::roster::phases::Phases;
use crate::troubles::{Trouble, TroubleState};

/// How often it is noted where splits stand.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// The same in a store that several machines share.
const NOTE_EVERY_SHARED: Duration = Duration::from_secs(60);
/// Ends of names of files whose positions are not those of their bytes on disk.
const COMPRESSED: [&str; 6] = [".gz", ".zst", ".bz2", ".xz", ".lz4", ".br"];
/// Splits that wait for a reader and are noted by number.
const WAITING_MAX: usize = 1_000;

/// What a process notes of its splits, by their numbers in the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// When, as RFC 3339.
    pub at: String,
    /// Those that have a reader.
    pub reading: Vec<usize>,
    /// How many wait for one.
    pub waiting: usize,
    /// The next of these, up to a limit.
    pub next: Vec<usize>,
    /// Those of which something is there that was not read.
    pub behind: Vec<Behind>,
    /// What holds the event time of steps where it stands.
    #[serde(default)]
    pub holds: Vec<Hold>,
}

/// What holds the event time of a step where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The step.
    pub step: String,
    /// Who does.
    pub by: HeldBy,
    /// The number of the split, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<usize>,
    /// Since when, as RFC 3339.
    pub since: String,
}

/// Who holds the event time of a step where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// Splits that wait for a reader, or a source that did not say yet which it has.
    Waiting,
    /// A split that cannot be read now.
    Failed,
    /// The split whose times are the least, or that gave none yet.
    Split,
}

/// A split of which something is there that was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// Its number.
    pub split: usize,
    /// Records, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Bytes, as they are stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Since when, as RFC 3339.
    pub since: String,
}

/// What barriers saw of the readers of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    behind: BTreeMap<usize, (Lag, SystemTime)>,
    noted: Option<Instant>,
}

impl Seen {
    /// A barrier found the readers so. What waits for the end of its line is no lag.
    pub fn stand(&mut self, readers: &[ReaderHandle], reports: &[ReaderReport]) {
        let now = SystemTime::now();
        let mut before = std::mem::take(&mut self.behind);
        for (reader, ReaderReport { lag, .. }) in readers.iter().zip(reports) {
            let is_behind = lag.records.unwrap_or(0) > 0 || lag.bytes.unwrap_or(0) > 0;
            if is_behind && lag.held.is_none() {
                let since = before.remove(&reader.split.index).map_or(now, |(_, since)| since);
                self.behind.insert(reader.split.index, (*lag, since));
            }
        }
    }

    /// Whether it is time to note it; then it counts as noted.
    pub fn is_due(&mut self, is_shared: bool) -> bool {
        let every = if is_shared { NOTE_EVERY_SHARED } else { NOTE_EVERY };
        let is_due = self.noted.is_none_or(|noted| noted.elapsed() >= every);
        if is_due {
            self.noted = Some(Instant::now());
        }
        is_due
    }

    /// What is noted of them, and of those that wait for a reader.
    pub fn note(
        &self,
        readers: &[ReaderHandle],
        (waiting, next): (usize, Vec<usize>),
        holds: Vec<Hold>,
    ) -> Standing {
        let behind = self.behind.iter().map(|(split, (lag, since))| Behind {
            split: *split,
            records: lag.records,
            bytes: lag.bytes,
            since: written(*since),
        });
        Standing {
            at: written(SystemTime::now()),
            reading: readers.iter().map(|reader| reader.split.index).collect(),
            waiting,
            next,
            behind: behind.collect(),
            holds,
        }
    }
}

impl Standing {
    /// Keeps it beside the checkpoints.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn keep(&self, history: &History) -> Result<()> {
        let bytes = serde_json::to_vec(self).bug("where splits stand is no JSON")?;
        history.keep_standing(bytes.into()).await
    }

    /// What was noted last; none if nobody runs the lineage, or another version noted it.
    ///
    /// # Errors
    /// Retryable External: the store does not answer.
    pub async fn kept(history: &History) -> Result<Option<Self>> {
        let bytes = history.standing().await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// Notes how the splits of an attempt stand, where it is time to.
pub(crate) fn note(attempt: &mut Attempt<'_>, phases: &Phases) {
    let history = &attempt.owner.history;
    if attempt.owner.scope != Scope::Sources || !attempt.seen.is_due(history.is_shared()) {
        return;
    }
    let waiting = (phases.waiting(), phases.queue(WAITING_MAX));
    let holds = attempt.event_times.holds(attempt.owner);
    let standing = attempt.seen.note(&attempt.readers, waiting, holds);
    let history = history.clone();
    attempt.spawn(async move {
        if let Err(error) = standing.keep(&history).await {
            debug!(error = error.chain(), "could not note how splits stand");
        }
        Ok(())
    });
}

/// How it is with a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitPhase {
    /// Somebody has to do something before it can be read.
    Broken,
    /// It could not be read, and is tried again soon.
    Failed,
    /// It has a reader.
    Reading,
    /// It was not read yet, or waits for a reader.
    Waiting,
    /// It was read as far as it went.
    Resting,
}

impl SplitPhase {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::Reading => "reading",
            Self::Waiting => "waiting",
            Self::Resting => "resting",
        }
    }

    /// Whether records are missed until something is done.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Broken | Self::Failed)
    }
}

/// A split as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitView {
    /// The source's name in the pipeline file.
    pub source: String,
    /// The split, or what should be one.
    pub split: String,
    /// What its source says that it shares with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// How it is with it.
    pub phase: SplitPhase,
    /// The next record; none before the first.
    pub position: Option<i64>,
    /// Records between the position and the end, where they are known.
    pub lag_records: Option<u64>,
    /// Bytes between them, as they are stored.
    pub lag_bytes: Option<u64>,
    /// Since when something is there that was not read, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_since: Option<String>,
    /// Since when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    /// Why it cannot be read, or what its end waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it is tried again, if nothing changes before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
}

impl SplitView {
    /// Whether something is there that was not read.
    pub fn is_lagging(&self) -> bool {
        self.lag_records.unwrap_or(0) > 0 || self.lag_bytes.unwrap_or(0) > 0
    }

    fn of(source: &str, split: &str, phase: SplitPhase) -> Self {
        Self {
            source: source.to_owned(),
            split: split.to_owned(),
            family: None,
            phase,
            position: None,
            lag_records: None,
            lag_bytes: None,
            unread_since: None,
            failing_since: None,
            why: None,
            hint: None,
            next_try: None,
        }
    }

    /// Takes in what a run noted of it.
    fn trouble(&mut self, trouble: &Trouble) {
        self.phase = match trouble.state {
            TroubleState::Broken => SplitPhase::Broken,
            TroubleState::Failed => SplitPhase::Failed,
            TroubleState::PassedOver | TroubleState::Waiting => self.phase,
        };
        if self.phase.is_failure() {
            self.failing_since = Some(trouble.since.clone());
        }
        self.why = Some(trouble.error.clone());
        self.hint.clone_from(&trouble.hint);
        self.next_try.clone_from(&trouble.next_try);
    }
}

/// All splits of a lineage: those that its checkpoint knows, and what should be one and cannot be
/// read. Those in trouble come first, then those that are read, by source and name. What lies
/// beyond a position that no process noted is told by the size of the file, which `size` is asked
/// for; not of those of which a process that runs knows that they did not change.
pub fn list(
    roster: &Roster,
    (troubles, standing): (&[Trouble], Option<&Standing>),
    size: impl Fn(&Path) -> Option<u64>,
) -> Vec<SplitView> {
    let none = Standing::default();
    // Where more wait than it names, any other may be among them.
    let names_all = standing.is_some_and(|standing| standing.waiting <= standing.next.len());
    let standing = standing.unwrap_or(&none);
    let reading: HashSet<_> = standing.reading.iter().collect();
    let next: HashSet<_> = standing.next.iter().collect();
    let behind: HashMap<_, _> = standing.behind.iter().map(|one| (one.split, one)).collect();
    let key = |trouble: &Trouble| (trouble.source.clone(), trouble.split.clone());
    let shown = troubles.iter().filter(|one| one.state != TroubleState::PassedOver);
    let mut troubles: BTreeMap<_, _> = shown.map(|trouble| (key(trouble), trouble)).collect();
    let mut views = Vec::with_capacity(roster.len());
    for (number, state) in roster.iter().filter(|(_, state)| !state.known.split.is_made()) {
        let known = &state.known;
        let phase = match known.position {
            _ if reading.contains(&number) => SplitPhase::Reading,
            Some(_) if !next.contains(&number) => SplitPhase::Resting,
            _ => SplitPhase::Waiting,
        };
        let mut view = SplitView::of(&state.source, known.split.id.as_str(), phase);
        view.family = known.split.family().map(str::to_owned);
        view.position = known.position.as_ref().map(|position| position.at);
        if let Some(Behind { records, bytes, since, .. }) = behind.get(&number) {
            (view.lag_records, view.lag_bytes) = (*records, *bytes);
            view.unread_since = Some(since.clone());
        } else {
            let is_read = names_all && state.is_read && phase == SplitPhase::Resting;
            let left = |path| if is_read { Some(0) } else { left(state, size(path)?) };
            view.lag_bytes = path_of(state).and_then(left);
        }
        if let Some(trouble) = troubles.remove(&(view.source.clone(), view.split.clone())) {
            view.trouble(trouble);
        }
        views.push(view);
    }
    let others = troubles.into_values().filter(|trouble| trouble.state.is_failure());
    views.extend(others.map(|trouble| {
        let mut view = SplitView::of(&trouble.source, &trouble.split, SplitPhase::Broken);
        view.trouble(trouble);
        view
    }));
    views.sort_by(|one, other| {
        (one.phase, &one.source, &one.split).cmp(&(other.phase, &other.source, &other.split))
    });
    views
}

/// A step with an event time as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepView {
    /// Its name in the pipeline file.
    pub step: String,
    /// How far its event time has come, as RFC 3339; none before the first.
    pub watermark: Option<String>,
    /// Its open windows.
    pub open_windows: u64,
    /// Rows in them, once for each window.
    pub open_records: u64,
    /// The event time at which the first of them closes, as RFC 3339.
    pub closes_next: Option<String>,
    /// Who holds the event time where it stands; none where no process says so.
    pub held_by: Option<HeldBy>,
    /// The split that does, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by_split: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_since: Option<String>,
}

/// The steps of a lineage that have an event time, as its newest checkpoint has them, with what its
/// process notes.
pub fn steps(
    times: &BTreeMap<String, StepTime>,
    roster: &Roster,
    standing: Option<&Standing>,
) -> Vec<StepView> {
    let shown = |us: i64| {
        let time = DateTime::from_timestamp_micros(us);
        let time = time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        time.unwrap_or_else(|| format!("{us} µs"))
    };
    let views = times.iter().map(|(step, time)| {
        let holds = standing.into_iter().flat_map(|standing| &standing.holds);
        let hold = holds.into_iter().find(|hold| hold.step == *step);
        let split = hold.and_then(|hold| roster.get(hold.split?));
        StepView {
            step: step.clone(),
            watermark: time.watermark_us.map(shown),
            open_windows: time.windows,
            open_records: time.rows,
            closes_next: time.first_us.map(shown),
            held_by: hold.map(|hold| hold.by),
            held_by_split: split.map(|state| state.known.split.id.as_str().to_owned()),
            held_since: hold.map(|hold| hold.since.clone()),
        }
    });
    views.collect()
}

/// All splits of a lineage as they are now, and its steps with an event time, with what its process
/// notes where one runs it.
///
/// # Errors
/// External: its checkpoint is damaged, or the store does not answer (retryable).
pub async fn read(history: &History, is_running: bool) -> Result<(Vec<SplitView>, Vec<StepView>)> {
    let Some(newest) = history.newest().await? else { return Ok((Vec::new(), Vec::new())) };
    let troubles = crate::troubles::kept(history).await?;
    let standing = match is_running {
        true => Standing::kept(history).await?,
        false => None,
    };
    let (checkpoint, standing) = (&newest.checkpoint, standing.as_ref());
    let splits = list(&checkpoint.roster, (&troubles, standing), size);
    Ok((splits, steps(&checkpoint.times, &checkpoint.roster, standing)))
}

/// The size of a file.
pub fn size(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.len())
}

/// The file of a split whose positions are those of its bytes on disk. A source that is no file
/// says nothing from outside.
fn path_of(state: &SplitState) -> Option<&Path> {
    let path = state.known.split.descriptor.get("path")?.as_str()?;
    let is_compressed = COMPRESSED.iter().any(|end| path.ends_with(end));
    (!is_compressed).then(|| Path::new(path))
}

/// Bytes of a file of this size that were not read yet.
fn left(state: &SplitState, size: u64) -> Option<u64> {
    let read = state.known.position.as_ref().map_or(0, |position| position.at);
    Some(size.saturating_sub(u64::try_from(read).ok()?))
}

/// A moment as RFC 3339.
pub(crate) fn written(time: SystemTime) -> String {
    let time: DateTime<Utc> = time.into();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use contract::source::Split;
    use contract::{Position, SplitId};

    use super::*;

    fn trouble(split: &str, state: TroubleState) -> Trouble {
        Trouble {
            source: "access".to_owned(),
            split: split.to_owned(),
            state,
            error: "damaged".to_owned(),
            hint: Some("mend it".to_owned()),
            since: "2015-05-17T10:05:03Z".to_owned(),
            next_try: None,
        }
    }

    #[test]
    fn each_split_is_listed_once_and_those_in_trouble_come_first() {
        let mut roster = Roster::default();
        for id in ["a", "b", "c", "d", "e"] {
            let number = roster.enter("access", Split::named(SplitId::new(id), None)).number;
            if id != "b" {
                roster.advance(number, &Position::new(4));
            }
        }
        let since = "2015-05-17T10:00:00Z".to_owned();
        let behind = vec![Behind { split: 2, records: Some(3), bytes: None, since }];
        let standing = Standing { reading: vec![2], next: vec![3], behind, ..Standing::default() };
        let states = [
            ("e", TroubleState::Failed),
            ("no split", TroubleState::Broken),
            ("a pipe", TroubleState::PassedOver),
            ("a", TroubleState::Waiting),
        ];
        let troubles = states.map(|(split, state)| trouble(split, state));
        let views = list(&roster, (&troubles, Some(&standing)), |_| None);
        let shown: Vec<_> = views.iter().map(|one| (&*one.split, one.phase.word())).collect();
        let expect = [
            ("no split", "broken"),
            ("e", "failed"),
            ("c", "reading"),
            ("b", "waiting"),
            ("d", "waiting"),
            ("a", "resting"),
        ];
        assert_eq!(shown, expect);
        assert!(views[2].is_lagging() && views[2].unread_since.is_some());
        assert_eq!(views[1].failing_since.as_deref(), Some("2015-05-17T10:05:03Z"));
        let waits = &views[5];
        assert_eq!((waits.why.as_deref(), &waits.failing_since), (Some("damaged"), &None));
        let alone = list(&roster, (&[], None), |_| None);
        let phases: Vec<_> = alone.iter().map(|one| one.phase.word()).collect();
        assert_eq!(phases, ["waiting", "resting", "resting", "resting", "resting"]);
    }

    #[test]
    fn files_that_a_process_saw_unchanged_are_not_asked_for_their_size() {
        let mut roster = Roster::default();
        for id in ["a", "b", "c", "d", "e.gz"] {
            let descriptor = serde_json::json!({ "path": id });
            let split = Split { id: SplitId::new(id), descriptor: descriptor.clone() };
            let number = roster.enter("access", split).number;
            roster.advance(number, &Position::new(4));
            if id != "d" {
                roster.read(number, &descriptor);
            }
        }
        let check = |standing: Option<&Standing>, expect: &[(&str, Option<u64>)], asked: &str| {
            let sizes = std::cell::RefCell::new(String::new());
            let views = list(&roster, (&[], standing), |path| {
                sizes.borrow_mut().push_str(path.to_str()?);
                Some(10)
            });
            let mut lags: Vec<_> = views.iter().map(|one| (&*one.split, one.lag_bytes)).collect();
            lags.sort_unstable();
            assert_eq!((&lags[..], sizes.borrow().as_str()), (expect, asked));
        };
        let all = [6; 4].map(Some);
        let lags = |lags: [Option<u64>; 4]| {
            let named = ["a", "b", "c", "d"].into_iter().zip(lags);
            named.chain([("e.gz", None)]).collect::<Vec<_>>()
        };
        check(None, &lags(all), "abcd");
        let standing =
            Standing { reading: vec![0], next: vec![1], waiting: 1, ..Standing::default() };
        check(Some(&standing), &lags([Some(6), Some(6), Some(0), Some(6)]), "abd");
        let crowded = Standing { waiting: 2, ..standing };
        check(Some(&crowded), &lags(all), "abcd");
    }
}
