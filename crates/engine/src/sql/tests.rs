use contract::transform::{EpochStart, Means, Output};
use proptest::prelude::{Just, prop, prop_oneof, proptest};

use crate::testing::{Setting, Table, apply, run, section, shown, step, step_error};

fn table() -> Table {
    Table::new()
        .dictionary("method", &[Some("GET"), Some("POST"), None, Some("GET")])
        .texts("endpoint", &[Some("/a?x=1"), Some("/b"), Some("/c"), Some("12")])
        .integers("status", &[Some(200), Some(503), Some(500), None])
        .times("ts", &[Some(0), Some(60), Some(3_600), Some(86_400)])
}

fn check(query: &str, expect: &str) {
    let output = run("sql", &[("query", query.into())], &table());
    assert_eq!(shown(&output), expect, "{query}");
    assert!(output.rejects.is_empty(), "{:?}", output.rejects);
}

fn refused(query: &str, expect: &str) {
    assert_eq!(step_error("sql", &[("query", query.into())], &table()), format!("query: {expect}"));
}

#[test]
fn rows_are_chosen_and_columns_computed_and_the_origin_comes_along() {
    check(
        "SELECT endpoint, status + 1 AS next FROM rows WHERE status >= 500",
        "port 0\nendpoint=/b next=504 _position=1\nendpoint=/c next=501 _position=2\n",
    );
    check(
        "SELECT * EXCEPT (ts, endpoint) FROM rows WHERE method = 'GET'",
        "port 0\nmethod=GET status=200 _position=0\nmethod=GET status= _position=3\n",
    );
    check(
        "SELECT _position, lower(method) FROM rows WHERE endpoint LIKE '/%' AND method ~ '^P'",
        "port 0\n_position=1 lower(method)=post\n",
    );
    check("SELECT status FROM rows WHERE false", "");
    check("SELECT _position AS p FROM rows WHERE status = 200", "port 0\np=0 _position=0\n");
    check(
        "SELECT s FROM (SELECT status AS s, method FROM rows WHERE status > 0) WHERE s >= 500",
        "port 0\ns=503 _position=1\ns=500 _position=2\n",
    );
    check(
        "WITH bad AS (SELECT * FROM rows WHERE status >= 500) SELECT endpoint FROM bad AS b \
         WHERE b.method IS NULL",
        "port 0\nendpoint=/c _position=2\n",
    );
}

#[test]
fn functions_work_on_dictionaries_and_views() {
    check(
        "SELECT CASE WHEN status >= 500 THEN 'bad' ELSE coalesce(method, '-') END AS kind, \
         parse_url(endpoint, 'path') AS path, length(method) AS n FROM rows \
         WHERE status IS NOT NULL",
        "port 0\nkind=GET path=/a n=3 _position=0\nkind=bad path=/b n=4 _position=1\n\
         kind=bad path=/c n= _position=2\n",
    );
    check(
        "SELECT regexp_replace(endpoint, '[0-9]+', 'N') AS e FROM rows \
         WHERE method IN ('GET', 'HEAD')",
        "port 0\ne=/a?x=N _position=0\ne=N _position=3\n",
    );
}

#[test]
fn points_in_time_leave_as_utc_microseconds() {
    check(
        "SELECT date_trunc('hour', ts) AS hour, to_timestamp('2020-01-01T00:00:00Z') AS then \
         FROM rows WHERE ts >= '1970-01-01T01:00:00Z' AND ts < '1970-01-02'",
        "port 0\nhour=1970-01-01T01:00:00Z then=2020-01-01T00:00:00Z _position=2\n",
    );
}

#[test]
fn now_is_the_time_of_the_epoch() {
    let query = "SELECT now() AS n FROM rows WHERE status = 200 AND ts < now()";
    check(query, "port 0\nn=2020-09-13T12:26:40Z _position=0\n");
    let step = step("sql", &[("query", query.into())], &table()).unwrap();
    let mut worker = step.build(Means::default()).unwrap();
    let mut rows_at = |epoch, now_us| {
        worker.start_epoch(EpochStart { epoch, now_us }).unwrap();
        let mut out = Output::default();
        worker.apply(&table().batch(), &mut out).unwrap();
        shown(&out)
    };
    assert_eq!(rows_at(1, 1_000_000), "port 0\nn=1970-01-01T00:00:01Z _position=0\n");
    assert_eq!(rows_at(2, 0), "");
}

#[test]
fn a_row_that_cannot_be_computed_is_refused_alone() {
    let table = Table::new().texts("x", &[Some("1"), Some("two"), Some("3"), None, Some("é")]);
    let query = "SELECT CAST(x AS BIGINT) AS n FROM rows";
    let output = run("sql", &[("query", query.into())], &table);
    assert_eq!(shown(&output), "port 0\nn=1 _position=0\nn=3 _position=2\nn= _position=3\n");
    let refused: Vec<_> =
        output.rejects.iter().map(|reject| (reject.position, reject.reason.as_str())).collect();
    assert_eq!(
        refused,
        [
            (1, "cannot cast string 'two' to value of Int64 type"),
            (4, "cannot cast string 'é' to value of Int64 type"),
        ]
    );
    assert!(output.rejects.iter().all(|reject| reject.original.is_none()));
}

#[test]
fn several_queries_have_outputs_of_their_own_and_share_refusals() {
    let table = Table::new().texts("x", &[Some("1"), Some("two"), Some("30")]);
    let queries: &[(&str, &str)] = &[
        ("all_of_them", "SELECT x FROM rows"),
        ("big", "SELECT CAST(x AS BIGINT) AS n FROM rows WHERE CAST(x AS BIGINT) > 10"),
    ];
    let output = run("sql", &[("queries", queries.into())], &table);
    assert_eq!(
        shown(&output),
        "port 0\nx=1 _position=0\nx=30 _position=2\nport 1\nn=30 _position=2\n"
    );
    assert_eq!((output.rejects.len(), output.expanded, output.filtered), (1, 1, 0));
    let queries: &[(&str, &str)] = &[
        ("one", "SELECT x FROM rows WHERE x = '1'"),
        ("thirty", "SELECT x FROM rows WHERE x = '30'"),
    ];
    let output = run("sql", &[("queries", queries.into())], &table);
    assert_eq!((output.rejects.len(), output.expanded, output.filtered), (0, 0, 1));
}

/// The positions that a query refuses, with the reasons.
fn refusals(query: &str, table: &Table) -> Vec<(i64, String)> {
    let output = run("sql", &[("query", query.into())], table);
    output.rejects.into_iter().map(|reject| (reject.position, reject.reason)).collect()
}

#[test]
fn what_a_function_makes_of_one_row_is_bounded() {
    let table = Table::new()
        .texts("t", &[Some("a"), Some("bb"), None, Some("c")])
        .integers("n", &[Some(3), Some(2_147_483_647), Some(2_147_483_647), Some(-1)]);
    for call in [
        "repeat(t, n)",
        "lpad(t, n)",
        "rpad(t, n, 'xy')",
        "replace(repeat(t, 1000), 'bb', repeat('x', 2000))",
        "length(repeat(t, n))",
        "regexp_replace(repeat(t, 40000), 'b', repeat(t, 40), 'g')",
        "array_to_string(array_repeat(repeat(t, 600), CASE t WHEN 'bb' THEN 1000 ELSE 1 END), '')",
        "levenshtein(repeat(t, 8000), repeat(t, 8000))",
        "generate_series(DATE '0001-01-01', CASE t WHEN 'bb' THEN DATE '9999-01-01' END, \
         INTERVAL '1 day')",
        "range(TIMESTAMP '2026-01-01', CASE t WHEN 'bb' THEN TIMESTAMP '2026-01-02' END, \
         INTERVAL '1 microsecond')",
    ] {
        let found = refusals(&format!("SELECT {call} AS made FROM rows"), &table);
        let [(position, reason)] = &found[..] else { panic!("{call}: {found:?}") };
        assert_eq!(*position, 1, "{call}");
        assert!(reason.contains("would make more than 1048576 bytes of one row"), "{reason}");
    }
    for call in [
        "concat(repeat(t, 500000), repeat(t, 500000), repeat(t, 500000))",
        "concat_ws(repeat(t, 300000), 'a', 'b', 'c', 'd')",
        "(repeat(t, 500000) || repeat(t, 500000)) || (repeat(t, 500000) || repeat(t, 500000))",
        "overlay(repeat(t, 524288) PLACING repeat(t, 524288) || 'xyz' FROM 1 FOR 0) || repeat(t, 524288)",
        "array_to_string(array_repeat('', 20000), repeat(t, 40))",
        "cardinality(array_replace_all(array_repeat(t, 20000), 'bb', repeat(t, 40)))",
        "[repeat(t, 500000), repeat(t, 500000), repeat(t, 500000)]",
    ] {
        let found = refusals(&format!("SELECT {call} AS made FROM rows"), &table);
        let [(position, reason)] = &found[..] else { panic!("{call}: {found:?}") };
        assert_eq!(*position, 1, "{call}");
        assert!(reason.contains("would make more than 1048576 bytes of one row"), "{reason}");
    }
    // A list of nulls is as long as any other.
    let lists = "SELECT cardinality(array_repeat(t, n)) AS made FROM rows";
    assert_eq!(refusals(lists, &table).len(), 2);
    // Rows that are each within the bound and together are not: the batch is worked on in parts.
    let many = Table::new().texts("t", &vec![Some("0123456789abcdef"); 200]);
    let output = run("sql", &[("query", "SELECT repeat(t, 65536) AS r FROM rows".into())], &many);
    assert!(output.rejects.is_empty(), "{:?}", output.rejects);
    assert!(output.batches.len() > 1);
    let days = "SELECT cardinality(range(DATE '2026-01-01', DATE '2027-01-01', \
                INTERVAL '1 month')) AS made FROM rows";
    assert!(refusals(days, &many).is_empty());
}

#[test]
fn what_a_function_makes_of_a_batch_follows_the_memory() {
    let table = Table::new().texts("t", &vec![Some("0123456789abcdef"); 200]);
    let step = step("sql", &[("query", "SELECT repeat(t, 4096) AS r FROM rows".into())], &table);
    let step = step.unwrap();
    let made = |memory_bytes: u64| {
        let mut worker = step.build(Means { memory_bytes, ..Means::default() }).unwrap();
        worker.start_epoch(EpochStart { epoch: 1, now_us: 0 }).unwrap();
        let mut out = Output::default();
        worker.apply(&table.batch(), &mut out).unwrap();
        assert!(out.rejects.is_empty(), "{:?}", out.rejects);
        out.batches.iter().map(|(_, batch)| batch.num_rows()).collect::<Vec<_>>()
    };
    // 12.5 MiB of 64 KiB each; a quarter of 32 MiB is 8.
    assert_eq!(made(256 << 20), [200]);
    assert_eq!(made(32 << 20), [100, 100]);
    // However little there is, a row is worked on.
    assert_eq!(made(1).iter().sum::<usize>(), 200);
}

#[test]
fn long_lines_may_be_put_together_with_short_texts() {
    let line = "x".repeat(5 << 20);
    let table = Table::new().texts("t", &[Some(&line), Some("y"), None]);
    let query = "SELECT length('> ' || t) AS a, length(concat('> ', t, ' <')) AS b, \
                 length(concat_ws(', ', t, 'z')) AS c, 'n' || 1 || t AS d FROM rows WHERE t IS NULL \
                 OR length(t) > 1";
    let output = run("sql", &[("query", query.into())], &table);
    assert!(output.rejects.is_empty(), "{:?}", output.rejects);
    let shown = shown(&output);
    assert!(shown.starts_with("port 0\na=5242882 b=5242884 c=5242883 d=n1xxx"), "{}", &shown[..80]);
    assert!(shown.contains("a= b=4 c=1 d= _position=2"), "{}", &shown[shown.len() - 80..]);
}

#[test]
fn whole_numbers_never_wrap() {
    let table = Table::new().integers("n", &[Some(i64::MAX), Some(1), Some(i64::MIN), None]);
    let check = |expression: &str, refused: &[i64]| {
        let found = refusals(&format!("SELECT {expression} AS r FROM rows"), &table);
        let positions: Vec<_> = found.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, refused, "{expression}: {found:?}");
        assert!(
            found.iter().all(|(_, reason)| reason.to_lowercase().contains("overflow")),
            "{found:?}"
        );
    };
    check("n + 1", &[0]);
    check("n - 1", &[2]);
    check("n * 2", &[0, 2]);
    check("-n", &[2]);
    check("abs(n)", &[2]);
    check("n << 1", &[0, 2]);
    check("n << 63", &[0, 1, 2]);
    check("n << 64", &[0, 1, 2]);
    check("n << -1", &[0, 1, 2]);
    check("n >> 64", &[0, 1, 2]);
    check("n >> 63", &[]);
    check("1 << n", &[0, 2]);
    check("arrow_cast(n % 100, 'Int16') << arrow_cast(14, 'Int16')", &[0, 2]);
    check("CASE WHEN n > 1 THEN n + 1 ELSE 0 END", &[0]);
    check("9223372036854775807 + 1", &[0, 1, 2, 3]);
    check("n * (4611686018427387904 * 2)", &[0, 1, 2, 3]);
    check("CASE WHEN n = 1 THEN 9223372036854775807 * 2 ELSE 0 END", &[1]);
    check("-9223372036854775808", &[]);
    check("n / 2", &[]);
    check("CAST(n AS DOUBLE) * 1e300", &[]);
    for condition in ["n + 1 > 0", "n > 9223372036854775807 + 1 OR n < 2"] {
        let taken = refusals(&format!("SELECT n FROM rows WHERE {condition}"), &table);
        assert!(!taken.is_empty(), "{condition}");
    }
}

/// What a library calls an error of its own may be one of a value all the same.
#[test]
fn no_value_of_an_argument_ends_the_pipeline() {
    let table = Table::new().integers("n", &[Some(2), Some(-1), Some(i64::MIN), Some(1)]);
    for (call, refused) in [
        ("array_resize(make_array(1), n)", &[1, 2][..]),
        ("make_array(1, 2)[n]", &[2]),
        ("factorial(n)", &[1, 2]),
    ] {
        let found = refusals(&format!("SELECT {call} AS r FROM rows"), &table);
        let positions: Vec<_> = found.iter().map(|(position, _)| *position).collect();
        assert_eq!(positions, refused, "{call}: {found:?}");
        assert!(found.iter().all(|(_, reason)| !reason.contains("bug")), "{found:?}");
    }
}

const LATER: &str = "ask for it where the rows are read: `logmill query`";

#[test]
fn what_a_pipeline_cannot_keep_exact_is_refused_with_the_way_out() {
    refused(
        "SELECT DISTINCT method FROM rows",
        "DISTINCT is not possible: it would have to remember every row; \
         a `dedupe` step drops repeated keys within a horizon",
    );
    refused(
        "SELECT method FROM rows LIMIT 3",
        "LIMIT is not possible: which rows come first is not the same twice; \
         leave rows out by a condition, or ask `logmill query`",
    );
    refused(
        "SELECT method FROM rows ORDER BY method",
        &format!("ORDER BY is not possible: the rows of a stream have no end; {LATER}"),
    );
    let aggregates = "aggregates and GROUP BY are not possible: the rows of a stream have no end";
    for query in ["SELECT count(*) FROM rows", "SELECT method FROM rows GROUP BY method"] {
        refused(query, &format!("{aggregates}; {LATER}"));
    }
    let windows = "window functions are not possible: a row would depend on its neighbours";
    refused("SELECT row_number() OVER (ORDER BY ts) FROM rows", &format!("{windows}; {LATER}"));
    refused(
        "SELECT a.status FROM rows a JOIN rows b ON a.ts = b.ts",
        "joins are not possible: a row would wait for another; \
         read one input per query, and join where the rows are read: `logmill query`",
    );
    refused(
        "SELECT status FROM rows WHERE status IN (SELECT status FROM rows)",
        "subqueries in expressions are not possible: a row would wait for others; \
         name the values: `status IN (500, 502)`",
    );
    refused(
        "SELECT status FROM rows UNION ALL SELECT status FROM rows",
        "UNION, INTERSECT and EXCEPT are not possible in a query; \
         a step or sink takes several inputs: `input: [a, b]`",
    );
    refused(
        "SELECT unnest(make_array(1, 2)) FROM rows",
        "UNNEST is not possible: several rows would share one origin; keep the list as a column",
    );
}

#[test]
fn what_has_no_origin_or_another_value_each_time_is_refused() {
    for name in ["random", "uuid"] {
        refused(
            &format!("SELECT {name}() AS r FROM rows"),
            &format!(
                "{name}() is not possible: a repeat would give another value; \
                 `hash(…)` of columns stays the same, `now()` is the epoch's time"
            ),
        );
    }
    refused(
        "SELECT 1 AS one",
        "a query without an input is not possible: its rows would have no origin; \
         add `FROM` and the name of a source or step",
    );
    refused(
        "DELETE FROM rows",
        "expected a query; only `SELECT … FROM input WHERE …` can stand in a pipeline",
    );
    refused(
        "SELECT 1 FROM rows; SELECT 2 FROM rows",
        "expected one query, found several; `queries: { name: \"SELECT …\" }` takes several",
    );
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    refused("SELECT statsu FROM rows", "unknown column \"statsu\"; did you mean \"status\"?");
    refused("SELECT status FROM rosw", "unknown input \"rosw\"; did you mean \"rows\"?");
    refused(
        "SELECT status FROM two-words",
        "expected: end of statement, found: - at Line: 1, Column: 23; \
         a name with a hyphen stands in quotes: `FROM \"web-logs\"`",
    );
    refused("SELECT 'a FROM rows", "unterminated string literal at Line: 1, Column: 8; -");
    refused(
        "SELECT CAST('x' AS BIGINT) AS n FROM rows",
        "cannot cast string 'x' to value of Int64 type; -",
    );
    refused("SELECT lowre(method) FROM rows", "invalid function 'lowre'; did you mean 'lower'?");
    refused(
        "SELECT status AS _position FROM rows",
        "column \"_position\" is the origin of a row; give what you compute another name with AS",
    );
    refused(
        "SELECT 'x' AS _split FROM rows",
        "column \"_split\" is the origin of a row; give what you compute another name with AS",
    );
    refused(
        "SELECT *, upper(method) AS method FROM rows",
        "column \"method\" would stand twice; \
         `SELECT * REPLACE (upper(x) AS x)` or `* EXCEPT (x)` avoids that",
    );
    assert_eq!(
        step_error("sql", &[], &table()),
        "-: expected either `query` or `queries`; `query: \"SELECT … FROM input WHERE …\"`"
    );
}

#[test]
fn the_inputs_of_a_query_are_the_tables_that_it_names() {
    let queries: &[(&str, &str)] = &[
        ("a", "SELECT * FROM one"),
        ("b", "WITH x AS (SELECT * FROM \"two-b\".errors) SELECT * FROM x"),
    ];
    let found = crate::inputs("sql", &section(&[("queries", queries.into())])).unwrap();
    assert_eq!(found, Some(vec!["one".to_owned(), "two-b.errors".to_owned()]));
    assert_eq!(crate::inputs("route", &section(&[])).unwrap(), None);
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_the_cuts_between_batches(
        texts in prop::collection::vec(
            prop_oneof![Just("1"), Just("0"), Just("x"), Just("7")], 1..40),
        cut in 0usize..40,
    ) {
        let texts: Vec<_> = texts.into_iter().map(Some).collect();
        let table = Table::new().texts("x", &texts);
        let queries: &[(&str, &str)] = &[
            ("a", "SELECT 10 / CAST(x AS BIGINT) AS n FROM rows WHERE x <> '0'"),
            ("b", "SELECT x FROM rows WHERE CAST(x AS BIGINT) < 5"),
        ];
        let settings: [(&str, Setting); 1] = [("queries", queries.into())];
        let step = step("sql", &settings, &table).unwrap();
        let whole = table.batch();
        let cut = cut.min(whole.num_rows());
        let parts = [whole.slice(0, cut), whole.slice(cut, whole.num_rows() - cut)];
        let once = apply(step.as_ref(), &[whole]);
        let twice = apply(step.as_ref(), &parts);
        assert_eq!(shown(&once), shown(&twice));
        assert_eq!(once.rejects, twice.rejects);
        assert_eq!((once.filtered, once.expanded), (twice.filtered, twice.expanded));
    }
}
