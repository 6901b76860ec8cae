//! `logmill serve`: the HTTP API and the dashboard over what pipelines delivered.

mod access;
pub mod host;
mod running;
mod runs;
mod table;
mod watched;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Host, Limits, Options, Server};
use clap::Args;
use contract::error::Context;
use contract::{Error, Result};
use tokio::sync::watch;

use crate::allocator::IDLE_THREAD_KEPT;
use crate::arguments::{self, Global};
use crate::failure::Exit;
use crate::memory::Memory;
use crate::{elsewhere, output, signals};
use host::Pipelines;
use running::{Failed, Running};
use runtime::metrics::Exporter;

const EXAMPLES: &str = "\
Examples:
  logmill serve                              what lies in ./logmill-data
  logmill serve web.yaml                     with its graph, and replay of its dead letters
  logmill serve nightly.yaml                 with a `schedule`: runs it when it is due
  logmill serve --listen 127.0.0.1:0         a free port, which is the first line of stdout
  logmill serve --listen 0.0.0.0:8443 --token-file token --tls-cert cert.pem --tls-key key.pem
  curl http://127.0.0.1:8000/analytics/error_rate?start=2026-11-01";

/// Threads that answer requests have this name; see [`crate::failure::stop_on_defects`].
pub const THREADS: &str = "logmill-serve";

/// Serve the HTTP API and the dashboard, and run pipelines that have a schedule.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Serve {
    /// Pipeline files, each of their documents a pipeline; without any, all pipelines of the data
    /// folder are shown.
    files: Vec<PathBuf>,

    /// Only this pipeline of the files; may be repeated.
    #[arg(long = "pipeline", value_name = "NAME", requires = "files")]
    names: Vec<String>,

    #[command(flatten)]
    memory: Memory,

    /// Where to listen; port 0 takes a free one. By default what a pipeline file says, else
    /// 127.0.0.1:8000.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// Time that a query in SQL may take.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = arguments::duration)]
    query_timeout: Duration,

    /// Run the pipelines without a schedule too, following their sources.
    #[arg(long)]
    run: bool,

    #[command(flatten)]
    table: table::TableArguments,

    #[command(flatten)]
    access: access::AccessArguments,
}

/// Where to listen if nothing else is said.
const LISTEN: &str = "127.0.0.1:8000";

/// Where the server listens, for programs.
#[derive(serde::Serialize)]
struct Listening {
    address: SocketAddr,
    url: String,
}

pub async fn start(serve: &Serve, global: &Global) -> Result<Exit> {
    let stop = signals::stop()?;
    let exporter = Exporter::install()?;
    let pipelines =
        Pipelines::load((&serve.files, &serve.names), exporter.clone(), stop.clone(), global)?;
    let running = Running::find(serve, global)?;
    let plans = pipelines.plans();
    let said = |find: fn(&plan::Serve) -> Option<String>| {
        let mut found = plans.iter().filter_map(|plan| find(&plan.settings.serve));
        found.find(|text| !text.trim().is_empty())
    };
    let place = serve.listen.clone().or_else(|| said(|serve| serve.listen.clone()));
    let failed = pipelines.failed();
    let host: Arc<dyn Host> = Arc::new(pipelines);
    let options = Options {
        listen: place.unwrap_or_else(|| LISTEN.to_owned()),
        data: global.data.clone(),
        access: serve.access.read(said(|serve| serve.token.clone()))?,
        limits: Limits::default().with_query_timeout(serve.query_timeout),
        analytics: serve.table.choose(&plans, &global.data).await?,
        milling: None,
        host: host.clone(),
        version: env!("CARGO_PKG_VERSION"),
    };
    query::spill::clear_left(&global.data);
    tokio::spawn(exporter.tidy());
    tokio::spawn(watched::count(host, running.names()));
    let ran = keep_both((running, failed), options, stop, global).await?;
    Ok(signals::exit().worse(ran))
}

impl Serve {
    /// Serves one pipeline file.
    pub fn of(file: PathBuf, listen: String) -> Self {
        Self {
            files: vec![file],
            names: Vec::new(),
            memory: Memory::default(),
            listen: Some(listen),
            query_timeout: Limits::default().query_timeout,
            run: false,
            table: table::TableArguments::default(),
            access: access::AccessArguments::default(),
        }
    }
}

/// What the child does that answers one query.
pub async fn answer_query() -> Result<Exit> {
    api::worker::answer(elsewhere::of).await?;
    Ok(Exit::Done)
}

/// Serves and runs, until told to stop, or until the server or all pipelines fail; then the others
/// end too. Returns the worst that became of the pipelines.
async fn keep_both(
    (running, failed): (Running, Failed),
    options: Options,
    mut stop: watch::Receiver<bool>,
    global: &Global,
) -> Result<Exit> {
    let (end, ending) = watch::channel(false);
    let end = Arc::new(end);
    let told = end.clone();
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            told.send_replace(true);
        }
    });
    let served = async {
        let served = listen(options, ending, global).await;
        end.send_replace(true);
        served
    };
    let ran = running.run(&end, &failed, global);
    let (served, ran) = tokio::join!(served, ran);
    served.map(|()| ran)
}

async fn listen(options: Options, stop: watch::Receiver<bool>, global: &Global) -> Result<()> {
    let scheme = if options.access.certificate.is_some() { "https" } else { "http" };
    listen_and_tell(options, stop, |address| say(scheme, address, global)).await
}

/// Answers on threads of its own, so that a defect in a request is not one of a pipeline's run;
/// says where it listens.
///
/// # Errors
/// As for [`Server::bind`], and those of `tell`.
pub async fn listen_and_tell(
    options: Options,
    stop: watch::Receiver<bool>,
    tell: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    let threads = tokio::runtime::Builder::new_multi_thread()
        .thread_name(THREADS)
        .thread_keep_alive(IDLE_THREAD_KEPT)
        .enable_all()
        .build()
        .bug("could not start the threads of the server")?;
    let (sender, bound) = tokio::sync::oneshot::channel();
    let serving = threads.spawn(async move {
        let server = Server::bind(options).await?;
        // Whoever waits for the address is there until the server ends.
        let _ = sender.send(server.address());
        server.run(stop).await;
        Ok(())
    });
    if let Ok(address) = bound.await {
        tell(address)?;
    }
    let ended = serving.await;
    threads.shutdown_background();
    ended.map_err(|error| Error::bug("the server ended early").because(error))?
}

/// The address stands alone on the first line, so that scripts find a free port; people get what
/// they can click.
fn say(scheme: &str, address: SocketAddr, global: &Global) -> Result<()> {
    let url = format!("{scheme}://{address}");
    if global.format.is_for_machines() {
        return output::value(global, &Listening { address, url }, |_| Ok(()));
    }
    let mut out = std::io::stdout().lock();
    let line = if out.is_terminal() { url } else { address.to_string() };
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(output::failed)
}
