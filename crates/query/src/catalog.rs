//! Which tables there are: every folder of the lake, what pipelines keep elsewhere, and the three
//! that always exist.
//!
//! Nothing is opened before a query names it, so a lake of many tables costs a listing. A name
//! stands for one table: where two have it, a query that names it is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use connector_lake::table::Location;
use contract::{Error, Result};
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

/// What pipelines of a data folder keep outside of it.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Ledgers beside that of the folder's own checkpoints.
    pub ledgers: Vec<Ledger>,
    /// Tables beside those of the embedded lake.
    pub tables: Vec<PlacedTable>,
}

/// A lake table to which a pipeline gives a place of its own.
#[derive(Clone, Debug)]
pub struct PlacedTable {
    /// Its name in queries.
    pub name: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// Where it lies.
    pub location: Location,
}

impl Elsewhere {
    /// Where the table of a name lies, in the lake of a data folder or elsewhere; none if nobody
    /// has one. Nothing is opened.
    ///
    /// # Errors
    /// Config: two tables have the name.
    pub fn locate(&self, name: &str, data: &Path) -> Result<Option<Location>> {
        let embedded = holds(data, name).then(|| Location::embedded(data, name));
        let mut found = embedded.map(|location| ("the embedded lake".to_owned(), location));
        for table in self.tables.iter().filter(|table| table.name == name) {
            let owner = format!("pipeline {:?}", table.pipeline);
            match &found {
                None => found = Some((owner, table.location.clone())),
                Some((_, location)) if location.is_at(&table.location) => {}
                Some((first, _)) => {
                    return Err(Error::config(format!(
                        "the name {name:?} stands for two tables, of {first} and of {owner}"
                    ))
                    .hint(
                        "give one of them another `table` in its pipeline file, or move the \
                         folder of one that is no longer written out of `lake` in the data folder",
                    ));
                }
            }
        }
        Ok(found.map(|(_, location)| location))
    }
}

/// Whether the lake of a data folder holds a Delta table. A name cannot leave the lake.
fn holds(data: &Path, table: &str) -> bool {
    let plain = !table.is_empty() && !table.starts_with('.') && !table.contains(['/', '\\']);
    plain && data.join("lake").join(table).join("_delta_log").is_dir()
}

/// The tables under `<data>/lake` and elsewhere, with `dead_letters`, `late` and `ledger` beside
/// them.
#[derive(Debug)]
pub struct LakeFolder {
    data: PathBuf,
    elsewhere: Elsewhere,
}

impl LakeFolder {
    /// The lake of a data folder, which need not exist.
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), elsewhere: Elsewhere::default() }
    }

    /// The same lake, with what its pipelines keep elsewhere.
    #[must_use]
    pub fn with(self, elsewhere: Elsewhere) -> Self {
        Self { elsewhere, ..self }
    }

    fn placed(&self) -> impl Iterator<Item = &str> {
        self.elsewhere.tables.iter().map(|table| &*table.name)
    }

    async fn open(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name == records::LEDGER {
            return records::ledger(&self.data, &self.elsewhere.ledgers).await.map(Some);
        }
        match self.stored(name).await? {
            Some(table) if name == records::DEAD_LETTERS => {
                records::letters(table, self.stored(records::MARKS).await?).map(Some)
            }
            Some(table) => Ok(Some(table)),
            None => records::empty(name),
        }
    }

    /// A table as it lies in the lake or elsewhere.
    ///
    /// # Errors
    /// Config: two tables have the name. External: it cannot be read.
    pub async fn stored(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.elsewhere.locate(name, &self.data)? {
            Some(location) => Ok(Some(Arc::new(lake::open(&location).await?))),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl SchemaProvider for LakeFolder {
    fn table_names(&self) -> Vec<String> {
        let folders = std::fs::read_dir(self.data.join("lake")).into_iter().flatten().flatten();
        let mut names: Vec<_> = folders
            .filter_map(|folder| folder.file_name().into_string().ok())
            .filter(|name| holds(&self.data, name))
            .chain(self.placed().map(str::to_owned))
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
        let placed = self.placed().any(|placed| placed == name);
        placed || records::ALWAYS.contains(&name) || holds(&self.data, name)
    }
}
