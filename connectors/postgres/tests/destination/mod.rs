//! A table in PostgreSQL.

use std::path::Path;

use testkit::program::Program;
use testkit::services::{find, unique};
use testkit::stream::servers::Called;
use testkit::stream::{Destination, Tally};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls, Row};

/// A table of its own, which the sink makes.
pub struct Table {
    url: String,
    /// What the pipeline calls it.
    called: String,
    table: String,
}

/// Names a table.
pub fn destination(called: Called) -> Option<Box<dyn Destination>> {
    let table = Table::named(&find("postgres")?, &unique("milled"));
    Some(Box::new(Table { called: called.address("postgres")?, ..table }))
}

impl Table {
    /// The table that has this name.
    pub fn named(url: &str, table: &str) -> Self {
        Self { url: url.to_owned(), called: url.to_owned(), table: table.to_owned() }
    }

    /// Makes the table, for programs that do not.
    ///
    /// # Panics
    /// The server refuses.
    pub fn create(&self) {
        let tasks = tokio::runtime::Runtime::new().expect("a runtime");
        let create = format!("CREATE TABLE {} (id bigint, word text)", self.table);
        tasks.block_on(self.ask(&create)).expect("the server makes a table");
    }

    async fn ask(&self, query: &str) -> Result<Vec<Row>, Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let rows = client.query(query, &[]).await;
        connection.abort();
        rows
    }

    async fn rows(&self) -> Result<Vec<(i64, String)>, Error> {
        let rows = match self.ask(&format!("SELECT id, word FROM {}", self.table)).await {
            // The sink has not made it yet.
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Vec::new(),
            rows => rows?,
        };
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

impl Destination for Table {
    fn settings(&self) -> String {
        let Self { called, table, .. } = self;
        format!("type: postgres, url: \"{called}\", table: {table}, create: true")
    }

    fn read(&self, _: &Program, _: &Path, tally: &mut Tally) {
        let tasks = tokio::runtime::Runtime::new().expect("a runtime");
        for (id, word) in tasks.block_on(self.rows()).expect("the server answers") {
            tally.count(u64::try_from(id).expect("ids are not negative"), &word);
        }
    }
}
