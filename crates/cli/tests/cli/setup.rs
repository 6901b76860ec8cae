//! `setup` and `check --connect`: what pipelines need outside, on real servers.

use serde_json::Value;
use testkit::http;
use testkit::services::{find, gcs_settings, setting, unique};

use super::Desk;

fn needs(stdout: &str) -> Vec<(String, String, String)> {
    let all: Vec<Value> = serde_json::from_str(stdout).expect("JSON");
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| (text(one, "kind"), text(one, "name"), text(one, "action"))).collect()
}

fn actions(desk: &Desk, arguments: &[&str], expect: &str) {
    let done = desk.done(&[&["setup", "all.yaml", "-f", "json"], arguments].concat());
    let needs = needs(&done.stdout);
    assert!(!needs.is_empty());
    assert!(needs.iter().all(|(.., action)| action == expect), "{expect}: {needs:?}");
}

#[test]
fn a_plan_changes_nothing_and_what_is_made_is_made_once() {
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    desk.write(
        "all.yaml",
        "name: here\nsources:\n  a: { type: file, paths: [a.log] }\nsinks:\n  \
         lake: { type: lake, input: a, table: rows }\n  \
         out: { type: object_store, input: a, url: out }\n",
    );
    let plan = desk.done(&["setup", "all.yaml"]);
    assert!(plan.stdout.contains("+ sink lake: lake table rows"), "{}", plan.stdout);
    assert!(plan.stdout.ends_with("2 things to make; `--apply` does so\n"), "{}", plan.stdout);
    assert!(!desk.path().join("out").exists() && !desk.path().join("logmill-data").exists());
    // A run makes the table and refuses to begin without the folder.
    let checked = desk.run(&["check", "all.yaml", "--connect"]);
    assert_eq!(checked.code, 1, "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("+ sink out: folder out is missing"), "{}", checked.stdout);
    assert_eq!(desk.run(&["check", "all.yaml"]).code, 0);
    actions(&desk, &["--plan"], "make");
    actions(&desk, &["--apply"], "made");
    actions(&desk, &["--apply"], "none");
    assert_eq!(desk.run(&["check", "all.yaml", "--connect"]).code, 0);
    desk.done(&["run", "all.yaml", "--until-end"]);
    desk.done(&["audit", "all.yaml"]);
}

#[test]
fn topics_are_made_as_the_file_says_and_a_difference_is_told() {
    let Some(brokers) = find("kafka") else { return };
    let desk = Desk::new();
    let (made, fed) = (unique("commands-made"), unique("commands-fed"));
    let file = format!(
        "name: first\nsources:\n  a: {{ type: kafka, brokers: \"{brokers}\", topics: {fed} }}\n\
         sinks:\n  out: {{ type: kafka, input: a, brokers: \"{brokers}\", topic: {made},\n         \
         create_topics: {{ partitions: 3, config: {{ retention.ms: 3600000 }} }} }}\n---\n\
         name: second\nsources:\n  a: {{ type: kafka, brokers: \"{brokers}\", topics: {made} }}\n\
         sinks:\n  out: {{ type: kafka, input: a, brokers: \"{brokers}\", topic: {fed} }}\n"
    );
    desk.write("all.yaml", &file);
    let unset = desk.run(&["check", "all.yaml", "--connect"]);
    assert_eq!(unset.code, 1, "nobody makes {fed} but `setup`: {}", unset.stdout);
    actions(&desk, &[], "make");
    actions(&desk, &["--apply"], "made");
    actions(&desk, &[], "none");
    assert_eq!(desk.run(&["check", "all.yaml", "--connect"]).code, 0);
    desk.write(
        "all.yaml",
        &file.replace("partitions: 3", "partitions: 5").replace("36000", "72000"),
    );
    let told = desk.done(&["setup", "all.yaml"]).stdout;
    let differs = "differs: 3 partitions instead of 5, retention.ms is 3600000 instead of 7200000";
    assert!(told.contains(differs) && told.ends_with("nothing to make\n"), "{told}");
}

#[test]
fn epochs_for_which_brokers_keep_no_transaction_are_refused_before_a_run() {
    let Some(brokers) = find("kafka") else { return };
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    let topic = unique("words-long");
    desk.write(
        "all.yaml",
        &format!(
            "name: long\nepoch: {{ interval: 1h }}\nsources:\n  a: {{ type: file, paths: [a.log] }}\n\
             sinks:\n  out: {{ type: kafka, input: a, brokers: \"{brokers}\", topic: {topic},\n         \
             create_topics: {{}} }}\n"
        ),
    );
    let said = "the brokers drop a transaction after 15m, and epochs need 3h";
    for command in [&["check", "all.yaml", "--connect"][..], &["setup", "all.yaml", "--apply"]] {
        let ran = desk.run(&[command, &["--format", "json"]].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
        if command[0] == "check" {
            let checked = ran.json();
            assert_eq!(checked["connected"], false);
            assert_eq!(checked["refusals"][0]["part"], "sink out");
            let error = checked["refusals"][0]["error"].as_str().expect("an error");
            assert!(error.contains(said), "{error}");
        }
    }
}

#[test]
fn a_key_that_the_store_does_not_take_is_told_with_the_way_out() {
    let Some(minio) = find("s3") else { return };
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    let name = unique("words-key");
    desk.write(
        "all.yaml",
        &format!(
            "name: {name}\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             out: {{ type: lake, input: a, table: t, url: \"s3://{name}/x\", endpoint: \"{minio}\",\n         \
             allow_http: true, access_key: nobody, secret_key: hushhushhush }}\n"
        ),
    );
    for command in [&["check", "all.yaml", "--connect"][..], &["run", "all.yaml", "--until-end"]] {
        let ran = desk.run(command);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("hint: the store does not take the key"), "{}", ran.stderr);
        assert!(ran.stderr.contains("InvalidAccessKeyId"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("<?xml") && !ran.stderr.contains("hush"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("trying again"), "it stays wrong: {}", ran.stderr);
    }
}

#[test]
fn tables_are_made_before_a_run_that_may_not() {
    let Some(url) = find("postgres") else { return };
    let desk = Desk::new();
    let schema = unique("commands").replace('-', "_");
    desk.write("a.log", "a\n");
    desk.write(
        "all.yaml",
        &format!(
            "name: tables\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             pg: {{ type: postgres, input: a, url: \"{url}\", table: {schema}.rows }}\n"
        ),
    );
    assert_eq!(desk.run(&["run", "all.yaml", "--until-end"]).code, 2);
    assert_eq!(desk.run(&["check", "all.yaml", "--connect"]).code, 1);
    actions(&desk, &["--apply"], "made");
    actions(&desk, &["--apply"], "none");
    desk.done(&["run", "all.yaml", "--until-end"]);
    desk.done(&["audit", "all.yaml"]);
}

#[test]
fn buckets_and_index_templates_are_made() {
    let (Some(minio), Some(search)) = (find("s3"), find("opensearch")) else {
        return;
    };
    let desk = Desk::new();
    let name = unique("commands-both");
    desk.write("a.log", "a\n");
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let keys = format!("allow_http: true, access_key: \"{key}\", secret_key: \"{secret}\"");
    desk.write(
        "all.yaml",
        &format!(
            "name: {name}\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             s3: {{ type: object_store, input: a, url: \"s3://{name}/x\", endpoint: \"{minio}\", {keys} }}\n  \
             os: {{ type: opensearch, input: a, url: \"{search}\", index: {name},\n        \
             template: {{ settings: {{ number_of_replicas: 0 }} }} }}\n"
        ),
    );
    actions(&desk, &[], "make");
    actions(&desk, &["--apply"], "made");
    actions(&desk, &["--apply"], "none");
    desk.done(&["run", "all.yaml", "--until-end"]);
    desk.done(&["audit", "all.yaml"]);
}

/// The settings of a cluster that makes no index by itself, until it is dropped.
struct NoIndices<'a>(&'a str);

impl<'a> NoIndices<'a> {
    fn set(url: &'a str, value: &str) {
        let body = format!("{{\"persistent\":{{\"action.auto_create_index\":{value}}}}}");
        http::send("PUT", url, "/_cluster/settings", &body).expect("it is taken");
    }
}

impl Drop for NoIndices<'_> {
    fn drop(&mut self) {
        Self::set(self.0, "null");
    }
}

#[test]
fn what_rows_will_name_is_told_as_far_as_it_can_be_known() {
    for server in ["opensearch", "elasticsearch"] {
        let Some(url) = find(server) else { continue };
        let desk = Desk::new();
        let name = unique("named");
        desk.write("a.log", "a\nb\n");
        desk.write(
            "all.yaml",
            &format!(
                "name: named\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
                 out: {{ type: opensearch, input: a, url: \"{url}\", index: \"{name}-{{message}}\" }}\n"
            ),
        );
        let said = |there: &str, found: usize| {
            let pattern = format!("index {name}-* (named by rows; indices that match: {found}; ");
            let line = format!("= sink out: {pattern}made as rows come) {there}");
            let checked = desk.done(&["check", "all.yaml", "--connect"]).stdout;
            assert!(checked.contains(&line), "{line}: {checked}");
        };
        said("is not there yet", 0);
        let applied = desk.done(&["setup", "all.yaml", "--apply"]).stdout;
        assert!(applied.ends_with("nothing to make\n"), "{applied}");
        desk.done(&["run", "all.yaml", "--until-end", "-q"]);
        said("is there", 2);
    }
}

#[test]
fn a_cluster_that_makes_no_index_is_told_before_rows_come() {
    // The other server's tests make indices meanwhile.
    let Some(url) = find("elasticsearch") else { return };
    let desk = Desk::new();
    let name = unique("unmade");
    desk.write("a.log", "a\n");
    let sink = |index: &str| {
        format!(
            "name: unmade\nsources:\n  a: {{ type: file, paths: [a.log] }}\nsinks:\n  \
             out: {{ type: opensearch, input: a, url: \"{url}\", index: \"{index}\" }}\n"
        )
    };
    let allowed = format!("\"-{name}*,+*\"");
    let _back = NoIndices(&url);
    NoIndices::set(&url, &allowed);
    desk.write("all.yaml", &sink(&format!("{name}-{{message}}")));
    let checked = desk.done(&["check", "all.yaml", "--connect"]).stdout;
    let list = format!("where `action.auto_create_index` is -{name}*,+*");
    assert!(checked.contains(&list), "{checked}");
}

#[test]
fn topics_that_nobody_made_yet_are_no_defect() {
    let Some(brokers) = find("kafka") else { return };
    let desk = Desk::new();
    let name = unique("awaited");
    desk.write(
        "all.yaml",
        &format!(
            "name: awaited\nsources:\n  a: {{ type: kafka, brokers: \"{brokers}\", topics: \"/{name}-.*/\" }}\n\
             sinks:\n  lake: {{ type: lake, input: a, table: t }}\n"
        ),
    );
    let applied = desk.done(&["setup", "all.yaml", "--apply"]).stdout;
    let line = "(topics that match: 0) is not there yet";
    assert!(applied.contains(line) && applied.ends_with("1 thing made\n"), "{applied}");
    assert!(desk.done(&["check", "all.yaml", "--connect"]).stdout.contains(line));
}

#[test]
fn a_server_that_does_not_answer_is_named_and_the_others_are_asked() {
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    desk.write(
        "all.yaml",
        "name: far\nsources:\n  a: { type: file, paths: [a.log] }\nsinks:\n  \
         gone: { type: postgres, input: a, url: \"postgres://u@127.0.0.1:1/d\", table: x,\n          \
         connect_timeout: 1s }\n  \
         lake: { type: lake, input: a, table: rows }\n",
    );
    for command in [&["setup", "all.yaml"][..], &["check", "all.yaml", "--connect"]] {
        let ran = desk.run(command);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("sink gone of pipeline \"far\""), "{}", ran.stderr);
        assert!(ran.stdout.contains("lake table rows"), "{}", ran.stdout);
        let is_right = ran.stdout.contains("is right as it is written, but not all that it needs");
        assert_eq!(is_right, command[0] == "check", "{}", ran.stdout);
    }
}

#[test]
fn a_missing_bucket_of_checkpoints_is_named_and_made() {
    let Some(endpoint) = find("s3") else { return };
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let missing = unique("commands-none");
    let file = |bucket: &str| {
        format!(
            "name: far\nretry: {{ for: 1s }}\n\
             checkpoint: {{ url: \"s3://{bucket}/c\", endpoint: \"{endpoint}\", \
             allow_http: true, access_key: {key}, secret_key: {secret} }}\nsources:\n  \
             a: {{ type: file, paths: [a.log] }}\nsinks:\n  lake: {{ type: lake, input: a, table: rows }}\n"
        )
    };
    desk.write("all.yaml", &file(&missing));
    let checked = desk.run(&["check", "all.yaml", "--connect"]);
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    let line = format!("+ checkpoints: bucket s3://{missing} (prefix c) is missing, and is made");
    assert!(checked.stdout.contains(&line), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(checked.stderr, "");
    let begun = desk.run(&["run", "all.yaml", "--until-end", "-q"]);
    assert_eq!(begun.code, 1, "{}", begun.stderr);
    assert!(begun.stderr.contains("logmill setup"), "{}", begun.stderr);
    assert!(!begun.stderr.contains('<'), "the answer of the store: {}", begun.stderr);
    actions(&desk, &["--apply"], "made");
    actions(&desk, &["--apply"], "none");
    desk.done(&["run", "all.yaml", "--until-end", "-q"]);
    desk.write("all.yaml", &file(&setting("s3_bucket")));
    let checked = desk.done(&["check", "all.yaml", "--connect"]);
    assert!(checked.stdout.contains("= checkpoints: bucket s3://"), "{}", checked.stdout);
}

/// A lake and checkpoints in one bucket that nobody made yet.
fn both_in_one_bucket(scheme: &str, store: &str) {
    let desk = Desk::new();
    desk.write("a.log", "a\nb\n");
    let place = |bucket: &str, folder| format!("url: \"{scheme}://{bucket}/{folder}\", {store}");
    let bucket = unique("commands-lake");
    let file = format!(
        "name: {bucket}\ncheckpoint: {{ {} }}\nsources:\n  a: {{ type: file, paths: [a.log] }}\n\
         sinks:\n  lake: {{ type: lake, input: a, table: rows, {} }}\n",
        place(&bucket, "c"),
        place(&bucket, "rows")
    );
    desk.write("all.yaml", &file);
    let plan = desk.done(&["setup", "all.yaml"]).stdout;
    assert!(plan.contains("+ sink lake: bucket "), "{scheme}: {plan}");
    assert!(plan.contains("+ checkpoints: bucket "), "{scheme}: {plan}");
    assert!(plan.ends_with("3 things to make; `--apply` does so\n"), "{scheme}: {plan}");
    actions(&desk, &["--apply"], "made");
    actions(&desk, &["--apply"], "none");
    assert_eq!(desk.run(&["check", "all.yaml", "--connect"]).code, 0, "{scheme}");
    desk.done(&["run", "all.yaml", "--until-end", "-q"]);
    desk.done(&["audit", "all.yaml"]);
}

#[test]
fn the_bucket_of_a_lake_is_made_before_its_table() {
    let (Some(minio), Some(azure), Some(gcs)) = (find("s3"), find("azure"), find("gcs")) else {
        return;
    };
    let (key, secret) = (setting("s3_key"), setting("s3_secret"));
    let keys = format!("allow_http: true, access_key: \"{key}\", secret_key: \"{secret}\"");
    both_in_one_bucket("s3", &format!("endpoint: \"{minio}\", {keys}"));
    let (account, key) = (setting("azure_account"), setting("azure_key"));
    let keys = format!("allow_http: true, access_key: {account}, secret_key: \"{key}\"");
    both_in_one_bucket("az", &format!("endpoint: \"{azure}/{account}\", {keys}"));
    both_in_one_bucket("gs", &gcs_settings(&gcs));
}
