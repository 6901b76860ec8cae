//! A table in PostgreSQL.

use std::path::Path;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls, Row};

use super::Destination;
use crate::program::Program;
use crate::services::unique;
use crate::stream::servers::Servers;
use crate::stream::tally::Tally;

/// A table of its own, which the sink makes.
pub struct Table {
    url: String,
    /// What the pipeline calls it.
    called: String,
    table: String,
}

impl Table {
    /// A name for the table.
    pub fn new(servers: &Servers, called: &Servers) -> Self {
        Self { called: called.postgres.clone(), ..Self::named(servers, &unique("milled")) }
    }

    /// The table that has this name.
    pub fn named(servers: &Servers, table: &str) -> Self {
        let (url, called) = (servers.postgres.clone(), servers.postgres.clone());
        Self { url, called, table: table.to_owned() }
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
