//! Whether destinations are still the ones that rows went into.
//!
//! Who deletes a table, topic, index or bucket and makes another one of its name takes along what
//! was delivered. The history keeps what it met under each name, so that nobody finds out by
//! chance: it is told by whoever writes next, by the next start, and by every audit.

use std::collections::BTreeMap;

use contract::Result;
use contract::sink::{Identity, SinkKind};
use serde::Serialize;
use state::Checkpoint;
use state::checkpoint::{KnownIdentity, SinkState};
use tracing::{debug, warn};

use crate::attempt::Attempt;
use crate::owner::Owner;
use crate::sink_task::SinkReport;

/// What a checkpoint keeps of one sink, at most; names of which rows went nowhere for long are
/// forgotten first.
const KNOWN_MAX: usize = 128;

/// A destination that is another one than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// The sink's name in the pipeline file.
    pub sink: String,
    /// Whose rows they were.
    pub lineage: String,
    /// The name of the destination.
    pub place: String,
    /// The id of the one that they went into.
    pub was: String,
    /// The id of the one that stands there now.
    pub now: String,
    /// The first epoch whose rows went into the earlier one.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// How many rows went into it, as far as they were counted.
    pub rows: u64,
}

/// What is known of one sink's destinations.
pub struct Known<'a> {
    sink: &'a str,
    lineage: &'a str,
    state: Option<&'a SinkState>,
}

impl<'a> Known<'a> {
    /// What a checkpoint knows.
    pub fn before(checkpoint: &'a Checkpoint, sink: &'a str) -> Self {
        Self { sink, lineage: &checkpoint.lineage, state: checkpoint.sinks.get(sink) }
    }

    /// Adds what rows of an epoch went into; what is another one than before is returned beside
    /// it. A sink of which nothing is known takes what it meets for what it always had.
    pub fn meet(&self, epoch: u64, identities: &[Identity]) -> (Vec<KnownIdentity>, Vec<Replaced>) {
        let mut known = self.all().to_vec();
        let begun =
            known.is_empty() && self.state.is_some_and(|state| state.owes || state.prev.is_some());
        let mut replaced = Vec::new();
        for Identity { place, id, rows } in identities {
            replaced.extend(self.replaced(place, id));
            let same = known.iter().position(|one| one.place == *place && one.id == *id);
            let from = if begun { 1 } else { epoch };
            let mut one = match same {
                Some(at) => known.remove(at),
                None => {
                    let (place, id) = (place.clone(), id.clone());
                    KnownIdentity { place, id, from, to: epoch, rows: 0 }
                }
            };
            (one.to, one.rows) = (epoch, one.rows + rows);
            known.push(one);
        }
        let surplus = known.len().saturating_sub(KNOWN_MAX);
        known.drain(..surplus);
        (known, replaced)
    }

    /// The destination of a name as it was, if what stands there now is another one.
    fn replaced(&self, place: &str, now: &str) -> Option<Replaced> {
        let last = self.all().iter().rfind(|one| one.place == place)?;
        (last.id != now).then(|| Replaced {
            sink: self.sink.to_owned(),
            lineage: self.lineage.to_owned(),
            place: place.to_owned(),
            was: last.id.clone(),
            now: now.to_owned(),
            from: last.from,
            to: last.to,
            rows: last.rows,
        })
    }

    /// What the newest rows went into, if nothing stands under its name. That older names go is
    /// the way of indexes by the day.
    fn gone(&self, now: &BTreeMap<String, String>) -> Vec<&'a KnownIdentity> {
        let newest = self.all().iter().map(|one| one.to).max();
        let last = self.all().iter().filter(|one| Some(one.to) == newest);
        last.filter(|one| !now.contains_key(&one.place)).collect()
    }

    fn all(&self) -> &'a [KnownIdentity] {
        self.state.map_or(&[], |state| &state.identities)
    }
}

/// Asks the sinks of a lineage that begins whether their destinations are those that it knows.
/// One that does not answer now will be asked by its writer.
pub async fn look(owner: &Owner, checkpoint: &Checkpoint) {
    for node in &owner.pipeline.sinks {
        let known = Known::before(checkpoint, &node.name);
        if known.all().is_empty() {
            continue;
        }
        match node.sink.identities().await {
            Ok(now) => {
                let replaced = now.iter().filter_map(|(place, id)| known.replaced(place, id));
                owner.progress.tell(replaced.collect());
                for KnownIdentity { place, id, from, to, rows } in known.gone(&now) {
                    let sink = &node.name;
                    warn!(sink, place, id, from, to, rows, "the destination is not there any more");
                }
            }
            Err(error) => {
                debug!(
                    sink = node.name,
                    error = error.chain(),
                    "its destination was not looked at"
                );
            }
        }
    }
}

/// Whether rows of the newest epoch are gone that an idempotent sink took before it was decided:
/// what they went into does not stand there any more. One that does not answer is asked by its
/// writer.
pub async fn lost(owner: &Owner, checkpoint: &Checkpoint, sink: usize) -> bool {
    let node = &owner.pipeline.sinks[sink];
    let known = Known::before(checkpoint, &node.name);
    let newest = || known.all().iter().filter(|one| one.to == checkpoint.epoch);
    if node.sink.promise().kind != SinkKind::Idempotent || newest().next().is_none() {
        return false;
    }
    let Ok(now) = node.sink.identities().await else { return false };
    newest().any(|one| now.get(&one.place) != Some(&one.id))
}

/// Whether a replay met other destinations than the epoch recorded; of each sink in any order.
pub fn differ(recorded: &Checkpoint, met: &Checkpoint) -> bool {
    met.sinks.iter().any(|(name, state)| {
        let known = recorded.sinks.get(name).map_or(&[][..], |state| &state.identities);
        known.len() != state.identities.len()
            || !state.identities.iter().all(|one| known.contains(one))
    })
}

/// Notes what rows that were sent again went into, in the place of what their epoch recorded.
///
/// # Errors
/// External: the checkpoint before cannot be read.
pub async fn meet_again(attempt: &mut Attempt<'_>, reports: &[Option<SinkReport>]) -> Result<()> {
    let owner = attempt.owner;
    let epoch = attempt.checkpoint.epoch;
    let before = owner.history.epoch(epoch - 1).await?;
    for (node, report) in owner.pipeline.sinks.iter().zip(reports) {
        let Some(report) = report.as_ref().filter(|report| report.prepared.is_some()) else {
            continue;
        };
        let (identities, replaced) =
            Known::before(&before, &node.name).meet(epoch, report.identities());
        owner.progress.tell(replaced);
        if let Some(state) = attempt.checkpoint.sinks.get_mut(&node.name) {
            state.identities = identities;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use contract::Lineage;

    use super::*;

    fn checkpoint(epoch: u64, state: SinkState) -> Checkpoint {
        let mut checkpoint = Checkpoint::first("web", &Lineage::new("main"), 7);
        checkpoint.epoch = epoch;
        checkpoint.sinks.insert("out".to_owned(), state);
        checkpoint
    }

    fn identity(place: &str, id: &str) -> Identity {
        Identity { place: place.to_owned(), id: id.to_owned(), rows: 10 }
    }

    /// Lets one epoch after the other meet what stands under names, and says what is known of each.
    fn check(epochs: &[&[(&str, &str)]], expect: &[(&str, &str, u64, u64, u64)], told: &[&str]) {
        let mut state = SinkState::default();
        let mut said = Vec::new();
        for (epoch, met) in (1..).zip(epochs) {
            let met: Vec<_> = met.iter().map(|(place, id)| identity(place, id)).collect();
            let before = checkpoint(epoch - 1, state);
            let (identities, replaced) = Known::before(&before, "out").meet(epoch, &met);
            said.extend(replaced.iter().map(|it| format!("{}:{}>{}", it.place, it.was, it.now)));
            state = SinkState { identities, owes: true, ..SinkState::default() };
        }
        let known = state.identities.iter();
        let known: Vec<_> = known
            .map(|one| (one.place.as_str(), one.id.as_str(), one.from, one.to, one.rows))
            .collect();
        assert_eq!(known, expect);
        assert_eq!(said, told);
    }

    #[test]
    fn what_takes_a_name_is_told_once() {
        check(&[&[("t", "1")], &[], &[("t", "1")]], &[("t", "1", 1, 3, 20)], &[]);
        check(
            &[&[("t", "1")], &[("t", "1")], &[("t", "2")], &[("t", "2")]],
            &[("t", "1", 1, 2, 20), ("t", "2", 3, 4, 20)],
            &["t:1>2"],
        );
        check(
            &[&[("a", "1"), ("b", "2")], &[("b", "3")], &[("b", "2")]],
            &[("a", "1", 1, 1, 10), ("b", "3", 2, 2, 10), ("b", "2", 1, 3, 20)],
            &["b:2>3", "b:3>2"],
        );
    }

    #[test]
    fn a_sink_that_is_older_than_ids_takes_the_first_that_it_meets() {
        let before = checkpoint(6, SinkState { prev: Some(5), ..SinkState::default() });
        let (known, replaced) = Known::before(&before, "out").meet(7, &[identity("t", "1")]);
        assert_eq!((known[0].from, known[0].to, replaced.len()), (1, 7, 0));
    }

    #[test]
    fn only_what_the_newest_rows_went_into_is_missed() {
        let check = |met: &[(&str, u64)], now: &[&str], expect: &[&str]| {
            let known = met.iter().map(|(place, to)| KnownIdentity {
                place: (*place).to_owned(),
                id: "x".to_owned(),
                from: 1,
                to: *to,
                rows: 10,
            });
            let identities = known.collect();
            let before = checkpoint(3, SinkState { identities, ..SinkState::default() });
            let now = now.iter().map(|place| ((*place).to_owned(), "x".to_owned())).collect();
            let gone = Known::before(&before, "out").gone(&now);
            let gone: Vec<_> = gone.iter().map(|one| one.place.as_str()).collect();
            assert_eq!(gone, expect);
        };
        check(&[("a", 1), ("b", 2)], &["a", "b"], &[]);
        check(&[("a", 1), ("b", 2)], &["b"], &[]);
        check(&[("a", 1), ("b", 2), ("c", 2)], &["a"], &["b", "c"]);
        check(&[], &[], &[]);
    }

    #[test]
    fn what_is_known_has_a_limit() {
        let days = (0..KNOWN_MAX + 5).map(|day| identity(&format!("logs-{day}"), "x"));
        let before = checkpoint(0, SinkState::default());
        let (known, _) = Known::before(&before, "out").meet(1, &days.collect::<Vec<_>>());
        assert_eq!((known.len(), known[0].place.as_str()), (KNOWN_MAX, "logs-5"));
    }
}
