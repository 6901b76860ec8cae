//! The schema, the table and the table of tokens that must be there.

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use contract::Result;
use contract::needs::{Maker, Need, Needs, State};
use contract::spec::BuildContext;

use crate::client::Connection;
use crate::sink::PostgresSink;
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

    /// The state of the table, and who makes it.
    async fn table(&self, connection: &Connection) -> Result<(State, Maker)> {
        let table = self.sink.table();
        let maker = if self.sink.makes_table() { Maker::Run } else { Maker::Setup };
        if catalog::exists(connection, table).await? {
            let fits = self.sink.fit(connection, &self.columns).await;
            return Ok(match fits {
                Ok(_) => (State::Present, maker),
                Err(error) => (State::Different(error.chain()), maker),
            });
        }
        let held = match catalog::exists(connection, &token::table(table)).await? {
            true => token::newest(connection, table, (&self.pipeline, &self.name)).await?,
            false => None,
        };
        // The ledger calls rows of a dropped table delivered: whoever dropped it decides.
        Ok((State::Missing, if held.is_some() { Maker::Other } else { maker }))
    }
}

#[async_trait]
impl Needs for TableNeeds {
    async fn look(&self) -> Result<Vec<Need>> {
        let connection = self.connect().await?;
        let (table, tokens) = (self.sink.table(), token::table(self.sink.table()));
        let state = |there: bool| if there { State::Present } else { State::Missing };
        let need = |kind, name: String, state, maker| {
            let shape = String::new();
            Need { kind, name, shape, state, maker }
        };
        let has_schema = catalog::schema_exists(&connection, table).await?;
        let schema_maker = if self.sink.makes_table() { Maker::Run } else { Maker::Setup };
        let has_tokens = has_schema && catalog::exists(&connection, &tokens).await?;
        let (found, maker) = self.table(&connection).await?;
        let count = self.columns.fields().len();
        Ok(vec![
            need(SCHEMA, table.schema.clone(), state(has_schema), schema_maker),
            Need { shape: format!("{count} columns"), ..need(TABLE, table.shown(), found, maker) },
            need(TOKENS, tokens.shown(), state(has_tokens), Maker::Run),
        ])
    }

    async fn make(&self, need: &Need) -> Result<()> {
        let connection = self.connect().await?;
        match need.kind {
            SCHEMA => create::make_schema_if_absent(&connection, self.sink.table()).await,
            TABLE => self.sink.make_table(&connection, &self.columns).await,
            _ => token::make_table(&connection, self.sink.table()).await,
        }
    }
}
