use super::*;
use arrow::array::Array;
use proptest::prelude::*;

/// Every record and reject as a line of text, and where reading stopped.
fn describe(batch: &LineBatch, said: &mut Vec<String>) {
    let mut all: Vec<(i64, String)> = Vec::new();
    for row in 0..batch.text.len() {
        let mark = if batch.lossy.value(row) { "~" } else { "" };
        let position = batch.positions.value(row);
        all.push((position, format!("{position}{mark} {}", batch.text.value(row))));
    }
    for reject in &batch.rejects {
        let kept = String::from_utf8_lossy(reject.original.as_deref().unwrap_or_default());
        let (word, _) = reject.reason.split_once(' ').expect("a sentence");
        all.push((reject.position, format!("{}! {word} {kept}", reject.position)));
    }
    for gap in &batch.gaps {
        all.push((gap.position, format!("{}. {} NULs", gap.position, gap.bytes)));
    }
    all.sort_by_key(|(position, _)| *position);
    said.extend(all.into_iter().map(|(_, text)| text));
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn cut_in_blocks(lines: &mut Lines, bytes: &[u8], block_bytes: usize) -> Vec<String> {
    let mut said = Vec::new();
    for chunk in bytes.chunks(block_bytes) {
        let mut block = lines.block(chunk.len());
        block.extend_from_slice(chunk);
        describe(&lines.cut(block), &mut said);
    }
    describe(&lines.cut_last(lines.block(0)), &mut said);
    said
}

fn check(bytes: &[u8], expect: &[&str]) {
    for block_bytes in 1..=bytes.len().max(1) {
        let said = cut_in_blocks(&mut Lines::new(20), bytes, block_bytes);
        assert_eq!(said, expect, "in blocks of {block_bytes} bytes");
    }
}

#[test]
fn lines_end_with_or_without_a_carriage_return() {
    check(b"one\ntwo\r\nthree\n", &["0 one", "4 two", "9 three"]);
    check(b"a line of just twenty\r", &["0! line a line of just twent"]);
    check(b"line of just twenty.\r\nb\n", &["0 line of just twenty.", "22 b"]);
}

#[test]
fn blank_lines_are_no_records() {
    check(b"\n \t\r\nx\n\n  ", &["5 x"]);
    check(b"", &[]);
}

#[test]
fn bad_utf8_is_replaced_and_marked() {
    check(b"good\nb\xffd\nf\xc3\xbcr\n", &["0 good", "5~ b\u{fffd}d", "9 f\u{fc}r"]);
    check(b"a longer line \xff.\n", &["0~ a longer line \u{fffd}."]);
}

#[test]
fn a_line_beyond_the_limit_is_refused_with_its_beginning() {
    check(
        b"short\nthis line has more than twenty bytes\nnext\n",
        &["0 short", "6! line this line has more t", "43 next"],
    );
}

#[test]
fn nuls_before_a_line_are_a_gap() {
    check(b"\0\0one\n\0\n\0two\n", &["0. 2 NULs", "2 one", "6. 1 NULs", "8. 1 NULs", "9 two"]);
    check(b"one\n\0\0", &["0 one", "4. 2 NULs"]);
    check(b"\0\r\n", &["0. 1 NULs"]);
    check(b"o\0ne\n", &["0 o\0ne"]);
}

#[test]
fn a_hole_ends_the_line_that_it_interrupts() {
    let hole = [0; HOLE_BYTES_MIN];
    check(&[b"half".as_slice(), &hole, b"two\n"].concat(), &["0 half", "4. 16 NULs", "20 two"]);
    check(&[b"half".as_slice(), &hole].concat(), &["0 half", "4. 16 NULs"]);
    check(
        &[b"more than twenty bytes in it".as_slice(), &hole, b"two\n"].concat(),
        &["0! line more than twenty byt", "28. 16 NULs", "44 two"],
    );
    check(
        &[b"more than twenty bytes, ".as_slice(), &hole[1..], b"no hole\ntwo\n"].concat(),
        &["0! line more than twenty byt", "47 two"],
    );
}

#[test]
fn a_large_hole_is_not_kept_in_memory() {
    let mut lines = Lines::new(20);
    let mut said = Vec::new();
    let mut cut = |lines: &mut Lines, bytes: &[u8]| {
        let mut block = lines.block(bytes.len());
        block.extend_from_slice(bytes);
        let batch = lines.cut(block);
        describe(&batch, &mut said);
        batch
    };
    cut(&mut lines, b"one\nhalf\0\0");
    for _ in 0..100 {
        cut(&mut lines, &[0; 1 << 16]);
        assert!(lines.block(0).len() < 1 << 13);
    }
    assert_eq!((lines.at(), lines.waiting_bytes()), (4, 4 + 2 + (100 << 16)));
    let last = cut(&mut lines, b"\0two\nthree");
    let behind = 4 + 4 + 3 + (100 << 16);
    assert_eq!((last.bytes(), last.skipped()), (4 + 3 + (100 << 16) + 4, 3 + (100 << 16)));
    assert_eq!((last.next, lines.at()), (behind + 4, behind + 4));
    assert!(last.consumed.ends_with(&[&[0; 2000], b"two\n".as_slice()].concat()));
    for (stop, next, bytes) in [(behind, behind, 4), (6, 6, 2)] {
        let mut again = Lines::resume(20, 4, Start::Line);
        let block = |size: usize| [b"half".as_slice(), &vec![0; size], b"two\n"].concat();
        let batch = again.cut(block(3 + (100 << 16))).before(stop);
        assert_eq!(batch.next, next);
        assert_eq!(batch.bytes(), (next - 4).cast_unsigned(), "{bytes}");
    }
    said.retain(|text| !text.contains("NULs"));
    assert_eq!(said, ["0 one", "4 half", &format!("{behind} two")]);
}

#[test]
fn nuls_that_may_be_written_over_wait_and_so_does_what_is_behind_them() {
    let check =
        |bytes: &[u8], settled: i64, expect: &[&str], at: i64, waits: Option<(i64, u64)>| {
            for block_bytes in [1, 7, 100] {
                let mut lines = Lines::new(20);
                let mut said = Vec::new();
                let mut waiting = None;
                for chunk in bytes.chunks(block_bytes) {
                    let mut block = lines.block(chunk.len());
                    block.extend_from_slice(chunk);
                    let batch = lines.cut_settled(block, |_| settled);
                    describe(&batch, &mut said);
                    waiting = batch.waits.map(|gap| (gap.position, gap.bytes));
                    if waiting.is_some() {
                        break;
                    }
                }
                assert_eq!((said.as_slice(), lines.at()), (owned(expect).as_slice(), at));
                assert_eq!(waiting, waits);
            }
        };
    let nuls = |count: usize| vec![0; count];
    let bytes = [b"one\n".as_slice(), &nuls(4092), b"two\n", &nuls(4092), b"three\n"].concat();
    check(&bytes, 0, &["0 one"], 4, Some((4, 4092)));
    check(&bytes, 4095, &["0 one"], 4, Some((4, 4092)));
    let passed = ["0 one", "4. 4092 NULs", "4096 two"];
    check(&bytes, 4096, &passed, 4100, Some((4100, 4092)));
    // What does not end where a page does was written so.
    let written = b"one\n\0\0two\n\0\0\0three\n";
    let all = ["0 one", "4. 2 NULs", "6 two", "10. 3 NULs", "13 three"];
    check(written, 0, &all, 19, None);
    check(b"one\n\0two\n", 0, &["0 one", "4. 1 NULs", "5 two"], 9, None);
    let hole = [b"half".as_slice(), &nuls(4092), b"two\n"].concat();
    check(&hole, 0, &[], 0, Some((4, 4092)));
    check(&hole, 4096, &["0 half", "4. 4092 NULs", "4096 two"], 4100, None);
    check(
        &[b"more than twenty bytes in it".as_slice(), &nuls(4068), b"two\n"].concat(),
        0,
        &["0! line more than twenty byt"],
        28,
        Some((28, 4068)),
    );
}

#[test]
fn a_byte_order_mark_alone_is_no_line_that_is_continued() {
    let mut lines = Lines::new(20);
    let mut said = Vec::new();
    for (bytes, is_last) in [("\u{feff}", true), ("\u{feff}one\ntwo\n", false)] {
        let mut block = lines.block(bytes.len());
        block.extend_from_slice(bytes.as_bytes());
        let batch = if is_last { lines.cut_last(block) } else { lines.cut(block) };
        describe(&batch, &mut said);
        lines = match is_last {
            true => Lines::new(20),
            false => lines,
        };
        assert_eq!(lines.at(), batch.next * i64::from(!is_last));
        assert_eq!(batch.start, Start::Line);
    }
    assert_eq!(said, ["3 one", "7 two"]);
}

#[test]
fn a_byte_order_mark_is_taken_off() {
    check("\u{feff}one\n\u{feff}two\n".as_bytes(), &["3 one", "10 two"]);
    check("\u{feff}\na\u{feff}b\n".as_bytes(), &["4 a\u{feff}b"]);
    check("\u{feff}line of just twenty.\r\n".as_bytes(), &["3 line of just twenty."]);
}

#[test]
fn nuls_that_a_tear_leaves_are_refused_with_what_follows_and_counted() {
    let mut lines = Lines::new(1000);
    let mut block = lines.block(0);
    block.extend(b"half a line");
    block.extend(vec![0; 100_000]);
    let batch = lines.cut(block);
    assert_eq!(batch.next, 0);
    assert_eq!(lines.waiting_bytes(), 100_011);
    let mut block = lines.block(0);
    block.extend(b"garbage");
    let batch = lines.refuse_ended(block, "foreign bytes");
    assert_eq!((batch.rejects.len(), batch.rejects[0].position), (1, 0));
    assert_eq!((batch.next, lines.at(), lines.waiting_bytes()), (100_018, 100_018, 0));
}

#[test]
fn what_is_no_text_is_one_refused_record() {
    let text = b"one\ntwo  ";
    let foreign = b"\0\0some foreign bytes\nin lines\n";
    for chunk in 1..40 {
        let mut lines = Lines::new(20);
        let mut said = Vec::new();
        for bytes in text.chunks(chunk) {
            let mut block = lines.block(bytes.len());
            block.extend_from_slice(bytes);
            describe(&lines.cut(block), &mut said);
        }
        describe(&lines.cut_ended(lines.block(0)), &mut said);
        for bytes in foreign.chunks(chunk) {
            let mut block = lines.block(bytes.len());
            block.extend_from_slice(bytes);
            describe(&lines.refuse(block, "foreign bytes"), &mut said);
        }
        describe(&lines.refuse_last(lines.block(0), "foreign bytes"), &mut said);
        assert_eq!(said, ["0 one", "4 two  ", "9! foreign \0\0some foreign bytes"]);
        assert_eq!((lines.at(), lines.start()), (9 + foreign.len() as i64, Start::Foreign));
    }
}

#[test]
fn a_last_line_without_end_is_a_record() {
    check(b"one\ntwo", &["0 one", "4 two"]);
}

#[test]
fn after_a_line_without_end_only_its_end_may_follow() {
    let check = |rest: &[u8], expect: &[&str]| {
        let mut lines = Lines::new(20);
        assert_eq!(cut_in_blocks(&mut lines, b"one", 8), ["0 one"]);
        let mut resumed = Lines::resume(20, lines.at(), lines.start);
        assert_eq!(cut_in_blocks(&mut resumed, rest, 2), expect);
    };
    check(b"\ntwo\n", &["4 two"]);
    check(b"\r\ntwo\n", &["5 two"]);
    check(b" and more\ntwo\n", &["3! continuation  and more", "13 two"]);
    check(b" and much more of this line\n2\n", &["3! continuation  and much more of th", "31 2"]);
}

#[test]
fn text_is_not_copied() {
    let mut lines = Lines::new(100);
    let mut block = lines.block(40);
    block.extend_from_slice(b"a line that is longer than twelve bytes\n");
    let begin = block.as_ptr();
    let batch = lines.cut(block);
    assert_eq!(batch.text.value(0).as_ptr(), begin);
    assert_eq!(batch.consumed.len(), 40);
}

fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(b'a'), 2 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(b' '),
        1 => Just(0xc3), 1 => Just(0xbc), 1 => any::<u8>(), 1 => Just(0),
    ];
    let nuls = (1usize..2 * HOLE_BYTES_MIN).prop_map(|length| vec![0; length]);
    let mark = Just("\u{feff}".as_bytes().to_vec());
    let piece = prop_oneof![
        20 => byte.prop_map(|byte| vec![byte]), 1 => nuls, 1 => mark,
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn records_do_not_depend_on_blocks(bytes in awkward_bytes(), block_bytes in 1usize..40) {
        let whole = cut_in_blocks(&mut Lines::new(9), &bytes, 1000);
        prop_assert_eq!(cut_in_blocks(&mut Lines::new(9), &bytes, block_bytes), whole);
    }

    #[test]
    fn reading_on_from_any_position_gives_the_rest(
        bytes in awkward_bytes(), block_bytes in 1usize..40, stop in 0usize..120,
    ) {
        let whole = cut_in_blocks(&mut Lines::new(9), &bytes, 1000);
        let stop = stop.min(bytes.len());
        let mut lines = Lines::new(9);
        let mut said = Vec::new();
        for chunk in bytes[..stop].chunks(block_bytes) {
            let mut block = lines.block(chunk.len());
            block.extend_from_slice(chunk);
            describe(&lines.cut(block), &mut said);
        }
        let mut resumed = Lines::resume(9, lines.at, lines.start);
        let from = usize::try_from(lines.at).expect("positive");
        said.extend(cut_in_blocks(&mut resumed, &bytes[from..], block_bytes));
        prop_assert_eq!(said, whole);
    }

    #[test]
    fn arrow_accepts_every_batch(bytes in awkward_bytes()) {
        let mut lines = Lines::new(50);
        let mut block = lines.block(bytes.len());
        block.extend_from_slice(&bytes);
        let text = lines.cut_last(block).text;
        let (views, buffers, nulls) = text.into_parts();
        prop_assert!(StringViewArray::try_new(views, buffers, nulls).is_ok());
    }
}
