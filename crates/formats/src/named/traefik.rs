//! Access logs of Traefik, in its common format and as JSON.
//!
//! Source: "Access Logs" (doc.traefik.io/traefik/observability/access-logs/): the common format is
//! `<remote_IP_address> - <client_user_name> [<timestamp>] "<request>" <status> <content-length>
//! "<referrer>" "<user_agent>" <number_of_requests> "<router>" "<server_URL>" <duration>ms`, and a
//! table there lists the fields of JSON, of which a configuration may drop some.

use contract::Result;

use super::entries::Value::{Integer as Whole, Nanos, Status as Code, Target, Time};
use super::entries::{Entries, Entry, Value};
use super::fields::Table;
use super::fields::Take::{ClfTime, Integer, Millis, Nothing, Quoted, Request, Status, Text};
use super::rows::STATUS;

/// The common format.
pub fn clf() -> Table {
    let fields = [
        Text("ip"),
        Nothing,
        Text("user"),
        ClfTime,
        Request,
        Status("status"),
        Integer("bytes"),
        Quoted("referrer"),
        Quoted("user_agent"),
        Integer("request_count"),
        Quoted("router"),
        Quoted("server_url"),
        Millis,
    ];
    Table::new(&fields, fields.len())
}

const TABLE: [Entry; 29] = [
    ("ClientHost", Value::Text, "ip"),
    ("ClientAddr", Value::Address, "ip"),
    ("ClientUsername", Value::Text, "user"),
    ("StartUTC", Time, "ts"),
    ("StartLocal", Time, "ts"),
    ("time", Time, "ts"),
    ("RequestMethod", Value::Word, "method"),
    ("RequestPath", Target, "endpoint"),
    ("RequestProtocol", Value::Word, "protocol"),
    ("DownstreamStatus", Code, "status"),
    ("DownstreamContentSize", Whole, "bytes"),
    ("request_Referer", Value::Text, "referrer"),
    ("request_User-Agent", Value::Text, "user_agent"),
    ("Duration", Nanos, "response_time_ms"),
    ("RequestHost", Value::Text, "vhost"),
    ("RequestScheme", Value::Word, "scheme"),
    ("ClientPort", Whole, "client_port"),
    ("RequestContentSize", Whole, "bytes_received"),
    ("RequestCount", Whole, "request_count"),
    ("RouterName", Value::Text, "router"),
    ("ServiceName", Value::Text, "service"),
    ("ServiceURL", Value::Text, "server_url"),
    ("entryPointName", Value::Word, "entry_point"),
    ("OriginStatus", Code, "target_status"),
    ("OriginDuration", Nanos, "target_time_ms"),
    ("RetryAttempts", Whole, "retries"),
    ("TLSVersion", Value::Word, "ssl_protocol"),
    ("TLSCipher", Value::Word, "ssl_cipher"),
    ("request_X-Forwarded-For", Value::Text, "x_forwarded_for"),
];

/// JSON.
///
/// # Errors
/// Config: `rest` names a column of the format.
pub fn json(rest: Option<&str>) -> Result<Entries> {
    Entries::new(&TABLE, &[STATUS], rest)
}
