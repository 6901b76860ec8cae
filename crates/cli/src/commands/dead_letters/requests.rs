//! From open dead letters to requests that can be replayed.
//!
//! A letter is taken only if it can reach the sinks that lack it, as the record that it was, and
//! no others. Everything else is left open, and counted with the reason.

use std::collections::{BTreeMap, HashMap};

use contract::source::{OriginalKind, Split};
use contract::{Result, SplitId};
use query::letters::OpenLetter;
use runtime::Pipeline;
use runtime::replay::{Letter, Plans, Purpose, Refused, Refuser, Request, Route};
use state::CheckpointStore;

use crate::origins::Chosen;

/// Letters of one request.
const LETTERS_MAX: usize = 50_000;
/// Bytes of the originals in one request.
const BYTES_MAX: usize = 32 << 20;

/// The sources that read each split, and the split as they know it.
pub struct Readers(HashMap<SplitId, Vec<(String, Split)>>);

impl Readers {
    /// What the checkpoints of a pipeline know.
    ///
    /// # Errors
    /// External: a checkpoint cannot be read.
    pub async fn read(pipeline: &str, checkpoints: &CheckpointStore) -> Result<Self> {
        let mut readers: HashMap<SplitId, Vec<(String, Split)>> = HashMap::new();
        let lineages = checkpoints.lineages(pipeline).await?;
        for lineage in lineages.iter().filter(|lineage| !lineage.is_replay()) {
            let history = checkpoints.history(pipeline, lineage);
            let Some(newest) = history.newest().await? else { continue };
            for state in newest.checkpoint.roster {
                let split = state.known.split;
                readers.entry(split.id.clone()).or_default().push((state.source, split));
            }
        }
        Ok(Self(readers))
    }

    fn of(&self, split: &SplitId) -> impl Iterator<Item = &(String, Split)> {
        self.0.get(split).into_iter().flatten()
    }
}

/// Which of the open letters are taken, and what for.
#[derive(Debug)]
pub struct Selection {
    /// What becomes of them.
    pub purpose: Purpose,
    /// Only letters that this sink lacks.
    pub sink: Option<String>,
    /// Only letters whose reason contains this text.
    pub reason: Option<String>,
    /// Only those of these records, or of these rows of them; all if there are none.
    pub origins: Vec<Chosen>,
}

/// Gathers letters into requests.
pub struct Sorter<'a> {
    pipeline: &'a Pipeline,
    plans: Option<Plans<'a>>,
    readers: Readers,
    selection: &'a Selection,
    request: Option<Request>,
    bytes: usize,
    /// Letters that are left open, by reason.
    pub left: BTreeMap<String, u64>,
}

impl<'a> Sorter<'a> {
    /// A sorter for the letters of a pipeline. `plans` say by which way they came; none where they
    /// are only closed.
    pub fn new(
        pipeline: &'a Pipeline,
        plans: Option<Plans<'a>>,
        readers: Readers,
        selection: &'a Selection,
    ) -> Self {
        let left = BTreeMap::new();
        Self { pipeline, plans, readers, selection, request: None, bytes: 0, left }
    }

    /// Takes the next letter, in the order of [`query::letters::open`]; gives a request that is
    /// full.
    ///
    /// # Errors
    /// External: a checkpoint that its letter names cannot be read.
    pub async fn add(&mut self, open: OpenLetter) -> Result<Option<Request>> {
        let refuser = match (&open.step, &open.sink) {
            (_, Some(sink)) => Refuser::Sink(sink.clone()),
            (step, None) => Refuser::Step(step.clone().unwrap_or_default()),
        };
        let lacking = self.pipeline.sinks_below(&refuser);
        if !self.is_selected(&open, lacking.as_deref()) {
            return Ok(None);
        }
        let route = match self.selection.purpose {
            Purpose::Replay => match refuse(self.pipeline, self.selection, (&open, &refuser)) {
                Ok(()) => self.route_of(&open, &refuser).await?.map(Some),
                Err(reason) => Err(reason),
            },
            // Nothing is read, so that it does not matter who read it.
            Purpose::Acknowledge => Ok(None),
        };
        let route = match route {
            Ok(route) => route,
            Err(reason) => {
                *self.left.entry(reason).or_default() += 1;
                return Ok(None);
            }
        };
        let source = route.as_ref().map(|route| route.way.source().to_owned());
        let source = source.unwrap_or_default();
        let letter = Letter { source, split: open.split, reject: open.reject };
        Ok(self.take((refuser, route), open.ts_us, letter))
    }

    fn is_selected(&self, open: &OpenLetter, lacking: Option<&[&str]>) -> bool {
        let Selection { sink, origins, .. } = self.selection;
        let lacks = |sink: &str| lacking.is_some_and(|sinks| sinks.contains(&sink));
        let is_it = |Chosen { origin, ordinal }: &Chosen| {
            let is_row = ordinal.is_none_or(|ordinal| ordinal == open.reject.ordinal);
            is_row && origin.split == open.split && origin.position == open.reject.position
        };
        sink.as_deref().is_none_or(lacks) && (origins.is_empty() || origins.iter().any(is_it))
    }

    /// The last request.
    pub fn finish(&mut self) -> Option<Request> {
        self.bytes = 0;
        self.request.take()
    }

    /// The way that a letter takes, or why it must be left.
    async fn route_of(
        &mut self,
        open: &OpenLetter,
        refuser: &Refuser,
    ) -> Result<std::result::Result<Route, String>> {
        let pipeline = self.pipeline;
        let sources: Vec<_> =
            self.readers.of(&open.split).map(|(source, _)| source.as_str()).collect();
        let row = Refused { refuser, ordinal: open.reject.ordinal, sources: &sources };
        let then = match &mut self.plans {
            Some(plans) => plans.of(open.epoch, open.ts_us).await?,
            None => None,
        };
        Ok(pipeline.route(then, row).and_then(|route| take_way(pipeline, (open, refuser), route)))
    }

    fn take(
        &mut self,
        (refuser, route): (Refuser, Option<Route>),
        ts_us: i64,
        letter: Letter,
    ) -> Option<Request> {
        let purpose = self.selection.purpose;
        let size = letter.reject.original.as_ref().map_or(0, |original| original.len());
        let place = |letter: &Letter| (letter.split.clone(), letter.reject.position);
        let (ordinal, kept) = (letter.reject.ordinal, letter.has_bytes());
        let is_alike = |request: &Request| {
            let goes_along = route.as_ref().is_none_or(|route| request.goes_along(route));
            let has_bytes = request.letters.last().is_none_or(|one| one.has_bytes() == kept);
            request.refuser == refuser && request.ordinal == ordinal && goes_along && has_bytes
        };
        let last = self.request.as_ref().filter(|request| is_alike(request));
        let last = last.and_then(|request| request.letters.last());
        let again = last.is_some_and(|last| place(last) == place(&letter));
        let room = |request: &Request| {
            request.letters.len() < LETTERS_MAX && self.bytes + size <= BYTES_MAX
        };
        let fits = |request: &Request| is_alike(request) && (again || room(request));
        let full = match self.request.as_ref().is_some_and(fits) {
            true => None,
            false => self.finish(),
        };
        let none = || Request {
            purpose,
            refuser: refuser.clone(),
            newest_us: ts_us,
            ordinal,
            ways: Vec::new(),
            numbering: Vec::new(),
            letters: Vec::new(),
            tries: 0,
            splits: Vec::new(),
        };
        let request = self.request.get_or_insert_with(none);
        request.newest_us = request.newest_us.max(ts_us);
        if let Some(route) = route {
            request.take_along(route);
        }
        // A row may have been refused more than once; its record is given once.
        if !again {
            let of_source = |(source, _): &&(String, Split)| *source == letter.source;
            if let Some((_, split)) = self.readers.of(&letter.split).find(of_source)
                && request.splits.iter().all(|known| known.id != split.id)
            {
                request.splits.push(split.clone());
            }
            request.letters.push(letter);
            self.bytes += size;
        }
        full
    }
}

/// A way that a letter can take, or why it must be left.
fn take_way(
    pipeline: &Pipeline,
    (open, refuser): (&OpenLetter, &Refuser),
    route: Route,
) -> std::result::Result<Route, String> {
    if let Some(step) = pipeline.state_on(&route.way, refuser) {
        return Err(format!(
            "{step:?} keeps a state, and what is replayed to {refuser} would not meet it; \
             query them from `dead_letters`, or close them with `dead-letters ack`"
        ));
    }
    let source = route.way.source();
    if !pipeline.gives_again(source) {
        return Err(format!("source {source:?} cannot read them again"));
    }
    let has_bytes = open.reject.kind == OriginalKind::Bytes && open.reject.original.is_some();
    // Below a step with a state a row has lost its line; its source is asked for it again.
    match has_bytes || !pipeline.gives_lines(source) || pipeline.reads_again(source) {
        true => Ok(route),
        false => Err(format!(
            "their original bytes were not to be had, and source {source:?} cannot be read twice"
        )),
    }
}

/// Why letters of a refuser must be left, whatever their way.
fn refuse(
    pipeline: &Pipeline,
    selection: &Selection,
    (open, refuser): (&OpenLetter, &Refuser),
) -> std::result::Result<(), String> {
    let mut sources = pipeline.sources.iter();
    match pipeline.sinks_below(refuser).as_deref() {
        None if sources.any(|node| Some(&node.name) == open.step.as_ref()) => {
            return Err("a source refused them, and what it kept may not be the whole".into());
        }
        None => return Err(without(pipeline, refuser)),
        Some([]) => return Err(format!("no sink is below {refuser}")),
        Some(_) => {}
    }
    // What stands below a state gets nothing, whatever is chosen.
    let reached = pipeline.sinks_beside_states(refuser);
    let is_other = |sink: &String| reached.iter().any(|reached| reached != sink);
    if selection.sink.as_ref().is_some_and(is_other) {
        return Err(format!("other sinks below {refuser} lack them too"));
    }
    match pipeline.state_below(refuser) {
        None => Ok(()),
        Some(step) => Err(format!(
            "{step:?} keeps a state, and what is replayed from {refuser} would not meet it: rows \
             that stood before would pass again; query them from `dead_letters`, or close them \
             with `dead-letters ack`"
        )),
    }
}

/// Why letters of a step or sink are left that the file does not have, or calls otherwise now.
fn without(pipeline: &Pipeline, refuser: &Refuser) -> String {
    let sinks = &pipeline.sinks[..pipeline.dead_letter_sink()];
    let (name, what, names): (_, _, Vec<_>) = match refuser {
        Refuser::Step(name) => {
            (name, "transforms", pipeline.steps.iter().map(|node| &node.name).collect())
        }
        Refuser::Sink(name) => (name, "sinks", sinks.iter().map(|node| &node.name).collect()),
    };
    let names = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!(
        "{refuser} is not in the pipeline file, whose {what} are {names}: if it was renamed, call \
         it {name:?} again until they are replayed"
    )
}
