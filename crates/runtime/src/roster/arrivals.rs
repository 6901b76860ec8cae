//! How sources come into an attempt: each by itself, when its system answers.
//!
//! A source whose system is away is told, and tried again with back-off; the others begin without
//! it. Each is asked in a task of its own, for where its readers will stop, whether it reads what
//! another one has read, and for its first listing. Where there is an end, who does not come for as
//! long as the settings have patience is given up for this run.
//!
//! Invariant: no split of a source is given out before its first listing stands in a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use contract::discovery::{Differences, Discoverer, Moved, list};
use contract::source::Split;
use contract::{Error, Result};
use state::Roster;
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use crate::owner::Owner;
use crate::patience;
use crate::renamed::Suspects;
use crate::troubles;

/// So long a start waits for sources that do not answer while others have answered.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The sources of an attempt that did not come yet.
pub struct Arrivals {
    owner: Owner,
    /// By number.
    coming: BTreeMap<usize, Coming>,
    /// Those that are not waited for any more, by number.
    given_up: BTreeSet<usize>,
    asked: JoinSet<(usize, Asked, Result<Arrived>)>,
}

/// How it is with a source that did not come yet.
struct Coming {
    since: Instant,
    /// Whether it answered that it is away, or was told to be silent.
    is_away: bool,
    /// Ends the question.
    question: AbortHandle,
}

/// A source that came.
pub enum Arrived {
    /// Nobody ever looked at it: what it found first, of which nothing is decided.
    New(Vec<Split>),
    /// It has begun: what is there now.
    Known(Box<dyn Discoverer>, Differences),
}

/// What a source is asked.
struct Asked {
    /// What it must not find; none once that is certain.
    suspects: Option<Suspects>,
    /// Who asks a source that has begun.
    discoverer: Option<Box<dyn Discoverer>>,
}

impl Arrivals {
    /// Nobody is asked yet.
    pub fn new(owner: &Owner) -> Self {
        let troubles = &owner.progress.troubles;
        let given_up = owner.sources().filter(|(_, node)| troubles.has_given_up(&node.name));
        let given_up = given_up.map(|(number, _)| number).collect();
        Self { owner: owner.clone(), coming: BTreeMap::new(), given_up, asked: JoinSet::new() }
    }

    /// Asks the sources of a lineage that has no history yet.
    pub fn ask_first(&mut self) {
        for number in self.sources() {
            self.ask(number, Asked { suspects: None, discoverer: None }, Duration::ZERO);
        }
    }

    /// Asks the sources that are not being asked, as a history knows them.
    pub fn ask_all(&mut self, roster: &Roster, has_begun: impl Fn(&str) -> bool) {
        let owner = self.owner.clone();
        for number in self.sources() {
            if self.coming.contains_key(&number) || self.given_up.contains(&number) {
                continue;
            }
            let node = &owner.pipeline.sources[number];
            let suspects = Some(Suspects::of(&node.name, roster));
            let known = || node.source.discover(Some(roster.known(&node.name)));
            let discoverer = has_begun(&node.name).then(known);
            self.ask(number, Asked { suspects, discoverer }, Duration::ZERO);
        }
    }

    /// Asks a source that has begun just now for what is there.
    pub fn ask_begun(&mut self, number: usize, roster: &Roster) {
        let node = &self.owner.pipeline.sources[number];
        let discoverer = Some(node.source.discover(Some(roster.known(&node.name))));
        self.ask(number, Asked { suspects: None, discoverer }, Duration::ZERO);
    }

    /// Whether all have come, or were given up.
    pub fn is_over(&self) -> bool {
        self.coming.is_empty()
    }

    /// Waits for the sources that answer soon, and for the first one however long it takes: as long
    /// as there is none, nobody is held back. Where nothing is isolated, for all of them.
    ///
    /// # Errors
    /// As for [`Arrivals::next`].
    pub async fn gather(&mut self) -> Result<Vec<(usize, Arrived)>> {
        let mut came = Vec::new();
        while !self.coming.is_empty() {
            let silent = self.coming.values().filter(|one| !one.is_away);
            let last = silent.map(|one| one.since + ANSWER_MAX).max();
            let limit = match (self.owner.isolates() && !came.is_empty(), last) {
                (true, None) => break,
                (true, Some(last)) => Some(last),
                (false, _) => None,
            };
            tokio::select! {
                biased;
                one = self.next() => came.extend(one?),
                () = until(limit) => {
                    self.tell_of_silent();
                    break;
                }
            }
        }
        Ok(came)
    }

    /// Waits for the next source that comes; none if one is away, which is asked again later or was
    /// given up. For ever while none is asked. Cancel safe.
    ///
    /// # Errors
    /// What does not pass, and where nothing is isolated whatever a source answered.
    pub async fn next(&mut self) -> Result<Option<(usize, Arrived)>> {
        let deadline = self.deadline();
        let answer = tokio::select! {
            biased;
            Some(answer) = self.asked.join_next() => answer,
            () = until(deadline) => {
                self.give_up_late()?;
                return Ok(None);
            }
        };
        let (number, asked, arrived) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => return Ok(None),
            Err(error) => return Err(Error::bug("a task that asks a source failed").because(error)),
        };
        if self.given_up.contains(&number) {
            return Ok(None);
        }
        let owner = self.owner.clone();
        let name = owner.pipeline.sources[number].name.as_str();
        let error = match arrived {
            Ok(arrived) => {
                self.coming.remove(&number);
                owner.progress.troubles.passed(name, name);
                return Ok(Some((number, arrived)));
            }
            Err(error) => error,
        };
        owner.instruments.failed(Some(name), &error);
        let error = error.context(format!("source {name:?}"));
        if !error.retry() || !owner.isolates() {
            return Err(error);
        }
        let (pause, since) = owner.progress.troubles.away(name, &error);
        // An answer that it is away may take long.
        let since = self.coming.get(&number).map_or(since, |one| one.since.min(since));
        if self.limit().is_some_and(|limit| since.elapsed() + pause > limit) {
            self.give_up(number);
            return Ok(None);
        }
        let question = self.ask_after(number, asked, pause);
        self.coming.insert(number, Coming { since, is_away: true, question });
        Ok(None)
    }

    /// How long a source is waited for; none for ever.
    fn limit(&self) -> Option<Duration> {
        let Owner { pipeline, options, .. } = &self.owner;
        let limit = patience::limit(&pipeline.settings, options);
        limit.filter(|_| options.until_end)
    }

    /// When the first of those is given up that other systems answer for.
    fn deadline(&self) -> Option<Instant> {
        let limit = self.limit()?;
        let sources = &self.owner.pipeline.sources;
        let coming = self.coming.iter().filter(|(number, _)| sources[**number].is_elsewhere);
        coming.map(|(_, one)| one.since + limit).min()
    }

    fn give_up_late(&mut self) -> Result<()> {
        let limit = self.limit().unwrap_or_default();
        let pipeline = self.owner.pipeline.clone();
        let sources = &pipeline.sources;
        let late = self
            .coming
            .iter()
            .filter(|(number, one)| sources[**number].is_elsewhere && one.since.elapsed() >= limit);
        for number in late.map(|(number, _)| *number).collect::<Vec<_>>() {
            if !self.owner.isolates() {
                return Err(troubles::never_answered(&sources[number].name, limit));
            }
            self.give_up(number);
        }
        Ok(())
    }

    fn give_up(&mut self, number: usize) {
        let Some(one) = self.coming.remove(&number) else { return };
        one.question.abort();
        let name = self.owner.pipeline.sources[number].name.as_str();
        self.owner.progress.troubles.never_came(name, self.limit().unwrap_or_default());
        self.given_up.insert(number);
    }

    fn sources(&self) -> Vec<usize> {
        self.owner.sources().map(|(number, _)| number).collect()
    }

    fn ask(&mut self, number: usize, asked: Asked, pause: Duration) {
        let question = self.ask_after(number, asked, pause);
        self.coming.insert(number, Coming { since: Instant::now(), is_away: false, question });
    }

    fn ask_after(&mut self, number: usize, mut asked: Asked, pause: Duration) -> AbortHandle {
        let owner = self.owner.clone();
        self.asked.spawn(async move {
            tokio::time::sleep(pause).await;
            let arrived = asked.answer(&owner, number).await;
            (number, asked, arrived)
        })
    }

    fn tell_of_silent(&mut self) {
        for (number, one) in self.coming.iter_mut().filter(|(_, one)| !one.is_away) {
            one.is_away = true;
            let source = self.owner.pipeline.sources[*number].name.as_str();
            warn!(source, "the source does not answer yet; the others begin without it");
        }
    }
}

impl Asked {
    async fn answer(&mut self, owner: &Owner, number: usize) -> Result<Arrived> {
        let node = &owner.pipeline.sources[number];
        owner.begin(number).await?;
        if let Some(suspects) = &self.suspects {
            suspects.refuse(&owner.pipeline, &owner.options).await?;
            self.suspects = None;
        }
        let Some(mut discoverer) = self.discoverer.take() else {
            let found = list(node.source.as_ref(), None).await?;
            found.warnings.iter().for_each(|warning| warn!(source = node.name, "{warning}"));
            return Ok(Arrived::New(found.splits));
        };
        match discoverer.look(Moved::new()).await {
            Ok(found) => Ok(Arrived::Known(discoverer, found)),
            Err(error) => {
                self.discoverer = Some(discoverer);
                Err(error)
            }
        }
    }
}

/// Waits for a moment; for ever if there is none.
pub async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
