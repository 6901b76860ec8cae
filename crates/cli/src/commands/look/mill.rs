//! The pipeline of a look, and its run: to the end, or while the dashboard is served.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use api::{Access, Analytics, Answers, Backend, Host, Limits, Milling, Options};
use connector_lake::table::Location;
use contract::Result;
use contract::error::Context;
use query::Session;
use runtime::metrics::Exporter;
use runtime::{Progress, RunOptions, Summary};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::files::Input;
use super::open::Browser;
use super::place::{Decided, Place};
use super::{Look, say, show, text};
use crate::arguments::Global;
use crate::commands::{run, serve};
use crate::failure::Exit;
use crate::output::rows;
use crate::progress::Display;
use crate::{pipeline, signals};

/// The pipeline's name.
const NAME: &str = "look";
/// The file of the pipeline, in the data folder of the look.
const FILE: &str = "look.yaml";
/// The longest that an epoch lasts: the first rows are seen so long after the start.
const EPOCH: &str = "1s";
/// Memory of all questions together: whoever looks does so on a machine of their own, and what is
/// spilled to disk is waited for.
const QUESTIONS_BYTES: usize = 1 << 30;

/// What is looked at, with the folder of its lake as the data folder.
pub struct Looked {
    /// The pipeline file.
    pub file: PathBuf,
    /// What was decided about the lines.
    pub decided: Decided,
    /// The arguments, with the data folder of the look.
    pub global: Global,
}

/// What is in the lake.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Milled {
    /// Rows.
    pub rows: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// The first of them.
    pub first_refused: Option<Value>,
    /// Lines that this look read.
    pub read: u64,
    /// How many seconds it took.
    pub seconds: f64,
}

/// Writes the pipeline file.
///
/// # Errors
/// Config: a path is no UTF-8. External: the folder cannot be written.
pub fn write(place: &Place, input: &Input, decided: &Decided) -> Result<PathBuf> {
    let source = match input {
        Input::Stdin => "{ type: stdio }".to_owned(),
        Input::Files { named, .. } => {
            let paths = named.iter().map(|path| Ok(quoted(&text(path)?)));
            let paths = paths.collect::<Result<Vec<_>>>()?.join(", ");
            format!("{{ type: file, paths: [{paths}] }}")
        }
    };
    let parse = decided.parse.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let parse = yaml(parse.unwrap_or_default());
    let (told, input) = match &decided.user_agent {
        Some(field) => {
            (format!("  told: {{ type: enrich, input: parsed, user_agent: {field} }}\n"), "told")
        }
        None => (String::new(), "parsed"),
    };
    let Decided { table, time, .. } = decided;
    let yaml = format!(
        "# Made by `logmill look`, anew each time.\nname: {NAME}\nepoch: {{ interval: {EPOCH} }}\n\
         serve: {{ table: {table}, time: {} }}\nsources:\n  log: {source}\ntransforms:\n  \
         parsed: {{ type: parse, input: log, {parse} }}\n{told}sinks:\n  lake: {{ type: lake, \
         input: {input}, table: {table}, compression: lz4 }}\n",
        quoted(time),
    );
    let file = place.folder().join(FILE);
    let failed = || format!("could not write {:?}", file.display().to_string());
    fs::create_dir_all(place.folder()).external(failed)?;
    fs::write(&file, yaml).external(failed)?;
    Ok(file)
}

/// A text as a pipeline file has it.
fn quoted(text: &str) -> String {
    yaml(&Value::from(text).to_string())
}

/// JSON is YAML; a dollar sign before a brace stands for itself.
fn yaml(json: &str) -> String {
    json.replace("${", "$${")
}

impl Looked {
    /// Answers about the table.
    ///
    /// # Errors
    /// External: no folder for temporary files.
    pub fn answers(&self) -> Result<Answers> {
        let (_, stop) = watch::channel(false);
        Answers::new(self.options(String::new(), self.host(stop)?, None))
    }

    fn host(&self, stop: watch::Receiver<bool>) -> Result<Arc<dyn Host>> {
        let files = [self.file.clone()];
        let exporter = Exporter::install()?;
        tokio::spawn(exporter.clone().tidy());
        Ok(Arc::new(serve::host::Pipelines::load(&files, exporter, stop, &self.global)?))
    }

    fn options(&self, listen: String, host: Arc<dyn Host>, milling: Option<Milling>) -> Options {
        let Decided { table, time, .. } = &self.decided;
        let location = Location::embedded(&self.global.data, table);
        Options {
            listen,
            data: self.global.data.clone(),
            access: Access::default(),
            limits: Limits { memory_bytes: QUESTIONS_BYTES, ..Limits::default() },
            analytics: Some(Analytics {
                table: table.clone(),
                time: time.clone(),
                backend: Backend::Lake { location },
            }),
            milling,
            host,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    async fn run(
        &self,
        until_end: bool,
        progress: Arc<Progress>,
        stop: watch::Receiver<bool>,
    ) -> Result<Summary> {
        let pipeline = pipeline::load(&self.file, &self.global.data)?.pipeline;
        let options = run::until_end(&pipeline, stop, &self.global.data)?;
        runtime::run(pipeline, RunOptions { until_end, ..options }, progress).await
    }

    /// What is in the lake.
    async fn milled(&self, summary: &Summary) -> Result<Milled> {
        let session = Session::open(&self.global.data, query::Limits::default())?;
        let table = &self.decided.table;
        let is_there = self.global.data.join("lake").join(table).join("_delta_log").is_dir();
        let count = async |sql: String| -> Result<u64> {
            let rows = rows::collect(session.query(&sql).await?).await?;
            Ok(rows.first().and_then(|row| row["n"].as_u64()).unwrap_or_default())
        };
        let found = match is_there {
            true => count(format!("SELECT count(*) AS n FROM {table}")).await?,
            false => 0,
        };
        let refused = count("SELECT count(*) AS n FROM dead_letters".to_owned()).await?;
        let first = "SELECT reason, original, split, position FROM dead_letters \
                     ORDER BY epoch, split, position LIMIT 1";
        let first = match refused {
            0 => None,
            _ => rows::collect(session.query(first).await?).await?.into_iter().next(),
        };
        Ok(Milled {
            rows: found,
            refused,
            first_refused: first,
            read: summary.read,
            seconds: summary.seconds,
        })
    }
}

/// Mills what there is; says what is in the lake, and what the run did.
///
/// # Errors
/// Those of the run.
pub async fn to_the_end(looked: &Looked) -> Result<(Milled, Summary)> {
    let pipeline = pipeline::load(&looked.file, &looked.global.data)?.pipeline;
    let options = run::until_end(&pipeline, signals::stop()?, &looked.global.data)?;
    let summary = run::watched(pipeline, options, &looked.global).await?;
    Ok((looked.milled(&summary).await?, summary))
}

/// Serves the dashboard from the first moment, while what there is gets milled, until Ctrl-C.
///
/// # Errors
/// Those of the run, and External where the port is taken.
pub async fn served(
    looked: &Looked,
    look: &Look,
    input: &Input,
    browser: &Browser,
) -> Result<Exit> {
    let (end, ending) = watch::channel(false);
    let mut stop = signals::stop()?;
    let end = Arc::new(end);
    let told = end.clone();
    tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            told.send_replace(true);
        }
    });
    let progress = Arc::<Progress>::default();
    let (finished, done) = watch::channel(false);
    let milling = Milling { progress: progress.clone(), bytes_total: input.bytes(), done };
    let listen = format!("127.0.0.1:{}", look.port.unwrap_or_default());
    let host = looked.host(end.subscribe())?;
    let options = looked.options(listen, host, Some(milling.clone()));
    let query = look.scope.query();
    let global = &looked.global;
    let serving = serve::listen_and_tell(options, ending, |address| {
        let url = format!("http://{address}/{query}");
        show::address(global, &url)?;
        browser.open(&url);
        Ok(())
    });
    let serving = async {
        let served = serving.await;
        end.send_replace(true);
        served
    };
    let running = async {
        let ran = milled(looked, look, (progress, &finished), end.subscribe()).await;
        if ran.is_err() {
            end.send_replace(true);
        }
        ran
    };
    let (served, ran) = tokio::join!(serving, running);
    ran.and(served)?;
    Ok(signals::exit())
}

/// Mills what there is, says so, and goes on where the files are followed.
async fn milled(
    looked: &Looked,
    look: &Look,
    (progress, finished): (Arc<Progress>, &watch::Sender<bool>),
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let global = &looked.global;
    let display = Display::start(NAME, progress.clone(), global);
    let summary = looked.run(true, progress.clone(), stop.clone()).await;
    display.end();
    let summary = summary?;
    finished.send_replace(true);
    let milled = looked.milled(&summary).await?;
    show::word(global, &milled)?;
    if let Err(error) = summary.check_complete() {
        say(global, &error.chain());
    }
    if milled.rows == 0 && milled.refused > 0 {
        say(global, "no line has the format that was taken; `--as FORMAT` names another one");
    }
    if look.follow && signals::exit() == Exit::Done {
        looked.run(false, progress, stop).await?;
    }
    Ok(())
}
