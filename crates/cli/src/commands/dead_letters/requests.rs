//! From open dead letters to requests that can be replayed.
//!
//! A letter is taken only if it can reach the sinks that lack it, as the record that it was, and
//! no others. Everything else is left open, and counted with the reason.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use contract::source::OriginalKind;
use contract::{Result, SplitId};
use object_store::ObjectStore;
use query::letters::OpenLetter;
use runtime::Pipeline;
use runtime::replay::{Letter, Refuser, Request};
use state::History;

/// Letters of one request.
const LETTERS_MAX: usize = 50_000;
/// Bytes of the originals in one request.
const BYTES_MAX: usize = 32 << 20;

/// The sources that read each split.
pub struct Readers(HashMap<SplitId, Vec<String>>);

impl Readers {
    /// What the checkpoints of a pipeline know.
    ///
    /// # Errors
    /// External: a checkpoint cannot be read.
    pub async fn read(pipeline: &str, checkpoints: &Arc<dyn ObjectStore>) -> Result<Self> {
        let mut readers: HashMap<SplitId, Vec<String>> = HashMap::new();
        for (name, lineage) in state::history::lineages(checkpoints).await? {
            if name != pipeline || lineage.is_replay() {
                continue;
            }
            let history = History::new(checkpoints.clone(), pipeline, &lineage);
            let Some(newest) = history.newest().await? else { continue };
            for state in newest.checkpoint.splits {
                readers.entry(state.known.split.id).or_default().push(state.source);
            }
        }
        Ok(Self(readers))
    }
}

/// Gathers letters into requests.
pub struct Sorter<'a> {
    pipeline: &'a Pipeline,
    readers: Readers,
    /// Only letters that this sink lacks, and no other.
    sink: Option<&'a str>,
    request: Option<Request>,
    bytes: usize,
    /// Letters that are left open, by reason.
    pub left: BTreeMap<String, u64>,
}

impl<'a> Sorter<'a> {
    /// A sorter for the letters of a pipeline.
    pub fn new(pipeline: &'a Pipeline, readers: Readers, sink: Option<&'a str>) -> Self {
        Self { pipeline, readers, sink, request: None, bytes: 0, left: BTreeMap::new() }
    }

    /// Takes the next letter, in the order of [`query::letters::open`]; gives a request that is
    /// full.
    pub fn add(&mut self, open: OpenLetter) -> Option<Request> {
        let refuser = match (&open.step, &open.sink) {
            (_, Some(sink)) => Refuser::Sink(sink.clone()),
            (step, None) => Refuser::Step(step.clone().unwrap_or_default()),
        };
        let lacking = self.pipeline.sinks_below(&refuser);
        let lacks = |sink: &str| lacking.as_ref().is_some_and(|sinks| sinks.contains(&sink));
        if self.sink.is_some_and(|sink| !lacks(sink)) {
            return None;
        }
        let source = match self.source_of(&open, &refuser, lacking.as_deref()) {
            Ok(source) => source,
            Err(reason) => {
                *self.left.entry(reason).or_default() += 1;
                return None;
            }
        };
        let letter = Letter { source, split: open.split, reject: open.reject };
        self.take(refuser, open.ts_us, letter)
    }

    /// The last request.
    pub fn finish(&mut self) -> Option<Request> {
        self.bytes = 0;
        self.request.take()
    }

    /// The source that a letter takes the place of, or why it must be left.
    fn source_of(
        &self,
        open: &OpenLetter,
        refuser: &Refuser,
        lacking: Option<&[&str]>,
    ) -> std::result::Result<String, String> {
        let mut sources = self.pipeline.sources.iter();
        match lacking {
            None if sources.any(|node| Some(&node.name) == open.step.as_ref()) => {
                return Err("a source refused them, and what it kept may not be the whole".into());
            }
            None => return Err(format!("{refuser} is not in the pipeline file")),
            Some([]) => return Err(format!("no sink is below {refuser}")),
            Some([_, _, ..]) if self.sink.is_some() => {
                return Err(format!("other sinks below {refuser} lack them too"));
            }
            Some(_) => {}
        }
        if open.reject.kind == OriginalKind::Row || open.reject.original.is_none() {
            return Err("their original bytes were not to be had".to_owned());
        }
        let readers = self.readers.0.get(&open.split).into_iter().flatten();
        let mut leading = readers.filter(|source| self.pipeline.leads(source, refuser));
        let found = leading.next().cloned();
        found.ok_or_else(|| format!("no single way leads from their source to {refuser}, as lines"))
    }

    fn take(&mut self, refuser: Refuser, ts_us: i64, letter: Letter) -> Option<Request> {
        let size = letter.reject.original.as_ref().map_or(0, |original| original.len());
        let place = |letter: &Letter| (letter.split.clone(), letter.reject.position);
        let last = self.request.as_ref().filter(|request| request.refuser == refuser);
        let last = last.and_then(|request| request.letters.last());
        let again = last.is_some_and(|last| place(last) == place(&letter));
        let room = |request: &Request| {
            request.letters.len() < LETTERS_MAX && self.bytes + size <= BYTES_MAX
        };
        let fits = |request: &Request| request.refuser == refuser && (again || room(request));
        let full = match self.request.as_ref().is_some_and(fits) {
            true => None,
            false => self.finish(),
        };
        let none = || Request { refuser, newest_us: ts_us, letters: Vec::new() };
        let request = self.request.get_or_insert_with(none);
        request.newest_us = request.newest_us.max(ts_us);
        // Several rows of one record may have been refused; the record is given once.
        if !again {
            request.letters.push(letter);
            self.bytes += size;
        }
        full
    }
}
