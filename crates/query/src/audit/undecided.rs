//! Rows of epochs that nobody has decided: more than the history knows.
//!
//! The history is read again after the sink, so that whatever a running pipeline published
//! meanwhile is decided by then. What is newer even so was written by the epochs of checkpoints
//! that are missing, or by another pipeline: places may be shared, and then only the splits tell
//! whose a row is.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use contract::{Lineage, Result};
use state::history::lineages;
use tracing::debug;

use super::Subject;
use super::expected::{Expected, Stretch, Until, difference};
use super::found::{Found, Later};
use super::report::{Difference, DifferenceKind, Unexplained};

/// What is held beyond the history: rows by stretch, and the newest decided epoch.
type Beyond<'a> = Vec<(&'a Stretch, &'a Later, u64)>;

/// Names the rows of epochs that are not decided once the sink was read; epochs that follow the
/// newest one closely, `ahead` of them, may be under way.
///
/// # Errors
/// External: the checkpoints cannot be read.
pub async fn look(
    subject: &Subject<'_>,
    expected: &Expected,
    (found, ahead): (&Found, u64),
) -> Result<(Vec<Difference>, Option<Unexplained>)> {
    if expected.beyond(subject, found, ahead).await?.is_empty() {
        return Ok((Vec::new(), None));
    }
    // Splits and lineages may be new, too.
    let since = subject.expected(Until::Decided).await?;
    let mut beyond = since.beyond(subject, found, ahead).await?;
    let is_known = |(stretch, ..): &(&Stretch, &Later, u64)| since.knows(&stretch.split);
    if !beyond.iter().all(is_known) {
        let others = of_others(subject).await?;
        let is_of_others = |split: &str| others.iter().any(|other| other.knows(split));
        beyond.retain(|one| is_known(one) || !is_of_others(&one.0.split));
    }
    let differences = beyond.iter().map(|(stretch, held, _)| {
        difference(DifferenceKind::Unexpected, stretch, held.rows, &held.positions)
    });
    Ok((differences.collect(), since.unexplained(&beyond)))
}

/// What the other pipelines know whose checkpoints lie in the same store.
async fn of_others(subject: &Subject<'_>) -> Result<Vec<Expected>> {
    let all = lineages(subject.checkpoints.objects()).await?;
    let names: BTreeSet<_> = all.into_iter().map(|(pipeline, _)| pipeline).collect();
    let mut others = Vec::new();
    for name in names.iter().filter(|name| *name != subject.pipeline) {
        match Expected::read(name, &[], subject.checkpoints, Until::Decided).await {
            Ok(other) => others.push(other),
            Err(error) => debug!(pipeline = name, error = error.chain(), "not read"),
        }
    }
    Ok(others)
}

impl Expected {
    fn knows(&self, split: &str) -> bool {
        self.limits.contains_key(split)
    }

    /// The stretch of a row whose epoch is later than all that are compared; none for others.
    pub fn later(&self, split: &str, epoch: u64) -> Option<Stretch> {
        let later = match self.limits.get(split) {
            Some(limits) => epoch > limits.complete_until,
            // Where a lineage has forgotten everything, it may be one of its splits.
            None => !self.blank.is_empty() || epoch > self.decided_until,
        };
        later.then(|| Stretch { split: split.to_owned(), epoch })
    }

    /// Whether a row is of a decided epoch, and of a split that no decided epoch knows.
    pub fn is_of_another(&self, split: &str, epoch: u64) -> bool {
        !self.knows(split)
            && self.later(split, epoch).is_none()
            && self.stretch(split, epoch).is_none()
    }

    /// What of later epochs is not decided now.
    async fn beyond<'a>(
        &self,
        subject: &Subject<'_>,
        found: &'a Found,
        ahead: u64,
    ) -> Result<Beyond<'a>> {
        let (mut beyond, mut newest) = (Vec::new(), HashMap::new());
        for (stretch, held) in &found.later {
            let known = self.knows(&stretch.split).then_some(stretch.split.as_str());
            if known.is_none() && found.is_shared {
                continue;
            }
            let decided = match newest.entry(known) {
                Entry::Occupied(decided) => *decided.get(),
                Entry::Vacant(free) => *free.insert(self.newest(subject, known).await?),
            };
            if stretch.epoch > decided + ahead {
                beyond.push((stretch, held, decided));
            }
        }
        Ok(beyond)
    }

    /// The newest decided epoch, as it is now, of the lineages that read a split; none for splits
    /// that nobody knows.
    async fn newest(&self, subject: &Subject<'_>, split: Option<&str>) -> Result<u64> {
        let Subject { pipeline, checkpoints, .. } = subject;
        let histories: Vec<_> = match split {
            Some(split) => {
                let of_split = self.histories.get(split).into_iter().flatten();
                of_split.map(|(_, history)| history.clone()).collect()
            }
            // What is recorded nowhere is not decided.
            None if !self.blank.is_empty() => Vec::new(),
            None => {
                let lineages = checkpoints.lineages(pipeline).await?;
                let own = lineages.iter().filter(|lineage| !lineage.is_replay());
                own.map(|lineage| checkpoints.history(pipeline, lineage)).collect()
            }
        };
        let mut newest = 0;
        for history in histories {
            newest = newest.max(history.newest_epoch().await?.unwrap_or_default());
        }
        Ok(newest)
    }

    /// Whose checkpoints are missing that could explain these rows.
    fn unexplained(&self, beyond: &Beyond<'_>) -> Option<Unexplained> {
        let mut lineages = BTreeSet::new();
        for (stretch, ..) in beyond {
            match self.histories.get(&stretch.split) {
                Some(of_split) => {
                    let own = of_split.iter().filter(|(lineage, _)| !lineage.is_replay());
                    lineages.extend(own.map(|(lineage, _)| lineage.to_string()));
                }
                None if !self.blank.is_empty() => lineages.extend(self.blank.iter().cloned()),
                None => lineages.extend(self.readers()),
            }
        }
        Some(Unexplained {
            lineages: lineages.into_iter().collect(),
            decided: beyond.iter().map(|(.., decided)| *decided).min()?,
            from: beyond.iter().map(|(stretch, ..)| stretch.epoch).min()?,
            until: beyond.iter().map(|(stretch, ..)| stretch.epoch).max()?,
            rows: beyond.iter().map(|(_, held, _)| held.rows).sum(),
        })
    }

    /// The lineages that may read a split that comes anew.
    fn readers(&self) -> impl Iterator<Item = String> {
        let all = self.complete.iter().map(|complete| Lineage::new(complete.lineage.as_str()));
        let own = all.filter(|lineage| !lineage.is_replay());
        own.map(|lineage| lineage.to_string())
    }
}
