//! The program killed with SIGKILL.

use testkit::stream::places;

use crate::{Setup, bench};

/// What flows between two kills at points.
const ROWS_PER_POINT: u64 = 1_000;
const ROWS: u64 = 50_000;
const MOMENTS: u32 = 10;
/// Chooses the moments.
const SEED: u64 = 1;

#[test]
fn killed_at_every_point_each_record_arrives_once_everywhere() {
    let Some(mut bench) = bench(&places(), Setup::Direct) else { return };
    bench.proof.kill_at_points(ROWS_PER_POINT);
}

#[test]
fn killed_at_ten_moments_each_record_arrives_once_everywhere() {
    let Some(mut bench) = bench(&places(), Setup::Direct) else { return };
    bench.proof.kill_at_moments(MOMENTS, ROWS, SEED);
}
