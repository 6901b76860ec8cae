//! The sink on a real broker.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type};
use contract::discovery::list;
use contract::record::{for_sink, position_field, sink_schema};
use contract::sink::{
    Commit, CommitOutcome, Held, Prepared, ReadBack, Sink, SinkKind, Token, Writer, WriterContext,
};
use contract::source::{Lineages, Until};
use contract::spec::{BuildContext, Connector};
use contract::{ErrorKind, Lineage, Origin, SplitId};
use futures::TryStreamExt;

use super::broker::{Broker, build_context, source, terms, until};
use crate::Kafka;

const SPLIT: &str = "proof/a b.log";

/// A sink with rows to give it.
pub struct Proof {
    pub sink: Arc<dyn Sink>,
    pub pipeline: String,
    pub lineage: Lineage,
    rows: RecordBatch,
}

impl Proof {
    pub fn new(broker: &Broker, settings: &str, columns: Vec<(&str, ArrayRef)>) -> Self {
        let settings = format!("{{ brokers: \"{}\", {settings} }}", broker.address);
        let count = columns[0].1.len();
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(position_field()));
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new((0..count as i64).collect::<Int64Array>()));
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let ctx = build_context();
        Self {
            sink: Kafka.sink(&testkit::section(&settings), &ctx).unwrap(),
            pipeline: ctx.pipeline,
            lineage: Lineage::main(),
            rows: RecordBatch::try_new(schema, columns).unwrap(),
        }
    }

    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    pub fn ctx(&self) -> WriterContext {
        WriterContext {
            pipeline: self.pipeline.clone(),
            sink: "out".into(),
            incarnation: 7,
            writer_id: "w".into(),
            schema: sink_schema(&self.rows.schema(), true),
            memory_bytes: 16 << 20,
            client_bytes: 16 << 20,
            threads: 2,
        }
    }

    /// The fence, once the broker gives it: one that is busy may have no coordinator for a while.
    pub async fn fence(&self) -> Held {
        until("the fence", async || {
            match self.sink.fence_and_read(&self.ctx(), &self.lineage).await {
                Ok(held) => Some(held),
                Err(error) => {
                    assert!(error.retry(), "{}", error.chain());
                    None
                }
            }
        })
        .await
    }

    pub async fn writer(&self) -> Box<dyn Writer> {
        self.sink.open(self.ctx()).await.unwrap()
    }

    pub async fn prepare(&self, writer: &mut dyn Writer, epoch: u64) -> Prepared {
        let rows = for_sink(&self.rows, &self.ctx().schema, &SplitId::new(SPLIT), epoch).unwrap();
        writer.write(&self.lineage, rows).await.unwrap();
        writer.prepare(&self.lineage, epoch).await.unwrap()
    }

    pub fn commit_of(&self, epoch: u64) -> Commit {
        let prev = (epoch > 1).then(|| epoch - 1);
        Commit { lineage: self.lineage.clone(), epoch, prev, committable: None }
    }

    /// How many rows are read back.
    pub async fn count(&self) -> usize {
        let found = self.sink.read_back(&self.pipeline, ReadBack::Origins).await.unwrap();
        let found: Vec<RecordBatch> = found.try_collect().await.unwrap();
        found.iter().map(RecordBatch::num_rows).sum()
    }

    /// Delivers the rows as epoch 1; the reasons for which some were refused.
    async fn deliver(&self) -> Vec<(i64, String)> {
        self.fence().await;
        let mut writer = self.writer().await;
        let prepared = self.prepare(writer.as_mut(), 1).await;
        if prepared.rows > 0 {
            let outcome = writer.commit(&self.commit_of(1)).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Committed);
        }
        let rejects = prepared.rejects.into_iter();
        rejects.map(|row| (row.reject.position, row.reject.reason)).collect()
    }
}

/// The records of a topic in the order of its partitions.
async fn rows_of(broker: &Broker, topic: &str) -> Vec<RecordBatch> {
    let settings = format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address);
    let source = source(&settings);
    source.begin(&terms(Until::End, Lineages::Split)).await.unwrap();
    let mut rows = Vec::new();
    for split in list(source.as_ref(), None).await.unwrap().splits {
        let mut reader = source.open(&split, None, Until::End).await.unwrap();
        while let Some(batch) = reader.next_batch().await.unwrap() {
            if batch.records.num_rows() > 0 {
                rows.push(batch.records);
            }
        }
    }
    rows
}

async fn texts_of(broker: &Broker, topic: &str, column: &str) -> Vec<Option<String>> {
    let batches = rows_of(broker, topic).await;
    let columns = batches.iter().map(|batch| batch.column_by_name(column).unwrap());
    let texts = columns.flat_map(|column| column.as_string_view().iter().map(own));
    texts.collect()
}

fn own(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

pub fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(values.to_vec()))
}

/// librdkafka reports no more than that it purged the records.
#[tokio::test]
async fn a_writer_that_was_shut_out_says_so_of_its_records() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let proof = Proof::new(&broker, &format!("topic: {topic}"), vec![("a", texts(&[Some("b")]))]);
    proof.fence().await;
    let mut old = proof.writer().await;
    proof.prepare(old.as_mut(), 1).await;
    old.abort(&proof.lineage).await.unwrap();
    proof.fence().await;
    let rows = for_sink(&proof.rows, &proof.ctx().schema, &SplitId::new(SPLIT), 1).unwrap();
    let written = old.write(&proof.lineage, rows).await;
    assert!(written.is_ok(), "the record is in the queue");
    let error = old.prepare(&proof.lineage, 1).await.unwrap_err();
    let said = error.chain();
    assert!(error.retry() && said.to_lowercase().contains("fenced"), "{said}");
}

#[tokio::test]
async fn values_arrive_as_they_are() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let hostile = "\"quotes\" \\ \n line \0 NUL \u{2028} ../ \u{1f600}";
    let years = [-62_167_219_200_000_000, 253_402_300_799_000_000];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("text", texts(&[Some(hostile), None])),
        ("number", Arc::new(Float64Array::from(vec![f64::NAN, -0.5]))),
        ("time", Arc::new(TimestampMicrosecondArray::from(years.to_vec()).with_timezone("UTC"))),
    ];
    let proof = Proof::new(&broker, &format!("topic: {topic}"), columns);
    assert_eq!(proof.deliver().await, []);
    let values = texts_of(&broker, &topic, "message").await;
    let values: Vec<serde_json::Value> =
        values.iter().map(|value| serde_json::from_str(value.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(values[0]["text"], hostile);
    assert_eq!(values[0]["number"], serde_json::Value::Null);
    assert_eq!(
        (&values[0]["time"], &values[1]["time"]),
        (&"0000-01-01T00:00:00Z".into(), &"9999-12-31T23:59:59Z".into())
    );
    assert_eq!(values[1]["text"], serde_json::Value::Null);
    assert_eq!(values[0].as_object().unwrap().len(), 3, "the origin is in the headers");
    let headers = texts_of(&broker, &topic, "headers").await;
    let expect =
        format!(r#"{{"logmill-epoch":"1","logmill-position":"0","logmill-split":"{SPLIT}"}}"#);
    assert_eq!(headers[0], Some(expect));
}

#[tokio::test]
async fn a_field_is_written_as_text_or_bytes_and_null_is_a_tombstone() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            ("message", texts(&[Some("a\n"), None, Some("")])),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None, None]))),
        ]
    };
    let text = format!(
        "topic: {topic}, format: text, origin: false, key: k, headers: {{ h: \"<{{bytes}}>\" }}"
    );
    let proof = Proof::new(&broker, &text, columns());
    assert_eq!(proof.deliver().await, []);
    assert_eq!(proof.count().await, 3, "without origins every record counts");
    let raw = format!("topic: {topic}, format: raw, field: bytes, origin: false");
    assert_eq!(Proof::new(&broker, &raw, columns()).deliver().await, []);
    let values = texts_of(&broker, &topic, "message").await;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(values, [some("a\n"), None, some(""), some("\u{fffd}"), None, None]);
    let headers = texts_of(&broker, &topic, "headers").await;
    assert_eq!(headers[..2], [some("{\"h\":\"<\u{fffd}>\"}"), None]);
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_the_others_arrive() {
    let Some(broker) = Broker::find() else { return };
    let large = "x".repeat(1 << 20);
    let values = [Some("a"), Some(large.as_str()), Some("b")];
    for (limit, expect) in [("2097152", 0), ("1048588", 1), ("20000", 1)] {
        let topic = broker.topic(1, &[("max.message.bytes", limit)]).await;
        let many: Vec<_> = values.into_iter().chain([Some("medium"); 2000]).collect();
        let settings = format!("topic: {topic}, format: text");
        let proof = Proof::new(&broker, &settings, vec![("message", texts(&many))]);
        let refused = proof.deliver().await;
        assert_eq!(refused.len(), expect, "{limit}: {refused:?}");
        if let Some((position, reason)) = refused.first() {
            assert_eq!(*position, 1);
            assert!(reason.starts_with("the record has 10487"), "{reason}");
        }
        let arrived = texts_of(&broker, &topic, "message").await;
        assert_eq!(arrived.len(), many.len() - expect);
    }
}

#[tokio::test]
async fn columns_choose_topic_key_and_partition() {
    let Some(broker) = Broker::find() else { return };
    let base = broker.topic(1, &[]).await;
    let rows: Vec<(&str, ArrayRef)> = vec![
        (
            "service",
            texts(&[Some("a"), Some("b"), Some("../etc"), None, Some("a b"), Some("a"), Some("a")]),
        ),
        ("user", texts(&[Some("21"), Some("x"), None, None, None, None, Some("é")])),
        (
            "part",
            Arc::new(Int64Array::from(vec![None, Some(2), None, None, None, Some(9), Some(1)])),
        ),
    ];
    let settings = format!(
        "topic: \"{base}-{{service}}\", token_topic: {base}, key: \"{{user}}\", \
         partition: \"{{part}}\", format: text, field: service, create_topics: {{ partitions: 7 }}"
    );
    let proof = Proof::new(&broker, &settings, rows);
    let refused = proof.deliver().await;
    let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [2, 3, 4, 5], "{refused:?}");
    assert!(refused[0].1.contains("no name for a topic"), "{refused:?}");
    assert_eq!(refused[1].1, "a column in the topic is null");
    assert_eq!(refused[3].1, "\"9\" is none of the topic's 7 partitions");
    let place = async |topic: &str| -> Vec<(i32, Option<String>)> {
        let batches = rows_of(&broker, topic).await;
        let rows = batches.iter().flat_map(|batch| {
            let partitions = batch.column_by_name("partition").unwrap();
            let partitions = partitions.as_primitive::<Int32Type>().values().iter().copied();
            let keys = batch.column_by_name("key").unwrap().as_string_view();
            partitions.zip(keys.iter().map(own)).collect::<Vec<_>>()
        });
        rows.collect()
    };
    // Java's murmur2 of "21" is -973932308, as Kafka's own tests have it.
    let by_key = (-973_932_308_i32 & 0x7fff_ffff) % 7;
    let mut expect = vec![(by_key, Some("21".to_owned())), (1, Some("é".to_owned()))];
    expect.sort();
    assert_eq!(place(&format!("{base}-a")).await, expect);
    assert_eq!(place(&format!("{base}-b")).await, [(2, Some("x".to_owned()))]);
    assert_eq!(proof.count().await, 3, "of all topics");
}

#[tokio::test]
async fn sarama_finds_the_same_partition() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(5, &[]).await;
    let keys = ["a", "user-17", "é"];
    let column = texts(&keys.map(Some));
    let settings = format!("topic: {topic}, key: \"{{k}}\", partitioner: fnv1a");
    Proof::new(&broker, &settings, vec![("k", column)]).deliver().await;
    let fnv1a = |key: &str| {
        let hash = key
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        (hash.cast_signed() % 5).abs()
    };
    for batch in rows_of(&broker, &topic).await {
        let partitions = batch.column_by_name("partition").unwrap().as_primitive::<Int32Type>();
        let keys = batch.column_by_name("key").unwrap().as_string_view();
        for (partition, key) in partitions.values().iter().zip(keys.iter()) {
            assert_eq!(*partition, fnv1a(key.unwrap()), "{key:?}");
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_missing_stops_the_start_or_refuses_the_row() {
    let Some(broker) = Broker::find() else { return };
    let column = || vec![("s", texts(&[Some("x")]))];
    let constant = Proof::new(&broker, "topic: not-there", column());
    let error = constant.sink.fence_and_read(&constant.ctx(), &constant.lineage).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("create_topics")));
    let base = broker.topic(1, &[]).await;
    let settings = format!("topic: \"not-{{s}}\", token_topic: {base}");
    let refused = Proof::new(&broker, &settings, column()).deliver().await;
    assert_eq!(refused, [(0, "there is no topic \"not-x\"".to_owned())]);
}

#[tokio::test]
async fn a_row_for_one_topic_more_than_a_process_may_write_is_refused() {
    let Some(broker) = Broker::find() else { return };
    let base = broker.topic(1, &[]).await;
    let rows = vec![("s", texts(&[Some("a"), Some("b"), Some("c"), Some("a")]))];
    // The topic of the tokens is one of them.
    let settings = format!(
        "topic: \"{base}-{{s}}\", token_topic: {base}, topics_max: 3, \
         create_topics: {{ partitions: 1, replication: 1 }}"
    );
    let refused = Proof::new(&broker, &settings, rows).deliver().await;
    let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [2], "{refused:?}");
}

#[tokio::test]
async fn a_topic_is_made_with_so_many_replicas_or_not_at_all() {
    let Some(broker) = Broker::find() else { return };
    let settings = format!(
        "topic: {}, create_topics: {{ partitions: 1, replication: 2 }}",
        testkit::services::unique("replicas")
    );
    // There is one broker.
    let proof = Proof::new(&broker, &settings, vec![("s", texts(&[Some("a")]))]);
    let error = proof.sink.fence_and_read(&proof.ctx(), &proof.lineage).await.unwrap_err();
    assert!(error.chain().to_lowercase().contains("replication"), "{}", error.chain());
}

#[tokio::test]
async fn a_compacted_topic_takes_no_row_without_a_key() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[("cleanup.policy", "compact")]).await;
    let settings = format!("topic: {topic}, key: \"{{k}}\"");
    let proof = Proof::new(&broker, &settings, vec![("k", texts(&[Some("a"), None]))]);
    let refused = proof.deliver().await;
    assert_eq!(refused.len(), 1);
    assert!(refused[0].1.contains("compacted"), "{refused:?}");
}

#[tokio::test]
async fn an_aborted_epoch_leaves_nothing_and_the_token_is_an_offset() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(2, &[]).await;
    let proof = Proof::new(&broker, &format!("topic: {topic}"), vec![("s", texts(&[Some("x")]))]);
    assert_eq!(proof.fence().await, Held::Nothing);
    let mut writer = proof.writer().await;
    proof.prepare(writer.as_mut(), 1).await;
    writer.abort(&proof.lineage).await.unwrap();
    assert_eq!(rows_of(&broker, &topic).await.len(), 0);
    proof.prepare(writer.as_mut(), 1).await;
    assert_eq!(rows_of(&broker, &topic).await.len(), 0, "nothing is seen before the commit");
    writer.commit(&proof.commit_of(1)).await.unwrap();
    let group = format!("logmill.{}.out.main", proof.pipeline);
    assert_eq!(broker.committed(&group, &topic), Some((1, "7".to_owned())));
    // Each fence writes the token again, and changes nothing by that.
    for _ in 0..2 {
        assert_eq!(proof.fence().await, Held::Token(Token { epoch: 1, incarnation: 7 }));
    }
    let origin = Origin { split: SplitId::new(SPLIT), position: 0 };
    let found = proof.sink.read_back(&proof.pipeline, ReadBack::Record(origin)).await.unwrap();
    let found: Vec<RecordBatch> = found.try_collect().await.unwrap();
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let epoch = found[0].column_by_name("_epoch").unwrap().as_primitive::<Int64Type>();
    assert_eq!(epoch.value(0), 1);
}

#[tokio::test]
async fn lineages_do_not_shut_each_other_out() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let settings = format!("topic: {topic}, format: text, field: s");
    let one = Proof::new(&broker, &settings, vec![("s", texts(&[Some("x")]))]);
    let two = Proof {
        sink: one.sink.clone(),
        pipeline: one.pipeline.clone(),
        lineage: Lineage::new("orders.t.1"),
        rows: one.rows.clone(),
    };
    one.fence().await;
    two.fence().await;
    let (mut first, mut second) = (one.writer().await, two.writer().await);
    one.prepare(first.as_mut(), 1).await;
    two.prepare(second.as_mut(), 1).await;
    for (proof, writer) in [(&two, &mut second), (&one, &mut first)] {
        let outcome = writer.commit(&proof.commit_of(1)).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed);
    }
    assert_eq!(texts_of(&broker, &topic, "message").await.len(), 2);
}

#[tokio::test]
async fn a_writer_that_was_shut_out_commits_nothing_and_can_begin_anew() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let proof = Proof::new(&broker, &format!("topic: {topic}"), vec![("s", texts(&[Some("x")]))]);
    proof.fence().await;
    let mut old = proof.writer().await;
    proof.prepare(old.as_mut(), 1).await;
    assert_eq!(proof.fence().await, Held::Nothing);
    let error = old.commit(&proof.commit_of(1)).await.unwrap_err();
    assert!(error.retry(), "{}", error.chain());
    assert!(error.chain().contains("another producer took over"), "{}", error.chain());
    let mut new = proof.writer().await;
    let unprepared = new.commit(&proof.commit_of(1)).await.unwrap();
    assert_eq!(unprepared, CommitOutcome::NeedsReplay);
    proof.prepare(new.as_mut(), 1).await;
    let committed = new.commit(&proof.commit_of(1)).await.unwrap();
    assert_eq!(committed, CommitOutcome::Committed);
    assert_eq!(rows_of(&broker, &topic).await[0].num_rows(), 1);
    let foreign = Commit { prev: Some(5), ..proof.commit_of(6) };
    assert_eq!(new.commit(&foreign).await.unwrap(), CommitOutcome::NotOwner);
}

#[tokio::test]
async fn a_transaction_that_was_open_too_long_is_replayed() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let settings = format!("topic: {topic}, transaction_timeout: 2s");
    let proof = Proof::new(&broker, &settings, vec![("s", texts(&[Some("x")]))]);
    proof.fence().await;
    let mut writer = proof.writer().await;
    proof.prepare(writer.as_mut(), 1).await;
    // The broker drops it within some seconds; its end of the log moves on then.
    until("the broker drops the transaction", async || {
        let settings =
            format!("{{ brokers: \"{}\", topics: [{topic}], start: latest }}", broker.address);
        let split = list(&*source(&settings), None).await.unwrap().splits.remove(0);
        (split.descriptor["start"].as_i64() == Some(2)).then_some(())
    })
    .await;
    let error = writer.commit(&proof.commit_of(1)).await.unwrap_err();
    assert!(error.retry(), "{}", error.chain());
    drop(writer);
    assert_eq!(proof.fence().await, Held::Nothing);
    let mut writer = proof.writer().await;
    proof.prepare(writer.as_mut(), 1).await;
    writer.commit(&proof.commit_of(1)).await.unwrap();
    assert_eq!(rows_of(&broker, &topic).await[0].num_rows(), 1);
}

#[tokio::test]
async fn a_transaction_is_no_longer_than_the_brokers_allow_and_outlasts_three_epochs_or_is_refused()
{
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    // The broker allows 15 minutes.
    let settings = format!("topic: {topic}, transaction_timeout: 20m");
    let proof = Proof::new(&broker, &settings, vec![("s", texts(&[Some("x")]))]);
    assert_eq!(proof.deliver().await, []);
    assert_eq!(rows_of(&broker, &topic).await[0].num_rows(), 1);

    let minute = Duration::from_secs(60);
    let with_epochs_of = |epoch_interval: Duration| {
        let settings = format!("{{ brokers: \"{}\", topic: {topic} }}", broker.address);
        let ctx = BuildContext { epoch_interval, ..build_context() };
        Kafka.sink(&testkit::section(&settings), &ctx).unwrap()
    };
    let slow = Proof { sink: with_epochs_of(6 * minute), ..proof };
    let error = slow.sink.fence_and_read(&slow.ctx(), &slow.lineage).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, false));
    assert!(error.to_string().contains("after 15m, and epochs need 18m"), "{error}");
    let quick = Proof { sink: with_epochs_of(5 * minute), ..slow };
    quick.fence().await;
}

#[tokio::test]
async fn without_transactions_rows_are_seen_at_once_and_the_promise_is_weaker() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let settings = format!("topic: {topic}, transactional: false, compression: zstd");
    let proof = Proof::new(&broker, &settings, vec![("s", texts(&[Some("x"); 3]))]);
    let promise = proof.sink.promise();
    assert_eq!((promise.kind, promise.token), (SinkKind::None, false));
    assert!(promise.sentence.starts_with("at least once"));
    assert_eq!(proof.fence().await, Held::Untold);
    let mut writer = proof.writer().await;
    assert_eq!(proof.prepare(writer.as_mut(), 1).await.rows, 3);
    assert_eq!(rows_of(&broker, &topic).await[0].num_rows(), 3);
}

#[tokio::test]
async fn more_rows_than_the_queue_holds_wait_for_room() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let values: StringArray = (0..20_000).map(|row| Some(format!("row {row}"))).collect();
    let settings = format!("topic: {topic}, client: {{ queue.buffering.max.messages: 100 }}");
    let proof = Proof::new(&broker, &settings, vec![("s", Arc::new(values))]);
    let delivered = tokio::time::timeout(Duration::from_secs(60), proof.deliver()).await.unwrap();
    assert_eq!(delivered, []);
    let rows: usize = rows_of(&broker, &topic).await.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 20_000);
}

#[tokio::test]
async fn a_record_that_no_queue_holds_is_an_error_and_no_endless_wait() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let large = "x".repeat(100_000);
    let settings =
        format!("topic: {topic}, format: text, client: {{ queue.buffering.max.kbytes: 50 }}");
    let column = texts(&[Some("a"), Some(&large)]);
    let proof = Proof::new(&broker, &settings, vec![("message", column)]);
    proof.fence().await;
    let mut writer = proof.writer().await;
    let rows = for_sink(&proof.rows, &proof.ctx().schema, &SplitId::new(SPLIT), 1).unwrap();
    let error = writer.write(&proof.lineage, rows).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, false));
    assert!(error.hint_text().is_some_and(|hint| hint.contains("memory.limit")));
    writer.abort(&proof.lineage).await.unwrap();
}

#[test]
fn settings_that_do_not_fit_are_named_before_anything_runs() {
    let check = |settings: &str, expect: &str| {
        let section = testkit::section(&format!("{{ brokers: \"a:1\", {settings} }}"));
        let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "s",
            arrow::datatypes::DataType::Utf8View,
            true,
        )]);
        let said = Kafka
            .sink(&section, &build_context())
            .and_then(|sink| sink.destination(&Arc::new(schema)));
        let said = said.map_or_else(|error| error.chain(), Option::unwrap_or_default);
        assert!(said.contains(expect), "{settings}: {said}");
    };
    check("topic: t, key: \"{s}\"", "kafka://a:1/t");
    check("topic: t, key: \"{u}\"", "there is no column \"u\"");
    check("topic: \"t-{s}\"", "the token has no place");
    check("topic: \"t-{s}\", token_topic: t", "kafka://a:1/t-{s}, tokens in t");
    check("topic: t, token_topic: u", "kafka://a:1/t, tokens in u");
    check("topic: \"t-{s}\", transactional: false", "kafka://a:1/t-{s}");
    check("topic: \"a b\"", "\"a b\" is no name for a topic");
    check("topic: t, format: text", "there is no column \"message\"");
    check("topic: t, client: { group.id: x }", "cannot be set here");
}

#[test]
fn a_transaction_outlasts_three_epochs() {
    let sink = |setting: &str, epoch_interval: Duration| {
        let settings = format!("{{ brokers: \"127.0.0.1:1\", topic: t, {setting} }}");
        let ctx = BuildContext { epoch_interval, ..build_context() };
        Kafka.sink(&testkit::section(&settings), &ctx).map(|_| ())
    };
    let error = sink("transaction_timeout: 20s", Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("30s")), "{error:?}");
    sink("transaction_timeout: 30s", Duration::from_secs(10)).unwrap();
    sink("transaction_timeout: 20s", Duration::from_secs(5)).unwrap();
    sink("", Duration::from_secs(3600)).unwrap();
    sink("transaction_timeout: 1s, transactional: false", Duration::from_secs(10)).unwrap();
}
