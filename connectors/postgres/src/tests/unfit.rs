//! Tables that rows name and that cannot be had or written: their rows are dead letters, all others
//! get in, and what is about the server stops.

use contract::ErrorKind;
use contract::sink::ReadBack;

use super::named::{count, named, read_back, reasons};
use super::*;

/// A database of its own, which keeps names in Latin-1, and a login with few rights in it.
struct Own {
    /// For the owner.
    place: Place,
    /// For the login.
    login: Place,
    weak: String,
}

impl Own {
    async fn new() -> Option<Self> {
        let shared = Place::new().await?;
        let weak = unique("weak");
        shared.execute(&format!("CREATE ROLE {weak} LOGIN PASSWORD 'weak'")).await;
        let latin = "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
        shared.execute(&format!("CREATE DATABASE {weak} {latin}")).await;
        let (address, _) = shared.url.rsplit_once('/').expect("a URL with a database");
        let url = format!("{address}/{weak}");
        let (_, host) = url.split_once('@').expect("a URL with a user");
        let as_weak = format!("postgres://{weak}:weak@{host}");
        let login = Place { url: as_weak, table: shared.table.clone(), _guard: None };
        let own = Self { place: Place { url, ..shared }, login, weak };
        own.execute("GRANT CREATE, USAGE ON SCHEMA public TO {weak}").await;
        Some(own)
    }

    async fn execute(&self, statements: &str) {
        self.place.execute(&statements.replace("{weak}", &self.weak)).await;
    }
}

const COLUMNS: &str = "(number bigint, text text, _split text, _position bigint, _epoch bigint)";

/// What stands under names that rows give, and what the reason of their rows says.
const UNFIT: &[(&str, &str, &str)] = &[
    ("enum", "CREATE TYPE {t} AS ENUM ('a')", "already exists (42710)"),
    ("view", "CREATE VIEW {t} AS SELECT 1 AS number", "is no table"),
    ("shown", "CREATE MATERIALIZED VIEW {t} AS SELECT 1 AS number", "is no table"),
    ("sequence", "CREATE SEQUENCE {t}", "is no table"),
    ("index", "CREATE TABLE {t}_of (n int); CREATE INDEX {t} ON {t}_of (n)", "is no table"),
    ("composite", "CREATE TYPE {t} AS (n int)", "is no table"),
    (
        "shape",
        "CREATE TABLE {t} (number text[]); GRANT ALL ON {t} TO {weak}",
        "column \"number\" is Int64 here and text[]",
    ),
    (
        "short",
        "CREATE TABLE {t} (number bigint); GRANT ALL ON {t} TO {weak}",
        "has no column \"text\"",
    ),
    ("denied", "CREATE TABLE {t} COLUMNS", "the login has not the right `INSERT`"),
    (
        "guarded",
        "CREATE TABLE {t} COLUMNS; GRANT ALL ON {t} TO {weak}; \
         ALTER TABLE {t} ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY p ON {t} USING (number > 5)",
        "row security stands on it",
    ),
    (
        "broken",
        "CREATE TABLE {t} COLUMNS; GRANT ALL ON {t} TO {weak}; \
         CREATE FUNCTION {t}_f() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO gone VALUES (1); RETURN NEW; END $$; \
         CREATE TRIGGER f BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {t}_f()",
        "relation \"gone\" does not exist (42P01)",
    ),
    (
        "updated",
        "CREATE TABLE {t} COLUMNS; GRANT SELECT, UPDATE ON {t} TO {weak}",
        "the login has not the right `INSERT`",
    ),
    // The server cannot even be asked for it.
    ("\u{20ac}", "", "(22P05)"),
];

#[tokio::test]
async fn whatever_stands_under_a_name_that_rows_give_stops_no_other_row() {
    let Some(own) = Own::new().await else { return };
    for (text, statements, _) in UNFIT {
        let table = format!("{}_{text}", own.place.table);
        own.execute(&statements.replace("{t}", &table).replace("COLUMNS", COLUMNS)).await;
    }
    let sink = own.login.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    let mut texts = vec![Some("good")];
    texts.extend(UNFIT.iter().flat_map(|(text, _, _)| [Some(*text), Some("good"), Some(*text)]));
    for (epoch, prev) in [(1, None), (2, Some(1))] {
        write(writer.as_mut(), named(0, &texts), epoch).await.unwrap();
        let prepared = prepare(writer.as_mut(), named(100, &texts), epoch).await;
        let refused = reasons(&prepared);
        for (at, (text, _, expect)) in UNFIT.iter().enumerate() {
            let rows = [1, 3, 101, 103].map(|first| first + 3 * at as i64);
            let of: Vec<_> = refused.iter().filter(|(row, _)| rows.contains(row)).collect();
            assert_eq!(of.len(), 4, "{text}: {refused:?}");
            assert!(of.iter().all(|(_, reason)| reason.contains(expect)), "{text}: {of:?}");
        }
        assert_eq!(refused.len(), 4 * UNFIT.len());
        assert_eq!(prepared.rows as usize, 2 * (1 + UNFIT.len()));
        assert_eq!(prepared.identities.len(), 1);
        commit(writer.as_mut(), epoch, prev).await.unwrap();
    }
    // `audit` reads what the login may read; nothing of it lies elsewhere.
    assert_eq!(count(&read_back(&sink, ReadBack::Origins).await), 4 * (1 + UNFIT.len()));
}

#[tokio::test]
async fn a_table_that_was_written_and_may_not_be_by_now_refuses_its_rows_alone() {
    let Some(own) = Own::new().await else { return };
    let sink = own.login.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &["a", "b"].map(Some)), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    own.execute("ALTER TABLE {t}_a OWNER TO postgres; REVOKE ALL ON {t}_a FROM {weak}").await;
    let prepared = prepare(writer.as_mut(), named(2, &["a", "b", "a"].map(Some)), 2).await;
    assert_eq!((prepared.rows, prepared.rejects.len()), (1, 2));
    commit(writer.as_mut(), 2, Some(1)).await.unwrap();
    own.execute("GRANT INSERT ON {t}_a TO {weak}").await;
    let prepared = prepare(writer.as_mut(), named(5, &["a", "b"].map(Some)), 3).await;
    assert_eq!((prepared.rows, prepared.rejects.len()), (2, 0));
    commit(writer.as_mut(), 3, Some(2)).await.unwrap();
    let of = async |text: &str| own.place.of(text).await.len();
    assert_eq!((of("a").await, of("b").await), (2, 3));
}

#[tokio::test]
async fn a_right_to_create_that_is_missing_refuses_rows_that_name_new_tables() {
    let Some(own) = Own::new().await else { return };
    let sink = own.login.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &[Some("a")]), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    own.execute("REVOKE CREATE ON SCHEMA public FROM {weak}").await;
    let mut next = open(&sink, &row_schema()).await;
    let prepared = prepare(next.as_mut(), named(1, &["a", "b", "b"].map(Some)), 2).await;
    assert_eq!(prepared.rows, 1);
    assert!(reasons(&prepared)[0].1.contains("permission denied for schema"), "{prepared:?}");
}

#[tokio::test]
async fn what_is_about_the_schema_stops_and_refuses_nothing() {
    let Some(own) = Own::new().await else { return };
    let sink = own.login.named("create: true");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), named(0, &[Some("a")]), 1).await;
    commit(writer.as_mut(), 1, None).await.unwrap();
    own.execute("REVOKE ALL ON SCHEMA public FROM {weak}, PUBLIC").await;
    for text in ["a", "b"] {
        let error = match write(writer.as_mut(), named(1, &[Some(text)]), 2).await {
            Ok(()) => writer.prepare(&lineage(), 2).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), error.retry()), (ErrorKind::External, false), "{error:?}");
        assert!(error.chain().contains("permission denied for schema"), "{}", error.chain());
        writer = open(&sink, &row_schema()).await;
    }
}

#[tokio::test]
async fn rows_that_replace_others_need_the_right_to_temporary_tables_from_the_start() {
    let Some(own) = Own::new().await else { return };
    own.execute("REVOKE TEMPORARY ON DATABASE {weak} FROM PUBLIC").await;
    let sink = own.login.named("create: true, upsert_by: [text]");
    let said = refused(&sink, &row_schema()).await;
    assert!(said.starts_with("Config: rows replace others"), "{said}");
}
