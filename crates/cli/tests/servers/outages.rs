//! Servers that die under load, and networks that are cut.

use std::thread::sleep;
use std::time::Duration;

use testkit::stream::servers::{kill, set_cut};
use testkit::stream::{Place, StreamProof};

use crate::{EVERYWHERE, Setup, bench};

const ROWS: u64 = 20_000;
/// Long enough that work is under way, short enough that it is not over.
const FIRST_TROUBLE_AFTER: Duration = Duration::from_millis(1500);
const TROUBLE_EVERY: Duration = Duration::from_secs(4);
const CUT_FOR: Duration = Duration::from_secs(2);
const TROUBLES_MAX: usize = 3;

#[test]
fn kafka_killed_under_load_comes_back_and_nothing_is_lost_or_doubled() {
    let Some(mut bench) = bench(EVERYWHERE, Setup::Direct) else { return };
    bench.proof.add(ROWS);
    run_amid(&bench.proof, || kill("kafka"));
}

#[test]
fn postgres_killed_under_load_comes_back_and_nothing_is_lost_or_doubled() {
    let Some(mut bench) = bench(EVERYWHERE, Setup::Direct) else { return };
    bench.proof.add(ROWS);
    run_amid(&bench.proof, || kill("postgres"));
}

#[test]
fn a_network_that_is_cut_again_and_again_loses_and_doubles_nothing() {
    let places = [Place::Kafka, Place::Postgres, Place::Objects];
    let Some(mut bench) = bench(&places, Setup::ThroughProxies) else { return };
    bench.proof.add(ROWS);
    let mut proxies = ["kafka", "postgres", "s3"].into_iter().cycle();
    run_amid(&bench.proof, || {
        let proxy = proxies.next().expect("a cycle has no end");
        set_cut(proxy, true);
        sleep(CUT_FOR);
        set_cut(proxy, false);
    });
}

/// Runs to the end with trouble every few seconds, then checks.
fn run_amid(proof: &StreamProof, mut trouble: impl FnMut()) {
    let mut run = proof.start();
    let mut pause = FIRST_TROUBLE_AFTER;
    let mut troubles = 0;
    while troubles < TROUBLES_MAX && run.wait_for(pause).is_none() {
        trouble();
        troubles += 1;
        pause = TROUBLE_EVERY;
    }
    assert!(troubles > 0, "the run was over before anything failed");
    let status = run.wait();
    assert!(status.success(), "the run outlives the trouble: {status}");
    proof.check();
}
