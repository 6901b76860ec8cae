//! Files that were cut off after they had been read: what is proven to be left of them.

use contract::Position;
use contract::source::Until;

use super::Bench;

const LINES: usize = 300;
const LINE: usize = 15;

fn lines() -> String {
    (0..LINES).map(|number| format!("line {number:03} abcde\n")).collect()
}

/// Reads a file of one name to its end; returns what was marked, and the end.
async fn read(bench: &mut Bench) -> (Vec<Position>, Position) {
    bench.discover().await;
    let id = bench.id("a.log");
    let mut reader = bench.open(&id, Until::End).await.expect("a file");
    let (mut marks, mut end) = (Vec::new(), Position::default());
    while let Some(batch) = reader.next_batch().await.expect("lines") {
        marks.extend(batch.marks.clone());
        end = batch.next.clone();
        bench.take(&id, batch);
    }
    (marks, end)
}

/// What is proven of the file from its beginning, and whether it was cut off.
async fn prove(bench: &mut Bench, marks: &[Position], to: &Position) -> Option<(usize, i64)> {
    let id = bench.id("a.log");
    bench.known[0].position = None;
    let until = Until::Proven { marks: marks.to_vec(), to: to.clone() };
    let opened = bench.open(&id, until).await;
    bench.known[0].position = Some(to.clone());
    let mut reader = opened.inspect_err(|error| assert!(!error.retry(), "{error:?}")).ok()?;
    let mut rows = 0;
    while let Some(batch) = reader.next_batch().await.expect("what is proven can be read") {
        rows += batch.records.num_rows();
        bench.take(&id, batch);
    }
    Some((rows, bench.known[0].position.as_ref()?.at))
}

#[tokio::test]
async fn a_file_that_was_cut_off_anywhere_gives_what_is_proven_and_goes_on_as_another_split() {
    assert_eq!(lines().len(), LINES * LINE);
    let apart = (LINES / 16 + 1) * LINE;
    for cut in (0..=LINES * LINE).step_by(41) {
        let mut bench = Bench::new();
        bench.write("a.log", lines());
        let (marks, end) = read(&mut bench).await;
        assert_eq!((marks.len(), end.at), (15, (LINES * LINE) as i64));
        bench.write("a.log", &lines()[..cut]);
        bench.restart();
        let Some((rows, at)) = prove(&mut bench, &marks, &end).await else {
            assert!(cut < apart, "nothing is proven before byte {cut}");
            continue;
        };
        assert_eq!(rows * LINE, at as usize, "cut at {cut}");
        assert!(at as usize <= cut && cut < at as usize + apart, "{at} of {cut}");
        // The next process knows it too.
        bench.restart();
        let rest = bench.read().await;
        // The line that was cut waits for nobody here.
        assert_eq!(rest.len(), (cut - at as usize).div_ceil(LINE), "{rest:?}");
        assert!(rest.iter().all(|said| said.starts_with("a.log#2@")), "{rest:?}");
        bench.append("a.log", "\none more\n");
        let more = bench.read().await;
        assert!(more.last().is_some_and(|said| said.ends_with("one more")), "{more:?}");
    }
}

#[tokio::test]
async fn bytes_that_changed_before_a_place_prove_nothing_behind_it() {
    let mut bench = Bench::new();
    bench.write("a.log", lines());
    let (marks, end) = read(&mut bench).await;
    // Behind the first KiB, and within the last one before a mark.
    let changed = marks[8].at as usize - 20;
    let (before, after) = (&lines()[..changed], &lines()[changed + 3..]);
    bench.write("a.log", format!("{before}###{after}"));
    bench.restart();
    let (rows, at) = prove(&mut bench, &marks, &end).await.expect("its beginning is there");
    assert_eq!((rows * LINE, at), (marks[7].at as usize, marks[7].at));
}

#[tokio::test]
async fn a_file_that_is_whole_or_grew_was_not_cut_off() {
    let mut bench = Bench::new();
    bench.write("a.log", lines());
    let (marks, end) = read(&mut bench).await;
    bench.append("a.log", "one more\n");
    bench.restart();
    assert_eq!(prove(&mut bench, &marks, &end).await, Some((LINES, end.at)));
    assert_eq!(bench.read().await, ["a.log@4500 one more"]);
}

#[tokio::test]
async fn another_file_under_the_name_is_proven_to_be_nothing_of_it() {
    let mut bench = Bench::new();
    bench.write("a.log", lines());
    let (marks, end) = read(&mut bench).await;
    bench.write("a.log", lines().to_uppercase());
    bench.restart();
    assert_eq!(prove(&mut bench, &marks, &end).await, Some((0, 0)));
    assert_eq!(bench.read().await.len(), LINES);
}
