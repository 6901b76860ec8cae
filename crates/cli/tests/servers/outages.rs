//! Servers that die under load, and networks that are cut: one process outlives it all.

use std::thread::sleep;
use std::time::Duration;

use testkit::services::find;
use testkit::stream::servers::{Way, kill, set_way};
use testkit::stream::{StreamProof, places};

use crate::{Setup, TRANSACTION_TIMEOUT, bench};

const ROWS_PER_TROUBLE: u64 = 10_000;
/// When trouble comes after records began to flow: while they are read, sent, and committed.
const TROUBLE_AFTER: &[Duration] =
    &[Duration::ZERO, Duration::from_millis(300), Duration::from_millis(900)];
const CUT_FOR: Duration = Duration::from_secs(3);

#[test]
fn kafka_killed_under_load_comes_back_and_nothing_is_lost_or_doubled() {
    kill_under_load("kafka");
}

#[test]
fn postgres_killed_under_load_comes_back_and_nothing_is_lost_or_doubled() {
    kill_under_load("postgres");
}

#[test]
fn networks_that_are_cut_again_and_again_lose_and_double_nothing() {
    let places = ["kafka", "postgres", "object_store"];
    let Some(mut bench) = bench(&places, Setup::ThroughProxies) else { return };
    for (server, pause) in ["kafka", "postgres", "s3"].into_iter().zip(TROUBLE_AFTER) {
        follow_amid(&mut bench.proof, &[*pause], || {
            set_way(server, Way::Cut);
            sleep(CUT_FOR);
            set_way(server, Way::Open);
        });
    }
}

#[test]
fn a_sink_that_is_away_for_longer_than_transactions_live_holds_the_other_back() {
    let places = ["kafka", "postgres"];
    let Some(mut bench) = bench(&places, Setup::ShortTransactions) else { return };
    let lasts = TRANSACTION_TIMEOUT * 3;
    for (server, way) in
        [("postgres", Way::Stalled), ("postgres", Way::Cut), ("kafka", Way::Stalled)]
    {
        bench.proof.outlast(server, &[(way, lasts)]);
    }
}

/// Where nobody starts the server again, the proof is left out.
fn kill_under_load(server: &str) {
    if find(&format!("{server}_pid")).is_none() {
        return;
    }
    let Some(mut bench) = bench(&places(), Setup::Direct) else { return };
    follow_amid(&mut bench.proof, TROUBLE_AFTER, || kill(server));
}

/// Lets one process follow while records and trouble come; then checks.
fn follow_amid(proof: &mut StreamProof, pauses: &[Duration], mut trouble: impl FnMut()) {
    let mut run = proof.follow();
    for pause in pauses {
        proof.add(ROWS_PER_TROUBLE);
        sleep(*pause);
        trouble();
        proof.wait_for_arrival();
    }
    assert_eq!(run.wait_for(Duration::ZERO), None, "the process outlives the trouble");
    let status = run.stop();
    assert_eq!(status.code(), Some(143), "a clean stop");
    proof.check();
}
