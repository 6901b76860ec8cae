//! Tables of lines with what becomes of them, and properties over lines made up.

mod blocks;
mod directives;
mod forms;
mod unique;

use arrow::array::StringViewArray;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::table::{rows, said};
use crate::{Format, FormatConfig, parser};

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64)";

fn check(format: Format, line: &str, expect: &str) {
    assert_eq!(said(&FormatConfig::new(format), &[line]), expect, "{line}");
}

fn custom(log_format: &str) -> FormatConfig {
    FormatConfig { log_format: Some(log_format.into()), ..FormatConfig::new(Format::Custom) }
}

fn names(config: &FormatConfig) -> String {
    let schema = parser(config).expect("a valid form").schema();
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_usual_forms_have_the_same_columns() {
    let all = "ip ident user ts method endpoint path query protocol status bytes referrer \
               user_agent response_time_ms";
    assert_eq!(names(&FormatConfig::new(Format::Combined)), all);
    assert_eq!(names(&FormatConfig::new(Format::Common)), all);
    assert_eq!(names(&FormatConfig::new(Format::VhostCombined)), format!("vhost {all}"));
}

#[test]
fn combined_lines_become_rows() {
    let check = |line: &str, expect: &str| check(Format::Combined, line, expect);
    check(
        &format!(
            "83.149.9.216 - - [17/May/2015:10:05:03 +0000] \"GET /a/b?x=1&y=2 HTTP/1.1\" 200 \
             203023 \"http://semicomplete.com/\" \"{AGENT}\""
        ),
        &format!(
            "83.149.9.216|~|~|2015-05-17T10:05:03Z|GET|/a/b?x=1&y=2|/a/b|x=1&y=2|HTTP/1.1|200\
             |203023|http://semicomplete.com/|{AGENT}|~"
        ),
    );
    check(
        "2001:db8::1 ident frank lee [01/Jan/2024:00:30:00 +0100] \"POST /? HTTP/2.0\" 304 - \
         \"-\" \"-\" 1234\r",
        "2001:db8::1|ident|frank lee|2023-12-31T23:30:00Z|POST|/?|/||HTTP/2.0|304|~|~|~|1234",
    );
    check(
        r#"- - "" [17/May/2015:10:05:03 +0000] "HEAD / HTTP/1.0" - 0 "" "" -"#,
        r#"~|~|""|2015-05-17T10:05:03Z|HEAD|/|/|~|HTTP/1.0|~|0|||~"#,
    );
}

#[test]
fn blanks_behind_a_line_do_not_count() {
    let line = r#"- - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 200 0 "" "-""#;
    let expect = said(&FormatConfig::new(Format::Combined), &[line]);
    for blanks in [" ", " \t", " \r", "\r\r"] {
        check(Format::Combined, &format!("{line}{blanks}"), &expect);
    }
    let common = &line[..line.len() - 7];
    let expect = said(&FormatConfig::new(Format::Common), &[common]);
    check(Format::Common, &format!("{common}\t"), &expect);
}

#[test]
fn a_request_that_is_not_http_is_kept_as_it_stands() {
    let check = |request: &str, expect: &str| {
        let line = format!(r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "{request}" 400 - "-" "-""#);
        let row = said(&FormatConfig::new(Format::Combined), &[&line]);
        let shown = row
            .strip_prefix("1.2.3.4|~|~|2015-05-17T10:05:03Z|")
            .and_then(|row| row.strip_suffix("|400|~|~|~|~"));
        assert_eq!(shown, Some(expect), "{row}");
    };
    check("-", "~|~|~|~|~");
    check("", "~|~|~|~|~");
    check("quit now", "~|quit now|quit now|~|~");
    check(r"\x16\x03\x01", "~|\u{16}\u{3}\u{1}|\u{16}\u{3}\u{1}|~|~");
    check("GET /old?a", "GET|/old?a|/old|a|~");
    check("GET /a b HTTP/1.1", "GET|/a b|/a b|~|HTTP/1.1");
    check("GET http://a/b?c?d HTTP/1.1", "GET|http://a/b?c?d|http://a/b|c?d|HTTP/1.1");
    check(r#"GET /\"q\"?a=\x3f\xc3\xa9 HTTP/1.1"#, "GET|/\"q\"?a=?é|/\"q\"|a=?é|HTTP/1.1");
}

#[test]
fn escapes_inside_quotes_are_understood() {
    let line = concat!(
        r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "#,
        r#""a\\b\x22" "say \"hi\" \xff \\" 5"#,
    );
    check(
        Format::Combined,
        line,
        "1.2.3.4|~|~|2015-05-17T10:05:03Z|GET|/|/|~|HTTP/1.1|200|1|a\\b\"|say \"hi\" \u{fffd} \\|5",
    );
}

#[test]
fn common_and_vhost_combined_lines_become_rows() {
    let request = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200"#;
    let row = "1.2.3.4|~|~|2015-05-17T10:05:03Z|GET|/|/|~|HTTP/1.1|200";
    check(Format::Common, &format!("{request} 7"), &format!("{row}|7|~|~|~"));
    check(Format::Common, &format!("{request} - 12"), &format!("{row}|~|~|~|12"));
    check(
        Format::Common,
        &format!("{request} 7 \"-\" \"agent\""),
        "0: expected the end of the line, or a blank and whole milliseconds, at byte 65, one more \
         field in quotes stands there: format `nginx` reads nginx's own `main`, which has one more \
         than `combined`; `custom` reads any other by the server's log format",
    );
    check(
        Format::VhostCombined,
        &format!("example.com:443 {request} 7 \"-\" \"agent\""),
        &format!("example.com:443|{row}|7|~|agent|~"),
    );
}

#[test]
fn a_broken_frame_is_refused_with_its_place() {
    let check = |line: &str, reason: &str| {
        check(Format::Combined, line, &format!("0: {reason}"));
    };
    let time = "expected a time such as `17/May/2015:10:05:03 +0000` as ts at byte 14";
    check("", "the line is blank");
    check(" \t\r", "the line is blank");
    check("nothing", "expected ` ` after ip at byte 8, the line ends");
    check("1.2.3.4 - - 17/May", "expected ` [` after user at byte 19, the line ends");
    check(
        "1.2.3.4 - - [17/May/2015:10:05:03 +0000",
        "expected `] \"` after ts at byte 40, the line ends",
    );
    check(r#"1.2.3.4 - - [32/May/2015:10:05:03 +0000] "GET"#, time);
    check(r#"1.2.3.4 - - [-] "GET"#, time);
    let start = r#"1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1"#;
    check(start, "the quotes around request are never closed");
    check(&format!("{start}\\\""), "the quotes around request are never closed");
    check(
        &format!("{start}\""),
        "expected `\" ` after request at byte 57, something else stands there",
    );
    check(&format!("{start}\" 20 1 "), "expected three digits as status at byte 59");
    check(&format!("{start}\" 2000 1 "), "expected three digits as status at byte 59");
    check(&format!("{start}\" 200 x \"-\" \"-\""), "expected a whole number as bytes at byte 63");
    check(
        &format!("{start}\" 200 9223372036854775808 \"-\" \"-\""),
        "expected a whole number as bytes at byte 63",
    );
    let tail = "expected the end of the line, or a blank and whole milliseconds, at byte";
    check(&format!("{start}\" 200 1 \"-\" \"-\"x"), &format!("{tail} 72"));
    check(&format!("{start}\" 200 1 \"-\" \"-\" 1.5"), &format!("{tail} 73"));
}

#[test]
fn rows_keep_their_order_around_refused_lines() {
    let line = |ip: &str| {
        format!(r#"{ip} - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#)
    };
    let (first, last) = (line("1.1.1.1"), line("2.2.2.2"));
    let (rows, refused) =
        rows(&FormatConfig::new(Format::Combined), &["x", &first, "", &last, "y"]);
    assert!(rows[0].starts_with("1.1.1.1|") && rows[1].starts_with("2.2.2.2|"));
    let places: Vec<_> = refused.iter().filter_map(|refused| refused.chars().next()).collect();
    assert_eq!(places, ['0', '2', '4']);
}

#[test]
fn apache_forms_are_read_as_the_server_has_them() {
    let check = |form: &str, line: &str, columns: &str, expect: &str| {
        assert_eq!(names(&custom(form)), columns, "{form}");
        assert_eq!(said(&custom(form), &[line]), expect, "{line}");
    };
    check(
        r#"%a %{X-Forwarded-For}i %u %t \"%r\" %>s %O \"%{Referer}i\" %D"#,
        r#"::1 10.0.0.1, 10.0.0.2 me [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" 1999"#,
        "ip x_forwarded_for user ts method endpoint path query protocol status bytes referrer \
         response_time_ms",
        "::1|10.0.0.1, 10.0.0.2|me|2015-05-17T10:05:03Z|GET|/|/|~|HTTP/1.1|200|5|~|1",
    );
    check(
        "%v:%p %m %U %q %H %!200,304{Cookie}i %B %I %O %T %{ms}T %{us}T 100%%",
        "www.a.de:80 GET /x ?a=b HTTP/1.1 - 0 10 20 2 30 4000 100%",
        "vhost port method path query protocol cookie bytes bytes_received bytes_sent \
         response_time_ms response_time_ms_2 response_time_ms_3",
        "www.a.de|80|GET|/x|a=b|HTTP/1.1|~|0|10|20|2000|30|4",
    );
    check(
        "{%{%Y-%m-%dT%H:%M:%S%z}t} %{usec}t|%{SSL_PROTOCOL}x|%{a}C|%{b}e|%{c}n|%{d}o|%k",
        "{2015-05-17T10:05:03+0200} 1431857103000001|TLSv1.3|1|2|3|4|5",
        "ts ts_2 ssl_protocol cookie_a env_b note_c sent_d keepalive_requests",
        "2015-05-17T08:05:03Z|2015-05-17T10:05:03.000001Z|TLSv1.3|1|2|3|4|5",
    );
}

#[test]
fn nginx_forms_are_read_as_the_server_has_them() {
    let check = |form: &str, line: &str, columns: &str, expect: &str| {
        assert_eq!(names(&custom(form)), columns, "{form}");
        assert_eq!(said(&custom(form), &[line]), expect, "{line}");
    };
    check(
        concat!(
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
            r#""$http_referer" "$http_user_agent" $request_time $upstream_response_time"#,
        ),
        concat!(
            r#"::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "#,
            r#""-" "a\x22b" 0.0456 0.1, 0.2"#,
        ),
        "ip user ts method endpoint path query protocol status bytes referrer user_agent \
         response_time_ms upstream_response_time upstream_response_time_ms",
        "::1|~|2015-05-17T10:05:03Z|GET|/|/|~|HTTP/1.1|200|5|~|a\"b|45|0.1, 0.2|300",
    );
    check(
        r#"{"t":"$time_iso8601","m":"$request_method","u":"$request_uri","h":"${host}x"}"#,
        r#"{"t":"2015-05-17T10:05:03+00:00","m":"GET","u":"/a?b=\"c\"","h":"example.orgx"}"#,
        "ts method endpoint path query vhost",
        "2015-05-17T10:05:03Z|GET|/a?b=\"c\"|/a|b=\"c\"|example.org",
    );
    check(
        "$msec $args $server_protocol $pipe",
        "1431857103.250 - HTTP/1.1 p",
        "ts query protocol pipe",
        "2015-05-17T10:05:03.250Z|~|HTTP/1.1|p",
    );
}

#[test]
fn a_wrong_form_is_refused_with_the_way_out() {
    let check = |config: &FormatConfig, expect: &str| {
        let error = parser(config).err().expect("the form is wrong");
        assert_eq!(error.to_string(), expect);
        assert_eq!(error.field_name(), Some("log_format"));
        assert!(error.hint_text().is_some(), "{expect}");
    };
    check(&FormatConfig::new(Format::Custom), "format \"custom\" needs the form of the lines");
    check(&custom("combined"), "the form of the lines has neither `%` nor `$`");
    check(&custom("100%%"), "the form of the lines has no field");
    check(
        &custom("%h%l"),
        "nothing stands between \"ip\" and \"ident\", so that one text is ip \"a\" and ident \
         \"aa\", or ip \"aa\" and ident \"a\"",
    );
    check(&custom("%h %{Referer"), "the directive \"%{Referer\" is not complete");
    check(&custom("%h %"), "the directive \"%\" is not complete");
    check(&custom("%h %{min}T"), "unknown unit \"min\" in `%{min}T`");
    check(&custom("%h %{soon}t"), "the time \"soon\" is not a pattern of strftime");
    check(&custom("$status $ x"), "the variable \"$ x\" has no name");
}

#[test]
fn hostile_lines_are_rows_or_refused() {
    let long = "a".repeat(100_000);
    let corpus = [
        "\0".to_owned(),
        "\u{feff}".to_owned(),
        "\"".repeat(1_000),
        "\\".repeat(1_001),
        " ".repeat(1_000),
        "[".repeat(1_000),
        format!("{long} - - [17/May/2015:10:05:03 +0000] \"{long}\" 200 1 \"{long}\" \"{long}\""),
        format!("{long}\u{1f600}"),
        "é - - [17/May/2015:10:05:03 +0000] \"é é é\" 200 1 \"é\" \"\\é\"".to_owned(),
        "- - - [17/May/20é5:10:05:03 +000] \"".to_owned(),
        "- - - [17/May/2015:10:05:03 +0000] \"\\".to_owned(),
        "- - - [17/May/2015:10:05:03 +0000] \"\" 2é 1".to_owned(),
        "%h %l %u %t \"%r\" %>s %b".to_owned(),
    ];
    let lines: Vec<_> = corpus.iter().map(String::as_str).collect();
    for name in ["combined", "common", "vhost_combined"] {
        let format = Format::named(name).expect("a known name");
        rows(&FormatConfig::new(format), &lines);
    }
    let (accepted, _) = rows(&FormatConfig::new(Format::Combined), &lines);
    assert_eq!(accepted.len(), 2, "the long line and the one with letters beyond ASCII");
}

fn word() -> impl Strategy<Value = String> {
    "[!#-Z^-~]{2,20}"
}

/// Text as it was before the server escaped it, beside what the server wrote.
fn quoted() -> impl Strategy<Value = (String, String)> {
    "[ -~é\t\n]{2,60}".prop_map(|text| {
        let mut written = String::new();
        for letter in text.chars() {
            match letter {
                '"' => written.push_str("\\\""),
                '\\' => written.push_str("\\\\"),
                '\n' => written.push_str("\\n"),
                '\t' => written.push_str("\\x09"),
                other => written.push(other),
            }
        }
        (text, written)
    })
}

proptest! {
    #[test]
    fn a_valid_line_parses_back_to_its_fields(
        (ip, user) in ("[0-9a-f:.]{2,20}", word()),
        (day, hour, second) in (1..29_u32, 0..24_u32, 0..60_u32),
        path in "/[a-z0-9/é]{0,40}",
        query in prop_oneof![Just(None), "[a-z=&?]{0,20}".prop_map(Some)],
        (status, bytes) in (100..600_i32, 0..i64::MAX),
        (referrer, agent) in (quoted(), quoted()),
        time in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
    ) {
        let endpoint = match &query {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        let tail = time.map_or(String::new(), |time| format!(" {time}"));
        let line = format!(
            "{ip} - {user} [{day:02}/Feb/2024:{hour:02}:00:{second:02} +0000] \"GET {endpoint} \
             HTTP/1.1\" {status} {bytes} \"{}\" \"{}\"{tail}",
            referrer.1, agent.1
        );
        let expect = format!(
            "{ip}|~|{user}|2024-02-{day:02}T{hour:02}:00:{second:02}Z|GET|{endpoint}|{path}|{}\
             |HTTP/1.1|{status}|{bytes}|{}|{}|{}",
            query.as_deref().unwrap_or("~"),
            referrer.0,
            agent.0,
            time.map_or("~".into(), |time| time.to_string()),
        );
        prop_assert_eq!(said(&FormatConfig::new(Format::Combined), &[&line]), expect);
    }

    #[test]
    fn any_bytes_are_rows_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<proptest::sample::Index>(),
    ) {
        let good = format!(
            "1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"{AGENT}\""
        );
        let mut spoiled = good.clone().into_bytes();
        let at = at.index(spoiled.len());
        spoiled.splice(at..at, bytes.iter().copied());
        let texts = [bytes, spoiled].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lines = StringViewArray::from_iter_values([&texts[0], &good, &texts[1]]);
        let forms = [
            FormatConfig::new(Format::Combined),
            FormatConfig::new(Format::Common),
            custom("$remote_addr [$time_local] \"$request\" $status"),
        ];
        for config in forms {
            let parsed = parser(&config).expect("a valid form").parse(&lines, None);
            for column in &parsed.columns {
                prop_assert_eq!(column.len() + parsed.refused.len(), 3);
                prop_assert!(column.to_data().validate_full().is_ok());
            }
        }
    }
}
