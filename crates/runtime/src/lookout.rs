//! Which lineages this process may run: asks the sources whose splits are lineages of their own,
//! each in a task of its own, and remembers what each said last.
//!
//! A source that is away keeps no other back, and lineages that it had named go on. While following
//! all are asked again and again, where there is an end until they have answered once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::source::Lineages;
use contract::{Error, Lineage, Result};
use plan::OnSplitError;
use tokio::task::JoinSet;
use tracing::warn;

use crate::coordinator::Charge;
use crate::epochs::DISCOVER_EVERY;
use crate::owner::{RunContext, Scope};
use crate::renamed::of_source;
use crate::roster::arrivals::until;
use crate::roster::awaited::{Asking, Awaited, Patience};
use crate::scout::{Look, Scout, histories};

/// Knows the lineages of a run.
pub struct Lookout {
    run: RunContext,
    awaited: Awaited,
    /// Those that are not asked now, though they are to be.
    idle: Vec<Scout>,
    asked: JoinSet<(Scout, Result<Look>)>,
    /// By number of their source, what they found last.
    found: BTreeMap<usize, Look>,
    /// The lineages that have a history or are the run's own, whoever runs them.
    lineages: BTreeSet<Lineage>,
}

impl Lookout {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// From the checkpoint store.
    pub async fn new(run: &RunContext) -> Result<Self> {
        let asking = Asking {
            pipeline: run.pipeline.clone(),
            progress: run.progress.clone(),
            instruments: run.instruments.clone(),
            isolates: run.pipeline.settings.on_split_error == OnSplitError::Isolate
                && !run.options.lineage.is_replay(),
            limit: Asking::limit(&run.pipeline, &run.options),
        };
        let numbers: Vec<_> = per_split(run).collect();
        let awaited = Awaited::new(asking, numbers.iter().copied());
        let known = match numbers.is_empty() {
            true => BTreeMap::new(),
            false => histories(run).await?,
        };
        let mut lineages: BTreeSet<_> = known.keys().cloned().collect();
        lineages.extend(has_main(run).then(|| run.options.lineage.clone()));
        let idle = numbers.into_iter().map(|number| Scout::new(run, number, known.clone()));
        Ok(Self {
            run: run.clone(),
            awaited,
            idle: idle.collect(),
            asked: JoinSet::new(),
            found: BTreeMap::new(),
            lineages,
        })
    }

    /// Waits for the sources that answer soon; for the first one however long it takes, if there is
    /// no lineage without them.
    ///
    /// # Errors
    /// As for [`Lookout::next`]; it may be called again.
    pub async fn gather(&mut self) -> Result<()> {
        for scout in std::mem::take(&mut self.idle) {
            self.ask(scout, Duration::ZERO);
        }
        while !self.awaited.is_over() {
            let has_answers = has_main(&self.run) || !self.found.is_empty();
            let Patience::Until(limit) = self.awaited.patience(has_answers) else { break };
            tokio::select! {
                biased;
                next = self.next() => next?,
                () = until(limit) => {
                    self.awaited.tell_of_silent();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits until a source answers, or is given up. Cancel safe.
    ///
    /// # Errors
    /// What does not pass, and where nothing is isolated whatever a source answered that never
    /// came.
    pub async fn next(&mut self) -> Result<()> {
        let deadline = self.awaited.deadline();
        let answer = tokio::select! {
            biased;
            Some(answer) = self.asked.join_next() => answer,
            () = until(deadline) => {
                self.awaited.give_up_late()?;
                self.show();
                return Ok(());
            }
        };
        let (scout, looked) = match answer {
            Ok(answer) => answer,
            Err(error) if error.is_cancelled() => return Ok(()),
            Err(error) => return Err(Error::bug("a task that asks a source failed").because(error)),
        };
        let number = scout.source;
        match looked {
            _ if self.awaited.has_given_up(number) => {}
            Ok(look) => {
                if self.awaited.waits_for(number) {
                    self.awaited.came(number);
                }
                self.lineages.extend(look.lineages.iter().cloned());
                self.found.insert(number, look);
                if !self.run.options.until_end {
                    self.ask(scout, DISCOVER_EVERY);
                }
            }
            Err(error) if self.awaited.waits_for(number) => self.ask_again(scout, error)?,
            Err(error) if error.retry() => {
                let source = self.run.pipeline.sources[number].name.as_str();
                warn!(source, error = error.chain(), "could not look for new splits");
                self.ask(scout, DISCOVER_EVERY);
            }
            Err(error) => {
                let name = &self.run.pipeline.sources[number].name;
                return Err(of_source(name, error));
            }
        }
        self.show();
        Ok(())
    }

    /// Whether nobody is asked any more.
    pub fn is_over(&self) -> bool {
        self.asked.is_empty()
    }

    /// The lineages that this process may run now.
    pub fn charges(&self) -> Vec<Charge> {
        let mut charges: Vec<_> =
            self.found.values().flat_map(|look| look.charges.clone()).collect();
        if has_main(&self.run) {
            // Where others run the same pipeline, they stand by for the rest of it. Who is away may
            // be divided among them.
            let may_be = !self.awaited.is_over() && !self.run.options.until_end;
            let yields = may_be || self.found.values().any(|look| look.grouped);
            let lineage = self.run.options.lineage.clone();
            charges.push(Charge { lineage, scope: Scope::Sources, yields });
        }
        charges
    }

    /// How many lineages have a history or are the run's own, whoever runs them.
    pub fn lineages(&self) -> u64 {
        (self.lineages.len() as u64).max(1)
    }

    fn ask(&mut self, mut scout: Scout, pause: Duration) {
        let (number, is_new) = (scout.source, !self.found.contains_key(&scout.source));
        if self.awaited.has_given_up(number) {
            return;
        }
        let question = self.asked.spawn(async move {
            tokio::time::sleep(pause).await;
            let looked = scout.look().await;
            (scout, looked)
        });
        match self.awaited.waits_for(number) {
            true => self.awaited.ask_again(number, question),
            false if is_new => self.awaited.ask(number, question),
            false => {}
        }
    }

    /// Asks a source again that is away; where nothing is isolated, once somebody gathers.
    fn ask_again(&mut self, scout: Scout, error: Error) -> Result<()> {
        match self.awaited.failed(scout.source, error) {
            Ok(Some(pause)) => self.ask(scout, pause),
            Ok(None) => {}
            Err(error) => {
                self.idle.push(scout);
                return Err(error);
            }
        }
        Ok(())
    }

    fn show(&self) {
        self.run.instruments.show_troubles(&self.run.progress.troubles);
    }
}

/// The sources whose splits are lineages of their own.
fn per_split(run: &RunContext) -> impl Iterator<Item = usize> {
    let sources = run.pipeline.sources.iter().enumerate();
    sources.filter(|(_, node)| node.lineages == Lineages::Split).map(|(number, _)| number)
}

/// Whether there is a lineage for the splits of all other sources.
fn has_main(run: &RunContext) -> bool {
    let own = per_split(run).count();
    own == 0 || own < run.pipeline.sources.len()
}
