//! Forms pasted from configurations.

use super::{custom, names};
use crate::table::said;
use crate::{FormatConfig, parser};

fn check(form: &str, line: &str, expect: &str) {
    assert_eq!(said(&custom(form), &[line]), expect, "{form}\n{line}");
}

fn refused(form: &str, expect: &str) {
    let error = parser(&custom(form)).err().unwrap_or_else(|| panic!("{form} is wrong"));
    assert_eq!(error.to_string(), expect, "{form}");
    assert!(error.hint_text().is_some() && error.field_name() == Some("log_format"));
}

#[test]
fn nginx_directives_are_read_whole() {
    let form = "\n  # the access log\n  log_format  main  '$remote_addr - ${remote_user} '  # who\n\
                \t'[$time_local] \"$request\" '\n  '$status $body_bytes_sent';\n";
    let line = "192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5";
    let row = "192.0.2.7|~|2026-03-03T10:00:00Z|GET|/a|/a|~|HTTP/1.1|200|5";
    check(form, line, row);
    let pieces =
        "'$remote_addr - $remote_user [$time_local] \"$request\" '\n'$status $body_bytes_sent'";
    check(pieces, line, row);
    let double =
        r#""$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent";"#;
    check(double, line, row);
    let bare = r#"$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent"#;
    check(bare, line, row);
}

#[test]
fn tabs_are_written_with_a_backslash() {
    let line = "time:03/Mar/2026:10:00:00 +0000\thost:192.0.2.7\treq:GET /a HTTP/1.1\tstatus:200";
    let row = "2026-03-03T10:00:00Z|192.0.2.7|GET|/a|/a|~|HTTP/1.1|200";
    check(r"time:$time_local\thost:$remote_addr\treq:$request\tstatus:$status", line, row);
    let apache = line.replace("03/Mar/2026:10:00:00 +0000", "[03/Mar/2026:10:00:00 +0000]");
    check(r"time:%t\thost:%h\treq:%r\tstatus:%>s", &apache, row);
    check(r#"LogFormat "time:%t\thost:%h\treq:%r\tstatus:%>s" ltsv"#, &apache, row);
}

#[test]
fn escape_says_what_stands_in_values() {
    let form = |escape: &str| {
        format!(
            "log_format j {escape} '{{\"ua\":\"$http_user_agent\",' \
             '\"st\":$status,\"rt\":\"$request_time\",\"up\":$upstream_response_time}}';"
        )
    };
    check(
        &form("escape=json"),
        r#"{"ua":"say \"hi\"\u0001\\","st":200,"rt":"0.120","up":0.1, 0.2}"#,
        "say \"hi\"\u{1}\\|200|120|0.1, 0.2|300",
    );
    check(&form("escape=json"), r#"{"ua":"","st":200,"rt":"","up":}"#, "~|200|~|~|~");
    check(
        &form(""),
        r#"{"ua":"say \x22hi\x22","st":200,"rt":"0.120","up":-}"#,
        "say \"hi\"|200|120|~|~",
    );
    check(
        &form("escape=none"),
        r#"{"ua":"a "b\x22 c","st":200,"rt":"","up":0.1}"#,
        r#"a "b\x22 c|200|~|0.1|100"#,
    );
    let said = said(
        &custom("log_format n escape=none '\"$http_a\" \"$http_b\"';"),
        &[r#""x" "y""#, r#""x" "y" "z""#],
    );
    assert!(said.starts_with("x|y\n1: the line fits in two ways: a is \"x\""), "{said}");
}

#[test]
fn apache_directives_are_read_whole() {
    let line = r#"192.0.2.7 - - [03/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 - "\"q\"""#;
    let row = "192.0.2.7|~|~|2026-03-03T10:00:00Z|GET|/a|/a|~|HTTP/1.1|200|~|\"q\"";
    let form = r#""%h %l %u %t \"%r\" %>s %b \"%{Referer}i\"""#;
    check(&format!("LogFormat {form} mine"), line, row);
    check(&format!("  LogFormat \\\n {form} \\\n mine\n"), line, row);
    check(
        &format!("CustomLog \"|/usr/bin/rotatelogs /var/log/x 86400\" {form} env=!local"),
        line,
        row,
    );
    check(form, line, row);
    check(&format!("{form} mine"), line, row);
    check(r#"'%h %l %u %t "%r" %>s %b "%{Referer}i"'"#, line, row);
}

#[test]
fn a_directive_that_is_not_whole_is_refused() {
    refused("log_format main '$a", "a quote of `log_format` is never closed");
    refused("log_format main;", "`log_format` has a name and no form of the lines");
    refused(
        "log_format a '$b'; log_format c '$d';",
        "something stands behind the semicolon of `log_format`",
    );
    refused("log_format a escape=xml '$b';", "unknown `escape=xml` in `log_format`");
    refused("LogFormat combined", "the directive has no form of the lines");
    refused("$a\\n$b", "no line has this form: it has a line end within it");
}

#[test]
fn times_are_put_together() {
    check(
        "%{%Y-%m-%d %H:%M:%S}t %h",
        "2026-03-03 10:00:00 192.0.2.7",
        "2026-03-03T10:00:00Z|192.0.2.7",
    );
    check(
        "%{%d/%b/%Y %T}t.%{msec_frac}t %{%z}t %h",
        "03/Mar/2026 10:00:00.250 +0100 ::1",
        "2026-03-03T09:00:00.250Z|::1",
    );
    check(
        "[%{%Y-%m-%d}t %{%T}t.%{usec_frac}t] %h",
        "[2026-03-03 10:00:00.000250] ::1",
        "2026-03-03T10:00:00.000250Z|::1",
    );
    check("%{sec}t.%{msec_frac}t %h", "1772532000.308 ::1", "2026-03-03T10:00:00.308Z|::1");
    check(
        "%{begin:%s}t %{end:usec}t",
        "1772532000 1772532000000001",
        "2026-03-03T10:00:00Z|2026-03-03T10:00:00.000001Z",
    );
    check("%{end}t %{msec_frac}t", "[03/Mar/2026:10:00:00 +0000] 250", "2026-03-03T10:00:00Z|250");
    assert_eq!(names(&custom("%t %h %{sec}t")), "ts ip ts_2");
    check("%t %{msec}t", "[03/Mar/2026:10:00:00 +0000] -", "2026-03-03T10:00:00Z|~");
}

#[test]
fn times_without_an_offset_are_read_in_the_zone_that_is_set() {
    let local =
        |form: &str| FormatConfig { time_zone: Some("Europe/Berlin".into()), ..custom(form) };
    let form = "%h %{%Y-%m-%d %H:%M:%S}t.%{msec_frac}t";
    let line = "::1 2026-07-03 10:00:00.250";
    assert_eq!(said(&local(form), &[line]), "::1|2026-07-03T08:00:00.250Z");
    assert_eq!(said(&custom(form), &[line]), "::1|2026-07-03T10:00:00.250Z");
    let zones = Some([("PST".to_owned(), "-08:00".to_owned())].into());
    let letters = FormatConfig { zones, ..custom("%h %{%Y-%m-%d %H:%M:%S %Z}t") };
    assert_eq!(said(&letters, &["::1 2026-03-03 10:00:00 PST"]), "::1|2026-03-03T18:00:00Z");
    for form in ["%h %t", "$remote_addr [$time_local]", "log_format a '$remote_addr $msec';"] {
        let error = parser(&local(form)).err().expect("nothing reads it");
        assert_eq!(error.field_name(), Some("time_zone"), "{form}: {error}");
    }
}

#[test]
fn nothing_is_written_in_several_ways() {
    check("$status $request_time $bytes_sent", "- -1 -1", "~|~|~");
    check("%>s %D %O", "200 - 7", "200|~|7");
    check("$gzip_ratio $geoip_latitude", "- -12.5", "~|-12.5");
    check("$proxy_protocol_port $status", " 200", "~|200");
    check("%X %>s", "- 200", "-|200");
}
