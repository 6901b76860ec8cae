//! One HTTP request to a test server: no TLS, no chunks, no connection that is kept.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Sends JSON to a path below an address `http://host:port`; gives the body of the answer.
///
/// # Errors
/// The server does not answer, or answers with another status than 2xx.
pub fn send(method: &str, address: &str, path: &str, json: &str) -> Result<String, String> {
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let failed = |error: std::io::Error| format!("{method} {path} at {host}: {error}");
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(failed)?;
    // Version 1.0, so that the answer ends with the connection.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
    match head.split_whitespace().nth(1) {
        Some(status) if status.starts_with('2') => Ok(body.to_owned()),
        _ => Err(format!("{method} {path} at {host}: {head}\n{body}")),
    }
}
