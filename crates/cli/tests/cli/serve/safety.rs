//! What is refused: who may not ask, what may not be asked, and how much.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{Server, loaded};
use crate::Desk;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn an_open_address_needs_a_token_or_certificates() {
    let desk = Desk::new();
    let ran = desk.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--token-file"), "{}", ran.stderr);
    desk.write("token", "short");
    let ran = desk.run(&["serve", "--listen", "127.0.0.1:0", "--token-file", "token"]);
    assert!(ran.code == 2 && ran.stderr.contains("chmod 600"), "{}", ran.stderr);
    let file = desk.path().join("token");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let ran = desk.run(&["serve", "--listen", "127.0.0.1:0", "--token-file", "token"]);
    assert!(ran.code == 2 && ran.stderr.contains("16 or more"), "{}", ran.stderr);
}

#[test]
fn data_is_only_for_who_brings_the_token() {
    let desk = loaded();
    desk.write("token", TOKEN);
    let file = desk.path().join("token");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let server = Server::start(&desk, &["--token-file", "token"]);
    for open in ["/healthz", "/readyz", "/", "/openapi.json", "/docs/"] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    for path in ["/session", "/metrics", "/analytics/summary", "/pipelines", "/pipelines/web"] {
        let refused = server.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
        assert!(!refused.body.contains(TOKEN));
        let wrong = server.get_with(path, "Authorization: Bearer 0123456789abcdef\r\n");
        assert_eq!(wrong.status, 401, "{path}");
        let right = server.get_with(path, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(right.status, 200, "{path}");
    }
    assert_eq!(server.post("/query", "{\"sql\": \"SELECT 1\"}").status, 401);
}

#[test]
fn clients_show_certificates_where_they_must() {
    let desk = loaded();
    let openssl = |arguments: &str| {
        let mut done = Command::new("openssl");
        done.args(arguments.split(' ')).current_dir(desk.path());
        assert!(done.output().expect("openssl is there").status.success(), "{arguments}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 1 -subj /CN=ca");
    desk.write("names", "subjectAltName=DNS:localhost");
    for name in ["localhost", "client"] {
        openssl(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -out {name}.pem -days 1 -extfile names"
        ));
    }
    let server = Server::start(
        &desk,
        &["--tls-cert", "localhost.pem", "--tls-key", "localhost.key", "--tls-client-ca", "ca.pem"],
    );
    let curl = |arguments: &[&str]| {
        let url = format!("https://{}/analytics/error_rate", server.address);
        let mut curl = Command::new("curl");
        curl.args(["-s", "-k", &url]).args(arguments).current_dir(desk.path());
        String::from_utf8(curl.output().expect("curl is there").stdout).expect("text")
    };
    assert_eq!(curl(&[]), "", "a client without a certificate hears nothing");
    let answer = curl(&["--cert", "client.pem", "--key", "client.key"]);
    assert!(answer.contains("\"total\":4"), "{answer}");
}

#[test]
fn sql_reads_its_tables_and_nothing_else() {
    let desk = loaded();
    desk.write("secret.txt", "hush\n");
    let server = Server::start(&desk, &[]);
    let ask = |sql: &str| server.post("/query", &serde_json::json!({ "sql": sql }).to_string());
    let found = ask("SELECT status, count(*) AS n FROM web_logs GROUP BY 1 ORDER BY 1").json();
    assert_eq!(found["rows"], serde_json::json!([[200, 2], [404, 1], [503, 1]]));
    for table in ["ledger", "dead_letters", "late"] {
        assert_eq!(ask(&format!("SELECT count(*) FROM {table}")).status, 200, "{table}");
    }
    let secret = desk.path().join("secret.txt").display().to_string();
    for hostile in [
        format!("SELECT * FROM log('{secret}', 'regex', '(?P<a>.*)')"),
        format!("SELECT * FROM '{secret}'"),
        format!("SELECT * FROM \"{secret}\""),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{secret}'"),
        format!("COPY web_logs TO '{}'", desk.path().join("stolen.csv").display()),
        "COPY (SELECT 1) TO 'http://127.0.0.1:1/x.csv'".into(),
        "SELECT * FROM 'http://127.0.0.1:1/x.parquet'".into(),
        "CREATE TABLE t AS SELECT 1".into(),
        "CREATE VIEW v AS SELECT 1".into(),
        "DROP TABLE web_logs".into(),
        "INSERT INTO web_logs SELECT * FROM web_logs".into(),
        "DELETE FROM web_logs".into(),
        "UPDATE web_logs SET status = 1".into(),
        "SET datafusion.execution.batch_size = 1".into(),
        "EXPLAIN SELECT * FROM web_logs".into(),
        "EXPLAIN ANALYZE SELECT * FROM web_logs".into(),
        "DESCRIBE web_logs".into(),
        "SHOW ALL".into(),
        "SELECT * FROM information_schema.df_settings".into(),
        "SELECT 1; DROP TABLE web_logs".into(),
        "SELECT * FROM \"../../../etc\"".into(),
        "PREPARE p AS SELECT 1".into(),
        "SELECT".into(),
        "\u{0}".into(),
        "(".repeat(20_000),
        format!("SELECT {}1", "1+".repeat(20_000)),
    ] {
        let got = ask(&hostile);
        assert!(matches!(got.status, 400 | 422), "{hostile:.80}: {got:?}");
        let path = desk.path().display().to_string();
        let told = got.body.replace(&hostile, "");
        assert!(
            !told.contains("hush") && !told.contains(&format!("{path}/logmill-data")),
            "{told}"
        );
    }
    assert!(!desk.path().join("stolen.csv").exists());
    let before = server.resident();
    for greedy in [
        "SELECT length(repeat('a', 2000000000))",
        "SELECT length(a||a) FROM (SELECT a||a AS a FROM (SELECT repeat('x', 300000000) AS a) AS x) AS y",
        "SELECT array_agg(value) FROM generate_series(1, 1000000000) AS t(value)",
    ] {
        let got = ask(greedy);
        assert!(matches!(got.status, 400 | 422), "{greedy}: {got:?}");
    }
    assert!(server.resident() < before + (64 << 20), "the server itself held nothing of it");
    assert_eq!(ask("SELECT count(*) FROM web_logs").json()["rows"][0][0], 4, "nothing changed");
}

#[test]
fn requests_that_are_wrong_get_a_problem_that_says_so() {
    let desk = loaded();
    let server = Server::start(&desk, &[]);
    let long = format!("/analytics/summary?filter=ip={}", "x".repeat(5000));
    for (path, status, part) in [
        ("/analytics/summary?start=tomorrow", 400, "no time"),
        ("/analytics/summary?start=2026-02-01&end=2026-01-01", 400, "after"),
        ("/analytics/summary?filter=statu=3", 400, "did you mean"),
        ("/analytics/summary?filter=status=abc", 400, "numbers"),
        ("/analytics/summary?filter=%00", 400, "NUL"),
        ("/analytics/summary?filter=ip=%FF", 400, "UTF-8"),
        ("/analytics/summary?limit=3", 400, "no parameter"),
        ("/analytics/top_ips?limit=0", 400, "from 1 to 1000"),
        ("/analytics/top_ips?limit=1&limit=2", 400, "more than once"),
        ("/analytics/top/country", 404, "no column"),
        ("/analytics/top/%22%3B%20DROP%20TABLE", 404, "no column"),
        ("/analytics/timeseries?interval=decade", 400, "cannot be"),
        ("/nowhere", 404, "nothing under"),
        (&long, 400, "longer than"),
    ] {
        let got = server.get(path);
        assert_eq!(got.status, status, "{path:.60}: {got:?}");
        assert!(got.head.contains("application/problem+json"), "{path:.60}: {}", got.head);
        assert!(got.body.contains(part), "{path:.60}: {}", got.body);
        assert_eq!(got.json()["status"], status, "{path:.60}");
    }
    let quoted = server.get("/analytics/error_rate?filter=endpoint=%27%20OR%201=1%20--");
    assert_eq!(quoted.json()["total"], 0, "a value is never part of the query");
    let big = format!("{{\"sql\": \"{}\"}}", "x".repeat(100 << 10));
    assert_eq!(server.post("/query", &big).status, 413);
    let host = &server.address;
    let plain = format!("POST /query HTTP/1.0\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{{}}");
    assert_eq!(server.send(&plain).status, 415);
    assert_eq!(server.send("POST /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 405);
    let foreign = "GET /analytics/summary HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert_eq!(server.send(foreign).status, 421, "a page of another site gets nothing");
    let head = format!("GET / HTTP/1.0\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert_eq!(server.send(&head).status, 431);
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01 no HTTP at all\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("closed");
    assert_eq!(server.get("/healthz").status, 200);
}
