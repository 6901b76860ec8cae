//! Indices that somebody closes, blocks, deletes or makes anew while a sink writes them, and other
//! histories that wrote them before.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use contract::sink::{Prepared, ReadBack, Sink, Stage, Writer, WriterContext};
use contract::transform::EpochStart;
use contract::{Lineage, Origin, Result, SplitId, record};
use serde_json::{Value, json};
use testkit::services::{find, unique};

use super::{deliver, lineage, moment, positions, read, rejected, sink, texts, write, writer};
use crate::client::{Client, Method};
use crate::names::RESERVED;
use crate::sink::SearchSink;

const CLUSTERS: [&str; 2] = ["opensearch", "elasticsearch"];

/// An index of its own on each cluster that is there.
fn places() -> Vec<(String, String)> {
    let found = CLUSTERS.iter().filter_map(|name| find(name));
    found.map(|url| (url, unique("altered"))).collect()
}

async fn call(url: &str, method: Method, path: &str, body: Option<Value>) -> Value {
    let config = format!("{{ url: \"{url}\", index: any }}");
    let config = crate::config::Config::read(&testkit::section(&config)).expect("settings");
    let client = Client::new(&config).expect("a client");
    let answer = client.call(method, path, body.as_ref()).await.expect("an answer");
    answer.json(|| format!("{path} failed")).expect("it went well")
}

async fn attempt(sink: &SearchSink, epoch: u64, batch: &RecordBatch) -> Result<Prepared> {
    let mut writer = writer(sink, &batch.schema()).await;
    write(writer.as_mut(), epoch, batch).await;
    writer.prepare(&lineage(), epoch).await
}

#[tokio::test]
async fn a_closed_index_and_a_blocked_one_wait() {
    for (url, index) in places() {
        let sink = sink(&url, &format!("index: {index}"));
        deliver(&sink, 1, &texts(&["a"])).await;
        let block = |on: bool| Some(json!({ "index.blocks.write": on }));
        let full = |on: Value| Some(json!({ "index.blocks.read_only_allow_delete": on }));
        let settings = format!("/{index}/_settings");
        for (path, before, after, word) in [
            (settings.clone(), block(true), block(false), "take the block away"),
            (settings, full(json!(true)), full(Value::Null), "make room on the disks"),
        ] {
            call(&url, Method::Put, &path, before).await;
            let error = attempt(&sink, 2, &texts(&["a", "b"])).await.expect_err("it is blocked");
            let hint = error.hint_text().unwrap_or_default();
            assert!(error.retry() && hint.contains(word), "{error:?} {hint}");
            call(&url, Method::Put, &path, after).await;
        }
        call(&url, Method::Post, &format!("/{index}/_close"), None).await;
        let error = attempt(&sink, 2, &texts(&["a", "b"])).await.expect_err("it is closed");
        let hint = error.hint_text().unwrap_or_default();
        assert!(error.retry() && hint.contains("_open"), "{error:?} {hint}");
        let error = sink.read_back("shop", ReadBack::Origins).await.err().expect("it is closed");
        let hint = error.hint_text().unwrap_or_default();
        assert!(error.to_string().contains("is closed") && hint.contains("_open"), "{error:?}");
        call(&url, Method::Post, &format!("/{index}/_open"), None).await;
        let prepared = deliver(&sink, 2, &texts(&["a", "b"])).await;
        assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0));
        assert_eq!(positions(&sink).await, [0, 1]);
    }
}

#[tokio::test]
async fn an_alias_without_a_write_index_waits() {
    for (url, index) in places() {
        let aliases = Some(json!({ "aliases": { (index.clone()): {} } }));
        for number in 0..2 {
            call(&url, Method::Put, &format!("/{index}-{number}"), aliases.clone()).await;
        }
        let sink = sink(&url, &format!("index: {index}"));
        let error = attempt(&sink, 1, &texts(&["a"])).await.expect_err("nothing says where");
        assert!(error.retry() && error.hint_text().is_some(), "{error:?}");
        let chosen = json!({ "actions": [{ "add": {
            "index": format!("{index}-1"), "alias": index, "is_write_index": true } }] });
        call(&url, Method::Post, "/_aliases", Some(chosen)).await;
        assert_eq!(deliver(&sink, 1, &texts(&["a"])).await.rows, 1);
    }
}

/// Lets a writer find out that the index is another one than in its last epoch, and sends the epoch
/// again as it would be.
async fn prepare_again(writer: &mut dyn Writer, epoch: u64, batch: &RecordBatch) -> Prepared {
    write(writer, epoch, batch).await;
    let error = writer.prepare(&lineage(), epoch).await.expect_err("rows may be in the old one");
    assert!(error.retry() && error.to_string().contains("made anew"), "{}", error.chain());
    writer.abort(&lineage()).await.expect("dropped");
    write(writer, epoch, batch).await;
    writer.prepare(&lineage(), epoch).await.expect("taken")
}

/// No shape is kept: what the index is made of now decides, row by row.
#[tokio::test]
async fn an_index_that_is_made_anew_takes_what_its_new_mapping_takes() {
    for (url, index) in places() {
        let sink = sink(&url, &format!("index: {index}"));
        let batch = texts(&["no date", "2015-05-17"]);
        let mut writer = writer(&sink, &batch.schema()).await;
        write(writer.as_mut(), 1, &batch).await;
        assert!(writer.prepare(&lineage(), 1).await.expect("taken").rejects.is_empty());
        call(&url, Method::Delete, &format!("/{index}"), None).await;
        let strict = json!({ "mappings": { "properties": { "text": {
            "type": "date", "format": "strict_date" } } } });
        call(&url, Method::Put, &format!("/{index}"), Some(strict)).await;
        let prepared = prepare_again(writer.as_mut(), 2, &batch).await;
        assert_eq!((prepared.rows, rejected(&prepared)), (1, vec![0]));
        call(&url, Method::Delete, &format!("/{index}"), None).await;
        assert_eq!(prepare_again(writer.as_mut(), 3, &batch).await.rows, 2, "made by itself");
        assert_eq!(positions(&sink).await, [0, 1]);
    }
}

#[tokio::test]
async fn names_that_check_refuses_are_refused_by_the_clusters() {
    for (url, index) in places() {
        for name in RESERVED {
            let path = format!("/{index}/_doc/1");
            let config = format!("{{ url: \"{url}\", index: any }}");
            let config = crate::config::Config::read(&testkit::section(&config)).expect("settings");
            let client = Client::new(&config).expect("a client");
            let body = json!({ (name): "x" });
            let answer = client.call(Method::Put, &path, Some(&body)).await.expect("an answer");
            assert_eq!(answer.status, 400, "{name} in {url}");
        }
    }
}

fn keyed(keys: &[&str], from: i64, value: &str) -> RecordBatch {
    let values = keys.iter().map(|_| value);
    RecordBatch::try_from_iter([
        ("key", Arc::new(StringArray::from(keys.to_vec())) as ArrayRef),
        ("value", Arc::new(StringArray::from_iter_values(values))),
        (record::POSITION, Arc::new((from..from + keys.len() as i64).collect::<Int64Array>())),
    ])
    .expect("a batch")
}

/// An epoch of a lineage of a history, begun at a moment.
struct Epoch<'a> {
    lineage: &'a str,
    incarnation: u32,
    epoch: u64,
    now_us: i64,
    stage: Stage,
}

/// An epoch whose rows nobody took yet.
fn epoch(lineage: &str, incarnation: u32, epoch: u64, now_us: i64) -> Epoch<'_> {
    Epoch { lineage, incarnation, epoch, now_us, stage: Stage::Undecided }
}

async fn send(sink: &SearchSink, epoch: &Epoch<'_>, split: &str, batch: &RecordBatch) -> Prepared {
    let schema = record::sink_schema(&batch.schema(), true);
    let ctx = WriterContext {
        pipeline: "shop".to_owned(),
        sink: "search".to_owned(),
        incarnation: epoch.incarnation,
        writer_id: "w".to_owned(),
        schema: schema.clone(),
        memory_bytes: 64 << 20,
        client_bytes: 64 << 20,
        threads: 2,
    };
    let mut writer = sink.open(ctx).await.expect("a writer");
    writer.start_epoch(EpochStart { epoch: epoch.epoch, now_us: epoch.now_us }, epoch.stage);
    let split = SplitId::new(split);
    let rows = record::for_sink(batch, &schema, &split, epoch.epoch).expect("rows");
    let lineage = Lineage::new(epoch.lineage);
    writer.write(&lineage, rows).await.expect("written");
    writer.prepare(&lineage, epoch.epoch).await.expect("prepared")
}

async fn value_of(sink: &SearchSink, split: &str, position: i64) -> Option<String> {
    use arrow::array::AsArray;
    let origin = Origin { split: SplitId::new(split), position };
    let batches = read(sink, ReadBack::Record(origin)).await;
    let column = batches.first()?.column_by_name("value")?.clone();
    Some(column.as_string::<i32>().value(0).to_owned())
}

#[tokio::test]
async fn what_is_delivered_later_stays_over_lineages_and_histories() {
    for (url, index) in places() {
        let sink = sink(&url, &format!("index: {index}, id: \"{{key}}\""));
        let main = epoch("main", 1, 57, moment(100));
        send(&sink, &main, "a.log", &keyed(&["x", "y"], 0, "main")).await;
        // Dead letters that are given again, in the first epoch of a lineage of their own.
        let replay = epoch("replay/1", 2, 1, moment(200));
        let prepared = send(&sink, &replay, "a.log", &keyed(&["x"], 7, "replayed")).await;
        assert_eq!((prepared.rows, prepared.rejects.len()), (1, 0));
        assert_eq!(value_of(&sink, "a.log", 7).await.as_deref(), Some("replayed"));
        // The same epoch again changes nothing.
        let again = send(&sink, &replay, "a.log", &keyed(&["x"], 7, "replayed")).await;
        assert_eq!((again.rows, again.rejects.len()), (1, 0));
        // A history begun anew reads everything again.
        let anew = epoch("main", 3, 1, moment(300));
        let prepared = send(&sink, &anew, "a.log", &keyed(&["x", "y"], 0, "anew")).await;
        assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0));
        assert_eq!(value_of(&sink, "a.log", 0).await.as_deref(), Some("anew"));
        // Another lineage has few epochs and later ones.
        let other = epoch("k.t.1", 3, 1, moment(400));
        send(&sink, &other, "t/1", &keyed(&["x"], 4, "other")).await;
        assert_eq!(value_of(&sink, "t/1", 4).await.as_deref(), Some("other"));
        // What it took before the epoch was decided gives way; what it never took is not counted.
        let rows = keyed(&["x"], 0, "anew");
        let decided = Epoch { stage: Stage::Decided, ..anew };
        let again = send(&sink, &decided, "a.log", &rows).await;
        assert_eq!((again.rows, again.rejects.len()), (1, 0));
        let late = send(&sink, &Epoch { stage: Stage::Undecided, ..decided }, "a.log", &rows).await;
        assert_eq!((late.rows, rejected(&late)), (0, vec![0]));
        let reason = &late.rejects[0].reject.reason;
        assert!(reason.contains("of record 4 of split \"t/1\""), "{reason}");
        assert_eq!(value_of(&sink, "t/1", 4).await.as_deref(), Some("other"));
    }
}

/// A file that was rewritten is read anew, its history is gone, and a clock was ahead meanwhile: by
/// years, or by a moment.
#[tokio::test]
async fn what_gives_way_to_another_history_is_told_however_near_their_clocks_are() {
    for ahead_us in [2_500_000_000_000_000, 1] {
        for (url, index) in places() {
            let sink = sink(&url, &format!("index: {index}, id: \"{{key}}\""));
            let ahead = epoch("main", 1, 1, moment(100) + ahead_us);
            send(&sink, &ahead, "a.log", &keyed(&["x", "y"], 0, "old")).await;
            let anew = epoch("main", 2, 1, moment(100));
            let prepared = send(&sink, &anew, "a.log", &keyed(&["x", "y"], 0, "new")).await;
            assert_eq!((prepared.rows, rejected(&prepared)), (0, vec![0, 1]));
            let reason = &prepared.rejects[0].reject.reason;
            assert!(reason.contains("other values"), "{reason}");
            let other = send(&sink, &anew, "a.log", &keyed(&["x"], 5, "new")).await;
            assert_eq!((other.rows, rejected(&other)), (0, vec![5]));
            let same = send(&sink, &anew, "a.log", &keyed(&["x", "y"], 0, "old")).await;
            assert_eq!((same.rows, same.rejects.len()), (2, 0), "it is the very row");
        }
    }
}

#[tokio::test]
async fn a_document_of_somebody_else_is_told_and_not_counted() {
    for (url, index) in places() {
        let path = format!("/{index}/_doc/x?version={}&version_type=external", i64::MAX - 1);
        call(&url, Method::Put, &path, Some(json!({ "mine": true }))).await;
        let sink = sink(&url, &format!("index: {index}, id: \"{{key}}\""));
        let prepared = deliver(&sink, 1, &keyed(&["x", "y"], 0, "ours")).await;
        assert_eq!((prepared.rows, rejected(&prepared)), (1, vec![0]));
        let reason = &prepared.rejects[0].reject.reason;
        assert!(reason.contains("did not write"), "{reason}");
    }
}

/// Documents of the index, by their `_id`.
async fn standing(url: &str, index: &str) -> Vec<Value> {
    call(url, Method::Post, &format!("/{index}/_refresh"), None).await;
    let found = call(url, Method::Get, &format!("/{index}/_search?version=true"), None).await;
    found["hits"]["hits"].as_array().expect("documents").clone()
}

#[tokio::test]
async fn under_our_own_names_only_the_very_row_is_counted() {
    for (url, index) in places() {
        let sink = sink(&url, &format!("index: {index}"));
        deliver(&sink, 1, &texts(&["a", "b"])).await;
        for document in standing(&url, &index).await {
            let id = document["_id"].as_str().expect("its name");
            let mut body = document["_source"].clone();
            body["seen"] = json!("by somebody else");
            if body["text"] == "a" {
                body["text"] = json!("overwritten");
            }
            let version = i64::MAX - 1;
            let path = format!("/{index}/_doc/{id}?version={version}&version_type=external");
            call(&url, Method::Put, &path, Some(body)).await;
        }
        let prepared = deliver(&sink, 2, &texts(&["a", "b", "c"])).await;
        assert_eq!((prepared.rows, rejected(&prepared)), (2, vec![0]));
        let reason = &prepared.rejects[0].reject.reason;
        assert!(reason.contains("other values"), "{reason}");
    }
}

#[tokio::test]
async fn what_is_removed_is_missing_and_never_written_again() {
    for (url, index) in places() {
        let sink = sink(&url, &format!("index: {index}"));
        deliver(&sink, 1, &texts(&["a", "b"])).await;
        for document in standing(&url, &index).await {
            let id = document["_id"].as_str().expect("its name");
            call(&url, Method::Delete, &format!("/{index}/_doc/{id}"), None).await;
        }
        let later = texts(&["a", "b", "c"]).slice(2, 1);
        assert_eq!(deliver(&sink, 2, &later).await.rows, 1);
        assert_eq!(positions(&sink).await, [2]);
    }
}
