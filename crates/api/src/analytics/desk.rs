//! Where questions are asked: each once, few at a time, and no answer twice while it holds.
//!
//! Whoever asks what is being asked already waits for that answer. A query ends when nobody waits
//! for it any more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use tokio::sync::Semaphore;

use super::backend::{Backend, Version};
use super::cell::{Cell, Row};
use super::question::{Question, Scope};
use super::sql::Sql;
use crate::problem::{Answer, Problem};

/// Rows of one answer; more are refused.
pub const ROWS_MAX: usize = 100_000;
/// Questions that are under way.
const FLIGHTS_MAX: usize = 4096;

/// The rows of an answer.
pub type Rows = Arc<Vec<Row>>;

type Key = (u64, String);
type Flight = Shared<BoxFuture<'static, Answer<Rows>>>;

/// Where questions are asked.
pub struct Desk {
    backend: Arc<dyn Backend>,
    places: Arc<Semaphore>,
    remembered: Arc<Mutex<Remembered>>,
    flights: Mutex<HashMap<Key, WeakShared<BoxFuture<'static, Answer<Rows>>>>>,
}

impl Desk {
    /// A desk that works on a few questions at a time and remembers some answers.
    pub fn new(backend: Arc<dyn Backend>, queries_max: usize, cache_bytes: usize) -> Self {
        let remembered = Remembered { bytes_max: cache_bytes, ..Remembered::default() };
        Self {
            backend,
            places: Arc::new(Semaphore::new(queries_max)),
            remembered: Arc::new(Mutex::new(remembered)),
            flights: Mutex::default(),
        }
    }

    /// The table as it is now.
    ///
    /// # Errors
    /// As for [`Backend::newest`].
    pub async fn newest(&self) -> Answer<Arc<dyn Version>> {
        self.backend.newest().await
    }

    /// Answers a question.
    ///
    /// # Errors
    /// As for [`Version::question`] and [`Version::rows`]; 422 where the answer is too large.
    pub async fn ask(&self, table: &Arc<dyn Version>, question: &Question) -> Answer<Rows> {
        self.run(table, table.question(question)?).await
    }

    /// The newest rows of a scope.
    ///
    /// # Errors
    /// As for [`Desk::ask`].
    pub async fn records(
        &self,
        table: &Arc<dyn Version>,
        scope: &Scope,
        limit: u64,
    ) -> Answer<Rows> {
        self.run(table, table.records(scope, limit)?).await
    }

    /// Rows that came after the mark of an earlier version.
    ///
    /// # Errors
    /// As for [`Version::after`].
    pub async fn after(
        &self,
        table: &Arc<dyn Version>,
        mark: i64,
        scope: &Scope,
        limit: u64,
    ) -> Answer<Vec<Row>> {
        let place = self.places.acquire().await;
        let _place = place.map_err(|_| Problem::busy("the server is ending"))?;
        table.after(mark, scope, limit).await
    }

    async fn run(&self, table: &Arc<dyn Version>, sql: Sql) -> Answer<Rows> {
        let key = (table.number(), sql.key());
        if let Some(rows) = lock(&self.remembered).find(&key) {
            return Ok(rows);
        }
        self.flight(key, table.clone(), sql).await
    }

    /// The question under way, which is begun if nobody did.
    fn flight(&self, key: Key, table: Arc<dyn Version>, sql: Sql) -> Flight {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key).and_then(WeakShared::upgrade) {
            return flight;
        }
        if flights.len() >= FLIGHTS_MAX {
            flights.retain(|_, flight| flight.upgrade().is_some());
        }
        let (places, remembered) = (self.places.clone(), self.remembered.clone());
        let answered = key.clone();
        let work = async move {
            let place = places.acquire().await;
            let _place = place.map_err(|_| Problem::busy("the server is ending"))?;
            let rows = table.rows(&sql).await?;
            if rows.len() > ROWS_MAX {
                return Err(Problem::too_much(format!("the answer has {} rows", rows.len()))
                    .hint(format!("ask for {ROWS_MAX} at most, with `limit` or a filter")));
            }
            let rows = Arc::new(rows);
            lock(&remembered).keep(answered, rows.clone());
            Ok(rows)
        };
        let flight = work.boxed().shared();
        flights.retain(|_, flight| flight.upgrade().is_some());
        if let Some(weak) = flight.downgrade() {
            flights.insert(key, weak);
        }
        flight
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The newest answers, as many as fit.
#[derive(Default)]
struct Remembered {
    answers: HashMap<Key, (Rows, usize)>,
    order: VecDeque<Key>,
    bytes: usize,
    bytes_max: usize,
}

impl Remembered {
    fn find(&self, key: &Key) -> Option<Rows> {
        self.answers.get(key).map(|(rows, _)| rows.clone())
    }

    fn keep(&mut self, key: Key, rows: Rows) {
        let cells = rows.iter().flatten().map(Cell::bytes).sum::<usize>();
        let bytes = cells + rows.len() * size_of::<Row>() + 2 * key.1.len() + 200;
        if bytes > self.bytes_max / 4 || self.answers.contains_key(&key) {
            return;
        }
        self.bytes += bytes;
        self.answers.insert(key.clone(), (rows, bytes));
        self.order.push_back(key);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, bytes)) = self.answers.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}
