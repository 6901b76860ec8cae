//! `tail`: which records are shown, and the command of a blueprint that is made of it.

use serde_json::Value;
use testkit::services::{find, unique};

use super::Desk;

/// Three records with keys as the blueprint has them.
fn fed(brokers: &str, topic: &str) -> Desk {
    let desk = Desk::new();
    desk.write(
        "a.log",
        "{\"key\":\"shop:prod:1\",\"text\":\"Checkout slow\"}\n\
         {\"key\":\"shop:test:2\",\"text\":\"checkout fast\"}\n\
         {\"key\":\"cart:prod:3\",\"text\":\"cart slow\"}\n",
    );
    desk.write(
        "feed.yaml",
        &format!(
            "name: feed\nsources:\n  a: {{ type: file, paths: [a.log] }}\ntransforms:\n  \
             p: {{ type: parse, input: a, format: json, fields: {{ key: text, text: text }} }}\nsinks:\n  \
             out: {{ type: kafka, input: p, brokers: \"{brokers}\", topic: {topic}, key: \"{{key}}\",\n         \
             create_topics: {{ partitions: 1 }} }}\n"
        ),
    );
    desk.done(&["run", "feed.yaml", "--until-end"]);
    desk
}

fn keys(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    let shown = desk.done(arguments).stdout;
    let records = shown.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    records.map(|record| record["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn a_condition_chooses_records_and_a_blueprint_makes_it_of_its_flags() {
    let Some(brokers) = find("kafka") else { return };
    let topic = unique("tailed");
    let desk = fed(&brokers, &topic);
    let from = ["--brokers", &brokers, "-t", &topic, "--start", "earliest", "--raw", "--limit"];
    let general = |more: &[&str]| keys(&desk, &[&["tail"], &from[..], more].concat());
    let team = |more: &[&str]| keys(&desk, &[&["commerce", "tail"], &from[..], more].concat());
    assert_eq!(general(&["3"]), ["shop:prod:1", "shop:test:2", "cart:prod:3"]);
    assert_eq!(general(&["1", "--where", "key LIKE 'cart:%' AND partition = 0"]), ["cart:prod:3"]);
    assert_eq!(team(&["2", "-s", "shop"]), ["shop:prod:1", "shop:test:2"]);
    assert_eq!(team(&["2", "-e", "prod"]), ["shop:prod:1", "cart:prod:3"]);
    assert_eq!(team(&["1", "--service", "CART"]), ["cart:prod:3"]);
    assert_eq!(team(&["1", "-e", "prod", "--where", "offset > 1"]), ["cart:prod:3"]);
}

#[test]
fn wrong_arguments_say_what_to_write() {
    let desk = Desk::new();
    let wrong = desk.run(&["tail", "-t", "a", "--where", "colour = 1"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("the condition of `--where` is wrong"), "{}", wrong.stderr);
    let none = desk.run(&["tail", "--brokers", "localhost:1"]);
    assert!(none.code == 2 && none.stderr.contains("`-t NAME` names one"), "{}", none.stderr);
    let help = desk.done(&["--help"]).stdout;
    assert!(help.contains("commerce"), "{help}");
    let script = desk.done(&["completions", "bash"]).stdout;
    assert!(script.contains("commerce"), "blueprints' commands are completed too");
}
