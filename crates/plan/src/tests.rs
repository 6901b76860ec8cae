use std::fmt::Debug;

use contract::{Error, Result, Section};

use crate::{NodeRef, Plan, Vocabulary, read};

/// What a user would see of a result: the value, or place, chain of causes and hint.
pub(crate) fn said<T: ToString>(result: Result<T>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => {
            let place = error.place().map(ToString::to_string).unwrap_or_default();
            let hint = error.hint_text().map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{place}: {}{hint}", error.chain())
        }
    }
}

/// Does something with a vocabulary of few words.
pub(crate) fn vocabulary<T>(
    environment: &dyn Fn(&str) -> Option<String>,
    then: impl FnOnce(&Vocabulary<'_>) -> T,
) -> T {
    let inputs = |kind: &str, section: &Section| {
        let query = section.get("from").and_then(Section::as_text);
        Ok((kind == "sql").then(|| query.into_iter().map(str::to_owned).collect()))
    };
    let secrets = |path: &str| match path {
        "password" => Ok(format!("hunter{}", environment("PORT").unwrap_or_default())),
        other => Err(Error::config(format!("there is no secret {other:?}"))),
    };
    then(&Vocabulary {
        sources: &["file", "memory"],
        transforms: &["parse", "sql", "route"],
        sinks: &["lake", "postgres"],
        inputs: &inputs,
        environment,
        secrets: &secrets,
    })
}

fn read_with(text: &str, port: &str) -> Result<Plan> {
    let environment = |name: &str| (name == "PORT").then(|| port.to_owned());
    vocabulary(&environment, |vocabulary| read(text, "p.yaml", vocabulary))
}

fn plan(text: &str) -> Plan {
    read_with(text, "1").expect("a valid pipeline")
}

/// The graph on one line per node: `kind name <- inputs`.
fn drawn(plan: &Plan) -> String {
    let edge = |input: &crate::Input| {
        let name = match input.node {
            NodeRef::Source(at) => &plan.sources[at].name,
            NodeRef::Transform(at) => &plan.transforms[at].name,
        };
        if input.port.is_empty() { name.clone() } else { format!("{name}.{}", input.port) }
    };
    let edges = |inputs: &[crate::Input]| inputs.iter().map(edge).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> =
        plan.sources.iter().map(|node| format!("{} {}", node.kind, node.name)).collect();
    for node in &plan.transforms {
        lines.push(format!("{} {} <- {}", node.kind, node.name, edges(&node.inputs)));
    }
    for node in &plan.sinks {
        lines.push(format!("{} {} <- {}", node.kind, node.name, edges(&node.inputs)));
    }
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.join("\n")
}

fn check(text: &str, expect: &str) {
    assert_eq!(said(read_with(text, "1").map(|plan| drawn(&plan))), expect, "of\n{text}");
}

fn check_shown<T: Debug>(value: T, expect: &str) {
    assert_eq!(format!("{value:?}"), expect);
}

const WEB: &str = r#"
name: web-logs
sources:
  access: { type: file, paths: ["a.log"], port: "${PORT}" }
transforms:
  errors: { type: sql, from: parsed, least: "${PORT}" }
  parsed: { type: parse, input: access, key: "${secret:password}" }
sinks:
  lake: { type: lake, input: [parsed, errors], table: web }
"#;

#[test]
fn transforms_stand_after_what_they_read() {
    check(
        WEB,
        "file access\nparse parsed <- access\nsql errors <- parsed\nlake lake <- parsed errors",
    );
    check(
        "name: a\nsources: {s: {type: file}}\ntransforms:\n  split: {type: route, input: s}\n\
         sinks: {l: {type: lake, input: [split.errors, split.default]}}",
        "file s\nroute split <- s\nlake l <- split.errors split.default",
    );
}

#[test]
fn a_file_without_sinks_fills_the_embedded_lake() {
    let single = plan("name: web-logs\nsources: {s: {type: file}}");
    assert_eq!(drawn(&single), "file s\nlake lake <- s");
    check_shown(single.sinks[0].section.get("table"), "Some(Text(\"web_logs\"))");
    let several = plan("name: a\nsources: {s-1: {type: file}, lake-s-1: {type: file}}\nsinks:");
    assert_eq!(
        drawn(&several),
        "file s-1\nfile lake-s-1\nlake lake-s-1-sink <- s-1\nlake lake-lake-s-1 <- lake-s-1"
    );
    check_shown(several.sinks[0].section.get("table"), "Some(Text(\"s_1\"))");
}

#[test]
fn what_is_disabled_takes_along_what_it_alone_feeds() {
    check(
        r#"
name: a
sources:
  on: { type: file }
  off: { type: file, enabled: false, url: "${NOT_SET}" }
transforms:
  dry: { type: parse, input: off }
  both: { type: parse, input: [off, on] }
sinks:
  lake: { type: lake, input: both }
  parched: { type: lake, input: dry }
  later: { type: postgres, input: both, enabled: "${NOT_SET:false}" }
"#,
        "file on\nparse both <- on\nlake lake <- both",
    );
}

#[test]
fn what_nobody_reads_is_a_warning() {
    check(
        "name: a\nsources: {s: {type: file}}\ntransforms: {idle: {type: parse, input: s}}\n\
         sinks: {lake: {type: lake, input: s}}",
        "file s\nparse idle <- s\nlake lake <- s\nwarning: nothing reads \"idle\"",
    );
}

#[test]
fn a_node_keeps_only_the_settings_of_its_kind() {
    let plan = plan(WEB);
    check_shown(plan.sources[0].section.get("type"), "None");
    check_shown(plan.sources[0].section.get("port"), "Some(Integer(1))");
    check_shown(plan.transforms[0].section.get("input"), "None");
    check_shown(plan.transforms[0].section.get("key"), "Some(a secret)");
    check_shown(plan.sinks[0].section.get("input"), "None");
    assert_eq!(plan.sources[0].place.to_string(), "p.yaml:4:3");
}

#[test]
fn settings_have_defaults_and_units() {
    let defaults = plan(WEB).settings;
    check_shown(
        defaults,
        "Settings { epoch_interval: 10s, epoch_bytes_max: 268435456, memory_limit: 268435456, \
         checkpoint: Settings { url: None, .. }, retry_for: None, on_split_error: Isolate, history_keep: 2592000s, \
         serve: Serve { table: None, time: \"ts\", backend: Lake, .. }, schedule: None, metrics: [], without_effect: [] }",
    );
    let own = plan(&format!(
        "{WEB}\nepoch: {{interval: 200ms, bytes_max: 1MiB}}\nmemory: {{limit: 64MiB}}\n\
         checkpoint: {{url: s3://b/c}}\nretry: {{for: 5m}}\non_split_error: stop\nhistory: {{keep: 7d}}\n\
         serve: {{table: web, time: at, backend: postgres, token: hush}}\n"
    ));
    check_shown(
        own.settings,
        "Settings { epoch_interval: 200ms, epoch_bytes_max: 1048576, memory_limit: 67108864, \
         checkpoint: Settings { url: Some(\"s3://b/c\"), .. }, retry_for: Some(300s), on_split_error: Stop, history_keep: 604800s, \
         serve: Serve { table: Some(\"web\"), time: \"at\", backend: Postgres, .. }, schedule: None, metrics: [], without_effect: [] }",
    );
}

#[test]
fn the_hash_follows_the_rows_and_nothing_else() {
    let hash = |text: &str, port: &str| read_with(text, port).expect("valid").hash;
    let base = hash(WEB, "1");
    assert_eq!(base.len(), 64);
    assert_ne!(base, hash(WEB, "2"), "a variable in a transform");
    let no_variable = WEB.replace("least: \"${PORT}\"", "least: 1");
    assert_eq!(base, hash(&no_variable, "1"), "the same value, written out");
    assert_eq!(hash(&no_variable, "1"), hash(&no_variable, "2"), "a source's variable, a secret");
    for (same, from, to) in [
        (true, "table: web", "table: other"),
        (true, "name: web-logs", "# only a comment\nname: web-logs"),
        (false, "name: web-logs", "name: other"),
        (false, "a.log", "b.log"),
        (false, "least: 1", "least: 1.0"),
        (false, "[parsed, errors]", "[parsed]"),
        (false, "least: 1", "least: 1, most: [2]"),
    ] {
        let changed = no_variable.replace(from, to);
        assert_ne!(changed, no_variable);
        assert_eq!(hash(&changed, "1") == hash(&no_variable, "1"), same, "{from} -> {to}");
    }
}

#[test]
fn names_the_steps_of_a_cycle() {
    let head = "name: a\nsources: {s: {type: file}}\ntransforms:\n";
    check(
        &format!(
            "{head}  x: {{type: parse, input: s}}\n  a: {{type: parse, input: b}}\n  \
             b: {{type: parse, input: [x, c]}}\n  c: {{type: sql, from: a}}\n"
        ),
        "p.yaml:5:3: cycle: a -> b -> c -> a; each reads the next; let one of them read a source",
    );
    check(
        &format!("{head}  a: {{type: parse, input: a}}\n"),
        "p.yaml:4:3: cycle: a -> a; each reads the next; let one of them read a source",
    );
}

#[test]
fn wrong_top_levels_are_named() {
    for (text, expect) in [
        ("[]", "p.yaml:1:1: the file must be a map; write `key: value` lines, indented under it"),
        ("name: a\nsorces: {}\n", "p.yaml:2:1: unknown key \"sorces\"; did you mean \"sources\"?"),
        (
            "sources: {s: {type: file}}",
            "p.yaml:1:1: the key \"name\" is missing; add `name: …`; checkpoints are kept under it",
        ),
        (
            "name: Web Logs\nsources: {s: {type: file}}",
            "p.yaml:1:7: \"Web Logs\" is not a name; begin with a lowercase letter; then lowercase \
             letters, digits, `_` and `-`, at most 64 in all",
        ),
        ("name: 7\nsources: {s: {type: file}}", "p.yaml:1:7: expected text; quote it"),
        (
            "name: a\ncheckpoint: {url: gcs://x/y}\n",
            "p.yaml:2:19: invalid setting \"checkpoint.url\": \"gcs://x/y\" names no store; \
             use a path, file:///…, s3://bucket/…, az://container/… or gs://bucket/…",
        ),
        (
            "name: a\ncheckpoint:\n  url: s3://b/c\n  options: {tmeout: 1s}\n",
            "p.yaml:4:12: invalid setting \"checkpoint.options\": S3 has no option \"tmeout\"; \
             options have the names of the crate `object_store`",
        ),
        (
            "name: a\nsources:\n",
            "p.yaml:2:8: the pipeline has no source; \
             add `sources: { NAME: { type: …, … } }`",
        ),
        (
            "name: a\nsources: {s: {type: file}}\nepoch: {intervall: 1s}",
            "p.yaml:3:9: invalid setting \"epoch\": unknown key \"intervall\"; \
             did you mean \"interval\"?",
        ),
        (
            "name: a\nsources: {s: {type: file}}\nepoch: {interval: 10}",
            "p.yaml:3:19: invalid setting \"epoch.interval\": expected a duration such as \
             `200ms`, `10s` or `5m`, found integer `10`",
        ),
        (
            "name: a\nsources: {s: {type: file}}\nepoch: {interval: 0s}",
            "p.yaml:3:19: expected more than zero",
        ),
    ] {
        check(text, expect);
    }
}

#[test]
fn wrong_nodes_are_named() {
    for (nodes, expect) in [
        (
            "sources: {s: file}",
            "p.yaml:2:14: source \"s\" must be a map; write `key: value` lines, indented under it",
        ),
        (
            "sources: {s: {paths: a}}",
            "p.yaml:2:11: source \"s\" has no type; add `type: …`, one of: file, memory",
        ),
        (
            "sources: {s: {type: fil}}",
            "p.yaml:2:21: unknown source type \"fil\"; did you mean \"file\"?",
        ),
        (
            "sources: {s: {type: file, enabled: maybe}}",
            "p.yaml:2:36: expected a boolean, found string \"maybe\"",
        ),
        (
            "sources: {s: {type: file, enabled: false}}",
            "p.yaml:1:1: every source is disabled; set `enabled: true` on one of them",
        ),
        (
            "sources: {S: {type: file}}",
            "p.yaml:2:11: \"S\" is not a name; begin with a lowercase letter; then lowercase \
             letters, digits, `_` and `-`, at most 64 in all",
        ),
        (
            "sources: {s: {type: file}}\nsinks: {s: {type: lake, input: s}}",
            "p.yaml:3:9: the name \"s\" is taken by the node at p.yaml:2:11; \
             sources, transforms and sinks need different names",
        ),
        (
            "sources: {s: {type: file}}\nsinks: {l: {type: lake, input: s, enabled: false}}",
            "p.yaml:1:1: no sink would get a row; \
             enable a sink and what it reads, or leave `sinks` out for the embedded lake",
        ),
        (
            "sources: {s: {type: file, url: \"${NOT_SET}\"}}",
            "p.yaml:2:32: the environment variable \"NOT_SET\" is not set; \
             set it, give a default with `${NOT_SET:…}`, or write `$${` for a literal `${`",
        ),
        (
            "sources: {s: {type: file, url: \"${secret:nope}\"}}",
            "p.yaml:2:32: there is no secret \"nope\"",
        ),
    ] {
        check(&format!("name: a\n{nodes}"), expect);
    }
}

#[test]
fn wrong_inputs_are_named() {
    for (nodes, expect) in [
        (
            "transforms: {t: {type: parse}}",
            "p.yaml:3:14: \"t\" does not say what it reads; \
             add `input: NAME`, the name of a source or transform",
        ),
        (
            "transforms: {t: {type: parse, input: acces}}",
            "p.yaml:3:38: there is no source or transform \"acces\"; did you mean \"access\"?",
        ),
        (
            "transforms: {t: {type: sql, from: acces}}",
            "p.yaml:3:14: there is no source or transform \"acces\"; did you mean \"access\"?",
        ),
        (
            "transforms: {t: {type: sql, from: access, input: access}}",
            "p.yaml:3:50: a sql transform names its inputs itself; remove `input`",
        ),
        (
            "sinks: {l: {type: lake, input: access.errors}}",
            "p.yaml:3:32: source \"access\" has no output \"errors\"; \
             write `access`; only transforms have several outputs",
        ),
        (
            "sinks: {l: {type: lake, input: [access, access]}}",
            "p.yaml:3:41: the input \"access\" is named twice; remove one of them",
        ),
        ("sinks: {l: {type: lake, input: [7]}}", "p.yaml:3:33: expected text; quote it"),
        (
            "sinks: {l: {type: lake, input: []}}",
            "p.yaml:3:9: \"l\" does not say what it reads; \
             add `input: NAME`, the name of a source or transform",
        ),
        (
            "transforms: {t: {type: parse, input: l}}\nsinks: {l: {type: lake, input: t}}",
            "p.yaml:3:38: \"l\" is a sink, and a sink cannot be read; read what the sink reads",
        ),
    ] {
        check(&format!("name: a\nsources: {{access: {{type: file}}}}\n{nodes}"), expect);
    }
}

#[test]
fn too_many_nodes_are_refused() {
    let many: String = (0..1_001).map(|at| format!("  s{at}: {{type: file}}\n")).collect();
    check(
        &format!("name: a\nsources:\n{many}"),
        "p.yaml:1003:3: the pipeline has more than 1000 nodes; split it into several pipelines",
    );
}

#[test]
fn tests_are_rows_in_and_rows_expected() {
    let text = format!(
        "{WEB}\ntests:\n  - name: keeps server errors\n    now: 2026-01-01T01:00:00+01:00\n    \
         input: {{access: [\"1.2.3.4 GET\", {{message: x}}]}}\n    \
         expect: {{errors: [{{status: 500}}], lake: []}}\n    dead_letters: [{{step: parsed}}]\n"
    );
    let case = plan(&text).tests.remove(0);
    assert_eq!(
        (case.name.as_str(), case.now_us),
        ("keeps server errors", Some(1_767_225_600_000_000))
    );
    assert_eq!(case.place.to_string(), "p.yaml:12:5");
    assert_eq!(case.input[0].0, "access");
    assert_eq!(case.input[0].1[0].as_text(), Some("1.2.3.4 GET"));
    let expected: Vec<_> =
        case.expect.iter().map(|(node, rows)| (node.as_str(), rows.len())).collect();
    assert_eq!(expected, [("errors", 1), ("lake", 0)]);
    assert_eq!(case.dead_letters.map(|rows| rows.len()), Some(1));
}

#[test]
fn wrong_tests_are_named() {
    let wrong = [
        ("tests: {}", "tests must be a list; write `- name: …` lines"),
        ("tests: [{name: x, inputs: {}}]", "unknown key \"inputs\"; did you mean \"input\"?"),
        ("tests: [{name: x}]", "the key \"input\" is missing; add `input: …`"),
        (
            "tests: [{name: x, input: {acces: []}}]",
            "there is no \"acces\" here; did you mean \"access\"?",
        ),
        (
            "tests: [{name: x, input: {access: [7]}}]",
            "a row is a text or a map of columns; quote a line that looks like a number",
        ),
        (
            "tests: [{name: x, input: {access: []}}]",
            "the test \"x\" expects nothing; \
             add `expect: { NODE: [ … ] }` or `dead_letters: [ … ]`",
        ),
        (
            "tests: [{name: x, input: {}, expect: {parsed: {}}}]",
            "expected a list of rows; write `[ … ]`, or `[]` for no row",
        ),
        (
            "tests: [{name: x, now: noon, input: {}}]",
            "expected a time such as `2026-01-31T12:00:00Z`: premature end of input",
        ),
    ];
    for (tests, expect) in wrong {
        let said = said(read_with(&format!("{WEB}{tests}"), "1").map(|plan| drawn(&plan)));
        assert!(said.starts_with("p.yaml:10:"), "{said}");
        assert!(said.ends_with(expect), "{said}\nexpected {expect}");
    }
}
