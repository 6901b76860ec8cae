//! Tables that rows name.

use contract::failpoint::{self, Action};
use contract::sink::{ReadBack, Token};
use contract::{Origin, record};
use futures::TryStreamExt;

use super::*;

impl Place {
    /// A sink whose rows name their table: that of the place, and behind it their text.
    pub(super) fn named(&self, settings: &str) -> PostgresSink {
        let Self { url, table, .. } = self;
        let text = format!("{{ url: {url:?}, table: \"{table}_{{text}}\", {settings} }}");
        PostgresSink::new(testkit::section(&text).read().unwrap()).unwrap()
    }

    /// The rows of the table of a text, as number and text.
    pub(super) async fn of(&self, text: &str) -> Vec<String> {
        let rows = format!("SELECT number, text FROM {{t}}_{text} ORDER BY _position");
        self.query(&rows).await
    }
}

/// Rows at positions from `from` on, each with its position as its number.
pub(super) fn named(from: i64, texts: &[Option<&str>]) -> RecordBatch {
    let positions: Int64Array = (from..).take(texts.len()).collect();
    let texts: StringViewArray = texts.iter().copied().collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(positions.clone()), Arc::new(texts), Arc::new(positions)];
    RecordBatch::try_new(row_schema(), columns).unwrap()
}

pub(super) fn reasons(prepared: &Prepared) -> Vec<(i64, &str)> {
    let rejects = prepared.rejects.iter();
    rejects.map(|it| (it.reject.position, it.reject.reason.as_str())).collect()
}

pub(super) async fn read_back(sink: &PostgresSink, what: ReadBack) -> Vec<RecordBatch> {
    sink.read_back("p", what).await.unwrap().try_collect().await.unwrap()
}

pub(super) fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn tables_that_rows_name_hold_an_epoch_together_or_not_at_all() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: { indexes: { by_number: [number] } }");
    assert_eq!(fence(&sink).await, Held::Nothing);
    let mut writer = open(&sink, &row_schema()).await;
    write(writer.as_mut(), named(0, &[Some("a"), Some("b"), None, Some("a")]), 1).await.unwrap();
    let prepared = prepare(writer.as_mut(), named(4, &[Some("b"), Some("x.y")]), 1).await;
    let table = &place.table;
    let dotted =
        format!("\"{table}_x.y\" is no name for a table: it is empty, or holds a dot or a NUL");
    assert_eq!(
        reasons(&prepared),
        [(2, "a column that names the table is null"), (5, dotted.as_str())]
    );
    let met: Vec<_> = prepared.identities.iter().map(|it| (it.place.clone(), it.rows)).collect();
    assert_eq!(prepared.rows, 4);
    assert_eq!(met, [(format!("public.{table}_a"), 2), (format!("public.{table}_b"), 2)]);
    assert!(place.of("a").await.is_empty() && place.of("b").await.is_empty());
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(place.of("a").await, ["0,a", "3,a"]);
    assert_eq!(place.of("b").await, ["1,b", "4,b"]);
    // What is dropped before the decision is in none of them, and the next epoch knows them.
    prepare(writer.as_mut(), named(6, &[Some("a"), Some("c")]), 2).await;
    writer.abort(&lineage()).await.unwrap();
    let prepared = prepare(writer.as_mut(), named(6, &[Some("b")]), 2).await;
    assert_eq!((prepared.rows, prepared.identities.len()), (1, 1));
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!((place.of("a").await.len(), place.of("b").await.len()), (2, 3));
    assert!(place.of("c").await.is_empty(), "it was made, and got nothing");
    let token = Held::Token(Token { epoch: 2, incarnation: 7 });
    assert_eq!(fence(&sink).await, token);
    assert_eq!(sink.identities().await.unwrap().len(), 3);
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 5);
    let origin = Origin { split: SplitId::new("a.log"), position: 4 };
    assert_eq!(count(&read_back(&sink, ReadBack::Record(origin)).await), 1);
}

#[tokio::test]
async fn a_table_that_rows_name_and_nobody_made_refuses_its_rows_alone() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t}_a (number bigint, text text, _split text, _position bigint, \
             _epoch bigint); CREATE TABLE {t}_other (number text[]); \
             CREATE VIEW {t}_view AS SELECT * FROM {t}_a",
        )
        .await;
    let sink = place.named("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    let texts = ["a", "none", "other", "view", "a", "none"].map(Some);
    let prepared = prepare(writer.as_mut(), named(0, &texts), 1).await;
    let table = &place.table;
    let none = format!("there is no table \"public.{table}_none\"");
    let view = format!("\"public.{table}_view\" is no table");
    let found = reasons(&prepared);
    assert_eq!(prepared.rows, 2);
    assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 5, 2, 3]);
    assert_eq!((found[0].1, found[1].1, found[3].1), (&none[..], &none[..], &view[..]));
    assert!(found[2].1.contains("column \"number\" is Int64 here and text[]"), "{found:?}");
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(place.of("a").await, ["0,a", "4,a"]);
    // The view shows rows of a table, and the other one holds nothing of ours.
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 2);
    // What somebody makes meanwhile is found by the next epoch.
    place.execute("CREATE TABLE {t}_none (LIKE {t}_a)").await;
    let prepared = prepare(writer.as_mut(), named(6, &[Some("none")]), 2).await;
    assert_eq!((prepared.rows, prepared.rejects.len()), (1, 0));
}

#[tokio::test]
async fn a_row_that_names_one_table_more_than_a_lineage_may_write_is_refused() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: true, tables_max: 2");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    let texts = ["a", "b", "c", "a", "c"].map(Some);
    let prepared = prepare(writer.as_mut(), named(0, &texts), 1).await;
    let reason = "2 tables are written to already (`tables_max`)";
    assert_eq!(reasons(&prepared), [(2, reason), (4, reason)]);
    assert_eq!(prepared.rows, 3);
    assert_eq!(sink.identities().await.unwrap().len(), 2, "none is made for it");
}

#[tokio::test]
async fn rows_that_tables_refuse_are_found_in_each_of_them() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: true");
    fence(&sink).await;
    sink.open(ctx(&row_schema())).await.unwrap();
    let tables = "CREATE TABLE {t}_T (number bigint CHECK (number % 10 <> 3), text text, \
                  _split text, _position bigint, _epoch bigint);";
    for text in ["a", "b"] {
        place.execute(&tables.replace("{t}_T", &format!("{{t}}_{text}"))).await;
    }
    let mut ctx = ctx(&row_schema());
    ctx.memory_bytes = 1 << 16;
    let mut writer = sink.open(ctx).await.unwrap();
    let texts: Vec<_> = (0..300).map(|row| Some(["a", "b", "c"][row % 3])).collect();
    for from in [0, 300, 600] {
        write(writer.as_mut(), named(from, &texts), 1).await.unwrap();
    }
    let prepared = writer.prepare(&lineage(), 1).await.unwrap();
    let mut refused: Vec<_> = reasons(&prepared).iter().map(|(at, _)| *at).collect();
    refused.sort_unstable();
    let expect: Vec<_> = (0..900).filter(|row| row % 10 == 3 && row % 3 != 2).collect();
    assert_eq!(refused, expect);
    assert_eq!(prepared.rows as usize, 900 - expect.len());
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 900 - expect.len());
}

#[tokio::test]
async fn rows_replace_others_of_their_key_in_their_own_table() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: true, upsert_by: [text]");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &["a", "b", "a", "b"].map(Some)), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    prepare(writer.as_mut(), named(4, &["b"].map(Some)), 2).await;
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!(
        (place.of("a").await, place.of("b").await),
        (vec!["2,a".into()], vec!["4,b".into()])
    );
}

#[tokio::test]
async fn a_table_that_rows_name_and_that_was_dropped_takes_no_other_one_with_it() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &["a", "b"].map(Some)), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    place.execute("DROP TABLE {t}_a").await;
    write(writer.as_mut(), named(2, &["a", "b"].map(Some)), 2).await.unwrap();
    let error = writer.prepare(&lineage(), 2).await.unwrap_err();
    assert!(error.retry() && error.chain().contains("is not there any more"), "{}", error.chain());
    writer.abort(&lineage()).await.unwrap();
    // As the next attempt does.
    let mut next = open(&sink, &row_schema()).await;
    let prepared = prepare(next.as_mut(), named(2, &["a", "b"].map(Some)), 2).await;
    assert_eq!(prepared.rows, 2);
    commit(next.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!((place.of("a").await.len(), place.of("b").await.len()), (1, 2));
}

#[tokio::test]
async fn lineages_meet_the_same_new_tables_without_waiting_for_each_other() {
    let Some(place) = Place::new().await else { return };
    let sink = place.named("create: true");
    let lineages = [Lineage::new("k.t.0"), Lineage::new("k.t.1")];
    let mut writers = Vec::new();
    for lineage in &lineages {
        let ctx = ctx(&row_schema());
        sink.fence_and_read(&ctx, lineage).await.unwrap();
        writers.push(sink.open(ctx).await.unwrap());
    }
    let schema = record::sink_schema(&row_schema(), true);
    for (writer, lineage) in writers.iter_mut().zip(&lineages) {
        let records = named(0, &["a", "b"].map(Some));
        let records = for_sink(&records, &schema, &SplitId::new(lineage.as_str()), 1).unwrap();
        writer.write(lineage, records).await.unwrap();
        assert_eq!(writer.prepare(lineage, 1).await.unwrap().rows, 2);
    }
    for (writer, lineage) in writers.iter_mut().zip(&lineages) {
        let commit = Commit { lineage: lineage.clone(), ..commit_of(1, None) };
        assert_eq!(writer.commit(&commit).await.unwrap(), CommitOutcome::Committed);
    }
    assert_eq!((place.of("a").await.len(), place.of("b").await.len()), (2, 2));
}

#[tokio::test]
async fn no_row_names_the_table_of_another_sink_and_none_is_read_there() {
    let Some(place) = Place::new().await else { return };
    let settings = format!("url: {:?}, table: {}_all, create: true", place.url, place.table);
    let other = testkit::section(&format!("{{ {settings} }}")).read().unwrap();
    let other = PostgresSink::new(other).unwrap();
    fence(&other).await;
    let mut writer = open(&other, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &["a", "b"].map(Some)), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    let sink = place.named("create: true");
    assert_eq!(fence(&sink).await, Held::Nothing);
    let mut writer = open(&sink, &row_schema()).await;
    let prepared = prepare(writer.as_mut(), named(0, &["a", "all"].map(Some)), 1).await;
    assert_eq!((prepared.rows, prepared.rejects.len()), (1, 1));
    assert!(reasons(&prepared)[0].1.contains("belongs to a sink with one table"));
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 1);
    assert_eq!(count(&read_back(&other, ReadBack::Origins).await), 2);
}

#[tokio::test]
async fn partitions_of_a_table_that_rows_name_are_not_read_twice() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t}_a (number bigint, text text, _split text, _position bigint, \
             _epoch bigint) PARTITION BY RANGE (number); \
             CREATE TABLE {t}_a_low PARTITION OF {t}_a FOR VALUES FROM (0) TO (5); \
             CREATE TABLE {t}_a_high PARTITION OF {t}_a FOR VALUES FROM (5) TO (10)",
        )
        .await;
    let sink = place.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &[Some("a"); 10]), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 10);
    // Rows that name a partition itself are read with those of the whole, and it still stands.
    let prepared = prepare(writer.as_mut(), named(2, &[Some("a_low"); 3]), 2).await;
    let met: Vec<_> = prepared.identities.iter().map(|it| (&*it.place, &*it.id)).collect();
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 13);
    let there = sink.identities().await.unwrap();
    let place = format!("public.{}_a_low", place.table);
    assert_eq!(met, [(&*place, &*there[&place])]);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_settled_for_all_tables_at_once() {
    let _alone = FAILPOINTS.write().await;
    for (point, rows) in [("postgres.commit.token", 0), ("postgres.commit.after", 1)] {
        let Some(place) = Place::unguarded() else { return };
        let sink = place.named("create: true");
        fence(&sink).await;
        let mut writer = open(&sink, &row_schema()).await;
        prepare(writer.as_mut(), named(0, &["a", "b"].map(Some)), 1).await;
        failpoint::arm(point, 1, Action::Fail);
        assert!(commit(writer.as_mut(), 1, None).await.is_err(), "{point}");
        fence(&sink).await;
        assert_eq!((place.of("a").await.len(), place.of("b").await.len()), (rows, rows), "{point}");
        let mut next = open(&sink, &row_schema()).await;
        if rows == 0 {
            let outcome = commit(next.as_mut(), 1, None).await.unwrap();
            assert_eq!(outcome, CommitOutcome::NeedsReplay, "{point}");
            prepare(next.as_mut(), named(0, &["a", "b"].map(Some)), 1).await;
        }
        let outcome = commit(next.as_mut(), 1, None).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed, "{point}");
        assert_eq!((place.of("a").await.len(), place.of("b").await.len()), (1, 1), "{point}");
    }
}

#[test]
fn sinks_whose_rows_can_name_one_table_meet() {
    let choice = |database: &str, table: &str| {
        let settings = format!("{{ url: \"postgres://db/{database}\", table: \"{table}\" }}");
        PostgresSink::new(testkit::section(&settings).read().unwrap()).unwrap().choice()
    };
    let meet =
        |one: &str, other: &str| choice("a", one).unwrap().meets(&choice("a", other).unwrap());
    assert!(meet("logs_{text}", "logs_x_{text}"));
    assert!(meet("logs_{text}", "public.{text}_{number}"));
    assert!(!meet("logs_{text}", "archive.logs_{text}"));
    assert!(!meet("logs_{text}", "web_{text}"));
    assert!(!choice("a", "t_{text}").unwrap().meets(&choice("b", "t_{text}").unwrap()));
    // Its tokens say whose it is.
    assert_eq!(choice("a", "logs_x"), None);
}
