//! Rows of one record that came by several ways, and lineages in one writer (EPOCH §7 and §8).

use contract::sink::{CommitOutcome, SinkKind, Writer};
use contract::{ErrorKind, Lineage};

use super::SinkProof;
use super::rows::{Likeness, steps};
use crate::must;

/// The numbers of two ways.
const WAYS: [i64; 2] = [1, 2];

impl SinkProof {
    /// Rows that came by two ways are both held, however their batches fall between each other, and
    /// whether or not they are given again.
    pub(super) async fn tells_ways_apart(&self) {
        let [one, other] = WAYS.map(|ordinal| self.way("ways", "proof/ways", ordinal));
        one.expect_token(None).await;
        let mut writer = one.writer().await;
        one.write_both(writer.as_mut(), &other, [10, 4]).await;
        let prepared = one.prepared(writer.as_mut(), 1).await;
        assert_eq!(prepared.rows, 120, "both rows of each record are counted");
        let commit = one.commit_of(1, None, &prepared);
        assert_eq!(one.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        one.expect(60).await;
        other.expect(60).await;
        let promise = self.sink.promise();
        if promise.token || promise.kind == SinkKind::None {
            return;
        }
        let mut again = one.writer().await;
        one.write_both(again.as_mut(), &other, [3, 25]).await;
        let prepared = one.prepared(again.as_mut(), 1).await;
        let commit = one.commit_of(1, None, &prepared);
        assert_eq!(one.commit(again.as_mut(), &commit).await, CommitOutcome::Committed);
        one.expect(60).await;
        other.expect(60).await;
    }

    /// Two sources read one split, each in a lineage of its own, whose epochs have one number: both
    /// rows of each record are held.
    pub(super) async fn tells_lineages_of_one_split_apart(&self) {
        let lineages = ["a.shared.0", "b.shared.0"].into_iter().zip(WAYS);
        let [one, other] = [0, 1].map(|at| {
            let (lineage, ordinal) = lineages.clone().nth(at).expect("there are two");
            self.way(lineage, "proof/shared", ordinal)
        });
        for way in [&one, &other] {
            way.expect_token(None).await;
            let mut writer = way.writer().await;
            let prepared = way.prepare(writer.as_mut(), 1, 0..60).await;
            let commit = way.commit_of(1, None, &prepared);
            assert_eq!(way.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
            way.expect(60).await;
        }
        one.expect(60).await;
    }

    /// A writer that is given two lineages keeps them apart, or takes the first alone and refuses
    /// the other one before anything of it is written.
    pub(super) async fn keeps_lineages_apart_in_one_writer(&self) {
        let (one, other) = (self.of("one", "proof/one"), self.of("other", "proof/other"));
        one.expect_token(None).await;
        other.expect_token(None).await;
        let mut writer = one.writer().await;
        one.write(writer.as_mut(), 1, 0..20).await;
        let refused = other.try_write(writer.as_mut(), 1, &steps(0..30, 30)[0]).await.err();
        one.write(writer.as_mut(), 1, 20..40).await;
        match &refused {
            Some(error) => assert_eq!(error.kind(), ErrorKind::Bug, "{}", error.chain()),
            None => must(writer.abort(&other.lineage).await, "could not abort"),
        }
        let prepared = one.prepared(writer.as_mut(), 1).await;
        assert_eq!(prepared.rows, 40, "rows of the other lineage are not counted");
        let commit = one.commit_of(1, None, &prepared);
        assert_eq!(one.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        one.expect(40).await;
        if self.sink.promise().kind != SinkKind::Idempotent {
            other.expect(0).await;
        }
        let mut writer = if refused.is_some() { other.writer().await } else { writer };
        let prepared = other.prepare(writer.as_mut(), 1, 0..60).await;
        assert_eq!(prepared.rows, 60);
        let commit = other.commit_of(1, None, &prepared);
        assert_eq!(other.commit(writer.as_mut(), &commit).await, CommitOutcome::Committed);
        one.expect(40).await;
        other.expect(60).await;
    }

    fn way(&self, lineage: &str, split: &'static str, ordinal: i64) -> Self {
        let likeness = Likeness { ordinal: Some(ordinal), ..self.likeness };
        Self { sink: self.sink.clone(), lineage: Lineage::new(lineage), split, likeness }
    }

    /// Writes the rows 0 to 60 of two ways, in batches of so many rows, by turns.
    async fn write_both(&self, writer: &mut dyn Writer, other: &Self, [one, two]: [usize; 2]) {
        let (mut ours, mut theirs) = (steps(0..60, one).into_iter(), steps(0..60, two).into_iter());
        loop {
            let (our, their) = (ours.next(), theirs.next());
            if our.is_none() && their.is_none() {
                return;
            }
            for (way, rows) in [(self, our), (other, their)] {
                let Some(rows) = rows else { continue };
                must(way.try_write(writer, 1, &rows).await, "could not write");
            }
        }
    }
}
