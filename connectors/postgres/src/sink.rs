//! The sink: fences, makes tables and writers, reads rows back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::record::ORDINAL;
use contract::sink::{
    BatchStream, Held, Identity, Promise, Proof, ReadBack, Sink, SinkKind, Writer, WriterContext,
};
use contract::{Error, Lineage, Result, Section};

use crate::client::{Backend, Connection, Connector};
use crate::config::{Config, TableConfig};
use crate::create::{self, NewTable};
use crate::layout::{Found, Layout, written};
use crate::session::Session;
use crate::table::{TableName, check_columns};
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

/// A table as a sink.
pub struct PostgresSink {
    config: Config,
    place: String,
    shared: Arc<Shared>,
}

/// What the sink and its writers have in common.
pub struct Shared {
    connector: Connector,
    /// The table.
    pub table: TableName,
    /// The process of the server that we put into the token's row last, by lineage.
    owners: Mutex<HashMap<Lineage, Backend>>,
}

impl Shared {
    /// A connection that is ready to write.
    ///
    /// # Errors
    /// From the server.
    pub async fn session(&self, ctx: &WriterContext, layout: &Arc<Layout>) -> Result<Session> {
        let connection = self.connect(&ctx.pipeline, &ctx.sink).await?;
        Session::new(connection, layout.clone(), self.table.clone()).await
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

    /// What rows went into, by the number that the server gave the table.
    pub fn identity(&self, oid: u32, rows: u64) -> Identity {
        Identity { place: self.table.shown(), id: oid.to_string(), rows }
    }

    async fn connect(&self, pipeline: &str, sink: &str) -> Result<Connection> {
        self.connector.connect(&format!("logmill {pipeline}/{sink}")).await
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Lineage, Backend>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PostgresSink {
    /// Makes the sink of its settings. No I/O.
    ///
    /// # Errors
    /// Config.
    pub fn new(config: Config) -> Result<Self> {
        let address = Address::read(&config)?;
        let table = TableName::parse(&config.table)?;
        for (name, period) in [
            ("connect_timeout", config.connect_timeout),
            ("statement_timeout", config.statement_timeout),
            ("idle_timeout", config.idle_timeout),
        ] {
            if period.0.is_zero() {
                return Err(Error::config("expected a time above 0").field(name));
            }
        }
        let place = format!("{}/{}", address.shown(), table.shown());
        let connector = Connector::new(address, &config);
        let shared = Shared { connector, table, owners: Mutex::default() };
        Ok(Self { config, place, shared: Arc::new(shared) })
    }

    /// Makes table and schema where the settings say so, and brings input and table together.
    async fn layout(&self, connection: &Connection, ctx: &WriterContext) -> Result<Layout> {
        let schema = &ctx.schema;
        if self.makes_table() {
            self.refuse_lost_rows(connection, ctx).await?;
            self.make_table(connection, schema).await?;
        }
        self.fit(connection, schema).await
    }

    /// A connection that looks, or makes tables.
    ///
    /// # Errors
    /// From the server.
    pub async fn connect(&self, pipeline: &str, sink: &str) -> Result<Connection> {
        self.shared.connect(pipeline, sink).await
    }

    /// The table.
    pub fn table(&self) -> &TableName {
        &self.shared.table
    }

    /// Whether a run makes the table where there is none.
    pub fn makes_table(&self) -> bool {
        self.config.new_table().is_some()
    }

    /// Makes the table unless it is there: as the settings say, or else for the columns that come.
    ///
    /// # Errors
    /// From the server.
    pub async fn make_table(&self, connection: &Connection, schema: &SchemaRef) -> Result<()> {
        let table = &self.shared.table;
        create::make_if_absent(connection, table, &self.statements(schema)?).await?;
        match schema.index_of(ORDINAL) {
            Ok(_) if self.config.origin => create::number_rows(connection, table).await,
            _ => create::leave_rows_unnumbered(connection, table).await,
        }
    }

    /// How rows of these columns go into the table that is there.
    ///
    /// # Errors
    /// Config: they do not fit, or there is no table. From the server.
    pub async fn fit(&self, connection: &Connection, schema: &SchemaRef) -> Result<Layout> {
        let table = &self.shared.table;
        let missing = || {
            Error::config(format!("there is no table \"{}\"", table.shown()))
                .field("table")
                .hint("create it, or set `create: true`")
        };
        let shape = catalog::shape(connection, catalog::SHAPE, table).await?;
        let shape = shape.ok_or_else(missing)?;
        let columns = catalog::columns(connection, table).await?;
        let key = &self.config.upsert_by;
        let found = Found { shape, columns };
        let layout = Layout::new(schema, self.config.origin, table, &found, key)?;
        if !key.is_empty() && !catalog::is_key(connection, table, key).await? {
            return Err(Error::config(format!(
                "table \"{}\" has no unique index on {}",
                table.shown(),
                key.join(", ")
            ))
            .field("upsert_by")
            .hint("CREATE UNIQUE INDEX … on exactly these columns"));
        }
        Ok(layout)
    }

    /// A table that is gone took rows with it which the ledger calls delivered.
    async fn refuse_lost_rows(&self, connection: &Connection, ctx: &WriterContext) -> Result<()> {
        let table = &self.shared.table;
        if catalog::exists(connection, table).await? {
            return Ok(());
        }
        let Some(epoch) = token::newest(connection, table, (&ctx.pipeline, &ctx.sink)).await?
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

    /// What would make the table.
    fn statements(&self, schema: &SchemaRef) -> Result<Vec<String>> {
        let plain = TableConfig::default();
        let new = NewTable {
            table: &self.shared.table,
            schema,
            with_origin: self.config.origin,
            config: self.config.new_table().unwrap_or(&plain),
            key: &self.config.upsert_by,
        };
        new.statements()
    }

    fn check_key(&self, schema: &SchemaRef) -> Result<()> {
        let names: Vec<&str> = written(schema, self.config.origin)
            .map(|at| schema.field(at).name().as_str())
            .collect();
        match self.config.upsert_by.iter().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::config(format!("the input has no column {name:?}"))
                .field("upsert_by")
                .hint(Section::did_you_mean(name, names))),
        }
    }

    async fn prepare_schema(&self, connection: &Connection) -> Result<()> {
        let table = &self.shared.table;
        if self.makes_table() {
            create::make_schema_if_absent(connection, table).await?;
        } else if !catalog::schema_exists(connection, table).await? {
            return Err(Error::config(format!("there is no schema {:?}", table.schema))
                .field("table")
                .hint("create it, or set `create: true`"));
        }
        token::make_table(connection, table).await
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
        let names =
            written(columns, self.config.origin).map(|at| columns.field(at).name().as_str());
        check_columns(names)?;
        if self.makes_table() {
            self.statements(columns)?;
        }
        self.check_key(columns)?;
        Ok(Some(self.place.clone()))
    }

    async fn fence_and_read(&self, ctx: &WriterContext, lineage: &Lineage) -> Result<Held> {
        let connection = self.shared.connect(&ctx.pipeline, &ctx.sink).await?;
        self.prepare_schema(&connection).await?;
        let held = TokenRow::new(&self.shared.table, ctx, lineage).fence(&connection).await?;
        self.shared.set_owner(lineage, connection.backend());
        Ok(held)
    }

    async fn open(&self, ctx: WriterContext) -> Result<Box<dyn Writer>> {
        let connection = self.shared.connect(&ctx.pipeline, &ctx.sink).await?;
        let layout = Arc::new(self.layout(&connection, &ctx).await?);
        let session = Session::new(connection, layout.clone(), self.shared.table.clone()).await?;
        Ok(Box::new(PostgresWriter::new(self.shared.clone(), ctx, layout, session)))
    }

    async fn read_back(&self, pipeline: &str, what: ReadBack) -> Result<BatchStream> {
        let connection = self.shared.connect(pipeline, "audit").await?;
        read::read_back(connection, &self.shared.table, what).await
    }

    async fn identities(&self) -> Result<BTreeMap<String, String>> {
        let connection = self.shared.connector.connect("logmill").await?;
        let table = &self.shared.table;
        let shape = catalog::shape(&connection, catalog::SHAPE, table).await?;
        let identity = shape.map(|shape| self.shared.identity(shape.id, 0));
        Ok(identity.map(|identity| (identity.place, identity.id)).into_iter().collect())
    }
}
