//! Sources that did not answer yet, and how long they are waited for.
//!
//! Whoever is away is told, and asked again after pauses that grow. Where there is an end, one that
//! does not come for as long as the settings have patience is given up for this run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Error, Result};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::graph::Pipeline;
use crate::metrics::Instruments;
use crate::owner::RunOptions;
use crate::patience;
use crate::progress::Progress;
use crate::renamed::of_source;
use crate::troubles;

/// So long a start waits for sources that do not answer while others have answered.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What is known of sources that are asked, to those who ask them.
pub struct Asking {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// What people see.
    pub progress: Arc<Progress>,
    /// Who counts.
    pub instruments: Arc<Instruments>,
    /// Whether one that is away keeps no other back.
    pub isolates: bool,
    /// How long each is waited for; none for ever.
    pub limit: Option<Duration>,
}

impl Asking {
    /// How long a run waits for each of its sources.
    pub fn limit(pipeline: &Pipeline, options: &RunOptions) -> Option<Duration> {
        patience::limit(&pipeline.settings, options).filter(|_| options.until_end)
    }

    fn name(&self, number: usize) -> &str {
        &self.pipeline.sources[number].name
    }
}

/// The sources that did not answer yet, by number.
pub struct Awaited {
    asking: Asking,
    coming: BTreeMap<usize, Coming>,
    given_up: BTreeSet<usize>,
}

/// How it is with a source that did not answer yet.
struct Coming {
    since: Instant,
    /// Whether it answered that it is away, or was told to be silent.
    is_away: bool,
    /// Ends the question.
    question: AbortHandle,
}

impl Awaited {
    /// Nobody is asked yet; who was given up before in this run, of these sources, stays so.
    pub fn new(asking: Asking, sources: impl Iterator<Item = usize>) -> Self {
        let troubles = &asking.progress.troubles;
        let given_up = sources.filter(|number| troubles.has_given_up(asking.name(*number)));
        let given_up = given_up.collect();
        Self { asking, coming: BTreeMap::new(), given_up }
    }

    /// A source is asked for the first time.
    pub fn ask(&mut self, number: usize, question: AbortHandle) {
        self.coming.insert(number, Coming { since: Instant::now(), is_away: false, question });
    }

    /// A source is asked again.
    pub fn ask_again(&mut self, number: usize, question: AbortHandle) {
        self.coming.entry(number).and_modify(|one| one.question = question);
    }

    /// Whether a source is waited for.
    pub fn waits_for(&self, number: usize) -> bool {
        self.coming.contains_key(&number)
    }

    /// Whether a source is not waited for any more in this run.
    pub fn has_given_up(&self, number: usize) -> bool {
        self.given_up.contains(&number)
    }

    /// The sources that are waited for.
    pub fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.coming.keys().copied()
    }

    /// Whether all have come, or were given up.
    pub fn is_over(&self) -> bool {
        self.coming.is_empty()
    }

    /// A source answered.
    pub fn came(&mut self, number: usize) {
        self.coming.remove(&number);
        let name = self.asking.name(number);
        self.asking.progress.troubles.passed(name, name);
    }

    /// A source answered that it is away. Returns after how long it is to be asked again; none if
    /// it was given up.
    ///
    /// # Errors
    /// The error that was given, where it does not pass, or nothing is isolated.
    pub fn failed(&mut self, number: usize, error: Error) -> Result<Option<Duration>> {
        let name = self.asking.name(number);
        self.asking.instruments.failed(Some(name), &error);
        let error = of_source(name, error);
        if !error.retry() || !self.asking.isolates {
            self.coming.remove(&number);
            return Err(error);
        }
        let (pause, since) = self.asking.progress.troubles.away(name, &error);
        let Some(one) = self.coming.get_mut(&number) else { return Ok(None) };
        // An answer that it is away may take long.
        (one.since, one.is_away) = (one.since.min(since), true);
        if self.asking.limit.is_some_and(|limit| one.since.elapsed() + pause > limit) {
            self.give_up(number);
            return Ok(None);
        }
        Ok(Some(pause))
    }

    /// When the first of those is given up that other systems answer for.
    pub fn deadline(&self) -> Option<Instant> {
        let limit = self.asking.limit?;
        let sources = &self.asking.pipeline.sources;
        let coming = self.coming.iter().filter(|(number, _)| sources[**number].is_elsewhere);
        coming.map(|(_, one)| one.since + limit).min()
    }

    /// Gives up those whose time is over.
    ///
    /// # Errors
    /// External: there is one, and nothing is isolated.
    pub fn give_up_late(&mut self) -> Result<()> {
        let Some(limit) = self.asking.limit else { return Ok(()) };
        let sources = &self.asking.pipeline.sources;
        let late = self
            .coming
            .iter()
            .filter(|(number, one)| sources[**number].is_elsewhere && one.since.elapsed() >= limit);
        for number in late.map(|(number, _)| *number).collect::<Vec<_>>() {
            if !self.asking.isolates {
                return Err(troubles::never_answered(self.asking.name(number), limit));
            }
            self.give_up(number);
        }
        Ok(())
    }

    fn give_up(&mut self, number: usize) {
        let Some(one) = self.coming.remove(&number) else { return };
        one.question.abort();
        let waited = self.asking.limit.unwrap_or_default();
        self.asking.progress.troubles.never_came(self.asking.name(number), waited);
        self.given_up.insert(number);
    }

    /// How long a start waits on, once others have answered or not: none as long as there is no
    /// answer, or where nothing is isolated.
    pub fn patience(&self, has_answers: bool) -> Patience {
        let silent = self.coming.values().filter(|one| !one.is_away);
        let last = silent.map(|one| one.since + ANSWER_MAX).max();
        match (self.asking.isolates && has_answers, last) {
            (true, None) => Patience::Over,
            (true, Some(last)) => Patience::Until(Some(last)),
            (false, _) => Patience::Until(None),
        }
    }

    /// Says which of them do not answer at all.
    pub fn tell_of_silent(&mut self) {
        for (number, one) in self.coming.iter_mut().filter(|(_, one)| !one.is_away) {
            one.is_away = true;
            let source = self.asking.name(*number);
            warn!(source, "the source does not answer yet; the others begin without it");
        }
    }
}

/// How long a start waits for those who do not answer.
pub enum Patience {
    /// No longer.
    Over,
    /// Until then; none for as long as it takes.
    Until(Option<Instant>),
}
