//! What each kind of sink holds of its epochs (EPOCH §3).

use contract::sink::{CommitOutcome, Prepared, Proof};

use super::SinkProof;
use crate::must;

impl SinkProof {
    /// Rows and token appear together; what was open when the writer was lost is gone.
    pub(super) async fn transaction(&self) {
        self.first_epoch().await;
        let mut lost = self.writer().await;
        self.prepare(lost.as_mut(), 2, 100..200).await;
        drop(lost);
        self.expect_token(Some(1)).await;
        let mut next = self.writer().await;
        let commit = self.commit_of(2, Some(1), &Prepared::default());
        let outcome = self.commit(next.as_mut(), &commit).await;
        assert_eq!(outcome, CommitOutcome::NeedsReplay, "a lost transaction is gone");
        self.expect_when(100, "after a transaction was lost").await;
        let prepared = self.prepare(next.as_mut(), 2, 100..200).await;
        let commit = self.commit_of(2, Some(1), &prepared);
        self.committed(next.as_mut(), &commit, "a replay is committed").await;
        self.expect(200).await;
        self.refuses_another_past().await;
        self.shuts_out_the_old_writer().await;
    }

    /// What was prepared is published by another writer, once, from the committable alone.
    pub(super) async fn staged(&self) {
        self.first_epoch().await;
        let mut lost = self.writer().await;
        let prepared = self.prepare(lost.as_mut(), 2, 100..200).await;
        drop(lost);
        self.expect_token(Some(1)).await;
        self.expect_when(100, "before the commit").await;
        let commit = self.commit_of(2, Some(1), &prepared);
        for when in ["another writer publishes what is staged", "one more does so again"] {
            let mut next = self.writer().await;
            self.committed(next.as_mut(), &commit, when).await;
            self.expect_token(Some(2)).await;
            self.expect_when(200, when).await;
        }
        if self.sink.promise().token {
            self.refuses_another_past().await;
        }
    }

    /// The same rows again change nothing, and neither do those of an attempt that was dropped.
    pub(super) async fn idempotent(&self) {
        for when in ["after the commit", "after the same rows again"] {
            let mut writer = self.writer().await;
            self.write(writer.as_mut(), 1, 0..50).await;
            must(writer.abort(&self.lineage).await, "could not abort");
            let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
            let commit = self.commit_of(1, None, &prepared);
            self.committed(writer.as_mut(), &commit, when).await;
            self.expect_when(100, when).await;
        }
    }

    /// Rows are accepted and flushed; nothing more is promised.
    pub(super) async fn no_promise(&self) {
        self.expect_token(None).await;
        let mut writer = self.writer().await;
        let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
        let commit = self.commit_of(1, None, &prepared);
        self.committed(writer.as_mut(), &commit, "what was flushed is committed").await;
        if self.sink.promise().proof == Proof::Origin {
            self.expect(100).await;
            self.finds_one_record().await;
            self.tells_ways_apart().await;
        }
    }

    async fn first_epoch(&self) {
        self.expect_token(None).await;
        let mut writer = self.writer().await;
        self.prepare(writer.as_mut(), 1, 0..50).await;
        must(writer.abort(&self.lineage).await, "could not abort");
        let prepared = self.prepare(writer.as_mut(), 1, 0..100).await;
        self.expect_when(0, "before the commit").await;
        let commit = self.commit_of(1, None, &prepared);
        for when in ["after the commit", "after a second commit"] {
            self.committed(writer.as_mut(), &commit, when).await;
            self.expect_when(100, when).await;
        }
        self.expect_token(Some(1)).await;
    }

    /// Nothing is committed onto an epoch before the one that the sink holds.
    async fn refuses_another_past(&self) {
        let mut stale = self.writer().await;
        let prepared = self.prepare(stale.as_mut(), 3, 200..300).await;
        let wrong = self.commit_of(3, Some(1), &prepared);
        let outcome = self.commit(stale.as_mut(), &wrong).await;
        assert_eq!(outcome, CommitOutcome::NotOwner, "epoch 3 does not follow epoch 1");
        must(stale.abort(&self.lineage).await, "could not abort");
        self.expect_when(200, "after a commit onto another epoch").await;
    }

    async fn shuts_out_the_old_writer(&self) {
        let mut old = self.writer().await;
        let prepared = self.prepare(old.as_mut(), 3, 200..300).await;
        self.expect_token(Some(2)).await;
        let commit = self.commit_of(3, Some(2), &prepared);
        let outcome = old.commit(&commit).await;
        let committed = matches!(outcome, Ok(CommitOutcome::Committed));
        assert!(!committed, "a writer that was shut out commits nothing");
        self.expect_when(200, "after a writer was shut out").await;
    }
}
