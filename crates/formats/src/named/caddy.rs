//! Access logs of Caddy.
//!
//! Source: "How Logging Works" and the directive `log` (caddyserver.com/docs/logging,
//! caddyserver.com/docs/caddyfile/directives/log), and what writes them (github.com/caddyserver/
//! caddy, modules/caddyhttp/marshalers.go and server.go): objects with `request`, `duration` in
//! seconds, `size` and `status`; `client_ip` since 2.7, `remote_ip` since 2.5, `remote_addr`
//! before; headers as lists, those that are secret as `REDACTED`; `tls.version` as its number.

use contract::Result;

use super::entries::Value::{
    Address, Integer, Seconds, Status, Target, Text, Time, TlsVersion, Word,
};
use super::entries::{Entries, Entry};
use super::rows::{BYTES, IP, STATUS};

const TABLE: [Entry; 21] = [
    ("request/client_ip", Text, "ip"),
    ("request/remote_ip", Text, "ip"),
    ("request/remote_addr", Address, "ip"),
    ("user_id", Text, "user"),
    ("ts", Time, "ts"),
    ("request/method", Word, "method"),
    ("request/uri", Target, "endpoint"),
    ("request/proto", Word, "protocol"),
    ("status", Status, "status"),
    ("size", Integer, "bytes"),
    ("request/headers/Referer", Text, "referrer"),
    ("request/headers/User-Agent", Text, "user_agent"),
    ("duration", Seconds, "response_time_ms"),
    ("request/host", Text, "vhost"),
    ("request/remote_ip", Text, "peer_ip"),
    ("request/remote_port", Integer, "client_port"),
    ("bytes_read", Integer, "bytes_received"),
    ("request/headers/X-Forwarded-For", Text, "x_forwarded_for"),
    ("resp_headers/Content-Type", Text, "content_type"),
    ("request/tls/version", TlsVersion, "ssl_protocol"),
    ("logger", Word, "logger"),
];

/// The form of such a line.
///
/// # Errors
/// Config: `rest` names a column of the format.
pub fn form(rest: Option<&str>) -> Result<Entries> {
    // An error is logged beside the access that it is part of, with request and status and no size.
    Entries::new(&TABLE, &[IP, STATUS, BYTES], rest)
}
