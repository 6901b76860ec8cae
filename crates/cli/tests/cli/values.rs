//! Where the values of a pipeline file come from: flags, environment, files of values, secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Desk;

const FILE: &str = "\
name: shop
values: { prefix: SHOP, files: [\"${SHOP_CONFIG_FILE:}\"] }
secrets: [\"${SECRETS:none.yaml}\", secrets.yaml, secrets.json]
sources:
  lines: { type: file, paths: [\"${SHOP_INPUT_FILE:a.log}\"] }
sinks:
  lake: { type: lake, input: lines, table: \"${SHOP_LAKE_TABLE:by_default}\" }
  far: { type: postgres, input: lines, url: \"postgres://u@h/d\", table: x,
         password: \"${secret:pg.password}\", enabled: \"${FAR:true}\" }
";

fn table(desk: &Desk, arguments: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let mut command = desk.command(&[&["check", "shop.yaml", "-f", "json"], arguments].concat());
    let ran = command.envs(variables.iter().copied()).output().expect("it runs");
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let of = |name: &str| {
        let variables = json["variables"].as_array().unwrap().iter();
        variables.filter(|one| one["name"] == name).map(|one| one["from"].to_string()).collect()
    };
    (of("SHOP_LAKE_TABLE"), said)
}

#[test]
fn a_flag_goes_before_the_environment_before_files_before_the_default() {
    let desk = Desk::new();
    desk.write("shop.yaml", FILE);
    desk.write("a.log", "a\n");
    desk.write("config.yaml", "lake:\n  table: by_file\n");
    desk.write("later.yaml", "shop: { lake: { table: by_later_file } }\nfar: false\n");
    let off = &[("FAR", "false")][..];
    assert_eq!(table(&desk, &[], off).0, "\"default\"");
    let named = [off, &[("SHOP_CONFIG_FILE", "config.yaml")]].concat();
    let (from, said) = table(&desk, &[], &named);
    assert_eq!(from, "\"file\"");
    assert!(said.contains("config.yaml"), "{said}");
    let (from, said) = table(&desk, &["--values", "later.yaml"], &named[1..]);
    assert!(from == "\"file\"" && said.contains("later.yaml"), "{said}");
    let set = [&named[..], &[("SHOP_LAKE_TABLE", "by_environment")]].concat();
    assert_eq!(table(&desk, &["--values", "config.yaml"], &set).0, "\"environment\"");
    let flag = ["--values", "config.yaml", "--set", "SHOP_LAKE_TABLE=by_flag"];
    let (from, said) = table(&desk, &flag, &set);
    assert_eq!(from, "\"flag\"");
    assert!(!said.contains("by_flag") && !said.contains("by_environment"), "{said}");
    // What is said is what is done.
    let run = ["run", "shop.yaml", "--until-end", "--set", "FAR=false"];
    desk.done(&[&run[..], &["--values", "config.yaml"]].concat());
    assert!(desk.done(&["query", "SELECT count(*) FROM by_file"]).stdout.contains('1'));
    let missing = desk.run(&["check", "shop.yaml", "--values", "nowhere.yaml"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("file of values \"nowhere.yaml\""), "{}", missing.stderr);
}

#[test]
fn secrets_are_searched_in_private_files_and_never_printed() {
    let desk = Desk::new();
    desk.write("shop.yaml", FILE);
    desk.write("a.log", "a\n");
    let none = desk.run(&["check", "shop.yaml"]);
    assert!(
        none.code == 2 && none.stderr.contains("secrets.yaml, secrets.json"),
        "{}",
        none.stderr
    );
    desk.write("secrets.yaml", "pg: { password: hush-yaml }\n");
    desk.write("secrets.json", "{\"pg\": {\"password\": \"hush-json\", \"other\": \"x\"}}");
    let open = desk.run(&["check", "shop.yaml"]);
    assert_eq!(open.code, 2);
    assert!(open.stderr.contains("chmod 600 secrets.yaml"), "{}", open.stderr);
    for name in ["secrets.yaml", "secrets.json"] {
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(desk.path().join(name), private).unwrap();
    }
    let checked = desk.done(&["check", "shop.yaml", "-vv"]);
    assert!(checked.stdout.contains("secret pg.password from secrets.yaml"), "{}", checked.stdout);
    assert!(!checked.stdout.contains("hush") && !checked.stderr.contains("hush"));
    fs::remove_file(desk.path().join("secrets.yaml")).unwrap();
    let checked = desk.done(&["check", "shop.yaml", "-f", "json"]).json();
    assert_eq!(checked["secrets"][0]["file"], "secrets.json");
}

#[test]
fn settings_without_effect_are_accepted_and_named() {
    let desk = Desk::new();
    desk.write("a.log", "a\n");
    let idle = "without_effect:\n  SHOP_WORKERS: splits are read side by side\n  \
                'SHOP_FLUSH_*': offsets are kept with the rows\n";
    desk.write("shop.yaml", &format!("{FILE}{idle}"));
    desk.write(
        "config.yaml",
        "lake: { table: t, tabel: x }\nworkers: 8\nflush: { offsets: { ms: 5 }, rows: 10 }\n",
    );
    let checked = |arguments: &[&str], variables: &[(&str, &str)]| {
        let all = [&["check", "shop.yaml", "--set", "FAR=false"], arguments].concat();
        let ran = desk.command(&all).envs(variables.iter().copied()).output().expect("it runs");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("text")
    };
    assert!(!checked(&[], &[("SHOP_WORKERS", "")]).contains("without effect"), "none is set");
    let said = checked(&["--values", "config.yaml"], &[("SHOP_FLUSH_ROWS", "1")]);
    for line in [
        "  without effect: SHOP_WORKERS from config.yaml: splits are read side by side\n",
        "  without effect: SHOP_FLUSH_OFFSETS_MS from config.yaml: offsets are kept with the rows\n",
        "  without effect: SHOP_FLUSH_ROWS from the environment: offsets are kept with the rows\n",
        "  warning: config.yaml sets LAKE_TABEL, and nothing takes it; did you mean \"SHOP_LAKE_TABLE\"?\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    assert_eq!(said.matches("nothing takes it").count(), 1, "{said}");
    let json = checked(&["--set", "SHOP_WORKERS=9", "-f", "json"], &[]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let expected = serde_json::json!([{
        "name": "SHOP_WORKERS", "from": "flag", "reason": "splits are read side by side"
    }]);
    assert_eq!(json["without_effect"], expected);
    desk.write("shop.yaml", &format!("{FILE}without_effect: {{ SHOP_LAKE_TABLE: gone }}\n"));
    let both = desk.run(&["check", "shop.yaml", "--set", "FAR=false"]);
    assert_eq!(both.code, 2);
    assert!(both.stderr.contains("the file takes the variable SHOP_LAKE_TABLE"), "{}", both.stderr);
}

#[test]
fn an_empty_variable_leaves_the_value_of_a_file() {
    let desk = Desk::new();
    desk.write("shop.yaml", FILE);
    desk.write("a.log", "a\n");
    desk.write("config.yaml", "lake: { table: by_file }\n");
    let named = [("FAR", "false"), ("SHOP_CONFIG_FILE", "config.yaml"), ("SHOP_LAKE_TABLE", "")];
    assert_eq!(table(&desk, &[], &named).0, "\"file\"");
}
