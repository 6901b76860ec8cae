//! Which tables there are: every folder of the lake, and the three that always exist.
//!
//! Nothing is opened before a query names it, so a lake of many tables costs a listing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use contract::Result;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::TableType;

use crate::records::Ledger;
use crate::session::{from_datafusion, lend};
use crate::{lake, records};

/// The catalog of all tables.
pub const CATALOG: &str = "logmill";
/// The schema of all tables.
pub const SCHEMA: &str = "lake";

/// The catalog of a data folder.
///
/// # Errors
/// Bug: DataFusion refuses the schema.
pub fn catalog(folder: LakeFolder) -> Result<Arc<dyn CatalogProvider>> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, Arc::new(folder)).map_err(from_datafusion)?;
    Ok(Arc::new(catalog))
}

/// The tables under `<data>/lake`, with `dead_letters`, `late` and `ledger` beside them.
#[derive(Debug)]
pub struct LakeFolder {
    data: PathBuf,
    /// Ledgers beside that of the folder's own checkpoints.
    ledgers: Vec<Ledger>,
}

impl LakeFolder {
    /// The lake of a data folder, which need not exist.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), ledgers: Vec::new() }
    }

    /// The same lake, with ledgers from elsewhere.
    #[must_use]
    pub fn with_ledgers(self, ledgers: Vec<Ledger>) -> Self {
        Self { ledgers, ..self }
    }

    fn path(&self, table: &str) -> PathBuf {
        self.data.join("lake").join(table)
    }

    /// Whether a folder holds a Delta table. A name cannot leave the lake.
    fn holds(&self, table: &str) -> bool {
        let plain = !table.is_empty() && !table.starts_with('.') && !table.contains(['/', '\\']);
        plain && self.path(table).join("_delta_log").is_dir()
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name == records::LEDGER {
            return records::ledger(&self.data, &self.ledgers).await.map(Some);
        }
        match self.stored(name).await? {
            Some(table) if name == records::DEAD_LETTERS => {
                records::letters(table, self.stored(records::MARKS).await?).map(Some)
            }
            Some(table) => Ok(Some(table)),
            None => records::empty(name),
        }
    }

    /// A table as it lies in the lake.
    ///
    /// # Errors
    /// External: it cannot be read.
    pub async fn stored(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !self.holds(name) {
            return Ok(None);
        }
        Ok(Some(Arc::new(lake::open(&self.path(name)).await?)))
    }
}

#[async_trait]
impl SchemaProvider for LakeFolder {
    fn table_names(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.data.join("lake")).into_iter().flatten().flatten();
        let mut names: Vec<_> = folders
            .filter_map(|folder| folder.file_name().into_string().ok())
            .filter(|name| self.holds(name))
            .chain(records::ALWAYS.iter().map(|name| (*name).to_owned()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.open(name).await.map_err(lend)
    }

    async fn table_type(&self, name: &str) -> PlanResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        records::ALWAYS.contains(&name) || self.holds(name)
    }
}
