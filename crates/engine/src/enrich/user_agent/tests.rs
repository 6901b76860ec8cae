use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::array::StringViewArray;
use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{EXTRACTOR, OTHER, Worker, identify, machines, rules};

/// `device | os | browser | bot` of a user agent.
fn check(text: &str, expect: &str) {
    let agent = identify(text);
    let device = agent.device.unwrap_or("-");
    let bot = if agent.bot { "bot" } else { "-" };
    assert_eq!(format!("{device} | {} | {} | {bot}", agent.os, agent.browser), expect, "{text}");
}

#[test]
fn the_four_values_follow_from_the_families() {
    check(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 14_7_1 like Mac OS X) AppleWebKit/605.1.15 \
         (KHTML, like Gecko) Version/14.1.2 Mobile/15E148 Safari/604.1",
        "mobile | iOS 14.7.1 | Mobile Safari 14.1.2 | -",
    );
    check(
        "Mozilla/5.0 (iPad; CPU OS 6_0 like Mac OS X) AppleWebKit/536.26 (KHTML, like Gecko) \
         Version/6.0 Mobile/10A5355d Safari/8536.25",
        "tablet | iOS 6.0 | Mobile Safari 6.0 | -",
    );
    check(
        "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/32.0.1700.107 Safari/537.36",
        "pc | Windows 7 | Chrome 32.0.1700.107 | -",
    );
    check(
        "Mozilla/5.0 (X11; Linux x86_64; rv:26.0) Gecko/20100101 Firefox/26.0",
        "pc | Linux | Firefox 26.0 | -",
    );
    check(
        "Mozilla/5.0 (Linux; Android 9; SM-T510) AppleWebKit/537.36 (KHTML, like Gecko) \
         Chrome/92.0.4515.115 Safari/537.36",
        "tablet | Android 9 | Chrome 92.0.4515.115 | -",
    );
    check("Mozilla/4.0 (compatible; MSIE 5.5; Windows 98)", "pc | Windows 98 | IE 5.5 | -");
    check(
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "- | Other | Googlebot 2.1 | bot",
    );
    check(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 6_0 like Mac OS X) AppleWebKit/536.26 (KHTML, like \
         Gecko) Version/6.0 Mobile/10A5376e Safari/8536.25 (compatible; Googlebot/2.1)",
        "mobile | iOS 6.0 | Googlebot 2.1 | bot",
    );
    check("kube-probe/1.27", "- | Other | Other | bot");
    check(
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
         HeadlessChrome/120.0.0.0 Safari/537.36",
        "pc | Linux | HeadlessChrome 120.0.0 | bot",
    );
    check("", "- | Other | Other | -");
    check("something of its own", "- | Other | Other | -");
}

#[test]
fn only_the_beginning_of_an_endless_user_agent_is_looked_at() {
    check(&format!("{}Firefox/26.0", "é".repeat(2_000)), "- | Other | Other | -");
}

#[test]
fn a_missing_user_agent_has_no_values() {
    let texts = StringViewArray::from(vec![None, Some("curl/8.1.0")]);
    for column in Worker::new().columns(&texts).unwrap() {
        assert!(column.is_null(0));
    }
}

#[test]
fn all_rules_of_uap_core_are_embedded() {
    let rules = rules();
    let embedded =
        rules.user_agent_parsers.len() + rules.os_parsers.len() + rules.device_parsers.len();
    let yaml = fs::read_to_string(uap_core().join("regexes.yaml")).unwrap();
    let listed = yaml.lines().filter(|line| line.trim_start().starts_with("- regex:")).count();
    assert_eq!(embedded, listed);
}

#[test]
fn uap_cores_own_cases_pass() {
    check_cases("tests/test_ua.yaml", 1, |text| {
        let found = EXTRACTOR.ua.extract(text).unwrap_or_default();
        let [major, minor, patch, patch_minor] =
            [found.major, found.minor, found.patch, found.patch_minor]
                .map(|part| part.map(str::to_owned));
        vec![
            ("family", Some(found.family.into_owned())),
            ("major", major),
            ("minor", minor),
            ("patch", patch),
            ("patch_minor", patch_minor),
        ]
    });
    check_cases("tests/test_os.yaml", 1, |text| {
        let found = EXTRACTOR.os.extract(text).unwrap_or_default().into_owned();
        vec![
            ("family", Some(found.os)),
            ("major", found.major),
            ("minor", found.minor),
            ("patch", found.patch),
            ("patch_minor", found.patch_minor),
        ]
    });
    check_cases("tests/test_device.yaml", DEVICE_CASES_STEP, |text| {
        let found = EXTRACTOR.dev.extract(text).unwrap_or_default().into_owned();
        vec![("family", Some(found.device)), ("brand", found.brand), ("model", found.model)]
    });
}

#[test]
fn the_list_of_machines_takes_nobodys_phone_or_browser() {
    let cases = read_cases(&uap_core().join("tests/test_device.yaml"));
    let people = cases.iter().filter(|case| case["family"] != "Spider");
    let people = people.map(|case| &case["user_agent_string"]);
    let of_devices = people.filter(|text| text.starts_with("Mozilla/") || text.contains("Device/"));
    let mut count = 0;
    for text in of_devices {
        assert!(!machines::is_listed(text), "{text}");
        count += 1;
    }
    assert!(count > 5_000, "{count} devices of people");
}

/// There are 16,000 cases of devices; a debug build takes every tenth.
const DEVICE_CASES_STEP: usize = if cfg!(debug_assertions) { 10 } else { 1 };

type Parts = Vec<(&'static str, Option<String>)>;

fn check_cases(file: &str, step: usize, extract: impl Fn(&str) -> Parts) {
    let cases = read_cases(&uap_core().join(file));
    assert!(cases.len() > 100, "{file} has {} cases", cases.len());
    for case in cases.iter().step_by(step) {
        let text = &case["user_agent_string"];
        for (part, found) in extract(text) {
            let found = found.unwrap_or_default();
            let found = if part == "family" && found.is_empty() { OTHER } else { &found };
            // Older cases do not say what the fourth part of a version is.
            let Some(expect) = case.get(part) else { continue };
            assert_eq!(found, expect, "{part} of {text:?} in {file}");
        }
    }
}

/// The folder that the build script took the rules from.
fn uap_core() -> &'static Path {
    Path::new(env!("UAP_CORE"))
}

/// The maps of the list `test_cases`; an empty value is an empty text.
fn read_cases(path: &Path) -> Vec<BTreeMap<String, String>> {
    let yaml = fs::read_to_string(path).unwrap();
    let mut cases = Vec::new();
    let mut key = None;
    for event in Parser::new_from_str(&yaml) {
        match event.unwrap().0 {
            // The first map is the file itself, whose only key is `test_cases`.
            Event::MappingStart(..) => {
                key = None;
                cases.push(BTreeMap::new());
            }
            Event::Scalar(text, style, ..) => match key.take() {
                None => key = Some(text.into_owned()),
                Some(name) => {
                    let is_null = style == ScalarStyle::Plain && matches!(&*text, "~" | "null");
                    let text = if is_null { String::new() } else { text.into_owned() };
                    cases.last_mut().unwrap().insert(name, text);
                }
            },
            _ => {}
        }
    }
    cases.split_off(1)
}
