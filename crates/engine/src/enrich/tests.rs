use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, StringViewArray};
use arrow::datatypes::Int32Type;
use contract::transform::Output;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::memo::{ENTRIES_MAX, Memo};
use super::words::{Word, Words};
use crate::testing::{Setting, Table, apply, run, shown, step, step_error};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:26.0) Gecko/20100101 Firefox/26.0";

/// Writes a database in MaxMind's format: a tree of 24-bit records over IPv6 addresses (IPv4 lies
/// in `::/96`), then the values.
fn write_database(folder: &TempDir, name: &str, networks: &[(&str, u32, Value)]) -> PathBuf {
    let mut nodes: Vec<[Child; 2]> = vec![[Child::Empty; 2]];
    let mut values = Vec::new();
    for (address, bits, value) in networks {
        let address = match address.parse().unwrap() {
            IpAddr::V4(address) => Ipv6Addr::from_bits(address.to_bits().into()),
            IpAddr::V6(address) => address,
        };
        insert(&mut nodes, address.to_bits(), *bits, Child::Value(values.len()));
        encode(value, &mut values);
    }
    let count = nodes.len();
    let mut file = Vec::new();
    for child in nodes.iter().flatten() {
        let record = match child {
            Child::Empty => count,
            Child::Node(node) => *node,
            Child::Value(offset) => count + 16 + offset,
        };
        file.extend(&(record as u32).to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(values);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    file.extend(metadata(count as u32));
    let path = folder.path().join(name);
    fs::write(&path, file).unwrap();
    path
}

#[derive(Clone, Copy)]
enum Child {
    Empty,
    Node(usize),
    Value(usize),
}

fn insert(nodes: &mut Vec<[Child; 2]>, address: u128, bits: u32, value: Child) {
    let mut node = 0;
    for depth in 0..bits {
        let side = ((address >> (127 - depth)) & 1) as usize;
        if depth + 1 == bits {
            nodes[node][side] = value;
            return;
        }
        node = match nodes[node][side] {
            Child::Node(next) => next,
            _ => {
                nodes.push([Child::Empty; 2]);
                nodes[node][side] = Child::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

/// The format of values: a byte of type and size, then the content.
fn encode(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            assert!(text.len() < 29, "a short text");
            to.push((2 << 5) | text.len() as u8);
            to.extend(text.as_bytes());
        }
        Value::Object(entries) => {
            to.push((7 << 5) | entries.len() as u8);
            for (key, value) in entries {
                encode(&json!(key), to);
                encode(value, to);
            }
        }
        Value::Array(items) => {
            to.extend([items.len() as u8, 11 - 7]);
            items.iter().for_each(|item| encode(item, to));
        }
        other => panic!("no test needs {other}"),
    }
}

/// What stands at the end of a file. A reader is strict about the width of each number.
fn metadata(node_count: u32) -> Vec<u8> {
    let short = |number: u16| [&[(5 << 5) | 2][..], &number.to_be_bytes()].concat();
    let long = |number: u64| [&[8, 9 - 7][..], &number.to_be_bytes()].concat();
    let other = |value: Value| {
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        bytes
    };
    let entries = [
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        ("build_epoch", long(0)),
        ("database_type", other(json!("Test"))),
        ("description", other(json!({}))),
        ("ip_version", short(6)),
        ("languages", other(json!(["en"]))),
        ("node_count", [&[(6 << 5) | 4][..], &node_count.to_be_bytes()].concat()),
        ("record_size", short(24)),
    ];
    let mut bytes = vec![(7 << 5) | entries.len() as u8];
    for (key, value) in entries {
        encode(&json!(key), &mut bytes);
        bytes.extend(value);
    }
    bytes
}

fn geoip(path: &Path) -> Vec<(&'static str, Setting)> {
    vec![("field", "ip".into()), ("database", path.to_str().unwrap().into())]
}

/// `country/city` of each row.
fn places(output: &Output) -> Vec<String> {
    let rows = shown(output);
    let rows = rows.lines().skip(1);
    rows.map(|row| {
        let (_, found) = row.split_once("country=").unwrap();
        found.rsplit_once(" _position=").unwrap().0.replace(" city=", "/")
    })
    .collect()
}

#[test]
fn addresses_are_found_in_maxminds_own_layout() {
    let folder = TempDir::new().unwrap();
    let sweden = json!({
        "country": {"iso_code": "SE", "names": {"en": "Sweden", "de": "Schweden"}},
        "city": {"names": {"en": "Linköping"}},
        "location": {"time_zone": "Europe/Stockholm"},
    });
    let japan = json!({"country": {"iso_code": "JP", "names": {"en": "Japan", "de": "Japan"}}});
    let networks = [("89.160.20.0", 96 + 24, sweden), ("2001:218::", 32, japan)];
    let path = write_database(&folder, "city.mmdb", &networks);
    let ips = ["89.160.20.112", "2001:218::1", "1.1.1.1", "nobody", "::ffff:89.160.20.1"];
    let table = Table::new().texts("ip", &ips.map(Some));
    let output = run("enrich", &[("geoip", geoip(&path).into())], &table);
    assert_eq!(places(&output), ["Sweden/Linköping", "Japan/", "/", "/", "Sweden/Linköping"]);
    let ips =
        ["89.160.20.1:443", "[2001:218::1]:443", "2001:218::1%eth0", "[::ffff:89.160.20.1]:1"];
    let table = Table::new().texts("ip", &ips.map(Some));
    let output = run("enrich", &[("geoip", geoip(&path).into())], &table);
    assert_eq!(places(&output), ["Sweden/Linköping", "Japan/", "Japan/", "Sweden/Linköping"]);
    let mut german = geoip(&path);
    german.push(("language", "de".into()));
    let output = run("enrich", &[("geoip", german.into())], &table);
    assert_eq!(places(&output)[..2], ["Schweden/", "Japan/"]);
}

#[test]
fn addresses_are_found_in_flat_layouts_and_over_several_files() {
    let folder = TempDir::new().unwrap();
    let us = json!({"country_code": "US", "city": "Mountain View", "timezone": "x"});
    let empty = json!({"country_code": "FR", "city": "", "state1": ""});
    let named = json!({"country": "Norway", "country_code": "NO", "city_name": "Oslo"});
    let first = write_database(&folder, "a.mmdb", &[("8.8.8.0", 120, us), ("9.0.0.0", 104, empty)]);
    let second = write_database(&folder, "b.mmdb", &[("2a00::", 16, named)]);
    let both = vec![first.to_str().unwrap(), second.to_str().unwrap()];
    let settings = [("geoip", vec![("database", both.into())].into())];
    let table = Table::new().dictionary("ip", &["8.8.8.8", "9.1.1.1", "2a00::5"].map(Some));
    let step = step("enrich", &settings, &table).unwrap();
    let output = apply(step.as_ref(), &[table.batch()]);
    assert_eq!(places(&output), ["US/Mountain View", "FR/", "Norway/Oslo"]);
    let resources = step.resources();
    let paths: Vec<_> = resources.iter().map(|resource| &resource.path).collect();
    assert_eq!(paths, [&first, &second]);
    assert_eq!(resources[0].sha256.len(), 64);
    assert_ne!(resources[0].sha256, resources[1].sha256);
}

#[test]
fn a_database_that_cannot_be_read_is_named() {
    let folder = TempDir::new().unwrap();
    let table = Table::new().texts("ip", &[Some("1.1.1.1")]);
    let missing = folder.path().join("none.mmdb");
    let said = step_error("enrich", &[("geoip", geoip(&missing).into())], &table);
    assert!(said.starts_with("geoip.database: could not read the GeoIP database \""), "{said}");
    assert!(said.contains("none.mmdb"), "{said}");
    let broken = folder.path().join("broken.mmdb");
    fs::write(&broken, "no database").unwrap();
    let said = step_error("enrich", &[("geoip", geoip(&broken).into())], &table);
    assert!(said.contains("broken.mmdb\" is damaged or in another format"), "{said}");
}

#[test]
fn a_database_cut_short_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let us = json!({"country_code": "US", "city": "Mountain View"});
    let path = write_database(&folder, "a.mmdb", &[("8.8.8.0", 120, us)]);
    let whole = fs::read(&path).unwrap();
    let table = Table::new().texts("ip", &[Some("8.8.8.8")]);
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let made = step("enrich", &[("geoip", geoip(&path).into())], &table);
        assert!(made.is_err(), "a file of {cut} bytes of {} was taken", whole.len());
    }
}

#[test]
fn new_columns_stand_before_the_programs_own_and_the_order_of_rows_stays() {
    let agents = [Some(FIREFOX), None, Some("curl/8.1.0"), Some(FIREFOX)];
    let table = Table::new().texts("agent", &agents).booleans("_lossy", &[Some(false); 4]);
    let output = run("enrich", &[("user_agent", "agent".into())], &table);
    let rows = shown(&output).replace(FIREFOX, "F");
    let rows: Vec<_> = rows.lines().skip(1).collect();
    let known = "agent=F ua_device=pc ua_os=Linux ua_browser=Firefox 26.0 ua_bot=false";
    let null = "agent= ua_device= ua_os= ua_browser= ua_bot=";
    let curl = "agent=curl/8.1.0 ua_device= ua_os=Other ua_browser=curl 8.1.0 ua_bot=true";
    for (position, expect) in [known, null, curl, known].iter().enumerate() {
        assert_eq!(rows[position], format!("{expect} _lossy=false _position={position}"));
    }
}

#[test]
fn wrong_settings_are_named() {
    let table = Table::new().texts("agent", &[None]).integers("n", &[None]);
    let check = |settings: &[(&str, Setting)], expect: &str| {
        assert_eq!(step_error("enrich", settings, &table), expect);
    };
    check(&[], "-: expected `user_agent` or `geoip`; -");
    check(
        &[("user_agent", "agnt".into())],
        "user_agent: unknown column \"agnt\"; did you mean \"agent\"?",
    );
    check(&[("user_agent", "n".into())], "user_agent: column \"n\" is Int64, expected text; -");
    let again = Table::new().texts("ua_os", &[None]);
    assert_eq!(
        step_error("enrich", &[("user_agent", "ua_os".into())], &again),
        "-: column \"ua_os\" would stand twice; \
         leave that column out with a `sql` step: `SELECT * EXCEPT (country) …`"
    );
}

#[test]
fn a_memo_asks_once_per_text_and_says_when_it_is_full() {
    let mut memo = Memo::new();
    let mut asked = HashSet::new();
    for round in 0..80_u64 {
        assert_eq!(memo.exceeds_share_of(1), asked.len() >= ENTRIES_MAX);
        assert_eq!(memo.exceeds_share_of(64), asked.len() >= ENTRIES_MAX / 64);
        let numbers = (0..1_000).map(|number| round * 900 + number);
        let texts: StringViewArray =
            numbers.clone().map(|number| Some(number.to_string())).collect();
        let found = memo.look_up(&texts, None, &mut |text| {
            assert!(asked.insert(text.to_owned()), "{text} was asked for twice");
            Ok(text.parse::<u64>().ok())
        });
        assert!(found.unwrap().into_iter().eq(numbers.map(Some)));
    }
    assert_eq!(asked.len(), 79 * 900 + 1_000);
    assert!(memo.is_full());
    memo.clear();
    assert!(!memo.exceeds_share_of(usize::MAX));
}

#[test]
fn more_addresses_than_are_remembered_are_found_all_the_same() {
    let folder = TempDir::new().unwrap();
    let named = |name: String| json!({"country": name, "city_name": "x"});
    let networks: Vec<_> = (0..64_u8)
        .map(|first| (format!("{}.0.0.0", first + 1), named(format!("C{first}"))))
        .collect();
    let networks: Vec<_> =
        networks.iter().map(|(ip, place)| (ip.as_str(), 96 + 8, place.clone())).collect();
    let path = write_database(&folder, "many.mmdb", &networks);
    let ips: Vec<String> = (0..200_000_u32)
        .map(|number| format!("{}.{}.{}.9", number % 64 + 1, number / 64 % 256, number / 16_384))
        .collect();
    let ips: Vec<_> = ips.iter().map(|ip| Some(ip.as_str())).collect();
    let table = Table::new().texts("ip", &ips);
    let expect: Vec<_> = (0..200_000).map(|number| format!("C{}/x", number % 64)).collect();
    assert!(places(&run("enrich", &[("geoip", geoip(&path).into())], &table)) == expect);
}

#[test]
fn a_dictionary_has_the_words_of_its_batch_alone() {
    let mut words = Words::default();
    let [a, b, c] = ["a", "b", "c"].map(|word| words.number(Some(word)).unwrap());
    assert!(a == words.number(Some("a")).unwrap() && a != b);
    for (rows, keys, texts) in [
        (vec![a, b, a], vec![Some(0), Some(1), Some(0)], vec!["a", "b"]),
        (vec![c, Word::NONE, a, c], vec![Some(0), None, Some(1), Some(0)], vec!["c", "a"]),
        (vec![Word::NONE], vec![None], vec![]),
        (vec![], vec![], vec![]),
    ] {
        let column = words.column(rows.into_iter()).unwrap();
        let column = column.as_dictionary::<Int32Type>();
        assert_eq!(column.keys().iter().collect::<Vec<_>>(), keys);
        let found: Vec<_> = column.values().as_string::<i32>().iter().flatten().collect();
        assert_eq!(found, texts);
    }
}
