//! What packs and folds hold: as much of old checkpoints as anybody may ask for, in any layout that
//! a program ever wrote, and never more in memory than a part of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path as FilePath;
use std::sync::Arc;

use contract::source::Split;
use contract::{ErrorKind, Lineage, Position, SplitId};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use state::checkpoint::Cut;
use state::ledger::columns::Rows;
use state::ledger::{Counts, Entry};
use state::{Checkpoint, CheckpointStore, History};

use crate::ONE_AT_A_TIME;

const PIPELINE: &str = "packs";
/// Epochs between two packings.
const EPOCHS: u64 = 300;
/// What a pack and a fold may take of memory beside what is there, however much they hold.
const MEMORY_MAX: u64 = 64 << 20;

fn history(store: &Arc<InMemory>) -> History {
    History::new(store.clone(), PIPELINE, &Lineage::main())
}

fn entry(split: &str, sink: &str, read: u64) -> Entry {
    let counts = Counts { read, delivered: read, ..Counts::default() };
    let hash = state::ledger::hash_text(u128::from(read));
    Entry { split: split.to_owned(), sink: sink.to_owned(), counts, hash }
}

/// An epoch that read a split and booked a record of another one, of three that are known.
fn checkpoint(epoch: u64) -> Checkpoint {
    let mut checkpoint = Checkpoint::first(PIPELINE, &Lineage::main(), 1);
    (checkpoint.epoch, checkpoint.writer, checkpoint.now_us) = (epoch, "a".into(), 1_000);
    for (id, family) in [("a", Some("eu")), ("b", None), ("c", None)] {
        checkpoint.roster.enter("access", Split::named(SplitId::new(id), family));
    }
    let at = epoch.cast_signed();
    let cut = Cut {
        split: 0,
        from: Some(Position::new(at)),
        to: Position::new(at + 1),
        marks: Vec::new(),
    };
    checkpoint.cuts.push(cut);
    checkpoint.states.insert("first".into(), "state".into());
    checkpoint.ledger = vec![entry("a", "lake", epoch), entry("b", "lake", 1)];
    checkpoint
}

/// A history of which all but the newest epochs are packed.
async fn packed() -> Arc<InMemory> {
    let store = Arc::new(InMemory::new());
    for epoch in 1..=EPOCHS {
        history(&store).decide(&mut checkpoint(epoch)).await.unwrap();
    }
    history(&store).collect(EPOCHS, 0).await;
    store
}

async fn names(store: &Arc<InMemory>, beginning: &str) -> Vec<Path> {
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    let paths = listed.into_iter().map(|object| object.location);
    let is_it = |path: &Path| path.filename().is_some_and(|name| name.starts_with(beginning));
    let mut found: Vec<_> = paths.filter(is_it).collect();
    found.sort();
    found
}

async fn bytes(store: &Arc<InMemory>, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_pack_has_what_its_epochs_read_and_counted_and_nothing_else() {
    let store = packed().await;
    let [pack] = &names(&store, "pack-").await[..] else { panic!("one pack") };
    let first = bytes(&store, pack).await;
    assert!(first.starts_with(b"{\"format\":2}\n{\"block\":"), "it says what it is");
    let all = history(&store).checkpoints().await.unwrap();
    assert_eq!(all.len() as u64, EPOCHS);
    let old = &all[9];
    assert_eq!((old.epoch, old.ledger.clone()), (10, checkpoint(10).ledger));
    assert_eq!((old.cuts.clone(), old.states.len()), (checkpoint(10).cuts, 0));
    let splits: Vec<_> = old.roster.iter().collect();
    let named = splits.iter().map(|(number, state)| {
        (*number, state.source.as_str(), state.known.split.id.as_str(), state.known.split.family())
    });
    let expect = [(0, "access", "a", Some("eu")), (1, "access", "b", None)];
    assert_eq!(named.collect::<Vec<_>>(), expect, "by number, and only those that it speaks of");
    let columns = history(&store).ledger_columns().await.unwrap();
    let (mut read, mut families) = (0, BTreeMap::new());
    for batch in &columns {
        let rows = Rows::of(batch).unwrap();
        for row in (0..rows.len()).map(|row| rows.get(row)) {
            read += row.entry.counts.read;
            families.insert(row.entry.split, (row.source, row.family));
        }
    }
    assert_eq!(read, EPOCHS * (EPOCHS + 1) / 2 + EPOCHS);
    let source = Some("access".to_owned());
    assert_eq!(families["a"], (source.clone(), Some("eu".to_owned())));
    assert_eq!(families["b"], (source, None));
}

/// The pack as an earlier program wrote it.
async fn as_before(store: &Arc<InMemory>, is_compressed: bool) {
    for pack in names(store, "pack-").await {
        let epochs = history(store).checkpoints().await.unwrap();
        let span = pack.filename().unwrap().to_owned();
        let last: u64 = span.rsplit('-').next().unwrap().parse().unwrap();
        let mut text = Vec::new();
        for checkpoint in epochs.iter().filter(|checkpoint| checkpoint.epoch <= last) {
            text.extend(checkpoint.to_line().unwrap());
            text.push(b'\n');
        }
        if is_compressed {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(&text).unwrap();
            text = encoder.finish().unwrap();
        }
        store.put(&pack, text.into()).await.unwrap();
    }
}

#[tokio::test]
async fn packs_of_earlier_programs_are_read_and_folded() {
    for is_compressed in [false, true] {
        let store = packed().await;
        let before = history(&store).ledger().await.unwrap().rows;
        as_before(&store, is_compressed).await;
        let [pack] = &names(&store, "pack-").await[..] else { panic!("one pack") };
        assert!(!bytes(&store, pack).await.starts_with(b"{\"format\""));
        assert_eq!(history(&store).ledger().await.unwrap().rows, before);
        assert_eq!(history(&store).checkpoints().await.unwrap().len() as u64, EPOCHS);
        let mut taken = 0;
        let mut shelf = history(&store).shelf().await.unwrap();
        shelf.take(10, |_| taken += 1).await.unwrap();
        assert_eq!(taken, EPOCHS - 3, "what stands in one object comes together");
        // A fold of an earlier program, with what is not in the pack.
        let old = serde_json::json!({ "until": 0, "entries": [entry("a", "old", 7)] });
        let place = Path::from_iter([PIPELINE, "main", "fold-00000000000000000000"]);
        store.put(&place, old.to_string().into()).await.unwrap();
        for epoch in EPOCHS + 1..=2 * EPOCHS {
            history(&store).decide(&mut checkpoint(epoch)).await.unwrap();
        }
        history(&store).collect(2 * EPOCHS, i64::MAX).await;
        let ledger = history(&store).ledger().await.unwrap();
        assert!(ledger.folded_until >= EPOCHS - 3, "folded until {}", ledger.folded_until);
        let sum = |sink: &str| -> u64 {
            let rows = ledger.rows.iter().filter(|row| row.entry.sink == sink);
            rows.map(|row| row.entry.counts.read).sum()
        };
        assert_eq!((sum("old"), sum("lake")), (7, EPOCHS * (2 * EPOCHS + 1) + 2 * EPOCHS));
        let hash = u128::from((1..=ledger.folded_until).sum::<u64>());
        let row =
            ledger.rows.iter().find(|row| (&*row.entry.split, &*row.entry.sink) == ("a", "lake"));
        assert_eq!(row.unwrap().entry.hash, state::ledger::hash_text(hash));
        let [fold] = &names(&store, "fold-").await[..] else { panic!("one fold") };
        assert!(bytes(&store, fold).await.starts_with(b"{\"format\":2}\n"));
    }
}

#[tokio::test]
async fn splits_that_are_gone_are_added_up_by_family() {
    let store = packed().await;
    let mut sums = Vec::new();
    // First `a` is gone, then `b` too.
    for (round, known) in [(1, ["b", "c"]), (2, ["c", "d"])] {
        for epoch in round * EPOCHS + 1..=(round + 1) * EPOCHS {
            let mut next = Checkpoint::first(PIPELINE, &Lineage::main(), 1);
            (next.epoch, next.ledger) = (epoch, vec![entry("c", "lake", 1)]);
            for id in known {
                next.roster.enter("access", Split::named(SplitId::new(id), None));
            }
            history(&store).decide(&mut next).await.unwrap();
        }
        history(&store).collect((round + 1) * EPOCHS, i64::MAX).await;
        let [fold] = &names(&store, "fold-").await[..] else { panic!("one fold") };
        let until: u64 = fold.filename().unwrap()[5..].parse().unwrap();
        let columns = history(&store).ledger_columns().await.unwrap();
        let rows = Rows::of(&columns[0]).unwrap();
        let rows = (0..rows.len()).map(|row| rows.get(row)).filter(|row| row.epoch == until);
        sums = rows.map(|row| (row.entry.split, row.family, row.entry.counts.read)).collect();
        let read: u64 = sums.iter().map(|(_, _, read)| read).sum();
        let counted = |epoch: u64| if epoch <= EPOCHS { epoch + 1 } else { 1 };
        assert_eq!(read, (1..=until).map(counted).sum::<u64>(), "{sums:?}");
    }
    let gone = |family: Option<&str>, read| (String::new(), family.map(str::to_owned), read);
    let of_a = EPOCHS * (EPOCHS + 1) / 2;
    assert_eq!(sums[..2], [gone(None, EPOCHS), gone(Some("eu"), of_a)]);
    assert_eq!((sums.len(), &*sums[2].0), (3, "c"), "who stays has a sum of its own");
}

#[tokio::test]
async fn a_pack_or_a_fold_of_a_later_program_is_no_damage() {
    for kind in ["pack-", "fold-"] {
        let store = packed().await;
        for epoch in EPOCHS + 1..=2 * EPOCHS {
            history(&store).decide(&mut checkpoint(epoch)).await.unwrap();
        }
        let keep = if kind == "fold-" { i64::MAX } else { 0 };
        history(&store).collect(2 * EPOCHS, keep).await;
        let path = names(&store, kind).await.remove(0);
        let text = bytes(&store, &path).await;
        let later = [b"{\"format\":3}".as_slice(), &text[12..]].concat();
        store.put(&path, later.into()).await.unwrap();
        let error = history(&store).ledger().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
        assert!(error.hint_text().is_some_and(|hint| hint.contains("nothing was changed")));
        for end in [0, 5, 12, 40, text.len() / 2, text.len() - 1] {
            store.put(&path, text[..end].to_vec().into()).await.unwrap();
            let error = history(&store).ledger().await.unwrap_err();
            assert!(error.chain().contains(kind), "{kind} cut at {end}: {}", error.chain());
        }
    }
}

/// The most memory that the process had since the last call, in bytes; where the system says it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let peak = line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10;
    std::fs::write("/proc/self/clear_refs", "5").ok()?;
    Some(peak)
}

/// Splits of which each is counted in one epoch, for several sinks.
const SPLITS: u64 = 100_000;
const SINKS: [&str; 3] = ["lake", "warehouse", "archive"];

/// The splits that an epoch reads.
fn ids_of(epoch: u64) -> impl Iterator<Item = String> {
    let numbers = 0..SPLITS / EPOCHS;
    numbers.map(move |number| format!("/var/log/service-{number}/instance-{epoch}/access.log"))
}

fn enter(checkpoint: &mut Checkpoint, id: &str) {
    checkpoint.roster.enter("access", Split::named(SplitId::new(id), None));
}

async fn fill(folder: &FilePath) -> History {
    let store = CheckpointStore::local(folder).unwrap();
    let history = store.history(PIPELINE, &Lineage::main());
    for epoch in 1..=EPOCHS {
        let mut checkpoint = Checkpoint::first(PIPELINE, &Lineage::main(), 1);
        checkpoint.epoch = epoch;
        for id in ids_of(epoch) {
            enter(&mut checkpoint, &id);
            checkpoint.ledger.extend(SINKS.map(|sink| entry(&id, sink, epoch)));
        }
        history.decide(&mut checkpoint).await.unwrap();
    }
    history
}

/// The memory that tidying up took beside what was there.
async fn tidied(history: &History, newest: u64) -> u64 {
    let before = peak().unwrap_or_default();
    history.collect(newest, i64::MAX).await;
    peak().unwrap_or_default().saturating_sub(before)
}

#[tokio::test]
async fn packing_and_folding_take_the_same_memory_for_any_number_of_splits() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let history = fill(folder.path()).await;
    if peak().is_none() {
        return;
    }
    let pack = tidied(&history, EPOCHS).await;
    for epoch in EPOCHS + 1..=2 * EPOCHS {
        let first = Checkpoint::first(PIPELINE, &Lineage::main(), 1);
        let mut checkpoint = Checkpoint { epoch, ..first };
        if epoch == 2 * EPOCHS {
            let ids = (1..=EPOCHS).flat_map(ids_of);
            ids.for_each(|id| enter(&mut checkpoint, &id));
        }
        history.decide(&mut checkpoint).await.unwrap();
    }
    let fold = tidied(&history, 2 * EPOCHS).await;
    println!("{SPLITS} splits: pack {} KiB, fold {} KiB", pack >> 10, fold >> 10);
    assert!(pack <= MEMORY_MAX && fold <= MEMORY_MAX, "{pack} and {fold} bytes");
    let ledger = history.ledger().await.unwrap();
    let of_fold = ledger.rows.iter().filter(|row| row.epoch <= ledger.folded_until);
    let of_fold: Vec<_> = of_fold.map(|row| (&row.entry.split, &row.entry.sink)).collect();
    assert_eq!(of_fold.len() as u64, ledger.folded_until * (SPLITS / EPOCHS) * 3);
    assert!(of_fold.is_sorted(), "in order of splits and sinks, each once");
    let read: u64 = ledger.rows.iter().map(|row| row.entry.counts.read).sum();
    assert_eq!(read, EPOCHS * (EPOCHS + 1) / 2 * (SPLITS / EPOCHS) * 3);
}
