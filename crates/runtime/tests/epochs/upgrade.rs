//! A folder of an earlier program goes on, wherever that program was killed; and many splits, whose
//! checkpoints name files, killed between these and the decision.

use contract::failpoint::{self, Action};
use contract::{ErrorKind, Lineage};
use serde_json::Value;
use state::Checkpoint;
use state::checkpoint::{FORMAT, sha256_hex};

use super::{Fixture, Proof, SPLITS, Start, block_on};

/// Splits whose changes do not stand in a checkpoint.
const MANY: usize = 3_000;

impl Fixture {
    fn folder(&self) -> std::path::PathBuf {
        self.data.path().join("checkpoints").join(&self.name).join("main")
    }

    /// Writes all checkpoints as earlier programs did: in the first layout with all splits in each.
    fn as_before(&self, layout: u32) {
        let newest = block_on(self.history().newest()).unwrap().unwrap().checkpoint;
        for entry in std::fs::read_dir(self.folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("epoch-")) {
                let text = std::fs::read_to_string(&path).unwrap();
                let read = Checkpoint::from_bytes(text.as_bytes()).unwrap();
                let before = match layout {
                    1 => in_layout_1(&read, &newest),
                    _ => text.replacen(
                        &format!("\"format\":{FORMAT}"),
                        &format!("\"format\":{layout}"),
                        1,
                    ),
                };
                std::fs::write(&path, before).unwrap();
            }
        }
    }
}

fn in_layout_1(checkpoint: &Checkpoint, newest: &Checkpoint) -> String {
    let mut body: Value = serde_json::from_slice(&checkpoint.to_line().unwrap()).unwrap();
    let states = newest.roster.states().map(|state| serde_json::to_value(state).unwrap());
    body.as_object_mut().unwrap().remove("names");
    body["splits"] = states.collect();
    let body = body.to_string();
    let sha256 = sha256_hex(body.as_bytes());
    format!("{}\n{body}\n", serde_json::json!({ "format": 1, "sha256": sha256 }))
}

#[test]
fn a_folder_of_an_earlier_program_goes_on_wherever_it_was_killed() {
    let _alone = Proof::alone();
    let points = ["decide.after", "commit.sink.after", "publish.done", "acknowledge.done"];
    let points = points.into_iter().flat_map(|point| [(point, 1), (point, 3)]);
    for (point, layout) in points {
        let fixture = Fixture::new().in_short_epochs();
        failpoint::arm(point, 3, Action::Halt);
        assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed));
        failpoint::disarm();
        fixture.as_before(layout);
        let before = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
        assert_eq!((before.format, before.roster.len()), (layout, SPLITS as usize), "{point}");
        assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
        fixture.check();
        let after = block_on(fixture.history().checkpoints()).unwrap();
        let later = after.iter().filter(|checkpoint| checkpoint.epoch > before.epoch);
        let (empty, read): (Vec<_>, Vec<_>) = later.partition(|later| later.cuts.is_empty());
        let numbers: Vec<_> = empty.iter().map(|one| one.epoch - before.epoch).collect();
        assert_eq!(numbers, [1, 2], "{point}: two epochs of no rows come first");
        assert!(!read.is_empty() && read.iter().all(|one| one.format == FORMAT), "{point}");
    }
}

#[test]
fn going_over_to_another_layout_is_killed_anywhere() {
    let _alone = Proof::alone();
    let points = ["recover.upgraded", "decide.before", "decide.after", "decide.answer"];
    let points = points.into_iter().chain(["without_rows.before", "without_rows.after"]);
    for (point, pass) in points.flat_map(|point| [1, 2].map(|pass| (point, pass))) {
        let fixture = Fixture::new().in_short_epochs();
        failpoint::arm("decide.after", 2, Action::Halt);
        assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed));
        failpoint::disarm();
        fixture.as_before(1);
        failpoint::arm(point, pass, Action::Halt);
        assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed), "{point}:{pass}");
        failpoint::disarm();
        assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
        fixture.check();
    }
}

/// A pipeline of many splits of a few records, in epochs that read most of them.
fn of_many() -> Fixture {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("input: first", "input: numbers");
    let yaml = yaml.replace(&format!("splits: {SPLITS}"), &format!("splits: {MANY}"));
    let yaml = yaml.replace("rows_max: 300, batch_rows: 50", "rows_max: 4, batch_rows: 2");
    let yaml = yaml.replace("2KiB", "24KiB");
    let without_first = yaml.lines().filter(|line| !line.contains("first:"));
    Fixture { yaml: without_first.collect::<Vec<_>>().join("\n"), ..fixture }
}

fn delivered(fixture: &Fixture) -> usize {
    let batches = super::store(&format!("{}-staged", fixture.name)).rows();
    let origins = batches.iter().flat_map(|batch| super::origins(batch).unwrap());
    let rows: Vec<_> = origins.map(|(split, position, _)| (split, position)).collect();
    let once: std::collections::BTreeSet<_> = rows.iter().collect();
    assert_eq!(once.len(), rows.len(), "no row comes twice");
    rows.len()
}

#[test]
fn many_splits_stand_in_files_and_no_kill_between_them_and_a_decision_loses_one() {
    let _alone = Proof::alone();
    for point in ["layer.before", "layer.after", "decide.answer", "decide.after"] {
        let fixture = of_many();
        failpoint::arm(point, 2, Action::Halt);
        assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed), "{point}");
        failpoint::disarm();
        assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
        assert_eq!(delivered(&fixture), MANY * 4, "{point}");
        let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
        assert!(!newest.files.layers.is_empty(), "{point}");
        let ends = newest.roster.states().map(|state| state.known.position.as_ref().unwrap().at);
        assert!(ends.clone().all(|end| end == 4) && ends.count() == MANY, "{point}");
    }
}

#[test]
fn a_file_that_is_damaged_is_named_and_no_decision_is_set_aside() {
    let _alone = Proof::alone();
    let fixture = of_many();
    failpoint::arm("decide.after", 3, Action::Halt);
    assert!(matches!(fixture.proof().start().unwrap(), Start::Crashed));
    failpoint::disarm();
    let newest = block_on(fixture.history().newest()).unwrap().unwrap().checkpoint;
    let layer = newest.files.layers.last().unwrap().name.clone();
    let folder = fixture.data.path().join("checkpoints").join(&fixture.name);
    let path = folder.join("_layer").join(Lineage::main().as_str()).join(&layer);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = fixture.proof().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External, "{error:?}");
    assert!(error.chain().contains(&layer), "{}", error.chain());
    assert!(error.hint_text().unwrap().contains("backup"), "{error:?}");
    std::fs::write(&path, whole).unwrap();
    assert!(matches!(fixture.proof().start().unwrap(), Start::Ended(_)));
    assert_eq!(delivered(&fixture), MANY * 4);
}
