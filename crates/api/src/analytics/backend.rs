//! What a backend must be able to do.

use std::sync::Arc;

use async_trait::async_trait;

use super::cell::Row;
use super::columns::Columns;
use super::question::{Question, Scope};
use super::sql::Sql;
use crate::problem::Answer;

/// A place that holds the table.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The table as it is now.
    ///
    /// # Errors
    /// 404 while there is no table; 503 where the place does not answer.
    async fn newest(&self) -> Answer<Arc<dyn Version>>;
}

/// The table at some moment.
#[async_trait]
pub trait Version: Send + Sync {
    /// A number that is the same only while the same question has the same answer.
    fn number(&self) -> u64;

    /// Up to where rows are in it, for [`Version::after`].
    fn mark(&self) -> i64;

    /// The columns.
    fn columns(&self) -> &Columns;

    /// The query of a question.
    ///
    /// # Errors
    /// 404: a column is missing.
    fn question(&self, question: &Question) -> Answer<Sql>;

    /// The query for the newest rows of a scope.
    ///
    /// # Errors
    /// As for [`Version::question`].
    fn records(&self, scope: &Scope, limit: u64) -> Answer<Sql>;

    /// Runs a query. Dropping it ends it.
    ///
    /// # Errors
    /// 503.
    async fn rows(&self, sql: &Sql) -> Answer<Vec<Row>>;

    /// The rows of a scope that came after the mark of an earlier version, the newest first.
    ///
    /// # Errors
    /// As for [`Version::rows`].
    async fn after(&self, mark: i64, scope: &Scope, limit: u64) -> Answer<Vec<Row>>;
}
