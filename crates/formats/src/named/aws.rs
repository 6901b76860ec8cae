//! Access logs of Amazon Web Services: both load balancers, and the storage.
//!
//! Sources: "Access logs for your Classic Load Balancer"
//! (docs.aws.amazon.com/elasticloadbalancing/latest/classic/access-log-collection.html), "Access
//! logs for your Application Load Balancer" (docs.aws.amazon.com/elasticloadbalancing/latest/
//! application/load-balancer-access-logs.html) and "Amazon S3 server access log format"
//! (docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html). Fields are added at the end;
//! what nobody knows yet stands in the column `more`. Of the load balancers, `-`, times of -1 and a
//! status of 0 are nothing, and only a request that reached a target has one.

use super::fields::Take::{
    Address, ClfTime, Integer, Quoted, Request, Seconds, Status, Text, Time, UrlRequest, Word,
};
use super::fields::{Table, Take};

/// What the load balancers share, behind the time and the name.
const BALANCED: [Take; 10] = [
    Address("ip", "client_port"),
    Address("target_ip", "target_port"),
    Seconds("request_processing_time"),
    Seconds("target_processing_time"),
    Seconds("response_processing_time"),
    Status("status"),
    Status("target_status"),
    Integer("bytes_received"),
    Integer("bytes"),
    UrlRequest,
];

/// The Classic Load Balancer; lines of before 2015 end with the request.
pub fn elb() -> Table {
    let mut fields = vec![Time("ts"), Text("elb")];
    fields.extend(BALANCED);
    let required = fields.len();
    fields.extend([Quoted("user_agent"), Word("ssl_cipher"), Word("ssl_protocol")]);
    Table::new(&fields, required)
}

/// The Application Load Balancer.
pub fn alb() -> Table {
    let mut fields = vec![Word("type"), Time("ts"), Text("elb")];
    fields.extend(BALANCED);
    fields.extend([
        Quoted("user_agent"),
        Word("ssl_cipher"),
        Word("ssl_protocol"),
        Text("target_group_arn"),
        Quoted("trace_id"),
    ]);
    let required = fields.len();
    fields.extend([
        Quoted("domain_name"),
        Quoted("chosen_cert_arn"),
        Integer("matched_rule_priority"),
        Time("request_creation_time"),
        Quoted("actions_executed"),
        Quoted("redirect_url"),
        Quoted("error_reason"),
        Quoted("target_port_list"),
        Quoted("target_status_code_list"),
        Quoted("classification"),
        Quoted("classification_reason"),
        Text("conn_trace_id"),
        Quoted("transformed_host"),
        Quoted("transformed_uri"),
        Quoted("request_transform_status"),
    ]);
    Table::new(&fields, required)
}

/// The storage; lines of before 2019 end with the version of the object.
pub fn s3_access() -> Table {
    let fields = [
        Text("bucket_owner"),
        Text("bucket"),
        ClfTime,
        Text("ip"),
        Text("user"),
        Text("request_id"),
        Word("operation"),
        Text("key"),
        Request,
        Status("status"),
        Word("error_code"),
        Integer("bytes"),
        Integer("object_size"),
        Integer("response_time_ms"),
        Integer("turn_around_time_ms"),
        Quoted("referrer"),
        Quoted("user_agent"),
        Text("version_id"),
        Text("host_id"),
        Word("signature_version"),
        Word("ssl_cipher"),
        Word("authentication_type"),
        Text("vhost"),
        Word("ssl_protocol"),
        Text("access_point_arn"),
        Word("acl_required"),
    ];
    Table::new(&fields, 18)
}
