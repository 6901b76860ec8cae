//! The program killed with SIGKILL.

use testkit::stream::{points, recovery_points};

use crate::{EVERYWHERE, Setup, bench};

/// What flows between two kills at points.
const ROWS_PER_POINT: u64 = 1_000;
const ROWS: u64 = 50_000;
const MOMENTS: u32 = 10;
/// Chooses the moments.
const SEED: u64 = 1;

#[test]
fn killed_at_every_point_each_record_arrives_once_everywhere() {
    let Some(mut bench) = bench(EVERYWHERE, Setup::Direct) else { return };
    for (point, pass) in points(EVERYWHERE) {
        bench.proof.add(ROWS_PER_POINT);
        bench.proof.kill_at(point, pass);
    }
    for point in recovery_points() {
        bench.proof.add(ROWS_PER_POINT);
        bench.proof.kill_at("decide.after", 1);
        bench.proof.kill_at(point, 1);
    }
    bench.proof.finish();
}

#[test]
fn killed_at_ten_moments_each_record_arrives_once_everywhere() {
    let Some(mut bench) = bench(EVERYWHERE, Setup::Direct) else { return };
    bench.proof.kill_at_moments(MOMENTS, ROWS, SEED);
}
