//! Makes tables where the settings say so, and brings them and the input together.

use arrow::datatypes::SchemaRef;
use contract::record::ORDINAL;
use contract::{Error, Result, Section};
use tracing::warn;

use crate::catalog::Alike;
use crate::client::Connection;
use crate::config::{Config, TableConfig};
use crate::create::{self, NewTable};
use crate::layout::{Found, Input, Layout, written};
use crate::names::Tables;
use crate::table::{TableName, check_columns};
use crate::{catalog, token};

/// Kinds of `pg_class` that rows may name: tables, partitioned and foreign tables. What a view
/// takes lies elsewhere, so that nobody could read it back.
const NAMEABLE: [&str; 3] = ["r", "p", "f"];

fn is_nameable(kind: &str) -> bool {
    NAMEABLE.contains(&kind)
}

fn no_table(table: &TableName) -> String {
    format!("\"{}\" is no table", table.shown())
}

/// The tables of a sink, by its settings.
pub struct Maker {
    config: Config,
    /// Where rows go.
    pub tables: Tables,
}

impl Maker {
    /// The tables of these settings.
    pub fn new(config: Config, tables: Tables) -> Self {
        Self { config, tables }
    }

    /// Whether a run makes a table where there is none.
    pub fn makes_tables(&self) -> bool {
        self.config.new_table().is_some()
    }

    /// Makes sure that rows of these columns can have a table.
    ///
    /// # Errors
    /// Config: no table takes them, or the settings do not suit them.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        let names: Vec<&str> = written(schema, self.config.origin)
            .map(|at| schema.field(at).name().as_str())
            .collect();
        check_columns(names.iter().copied())?;
        self.tables.check(schema)?;
        if self.makes_tables() {
            self.statements(self.tables.written(), schema)?;
        }
        match self.config.upsert_by.iter().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Error::config(format!("the input has no column {name:?}"))
                .field("upsert_by")
                .hint(Section::did_you_mean(name, names))),
        }
    }

    /// What would make a table.
    fn statements(&self, table: &TableName, schema: &SchemaRef) -> Result<Vec<String>> {
        let plain = TableConfig::default();
        let new = NewTable {
            table,
            is_only: self.tables.only().is_some(),
            schema,
            with_origin: self.config.origin,
            config: self.config.new_table().unwrap_or(&plain),
            key: &self.config.upsert_by,
        };
        new.statements()
    }

    /// Makes a table unless it is there: as the settings say, or else for the columns that come.
    ///
    /// # Errors
    /// From the server.
    pub async fn make(
        &self,
        connection: &Connection,
        table: &TableName,
        schema: &SchemaRef,
    ) -> Result<()> {
        create::make_if_absent(connection, table, &self.statements(table, schema)?).await?;
        match schema.index_of(ORDINAL) {
            Ok(_) if self.config.origin => create::number_rows(connection, table).await,
            _ => create::leave_rows_unnumbered(connection, table).await,
        }
    }

    /// Why no table can be made under a name that rows give: something else has it, such as an
    /// index or a view.
    ///
    /// # Errors
    /// From the server.
    pub async fn taken(
        &self,
        connection: &Connection,
        table: &TableName,
    ) -> Result<Option<String>> {
        let shape = catalog::shape(connection, catalog::SHAPE, table).await?;
        let taken = shape.is_some_and(|shape| !is_nameable(&shape.kind));
        Ok(taken.then(|| no_table(table)))
    }

    /// How rows of these columns go into a table that is there, which gets a number.
    ///
    /// # Errors
    /// Config: they do not fit, or there is no table. From the server.
    pub async fn fit(
        &self,
        connection: &Connection,
        (table, number): (&TableName, usize),
        schema: &SchemaRef,
    ) -> Result<Layout> {
        let shown = table.shown();
        let missing = || {
            Error::config(format!("there is no table \"{shown}\""))
                .field("table")
                .hint("create it, or set `create: true`")
        };
        let shape = catalog::shape(connection, catalog::SHAPE, table).await?;
        let shape = shape.ok_or_else(missing)?;
        let by_rows = self.tables.only().is_none();
        if by_rows && !is_nameable(&shape.kind) {
            return Err(Error::config(no_table(table)));
        }
        if by_rows && let Some(reason) = catalog::barred(connection, &shape).await? {
            return Err(Error::config(format!("\"{shown}\" cannot be written: {reason}")));
        }
        let columns = catalog::columns(connection, table).await?;
        let key = &self.config.upsert_by;
        let found = Found { shape, columns };
        let input = Input { schema, with_origin: self.config.origin, key, by_rows };
        let layout = Layout::new(&input, (table, number), &found)?;
        if !key.is_empty() && !catalog::is_key(connection, table, key).await? {
            return Err(Error::config(format!(
                "table \"{shown}\" has no unique index on {}",
                key.join(", ")
            ))
            .field("upsert_by")
            .hint("CREATE UNIQUE INDEX … on exactly these columns"));
        }
        Ok(layout)
    }

    /// Makes what tokens need, and the schema where the settings say so.
    ///
    /// # Errors
    /// Config: there is no schema. From the server.
    pub async fn prepare_schema(&self, connection: &Connection) -> Result<()> {
        let table = self.tables.written();
        if self.makes_tables() {
            create::make_schema_if_absent(connection, table).await?;
        } else if !catalog::schema_exists(connection, table).await? {
            return Err(Error::config(format!("there is no schema {:?}", table.schema))
                .field("table")
                .hint("create it, or set `create: true`"));
        }
        token::make_table(connection, table).await
    }

    /// The tables whose rows are read back, each row once. Those that the login may not read are
    /// told and left out: what went into them is missing then.
    ///
    /// # Errors
    /// From the server.
    pub async fn readable(&self, connection: &Connection) -> Result<Vec<TableName>> {
        let mut readable = Vec::new();
        for found in self.alike(connection).await? {
            match (found.readable, found.is_partition) {
                (true, false) => readable.push(found.table),
                (true, true) => {}
                (false, _) => {
                    let table = found.table.shown();
                    warn!(table, "not read: the login has not the right `SELECT`");
                }
            }
        }
        Ok(readable)
    }

    /// The tables that rows can name, with the numbers that the server gave them.
    ///
    /// # Errors
    /// From the server.
    pub async fn there(&self, connection: &Connection) -> Result<Vec<(TableName, u32)>> {
        if let Some(table) = self.tables.only() {
            let shape = catalog::shape(connection, catalog::SHAPE, table).await?;
            return Ok(shape.map(|shape| (table.clone(), shape.id)).into_iter().collect());
        }
        let alike = self.alike(connection).await?.into_iter();
        Ok(alike.map(|found| (found.table, found.id)).collect())
    }

    /// The tables that rows can name, but for those of sinks with one table.
    async fn alike(&self, connection: &Connection) -> Result<Vec<Alike>> {
        let written = self.tables.written();
        let mut alike = catalog::alike(connection, written, &self.tables.like()).await?;
        let others = token::tables(connection, written).await?;
        alike.retain(|found| !others.contains(&found.table.name));
        Ok(alike)
    }
}
