//! A cluster that answers as it is told, so that what real ones rarely say can be tried.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{deliver, lineage, rejected, sink, texts, write, writer};

/// Answers each request with the next line of a script, and keeps the bodies.
struct Cluster {
    url: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Cluster {
    /// A cluster with a script of (status, body); behind its end all goes well.
    async fn start(script: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script: Vec<_> =
            script.iter().map(|(code, body)| (*code, (*body).to_owned())).collect();
        let script = Arc::new(Mutex::new(script.into_iter()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), kept.clone()));
            }
        });
        Self { url, bodies }
    }

    /// How many documents each request had.
    fn documents(&self) -> Vec<usize> {
        let bodies = self.bodies.lock().expect("no test fails with it");
        bodies.iter().map(|body| body.lines().count() / 2).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<std::vec::IntoIter<(u16, String)>>>,
    bodies: Arc<Mutex<Vec<String>>>,
) {
    let mut seen = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&seen[..head]).to_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while seen.len() < head + length {
            if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8_lossy(&seen[head..head + length]).into_owned();
        bodies.lock().expect("no test fails with it").push(body);
        seen.drain(..head + length);
        let next = script.lock().expect("no test fails with it").next();
        let (code, body) = next.unwrap_or((200, "{\"errors\":false}".to_owned()));
        let answer = format!(
            "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const TOO_BUSY: &str =
    r#"{"index":{"status":429,"error":{"type":"es_rejected_execution_exception"}}}"#;
const DONE: &str = r#"{"index":{"status":201}}"#;
const REFUSED: &str = r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception"}}}"#;

#[tokio::test]
async fn what_a_busy_cluster_does_not_take_is_sent_again_and_nothing_else() {
    let some = format!("{{\"errors\":true,\"items\":[{DONE},{TOO_BUSY},{REFUSED},{TOO_BUSY}]}}");
    let cluster = Cluster::start(&[(429, ""), (503, ""), (200, &some)]).await;
    let prepared =
        deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b", "c", "d"])).await;
    assert_eq!((prepared.rows, rejected(&prepared)), (3, vec![2]));
    assert_eq!(cluster.documents(), [4, 4, 4, 2]);
    let last = cluster.bodies.lock().expect("no test fails with it").pop().expect("a request");
    assert!(last.contains("\"text\":\"b\"") && last.contains("\"text\":\"d\""), "{last}");
}

#[tokio::test]
async fn a_cluster_that_stays_busy_makes_the_runtime_back_off() {
    let cluster = Cluster::start(&[(429, ""); 50]).await;
    let batch = texts(&["a"]);
    let sink = sink(&cluster.url, "index: logs");
    let mut writer = writer(&sink, &batch.schema()).await;
    write(writer.as_mut(), 1, &batch).await;
    let error = writer.prepare(&lineage(), 1).await.expect_err("it is busy");
    assert!(error.retry(), "{error:?}");
    assert!(error.to_string().contains("did not take 1 rows in 8 attempts"), "{error}");
    assert_eq!(cluster.documents().len(), 8);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_divided_down_to_one_document() {
    // Four are too many, then two, then the first alone; the others are taken.
    let cluster = Cluster::start(&[(413, ""), (413, ""), (413, "")]).await;
    let prepared =
        deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b", "c", "d"])).await;
    assert_eq!((prepared.rows, rejected(&prepared)), (3, vec![0]));
    assert_eq!(cluster.documents(), [4, 2, 1, 1, 2]);
}

#[tokio::test]
async fn a_refused_login_stops_and_rejects_nothing() {
    let cluster = Cluster::start(&[(401, "{}")]).await;
    let batch = texts(&["a"]);
    let sink = sink(&cluster.url, "index: logs");
    let mut writer = writer(&sink, &batch.schema()).await;
    write(writer.as_mut(), 1, &batch).await;
    let error = writer.prepare(&lineage(), 1).await.expect_err("it is refused");
    assert!(!error.retry() && error.hint_text().is_some(), "{error:?}");
}

#[tokio::test]
async fn a_full_bulk_is_sent_before_the_barrier() {
    let cluster = Cluster::start(&[]).await;
    let sink = sink(&cluster.url, "index: logs, bulk_bytes_max: 1KiB, api_key: \"id:key\"");
    let rows: Vec<_> = (0..40).map(|_| "some text").collect();
    let prepared = deliver(&sink, 3, &texts(&rows)).await;
    assert_eq!(prepared.rows, 40);
    let documents = cluster.documents();
    assert!(documents.len() > 5, "{documents:?}");
    assert_eq!(documents.iter().sum::<usize>(), 40);
    let bodies = cluster.bodies.lock().expect("no test fails with it");
    assert!(bodies[0].contains("\"version\":3,\"version_type\":\"external_gte\""), "{}", bodies[0]);
}
