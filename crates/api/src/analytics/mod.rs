//! Questions about the records in one table, and their answers.
//!
//! Reading order: [`params`] (what the address says), [`interval`] (the calendar), [`columns`],
//! [`filter`], [`question`], [`sql`] (its query), [`backend`] with [`lake`] and [`postgres`],
//! [`desk`] (who asks whom), [`outliers`].

pub mod backend;
pub mod cell;
pub mod columns;
pub mod desk;
pub mod filter;
pub mod interval;
pub mod lake;
pub mod outliers;
pub mod params;
pub mod postgres;
pub mod question;
pub mod sql;

use std::sync::Arc;

use contract::Result;
use query::opened::TablePlace;

use crate::options::{self, Limits};
use desk::Desk;

/// The desk for a table.
///
/// # Errors
/// Config: the place is none that we know. External: no folder for temporary files.
pub fn desk(analytics: &options::Analytics, limits: &Limits) -> Result<Desk> {
    let options::Analytics { table, time, backend } = analytics;
    let backend: Arc<dyn backend::Backend> = match backend {
        options::Backend::Lake { location, without } => {
            let place = TablePlace::new(location.clone(), limits.memory_bytes)?.without(without);
            Arc::new(lake::Lake::new(place, table, time))
        }
        options::Backend::Postgres { url, password } => {
            let password = password.as_deref();
            Arc::new(postgres::Postgres::new(url, password, (table, time), limits)?)
        }
    };
    Ok(Desk::new(backend, limits.queries_max, limits.cache_bytes))
}
