//! Counts the records of pipelines that other processes run, from what they left behind.
//!
//! The whole ledger is read once per lineage; from then on only epochs that are new.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::{Host, Served};
use contract::{Lineage, Result};
use runtime::metrics::Totals;
use state::History;
use tokio::time::MissedTickBehavior;
use tracing::debug;

/// How often it is looked for new epochs.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// New epochs that are read one by one; where there are more, the ledger is read again.
const EPOCHS_MAX: u64 = 100;

/// What was counted.
struct Counted {
    until: u64,
    totals: Totals,
}

/// Counts until it is dropped. What `own` names is counted where it runs.
pub async fn count(host: Arc<dyn Host>, own: Vec<String>) {
    let mut counted: HashMap<(String, Lineage), Counted> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let served = match host.pipelines().await {
            Ok(served) => served,
            Err(error) => {
                debug!(error = error.chain(), "could not look at the pipelines");
                continue;
            }
        };
        for pipeline in served.iter().filter(|pipeline| !own.contains(&pipeline.name)) {
            if let Err(error) = look(pipeline, &mut counted).await {
                debug!(pipeline.name, error = error.chain(), "could not count the ledger");
            }
        }
    }
}

async fn look(pipeline: &Served, counted: &mut HashMap<(String, Lineage), Counted>) -> Result<()> {
    let Some(checkpoints) = &pipeline.checkpoints else { return Ok(()) };
    let mut sum = Totals::default();
    for lineage in checkpoints.lineages(&pipeline.name).await? {
        let history = checkpoints.history(&pipeline.name, &lineage);
        let key = (pipeline.name.clone(), lineage);
        let known = counted.remove(&key);
        let now = catch_up(&history, known).await?;
        sum.merge(&now.totals);
        counted.insert(key, now);
    }
    sum.show(&pipeline.name);
    Ok(())
}

async fn catch_up(history: &History, known: Option<Counted>) -> Result<Counted> {
    let newest = history.newest_epoch().await?.unwrap_or(0);
    let Some(mut known) = known.filter(|known| newest - known.until.min(newest) <= EPOCHS_MAX)
    else {
        return whole(history).await;
    };
    for epoch in known.until + 1..=newest {
        // It was packed meanwhile.
        let Ok(checkpoint) = history.epoch(epoch).await else { return whole(history).await };
        known.totals.add(&checkpoint.ledger);
        known.until = epoch;
    }
    Ok(known)
}

async fn whole(history: &History) -> Result<Counted> {
    let ledger = history.ledger().await?;
    let mut epochs: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for row in ledger.rows {
        epochs.entry(row.epoch).or_default().push(row.entry);
    }
    let mut totals = Totals::default();
    epochs.values().for_each(|entries| totals.add(entries));
    let until = epochs.keys().next_back().copied().unwrap_or(ledger.folded_until);
    Ok(Counted { until, totals })
}
