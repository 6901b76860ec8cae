//! Compares what the sinks really hold with what the ledger says they hold.
//!
//! By count and by the order-independent hash over origins, per split and epoch; only where these
//! differ are single positions looked at. Tokens and statistics of a sink prove nothing here: its
//! rows are read back. An epoch that was decided and is not known to be complete is compared too;
//! where a sink lacks it, or cannot be asked for its rows, it is under way if somebody owns the
//! lineage, so an audit beside a running pipeline is sound, and unfinished else. Rows of epochs
//! that are not decided when the sink was read are more than the history knows, and named.

mod expected;
mod found;
mod moved;
mod report;
#[cfg(test)]
mod tests;
mod undecided;

use std::sync::Arc;
use std::time::Duration;

use contract::sink::{Proof, ReadBack, Sink, SinkKind};
use contract::{Error, ErrorKind, Lineage, Result};
use futures::TryStreamExt;
use state::CheckpointStore;
use state::checkpoint::Target;
use tracing::warn;

use expected::{Differing, Expected, Until};
use found::{Found, Positions};
pub use report::{
    Complete, Difference, DifferenceKind, Elsewhere, Gone, Missed, Moved, Replaced, Report,
    SinkReport, Unexplained, Unfinished, Unreadable,
};

/// The wait before a sink is read once more.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A sink to be audited.
pub struct AuditedSink {
    /// Its name in the ledger.
    pub name: String,
    /// Reads back what it holds.
    pub sink: Arc<dyn Sink>,
    /// Where it writes by now; none where nobody noted it.
    pub target: Option<Target>,
}

/// What is audited, and against what.
#[derive(Clone, Copy)]
struct Subject<'a> {
    pipeline: &'a str,
    sinks: &'a [AuditedSink],
    checkpoints: &'a CheckpointStore,
}

impl Subject<'_> {
    /// What the ledger says now.
    async fn expected(&self, until: Until) -> Result<Expected> {
        Expected::read(self.pipeline, self.sinks, self.checkpoints, until).await
    }
}

/// Audits the sinks of a pipeline against the ledger in a store of checkpoints.
///
/// # Errors
/// External: a checkpoint cannot be read. A sink that cannot be read is named in its report.
pub async fn audit(
    pipeline: &str,
    sinks: &[AuditedSink],
    checkpoints: &CheckpointStore,
) -> Result<Report> {
    let subject = Subject { pipeline, sinks, checkpoints };
    let mut expected = subject.expected(Until::Decided).await?;
    let mut reports = audit_all(&subject, &expected).await?;
    let mut unfinished = Vec::new();
    if let Some(complete) = without_unseen(&subject, &expected, &reports).await? {
        let unproven = std::mem::replace(&mut expected, complete).unproven;
        reports = audit_all(&subject, &expected).await?;
        for mut epoch in unproven.into_iter().filter(|epoch| expected.unproven.contains(epoch)) {
            let lineage = Lineage::new(epoch.lineage.as_str());
            // Where nobody can tell whether it is owned, nobody is known to finish it.
            if checkpoints.is_held(pipeline, &lineage).await? != Some(true) {
                epoch.gone = gone(sinks, &expected, &epoch).await;
                unfinished.push(epoch);
            }
        }
    }
    Ok(Report {
        pipeline: pipeline.to_owned(),
        elsewhere: expected.elsewhere(sinks),
        complete: unfinished.is_empty() && reports.iter().all(SinkReport::is_complete),
        lineages: expected.complete,
        unfinished,
        sinks: reports,
    })
}

/// What rows of an unfinished epoch went to and is not there. A sink that cannot be asked says so
/// in its report.
async fn gone(sinks: &[AuditedSink], expected: &Expected, epoch: &Unfinished) -> Vec<Gone> {
    let mut gone = Vec::new();
    for audited in sinks.iter().filter(|audited| expected.knows_identities(&audited.name)) {
        if let Ok(now) = audited.sink.identities().await {
            gone.extend(expected.gone(epoch, &audited.name, &now));
        }
    }
    gone
}

/// What the ledger says of complete epochs alone, where a sink lacks rows of those that are not
/// known to be complete, or where nobody can tell whether it has them.
async fn without_unseen(
    subject: &Subject<'_>,
    expected: &Expected,
    reports: &[SinkReport],
) -> Result<Option<Expected>> {
    if expected.unproven.is_empty() {
        return Ok(None);
    }
    let complete = subject.expected(Until::Complete).await?;
    let is_unseen = |report: &SinkReport| {
        let sent = complete.rows_of(&report.sink) - complete.away(&report.sink);
        report.proof == Proof::None && report.expected != sent
    };
    let lacks = reports.iter().any(|report| report.differs_in_known() || is_unseen(report));
    Ok(lacks.then_some(complete))
}

async fn audit_all(subject: &Subject<'_>, expected: &Expected) -> Result<Vec<SinkReport>> {
    let mut reports = Vec::with_capacity(subject.sinks.len());
    for audited in subject.sinks {
        let mut report = SinkReport::new(&audited.name, audited.sink.promise().proof);
        report.away = expected.away(&audited.name);
        report.expected = expected.rows_of(&audited.name) - report.away;
        report.moved = expected.moved(&audited.name);
        report.gaps = expected.gaps(&audited.name);
        report.lost = expected.lost(&audited.name);
        let read = read_sink(subject, audited, expected, &report).await;
        reports.push(match read {
            Ok(report) => report,
            Err(error) if error.kind() == ErrorKind::Bug => {
                return Err(error.context(format!("sink {:?}", audited.name)));
            }
            Err(error) => {
                report.unreadable = Some(unreadable(&error));
                report
            }
        });
    }
    Ok(reports)
}

/// A sink that fails in a way that may pass, as a disk does, is read once more.
async fn read_sink(
    subject: &Subject<'_>,
    audited: &AuditedSink,
    expected: &Expected,
    report: &SinkReport,
) -> Result<SinkReport> {
    match audit_sink(subject, audited, expected, report.clone()).await {
        Err(error) if error.retry() => {
            warn!(sink = audited.name, error = error.chain(), "reading the sink once more");
            tokio::time::sleep(READ_AGAIN_AFTER).await;
            audit_sink(subject, audited, expected, report.clone()).await
        }
        read => read,
    }
}

fn unreadable(error: &Error) -> Unreadable {
    Unreadable { error: error.chain(), hint: error.hint_text().map(str::to_owned) }
}

async fn audit_sink(
    subject: &Subject<'_>,
    audited: &AuditedSink,
    expected: &Expected,
    mut report: SinkReport,
) -> Result<SinkReport> {
    if expected.knows_identities(&audited.name) {
        let now = audited.sink.identities().await?;
        report.replaced = expected.replaced(&audited.name, &now);
    }
    match report.proof {
        Proof::None => Ok(report),
        Proof::Count => {
            report.found = count(subject.pipeline, audited).await?;
            if report.found > report.expected {
                // Whoever runs it may have gone on meanwhile.
                let since = subject.expected(Until::Decided).await?;
                let most = since.rows_of(&audited.name) - since.away(&audited.name);
                report.found = report.found.min(most.max(report.expected));
            }
            report.missing = report.expected.saturating_sub(report.found);
            // What went elsewhere may have been brought along.
            let brought = report.found.saturating_sub(report.expected).min(report.away);
            report.bring(brought);
            report.duplicate = report.found.saturating_sub(report.expected);
            Ok(report)
        }
        Proof::Origin => audit_origins(subject, audited, expected, report).await,
    }
}

async fn count(pipeline: &str, audited: &AuditedSink) -> Result<u64> {
    let mut batches = audited.sink.read_back(pipeline, ReadBack::Origins).await?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

async fn audit_origins(
    subject: &Subject<'_>,
    audited: &AuditedSink,
    expected: &Expected,
    mut report: SinkReport,
) -> Result<SinkReport> {
    let found = Found::read(subject.pipeline, audited, expected).await?;
    report.found = expected.held(&audited.name, &found);
    report.foreign = found.foreign;
    // Of what may be seen before it is decided, the epoch under way may be there.
    let ahead = u64::from(audited.sink.promise().kind == SinkKind::Idempotent);
    (report.differences, report.unexplained) =
        undecided::look(subject, expected, (&found, ahead)).await?;
    report.found += report.differences.iter().map(|difference| difference.rows).sum::<u64>();
    let Differing { stretches, mut away } = expected.differing(&audited.name, &found);
    if !stretches.is_empty() {
        let positions = Positions::read(subject.pipeline, audited, expected, &stretches).await?;
        let mut partly = expected.partly(&audited.name);
        for stretch in &stretches {
            let mut held = positions.of(stretch);
            let mut differences = expected.explain(&audited.name, stretch, &mut held);
            away += expected.excuse(&audited.name, stretch, &mut differences, &mut partly);
            report.differences.extend(differences);
        }
    }
    report.bring(report.away.saturating_sub(away));
    report.add_up(expected.rejected_after(&audited.name));
    Ok(report)
}
