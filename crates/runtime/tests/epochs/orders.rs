//! Which shapes of a pipeline give a step with a state its rows in an order that a replay repeats,
//! and that it does repeat it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use connector_memory::config::SourceConfig;
use connector_memory::source::Counter;
use connector_memory::store::{origins, store};
use contract::failpoint::{self, Action};
use contract::source::Source;
use contract::spec::{BuildContext, Connector, Spec};
use contract::{Result, Section};
use testkit::crash::{Proof, Start};

use super::{Fixture, ROWS};

/// Why a pipeline with these transforms is refused; nothing if it is not.
fn refusal(transforms: &str, input: &str) -> String {
    let fixture = Fixture::new();
    let yaml = fixture.yaml.replace("input: some", &format!("input: {input}"));
    let (head, rest) = yaml.split_once("transforms:").unwrap();
    let (_, sinks) = rest.split_once("sinks:").unwrap();
    let yaml = format!("{head}transforms:\n{transforms}\nsinks:{sinks}");
    match (Proof { yaml, ..fixture.proof() }).pipeline() {
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

/// Numbers in batches of other sizes than the file says, as a file that grew is read in others.
struct Uneven;

static SPEC: Spec =
    Spec { name: "uneven", summary: "", source: None, sink: None, failpoints: &[], example: "" };
static BATCH_ROWS: AtomicU64 = AtomicU64::new(1);

impl Connector for Uneven {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn source(&self, section: &Section, _: &BuildContext) -> Result<Arc<dyn Source>> {
        let config = section.read::<SourceConfig>()?;
        let batch_rows = BATCH_ROWS.load(Ordering::Relaxed);
        Ok(Arc::new(Counter::new(SourceConfig { batch_rows, ..config })))
    }
}

/// A fork whose ways meet again in a step that keeps what comes first.
fn forked() -> (Fixture, Proof) {
    let fixture = Fixture::new();
    let (head, rest) = fixture.yaml.split_once("transforms:").unwrap();
    let (_, sinks) = rest.split_once("sinks:").unwrap();
    let head = head.replace("type: memory", "type: uneven").replace("splits: 3", "splits: 1");
    let sinks = sinks.replace("input: some", "input: first");
    let steps = "  parted: { type: parted, input: numbers }\n  first: { type: first_of_ten, input: \
                 [parted.nines, parted.others] }";
    let yaml = format!("{head}transforms:\n{steps}\nsinks:{sinks}");
    let fixture = Fixture { yaml, ..fixture };
    let proof = Proof {
        connectors: &[&connector_memory::Memory, &Uneven],
        transforms: &["parted", "first_of_ten"],
        ..fixture.proof()
    };
    (fixture, proof)
}

#[test]
fn a_replay_in_other_batches_brings_rows_of_two_ways_in_the_same_order() {
    let _alone = Proof::alone();
    for (first, then) in [(5, 50), (50, 5), (1, 300), (7, 11)] {
        let (fixture, proof) = forked();
        BATCH_ROWS.store(first, Ordering::Relaxed);
        failpoint::arm("decide.after", 1, Action::Halt);
        assert!(matches!(proof.start().unwrap(), Start::Crashed));
        BATCH_ROWS.store(then, Ordering::Relaxed);
        let ended = proof.start().map_err(|error| error.chain());
        assert!(matches!(ended, Ok(Start::Ended(_))), "{first}, {then}: {ended:?}");
        let rows = store(&format!("{}-staged", fixture.name)).rows();
        let found = rows.iter().flat_map(|batch| origins(batch).unwrap());
        let mut found: Vec<_> = found.map(|(_, position, _)| position).collect();
        found.sort_unstable();
        assert_eq!(found, (0..ROWS).step_by(10).collect::<Vec<_>>(), "{first}, {then}");
    }
}
