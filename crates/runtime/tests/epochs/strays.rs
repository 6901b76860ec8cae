//! A sink that refuses a row of a split that no source of the pipeline has.

use connector_memory::store::store;
use contract::sink::{Prepared, SinkReject};
use contract::source::Reject;
use contract::{ErrorKind, SplitId};
use testkit::crash::Proof;

use super::Fixture;
use super::altered::{Altered, Habit, named};

/// Refuses a row that nobody gave it.
#[derive(Clone)]
struct Stray;

impl Habit for Stray {
    fn alter(&mut self, mut prepared: Prepared) -> Prepared {
        let reject = Reject::new(3, "too long");
        prepared.rejects.push(SinkReject { split: SplitId::new("elsewhere"), reject });
        prepared.rows -= 1;
        prepared
    }
}

static STRAY: Altered<Stray> = Altered { spec: &named("stray"), habit: Stray };

#[test]
fn a_refused_row_of_nobodys_split_is_a_defect_and_no_silence() {
    let _alone = Proof::alone();
    let fixture = Fixture::new();
    let error = STRAY.proof(&fixture, "staged").start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug, "{error:?}");
    let said = error.chain();
    assert!(said.contains("sink \"staged\" refused the row \"elsewhere@3\""), "{said}");
    assert!(error.hint_text().unwrap().contains("report this"), "{error:?}");
    assert!(store(&format!("{}-transaction", fixture.name)).rows().is_empty());
}
