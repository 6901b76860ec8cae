//! From a pipeline file to its parts, and to what it left behind.
//!
//! What `run`, `check`, `test`, `audit`, `where` and `demo` share. Nothing is opened here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::StringViewArray;
use arrow::datatypes::Schema;
use clap::Args;
use contract::record::sink_schema;
use contract::section::{Entry, Value};
use contract::sink::Sink;
use contract::spec::{BuildContext, Connector};
use contract::{Error, Lineage, Place, Result, Section};
use plan::{Document, Plan, Vocabulary};
use query::audit::AuditedSink;
use runtime::replay::{DEAD_LETTER_STATES, Request};
use runtime::{BindContext, MakeStep, Pipeline, Rebuild, Recipe};
use state::checkpoint::SEMANTICS;
use state::{CheckpointStore, SplitState};
use tokio::sync::watch;

use crate::commands::run;
use crate::detection::{self, Decision, Patience};
use crate::secrets::Secrets;
use crate::variables::{self, Untaken, Unused, Variable, Variables};

/// Lines that tell a log from a pipeline file.
const LOG_LINES_MAX: usize = 20;

/// A pipeline that was read, with its parts made.
pub struct Loaded {
    /// Where it stands.
    pub place: Named,
    /// What the file says.
    pub plan: Plan,
    /// The parts, wired.
    pub pipeline: Pipeline,
    /// The formats that were found out where the file says `format: auto`. Who runs the pipeline
    /// keeps them before.
    pub decisions: Vec<Decision>,
    /// Where the values of its variables and secrets come from.
    pub provenance: Provenance,
}

/// A pipeline by its file, and by its name where the file holds several.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// The pipeline file.
    pub file: PathBuf,

    /// Which of the pipelines in the file, where it holds several.
    #[arg(long = "pipeline", value_name = "NAME")]
    pub name: Option<String>,
}

/// Pipeline files, and which of the pipelines in them.
#[derive(Clone, Debug, Args)]
pub struct Several {
    /// Pipeline files; each of their documents is a pipeline.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,

    /// Only this pipeline of the files; may be repeated.
    #[arg(long = "pipeline", value_name = "NAME")]
    pub names: Vec<String>,
}

/// Where the values of a pipeline come from that do not stand in its file.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    /// Each variable that it names.
    pub variables: Vec<Variable>,
    /// Each secret that it names, and the file that has it.
    pub secrets: Vec<(String, PathBuf)>,
    /// Variables that are set and have no effect.
    pub unused: Vec<Unused>,
    /// The files of values, and what nothing in the pipeline takes of them.
    pub files: Vec<String>,
    pub untaken: Vec<Untaken>,
}

impl Named {
    /// Reads and checks the pipeline and makes its parts.
    ///
    /// # Errors
    /// Config, with the place in the file; the file holds several pipelines and none is named.
    pub fn load(&self, data: &Path) -> Result<Loaded> {
        let documents = documents(&self.file)?;
        make(&self.file, self.choose(&documents)?, data, Patience::None)
    }

    /// Reads and checks the pipeline alone; none of its parts is made. The only one of a file may
    /// have got another name.
    ///
    /// # Errors
    /// As for [`Named::load`].
    pub fn read(&self, data: &Path) -> Result<Plan> {
        let documents = documents(&self.file)?;
        let document = match &documents[..] {
            [only] => only,
            several => self.choose(several)?,
        };
        Ok(checked(&self.file, document, data)?.0)
    }

    fn choose<'a>(&self, documents: &'a [Document]) -> Result<&'a Document> {
        match (documents, &self.name) {
            ([only], None) => Ok(only),
            (several, None) => {
                let (count, file) = (several.len(), self.file.display().to_string());
                Err(Error::config(format!("{file:?} holds {count} pipelines: {}", names(several)))
                    .hint("name one of them with `--pipeline`"))
            }
            (documents, Some(name)) => {
                let found = documents.iter().find(|one| name_of(one).as_ref() == Some(name));
                found.ok_or_else(|| unknown(name, documents))
            }
        }
    }
}

impl Several {
    /// Reads and checks all of the pipelines, makes their parts, and refuses two of one name.
    ///
    /// # Errors
    /// Config, with the document and the place in the file.
    pub fn load(&self, data: &Path) -> Result<Vec<Loaded>> {
        load_all(&self.files, &self.names, data)
    }

    /// As [`Several::load`] for who runs them: one that is alone may wait for the first line to
    /// tell its format from. Several would keep each other waiting.
    ///
    /// # Errors
    /// As for [`Several::load`]; External where the patience ends.
    pub fn load_and_wait(&self, data: &Path, patience: Patience) -> Result<Vec<Loaded>> {
        match &wanted(&self.files, &self.names)?[..] {
            [(file, only)] => Ok(vec![make(file, only, data, patience)?]),
            several => make_all(several, data),
        }
    }
}

/// As [`Several::load`].
pub fn load_all(files: &[PathBuf], names: &[String], data: &Path) -> Result<Vec<Loaded>> {
    make_all(&wanted(files, names)?, data)
}

fn make_all(documents: &[(&PathBuf, Document)], data: &Path) -> Result<Vec<Loaded>> {
    let made = documents.iter().map(|(file, one)| make(file, one, data, Patience::None));
    made.collect()
}

/// The documents of files that are asked for.
fn wanted<'a>(files: &'a [PathBuf], names: &[String]) -> Result<Vec<(&'a PathBuf, Document)>> {
    let mut read = Vec::new();
    for file in files {
        read.extend(documents(file)?.into_iter().map(|document| (file, document)));
    }
    refuse_same_names(&read)?;
    if let Some(name) = names.iter().find(|&name| !read.iter().any(|(_, one)| is(one, name))) {
        let documents: Vec<_> = read.into_iter().map(|(_, document)| document).collect();
        return Err(unknown(name, &documents));
    }
    read.retain(|(_, one)| names.is_empty() || names.iter().any(|name| is(one, name)));
    Ok(read)
}

/// Two pipelines of one name would own the same checkpoints.
fn refuse_same_names(read: &[(&PathBuf, Document)]) -> Result<()> {
    for (number, (_, document)) in read.iter().enumerate() {
        let Some(name) = name_of(document) else { continue };
        if let Some((_, first)) = read[..number].iter().find(|(_, other)| is(other, &name)) {
            return Err(Error::config(format!(
                "two pipelines have the name {name:?}, the first at {}",
                first.place()
            ))
            .at(document.place())
            .hint("checkpoints are kept under the name; give each pipeline its own"));
        }
    }
    Ok(())
}

fn is(document: &Document, name: &str) -> bool {
    name_of(document).as_deref() == Some(name)
}

fn name_of(document: &Document) -> Option<String> {
    let outside = document.outside(&variables::of_environment).unwrap_or_default();
    let variables = Variables::of(&outside.values).ok()?;
    document.name(&|name| variables.find(name))
}

fn names(documents: &[Document]) -> String {
    documents.iter().filter_map(name_of).collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str, documents: &[Document]) -> Error {
    Error::config(format!("there is no pipeline {name:?}"))
        .hint(format!("there are: {}", names(documents)))
}

/// Reads and checks the only pipeline of a file and makes its parts.
///
/// # Errors
/// As for [`Named::load`].
pub fn load(file: &Path, data: &Path) -> Result<Loaded> {
    Named { file: file.to_owned(), name: None }.load(data)
}

fn make(file: &Path, document: &Document, data: &Path, patience: Patience) -> Result<Loaded> {
    let (plan, provenance) = checked(file, document, data)?;
    let within = |error| document.within(error);
    // An earlier version that is made again may name metrics that are gone.
    runtime::metrics::check(&plan.settings.metrics).map_err(within)?;
    let decisions = detection::decide(&plan, data, patience).map_err(within)?;
    let pipeline = bind_decided((&plan, SEMANTICS), data, &decisions).map_err(within)?;
    let place = Named { file: file.to_owned(), name: Some(plan.name.clone()) };
    Ok(Loaded { place, plan, pipeline, decisions, provenance })
}

fn checked(file: &Path, document: &Document, data: &Path) -> Result<(Plan, Provenance)> {
    plan_of(document, data).map_err(|error| unless_log(error, file, document.text()))
}

/// The documents of a pipeline file.
///
/// # Errors
/// Config, with the place in the file: it cannot be read, is a log, or is not YAML.
fn documents(file: &Path) -> Result<Vec<Document>> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::config(format!("could not read pipeline file {name:?}"))
            .because(error)
            .hint("`logmill connectors NAME` shows a pipeline file to begin with")
    })?;
    plan::documents(&text, &name).map_err(|error| unless_log(error, file, &text))
}

/// The error, or what to do where the first lines of a text have a format of logs.
fn unless_log(error: Error, file: &Path, text: &str) -> Error {
    let lines = text.lines().take(LOG_LINES_MAX);
    match formats::detect(&StringViewArray::from_iter_values(lines)) {
        Ok(_) => {
            let name = file.display().to_string();
            Error::config(format!("{name:?} is a log, not a pipeline file"))
                .hint(format!("`logmill look {name}` shows what is in it"))
        }
        Err(_) => error,
    }
}

/// Makes the parts of a plan.
///
/// # Errors
/// Config, with the place in the file.
pub fn bind(plan: &Plan, data: &Path) -> Result<Pipeline> {
    bind_decided((plan, SEMANTICS), data, &detection::decide(plan, data, Patience::None)?)
}

fn bind_decided(
    (plan, semantics): (&Plan, u32),
    data: &Path,
    decisions: &[Decision],
) -> Result<Pipeline> {
    let make_step: MakeStep = &|kind, name, section, inputs| match decisions
        .iter()
        .find(|decision| decision.step == name)
    {
        Some(decision) => engine::decided_parse(name, section, inputs, &decision.format),
        None => engine::step(kind, name, section, inputs),
    };
    let ctx = BindContext {
        make_step,
        connectors: registry::connectors(),
        data: data.to_owned(),
        dead_letters: embedded_table(&plan.name, query::DEAD_LETTERS, data)?,
        semantics,
    };
    let pipeline = Pipeline::bind(plan, &ctx)?;
    detection::refuse_unjoined(plan, decisions)?;
    refuse_marks(plan, &pipeline, data)?;
    Ok(pipeline)
}

/// Refuses a sink that writes where Logmill notes which dead letters are closed.
fn refuse_marks(plan: &Plan, pipeline: &Pipeline, data: &Path) -> Result<()> {
    let marks = embedded_table(&plan.name, query::MARKS, data)?;
    // The place of the marks alone is asked for: what columns a lake may have binds no other sink.
    let place = marks.destination(&sink_schema(&Schema::empty(), true))?;
    for (node, sink) in plan.sinks.iter().zip(&pipeline.sinks) {
        let both = place.as_ref().zip(sink.sink.destination(&sink.schema)?);
        if both.is_some_and(|(marks, place)| stores::is_one_place(marks, &place)) {
            return Err(Error::config(format!("the table {:?} belongs to logmill", query::MARKS))
                .at(&node.place)
                .hint("it says which dead letters are closed; choose another name"));
        }
    }
    Ok(())
}

/// Checks a document.
///
/// # Errors
/// Config, with the document and the place in the file.
fn plan_of(document: &Document, data: &Path) -> Result<(Plan, Provenance)> {
    let specs = || registry::connectors().iter().map(|connector| connector.spec());
    let sources = specs().filter(|spec| spec.source.is_some()).map(|spec| spec.name);
    let sinks = specs().filter(|spec| spec.sink.is_some()).map(|spec| spec.name);
    let transforms = engine::specs().iter().map(|spec| spec.name);
    let outside = document.outside(&variables::of_environment)?;
    let variables = Variables::of(&outside.values).map_err(|error| document.within(error))?;
    let secrets = Secrets::of(&outside.secrets, data);
    let vocabulary = Vocabulary {
        sources: &sources.collect::<Vec<_>>(),
        transforms: &transforms.collect::<Vec<_>>(),
        sinks: &sinks.collect::<Vec<_>>(),
        inputs: &engine::inputs,
        environment: &|variable| variables.find(variable),
        secrets: &|path| secrets.find(path),
    };
    let plan = document.read(&vocabulary)?;
    let idle = &plan.settings.without_effect;
    let (unused, untaken) = variables.idle(idle, &document.variables());
    let files = variables.files().map(str::to_owned).collect();
    let (variables, secrets) = (variables.seen(), secrets.seen());
    Ok((plan, Provenance { variables, secrets, unused, files, untaken }))
}

/// Makes earlier versions of a pipeline again, with the files that their steps read as they were.
pub fn rebuild(data: &Path) -> Rebuild {
    let data = data.to_owned();
    Arc::new(move |recipe: &Recipe| {
        let document = plan::documents(&recipe.text, "the earlier version")?;
        let [document] = &document[..] else {
            return Err(Error::bug("the earlier version holds several pipelines"));
        };
        let (mut plan, _) = plan_of(document, &data)?;
        for node in &mut plan.transforms {
            node.section = node.section.with_texts(&|text| {
                let kept = recipe.resources.iter().find(|(path, _)| path == text);
                kept.map(|(_, kept)| kept.to_string_lossy().into_owned())
            });
        }
        let decisions = detection::decide(&plan, &data, Patience::None)?;
        bind_decided((&plan, recipe.semantics), &data, &decisions)
    })
}

/// A table of ours in the embedded lake, where refused records go whatever the sinks are. The sink
/// has the name of the table.
fn embedded_table(pipeline: &str, table: &str, data: &Path) -> Result<Arc<dyn Sink>> {
    let place = Place::default();
    let name = Section::new(place.clone(), Value::Text(table.into()));
    let entry = Entry { key: "table".into(), place: place.clone(), value: name };
    let section = Section::new(place, Value::Map(vec![entry]));
    let ctx = BuildContext::new(pipeline, table, data);
    connector_lake::Lake.sink(&section, &ctx)
}

/// Turns a pipeline into one that gives the letters of a request again.
///
/// # Errors
/// Config: what the letters need is not in the pipeline any more.
pub fn replaying(pipeline: Pipeline, request: &Request, data: &Path) -> Result<Pipeline> {
    let marks = embedded_table(&pipeline.name, query::MARKS, data)?;
    pipeline.replaying(request, marks)
}

/// As [`rebuild`], for a replay.
pub fn rebuild_replay(request: &Arc<Request>, data: &Path) -> Rebuild {
    let (rebuild, request, data) = (rebuild(data), request.clone(), data.to_owned());
    Arc::new(move |recipe: &Recipe| replaying(rebuild(recipe)?, &request, &data))
}

/// The checkpoints of a pipeline. Looking at them makes nothing.
///
/// # Errors
/// Config: the pipeline never ran with this data folder.
/// External: the store does not answer.
pub async fn checkpoints(pipeline: &Pipeline) -> Result<CheckpointStore> {
    let found = find_checkpoints(pipeline).await?;
    found.ok_or_else(|| {
        let place = match &pipeline.settings.checkpoint.url {
            Some(url) => url.clone(),
            None => pipeline.data.join("checkpoints").display().to_string(),
        };
        Error::config(format!("pipeline {:?} has no checkpoints in {place:?}", pipeline.name))
            .hint("run it first, or name its data folder with `--data`")
    })
}

/// The checkpoints of a pipeline; none if it never ran.
///
/// # Errors
/// External: the store does not answer.
pub async fn find_checkpoints(pipeline: &Pipeline) -> Result<Option<CheckpointStore>> {
    if let Some(folder) = pipeline.checkpoint_folder()?
        && !folder.join(&pipeline.name).is_dir()
    {
        return Ok(None);
    }
    let store = pipeline.checkpoint_store()?;
    let lineages = store.lineages(&pipeline.name).await?;
    Ok((!lineages.is_empty()).then_some(store))
}

/// What a start would refuse, as far as a folder of checkpoints and the lake tables of this machine
/// tell; shared stores are not opened, and nothing is changed. Returns what only other sinks can
/// tell, a sentence each.
///
/// # Errors
/// Config: a start would be refused. External: what lies on this machine cannot be read.
pub async fn inspect(plan: &Plan, pipeline: &Pipeline) -> Result<Vec<String>> {
    let Some(folder) = pipeline.checkpoint_folder()? else { return Ok(Vec::new()) };
    let (_, stop) = watch::channel(false);
    // Where there is no folder yet, opening the store would make it.
    let options = folder.is_dir().then(|| run::until_end(pipeline, stop, &pipeline.data));
    let options = options.transpose()?;
    runtime::inspect(pipeline, options.as_ref(), &only_read(plan, pipeline)?).await
}

/// The splits that a history on this machine knows; none where there is none, or it is damaged,
/// which is a matter of the start itself.
///
/// # Errors
/// External: a folder of checkpoints that is on this machine cannot be read.
pub async fn known_splits(pipeline: &Pipeline) -> Result<Vec<SplitState>> {
    let mut known = Vec::new();
    if pipeline.checkpoint_folder()?.is_none_or(|folder| !folder.is_dir()) {
        return Ok(known);
    }
    let store = pipeline.checkpoint_store()?;
    for lineage in store.lineages(&pipeline.name).await? {
        if lineage.is_replay() {
            continue;
        }
        if let Ok(Some(newest)) = store.history(&pipeline.name, &lineage).newest().await {
            known.extend(newest.checkpoint.roster);
        }
    }
    Ok(known)
}

/// What a start would refuse of names of sources that only their systems can be asked about, as far
/// as the settings tell: `check` opens no connection.
///
/// # Errors
/// Config: a source names what another one has read. External: a folder of checkpoints that is on
/// this machine cannot be read.
pub async fn inspect_names(plan: &Plan, pipeline: &Pipeline) -> Result<()> {
    let known = known_splits(pipeline).await?;
    runtime::refuse_named(pipeline, &known, &|source, split| {
        let node = plan.sources.iter().find(|node| node.name == source)?;
        let mut connectors = registry::connectors().iter();
        let connector = connectors.find(|one| one.spec().name == node.kind)?;
        connector.names_split(&node.section, split)
    })
}

/// The sinks that are but read when they are asked for their token: lake tables of this machine.
fn only_read(plan: &Plan, pipeline: &Pipeline) -> Result<Vec<usize>> {
    let mut sinks = vec![pipeline.dead_letter_sink()];
    for (number, planned) in plan.sinks.iter().enumerate() {
        if planned.kind == "lake" {
            let (_, location) = connector_lake::Lake::table(&planned.section, &pipeline.data)?;
            sinks.extend(location.folder()?.map(|_| number));
        }
    }
    Ok(sinks)
}

/// The sinks of a pipeline as the audit takes them: the user's own, then dead letters, then the
/// marks of replays where there were any.
///
/// # Errors
/// External: the checkpoints cannot be listed. Config: the data folder cannot hold a table.
pub async fn audited(
    pipeline: &Pipeline,
    checkpoints: &CheckpointStore,
) -> Result<Vec<AuditedSink>> {
    let sinks = pipeline.sinks.iter();
    let sinks = sinks.map(|node| AuditedSink {
        name: node.name.clone(),
        sink: node.sink.clone(),
        target: node.target.clone(),
    });
    let mut sinks: Vec<_> = sinks.collect();
    let lineages = checkpoints.lineages(&pipeline.name).await?;
    if lineages.iter().any(Lineage::is_replay) {
        let sink = embedded_table(&pipeline.name, query::MARKS, &pipeline.data)?;
        sinks.push(AuditedSink { name: DEAD_LETTER_STATES.to_owned(), sink, target: None });
    }
    Ok(sinks)
}
