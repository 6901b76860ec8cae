//! Uploads that killed processes left in S3, on a server that lists them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use chrono::{TimeDelta, Utc};
use contract::spec::BuildContext;

use crate::config::Config;
use crate::key::KeyTemplate;
use crate::place;

/// Answers every request with a list of uploads, or with nothing; keeps what was asked.
fn serve(list: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.expect("a client"));
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line).expect("a request");
            let request = line.trim().to_owned();
            loop {
                line.clear();
                reader.read_line(&mut line).expect("a header");
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let answer = if request.starts_with("GET") { list.as_str() } else { "" };
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", answer.len());
            kept.lock().expect("not poisoned").push(request);
            let mut stream = reader.into_inner();
            write!(stream, "{head}\r\n\r\n{answer}").expect("a client that listens");
        }
    });
    (address, asked)
}

fn upload(key: &str, id: &str, days: i64) -> String {
    let begun = (Utc::now() - TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%S.000Z");
    format!(
        "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>x</ID></Initiator>\
         <StorageClass>STANDARD</StorageClass><Initiated>{begun}</Initiated></Upload>"
    )
}

#[tokio::test]
async fn old_uploads_of_the_sink_are_removed_and_no_others() {
    let ours = "a/shop/archive/0123456789abcdef-7-3.jsonl";
    let uploads = [
        upload(ours, "old", 8),
        upload(ours, "young", 6),
        upload("a/shop/archive/report.jsonl", "somebody-elses", 30),
    ];
    let list = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListMultipartUploadsResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>logs</Bucket>\
         <IsTruncated>false</IsTruncated>{}</ListMultipartUploadsResult>",
        uploads.concat()
    );
    let (address, asked) = serve(list);
    let settings = format!(
        "{{ url: s3://logs/a, endpoint: \"{address}\", allow_http: true, access_key: k, \
         secret_key: s }}"
    );
    let config = Config::read(&testkit::section(&settings)).expect("settings");
    let ctx = BuildContext::new("shop", "archive", std::path::Path::new("data"));
    let key = KeyTemplate::parse(&config.key(), &ctx.pipeline, &ctx.name).expect("a template");
    let place = place::open(&config).expect("a store");
    assert_eq!(place::left::remove(&place, &key).await.expect("removed"), 1);
    let asked = asked.lock().expect("not poisoned");
    assert!(asked[0].starts_with("GET /logs/?uploads=&prefix=a%2Fshop%2Farchive "), "{asked:?}");
    assert_eq!(asked.len(), 2, "{asked:?}");
    let dropped = format!("DELETE /logs/{ours}?uploadId=old ");
    assert!(asked[1].starts_with(&dropped), "{asked:?}");
}
