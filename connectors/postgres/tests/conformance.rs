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
