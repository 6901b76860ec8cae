use super::testing::{COMPRESSIONS, member};
use super::*;

/// Those whose members are read here.
const OF_MEMBERS: [Compression; 3] = [Compression::Zstd, Compression::Bzip2, Compression::Xz];

/// What a stream holds, what stands behind it, and what went wrong.
fn read(stream: &[u8], compression: Compression) -> (String, String, Option<io::Error>) {
    let source = Box::new(Cursor::new(stream.to_vec()));
    let mut members = Members::new(compression, source, Limits::default());
    let (mut text, mut foreign) = (Vec::new(), Vec::new());
    let error = members.read_to_end(&mut text).err();
    if let Some(rest) = members.foreign() {
        rest.read_to_end(&mut foreign).expect("memory can be read");
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    (text, String::from_utf8_lossy(&foreign).into_owned(), error)
}

#[test]
fn streams_are_told_by_their_first_bytes() {
    let check = |stream: &[u8], expect: Compression| {
        let (detected, mut whole) = Compression::detect(stream).expect("memory can be read");
        assert_eq!(detected, expect, "{stream:?}");
        let mut bytes = Vec::new();
        whole.read_to_end(&mut bytes).expect("memory can be read");
        assert_eq!(bytes, stream, "nothing is taken away");
    };
    for text in ["", "(", "plain", "BZh", "BZh9", "BZh9 is no header", "P", "P*M", "\u{fd}"] {
        check(text.as_bytes(), Compression::None);
    }
    for compression in COMPRESSIONS {
        check(&member(compression, b"one"), compression);
        check(&member(compression, b""), compression);
    }
    check(&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0], Compression::Zstd);
}

#[test]
fn members_zeros_and_what_is_neither() {
    for compression in OF_MEMBERS {
        let (one, two) = (member(compression, b"one "), member(compression, b"two"));
        let check = |parts: &[&[u8]], expect: (&str, &str)| {
            let (text, foreign, error) = read(&parts.concat(), compression);
            assert_eq!((text.as_str(), foreign.as_str()), expect, "{compression:?} {parts:?}");
            assert!(error.is_none(), "{compression:?} {error:?}");
        };
        check(&[&one, &two], ("one two", ""));
        check(&[&one, &[0; 512], &two, &[0; 100_000]], ("one two", ""));
        check(&[&one, b"garbage"], ("one ", "garbage"));
        check(
            &[&one, &[0; 3], b"garbage", &two],
            ("one ", &{
                let rest = [b"garbage".as_slice(), &two].concat();
                String::from_utf8_lossy(&rest).into_owned()
            }),
        );
    }
}

#[test]
fn a_torn_stream_gives_what_stands_before_the_tear() {
    for compression in OF_MEMBERS {
        let first = member(compression, b"first\n");
        let second = member(compression, "line\n".repeat(50_000).as_bytes());
        for kept in [1, 2, second.len() - 3] {
            let stream = [first.as_slice(), &second[..kept]].concat();
            let (text, _, error) = read(&stream, compression);
            assert!(text.starts_with("first\n"), "{compression:?} {kept}");
            let error = error.expect("the end is missing");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{compression:?} {kept}: {error}");
        }
    }
}

#[test]
fn a_damaged_stream_gives_what_stands_before_the_damage_and_stays_damaged() {
    for compression in OF_MEMBERS {
        let mut stream = member(compression, b"first\n");
        let mut second =
            member(compression, &(0..9_000u16).flat_map(u16::to_le_bytes).collect::<Vec<_>>());
        let middle = second.len() / 2;
        second[middle..middle + 64].fill(0xff);
        stream.extend(second);
        let source = Box::new(Cursor::new(stream));
        let mut members = Members::new(compression, source, Limits::default());
        let mut text = Vec::new();
        for _ in 0..2 {
            members.read_to_end(&mut text).expect_err("it is damaged");
        }
        assert!(text.starts_with(b"first\n"), "{compression:?}");
    }
}

#[test]
fn what_is_no_member_is_named() {
    let (_, _, error) = read(b"plain text", Compression::Xz);
    assert_eq!(error.expect("it is none").to_string(), "it is not xz");
}

#[test]
fn a_window_beyond_the_limit_names_the_setting() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window");
    io::Write::write_all(&mut encoder, &vec![b'x'; 20 << 20]).expect("memory takes it");
    let stream = encoder.finish().expect("memory takes it");
    for (limit, is_enough) in [(64 << 20, false), (128 << 20, true)] {
        let limits = Limits { zstd_window_max: ByteSize(limit) };
        let source = Box::new(Cursor::new(stream.clone()));
        let outcome = Members::new(Compression::Zstd, source, limits).read_to_end(&mut Vec::new());
        match outcome {
            Ok(_) => assert!(is_enough),
            Err(error) => {
                assert!(!is_enough);
                let message = "its zstd window is larger than zstd_window_max, 64MiB";
                assert_eq!(error.to_string(), message);
            }
        }
    }
}
