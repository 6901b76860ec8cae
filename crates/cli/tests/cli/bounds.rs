//! Functions that make much of little, in questions as in pipelines.

use crate::Desk;
use crate::serve::{Server, wait_for};

/// Calls of which one row would be more than any memory holds.
const GREEDY: [&str; 10] = [
    "rpad('a', 2147483647)",
    "lpad('a', 2147483647, 'xy')",
    "repeat('a', 2147483647)",
    "replace(repeat('a', 100000), 'a', repeat('b', 100000))",
    "concat_ws(repeat('x', 300000), 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')",
    "array_to_string(array_repeat('', 20000), repeat('x', 40000))",
    "concat(repeat('x', 1000000), repeat('y', 1000000), repeat('z', 1000000))",
    "(repeat('x', 1000000) || repeat('y', 1000000)) || (repeat('x', 1000000) || repeat('y', 1000000))",
    "cardinality(generate_series(1, 100000000000))",
    "cardinality(range(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-02', INTERVAL '1 microsecond'))",
];

#[test]
fn a_call_that_makes_more_than_a_row_may_hold_is_a_plain_error() {
    let desk = Desk::new();
    for call in GREEDY {
        let ran = desk.run(&["query", &format!("SELECT {call} AS made")]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{call}: {}", ran.stderr);
        let part = "would make more than 1048576 bytes of one row";
        assert!(ran.stderr.contains(part), "{call}: {}", ran.stderr);
        assert!(!ran.stderr.contains("defect"), "{call}: {}", ran.stderr);
    }
    // Of many rows each within the bound, all together are not.
    let many = "SELECT sum(length(rpad(CAST(value AS TEXT), 100000))) AS n \
                FROM generate_series(1, 30000) AS t(value)";
    let ran = desk.run(&["query", many]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("bytes of one batch of rows"), "{}", ran.stderr);
    let usual = "SELECT sum(length(replace(repeat('ab', 500), 'a', 'xyz'))) AS n, \
                 max(length(rpad(CAST(value AS TEXT), 1000))) AS m \
                 FROM generate_series(1, 30000) AS t(value)";
    let ran = desk.done(&["query", usual, "--format", "csv"]);
    assert_eq!(ran.stdout, "n,m\n60000000,1000\n");
}

#[test]
fn the_same_call_is_a_problem_over_http_and_the_server_goes_on() {
    let desk = Desk::new();
    let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env_remove("LOGMILL_TOKEN");
    let server = Server::of(command);
    wait_for("the server", || server.get("/session").status == 200);
    for call in GREEDY {
        let sql = serde_json::json!({ "sql": format!("SELECT {call} AS made") }).to_string();
        let got = server.post("/query", &sql);
        assert_eq!(got.status, 400, "{call}: {got:?}");
        assert!(got.body.contains("would make more than"), "{call}: {got:?}");
    }
    assert_eq!(server.get("/session").status, 200);
}

#[test]
fn whole_numbers_of_a_question_do_not_wrap() {
    let desk = Desk::new();
    desk.write("n.jsonl", "{\"n\": 9223372036854775807}\n{\"n\": 1}\n");
    let ask = |what: &str| {
        let sql = format!("SELECT {what} AS made FROM log('n.jsonl', 'json') WHERE n > 1");
        desk.run(&["query", &sql, "--format", "csv"])
    };
    for what in ["CAST(n AS BIGINT) + 1", "CAST(n AS BIGINT) * 2", "-CAST(n AS BIGINT) - 2"] {
        let ran = ask(what);
        assert_eq!((ran.code, ran.stdout.contains("-922")), (2, false), "{what}: {}", ran.stdout);
        assert!(ran.stderr.to_lowercase().contains("overflow"), "{what}: {}", ran.stderr);
    }
    assert_eq!(ask("CAST(n AS BIGINT) - 1").stdout, "made\n9223372036854775806\n");
}

#[test]
fn whole_numbers_do_not_wrap_in_any_part_of_a_question() {
    let desk = Desk::new();
    desk.write("n.jsonl", "{\"n\": 9223372036854775807, \"k\": 1}\n{\"n\": 1, \"k\": 2}\n");
    let ask = |sql: &str| {
        let sql = format!("WITH n AS (SELECT * FROM log('n.jsonl', 'json')) {sql}");
        desk.run(&["query", &sql, "--format", "csv"])
    };
    for wraps in [
        "SELECT 9223372036854775807 + 1",
        "SELECT k FROM n WHERE k < 9223372036854775807 * 2",
        "SELECT max(n + 1) FROM n",
        "SELECT count(DISTINCT n * 2) FROM n",
        "SELECT count(*) FILTER (WHERE n + 1 > 0) FROM n",
        "SELECT first_value(k ORDER BY n + 1) FROM n",
        "SELECT n + 1, count(*) FROM n GROUP BY n + 1",
        "SELECT count(*) FROM n GROUP BY ROLLUP (n + k)",
        "SELECT count(*) FROM n GROUP BY k HAVING max(n) * 3 > 0",
        "SELECT k FROM n ORDER BY n + 1",
        "SELECT k FROM n ORDER BY -n - 2",
        "SELECT DISTINCT ON (n + 1) k FROM n",
        "SELECT row_number() OVER (PARTITION BY n + 1) FROM n",
        "SELECT row_number() OVER (ORDER BY n + 1) FROM n",
        "SELECT lag(n + 1) OVER (ORDER BY k) FROM n",
        "SELECT a.k FROM n a JOIN n b ON a.n + 1 = b.n",
        "SELECT a.k FROM n a JOIN n b ON a.k = b.k AND a.n + b.n > 0",
        "SELECT a.k FROM n a LEFT JOIN n b ON a.n + 1 > b.n",
        "SELECT k FROM n WHERE k IN (SELECT n + 1 FROM n)",
        "SELECT k, (SELECT max(b.n + 1) FROM n b WHERE b.k = a.k) FROM n a",
        "SELECT k FROM n UNION ALL SELECT n + 1 FROM n",
    ] {
        let ran = ask(wraps);
        assert_eq!(ran.code, 2, "{wraps}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.to_lowercase().contains("overflow"), "{wraps}: {}", ran.stderr);
    }
    for (fits, expect) in [
        ("SELECT max(n - 1) AS m FROM n", "m\n9223372036854775806\n"),
        (
            "SELECT n - 1 AS m, count(*) AS c FROM n GROUP BY n - 1 ORDER BY n - 1 LIMIT 1",
            "m,c\n0,1\n",
        ),
        ("SELECT k + 1 FROM n WHERE n = 1", "n.k + Int64(1)\n3\n"),
        ("SELECT k FROM n a WHERE EXISTS (SELECT 1 FROM n b WHERE b.k = a.k + 1)", "k\n1\n"),
        ("SELECT -k AS m FROM n ORDER BY -k LIMIT 1", "m\n-2\n"),
        ("SELECT count(*) AS c FROM n GROUP BY ROLLUP (k - 1) ORDER BY c DESC LIMIT 1", "c\n2\n"),
    ] {
        let ran = ask(fits);
        assert_eq!(ran.stdout, expect, "{fits}: {}", ran.stderr);
    }
}

#[test]
fn sums_of_whole_numbers_do_not_wrap() {
    let desk = Desk::new();
    let most = i64::MAX;
    let rows = [(most, 1), (5, 1), (-9, 1), (most, 2), (most - 1, 2)];
    let rows = rows.map(|(n, k)| format!("{{\"n\": {n}, \"k\": {k}}}\n"));
    desk.write("n.jsonl", &rows.concat());
    let ask = |sql: &str| {
        let sql = sql.replace("FROM n", "FROM log('n.jsonl', 'json')");
        desk.run(&["query", &sql, "--format", "csv"])
    };
    for wraps in [
        "SELECT sum(n) FROM n WHERE k = 2",
        "SELECT k, sum(n) FROM n GROUP BY k",
        "SELECT sum(n) OVER (ORDER BY n) FROM n",
        "SELECT sum(n) OVER (ORDER BY n ROWS 1 PRECEDING) FROM n",
        "SELECT sum(DISTINCT n), sum(DISTINCT k) FROM n WHERE k = 2",
    ] {
        let ran = ask(wraps);
        assert_eq!(ran.code, 2, "{wraps}: {}", ran.stdout);
        assert!(ran.stderr.contains("DECIMAL(38, 0)"), "{wraps}: {}", ran.stderr);
    }
    let fits = format!("{}\n", most - 4);
    for whole in [
        "SELECT sum(n) AS s FROM n WHERE k = 1",
        "SELECT sum(n) AS s FROM n WHERE k = 1 GROUP BY k",
    ] {
        assert_eq!(ask(whole).stdout, format!("s\n{fits}"), "{whole}");
    }
    let wide = "SELECT sum(CAST(n AS DECIMAL(38, 0))) AS s FROM n WHERE k = 2";
    assert_eq!(ask(wide).stdout, "s\n18446744073709551613\n");
    assert_eq!(ask("SELECT sum(n) AS s FROM n WHERE k = 3").stdout, "s\n\"\"\n");
}
