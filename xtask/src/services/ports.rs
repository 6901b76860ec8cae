//! Ports that nobody listens on, and whether somebody answers there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// Below the ports that systems give to outgoing connections, which may come at any time; a server
/// that was killed finds its port still free.
const RANGE: Range<u16> = 20_000..32_000;
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// One for every listener of every server.
pub struct Ports {
    pub kafka: KafkaPorts,
    pub postgres: u16,
    /// The proxy before PostgreSQL.
    pub postgres_cut: u16,
    pub s3: u16,
    /// The proxy before S3.
    pub s3_cut: u16,
    pub opensearch: u16,
    pub opensearch_transport: u16,
    pub elasticsearch: u16,
    pub elasticsearch_transport: u16,
    pub azure: u16,
    pub toxiproxy: u16,
}

/// Kafka's listeners.
pub struct KafkaPorts {
    pub plain: u16,
    pub controller: u16,
    pub sasl: u16,
    pub tls: u16,
    /// The proxy before [`KafkaPorts::behind`].
    pub cut: u16,
    /// Tells its clients to come back through the proxy.
    pub behind: u16,
}

impl Ports {
    /// Ports that are free now.
    pub fn free() -> Result<Self, String> {
        let own = u16::try_from(std::process::id() % u32::from(RANGE.end - RANGE.start));
        let mut next = RANGE.start + own.expect("the range is smaller than a u16");
        let mut tries = RANGE.len();
        let mut port = || -> Result<u16, String> {
            while tries > 0 {
                tries -= 1;
                next = if next + 1 < RANGE.end { next + 1 } else { RANGE.start };
                if TcpListener::bind((Ipv4Addr::LOCALHOST, next)).is_ok() {
                    return Ok(next);
                }
            }
            Err(format!("no port is free between {} and {}", RANGE.start, RANGE.end))
        };
        Ok(Self {
            kafka: KafkaPorts {
                plain: port()?,
                controller: port()?,
                sasl: port()?,
                tls: port()?,
                cut: port()?,
                behind: port()?,
            },
            postgres: port()?,
            postgres_cut: port()?,
            s3: port()?,
            s3_cut: port()?,
            opensearch: port()?,
            opensearch_transport: port()?,
            elasticsearch: port()?,
            elasticsearch_transport: port()?,
            azure: port()?,
            toxiproxy: port()?,
        })
    }
}

/// `127.0.0.1:port`.
pub fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Whether somebody accepts connections there.
pub fn accepts(port: u16) -> bool {
    connect(port).is_ok()
}

/// Whether an HTTP server there says that all is well.
pub fn is_well(port: u16, path: &str) -> bool {
    status(port, path).is_ok_and(|line| line.starts_with("HTTP/1.1 200 "))
}

/// Whether an HTTP server there says anything.
pub fn speaks(port: u16) -> bool {
    status(port, "/").is_ok_and(|line| line.starts_with("HTTP/1.1 "))
}

/// The beginning of an answer.
fn status(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut line = [0; 13];
    stream.read_exact(&mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_LIMIT)
}
