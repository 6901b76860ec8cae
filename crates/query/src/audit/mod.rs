//! Compares what the sinks really hold with what the ledger says they hold.
//!
//! By count and by the order-independent hash over origins, per split and epoch; only where these
//! differ are single positions looked at. Tokens and statistics of a sink prove nothing here: its
//! rows are read back. Only epochs that are known to be complete everywhere are compared, so an
//! audit beside a running pipeline is sound.

mod expected;
mod found;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use contract::Result;
use contract::sink::{Proof, ReadBack, Sink};
use futures::TryStreamExt;
use object_store::ObjectStore;

use expected::Expected;
use found::{Found, Positions};
pub use report::{Complete, Difference, DifferenceKind, Report, SinkReport};

/// A sink to be audited.
pub struct AuditedSink {
    /// Its name in the ledger.
    pub name: String,
    /// Reads back what it holds.
    pub sink: Arc<dyn Sink>,
}

/// Audits the sinks of a pipeline against the ledger in a store of checkpoints.
///
/// # Errors
/// External: a checkpoint or a sink cannot be read.
pub async fn audit(
    pipeline: &str,
    sinks: &[AuditedSink],
    checkpoints: &Arc<dyn ObjectStore>,
) -> Result<Report> {
    let expected = Expected::read(pipeline, checkpoints).await?;
    let mut reports = Vec::with_capacity(sinks.len());
    for audited in sinks {
        reports.push(audit_sink(pipeline, audited, &expected).await?);
    }
    Ok(Report {
        pipeline: pipeline.to_owned(),
        complete: reports.iter().all(SinkReport::is_complete),
        lineages: expected.complete.clone(),
        sinks: reports,
    })
}

async fn audit_sink(
    pipeline: &str,
    audited: &AuditedSink,
    expected: &Expected,
) -> Result<SinkReport> {
    let mut report = SinkReport::new(&audited.name, audited.sink.promise().proof);
    report.expected = expected.rows_of(&audited.name);
    match report.proof {
        Proof::None => Ok(report),
        Proof::Count => {
            report.found = count(pipeline, audited).await?;
            report.missing = report.expected.saturating_sub(report.found);
            report.duplicate = report.found.saturating_sub(report.expected);
            Ok(report)
        }
        Proof::Origin => audit_origins(pipeline, audited, expected, report).await,
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
    pipeline: &str,
    audited: &AuditedSink,
    expected: &Expected,
    mut report: SinkReport,
) -> Result<SinkReport> {
    let found = Found::read(pipeline, audited, expected).await?;
    report.found = found.rows();
    report.differences = expected.undecided(&found).await?;
    report.found += report.differences.iter().map(|difference| difference.rows).sum::<u64>();
    let differing = expected.differing(&audited.name, &found);
    if !differing.is_empty() {
        let positions = Positions::read(pipeline, audited, expected, &differing).await?;
        for stretch in &differing {
            let mut held = positions.of(stretch);
            report.differences.extend(expected.explain(&audited.name, stretch, &mut held));
        }
    }
    report.add_up(expected.rejected_after(&audited.name));
    Ok(report)
}
