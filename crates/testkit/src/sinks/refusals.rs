//! Rows that a destination will never accept: rejects of its prepare, by their origins.

use std::path::Path;

use contract::sink::{CommitOutcome, Prepared, SinkKind, Writer};
use contract::spec::Connector;
use contract::{Lineage, Section};

use super::rows::Likeness;
use super::{SinkProof, made};
use crate::must;

const ROWS: i64 = 100;
/// The number of the way that the rows came by.
const WAY: i64 = 2;

/// Proves that a sink sets rows aside that its destination never takes, and delivers the others:
/// `settings` name an empty destination that refuses the row of a position where `refuses` says
/// so. The row's `number` is its position, or null where that is a multiple of seven; where it is
/// two more than a multiple of five, `text` holds a letter NUL, `plain` a space, and `moment` lies
/// behind the calendar.
///
/// # Panics
/// As for [`super::check_sink`].
pub async fn check_rejects(
    connector: &dyn Connector,
    (settings, data): (&Section, &Path),
    refuses: fn(i64) -> bool,
) {
    let (sink, lineage) = (made(connector, settings, data), Lineage::new("refusing"));
    let likeness = Likeness { ordinal: Some(WAY), hostile: true };
    let proof = SinkProof { sink, lineage, split: "proof/refused", likeness };
    let (refused, taken): (Vec<i64>, Vec<i64>) = (0..ROWS).partition(|row| refuses(*row));
    assert!(!refused.is_empty() && !taken.is_empty(), "some rows are refused and some are not");
    proof.expect_token(None).await;
    let mut writer = proof.writer().await;
    let all: Vec<i64> = (0..ROWS).collect();
    // The second time after an attempt that was dropped: nothing of it is told again.
    proof.prepare_rows(writer.as_mut(), &all).await;
    must(writer.abort(&proof.lineage).await, "could not abort");
    let mut prepared = proof.prepare_rows(writer.as_mut(), &all).await;
    proof.check(&prepared, &refused, &taken);
    if proof.sink.promise().kind == SinkKind::Transaction {
        // As after a crash: the transaction is gone, and the replay leaves the refused rows out.
        drop(writer);
        proof.expect_token(None).await;
        writer = proof.writer().await;
        let again = proof.prepare_rows(writer.as_mut(), &taken).await;
        assert_eq!((again.rows, again.rejects.len()), (prepared.rows, 0), "a replay is whole");
        prepared = again;
    }
    proof.publish(writer.as_mut(), &prepared, &taken).await;
    let next = (ROWS..).find(|row| !refuses(*row)).expect("there is one");
    proof.next_epoch(writer.as_mut(), next).await;
    proof.expect_rows(taken.into_iter().chain([next]), "after the next commit").await;
}

impl SinkProof {
    async fn prepare_rows(&self, writer: &mut dyn Writer, rows: &[i64]) -> Prepared {
        for part in rows.chunks(17) {
            must(self.try_write(writer, 1, part).await, "could not write");
        }
        self.prepared(writer, 1).await
    }

    fn check(&self, prepared: &Prepared, refused: &[i64], taken: &[i64]) {
        let mut told: Vec<i64> = Vec::new();
        for row in &prepared.rejects {
            assert_eq!(row.split.as_str(), self.split, "it is told by its split");
            assert_eq!(row.reject.ordinal, WAY, "it is told by its way");
            assert!(!row.reject.reason.is_empty(), "it has a reason");
            told.push(row.reject.position);
        }
        told.sort_unstable();
        assert_eq!(told, refused, "each refused row is told once, by its position");
        assert_eq!(prepared.rows, taken.len() as u64, "the others count as delivered");
    }

    async fn publish(&self, writer: &mut dyn Writer, prepared: &Prepared, taken: &[i64]) {
        let commit = self.commit_of(1, None, prepared);
        assert_eq!(self.commit(writer, &commit).await, CommitOutcome::Committed);
        self.expect_rows(taken.iter().copied(), "after the commit").await;
    }

    /// The next epoch knows nothing of what was refused.
    async fn next_epoch(&self, writer: &mut dyn Writer, row: i64) {
        must(self.try_write(writer, 2, &[row]).await, "could not write");
        let prepared = self.prepared(writer, 2).await;
        assert_eq!((prepared.rows, prepared.rejects.len()), (1, 0), "refused rows are told once");
        let commit = self.commit_of(2, Some(1), &prepared);
        assert_eq!(self.commit(writer, &commit).await, CommitOutcome::Committed);
    }
}
