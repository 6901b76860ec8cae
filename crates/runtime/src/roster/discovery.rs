//! Finds out which splits there are: each source is asked in a task of its own for what changed.
//!
//! A source that does not answer keeps no other back, and no barrier.

use std::collections::{BTreeMap, HashMap};

use contract::discovery::{Differences, Discoverer, Moved, Retired};
use contract::{Error, Position, Result, SplitId};
use tokio::task::JoinSet;

/// The number of a source, who asked it, and what it said.
type Answer = (usize, Box<dyn Discoverer>, Result<Differences>);

/// The sources of an attempt.
#[derive(Default)]
pub struct Discoverers {
    /// Those that are not asked now, by number.
    idle: BTreeMap<usize, Box<dyn Discoverer>>,
    /// Positions that moved since a source was asked, by its number.
    moved: HashMap<usize, Moved>,
    /// Splits that retired since, by the number of their source.
    retired: HashMap<usize, Vec<Retired>>,
    asked: JoinSet<Answer>,
}

impl Discoverers {
    /// A source came.
    pub fn add(&mut self, source: usize, discoverer: Box<dyn Discoverer>) {
        self.idle.insert(source, discoverer);
    }

    /// A split of a source is committed up to a position.
    pub fn moved(&mut self, source: usize, split: SplitId, position: Position) {
        self.moved.entry(source).or_default().insert(split, position);
    }

    /// A split of a source retired.
    pub fn retired(&mut self, source: usize, retired: Retired) {
        self.retired.entry(source).or_default().push(retired);
    }

    /// Whether a source waits to be asked.
    pub fn is_idle(&self, source: usize) -> bool {
        self.idle.contains_key(&source)
    }

    /// Asks all sources that are not being asked.
    pub fn ask(&mut self) {
        for (number, mut discoverer) in std::mem::take(&mut self.idle) {
            if let Some(retired) = self.retired.remove(&number) {
                discoverer.hear_retired(retired);
            }
            let moved = self.moved.remove(&number).unwrap_or_default();
            self.asked.spawn(async move {
                let found = discoverer.look(moved).await;
                (number, discoverer, found)
            });
        }
    }

    /// Whether any source is being asked.
    pub fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Waits for the next answer, with the number of its source; for ever while none is asked.
    /// Cancel safe.
    ///
    /// # Errors
    /// Bug: a source panicked.
    pub async fn answer(&mut self) -> Result<(usize, Result<Differences>)> {
        let Some(answer) = self.asked.join_next().await else {
            return std::future::pending().await;
        };
        let (number, discoverer, found) = answer
            .map_err(|error| Error::bug("a task that looks for splits failed").because(error))?;
        self.idle.insert(number, discoverer);
        Ok((number, found))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;

    /// Answers so often, and notes what it was told.
    struct Said {
        answers: usize,
        heard: Arc<Mutex<Vec<Moved>>>,
    }

    #[async_trait]
    impl Discoverer for Said {
        async fn look(&mut self, moved: Moved) -> Result<Differences> {
            self.heard.lock().expect("not poisoned").push(moved);
            match self.answers.checked_sub(1) {
                Some(left) => self.answers = left,
                None => std::future::pending().await,
            }
            Ok(Differences::default())
        }
    }

    /// A source that answers so often, and what it hears.
    fn said(answers: usize) -> (Box<dyn Discoverer>, Arc<Mutex<Vec<Moved>>>) {
        let heard: Arc<Mutex<Vec<Moved>>> = Arc::default();
        (Box::new(Said { answers, heard: heard.clone() }), heard)
    }

    #[tokio::test]
    async fn a_source_hears_which_positions_moved() {
        let (source, heard) = said(2);
        let mut all = Discoverers::default();
        all.add(0, source);
        all.ask();
        all.answer().await.expect("no panic").1.expect("it answers");
        all.moved(0, SplitId::new("a"), Position::new(5));
        all.moved(0, SplitId::new("a"), Position::new(7));
        all.ask();
        all.answer().await.expect("no panic").1.expect("it answers");
        let moved = Moved::from([(SplitId::new("a"), Position::new(7))]);
        assert_eq!(*heard.lock().expect("not poisoned"), [Moved::new(), moved]);
    }

    #[tokio::test]
    async fn a_source_that_does_not_answer_keeps_no_other_back() {
        let ((silent, heard), (quick, _)) = (said(0), said(3));
        let mut all = Discoverers::default();
        all.add(0, silent);
        all.add(1, quick);
        for _ in 0..3 {
            all.ask();
            let answer = tokio::time::timeout(Duration::from_secs(60), all.answer()).await;
            assert_eq!(answer.expect("it answers").expect("no panic").0, 1);
        }
        assert!(all.is_asked());
        assert!(heard.lock().expect("not poisoned").len() <= 1, "it is asked once");
    }
}
