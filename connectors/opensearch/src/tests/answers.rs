//! Answers that are not what was asked for: lost, short, or about the destination.

use contract::sink::{ReadBack, Sink};
use futures::TryStreamExt;

use super::busy::Cluster;
use super::{deliver, lineage, rejected, sink, texts, write, writer};

/// Sends two rows to a cluster that answers first as it is told, then well.
async fn check(first: (u16, &str), sent: &[usize]) {
    let cluster = Cluster::start(&[first]).await;
    let prepared = deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b"])).await;
    assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0), "{first:?}");
    assert_eq!(cluster.documents(), sent, "{first:?}");
}

#[tokio::test]
async fn rows_that_no_item_answers_are_sent_again() {
    for answer in [
        "",
        "{}",
        "[]",
        "no JSON",
        r#"{"errors":false}"#,
        r#"{"errors":false,"items":[]}"#,
        r#"{"errors":false,"items":[{"index":{"_id":"x","status":201}}]}"#,
        r#"{"items":[{"index":{"_id":"x","status":201}},{"index":{"_id":"y","status":201}}]}"#,
        r#"{"items":[{"index":{"status":201}},{"index":{"status":201}}]}"#,
        r#"{"items":[{"delete":{"_id":"x","status":200}},{"delete":{"_id":"y","status":200}}]}"#,
        "@409:snapshot_in_progress_exception 409:snapshot_in_progress_exception",
    ] {
        check((200, answer), &[2, 2]).await;
    }
}

#[tokio::test]
async fn rows_that_are_never_answered_are_never_booked() {
    let cluster = Cluster::start(&[(200, r#"{"errors":false,"items":[]}"#); 50]).await;
    let batch = texts(&["a", "b"]);
    let sink = sink(&cluster.url, "index: logs");
    let mut writer = writer(&sink, &batch.schema()).await;
    write(writer.as_mut(), 1, &batch).await;
    let error = writer.prepare(&lineage(), 1).await.expect_err("nothing says that they stand");
    assert!(error.retry(), "{error:?}");
    assert!(error.to_string().contains("the cluster answered 0 of 2 rows"), "{error}");
}

#[tokio::test]
async fn a_bulk_whose_answer_is_lost_is_sent_again() {
    check((0, ""), &[2, 2]).await;
    let cluster = Cluster::start(&[(0, ""); 50]).await;
    let batch = texts(&["a"]);
    let sink = sink(&cluster.url, "index: logs");
    let mut writer = writer(&sink, &batch.schema()).await;
    write(writer.as_mut(), 1, &batch).await;
    let error = writer.prepare(&lineage(), 1).await.expect_err("it never answers");
    assert!(error.retry(), "{error:?}");
    assert_eq!(cluster.documents().len(), 3);
}

#[tokio::test]
async fn a_cluster_that_never_answers_is_left_after_the_timeout() {
    // Connections come about, and nobody takes them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let sink = sink(&url, "index: logs, timeout: 300ms");
    let asked = async { sink.read_back("shop", ReadBack::Origins).await?.try_next().await };
    let limit = std::time::Duration::from_secs(30);
    let answer = tokio::time::timeout(limit, asked).await.expect("it is left");
    assert!(answer.expect_err("it never answers").retry());
}

#[tokio::test]
async fn what_is_about_the_destination_waits() {
    for about in [
        "400:index_closed_exception",
        "403:cluster_block_exception",
        "429:cluster_block_exception",
        "404:index_not_found_exception",
        "400:validation_exception",
        "403:index_create_block_exception",
        "503:unavailable_shards_exception",
    ] {
        check((200, &format!("@{about}")), &[2, 1]).await;
    }
    check((403, r#"{"error":{"type":"cluster_block_exception"}}"#), &[2, 2]).await;
}

#[tokio::test]
async fn what_is_about_the_row_is_a_letter() {
    for about in [
        "400:mapper_parsing_exception",
        "400:strict_dynamic_mapping_exception",
        "400:illegal_argument_exception",
        "413:content_too_long_exception",
    ] {
        let cluster = Cluster::start(&[(200, &format!("@{about}"))]).await;
        let prepared = deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b"])).await;
        assert_eq!((prepared.rows, rejected(&prepared)), (1, vec![0]), "{about}");
    }
}

#[tokio::test]
async fn a_conflict_counts_only_where_the_document_may_stand_there() {
    let conflict = "@409:version_conflict_engine_exception";
    let version = crate::version::of(&lineage(), super::moment(9));
    let origin = r#"{"_split":"b.log","_position":5,"_epoch":3}"#;
    let row = r#""_split":"a.log","_position":0,"_epoch":3,"text":"a""#;
    for (document, said) in [
        // The record itself, a row of a later epoch, a document of somebody else.
        (&*format!(r#"{{"found":true,"_version":5,"_source":{{{row}}}}}"#), None),
        (
            &format!(r#"{{"found":true,"_version":{version},"_source":{origin}}}"#),
            Some("of record 5 of split \"b.log\""),
        ),
        (
            &format!(r#"{{"found":true,"_version":{version},"_source":{{}}}}"#),
            Some("did not write"),
        ),
    ] {
        let standing = format!("{{\"docs\":[{document}]}}");
        let cluster = Cluster::start(&[(200, conflict), (200, &standing)]).await;
        let sink = sink(&cluster.url, "index: logs, id: \"{text}\"");
        let prepared = deliver(&sink, 1, &texts(&["a", "b"])).await;
        assert_eq!(prepared.rejects.len(), usize::from(said.is_some()), "{document}");
        assert_eq!(prepared.rows + prepared.rejects.len() as u64, 2);
        if let Some((row, said)) = prepared.rejects.first().zip(said) {
            assert!(row.reject.reason.contains(said), "{}", row.reject.reason);
        }
    }
    // One that is gone by then makes room.
    let gone = (200, r#"{"docs":[{"found":false}]}"#);
    let cluster = Cluster::start(&[(200, conflict), gone]).await;
    let sink = sink(&cluster.url, "index: logs, id: \"{text}\"");
    let prepared = deliver(&sink, 1, &texts(&["a", "b"])).await;
    assert_eq!((prepared.rows, cluster.documents().len()), (2, 3));
}

/// An `_id` made of the origin proves nothing: only a document that holds the row does.
#[tokio::test]
async fn a_conflict_under_our_own_name_counts_only_where_the_row_stands_there() {
    let conflict = "@409:version_conflict_engine_exception";
    let row = r#""_split":"a.log","_position":0,"text":"a""#;
    for (source, rejects) in [
        (format!(r#"{{{row},"_epoch":9}}"#), 0),
        (format!(r#"{{{row},"_epoch":9,"added":"by a pipeline"}}"#), 0),
        (r#"{"_split":"a.log","_position":0,"_epoch":1,"text":"other"}"#.to_owned(), 1),
        (r#"{"_split":"a.log","_position":3,"_epoch":1,"text":"a"}"#.to_owned(), 1),
        (r#"{"text":"a"}"#.to_owned(), 1),
        ("null".to_owned(), 1),
    ] {
        let standing = format!(r#"{{"docs":[{{"found":true,"_version":7,"_source":{source}}}]}}"#);
        let cluster = Cluster::start(&[(200, conflict), (200, &standing)]).await;
        let prepared = deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b"])).await;
        assert_eq!(prepared.rejects.len(), rejects, "{source}");
        assert_eq!(prepared.rows + prepared.rejects.len() as u64, 2);
        if let Some(row) = prepared.rejects.first() {
            assert!(row.reject.reason.contains("other values"), "{}", row.reject.reason);
        }
    }
    let gone = (200, r#"{"docs":[{"found":false}]}"#);
    let cluster = Cluster::start(&[(200, conflict), gone]).await;
    let prepared = deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b"])).await;
    assert_eq!((prepared.rows, cluster.documents().len()), (2, 3));
}

#[tokio::test]
async fn success_counts_only_where_a_document_was_written() {
    let cluster = Cluster::start(&[(200, "@noop")]).await;
    let prepared = deliver(&sink(&cluster.url, "index: logs"), 1, &texts(&["a", "b"])).await;
    assert_eq!((prepared.rows, rejected(&prepared)), (1, vec![0]));
    let reason = &prepared.rejects[0].reject.reason;
    assert!(reason.contains("ingest pipeline"), "{reason}");
}
