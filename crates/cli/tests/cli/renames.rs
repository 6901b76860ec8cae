//! Names that change in a pipeline file while what stands behind them stays.

use testkit::services::{find, unique};
use testkit::stream::Compacted;

use crate::Desk;

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: [access.log] }
sinks:
  lake: { type: lake, input: access, table: web }
";

fn delivered() -> Desk {
    let desk = Desk::new();
    desk.write("access.log", "a\nb\nc\n");
    desk.write("web.yaml", PIPELINE);
    desk.done(&["run", "web.yaml", "--until-end"]);
    desk
}

fn rows(desk: &Desk) -> String {
    desk.done(&["query", "SELECT count(*) AS n FROM web", "--format", "csv"]).stdout
}

#[test]
fn a_source_under_another_name_is_refused_before_it_reads_anything_again() {
    let desk = delivered();
    desk.write(
        "web.yaml",
        &PIPELINE.replace("access:", "logs:").replace("input: access", "input: logs"),
    );
    let refused = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for part in [
        "source \"logs\" reads what source \"access\" has read",
        "access.log",
        "call it \"access\" again",
        "another `name`",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(rows(&desk), "n\n3\n");
    // Under its old name it goes on.
    desk.write("web.yaml", PIPELINE);
    desk.write("access.log", "a\nb\nc\nd\n");
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk), "n\n4\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_source_under_another_name_is_known_by_another_spelling_of_its_path() {
    let desk = delivered();
    let whole = desk.path().canonicalize().expect("it is there").join("access.log");
    let (whole, up) = (whole.display(), "logmill-data/../access.log");
    for path in [whole.to_string(), up.to_owned(), "./access.log".to_owned()] {
        let other = PIPELINE.replace("paths: [access.log]", &format!("paths: ['{path}']"));
        // Under its own name the other spelling is the same file.
        desk.write("web.yaml", &other);
        desk.done(&["run", "web.yaml", "--until-end"]);
        assert_eq!(rows(&desk), "n\n3\n", "{path}");
        let other = other.replace("access: {", "logs: {").replace("input: access", "input: logs");
        desk.write("web.yaml", &other);
        let refused = desk.run(&["run", "web.yaml", "--until-end"]);
        assert_eq!(refused.code, 2, "{path}: {}", refused.stderr);
        let said = "source \"logs\" reads what source \"access\" has read";
        assert!(refused.stderr.contains(said), "{path}: {}", refused.stderr);
    }
}

#[test]
fn what_was_rotated_since_is_known_under_another_name_of_its_source_or_pipeline() {
    let desk = Desk::new();
    let pipeline = PIPELINE.replace("access.log", "access.log*");
    desk.write("access.log", &"a\n".repeat(100));
    desk.write("web.yaml", &pipeline);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let path = |name: &str| desk.path().join(name);
    std::fs::rename(path("access.log"), path("access.log.1")).expect("rotated");
    let other_source = pipeline.replace("access:", "logs:").replace("input: access", "input: logs");
    for new in ["", "b\n"] {
        if !new.is_empty() {
            desk.write("access.log", new);
        }
        for renamed in [&other_source, &pipeline.replace("name: web", "name: hits")] {
            desk.write("web.yaml", renamed);
            let refused = desk.run(&["run", "web.yaml", "--until-end"]);
            assert_eq!(refused.code, 2, "{renamed}{}", refused.stderr);
        }
    }
    desk.write("web.yaml", &pipeline);
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk), "n\n101\n");
    desk.done(&["audit", "web.yaml"]);
}

/// A log of which all was read is gone, and comes back when its source has another name.
#[test]
fn what_retired_and_comes_back_is_known_under_another_name_of_its_source_or_pipeline() {
    let desk = Desk::new();
    let line = |number: usize| format!("2026-11-28 10:00:00 line {number}\n");
    let text: String = (0..100).map(line).collect();
    let pipeline = PIPELINE.replace("access.log", "'*.log*'");
    desk.write("web.yaml", &pipeline);
    let path = |name: &str| desk.path().join(name);
    let run = |name: &str| {
        desk.write(name, &text.replace("line", name));
        let file = std::fs::File::options().append(true).open(path(name)).expect("it is there");
        let hours = std::time::Duration::from_secs(7_200);
        file.set_modified(std::time::SystemTime::now() - hours).expect("our own file");
        desk.done(&["run", "web.yaml", "--until-end"]);
        std::fs::remove_file(path(name)).expect("removed");
    };
    run("access.log");
    // With an epoch that reads something else.
    run("other.log");
    let listed = desk.done(&["splits", "list", "web.yaml", "-f", "ndjson"]).stdout;
    assert!(!listed.contains("access.log"), "it retired: {listed}");
    let other_source = pipeline.replace("access:", "logs:").replace("input: access", "input: logs");
    let other_name = pipeline.replace("name: web", "name: hits");
    for renamed in [&other_source, &other_name] {
        // What was never read is free.
        desk.write("web.yaml", renamed);
        assert_eq!(desk.run(&["check", "web.yaml"]).code, 0);
        desk.write("access.log.3", &(text.replace("line", "access.log") + "more\n"));
        let refused = desk.run(&["run", "web.yaml", "--until-end"]);
        assert_eq!(refused.code, 2, "{renamed}{}", refused.stderr);
        assert!(refused.stderr.contains("access.log.3"), "{}", refused.stderr);
        std::fs::remove_file(path("access.log.3")).expect("removed");
    }
    desk.write("access.log.3", &(text.replace("line", "access.log") + "more\n"));
    desk.write("web.yaml", &pipeline);
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk), "n\n201\n");
    desk.done(&["audit", "web.yaml"]);
}

const TWO: &str = "\
name: web
sources:
  a: { type: file, paths: [a.log] }
  b: { type: file, paths: [b.log] }
sinks:
  lake: { type: lake, input: [a, b], table: web }
";

/// What one known source has read is not read again by another one.
#[test]
fn a_file_that_moves_between_known_sources_is_refused_before_it_is_read_again() {
    let swapped = TWO.replace("a.log", "c.log").replace("b.log", "a.log").replace("c.log", "b.log");
    let alone = TWO.replace("a.log", "a.log, b.log").replace("[a, b]", "a");
    let alone = alone.replace("  b: { type: file, paths: [b.log] }\n", "");
    for (changed, is_swapped) in [(swapped, true), (alone, false)] {
        let desk = Desk::new();
        desk.write("a.log", "a\n");
        desk.write("b.log", "b\nc\n");
        desk.write("web.yaml", TWO);
        desk.done(&["run", "web.yaml", "--until-end"]);
        desk.write("web.yaml", &changed);
        for command in [&["run", "web.yaml", "--until-end"][..], &["check", "web.yaml"]] {
            let refused = desk.run(command);
            assert_eq!(refused.code, 2, "{changed}: {}{}", refused.stdout, refused.stderr);
            let says = |one: &str, other: &str| {
                let reads = format!("source {one:?} reads what source {other:?} has read");
                let way = format!("let source {other:?} read it");
                refused.stderr.contains(&reads) && refused.stderr.contains(&way)
            };
            // Where both took what is the other's, whichever is asked first says it.
            let is_told = says("a", "b") || is_swapped && says("b", "a");
            assert!(is_told, "{}", refused.stderr);
        }
        assert_eq!(rows(&desk), "n\n3\n");
        // As it was it goes on, and both may read the same file.
        desk.write("web.yaml", &TWO.replace("[a.log]", "[a.log, b.log]"));
        desk.done(&["run", "web.yaml", "--until-end"]);
        desk.done(&["run", "web.yaml", "--until-end"]);
        assert_eq!(rows(&desk), "n\n5\n");
    }
}

#[test]
fn a_second_source_may_read_the_same_files_beside_the_first() {
    let desk = delivered();
    let both = PIPELINE.replace(
        "sinks:\n",
        "  again: { type: file, paths: [access.log] }\nsinks:\n  more: { type: lake, input: again, \
         table: more }\n",
    );
    desk.write("web.yaml", &both);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = "SELECT count(*) AS n FROM more";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n3\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_source_that_reads_something_else_may_take_the_place_of_another() {
    let desk = delivered();
    desk.write("other.log", "x\ny\n");
    let other = PIPELINE.replace("access: {", "other: {").replace("input: access", "input: other");
    desk.write("web.yaml", &other.replace("access.log", "other.log"));
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(rows(&desk), "n\n5\n");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_sink_under_another_name_is_refused_where_the_old_one_wrote() {
    let desk = delivered();
    desk.write("web.yaml", &PIPELINE.replace("lake: {", "table: {"));
    desk.write("access.log", "a\nb\nc\nd\n");
    let refused = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for part in [
        "sink \"table\" writes where sink \"lake\" has written",
        "call it \"lake\" again",
        "another place",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // In another place it begins anew, and the old one may leave.
    desk.write(
        "web.yaml",
        &PIPELINE.replace("lake: {", "table: {").replace("table: web", "table: new"),
    );
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = "SELECT count(*) AS n FROM new";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n1\n");
}

#[test]
fn a_pipeline_under_another_name_is_refused_where_the_old_one_read_and_wrote() {
    let desk = delivered();
    desk.write("web.yaml", &PIPELINE.replace("name: web", "name: other"));
    let refused = desk.run(&["run", "web.yaml", "--until-end"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for part in [
        "pipeline \"other\" reads what pipeline \"web\" has read",
        "access.log",
        "call it \"web\" again",
        "other places",
    ] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert_eq!(rows(&desk), "n\n3\n");
    let elsewhere =
        PIPELINE.replace("name: web", "name: other").replace("table: web", "table: new");
    desk.write("web.yaml", &elsewhere);
    desk.done(&["run", "web.yaml", "--until-end"]);
    let sql = "SELECT count(*) AS n FROM new";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n3\n");
}

/// Each way that a refusal names leads on, with every row once.
#[test]
fn the_ways_that_are_named_lead_on() {
    let source =
        |text: &str| text.replace("access: {", "logs: {").replace("input: access", "input: logs");
    let sink = |text: &str| text.replace("lake: {", "table: {");
    let pipeline = |text: &str| text.replace("name: web", "name: other");
    let anew = |text: &str| text.replace("table: web", "table: anew");
    let ways: [(String, String, &str); 6] = [
        (source(PIPELINE), PIPELINE.to_owned(), "web"),
        (source(PIPELINE), anew(&pipeline(&source(PIPELINE))), "anew"),
        (sink(PIPELINE), PIPELINE.to_owned(), "web"),
        (sink(PIPELINE), anew(&sink(PIPELINE)), "anew"),
        (pipeline(PIPELINE), PIPELINE.to_owned(), "web"),
        (pipeline(PIPELINE), anew(&pipeline(PIPELINE)), "anew"),
    ];
    for (refused, way, table) in ways {
        let desk = delivered();
        desk.write("access.log", "a\nb\nc\nd\n");
        desk.write("web.yaml", &refused);
        let said = desk.run(&["run", "web.yaml", "--until-end"]);
        assert_eq!(said.code, 2, "{refused}\n{}", said.stderr);
        desk.write("web.yaml", &way);
        desk.done(&["run", "web.yaml", "--until-end"]);
        let sql = format!("SELECT count(*) AS n, count(DISTINCT message) AS m FROM {table}");
        let found = desk.done(&["query", &sql, "--format", "csv"]).stdout;
        // A sink in another place gets what is read from now on; another pipeline reads everything.
        let expect = if way == anew(&sink(PIPELINE)) { "n,m\n1,1\n" } else { "n,m\n4,4\n" };
        assert_eq!(found, expect, "{way}");
        desk.done(&["audit", "web.yaml"]);
    }
}

/// What `run` learns from the brokers, `check` takes from the settings.
#[test]
fn topics_that_move_to_another_source_are_refused_by_check_too() {
    let Some(brokers) = find("kafka") else { return };
    let topics = [unique("moved"), unique("moved")];
    for topic in &topics {
        Compacted::new(&brokers, topic).add("a", "one");
    }
    let desk = Desk::new();
    let write = |sources: &[(&str, &str)]| {
        let made = sources.iter().map(|(name, topics)| {
            format!(
                "  {name}: {{ type: kafka, brokers: '{brokers}', topics: [{topics}], \
                 start: earliest }}\n"
            )
        });
        let names: Vec<_> = sources.iter().map(|(name, _)| *name).collect();
        let text = format!(
            "name: {}\nsources:\n{}sinks:\n  out: {{ type: lake, input: [{}], table: t }}\n",
            topics[0],
            made.collect::<String>(),
            names.join(", ")
        );
        desk.write("k.yaml", &text);
    };
    let (one, two) = (topics[0].as_str(), topics[1].as_str());
    write(&[("orders", one), ("returns", two)]);
    desk.done(&["run", "k.yaml", "--until-end", "-q"]);
    let pattern = format!("/{one}.*/");
    for sources in [
        &[("orders", two), ("returns", one)][..],
        &[("sales", one), ("returns", two)],
        &[("sales", &pattern), ("returns", two)],
    ] {
        write(sources);
        for command in [&["check", "k.yaml"][..], &["run", "k.yaml", "--until-end", "-q"]] {
            let ran = desk.run(command);
            assert_eq!(ran.code, 2, "{sources:?} {command:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("has read:"), "{sources:?}: {}", ran.stderr);
        }
    }
    for sources in [&[("orders", one), ("returns", two)][..], &[("orders", one)]] {
        write(sources);
        desk.done(&["check", "k.yaml"]);
    }
}
