//! Runs one lineage: owns it, recovers, flows, and starts again after passing errors.
//!
//! It knows nothing of other lineages. Whoever gave it the lineage orders it to stop after the
//! epoch under way, or to leave: then what is undecided is dropped, and what is decided finished.

use std::time::Duration;

use contract::{Error, ErrorKind, Lineage, Result};
use state::Checkpoint;
use state::lease::Lease;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::assume;
use crate::attempt::{Attempt, Cast};
use crate::beginnings::{self, Beginning};
use crate::epochs::Epochs;
use crate::flow::gone;
use crate::owner::{Owner, RunContext, Scope};
use crate::patience::{Patience, Waited};
use crate::progress::Recovering;
use crate::recovery::{Recovered, recover};
use crate::renamed::{self, Suspects};
use crate::roster::arrivals::{Arrivals, Arrived};
use crate::summary::SummaryBuilder;

/// How often a lineage that somebody else owns is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a lineage that is left may take to finish a decided epoch; its next owner waits.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// What a coordinator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Go on.
    Run,
    /// Finish the epoch under way, then stop.
    Stop,
    /// Somebody else is to have the lineage.
    Leave,
}

/// A lineage that this process is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Its name.
    pub lineage: Lineage,
    /// Where it finds its splits.
    pub scope: Scope,
    /// Whether it waits while somebody else owns it, and is given up when somebody else takes it;
    /// else both are errors.
    pub yields: bool,
}

/// How the run of a lineage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every split is at its end and everything is committed.
    Ended,
    /// It was stopped; the epoch under way was finished first.
    Stopped,
    /// It was left; nothing undecided was finished.
    Left,
}

/// What came of a lineage.
pub struct Finished {
    /// The lineage.
    pub charge: Charge,
    /// What was committed.
    pub summary: SummaryBuilder,
    /// How it ended.
    pub end: Result<End>,
}

/// Runs one lineage.
pub struct Coordinator {
    run: RunContext,
    charge: Charge,
    orders: watch::Receiver<Order>,
    patience: Patience,
    summary: SummaryBuilder,
}

impl Coordinator {
    /// A coordinator for a lineage.
    pub fn new(run: RunContext, charge: Charge, orders: watch::Receiver<Order>) -> Self {
        let patience = Patience::new(&run, &charge.lineage);
        Self { run, charge, orders, patience, summary: SummaryBuilder::default() }
    }

    /// Runs the lineage, whose lease may be held already, until its end, an order, or an error
    /// that does not pass.
    pub async fn run(mut self, lease: Option<Lease>) -> Finished {
        let end = self.own_and_run(lease).await;
        if end.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotOwner) {
            self.run.instruments.lost_lease();
        }
        Finished { charge: self.charge, summary: self.summary, end }
    }

    async fn own_and_run(&mut self, lease: Option<Lease>) -> Result<End> {
        let lease = match lease {
            Some(lease) => lease,
            None => tokio::select! {
                lease = wait_for_lease(&self.run, &self.charge, &mut self.patience) => lease?,
                order = told(&self.orders) => return Ok(order.into()),
            },
        };
        let owner = Owner::new(&self.run, &self.charge.lineage, self.charge.scope, lease);
        let orders = self.orders.clone();
        owner.instruments.began(&owner.lineage);
        let end = tokio::select! {
            biased;
            end = self.run_attempts(&owner) => end,
            () = overdue(orders) => {
                let lineage = self.charge.lineage.as_str();
                warn!(lineage, "left a lineage while its sinks did not answer");
                Ok(End::Left)
            }
        };
        owner.instruments.ended(&owner.lineage);
        owner.lease.release().await;
        end
    }

    async fn run_attempts(&mut self, owner: &Owner) -> Result<End> {
        let mut recovering = Some(owner.progress.recovering());
        loop {
            let epochs = self.summary.epochs();
            let error = match self.attempt(owner, &mut recovering).await {
                Ok(end) => return Ok(end),
                Err(error) => error,
            };
            if self.summary.epochs() > epochs {
                self.patience.renew();
            }
            // An epoch that was to be the last is under way, and is not finished.
            let is_unfinished = recovering.is_none() && *self.orders.borrow() == Order::Stop;
            recovering.get_or_insert_with(|| owner.progress.recovering());
            let waited = self.patience.wait(error, told(&self.orders)).await;
            let order = *self.orders.borrow();
            match waited {
                Ok(Waited::Over) => {}
                Ok(Waited::Interrupted(error)) | Err(error)
                    if order == Order::Leave && somebody_elses(&error) =>
                {
                    debug!(error = error.chain(), "left a lineage that was to start again");
                    return Ok(End::Left);
                }
                Ok(Waited::Interrupted(error)) if !is_unfinished => {
                    let lineage = self.charge.lineage.as_str();
                    warn!(lineage, error = error.chain(), "stopped before it could start again");
                    return Ok(End::Stopped);
                }
                Ok(Waited::Interrupted(error)) | Err(error) => return Err(error),
            }
            owner.instruments.recovers();
        }
    }

    /// From recovery to the end, the order or the first error.
    async fn attempt(&mut self, owner: &Owner, recovering: &mut Option<Recovering>) -> Result<End> {
        if owner.options.assume.is_some()
            && let Some(newest) = owner.history.newest().await?
        {
            // Nothing is done on the operator's word in a run that is refused.
            refuse_renamed(owner, &newest.checkpoint).await?;
        }
        let mut arrivals = Arrivals::new(owner);
        let first = tokio::select! {
            first = first_of(owner, &mut arrivals) => first?,
            order = told(&self.orders) => return Ok(order.into()),
        };
        let Recovered { mut checkpoint, assumed } = recover(owner, first).await?;
        checkpoint.begun = beginnings::begun(&checkpoint.begun, &checkpoint.roster);
        arrivals.ask_all(&checkpoint.roster, |source| checkpoint.begun.contains(source));
        let came = tokio::select! {
            came = arrivals.gather() => came?,
            order = told(&self.orders) => return Ok(order.into()),
        };
        renamed::refuse_sinks(&owner.pipeline, &checkpoint)?;
        // What was assumed has an epoch of its own, once all sinks take this run's rows.
        let number = checkpoint.epoch + 1 + u64::from(assumed);
        let epoch = owner.start_epoch(number, checkpoint.now_us);
        let cast = Cast::everyone(owner.pipeline.sinks.len());
        let mut attempt = Attempt::start(owner, checkpoint, epoch, cast).await?;
        if assumed {
            match assume::keep(owner, attempt.checkpoint.clone()).await {
                Ok(kept) => attempt.checkpoint = kept,
                Err(error) => return Err(attempt.end(Some(error)).await.unwrap_or_else(gone)),
            }
        }
        *recovering = None;
        let mut epochs = Epochs::new(self.orders.clone(), arrivals);
        let (end, error) = match epochs.run(&mut attempt, &mut self.summary, came).await {
            Ok(end) => (Some(end), None),
            Err(error) => (None, Some(error)),
        };
        match (attempt.end(error).await, end) {
            (None, Some(end)) => Ok(end),
            (Some(error), _) => Err(error),
            (None, None) => Err(Error::bug("an attempt ended without a reason")),
        }
    }
}

/// What the sources found first that answer, where a lineage has no history yet.
async fn first_of(owner: &Owner, arrivals: &mut Arrivals) -> Result<Vec<Beginning>> {
    if owner.history.newest_epoch().await?.is_some() {
        return Ok(Vec::new());
    }
    arrivals.ask_first();
    let mut came = arrivals.gather().await?;
    // Splits have their numbers by the order of the sources, whoever answered first.
    came.sort_by_key(|(number, _)| *number);
    let mut first = Vec::new();
    for (number, arrived) in came {
        if let Arrived::New(splits) = arrived {
            let source = owner.pipeline.sources[number].name.clone();
            first.push(Beginning { source, splits });
        }
    }
    Ok(first)
}

/// Refuses sources and sinks that go on under other names.
async fn refuse_renamed(owner: &Owner, checkpoint: &Checkpoint) -> Result<()> {
    for (_, node) in owner.sources() {
        let suspects = Suspects::of(&node.name, &checkpoint.roster);
        suspects.refuse(&owner.pipeline, &owner.options).await?;
    }
    renamed::refuse_sinks(&owner.pipeline, checkpoint)
}

/// Whether the next owner of a lineage has to see to an error, and not who leaves it.
fn somebody_elses(error: &Error) -> bool {
    error.retry() || error.kind() == ErrorKind::NotOwner
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        match order {
            Order::Leave => Self::Left,
            Order::Run | Order::Stop => Self::Stopped,
        }
    }
}

/// Takes the lease, waiting where the charge says so.
async fn wait_for_lease(
    run: &RunContext,
    charge: &Charge,
    patience: &mut Patience,
) -> Result<Lease> {
    let mut told = false;
    loop {
        match run.lease(&charge.lineage).await {
            Err(error) if charge.yields && error.kind() == ErrorKind::NotOwner => {
                if !told {
                    info!(lineage = charge.lineage.as_str(), "waiting: {error}");
                    told = true;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
            Err(error) => {
                patience.wait(error, std::future::pending::<()>()).await?;
            }
            Ok(lease) => return Ok(lease),
        }
    }
}

/// Waits for an order to end.
async fn told(orders: &watch::Receiver<Order>) -> Order {
    reached(&mut orders.clone(), Order::Stop).await
}

/// Waits for an order that goes at least so far. Without anyone to give orders, for ever.
pub async fn reached(orders: &mut watch::Receiver<Order>, order: Order) -> Order {
    let reached = orders.wait_for(|given| *given >= order).await.map(|given| *given);
    match reached {
        Ok(order) => order,
        Err(_) => std::future::pending().await,
    }
}

/// Waits until a lineage should have been left long ago.
async fn overdue(mut orders: watch::Receiver<Order>) {
    reached(&mut orders, Order::Leave).await;
    tokio::time::sleep(LEAVE_LIMIT).await;
}
