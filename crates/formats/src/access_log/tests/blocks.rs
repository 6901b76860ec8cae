//! Lines that are read by the block come out as if each were scanned by itself.

use proptest::prelude::{Just, Strategy, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::super::block::Block;
use super::super::layout::{Layout, Tail};
use super::super::notation;
use super::super::scan::Scanner;
use crate::text::Lines;
use crate::timestamp::Zones;

/// Forms in which fields end in every way.
const FORMS: [&str; 6] = [
    "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-agent}i\"",
    "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent",
    "$http_x_forwarded_for - $remote_user $request $status",
    "[$time_iso8601] $upstream_addr $upstream_response_time $request_time \"$http_user_agent\"",
    "$remote_user x $host x $msec $request_length",
    "$status$request_method $args",
];

/// Lines that are nearly of one of the forms.
fn line() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(vec![
            "1.2.3.4", "10.0.0.1, 10.0.0.2", "2001:db8::1", "-", "bob", "bob] \"x", "-1", "é",
            "17/May/2015:10:05:03 +0000", "[17/May/2015:10:05:03 +0000]", "2015-05-17T10:05:03Z",
            "\"GET /a?b=c HTTP/1.1\"", "GET /a HTTP/1.1", "\"\"", "\"a \\\" b\"", "200", "20",
            "304", "0.5", "0.1, 0.2", "12345678", "123456789", "x", "[", "]", "\\", "1431857103.5",
        ]).prop_map(str::to_owned),
        1 => "[ -~é]{0,12}",
    ];
    proptest::collection::vec((piece, prop_oneof![9 => Just(" "), 1 => Just("")]), 0..12)
        .prop_map(|pieces| pieces.into_iter().map(|(piece, end)| piece + end).collect())
}

/// Lines that are of the first form, some with one byte changed.
fn usual() -> impl Strategy<Value = String> {
    let parts = ("[0-9.:,]{1,20}", "[a-z \\[\\]]{1,8}", "[ -~é]{0,40}", "[0-9-]{1,10}");
    (parts, 0..400_usize, "[ -~]").prop_map(|((ip, user, text, number), at, sign)| {
        let mut line = format!(
            "{ip} - {user} [17/May/2015:10:05:03 +0000] \"GET /{text} HTTP/1.1\" 200 {number} \
             \"-\" \"{text}\""
        );
        if line.is_char_boundary(at) && line.is_char_boundary(at + 1) && at < line.len() {
            line.replace_range(at..=at, &sign);
        }
        line
    })
}

proptest! {
    #[test]
    fn a_block_reads_what_a_scan_does(
        lines in proptest::collection::vec(prop_oneof![line(), usual()], 1..20),
        form in select(FORMS.to_vec()),
        tail in prop_oneof![Just(Tail::None), Just(Tail::ResponseTime)],
    ) {
        let form = notation::read(form, &Zones::default()).expect("a form");
        let layout = Layout::new(form, tail).expect("a layout");
        let array = arrow::array::StringViewArray::from_iter_values(&lines);
        let lines = Lines::new(&array);
        let (mut scanner, mut alone) = (Scanner::new(&layout), Scanner::new(&layout));
        let mut block = Block::new(layout.fields.len());
        let mut divided = Vec::new();
        for row in 0..lines.rows() {
            let line = lines.line(row).expect("a line");
            if scanner.divide(line.text) {
                block.push(row, line, scanner.fields());
                divided.push((row, line));
            }
        }
        let mut refused: Vec<_> = block.read_values(&mut scanner, layout.framed());
        refused.sort_by_key(|refused| refused.row);
        let mut taken = 0;
        for (row, line) in divided {
            if alone.scan(line.text).is_err() {
                prop_assert_eq!(refused.remove(0).row, row, "{}", line.text);
                continue;
            }
            for (number, found) in alone.fields().iter().enumerate() {
                let (_, other) = block.fields(number).nth(taken).expect("a row that was taken");
                let is_number = found.field.kind.has_value();
                let one = (found.state, is_number.then_some(found.number));
                let two = (other.state, is_number.then_some(other.number));
                prop_assert_eq!(one, two, "{} of {}", &found.field.name, line.text);
                prop_assert_eq!(found.start..found.end, other.start..other.end);
            }
            taken += 1;
        }
        prop_assert_eq!((refused.len(), block.rows()), (0, taken));
    }
}
