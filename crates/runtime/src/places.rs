//! The places of readers: how many splits wait for one, and who gives up its own first.
//!
//! One that has read everything goes first, as nothing is lost by it. One that holds something
//! back (a line without end) keeps its split open as long as others can go: if the split is removed
//! meanwhile, only an open one can still be read. One whose last record must be the last of an
//! epoch cannot go before that epoch is committed; it asks for the commit.

use std::time::{Duration, Instant};

use contract::source::Rest;
use tokio::sync::watch;

/// How often a reader that waits for records sees whether another split wants its place.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So long nobody else gave up a place before a reader goes that holds something back.
const SETTLING_KEEPS: Duration = Duration::from_millis(500);
/// So long nobody else gave up a place before an epoch is ended for it, and from one such epoch to
/// the next.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Who wants places.
pub struct Places(watch::Sender<Wanted>);

/// What readers see of that.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Splits that wait.
    splits: usize,
    /// Since when they wait without a place from a reader that had read everything.
    since: Instant,
    /// Since when, or since the last one, no commit was asked for.
    asked: Instant,
}

/// What a reader is to do for a split that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing.
    Stay,
    /// Leave its place.
    Leave,
    /// Have the epoch ended.
    Commit,
}

impl Places {
    /// Nobody waits.
    pub fn new() -> Self {
        let now = Instant::now();
        Self(watch::Sender::new(Wanted { splits: 0, since: now, asked: now }))
    }

    /// Where a reader sees that somebody waits.
    pub fn subscribe(&self) -> watch::Receiver<Wanted> {
        self.0.subscribe()
    }

    /// So many splits wait now.
    pub fn want(&self, splits: usize, now: Instant) {
        self.0.send_if_modified(|wanted| {
            if wanted.splits == 0 {
                (wanted.since, wanted.asked) = (now, now);
            }
            std::mem::replace(&mut wanted.splits, splits) != splits
        });
    }

    /// What a reader is to do that may leave in this way. Each wish is granted to one.
    pub fn wish(&self, rest: Rest, now: Instant) -> Wish {
        let mut wish = Wish::Stay;
        self.0.send_if_modified(|wanted| {
            if wanted.splits == 0 {
                return false;
            }
            let waits = now.saturating_duration_since(wanted.since);
            let unasked = now.saturating_duration_since(wanted.asked);
            match rest {
                Rest::None => {}
                Rest::UntilChanged => {
                    wanted.since = now;
                    wish = Wish::Leave;
                }
                Rest::AtMost(_) if waits >= SETTLING_KEEPS => wish = Wish::Leave,
                Rest::OnceCommitted if waits.min(unasked) >= COMMIT_EVERY => {
                    wanted.asked = now;
                    wish = Wish::Commit;
                }
                Rest::AtMost(_) | Rest::OnceCommitted => {}
            }
            if wish == Wish::Leave {
                wanted.splits -= 1;
            }
            wish != Wish::Stay
        });
        wish
    }
}

/// Waits until another split wants a place. A reader that gets records meanwhile never sees that.
pub async fn another_waits(wanted: &mut watch::Receiver<Wanted>) {
    if wanted.wait_for(|wanted| wanted.splits > 0).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(LOOK_EVERY).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLING: Rest = Rest::AtMost(Duration::from_secs(60));

    #[test]
    fn a_reader_that_holds_something_back_goes_last() {
        let (places, now) = (Places::new(), Instant::now());
        assert_eq!(places.wish(Rest::UntilChanged, now), Wish::Stay, "nobody waits");
        places.want(3, now);
        assert_eq!(places.wish(SETTLING, now), Wish::Stay);
        assert_eq!(places.wish(Rest::None, now), Wish::Stay);
        assert_eq!(places.wish(Rest::UntilChanged, now), Wish::Leave);
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(places.wish(Rest::UntilChanged, now), Wish::Leave);
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(places.wish(SETTLING, now), Wish::Stay, "others can go");
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(places.wish(SETTLING, now), Wish::Leave);
        assert_eq!(places.wish(SETTLING, now), Wish::Stay, "nobody waits any more");
    }

    #[test]
    fn a_commit_is_asked_for_once_where_nobody_else_gives_up_a_place() {
        let (places, now) = (Places::new(), Instant::now());
        places.want(2, now);
        assert_eq!(places.wish(Rest::OnceCommitted, now), Wish::Stay);
        let now = now + COMMIT_EVERY;
        assert_eq!(places.wish(Rest::OnceCommitted, now), Wish::Commit);
        assert_eq!(places.wish(Rest::OnceCommitted, now), Wish::Stay, "it was asked for");
        places.want(1, now);
        let now = now + COMMIT_EVERY;
        assert_eq!(places.wish(Rest::OnceCommitted, now), Wish::Commit);
        places.want(0, now);
        assert_eq!(places.wish(Rest::OnceCommitted, now + COMMIT_EVERY), Wish::Stay);
    }
}
