//! nginx's variables: what each of them holds.
//!
//! Those of `ngx_http_core_module`, `ngx_http_log_module`, `ngx_http_upstream_module`, `…_proxy_…`,
//! `…_ssl_…`, `…_gzip_…`, `…_realip_…`, `…_geoip_…`, `…_v2_…`, `…_v3_…`, `…_stub_status_…`,
//! `…_userid_…`, `…_limit_req_…`, `…_limit_conn_…`, `…_otel_…`, and of `stream`
//! (<https://nginx.org/en/docs/varindex.html>). A variable that is not known is text.

use super::parts::{BYTES_SENT, column_name, header};
use crate::access_log::layout::{Alphabet, Items, Kind};
use crate::timestamp::TimeFormat;

const SECOND_NS: i64 = 1_000_000_000;

/// The column of a variable, and what it holds.
pub fn field_of(variable: &str) -> (String, Kind) {
    if let Some((name, kind)) = standard(variable) {
        return (name.into(), kind);
    }
    if let Some(name) = variable.strip_prefix("http_") {
        return header(&column_name(name));
    }
    let seconds = Kind::Duration(SECOND_NS);
    match variable {
        "connection_time" | "session_time" => (format!("{variable}_ms"), seconds),
        "proxy_add_x_forwarded_for" => {
            ("x_forwarded_for".into(), Kind::Addresses { client: false })
        }
        _ => (column_name(variable), kind_of(variable)),
    }
}

/// The variables behind the columns that all access logs share.
fn standard(variable: &str) -> Option<(&'static str, Kind)> {
    Some(match variable {
        "remote_addr" => ("ip", Kind::Address),
        "remote_user" => ("user", Kind::Text),
        "time_local" => ("ts", Kind::ClfTime),
        "time_iso8601" => ("ts", Kind::Time(TimeFormat::Guess)),
        "msec" => ("ts", Kind::Time(TimeFormat::Unix(1_000_000))),
        "request" => ("request", Kind::Request),
        "request_method" => ("method", Kind::Word),
        "request_uri" => ("endpoint", Kind::Target),
        "uri" | "document_uri" => ("path", Kind::Text),
        "args" | "query_string" => ("query", Kind::Query),
        "server_protocol" => ("protocol", Kind::Word),
        "status" => ("status", Kind::Status),
        "body_bytes_sent" => ("bytes", Kind::Integer),
        "bytes_sent" => (BYTES_SENT, Kind::Integer),
        "request_time" => ("response_time_ms", Kind::Duration(SECOND_NS)),
        "host" | "server_name" | "http_host" => ("vhost", Kind::Label(Alphabet::Host)),
        "server_port" => ("port", Kind::Integer),
        _ => return None,
    })
}

fn kind_of(variable: &str) -> Kind {
    match variable {
        "bytes_received"
        | "connection"
        | "connection_requests"
        | "connections_active"
        | "connections_reading"
        | "connections_waiting"
        | "connections_writing"
        | "content_length"
        | "geoip_area_code"
        | "geoip_dma_code"
        | "limit_rate"
        | "pid"
        | "proxy_port"
        | "proxy_protocol_port"
        | "proxy_protocol_server_port"
        | "realip_remote_port"
        | "remote_port"
        | "request_length"
        | "request_port"
        | "ssl_client_v_remain"
        | "tcpinfo_rcv_space"
        | "tcpinfo_rtt"
        | "tcpinfo_rttvar"
        | "tcpinfo_snd_cwnd"
        | "upstream_cache_age" => Kind::Integer,
        "geoip_latitude" | "geoip_longitude" | "gzip_ratio" => Kind::Float,
        "upstream_addr" => Kind::List(Items::Labels),
        "upstream_bytes_received" | "upstream_bytes_sent" | "upstream_response_length" => {
            Kind::List(Items::Sizes)
        }
        "upstream_connect_time"
        | "upstream_first_byte_time"
        | "upstream_header_time"
        | "upstream_queue_time"
        | "upstream_response_time"
        | "upstream_session_time" => Kind::List(Items::Seconds),
        "upstream_status" => Kind::List(Items::Statuses),
        "proxy_protocol_addr"
        | "proxy_protocol_server_addr"
        | "realip_remote_addr"
        | "server_addr" => Kind::Address,
        "scheme" => Kind::Label(Alphabet::Letters),
        "hostname"
        | "proxy_host"
        | "ssl_server_name"
        | "ssl_preread_server_name"
        | "upstream_last_server_name" => Kind::Label(Alphabet::Host),
        _ if is_one_word(variable) => Kind::Label(Alphabet::Graphic),
        _ => Kind::Text,
    }
}

/// Whether nginx itself makes the value, and never with a blank in it.
fn is_one_word(variable: &str) -> bool {
    const WORDS: &[&str] = &[
        "ancient_browser",
        "geoip_city_continent_code",
        "geoip_city_country_code",
        "geoip_city_country_code3",
        "geoip_country_code",
        "geoip_country_code3",
        "geoip_region",
        "http2",
        "http3",
        "https",
        "is_args",
        "is_request_port",
        "limit_conn_status",
        "limit_req_status",
        "modern_browser",
        "msie",
        "nginx_version",
        "otel_parent_id",
        "otel_parent_sampled",
        "otel_span_id",
        "otel_trace_id",
        "pipe",
        "protocol",
        "request_completion",
        "request_id",
        "ssl_alpn_protocol",
        "ssl_cipher",
        "ssl_ciphers",
        "ssl_client_fingerprint",
        "ssl_client_serial",
        "ssl_curve",
        "ssl_curves",
        "ssl_early_data",
        "ssl_preread_alpn_protocols",
        "ssl_preread_protocol",
        "ssl_protocol",
        "ssl_session_id",
        "ssl_session_reused",
        "uid_reset",
        "upstream_cache_status",
    ];
    WORDS.contains(&variable)
}
