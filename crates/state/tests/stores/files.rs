//! The files in which many splits stand: written, merged and collected, dropped at every point.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use contract::failpoint::{self, Action};
use contract::source::Split;
use contract::{ErrorKind, Lineage, Position, SplitId};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use state::checkpoint::{Copied, Cut};
use state::history::Decision;
use state::{Checkpoint, CheckpointStore, Followed, History};

use crate::ONE_AT_A_TIME;

const PIPELINE: &str = "many";
/// Splits of a history, and how many of them an epoch reads.
const SPLITS: usize = 5_000;
const MOVED: usize = 200;
/// What a checkpoint may take: in itself, for each split that it read, and for each cut.
const BYTES_MAX: u64 = (64 << 10) + (MOVED as u64) * (200 + 32);
/// A lease that lasts as long as a test.
const TTL: Duration = Duration::from_secs(600);

/// A lineage and who owns it, as a run goes through its epochs.
struct Run {
    store: Arc<InMemory>,
    history: History,
    newest: Checkpoint,
    /// Where each split stands.
    expect: BTreeMap<String, i64>,
}

async fn owned(store: &Arc<InMemory>) -> History {
    let checkpoints = CheckpointStore::shared(store.clone(), TTL, "memory");
    let lease = checkpoints.lease(PIPELINE, &Lineage::main()).await.unwrap();
    checkpoints.history(PIPELINE, &Lineage::main()).owned(Arc::new(lease))
}

fn id(number: usize) -> String {
    format!("/var/log/service-{}/instance-{number}.log", number % 100)
}

impl Run {
    /// A history that knows so many splits.
    async fn begin(splits: usize) -> Self {
        let store = Arc::new(InMemory::new());
        let history = owned(&store).await;
        let mut newest = Checkpoint::first(PIPELINE, &Lineage::main(), 7);
        for number in 0..splits {
            let descriptor = serde_json::json!({ "path": id(number), "inode": number });
            newest.roster.enter("access", Split { id: SplitId::new(id(number)), descriptor });
        }
        assert_eq!(history.decide(&mut newest).await.unwrap(), Decision::Decided);
        let expect = (0..splits).map(|number| (id(number), 0)).collect();
        Self { store, history, newest, expect }
    }

    /// Begins anew, as another start does, and compares all that is known.
    async fn restart(&mut self) {
        self.let_go();
        self.history = owned(&self.store).await;
        self.newest = self.history.newest().await.unwrap().unwrap().checkpoint;
        let states = self.newest.roster.states();
        let found = states.map(|state| {
            let position = state.known.position.as_ref().map_or(0, |position| position.at);
            (state.known.split.id.to_string(), position)
        });
        assert!(found.eq(self.sorted()), "epoch {}", self.newest.epoch);
    }

    /// Its process is gone, and its lease with it.
    fn let_go(&mut self) {
        let checkpoints = CheckpointStore::shared(self.store.clone(), TTL, "memory");
        self.history = checkpoints.history(PIPELINE, &Lineage::main());
    }

    fn sorted(&self) -> impl Iterator<Item = (String, i64)> {
        let numbers = 0..self.expect.len();
        numbers.map(|number| (id(number), self.expect[&id(number)]))
    }

    /// An epoch that reads these splits; files are merged as soon as they are many.
    async fn epoch(&mut self, moved: impl Iterator<Item = usize>) {
        let merged = self.newest.files.clone();
        if merged.want_base() {
            let base = self.history.merge(merged.clone()).await.unwrap();
            self.newest.files.rebase(&merged, base);
        }
        self.decide(moved).await;
    }

    /// An epoch that reads these splits, by a run that has no time to merge anything.
    async fn decide(&mut self, moved: impl Iterator<Item = usize>) {
        let mut next = self.newest.successor();
        next.roster = std::mem::take(&mut self.newest.roster);
        for number in moved {
            let to = Position::new(self.expect[&id(number)] + 100);
            self.expect.insert(id(number), to.at);
            next.roster.advance(number, &to);
            next.cuts.push(Cut { split: number, from: None, to, marks: Vec::new() });
        }
        assert_eq!(self.history.decide(&mut next).await.unwrap(), Decision::Decided);
        self.newest = next;
    }

    async fn size(&self) -> u64 {
        let name = format!("epoch-{:020}", self.newest.epoch);
        let path = Path::from_iter([PIPELINE, "main", &name]);
        self.store.head(&path).await.unwrap().size
    }

    /// The files of all splits that lie there.
    async fn files(&self) -> Vec<String> {
        files(&self.store).await
    }

    /// Those that a start from one of the newest three checkpoints needs.
    async fn needed(&self) -> Vec<String> {
        let mut needed = Vec::new();
        for epoch in self.newest.epoch.saturating_sub(2)..=self.newest.epoch {
            let checkpoint = self.history.epoch(epoch).await.unwrap();
            needed.extend(checkpoint.files.all().map(|file| file.name.clone()));
        }
        needed.sort();
        needed.dedup();
        needed
    }
}

async fn files(store: &InMemory) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["_base", "_layer"] {
        let folder = Path::from_iter([PIPELINE, kind]);
        let listed: Vec<_> = store.list(Some(&folder)).try_collect().await.unwrap();
        let names = listed.iter().filter_map(|meta| meta.location.filename());
        found.extend(names.map(str::to_owned));
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_checkpoint_is_as_long_as_what_changed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut random = SmallRng::seed_from_u64(1);
    let mut run = Run::begin(SPLITS).await;
    let mut largest = 0;
    for _ in 0..100 {
        let first = random.random_range(0..SPLITS - MOVED);
        run.epoch(first..first + MOVED).await;
        largest = largest.max(run.size().await);
        if run.newest.epoch % 16 == 0 {
            run.history.collect_files().await;
        }
    }
    println!("the largest checkpoint of {SPLITS} splits, {MOVED} of them read: {largest} bytes");
    assert!(largest <= BYTES_MAX, "{largest} bytes");
    run.history.collect_files().await;
    assert_eq!(run.files().await, run.needed().await);
    run.restart().await;
}

#[tokio::test]
async fn what_a_start_finds_is_what_stood_in_memory() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for seed in 0..10 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut run = Run::begin(random.random_range(1..2_000)).await;
        for _ in 0..random.random_range(1..20) {
            let most = run.expect.len();
            let moved = random.random_range(0..=most);
            let first = random.random_range(0..=most - moved);
            run.epoch(first..first + moved).await;
            if random.random_bool(0.3) {
                run.history.collect_files().await;
            }
            if random.random_bool(0.1) {
                run.restart().await;
            }
        }
        run.restart().await;
    }
}

/// A run that has files of each kind, a base that is to be made, and garbage of an attempt.
async fn filled() -> Run {
    let mut run = Run::begin(SPLITS).await;
    while run.newest.files.base.is_none() || !run.newest.files.want_base() {
        run.epoch(0..SPLITS / 2).await;
    }
    run
}

/// Everything that makes or deletes files, once.
async fn work(run: &mut Run) {
    run.epoch(0..SPLITS / 2).await;
    run.epoch(0..SPLITS / 4).await;
    run.epoch(0..1).await;
    run.history.collect_files().await;
}

#[tokio::test]
async fn a_kill_between_files_and_checkpoints_loses_nothing() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let filled = filled().await;
    let points = ["layer.before", "layer.after", "base.before", "base.after", "collect.deleted"];
    for point in points {
        for pass in [1, 2] {
            let store = Arc::new(filled.store.fork());
            // Its lease is given back, as if its process had died.
            let lease = Path::from_iter([PIPELINE, "main", "lease"]);
            store.delete(&lease).await.unwrap();
            let mut killed = Run {
                history: owned(&store).await,
                store: store.clone(),
                newest: filled.newest.clone(),
                expect: filled.expect.clone(),
            };
            killed.newest = killed.history.newest().await.unwrap().unwrap().checkpoint;
            failpoint::arm(point, pass, Action::Halt);
            let has_ended = tokio::select! {
                () = work(&mut killed) => true,
                () = failpoint::halted() => false,
            };
            failpoint::disarm();
            assert!(pass > 1 || !has_ended, "{point} is passed");
            let epoch = check_after(&store, killed, point).await;
            assert!(epoch >= filled.newest.epoch, "{point}");
        }
    }
}

/// The next owner finds all splits, goes on, and collects what the killed one left.
async fn check_after(store: &Arc<InMemory>, killed: Run, point: &str) -> u64 {
    let lease = Path::from_iter([PIPELINE, "main", "lease"]);
    let Run { history, .. } = killed;
    drop(history);
    store.delete(&lease).await.unwrap();
    let history = owned(store).await;
    let newest = history.newest().await.unwrap().unwrap().checkpoint;
    assert_eq!(newest.roster.len(), SPLITS, "{point}");
    let position =
        |state: &state::SplitState| state.known.position.as_ref().map_or(0, |position| position.at);
    let states = newest.roster.states();
    let expect = states.map(|state| (state.known.split.id.to_string(), position(state))).collect();
    let found = newest.epoch;
    let mut run = Run { store: store.clone(), history, newest, expect };
    for _ in 0..3 {
        run.epoch(0..1).await;
    }
    run.history.collect_files().await;
    assert_eq!(run.files().await, run.needed().await, "{point}");
    run.restart().await;
    found
}

#[tokio::test]
async fn a_file_stays_as_long_as_its_decision_may_still_arrive() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = filled().await;
    failpoint::arm("layer.after", 1, Action::Fail);
    let mut next = run.newest.successor();
    next.roster = run.newest.roster.clone();
    for number in 0..SPLITS / 2 {
        next.roster.advance(number, &Position::new(1));
    }
    run.history.decide(&mut next).await.expect_err("it is dropped");
    failpoint::disarm();
    // The next attempt of the same owner begins at the checkpoint before.
    run.newest = run.history.newest().await.unwrap().unwrap().checkpoint;
    let (all, needed) = (run.files().await, run.needed().await);
    run.history.collect_files().await;
    assert_eq!(run.files().await.len(), needed.len() + 1, "of {} files", all.len());
    run.epoch(0..1).await;
    run.history.collect_files().await;
    assert_eq!(run.files().await, run.needed().await);
}

#[tokio::test]
async fn nobody_deletes_what_a_later_owner_is_about_to_name() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = filled().await;
    let later = format!("layer-{:020}-{:020}-0123456789abcdef", 99, 1);
    let path = Path::from_iter([PIPELINE, "_layer", "main", &later]);
    run.store.put(&path, "not named yet".into()).await.unwrap();
    run.epoch(0..1).await;
    run.history.collect_files().await;
    assert!(run.files().await.contains(&later));
    // Who takes the lease afterwards is later than whoever made it.
    run.restart().await;
    run.epoch(0..SPLITS / 2).await;
    let newest = run.newest.files.layers.last().unwrap().name.clone();
    assert!(newest.starts_with(&format!("layer-{:020}-", 100)), "{newest}");
    for _ in 0..3 {
        run.epoch(0..1).await;
    }
    run.history.collect_files().await;
    assert!(!run.files().await.contains(&later), "it is nobody's");
}

#[tokio::test]
async fn a_collector_that_sleeps_over_a_takeover_deletes_nothing_that_is_needed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = filled().await;
    // Files that no checkpoint names any more, and so many that some are left when it sleeps.
    for _ in 0..6 {
        run.epoch(0..SPLITS / 2).await;
    }
    let before = run.files().await;
    failpoint::arm("collect.deleted", 1, Action::Pause);
    let history = run.history.clone();
    let sleeper = tokio::spawn(async move { history.collect_files().await });
    failpoint::halted().await;
    let mut next = Run {
        history: {
            let lease = Path::from_iter([PIPELINE, "main", "lease"]);
            run.store.delete(&lease).await.unwrap();
            owned(&run.store).await
        },
        store: run.store.clone(),
        newest: run.newest.clone(),
        expect: run.expect.clone(),
    };
    next.newest = next.history.newest().await.unwrap().unwrap().checkpoint;
    for _ in 0..4 {
        next.epoch(0..SPLITS / 2).await;
    }
    failpoint::resume();
    sleeper.await.unwrap();
    failpoint::disarm();
    let (there, needed) = (next.files().await, next.needed().await);
    assert!(needed.iter().all(|file| there.contains(file)), "{needed:?} of {there:?}");
    assert!(before.iter().any(|file| !there.contains(file)), "it was at work");
    next.restart().await;
}

#[tokio::test]
async fn starts_that_decide_one_epoch_each_read_few_files() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let splits = 600;
    let mut run = Run::begin(splits).await;
    for _ in 0..40 {
        run.decide(0..splits).await;
        assert!(run.newest.files.all().count() <= 33, "epoch {}", run.newest.epoch);
        run.restart().await;
    }
    assert!(run.newest.files.base.is_some());
    // Whoever decided something may delete what earlier owners left.
    run.decide(0..1).await;
    run.history.collect_files().await;
    assert_eq!(run.files().await, run.needed().await);
}

#[tokio::test]
async fn another_file_under_a_name_is_not_believed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let run = filled().await;
    let path = |kind: &str, name: &str| Path::from_iter([PIPELINE, kind, "main", name]);
    let base = path("_base", &run.newest.files.base.as_ref().unwrap().name);
    let layer = path("_layer", &run.newest.files.layers[0].name);
    let read = async |path: &Path| run.store.get(path).await.unwrap().bytes().await.unwrap();
    let (of_base, of_layer) = (read(&base).await, read(&layer).await);
    let with_digit = |number: u8| {
        let mut bytes = of_base.to_vec();
        let digit = bytes.iter().position(|byte| *byte == b'1').unwrap();
        bytes[digit] = number;
        bytes
    };
    let cut = of_layer[..of_layer.len() - 1].to_vec();
    let others = [
        (&layer, of_base.to_vec()),
        (&layer, cut),
        (&base, of_layer.to_vec()),
        (&base, with_digit(b'0')),
        (&base, with_digit(b'9')),
    ];
    for (number, (path, bytes)) in others.into_iter().enumerate() {
        let whole = read(path).await;
        run.store.put(path, bytes.into()).await.unwrap();
        let error = run.history.newest().await.expect_err("it is another one");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false), "{number}");
        let said = format!("\"{path}\" is damaged");
        assert!(error.chain().contains(&said), "{number}: {}", error.chain());
        run.store.put(path, whole.into()).await.unwrap();
    }
    run.history.newest().await.expect("as it was");
}

#[tokio::test]
async fn a_file_that_is_damaged_while_a_run_goes_on_is_done_without() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = filled().await;
    let layer = run.newest.files.layers[0].name.clone();
    let path = Path::from_iter([PIPELINE, "_layer", "main", &layer]);
    run.store.put(&path, "damaged".into()).await.unwrap();
    run.history.merge(run.newest.files.clone()).await.expect_err("it is damaged");
    // What is in memory is whole.
    run.decide(0..1).await;
    assert!(run.newest.files.base.is_some() && run.newest.files.layers.is_empty());
    run.decide(0..1).await;
    assert!(run.newest.files.layers.is_empty(), "and once is enough");
    run.restart().await;
}

#[tokio::test]
async fn who_follows_a_history_knows_all_its_splits() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut random = SmallRng::seed_from_u64(3);
    let splits = 1_000;
    let mut run = Run::begin(splits).await;
    let checkpoints = CheckpointStore::shared(run.store.clone(), TTL, "memory");
    let reader = checkpoints.history(PIPELINE, &Lineage::main());
    let mut known = Followed::default();
    let check = |known: &Followed, run: &Run| {
        let found = known.roster().states().map(|state| {
            let position = state.known.position.as_ref().map_or(0, |position| position.at);
            (state.known.split.id.to_string(), position)
        });
        assert!(found.eq(run.sorted()), "epoch {}", run.newest.epoch);
    };
    let mut bases = BTreeSet::new();
    for _ in 0..60 {
        let few = random.random_bool(0.2);
        let moved = if few { 10 } else { random.random_range(500..splits) };
        run.epoch(0..moved).await;
        bases.extend(run.newest.files.base.iter().map(|base| base.name.clone()));
        if random.random_bool(0.5) {
            let newest = reader.epoch(run.newest.epoch).await.unwrap();
            reader.follow(&mut known, &newest).await.unwrap();
            check(&known, &run);
        }
    }
    assert!(!bases.is_empty(), "files were merged meanwhile");
    // Who is slow finds the files gone that he was about to read.
    let slow = reader.epoch(run.newest.epoch).await.unwrap();
    while run.newest.files.base == slow.files.base {
        run.epoch(0..splits).await;
    }
    for _ in 0..3 {
        run.epoch(0..1).await;
    }
    run.history.collect_files().await;
    reader.follow(&mut Followed::default(), &slow).await.unwrap();
    reader.follow(&mut known, &slow).await.unwrap();
    check(&known, &run);
}

#[tokio::test]
async fn what_a_step_made_stands_in_its_checkpoint_or_in_a_file_for_as_long_as_that_may_be_finished()
 {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = Run::begin(1).await;
    let mut random = SmallRng::seed_from_u64(3);
    let long: Vec<u8> = (0..200_000).map(|_| random.random()).collect();
    let short = run.history.keep_copy(b"short").await.unwrap();
    assert!(matches!(short, Copied::Inline(_)), "{short:?}");
    let kept = run.history.keep_copy(&long).await.unwrap();
    let Copied::File(file) = &kept else { panic!("{kept:?}") };
    run.newest.copies = [("short".to_owned(), short), ("long".to_owned(), kept.clone())].into();
    run.newest.epoch += 1;
    run.history.decide(&mut run.newest).await.unwrap();
    let path = Path::from_iter([PIPELINE, "_copy", "main", &file.name]);
    for epoch in 1..=4 {
        // Another owner finds them, whatever the first one remembers.
        run.let_go();
        run.history = owned(&run.store).await;
        let newest = run.history.newest().await.unwrap().unwrap().checkpoint;
        if epoch == 1 {
            assert_eq!(run.history.copy(&newest.copies["short"]).await.unwrap(), &b"short"[..]);
            assert_eq!(run.history.copy(&newest.copies["long"]).await.unwrap(), &long[..]);
        }
        let mut next = newest.successor();
        next.roster = newest.roster;
        run.history.decide(&mut next).await.unwrap();
        assert!(next.copies.is_empty());
        run.history.collect_files().await;
        let is_there = run.store.head(&path).await.is_ok();
        assert_eq!(is_there, epoch < 3, "beside the newest three checkpoints, at {epoch}");
    }
    let error = run.history.copy(&kept).await.unwrap_err();
    assert!(error.chain().contains(&file.name), "{}", error.chain());
}
