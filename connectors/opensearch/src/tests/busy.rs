//! A cluster that answers as it is told, so that what real ones rarely say can be tried.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{deliver, lineage, rejected, sink, texts, write, writer};

/// Answers each request with the next line of a script, and keeps heads and bodies.
pub struct Cluster {
    /// Where it is.
    pub url: String,
    requests: Requests,
}

type Requests = Arc<Mutex<Vec<(String, String)>>>;

impl Cluster {
    /// A cluster with a script of (status, body); behind its end all goes well. A body that begins
    /// with `@` lists what is said of each document: a status, a status and a type of error, `noop`.
    /// Status 0 ends the connection.
    pub async fn start(script: &[(u16, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script: Vec<_> =
            script.iter().map(|(code, body)| (*code, (*body).to_owned())).collect();
        let script = Arc::new(Mutex::new(script.into_iter()));
        let requests = Requests::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), kept.clone()));
            }
        });
        Self { url, requests }
    }

    /// How many documents each request had.
    pub fn documents(&self) -> Vec<usize> {
        let requests = self.requests.lock().expect("no test fails with it");
        requests.iter().map(|(_, body)| body.lines().count() / 2).collect()
    }

    /// The head and the body of the last request.
    pub fn last(&self) -> (String, String) {
        let requests = self.requests.lock().expect("no test fails with it");
        requests.last().expect("a request").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<std::vec::IntoIter<(u16, String)>>>,
    requests: Requests,
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
        let text = String::from_utf8_lossy(&seen[..head]).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while seen.len() < head + length {
            if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8_lossy(&seen[head..head + length]).into_owned();
        let asked = body.clone();
        if text.starts_with("GET ") {
            // It does not tell which indices it has.
            let untold = b"HTTP/1.1 403 x\r\ncontent-length: 2\r\n\r\n{}";
            seen.drain(..head + length);
            if stream.write_all(untold).await.is_err() {
                return;
            }
            continue;
        }
        requests.lock().expect("no test fails with it").push((text, body));
        seen.drain(..head + length);
        let next = script.lock().expect("no test fails with it").next();
        let (code, body) = next.unwrap_or((200, "@".to_owned()));
        if code == 0 {
            return;
        }
        let body = match body.strip_prefix('@') {
            Some(said) => items(&asked, said),
            None => body,
        };
        let answer = format!(
            "HTTP/1.1 {code} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// An item for each document of a bulk; success for those of which nothing is said.
fn items(asked: &str, said: &str) -> String {
    let ids = asked.lines().step_by(2).map(|action| {
        let action: Value = serde_json::from_str(action).expect("an action");
        action["index"]["_id"].as_str().expect("an _id").to_owned()
    });
    let mut said = said.split_whitespace();
    let items = ids.map(|id| {
        let word = said.next().unwrap_or("201");
        let (status, error) = match word.split_once(':') {
            Some((status, kind)) => (status, json!({ "type": kind, "reason": "so" })),
            None => (word, Value::Null),
        };
        let (status, result) = match status {
            "noop" => (200, "noop".to_owned()),
            status => (status.parse::<u16>().expect("a status"), "created".to_owned()),
        };
        let mut item = json!({ "_index": "logs", "_id": id, "status": status, "error": error });
        if status < 300 {
            item["result"] = json!(result);
        }
        json!({ "index": item })
    });
    json!({ "items": items.collect::<Vec<_>>() }).to_string()
}

#[tokio::test]
async fn what_a_busy_cluster_does_not_take_is_sent_again_and_nothing_else() {
    let busy = "429:es_rejected_execution_exception";
    let some = format!("@201 {busy} 400:mapper_parsing_exception {busy}");
    let cluster = Cluster::start(&[(429, ""), (503, ""), (200, &some)]).await;
    let prepared =
        deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b", "c", "d"])).await;
    assert_eq!((prepared.rows, rejected(&prepared)), (3, vec![2]));
    assert_eq!(cluster.documents(), [4, 4, 4, 2]);
    let (_, last) = cluster.last();
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
    let sink = sink(&cluster.url, "index: logs, bulk_bytes_max: 1KiB");
    let rows: Vec<_> = (0..40).map(|_| "some text").collect();
    let prepared = deliver(&sink, 3, &texts(&rows)).await;
    assert_eq!(prepared.rows, 40);
    let documents = cluster.documents();
    assert!(documents.len() > 5, "{documents:?}");
    assert_eq!(documents.iter().sum::<usize>(), 40);
    let (_, last) = cluster.last();
    let version = crate::version::of(&lineage(), super::moment(3));
    let expect = format!("\"version\":{version},\"version_type\":\"external_gte\"");
    assert!(last.contains(&expect), "{last}");
}

#[tokio::test]
async fn users_and_keys_log_in_and_errors_do_not_show_them() {
    let logged_in = async |settings: &str, header: &str| {
        let cluster = Cluster::start(&[(200, "@"), (400, "no")]).await;
        let url = cluster.url.replace("http://", "http://ann:hidden@");
        let url = if settings.is_empty() { &url } else { &cluster.url };
        let sink = sink(url, &format!("index: logs {settings}"));
        deliver(&sink, 1, &texts(&["a"])).await;
        let (head, _) = cluster.last();
        assert!(head.contains(&format!("authorization: {header}\r\n")), "{head}");
        let batch = texts(&["a"]);
        let mut writer = writer(&sink, &batch.schema()).await;
        write(writer.as_mut(), 2, &batch).await;
        let error = writer.prepare(&lineage(), 2).await.expect_err("it is refused").chain();
        assert!(!error.contains("hidden"), "{error}");
    };
    logged_in(", username: ann, password: hidden", "Basic YW5uOmhpZGRlbg==").await;
    logged_in(", api_key: \"id:hidden\"", "ApiKey aWQ6aGlkZGVu").await;
    logged_in(", api_key: aWQ6aGlkZGVu", "ApiKey aWQ6aGlkZGVu").await;
    logged_in("", "Basic YW5uOmhpZGRlbg==").await;
}
