//! A lease as an object in a shared store, changed only by conditional puts.
//!
//! The holder renews it every third of its time to live. Nobody compares clocks of two machines:
//! who waits for a lease watches the object, and takes it once it has stood unchanged for the
//! whole time by the waiter's own clock. The holder counts from before its last renewal left, so
//! it stops relying on the lease before anyone can have taken it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::error::Context;
use contract::{Error, Result, failpoint};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::holder::{Holder, Living};
use crate::moment::Moment;

/// Renewals in one time to live; a put takes no longer than one of these parts.
const RENEWALS: u32 = 3;
/// How often a lease is looked at, or a renewal that failed is tried again, in one time to live.
const LOOKS: u32 = 10;

/// A lease that is held, and renewed until this is dropped.
#[derive(Debug)]
pub struct SharedLease {
    held: Arc<Held>,
    renewals: JoinHandle<()>,
    _living: Living,
}

#[derive(Debug)]
struct Held {
    object: Object,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    record: Record,
    version: UpdateVersion,
    /// Before the last renewal that succeeded was sent.
    verified: Moment,
    /// Who has taken the lease from us.
    lost_to: Option<String>,
}

/// What stands in the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    holder: Holder,
    /// One more with each holder.
    term: u64,
    /// One more with each renewal, so that no two states have the same bytes.
    renewal: u64,
    /// Whether it was given back.
    released: bool,
}

/// Where the lease lies.
#[derive(Clone, Debug)]
struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    ttl: Duration,
}

/// What came of a conditional put.
enum Put {
    Done(UpdateVersion),
    /// Something else stands there.
    Refused,
}

impl SharedLease {
    /// Takes the lease `<prefix>/lease`.
    ///
    /// # Errors
    /// As for [`super::Lease::take_shared`].
    pub async fn take(store: Arc<dyn ObjectStore>, prefix: &Path, ttl: Duration) -> Result<Self> {
        let object = Object { store, path: prefix.clone().join("lease"), ttl };
        let living = Living::new();
        let state = object.take(&living.0).await?;
        let held = Arc::new(Held { object, state: Mutex::new(state) });
        let renewals = tokio::spawn(renew_until_lost(held.clone()));
        Ok(Self { held, renewals, _living: living })
    }

    /// Makes sure that the lease is held.
    ///
    /// # Errors
    /// As for [`super::Lease::verify`].
    pub async fn verify(&self) -> Result<()> {
        let mut state = self.held.state.lock().await;
        if state.lost_to.is_none() && state.verified.elapsed() < self.held.object.ttl {
            return Ok(());
        }
        self.held.object.renew(&mut state).await
    }

    /// Renews the lease now.
    ///
    /// # Errors
    /// As for [`super::Lease::verify`].
    pub async fn renew(&self) -> Result<()> {
        let mut state = self.held.state.lock().await;
        self.held.object.renew(&mut state).await
    }

    /// The term of this holder.
    pub async fn term(&self) -> u64 {
        self.held.state.lock().await.record.term
    }

    /// Writes a later term into the lease.
    ///
    /// # Errors
    /// As for [`super::Lease::verify`].
    pub async fn raise(&self, term: u64) -> Result<()> {
        let mut state = self.held.state.lock().await;
        let raised = Record { term, ..state.record.next() };
        self.held.object.update(&mut state, raised).await
    }

    /// Gives the lease back. If that fails, the next owner waits for its end.
    pub async fn release(&self) {
        self.renewals.abort();
        let mut state = self.held.state.lock().await;
        let released = Record { released: true, ..state.record.next() };
        if let Err(error) = self.held.object.update(&mut state, released).await {
            debug!(error = error.chain(), "could not give a lease back");
        }
        state.lost_to.get_or_insert_with(|| "nobody".to_owned());
    }
}

/// Whether somebody seems to hold the lease `<prefix>/lease`: it was not given back, and was
/// renewed lately by the store's clock. For people; who wants the lease has to take it.
///
/// # Errors
/// Retryable External: the store does not answer.
pub async fn is_held(store: &Arc<dyn ObjectStore>, prefix: &Path, ttl: Duration) -> Result<bool> {
    let path = prefix.clone().join("lease");
    let failed = || format!("could not read lease \"{path}\"");
    let found = match store.get(&path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        found => found.transient(failed)?,
    };
    let renewed: std::time::SystemTime = found.meta.last_modified.into();
    let bytes = found.bytes().await.transient(failed)?;
    let record: Record = serde_json::from_slice(&bytes).external(failed)?;
    Ok(!record.released && renewed.elapsed().unwrap_or_default() < ttl * RENEWALS)
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

async fn renew_until_lost(held: Arc<Held>) {
    let ttl = held.object.ttl;
    let mut pause = ttl / RENEWALS;
    loop {
        tokio::time::sleep(pause).await;
        let mut state = held.state.lock().await;
        pause = match held.object.renew(&mut state).await {
            Ok(()) => ttl / RENEWALS,
            Err(error) if error.retry() => {
                let lease = &held.object.path;
                warn!(%lease, error = error.chain(), "could not renew a lease");
                ttl / LOOKS
            }
            Err(_) => return,
        };
    }
}

impl Record {
    fn next(&self) -> Self {
        Self { renewal: self.renewal + 1, ..self.clone() }
    }

    /// Whether the lease may be taken at once.
    fn is_free(&self) -> bool {
        self.released || self.holder.is_proved_dead()
    }

    fn who(&self) -> String {
        format!("process {} on {:?}", self.holder.pid, self.holder.host)
    }
}

impl Object {
    /// Waits until the lease is free or its holder shows that it lives.
    async fn take(&self, own: &Holder) -> Result<State> {
        let mut watched: Option<(Record, Moment)> = None;
        loop {
            let began = Moment::now();
            let Some((found, version)) = self.read().await? else {
                let first = Record { holder: own.clone(), term: 1, renewal: 0, released: false };
                if let Put::Done(version) = self.put(&first, PutMode::Create).await? {
                    return Ok(State::new(first, version, began));
                }
                continue;
            };
            let stood = watched.as_ref().filter(|(record, _)| *record == found);
            let expired = stood.is_some_and(|(_, since)| since.elapsed() >= self.ttl);
            // An answer that was lost may have left our own name there.
            if found.is_free() || expired || found.holder == *own {
                let holder = own.clone();
                let next = Record { holder, term: found.term + 1, released: false, ..found.next() };
                if let Put::Done(version) = self.put(&next, PutMode::Update(version)).await? {
                    return Ok(State::new(next, version, began));
                }
                watched = None;
                continue;
            }
            match (&watched, stood) {
                (Some(_), None) => return Err(super::taken(&found.who(), self.path.as_ref())),
                (None, _) => watched = Some((found, Moment::now())),
                (Some(_), Some(_)) => {}
            }
            tokio::time::sleep(self.ttl / LOOKS).await;
        }
    }

    /// Renews the lease, or finds out who has it.
    async fn renew(&self, state: &mut State) -> Result<()> {
        failpoint::reach("lease.renew").await?;
        let next = state.record.next();
        self.update(state, next).await
    }

    /// Changes our own lease. A put that was refused may have met one of ours whose answer was
    /// lost; then it is done once more, upon that one.
    async fn update(&self, state: &mut State, next: Record) -> Result<()> {
        let mut next = next;
        loop {
            if let Some(holder) = &state.lost_to {
                return Err(super::taken(holder, self.path.as_ref()));
            }
            let began = Moment::now();
            let put = self.put(&next, PutMode::Update(state.version.clone())).await?;
            if let Put::Done(version) = put {
                *state = State::new(next, version, began);
                return Ok(());
            }
            match self.read().await? {
                Some((found, version)) if found.holder == state.record.holder => {
                    next.renewal = found.renewal + 1;
                    (state.record, state.version) = (found, version);
                }
                Some((found, _)) => state.lost_to = Some(found.who()),
                None => state.lost_to = Some("whoever removed the lease".to_owned()),
            }
        }
    }

    async fn put(&self, record: &Record, mode: PutMode) -> Result<Put> {
        let bytes = serde_json::to_vec(record).bug("a lease is no JSON")?;
        let options = PutOptions { mode, ..PutOptions::default() };
        let put = self.store.put_opts(&self.path, Bytes::from(bytes).into(), options);
        let failed = || Error::transient(format!("could not write lease \"{}\"", self.path));
        match tokio::time::timeout(self.ttl / RENEWALS, put).await {
            Ok(Ok(done)) => Ok(Put::Done(done.into())),
            Ok(Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            )) => Ok(Put::Refused),
            Ok(Err(error)) => Err(failed().because(error)),
            Err(elapsed) => Err(failed().because(elapsed)),
        }
    }

    async fn read(&self) -> Result<Option<(Record, UpdateVersion)>> {
        let failed = || format!("could not read lease \"{}\"", self.path);
        let get = async {
            let found = match self.store.get(&self.path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found.transient(failed)?,
            };
            let version = UpdateVersion {
                e_tag: found.meta.e_tag.clone(),
                version: found.meta.version.clone(),
            };
            let bytes = found.bytes().await.transient(failed)?;
            let record = serde_json::from_slice(&bytes)
                .external(|| format!("lease \"{}\" is damaged", self.path))?;
            Ok(Some((record, version)))
        };
        match tokio::time::timeout(self.ttl / RENEWALS, get).await {
            Ok(found) => found,
            Err(elapsed) => Err(Error::transient(failed()).because(elapsed)),
        }
    }
}

impl State {
    fn new(record: Record, version: UpdateVersion, verified: Moment) -> Self {
        Self { record, version, verified, lost_to: None }
    }
}
