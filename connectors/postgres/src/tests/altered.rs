//! A table that somebody alters, replaces or empties while a sink writes it.

use contract::ErrorKind;

use super::*;

const MADE: &str =
    "CREATE TABLE {t} (number bigint, text text, _split text, _position bigint, _epoch bigint)";

/// Writes an epoch, alters the table, and writes the next one as the runtime does: an attempt that
/// fails in passing is dropped and begun again. Returns what stands in the table, or the error
/// that does not pass.
async fn check(alter: &str, expect: std::result::Result<&[&str], &str>) {
    let Some(place) = Place::new().await else { return };
    place.execute(MADE).await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(1000..1001), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    place.execute(alter).await;

    write(writer.as_mut(), rows(1003..1005), 2).await.unwrap();
    let error = writer.prepare(&lineage(), 2).await.expect_err("it was encoded for another table");
    assert!(error.retry(), "{error:?}");
    assert!(error.chain().contains("its columns are read again"), "{error:?}");
    writer.abort(&lineage()).await.unwrap();
    drop(writer);

    fence(&sink).await;
    let reopened = sink.open(ctx(&row_schema())).await;
    let said = match reopened {
        Ok(mut writer) => {
            prepare(writer.as_mut(), rows(1003..1005), 2).await;
            let outcome = commit(writer.as_mut(), 2, Some(1)).await.unwrap();
            assert_eq!(outcome, CommitOutcome::Committed);
            Ok(place.query("SELECT number, text FROM {t} ORDER BY 1").await)
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            Err(error.chain().replace(&place.table, "T"))
        }
    };
    let expect = expect.map(|rows| rows.iter().map(|row| (*row).to_owned()).collect());
    assert_eq!(said, expect.map_err(str::to_owned), "{alter}");
}

#[tokio::test]
async fn values_of_one_type_never_land_in_a_column_of_another() {
    let column = "ALTER TABLE {t} ALTER COLUMN number TYPE";
    let same = ["1000,\"row 1000\"", "1003,\"row 1003\"", "1004,\"row 1004\""];
    for to in ["double precision", "numeric", "integer", "text", "real"] {
        check(&format!("{column} {to}"), Ok(&same)).await;
    }
    check(
        &format!("{column} numeric(8, 1)"),
        Ok(&["1000.0,\"row 1000\"", "1003.0,\"row 1003\"", "1004.0,\"row 1004\""]),
    )
    .await;
    check(
        &format!("{column} timestamptz USING to_timestamp(number)"),
        Err("column \"number\" is Int64 here and timestamp with time zone in table \"public.T\""),
    )
    .await;
}

#[tokio::test]
async fn columns_that_come_and_go_are_met() {
    let same = ["1000,\"row 1000\"", "1003,\"row 1003\"", "1004,\"row 1004\""];
    check("ALTER TABLE {t} ADD COLUMN more text DEFAULT 'x'", Ok(&same)).await;
    let renamed = "table \"public.T\" has no column \"text\"";
    check("ALTER TABLE {t} RENAME COLUMN text TO texts", Err(renamed)).await;
    check("ALTER TABLE {t} DROP COLUMN text", Err(renamed)).await;
    check(
        "ALTER TABLE {t} DROP COLUMN number; ALTER TABLE {t} ADD COLUMN number integer",
        Ok(&["1003,\"row 1003\"", "1004,\"row 1004\"", ",\"row 1000\""]),
    )
    .await;
    check(
        "ALTER TABLE {t} ADD COLUMN must text NOT NULL DEFAULT 'x'; \
         ALTER TABLE {t} ALTER COLUMN must DROP DEFAULT",
        Err("column \"must\" of table \"public.T\" must not be null, and the input has no such \
             column"),
    )
    .await;
}

#[tokio::test]
async fn another_table_under_the_name_is_looked_at_first() {
    let fresh = ["1003,\"row 1003\"", "1004,\"row 1004\""];
    check(&format!("DROP TABLE {{t}}; {MADE}"), Ok(&fresh)).await;
    let other = MADE.replace("number bigint, text text", "text varchar(99), number real");
    check(&format!("DROP TABLE {{t}}; {other}"), Ok(&fresh)).await;
    check(
        &format!("ALTER TABLE {{t}} RENAME TO {{t}}_old; {other}"),
        Ok(&["1003,\"row 1003\"", "1004,\"row 1004\""]),
    )
    .await;
}

#[tokio::test]
async fn a_table_that_became_a_view_is_told() {
    let Some(place) = Place::new().await else { return };
    place.execute(MADE).await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    place
        .execute("ALTER TABLE {t} RENAME TO {t}_old; CREATE VIEW {t} AS SELECT * FROM {t}_old")
        .await;
    write(writer.as_mut(), rows(0..1), 1).await.unwrap();
    assert!(writer.prepare(&lineage(), 1).await.expect_err("it is a view").retry());
    writer.abort(&lineage()).await.unwrap();
    let mut writer = open(&sink, &row_schema()).await;
    write(writer.as_mut(), rows(0..1), 1).await.unwrap();
    let error = writer.prepare(&lineage(), 1).await.expect_err("nothing says where rows go");
    assert!(!error.retry() && error.chain().contains("cannot copy to view"), "{error:?}");
}

/// While rows are on their way nobody can alter the table; whoever wants to waits.
#[tokio::test]
async fn a_table_stays_as_it_is_while_an_epoch_is_open() {
    let Some(place) = Place::new().await else { return };
    place.execute(MADE).await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..10), 1).await;
    let alter = format!(
        "SET lock_timeout = '100ms'; ALTER TABLE {} ALTER COLUMN number TYPE double precision",
        place.table
    );
    let error = place.connection().await.execute("a test", &alter).await.expect_err("it waits");
    assert!(error.chain().contains("55P03"), "{error:?}");
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    assert_eq!(place.query("SELECT sum(number) FROM {t}").await, ["45"]);
}

#[tokio::test]
async fn a_schema_that_took_the_place_of_another_is_noticed_before_the_decision() {
    let Some(mut place) = Place::new().await else { return };
    let (schema_name, plain) = (unique("s"), place.table.clone());
    let columns = MADE.replace("CREATE TABLE {t}", "");
    place.table = format!("{schema_name}.{plain}");
    place
        .execute(&format!(
            "CREATE SCHEMA {schema_name}; CREATE TABLE {{t}} {columns}; \
             CREATE SCHEMA {schema_name}_new; \
             CREATE TABLE {schema_name}_new.{plain} {columns}"
        ))
        .await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut small = ctx(&row_schema());
    small.memory_bytes = 1;
    let mut writer = sink.open(small).await.unwrap();
    write(writer.as_mut(), rows(0..10), 1).await.unwrap();
    place
        .execute(&format!(
            "ALTER SCHEMA {schema_name} RENAME TO {schema_name}_old; \
             ALTER SCHEMA {schema_name}_new RENAME TO {schema_name}"
        ))
        .await;
    let error = writer.prepare(&lineage(), 1).await.expect_err("it is another table");
    assert!(error.retry() && error.chain().contains("is another one than before"), "{error:?}");
    writer.abort(&lineage()).await.unwrap();
    drop(writer);
    place
        .execute(&format!(
            "DROP SCHEMA {schema_name}_old CASCADE; DROP SCHEMA {schema_name} CASCADE"
        ))
        .await;
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew_without_a_word() {
    let Some(place) = Place::new().await else { return };
    deliver(&place, "create: true", rows(0..10)).await;
    let sink = place.sink("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    place.execute("DROP TABLE {t}").await;
    write(writer.as_mut(), rows(10..20), 2).await.unwrap();
    let error = writer.prepare(&lineage(), 2).await.expect_err("it is gone");
    assert!(!error.retry() && error.chain().contains("42P01"), "{error:?}");
    let said = refused(&sink, &row_schema()).await.replace(&place.table, "T");
    let expect = "Config: table \"public.T\" is not there, and it should hold epoch 1; ";
    assert!(said.starts_with(expect), "{said}");
    // Whoever wants to go on without the rows makes it, or takes the token away.
    place.execute("DELETE FROM logmill_tokens WHERE table_name = '{t}'").await;
    fence(&sink).await;
    open(&sink, &row_schema()).await;
    assert_eq!(place.count().await, 0);
}

#[tokio::test]
async fn a_table_that_is_emptied_gets_nothing_again() {
    let Some(place) = Place::new().await else { return };
    place.execute(MADE).await;
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    for (epoch, empty) in [(1, "TRUNCATE {t}"), (2, "DELETE FROM {t}"), (3, "SELECT 1")] {
        let from = i64::try_from(epoch).unwrap() * 10;
        prepare(writer.as_mut(), rows(from..from + 2), epoch).await;
        let prev = epoch.checked_sub(1).filter(|prev| *prev > 0);
        let outcome = commit(writer.as_mut(), epoch, prev).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Committed);
        place.execute(empty).await;
    }
    assert_eq!(place.query("SELECT number FROM {t} ORDER BY 1").await, ["30", "31"]);
}

#[tokio::test]
async fn a_database_that_is_read_only_is_waited_for() {
    let Some(mut place) = Place::new().await else { return };
    let server = place.url.clone();
    let database = unique("readonly");
    place.execute(&format!("CREATE DATABASE {database}")).await;
    let mut url = url::Url::parse(&server).expect("an address");
    url.set_path(&database);
    place.url = url.to_string();
    let sink = place.sink("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..2), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    drop(writer);
    let set = |value: &str| {
        format!("ALTER DATABASE {database} SET default_transaction_read_only = {value}")
    };
    place.execute(&set("on")).await;
    let standby = place.sink("create: true");
    let error = standby.fence_and_read(&ctx(&row_schema()), &lineage()).await.expect_err("waits");
    assert!(error.retry() && error.chain().contains("25006"), "{}", error.chain());
    place.url.clone_from(&server);
    place.execute(&set("off")).await;
    place.url = url.to_string();
    fence(&standby).await;
    let mut writer = open(&standby, &row_schema()).await;
    prepare(writer.as_mut(), rows(2..4), 2).await;
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    assert_eq!(place.count().await, 4);
    drop(writer);
    place.url = server;
    place.execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
}
