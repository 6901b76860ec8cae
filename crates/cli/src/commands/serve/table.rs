//! Which table the analytics read: what the arguments or a pipeline file say, else what fits.

use std::path::Path;
use std::slice;
use std::sync::Arc;

use api::{Analytics, Backend};
use contract::{Error, Result};
use plan::{Plan, ServeBackend, SinkNode};
use query::opened;

/// Columns of a table of requests; the first one that has them all is shown.
const REQUESTS: [&str; 3] = ["ip", "endpoint", "status"];

/// What the command line says.
#[derive(Debug, Default, clap::Args)]
pub struct TableArguments {
    /// The lake table that the analytics read; by default what the pipeline file says, or the
    /// first table of requests.
    #[arg(long, value_name = "NAME")]
    table: Option<String>,

    /// Its column of times.
    #[arg(long, value_name = "COLUMN", requires = "table")]
    time: Option<String>,
}

impl TableArguments {
    /// The table; none where nothing is to be shown yet.
    ///
    /// # Errors
    /// Config: the file names no database. External: the lake cannot be read.
    pub async fn choose(&self, plans: &[Arc<Plan>], data: &Path) -> Result<Option<Analytics>> {
        if let Some(table) = &self.table {
            let time = self.time.clone().unwrap_or_else(|| "ts".to_owned());
            let location = lake_sink(plans, Some(table));
            let location = location.and_then(|sink| text(sink, "url"));
            let location = location.unwrap_or_else(|| opened::embedded(data, table));
            return Ok(Some(Analytics {
                table: table.clone(),
                time,
                backend: Backend::Lake { location },
            }));
        }
        for plan in plans {
            if let Some(analytics) = of_file(plan, data)? {
                return Ok(Some(analytics));
            }
        }
        if plans.is_empty() { of_folder(data).await } else { Ok(None) }
    }
}

/// What a pipeline file says, or what its first sink of the kind does.
fn of_file(plan: &Arc<Plan>, data: &Path) -> Result<Option<Analytics>> {
    let serve = &plan.settings.serve;
    let named = serve.table.as_deref();
    let (sink, kind) = match serve.backend {
        ServeBackend::Lake => (lake_sink(slice::from_ref(plan), named), "lake"),
        ServeBackend::Postgres => (find(slice::from_ref(plan), "postgres", named), "postgres"),
    };
    let own = |key| sink.and_then(|sink| text(sink, key));
    let Some(table) = serve.table.clone().or_else(|| own("table")) else {
        return match (serve.backend, &serve.url) {
            (ServeBackend::Lake, None) => Ok(None),
            _ => Err(Error::config(format!("no {kind} table is named for `serve`"))
                .field("serve.table")
                .hint("add `serve: {table: …}` to the pipeline file")),
        };
    };
    let url = serve.url.clone().or_else(|| own("url"));
    let backend = match (serve.backend, url) {
        (ServeBackend::Lake, url) => {
            Backend::Lake { location: url.unwrap_or_else(|| opened::embedded(data, &table)) }
        }
        (ServeBackend::Postgres, Some(url)) => {
            let password = serve.password.clone().or_else(|| own("password"));
            Backend::Postgres { url, password }
        }
        (ServeBackend::Postgres, None) => {
            return Err(Error::config("no database is named for `serve`")
                .field("serve.url")
                .hint("add `serve: {backend: postgres, url: …}` to the pipeline file"));
        }
    };
    Ok(Some(Analytics { table, time: serve.time.clone(), backend }))
}

fn lake_sink<'a>(plans: &'a [Arc<Plan>], table: Option<&str>) -> Option<&'a SinkNode> {
    find(plans, "lake", table)
}

/// The first sink of a kind, or the one with a table of this name.
fn find<'a>(plans: &'a [Arc<Plan>], kind: &str, table: Option<&str>) -> Option<&'a SinkNode> {
    let mut sinks = plans.iter().flat_map(|plan| &plan.sinks).filter(|sink| sink.kind == kind);
    sinks.find(|sink| table.is_none_or(|table| text(sink, "table").as_deref() == Some(table)))
}

fn text(sink: &SinkNode, key: &str) -> Option<String> {
    sink.section.get(key).and_then(|value| value.as_text()).map(str::to_owned)
}

/// The first table of requests that the data folder holds.
async fn of_folder(data: &Path) -> Result<Option<Analytics>> {
    for table in opened::tables(data)? {
        let columns = opened::columns(data, &table).await?;
        let has = |name: &str| columns.iter().any(|column| column == name);
        if has("ts") && REQUESTS.iter().all(|name| has(name)) {
            let location = opened::embedded(data, &table);
            let backend = Backend::Lake { location };
            return Ok(Some(Analytics { table, time: "ts".to_owned(), backend }));
        }
    }
    Ok(None)
}
