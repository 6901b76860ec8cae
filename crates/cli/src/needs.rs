//! What the sources and sinks of pipelines need outside, for `setup` and `check --connect`.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use async_trait::async_trait;
use contract::needs::{Maker, Need, Needs, State};
use contract::spec::{BuildContext, Part};
use contract::{Error, Result};
use runtime::Pipeline;
use serde::Serialize;
use state::CheckpointStore;
use stores::BucketNeeds;

use crate::arguments::Global;
use crate::failure::{self, Exit};
use crate::output;
use crate::pipeline::Loaded;

/// A source or a sink that needs something, and what.
pub struct Asked {
    /// The pipeline.
    pub pipeline: String,
    /// Its name there, as `source orders`.
    pub part: String,
    /// The word after `type:`.
    pub kind: String,
    needs: Box<dyn Needs>,
    /// What it needs.
    pub found: Vec<Need>,
}

/// What is told of a need.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    pipeline: String,
    part: String,
    r#type: String,
    #[serde(flatten)]
    need: Need,
    /// What becomes of it.
    pub action: Action,
    /// Whether it is missing, and no run makes it.
    #[serde(skip)]
    blocks: bool,
}

/// What becomes of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing must.
    None,
    /// `setup --apply` makes it, or a run does.
    Make,
    /// It was made just now.
    Made,
    /// Somebody else must act.
    Act,
}

/// What all parts of a pipeline said that were asked.
pub struct Answers {
    /// The parts that answered.
    pub asked: Vec<Asked>,
    /// Those that did not, or refused.
    pub refusals: Vec<Refusal>,
    /// How to end for these.
    pub exit: Exit,
}

/// A source or a sink whose server did not answer, or refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    part: String,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Asks every source and sink of a pipeline what it needs, and the store of its checkpoints whether
/// it answers. Changes nothing. What does not answer or refuses is printed, too.
///
/// # Errors
/// Config: a setting is wrong.
pub async fn ask(loaded: &Loaded, global: &Global) -> Result<Answers> {
    let (plan, bound) = (&loaded.plan, &loaded.pipeline);
    let sources = plan.sources.iter().map(|node| {
        (format!("source {}", node.name), &node.name, &node.kind, Part::Source(&node.section))
    });
    let sinks = plan.sinks.iter().zip(&bound.sinks).map(|(node, sink)| {
        let part = Part::Sink(&node.section, &sink.schema);
        (format!("sink {}", node.name), &node.name, &node.kind, part)
    });
    let (mut asked, mut refusals, mut exit) = (Vec::new(), Vec::new(), Exit::Done);
    let mut refused = |part: &str, error: Error| {
        let hint = failure::way_out(&error).map(str::to_owned);
        refusals.push(Refusal { part: part.to_owned(), error: error.chain(), hint });
        let error = error.context(format!("{part} of pipeline {:?}", plan.name));
        exit = exit.worse(failure::report(&error, global));
    };
    for (part, name, kind, of) in sources.chain(sinks) {
        let connector = registry::connectors().iter().find(|one| one.spec().name == kind);
        let Some(connector) = connector else { continue };
        // As a run makes it, or what the settings leave open would be looked at otherwise.
        let epoch_interval = plan.settings.epoch_interval;
        let ctx =
            BuildContext { epoch_interval, ..BuildContext::new(&plan.name, name, &bound.data) };
        let Some(needs) = connector.needs(&of, &ctx)? else { continue };
        match needs.look().await {
            Ok(found) => {
                let (pipeline, kind) = (plan.name.clone(), kind.clone());
                asked.push(Asked { pipeline, part, kind, needs, found });
            }
            Err(error) => refused(&part, error),
        }
    }
    if let Some(needs) = Checkpoints::of(bound)? {
        match needs.look().await {
            Ok(found) => asked.push(Asked {
                pipeline: plan.name.clone(),
                part: CHECKPOINTS.to_owned(),
                kind: CHECKPOINTS.to_owned(),
                needs: Box::new(needs),
                found,
            }),
            Err(error) => refused(CHECKPOINTS, error),
        }
    }
    Ok(Answers { asked, refusals, exit })
}

/// How the store of checkpoints is called among what is needed.
const CHECKPOINTS: &str = "checkpoints";

/// The bucket of a pipeline's checkpoints.
struct Checkpoints {
    pipeline: String,
    store: CheckpointStore,
    bucket: BucketNeeds,
}

impl Checkpoints {
    fn of(bound: &Pipeline) -> Result<Option<Self>> {
        if bound.checkpoint_folder()?.is_some() {
            return Ok(None);
        }
        let Some(bucket) = BucketNeeds::of(&bound.settings.checkpoint)? else { return Ok(None) };
        let (pipeline, store) = (bound.name.clone(), bound.checkpoint_store()?);
        Ok(Some(Self { pipeline, store, bucket }))
    }
}

#[async_trait]
impl Needs for Checkpoints {
    async fn look(&self) -> Result<Vec<Need>> {
        let found = self.bucket.look().await?;
        if found.iter().all(|need| need.state == State::Present) {
            // A bucket that may not be listed counts as there; what is in it must be.
            self.store.lineages(&self.pipeline).await?;
        }
        Ok(found)
    }

    async fn make(&self, need: &Need) -> Result<()> {
        self.bucket.make(need).await
    }
}

impl Asked {
    /// Makes what is missing and can be made.
    ///
    /// # Errors
    /// As for [`Needs::make`].
    pub async fn make(&self, need: &Need) -> Result<()> {
        self.needs.make(need).await
    }

    fn tell(&self, need: &Need, action: Action) -> Told {
        let (pipeline, part) = (self.pipeline.clone(), self.part.clone());
        Told {
            pipeline,
            part,
            r#type: self.kind.clone(),
            need: need.clone(),
            action,
            blocks: false,
        }
    }
}

/// What would become of all that is needed: what one makes, another one need not wait for.
pub fn planned(asked: &[Asked]) -> Vec<Told> {
    let found = || asked.iter().flat_map(|one| one.found.iter().map(move |it| (one, it)));
    let mut made = HashMap::new();
    for (one, need) in found().filter(|(_, need)| need.is_made()) {
        *made.entry((&one.kind, need.kind, &need.name)).or_insert(false) |= !need.blocks();
    }
    let told = found().map(|(one, need)| {
        let by_run = made.get(&(&one.kind, need.kind, &need.name));
        let action = match (&need.state, by_run) {
            (State::Missing, _) if need.maker == Maker::Later => Action::None,
            (State::Missing, Some(_)) => Action::Make,
            (State::Missing, None) => Action::Act,
            _ => Action::None,
        };
        Told { blocks: action != Action::None && by_run != Some(&true), ..one.tell(need, action) }
    });
    told.collect()
}

/// Says of what was to be made for somebody else whether it was.
pub fn settle(told: &mut [Told]) {
    let key = |one: &Told| (one.r#type.clone(), one.need.kind, one.need.name.clone());
    let made: HashSet<_> = told.iter().filter(|one| one.action == Action::Made).map(key).collect();
    for one in told.iter_mut().filter(|one| one.action == Action::Make) {
        one.action = if made.contains(&key(one)) { Action::Made } else { Action::Act };
    }
}

impl Told {
    /// The pipeline that needs it.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Whether a run would fail for it.
    pub fn blocks(&self) -> bool {
        self.blocks
    }

    /// Prints one line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn print(&self, out: &mut output::Stdout) -> std::io::Result<()> {
        let Self { part, need, action, .. } = self;
        let Need { kind, name, shape, state, .. } = need;
        let shape = if shape.is_empty() { String::new() } else { format!(" ({shape})") };
        let (sign, found) = match (action, state) {
            (Action::Make, _) => ("+", "is missing, and is made".to_owned()),
            (Action::Made, _) => ("+", "was made".to_owned()),
            (Action::Act, _) => ("!", "is missing, and somebody else must make it".to_owned()),
            (_, State::Missing) => ("=", "is not there yet".to_owned()),
            (_, State::Different(what)) => ("!", format!("is there, and differs: {what}")),
            (_, _) => ("=", "is there".to_owned()),
        };
        writeln!(out, "  {sign} {part}: {kind} {name}{shape} {found}")
    }
}
