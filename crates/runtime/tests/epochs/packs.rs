//! A run that packs and folds what it did long ago, killed at every point of it.

use contract::failpoint::{self, Action};
use state::Checkpoint;

use super::{Fixture, Proof, Start, block_on};

/// Epochs at which a folder is tidied up.
const TIDIED_EVERY: u64 = 16;
/// More than stand under their own names.
const EPOCHS: u64 = 272;

impl Fixture {
    /// Nothing in it keeps a state, so that epochs of no rows need none.
    fn without_state(self) -> Self {
        let yaml = self.yaml.replace("input: first", "input: numbers");
        let lines = yaml.lines().filter(|line| !line.contains("first:"));
        Self { yaml: lines.collect::<Vec<_>>().join("\n"), ..self }
    }

    /// Puts epochs of no rows behind the newest one, decided long ago: soon the folder is tidied up.
    fn fill(&self) -> u64 {
        let history = self.history();
        let newest = block_on(history.newest()).unwrap().unwrap().checkpoint;
        let until = (newest.epoch + EPOCHS).next_multiple_of(TIDIED_EVERY) - 1;
        let mut last = newest;
        while last.epoch < until {
            let sinks = last.sinks.iter().map(|(name, state)| {
                let prev = state.token_after(last.epoch);
                (name.clone(), state.at_rest(prev))
            });
            let sinks = sinks.collect();
            let mut next = Checkpoint {
                epoch: last.epoch + 1,
                now_us: 1_000,
                cuts: Vec::new(),
                ledger: Vec::new(),
                sinks,
                ..last
            };
            block_on(history.decide(&mut next)).unwrap();
            last = next;
        }
        block_on(history.mark_complete(until)).unwrap();
        until
    }

    fn count(&self, kind: &str) -> usize {
        let folder = self.data.path().join("checkpoints").join(&self.name).join("main");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(kind)).count()
    }
}

/// Kills a run there, and looks at what the next one makes of it.
fn kill(point: &str) {
    let fixture = Fixture::new().in_short_epochs().without_state();
    failpoint::arm("decide.after", 3, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed), "{point}");
    failpoint::disarm();
    // What is decided is delivered first; then it takes its place among many.
    failpoint::arm("recover.done", 1, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed), "{point}");
    failpoint::disarm();
    let until = fixture.fill();
    if point.starts_with("fold") {
        block_on(fixture.history().collect(until, 0));
        assert_eq!(fixture.count("pack-"), 1, "{point}");
        fixture.fill();
    }
    failpoint::arm(point, 1, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed), "{point} is not passed");
    failpoint::disarm();
    assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)), "{point}");
    fixture.check();
    let ledger = block_on(fixture.history().ledger()).unwrap();
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint.epoch;
    let kept = block_on(fixture.history().checkpoints()).unwrap();
    let kept: Vec<_> = kept.iter().map(|one| one.epoch).collect();
    // What is folded may still be packed, too.
    assert!(kept[0] <= ledger.folded_until + 1, "{point}: {} is missing", kept[0] - 1);
    assert_eq!(kept, (kept[0]..=newest).collect::<Vec<_>>(), "{point}");
}

#[test]
fn a_run_that_packs_is_killed_at_every_point_of_it() {
    let _alone = Proof::alone();
    ["pack.block", "pack.written", "pack.deleted"].into_iter().for_each(kill);
}

#[test]
fn a_run_that_folds_is_killed_at_every_point_of_it() {
    let _alone = Proof::alone();
    ["fold.block", "fold.written", "fold.deleted"].into_iter().for_each(kill);
}
