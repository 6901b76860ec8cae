//! Compressed files with bytes before, between and behind their members that belong to none.

use std::io::{Read, Write};

use contract::source::Until;
use serde_json::json;

use super::bytes::age;
use super::{Bench, describe, gzip, many_lines};

type Pack = fn(&str) -> Vec<u8>;

/// A log as each program compresses it, the setting and the end of a name that say so.
fn packs() -> [(&'static str, &'static str, Pack); 4] {
    [
        ("gzip", "gz", |text| gzip(text)),
        ("zstd", "zst", |text| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
            encoder.include_checksum(true).expect("a setting");
            encoder.write_all(text.as_bytes()).expect("memory takes it");
            encoder.finish().expect("memory takes it")
        }),
        ("bzip2", "bz2", |text| {
            let level = bzip2::Compression::fast();
            let mut packed = Vec::new();
            let mut encoder = bzip2::read::BzEncoder::new(text.as_bytes(), level);
            encoder.read_to_end(&mut packed).expect("memory takes it");
            packed
        }),
        ("xz", "xz", |text| {
            let mut packed = Vec::new();
            let mut encoder = liblzma::read::XzEncoder::new(text.as_bytes(), 0);
            encoder.read_to_end(&mut packed).expect("memory takes it");
            packed
        }),
    ]
}

/// Bytes as damage leaves them.
fn noise() -> Vec<u8> {
    (1..701u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn members_are_read_behind_what_is_none_as_it_comes() {
    for (name, suffix, pack) in packs() {
        // Told by the setting, and by the name.
        for settings in [json!({ "compression": name }), json!({})] {
            let mut bench = Bench::with("*", settings);
            let file = format!("a.log.{suffix}");
            bench.write(&file, noise());
            let error = bench.try_read().await.expect_err("there is no member");
            assert!(error.chain().contains(&format!("it is not {name}")), "{}", error.chain());
            assert!(error.hint_text().is_some_and(|hint| hint.contains("restore it")));
            bench.append(&file, pack("one\ntwo\n"));
            let said = bench.read().await;
            let head =
                format!("{file}@0! what follows byte 0 of the compressed form belongs to no ");
            assert!(said[0].starts_with(&head), "{said:?}");
            let rows = ["one", "two"].map(str::to_owned);
            let texts = |said: &[String]| -> Vec<String> {
                said.iter().map(|one| one.split_once(' ').expect("a place").1.to_owned()).collect()
            };
            assert_eq!(texts(&said[1..]), rows);
            // More of both, and a process that knows of nothing.
            bench.append(&file, noise());
            let said = bench.read().await;
            assert!(said.len() == 1 && said[0].contains("belongs to no"), "{said:?}");
            bench.restart();
            bench.append(&file, [noise(), pack("three\n"), vec![0; 512], pack("four\n")].concat());
            assert_eq!(texts(&bench.read().await), ["three", "four"]);
            bench.restart();
            assert_eq!(bench.read().await, [""; 0], "{name}");
        }
    }
}

#[tokio::test]
async fn a_damaged_member_spares_the_next_one() {
    for (name, suffix, pack) in packs() {
        let mut damaged = pack(&many_lines("damaged", 0..20_000));
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0xff);
        let cut = pack(&many_lines("cut", 0..20_000));
        let long = "a line that is long enough to believe in\n";
        let parts =
            [pack("first\n"), damaged, pack(long), cut[..cut.len() / 2].to_vec(), pack(long)];
        let mut bench = Bench::new();
        bench.write(&format!("a.{suffix}"), parts.concat());
        let said = bench.read().await;
        let count = |text: &str| said.iter().filter(|one| one.contains(text)).count();
        assert_eq!((count(" first"), count(long.trim_end())), (1, 2), "{name}");
        assert!(count("is damaged at byte") + count("was not finished") >= 1, "{name}");
        bench.restart();
        assert_eq!(bench.read().await, [""; 0], "{name}");
    }
}

#[tokio::test]
async fn text_under_a_name_of_a_compression_is_text() {
    let mut bench = Bench::new();
    bench.write("a.log.gz", "one\ntwo\n");
    assert_eq!(bench.read().await, ["a.log.gz@0 one", "a.log.gz@4 two"]);
}

#[tokio::test]
async fn members_behind_text_are_lines_like_the_rest_unless_setting_or_name_say_otherwise() {
    for (name, suffix, pack) in packs() {
        // As a shell that greets leaves it before what it was asked for.
        let greeting = "Last login: Sat Nov 28 08:00:00 UTC from 192.0.2.7\nWelcome\n";
        let bytes = [greeting.as_bytes(), &pack("one\ntwo\n"), b"\n"].concat();
        let mut bench = Bench::new();
        let file = "a.log".to_owned();
        bench.write(&file, &bytes);
        // NULs in a file that is new wait, and what stands behind them.
        age(&bench, &file, 3600);
        bench.discover().await;
        let mut reader = bench.open(&bench.id(&file), Until::End).await.expect("a file");
        let (mut said, mut read) = (Vec::new(), 0);
        while let Some(batch) = reader.next_batch().await.expect("lines") {
            read += batch.bytes;
            said.extend(describe(&batch));
        }
        // Each byte stands in one of them, or in a gap that is told.
        assert_eq!(read, bytes.len() as u64, "{name}");
        let greeted: Vec<_> = said.iter().take(2).map(String::as_str).collect();
        assert_eq!(greeted, ["0 Last login: Sat Nov 28 08:00:00 UTC from 192.0.2.7", "51 Welcome"]);
        assert!(said.len() > 2 && !said.iter().any(|line| line.contains("belongs")), "{said:?}");
        for (file, settings) in [
            ("a.log".to_owned(), json!({ "compression": name })),
            (format!("a.log.{suffix}"), json!({})),
        ] {
            let mut bench = Bench::with("*", settings);
            bench.write(&file, &bytes);
            let said = bench.read().await;
            let letter = format!("{file}@0! what follows byte 0 of the compressed form belongs to");
            assert!(said[0].starts_with(&letter), "{said:?}");
            assert!(said[1].ends_with(" one") && said[2].ends_with(" two"), "{said:?}");
        }
    }
}
