//! How a store is reached: what is refused, and what is never shown.

use std::path::Path;

use contract::sink::Sink;
use serde_json::json;

use super::{config, delivered, rows, sink};
use crate::config::Config;

fn check(settings: &str, expect: &str) {
    let error = match Config::read(&testkit::section(settings)) {
        Ok(_) => panic!("{settings}: it was taken"),
        Err(error) => error,
    };
    let said = format!("{} [{}]", error.chain(), error.field_name().unwrap_or_default());
    assert_eq!(said, expect, "{settings}");
}

#[test]
fn settings_that_the_place_does_not_have_are_refused() {
    let local = "a local folder has no endpoint, region, keys, certificates or options [url]";
    check("{ table: hits, secret_key: hush }", local);
    check("{ table: hits, url: out, endpoint: \"http://127.0.0.1:9000\" }", local);
    check(
        "{ table: hits, url: az://hits/a, region: here }",
        "Azure Blob Storage has no region [region]",
    );
    check(
        "{ table: hits, url: s3://hits/a, options: { tmeout: 1s } }",
        "S3 has no option \"tmeout\" [options]",
    );
}

#[test]
fn a_table_elsewhere_cannot_have_the_name_of_one_of_ours() {
    for name in ["dead_letters", "dead_letter_states", "late", "ledger", "LATE", "Ledger"] {
        check(
            &format!("{{ table: {name}, url: s3://hits/a }}"),
            &format!("the table \"{name}\" belongs to logmill [table]"),
        );
    }
}

#[test]
fn one_bucket_at_two_endpoints_is_two_destinations() {
    let columns = delivered(&rows(0..1), "a", 1).schema();
    let at = |endpoint: &str| {
        let settings = json!({
            "url": "s3://hits/a", "endpoint": endpoint, "access_key": "who", "secret_key": "hush"
        });
        let sink = sink(Path::new("unused"), settings);
        sink.destination(&columns).expect("a destination").expect("a place")
    };
    assert_ne!(at("https://one.example"), at("https://two.example"));
    assert!(!at("https://one.example").contains("hush"));
}

#[test]
fn keys_are_not_shown_with_a_place() {
    let settings = json!({ "url": "s3://hits/a", "access_key": "who", "secret_key": "hush" });
    let shown = format!("{:?}", config(settings).location(Path::new("")));
    assert!(shown.contains("s3://hits/a") && !shown.contains("hush"), "{shown}");
}
