//! Which table the analytics read: what the arguments or a pipeline file say, else what fits.

use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use api::{Analytics, Backend};
use connector_lake::Lake;
use connector_lake::table::Location;
use contract::{Error, Result};
use plan::{Plan, ServeBackend, SinkNode};
use query::{PlacedTable, opened};
use tokio::time::timeout;
use tracing::warn;

use crate::elsewhere;

/// Columns of a table of requests; the first one that has them all is shown.
const REQUESTS: [&str; 3] = ["ip", "endpoint", "status"];

/// A table elsewhere whose columns are not known by then is not looked for.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// What becomes of one of the data folder that cannot be read.
const UNREAD: &str = "a table cannot be read; the analytics show it only if `--table` names it";
/// What becomes of it.
const UNSEEN: &str = "a table elsewhere cannot be read; name it with `--table` to wait for it";

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
            let location = match lake_sink(plans, Some(table)) {
                Some(sink) => Some(Lake::table(&sink.section, data)?.1),
                None => elsewhere::of(data).locate(table, data)?,
            };
            let location = match location {
                Some(location) => location,
                None => {
                    tell_if_missing(table, data)?;
                    Location::embedded(data, table)
                }
            };
            return Ok(Some(Analytics {
                table: table.clone(),
                time,
                backend: Backend::Lake { location, without: Vec::new() },
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

/// Says that a table is not there, and which are: it may come with a first run, and may be a slip.
fn tell_if_missing(table: &str, data: &Path) -> Result<()> {
    let mut known = opened::tables(data)?;
    if known.iter().any(|name| name == table) {
        return Ok(());
    }
    known.retain(|name| ![query::DEAD_LETTERS, query::MARKS].contains(&name.as_str()));
    known.extend(elsewhere::of(data).tables.into_iter().map(|placed| placed.name));
    let known = match known.as_slice() {
        [] => "there is none yet".to_owned(),
        known => format!("there are: {}", known.join(", ")),
    };
    let data = data.display();
    warn!(table, "there is no such table in {data} yet, and the dashboard waits for it; {known}");
    Ok(())
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
            let placed = sink.map(|sink| Lake::table(&sink.section, data)).transpose()?;
            let placed = placed.map(|(_, location)| location);
            Backend::Lake { location: lake_place(url, placed, data, &table), without: Vec::new() }
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

/// Where a lake table lies: at a URL of its own, or where its sink says, which knows the keys too.
fn lake_place(url: Option<String>, placed: Option<Location>, data: &Path, table: &str) -> Location {
    match (url, placed) {
        (Some(url), Some(placed)) if placed.url() == url => placed,
        (Some(url), _) => Location::new(url),
        (None, Some(placed)) => placed,
        (None, None) => Location::embedded(data, table),
    }
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

/// The first table of requests that the data folder holds, or else that its pipelines keep
/// elsewhere.
async fn of_folder(data: &Path) -> Result<Option<Analytics>> {
    for table in opened::tables(data)? {
        let location = Location::embedded(data, &table);
        match holds_requests(&location).await {
            Ok(true) => return Ok(Some(requests(table, location))),
            Ok(false) => {}
            // The others are served all the same.
            Err(error) => warn!(table, error = error.chain(), "{UNREAD}"),
        }
    }
    for PlacedTable { name, location, .. } in elsewhere::of(data).tables {
        match timeout(LOOK_LIMIT, holds_requests(&location)).await {
            Ok(Ok(true)) => return Ok(Some(requests(name, location))),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => warn!(table = name, error = error.chain(), "{UNSEEN}"),
            Err(_) => warn!(table = name, "{UNSEEN}"),
        }
    }
    Ok(None)
}

async fn holds_requests(location: &Location) -> Result<bool> {
    let columns = opened::columns(location).await?;
    let has = |name: &str| columns.iter().any(|column| column == name);
    Ok(has("ts") && REQUESTS.iter().all(|name| has(name)))
}

fn requests(table: String, location: Location) -> Analytics {
    Analytics {
        table,
        time: "ts".to_owned(),
        backend: Backend::Lake { location, without: Vec::new() },
    }
}
