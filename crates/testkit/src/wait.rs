//! Waits for conditions, each with a limit: nothing that is tried sleeps for a time that somebody
//! thought long enough.

use std::time::{Duration, Instant};

/// The pause between two looks, where a look is quick; else it takes as long as the look took, so
/// that what is waited for is not held up by looking.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is something to see.
///
/// # Panics
/// There is nothing within the limit.
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    up_to(limit, look).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}

/// Looks until there is something to see, or the limit is reached.
pub fn up_to<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        let looked = Instant::now();
        let seen = look();
        if seen.is_some() || begun.elapsed() > limit {
            return seen;
        }
        std::thread::sleep(looked.elapsed().max(LOOK_EVERY));
    }
}

/// Asks until there is an answer.
///
/// # Panics
/// There is none within the limit.
pub async fn for_answer<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() <= limit, "{what}: not within {limit:?}");
        tokio::time::sleep(asked.elapsed().max(LOOK_EVERY)).await;
    }
}
