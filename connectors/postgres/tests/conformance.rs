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
