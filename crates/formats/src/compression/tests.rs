use super::testing::{COMPRESSIONS, member};
use super::*;
use crate::encoding::Growth;

/// Those whose members are read here.
const OF_MEMBERS: [Compression; 3] = [Compression::Zstd, Compression::Bzip2, Compression::Xz];

fn members(stream: &[u8], compression: Compression, limits: Limits) -> Members {
    let source = Box::new(Cursor::new(stream.to_vec()));
    Members::new(compression, source, limits, Growth::Closed)
}

/// What a stream holds, in brackets what is refused, and what went wrong.
fn read(stream: &[u8], compression: Compression) -> (String, Option<io::Error>) {
    let mut members = members(stream, compression, Limits::default());
    let (mut said, mut piece) = (Vec::new(), [0; 1000]);
    let error = loop {
        let is_refused = members.refusal().is_some();
        let outcome = match is_refused {
            true => members.read_refused(&mut piece),
            false => members.read(&mut piece),
        };
        match outcome {
            Ok(0) if is_refused == members.refusal().is_some() => break None,
            Ok(0) => said.push(if is_refused { b']' } else { b'[' }),
            Ok(read) => said.extend(&piece[..read]),
            Err(error) => break Some(error),
        }
    };
    (String::from_utf8_lossy(&said).into_owned(), error)
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
        let check = |parts: &[&[u8]], expect: &str| {
            let (said, error) = read(&parts.concat(), compression);
            assert_eq!(said, expect, "{compression:?} {parts:?}");
            assert!(error.is_none(), "{compression:?} {error:?}");
        };
        check(&[&one, &two], "one two");
        check(&[&[0; 300], &one, &[0; 512], &two, &[0; 100_000]], "one two");
        check(&[&one, b"garbage"], "one [garbage");
        check(&[&one, &[0; 3], b"garbage", &two], "one [garbage]two");
        check(
            &[b"garbage", &one, b"(BZh\xfd7z", &two, b"more"],
            "[garbage]one [(BZh\u{fffd}7z]two[more",
        );
        check(&[&[0; 3], b"garbage", &[0; 3], &one], "[garbage\0\0\0]one ");
    }
}

/// A member whose text cannot be guessed, nor be compressed to much less.
fn large_member(compression: Compression) -> (Vec<u8>, usize) {
    let mut number = 1u64;
    let mut next = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        number >> 40
    };
    let text: String = (0..30_000).map(|_| format!("{} {}\n", next(), next())).collect();
    (member(compression, text.as_bytes()), text.len())
}

#[test]
fn the_next_member_is_read_behind_a_damaged_one() {
    for compression in OF_MEMBERS {
        let (first, last) = (member(compression, b"first\n"), member(compression, b"last\n"));
        let (whole, text) = large_member(compression);
        let half = whole.len() / 2;
        let flipped = {
            let mut member = whole.clone();
            member[half] ^= 0x55;
            member
        };
        let summed = {
            // The checksum of zstd ends the member, those of bzip2 and xz stand before their ends.
            let mut member = whole.clone();
            let at = member.len() - if compression == Compression::Xz { 40 } else { 3 };
            member[at] ^= 0x55;
            member
        };
        for (kind, damaged) in
            [("flipped", flipped), ("cut", whole[..half].to_vec()), ("sum", summed)]
        {
            let (said, error) =
                read(&[&first, &damaged, &last].map(Vec::as_slice).concat(), compression);
            assert!(error.is_none(), "{compression:?} {kind}: {error:?}");
            assert!(said.starts_with("first\n"), "{compression:?} {kind}");
            assert!(said.ends_with("]last\n"), "{compression:?} {kind}: {}", said.len());
            assert!(said.len() < 3 * text, "{compression:?} {kind}: {}", said.len());
            let (said, error) = read(&[&first, &damaged].map(Vec::as_slice).concat(), compression);
            assert!(said.starts_with("first\n"), "{compression:?} {kind}");
            error.expect("nothing follows");
        }
    }
}

#[test]
fn each_byte_of_a_damaged_frame_gave_text_or_is_refused() {
    let (mut stream, _) = large_member(Compression::Zstd);
    let length = stream.len();
    stream.extend(member(Compression::Zstd, b"last\n"));
    for at in [length / 3, length / 2, length - 2] {
        let mut damaged = stream.clone();
        damaged[at] ^= 0xff;
        let mut members = members(&damaged, Compression::Zstd, Limits::default());
        let mut text: Vec<u8> = Vec::new();
        while members.refusal().is_none() {
            let mut piece = [0; 5000];
            let read = members.read(&mut piece).expect("another frame follows");
            text.extend(&piece[..read]);
        }
        let reason = members.refusal().expect("it is damaged").reason().to_owned();
        let from = reason.split("damaged at byte ").nth(1).and_then(|rest| rest.split(';').next());
        let from: usize = from.expect("a place").parse().expect("a number");
        let mut refused = vec![0; length];
        let mut taken = 0;
        loop {
            match members.read_refused(&mut refused[taken..]).expect("memory can be read") {
                0 => break,
                read => taken += read,
            }
        }
        assert_eq!(refused[..taken], damaged[from..length], "damaged at {at}: {reason}");
        // What decompresses all the same, and to something else, is known by the checksum.
        let is_near = (from..from + (132 << 10)).contains(&at) || from == length - 4;
        assert!(is_near, "damaged at {at}: {reason}");
    }
}

#[test]
fn a_torn_stream_gives_what_stands_before_the_tear() {
    for compression in OF_MEMBERS {
        let first = member(compression, b"first\n");
        let second = member(compression, "line\n".repeat(50_000).as_bytes());
        for kept in [1, 2, second.len() - 3] {
            let stream = [first.as_slice(), &second[..kept]].concat();
            let (text, error) = read(&stream, compression);
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
        let mut members = members(&stream, compression, Limits::default());
        let mut text = Vec::new();
        for _ in 0..2 {
            members.read_to_end(&mut text).expect_err("it is damaged");
        }
        assert!(text.starts_with(b"first\n"), "{compression:?}");
    }
}

#[test]
fn what_is_no_member_is_named() {
    for compression in OF_MEMBERS {
        for stream in [b"plain text BZh (\xb5/\xfd".as_slice(), &[0; 100], b"\0\0text"] {
            let (said, error) = read(stream, compression);
            let error = error.expect("it is none").to_string();
            assert_eq!((said.as_str(), error), ("", format!("it is not {}", compression.name())));
        }
        assert!(read(b"", compression).1.is_none());
    }
}

#[test]
fn a_window_beyond_the_limit_names_the_setting() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window");
    io::Write::write_all(&mut encoder, &vec![b'x'; 20 << 20]).expect("memory takes it");
    let stream = encoder.finish().expect("memory takes it");
    for (limit, is_enough) in [(64 << 20, false), (128 << 20, true)] {
        let limits = Limits { zstd_window_max: ByteSize(limit) };
        let outcome = members(&stream, Compression::Zstd, limits).read_to_end(&mut Vec::new());
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
