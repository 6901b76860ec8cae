//! What memory sinks hold: a little database with transactions, staging and tokens.
//!
//! It survives a pipeline that is dropped at any point, as a server would; a test reads it
//! directly.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use contract::Result;
use contract::record::Origins;
use contract::sink::Token;

static STORES: LazyLock<Mutex<HashMap<String, Store>>> = LazyLock::new(Mutex::default);

/// A store by its name; made when first asked for.
pub fn store(name: &str) -> Store {
    locked(&STORES).entry(name.to_owned()).or_default().clone()
}

/// A destination, shared by all who know its name.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<Content>>);

/// What a store holds.
#[derive(Debug, Default)]
pub struct Content {
    /// Rows that readers see.
    pub visible: Vec<RecordBatch>,
    /// Rows by origin, for the idempotent kind.
    pub by_origin: BTreeMap<(String, i64, i64), RecordBatch>,
    /// Rows that wait to be published, by name.
    pub staged: HashMap<String, Vec<RecordBatch>>,
    /// Open transactions, by connection.
    pub open: HashMap<String, Vec<RecordBatch>>,
    /// The connection that may write for a key; older ones are shut out.
    pub fences: HashMap<String, u64>,
    /// Tokens by key (pipeline, lineage, sink).
    pub tokens: HashMap<String, Token>,
    /// From which position on rows are refused, as by a table that somebody altered.
    pub refuses_from: Option<i64>,
}

impl Store {
    /// Looks into the store, or changes it.
    pub fn content(&self) -> MutexGuard<'_, Content> {
        locked(&self.0)
    }

    /// All rows that readers see.
    pub fn rows(&self) -> Vec<RecordBatch> {
        let content = self.content();
        content.visible.iter().chain(content.by_origin.values()).cloned().collect()
    }
}

/// The origin of each row of a batch that entered a sink: split, position, ordinal.
///
/// # Errors
/// Bug: the batch has no origin columns.
pub fn origins(batch: &RecordBatch) -> Result<Vec<(String, i64, i64)>> {
    let origins = Origins::of(batch)?;
    let rows = (0..batch.num_rows()).map(|row| {
        let numbers = origins.numbers();
        (origins.split(row).to_owned(), numbers.position(row), numbers.ordinal(row))
    });
    Ok(rows.collect())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
