//! One log for all lineages of a sink: what is decided while an entry is on its way goes into the
//! next one together, with a token for each lineage.
//!
//! Each entry costs the store a round trip and every reader a file; lineages that commit by
//! themselves would also be in each other's way, as only one of them can have the next version.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::sink::CommitOutcome;
use contract::{Error, Lineage, Result};
use tokio::sync::oneshot;

use crate::commit::{Committable, Log, Wish};
use crate::maintenance::Caretaker;

/// The log of one table, as a process has it in common.
pub struct SharedLog {
    /// At most one wish for each lineage whose run goes on: a lineage waits for its answer.
    waiting: Mutex<Vec<Waiting>>,
    table: tokio::sync::Mutex<Table>,
}

struct Table {
    log: Log,
    caretaker: Caretaker,
}

struct Waiting {
    wish: Wish,
    answer: oneshot::Sender<Result<CommitOutcome>>,
}

impl SharedLog {
    /// A log of which nothing is known yet.
    pub fn new(log: Log, caretaker: Caretaker) -> Self {
        let table = tokio::sync::Mutex::new(Table { log, caretaker });
        Self { waiting: Mutex::default(), table }
    }

    /// Makes a decided epoch visible, in one commit with those of other lineages that wait.
    ///
    /// # Errors
    /// As for [`Log::publish`].
    pub async fn publish(self: &Arc<Self>, wish: Wish) -> Result<CommitOutcome> {
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Waiting { wish, answer });
        // By itself: a lineage that ends in the middle takes no other one with it.
        let shared = self.clone();
        tokio::spawn(async move { shared.serve().await });
        let died = |error| Error::bug("a task that commits to a lake table died").because(error);
        answered.await.map_err(died)?
    }

    /// Looks at what others made of the table; the columns of these files that it lacks.
    ///
    /// # Errors
    /// As for [`Log::look`].
    pub async fn look(&self, lineage: &Lineage, files: &Committable) -> Result<Vec<String>> {
        self.table.lock().await.log.look(lineage, files).await
    }

    /// Publishes what waits, unless somebody else took it along.
    async fn serve(&self) {
        let mut table = self.table.lock().await;
        let together = self.take_together();
        if together.is_empty() {
            return;
        }
        let (wishes, answers): (Vec<_>, Vec<_>) =
            together.into_iter().map(|waiting| (waiting.wish, waiting.answer)).unzip();
        let outcomes = match table.log.publish(&wishes).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) if wishes.len() == 1 => vec![Err(error)],
            // Whose fault it was shows when each tries alone; what was published is found so.
            Err(_) => one_by_one(&mut table.log, &wishes).await,
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have been stopped since.
            let _ = answer.send(outcome);
        }
        if let Some(version) = table.log.version() {
            table.caretaker.committed(version);
        }
    }

    /// The wishes of as many lineages as wait. Of one lineage only the first: the next one is
    /// judged by what that leaves behind.
    fn take_together(&self) -> Vec<Waiting> {
        let mut lineages = HashSet::new();
        let mut waiting = self.waiting();
        let first = |it: &mut Waiting| lineages.insert(it.wish.commit.lineage.clone());
        waiting.extract_if(.., first).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one_by_one(log: &mut Log, wishes: &[Wish]) -> Vec<Result<CommitOutcome>> {
    let mut outcomes = Vec::with_capacity(wishes.len());
    for wish in wishes {
        let outcome = log.publish(std::slice::from_ref(wish)).await;
        outcomes.push(outcome.map(|outcomes| outcomes[0]));
    }
    outcomes
}
