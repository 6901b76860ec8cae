//! Rows whose time lies far outside of all others: a clock that began in 1970, a year that was
//! mistyped.
//!
//! The rule: from the day of the median row the bulk grows to both sides, always to the nearer day
//! that has rows, until that day is farther away than [`GAP_DAYS_MIN`] days and than the bulk is
//! long. What is left outside are outliers where it is no more than one row in
//! [`SHARE_MAX`]; otherwise there are none.

/// The shortest stretch without rows that can end the bulk, in days.
const GAP_DAYS_MIN: i64 = 30;
/// One row in so many may be an outlier.
const SHARE_MAX: u64 = 100;

/// The bulk of the rows, and what lies outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// Rows before the bulk.
    pub before: u64,
    /// Rows after it.
    pub after: u64,
    /// The first and the last day of the bulk, as numbers.
    pub bulk: (i64, i64),
}

/// The outliers among rows that are counted by day: numbers of days, ascending, each with its rows.
pub fn outliers(days: &[(i64, u64)]) -> Option<Outliers> {
    let all: u64 = days.iter().map(|(_, rows)| rows).sum();
    let mut seen = 0;
    let median = days.iter().position(|(_, rows)| {
        seen += rows;
        seen * 2 >= all
    })?;
    let (mut low, mut high) = (median, median);
    loop {
        let before = low.checked_sub(1).map(|at| (days[low].0 - days[at].0, at));
        let after = days.get(high + 1).map(|(day, _)| (day - days[high].0, high + 1));
        let nearer = before.into_iter().chain(after).min();
        let (gap, at) = nearer?;
        if gap > GAP_DAYS_MIN.max(days[high].0 - days[low].0) {
            break;
        }
        if at < low { low = at } else { high = at }
    }
    let count = |days: &[(i64, u64)]| days.iter().map(|(_, rows)| rows).sum();
    let (before, after): (u64, u64) = (count(&days[..low]), count(&days[high + 1..]));
    let few = (before + after) * SHARE_MAX <= all;
    few.then_some(Outliers { before, after, bulk: (days[low].0, days[high].0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(days: &[(i64, u64)], expect: Option<(u64, u64, (i64, i64))>) {
        let found = outliers(days).map(|found| (found.before, found.after, found.bulk));
        assert_eq!(found, expect, "{days:?}");
    }

    #[test]
    fn a_few_rows_far_outside_are_outliers() {
        check(&[(0, 1), (20_000, 500), (20_001, 600)], Some((1, 0, (20_000, 20_001))));
        check(&[(20_000, 500), (20_003, 600), (47_000, 2)], Some((0, 2, (20_000, 20_003))));
        check(&[(0, 1), (20_000, 900), (47_000, 1)], Some((1, 1, (20_000, 20_000))));
    }

    #[test]
    fn what_is_near_or_many_is_none() {
        check(&[], None);
        check(&[(20_000, 5)], None);
        check(&[(20_000, 500), (20_030, 1)], None);
        // Half a year of rows, and one a quarter later.
        let year: Vec<_> = (0..180).map(|day| (day, 10)).chain([(270, 1)]).collect();
        check(&year, None);
        // Two logs of different years.
        check(&[(0, 400), (3_000, 500)], None);
        // One row every two months.
        let sparse: Vec<_> = (0..60).map(|number| (number * 61, 1)).collect();
        check(&sparse, None);
    }
}
