//! What becomes of the lines of every named format.

pub mod samples;

use arrow::array::StringViewArray;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::rows::HEAD;
use crate::table::{rows, said};
use crate::{Format, FormatConfig, parser};
use samples::samples;

/// The columns of the row of a line that are not null, or the refusal.
fn row(config: &FormatConfig, line: &str) -> String {
    let (rows, refused) = rows(config, &[line]);
    let Some(row) = rows.first() else { return refused.join("\n") };
    let schema = parser(config).unwrap().schema();
    // The values of these samples hold no bar but one that stands between two letters.
    let values = row.replace("1wt.eu|a", "1wt.eu\u{1}a");
    let shown = schema.fields().iter().zip(values.split('|'));
    let shown = shown.filter(|(_, value)| *value != "~");
    let shown = shown.map(|(field, value)| format!("{}={value}", field.name()));
    shown.collect::<Vec<_>>().join(" ").replace('\u{1}', "|")
}

#[test]
fn samples_of_every_format_become_rows() {
    for (format, line, expect) in samples() {
        assert_eq!(row(&FormatConfig::new(format), line), expect, "{}: {line}", format.name());
    }
}

#[test]
fn every_access_log_has_the_columns_that_one_page_needs() {
    for (format, ..) in samples() {
        if matches!(format, Format::Docker | Format::Cri | Format::Text) {
            continue;
        }
        let schema = parser(&FormatConfig::new(format)).unwrap().schema();
        let combined = parser(&FormatConfig::new(Format::Combined)).unwrap().schema();
        for (name, _) in HEAD {
            let (ours, theirs) =
                (schema.field_with_name(name).unwrap(), combined.field_with_name(name).unwrap());
            assert_eq!(ours, theirs, "{name} of {}", format.name());
        }
    }
}

#[test]
fn what_is_not_of_the_format_is_refused_with_its_place() {
    let check = |format: Format, line: &str, expect: &str| {
        assert_eq!(row(&FormatConfig::new(format), line), format!("0: {expect}"), "{line}");
    };
    let time = "a time such as `2015-05-17T10:05:03.250000Z` as ts";
    check(Format::Elb, "h2 2026-03-03", &format!("expected {time} at byte 1"));
    let start = "2026-03-03T10:00:00Z lb 192.0.2.1:7 - 0 0 0";
    check(Format::Elb, start, "expected three digits as status, the line ends");
    check(Format::Elb, &format!("{start} 20 "), "expected three digits as status at byte 45");
    check(
        Format::Elb,
        &format!("{start} 200 - 1 2 GET"),
        "expected a request in quotes at byte 55",
    );
    check(
        Format::S3Access,
        "owner bucket 03/Mar/2026",
        "expected a time such as `[17/May/2015:10:05:03 +0000]` as ts at byte 14",
    );
    check(
        Format::Traefik,
        r#"1.2.3.4 - - [03/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-" 7 "-" "-" 7"#,
        "expected milliseconds such as `12ms` as response_time_ms at byte 83",
    );
    let s3 =
        r#"o b [03/Mar/2026:10:00:00 +0000] - - R O k "GET /" 200 - 1 1 1 1 "-" "a "b" c" v h"#;
    check(Format::S3Access, s3, "expected text without quotes as version_id at byte 77");
    let s3 = r#"o b [03/Mar/2026:10:00:00 +0000] - - R O k "GET /" 200 - 1 1 1 1 "a" "b" "c" v h"#;
    check(Format::S3Access, s3, "expected text without quotes as version_id at byte 74");
    let haproxy = "1.2.3.4:5 [03/Mar/2026:10:00:02.655] www www/a";
    check(
        Format::Haproxy,
        "1.2.3.4 [03/Mar/2026:10:00:02.655] www",
        "expected `address:port [03/Mar/2026:10:00:02.655] ` before the frontend",
    );
    check(
        Format::Haproxy,
        &format!("{haproxy} 1/2/3/4 200 1"),
        "expected five times such as `10/0/30/69/109` at byte 48",
    );
    check(
        Format::Haproxy,
        &format!("{haproxy} 1/2/x/4/5 200 1"),
        "expected a whole number before byte 57, found \"x\"",
    );
    check(Format::Caddy, r#"{"ts":1,"msg":"started"}"#, "the object has no \"request.client_ip\"");
    check(Format::Caddy, "plain", "expected a JSON object: expected value at line 1 column 1");
    check(Format::TraefikJson, r#"{"DownstreamStatus":200}"#, "the line has no time");
    check(
        Format::TraefikJson,
        r#"{"DownstreamStatus":"soon","time":"2026-03-03T10:00:00Z"}"#,
        "field \"DownstreamStatus\" is not a status",
    );
    check(
        Format::Cri,
        "2026-03-03T10:00:00Z stdout X a",
        "expected a time, `stdout` or `stderr`, and `F` or `P`, each with a blank behind it",
    );
    check(
        Format::Cri,
        "2026-03-03T10:00:00Z stdout P a",
        "the line goes on in another one: `join: cri` on the source joins its parts, as far as \
         they stand in one file",
    );
    check(
        Format::Docker,
        r#"{"log":"a","stream":"stdout","time":"2026-03-03T10:00:00Z"}"#,
        "the line goes on in another one: `join: docker` on the source joins its parts, as far as \
         they stand in one file",
    );
    check(Format::Docker, r#"{"log":"a\n","time":"x"}"#, "the object has no text \"stream\"");
}

#[test]
fn what_docker_escapes_is_undone() {
    let escaped = concat!(
        r#"{"log":"\u003ca\u003e \u0026 \u001b[0m \ufffd\n","stream":"stdout","#,
        r#""attrs":{"tag":"x"},"time":"2026-03-03T10:00:00.1Z"}"#
    );
    assert_eq!(
        row(&FormatConfig::new(Format::Docker), escaped),
        "message=<a> & \u{1b}[0m \u{fffd} stream=stdout ts=2026-03-03T10:00:00.100Z"
    );
}

#[test]
fn older_forms_of_caddy_and_what_is_left_over_are_read() {
    let config = FormatConfig { rest: Some("rest".into()), ..FormatConfig::new(Format::Caddy) };
    let line = concat!(
        r#"{"ts":"2026-03-03T10:00:00Z","request":{"remote_addr":"192.0.2.7:5","uri":"/","x":1},"#,
        r#""status":200,"size":0,"msg":"m"}"#
    );
    assert_eq!(
        row(&config, line),
        "ip=192.0.2.7 ts=2026-03-03T10:00:00Z endpoint=/ path=/ status=200 bytes=0 \
         rest={\"request\":{\"x\":1},\"msg\":\"m\"}"
    );
    let error = r#"{"logger":"http.log.error","request":{"client_ip":"192.0.2.7"},"status":502}"#;
    let said = row(&FormatConfig::new(Format::Caddy), error);
    assert!(said.contains("the object has no \"size\""), "{said}");
    let config = FormatConfig { rest: Some("ip".into()), ..FormatConfig::new(Format::Caddy) };
    let error = parser(&config).err().expect("the column is taken");
    assert_eq!(error.to_string(), "the format has a column \"ip\" already");
}

#[test]
fn a_container_reads_the_format_inside() {
    let config = FormatConfig { inner: Some(Format::Common), ..FormatConfig::new(Format::Cri) };
    let line = |request: &str| {
        format!(
            "2026-03-03T10:00:00.5Z stdout F 192.0.2.7 - - [03/Mar/2026:09:00:00 +0000] \
             \"{request}\" 200 5"
        )
    };
    let (good, broken) = (line("GET / HTTP/1.1"), line("GET").replace("200", "x"));
    let blank = "2026-03-03T10:00:00.5Z stderr F ";
    assert_eq!(
        said(&config, &[&broken, &good, "x", blank, &good]).replace("GET|/|/|~|HTTP/1.1", "…"),
        "192.0.2.7|~|~|2026-03-03T09:00:00Z|…|200|5|~|~|~|stdout|2026-03-03T10:00:00.500Z\n\
         192.0.2.7|~|~|2026-03-03T09:00:00Z|…|200|5|~|~|~|stdout|2026-03-03T10:00:00.500Z\n\
         0: inside cri: expected three digits as status at byte 50\n\
         2: expected a time, `stdout` or `stderr`, and `F` or `P`, each with a blank behind it\n\
         3: inside cri: the line is blank"
    );
    let json: FormatConfig = serde_json::from_str(
        r#"{"format": "docker", "inner": "json", "fields": {"a": "integer"}, "rest": "more"}"#,
    )
    .unwrap();
    let line =
        r#"{"log":"{\"a\":7,\"b\":\"x\"}\n","stream":"stdout","time":"2026-03-03T10:00:00Z"}"#;
    assert_eq!(row(&json, line), "a=7 more={\"b\":\"x\"} stream=stdout ts=2026-03-03T10:00:00Z");
}

#[test]
fn settings_of_the_lines_inside_stand_beside_and_others_are_refused() {
    let check = |json: &str, expect: &str| {
        let config: FormatConfig = serde_json::from_str(json).unwrap();
        assert_eq!(parser(&config).err().unwrap().to_string(), expect, "{json}");
    };
    check(r#"{"format": "elb", "inner": "json"}"#, "format \"elb\" has no \"inner\"");
    check(r#"{"format": "cri", "inner": "json"}"#, "format \"json\" needs the columns to make");
    check(r#"{"format": "cri", "rest": "x"}"#, "format \"cri\" has no \"rest\"");
    check(
        r#"{"format": "cri", "inner": "docker"}"#,
        "a container's line cannot stand inside \"cri\"",
    );
    check(r#"{"format": "auto"}"#, "the format is not decided yet");
    check(
        r#"{"format": "docker", "inner": "json", "fields": {"stream": "text"}}"#,
        "the lines inside have a column \"stream\" too",
    );
}

/// Any bytes, and samples of which a part is missing or another one.
fn any_line() -> impl Strategy<Value = String> {
    let torn = (0..samples().len(), 0..600_usize, ".{0,3}", 0..600_usize);
    let torn = torn.prop_map(|(at, cut, put, on)| {
        let (_, line, _) = samples()[at];
        let edges = |at: usize| (0..=at.min(line.len())).rev();
        let edge = |at| edges(at).find(|at| line.is_char_boundary(*at)).unwrap_or_default();
        format!("{}{put}{}", &line[..edge(cut)], &line[edge(on)..])
    });
    let bytes = proptest::collection::vec(any::<u8>(), 0..80);
    prop_oneof![bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), torn]
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_refused(lines in proptest::collection::vec(any_line(), 1..6)) {
        let texts: Vec<_> = lines.iter().map(String::as_str).collect();
        for (format, ..) in samples() {
            rows(&FormatConfig::new(format), &texts);
        }
        let _ = crate::detect(&StringViewArray::from(texts));
    }
}

#[test]
fn times_of_haproxy_are_those_of_its_machine() {
    let line = "1.2.3.4:5 [03/Mar/2026:10:00:02.655] www www/a 1/2/3/4/5 200 1 - - ---- 1/1/1/1/0 \
                0/0 \"GET / HTTP/1.1\"";
    let cases = [
        (None, "ts=2026-03-03T10:00:02.655Z"),
        (Some("Europe/Berlin"), "ts=2026-03-03T09:00:02.655Z"),
        (Some("-08:00"), "ts=2026-03-03T18:00:02.655Z"),
    ];
    for (zone, expect) in cases {
        let time_zone = zone.map(str::to_owned);
        let config = FormatConfig { time_zone, ..FormatConfig::new(Format::Haproxy) };
        let said = row(&config, line);
        assert!(said.contains(expect), "{said}");
    }
}
