//! Every directive of Apache 2.4 and every variable of nginx that is documented, with its columns.

use arrow::datatypes::DataType;

use super::{custom, names};
use crate::parser;

/// The columns of a form of one directive with their types: `status:number`.
fn columns(form: &str) -> String {
    let parser = parser(&custom(form)).unwrap_or_else(|error| panic!("{form}: {error}"));
    let shown = |data_type: &DataType| match data_type {
        DataType::Utf8View => "text",
        DataType::Dictionary(..) => "word",
        DataType::Int32 | DataType::Int64 => "number",
        DataType::Float64 => "float",
        DataType::Timestamp(..) => "time",
        other => panic!("{other}"),
    };
    let schema = parser.schema();
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        format!("{}:{}", field.name(), shown(field.data_type()))
    };
    schema.fields().iter().map(column).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_directive_of_apache_is_known() {
    let request = "method:word endpoint:text path:text query:text protocol:word";
    let table = [
        ("%a", "ip:text"),
        ("%{c}a", "peer_ip:text"),
        ("%A", "local_ip:text"),
        ("%B", "bytes:number"),
        ("%b", "bytes:number"),
        ("%{Session}C", "cookie_session:text"),
        ("%D", "response_time_ms:number"),
        ("%{UNIQUE_ID}e", "env_unique_id:text"),
        ("%f", "filename:text"),
        ("%h", "ip:text"),
        ("%{c}h", "peer_ip:text"),
        ("%H", "protocol:word"),
        ("%{X-Forwarded-For}i", "ip:text x_forwarded_for:text"),
        ("%{Referer}i", "referrer:text"),
        ("%{User-Agent}i", "user_agent:text"),
        ("%k", "keepalive_requests:number"),
        ("%l", "ident:text"),
        ("%L", "log_id:text"),
        ("%{c}L", "connection_log_id:text"),
        ("%m", "method:word"),
        ("%{ratio}n", "note_ratio:text"),
        ("%{Content-Type}o", "sent_content_type:text"),
        ("%p", "port:number"),
        ("%{canonical}p", "port:number"),
        ("%{local}p", "local_port:number"),
        ("%{remote}p", "remote_port:number"),
        ("%P", "pid:number"),
        ("%{pid}P", "pid:number"),
        ("%{tid}P", "tid:number"),
        ("%{hextid}P", "hextid:text"),
        ("%q", "query:text"),
        ("%r", request),
        ("%R", "handler:text"),
        ("%s", "status:number"),
        ("%>s", "status:number"),
        ("%<s", "status:number"),
        ("%t", "ts:time"),
        ("%{begin:%Y-%m-%dT%T}t", "ts:time"),
        ("%{end:%Y-%m-%dT%T}t", "ts:time"),
        ("%{sec}t", "ts:time"),
        ("%{begin:msec}t", "ts:time"),
        ("%{end:usec}t", "ts:time"),
        ("%T", "response_time_ms:number"),
        ("%{s}T", "response_time_ms:number"),
        ("%{ms}T", "response_time_ms:number"),
        ("%{us}T", "response_time_ms:number"),
        ("%u", "user:text"),
        ("%<u", "user:text"),
        ("%U", "path:text"),
        ("%v", "vhost:text"),
        ("%V", "vhost:text"),
        ("%X", "connection_status:text"),
        ("%I", "bytes_received:number"),
        ("%O", "bytes:number"),
        ("%S", "bytes_total:number"),
        ("%^FB", "first_byte_time_ms:number"),
        ("%{Checksum}^ti", "trailer_checksum:text"),
        ("%{Checksum}^to", "sent_trailer_checksum:text"),
        ("%{SSL_PROTOCOL}x", "ssl_protocol:text"),
        ("%{cipher}c", "cipher:text"),
        ("%!200,304{Cookie}i", "cookie:text"),
        ("%400,501{User-agent}>i", "user_agent:text"),
        ("%{Foobar}!200i", "foobar:text"),
    ];
    for (directive, expect) in table {
        assert_eq!(columns(directive), expect, "{directive}");
    }
    assert_eq!(names(&custom("%t %{msec_frac}t %h %{usec_frac}t")), "ts msec_frac ip usec_frac");
}

/// Variables with one column of text under their own name.
const TEXTS: &str = "
    arg_a cookie_a document_root fastcgi_path_info fastcgi_script_name hostname http2 http3
    http_x https is_args is_request_port limit_rate_after nginx_version pipe proxy_host
    proxy_protocol_addr proxy_protocol_server_addr proxy_protocol_tlv_alpn realip_remote_addr
    realpath_root request_body request_body_file request_completion request_filename request_id
    scheme sent_http_x sent_trailer_x server_addr binary_remote_addr protocol upstream_addr
    upstream_cache_status upstream_cache_key upstream_cookie_a upstream_http_x
    upstream_last_server_name upstream_trailer_x ssl_alpn_protocol ssl_cipher ssl_ciphers
    ssl_client_cert ssl_client_escaped_cert ssl_client_fingerprint ssl_client_i_dn
    ssl_client_i_dn_legacy ssl_client_raw_cert ssl_client_s_dn ssl_client_s_dn_legacy
    ssl_client_serial ssl_client_v_end ssl_client_v_start ssl_client_verify ssl_curve ssl_curves
    ssl_early_data ssl_protocol ssl_server_name ssl_session_id ssl_session_reused
    ssl_preread_protocol ssl_preread_server_name ssl_preread_alpn_protocols
    geoip_country_code geoip_country_code3 geoip_country_name geoip_city geoip_region
    geoip_region_name geoip_postal_code geoip_org geoip_city_continent_code
    geoip_city_country_code geoip_city_country_code3 geoip_city_country_name uid_got uid_reset
    uid_set limit_req_status limit_conn_status invalid_referer modern_browser ancient_browser msie
    secure_link secure_link_expires slice_range date_local date_gmt memcached_key
    otel_trace_id otel_span_id otel_parent_id otel_parent_sampled jwt_payload session_log_id my_own";

/// Variables with one column of numbers under their own name.
const NUMBERS: &str = "
    bytes_received connection connection_requests content_length limit_rate pid proxy_port
    proxy_protocol_port proxy_protocol_server_port realip_remote_port remote_port request_length
    request_port ssl_client_v_remain tcpinfo_rtt tcpinfo_rttvar tcpinfo_snd_cwnd tcpinfo_rcv_space
    connections_active connections_reading connections_writing connections_waiting
    geoip_area_code geoip_dma_code upstream_cache_age";

#[test]
fn every_variable_of_nginx_is_known() {
    let own = |variables: &'static str, kind: &'static str| {
        let variables = variables.split_whitespace();
        variables.map(move |variable| (variable, format!("{}:{kind}", column(variable))))
    };
    let target = "endpoint:text path:text query:text";
    let table = [
        ("args", "query:text"),
        ("query_string", "query:text"),
        ("body_bytes_sent", "bytes:number"),
        ("bytes_sent", "bytes:number"),
        ("connection_time", "connection_time_ms:number"),
        ("session_time", "session_time_ms:number"),
        ("document_uri", "path:text"),
        ("uri", "path:text"),
        ("request_uri", target),
        ("host", "vhost:text"),
        ("http_host", "vhost:text"),
        ("server_name", "vhost:text"),
        ("http_referer", "referrer:text"),
        ("http_user_agent", "user_agent:text"),
        ("http_x_forwarded_for", "ip:text x_forwarded_for:text"),
        ("proxy_add_x_forwarded_for", "ip:text x_forwarded_for:text"),
        ("msec", "ts:time"),
        ("time_iso8601", "ts:time"),
        ("time_local", "ts:time"),
        ("remote_addr", "ip:text"),
        ("remote_user", "user:text"),
        ("request_method", "method:word"),
        ("request_time", "response_time_ms:number"),
        ("server_port", "port:number"),
        ("server_protocol", "protocol:word"),
        ("status", "status:number"),
        ("gzip_ratio", "gzip_ratio:float"),
        ("geoip_latitude", "geoip_latitude:float"),
        ("geoip_longitude", "geoip_longitude:float"),
        ("upstream_status", "upstream_status:text upstream_status_last:number"),
    ];
    let lists = [
        ("upstream_bytes_received", "sum"),
        ("upstream_bytes_sent", "sum"),
        ("upstream_response_length", "sum"),
        ("upstream_connect_time", "ms"),
        ("upstream_first_byte_time", "ms"),
        ("upstream_header_time", "ms"),
        ("upstream_queue_time", "ms"),
        ("upstream_response_time", "ms"),
        ("upstream_session_time", "ms"),
    ];
    let table = table.into_iter().map(|(variable, expect)| (variable, expect.to_owned()));
    let lists =
        lists.into_iter().map(|(name, what)| (name, format!("{name}:text {name}_{what}:number")));
    let all = table.chain(lists).chain(own(TEXTS, "text")).chain(own(NUMBERS, "number"));
    for (variable, expect) in all {
        assert_eq!(columns(&format!("${variable}")), expect, "${variable}");
        assert_eq!(columns(&format!("\"${{{variable}}}\"")), expect, "${variable} in quotes");
    }
    let request = "method endpoint path query protocol";
    assert_eq!(names(&custom("$request")), request);
}

/// Request headers lose their `http_`.
fn column(variable: &str) -> &str {
    match variable {
        "http_x" => "x",
        other => other,
    }
}
