//! How sources come into an attempt: each by itself, when its system answers.
//!
//! A source whose system is away is told, and tried again with back-off; the others begin without
//! it. Each is asked in a task of its own, for where its readers will stop, whether it reads what
//! another one has read, and for its first listing.
//!
//! Invariant: no split of a source is given out before its first listing stands in a checkpoint.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use contract::source::{Discovery, Split};
use contract::{Error, Result};
use state::Roster;
use tokio::task::JoinSet;
use tracing::warn;

use crate::owner::Owner;
use crate::patience;
use crate::renamed::Suspects;
use crate::roster::discovery::{Differences, Discoverer};

/// So long a start waits for sources that do not answer while others have answered.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The sources of an attempt that did not come yet.
pub struct Arrivals {
    owner: Owner,
    /// By number.
    coming: BTreeMap<usize, Coming>,
    asked: JoinSet<(usize, Asked, Result<Arrived>)>,
}

/// How it is with a source that did not come yet.
struct Coming {
    since: Instant,
    /// Whether it answered that it is away, or was told to be silent.
    is_away: bool,
}

/// A source that came.
pub enum Arrived {
    /// Nobody ever looked at it: what it found first, of which nothing is decided.
    New(Vec<Split>),
    /// It has begun: what is there now.
    Known(Box<Discoverer>, Differences),
}

/// What a source is asked.
struct Asked {
    /// What it must not find; none once that is certain.
    suspects: Option<Suspects>,
    /// Who asks a source that has begun.
    discoverer: Option<Box<Discoverer>>,
}

impl Arrivals {
    /// Nobody is asked yet.
    pub fn new(owner: &Owner) -> Self {
        Self { owner: owner.clone(), coming: BTreeMap::new(), asked: JoinSet::new() }
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
            if self.coming.contains_key(&number) {
                continue;
            }
            let node = &owner.pipeline.sources[number];
            let suspects = Some(Suspects::of(&node.name, roster));
            let known = || Box::new(Discoverer::new(number, node, roster));
            let discoverer = has_begun(&node.name).then(known);
            self.ask(number, Asked { suspects, discoverer }, Duration::ZERO);
        }
    }

    /// Asks a source that has begun just now for what is there.
    pub fn ask_begun(&mut self, number: usize, roster: &Roster) {
        let node = &self.owner.pipeline.sources[number];
        let discoverer = Some(Box::new(Discoverer::new(number, node, roster)));
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
        let Some(answer) = self.asked.join_next().await else {
            return std::future::pending().await;
        };
        let (number, asked, arrived) = answer
            .map_err(|error| Error::bug("a task that asks a source failed").because(error))?;
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
        let limit = patience::limit(&owner.pipeline.settings, &owner.options);
        let is_over = limit.is_some_and(|limit| since.elapsed() + pause > limit);
        if owner.options.until_end && is_over {
            owner.progress.troubles.gave_up(name, name);
            self.coming.remove(&number);
            return Ok(None);
        }
        self.coming.entry(number).and_modify(|one| one.is_away = true);
        self.ask_after(number, asked, pause);
        Ok(None)
    }

    fn sources(&self) -> Vec<usize> {
        self.owner.sources().map(|(number, _)| number).collect()
    }

    fn ask(&mut self, number: usize, asked: Asked, pause: Duration) {
        self.coming.insert(number, Coming { since: Instant::now(), is_away: false });
        self.ask_after(number, asked, pause);
    }

    fn ask_after(&mut self, number: usize, mut asked: Asked, pause: Duration) {
        let owner = self.owner.clone();
        self.asked.spawn(async move {
            tokio::time::sleep(pause).await;
            let arrived = asked.answer(&owner, number).await;
            (number, asked, arrived)
        });
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
            let Discovery { splits, warnings, .. } = node.source.splits(None).await?;
            warnings.iter().for_each(|warning| warn!(source = node.name, "{warning}"));
            return Ok(Arrived::New(splits));
        };
        match discoverer.look().await {
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
