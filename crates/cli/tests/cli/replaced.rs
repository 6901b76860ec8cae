//! Destinations that somebody deletes and makes anew: what they held is gone, and nobody has to
//! find that out by chance.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::services::{find, remake_bucket, setting, unique};
use testkit::{http, stream, wait};

use crate::Desk;

/// How long a row may take to arrive.
const LIMIT: Duration = Duration::from_secs(60);

/// A pipeline of numbered rows into one sink, of which three are delivered.
pub fn begin(name: &str, sink: &str) -> Desk {
    let desk = pipeline(name, sink);
    let ran = desk.done(&["run", "replaced.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(ran["sinks"][0]["delivered"], 3, "{ran}");
    assert_eq!(ran["replaced"], Value::Null, "{ran}");
    desk.done(&["audit", "replaced.yaml"]);
    desk
}

/// The same, not run yet.
fn pipeline(name: &str, sink: &str) -> Desk {
    let desk = Desk::new();
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    desk.write(
        "replaced.yaml",
        &format!(
            "name: {name}\nepoch: {{ interval: 100ms }}\nsources:\n  \
             lines: {{ type: file, paths: ['a.json'] }}\ntransforms:\n  \
             parsed: {{ type: parse, input: lines, format: json, fields: {{ n: integer }} }}\n\
             sinks:\n  out: {{ input: parsed, {sink} }}\n"
        ),
    );
    desk
}

/// The audit names what went into the earlier destination and calls nothing complete.
fn check_audit(desk: &Desk, place: &str) {
    let ran = desk.run(&["audit", "replaced.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
    let audit = ran.json();
    assert_eq!(audit["complete"], false, "{audit}");
    let replaced = &audit["sinks"][0]["replaced"];
    assert_eq!(replaced.as_array().map(Vec::len), Some(1), "{audit}");
    assert!(replaced[0]["place"].as_str().is_some_and(|it| it.contains(place)), "{audit}");
    assert_eq!((&replaced[0]["rows"], &replaced[0]["to"]), (&3.into(), &1.into()), "{audit}");
    let text = desk.run(&["audit", "replaced.yaml"]).stdout;
    assert!(text.contains("3 of epoch 1 went into an earlier") && text.contains("NOT COMPLETE"));
}

/// One more row after somebody replaced the destination: told in the log and in the summary.
fn go_on(desk: &Desk) {
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
    let ran = desk.done(&["run", "replaced.yaml", "--until-end", "--format", "json"]);
    let summary = ran.json();
    assert_eq!(summary["sinks"][0]["delivered"], 1, "{summary}");
    assert_eq!(summary["replaced"].as_array().map(Vec::len), Some(1), "{summary}");
    assert_eq!(
        (&summary["replaced"][0]["rows"], &summary["replaced"][0]["sink"]),
        (&3.into(), &"out".into())
    );
    assert!(ran.stderr.contains("the destination is another one than before"), "{}", ran.stderr);
    // Once it is known, it is told no more.
    let again = desk.done(&["run", "replaced.yaml", "--until-end", "--format", "json"]).json();
    assert_eq!(again["replaced"], Value::Null, "{again}");
}

pub fn ask(url: &str, statement: &str) -> String {
    let asked = Command::new("psql").args([url, "-qAtc", statement]).output().expect("psql starts");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).expect("text").trim().to_owned()
}

fn table(name: &str, url: &str) -> String {
    format!("type: postgres, url: '{url}', table: {name}, create: true, origin: false")
}

fn remake_table(url: &str, table: &str) {
    ask(
        url,
        &format!(
            "CREATE TABLE {table}_new (LIKE {table} INCLUDING ALL); DROP TABLE {table}; \
             ALTER TABLE {table}_new RENAME TO {table}"
        ),
    );
}

#[test]
fn a_table_made_anew_between_two_runs_is_told() {
    let Some(url) = find("postgres") else { return };
    let name = unique("replaced");
    let desk = begin(&name, &table(&name, &url));
    remake_table(&url, &name);
    check_audit(&desk, &name);
    go_on(&desk);
    check_audit(&desk, &name);
}

#[test]
fn a_table_made_anew_under_a_running_pipeline_is_told() {
    let Some(url) = find("postgres") else { return };
    let name = unique("replaced");
    let desk = begin(&name, &table(&name, &url));
    let mut running = desk
        .command(&["run", "replaced.yaml", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let append = |n: u32| {
        let lines: String = (1..=n).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        desk.write("a.json", &lines);
        wait::until("the row arrives", LIMIT, || {
            let found = ask(&url, &format!("SELECT count(*) FROM {name} WHERE n = {n}"));
            (found == "1").then_some(())
        });
    };
    append(4);
    remake_table(&url, &name);
    append(5);
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    desk.done(&["run", "replaced.yaml", "--until-end", "--quiet"]);
    let audit = desk.run(&["audit", "replaced.yaml", "--format", "json"]);
    let replaced = &audit.json()["sinks"][0]["replaced"][0];
    assert_eq!((audit.code, &replaced["rows"]), (3, &4.into()), "{replaced}");
}

#[test]
fn an_index_made_anew_is_told() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        // Clusters split names at dots in some places.
        let name = format!("{}.11.28", unique("replaced"));
        let sink =
            format!("type: opensearch, url: '{url}', index: '{name}', id: '{{n}}', origin: false");
        let desk = begin("replaced", &sink);
        http::send("DELETE", &url, &format!("/{name}"), "").expect("it is there");
        go_on(&desk);
        check_audit(&desk, &name);
    }
}

#[test]
fn a_topic_made_anew_is_told_where_no_token_tells_it() {
    let Some(brokers) = find("kafka") else { return };
    let name = unique("replaced");
    stream::create_topic(&brokers, &name, 1);
    let sink = format!(
        "type: kafka, brokers: '{brokers}', topic: {name}, transactional: false, origin: false"
    );
    let desk = begin(&name, &sink);
    stream::remake_topic(&brokers, &name);
    check_audit(&desk, &name);
    go_on(&desk);
    check_audit(&desk, &name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_made_anew_is_told() {
    let Some(url) = find("s3") else { return };
    let name = unique("replaced");
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let sink = format!(
        "type: object_store, url: 's3://{name}/logs', create_bucket: true, origin: false, \
         endpoint: '{url}', allow_http: true, region: us-east-1, \
         access_key: {key}, secret_key: {secret}"
    );
    let desk = begin(&name, &sink);
    remake_bucket(&name).await;
    check_audit(&desk, &name);
    go_on(&desk);
    check_audit(&desk, &name);
}

#[test]
fn a_lake_table_made_anew_on_the_operators_word_is_told() {
    let desk = begin("replaced", "type: lake, table: replaced, origin: false");
    let lines = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n";
    desk.write("a.json", lines);
    desk.done(&["run", "replaced.yaml", "--until-end", "--quiet"]);
    std::fs::remove_dir_all(desk.path().join("logmill-data/lake/replaced")).expect("a table");
    let refused = desk.run(&["run", "replaced.yaml", "--until-end"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(!desk.path().join("logmill-data/lake/replaced/_delta_log").exists(), "nothing is made");
    desk.write("a.json", &format!("{lines}{{\"n\":5}}\n"));
    let word = ["run", "replaced.yaml", "--until-end", "--assume", "held", "--format", "json"];
    let ran = desk.done(&word).json();
    assert_eq!(ran["replaced"][0]["rows"], 4, "{ran}");
    let ran = desk.run(&["audit", "replaced.yaml", "--format", "json"]);
    assert_eq!((ran.code, &ran.json()["sinks"][0]["replaced"][0]["to"]), (3, &2.into()));
}

/// An epoch that is sent again goes into what stands there now, and takes nothing for lost.
#[test]
fn rows_that_are_sent_again_into_a_new_table_are_not_called_gone() {
    let desk = begin("replaced", "type: lake, table: replaced, origin: false");
    std::fs::remove_dir_all(desk.path().join("logmill-data/lake/replaced")).expect("a table");
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
    let refused = desk.run(&["run", "replaced.yaml", "--until-end"]);
    assert_eq!(refused.code, 2, "it had the epoch: {}", refused.stderr);
    let word = ["run", "replaced.yaml", "--until-end", "--assume", "missing", "--format", "json"];
    let ran = desk.done(&word);
    assert!(ran.stderr.contains("replayed an epoch"), "{}", ran.stderr);
    assert_eq!(ran.json()["replaced"], Value::Null, "{}", ran.stdout);
    desk.done(&["audit", "replaced.yaml"]);
}

/// The pipeline of [`begin`], killed before its sink commits the first epoch.
fn killed(name: &str, sink: &str) -> Desk {
    let desk = pipeline(name, sink);
    let mut command = desk.command(&["run", "replaced.yaml", "--until-end", "--quiet"]);
    command.env("LOGMILL_FAILPOINT", "commit.sink.before:1").stdout(Stdio::null());
    assert!(!command.status().expect("it starts").success(), "it was killed");
    desk
}

/// What a replay met is known to later starts too, whether or not there are new rows.
#[test]
fn a_decided_epoch_that_is_sent_again_into_a_new_table_is_never_called_gone() {
    let Some(url) = find("postgres") else { return };
    let name = unique("replaced");
    let desk = killed(&name, &table(&name, &url));
    ask(&url, &format!("DROP TABLE {name}"));
    for _ in 0..2 {
        let ran = desk.done(&["run", "replaced.yaml", "--until-end", "--format", "json"]);
        assert_eq!(ran.json()["replaced"], Value::Null, "{}", ran.stdout);
    }
    assert_eq!(ask(&url, &format!("SELECT count(*) FROM {name}")), "3");
    desk.done(&["audit", "replaced.yaml"]);
}

/// A table that is dropped after its rows were committed, before anybody noted that all is done:
/// a start does not deliver them again, and the audit does not say so.
#[test]
fn a_table_that_is_dropped_before_the_end_is_noted_is_named_by_the_audit() {
    let Some(url) = find("postgres") else { return };
    let name = unique("replaced");
    for sink in [
        format!("type: postgres, url: '{url}', table: {name}, create: true"),
        "type: lake, table: replaced".to_owned(),
    ] {
        let desk = pipeline(&name, &sink);
        let mut command = desk.command(&["run", "replaced.yaml", "--until-end", "--quiet"]);
        command.env("LOGMILL_FAILPOINT", "complete.before:1").stdout(Stdio::null());
        assert!(!command.status().expect("it starts").success(), "it was killed");
        desk.done(&["audit", "replaced.yaml"]);
        match sink.contains("postgres") {
            true => drop(ask(&url, &format!("DROP TABLE {name}"))),
            false => std::fs::remove_dir_all(desk.path().join("logmill-data/lake/replaced"))
                .expect("a table"),
        }
        let ran = desk.run(&["audit", "replaced.yaml"]);
        assert_eq!(ran.code, 3, "{}{}", ran.stdout, ran.stderr);
        for part in ["epoch 1 of main is decided and not finished", "of sink \"out\" is not there"]
        {
            assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
        }
        assert!(!ran.stdout.contains("the next start delivers it"), "{}", ran.stdout);
    }
}

/// A table that takes nothing of a decided epoch any more makes letters of it, and gets what comes
/// later.
#[test]
fn a_table_that_refuses_all_of_a_decided_epoch_goes_on_with_the_next() {
    let Some(url) = find("postgres") else { return };
    let name = unique("replaced");
    let desk = killed(&name, &table(&name, &url));
    ask(&url, &format!("ALTER TABLE {name} ADD CONSTRAINT large CHECK (n > 3)"));
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
    let stopped = desk.run(&["run", "replaced.yaml", "--until-end"]);
    assert_eq!(stopped.code, 1, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("3 of them are refused now"), "{}", stopped.stderr);
    desk.done(&["run", "replaced.yaml", "--until-end", "--accept-loss"]);
    desk.done(&["run", "replaced.yaml", "--until-end"]);
    assert_eq!(ask(&url, &format!("SELECT string_agg(n::text, ',') FROM {name}")), "4");
    let sql = "SELECT sum(lost) AS lost, sum(dead_lettered) AS letters FROM ledger \
               WHERE sink = 'out'";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "lost,letters\n0,3\n");
    desk.done(&["audit", "replaced.yaml"]);
    let sql = "SELECT count(*) AS n FROM dead_letters WHERE sink = 'out' AND kind = 'bytes'";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n3\n");
    // Once the table takes them, they are given again.
    ask(&url, &format!("ALTER TABLE {name} DROP CONSTRAINT large"));
    desk.done(&["dead-letters", "replay", "replaced.yaml"]);
    let all = format!("SELECT string_agg(n::text, ',' ORDER BY n) FROM {name}");
    assert_eq!(ask(&url, &all), "1,2,3,4");
    desk.done(&["audit", "replaced.yaml"]);
}

#[test]
fn an_index_that_is_deleted_is_told_and_gets_a_decided_epoch_again() {
    let Some(url) = find("opensearch") else { return };
    let name = unique("replaced");
    let sink = format!("type: opensearch, url: '{url}', index: '{name}'");
    let delete = || http::send("DELETE", &url, &format!("/{name}"), "").expect("it is there");
    let desk = killed(&name, &sink);
    delete();
    let ran = desk.done(&["run", "replaced.yaml", "--until-end"]);
    assert!(ran.stderr.contains("replayed an epoch"), "{}", ran.stderr);
    desk.done(&["audit", "replaced.yaml"]);
    delete();
    let ran = desk.done(&["run", "replaced.yaml", "--until-end"]);
    assert!(ran.stderr.contains("the destination is not there any more"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&name), "{}", ran.stderr);
}

#[test]
fn a_lake_table_that_is_dropped_under_a_running_pipeline_is_not_made_anew_without_a_word() {
    let desk = begin("replaced", "type: lake, table: replaced");
    let table = desk.path().join("logmill-data/lake/replaced");
    let epochs = || std::fs::read_dir(table.join("_delta_log")).map_or(0, Iterator::count);
    let before = epochs();
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n");
    let mut running = desk
        .command(&["run", "replaced.yaml", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    wait::until("the row arrives", LIMIT, || (epochs() > before).then_some(()));
    std::fs::remove_dir_all(&table).expect("a table");
    desk.write("a.json", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n");
    let code = wait::until("the run stops", LIMIT, || running.try_wait().expect("it can be asked"));
    let mut said = String::new();
    running.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(code.code(), Some(2), "{said}");
    assert!(said.contains("holds nothing where the checkpoints say"), "{said}");
}
