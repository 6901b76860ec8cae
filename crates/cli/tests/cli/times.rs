//! Times as logs write them and as people ask for them.

use crate::Desk;

/// A pipeline that reads `TIME|NAME` lines with a time format.
fn pipeline(settings: &str) -> String {
    format!(
        "name: web\nsources:\n  a: {{ type: file, paths: [in.log] }}\n\
         transforms:\n  p:\n    type: parse\n    input: a\n    format: regex\n    \
         pattern: '^(?<ts>[^|]+)\\|(?<name>.*)$'\n    fields: {{ ts: timestamp }}\n    {settings}\n\
         sinks:\n  t: {{ type: lake, input: p, table: t }}\n"
    )
}

fn rows(desk: &Desk, sql: &str) -> String {
    let csv = desk.done(&["query", "-f", "csv", sql]).stdout;
    csv.lines().skip(1).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_pattern_that_gives_no_instant_is_refused_with_what_lacks() {
    let desk = Desk::new();
    desk.write("in.log", "");
    let check = |settings: &str, parts: &[&str]| {
        desk.write("web.yaml", &pipeline(settings));
        let ran = desk.run(&["check", "web.yaml"]);
        assert_eq!(ran.code, 2, "{settings}: {}", ran.stdout);
        for part in parts.iter().chain(&["hint: ", "--> web.yaml:"]) {
            assert!(ran.stderr.contains(part), "{settings}: {part}: {}", ran.stderr);
        }
    };
    check("time_format: '%b %d %H:%M:%S'", &["the year (`%Y`) is missing"]);
    check("time_format: '%H:%M'", &["the year"]);
    check("time_format: '%Y-%m-%d %I:%M:%S'", &["`%p`"]);
    check("time_format: '%Y-%m-%d %H:%M:%S %Z'", &["`%Z`", "zones: {"]);
    check("time_zone: Berlin", &["\"Berlin\" is no time zone"]);
    check("time_format: '%Y-%m-%d %Z'\n    zones: { PST: '8 hours' }", &["\"8 hours\""]);
    check("zones: { PST: '-08:00' }", &["no names of zones"]);
}

#[test]
fn letters_of_zones_mean_what_the_file_says() {
    let desk = Desk::new();
    desk.write(
        "in.log",
        "2026-01-01 12:00:00 PST|a\n2026-01-01 12:00:00 +0200|b\n2026-01-01 12:00:00 +02|c\n\
         2026-01-01 12:00:00 UTC|d\n2026-01-01 12:00:00 EST|e\n",
    );
    desk.write(
        "web.yaml",
        &pipeline("time_format: '%Y-%m-%d %H:%M:%S %Z'\n    zones: { PST: -08:00 }"),
    );
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(
        rows(&desk, "SELECT name, ts FROM t ORDER BY name"),
        "a,2026-01-01T20:00:00Z b,2026-01-01T10:00:00Z c,2026-01-01T10:00:00Z \
         d,2026-01-01T12:00:00Z"
    );
    assert_eq!(rows(&desk, "SELECT original FROM dead_letters"), "2026-01-01 12:00:00 EST|e");
}

#[test]
fn a_date_alone_is_midnight_in_the_zone_of_the_log() {
    let desk = Desk::new();
    desk.write("in.log", "2026-07-01|a\n2026-07-01 12:00:00|b\n2026-07-01T12:00:00Z|c\n");
    let sql = "SELECT name, ts FROM t ORDER BY name";
    desk.write("web.yaml", &pipeline("time_zone: Europe/Berlin"));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(
        rows(&desk, sql),
        "a,2026-06-30T22:00:00Z b,2026-07-01T10:00:00Z c,2026-07-01T12:00:00Z"
    );
}

#[test]
fn a_time_of_a_place_is_printed_with_its_offset_in_every_form() {
    let desk = Desk::new();
    desk.write("in.json", "{\"ts\":\"2026-03-29T01:59:59+01:00\"}\n");
    let sql = "SELECT ts AT TIME ZONE 'Europe/Berlin' AS local, ts FROM log('in.json', 'json')";
    for form in ["text", "csv", "json", "ndjson"] {
        let printed = desk.done(&["query", "-f", form, sql]).stdout;
        for text in ["2026-03-29T01:59:59+01:00", "2026-03-29T00:59:59Z"] {
            assert!(printed.contains(text), "{form}: {printed}");
        }
    }
}

#[test]
fn a_time_of_a_place_goes_to_sinks_as_its_instant() {
    let desk = Desk::new();
    desk.write("in.log", "2026-03-29T00:59:59Z|a\n");
    for (format, extension) in [("jsonl", "jsonl"), ("csv", "csv"), ("text", "txt")] {
        let sink = format!(
            "  local:\n    type: sql\n    query: SELECT ts AT TIME ZONE 'Europe/Berlin' AS ts, \
             name FROM p\nsinks:\n  out: {{ type: object_store, input: local, url: ./{extension}, \
             create_bucket: true, format: {format}, key: 'x-{{split}}-{{position}}' }}"
        );
        let text = pipeline("").replace("sinks:\n  t: { type: lake, input: p, table: t }", &sink);
        desk.write("web.yaml", &text.replace("name: web", &format!("name: {extension}")));
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
        let entries = std::fs::read_dir(desk.path().join(extension)).unwrap();
        let mut objects = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let text = std::fs::read_to_string(objects.next().unwrap()).unwrap();
        assert!(text.contains("2026-03-29T00:59:59Z"), "{format}: {text}");
    }
}
