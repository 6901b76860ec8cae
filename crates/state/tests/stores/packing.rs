//! The packing of old checkpoints, which deletes them, dropped at every point and done again.

use std::sync::Arc;

use contract::Lineage;
use contract::failpoint::{self, Action};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use state::ledger::{Counts, Entry};
use state::{Checkpoint, History};

use crate::ONE_AT_A_TIME;

const PIPELINE: &str = "packed";
/// Epochs between two packings.
const EPOCHS: u64 = 300;
/// Every point of a packing.
const POINTS: [&str; 7] = [
    "tidy.deleted",
    "pack.block",
    "pack.written",
    "pack.deleted",
    "fold.block",
    "fold.written",
    "fold.deleted",
];
/// Epochs that stay under their own names.
const LOOSE: usize = 3;
/// Nothing is forgotten; or everything that is packed is added up.
const KEEP: [i64; 2] = [0, i64::MAX];

fn history(store: &InMemory) -> History {
    History::new(Arc::new(store.fork()), PIPELINE, &Lineage::main())
}

/// Two packs, epochs under their own names, states of steps and marks of clean ends.
async fn filled() -> InMemory {
    let store = Arc::new(InMemory::new());
    let history = History::new(store.clone(), PIPELINE, &Lineage::main());
    for epoch in 0..=3 * EPOCHS {
        history.decide(&mut checkpoint(epoch)).await.unwrap();
        if epoch > 0 && epoch < 3 * EPOCHS && epoch.is_multiple_of(EPOCHS) {
            history.collect(epoch, 0).await;
        }
    }
    for epoch in [1, 2, 3 * EPOCHS] {
        history.keep_state("first", epoch, "state".into()).await.unwrap();
        history.mark_complete(epoch).await.unwrap();
    }
    store.fork()
}

fn checkpoint(epoch: u64) -> Checkpoint {
    let counts = Counts { read: epoch, delivered: epoch, ..Counts::default() };
    let entry = Entry { split: "a".into(), sink: "lake".into(), counts, hash: String::new() };
    let first = Checkpoint::first(PIPELINE, &Lineage::main(), 1);
    Checkpoint { epoch, writer: "a".into(), ledger: vec![entry], ..first }
}

/// Each epoch counts once, and what a start needs is there.
async fn check(history: &History, newest: u64, at: &str) {
    let found = history.newest().await.unwrap().expect("a checkpoint");
    assert_eq!((found.checkpoint.epoch, found.complete), (newest, true), "{at}");
    assert_eq!(history.epoch(newest - 1).await.unwrap().epoch, newest - 1, "{at}");
    let ledger = history.ledger().await.unwrap();
    let mut epochs: Vec<_> = ledger.rows.iter().map(|row| row.epoch).collect();
    epochs.retain(|epoch| *epoch > ledger.folded_until);
    let all = ledger.folded_until + 1..=newest;
    // Checkpoint 0 has no rows of its own, and these counted nothing.
    epochs.retain(|epoch| *epoch > 0);
    assert_eq!(epochs, all.collect::<Vec<_>>(), "{at}");
    let read: u64 = ledger.rows.iter().map(|row| row.entry.counts.read).sum();
    assert_eq!(read, (1..=newest).sum::<u64>(), "{at}");
    check_checkpoints(history, (ledger.folded_until, newest), at).await;
}

/// So does whoever looks at the checkpoints, as `audit`, `where` and `serve` do. Between two looks
/// more may be forgotten.
async fn check_checkpoints(history: &History, (folded_until, newest): (u64, u64), at: &str) {
    let all = history.checkpoints().await.unwrap();
    let first = all[0].epoch;
    let is_folded = history.ledger().await.unwrap().folded_until;
    assert!(first <= is_folded.max(folded_until) + 1, "{at}: from {first}");
    let epochs: Vec<_> = all.iter().map(|one| one.epoch).collect();
    assert_eq!(epochs, (first..=newest).collect::<Vec<_>>(), "{at}");
    assert!(all.iter().all(|one| one.ledger[0].counts.read == one.epoch), "{at}");
    let since = history.since(0).await.unwrap();
    let (folded_until, folded) = since.folded.unwrap_or_default();
    let folded: u64 = folded.iter().map(|entry| entry.counts.read).sum();
    assert_eq!(folded, (1..=folded_until).sum::<u64>(), "{at}");
    let later = since.epochs.iter().map(|(one, _)| one.epoch).filter(|one| *one > folded_until);
    let later: Vec<_> = later.filter(|epoch| *epoch > 0).collect();
    assert_eq!(later, (folded_until + 1..=newest).collect::<Vec<_>>(), "{at}");
}

/// Whoever listed the folder before it was tidied up finds out, and looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_packing_see_each_epoch_once() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let filled = filled().await;
    for point in POINTS {
        let store: Arc<dyn ObjectStore> = Arc::new(filled.fork());
        let open = || History::new(store.clone(), PIPELINE, &Lineage::main());
        failpoint::arm(point, 1, Action::Pause);
        let owner = open();
        let tidies = tokio::spawn(async move { owner.collect(3 * EPOCHS, KEEP[1]).await });
        failpoint::halted().await;
        check(&open(), 3 * EPOCHS, point).await;
        // From here on it goes on while it is read.
        failpoint::resume();
        while !tidies.is_finished() {
            check(&open(), 3 * EPOCHS, point).await;
        }
        tidies.await.unwrap();
        check(&open(), 3 * EPOCHS, point).await;
    }
}

/// How often each point is passed without a crash.
async fn passes(store: &InMemory, keep_from_us: i64, point: &str) -> u64 {
    failpoint::arm(point, u64::MAX, Action::Halt);
    history(store).collect(3 * EPOCHS, keep_from_us).await;
    failpoint::disarm().expect("it has not acted")
}

#[tokio::test]
async fn a_packing_that_is_killed_anywhere_loses_no_epoch_and_doubles_none() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let filled = filled().await;
    for point in POINTS {
        // Folds alone are passed only where something is forgotten.
        let most = passes(&filled, KEEP[1], point).await;
        assert!(most > 0, "{point} is passed");
        for keep_from_us in KEEP {
            let most = passes(&filled, keep_from_us, point).await;
            let tried = [1, 2, most / 2, most - most.min(1), most];
            for pass in tried.into_iter().filter(|pass| (1..=most).contains(pass)) {
                kill(&filled, keep_from_us, point, pass).await;
            }
        }
    }
}

async fn kill(filled: &InMemory, keep_from_us: i64, point: &str, pass: u64) {
    let at = format!("{point}:{pass}, kept from {keep_from_us}");
    let store: Arc<dyn ObjectStore> = Arc::new(filled.fork());
    let open = || History::new(store.clone(), PIPELINE, &Lineage::main());
    failpoint::arm(point, pass, Action::Halt);
    let dropped = open();
    tokio::select! {
        () = dropped.collect(3 * EPOCHS, keep_from_us) => panic!("{at} is not passed"),
        () = failpoint::halted() => {}
    }
    check(&open(), 3 * EPOCHS, &at).await;
    // Some epochs are in two packs then, once they are packed again.
    for newest in [3 * EPOCHS, 4 * EPOCHS] {
        let next = open();
        for epoch in 3 * EPOCHS + 1..=newest {
            next.decide(&mut checkpoint(epoch)).await.unwrap();
        }
        next.mark_complete(newest).await.unwrap();
        next.collect(newest, keep_from_us).await;
        check(&open(), newest, &at).await;
    }
    let left: Vec<_> = store.list(None).try_collect().await.unwrap();
    let names = left.iter().filter_map(|object| object.location.filename());
    assert_eq!(names.filter(|name| name.starts_with("epoch-")).count(), LOOSE, "{at}");
}

#[tokio::test]
async fn only_what_stands_with_an_epoch_is_read() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let store = filled().await;
    let mut shelf = history(&store).shelf().await.unwrap();
    let mut take = async |epoch: u64| {
        let mut taken = Vec::new();
        shelf.take(epoch, |checkpoint| taken.push(checkpoint.epoch)).await.unwrap();
        taken
    };
    assert_eq!(take(3 * EPOCHS).await, [3 * EPOCHS], "it stands alone");
    let first = take(10).await;
    assert_eq!((first.first(), first.contains(&10)), (Some(&0), true));
    assert!(!first.contains(&(2 * EPOCHS - 10)), "another pack");
    assert_eq!(take(11).await, [0; 0], "it was taken");
    assert_eq!(take(9 * EPOCHS).await, [0; 0], "there is none");
    assert!(take(2 * EPOCHS - 10).await.contains(&(2 * EPOCHS - 10)));
}
