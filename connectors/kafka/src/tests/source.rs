//! The source on a real broker.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use contract::discovery::list;
use contract::source::{KnownSplit, Lineages, Source, Split, Until};
use contract::spec::Connector;
use contract::{ErrorKind, Position};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::Producer;
use tokio::time::timeout;

use super::broker::{Broker, End, LIMIT, Record, build_context, source, terms, until};
use crate::Kafka;
use crate::member::instance;

async fn splits(source: &Arc<dyn Source>) -> Vec<Split> {
    list(source.as_ref(), None).await.unwrap().splits
}

/// Everything of a split from a position to its end, and where that is.
async fn read(source: &Arc<dyn Source>, split: &Split, from: Option<i64>) -> (RecordBatch, i64) {
    let from = from.map(Position::new);
    let mut reader = source.open(split, from.as_ref(), Until::End).await.unwrap();
    let mut batches = Vec::new();
    let mut next = -1;
    while let Some(batch) = reader.next_batch().await.unwrap() {
        assert_eq!(batch.lost, 0);
        next = batch.next.at;
        batches.push(batch.records);
    }
    (concat_batches(&source.schema(), &batches).unwrap(), next)
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(column).unwrap().as_string_view();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

fn messages(batch: &RecordBatch) -> Vec<String> {
    texts(batch, "message").into_iter().map(Option::unwrap).collect()
}

fn start_of(split: &Split) -> i64 {
    split.descriptor["start"].as_i64().unwrap()
}

#[tokio::test]
async fn a_record_is_a_row_whatever_it_holds() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let time = 1_700_000_000_123;
    broker.produce(
        &topic,
        &[
            Record {
                key: Some(b"k"),
                value: Some(b"a \"text\"\n"),
                headers: &[("b", Some(b"2")), ("a", None), ("b", Some(b"\xff"))],
                timestamp: Some(time),
                ..Record::default()
            },
            Record { key: Some(b"gone"), ..Record::default() },
            Record { key: Some(b"\xff"), value: Some(b""), ..Record::default() },
        ],
    );
    let source = source(&format!("{{ brokers: \"{}\", topics: {topic} }}", broker.address));
    let split = &splits(&source).await[0];
    assert_eq!(split.id.as_str(), format!("{topic}/0"));
    let (rows, next) = read(&source, split, None).await;
    assert_eq!(next, 3);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(texts(&rows, "message"), [some("a \"text\"\n"), None, some("")]);
    assert_eq!(texts(&rows, "key"), [some("k"), some("gone"), some("\u{fffd}")]);
    let headers = some("{\"a\":null,\"b\":[\"2\",\"\u{fffd}\"]}");
    assert_eq!(texts(&rows, "headers"), [headers, None, None]);
    assert_eq!(texts(&rows, "topic"), vec![Some(topic); 3]);
    let times = rows.column_by_name("timestamp").unwrap();
    assert_eq!(times.as_primitive::<TimestampMicrosecondType>().value(0), time * 1000);
    let lossy: Vec<_> = rows.column_by_name("_lossy").unwrap().as_boolean().iter().collect();
    assert_eq!(lossy, [Some(true), Some(false), Some(true)]);
    for column in ["offset", "_position"] {
        let numbers = rows.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        assert_eq!(numbers.values(), &[0, 1, 2]);
    }
}

#[tokio::test]
async fn bytes_stay_as_they_are_where_that_is_wanted() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    broker.produce(
        &topic,
        &[Record { key: Some(b"\xff\0"), value: Some(b"\xfe"), ..Record::default() }],
    );
    let settings = format!("{{ brokers: \"{}\", topics: [{topic}], format: raw }}", broker.address);
    let source = source(&settings);
    let (rows, _) = read(&source, &splits(&source).await[0], None).await;
    assert_eq!(rows.column_by_name("key").unwrap().as_binary_view().value(0), b"\xff\0");
    assert_eq!(rows.column_by_name("message").unwrap().as_binary_view().value(0), b"\xfe");
    assert!(!rows.column_by_name("_lossy").unwrap().as_boolean().value(0));
}

#[tokio::test]
async fn only_committed_records_are_read_and_the_end_lies_behind_their_marker() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    broker.transact(&topic, &["a", "b"], End::Commit);
    broker.transact(&topic, &["x", "y"], End::Abort);
    broker.transact(&topic, &["c"], End::Commit);
    broker.transact(&topic, &["z"], End::Abort);
    let source = source(&format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address));
    source.begin(&terms(Until::End, Lineages::Split)).await.unwrap();
    let split = &splits(&source).await[0];
    let (rows, next) = read(&source, split, None).await;
    assert_eq!((messages(&rows).concat(), next), ("abc".to_owned(), 10));
    // From between records and from the very end as well.
    let (rows, next) = read(&source, split, Some(4)).await;
    assert_eq!((messages(&rows).concat(), next), ("c".to_owned(), 10));
    assert_eq!(read(&source, split, Some(10)).await.0.num_rows(), 0);
    // A replay stops where it was cut.
    let until = Until::Position(Position::new(2));
    let mut reader = source.open(split, None, until).await.unwrap();
    let batch = reader.next_batch().await.unwrap().unwrap();
    assert_eq!((messages(&batch.records).concat(), batch.next.at), ("ab".to_owned(), 2));
    assert!(reader.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn a_run_with_an_end_waits_for_a_transaction_that_is_about_to_end() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let producer = broker.transaction(&topic, &["a", "b"]);
    let source = source(&format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address));
    let terms = terms(Until::End, Lineages::Split);
    let mut begun = pin!(source.begin(&terms));
    let early = timeout(Duration::from_millis(300), &mut begun).await;
    assert!(early.is_err(), "the source begins while a transaction is open");
    producer.commit_transaction(LIMIT).unwrap();
    begun.await.unwrap();
    let (rows, next) = read(&source, &splits(&source).await[0], None).await;
    assert_eq!((messages(&rows).concat(), next), ("ab".to_owned(), 3));
}

#[tokio::test]
async fn a_start_is_resolved_on_the_first_run_and_later_partitions_begin_at_their_beginning() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let hour = 3_600_000;
    let records: Vec<_> = (0..4)
        .map(|number| Record {
            value: Some(b"x"),
            timestamp: Some(1_700_000_000_000 + number * hour),
            ..Record::default()
        })
        .collect();
    broker.produce(&topic, &records);
    let check = async |start: &str, expect: i64| {
        let settings =
            format!("{{ brokers: \"{}\", topics: [{topic}], start: {start} }}", broker.address);
        assert_eq!(start_of(&splits(&source(&settings)).await[0]), expect, "{start}");
    };
    check("earliest", 0).await;
    check("latest", 4).await;
    check("\"2023-11-14T23:13:20Z\"", 1).await;
    check("\"2023-11-14T23:13:21Z\"", 2).await;
    check("\"2033-01-01T00:00:00Z\"", 4).await;
    check(&format!("{{ \"{topic}/0\": 3 }}"), 3).await;

    let settings = |start: &str| {
        format!("{{ brokers: \"{}\", topics: [{topic}], start: {start} }}", broker.address)
    };
    let wrong = source(&settings(&format!("{{ \"{topic}/0\": 9 }}")));
    let error = list(wrong.as_ref(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("goes from 0 to 4"), "{error}");

    let latest = source(&settings("latest"));
    let known: Vec<_> = splits(&latest)
        .await
        .into_iter()
        .map(|split| KnownSplit { split, position: None })
        .collect();
    broker.grow(&topic, 2).await;
    let all = until("the new partition", async || {
        let all = list(latest.as_ref(), Some(&known)).await.unwrap().splits;
        (all.len() == 2).then_some(all)
    });
    let starts: Vec<_> = all.await.iter().map(start_of).collect();
    assert_eq!(starts, [4, 0]);
}

#[tokio::test]
async fn a_pattern_finds_topics_that_come_later() {
    let Some(broker) = Broker::find() else { return };
    let prefix = testkit::services::unique("logs");
    let settings = format!(
        "{{ brokers: \"{}\", topics: [\"/{prefix}-.*/\"], start: latest }}",
        broker.address
    );
    let source = source(&settings);
    let first = list(source.as_ref(), None).await.unwrap();
    assert_eq!((first.splits.len(), first.warnings.len()), (0, 1));
    broker.create(&format!("{prefix}-a"), 2, &[]).await;
    broker.produce_texts(&format!("{prefix}-a"), &["early"]);
    let found = until("the new topic", async || {
        let found = list(source.as_ref(), Some(&[])).await.unwrap().splits;
        (found.len() == 2).then_some(found)
    });
    let (rows, _) = read(&source, &found.await[0], None).await;
    assert_eq!(messages(&rows), ["early"]);
}

#[tokio::test]
async fn fixed_partitions_are_read_and_no_others() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(3, &[]).await;
    let settings = |numbers: &str| {
        format!("{{ brokers: \"{}\", topics: [{topic}], partitions: {numbers} }}", broker.address)
    };
    let found = splits(&source(&settings("[2, 0]"))).await;
    let ids: Vec<_> = found.iter().map(|split| split.id.to_string()).collect();
    assert_eq!(ids, [format!("{topic}/2"), format!("{topic}/0")]);
    let error = list(&*source(&settings("[3]")), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("has 3 partitions"), "{error}");
}

#[tokio::test]
async fn brokers_that_are_away_are_named_with_the_reason() {
    let source = source("{ brokers: \"127.0.0.1:1\", topics: [t] }");
    let error = list(source.as_ref(), None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, true));
    assert!(error.chain().contains("Connection refused"), "{}", error.chain());
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let Some(broker) = Broker::find() else { return };
    let settings = format!("{{ brokers: \"{}\", topics: [not-there] }}", broker.address);
    let error = list(&*source(&settings), None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, false));
    assert_eq!(error.to_string(), "there is no topic \"not-there\"");
}

#[tokio::test]
async fn what_the_log_has_lost_is_counted_and_stops_a_replay() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    broker.produce_texts(&topic, &["a", "b", "c", "d"]);
    let source = source(&format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address));
    let split = &splits(&source).await[0];
    broker.forget(&topic, 3).await;
    let position = Position::new(1);
    let mut reader = source.open(split, Some(&position), Until::End).await.unwrap();
    let gap = reader.next_batch().await.unwrap().unwrap();
    assert_eq!((gap.lost, gap.records.num_rows(), gap.next.at), (2, 0, 3));
    let rest = reader.next_batch().await.unwrap().unwrap();
    assert_eq!((messages(&rest.records).concat(), rest.lost), ("d".to_owned(), 0));

    let replay = source.open(split, Some(&position), Until::Position(Position::new(4))).await;
    let error = replay.err().unwrap();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false));
    let beyond = source.open(split, Some(&Position::new(9)), Until::Forever).await.err().unwrap();
    assert!(beyond.to_string().contains("behind the end of its log"), "{beyond}");
}

#[tokio::test]
async fn a_reader_waits_for_records_and_a_dropped_call_loses_none() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    let source = source(&format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address));
    let split = &splits(&source).await[0];
    let mut reader = source.open(split, None, Until::Forever).await.unwrap();
    let mut read = Vec::new();
    for text in ["one", "two", "three"] {
        let wait = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(wait, reader.next_batch()).await.is_err());
        broker.produce_texts(&topic, &[text]);
        read.extend(messages(&reader.next_batch().await.unwrap().unwrap().records));
    }
    assert_eq!(read, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_run_with_an_end_stops_where_all_partitions_ended_when_it_began() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(2, &[]).await;
    broker.produce_texts(&topic, &["a", "b"]);
    let source = source(&format!("{{ brokers: \"{}\", topics: [{topic}] }}", broker.address));
    source.begin(&terms(Until::End, Lineages::Split)).await.unwrap();
    broker.produce_texts(&topic, &["late"]);
    broker.produce(&topic, &[Record { partition: 1, ..Record::text("late") }]);
    let splits = splits(&source).await;
    // Also where a split is opened again.
    for _ in 0..2 {
        let (rows, next) = read(&source, &splits[0], None).await;
        assert_eq!((messages(&rows).concat(), next), ("ab".to_owned(), 2));
        let mut empty = source.open(&splits[1], None, Until::End).await.unwrap();
        assert!(empty.next_batch().await.unwrap().is_none());
    }
    broker.grow(&topic, 3).await;
    let all = until("the new partition", async || {
        let all = list(source.as_ref(), None).await.unwrap().splits;
        (all.len() == 3).then_some(all)
    });
    let after = &all.await[2];
    broker.produce(&topic, &[Record { partition: 2, ..Record::text("later") }]);
    let mut unknown = source.open(after, None, Until::End).await.unwrap();
    assert!(unknown.next_batch().await.unwrap().is_none(), "it was not there");
}

#[tokio::test]
async fn a_run_with_an_end_tells_the_group_how_far_it_came() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(1, &[]).await;
    broker.produce_texts(&topic, &["a", "b", "c"]);
    let settings =
        format!("{{ brokers: \"{}\", topics: [{topic}], group: {topic} }}", broker.address);
    let source = source(&settings);
    let split = &splits(&source).await[0];
    let mut reader = source.open(split, None, Until::End).await.unwrap();
    while reader.next_batch().await.unwrap().is_some() {}
    reader.acknowledge(&Position::new(2)).await.unwrap();
    drop(reader);
    until("the committed offset", async || {
        broker.committed(&topic, &topic).filter(|(offset, _)| *offset == 2)
    })
    .await;
}

#[tokio::test]
async fn a_group_divides_partitions_and_listens_to_its_members() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(4, &[]).await;
    broker.produce_texts(&topic, &["a", "b"]);
    let settings = |instance: &str| {
        format!(
            "{{ brokers: \"{}\", topics: [{topic}], group: {topic}, \
             client: {{ group.instance.id: {instance} }} }}",
            broker.address
        )
    };
    let assigned = async |source: &Arc<dyn Source>| {
        list(source.as_ref(), None).await.unwrap().assigned.unwrap()
    };
    let one = source(&settings("one"));
    one.begin(&terms(Until::Forever, Lineages::Split)).await.unwrap();
    until("all partitions", async || (assigned(&one).await.len() == 4).then_some(())).await;
    let split = &splits(&one).await[0];
    let mut reader = one.open(split, None, Until::Forever).await.unwrap();
    assert_eq!(reader.next_batch().await.unwrap().unwrap().records.num_rows(), 2);
    reader.acknowledge(&Position::new(2)).await.unwrap();
    until("the committed offset", async || {
        broker.committed(&topic, &topic).filter(|(offset, _)| *offset == 2)
    })
    .await;

    let two = source(&settings("two"));
    two.begin(&terms(Until::Forever, Lineages::Split)).await.unwrap();
    until("half of the partitions each", async || {
        let (ones, twos) = (assigned(&one).await, assigned(&two).await);
        assert!(!ones.iter().any(|split| twos.contains(split)), "{ones:?} {twos:?}");
        (ones.len() == 2 && twos.len() == 2).then_some(())
    })
    .await;
    let all = list(two.as_ref(), None).await.unwrap().splits;
    assert_eq!(all.len(), 4, "those of others are listed too");
}

#[tokio::test]
async fn partitions_of_one_lineage_are_not_divided_and_their_positions_are_told() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(2, &[]).await;
    broker.produce_texts(&topic, &["a", "b"]);
    let settings =
        format!("{{ brokers: \"{}\", topics: [{topic}], group: {topic} }}", broker.address);
    let source = source(&settings);
    assert!(source.lineages().contains(&Lineages::One));
    source.begin(&terms(Until::Forever, Lineages::One)).await.unwrap();
    let found = list(source.as_ref(), None).await.unwrap();
    assert!(found.assigned.is_none(), "nothing is divided");
    let mut reader = source.open(&found.splits[0], None, Until::Forever).await.unwrap();
    assert_eq!(reader.next_batch().await.unwrap().unwrap().records.num_rows(), 2);
    reader.acknowledge(&Position::new(2)).await.unwrap();
    until("the committed offset", async || {
        broker.committed(&topic, &topic).filter(|(offset, _)| *offset == 2)
    })
    .await;
}

#[tokio::test]
async fn a_process_that_its_own_late_request_puts_out_joins_again() {
    let Some(broker) = Broker::find() else { return };
    let topic = broker.topic(2, &[]).await;
    broker.produce_texts(&topic, &["a"]);
    let settings =
        format!("{{ brokers: \"{}\", topics: [{topic}], group: {topic} }}", broker.address);
    let ctx = build_context();
    let source = Kafka.source(&testkit::section(&settings), &ctx).unwrap();
    source.begin(&terms(Until::Forever, Lineages::Split)).await.unwrap();
    let assigned = async || list(source.as_ref(), None).await.unwrap().assigned.unwrap().len();
    until("all partitions", async || (assigned().await == 2).then_some(())).await;

    // Whatever comes under our name, be it a request of ours: the group takes it for us.
    let name = instance(&format!("logmill.{}.{}", ctx.pipeline, ctx.name));
    let ghost = broker.join(&topic, &name);
    until("the ghost is put out in its turn", async || {
        assert_eq!(assigned().await, 2, "nothing is let go of meanwhile");
        let heard = ghost.poll(Duration::from_millis(100));
        let code = heard.and_then(Result::err).and_then(|error| error.rdkafka_error_code());
        (code == Some(RDKafkaErrorCode::FencedInstanceId)).then_some(())
    })
    .await;
    let split = &splits(&source).await[0];
    let mut reader = source.open(split, None, Until::Forever).await.unwrap();
    assert_eq!(reader.next_batch().await.unwrap().unwrap().records.num_rows(), 1);
    until("an offset that the group takes from us again", async || {
        reader.acknowledge(&Position::new(1)).await.unwrap();
        broker.committed(&topic, &topic).filter(|(offset, _)| *offset == 1)
    })
    .await;
    assert_eq!(assigned().await, 2);
}
