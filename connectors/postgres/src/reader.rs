//! Reads one table for others, in connections that cannot write.
//!
//! A query that nobody waits for any more is cancelled on the server.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use crate::config::{Config, Create};
use crate::failure::external;
use crate::table::TableName;
use crate::tls;
use crate::url::Address;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait for the next query.
const IDLE_MAX: usize = 8;
/// What the server calls us.
const NAME: &str = "logmill serve";

/// A table of a database.
pub struct Reader {
    address: Address,
    table: TableName,
    statement_timeout: Duration,
    idle: Mutex<Vec<Client>>,
}

impl Reader {
    /// The table `table` or `schema.table` of the database under a URL. No I/O.
    ///
    /// # Errors
    /// Config: the URL or the table is none.
    pub fn new(
        url: &str,
        password: Option<&str>,
        table: &str,
        statement_timeout: Duration,
    ) -> Result<Self> {
        let config = Config {
            url: url.to_owned(),
            password: password.map(str::to_owned),
            table: table.to_owned(),
            create: Create::Never,
            tables_max: 1,
            upsert_by: Vec::new(),
            origin: false,
            connect_timeout: contract::quantity::Period(CONNECT_TIMEOUT),
            statement_timeout: contract::quantity::Period(statement_timeout),
            idle_timeout: contract::quantity::Period(statement_timeout),
        };
        let mut address = Address::read(&config)?;
        address.settings.connect_timeout(CONNECT_TIMEOUT).application_name(NAME);
        let table = TableName::parse(table)?;
        Ok(Self { address, table, statement_timeout, idle: Mutex::default() })
    }

    /// The table as it is written in SQL.
    pub fn table(&self) -> String {
        self.table.to_string()
    }

    /// The table as people know it.
    pub fn shown(&self) -> String {
        format!("{}, table {}", self.address.shown(), self.table.shown())
    }

    /// The columns with the names of their types, in the table's order; none if there is no table.
    ///
    /// # Errors
    /// External.
    pub async fn columns(&self) -> Result<Vec<(String, String)>> {
        let rows = self.query(COLUMNS, &[&self.table.schema, &self.table.name], usize::MAX).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Runs a query and gives its rows, one more than `rows_max` at most.
    ///
    /// # Errors
    /// External.
    pub async fn query(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
        rows_max: usize,
    ) -> Result<Vec<Row>> {
        let what = format!("could not ask postgres {:?}", self.shown());
        let client = self.client(&what).await?;
        let tls = tls::connector(&self.address.tls)?;
        let mut running = Running { token: client.cancel_token(), tls, is_over: false };
        let answer = async {
            let rows = client.query_raw(sql, values.iter().copied()).await?;
            rows.take(rows_max.saturating_add(1)).try_collect::<Vec<_>>().await
        };
        let answer = answer.await;
        // Where rows were left out, the server may still be at work.
        running.is_over = answer.as_ref().is_ok_and(|rows| rows.len() <= rows_max);
        let rows = answer.map_err(|error| external(error, what))?;
        if running.is_over {
            self.give_back(client);
        }
        Ok(rows)
    }

    async fn client(&self, what: &str) -> Result<Client> {
        while let Some(client) = self.idle().pop() {
            if !client.is_closed() {
                return Ok(client);
            }
        }
        let tls = tls::connector(&self.address.tls)?;
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, self.address.settings.connect(tls));
        let late = |_| Error::transient(what.to_owned()).because("no connection in time");
        let opened = opened.await.map_err(late)?;
        let (client, messages) = opened.map_err(|error| external(error, what))?;
        tokio::spawn(async move {
            if let Err(error) = messages.await {
                debug!(%error, "a connection to postgres ended");
            }
        });
        let session = format!(
            "SET default_transaction_read_only = on; SET timezone = 'UTC'; \
             SET statement_timeout = {}",
            self.statement_timeout.as_millis()
        );
        client.batch_execute(&session).await.map_err(|error| external(error, what))?;
        Ok(client)
    }

    fn give_back(&self, client: Client) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(client);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const COLUMNS: &str = "SELECT attname::text, typname::text FROM pg_attribute \
    JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace \
    JOIN pg_type ON pg_type.oid = atttypid \
    WHERE nspname = $1 AND relname = $2 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// A query under way; dropped before its end, it is cancelled.
struct Running {
    token: CancelToken,
    tls: MakeRustlsConnect,
    is_over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(tasks) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_over {
            let (token, tls) = (self.token.clone(), self.tls.clone());
            tasks.spawn(async move {
                if let Err(error) = token.cancel_query(tls).await {
                    debug!(%error, "could not cancel a query");
                }
            });
        }
    }
}
