//! The pipeline of a look, and its run: to the end, or while the dashboard is served.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
use super::others::Others;
use super::place::{self, Decided, Place};
use super::{Look, show, text, unread};
use crate::arguments::Global;
use crate::commands::{run, serve};
use crate::failure::Exit;
use crate::output::{remark, rows};
use crate::progress::Display;
use crate::{pipeline, signals};

/// The pipeline's name.
pub const NAME: &str = "look";
/// The file of the pipeline, in the data folder of the look.
const FILE: &str = "look.yaml";
/// The longest that an epoch lasts: the first rows are seen so long after the start.
const EPOCH: &str = "1s";
/// How often it is looked whether lines were refused while files are followed.
const REFUSED_SOON: Duration = Duration::from_secs(1);
/// How long nothing more is said of it then.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
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
    /// What is in the lake and does not count.
    pub others: Others,
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
    let join = decided.join.as_ref().map(|join| format!(", join: {join}")).unwrap_or_default();
    let source = match input {
        Input::Stdin(_) => format!("{{ type: stdio{join} }}"),
        Input::Files { named, .. } => {
            let path = |path: &PathBuf| {
                let path_text = text(path)?;
                Ok(quoted(&match named.len() > 1 && path.is_file() {
                    true => as_pattern(&path_text),
                    false => path_text,
                }))
            };
            let paths = named.iter().map(path).collect::<Result<Vec<_>>>()?.join(", ");
            format!("{{ type: file, paths: [{paths}]{join} }}")
        }
    };
    let parse = decided.parse.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let mut parse = yaml(parse.unwrap_or_default());
    if !decided.renamed.is_empty() {
        let renamed = serde_json::to_string(&decided.renamed).bug("names are no JSON")?;
        parse.push_str(&format!(", rename: {}", yaml(&renamed)));
    }
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

/// A pattern that matches one path alone: of several files, one that cannot be read holds the
/// others back no more than one of a pattern does.
fn as_pattern(path: &str) -> String {
    let escaped = glob::Pattern::escape(path);
    let last = path.char_indices().rev().find(|(_, sign)| sign.is_alphanumeric());
    match last.filter(|_| escaped == path) {
        Some((at, sign)) => {
            let (begin, end) = (&path[..at], &path[at + sign.len_utf8()..]);
            format!("{begin}[{sign}]{end}")
        }
        None => escaped,
    }
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
        Ok(Arc::new(serve::host::Pipelines::load((&files, &[]), exporter, stop, &self.global)?))
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
                backend: Backend::Lake { location, without: self.others.splits.clone() },
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
    async fn milled(&self, summary: Option<&Summary>) -> Result<Milled> {
        let session = Session::open(&self.global.data, query::Limits::default())?;
        let table = &self.decided.table;
        let is_there = self.global.data.join("lake").join(table).join("_delta_log").is_dir();
        let count = async |sql: String| -> Result<u64> {
            let rows = rows::collect(session.query(&sql).await?).await?;
            Ok(rows.first().and_then(|row| row["n"].as_u64()).unwrap_or_default())
        };
        let counted = self.others.condition("_split");
        let found = match is_there {
            true => count(format!("SELECT count(*) AS n FROM {table} WHERE {counted}")).await?,
            false => 0,
        };
        let letters = format!("FROM dead_letters WHERE {}", self.others.condition("split"));
        let refused = count(format!("SELECT count(*) AS n {letters}")).await?;
        let first = format!(
            "SELECT reason, original, split, position {letters} \
             ORDER BY epoch, split, position LIMIT 1"
        );
        let first = match refused {
            0 => None,
            _ => rows::collect(session.query(&first).await?).await?.into_iter().next(),
        };
        let Some(summary) = summary else {
            return Ok(Milled { rows: found, refused, first_refused: first, ..Milled::default() });
        };
        let read_of_others = match self.others.splits.is_empty() {
            true => 0,
            false => {
                let Others { epoch, .. } = self.others;
                let splits = self.others.list();
                count(format!(
                    "SELECT sum(read) AS n FROM ledger WHERE sink = 'lake' AND epoch > {epoch} \
                     AND split IN ({splits})"
                ))
                .await?
            }
        };
        Ok(Milled {
            rows: found,
            refused,
            first_refused: first,
            read: summary.read.saturating_sub(read_of_others),
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
    Ok((looked.milled(Some(&summary)).await?, summary))
}

/// Says what is in the lake that another look fills.
///
/// # Errors
/// External: the lake cannot be read.
pub async fn as_it_is(looked: &Looked) -> Result<Milled> {
    looked.milled(None).await
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
    let note = place::Address::of(&global.data);
    let serving = serve::listen_and_tell(options, ending, |address| {
        note.write(&format!("http://{address}/"))?;
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
    note.remove();
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
    let milled = looked.milled(Some(&summary)).await?;
    show::word(global, &milled)?;
    unread(global, &summary);
    if milled.rows == 0 && milled.refused > 0 {
        remark(global, "no line has the format that was taken; `--as FORMAT` names another one");
    }
    if look.follow && signals::exit() == Exit::Done {
        // What was refused until now is told; from here on it counts anew.
        let progress = Arc::<Progress>::default();
        let telling = tokio::spawn(tell_refused(progress.clone(), global.clone()));
        let followed = looked.run(false, progress, stop).await;
        telling.abort();
        followed?;
    }
    Ok(())
}

/// Says while files are followed how many of their lines were refused, and which was the first:
/// soon, then now and again.
async fn tell_refused(progress: Arc<Progress>, global: Global) {
    let mut told = 0;
    loop {
        tokio::time::sleep(REFUSED_SOON).await;
        let refused = progress.seen().dead_lettered;
        let Some(first) = progress.first_refused().filter(|_| refused > told) else { continue };
        told = refused;
        remark(&global, &show::refused(refused, first));
        tokio::time::sleep(REFUSED_AGAIN).await;
    }
}
