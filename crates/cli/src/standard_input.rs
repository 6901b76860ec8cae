//! One process has one standard input, and what one source took of it no other one gets.

use contract::{Error, Result};

use crate::pipeline::Loaded;

/// The connector that reads it.
const READER: &str = "stdio";

/// Refuses a second source that would read standard input beside the first: which of them gets
/// which bytes is chance, and lines would be torn.
///
/// # Errors
/// Config, at the second.
pub fn refuse_second_reader<'a>(loaded: impl IntoIterator<Item = &'a Loaded>) -> Result<()> {
    let sources = loaded.into_iter().flat_map(|one| one.plan.sources.iter().map(move |s| (one, s)));
    let mut readers = sources.filter(|(_, source)| source.kind == READER);
    let (Some((first, source)), Some((second, again))) = (readers.next(), readers.next()) else {
        return Ok(());
    };
    let (name, again_name) = (&source.name, &again.name);
    let same = first.plan.name == second.plan.name;
    let (what, way_out) = match same {
        true => (
            format!("sources {name:?} and {again_name:?} both read standard input"),
            "give several steps or sinks the one source: what it reads goes to all of them",
        ),
        false => (
            format!(
                "source {name:?} of pipeline {:?} and source {again_name:?} of pipeline {:?} both \
                 read standard input",
                first.plan.name, second.plan.name
            ),
            "run one of them with `--pipeline NAME`, or make them one pipeline with one source; a \
             `file` source can be read by several",
        ),
    };
    Err(Error::config(format!("{what}, and a process has but one")).at(&again.place).hint(way_out))
}
