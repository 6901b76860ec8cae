use super::*;
use crate::compression::testing::{COMPRESSIONS, member};

/// What each block held: text, or in brackets what is none; an error at the end.
fn read(stream: &[u8], compression: Compression, room: usize) -> String {
    let source = Box::new(io::Cursor::new(stream.to_vec()));
    let mut decoded = Decoded::new(compression, source, Limits::default(), Growth::Closed);
    let mut said = Vec::new();
    loop {
        let reason = decoded.foreign_reason();
        let mut block = Vec::new();
        let outcome = decoded.fill(&mut block, room);
        match reason {
            Some(_) => said.extend([b"[", block.as_slice(), b"]"].concat()),
            None => said.extend(block),
        }
        match outcome {
            Ok(Reached::End) => break,
            Ok(_) => {}
            Err(error) => {
                said.extend(format!("!{}", error.kind()).bytes());
                break;
            }
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn text_comes_out_however_it_is_packed() {
    let utf16: Vec<u8> = "\u{feff}ein Stück\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for compression in [&COMPRESSIONS[..], &[Compression::None]].concat() {
        for room in [1, 2, 3, 1000] {
            let check = |stream: &[u8], expect: &str| {
                let said = read(stream, compression, room).replace("][", "");
                assert_eq!(said, expect, "{compression:?}, {room} bytes at once");
            };
            for text in ["", "a", "a\0", "a\0b", "\n", "some text\n"] {
                check(&member(compression, text.as_bytes()), text);
            }
            check(&member(compression, &utf16), "\u{feff}ein Stück\n");
            if compression != Compression::None {
                let packed = member(compression, b"text");
                check(&[&packed, b"and more".as_slice()].concat(), "text[and more]");
                let packed = member(compression, &utf16);
                check(&[&packed, b"+".as_slice()].concat(), "\u{feff}ein Stück\n[+]");
                check(&[b"+++", packed.as_slice()].concat(), "[+++]\u{feff}ein Stück\n");
                check(&[b"+", packed.as_slice(), b"+", &packed].concat(), &{
                    let text = "\u{feff}ein Stück\n";
                    format!("[+]{text}[+]{text}")
                });
            }
        }
    }
}

#[test]
fn few_bytes_before_damage_are_not_lost() {
    let packed = [member(Compression::Gzip, b"a\0"), vec![0x1f, 0x8b]].concat();
    assert_eq!(read(&packed, Compression::Gzip, 100), "a\0!unexpected end of file");
}

#[test]
fn the_first_text_is_found_behind_what_is_none() {
    for compression in COMPRESSIONS {
        let packed = [b"garbage".as_slice(), &member(compression, b"some text")].concat();
        let source = Box::new(io::Cursor::new(packed));
        let mut decoded = Decoded::new(compression, source, Limits::default(), Growth::Closed);
        let mut text = Vec::new();
        decoded.first_text(&mut text, 4).expect("memory can be read");
        assert_eq!(text, b"some", "{compression:?}");
    }
}

#[test]
fn a_log_whose_first_bytes_are_noise_is_told_by_its_members() {
    let noise: Vec<u8> = (0..200u8).map(|number| number.wrapping_mul(77) ^ 0x93).collect();
    for compression in COMPRESSIONS {
        let packed = [noise.as_slice(), &member(compression, &b"a line\n".repeat(90))].concat();
        let source = Box::new(io::Cursor::new(packed));
        let mut decoded = Decoded::log(source, Limits::default(), Growth::Closed).expect("a log");
        let mut text = Vec::new();
        decoded.first_text(&mut text, 7).expect("memory can be read");
        assert_eq!(text, b"a line\n", "{compression:?}");
    }
}

#[test]
fn reading_as_a_whole_gives_the_text_and_what_follows() {
    let packed = [member(Compression::Xz, b"text"), b"garbage".to_vec()].concat();
    let source = Box::new(io::Cursor::new(packed));
    let mut whole = String::new();
    Decoded::new(Compression::Xz, source, Limits::default(), Growth::Closed)
        .read_to_string(&mut whole)
        .expect("memory can be read");
    assert_eq!(whole, "textgarbage");
}
