//! On OpenSearch and Elasticsearch alike.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use contract::sink::ReadBack;
use contract::{Origin, SplitId, record};
use testkit::services::{find, unique};

use super::{deliver, positions, read, rejected, sink, texts};

const CLUSTERS: [&str; 2] = ["opensearch", "elasticsearch"];
const YEAR_0: i64 = -62_167_219_200_000_000;
const YEAR_9999: i64 = 253_402_300_799_000_000;

fn clusters() -> Vec<(String, String)> {
    let found = CLUSTERS.iter().filter_map(|name| find(name));
    found.map(|url| (url, unique("clusters"))).collect()
}

#[tokio::test]
async fn a_row_that_the_mapping_refuses_is_rejected_and_the_others_arrive() {
    for (url, index) in clusters() {
        let template =
            "template: { mappings: { dynamic: strict, properties: { text: { type: date } } } }";
        let sink = sink(&url, &format!("index: {index}, {template}"));
        let batch = texts(&["2015-05-17", "no date", "2015-05-18"]);
        for _ in 0..2 {
            let prepared = deliver(&sink, 1, &batch).await;
            assert_eq!(prepared.rows, 2);
            assert_eq!(rejected(&prepared), [1]);
            let reason = &prepared.rejects[0].reject.reason;
            assert!(reason.contains("parse"), "{reason}");
            assert_eq!(positions(&sink).await, [0, 2]);
        }
    }
}

#[tokio::test]
async fn hostile_values_arrive_intact_or_are_rejected() {
    let long = "x".repeat(1 << 20);
    let values =
        ["", "\"quoted\", 'twice'", "two\nlines\r\n", "a\0b", "../../_all", &long, "é漢\u{10ffff}"];
    let times = [YEAR_0, YEAR_9999, 0, -1, i64::MAX, 1, 2];
    let numbers = [0.1, -0.0, f64::NAN, f64::MAX, 1.0, f64::MIN_POSITIVE, 1e300];
    let batch = RecordBatch::try_from_iter([
        ("text", Arc::new(StringArray::from(values.to_vec())) as ArrayRef),
        ("ts", Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"))),
        ("number", Arc::new(Float64Array::from(numbers.to_vec()))),
        (record::POSITION, Arc::new((0..7).collect::<Int64Array>())),
    ])
    .expect("a batch");
    for (url, index) in clusters() {
        let template = "template: { mappings: { properties: { text: { type: text, index: false }, number: { type: double } } } }";
        let sink = sink(&url, &format!("index: \"{index}-{{text}}-{{ts:%Y}}\", {template}"));
        let prepared = deliver(&sink, 1, &batch).await;
        // NaN has no JSON, and no calendar reaches the time at position 4.
        assert_eq!(rejected(&prepared), [2, 4], "{:?}", prepared.rejects);
        assert_eq!(positions(&sink).await, [0, 1, 3, 5, 6]);
        for (position, value) in values.iter().enumerate().filter(|(at, _)| ![2, 4].contains(at)) {
            let origin = Origin { split: SplitId::new("a.log"), position: position as i64 };
            let found = read(&sink, ReadBack::Record(origin)).await;
            let column = found[0].column_by_name("text").expect("its column").clone();
            let text = column.as_string::<i32>().value(0);
            assert!(text == *value, "row {position}");
        }
    }
}

#[tokio::test]
async fn each_day_has_an_index() {
    let day = 86_400_000_000_i64;
    let times = (0..30).map(|row| Some(row / 10 * day)).chain([None]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "ts",
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC")) as ArrayRef,
            true,
        ),
        (record::POSITION, Arc::new((0..31).collect::<Int64Array>()), false),
    ])
    .expect("a batch");
    for (url, index) in clusters() {
        let sink = sink(&url, &format!("index: \"{index}-{{ts:%Y.%m.%d}}\""));
        let prepared = deliver(&sink, 1, &batch).await;
        assert_eq!((prepared.rows, rejected(&prepared)), (30, vec![30]));
        assert_eq!(positions(&sink).await, (0..30).collect::<Vec<_>>());
        let one_day = super::sink(&url, &format!("index: {index}-1970.01.02"));
        assert_eq!(positions(&one_day).await, (10..20).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn of_rows_with_one_id_the_last_remains_and_older_epochs_give_way() {
    let batch = |keys: &[&str], from: i64| {
        let values = keys.iter().enumerate().map(|(at, _)| format!("value {}", from + at as i64));
        let positions = (from..from + keys.len() as i64).collect::<Int64Array>();
        RecordBatch::try_from_iter([
            ("key", Arc::new(StringArray::from(keys.to_vec())) as ArrayRef),
            ("value", Arc::new(StringArray::from_iter_values(values))),
            (record::POSITION, Arc::new(positions)),
        ])
        .expect("a batch")
    };
    for (url, index) in clusters() {
        let sink = sink(&url, &format!("index: {index}, id: \"{{key}}\""));
        let first = deliver(&sink, 1, &batch(&["a", "b", "a"], 0)).await;
        assert_eq!((first.rows, first.rejects.len()), (3, 0));
        let second = deliver(&sink, 2, &batch(&["b", ""], 3)).await;
        assert_eq!((second.rows, rejected(&second)), (1, vec![4]));
        // A process that was replaced sends its old epoch once more, and does not know that the
        // first of it was taken.
        let late = deliver(&sink, 1, &batch(&["a", "b", "a"], 0)).await;
        assert_eq!((late.rows, rejected(&late)), (2, vec![1]));
        assert_eq!(positions(&sink).await, [2, 3]);
    }
}

#[tokio::test]
async fn the_row_before_a_refused_one_remains_under_their_id() {
    let values = ["2015-05-17", "2015-05-18", "no date", "none either"];
    let batch = RecordBatch::try_from_iter([
        ("key", Arc::new(StringArray::from(vec!["x"; values.len()])) as ArrayRef),
        ("text", Arc::new(StringArray::from(values.to_vec()))),
        (record::POSITION, Arc::new((0..values.len() as i64).collect::<Int64Array>())),
    ])
    .expect("a batch");
    for (url, index) in clusters() {
        let template = "template: { mappings: { properties: { text: { type: date } } } }";
        let sink = sink(&url, &format!("index: {index}, id: \"{{key}}\", {template}"));
        for _ in 0..2 {
            let prepared = deliver(&sink, 1, &batch).await;
            assert_eq!((prepared.rows, rejected(&prepared)), (2, vec![2, 3]));
            assert_eq!(positions(&sink).await, [1]);
        }
    }
}

#[tokio::test]
async fn documents_of_others_in_the_same_index_are_not_ours() {
    for (url, index) in clusters() {
        let ours = sink(&url, &format!("index: {index}"));
        deliver(&ours, 1, &texts(&["a", "b"])).await;
        let config = crate::config::Config::read(&testkit::section(&format!(
            "{{ url: \"{url}\", index: {index} }}"
        )));
        let ctx = contract::spec::BuildContext::new("shop", "other", &std::env::temp_dir());
        let other = crate::sink::SearchSink::new(config.expect("settings"), &ctx).expect("a sink");
        deliver(&other, 1, &texts(&["c", "d", "e"])).await;
        assert_eq!(positions(&ours).await, [0, 1]);
        assert_eq!(positions(&other).await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn nothing_is_found_where_nothing_was_written() {
    for (url, index) in clusters() {
        assert!(positions(&sink(&url, &format!("index: {index}"))).await.is_empty());
        let dated = sink(&url, &format!("index: \"{index}-{{ts:%Y}}\""));
        assert!(positions(&dated).await.is_empty());
    }
}

#[tokio::test]
async fn a_template_that_the_cluster_refuses_is_a_mistake_in_the_file() {
    for (url, index) in clusters() {
        let template = "template: { mappings: { properties: { a: { type: nonsense } } } }";
        let sink = sink(&url, &format!("index: {index}, {template}"));
        let ctx = contract::sink::WriterContext {
            pipeline: "shop".to_owned(),
            sink: "search".to_owned(),
            incarnation: 7,
            writer_id: "w".to_owned(),
            schema: texts(&[]).schema(),
            memory_bytes: 1 << 20,
            client_bytes: 1 << 20,
            threads: 1,
        };
        let opened = contract::sink::Sink::open(&sink, ctx).await;
        let error = opened.err().expect("the template is wrong");
        assert_eq!(error.kind(), contract::ErrorKind::Config);
        assert_eq!(error.field_name(), Some("template"));
        assert!(error.chain().contains("nonsense"), "{}", error.chain());
    }
}

/// What drops a document whose text is `b`.
const DROP: [&str; 2] =
    [r#"{"drop":{"if":"ctx.text == 'b'"}}"#, r#"{"drop_value":{"field":"text","value":"b"}}"#];

/// An ingest pipeline that drops documents makes the cluster answer with success all the same.
#[tokio::test]
async fn a_row_that_an_ingest_pipeline_drops_is_a_letter_and_the_others_arrive() {
    for (url, index) in clusters() {
        // Elasticsearch as the tests install it has a processor of its own that drops.
        let made = DROP.iter().find(|processor| {
            let path = format!("/_ingest/pipeline/{index}");
            let body = format!(r#"{{"processors":[{processor}]}}"#);
            match testkit::http::send("PUT", &url, &path, &body) {
                Err(said) if said.contains("No processor type exists") => false,
                made => made.map(|_| true).expect("it is made"),
            }
        });
        // One that was installed before it had that one drops nothing.
        if made.is_none() {
            continue;
        }
        let settings = format!(r#"{{"settings":{{"index.default_pipeline":"{index}"}}}}"#);
        testkit::http::send("PUT", &url, &format!("/{index}"), &settings).expect("it is made");
        let sink = sink(&url, &format!("index: {index}"));
        let batch = texts(&["a", "b", "c"]);
        // What is sent again, of the same version or a later one, is taken for what it is.
        for epoch in [1, 1, 2] {
            let prepared = deliver(&sink, epoch, &batch).await;
            assert_eq!((prepared.rows, rejected(&prepared)), (2, vec![1]), "{url} {epoch}");
            let reason = &prepared.rejects[0].reject.reason;
            assert!(reason.contains("ingest pipeline"), "{reason}");
            assert_eq!(positions(&sink).await, [0, 2]);
        }
        testkit::http::send("DELETE", &url, &format!("/{index}"), "").expect("it is there");
        testkit::http::send("DELETE", &url, &format!("/_ingest/pipeline/{index}"), "")
            .expect("it is there");
    }
}
