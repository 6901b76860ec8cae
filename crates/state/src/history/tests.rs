//! The chain of checkpoints in memory.

use object_store::memory::InMemory;

use super::*;
use crate::ledger::Counts;

fn history() -> History {
    History::new(Arc::new(InMemory::new()), "web-logs", &Lineage::new("main"))
}

fn checkpoint(epoch: u64, writer: &str) -> Checkpoint {
    let counts = Counts { read: epoch, delivered: epoch, ..Counts::default() };
    let entry = Entry { split: "a".into(), sink: "lake".into(), counts, hash: String::new() };
    Checkpoint {
        epoch,
        writer: writer.to_owned(),
        ledger: vec![entry],
        ..Checkpoint::first("web-logs", &Lineage::new("main"), 1)
    }
}

#[tokio::test]
async fn the_first_checkpoint_of_a_number_wins_and_knows_its_own_bytes() {
    let history = history();
    let mut ours = checkpoint(1, "a");
    assert_eq!(history.decide(&mut ours).await.expect("put"), Decision::Decided);
    assert_eq!(history.decide(&mut ours).await.expect("put"), Decision::Decided);
    let mut theirs = checkpoint(1, "b");
    assert_eq!(history.decide(&mut theirs).await.expect("put"), Decision::Overtaken);
    let newest = history.newest().await.expect("read").expect("there");
    assert_eq!((newest.checkpoint.writer.as_str(), newest.complete), ("a", false));
    history.mark_complete(1).await.expect("marked");
    assert!(history.newest().await.expect("read").expect("there").complete);
}

#[tokio::test]
async fn who_lists_while_the_owner_goes_on_looks_again() {
    let history = history();
    history.decide(&mut checkpoint(1, "a")).await.expect("put");
    let listed = history.names().await.expect("listed");
    history.delete(&history.path_of(1)).await.expect("deleted");
    let error = history.newest_of(&listed).await.expect_err("it is gone");
    history.unless_gone_on(error, &listed).await.expect_err("and nobody went on");
    history.decide(&mut checkpoint(2, "a")).await.expect("put");
    for read in [
        history.newest_of(&listed).await.map(|_| ()),
        history.checkpoints_of(&listed).await.map(|_| ()),
        history.counted_of(&listed).await.map(|_| ()),
    ] {
        let error = read.expect_err("it is gone");
        history.unless_gone_on(error, &listed).await.expect("somebody went on");
    }
    assert_eq!(history.checkpoints().await.expect("read").len(), 1);
}

#[tokio::test]
async fn packing_keeps_every_epoch_of_the_ledger_once() {
    let history = history();
    for epoch in 1..=300 {
        history.decide(&mut checkpoint(epoch, "a")).await.expect("put");
    }
    history.collect(300, 0).await;
    history.decide(&mut checkpoint(301, "a")).await.expect("put");
    let names = history.names().await.expect("listed");
    assert_eq!((names.epochs.len(), names.packs.len()), (EPOCHS_LOOSE_MIN + 1, 1));
    let ledger = history.ledger().await.expect("read");
    let epochs: Vec<_> = ledger.rows.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs, (1..=301).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_decision_in_a_shared_store_keeps_its_name_for_a_day() {
    let history = history().shared();
    for epoch in 1..=300 {
        history.decide(&mut checkpoint(epoch, "a")).await.expect("put");
    }
    history.collect(300, 0).await;
    assert_eq!(history.names().await.expect("listed").epochs.len(), 300);
}

#[tokio::test]
async fn who_slept_for_an_hour_looks_before_it_decides() {
    let history = history();
    history.decide(&mut checkpoint(1, "sleeper")).await.expect("put");
    let other = History::new(history.store.clone(), "web-logs", &Lineage::new("main"));
    for epoch in 2..=300 {
        other.decide(&mut checkpoint(epoch, "other")).await.expect("put");
    }
    other.collect(300, 0).await;
    let slept = Moment::now().earlier(LOOK_AGAIN_AFTER);
    *history.seen.lock().expect("not poisoned") = Some(slept);
    let decision = history.decide(&mut checkpoint(2, "sleeper")).await.expect("listed");
    assert_eq!(decision, Decision::Overtaken, "the name of epoch 2 is free, and yet");
}

#[tokio::test]
async fn folding_keeps_the_sums_of_what_it_forgets() {
    let history = history();
    for epoch in 1..=600 {
        history.decide(&mut checkpoint(epoch, "a")).await.expect("put");
        if epoch % 300 == 0 {
            history.collect(epoch, i64::MAX).await;
        }
    }
    let ledger = history.ledger().await.expect("read");
    assert!(ledger.folded_until > 0, "something was folded");
    let read: u64 = ledger.rows.iter().map(|row| row.entry.counts.read).sum();
    assert_eq!(read, (1..=600).sum::<u64>());
}
