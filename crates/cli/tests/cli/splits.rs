//! How each split is, as people ask for it beside a running pipeline and without one; and another
//! try for those that could not be read.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::wait;

use crate::Desk;

/// What takes longer never comes.
const LIMIT: Duration = Duration::from_secs(120);

const PIPELINE: &str = "\
name: parts
epoch: { interval: 100ms }
sources:
  access: { type: file, paths: [\"logs/*\"] }
  errors: { type: file, paths: [\"errors/*\"] }
sinks:
  lake: { type: lake, input: access, table: lines }
  failures: { type: lake, input: errors, table: failures }
";

/// A folder with the pipeline, files of two sources, and one that cannot be read.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("p.yaml", PIPELINE);
    for folder in ["logs", "errors"] {
        fs::create_dir(desk.path().join(folder)).unwrap();
    }
    desk.write("logs/a.log", "one\ntwo\n");
    desk.write("logs/b.log", "three\n");
    desk.write("errors/e.log", "four\n");
    fs::write(desk.path().join("logs/torn.zst"), damaged()).unwrap();
    desk
}

/// How zstd begins, and behind that no frame.
fn damaged() -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd], &[0xff; 4096][..]].concat()
}

impl Desk {
    fn splits(&self, more: &[&str]) -> Value {
        self.done(&[&["splits", "list", "p.yaml", "-f", "json"], more].concat()).json()
    }

    /// The names of listed splits, from their folder on, with their phase.
    fn named(&self, more: &[&str]) -> Vec<String> {
        let listed = self.splits(more);
        let named = listed["splits"].as_array().unwrap().iter().map(|one| {
            let (split, phase) = (one["split"].as_str().unwrap(), one["phase"].as_str().unwrap());
            format!("{phase} {}", split.rsplit('/').next().unwrap())
        });
        named.collect()
    }
}

/// A run that follows, and dies with the test.
struct Follows(Child);

impl Drop for Follows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(desk: &Desk) -> Follows {
    let mut command = desk.command(&["run", "p.yaml"]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    Follows(command.spawn().expect("it starts"))
}

#[test]
fn splits_are_listed_without_a_run_and_narrowed_down() {
    let desk = desk();
    let ran = desk.run(&["splits", "list", "p.yaml"]);
    assert_eq!(ran.code, 2, "it never ran: {}", ran.stderr);
    assert!(ran.stderr.contains("run it first"), "{}", ran.stderr);
    assert_eq!(desk.run(&["run", "p.yaml", "--until-end"]).code, 1, "one cannot be read");
    let all = desk.splits(&[]);
    assert_eq!(
        (&all["running"], &all["total"], &all["broken"]),
        (&false.into(), &4.into(), &1.into())
    );
    let expect = ["broken torn.zst", "resting a.log", "resting b.log", "resting e.log"];
    assert_eq!(desk.named(&[]), expect);
    let broken = &all["splits"][0];
    assert!(broken["why"].is_string() && broken["failing_since"].is_string(), "{broken}");
    assert_eq!(desk.named(&["--failing"]), expect[..1]);
    assert_eq!(desk.named(&["--broken", "--source", "errors"]), [""; 0]);
    assert_eq!(desk.named(&["--source", "errors"]), expect[3..]);
    assert_eq!(desk.named(&["--lagging"]), [""; 0]);
    // Four bytes are written while nobody runs it.
    desk.write("logs/a.log", "one\ntwo\nsix\n");
    let lagging = desk.splits(&["--lagging"]);
    assert_eq!((&lagging["lagging"], &lagging["matching"]), (&1.into(), &1.into()));
    assert_eq!(
        (&lagging["splits"][0]["position"], &lagging["splits"][0]["lag_bytes"]),
        (&8.into(), &4.into())
    );
    let short = desk.done(&["splits", "list", "p.yaml", "--limit", "1"]);
    assert!(
        short.stderr.contains("3 more splits") && short.stderr.contains("--limit 4"),
        "{}",
        short.stderr
    );
    assert!(short.stdout.starts_with("parts, not running: 4 splits, 1 broken"), "{}", short.stdout);
    assert!(
        short.stdout.contains("torn.zst") && !short.stdout.contains("a.log"),
        "{}",
        short.stdout
    );
    let lines = desk.done(&["splits", "list", "p.yaml", "-f", "ndjson"]).stdout;
    assert_eq!(lines.lines().count(), 4);
    let wrong = desk.run(&["splits", "list", "p.yaml", "--source", "acess"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("did you mean \"access\"?"), "{}", wrong.stderr);
    let nobody = desk.done(&["splits", "retry", "p.yaml"]);
    assert!(nobody.stdout.contains("nobody runs parts"), "{}", nobody.stdout);
}

#[test]
fn a_running_pipeline_says_how_its_splits_are_and_tries_them_when_asked() {
    let desk = desk();
    let _follows = follow(&desk);
    let listed = || {
        let found = desk.run(&["splits", "list", "p.yaml", "-f", "json"]);
        serde_json::from_str::<Value>(&found.stdout).ok()
    };
    wait::until("all are read but one", LIMIT, || {
        let listed = listed()?;
        let reading = listed["splits"].as_array()?.iter().filter(|one| one["phase"] == "reading");
        let is_it = listed["running"] == true && listed["broken"] == 1 && reading.count() == 3;
        is_it.then_some(())
    });
    let next_try = || Some(listed()?["splits"][0]["next_try"].as_str()?.to_owned());
    let before = next_try().unwrap();
    let check = |arguments: &[&str], code: i32, word: &str| {
        let ran = desk.run(&[&["splits", "retry", "p.yaml"], arguments].concat());
        assert_eq!(ran.code, code, "{}", ran.stderr);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
        ran
    };
    check(&["logs/a.log"], 2, "did not fail: it is reading");
    check(&["nowhere"], 2, "has no split \"nowhere\"");
    let tried = check(&["logs/torn.zst", "-f", "json"], 0, "").json();
    assert_eq!((&tried["running"], &tried["tried"]), (&true.into(), &1.into()));
    assert!(tried["splits"][0].as_str().unwrap().ends_with("logs/torn.zst"), "{tried}");
    // It was tried, and failed again: the pause after that is longer.
    wait::until("it is tried", LIMIT, || next_try().filter(|next| *next > before));
    let all = check(&[], 0, "");
    assert!(all.stdout.contains("parts tries 1 split now"), "{}", all.stdout);
    // Beside another data folder nobody is reached; here the store is what both share.
    let store = desk.path().join("logmill-data/checkpoints").display().to_string();
    desk.write("p.yaml", &format!("{PIPELINE}checkpoint: {{ url: \"{store}\" }}\n"));
    let ran = desk.run(&["splits", "retry", "p.yaml", "--data", "elsewhere"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("does not answer through the data folder"), "{}", ran.stderr);
    assert!(ran.stderr.contains("on the machine that runs it"), "{}", ran.stderr);
}

#[test]
fn nobody_is_asked_to_try_a_split_alone_that_is_a_lineage_of_its_own() {
    let desk = Desk::new();
    desk.write(
        "p.yaml",
        "name: apart\nepoch: { interval: 100ms }\nsources:\n  numbers: { type: memory, rows_max: \
         10, splits: 2, lineages: split }\nsinks:\n  lake: { type: lake, input: numbers, table: \
         numbers }\n",
    );
    let mut command = desk.command(&["run", "p.yaml"]);
    let run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut run = Follows(run);
    wait::until("both are read", LIMIT, || {
        let listed = desk.run(&["splits", "list", "p.yaml", "-f", "json"]);
        let listed: Value = serde_json::from_str(&listed.stdout).ok()?;
        (listed["total"] == 2 && listed["running"] == true).then_some(())
    });
    let asked = desk.done(&["splits", "retry", "p.yaml", "-f", "json"]).json();
    assert_eq!((&asked["running"], &asked["isolated"]), (&true.into(), &false.into()));
    assert_eq!(asked["tried"], 0);
    let said = desk.done(&["splits", "retry", "p.yaml"]).stdout;
    assert!(said.contains("each split of apart is a lineage of its own"), "{said}");
    run.0.kill().unwrap();
}
