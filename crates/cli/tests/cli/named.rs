//! `query --file`: queries with a name, the values that they take, and those of the blueprint.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::Desk;
use super::blueprints::blueprint;

/// A pipeline whose queries lie beside it.
fn desk() -> Desk {
    let desk = Desk::new();
    for folder in ["shop/queries", "here/queries"] {
        fs::create_dir_all(desk.path().join(folder)).unwrap();
    }
    desk.write("shop/log", "apple\npear\nplum\n");
    desk.write(
        "shop/shop.yaml",
        "name: shop\nsources:\n  lines: { type: file, paths: [\"${LOG:shop/log}\"] }\n",
    );
    desk.write(
        "shop/queries/fruits.sql",
        "-- Fruits by name.\n-- $first [a]: the first letters\n-- $limit [10]: rows at most\n\
         SELECT message AS fruit FROM shop\nWHERE starts_with(message, $first) OR $first = 'a'\n\
         ORDER BY fruit LIMIT $limit;\n",
    );
    desk.write(
        "shop/queries/one-of.sql",
        "-- $fruit: its name\nSELECT count(*) AS n FROM shop WHERE message = $fruit\n",
    );
    desk
}

fn fruits(desk: &Desk, arguments: &[&str]) -> String {
    let all = [&["query", "-f", "json", "--file"], arguments].concat();
    desk.done(&all).json().as_array().unwrap().iter().map(|row| row.to_string()).collect()
}

#[test]
fn a_query_beside_a_pipeline_file_is_asked_by_its_name() {
    let desk = desk();
    let before = desk.run(&["query", "--file", "fruits"]);
    assert_eq!(before.code, 2);
    assert!(before.stderr.contains("once the pipeline has run"), "{}", before.stderr);
    desk.done(&["run", "shop/shop.yaml", "--until-end"]);
    assert_eq!(fruits(&desk, &["fruits", "--param", "limit=1"]), "{\"fruit\":\"apple\"}");
    let two = "{\"fruit\":\"pear\"}{\"fruit\":\"plum\"}";
    assert_eq!(fruits(&desk, &["fruits", "--param", "first=p"]), two);
    assert_eq!(fruits(&desk, &["one-of", "--param", "fruit=pear"]), "{\"n\":1}");
    assert_eq!(fruits(&desk, &["one-of", "--param", "fruit=' OR ''='"]), "{\"n\":0}", "no SQL");
    assert_eq!(
        fruits(&desk, &["shop/queries/one-of.sql", "--param", "fruit=x"]),
        "{\"n\":0}",
        "a path is a file"
    );
    let listed = desk.done(&["query", "--list", "-f", "json"]).json();
    assert_eq!((&listed[0]["query"], &listed[1]["query"]), (&"fruits".into(), &"one-of".into()));
    assert_eq!(listed[0]["answers"], "Fruits by name.");
    let parameters = serde_json::json!([
        { "parameter": "first", "default": "a", "meaning": "the first letters" },
        { "parameter": "limit", "default": "10", "meaning": "rows at most" },
    ]);
    assert_eq!(listed[0]["parameters"], parameters);
    let listed = desk.done(&["query", "--list"]).stdout;
    assert!(listed.contains("  --param limit=10: rows at most\n"), "{listed}");
    assert!(listed.contains("  --param fruit: its name\n"), "{listed}");
}

#[test]
fn a_wrong_name_or_value_says_which_there_are() {
    let desk = desk();
    desk.done(&["run", "shop/shop.yaml", "--until-end"]);
    let said = |arguments: &[&str]| {
        let ran = desk.run(&[&["query"], arguments].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    let misspelt = said(&["--file", "fruit"]);
    assert!(misspelt.contains("there is no query \"fruit\""), "{misspelt}");
    assert!(misspelt.contains("did you mean \"fruits\"?"), "{misspelt}");
    let missing = said(&["--file", "one-of"]);
    assert!(missing.contains("needs a value: fruit, its name"), "{missing}");
    assert!(missing.contains("`--param fruit=VALUE`"), "{missing}");
    let other = said(&["--file", "fruits", "--param", "limits=3"]);
    assert!(other.contains("did you mean \"limit\"?"), "{other}");
    let unset = said(&["SELECT * FROM shop WHERE message = $fruit"]);
    assert!(unset.contains("names `$fruit`, and nothing gives its value"), "{unset}");
    let both = said(&["SELECT 1", "--file", "fruits"]);
    assert!(both.contains("cannot be used with"), "{both}");
    let nowhere = said(&["--list", "--queries", "nowhere"]);
    assert!(nowhere.contains("there is no folder \"nowhere\""), "{nowhere}");
    desk.write("here/queries/wrong.sql", "-- $limit ten\nSELECT 1\n");
    let wrong = said(&["--file", "here/queries/wrong.sql"]);
    assert!(wrong.contains("wrong.sql:1:1") && wrong.contains("`-- $name"), "{wrong}");
    desk.write("here/queries/broken.sql", "SELECT nothing FROM shop\n");
    let broken = said(&["--file", "broken", "--queries", "here/queries"]);
    assert!(broken.contains("the query in \"here/queries/broken.sql\""), "{broken}");
    let again = said(&["shop/queries/fruits.sql"]);
    assert!(again.contains("logmill query --file shop/queries/fruits.sql"), "{again}");
}

#[test]
fn two_queries_of_one_name_must_be_told_apart() {
    let desk = desk();
    desk.write("here/queries/fruits.sql", "SELECT 1 AS here\n");
    desk.write(
        "here/here.yaml",
        "name: here\nsources:\n  lines: { type: file, paths: [shop/log] }\n",
    );
    for file in ["shop/shop.yaml", "here/here.yaml"] {
        desk.done(&["run", file, "--until-end"]);
    }
    let both = desk.run(&["query", "--file", "fruits"]);
    assert!(both.code == 2 && both.stderr.contains("several queries"), "{}", both.stderr);
    let one = ["fruits", "--queries", "here/queries"];
    assert_eq!(fruits(&desk, &one), "{\"here\":1}");
    fs::remove_dir_all(desk.path().join("here/queries")).unwrap();
    let left = fruits(&desk, &["fruits", "--param", "limit=1"]);
    assert_eq!(left, "{\"fruit\":\"apple\"}", "a folder that is gone is passed over");
}

#[test]
fn a_pipeline_file_that_comes_through_a_pipe_has_no_queries() {
    let desk = desk();
    let piped = format!(
        "cat shop/shop.yaml | {:?} run /dev/stdin --until-end",
        env!("CARGO_BIN_EXE_logmill")
    );
    let ran = Command::new("sh").current_dir(desk.path()).args(["-c", &piped]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(desk.done(&["query", "--list"]).stdout, "");
    let text = fs::read_to_string(desk.path().join("shop/queries/one-of.sql")).unwrap();
    desk.write("marked.sql", &format!("\u{feff}{text}"));
    assert_eq!(fruits(&desk, &["marked.sql", "--param", "fruit=plum"]), "{\"n\":1}");
}

/// What the queries that need a value are asked about.
const VALUES: &[(&str, &str)] = &[("requests-of", "ip=110.3.59.12")];

#[test]
fn the_queries_of_the_blueprint_answer_over_its_sample() {
    let desk = Desk::new();
    let (pipeline, input) = (blueprint("pipeline.yaml"), blueprint("input/access.log"));
    let set = format!("SAMPLE_LOG_PATH={}", input.display());
    desk.done(&["run", pipeline.to_str().unwrap(), "--until-end", "--set", &set]);
    let listed = desk.done(&["query", "--list", "-f", "json"]).json();
    let listed = listed.as_array().expect("a list");
    assert!(listed.len() >= 7, "{listed:?}");
    for query in listed {
        let name = query["query"].as_str().expect("a name");
        assert!(!query["answers"].as_str().unwrap().is_empty(), "{name} says what it answers");
        let given = VALUES.iter().find(|(query, _)| *query == name).map(|(_, value)| *value);
        let given: Vec<_> = given.into_iter().flat_map(|value| ["--param", value]).collect();
        let asked = [&["query", "-f", "ndjson", "--file", name], &given[..]].concat();
        let found = desk.done(&asked).stdout;
        let file = blueprint(&format!("expected/queries/{name}.ndjson"));
        if std::env::var("LOGMILL_GOLDEN").is_ok_and(|value| value == "write") {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
        let rows = found.lines().map(|line| serde_json::from_str::<Value>(line).expect("a row"));
        assert!(rows.count() > 0, "{name} answers nothing");
    }
    let since = ["query", "-f", "ndjson", "--file", "top-pages", "--param", "since=2100-01-01"];
    assert_eq!(desk.done(&since).stdout, "", "a text stands for a time");
}
