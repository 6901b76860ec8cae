//! Files that are gone for good, and those that come back.

use contract::discovery::{
    Differences, Discoverer, Finished, Moved, NameSum, Retired, TOMBSTONE_BYTES_MAX,
};
use contract::source::{KnownSplit, Until};
use contract::{Position, SplitId};
use serde_json::json;

use super::{Bench, dated_lines, gzip, many_lines, zstd};

/// What a history has of a source: splits, and what is left of others.
pub(super) struct History {
    pub(super) bench: Bench,
    retired: Vec<Retired>,
}

impl History {
    pub(super) fn new(bench: Bench) -> Self {
        Self { bench, retired: Vec::new() }
    }

    /// A new attempt, in a new process.
    pub(super) fn begin(&mut self) -> Box<dyn Discoverer> {
        self.bench.restart();
        let mut discoverer = self.bench.source.discover(Some(self.bench.known.clone()));
        discoverer.hear_retired(self.retired.clone());
        discoverer
    }

    /// Enters what was found, as the runtime does.
    fn enter(&mut self, said: &Differences) {
        for split in &said.found {
            match self.bench.known.iter_mut().find(|known| known.split.id == split.id) {
                Some(known) => known.split = split.clone(),
                None => {
                    let split = split.clone();
                    self.bench.known.push(KnownSplit { split, position: None });
                }
            }
        }
    }

    /// Reads all that a look finds; each record as `split@position text`.
    pub(super) async fn read(&mut self, discoverer: &mut Box<dyn Discoverer>) -> Vec<String> {
        let said = discoverer.look(Moved::new()).await.expect("files can be looked at");
        self.enter(&said);
        let (mut read, mut moved) = (Vec::new(), Moved::new());
        for split in said.found {
            let id = split.id.as_str();
            let mut reader = self.bench.open(id, Until::End).await.expect("it can be opened");
            while let Some(batch) = reader.next_batch().await.expect("it can be read") {
                moved.insert(split.id.clone(), batch.next.clone());
                read.extend(self.bench.take(id, batch));
            }
        }
        discoverer.look(moved).await.expect("files can be looked at");
        read
    }

    /// Lets the splits retire that may.
    pub(super) async fn retire(&mut self, discoverer: &mut Box<dyn Discoverer>) -> Vec<Finished> {
        let said = discoverer.look(Moved::new()).await.expect("files can be looked at");
        let mut retired = Vec::new();
        for Finished { id, at, tombstone } in &said.finished {
            assert!(tombstone.len() <= TOMBSTONE_BYTES_MAX, "{}", tombstone.len());
            let place = self.bench.known.iter().position(|known| known.split.id == *id);
            let known = self.bench.known.remove(place.expect("it is known"));
            assert_eq!(known.position, *at);
            let (name, tombstone) = (NameSum::of(id), Some(tombstone.clone()));
            retired.push(Retired { name, tombstone });
        }
        discoverer.hear_retired(retired.clone());
        self.retired.extend(retired);
        said.finished
    }
}

/// A file of these bytes is read and removed; it comes back so, as what is restored with its times,
/// and these records come.
async fn check(before: &str, name: &str, again: &[u8], expect: &[&str]) {
    for is_new_process in [false, true] {
        let mut history = History::new(Bench::new());
        history.bench.write_old("a.log", before);
        let mut discoverer = history.begin();
        assert_eq!(history.read(&mut discoverer).await.len(), before.lines().count());
        history.bench.remove("a.log");
        assert_eq!(history.retire(&mut discoverer).await.len(), 1, "{name}");
        assert_eq!(history.bench.known.len(), 0);
        history.bench.write_old(name, again);
        if is_new_process {
            discoverer = history.begin();
        }
        assert_eq!(history.read(&mut discoverer).await, expect, "{name}, {is_new_process}");
    }
}

#[tokio::test]
async fn a_file_that_comes_back_goes_on_behind_what_was_read() {
    let before = dated_lines("one", 0..100);
    let all = format!("{before}more\n");
    let more = |name: &str| format!("{name}@{} more", before.len());
    check(&before, "a.log", all.as_bytes(), &[&more("a.log#2")]).await;
    check(&before, "b.log", all.as_bytes(), &[&more("b.log")]).await;
    check(&before, "a.log.3.gz", &gzip(&all), &[&more("a.log.3.gz")]).await;
    check(&before, "old.zst", &zstd(&all), &[&more("old.zst")]).await;
    check(&before, "a.log", before.as_bytes(), &[]).await;
}

#[tokio::test]
async fn a_short_file_is_known_by_all_that_it_holds_and_its_family() {
    check("one\ntwo\n", "a.log", b"one\ntwo\n", &[]).await;
    check("one\ntwo\n", "a.log.1.gz", &gzip("one\ntwo\n"), &[]).await;
    check("one\n", "b.log", b"one\n", &["b.log@0 one"]).await;
    // It may have gone on.
    check("one\n", "a.log", b"one\ntwo\n", &["a.log#2@4 two"]).await;
    let time = "2026-11-28 10:00:01 one\n";
    let more = format!("{time}two\n");
    check(time, "a.log", more.as_bytes(), &["a.log#2@24 two"]).await;
    check("one\n", "a.log", b"One\ntwo\n", &["a.log#2@0 One", "a.log#2@4 two"]).await;
}

#[tokio::test]
async fn another_file_of_the_same_name_is_another_split() {
    let before = many_lines("one", 0..100);
    let other = many_lines("other", 0..1);
    let expect = format!("a.log#2@0 {}", other.trim_end());
    check(&before, "a.log", other.as_bytes(), &[&expect]).await;
    // It begins as the one before did, and holds something else where that was read to.
    let mut other = before.clone();
    other.replace_range(before.len() - 2.., "x\n");
    let last = format!("a.log#2@{} one line number 9x", before.len() - 19);
    let mut history = History::new(Bench::new());
    history.bench.write_old("a.log", &before);
    let mut discoverer = history.begin();
    history.read(&mut discoverer).await;
    history.bench.remove("a.log");
    history.retire(&mut discoverer).await;
    history.bench.write("a.log", &other);
    let read = history.read(&mut discoverer).await;
    assert_eq!((read.len(), read.last()), (100, Some(&last)));
}

#[tokio::test]
async fn no_id_is_given_twice_though_its_tombstone_is_forgotten() {
    let mut history = History::new(Bench::new());
    for (number, id) in ["a.log", "a.log#2", "a.log#3"].into_iter().enumerate() {
        let text = many_lines(id, 0..100 * (number + 1));
        history.bench.write_old("a.log", &text);
        let mut discoverer = history.begin();
        let read = history.read(&mut discoverer).await;
        assert!(read[0].starts_with(&format!("{id}@0 ")), "{}", read[0]);
        history.bench.remove("a.log");
        assert_eq!(history.retire(&mut discoverer).await.len(), 1);
        history.retired.iter_mut().for_each(|one| one.tombstone = None);
    }
}

#[tokio::test]
async fn a_file_may_retire_once_nobody_moves_it_about_and_all_is_committed() {
    let bench = Bench::with("*", json!({ "rotate_wait": "1h" }));
    let mut history = History::new(bench);
    let text = many_lines("one", 0..100);
    history.bench.write("new.log", &text);
    history.bench.write_old("old.log", many_lines("two", 0..100));
    let mut discoverer = history.begin();
    history.read(&mut discoverer).await;
    history.bench.remove("new.log");
    history.bench.remove("old.log");
    let look = discoverer.look(Moved::new()).await.expect("files can be looked at");
    assert_eq!(look.gone.len(), 2);
    let names: Vec<_> = look.finished.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(names, [history.bench.id("old.log")], "the other one may be amid a rotation");
    let look = discoverer.look(Moved::new()).await.expect("files can be looked at");
    assert_eq!(look.finished, [], "it is said once");
    let id = SplitId::new(history.bench.id("old.log"));
    let note = history.bench.known.iter().find_map(|known| known.position.clone()?.note);
    let further = Position::new(1_900).with_note(note.expect("a position has a note"));
    let look = discoverer.look(Moved::from([(id, further.clone())])).await;
    let finished = look.expect("files can be looked at").finished;
    assert_eq!(finished[0].at, Some(further), "but for how far it is committed");
}

#[tokio::test]
async fn a_file_of_which_nothing_is_committed_stays_known() {
    let mut history = History::new(Bench::new());
    history.bench.write_old("a.log", many_lines("one", 0..100));
    let mut discoverer = history.begin();
    let said = discoverer.look(Moved::new()).await.expect("files can be looked at");
    history.enter(&said);
    history.bench.remove("a.log");
    assert_eq!(history.retire(&mut discoverer).await, []);
}

#[tokio::test]
async fn a_thousand_files_that_are_gone_cost_a_new_one_one_look() {
    let mut history = History::new(Bench::new());
    for number in 0..1_000 {
        let text = dated_lines(&format!("{number:04}"), 0..60);
        history.bench.write_old(&format!("{number}.log"), &text);
    }
    let mut discoverer = history.begin();
    history.read(&mut discoverer).await;
    for number in 0..1_000 {
        history.bench.remove(&format!("{number}.log"));
    }
    assert_eq!(history.retire(&mut discoverer).await.len(), 1_000);
    let text = dated_lines("0500", 0..61);
    history.bench.write("back.log", &text);
    let read = history.read(&mut discoverer).await;
    let last = text.lines().next_back().expect("it has lines");
    assert_eq!(read, [format!("back.log@{} {last}", text.len() - last.len() - 1)]);
}
