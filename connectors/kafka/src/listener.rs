//! What the port of a broker speaks, TLS or not, asked without librdkafka.
//!
//! A client that speaks the other one learns no more than that it was disconnected, and not always
//! before its question times out. Each side is known by its first bytes: a broker answers a
//! question of Kafka's protocol by its number, whoever speaks TLS answers with a record of TLS
//! (RFC 5246, section 6.2.1). Blocks.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use contract::Error;

/// How long a connection, and an answer on it, may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Brokers that are asked before it is left open.
const BROKERS_MAX: usize = 3;
/// The port of an address without one, as librdkafka takes it.
const PORT: &str = "9092";
/// The number of our question.
const QUESTION: [u8; 4] = *b"mill";
/// The first byte of records of TLS: an alert, a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];
/// The second one, whatever the version.
const TLS_MAJOR: u8 = 0x03;
/// Ciphers that any server knows one of: it answers, if only with an alert.
const CIPHERS: [u8; 10] = [0x13, 0x01, 0xc0, 0x2f, 0xc0, 0x30, 0x00, 0x9c, 0x00, 0x2f];

/// The error of brokers whose port speaks something else than the client does; none where none of
/// them shows that it does. `protocol` is the client's `security.protocol`.
pub fn mismatch(brokers: &str, protocol: &str) -> Option<Error> {
    let is_tls = protocol.to_lowercase().ends_with("ssl");
    let brokers = brokers.split(',').map(str::trim).filter(|it| !it.is_empty());
    let wrong = |broker: &str| match is_tls {
        true => speaks_plainly(broker).unwrap_or(false),
        false => speaks_tls(broker).unwrap_or(false),
    };
    let asked: Vec<_> = brokers.take(BROKERS_MAX).collect();
    // All at once: none waits until another one's time is up.
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = asked.iter().map(|broker| scope.spawn(|| wrong(broker))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap_or(false)).collect()
    });
    let broker =
        asked.iter().zip(answers).find_map(|(broker, is_wrong)| is_wrong.then_some(*broker))?;
    let shown = protocol.to_uppercase();
    let (message, way_out) = match is_tls {
        true => (
            format!("the broker {broker:?} speaks no TLS, and `security.protocol` is {shown}"),
            format!("name the port for TLS, or set {} under `client`", other(&shown)),
        ),
        false => (
            format!("the broker {broker:?} speaks TLS, and `security.protocol` is {shown}"),
            format!("set {} under `client`, or name the port without TLS", other(&shown)),
        ),
    };
    Some(Error::external(message).hint(way_out))
}

/// The setting with TLS for one without, and the other way round.
fn other(protocol: &str) -> String {
    let other = match protocol {
        "SSL" => "PLAINTEXT",
        "SASL_SSL" => "SASL_PLAINTEXT",
        "SASL_PLAINTEXT" => "SASL_SSL",
        _ => "SSL",
    };
    format!("`security.protocol: {other}`")
}

/// Whether a broker answers Kafka's protocol without TLS; none where nothing answers.
fn speaks_plainly(broker: &str) -> Option<bool> {
    // ApiVersions, version 0, which every broker answers before anybody has logged in.
    let mut question = vec![0, 0, 0, 10, 0, 18, 0, 0];
    question.extend_from_slice(&QUESTION);
    question.extend_from_slice(&[0xff, 0xff]);
    let answer: [u8; 8] = ask(broker, &question)?;
    Some(answer[4..] == QUESTION)
}

/// Whether a broker answers with TLS; none where nothing answers.
fn speaks_tls(broker: &str) -> Option<bool> {
    let mut hello = vec![TLS_MAJOR, 0x03];
    hello.extend_from_slice(&[b'm'; 32]);
    hello.push(0);
    hello.extend_from_slice(&[0, CIPHERS.len() as u8]);
    hello.extend_from_slice(&CIPHERS);
    hello.extend_from_slice(&[1, 0]);
    let length = hello.len() as u8;
    let mut record = vec![TLS_RECORDS[1], TLS_MAJOR, 0x01, 0, length + 4, 1, 0, 0, length];
    record.extend_from_slice(&hello);
    let answer: [u8; 2] = ask(broker, &record)?;
    Some(TLS_RECORDS.contains(&answer[0]) && answer[1] == TLS_MAJOR)
}

/// The first bytes of an answer.
fn ask<const BYTES: usize>(broker: &str, question: &[u8]) -> Option<[u8; BYTES]> {
    let address = address(broker).to_socket_addrs().ok()?;
    let mut stream =
        address.into_iter().find_map(|it| TcpStream::connect_timeout(&it, ANSWER_LIMIT).ok())?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.set_write_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = [0; BYTES];
    stream.read_exact(&mut answer).ok()?;
    Some(answer)
}

/// Host and port of a broker as librdkafka takes it: `[PROTOCOL://]host[:port]`.
fn address(broker: &str) -> String {
    let broker = broker.rsplit_once("://").map_or(broker, |(_, address)| address);
    let has_port = broker.rsplit_once(':').is_some_and(|(host, _)| {
        // Of an address of IPv6 only what stands behind its bracket is a port.
        !host.contains(':') || host.ends_with(']')
    });
    if has_port { broker.to_owned() } else { format!("{broker}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_those_of_librdkafka() {
        for (broker, expect) in [
            ("a", "a:9092"),
            ("a:1", "a:1"),
            ("SASL_SSL://a:1", "a:1"),
            ("[::1]:2", "[::1]:2"),
            ("[::1]", "[::1]:9092"),
        ] {
            assert_eq!(address(broker), expect, "{broker}");
        }
    }

    /// A port that answers each connection with these bytes, and closes it.
    fn port(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut question = [0; 256];
                let _ = stream.read(&mut question).and_then(|_| stream.write_all(answer));
            }
        });
        address
    }

    #[test]
    fn only_what_answers_as_the_other_side_is_called_so() {
        let said = |answer, protocol| {
            mismatch(&port(answer), protocol).map(|error| error.hint_text().unwrap().to_owned())
        };
        let set = |hint: Option<String>, other: &str| {
            let hint = hint.expect("a way out");
            assert!(hint.contains(&format!("`security.protocol: {other}`")), "{hint}");
        };
        set(said(b"\0\0\0\x06mill", "ssl"), "PLAINTEXT");
        set(said(b"\0\0\0\x06mill", "SASL_SSL"), "SASL_PLAINTEXT");
        set(said(b"\x15\x03\x03\0\x02\x02\x28\0", "plaintext"), "SSL");
        set(said(b"\x16\x03\x03\0\x02\x02\x28\0", "sasl_plaintext"), "SASL_SSL");
        for answer in [&b""[..], b"\0\0\0\x06xxxx", b"HTTP/1.1 400"] {
            assert_eq!(said(answer, "ssl"), None);
            assert_eq!(said(answer, "plaintext"), None);
        }
    }
}
