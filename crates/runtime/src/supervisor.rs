//! Runs the lineages of a pipeline side by side, each with a coordinator of its own.
//!
//! It takes the leases that a run must have before anything is touched, gives new lineages a
//! coordinator, lets go of those that were assigned to others, and stops all of them when one
//! fails for good.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use contract::{Error, ErrorKind, Lineage, Result};
use futures::future::join_all;
use state::lease::Lease;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use crate::contained::contained;
use crate::coordinator::{Charge, Coordinator, End, Finished, Order};
use crate::division;
use crate::lookout::Lookout;
use crate::owner::RunContext;
use crate::patience::{Patience, Waited};
use crate::renamed;
use crate::run::Outcome;
use crate::summary::SummaryBuilder;

/// A lineage that somebody else took is left alone for so long, then asked for again.
const LOST_PAUSE: Duration = Duration::from_secs(5);
/// Who stands by asks for the leases again after so long.
const STANDBY_PAUSE: Duration = Duration::from_millis(500);

/// The lineages of one run.
pub struct Supervisor {
    run: RunContext,
    running: HashMap<Lineage, Running>,
    tasks: JoinSet<Finished>,
    /// Lineages that somebody else took, and when.
    lost: HashMap<Lineage, Instant>,
    /// Lineages that came to their end.
    ended: HashSet<Lineage>,
    summary: SummaryBuilder,
    /// How lineages ended, as far as any did.
    outcome: Option<Outcome>,
    /// Whether no lineage is started any more.
    ending: bool,
    failure: Option<Error>,
}

/// The supervisor's end of a coordinator.
struct Running {
    orders: watch::Sender<Order>,
    yields: bool,
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(run: RunContext) -> Self {
        Self {
            run,
            running: HashMap::new(),
            tasks: JoinSet::new(),
            lost: HashMap::new(),
            ended: HashSet::new(),
            summary: SummaryBuilder::default(),
            outcome: None,
            ending: false,
            failure: None,
        }
    }

    /// Runs every lineage until all have ended, or were stopped.
    ///
    /// # Errors
    /// The first error that stopped a lineage for good; the others have finished their epochs.
    pub async fn run(mut self) -> Result<(SummaryBuilder, Outcome)> {
        let mut stop = self.run.options.stop.clone();
        let Some((mut lookout, begun)) = self.begin().await? else {
            return Ok((self.summary, Outcome::Stopped));
        };
        self.run.divide_among(lookout.lineages());
        for (charge, lease) in begun {
            self.start(charge, lease);
        }
        self.run.progress.begin();
        loop {
            if *stop.borrow_and_update() {
                self.end_all();
            }
            let looks = !self.ending && !lookout.is_over();
            if self.running.is_empty() && !looks {
                break;
            }
            tokio::select! {
                biased;
                Ok(()) = stop.changed() => {}
                Some(joined) = self.tasks.join_next() => self.finished(joined),
                look = lookout.next(), if looks => match look {
                    Ok(()) => self.assign(lookout.charges()),
                    Err(error) => self.fail(error),
                },
            }
        }
        // Where every source was given up, there was nothing to stop.
        let is_told = self.run.options.until_end && !*stop.borrow();
        let none = if is_told { Outcome::Ended } else { Outcome::Stopped };
        match self.failure {
            Some(error) => Err(error),
            None => Ok((self.summary, self.outcome.unwrap_or(none))),
        }
    }

    /// Looks for lineages and takes the leases that must be had; tries again while that may help.
    /// Nothing, if it is told to stop before that.
    async fn begin(&self) -> Result<Option<(Lookout, Vec<(Charge, Option<Lease>)>)>> {
        let mut patience = Patience::new(&self.run, &self.run.options.lineage);
        let mut lookout = None;
        loop {
            let mut stop = self.run.options.stop.clone();
            let looked = tokio::select! {
                biased;
                looked = look_first(&self.run, &mut lookout) => looked,
                Ok(_) = stop.wait_for(|stop| *stop) => return Ok(None),
            };
            let begun = match looked {
                Ok(charges) => take_leases(&self.run, charges).await,
                Err(error) => Err(error),
            };
            let told = stop.wait_for(|stop| *stop);
            match (begun, lookout.take()) {
                (Ok(begun), Some(lookout)) => return Ok(Some((lookout, begun))),
                (Ok(_), None) => return Err(Error::bug("nobody looked for lineages")),
                (Err(error), known)
                    if self.run.options.standby && error.kind() == ErrorKind::NotOwner =>
                {
                    lookout = known;
                    self.run.progress.stand_by(&error);
                    tokio::select! {
                        () = tokio::time::sleep(STANDBY_PAUSE) => {}
                        _ = told => return Ok(None),
                    }
                }
                // What has not begun leaves nothing unfinished.
                (Err(error), known) => {
                    lookout = known;
                    match patience.wait(error, told).await? {
                        Waited::Over => {}
                        Waited::Interrupted(_) => return Ok(None),
                    }
                }
            }
        }
    }

    fn start(&mut self, charge: Charge, lease: Option<Lease>) {
        debug!(lineage = charge.lineage.as_str(), "starting a lineage");
        let (orders, received) = watch::channel(Order::Run);
        let running = Running { orders, yields: charge.yields };
        self.running.insert(charge.lineage.clone(), running);
        let coordinator = Coordinator::new(self.run.clone(), charge, received);
        self.tasks.spawn(contained(coordinator.run(lease)));
    }

    /// Lets go of what was assigned to others, and starts what is new.
    fn assign(&mut self, charges: Vec<Charge>) {
        for (lineage, running) in self.running.iter().filter(|(_, running)| running.yields) {
            if charges.iter().all(|charge| charge.lineage != *lineage) {
                order(running, Order::Leave);
            }
        }
        for charge in charges {
            let lost = self.lost.get(&charge.lineage);
            let lost_lately = lost.is_some_and(|when| when.elapsed() < LOST_PAUSE);
            let is_done = self.ended.contains(&charge.lineage);
            if !self.running.contains_key(&charge.lineage) && !lost_lately && !is_done {
                self.start(charge, None);
            }
        }
    }

    fn finished(&mut self, joined: std::result::Result<Finished, JoinError>) {
        let Finished { charge, summary, end } = match joined {
            Ok(finished) => finished,
            Err(error) => {
                self.running.clear();
                return self.fail(Error::bug("a lineage panicked").because(error));
            }
        };
        self.running.remove(&charge.lineage);
        self.summary.merge(summary);
        let lineage = charge.lineage.as_str();
        match end {
            Ok(End::Ended) => {
                self.outcome.get_or_insert(Outcome::Ended);
                self.ended.insert(charge.lineage);
            }
            Ok(End::Stopped) => self.outcome = Some(Outcome::Stopped),
            Ok(End::Left) => info!(lineage, "left a lineage to another process"),
            Err(error) if charge.yields && error.kind() == ErrorKind::NotOwner => {
                warn!(lineage, error = error.chain(), "another process took a lineage");
                self.lost.insert(charge.lineage, Instant::now());
            }
            Err(error) if self.run.lineages > 1 => {
                self.fail(error.context(format!("lineage {lineage:?}")));
            }
            Err(error) => self.fail(error),
        }
    }

    /// The first failure is reported in the end; the others are logged.
    fn fail(&mut self, failure: Error) {
        match &self.failure {
            Some(_) => error!("{}", failure.chain()),
            None => self.failure = Some(failure),
        }
        self.end_all();
    }

    fn end_all(&mut self) {
        self.ending = true;
        self.running.values().for_each(|running| order(running, Order::Stop));
    }
}

/// The first look, unless the pipeline is another one under a new name.
async fn look_first(run: &RunContext, lookout: &mut Option<Lookout>) -> Result<Vec<Charge>> {
    renamed::refuse_pipeline(&run.pipeline, &run.options).await?;
    division::agree(&run.pipeline, &run.options).await?;
    let lookout = match lookout {
        Some(known) => known,
        none => none.insert(Lookout::new(run).await?),
    };
    lookout.gather().await?;
    Ok(lookout.charges())
}

/// Gives an order, unless a stronger one was given before.
fn order(running: &Running, order: Order) {
    running.orders.send_if_modified(|given| {
        let stronger = order > *given;
        *given = order.max(*given);
        stronger
    });
}

/// Takes the leases of all lineages that do not wait for theirs, or none.
async fn take_leases(
    run: &RunContext,
    charges: Vec<Charge>,
) -> Result<Vec<(Charge, Option<Lease>)>> {
    let taken = charges.into_iter().map(|charge| async {
        let lease = match charge.yields {
            true => Ok(None),
            false => run.lease(&charge.lineage).await.map(Some),
        };
        (charge, lease)
    });
    let mut owned = Vec::new();
    let mut failure = None;
    for (charge, lease) in join_all(taken).await {
        match lease {
            Ok(lease) => owned.push((charge, lease)),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let Some(error) = failure else { return Ok(owned) };
    for lease in owned.into_iter().filter_map(|(_, lease)| lease) {
        lease.release().await;
    }
    Err(error)
}
