//! Divides the memory of a process among the pipelines that it runs.
//!
//! Shares are fixed: what one pipeline may hold is never what another one waits for, so that one
//! that stands still keeps no other back.

use tracing::warn;

use crate::graph::Pipeline;
use crate::memory::{limit_for, writers_need};

/// Gives each pipeline its share, by its need: one part for each of its sources, steps that keep a
/// state, and sinks. Alone a pipeline gets all. `limit` is that of the process; without one it is
/// the largest `memory.limit` of them, and none gets more than its own, which goes to the others.
pub fn divide(limit: Option<u64>, pipelines: &mut [&mut Pipeline]) {
    let needs: Vec<_> = pipelines.iter().map(|pipeline| need(pipeline)).collect();
    let own = pipelines.iter().map(|pipeline| match limit {
        Some(_) => u64::MAX,
        None => pipeline.settings.memory_limit,
    });
    let own: Vec<_> = own.collect();
    let Some(limit) = limit.or_else(|| own.iter().copied().max()) else { return };
    for (pipeline, share) in pipelines.iter_mut().zip(shares(limit, &needs, &own)) {
        let has_all_of_its_own = pipeline.settings.memory_limit == share;
        pipeline.memory_divided = if has_all_of_its_own { share } else { limit };
        pipeline.settings.memory_limit = share;
        let needed = writers_need(pipeline, 1);
        if needed > share {
            let least = limit_for(pipeline, needed).div_ceil(MIB);
            let (name, needed, share) = (&pipeline.name, needed.div_ceil(MIB), share / MIB);
            warn!(
                "{name} gets {share} MiB of memory, and its sinks hold {needed} MiB whatever the \
                 limit: set `memory.limit` (or `--memory-limit`) to {least}MiB at least"
            );
        }
    }
}

const MIB: u64 = 1 << 20;

fn need(pipeline: &Pipeline) -> u64 {
    let stateful = pipeline.steps.iter().filter(|node| node.step.stateful()).count();
    (pipeline.sources.len() + stateful + pipeline.sinks.len()).max(1) as u64
}

/// Shares of a limit by needs, none larger than its maximum as long as others can have it.
fn shares(limit: u64, needs: &[u64], most: &[u64]) -> Vec<u64> {
    let mut shares = vec![None; needs.len()];
    let mut left = limit;
    loop {
        let open = || (0..needs.len()).filter(|&number| shares[number].is_none());
        let parts: u64 = open().map(|number| needs[number]).sum();
        let share = |number: usize| {
            let share = u128::from(left) * u128::from(needs[number]) / u128::from(parts.max(1));
            u64::try_from(share).unwrap_or(u64::MAX).max(1)
        };
        let full: Vec<_> = open().filter(|&number| most[number] < share(number)).collect();
        if full.is_empty() {
            let rest =
                |(number, known): (usize, &Option<u64>)| known.unwrap_or_else(|| share(number));
            return shares.iter().enumerate().map(rest).collect();
        }
        for number in full {
            shares[number] = Some(most[number]);
            left -= most[number].min(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_needs_and_what_one_leaves_goes_to_the_others() {
        let any = u64::MAX;
        assert_eq!(shares(100, &[3], &[any]), [100]);
        assert_eq!(shares(100, &[1, 3], &[any, any]), [25, 75]);
        assert_eq!(shares(100, &[1, 1, 2], &[10, any, any]), [10, 30, 60]);
        assert_eq!(shares(100, &[1, 1], &[100, 100]), [50, 50]);
        assert_eq!(shares(100, &[1, 1], &[10, 20]), [10, 20]);
        assert_eq!(shares(1, &[1, 1], &[any, any]), [1, 1]);
        assert_eq!(shares(10, &[], &[]), [0; 0]);
    }
}
