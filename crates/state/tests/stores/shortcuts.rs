//! What spares sources work: kept beside the checkpoints whose splits name it, collected as all
//! else, and never missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::failpoint::{self, Action};
use contract::source::Split;
use contract::{Lineage, Position, Shortcut, SplitId};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use state::checkpoint::Cut;
use state::history::Decision;
use state::{Checkpoint, CheckpointStore, History};

use crate::ONE_AT_A_TIME;

const PIPELINE: &str = "growing";
const SPLITS: usize = 20;
const TTL: Duration = Duration::from_secs(600);

async fn owned(store: &Arc<InMemory>) -> History {
    let _ = store.delete(&Path::from_iter([PIPELINE, "main", "lease"])).await;
    let checkpoints = CheckpointStore::shared(store.clone(), TTL, "memory");
    let lease = checkpoints.lease(PIPELINE, &Lineage::main()).await.unwrap();
    checkpoints.history(PIPELINE, &Lineage::main()).owned(Arc::new(lease))
}

async fn begin(store: &Arc<InMemory>) -> (History, Checkpoint) {
    let history = owned(store).await;
    let mut first = Checkpoint::first(PIPELINE, &Lineage::main(), 7);
    for number in 0..SPLITS {
        let descriptor = number.into();
        first.roster.enter("logs", Split { id: SplitId::new(number.to_string()), descriptor });
    }
    assert_eq!(history.decide(&mut first).await.unwrap(), Decision::Decided);
    (history, first)
}

fn position(at: i64, shortcut: u64) -> Position {
    let content = Bytes::from(vec![b'x'; 30_000]);
    let shortcut = Shortcut { at: shortcut, content, kept: None };
    Position::new(at).with_shortcut(Some(Arc::new(shortcut)))
}

/// An epoch in which each split is read up to a place, with the shortcut to another.
async fn epoch(history: &History, newest: &mut Checkpoint, at: i64, shortcut: u64) {
    let mut next = newest.successor();
    let splits: Vec<_> = newest.roster.iter().map(|(split, _)| split).collect();
    for split in splits.iter().copied() {
        let from = newest.roster[split].known.position.clone();
        let (to, marks) = (position(at, shortcut), Vec::new());
        next.cuts.push(Cut { split, from: from.map(|from| position(from.at, 1)), to, marks });
    }
    let roster = std::mem::take(&mut newest.roster);
    next.begin_cuts_as(&roster);
    next.roster = roster;
    for split in splits {
        next.roster.advance(split, &position(at, shortcut));
    }
    assert_eq!(history.decide(&mut next).await.unwrap(), Decision::Decided);
    *newest = next;
}

async fn files(store: &InMemory) -> BTreeSet<String> {
    let folder = Path::from_iter([PIPELINE, "_inflate"]);
    let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
    listed.iter().filter_map(|meta| meta.location.filename()).map(str::to_owned).collect()
}

fn named(checkpoint: &Checkpoint) -> BTreeSet<String> {
    checkpoint.roster.shortcuts().map(|name| name.as_ref().to_owned()).collect()
}

#[tokio::test]
async fn a_shortcut_is_kept_once_and_as_long_as_a_checkpoint_may_lead_to_it() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let store = Arc::new(InMemory::new());
    let (history, mut newest) = begin(&store).await;
    epoch(&history, &mut newest, 10, 5).await;
    let first = named(&newest);
    assert_eq!((first.len(), files(&store).await), (SPLITS, first.clone()));
    // Positions go on, and the same shortcuts lead to them: nothing is written again.
    epoch(&history, &mut newest, 11, 5).await;
    assert_eq!(files(&store).await, first);
    let size = async |epoch: u64| {
        let name = format!("epoch-{epoch:020}");
        store.head(&Path::from_iter([PIPELINE, "main", &name])).await.unwrap().size
    };
    assert!(size(2).await < (SPLITS as u64) * (200 + 32) + (64 << 10));
    // Others do. A replay of the newest epoch begins with those before.
    epoch(&history, &mut newest, 20, 15).await;
    let second = named(&newest);
    assert_eq!(files(&store).await.len(), 2 * SPLITS);
    let begins = newest.cuts.iter().map(|cut| cut.from.clone().unwrap().shortcut.unwrap());
    let begins = begins.map(|shortcut| shortcut.kept.clone().unwrap().name.as_ref().to_owned());
    assert_eq!(begins.collect::<BTreeSet<_>>(), first);
    assert!(newest.cuts.iter().all(|cut| cut.to.shortcut.is_none()), "nobody begins there");
    let again = owned(&store).await;
    let mut newest = again.newest().await.unwrap().unwrap().checkpoint;
    assert_eq!(named(&newest), second, "the next start knows them");
    for at in 21..24 {
        again.collect_files().await;
        assert!(files(&store).await.is_superset(&second));
        epoch(&again, &mut newest, at, 15).await;
    }
    again.collect_files().await;
    assert_eq!(files(&store).await, second, "and nobody needs the others any more");
    newest.roster.retire(0, Vec::new(), 1);
    for at in 24..28 {
        epoch(&again, &mut newest, at, 15).await;
    }
    again.collect_files().await;
    assert_eq!(files(&store).await.len(), SPLITS - 1, "one retired");
}

#[tokio::test]
async fn who_finds_no_shortcut_goes_on_without() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let store = Arc::new(InMemory::new());
    let (history, mut newest) = begin(&store).await;
    epoch(&history, &mut newest, 10, 5).await;
    let known = newest.roster[0].known.position.clone().unwrap();
    assert!(known.shortcut.as_ref().unwrap().content.is_empty(), "memory does not keep it");
    let opened = history.with_shortcut(known.clone()).await;
    assert_eq!(opened.shortcut.unwrap().content, vec![b'x'; 30_000]);
    let name = known.shortcut.as_ref().unwrap().kept.as_ref().unwrap().name.clone();
    let path = Path::from_iter([PIPELINE, "_inflate", "main", &name]);
    store.put(&path, "damaged".into()).await.unwrap();
    assert!(history.with_shortcut(known.clone()).await.shortcut.is_none());
    store.delete(&path).await.unwrap();
    assert!(history.with_shortcut(known).await.shortcut.is_none());
    history.newest().await.expect("a start does not need it");
}

#[tokio::test]
async fn a_kill_beside_a_shortcut_leaves_garbage_that_is_collected() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for point in ["inflate.before", "inflate.after", "decide.answer"] {
        let store = Arc::new(InMemory::new());
        let (history, mut newest) = begin(&store).await;
        epoch(&history, &mut newest, 10, 5).await;
        failpoint::arm(point, 1, Action::Halt);
        let has_ended = tokio::select! {
            () = epoch(&history, &mut newest, 20, 15) => true,
            () = failpoint::halted() => false,
        };
        failpoint::disarm();
        assert!(!has_ended, "{point} is passed");
        drop(history);
        let history = owned(&store).await;
        let mut newest = history.newest().await.unwrap().unwrap().checkpoint;
        assert!(files(&store).await.is_superset(&named(&newest)), "{point}");
        for at in 30..34 {
            epoch(&history, &mut newest, at, 25).await;
        }
        history.collect_files().await;
        assert_eq!(files(&store).await, named(&newest), "{point}");
    }
}
