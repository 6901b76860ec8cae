//! A connection to the server, of which every answer is waited for a limited time.
//!
//! After an error nothing is known of a connection: whoever gets one drops it, and the server
//! rolls back what it had open.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::{Error, Result};
use futures::SinkExt;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{
    Client, CopyInSink, Row, RowStream, SimpleQueryMessage, SimpleQueryRow, Statement, ToStatement,
};
use tracing::debug;

use crate::config::Config;
use crate::failure::{Refusal, external, refusal};
use crate::tls;
use crate::url::Address;

/// A connection that says nothing for this long is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// A process of the server, told from all that ever had its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its number.
    pub pid: i32,
    /// When it began.
    pub started: SystemTime,
}

/// What a statement that takes rows came to.
pub type Taken = std::result::Result<u64, Refusal>;

/// How connections are made.
pub struct Connector {
    address: Address,
    connect_timeout: Duration,
    statement_timeout: Duration,
    session: String,
}

impl Connector {
    /// Connections to an address. No I/O.
    pub fn new(address: Address, config: &Config) -> Self {
        let mut address = address;
        address
            .settings
            .connect_timeout(config.connect_timeout.0)
            .tcp_user_timeout(config.statement_timeout.0)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
        // A `COPY` may wait for rows for long, so that no statement is limited by the server; and
        // what is committed must be durable, whatever the role's own settings say.
        let session = format!(
            "SET statement_timeout = 0; SET lock_timeout = {lock}; \
             SET client_min_messages = warning; \
             SET idle_in_transaction_session_timeout = {idle}; \
             SELECT set_config('synchronous_commit', 'on', false) \
             WHERE current_setting('synchronous_commit') = 'off'",
            lock = config.statement_timeout.0.as_millis(),
            idle = config.idle_timeout.0.as_millis(),
        );
        Self {
            address,
            connect_timeout: config.connect_timeout.0,
            statement_timeout: config.statement_timeout.0,
            session,
        }
    }

    /// Opens a connection under a name that the server's views show.
    ///
    /// # Errors
    /// Config: a file with a certificate cannot be read. External: the server refuses or does not
    /// answer.
    pub async fn connect(&self, name: &str) -> Result<Connection> {
        let what = format!("could not connect to postgres \"{}\"", self.address.shown());
        let mut settings = self.address.settings.clone();
        settings.application_name(name);
        let tls = tls::connector(&self.address.tls)?;
        let opened = tokio::time::timeout(self.connect_timeout, settings.connect(tls));
        let opened =
            opened.await.map_err(|_| too_long(&what, self.connect_timeout).hint(UNREACHED))?;
        let (client, messages) = opened.map_err(|error| unopened(error, &what))?;
        tokio::spawn(async move {
            if let Err(error) = messages.await {
                debug!(%error, "a connection to postgres ended");
            }
        });
        let mut connection = Connection {
            client,
            limit: self.statement_timeout,
            backend: Backend { pid: 0, started: SystemTime::UNIX_EPOCH },
        };
        connection.execute(&what, &self.session).await?;
        let rows = connection.query(&what, OWN_BACKEND, &[]).await?;
        let own = rows.first().ok_or_else(|| Error::transient(what))?;
        connection.backend = Backend { pid: own.get(0), started: own.get(1) };
        Ok(connection)
    }
}

const OWN_BACKEND: &str =
    "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";

/// An open connection.
pub struct Connection {
    client: Client,
    limit: Duration,
    backend: Backend,
}

impl Connection {
    /// The server's process at the other end.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Whether it is known to be gone.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements that give nothing back.
    ///
    /// # Errors
    /// External.
    pub async fn execute(&self, what: &str, statements: &str) -> Result<()> {
        let answer = self.limited(what, self.client.batch_execute(statements)).await?;
        answer.map_err(|error| external(error, what))
    }

    /// Runs statements at once, and gives the rows of all of them as text.
    ///
    /// # Errors
    /// External.
    pub async fn ask(&self, what: &str, statements: &str) -> Result<Vec<SimpleQueryRow>> {
        let answer = self.limited(what, self.client.simple_query(statements)).await?;
        let messages = answer.map_err(|error| external(error, what))?.into_iter();
        Ok(messages
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// External.
    pub async fn query(
        &self,
        what: &str,
        statement: &(impl ToStatement + ?Sized + Sync),
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let answer = self.limited(what, self.client.query(statement, values)).await?;
        answer.map_err(|error| external(error, what))
    }

    /// Runs a statement and gives its rows as they come.
    ///
    /// # Errors
    /// External.
    pub async fn stream(
        &self,
        what: &str,
        statement: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream> {
        let values = values.iter().copied();
        let answer = self.limited(what, self.client.query_raw(statement, values)).await?;
        answer.map_err(|error| external(error, what))
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// External.
    pub async fn prepare(&self, what: &str, statement: &str) -> Result<Statement> {
        let answer = self.limited(what, self.client.prepare(statement)).await?;
        answer.map_err(|error| external(error, what))
    }

    /// The names and types of the columns that a statement gives.
    ///
    /// # Errors
    /// External.
    pub async fn column_types(&self, what: &str, statement: &str) -> Result<Vec<(String, Type)>> {
        let statement = self.prepare(what, statement).await?;
        let columns = statement.columns().iter();
        Ok(columns.map(|column| (column.name().to_owned(), column.type_().clone())).collect())
    }

    /// Runs a statement that takes rows which the server may refuse.
    ///
    /// # Errors
    /// External: something else than a refusal.
    pub async fn take(&self, what: &str, statement: &str) -> Result<Taken> {
        taken(self.limited(what, self.client.execute(statement, &[])).await?, what)
    }

    /// Sends pieces of rows into a prepared `COPY`.
    ///
    /// # Errors
    /// As for [`Connection::take`].
    pub async fn copy(
        &self,
        what: &str,
        copy: &(impl ToStatement + ?Sized),
        pieces: Vec<Bytes>,
    ) -> Result<Taken> {
        let begun = self.limited(what, self.client.copy_in::<_, Bytes>(copy)).await?;
        let sink: CopyInSink<Bytes> = match begun {
            Ok(sink) => sink,
            Err(error) => return taken(Err(error), what),
        };
        let mut sink = std::pin::pin!(sink);
        for piece in pieces {
            // An error here only says that the connection is gone; `finish` says why.
            if self.limited(what, sink.send(piece)).await?.is_err() {
                break;
            }
        }
        taken(self.limited(what, sink.finish()).await?, what)
    }

    async fn limited<T>(&self, what: &str, answer: impl Future<Output = T>) -> Result<T> {
        let answered = tokio::time::timeout(self.limit, answer).await;
        answered.map_err(|_| too_long(what, self.limit))
    }
}

fn taken(answer: std::result::Result<u64, tokio_postgres::Error>, what: &str) -> Result<Taken> {
    match answer {
        Ok(rows) => Ok(Ok(rows)),
        Err(error) => match refusal(&error) {
            Some(refusal) => Ok(Err(refusal)),
            None => Err(external(error, what)),
        },
    }
}

/// What to look at where no server answers.
const UNREACHED: &str = "is the server up, and can this machine reach it? Look at the host, the \
                         port and `sslmode` in `url`";

fn too_long(what: &str, limit: Duration) -> Error {
    Error::transient(what).because(format!("no answer within {} s", limit.as_secs_f64()))
}

/// The error of a connection that was not opened.
fn unopened(error: tokio_postgres::Error, what: &str) -> Error {
    let is_answer = error.as_db_error().is_some();
    let error = external(error, what);
    if is_answer || !error.retry() { error } else { error.hint(UNREACHED) }
}
