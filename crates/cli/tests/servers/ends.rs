//! Batches over a stream that goes on.

use crate::{Setup, bench};

const ROWS: u64 = 2_000;
const BATCHES: usize = 2;

#[test]
fn a_batch_leaves_what_comes_after_its_start_to_the_next_one() {
    let places = ["kafka", "lake"];
    let Some(mut bench) = bench(&places, Setup::Direct) else { return };
    for _ in 0..BATCHES {
        bench.proof.end_where_it_began(ROWS);
    }
}
