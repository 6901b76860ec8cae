//! A source is known by what it reads, a sink by where it writes, a pipeline by both: under another
//! name each would deliver every record a second time, or be taken for somebody else.
//!
//! Refused, never guessed: whether the old name was right or everything is to begin anew, only the
//! owner of the pipeline file knows. What a source would find is asked of another one that is made
//! for the question: sources remember what they were asked.

use std::collections::{BTreeMap, BTreeSet};

use contract::discovery::{Moved, NameSum, Retired, list};
use contract::source::{KnownSplit, Lineages, Split};
use contract::{Error, Result, SplitId};
use state::checkpoint::{SEMANTICS, SinkState, Target};
use state::{Checkpoint, Roster, SplitState};
use tracing::debug;

use crate::graph::{Pipeline, SinkNode};
use crate::owner::{Recipe, RunOptions};

/// Splits that an error names.
const NAMED_MAX: usize = 3;

/// What other sources have read that a source did not: if it finds any of that, it goes on in place
/// of another one.
pub struct Suspects {
    name: String,
    /// Whether it has read something itself.
    has_own: bool,
    /// By source, what others have read.
    others: Vec<(String, OfOther)>,
}

/// What another source has read.
#[derive(Default)]
struct OfOther {
    known: Vec<KnownSplit>,
    /// What is left of what retired.
    retired: Vec<Retired>,
}

impl Suspects {
    /// Those of a source; `known` are the splits of all sources.
    pub fn of(name: &str, known: &Roster) -> Self {
        let own = known.states().filter(|state| state.source == name);
        let own: BTreeSet<&SplitId> = own.map(|state| &state.known.split.id).collect();
        let is_others = |state: &&SplitState| {
            let SplitState { source, known, .. } = state;
            let is_read = known.position.is_some() && !known.split.is_made();
            source != name && is_read && !own.contains(&known.split.id)
        };
        let mut others: BTreeMap<&str, OfOther> = BTreeMap::new();
        for state in known.states().filter(is_others) {
            others.entry(&state.source).or_default().known.push(state.known.clone());
        }
        let mut has_own = !own.is_empty();
        for (_, grave) in known.graves() {
            has_own |= &*grave.source == name;
            if &*grave.source != name && grave.tombstone.is_some() {
                others.entry(&grave.source).or_default().retired.push(grave.retired());
            }
        }
        let others = others.into_iter().map(|(other, of_other)| (other.to_owned(), of_other));
        Self { name: name.to_owned(), has_own, others: others.collect() }
    }

    /// Refuses a source that finds splits which it did not read yet, and which another source has
    /// read and does not read any more.
    ///
    /// # Errors
    /// Config: it does. Others as for [`contract::discovery::Discoverer::look`].
    pub async fn refuse(&self, pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
        let name = self.name.as_str();
        for (other, of_other) in &self.others {
            let ask = || again(pipeline, options);
            let mut read = found(&ask, name, &of_other.known).await?;
            if !read.is_empty() {
                let still = found(&ask, other, &of_other.known).await?;
                read.retain(|split| !still.contains(split));
            }
            let mut back = brought_back(&ask, name, &of_other.retired).await?;
            if !back.is_empty() {
                let still = ids(ask(), other, None).await?;
                back.retain(|split| !still.contains(split));
            }
            read.extend(back);
            if !read.is_empty() {
                let stays = self.has_own || pipeline.sources.iter().any(|node| node.name == *other);
                return Err(match stays {
                    true => moved(name, other, &read),
                    false => renamed(name, other, &read),
                });
            }
        }
        Ok(())
    }
}

/// Says of a source, by name, whether its settings name a split; none where they do not tell.
pub type NamesSplit<'a> = &'a dyn Fn(&str, &SplitId) -> Option<bool>;

/// The same of sources whose splits are lineages of their own, as far as settings alone tell: those
/// are not asked. `known` are the splits of all sources.
///
/// # Errors
/// Config: there is such a source.
pub fn refuse_named(
    pipeline: &Pipeline,
    known: &[SplitState],
    names: NamesSplit<'_>,
) -> Result<()> {
    let apart = pipeline.sources.iter().filter(|node| node.lineages == Lineages::Split);
    for node in apart {
        let name = node.name.as_str();
        let own = known.iter().filter(|state| state.source == name);
        let own: BTreeSet<&SplitId> = own.map(|state| &state.known.split.id).collect();
        let is_in_file = |other: &str| pipeline.sources.iter().any(|node| node.name == other);
        let mut taken: BTreeMap<&str, BTreeSet<SplitId>> = BTreeMap::new();
        for SplitState { source: other, known, .. } in known {
            let id = &known.split.id;
            let is_read = known.position.is_some() && !known.split.is_made();
            let is_others = other != name && is_read && !own.contains(id);
            let is_still = || is_in_file(other) && names(other, id) != Some(false);
            if is_others && names(name, id) == Some(true) && !is_still() {
                taken.entry(other).or_default().insert(id.clone());
            }
        }
        if let Some((other, read)) = taken.first_key_value() {
            return Err(match !own.is_empty() || is_in_file(other) {
                true => moved(name, other, read),
                false => renamed(name, other, read),
            });
        }
    }
    Ok(())
}

/// Refuses a sink that nobody knows yet and that writes where another one wrote, which is not in
/// the file any more.
///
/// # Errors
/// Config: there is such a sink.
pub fn refuse_sinks(pipeline: &Pipeline, checkpoint: &Checkpoint) -> Result<()> {
    let sinks = || own_sinks(pipeline);
    for node in sinks().filter(|node| !checkpoint.sinks.contains_key(&node.name)) {
        let Some(place) = place_of(node.target.as_ref()) else { continue };
        let mut left = checkpoint.sinks.iter().filter(|(name, state)| {
            let is_here = sinks().any(|node| node.name == **name);
            !is_here
                && is_at(state, node.target.as_ref())
                && state.token_after(checkpoint.epoch).is_some()
        });
        if let Some((other, _)) = left.next() {
            let name = &node.name;
            return Err(Error::config(format!(
                "sink {name:?} writes where sink {other:?} has written: {place}"
            ))
            .hint(format!(
                "call it {other:?} again to go on, or give it another place to begin anew: it then \
                 gets what is read from now on"
            )));
        }
    }
    Ok(())
}

fn is_at(state: &SinkState, target: Option<&Target>) -> bool {
    let both = state.target.as_ref().zip(target);
    both.is_some_and(|(one, other)| one.is_one(other))
}

/// Refuses a pipeline that never ran, and that reads what another one of the same store has read
/// and writes where that one wrote.
///
/// # Errors
/// Config: there is such a pipeline. External: the store or a source does not answer (retryable).
pub async fn refuse_pipeline(pipeline: &Pipeline, options: &RunOptions) -> Result<()> {
    let checkpoints = &options.checkpoints;
    if options.lineage.is_replay() || !checkpoints.lineages(&pipeline.name).await?.is_empty() {
        return Ok(());
    }
    for (other, lineage) in state::history::lineages(checkpoints.objects()).await? {
        if other == pipeline.name || lineage.is_replay() {
            continue;
        }
        // What cannot be read is a matter of the pipeline whose it is.
        let Ok(Some(newest)) = checkpoints.history(&other, &lineage).newest().await else {
            continue;
        };
        let newest = newest.checkpoint;
        let wrote = |target: &Target| {
            let mut sinks = newest.sinks.values();
            sinks.any(|state| is_at(state, Some(target)))
        };
        let targets = own_sinks(pipeline).filter_map(|node| node.target.as_ref());
        let place = targets.filter(|target| wrote(target)).find_map(|it| place_of(Some(it)));
        let Some(place) = place else { continue };
        let known: Vec<_> = newest.roster.states().map(|state| state.known.clone()).collect();
        let retired: Vec<_> = newest.roster.graves().map(|(_, grave)| grave.retired()).collect();
        let ask = || again(pipeline, options);
        for node in &pipeline.sources {
            let mut read = found(&ask, &node.name, &known).await?;
            read.extend(brought_back(&ask, &node.name, &retired).await?);
            if let Some(split) = read.first() {
                return Err(Error::config(format!(
                    "pipeline {:?} reads what pipeline {other:?} has read (\"{split}\") and \
                     writes where it has written ({place})",
                    pipeline.name
                ))
                .hint(format!(
                    "call it {other:?} again to go on, or give its sinks other places to read \
                     everything anew"
                )));
            }
        }
    }
    Ok(())
}

/// The sinks of the pipeline file.
fn own_sinks(pipeline: &Pipeline) -> impl Iterator<Item = &SinkNode> {
    pipeline.sinks[..pipeline.dead_letter_sink()].iter()
}

fn place_of(target: Option<&Target>) -> Option<&str> {
    target.and_then(|target| target.place.as_deref())
}

/// The pipeline once more, to ask its sources; none where it cannot be made of its text.
fn again(pipeline: &Pipeline, options: &RunOptions) -> Option<Pipeline> {
    let recipe =
        Recipe { text: pipeline.text.to_string(), resources: Vec::new(), semantics: SEMANTICS };
    let made = (options.rebuild)(&recipe);
    let failed = |error: &Error| debug!(error = error.chain(), "could not ask sources for names");
    made.inspect_err(failed).ok()
}

/// What a source would begin with though it is one of these splits, by whatever name it has now.
async fn found(
    ask: &(dyn Fn() -> Option<Pipeline> + Sync),
    name: &str,
    known: &[KnownSplit],
) -> Result<BTreeSet<SplitId>> {
    let known: Vec<_> = known.iter().filter(|known| known.position.is_some()).cloned().collect();
    if known.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut begun = ids(ask(), name, None).await?;
    // A source that finds nothing yet is asked at every start: only what it would begin with
    // costs anything, however much the others have read.
    if !begun.is_empty() {
        // Asked anew: a source remembers what it called its splits.
        let again = ids(ask(), name, Some(&known)).await?;
        let known: BTreeSet<_> = known.iter().map(|known| &known.split.id).collect();
        // A known id that is not there again is the name of something new; another id that is not
        // is that of something known, which was rotated, compressed or moved since.
        begun.retain(|id| known.contains(id) == again.contains(id));
    }
    Ok(begun)
}

/// What a source would begin with though another one read it before it retired.
async fn brought_back(
    ask: &(dyn Fn() -> Option<Pipeline> + Sync),
    name: &str,
    retired: &[Retired],
) -> Result<BTreeSet<SplitId>> {
    if retired.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut splits = Vec::new();
    // Under the same names, so that those that begin behind what was read differ in that alone.
    let unnamed = |retired: &Retired| Retired { name: NameSum(0), ..retired.clone() };
    for retired in [Vec::new(), retired.iter().map(unnamed).collect()] {
        let asked = ask();
        let asked = asked.as_ref().map(|asked| &asked.sources);
        let Some(node) = asked.into_iter().flatten().find(|node| node.name == name) else {
            return Ok(BTreeSet::new());
        };
        let mut discoverer = node.source.discover(Some(Vec::new()));
        discoverer.hear_retired(retired);
        splits.push(discoverer.look(Moved::new()).await?.found);
        if splits.concat().is_empty() {
            return Ok(BTreeSet::new());
        }
    }
    let (again, begun) = (splits.pop().unwrap_or_default(), splits.pop().unwrap_or_default());
    let is_other = |one: &&Split| {
        let mut others = again.iter();
        !others.any(|other| other.id == one.id && other.descriptor == one.descriptor)
    };
    Ok(begun.iter().filter(is_other).map(|one| one.id.clone()).collect())
}

/// What a source of this name finds; nothing where there is none.
async fn ids(
    asked: Option<Pipeline>,
    name: &str,
    known: Option<&[KnownSplit]>,
) -> Result<BTreeSet<SplitId>> {
    let asked = asked.as_ref().map(|asked| &asked.sources);
    let Some(node) = asked.into_iter().flatten().find(|node| node.name == name) else {
        return Ok(BTreeSet::new());
    };
    let found = list(node.source.as_ref(), known).await?;
    Ok(found.splits.into_iter().map(|split| split.id).collect())
}

fn renamed(name: &str, other: &str, read: &BTreeSet<SplitId>) -> Error {
    reads_what_was_read(name, other, read).hint(format!(
        "call it {other:?} again to go on, or give the pipeline another `name`, and its sinks \
         other places, to read everything anew"
    ))
}

fn moved(name: &str, other: &str, read: &BTreeSet<SplitId>) -> Error {
    reads_what_was_read(name, other, read).hint(format!(
        "let source {other:?} read it again to go on, or give the pipeline another `name`, and \
         its sinks other places, to read everything anew"
    ))
}

/// An error of a source, which says whose it is unless it does already.
pub fn of_source(name: &str, error: Error) -> Error {
    let whose = format!("source {name:?}");
    match error.to_string().starts_with(&whose) {
        true => error,
        false => error.context(whose),
    }
}

fn reads_what_was_read(name: &str, other: &str, read: &BTreeSet<SplitId>) -> Error {
    let named = read.iter().take(NAMED_MAX).map(|split| format!("\"{split}\""));
    let mut splits: Vec<_> = named.collect();
    if read.len() > NAMED_MAX {
        splits.push(format!("{} more", read.len() - NAMED_MAX));
    }
    let splits = splits.join(", ");
    Error::config(format!("source {name:?} reads what source {other:?} has read: {splits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_once_whose_it_is() {
        let read = BTreeSet::from([SplitId::new("a.log")]);
        let said = of_source("b", renamed("b", "a", &read)).chain();
        assert_eq!(said, "source \"b\" reads what source \"a\" has read: \"a.log\"");
        let said = of_source("b", Error::external("no answer")).chain();
        assert_eq!(said, "source \"b\": no answer");
    }
}
