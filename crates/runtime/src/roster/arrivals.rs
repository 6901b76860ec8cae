//! How sources come into an attempt: each by itself, when its system answers.
//!
//! The others begin without one whose system is away. Each is asked in a task of its own, for where
//! its readers will stop, whether it reads what another one has read, and for its first listing.
//!
//! Invariant: no split of a source is given out before its first listing stands in a checkpoint.

use std::time::{Duration, Instant};

use contract::discovery::{Differences, Discoverer, Moved, list};
use contract::source::Split;
use contract::{Error, Result};
use state::Roster;
use tokio::task::{AbortHandle, JoinSet};
use tracing::warn;

use crate::graph::SourceNode;
use crate::owner::Owner;
use crate::renamed::Suspects;
use crate::roster::awaited::{Asking, Awaited, Patience};

/// The sources of an attempt that did not come yet.
pub struct Arrivals {
    owner: Owner,
    awaited: Awaited,
    asked: JoinSet<(usize, Asked, Result<Arrived>)>,
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
        let asking = Asking {
            pipeline: owner.pipeline.clone(),
            progress: owner.progress.clone(),
            instruments: owner.instruments.clone(),
            isolates: owner.isolates(),
            limit: Asking::limit(&owner.pipeline, &owner.options),
        };
        let awaited = Awaited::new(asking, owner.sources().map(|(number, _)| number));
        Self { owner: owner.clone(), awaited, asked: JoinSet::new() }
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
            if self.awaited.waits_for(number) || self.awaited.has_given_up(number) {
                continue;
            }
            let node = &owner.pipeline.sources[number];
            let suspects = Some(Suspects::of(&node.name, roster));
            let discoverer = has_begun(&node.name).then(|| discoverer(node, roster));
            self.ask(number, Asked { suspects, discoverer }, Duration::ZERO);
        }
    }

    /// Asks a source that has begun just now for what is there.
    pub fn ask_begun(&mut self, number: usize, roster: &Roster) {
        let node = &self.owner.pipeline.sources[number];
        let discoverer = Some(discoverer(node, roster));
        self.ask(number, Asked { suspects: None, discoverer }, Duration::ZERO);
    }

    /// The sources that did not come yet, and were not given up.
    pub fn awaited(&self) -> impl Iterator<Item = usize> + '_ {
        self.awaited.sources()
    }

    /// Whether all have come, or were given up.
    pub fn is_over(&self) -> bool {
        self.awaited.is_over()
    }

    /// Waits for the sources that answer soon, and for the first one however long it takes: as long
    /// as there is none, nobody is held back. Where nothing is isolated, for all of them.
    ///
    /// # Errors
    /// As for [`Arrivals::next`].
    pub async fn gather(&mut self) -> Result<Vec<(usize, Arrived)>> {
        let mut came = Vec::new();
        while !self.awaited.is_over() {
            let Patience::Until(limit) = self.awaited.patience(!came.is_empty()) else { break };
            tokio::select! {
                biased;
                one = self.next() => came.extend(one?),
                () = until(limit) => {
                    self.awaited.tell_of_silent();
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
        let deadline = self.awaited.deadline();
        let answer = tokio::select! {
            biased;
            Some(answer) = self.asked.join_next() => answer,
            () = until(deadline) => {
                self.awaited.give_up_late()?;
                return Ok(None);
            }
        };
        let (number, asked, arrived) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => return Ok(None),
            Err(error) => return Err(Error::bug("a task that asks a source failed").because(error)),
        };
        match arrived {
            _ if self.awaited.has_given_up(number) => Ok(None),
            Ok(arrived) => {
                self.awaited.came(number);
                Ok(Some((number, arrived)))
            }
            Err(error) => {
                if let Some(pause) = self.awaited.failed(number, error)? {
                    let question = self.ask_after(number, asked, pause);
                    self.awaited.ask_again(number, question);
                }
                Ok(None)
            }
        }
    }

    fn sources(&self) -> Vec<usize> {
        self.owner.sources().map(|(number, _)| number).collect()
    }

    fn ask(&mut self, number: usize, asked: Asked, pause: Duration) {
        let question = self.ask_after(number, asked, pause);
        self.awaited.ask(number, question);
    }

    fn ask_after(&mut self, number: usize, mut asked: Asked, pause: Duration) -> AbortHandle {
        let owner = self.owner.clone();
        self.asked.spawn(async move {
            tokio::time::sleep(pause).await;
            let arrived = asked.answer(&owner, number).await;
            (number, asked, arrived)
        })
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

/// Who finds the splits of a source from what a checkpoint knows.
fn discoverer(node: &SourceNode, roster: &Roster) -> Box<dyn Discoverer> {
    let mut discoverer = node.source.discover(Some(roster.known(&node.name)));
    let retired = roster.retired(&node.name);
    if !retired.is_empty() {
        discoverer.hear_retired(retired);
    }
    discoverer
}

/// Waits for a moment; for ever if there is none.
pub async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
