//! Ports that nobody listens on, and whether somebody answers there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Below the ports that systems give to outgoing connections, which may come at any time; a server
/// that was killed finds its port still free.
const RANGE: Range<u16> = 20_000..32_000;
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// One for every listener of every server, by its name.
pub struct Ports(Mutex<Given>);

struct Given {
    by_name: BTreeMap<&'static str, u16>,
    last: u16,
}

impl Ports {
    /// None is given yet.
    pub fn new() -> Self {
        let own = u16::try_from(std::process::id() % u32::from(RANGE.end - RANGE.start));
        let last = RANGE.start + own.expect("the range is smaller than a u16");
        Self(Mutex::new(Given { by_name: BTreeMap::new(), last }))
    }

    /// The port of a listener: one that is free when it is asked for first, the same from then on.
    pub fn of(&self, listener: &'static str) -> Result<u16, String> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = given.by_name.get(listener) {
            return Ok(*port);
        }
        for _ in RANGE {
            given.last = if given.last + 1 < RANGE.end { given.last + 1 } else { RANGE.start };
            if TcpListener::bind((Ipv4Addr::LOCALHOST, given.last)).is_ok() {
                let port = given.last;
                given.by_name.insert(listener, port);
                return Ok(port);
            }
        }
        Err(format!("no port is free between {} and {}", RANGE.start, RANGE.end))
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
