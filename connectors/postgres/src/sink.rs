//! The sink: fences, makes tables and writers, reads rows back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::sink::{
    BatchStream, Choice, Held, Identity, Promise, Proof, ReadBack, Sink, SinkKind, Writer,
    WriterContext,
};
use contract::{Error, ErrorKind, Lineage, Result};

use crate::client::{Backend, Connection, Connector};
use crate::config::Config;
use crate::failure::about_table;
use crate::layout::Layout;
use crate::maker::Maker;
use crate::names::Tables;
use crate::session::Session;
use crate::table::TableName;
use crate::token::TokenRow;
use crate::url::Address;
use crate::writer::PostgresWriter;
use crate::{catalog, read, token};

/// What a table promises while each row carries its origin and stays.
pub const PROMISE: Promise = Promise {
    kind: SinkKind::Transaction,
    token: true,
    proof: Proof::Origin,
    sentence: "exactly once",
    with_origin: true,
};
const UPSERT_SENTENCE: &str = "exactly once, but a row that replaces another cannot be audited";

/// Tables as a sink.
pub struct PostgresSink {
    config: Config,
    place: String,
    shared: Arc<Shared>,
}

/// What the sink and its writers have in common.
pub struct Shared {
    connector: Connector,
    /// The tables.
    pub maker: Maker,
    /// Where rows name tables, the most of them that a writer knows.
    pub tables_max: usize,
    /// A connection that makes tables which rows name, while an epoch's transaction is open.
    beside: tokio::sync::Mutex<Option<Connection>>,
    /// The process of the server that we put into the token's row last, by lineage.
    owners: Mutex<HashMap<Lineage, Backend>>,
}

/// The layout of a table that a row names, or why the row can go nowhere.
pub type Met = std::result::Result<Arc<Layout>, String>;

impl Shared {
    /// A connection that is ready to write.
    ///
    /// # Errors
    /// From the server.
    pub async fn session(&self, ctx: &WriterContext) -> Result<Session> {
        Session::new(self.connect(&ctx.pipeline, &ctx.sink).await?).await
    }

    /// Brings a table that a row names and the input together; makes it where the settings say so.
    /// The session is in an epoch's transaction, which goes on whatever is said of the name.
    ///
    /// # Errors
    /// From the server.
    pub async fn meet(
        &self,
        session: &Session,
        ctx: &WriterContext,
        table: (&TableName, usize),
    ) -> Result<Met> {
        session.mark().await?;
        match self.look_up(session.connection(), ctx, table).await {
            Ok(met) => session.keep().await.map(|()| met),
            Err(error) => session.drop_to_mark(table.0, error).await.map(Err),
        }
    }

    async fn look_up(
        &self,
        connection: &Connection,
        ctx: &WriterContext,
        (table, number): (&TableName, usize),
    ) -> Result<Met> {
        if token::tables(connection, table).await?.contains(&table.name) {
            return Ok(Err(format!(
                "table \"{}\" belongs to a sink with one table; where none writes it any more, \
                 delete its rows in `logmill_tokens`",
                table.shown()
            )));
        }
        if self.maker.makes_tables() {
            if let Some(reason) = self.maker.taken(connection, table).await? {
                return Ok(Err(reason));
            }
            self.make_beside(ctx, table).await?;
        }
        match self.maker.fit(connection, (table, number), &ctx.schema).await {
            Ok(layout) => Ok(Ok(Arc::new(layout))),
            // Values chose the table, so that rows that name another one go on.
            Err(error) if error.kind() == ErrorKind::Config => Ok(Err(error.chain())),
            Err(error) => Err(error),
        }
    }

    /// Makes a table in a transaction of its own: in that of an epoch it would keep other lineages
    /// from it until the commit, for which they would be waited for.
    async fn make_beside(&self, ctx: &WriterContext, table: &TableName) -> Result<()> {
        let mut beside = self.beside.lock().await;
        let connection = match beside.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.connect(&ctx.pipeline, &ctx.sink).await?,
        };
        let mut made = self.maker.make(&connection, table, &ctx.schema).await;
        if made.as_ref().is_err_and(|error| about_table(error).is_some()) {
            connection.execute("could not roll back", "ROLLBACK").await?;
            // Somebody else may have made it at the same moment, or may alone alter it.
            if catalog::exists(&connection, table).await? {
                made = Ok(());
            }
        }
        if !made.as_ref().is_err_and(Error::retry) {
            *beside = Some(connection);
        }
        made
    }

    /// The process of the server that we put into the token's row last.
    ///
    /// # Errors
    /// Bug: nobody fenced.
    pub fn owner(&self, lineage: &Lineage) -> Result<Backend> {
        let owner = self.owners().get(lineage).copied();
        owner.ok_or_else(|| Error::bug(format!("lineage \"{lineage}\" was never fenced")))
    }

    /// Remembers whom we put into the token's row.
    pub fn set_owner(&self, lineage: &Lineage, owner: Backend) {
        self.owners().insert(lineage.clone(), owner);
    }

    async fn connect(&self, pipeline: &str, sink: &str) -> Result<Connection> {
        self.connector.connect(&format!("logmill {pipeline}/{sink}")).await
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Lineage, Backend>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What rows went into, by the number that the server gave the table.
pub fn identity(table: &TableName, oid: u32, rows: u64) -> Identity {
    Identity { place: table.shown(), id: oid.to_string(), rows }
}

impl PostgresSink {
    /// Makes the sink of its settings. No I/O.
    ///
    /// # Errors
    /// Config.
    pub fn new(config: Config) -> Result<Self> {
        let address = Address::read(&config)?;
        let tables = Tables::parse(&config.table)?;
        for (name, period) in [
            ("connect_timeout", config.connect_timeout),
            ("statement_timeout", config.statement_timeout),
            ("idle_timeout", config.idle_timeout),
        ] {
            if period.0.is_zero() {
                return Err(Error::config("expected a time above 0").field(name));
            }
        }
        if config.tables_max == 0 {
            return Err(Error::config("expected a number above 0").field("tables_max"));
        }
        let place = format!("{}/{}", address.shown(), tables.shown());
        let shared = Shared {
            connector: Connector::new(address, &config),
            maker: Maker::new(config.clone(), tables),
            tables_max: config.tables_max,
            beside: tokio::sync::Mutex::default(),
            owners: Mutex::default(),
        };
        Ok(Self { config, place, shared: Arc::new(shared) })
    }

    /// A connection that looks, or makes tables.
    ///
    /// # Errors
    /// From the server.
    pub async fn connect(&self, pipeline: &str, sink: &str) -> Result<Connection> {
        self.shared.connect(pipeline, sink).await
    }

    /// The tables.
    pub fn maker(&self) -> &Maker {
        &self.shared.maker
    }

    /// Makes the one table of all rows where the settings say so, and brings it and the input
    /// together.
    async fn layout(
        &self,
        connection: &Connection,
        ctx: &WriterContext,
        table: &TableName,
    ) -> Result<Layout> {
        let maker = &self.shared.maker;
        if maker.makes_tables() {
            self.refuse_lost_rows(connection, ctx, table).await?;
            maker.make(connection, table, &ctx.schema).await?;
        }
        maker.fit(connection, (table, 0), &ctx.schema).await
    }

    /// A table that is gone took rows with it which the ledger calls delivered.
    async fn refuse_lost_rows(
        &self,
        connection: &Connection,
        ctx: &WriterContext,
        table: &TableName,
    ) -> Result<()> {
        if catalog::exists(connection, table).await? {
            return Ok(());
        }
        let written = self.shared.maker.tables.written();
        let Some(epoch) = token::newest(connection, written, (&ctx.pipeline, &ctx.sink)).await?
        else {
            return Ok(());
        };
        let shown = table.shown();
        Err(Error::config(format!(
            "table {shown:?} is not there, and it should hold epoch {epoch}"
        ))
        .field("table")
        .hint(
            "restore it; or go on without the rows that it held: make it yourself, or delete its \
             rows in `logmill_tokens` and `run --until-end --assume held`",
        ))
    }
}

#[async_trait]
impl Sink for PostgresSink {
    fn promise(&self) -> Promise {
        match (self.config.upsert_by.is_empty(), self.config.origin) {
            (true, true) => PROMISE,
            (true, false) => Promise { proof: Proof::Count, ..PROMISE },
            (false, _) => Promise { proof: Proof::None, sentence: UPSERT_SENTENCE, ..PROMISE },
        }
    }

    fn destination(&self, columns: &SchemaRef) -> Result<Option<String>> {
        self.shared.maker.check(columns)?;
        Ok(Some(self.place.clone()))
    }

    fn choice(&self) -> Option<Choice> {
        let tables = &self.shared.maker.tables;
        // Rows never name the table of a sink with one: its tokens say whose it is.
        if tables.only().is_some() {
            return None;
        }
        let within = self.place.strip_suffix(&tables.written().name)?.to_owned();
        Some(Choice { within, pieces: tables.pieces() })
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        let connection = self.shared.connect(&ctx.pipeline, &ctx.sink).await?;
        let maker = &self.shared.maker;
        maker.prepare_schema(&connection).await?;
        let row = TokenRow::new(maker.tables.written(), ctx, lineage);
        let held = row.fence(&connection).await?;
        self.shared.set_owner(lineage, connection.backend());
        Ok(held)
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let connection = self.shared.connect(&ctx.pipeline, &ctx.sink).await?;
        if !self.config.upsert_by.is_empty() && !catalog::may_stage(&connection).await? {
            return Err(Error::config(
                "rows replace others by way of temporary tables, which the \
                 login may not make",
            )
            .field("upsert_by")
            .hint("GRANT TEMPORARY ON DATABASE … TO …"));
        }
        let only = match self.shared.maker.tables.only() {
            Some(table) => Some(Arc::new(self.layout(&connection, &ctx, table).await?)),
            None => None,
        };
        let session = Session::new(connection).await?;
        Ok(Box::new(PostgresWriter::new(self.shared.clone(), ctx, only, session)))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let connection = self.shared.connect(pipeline, "audit").await?;
        if let Some(table) = self.shared.maker.tables.only() {
            return read::read_back(connection, table, what).await;
        }
        let tables = self.shared.maker.readable(&connection).await?;
        Ok(read::read_back_all(connection, tables, what, self.config.origin))
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        let connection = self.shared.connector.connect("logmill").await?;
        let there = self.shared.maker.there(&connection).await?;
        let identities = there.iter().map(|(table, oid)| identity(table, *oid, 0));
        Ok(identities.map(|identity| (identity.place, identity.id)).collect())
    }
}
