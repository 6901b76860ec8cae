//! What an attempt is told of its splits.

use contract::discovery::{Differences, Discoverer, Moved};
use contract::{Position, SplitId};

use super::Bench;

/// The names of what was found and, with where they ended, of what is gone.
fn names(bench: &Bench, said: Differences) -> (Vec<String>, Vec<(String, Option<i64>)>) {
    let root = format!("{}/", bench.id("").trim_end_matches('/'));
    let name = |id: &SplitId| id.as_str().replace(&root, "");
    let found = said.found.iter().map(|split| name(&split.id)).collect();
    (found, said.gone.iter().map(|gone| (name(&gone.id), gone.end)).collect())
}

async fn look(discoverer: &mut Box<dyn Discoverer>, moved: Moved) -> Differences {
    discoverer.look(moved).await.expect("files can be looked at")
}

#[tokio::test]
async fn an_attempt_is_told_all_at_first_and_then_what_changed() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.write_old(name, format!("{name}\n").repeat(1_000));
    }
    let mut attempt = bench.source.discover(Some(Vec::new()));
    let mut said = async |moved| names(&bench, look(&mut attempt, moved).await);
    assert_eq!(said(Moved::new()).await, (vec!["a".into(), "b".into(), "c".into()], vec![]));
    assert_eq!(said(Moved::new()).await, (vec![], vec![]));
    bench.append("b", "more\n");
    bench.write_old("d", "new\n");
    assert_eq!(said(Moved::new()).await, (vec!["b".into(), "d".into()], vec![]));
    bench.remove("c");
    assert_eq!(said(Moved::new()).await.1, [("c".to_owned(), Some(2_000))]);
    assert_eq!(said(Moved::new()).await.1, []);
    bench.write_old("c", "c\n".repeat(1_000));
    assert_eq!(said(Moved::new()).await, (vec!["c".into()], vec![]), "it is back");
}

#[tokio::test]
async fn what_an_attempt_found_and_did_not_commit_is_found_by_the_next_one() {
    let bench = Bench::new();
    bench.write_old("a", "one\n");
    for attempt in ["the first", "the next"] {
        let mut discoverer = bench.source.discover(Some(Vec::new()));
        let said = look(&mut discoverer, Moved::new()).await;
        assert_eq!(names(&bench, said).0, ["a"], "{attempt}");
    }
}

#[tokio::test]
async fn a_file_that_was_rewritten_is_told_by_how_far_it_was_committed() {
    let mut bench = Bench::new();
    bench.write_old("a", "one\n".repeat(500));
    let mut attempt = bench.source.discover(Some(Vec::new()));
    look(&mut attempt, Moved::new()).await;
    bench.read().await;
    let position: Position = bench.known[0].position.clone().expect("it was read");
    let moved = Moved::from([(bench.known[0].split.id.clone(), position)]);
    // The same beginning, but not what stands before the position.
    bench.write_old("a", format!("{}{}", "one\n".repeat(300), "two\n".repeat(300)));
    let said = names(&bench, look(&mut attempt, moved).await);
    assert_eq!(said.0, ["a#2"]);
    assert_eq!(said.1, [("a".to_owned(), Some(2_000))]);
}
