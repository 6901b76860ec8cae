//! Several processes that share one stream through a consumer group.

use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::program::Running;
use testkit::stream::StreamProof;

use crate::{Setup, bench};

const MEMBERS: usize = 3;
const SLEEPERS: usize = 2;
const ROWS_PER_ROUND: u64 = 2_000;
const REBALANCES: usize = 6;
const REBALANCE_EVERY: Duration = Duration::from_secs(4);
/// Others get what a process owned no sooner than its session ends.
const TAKEOVER_MIN: Duration = Duration::from_secs(3);
const PLACES: &[&str] = &["kafka", "postgres", "lake"];

#[test]
fn processes_that_come_and_go_leave_each_record_once() {
    let Some(mut bench) = bench(PLACES, Setup::SharedCheckpoints) else { return };
    let mut members = start_members(&bench.proof);
    for round in 0..REBALANCES {
        bench.proof.add(ROWS_PER_ROUND);
        sleep(REBALANCE_EVERY);
        let leaver = round % MEMBERS;
        // In turn one leaves in good order, and one dies.
        if round % 2 == 0 {
            stop(&mut members[leaver]);
        } else {
            members[leaver].signal("KILL");
        }
        members[leaver] = bench.proof.follow();
    }
    end_together(&bench.proof, &mut members);
}

#[test]
fn a_process_that_slept_through_its_lease_changes_nothing_when_it_wakes() {
    let Some(mut bench) = bench(PLACES, Setup::SharedCheckpoints) else { return };
    let mut members = start_members(&bench.proof);
    bench.proof.add(ROWS_PER_ROUND);
    bench.proof.wait_for_arrival();
    for sleeper in members.iter().take(SLEEPERS) {
        sleeper.signal("STOP");
        bench.proof.add(ROWS_PER_ROUND);
        let begun = Instant::now();
        bench.proof.wait_for_arrival();
        assert!(begun.elapsed() > TAKEOVER_MIN, "the sleeper owned some of the partitions");
        sleeper.signal("CONT");
        bench.proof.add(ROWS_PER_ROUND);
        bench.proof.wait_for_members(MEMBERS);
    }
    end_together(&bench.proof, &mut members);
}

fn start_members(proof: &StreamProof) -> Vec<Running> {
    let members = (0..MEMBERS).map(|_| proof.follow()).collect();
    proof.wait_for_members(MEMBERS);
    members
}

/// Lets the members deliver everything, then stops them and checks.
fn end_together(proof: &StreamProof, members: &mut [Running]) {
    proof.wait_for_arrival();
    members.iter_mut().for_each(stop);
    proof.check();
}

/// A clean stop, or the clear end of one who is no longer the owner.
fn stop(member: &mut Running) {
    let status = member.stop();
    let clear = [Some(0), Some(4), Some(143)];
    assert!(clear.contains(&status.code()), "a clear end: {status}");
}
