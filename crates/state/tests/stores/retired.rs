//! Splits that retire, and what is left of them, in checkpoints and the files that these name.

use std::sync::Arc;
use std::time::Duration;

use contract::discovery::TOMBSTONE_BYTES_MAX;
use contract::failpoint::{self, Action};
use contract::source::Split;
use contract::{Lineage, Position, SplitId};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use state::history::Decision;
use state::{Checkpoint, CheckpointStore, Followed, History, Roster};

use crate::ONE_AT_A_TIME;

const PIPELINE: &str = "gone";
const TTL: Duration = Duration::from_secs(600);
/// How long tombstones stand, in the microseconds of these histories.
const KEEP_US: i64 = 5;
/// Splits whose changes do not stand in a checkpoint.
const FEW: usize = 300;

/// A history, and the newest checkpoint as its owner has it.
struct Run {
    store: Arc<InMemory>,
    history: History,
    newest: Checkpoint,
}

/// All that a roster knows, as text.
fn all_of(roster: &Roster) -> Vec<String> {
    let splits = roster.iter().map(|(number, state)| {
        let at = state.known.position.as_ref().map(|position| position.at);
        format!("{number} {} {at:?} {}", state.known.split.id, state.is_clean)
    });
    let graves = roster.graves().map(|(number, grave)| format!("{number} {grave:?}"));
    let mut all: Vec<_> = splits.chain(graves).collect();
    all.push(format!("next {}", roster.next()));
    all
}

/// Bytes that do not compress.
fn tombstone(number: usize) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(number as u64);
    (0..TOMBSTONE_BYTES_MAX).map(|_| random.random()).collect()
}

async fn owned(store: &Arc<InMemory>) -> History {
    // Whoever had the lease is gone.
    let lease = Path::from_iter([PIPELINE, "main", "lease"]);
    let _ = store.delete(&lease).await;
    let checkpoints = CheckpointStore::shared(store.clone(), TTL, "memory");
    let lease = checkpoints.lease(PIPELINE, &Lineage::main()).await.unwrap();
    checkpoints.history(PIPELINE, &Lineage::main()).owned(Arc::new(lease))
}

impl Run {
    async fn begin() -> Self {
        let store = Arc::new(InMemory::new());
        let history = owned(&store).await;
        let mut newest = Checkpoint::first(PIPELINE, &Lineage::main(), 7);
        assert_eq!(history.decide(&mut newest).await.unwrap(), Decision::Decided);
        Self { store, history, newest }
    }

    /// The next epoch: so many splits come, and these of those that are known retire.
    fn drafted(&self, come: usize, retire: &[usize]) -> Checkpoint {
        let mut next = self.newest.successor();
        next.now_us = self.newest.now_us + 1;
        next.roster = self.newest.roster.clone();
        for _ in 0..come {
            let id = SplitId::new(format!("/var/log/instance-{}.log", next.roster.next()));
            let number = next.roster.enter("access", Split::named(id, None)).number;
            next.roster.advance(number, &Position::new(number as i64));
        }
        next.roster.forget_tombstones(next.now_us - KEEP_US);
        for number in retire {
            next.roster.retire(*number, tombstone(*number), next.now_us).expect("it is known");
        }
        next
    }

    async fn decide(&mut self, mut next: Checkpoint) {
        assert_eq!(self.history.decide(&mut next).await.unwrap(), Decision::Decided);
        self.newest = next;
    }

    async fn merge(&mut self) {
        let merged = self.newest.files.clone();
        if merged.want_base() {
            let base = self.history.merge(merged.clone()).await.unwrap();
            self.newest.files.rebase(&merged, base);
        }
    }

    fn numbers(&self) -> Vec<usize> {
        self.newest.roster.iter().map(|(number, _)| number).collect()
    }

    async fn restart(&mut self) {
        self.history = owned(&self.store).await;
        self.newest = self.history.newest().await.unwrap().unwrap().checkpoint;
    }
}

#[tokio::test]
async fn what_is_left_of_splits_survives_every_start_and_no_number_is_given_twice() {
    let _alone = ONE_AT_A_TIME.lock().await;
    for seed in 0..6 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut run = Run::begin().await;
        let (mut known, mut given) = (Followed::default(), 0);
        for _ in 0..20 {
            let come = random.random_range(0..500);
            let mut numbers = run.numbers();
            numbers.retain(|_| random.random_bool(0.3));
            let next = run.drafted(come, &numbers);
            given += come;
            assert_eq!(next.roster.next(), given, "each number is new");
            run.decide(next).await;
            run.merge().await;
            let expect = all_of(&run.newest.roster);
            if random.random_bool(0.3) {
                let newest = run.history.epoch(run.newest.epoch).await.unwrap();
                run.history.follow(&mut known, &newest).await.unwrap();
                let splits = run.newest.roster.states().map(|state| &state.known.split.id);
                let found = known.roster().states().map(|state| &state.known.split.id);
                assert!(found.eq(splits), "seed {seed}");
            }
            if random.random_bool(0.3) {
                run.restart().await;
                assert_eq!(all_of(&run.newest.roster), expect, "seed {seed}");
            }
            run.history.collect_files().await;
        }
    }
}

#[tokio::test]
async fn a_kill_amid_a_retirement_leaves_a_split_or_its_tombstone() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let points = ["layer.before", "layer.after", "base.before", "base.after", "decide.answer"];
    for point in points.into_iter().chain(["collect.deleted"]) {
        let mut run = Run::begin().await;
        for _ in 0..34 {
            let first = run.newest.roster.next();
            let next = run.drafted(FEW, &(first.saturating_sub(FEW)..first).collect::<Vec<_>>());
            run.decide(next).await;
        }
        run.restart().await;
        let numbers = run.numbers();
        let next = run.drafted(FEW, &numbers);
        let (before, after) = (all_of(&run.newest.roster), all_of(&next.roster));
        failpoint::arm(point, 1, Action::Halt);
        let work = async {
            run.decide(next).await;
            let further = run.drafted(FEW, &run.numbers());
            run.decide(further).await;
            for _ in 0..2 {
                let next = run.drafted(0, &[]);
                run.decide(next).await;
            }
            run.merge().await;
            run.history.collect_files().await;
        };
        let is_killed = tokio::select! {
            () = work => false,
            () = failpoint::halted() => true,
        };
        failpoint::disarm();
        assert!(is_killed, "{point} is passed");
        let epoch = run.newest.epoch;
        run.restart().await;
        let found = all_of(&run.newest.roster);
        match run.newest.epoch - epoch {
            0 if epoch == 34 => assert_eq!(found, before, "{point}"),
            1 if epoch == 34 => assert_eq!(found, after, "{point}"),
            _ => assert!(run.newest.roster.iter().all(|(number, _)| number >= FEW), "{point}"),
        }
        assert!(run.newest.roster.graves().count() >= 33 * FEW, "{point}");
    }
}

#[tokio::test]
async fn a_tombstone_takes_little_and_a_name_next_to_nothing() {
    const GONE: usize = 4_000;
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut run = Run::begin().await;
    let next = run.drafted(GONE, &[]);
    run.decide(next).await;
    let next = run.drafted(0, &(0..GONE).collect::<Vec<_>>());
    run.decide(next).await;
    let layer = |run: &Run| run.newest.files.layers.last().unwrap().bytes as usize / GONE;
    let tombstone = layer(&run);
    for _ in 0..=KEEP_US {
        let next = run.drafted(0, &[]);
        run.decide(next).await;
    }
    let name = layer(&run);
    println!("at rest: {tombstone} B a tombstone of {TOMBSTONE_BYTES_MAX} B, {name} B a name");
    assert!(tombstone <= TOMBSTONE_BYTES_MAX + 24 && name <= 16, "{tombstone} {name}");
    run.restart().await;
    assert!(run.newest.roster.graves().all(|(_, grave)| grave.tombstone.is_none()));
    assert_eq!(run.newest.roster.retired("access").len(), GONE);
}
