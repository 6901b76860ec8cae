//! A sink's topic that changes under a running process, on a real broker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array};
use contract::Error;
use contract::record::for_sink;
use contract::sink::{CommitOutcome, Prepared, Writer};
use contract::{Result, SplitId};

use super::broker::{Broker, until};
use super::sink::{Proof, texts};

/// A topic that is away is told within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

async fn try_prepare(proof: &Proof, writer: &mut dyn Writer, epoch: u64) -> Result<Prepared> {
    let rows = for_sink(proof.rows(), &proof.ctx().schema, &SplitId::new("a"), epoch).unwrap();
    writer.write(&proof.lineage, rows).await?;
    writer.prepare(&proof.lineage, epoch).await
}

/// Delivers epoch 1 to a topic that takes everything.
async fn delivered(broker: &Broker, topic: &str) -> (Proof, Box<dyn Writer>) {
    let settings = format!("topic: {topic}, key: \"{{k}}\", format: text, field: m");
    let columns = vec![("k", texts(&[Some("1"), None])), ("m", texts(&[Some("a"), Some("b")]))];
    let proof = Proof::new(broker, &settings, columns);
    proof.fence().await;
    let mut writer = proof.writer().await;
    let prepared = try_prepare(&proof, writer.as_mut(), 1).await.unwrap();
    assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0));
    let outcome = writer.commit(&proof.commit_of(1)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
    (proof, writer)
}

#[tokio::test]
async fn a_topic_that_becomes_compacted_refuses_the_rows_without_a_key_and_no_more() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let (proof, mut writer) = delivered(&broker, &topic).await;
    broker.alter(&topic, "cleanup.policy", "compact").await;
    // The broker refuses what the writer could not know; the attempt is dropped, once.
    let error = try_prepare(&proof, writer.as_mut(), 2).await.unwrap_err();
    assert!(error.retry(), "{}", error.chain());
    writer.abort(&proof.lineage).await.unwrap();
    proof.fence().await;
    let mut writer = proof.writer().await;
    let prepared = try_prepare(&proof, writer.as_mut(), 2).await.unwrap();
    assert_eq!(prepared.rows, 1);
    assert!(prepared.rejects[0].reject.reason.contains("compacted"), "{:?}", prepared.rejects);
    let outcome = writer.commit(&proof.commit_of(2)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
}

#[tokio::test]
async fn a_topic_that_was_made_anew_takes_no_epoch_without_a_word() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let (proof, mut writer) = delivered(&broker, &topic).await;
    broker.remake(&topic, &[]).await;
    let told = |error: Error| {
        let is_told = error.to_string().contains("made anew");
        assert!(is_told || error.retry(), "{}", error.chain());
        is_told
    };
    // The producer may need a moment to find the new one.
    let begun = Instant::now();
    let mut is_told = false;
    while !is_told {
        assert!(begun.elapsed() < TOLD_WITHIN * 3, "it is told");
        match try_prepare(&proof, writer.as_mut(), 2).await {
            Ok(_) => panic!("an epoch was prepared for another topic"),
            Err(error) => is_told = told(error),
        }
        writer.abort(&proof.lineage).await.unwrap();
    }
}

#[tokio::test]
async fn a_topic_that_is_away_is_told_soon_and_waited_for() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let (proof, mut writer) = delivered(&broker, &topic).await;
    broker.delete(&topic).await;
    let begun = Instant::now();
    let error = try_prepare(&proof, writer.as_mut(), 2).await.unwrap_err();
    assert!(error.retry() && error.chain().contains(&topic), "{}", error.chain());
    assert!(begun.elapsed() < TOLD_WITHIN, "{:?}: {}", begun.elapsed(), error.chain());
    // The next attempt is not told that there never was such a topic.
    let error = proof.sink.fence_and_read(&proof.ctx(), &proof.lineage).await.unwrap_err();
    assert!(error.retry() && error.to_string().contains("away"), "{}", error.chain());
}

/// The rows were acknowledged by a topic that is gone with them; nobody knows whether it was the
/// one that is known.
#[tokio::test]
async fn rows_of_a_topic_that_is_made_anew_and_deleted_are_not_decided() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let (proof, mut writer) = delivered(&broker, &topic).await;
    broker.remake(&topic, &[]).await;
    let rows = for_sink(proof.rows(), &proof.ctx().schema, &SplitId::new("a"), 2).unwrap();
    writer.write(&proof.lineage, rows).await.unwrap();
    broker.arrived(&topic, 2).await;
    broker.delete(&topic).await;
    let error = writer.prepare(&proof.lineage, 2).await.unwrap_err();
    assert!(error.retry() && error.chain().contains(&topic), "{}", error.chain());
}

#[tokio::test]
async fn a_topic_that_is_emptied_gets_nothing_again() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let (proof, mut writer) = delivered(&broker, &topic).await;
    broker.forget(&topic, 2).await;
    let prepared = try_prepare(&proof, writer.as_mut(), 2).await.unwrap();
    assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0));
    let outcome = writer.commit(&proof.commit_of(2)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed);
    assert_eq!(proof.count().await, 2, "those of the second epoch alone");
}

#[tokio::test]
async fn partitions_that_are_added_are_met_by_the_next_start() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let settings = format!("topic: {topic}, partition: \"{{p}}\", format: text, field: m");
    let columns = || {
        let partition: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
        vec![("p", partition), ("m", texts(&[Some("a"), Some("b")]))]
    };
    let proof = Proof::new(&broker, &settings, columns());
    proof.fence().await;
    let mut writer = proof.writer().await;
    let prepared = try_prepare(&proof, writer.as_mut(), 1).await.unwrap();
    assert_eq!((prepared.rows, prepared.rejects.len()), (1, 1));
    writer.commit(&proof.commit_of(1)).await.unwrap();
    broker.grow(&topic, 2).await;
    let next = Proof::new(&broker, &settings, columns());
    until("the new partition", async || {
        next.fence().await;
        let mut writer = next.writer().await;
        let prepared = try_prepare(&next, writer.as_mut(), 1).await.ok()?;
        writer.abort(&next.lineage).await.unwrap();
        (prepared.rows == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_topic_whose_limit_falls_refuses_the_rows_above_it_and_no_more() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let settings = format!("topic: {topic}, format: text, field: m, compression: none");
    let long = "x".repeat(4 << 10);
    let proof = Proof::new(&broker, &settings, vec![("m", texts(&[Some("a"), Some(&long)]))]);
    proof.fence().await;
    let mut writer = proof.writer().await;
    assert_eq!(try_prepare(&proof, writer.as_mut(), 1).await.unwrap().rows, 2);
    writer.commit(&proof.commit_of(1)).await.unwrap();
    broker.alter(&topic, "max.message.bytes", "2048").await;
    let begun = Instant::now();
    let prepared = loop {
        assert!(begun.elapsed() < TOLD_WITHIN * 3, "the limit is met");
        match try_prepare(&proof, writer.as_mut(), 2).await {
            Ok(prepared) => break prepared,
            Err(error) => assert!(error.retry(), "{}", error.chain()),
        }
        // As the runtime does: the attempt is dropped, and begun again.
        let _ = writer.abort(&proof.lineage).await;
        proof.fence().await;
        writer = proof.writer().await;
    };
    assert_eq!((prepared.rows, prepared.rejects.len()), (1, 1));
    assert_eq!(prepared.rejects[0].reject.position, 1);
}
