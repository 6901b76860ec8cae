//! Tables of PostgreSQL that rows name: one epoch for all of them, wherever the process is killed.

use serde_json::Value;
use testkit::services::{find, unique};

use super::Desk;
use super::replaced::ask;

const ROWS: usize = 600;
/// Points between the decision and the last word of an epoch, and before the decision.
const POINTS: [&str; 6] = [
    "decide.before",
    "decide.after",
    "postgres.commit.before",
    "postgres.commit.token",
    "postgres.commit.after",
    "decide.after",
];

/// Rows of four tenants, one of which cannot name a table; several epochs of them.
fn desk(url: &str, table: &str) -> Desk {
    let desk = Desk::new();
    let tenants = ["red", "green", "blue", "no.where"];
    let lines = (0..ROWS).map(|n| {
        let (tenant, day) = (tenants[n % 4], n % 3 + 1);
        format!("{{\"n\":{n},\"tenant\":\"{tenant}\",\"ts\":\"2015-05-0{day}T00:00:00Z\"}}\n")
    });
    desk.write("a.json", &lines.collect::<String>());
    desk.write(
        "tables.yaml",
        &format!(
            "name: {table}\nepoch: {{ bytes_max: 4KiB }}\nsources:\n  \
             lines: {{ type: file, paths: ['a.json'], block_bytes: 4KiB }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, \
             fields: {{ n: integer, tenant: text, ts: timestamp }} }}\nsinks:\n  \
             out: {{ type: postgres, input: parsed, url: '{url}', create: true,\n         \
             table: '{table}_{{tenant}}_{{ts:%d}}' }}\n"
        ),
    );
    desk
}

#[test]
fn killed_at_every_point_each_row_is_once_in_the_table_that_it_names() {
    let Some(url) = find("postgres") else { return };
    let table = unique("named");
    let desk = desk(&url, &table);
    let planned: Vec<Value> =
        serde_json::from_str(&desk.done(&["setup", "tables.yaml", "-f", "json"]).stdout).unwrap();
    assert!(planned.iter().any(|need| need.to_string().contains("named by rows")), "{planned:?}");
    for (at, point) in POINTS.iter().enumerate() {
        let killed = desk
            .command(&["run", "tables.yaml", "--until-end", "--quiet"])
            .env("LOGMILL_FAILPOINT", format!("{point}:{}", at % 2 + 1))
            .status()
            .expect("the program starts");
        assert_eq!(killed.code(), None, "it was killed at {point}");
    }
    desk.done(&["run", "tables.yaml", "--until-end", "--quiet"]);
    let audit = desk.done(&["audit", "tables.yaml", "--format", "json"]).json();
    let (found, missing) = (&audit["sinks"][0]["found"], &audit["sinks"][0]["missing"]);
    assert_eq!((found, missing), (&Value::from(ROWS * 3 / 4), &Value::from(0)), "{audit}");
    for tenant in ["red", "green", "blue"] {
        for day in 1..=3 {
            let sql = format!(
                "SELECT count(*), count(DISTINCT n), count(DISTINCT tenant) \
                 FROM {table}_{tenant}_0{day}"
            );
            assert_eq!(ask(&url, &sql), format!("{0}|{0}|1", ROWS / 12), "{tenant} {day}");
        }
    }
    let letters = "SELECT count(*) AS n FROM dead_letters WHERE reason LIKE '%is no name for a %'";
    let letters = desk.done(&["query", letters, "--format", "json"]).json();
    assert_eq!(letters[0]["n"], ROWS / 4, "{letters}");
    let checked = desk.done(&["check", "tables.yaml", "--connect"]);
    assert!(checked.stdout.contains("tables that match: 9"), "{}", checked.stdout);
}
