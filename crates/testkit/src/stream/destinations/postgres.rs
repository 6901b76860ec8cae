//! A table in PostgreSQL.

use std::path::Path;

use tokio_postgres::NoTls;

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
        let table = unique("milled");
        Self { url: servers.postgres.clone(), called: called.postgres.clone(), table }
    }

    async fn rows(&self) -> Result<Vec<(i64, String)>, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let query = format!("SELECT id, word FROM {}", self.table);
        let rows = client.query(&query, &[]).await?;
        connection.abort();
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
