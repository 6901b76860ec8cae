use crate::testing::{Table, run, shown, step_error};

/// Evaluates `expression` over the texts `x` and expects one value per text.
fn check(expression: &str, texts: &[&str], expect: &[&str]) {
    let texts: Vec<_> = texts.iter().copied().map(Some).collect();
    let query = format!("SELECT {expression} AS v FROM rows");
    for table in [Table::new().texts("x", &texts), Table::new().dictionary("x", &texts)] {
        let output = run("sql", &[("query", query.as_str().into())], &table);
        let rows = shown(&output);
        let values: Vec<_> = rows
            .lines()
            .skip(1)
            .map(|row| row.strip_prefix("v=").unwrap().rsplit_once(" _position=").unwrap().0)
            .collect();
        assert_eq!(values, expect, "{expression}");
    }
}

fn check_error(expression: &str, expect: &str) {
    let query = format!("SELECT {expression} AS v FROM rows");
    let table = Table::new().texts("x", &[Some("a")]);
    assert_eq!(step_error("sql", &[("query", query.as_str().into())], &table), expect);
}

#[test]
fn parse_url_takes_urls_and_request_targets() {
    let urls = &["https://me@example.org:8443/a/b?x=1#top", "/a/b?x=1", "not a url"];
    check("parse_url(x, 'host')", urls, &["example.org", "", ""]);
    check("parse_url(x, 'PATH')", urls, &["/a/b", "/a/b", "not a url"]);
    check("parse_url(x, 'query')", urls, &["x=1", "x=1", ""]);
    check("parse_url(x, 'port')", urls, &["8443", "", ""]);
    check("parse_url(x, 'fragment')", urls, &["top", "", ""]);
    check("parse_url(x, 'user')", urls, &["me", "", ""]);
    check("parse_url(x, 'scheme')", &["HTTP://a", "/a?b=http://c"], &["http", ""]);
    check("parse_url(x, 'path')", &["/a?b=http://c/d"], &["/a"]);
}

#[test]
fn parse_query_decodes_the_first_value() {
    let urls = &["/a?q=caf%C3%A9+au+lait&q=2", "q=1&b=2", "/q=1", "https://a/?b=1#q=2"];
    check("parse_query(x, 'q')", urls, &["café au lait", "1", "", ""]);
}

#[test]
fn redact_masks_by_class_or_pattern() {
    let texts = &[
        "mail jo.do+x@example.co.uk from 10.1.2.3",
        "card 4111 1111 1111 1111 not 4111 1111 1111 1112",
        "v6 2001:db8::1 at 12:30:45, version 1.2.3",
    ];
    let everything = &[
        "mail [email] from [ip]",
        "card [card] not 4111 1111 1111 1112",
        "v6 [ip] at 12:30:45, version 1.2.3",
    ];
    check("redact(x)", texts, everything);
    check("redact(x, 'all')", texts, everything);
    check("redact(x, 'email')", &texts[..1], &["mail [email] from 10.1.2.3"]);
    let numbers = "mail jo.do+x@example.co.uk from [redacted].[redacted].[redacted].[redacted]";
    check("redact(x, '[0-9]+')", &texts[..1], &[numbers]);
}

#[test]
fn ip_in_knows_both_families() {
    let addresses = &["10.1.2.3", "11.0.0.1", "::ffff:10.0.0.1", "2001:db8::5", "nobody"];
    check("ip_in(x, '10.0.0.0/8')", addresses, &["true", "false", "true", "false", ""]);
    check("ip_in(x, '2001:db8::/32')", addresses, &["false", "false", "false", "true", ""]);
    check("ip_in(x, '0.0.0.0/0')", &addresses[..2], &["true", "true"]);
    check("ip_in(x, '11.0.0.1')", &addresses[..2], &["false", "true"]);
    let written =
        &["10.1.2.3:443", "[2001:db8::5]:443", "2001:db8::5%eth0", "[::ffff:10.1.2.3]:80"];
    check("ip_in(x, '10.0.0.0/8')", written, &["true", "false", "false", "true"]);
    check("ip_in(x, '::ffff:10.0.0.0/104')", written, &["true", "false", "false", "true"]);
    check("ip_in(x, '2001:db8::/32')", written, &["false", "true", "true", "false"]);
    check("ip_in(x, '::/0')", written, &["false", "true", "true", "false"]);
}

#[test]
fn ip_mask_keeps_the_first_bits() {
    let addresses = &["10.1.2.3", "2001:db8:1:2::5", "nobody"];
    check("ip_mask(x, 24)", addresses, &["10.1.2.0", "2001:d00::", ""]);
    check("ip_mask(x, 0)", addresses, &["0.0.0.0", "::", ""]);
    check("ip_mask(x, 48)", addresses, &["10.1.2.3", "2001:db8:1::", ""]);
    let written = &["10.1.2.3:443", "::ffff:10.1.2.3", "[2001:db8:1:2::5%eth0]:443"];
    check("ip_mask(x, 24)", written, &["10.1.2.0", "10.1.2.0", "2001:d00::"]);
}

#[test]
fn ip_only_takes_off_what_is_no_address() {
    let written =
        &["10.1.2.3:443", "::ffff:10.1.2.3", "[2001:DB8::5%eth0]:443", "10.1.2.3", "unix:"];
    check("ip_only(x)", written, &["10.1.2.3", "10.1.2.3", "2001:db8::5", "10.1.2.3", ""]);
}

#[test]
fn hash_never_changes_and_tells_arguments_apart() {
    check("hash(x)", &["a", ""], &["ae6121c88ba555f6", "af5570f5a1810b7a"]);
    check("hash(x, 'c') <> hash('a', 'bc')", &["ab"], &["true"]);
    check("hash(x, 1) = hash('a', '1')", &["a"], &["true"]);
}

#[test]
fn mistakes_of_the_author_are_errors_before_anything_runs() {
    check_error("parse_url(x)", "query: expected parse_url(url, part), found 1 arguments; -");
    check_error(
        "ip_in(x, '10.0.0.0/40')",
        "query: \"10.0.0.0/40\" is no network, expected one such as 10.0.0.0/8; -",
    );
    check_error(
        "parse_url(x, 'hots')",
        "query: a URL has no part \"hots\", \
         expected scheme, user, host, port, path, query or fragment; -",
    );
}
