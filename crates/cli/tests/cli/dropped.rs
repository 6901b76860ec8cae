//! Destinations that somebody drops, below a pipeline that makes what is missing: none of them is
//! made anew without a word, whether the pipeline stands or runs.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::services::{find, setting, unique};
use testkit::{http, stream, wait};

use crate::Desk;
use crate::replaced::{ask, begin};

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(90);
const LOG: &str = "run.log";

/// What becomes of a run whose destination is dropped.
enum Then<'a> {
    /// It ends with this exit code and says this.
    Stops(i32, &'a str),
    /// It goes on and says this.
    Tells(&'a str),
    /// It goes on, and the audit alone knows.
    GoesOn,
}

fn append(desk: &Desk, n: u32) {
    let lines: String = (1..=n).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    desk.write("a.json", &lines);
}

/// The audit says that what was delivered is not there.
fn check_audit(desk: &Desk) {
    let audit = desk.run(&["audit", "replaced.yaml", "--format", "json"]);
    assert_ne!(audit.code, 0, "{}", audit.stdout);
    assert_eq!(audit.json()["complete"], false, "{}", audit.stdout);
}

/// Drops a destination while nothing runs, and starts.
fn while_stopped(desk: &Desk, remove: impl Fn(), then: &Then<'_>) {
    remove();
    check_audit(desk);
    append(desk, 4);
    for run in ["first", "second"] {
        let ran = desk.run(&["run", "replaced.yaml", "--until-end"]);
        match then {
            Then::Stops(code, said) => {
                assert_eq!(ran.code, *code, "{run}: {}", ran.stderr);
                assert!(ran.stderr.contains(said), "{run}: {}", ran.stderr);
            }
            Then::Tells(said) => {
                assert_eq!(ran.code, 0, "{}", ran.stderr);
                assert!(run == "second" || ran.stderr.contains(said), "{}", ran.stderr);
            }
            Then::GoesOn => assert_eq!(ran.code, 0, "{}", ran.stderr),
        }
    }
    check_audit(desk);
}

/// A run that ends with the test.
struct Follows(Child);

impl Drop for Follows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(desk: &Desk) -> Follows {
    let log = fs::File::create(desk.path().join(LOG)).expect("a file");
    let mut command = desk.command(&["run", "replaced.yaml"]);
    Follows(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
}

/// Drops a destination while the pipeline follows its file.
fn while_running(desk: &Desk, remove: impl Fn(), then: &Then<'_>) {
    let mut running = follow(desk);
    append(desk, 4);
    wait::until("a row arrives", LIMIT, || {
        let counted = "SELECT count(*) AS n FROM ledger WHERE sink = 'out' AND epoch > 1";
        let counted = desk.run(&["query", "-f", "csv", counted]);
        (counted.stdout == "n\n1\n").then_some(())
    });
    remove();
    append(desk, 5);
    let said = || fs::read_to_string(desk.path().join(LOG)).expect("text");
    match then {
        Then::Stops(code, expect) => {
            let ended = wait::until("it stops", LIMIT, || running.0.try_wait().expect("a child"));
            assert_eq!(ended.code(), Some(*code), "{}", said());
            assert!(said().contains(expect), "{}", said());
        }
        Then::Tells(expect) => {
            wait::until("it is told", LIMIT, || said().contains(expect).then_some(()));
        }
        Then::GoesOn => unreachable!("it is told, or it stops"),
    }
    drop(running);
    check_audit(desk);
}

#[test]
fn a_table_and_a_schema_of_postgres_are_not_made_anew_without_a_word() {
    let Some(url) = find("postgres") else { return };
    for of_schema in [false, true] {
        for runs in [false, true] {
            let name = unique("dropped");
            let table = format!("{name}.t");
            ask(&url, &format!("CREATE SCHEMA {name}"));
            let sink = format!("type: postgres, url: '{url}', table: {table}, create: true");
            let desk = begin(&name, &sink);
            let statement = match of_schema {
                true => format!("DROP SCHEMA {name} CASCADE"),
                false => format!("DROP TABLE {table}"),
            };
            let remove = || drop(ask(&url, &statement));
            match runs {
                true => while_running(&desk, remove, &Then::Stops(1, "was dropped or renamed")),
                // The tokens of a schema go with it.
                false if of_schema => {
                    let then = Then::Stops(2, "holds nothing where the checkpoints say");
                    while_stopped(&desk, remove, &then);
                }
                false => while_stopped(&desk, remove, &Then::Stops(2, "is not there")),
            }
            let left = ask(&url, &format!("SELECT to_regclass('{table}') IS NULL"));
            assert_eq!(left, "t", "nothing is made");
        }
    }
}

#[test]
fn a_folder_of_a_lake_table_is_not_made_anew_without_a_word() {
    for runs in [false, true] {
        let desk = begin("dropped", "type: lake, table: t");
        let folder = desk.path().join("logmill-data/lake/t");
        let remove = || fs::remove_dir_all(&folder).expect("a table");
        let then = Then::Stops(2, "holds nothing where the checkpoints say");
        match runs {
            false => while_stopped(&desk, remove, &then),
            true => while_running(&desk, remove, &then),
        }
        assert!(!folder.join("_delta_log").exists(), "nothing is made");
    }
}

#[test]
fn an_index_that_is_deleted_is_told() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        for runs in [false, true] {
            let name = unique("dropped");
            let desk = begin(&name, &format!("type: opensearch, url: '{url}', index: {name}"));
            let remove =
                || drop(http::send("DELETE", &url, &format!("/{name}"), "").expect("there"));
            match runs {
                false => while_stopped(&desk, remove, &Then::Tells("not there any more")),
                true => while_running(&desk, remove, &Then::Tells("is another one than before")),
            }
        }
    }
}

#[test]
fn a_topic_that_is_deleted_is_not_made_anew_without_a_word() {
    let Some(brokers) = find("kafka") else { return };
    for runs in [false, true] {
        let name = unique("dropped");
        let sink = format!(
            "type: kafka, brokers: '{brokers}', topic: {name}, create_topics: {{ partitions: 1 }}"
        );
        let desk = begin(&name, &sink);
        let remove = || stream::delete_topic(&brokers, &name);
        let then = Then::Stops(2, "holds nothing where the checkpoints say");
        match runs {
            false => while_stopped(&desk, remove, &then),
            true => while_running(&desk, remove, &then),
        }
    }
}

#[test]
fn a_folder_of_objects_that_is_removed_is_missed_by_the_audit() {
    let desk = begin("dropped", "type: object_store, url: ./out, create_bucket: true");
    let remove = || fs::remove_dir_all(desk.path().join("out")).expect("a folder");
    while_stopped(&desk, remove, &Then::GoesOn);
}

#[test]
fn a_bucket_that_is_removed_is_not_made_anew_without_a_word() {
    let Some(url) = find("s3") else { return };
    let name = unique("dropped");
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let sink = format!(
        "type: object_store, url: 's3://{name}/logs', create_bucket: true, endpoint: '{url}', \
         allow_http: true, region: us-east-1, access_key: {key}, secret_key: {secret}"
    );
    let desk = begin(&name, &sink);
    let tasks = tokio::runtime::Runtime::new().expect("threads");
    let remove = || tasks.block_on(testkit::services::remove_bucket(&name));
    while_stopped(&desk, remove, &Then::Tells("is another one than before"));
}
