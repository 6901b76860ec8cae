//! What every sink must hold, proved on a table of its own.

use std::path::Path;

use connector_postgres::Postgres;
use testkit::services::{find, unique};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_holds_each_epoch_once() {
    let Some(url) = find("postgres") else { return };
    let table = unique("proof");
    let settings = testkit::section(&format!("{{ url: {url:?}, table: {table}, create: true }}"));
    testkit::check_sink(&Postgres, &settings, Path::new("unused")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_table_refuses_are_set_aside_and_the_others_delivered() {
    let Some(url) = find("postgres") else { return };
    let table = unique("refusing");
    let columns = "{ number: \"bigint not null\" }";
    let settings = format!("{{ url: {url:?}, table: {table}, create: {{ columns: {columns} }} }}");
    // A text of PostgreSQL has no letter NUL.
    let refuses = |row| row % 7 == 0 || row % 5 == 2;
    let place = (&testkit::section(&settings), Path::new("unused"));
    testkit::check_rejects(&Postgres, place, refuses).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_rows_name_hold_each_epoch_once() {
    let Some(url) = find("postgres") else { return };
    let table = unique("proofs");
    let settings = format!("{{ url: {url:?}, table: \"{table}_{{_position}}\", create: true }}");
    testkit::check_sink(&Postgres, &testkit::section(&settings), Path::new("unused")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_tables_refuse_are_set_aside_whatever_table_they_name() {
    let Some(url) = find("postgres") else { return };
    let table = format!("{}_{{plain}}", unique("refusers"));
    let columns = "{ number: \"bigint not null\" }";
    let settings =
        format!("{{ url: {url:?}, table: {table:?}, create: {{ columns: {columns} }} }}");
    let refuses = |row| row % 7 == 0 || row % 5 == 2;
    let place = (&testkit::section(&settings), Path::new("unused"));
    testkit::check_rejects(&Postgres, place, refuses).await;
}
