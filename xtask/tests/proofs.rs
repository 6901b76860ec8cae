#![allow(clippy::unwrap_used, clippy::panic)]
//! Each place where a crash would hurt is named, and a test kills there.

mod sources;

use std::collections::BTreeSet;

use contract::failpoint::{Failpoint, Passed};
use contract::spec::Spec;

use sources::{Source, files_in};
use testkit::stream::DESTINATIONS;

/// All points, with the connectors that pass them.
fn named() -> Vec<(Option<&'static Spec>, &'static Failpoint)> {
    let connectors = registry::connectors().iter().map(|connector| connector.spec());
    let of_connectors = connectors
        .flat_map(|spec| spec.failpoints.iter().map(move |failpoint| (Some(spec), failpoint)));
    runtime::failpoints().map(|failpoint| (None, failpoint)).chain(of_connectors).collect()
}

fn rust_files() -> Vec<Source> {
    files_in(&["crates", "connectors"], &["rs"])
}

/// What stands after `reach(` in what is no test.
fn passed(files: &[Source]) -> Vec<String> {
    let texts = files.iter().filter(|file| !file.is_test()).map(Source::production);
    let calls = texts.flat_map(|text| text.split("reach(\"").skip(1));
    calls.map(|call| call.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn every_point_is_named_and_every_name_is_passed() {
    let mut names: Vec<_> = named().iter().map(|(_, failpoint)| failpoint.name).collect();
    names.sort_unstable();
    let passed: BTreeSet<_> = passed(&rust_files()).into_iter().collect();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "named twice: {twice:?}");
    let nameless: Vec<_> = passed.iter().filter(|name| !names.contains(&name.as_str())).collect();
    assert!(nameless.is_empty(), "passed, and in no list of failpoints: {nameless:?}");
    let idle: Vec<_> = names.iter().filter(|name| !passed.contains(**name)).collect();
    assert!(idle.is_empty(), "named, and passed by nobody: {idle:?}");
}

#[test]
fn every_point_is_armed_by_a_test() {
    let tests: Vec<_> = rust_files().into_iter().filter_map(Source::into_tests).collect();
    let by_name = |name: &str| {
        let (alone, counted) = (format!("\"{name}\""), format!("\"{name}:"));
        tests.iter().any(|text| text.contains(&alone) || text.contains(&counted))
    };
    // Crashes within a process, and kills of a stream, take these from the lists themselves.
    let by_list = |connector: Option<&Spec>, failpoint: &Failpoint| match connector {
        None => failpoint.passed != Passed::Apart,
        Some(spec) => {
            let has_place = DESTINATIONS.iter().any(|(name, _)| *name == spec.name);
            has_place && failpoint.passed == Passed::Epoch
        }
    };
    let idle: Vec<_> = named()
        .into_iter()
        .filter(|(connector, failpoint)| !by_list(*connector, failpoint))
        .filter(|(_, failpoint)| !by_name(failpoint.name))
        .map(|(_, failpoint)| failpoint.name)
        .collect();
    assert!(idle.is_empty(), "no test arms: {idle:?}");
}

/// What a sink says of its destination, whether it changes or answers, is proved by tests.
#[test]
fn every_word_on_a_destination_names_its_tests() {
    let tests: Vec<_> = rust_files().into_iter().filter_map(Source::into_tests).collect();
    let is_there = |name: &str| {
        let test = format!("fn {name}()");
        tests.iter().any(|text| text.contains(&test))
    };
    for spec in registry::connectors().iter().map(|connector| connector.spec()) {
        let Some(sink) = &spec.sink else { continue };
        let changes = sink.changes.iter().map(|change| (change.when, change.proofs));
        let answers = sink.answers.iter().map(|answer| (answer.answer, answer.proofs));
        for (what, proofs) in changes.chain(answers) {
            let missing: Vec<_> = proofs.iter().filter(|name| !is_there(name)).collect();
            assert!(!proofs.is_empty(), "{}: nothing proves {what:?}", spec.name);
            assert!(missing.is_empty(), "{}: {what:?}: no such tests: {missing:?}", spec.name);
        }
    }
}

#[test]
fn a_kill_at_each_point_has_a_promise() {
    for (_, failpoint) in named() {
        let Failpoint { name, before, after, .. } = failpoint;
        assert!(name.contains('.') && !before.is_empty() && !after.is_empty(), "{failpoint:?}");
    }
}
