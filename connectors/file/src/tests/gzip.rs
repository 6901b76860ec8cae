//! gzip files that grow, and what is wrong with them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use contract::source::{SplitReader, Until};
use serde_json::json;

use super::{Bench, describe, gzip, many_lines};

fn bench() -> Bench {
    Bench::with("*", json!({ "settle": "1h", "rotate_wait": "1h" }))
}

/// Compresses lines and flushes behind each piece.
struct Writer(flate2::write::GzEncoder<Vec<u8>>);

impl Writer {
    fn new() -> Self {
        Self(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()))
    }

    fn flushed(&mut self, text: &str) -> Vec<u8> {
        self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()).expect("memory takes it");
        std::mem::take(self.0.get_mut())
    }

    fn finished(self) -> Vec<u8> {
        self.0.finish().expect("memory takes it")
    }
}

async fn follow(bench: &mut Bench) -> Box<dyn SplitReader> {
    bench.discover().await;
    bench.open(&bench.id("a"), Until::Forever).await.expect("a file")
}

/// Takes lines until so many came.
async fn take(bench: &mut Bench, reader: &mut Box<dyn SplitReader>, lines: usize) -> Vec<String> {
    let id = bench.id("a");
    let mut said = Vec::new();
    while said.len() < lines {
        let batch = reader.next_batch().await.expect("a file").expect("more lines");
        reader.acknowledge(&batch.next).await.expect("noted");
        said.extend(bench.take(&id, batch));
    }
    said
}

/// Damages what nobody needs to read again.
fn damage(bench: &Bench, at: u64) {
    let file = File::options().write(true).open(bench.path("a")).expect("it was written");
    file.write_all_at(&[0xff; 64], at).expect("a file can be written");
}

#[tokio::test]
async fn a_member_that_grows_is_gone_on_with() {
    let mut bench = bench();
    let mut writer = Writer::new();
    bench.write("a", writer.flushed(&many_lines("a", 0..5_000)));
    let mut reader = follow(&mut bench).await;
    take(&mut bench, &mut reader, 5_000).await;
    damage(&bench, 5_000);
    bench.append("a", writer.flushed("one\ntwo\nthr"));
    let said = take(&mut bench, &mut reader, 2).await;
    assert!(said[0].ends_with(" one") && said[1].ends_with(" two"), "{said:?}");
    drop(reader);
    // The same process comes back, and finds the point that was kept.
    bench.append("a", writer.flushed("ee\n"));
    let mut reader = follow(&mut bench).await;
    let said = take(&mut bench, &mut reader, 1).await;
    assert!(said[0].ends_with(" three"), "{said:?}");
    bench.append("a", writer.finished());
    bench.append("a", gzip("another member\n"));
    let said = take(&mut bench, &mut reader, 1).await;
    assert!(said[0].ends_with(" another member"), "{said:?}");
}

#[tokio::test]
async fn after_a_restart_a_file_is_read_from_the_member_before() {
    let mut bench = bench();
    bench.write("a", gzip(many_lines("a", 0..5_000)));
    bench.append("a", gzip(many_lines("b", 0..5_000)));
    let mut reader = follow(&mut bench).await;
    take(&mut bench, &mut reader, 10_000).await;
    drop(reader);
    bench.restart();
    damage(&bench, 5_000);
    bench.append("a", gzip("another member\n"));
    let mut reader = follow(&mut bench).await;
    let said = take(&mut bench, &mut reader, 1).await;
    assert!(said[0].ends_with(" another member"), "{said:?}");
    let discovery = bench.discover().await;
    assert_eq!((discovery.splits.len(), discovery.warnings), (1, vec![]));
}

#[tokio::test]
async fn after_a_restart_a_long_member_is_gone_on_with() {
    let mut bench = bench();
    let mut writer = Writer::new();
    bench.write("a", writer.flushed(&many_lines("a", 0..200_000)));
    let mut reader = follow(&mut bench).await;
    take(&mut bench, &mut reader, 200_000).await;
    // Lines come one by one, and the point that the position has moves on with them.
    for number in 0..40 {
        let lines = many_lines("b", number * 5_000..(number + 1) * 5_000);
        bench.append("a", writer.flushed(&lines));
        take(&mut bench, &mut reader, 5_000).await;
    }
    drop(reader);
    let id = bench.id("a");
    let known = bench.known.iter().find(|known| known.split.id.as_str() == id);
    let position = known.and_then(|known| known.position.clone()).expect("it was read");
    let shortcut = position.shortcut.expect("its member is long");
    assert!(position.at.cast_unsigned() - shortcut.at <= 1 << 20, "inflated again after a kill");
    assert!(shortcut.content.len() <= 33 << 10, "kept of a file that rests");
    bench.restart();
    damage(&bench, 5_000);
    damage(&bench, 400_000);
    bench.append("a", writer.flushed("one\ntwo\n"));
    let mut reader = follow(&mut bench).await;
    let said = take(&mut bench, &mut reader, 2).await;
    assert!(said[0].ends_with(" one") && said[1].ends_with(" two"), "{said:?}");
    // A file that ends with its member goes on behind it.
    bench.append("a", writer.finished());
    bench.append("a", gzip("another member\n"));
    take(&mut bench, &mut reader, 1).await;
    drop(reader);
    bench.restart();
    damage(&bench, 900_000);
    bench.append("a", gzip("and another one\n"));
    let mut reader = follow(&mut bench).await;
    let said = take(&mut bench, &mut reader, 1).await;
    assert!(said[0].ends_with(" and another one"), "{said:?}");
}

#[tokio::test]
async fn a_file_that_was_rewritten_is_not_gone_on_with() {
    let mut bench = bench();
    bench.write("a", gzip(many_lines("a", 0..5_000)));
    let mut reader = follow(&mut bench).await;
    take(&mut bench, &mut reader, 5_000).await;
    bench.write("a", gzip(many_lines("b", 0..9_000)));
    assert!(reader.next_batch().await.expect("a file").is_none(), "it is another split now");
    assert_eq!(bench.discover().await.splits[0].id.as_str(), bench.id("a#2"));
}

async fn check(bytes: &[u8], expect: &[&str]) {
    let mut bench = Bench::new();
    bench.write("a", bytes);
    assert_eq!(bench.read().await, expect);
    bench.restart();
    assert_eq!(bench.read().await, [""; 0], "nothing is read again");
    // The same as it comes.
    for step in [1, 7] {
        let mut bench = self::bench();
        bench.write("a", &bytes[..10]);
        let mut reader = follow(&mut bench).await;
        let mut said = Vec::new();
        for piece in bytes[10..].chunks(step) {
            bench.append("a", piece);
            let batch =
                tokio::time::timeout(std::time::Duration::from_millis(3), reader.next_batch());
            if let Ok(batch) = batch.await {
                said.extend(describe(&batch.expect("a file").expect("a batch")));
            }
        }
        while said.len() < expect.len() {
            let batch = reader.next_batch().await.expect("a file").expect("more lines");
            said.extend(describe(&batch));
        }
        let said: Vec<_> = said.into_iter().map(|text| format!("a@{text}")).collect();
        assert_eq!(said, expect, "in pieces of {step}");
    }
}

const LONG: &str = "a line that is long enough to believe in\n";

#[tokio::test]
async fn a_member_that_was_cut_off_leaves_its_whole_lines() {
    let mut writer = Writer::new();
    let mut bytes = writer.flushed("one\ntwo\nthr");
    bytes.extend(gzip(LONG));
    let torn = "a@8! the gzip member that begins at byte 0 of the compressed form was not finished \
                before the next one begins";
    check(&bytes, &["a@0 one", "a@4 two", torn, &format!("a@11 {}", LONG.trim_end())]).await;
    let mut writer = Writer::new();
    let mut bytes = writer.flushed("one\n");
    bytes.extend(gzip(LONG));
    check(&bytes, &["a@0 one", &format!("a@4 {}", LONG.trim_end())]).await;
}

#[tokio::test]
async fn a_wrong_checksum_keeps_the_lines_and_is_told() {
    let mut bytes = gzip("one\n");
    let sum = bytes.len() - 8;
    bytes[sum] ^= 1;
    bytes.extend(gzip("two\n"));
    let wrong = "a@4! the checksum of the gzip member that begins at byte 0 of the compressed form \
                 is wrong: what it holds may be damaged";
    check(&bytes, &["a@0 one", wrong, "a@12 two"]).await;
}

#[tokio::test]
async fn a_range_is_the_same_again_whatever_might_follow_it() {
    let mut bench = Bench::new();
    // What stands at the end could be the beginning of another member.
    bench.write("a", [gzip("one\n").as_slice(), b"garbage\x1f"].concat());
    let said = bench.read().await;
    assert_eq!(said.len(), 2, "{said:?}");
    let known = bench.known[0].clone();
    let until = Until::Position(known.position.expect("it was read"));
    let mut reader = bench.source.open(&known.split, None, until).await.expect("a file");
    let mut again = Vec::new();
    while let Some(batch) = reader.next_batch().await.expect("it was read before") {
        again.extend(describe(&batch).into_iter().map(|text| format!("a@{text}")));
    }
    assert_eq!(again, said);
}

#[tokio::test]
async fn damage_and_garbage_are_passed_over() {
    let first = gzip("one\n");
    let garbage = format!(
        "a@4! what follows byte {} of the compressed form belongs to no gzip member; reading goes \
         on at the next one",
        first.len()
    );
    let bytes = [first.as_slice(), b"garbage", &gzip(LONG)].concat();
    let mut bench = Bench::new();
    bench.write("a", &bytes);
    let long = format!("a@11 {}", LONG.trim_end());
    assert_eq!(bench.read().await, ["a@0 one", garbage.as_str(), &long]);
    // Distances that lead nowhere.
    let mut damaged = gzip(many_lines("a", 0..20_000));
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    damaged.extend(gzip(LONG));
    let mut bench = Bench::new();
    bench.write("a", damaged);
    let said = bench.read().await;
    let letters: Vec<_> = said.iter().filter(|text| text.contains("! ")).collect();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].contains("begins at byte 0 of the compressed form is damaged at byte"));
    assert!(said.last().is_some_and(|last| last.ends_with(LONG.trim_end())), "{said:?}");
    assert!(said.len() > 1_000);
}
