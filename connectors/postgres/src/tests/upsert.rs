use contract::sink::Proof;

use super::*;

const BY_NUMBER: &str = "create: true, upsert_by: [number]";

/// Rows of two columns, one text for each number.
fn pairs(pairs: &[(i64, &str)]) -> RecordBatch {
    let numbers: Int64Array = pairs.iter().map(|(number, _)| *number).collect();
    let texts: StringViewArray = pairs.iter().map(|(_, text)| Some(*text)).collect();
    let positions: Int64Array = (0..pairs.len() as i64).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts), Arc::new(positions)];
    RecordBatch::try_new(row_schema(), columns).unwrap()
}

#[tokio::test]
async fn the_last_row_of_a_key_stays() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(BY_NUMBER);
    assert_eq!(sink.promise().proof, Proof::None, "rows that were replaced cannot be found");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    write(writer.as_mut(), pairs(&[(1, "a"), (2, "b"), (1, "c")]), 1).await.unwrap();
    let prepared = prepare(writer.as_mut(), pairs(&[(2, "d"), (3, "e")]), 1).await;
    assert_eq!(prepared.rows, 5, "a row that is replaced was delivered");
    commit(writer.as_mut(), 1, None).await.unwrap();
    let all = "SELECT number, text, _epoch FROM {t} ORDER BY 1";
    assert_eq!(place.query(all).await, ["1,c,1", "2,d,1", "3,e,1"]);
    prepare(writer.as_mut(), pairs(&[(3, "f"), (4, "g")]), 2).await;
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!(place.query(all).await, ["1,c,1", "2,d,1", "3,f,2", "4,g,2"]);
}

#[tokio::test]
async fn chunks_replace_rows_of_chunks_before_them() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink(BY_NUMBER);
    fence(&sink).await;
    let mut ctx = ctx(&row_schema());
    ctx.memory_bytes = 1;
    let mut writer = sink.open(ctx).await.unwrap();
    for text in ["a", "b", "c"] {
        write(writer.as_mut(), pairs(&[(1, text), (2, "x")]), 1).await.unwrap();
    }
    writer.prepare(&lineage(), 1).await.unwrap();
    commit(writer.as_mut(), 1, None).await.unwrap();
    assert_eq!(place.query("SELECT number, text FROM {t} ORDER BY 1").await, ["1,c", "2,x"]);
}

#[tokio::test]
async fn rows_that_cannot_replace_others_are_refused() {
    let Some(place) = Place::new().await else { return };
    place
        .execute(
            "CREATE TABLE {t} (number bigint, text text CHECK (text <> 'no'), _split text, \
             _position bigint, _epoch bigint); CREATE UNIQUE INDEX ON {t} (number)",
        )
        .await;
    let batch = pairs(&[(1, "a"), (1, "no"), (2, "b"), (3, "no")]);
    let refused = deliver(&place, "upsert_by: [number]", batch).await;
    let refused: Vec<_> = refused.iter().map(|row| row.reject.position).collect();
    assert_eq!(refused, [1, 3]);
    assert_eq!(place.query("SELECT number, text FROM {t} ORDER BY 1").await, ["1,a", "2,b"]);
}

#[tokio::test]
async fn a_table_without_the_key_is_refused() {
    let Some(place) = Place::new().await else { return };
    let sink = place.sink("origin: false, upsert_by: [number]");
    for indexes in [
        "CREATE INDEX ON {t} (number)",
        "CREATE UNIQUE INDEX ON {t} (number, text)",
        "CREATE UNIQUE INDEX ON {t} (number) WHERE number > 0",
        "ALTER TABLE {t} ADD UNIQUE (number) DEFERRABLE",
    ] {
        let table = "DROP TABLE IF EXISTS {t}; CREATE TABLE {t} (number bigint, text text)";
        place.execute(&format!("{table}; {indexes}")).await;
        let said = refused(&sink, &row_schema()).await;
        assert!(said.contains("has no unique index on number; CREATE UNIQUE INDEX"), "{said}");
    }
    place.execute("CREATE UNIQUE INDEX ON {t} (number) INCLUDE (text)").await;
    open(&sink, &row_schema()).await;
}
