//! Which shapes of a pipeline give a step with a state its rows in an order that a replay repeats.

use super::Fixture;

/// Why a pipeline with these transforms is refused; nothing if it is not.
fn refusal(transforms: &str, input: &str) -> String {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("input: some", &format!("input: {input}"));
    let (head, rest) = yaml.split_once("transforms:").unwrap();
    let (_, sinks) = rest.split_once("sinks:").unwrap();
    let yaml = format!("{head}transforms:\n{transforms}\nsinks:{sinks}");
    match (testkit::crash::Proof { yaml, ..fixture.proof() }).pipeline() {
        Ok(_) => String::new(),
        Err(error) => format!("{error}; {}", error.hint_text().unwrap_or_default()),
    }
}

#[test]
fn a_step_with_a_state_is_fed_by_readers_alone_or_by_one_task_alone() {
    let allowed = [
        ("  a: { type: first_seen, input: numbers }", "a"),
        (
            "  a: { type: first_seen, input: numbers }\n  b: { type: without_nines, input: a }\n  \
             c: { type: first_seen, input: [a, b] }",
            "c",
        ),
        (
            "  a: { type: without_nines, input: numbers }\n  \
             b: { type: first_seen, input: [numbers, a] }",
            "b",
        ),
        (
            "  a: { type: first_seen, input: numbers }\n  b: { type: first_seen, input: numbers }",
            "[a, b]",
        ),
    ];
    for (transforms, input) in allowed {
        assert_eq!(refusal(transforms, input), "", "{transforms}");
    }
    let refused = [
        (
            "  a: { type: first_seen, input: numbers }\n  b: { type: first_seen, input: numbers }\n  \
             c: { type: first_seen, input: [a, b] }",
            "\"a\" and \"b\"",
        ),
        (
            "  a: { type: first_seen, input: numbers }\n  b: { type: without_nines, input: a }\n  \
             c: { type: first_seen, input: [numbers, b] }",
            "the readers and \"a\"",
        ),
    ];
    for (transforms, feeders) in refused {
        let said = refusal(transforms, "c");
        assert!(said.contains("transform \"c\" depends on the order of its rows"), "{said}");
        assert!(said.contains(feeders) && said.contains("one behind the other"), "{said}");
    }
}
