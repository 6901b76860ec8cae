//! The contract of what must exist outside: topics, tables, buckets, index templates.
//!
//! `setup` shows it and makes what is missing, `check --connect` shows what a run would miss. What
//! exists is never changed here: a difference is told, and whoever owns the thing decides.

use async_trait::async_trait;
use serde::Serialize;

use crate::Result;

/// Something that a source or a sink needs in another system, and what is there of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// What it is, as its system calls it: `topic`, `table`.
    pub kind: &'static str,
    /// Its name there.
    pub name: String,
    /// What it looks like, or would if it were made: a few words, empty where there is nothing to
    /// say.
    pub shape: String,
    /// What is there now.
    pub state: State,
    /// Who makes it where it is missing.
    pub maker: Maker,
}

/// What is there of a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "state", content = "found")]
pub enum State {
    /// All of it.
    Present,
    /// Nothing.
    Missing,
    /// Something of this name that differs from the settings: in what.
    Different(String),
}

/// Who makes something that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// A run, when it comes to it; `setup` does so before.
    Run,
    /// `setup`: a run would refuse to begin, or make dead letters.
    Setup,
    /// Somebody else.
    Other,
    /// Nobody beforehand: what it is called shows when records come, and a run waits for it, or has
    /// it made then.
    Later,
}

impl Need {
    /// Whether a run would fail for it.
    pub fn blocks(&self) -> bool {
        self.state == State::Missing && !matches!(self.maker, Maker::Run | Maker::Later)
    }

    /// Whether `setup` makes it now.
    pub fn is_made(&self) -> bool {
        self.state == State::Missing && !matches!(self.maker, Maker::Other | Maker::Later)
    }
}

/// Looks at what a source or a sink needs, and makes it.
#[async_trait]
pub trait Needs: Send + Sync {
    /// All that it needs, with what is there now. Reaches the other system, and changes nothing.
    ///
    /// # Errors
    /// External: it does not answer, or refuses to.
    async fn look(&self) -> Result<Vec<Need>>;

    /// Makes one need that is missing. Whoever made it meanwhile is as good.
    ///
    /// # Errors
    /// External: the other system refuses. Config: the settings do not suit it.
    async fn make(&self, need: &Need) -> Result<()>;
}
