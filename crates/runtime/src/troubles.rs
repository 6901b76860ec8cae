//! What cannot be read now: splits that fail, and things that should be splits.
//!
//! One list for a run, for people to see: in the log, once; in the closing object, in metrics, and
//! beside the checkpoints. It outlives attempts, so that a split that fails in each of them still
//! backs off. It decides nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use contract::discovery::Unreadable;
use contract::source::Held;
use contract::{Error, Result};
use serde::{Deserialize, Serialize};
use state::History;
use tracing::{info, warn};

/// The pause before a split is tried again whose error may pass; it doubles each time.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// The longest pause before a split is tried again whose error may pass.
const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// The pause before a broken split is tried again if it does not change; it doubles each time.
const BROKEN_BACK_OFF_MIN: Duration = Duration::from_secs(30);
/// The longest pause before a broken split is tried again.
const BROKEN_BACK_OFF_MAX: Duration = Duration::from_secs(3600);
/// What to do about a source that does not answer.
const NO_ANSWER: &str = "see whether its system is up and can be reached from here; `retry.for` \
                         says how long it is waited for";
/// Entries that are kept beside the checkpoints and in the closing object.
const LISTED_MAX: usize = 1_000;

/// How it is with what cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleState {
    /// The error may pass; it is tried again soon.
    Failed,
    /// Somebody has to do something; it is tried again when it changes, and now and then.
    Broken,
    /// Nothing that holds records: it is left out.
    PassedOver,
    /// What is there was read, and the end of it waits for something to be written.
    Waiting,
}

impl TroubleState {
    /// Whether records are missed until something is done.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Broken => true,
            Self::PassedOver | Self::Waiting => false,
        }
    }
}

/// Something that cannot be read now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The source's name in the pipeline file.
    pub source: String,
    /// The split, or what should be one; the name of the source where that is away.
    pub split: String,
    /// How it is with it.
    pub state: TroubleState,
    /// Why it cannot be read.
    pub error: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Since when, as RFC 3339.
    pub since: String,
    /// When it is tried again, if nothing changes before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
}

/// The troubles of a run.
#[derive(Debug, Default)]
pub struct Troubles {
    known: Mutex<Known>,
    /// The version that was written down last; held while it is written.
    kept: tokio::sync::Mutex<Option<u64>>,
}

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<(String, String), Entry>,
    /// Splits whose end waits.
    waiting: BTreeMap<(String, String), Waits>,
    /// Grows with each change.
    version: u64,
}

#[derive(Debug)]
struct Entry {
    trouble: Trouble,
    since: Instant,
    tries: u32,
    /// Whether discovery says so, each time, and not a reader.
    is_found: bool,
}

/// A split whose end waits.
#[derive(Debug)]
struct Waits {
    position: i64,
    held: Held,
    trouble: Trouble,
    /// Whether it stood so for a while: whoever writes may be in the middle of a line.
    is_shown: bool,
}

/// Where a reader stands, as a barrier found it.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// The next record.
    pub position: i64,
    /// What waits there.
    pub held: Option<Held>,
    /// Whether nobody looks again soon.
    pub is_left: bool,
}

/// How many splits of a source are in trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Those whose error may pass.
    pub failed: u64,
    /// Those for whom somebody has to do something.
    pub broken: u64,
    /// Those whose end waits for something to be written.
    pub waiting: u64,
}

impl Troubles {
    /// A split failed. Returns how long it is left alone, and since when it has failed.
    pub fn failed(&self, source: &str, split: &str, error: &Error) -> (Duration, Instant) {
        let told = "a split cannot be read; the others go on";
        self.note_failed((source, split), error, told)
    }

    /// The system of a source does not answer. Returns the same.
    pub fn away(&self, source: &str, error: &Error) -> (Duration, Instant) {
        let told = "a source cannot be asked for its splits; the others go on";
        self.note_failed((source, source), error, told)
    }

    fn note_failed(
        &self,
        (source, split): (&str, &str),
        error: &Error,
        told: &str,
    ) -> (Duration, Instant) {
        let mut known = self.known();
        let key = (source.to_owned(), split.to_owned());
        known.waiting.remove(&key);
        let before = known.entries.remove(&key);
        let tries = before.as_ref().map_or(0, |entry| entry.tries);
        let (state, least, most) = match error.retry() {
            true => (TroubleState::Failed, BACK_OFF_MIN, BACK_OFF_MAX),
            false => (TroubleState::Broken, BROKEN_BACK_OFF_MIN, BROKEN_BACK_OFF_MAX),
        };
        let pause = least.saturating_mul(2_u32.saturating_pow(tries)).min(most);
        let pause = pause.mul_f64(rand::random_range(0.8..1.0));
        let text = error.chain();
        let is_new = before.as_ref().is_none_or(|entry| entry.trouble.error != text);
        let (since, since_text) = match before {
            Some(entry) => (entry.since, entry.trouble.since),
            None => (Instant::now(), written(Duration::ZERO)),
        };
        if is_new {
            let hint = error.hint_text();
            warn!(source, split, error = text, hint, "{told}");
        }
        let trouble = Trouble {
            source: source.to_owned(),
            split: split.to_owned(),
            state,
            error: text,
            hint: error.hint_text().map(str::to_owned),
            since: since_text,
            next_try: Some(written(pause)),
        };
        let entry = Entry { trouble, since, tries: tries.saturating_add(1), is_found: false };
        known.entries.insert(key, entry);
        known.version += 1;
        (pause, since)
    }

    /// Records came of a split since it failed: the next failure begins anew.
    pub fn got_on(&self, source: &str, split: &str) {
        let mut known = self.known();
        if let Some(entry) = known.entries.get_mut(&(source.to_owned(), split.to_owned())) {
            (entry.tries, entry.since) = (0, Instant::now());
        }
    }

    /// A split counts as broken for this run: it is not tried any more.
    pub fn gave_up(&self, source: &str, split: &str) {
        let mut known = self.known();
        if let Some(entry) = known.entries.get_mut(&(source.to_owned(), split.to_owned())) {
            entry.trouble.state = TroubleState::Broken;
            entry.trouble.next_try = None;
            known.version += 1;
        }
    }

    /// A source has not answered for so long, and counts as broken for this run. What it answered
    /// before stands for it.
    pub fn never_came(&self, source: &str, waited: Duration) {
        let key = (source.to_owned(), source.to_owned());
        if !self.known().entries.contains_key(&key) {
            self.away(source, &never_answered(source, waited));
        }
        self.gave_up(source, source);
    }

    /// Whether a source counts as broken for this run.
    pub fn has_given_up(&self, source: &str) -> bool {
        let entries = &self.known().entries;
        let entry = entries.get(&(source.to_owned(), source.to_owned()));
        entry.is_some_and(|one| !one.is_found && one.trouble.next_try.is_none())
    }

    /// A split is read again, or is not there any more.
    pub fn passed(&self, source: &str, split: &str) {
        let mut known = self.known();
        let key = (source.to_owned(), split.to_owned());
        if known.entries.get(&key).is_some_and(|entry| !entry.is_found) {
            known.entries.remove(&key);
            known.version += 1;
            let what = if source == split { "source" } else { "split" };
            info!(source, split, "a {what} is not in trouble any more");
        }
    }

    /// A split is not there any more: nothing waits in it.
    pub fn gone(&self, source: &str, split: &str) {
        self.known().forget_waiting(source, split);
    }

    /// A reader stands somewhere, and perhaps something waits there. It is shown once it has stood
    /// so from one barrier to the next, or nobody looks again soon.
    pub fn stands(&self, source: &str, split: &str, stand: Stand) {
        let mut known = self.known();
        let Stand { position, held, is_left } = stand;
        let Some(held) = held else { return known.forget_waiting(source, split) };
        let key = (source.to_owned(), split.to_owned());
        let is_same = |one: &&mut Waits| (one.position, one.held) == (position, held);
        if let Some(one) = known.waiting.get_mut(&key).filter(is_same) {
            let is_new = one.show();
            known.version += u64::from(is_new);
            return;
        }
        let mut one = Waits::new((source, split), position, held);
        let was_shown = known.waiting.get(&key).is_some_and(|one| one.is_shown);
        let is_shown = is_left && one.show();
        known.version += u64::from(is_shown || was_shown);
        known.waiting.insert(key, one);
    }

    /// The run ends: what waits now waits for the next one.
    pub fn end(&self) {
        let mut known = self.known();
        let shown = known.waiting.values_mut().filter_map(|one| one.show().then_some(())).count();
        known.version += shown as u64;
    }

    /// What the discovery of a source found this time.
    pub fn found(&self, source: &str, unreadable: Vec<Unreadable>) {
        let mut known = self.known();
        let names: HashSet<_> = unreadable.iter().map(|one| one.name.clone()).collect();
        let before = known.entries.len();
        known
            .entries
            .retain(|(of, name), entry| of != source || !entry.is_found || names.contains(name));
        let mut has_changed = known.entries.len() != before;
        for one in unreadable {
            has_changed |= known.note(source, one);
        }
        known.version += u64::from(has_changed);
    }

    /// All of them, by source and name, up to a limit.
    pub fn list(&self) -> Vec<Trouble> {
        let known = self.known();
        let waiting = known.waiting.values().filter(|one| one.is_shown).map(|one| &one.trouble);
        let all = known.entries.values().map(|entry| &entry.trouble).chain(waiting);
        all.take(LISTED_MAX).cloned().collect()
    }

    /// How many splits of a source are in trouble.
    pub fn count(&self, source: &str) -> Counted {
        let mut counted = Counted::default();
        for entry in self.known().entries.values().filter(|one| one.trouble.source == source) {
            match entry.trouble.state {
                TroubleState::Failed => counted.failed += 1,
                TroubleState::Broken => counted.broken += 1,
                TroubleState::PassedOver | TroubleState::Waiting => {}
            }
        }
        let known = self.known();
        let waiting = known.waiting.values().filter(|one| one.is_shown);
        counted.waiting = waiting.filter(|one| one.trouble.source == source).count() as u64;
        counted
    }

    /// How many splits of all sources are in trouble.
    pub fn failing(&self) -> u64 {
        let known = self.known();
        let states = known.entries.values().map(|entry| entry.trouble.state);
        states.filter(|state| state.is_failure()).count() as u64
    }

    /// Writes them down beside the checkpoints if they changed since the last time.
    pub async fn keep(&self, history: &History) {
        let mut kept = self.kept.lock().await;
        let version = self.known().version;
        if *kept == Some(version) {
            return;
        }
        if let Err(error) = keep(history, &self.list()).await {
            let error = error.chain();
            warn!(error, "could not note what cannot be read");
        }
        *kept = Some(version);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waits {
    fn new((source, split): (&str, &str), position: i64, held: Held) -> Self {
        let Held { bytes, reason, .. } = held;
        let trouble = Trouble {
            source: source.to_owned(),
            split: split.to_owned(),
            state: TroubleState::Waiting,
            error: format!("{reason}: {bytes} bytes wait at position {position}"),
            hint: None,
            since: written(Duration::ZERO),
            next_try: None,
        };
        Self { position, held, trouble, is_shown: false }
    }

    /// Whether that is new.
    fn show(&mut self) -> bool {
        let is_new = !std::mem::replace(&mut self.is_shown, true);
        if is_new && self.held.is_odd {
            let Trouble { source, split, error, .. } = &self.trouble;
            warn!(source, split, "{error}; the others go on");
        }
        is_new
    }
}

impl Known {
    fn forget_waiting(&mut self, source: &str, split: &str) {
        let known = self.waiting.remove(&(source.to_owned(), split.to_owned()));
        self.version += u64::from(known.is_some_and(|one| one.is_shown));
    }

    /// Whether anything is new in what discovery says of one name.
    fn note(&mut self, source: &str, one: Unreadable) -> bool {
        let state = match one.may_hold_records {
            true => TroubleState::Broken,
            false => TroubleState::PassedOver,
        };
        let key = (source.to_owned(), one.name);
        let next_try = one.again_in.map(written);
        if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is_found)
            && entry.trouble.error == one.reason
        {
            // It is looked at each second: only longer pauses are news.
            entry.trouble.next_try = next_try;
            return false;
        }
        let (split, reason, hint) = (&key.1, &one.reason, one.hint.as_deref());
        match one.may_hold_records {
            true => warn!(source, split, error = reason, hint, "cannot be read; the others go on"),
            false => warn!(source, split, hint, "passed over: {reason}"),
        }
        let trouble = Trouble {
            source: source.to_owned(),
            split: split.clone(),
            state,
            error: one.reason,
            hint: one.hint,
            since: written(Duration::ZERO),
            next_try,
        };
        let entry = Entry { trouble, since: Instant::now(), tries: 0, is_found: true };
        self.entries.insert(key, entry);
        true
    }
}

/// The error of a source that has not answered for so long.
pub fn never_answered(source: &str, waited: Duration) -> Error {
    Error::external(format!("source {source:?}: no answer for {waited:?}")).hint(NO_ANSWER)
}

async fn keep(history: &History, troubles: &[Trouble]) -> Result<()> {
    if troubles.is_empty() {
        return history.forget_troubles().await;
    }
    let bytes = serde_json::to_vec(troubles)
        .map_err(|error| Error::bug("troubles are no JSON").because(error))?;
    history.keep_troubles(bytes.into()).await
}

/// What a run noted last of what it could not read.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn kept(history: &History) -> Result<Vec<Trouble>> {
    let bytes = history.troubles().await?;
    // Another version may have written something else there; it is only shown.
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
}

/// The time so long from now.
fn written(from_now: Duration) -> String {
    let time: DateTime<Utc> = (std::time::SystemTime::now() + from_now).into();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_backs_off_alone_and_forgets_it_once_it_is_read() {
        let troubles = Troubles::default();
        let error = Error::transient("no answer");
        let mut before = Duration::ZERO;
        for _ in 0..5 {
            let (pause, _) = troubles.failed("access", "a.log", &error);
            assert!(pause > before && pause <= BACK_OFF_MAX, "{before:?} {pause:?}");
            before = pause;
        }
        let (pause, _) = troubles.failed("access", "b.log", &error);
        assert!(pause <= BACK_OFF_MIN, "{pause:?}");
        assert_eq!(troubles.count("access"), Counted { failed: 2, ..Counted::default() });
        troubles.passed("access", "a.log");
        let (pause, _) = troubles.failed("access", "a.log", &error);
        assert!(pause <= BACK_OFF_MIN, "{pause:?}");
    }

    #[test]
    fn a_broken_split_is_never_left_alone_for_more_than_an_hour() {
        let troubles = Troubles::default();
        let error = Error::external("damaged");
        for _ in 0..100 {
            let (pause, _) = troubles.failed("access", "a.log", &error);
            assert!(pause <= BROKEN_BACK_OFF_MAX, "{pause:?}");
        }
        assert_eq!(troubles.count("access"), Counted { broken: 1, ..Counted::default() });
    }

    #[test]
    fn what_waits_is_shown_once_it_stood_so_from_one_barrier_to_the_next() {
        let troubles = Troubles::default();
        let line = Held { bytes: 3, reason: "its last line has no end yet", is_odd: false };
        let stand = |split: &str, position, held, is_left| {
            troubles.stands("access", split, Stand { position, held, is_left });
        };
        let splits = || troubles.list().into_iter().map(|one| one.split).collect::<Vec<_>>();
        stand("a.log", 4, Some(line), false);
        stand("b.log", 4, Some(line), true);
        assert_eq!(splits(), ["b.log"]);
        stand("a.log", 9, Some(line), false);
        assert_eq!(splits(), ["b.log"], "it is written on");
        stand("a.log", 9, Some(line), false);
        assert_eq!(splits(), ["a.log", "b.log"]);
        assert_eq!(troubles.count("access"), Counted { waiting: 2, ..Counted::default() });
        assert_eq!(troubles.failing(), 0);
        let said = troubles.list().remove(0);
        assert_eq!(said.error, "its last line has no end yet: 3 bytes wait at position 9");
        stand("a.log", 12, None, false);
        troubles.gone("access", "b.log");
        assert_eq!(splits(), [""; 0]);
        stand("c.log", 0, Some(line), false);
        assert_eq!(splits(), [""; 0]);
        troubles.end();
        assert_eq!(splits(), ["c.log"], "nobody looks again");
    }

    #[test]
    fn what_discovery_says_stands_as_long_as_it_says_so() {
        let troubles = Troubles::default();
        let one = |name: &str, may_hold_records| Unreadable {
            name: name.to_owned(),
            reason: "no permission".to_owned(),
            hint: None,
            may_hold_records,
            again_in: None,
        };
        troubles.failed("access", "a.log", &Error::external("damaged"));
        troubles.found("access", vec![one("b.log", true), one("pipe", false)]);
        troubles.found("other", vec![one("b.log", true)]);
        let states: Vec<_> = troubles.list().into_iter().map(|one| one.state).collect();
        let broken = TroubleState::Broken;
        assert_eq!(states, [broken, broken, TroubleState::PassedOver, broken]);
        troubles.found("access", Vec::new());
        let names: Vec<_> = troubles.list().into_iter().map(|one| one.split).collect();
        assert_eq!(names, ["a.log", "b.log"]);
    }
}
