//! Fields that stand close together: each line is read in the one way that fits, or refused.

use proptest::prelude::{Strategy, prop_assert_eq, prop_oneof, proptest};

use super::{custom, names};
use crate::table::{rows, said};
use crate::{Format, FormatConfig, parser};

fn check(form: &str, line: &str, expect: &str) {
    let said = said(&custom(form), &[line]);
    if let Some(start) = expect.strip_suffix('…') {
        assert!(said.starts_with(start), "{form}\n{line}\n{said}");
    } else {
        assert_eq!(said, expect, "{form}\n{line}");
    }
}

#[test]
fn what_a_field_holds_ends_it() {
    check(
        "$remote_addr $scheme://$host$request_uri $status",
        "192.0.2.7 https://ex.org:8443/a?b=http://c/d 200",
        "192.0.2.7|https|ex.org:8443|/a?b=http://c/d|/a|b=http://c/d|200",
    );
    check(
        "$remote_addr $scheme://$host$request_uri $status",
        "::1 http://_- 400",
        "::1|http|_|~|~|~|400",
    );
    check("%m %U%q %H %>s", "GET /a?b=1 HTTP/1.1 204", "GET|/a?b=1|/a|b=1|HTTP/1.1|204");
    check("%m %U%q %H %>s", "GET /a b HTTP/1.1 204", "GET|/a b|/a b|~|HTTP/1.1|204");
    check(r#""%m %U%q %H" %b"#, r#""GET /\"a HTTP/1.1" 5"#, "GET|/\"a|/\"a|~|HTTP/1.1|5");
    check("$uri$is_args$args $status", "/a?b 200", "/a?b|/a|b|200");
    check("$status$body_bytes_sent", "20017", "200|17");
    check("$remote_addr:$remote_port $status", "::1:443 200", "::1|443|200");
    check("%v:%p %h", "[::1]:80 ::1", "[::1]|80|::1");
    check(
        "$time_iso8601$request_uri",
        "2026-03-03T10:00:00+00:00/a",
        "2026-03-03T10:00:00Z|/a|/a|~",
    );
}

#[test]
fn a_request_without_quotes_has_three_words() {
    check(
        "$remote_addr $request $status",
        "::1 GET /a HTTP/1.1 200",
        "::1|GET|/a|/a|~|HTTP/1.1|200",
    );
    check(
        "$remote_addr $request \"$status\"",
        "::1 GET /a HTTP/1.1 \"200\"",
        "::1|GET|/a|/a|~|HTTP/1.1|200",
    );
    check("$request $http_x", "GET /a HTTP/1.1 b HTTP/1.1 c", "GET|/a|/a|~|HTTP/1.1|b HTTP/1.1 c");
    check("$request $status", r"\x16\x03 a 400", "~|\u{16}\u{3} a|\u{16}\u{3} a|~|~|400");
    check("$request $status", "GET /a b HTTP/1.1 200", "GET|/a b|/a b|~|HTTP/1.1|200");
    check("$request $status", "- 400", "~|~|~|~|~|400");
    check("$request $http_x", "GET /a b HTTP/1.1 c", "0: the line fits in two ways: request is …");
}

#[test]
fn lists_need_no_quotes() {
    check(
        "$upstream_addr $upstream_status $upstream_response_time $status",
        "192.0.2.1:80, unix:/tmp/s : [::1]:80 502, - : 200 0.1, - : 0.25 200",
        "192.0.2.1:80, unix:/tmp/s : [::1]:80|502, - : 200|200|0.1, - : 0.25|350|200",
    );
    check("$upstream_response_length $upstream_status", "- -", "~|~|~|~");
    check("$upstream_response_length $upstream_status", "0, 5 -", "0, 5|5|~|~");
    check("$upstream_status $http_x", "502, 200 a b", "502, 200|200|a b");
    check("$upstream_status $http_x", "502 : 200 x", "0: the line fits in two ways…");
    check(r#"$upstream_status "$http_x""#, r#"502 : 200 "x""#, "502 : 200|200|x");
    check("$upstream_status $status", "502, 200, 200", "0: expected …");
}

#[test]
fn the_client_stands_first_in_a_list_of_addresses() {
    let form = "$http_x_forwarded_for - $remote_user [$time_local] $status";
    assert_eq!(names(&custom(form)), "ip x_forwarded_for user ts status");
    let rest = "- me [03/Mar/2026:10:00:00 +0000] 200";
    let row = "me|2026-03-03T10:00:00Z|200";
    check(form, &format!("192.0.2.1, 10.0.0.1,10.0.0.2 {rest}"), &{
        format!("192.0.2.1|192.0.2.1, 10.0.0.1,10.0.0.2|{row}")
    });
    check(form, &format!("192.0.2.1 {rest}"), &format!("192.0.2.1|192.0.2.1|{row}"));
    check(form, &format!("- {rest}"), &format!("~|~|{row}"));
    assert_eq!(names(&custom("%a \"%{X-Forwarded-For}i\"")), "ip x_forwarded_for");
    check("%a \"%{X-Forwarded-For}i\"", "::1 \"any, thing at all\"", "::1|any, thing at all");
}

#[test]
fn more_fields_than_the_form_has_shift_nothing() {
    let check = |start: &str, expect: &str| {
        let line =
            format!(r#"{start} [03/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "-""#);
        let said = said(&FormatConfig::new(Format::Combined), &[&line]);
        assert!(said.starts_with(expect), "{line}\n{said}");
    };
    check("192.0.2.1, 10.0.0.1 - -", "0: expected one address and no list of them as ip at byte 1");
    check("192.0.2.1,10.0.0.1 - -", "0: expected one address and no list of them as ip at byte 1");
    check("10.0.0.9 192.0.2.1 - -", "0: expected one field as user at byte 20, `-` stands there");
    check("10.0.0.9 192.0.2.1 - me", "0: expected one field as user at byte 20, `-` stands there");
    check("10.0.0.9 - - me too", "0: expected one field as user at byte 12, `-` stands there");
    check("192.0.2.1 - first last", "192.0.2.1|~|first last|");
    check("unix: - -", "unix:|~|~|");
}

#[test]
fn a_line_that_fits_in_two_ways_is_refused() {
    check("$http_a $http_b", "x y", "x|y");
    check("$http_a $http_b", "x y z", {
        "0: the line fits in two ways: a is \"x\", which ends at byte 1, or \"x y\", which ends at \
         byte 3; quotes around it tell them apart"
    });
    check("$http_a $status $http_b", "x 200 y", "x|200|y");
    check("$http_a $status $http_b", "x 200 300 y", "0: the line fits in two ways…");
    check("$http_user_agent $status", "a (b 200) 404", "a (b 200)|404");
    check("[$http_a] [$http_b]", "[x] [y] [z]", "0: the line fits in two ways…");
    check("[$http_a] [$http_b]", "[x]y] [z]", "x]y|z");
    check("$http_a|$http_b|$status", "x||200", "x||200");
}

#[test]
fn fields_that_nothing_divides_are_refused() {
    let check = |form: &str, expect: &str| {
        let error = parser(&custom(form)).err().unwrap_or_else(|| panic!("{form} is wrong"));
        assert_eq!(error.to_string(), expect, "{form}");
    };
    check("$http_a$status", {
        "nothing stands between \"a\" and \"status\", so that one text is a \"a\" and status \"11\", \
         or a \"a1\" and status \"1\""
    });
    check("$request_time$body_bytes_sent", {
        "nothing stands between \"response_time_ms\" and \"bytes\", so that one text is \
         response_time_ms \"1\" and bytes \"11\", or response_time_ms \"11\" and bytes \"1\""
    });
    check("$upstream_status, $status", {
        "\", \" after \"upstream_status\" separates the items of that list too: what stands behind \
         it is one more item, or the next field"
    });
    check("$upstream_addr : $upstream_status", {
        "\" : \" after \"upstream_addr\" separates the items of that list too: what stands behind \
         it is one more item, or the next field"
    });
}

/// What a server may log for a variable, beside how it is shown.
fn value(kind: &'static str) -> proptest::strategy::BoxedStrategy<(String, String)> {
    let same = |text: String| (text.clone(), text);
    match kind {
        "number" => "0|[1-9][0-9]{0,5}".prop_map(same).boxed(),
        "address" => {
            "[0-9]{1,3}\\.[0-9]\\.[0-9]\\.[0-9]{1,3}|::[0-9a-f]{1,4}".prop_map(same).boxed()
        }
        "list" => "[1-9][0-9]{0,2}((, | : )[1-9][0-9]{0,2}){0,3}".prop_map(same).boxed(),
        // Signs that forms are made of, and escapes as nginx writes them.
        _ => r#"[a-c0-9 \[\]|:"\\é-]{1,8}"#
            .prop_map(|text| {
                let written = text.replace('\\', "\\x5C").replace('"', "\\x22");
                (written, text)
            })
            .boxed(),
    }
}

/// A form of random variables with random text between them, and a line that has it.
fn written() -> impl Strategy<Value = (String, String, Vec<String>)> {
    let variable = prop_oneof![
        proptest::strategy::Just(("text", "$http_x")),
        proptest::strategy::Just(("number", "$connection")),
        proptest::strategy::Just(("address", "$server_addr")),
        proptest::strategy::Just(("list", "$upstream_response_length")),
    ];
    let field = (variable, "(\" \"| |\\||\\] \\[|: | - |\" )?").prop_flat_map(
        |((kind, variable), between)| {
            value(kind).prop_map(move |value| (kind, variable, between.clone(), value))
        },
    );
    proptest::collection::vec(field, 1..6).prop_map(|fields| {
        let (mut form, mut line, mut row) = (String::new(), String::new(), Vec::new());
        let count = fields.len();
        for (at, (kind, variable, between, (written, shown))) in fields.into_iter().enumerate() {
            let between = if at + 1 == count { "" } else { &between };
            form.push_str(&format!("${{{}}}{between}", &variable[1..]));
            line.push_str(&format!("{written}{between}"));
            if kind != "list" {
                row.push(shown);
                continue;
            }
            let sum: u64 =
                shown.split([',', ':', ' ']).filter_map(|item| item.parse::<u64>().ok()).sum();
            row.extend([shown, sum.to_string()]);
        }
        (form, line, row)
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_024))]

    #[test]
    fn what_a_form_writes_is_read_back_or_refused((form, line, row) in written()) {
        let Ok(_) = parser(&custom(&form)) else { return Ok(()) };
        let (found, refused) = rows(&custom(&form), &[&line]);
        prop_assert_eq!(found.len() + refused.len(), 1);
        let Some(found) = found.first() else { return Ok(()) };
        let expect = row.iter().map(|value| match value.as_str() {
            "-" => "~",
            other => other,
        });
        let expect = expect.collect::<Vec<_>>().join("|");
        // Blanks at the end of a line are taken off, and belong to no value.
        if !line.ends_with(' ') {
            prop_assert_eq!(found, &expect, "{}\n{}", form, line);
        }
    }
}
