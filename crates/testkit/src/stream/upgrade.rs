//! A pipeline that is killed amid an epoch and started again as another version of itself.
//!
//! Each version writes into every row who it is and what its GeoIP database says, so a row shows by
//! which version it was made.

use std::path::Path;

use super::destinations::destination;
use super::feed::{self, Feed};
use super::servers::Called;
use super::tally::Tally;
use crate::program::{Killed, Program};
use crate::services::{find, unique};

/// Records that each version finds.
const ROWS: u64 = 1_000;
const DATABASE: &str = "places.mmdb";

/// The file and its database, before and after.
const VERSIONS: [(&str, &str); 2] = [("old", "Uppsala"), ("new", "Lund")];

/// Kills the program at a point of the first epoch, which is decided then; gives the next start
/// another pipeline file, another database and more records. The epoch must end as it was decided,
/// and what comes after it must be the work of the new version. None where a server is absent.
///
/// # Panics
/// The point is not passed, or a row is not as and where it must be.
pub fn upgrade_amid(program: &Path, folder: &Path, point: &str) -> Option<()> {
    let brokers = find("kafka")?;
    let program = Program::new(program, folder);
    let (name, topic) = (unique("upgraded"), unique("feed"));
    let mut feed = Feed::new(&brokers, &topic, 1);
    let destinations =
        [destination("kafka", Called::Directly)?, destination("postgres", Called::Directly)?];
    let data = program.fresh("data");
    for (version, city) in VERSIONS {
        let [kafka, postgres] = destinations.each_ref().map(|destination| destination.settings());
        let pipeline = format!(
            "name: {name}\nsources:\n  feed: {{ type: kafka, brokers: {brokers:?}, \
             topics: {topic} }}\ntransforms:\n  parsed: {{ type: parse, input: feed, \
             format: json, fields: {{ id: integer }} }}\n  addressed: {{ type: sql, \
             query: \"SELECT id, '192.0.2.1' AS ip FROM parsed\" }}\n  placed: {{ type: enrich, \
             input: addressed, geoip: {{ database: {DATABASE} }} }}\n  made: {{ type: sql, \
             query: \"SELECT id, city || ', {version}' AS word FROM placed\" }}\nsinks:\n  \
             kafka: {{ input: made, {kafka} }}\n  postgres: {{ input: made, {postgres} }}\n"
        );
        std::fs::write(folder.join("pipeline.yaml"), pipeline).expect("a pipeline file");
        std::fs::write(folder.join(DATABASE), database(city)).expect("a database");
        feed.add(ROWS);
        if version == VERSIONS[0].0 {
            let killed = program.start(&data, Some(point)).killed();
            assert_eq!(killed, Killed::Yes, "{point} is passed");
        }
    }
    let status = program.start(&data, None).wait();
    assert!(status.success(), "the new version ends well: {status}");
    for destination in destinations {
        let mut tally = Tally::of(feed.ids(), |id| {
            let (version, city) = VERSIONS[usize::from(id >= ROWS)];
            format!("{city}, {version}")
        });
        destination.read(&program, &data, &mut tally);
        tally.check(feed::is_whole).unwrap_or_else(|found| panic!("{point}: {found}"));
    }
    program.audit(&data);
    Some(())
}

/// A GeoIP database in MaxMind's format that has every address in one city.
fn database(city: &str) -> Vec<u8> {
    const MARK: &[u8] = b"\xab\xcd\xefMaxMind.com";
    // A tree of one node, whose two branches both end at the first record, and 16 zeros.
    let tree = [0, 0, 17, 0, 0, 17].into_iter().chain([0; 16]);
    let record = map(&[("city", map(&[("names", map(&[("en", text(city))]))]))]);
    let (uint16, uint32) = (5, 6);
    let number = |kind: u8, value: u8| vec![kind << 5 | 1, value];
    let about = map(&[
        ("node_count", number(uint32, 1)),
        ("record_size", number(uint16, 24)),
        ("ip_version", number(uint16, 4)),
        ("database_type", text("City")),
        ("languages", [vec![1, 4], text("en")].concat()),
        ("binary_format_major_version", number(uint16, 2)),
        ("binary_format_minor_version", number(uint16, 0)),
        ("build_epoch", vec![1, 2, 1]),
        ("description", map(&[("en", text("one city"))])),
    ]);
    tree.chain(record).chain(MARK.iter().copied()).chain(about).collect()
}

fn text(value: &str) -> Vec<u8> {
    [&[2 << 5 | size(value.len())], value.as_bytes()].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut map = vec![7 << 5 | size(entries.len())];
    for (key, value) in entries {
        map.extend(text(key));
        map.extend(value);
    }
    map
}

/// A size that stands in the same byte as the kind.
fn size(size: usize) -> u8 {
    u8::try_from(size).ok().filter(|size| *size < 29).expect("our values are small")
}
