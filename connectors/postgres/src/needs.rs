//! The schema, the table and the table of tokens that must be there.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::Result;
use contract::needs::{Maker, Need, Needs, State};
use contract::spec::BuildContext;

use crate::client::Connection;
use crate::sink::PostgresSink;
use crate::table::TableName;
use crate::{catalog, create, token};

const SCHEMA: &str = "schema";
const TABLE: &str = "table";
const TOKENS: &str = "table of tokens";

/// What a sink writes to.
pub struct TableNeeds {
    sink: PostgresSink,
    columns: SchemaRef,
    pipeline: String,
    name: String,
}

impl TableNeeds {
    /// The table of a sink that gets these columns.
    pub fn new(sink: PostgresSink, columns: &SchemaRef, ctx: &BuildContext) -> Self {
        let (pipeline, name) = (ctx.pipeline.clone(), ctx.name.clone());
        Self { sink, columns: columns.clone(), pipeline, name }
    }

    async fn connect(&self) -> Result<Connection> {
        self.sink.connect(&self.pipeline, &self.name).await
    }

    /// The table of all rows, or what can be known of those that rows name.
    async fn table(&self, connection: &Connection) -> Result<Need> {
        let (maker, count) = (self.sink.maker(), self.columns.fields().len());
        let Some(table) = maker.tables.only() else {
            let found = maker.there(connection).await?.len();
            return Ok(named_by_rows(maker.tables.shown(), found, maker.makes_tables()));
        };
        let (state, maker) = self.one_table(connection, table).await?;
        let shape = format!("{count} columns");
        Ok(Need { kind: TABLE, name: table.shown(), shape, state, maker })
    }

    /// The state of the table of all rows, and who makes it.
    async fn one_table(
        &self,
        connection: &Connection,
        table: &TableName,
    ) -> Result<(State, Maker)> {
        let tables = self.sink.maker();
        let maker = if tables.makes_tables() { Maker::Run } else { Maker::Setup };
        if catalog::exists(connection, table).await? {
            let fits = tables.fit(connection, (table, 0), &self.columns).await;
            return Ok(match fits {
                Ok(_) => (State::Present, maker),
                Err(error) => (State::Different(error.chain()), maker),
            });
        }
        let written = tables.tables.written();
        let held = match catalog::exists(connection, &token::table(written)).await? {
            true => token::newest(connection, written, (&self.pipeline, &self.name)).await?,
            false => None,
        };
        // The ledger calls rows of a dropped table delivered: whoever dropped it decides.
        Ok((State::Missing, if held.is_some() { Maker::Other } else { maker }))
    }
}

/// The tables that rows will name: so many have such a name.
fn named_by_rows(name: String, found: usize, makes_tables: bool) -> Need {
    let (others, maker) = match makes_tables {
        true => ("made as rows come", Maker::Later),
        false => ("rows that name another one become dead letters", Maker::Other),
    };
    let state = if found == 0 { State::Missing } else { State::Present };
    let shape = format!("named by rows; tables that match: {found}; {others}");
    Need { kind: TABLE, name, shape, state, maker }
}

#[async_trait]
impl Needs for TableNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let connection = self.connect().await?;
        let maker = self.sink.maker();
        let (written, tokens) = (maker.tables.written(), token::table(maker.tables.written()));
        let state = |there: bool| if there { State::Present } else { State::Missing };
        let need = |kind, name: String, state, maker| {
            let shape = String::new();
            Need { kind, name, shape, state, maker }
        };
        let has_schema = catalog::schema_exists(&connection, written).await?;
        let schema_maker = if maker.makes_tables() { Maker::Run } else { Maker::Setup };
        let has_tokens = has_schema && catalog::exists(&connection, &tokens).await?;
        Ok(vec![
            need(SCHEMA, written.schema.clone(), state(has_schema), schema_maker),
            self.table(&connection).await?,
            need(TOKENS, tokens.shown(), state(has_tokens), Maker::Run),
        ])
    }

    async fn make(&self, need: &Need) -> Result<()> {
        let connection = self.connect().await?;
        let maker = self.sink.maker();
        match (need.kind, maker.tables.only()) {
            (SCHEMA, _) => create::make_schema_if_absent(&connection, maker.tables.written()).await,
            (TABLE, Some(table)) => maker.make(&connection, table, &self.columns).await,
            (TABLE, None) => Ok(()),
            _ => token::make_table(&connection, maker.tables.written()).await,
        }
    }
}
