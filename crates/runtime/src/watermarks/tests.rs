use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const SECOND: i64 = 1_000_000;

fn time() -> EventTime {
    EventTime {
        column: "ts".to_owned(),
        disorder: Duration::from_secs(5),
        idle: Duration::from_secs(30),
        ahead_max: Duration::from_secs(3_600),
        hold_max: Duration::from_secs(600),
    }
}

/// A split that gave rows up to this second.
fn gives(split: usize, second: i64) -> Stand {
    let greatest = Some(second * SECOND);
    Stand { split, greatest, gave: true, is_at_end: true, is_over: false }
}

/// A split that gave nothing, and has nothing more.
fn silent(split: usize) -> Stand {
    Stand { split, greatest: None, gave: false, is_at_end: true, is_over: false }
}

/// A split of which there is more to read, and nothing came.
fn behind(split: usize) -> Stand {
    Stand { is_at_end: false, ..silent(split) }
}

fn over(split: usize, second: i64) -> Stand {
    Stand { is_over: true, ..gives(split, second) }
}

fn begun(us: Option<i64>, rests: &[(usize, i64)]) -> Watermark {
    Watermark::new(time(), us, rests.iter().map(|(split, second)| (*split, second * SECOND)))
}

/// Where a watermark stands, in seconds, at a barrier after so many seconds.
fn at(watermark: &mut Watermark, ran: u64, splits: &[Stand]) -> Option<i64> {
    with(watermark, ran, splits, |barrier| barrier)
}

fn with(
    watermark: &mut Watermark,
    ran: u64,
    splits: &[Stand],
    change: impl FnOnce(Barrier<'_>) -> Barrier<'_>,
) -> Option<i64> {
    let barrier = Barrier {
        ran: Duration::from_secs(ran),
        splits,
        waits: false,
        has_failed: false,
        follows: true,
    };
    let us = watermark.advance(&change(barrier));
    us.map(|us| us.div_euclid(SECOND))
}

fn waits(barrier: Barrier<'_>) -> Barrier<'_> {
    Barrier { waits: true, ..barrier }
}

fn fails(barrier: Barrier<'_>) -> Barrier<'_> {
    Barrier { has_failed: true, ..barrier }
}

fn ends(barrier: Barrier<'_>) -> Barrier<'_> {
    Barrier { follows: false, ..barrier }
}

#[test]
fn the_split_that_is_furthest_behind_holds_it() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 1, &[gives(0, 100), gives(1, 50)]), Some(45));
    assert_eq!(at(&mut one, 2, &[gives(0, 200), gives(1, 90)]), Some(85));
    assert_eq!(at(&mut one, 3, &[gives(0, 210), gives(1, 60)]), Some(85), "it never goes back");
}

#[test]
fn a_split_without_a_time_yet_holds_it_where_it_stands() {
    let mut one = begun(Some(10 * SECOND), &[]);
    assert_eq!(at(&mut one, 1, &[gives(0, 100), behind(1)]), Some(10));
    assert_eq!(at(&mut one, 2, &[gives(0, 200), gives(1, 150)]), Some(145));
    let mut none = begun(None, &[]);
    assert_eq!(at(&mut none, 1, &[]), None);
    assert_eq!(at(&mut none, 100, &[silent(0)]), None, "time alone gives none");
}

#[test]
fn an_idle_split_holds_nobody_and_counts_again_once_it_gives() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[gives(0, 100), gives(1, 10)]), Some(5));
    assert_eq!(at(&mut one, 1, &[gives(0, 101), silent(1)]), Some(5));
    assert_eq!(at(&mut one, 30, &[gives(0, 130), silent(1)]), Some(5), "29 s are not enough");
    assert_eq!(at(&mut one, 31, &[gives(0, 131), silent(1)]), Some(126));
    // Its old rows are late; the others wait for it again.
    assert_eq!(at(&mut one, 32, &[gives(0, 140), gives(1, 20)]), Some(126));
    assert_eq!(at(&mut one, 33, &[gives(0, 150), gives(1, 140)]), Some(135));
}

#[test]
fn a_split_that_is_behind_is_never_idle() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[gives(0, 100), gives(1, 10)]), Some(5));
    for ran in [10, 100, 1_000] {
        assert_eq!(at(&mut one, ran, &[gives(0, 2_000), behind(1)]), Some(5));
    }
}

#[test]
fn a_stream_that_falls_silent_closes_its_last_window() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[gives(0, 100)]), Some(95));
    assert_eq!(at(&mut one, 1, &[silent(0)]), Some(95));
    assert_eq!(at(&mut one, 31, &[silent(0)]), Some(95), "from now on it goes on by itself");
    assert_eq!(at(&mut one, 41, &[silent(0)]), Some(105));
    assert_eq!(at(&mut one, 91, &[silent(0)]), Some(155));
    assert_eq!(at(&mut one, 92, &[gives(0, 130)]), Some(155), "rows that come late are late");
    assert_eq!(at(&mut one, 93, &[gives(0, 170)]), Some(165));
}

#[test]
fn a_restart_begins_the_idle_time_anew_and_keeps_the_watermark() {
    let mut one = begun(Some(95 * SECOND), &[(0, 100), (1, 300)]);
    assert_eq!(at(&mut one, 29, &[]), Some(95));
    assert_eq!(at(&mut one, 30, &[]), Some(295), "both are idle now: nobody holds the newest");
    assert_eq!(at(&mut one, 50, &[]), Some(315));
}

#[test]
fn a_split_that_retires_counts_until_it_is_idle_and_is_forgotten_then() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[gives(0, 100), gives(1, 10)]), Some(5));
    assert_eq!(at(&mut one, 1, &[gives(0, 101)]), Some(5));
    one.retire(1);
    assert_eq!(at(&mut one, 30, &[gives(0, 130)]), Some(5));
    assert_eq!(at(&mut one, 31, &[gives(0, 131)]), Some(126));
    assert_eq!(one.splits.keys().collect::<Vec<_>>(), [&0]);
    one.retire(7);
    assert_eq!(at(&mut one, 32, &[gives(0, 140)]), Some(135), "one that gave no time");
}

#[test]
fn what_waits_holds_it_without_limit_and_what_fails_for_a_while() {
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[gives(0, 100)]), Some(95));
    assert_eq!(with(&mut one, 10_000, &[gives(0, 900)], waits), Some(95));
    assert_eq!(with(&mut one, 10_001, &[gives(0, 901)], fails), Some(95));
    assert_eq!(with(&mut one, 10_600, &[gives(0, 902)], fails), Some(95));
    assert_eq!(with(&mut one, 10_601, &[gives(0, 903)], fails), Some(898));
    // Another failure holds it anew.
    assert_eq!(at(&mut one, 10_602, &[gives(0, 904)]), Some(899));
    assert_eq!(with(&mut one, 10_603, &[gives(0, 999)], fails), Some(899));
}

#[test]
fn where_there_is_an_end_what_is_over_does_not_count_and_time_moves_nothing() {
    let mut one = begun(Some(0), &[]);
    let splits = [gives(0, 100), behind(1), over(2, 5)];
    assert_eq!(with(&mut one, 1, &splits, ends), Some(0));
    assert_eq!(with(&mut one, 2, &[gives(0, 200), gives(1, 50)], ends), Some(45));
    assert_eq!(with(&mut one, 3, &[over(0, 300), over(1, 300)], ends), Some(45));
    assert_eq!(with(&mut one, 4_000, &[], ends), Some(45));
}

#[test]
fn times_at_the_ends_of_their_type_do_not_wrap() {
    let far = |split, us| Stand { greatest: Some(us), ..gives(split, 0) };
    let mut one = begun(None, &[]);
    assert_eq!(at(&mut one, 0, &[far(0, i64::MIN)]), Some(i64::MIN.div_euclid(SECOND)));
    assert_eq!(at(&mut one, 0, &[far(0, i64::MAX)]), Some((i64::MAX - 5 * SECOND) / SECOND));
    assert!(at(&mut one, 40, &[silent(0)]).is_some());
    assert!(at(&mut one, 400_000_000, &[silent(0)]).is_some());
}

#[test]
fn a_process_that_stood_still_did_not_look() {
    let begin = Instant::now();
    let mut running = Running::new(begin, Duration::from_secs(1));
    let after = |seconds| begin + Duration::from_secs(seconds);
    assert_eq!(running.until(after(1)), Duration::from_secs(1));
    assert_eq!(running.until(after(500)), Duration::from_secs(3));
    assert_eq!(running.until(after(501)), Duration::from_secs(4));
}

#[test]
fn no_row_of_a_split_that_counts_is_late_by_more_than_disorder_allows() {
    let mut random = SmallRng::seed_from_u64(16);
    for _ in 0..1_000 {
        let mut one = begun(None, &[]);
        let mut ran = 0;
        let mut greatest = vec![None; random.random_range(1..5)];
        let mut recorded: Option<i64> = None;
        for _ in 0..random.random_range(1..40) {
            ran += random.random_range(0..3);
            let mut splits = Vec::new();
            for (split, known) in greatest.iter_mut().enumerate() {
                if random.random_bool(0.3) {
                    splits.push(behind(split));
                    continue;
                }
                // Rows stand up to 5 s behind the greatest time of their split.
                let from: i64 = known.unwrap_or(random.random_range(-50..50));
                let rows: Vec<i64> = (0..3).map(|_| from + random.random_range(-5..10)).collect();
                if known.is_some() {
                    let late = rows.iter().any(|row| recorded.is_some_and(|us| *row < us));
                    assert!(!late, "{rows:?} behind {recorded:?}");
                }
                let most = rows.iter().copied().max().max(*known).unwrap_or_default();
                *known = Some(most);
                splits.push(gives(split, most));
            }
            // A split that nobody saw yet holds nobody: all are seen from the first barrier on.
            let now = at(&mut one, ran, &splits);
            assert!(now >= recorded, "it never goes back");
            recorded = now;
        }
    }
}
