//! A sink that goes elsewhere under its name: told, with the ways out, before anything is written.

use std::path::PathBuf;

use state::Checkpoint;

use crate::{Desk, Ran};

/// A pipeline of raw lines whose sink `out` is what a test says.
fn pipeline(sink: &str) -> String {
    format!(
        "name: web\nepoch: {{ bytes_max: 4KiB }}\n\
         sources:\n  access: {{ type: file, paths: [access.log], block_bytes: 4KiB }}\n\
         sinks:\n  out: {{ input: access, {sink} }}\n"
    )
}

/// A folder with some lines, of which a sink got all.
fn desk(sink: &str) -> Desk {
    let desk = fresh(sink);
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    desk
}

fn fresh(sink: &str) -> Desk {
    let desk = Desk::new();
    let lines: String = (0..LINES).map(|number| format!("line {number} of the log\n")).collect();
    desk.write("access.log", &lines);
    desk.write("web.yaml", &pipeline(sink));
    desk
}

/// The same, killed where the first epoch is decided and no sink holds it.
fn killed_desk(sink: &str) -> Desk {
    let desk = fresh(sink);
    kill_decided(&desk);
    desk
}

/// Runs and is killed where the next epoch is decided and no sink holds it.
fn kill_decided(desk: &Desk) {
    kill_at(desk, "decide.after:1", &[]);
}

/// Runs with some words and is killed at a point.
fn kill_at(desk: &Desk, point: &str, words: &[&str]) {
    let mut command = desk.command(&[&["run", "web.yaml", "--until-end", "-q"], words].concat());
    command.env("LOGMILL_FAILPOINT", point).stdout(std::process::Stdio::null());
    assert!(!command.status().expect("it starts").success(), "it was killed at {point}");
}

/// Runs with another sink and expects that nothing is written and the change is named.
fn refused(desk: &Desk, sink: &str, parts: &[&str]) {
    desk.write("web.yaml", &pipeline(sink));
    for command in [&["run", "web.yaml", "--until-end", "-q"][..], &["run", "web.yaml", "-q"]] {
        let ran = desk.run(command);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{sink}: {}", ran.stderr);
        for part in parts.iter().chain(&["sink \"out\"", "another name", "--assume held"]) {
            assert!(ran.stderr.contains(part), "{sink}: {part}: {}", ran.stderr);
        }
    }
}

fn assume(desk: &Desk, what: &str) -> Ran {
    desk.run(&["run", "web.yaml", "--until-end", "-q", "--assume", what])
}

fn add_a_line(desk: &Desk) {
    let path = desk.path().join("access.log");
    let text = std::fs::read_to_string(&path).expect("read");
    desk.write("access.log", &format!("{text}a new line\n"));
}

fn messages(desk: &Desk, table: &str) -> u64 {
    let sql = format!("SELECT count(*) AS rows FROM {table}");
    let counted = desk.done(&["query", &sql, "-f", "json"]).json();
    counted[0]["rows"].as_u64().expect("a number")
}

/// Whole lines in the objects below a folder.
fn lines_below(desk: &Desk, folder: &str) -> usize {
    let mut folders: Vec<PathBuf> = vec![desk.path().join(folder)];
    let mut lines = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => lines += std::fs::read_to_string(entry.path()).unwrap().lines().count(),
            }
        }
    }
    lines
}

/// Enough for several epochs.
const LINES: usize = 600;
const LAKE: &str = "type: lake, table: t";
const OBJECTS: &str = "type: object_store, url: ./out, create_bucket: true";
const STDOUT: &str = "type: stdio";

#[test]
fn another_type_is_refused_and_named_whether_the_epoch_was_finished_or_not() {
    let types = [("lake", LAKE), ("object_store", OBJECTS), ("stdio", STDOUT)];
    for (old, first) in types {
        for (new, second) in types.into_iter().filter(|(new, _)| *new != old) {
            let change = format!("is of type {new} now, and was of type {old} up to epoch");
            refused(&desk(first), second, &[&change]);
            let unfinished = "run the earlier file once";
            refused(&killed_desk(first), second, &[&change, unfinished]);
        }
    }
}

#[test]
fn after_the_earlier_file_has_finished_another_name_or_the_operators_word_goes_on() {
    let desk = killed_desk(OBJECTS);
    refused(&desk, LAKE, &["run the earlier file once"]);
    assert_eq!(lines_below(&desk, "out"), 0);
    let ran = assume(&desk, "missing");
    assert_eq!(ran.code, 2, "its epoch was made for objects: {}", ran.stderr);
    desk.write("web.yaml", &pipeline(OBJECTS));
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(lines_below(&desk, "out"), LINES);
    refused(&desk, LAKE, &[]);
    add_a_line(&desk);
    let ran = assume(&desk, "held");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!((messages(&desk, "t"), lines_below(&desk, "out")), (1, LINES));
    add_a_line(&desk);
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(messages(&desk, "t"), 2, "it goes on without further words");
}

#[test]
fn another_name_gets_what_is_read_from_now_on() {
    let desk = desk(STDOUT);
    refused(&desk, LAKE, &[]);
    desk.write("web.yaml", &pipeline(LAKE).replace("out:", "table:"));
    add_a_line(&desk);
    let ran = desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert!(!ran.stdout.contains("line 1 of the log"), "{}", ran.stdout);
    assert_eq!(messages(&desk, "t"), 1);
}

#[test]
fn rows_of_a_sink_that_left_the_file_stay_counted_where_they_went() {
    let desk = desk(OBJECTS);
    desk.write("web.yaml", &pipeline(LAKE).replace("out:", "table:"));
    add_a_line(&desk);
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    let audit = desk.done(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!((&audit["complete"], audit["sinks"][0]["found"].as_u64()), (&true.into(), Some(1)));
    let elsewhere = &audit["elsewhere"][0];
    assert_eq!((&elsewhere["sink"], &elsewhere["type"]), (&"out".into(), &"object_store".into()));
    assert_eq!(elsewhere["rows"].as_u64(), Some(LINES as u64));
    assert!(elsewhere["place"].as_str().is_some_and(|place| place.contains("out")), "{audit}");
    let said = desk.done(&["audit", "web.yaml"]).stdout;
    assert!(said.contains("the file has no sink of this name any more"), "{said}");
    // Under its name again it is read back.
    desk.write("web.yaml", &pipeline(OBJECTS));
    let audit = desk.run(&["audit", "web.yaml", "--format", "json"]).json();
    assert_eq!(audit["sinks"][0]["found"].as_u64(), Some(LINES as u64), "{audit}");
    assert_eq!(audit["elsewhere"][0]["sink"], "table", "{audit}");
}

#[test]
fn another_place_is_refused_and_named_after_any_number_of_epochs() {
    let desk = desk(LAKE);
    for _ in 0..3 {
        add_a_line(&desk);
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
        refused(&desk, "type: lake, table: u", &["lake/u", "lake/t"]);
        assert!(!desk.path().join("logmill-data/lake/u").exists(), "nothing was made");
        desk.write("web.yaml", &pipeline(LAKE));
    }
    let desk = self::desk(OBJECTS);
    refused(&desk, &OBJECTS.replace("./out", "./other"), &["./other", "./out"]);
    refused(&desk, &format!("{OBJECTS}, key: \"x/{{split}}-{{position}}\""), &["x/{split}"]);
    assert_eq!((lines_below(&desk, "out"), lines_below(&desk, "other")), (LINES, 0));
}

#[test]
fn a_decided_epoch_is_given_to_another_place_only_on_the_operators_word() {
    for (first, second) in
        [(OBJECTS, OBJECTS.replace("./out", "./other")), (LAKE, LAKE.replace(": t", ": u"))]
    {
        let desk = killed_desk(first);
        refused(&desk, &second, &["run the earlier file once", "--assume missing"]);
        let ran = assume(&desk, "missing");
        assert_eq!(ran.code, 0, "{first}: {}", ran.stderr);
        match second.contains("lake") {
            true => assert_eq!(messages(&desk, "u"), LINES as u64),
            false => assert_eq!(lines_below(&desk, "other"), LINES),
        }
        let audit = desk.run(&["audit", "web.yaml", "-f", "json"]).json();
        assert_eq!(audit["complete"], true, "{first}: {audit}");
    }
}

/// An epoch that was decided for one place and lies in neither is no secret.
#[test]
fn nobody_goes_on_elsewhere_over_an_epoch_that_lies_nowhere_without_saying_so() {
    let lake = LAKE.replace(": t", ": u");
    let objects = OBJECTS.replace("./out", "./other");
    for (first, second) in [(LAKE, lake.as_str()), (OBJECTS, &objects), (OBJECTS, LAKE)] {
        for accepts in [false, true] {
            let desk = desk(first);
            add_a_line(&desk);
            kill_decided(&desk);
            desk.write("web.yaml", &pipeline(second));
            let ran = assume(&desk, "held");
            assert_eq!(ran.code, 2, "{second}: {}", ran.stderr);
            let is_alike = first.split(',').next() == second.split(',').next();
            assert_eq!(ran.stderr.contains("--assume missing"), is_alike, "{}", ran.stderr);
            for part in ["may lie in neither place", "run the earlier file", "--accept-loss"] {
                assert!(ran.stderr.contains(part), "{second}: {part}: {}", ran.stderr);
            }
            if accepts {
                let words = ["run", "web.yaml", "--until-end", "--assume", "held"];
                desk.done(&[&words[..], &["--accept-loss"]].concat());
            } else {
                desk.write("web.yaml", &pipeline(first));
                desk.done(&["run", "web.yaml", "--until-end", "-q"]);
                desk.write("web.yaml", &pipeline(second));
                assert_eq!(assume(&desk, "held").code, 0);
            }
            add_a_line(&desk);
            desk.done(&["run", "web.yaml", "--until-end", "-q"]);
            let audit = desk.run(&["audit", "web.yaml", "-f", "json"]).json();
            let out = &audit["sinks"][0];
            let lost = u64::from(accepts);
            assert_eq!(out["lost"].as_u64(), Some(lost), "{second}: {audit}");
            assert_eq!(out["found"].as_u64(), Some(1), "{second}: {audit}");
            let away = LINES as u64 + 1 - lost;
            assert_eq!(out["moved"][0]["rows"].as_u64(), Some(away), "{second}: {audit}");
            assert_eq!(audit["complete"], true, "{second}: {audit}");
        }
    }
}

/// A start that died once the new place had the epoch, before it noted where the others lie.
#[test]
fn who_moves_a_sink_and_dies_has_moved_it() {
    for words in [&["--assume", "missing"][..], &[]] {
        let desk = desk(LAKE);
        add_a_line(&desk);
        kill_decided(&desk);
        desk.write("web.yaml", &pipeline(&LAKE.replace(": t", ": u")));
        kill_at(&desk, "recover.done:1", &["--assume", "missing"]);
        assert_eq!(messages(&desk, "u"), 1);
        // By its token it might be the earlier place under another name.
        desk.done(&[&["run", "web.yaml", "--until-end", "-q"], words].concat());
        assert_eq!(messages(&desk, "u"), 1, "it is not given twice");
        let audit = desk.run(&["audit", "web.yaml", "-f", "json"]).json();
        assert_eq!(audit["complete"], true, "{audit}");
        let moved = audit["sinks"][0]["moved"][0]["rows"].as_u64();
        assert_eq!(moved, Some(LINES as u64), "{audit}");
    }
}

/// A start that gave up an epoch on the operator's word, and died before it booked that.
#[test]
fn what_was_given_up_and_is_finished_where_it_lies_is_not_lost() {
    for (first, other) in
        [(LAKE, LAKE.replace(": t", ": u")), (OBJECTS, OBJECTS.replace("out", "o"))]
    {
        let desk = desk(first);
        add_a_line(&desk);
        kill_decided(&desk);
        desk.write("web.yaml", &pipeline(&other));
        kill_at(&desk, "without_rows.before:1", &["--assume", "held", "--accept-loss"]);
        desk.write("web.yaml", &pipeline(first));
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
        let audit = desk.run(&["audit", "web.yaml", "-f", "json"]).json();
        let out = &audit["sinks"][0];
        let numbers = ["found", "expected", "lost"].map(|key| out[key].as_u64());
        assert_eq!(numbers, [Some(LINES as u64 + 1), Some(LINES as u64 + 1), Some(0)], "{audit}");
        assert_eq!(audit["complete"], true, "{audit}");
    }
}

#[test]
fn a_data_folder_that_was_moved_goes_on() {
    let desk = desk(LAKE);
    add_a_line(&desk);
    std::fs::rename(desk.path().join("logmill-data"), desk.path().join("elsewhere")).unwrap();
    desk.done(&["check", "web.yaml", "--data", "elsewhere"]);
    desk.done(&["run", "web.yaml", "--until-end", "-q", "--data", "elsewhere"]);
    let audit = desk.done(&["audit", "web.yaml", "-f", "json", "--data", "elsewhere"]).json();
    assert_eq!(audit["complete"], true, "{audit}");
}

#[test]
fn a_sink_that_got_nothing_yet_may_become_another() {
    let desk = Desk::new();
    desk.write("access.log", "");
    for sink in [STDOUT, OBJECTS, LAKE] {
        desk.write("web.yaml", &pipeline(sink));
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    }
}

#[test]
fn check_says_it_where_a_history_lies() {
    let desk = desk(STDOUT);
    desk.done(&["check", "web.yaml"]);
    desk.write("web.yaml", &pipeline(OBJECTS));
    let ran = desk.run(&["check", "web.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("was of type stdio up to epoch"), "{}", ran.stderr);
    desk.done(&["check", "web.yaml", "--data", "no-history"]);
    assert!(!desk.path().join("no-history").exists(), "check makes nothing");
    let desk = self::desk(LAKE);
    desk.write("web.yaml", &pipeline("type: lake, table: u"));
    check_says_what_run_says(&desk, "sink \"out\" writes to");
}

/// Both refuse the file with the same words.
fn check_says_what_run_says(desk: &Desk, expect: &str) {
    let check = desk.run(&["check", "web.yaml"]);
    let run = desk.run(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!((check.code, run.code), (2, 2), "{}{}", check.stdout, run.stdout);
    assert!(run.stderr.contains(expect), "{}", run.stderr);
    assert_eq!(check.stderr, run.stderr);
}

#[test]
fn what_run_would_refuse_from_what_lies_here_check_refuses_too() {
    let desk = desk(LAKE);
    let of = |sink: &str| desk.write("web.yaml", &pipeline(sink));
    of(&format!("{LAKE}, partition_by: message"));
    check_says_what_run_says(&desk, "is partitioned by [], not by [\"message\"]");
    let place = desk.path().join("elsewhere").display().to_string();
    of(&format!("{LAKE}, url: \"file://{place}\""));
    check_says_what_run_says(&desk, "writes to \"file://");
    assert!(!desk.path().join("logmill-data/pipelines").exists(), "nothing of it is noted");
    of(LAKE);
    let file = std::fs::read_to_string(desk.path().join("web.yaml")).expect("written");
    desk.write("web.yaml", &file.replace("out:", "other:"));
    check_says_what_run_says(&desk, "writes where sink \"out\" has written");
    desk.write("web.yaml", &file.replace("name: web", "name: other"));
    check_says_what_run_says(&desk, "reads what pipeline \"web\" has read");
    desk.write("web.yaml", &file);
    std::fs::remove_dir_all(desk.path().join("logmill-data/lake")).expect("removed");
    check_says_what_run_says(&desk, "sink \"out\" holds nothing where the checkpoints say");
    std::fs::remove_dir_all(desk.path().join("logmill-data/checkpoints")).expect("removed");
    desk.done(&["check", "web.yaml"]);
    assert!(!desk.path().join("logmill-data/checkpoints").exists(), "check makes nothing");
}

#[test]
fn check_says_of_a_damaged_newest_checkpoint_what_run_says() {
    for sink in [LAKE, OBJECTS] {
        let desk = desk(sink);
        add_a_line(&desk);
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
        let folder = desk.path().join("logmill-data/checkpoints/web/main");
        let epochs = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
        let newest = epochs.filter(|path| path.to_string_lossy().contains("/epoch-")).max();
        std::fs::write(newest.expect("an epoch"), "").expect("emptied");
        let check = desk.run(&["check", "web.yaml"]);
        let run = desk.run(&["run", "web.yaml", "--until-end", "-q"]);
        assert_eq!((check.code, run.code), (1, 1), "{}{}", check.stdout, run.stderr);
        assert!(check.stderr.contains("sink \"out\" cannot prove"), "{}", check.stderr);
        assert_eq!(check.stderr, run.stderr);
    }
}

#[test]
fn a_history_that_notes_no_places_takes_what_it_meets() {
    let desk = desk(OBJECTS);
    let folder = desk.path().join("logmill-data/checkpoints/web/main");
    let epochs = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let newest = epochs.filter(|path| path.to_string_lossy().contains("/epoch-")).max().unwrap();
    let mut checkpoint = Checkpoint::from_bytes(&std::fs::read(&newest).unwrap()).unwrap();
    assert!(checkpoint.sinks["out"].target.is_some(), "it is noted");
    checkpoint.sinks.get_mut("out").unwrap().target = None;
    std::fs::write(&newest, checkpoint.to_bytes().unwrap()).unwrap();
    let moved = OBJECTS.replace("./out", "./other");
    desk.write("web.yaml", &pipeline(&moved));
    add_a_line(&desk);
    desk.done(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(lines_below(&desk, "other"), 1);
    refused(&desk, OBJECTS, &[]);
}

#[test]
fn what_is_assumed_counts_only_once_the_run_begins() {
    let elsewhere = "type: lake, table: other";
    let renamed =
        |sink: &str| pipeline(sink).replace("access", "log").replace("log.log", "access.log");
    // The source has another name, or the new place takes no such rows.
    for before in [true, false] {
        let desk = desk(LAKE);
        if before {
            desk.write("web.yaml", &renamed(elsewhere));
        } else {
            let other = pipeline(elsewhere).replace("name: web", "name: other");
            let other = other.replace(
                "sinks:",
                "transforms:\n  made: { type: sql, query: 'SELECT 1 AS message FROM access' }\n\
                 sinks:",
            );
            desk.write("other.yaml", &other.replace("input: access", "input: made"));
            desk.done(&["run", "other.yaml", "--until-end", "-q"]);
            desk.write("web.yaml", &pipeline(elsewhere));
        }
        let ran = assume(&desk, "held");
        assert_eq!(ran.code, 2, "{before}: {}", ran.stderr);
        let why = if before { "reads what source" } else { "another schema" };
        assert!(ran.stderr.contains(why), "{before}: {}", ran.stderr);
        // Had it counted, the place of before would be the one that is refused.
        desk.write("web.yaml", &pipeline(LAKE));
        let ran = desk.run(&["run", "web.yaml", "--until-end", "-q"]);
        assert_eq!(ran.code, 0, "{before}: {}", ran.stderr);
    }
}

/// One place has many names: none of them is another place, nor taken for a second one.
#[test]
fn another_spelling_of_a_place_is_the_same_place() {
    let desk = desk("type: object_store, url: ./out, create_bucket: true");
    let whole = desk.path().canonicalize().expect("it is there");
    let whole = whole.display();
    let spellings =
        ["out/".to_owned(), format!("file://{whole}/out"), format!("{whole}/logmill-data/../out")];
    for (number, url) in spellings.iter().enumerate() {
        desk.write("web.yaml", &pipeline(&format!("type: object_store, url: '{url}'")));
        add_a_line(&desk);
        desk.done(&["run", "web.yaml", "--until-end", "-q"]);
        assert_eq!(lines_below(&desk, "out"), LINES + number + 1, "{url}");
    }
    desk.done(&["audit", "web.yaml"]);
    let sink = "  too: { input: access, type: object_store, url: ./out }\n";
    let url = format!("type: object_store, url: 'file://{whole}/out/'");
    desk.write("web.yaml", &format!("{}{sink}", pipeline(&url)));
    let refused = desk.run(&["check", "web.yaml"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(refused.stderr.contains("write to one place"), "{}", refused.stderr);
}

/// What was written under another name of a sink is known under another spelling.
#[test]
fn a_sink_of_another_name_and_spelling_is_known() {
    let desk = desk("type: object_store, url: ./out, create_bucket: true");
    let other = pipeline("type: object_store, url: 'out/.'").replace("  out: {", "  new: {");
    desk.write("web.yaml", &other);
    let refused = desk.run(&["run", "web.yaml", "--until-end", "-q"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let said = "sink \"new\" writes where sink \"out\" has written";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}
