//! The table of SQLSTATEs in the README, line by line: what the server says, and who has to act.

use contract::ErrorKind;

use super::*;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    /// The row: it is a dead letter.
    Row,
    /// What may pass: the epoch is begun again.
    Passing,
    /// The table, the login, the server: the pipeline stops.
    Destination,
}

const COLUMNS: &str = "(number bigint, text text, _split text, _position bigint, _epoch bigint)";

/// Writes ten rows of which one meets something; so many stand in the table if that is a letter.
async fn meet(place: &Place, count: i64) -> About {
    let sink = place.sink("create: false");
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    write(writer.as_mut(), rows(0..10), 1).await.unwrap();
    match writer.prepare(&lineage(), 1).await {
        Ok(prepared) => {
            let refused: Vec<_> =
                prepared.rejects.iter().map(|reject| reject.reject.position).collect();
            assert_eq!((prepared.rows, refused), (9, vec![3]));
            let outcome = commit(writer.as_mut(), 1, None).await.unwrap();
            assert_eq!((outcome, place.count().await), (CommitOutcome::Committed, count));
            About::Row
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::External, "{error:?}");
            if error.retry() { About::Passing } else { About::Destination }
        }
    }
}

/// A trigger raises each of these for one row.
async fn check_raised(when: &str, states: &[&str], expect: About) {
    for state in states {
        let Some(place) = Place::new().await else { return };
        place
            .execute(&format!(
                "CREATE TABLE {{t}} {COLUMNS}; \
                 CREATE FUNCTION {{t}}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.number = 3 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END IF; \
                 RETURN NEW; END $$; \
                 CREATE TRIGGER f {when} INSERT ON {{t}} FOR EACH ROW EXECUTE FUNCTION {{t}}_f()"
            ))
            .await;
        assert_eq!(meet(&place, 9).await, expect, "{state} {when}");
    }
}

#[tokio::test]
async fn what_a_trigger_raises_is_about_the_row_whatever_its_state() {
    let row = ["P0001", "P0002", "P0003", "P0004", "U0001", "ZZ999", "22012", "23505", "44000"];
    check_raised("BEFORE", &row, About::Row).await;
    check_raised("AFTER", &["P0001", "P0004", "U0001"], About::Row).await;
    // On purpose, these too.
    let purpose = ["0A000", "28000", "3D000", "3F000", "42501", "42P01", "F0000", "XX000", "22P04"];
    check_raised("BEFORE", &purpose, About::Row).await;
    check_raised("AFTER", &["42501"], About::Row).await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_whoever_raised_it() {
    let passing = ["08006", "25006", "40001", "40P01", "53100", "55P03", "55000", "58030"];
    check_raised("BEFORE", &passing, About::Passing).await;
    check_raised("AFTER", &["40001"], About::Passing).await;
    // `query_canceled` itself.
    check_raised("BEFORE", &["57014"], About::Passing).await;
}

/// A trigger that runs a statement for one row.
async fn check_run(statement: &str, expect: About) {
    let Some(place) = Place::new().await else { return };
    place
        .execute(&format!(
            "CREATE TABLE {{t}} {COLUMNS}; \
             CREATE FUNCTION {{t}}_f() RETURNS trigger LANGUAGE plpgsql AS $$ \
             DECLARE one bigint; BEGIN IF NEW.number = 3 THEN {statement}; END IF; \
             RETURN NEW; END $$; \
             CREATE TRIGGER f BEFORE INSERT ON {{t}} FOR EACH ROW EXECUTE FUNCTION {{t}}_f()"
        ))
        .await;
    assert_eq!(meet(&place, 9).await, expect, "{statement}");
}

#[tokio::test]
async fn a_trigger_that_fails_by_itself_is_told_from_one_that_raises() {
    check_run("one := 1 / (NEW.number - 3)", About::Row).await;
    check_run("SELECT 1 INTO STRICT one WHERE false", About::Row).await;
    check_run("SELECT generate_series(1, 2) INTO STRICT one", About::Row).await;
    check_run("ASSERT false, 'no'", About::Row).await;
    check_run("PERFORM * FROM logmill_no_such_table", About::Destination).await;
    check_run("PERFORM logmill_no_such_function()", About::Destination).await;
}

#[tokio::test]
async fn what_a_table_refuses_by_itself_is_about_the_row() {
    for columns in [
        "number bigint CHECK (number <> 3), text text",
        "number bigint, text text CHECK (text <> 'row 3')",
        "number bigint UNIQUE, text text",
        "number bigint, text text, EXCLUDE (number WITH =)",
        "number bigint REFERENCES {t}_r, text text",
        "number {t}_d, text text",
        "number bigint, text {t}_e",
    ] {
        let Some(place) = Place::new().await else { return };
        let known: Vec<_> = (0..10).filter(|n| *n != 3).map(|n| format!("'row {n}'")).collect();
        place
            .execute(&format!(
                "CREATE TABLE {{t}}_r (n bigint PRIMARY KEY); \
                 INSERT INTO {{t}}_r SELECT n FROM generate_series(0, 9) n WHERE n <> 3; \
                 CREATE DOMAIN {{t}}_d AS bigint CHECK (VALUE <> 3); \
                 CREATE TYPE {{t}}_e AS ENUM ({}); \
                 CREATE TABLE {{t}} ({columns}, _split text, _position bigint, _epoch bigint)",
                known.join(", ")
            ))
            .await;
        let constraint = ["UNIQUE", "EXCLUDE"].iter().any(|word| columns.contains(word));
        if constraint {
            place.execute("INSERT INTO {t} (number) VALUES (3)").await;
        }
        assert_eq!(meet(&place, 9 + i64::from(constraint)).await, About::Row, "{columns}");
    }
}

#[tokio::test]
async fn what_is_about_the_destination_rejects_nothing() {
    for (then, expect) in [
        ("DROP TABLE {t}", About::Destination),
        ("ALTER TABLE {t} RENAME TO {t}_gone", About::Destination),
        ("ALTER TABLE {t} ADD CHECK (number < 100) NOT VALID", About::Row),
    ] {
        let Some(place) = Place::new().await else { return };
        place.execute(&format!("CREATE TABLE {{t}} {COLUMNS}")).await;
        let sink = place.sink("create: false");
        fence(&sink).await;
        let mut writer = open(&sink, &row_schema()).await;
        place.execute(then).await;
        write(writer.as_mut(), rows(99..101), 1).await.unwrap();
        match writer.prepare(&lineage(), 1).await {
            Ok(prepared) => assert_eq!((expect, prepared.rejects.len()), (About::Row, 1)),
            Err(error) => {
                assert_eq!(expect, About::Destination, "{then}");
                assert!(!error.retry() && error.hint_text().is_some(), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_right_that_is_taken_away_stops_and_rejects_nothing() {
    let Some(place) = Place::new().await else { return };
    let weak = unique("weak");
    place
        .execute(&format!(
            "CREATE TABLE {{t}} {COLUMNS}; CREATE ROLE {weak} LOGIN PASSWORD 'weak'; \
             GRANT CREATE, USAGE ON SCHEMA public TO {weak}; GRANT INSERT ON {{t}} TO {weak}"
        ))
        .await;
    let (_, host) = place.url.split_once('@').expect("a URL with a user");
    let url = format!("postgres://{weak}:weak@{host}");
    let sink = Place { url, table: place.table.clone(), _guard: None }.sink("create: false");
    let tokens = "SELECT 1 FROM pg_tables WHERE tablename = 'logmill_tokens'";
    if !place.query(tokens).await.is_empty() {
        place.execute(&format!("GRANT ALL ON logmill_tokens TO {weak}")).await;
    }
    fence(&sink).await;
    let mut writer = open(&sink, &row_schema()).await;
    prepare(writer.as_mut(), rows(0..5), 1).await;
    assert_eq!(commit(writer.as_mut(), 1, None).await.unwrap(), CommitOutcome::Committed);
    place.execute(&format!("REVOKE ALL ON {{t}} FROM {weak}")).await;
    write(writer.as_mut(), rows(5..9), 2).await.unwrap();
    let error = writer.prepare(&lineage(), 2).await.expect_err("it may not");
    assert!(!error.retry() && error.chain().contains("42501"), "{error:?}");
    drop(writer);
    place.execute(&format!("DROP OWNED BY {weak}; DROP ROLE {weak}")).await;
}
