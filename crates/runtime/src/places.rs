//! The places of readers: how many splits wait for one, and who gives up its own first.
//!
//! One that has read everything goes first, as nothing is lost by it, and of these the one to which
//! nothing came for the longest time: what is written to a file that is removed soon can be read
//! only while the file is open. One that holds something back (a line without end) keeps its split
//! open as long as others can go: if the split is removed meanwhile, only an open one can still be
//! read. One whose last record must be the last of an epoch cannot go before that epoch is
//! committed; it asks for the commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::source::Rest;
use tokio::sync::watch;

/// How often a reader that waits for records sees whether another split wants its place.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So long readers offer their places before some of them are taken: each is heard meanwhile.
const HEAR: Duration = Duration::from_millis(50);
/// So long nobody else gave up a place before a reader goes that holds something back.
const SETTLING_KEEPS: Duration = Duration::from_millis(500);
/// So long nobody else gave up a place before an epoch is ended for it, and from one such epoch to
/// the next.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Who wants places.
pub struct Places {
    wanted: watch::Sender<Wanted>,
    offers: Mutex<Offers>,
}

/// Readers that have read everything, while splits wait.
struct Offers {
    /// Since when they are heard.
    since: Instant,
    /// Those that were heard, by number: when something came to each last.
    heard: HashMap<u64, Instant>,
    /// Those that are to leave.
    chosen: HashSet<u64>,
}

/// A reader that is asked whether it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Its number in the attempt.
    pub reader: u64,
    /// When something came to it last.
    pub active: Instant,
    /// In which way it may leave.
    pub rest: Rest,
}

/// What readers see of that.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Splits that wait.
    splits: usize,
    /// Readers that have places.
    readers: usize,
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
        let wanted = Wanted { splits: 0, readers: 0, since: now, asked: now };
        let offers = Offers { since: now, heard: HashMap::new(), chosen: HashSet::new() };
        Self { wanted: watch::Sender::new(wanted), offers: Mutex::new(offers) }
    }

    /// Where a reader sees that somebody waits.
    pub fn subscribe(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// So many splits wait now, and so many readers have places.
    pub fn want(&self, splits: usize, readers: usize, now: Instant) {
        self.wanted.send_if_modified(|wanted| {
            if wanted.splits == 0 {
                (wanted.since, wanted.asked) = (now, now);
                self.offers().begin(now);
            }
            wanted.readers = readers;
            std::mem::replace(&mut wanted.splits, splits) != splits
        });
    }

    /// What a reader is to do. Each wish is granted to one.
    pub fn wish(&self, offer: Offer, now: Instant) -> Wish {
        let mut wish = Wish::Stay;
        self.wanted.send_if_modified(|wanted| {
            if wanted.splits == 0 {
                return false;
            }
            let waits = now.saturating_duration_since(wanted.since);
            let unasked = now.saturating_duration_since(wanted.asked);
            match offer.rest {
                Rest::None => {}
                Rest::UntilChanged => {
                    wanted.since = now;
                    let all = wanted.splits >= wanted.readers;
                    if all || self.offers().is_chosen(offer, wanted.splits, now) {
                        wish = Wish::Leave;
                    }
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
                wanted.readers = wanted.readers.saturating_sub(1);
            }
            wish != Wish::Stay
        });
        wish
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Offers {
    fn begin(&mut self, now: Instant) {
        self.since = now;
        self.heard.clear();
        self.chosen.clear();
    }

    /// Whether a reader is one of so many to which nothing came for the longest time. Whoever was
    /// chosen and did not come back meanwhile has something to read again.
    fn is_chosen(&mut self, offer: Offer, wanted: usize, now: Instant) -> bool {
        if self.chosen.remove(&offer.reader) {
            return true;
        }
        self.heard.insert(offer.reader, offer.active);
        if now.saturating_duration_since(self.since) < HEAR {
            return false;
        }
        let mut heard: Vec<_> = self.heard.drain().collect();
        heard.sort_unstable_by_key(|(reader, active)| (*active, *reader));
        self.begin(now);
        self.chosen.extend(heard.into_iter().take(wanted).map(|(reader, _)| reader));
        self.chosen.remove(&offer.reader)
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
    /// Readers that have places.
    const READERS: usize = 2;

    fn wish(places: &Places, rest: Rest, now: Instant) -> Wish {
        places.wish(Offer { reader: 0, active: now, rest }, now)
    }

    #[test]
    fn a_reader_that_holds_something_back_goes_last() {
        let (places, now) = (Places::new(), Instant::now());
        assert_eq!(wish(&places, Rest::UntilChanged, now), Wish::Stay, "nobody waits");
        places.want(4, READERS, now);
        assert_eq!(wish(&places, SETTLING, now), Wish::Stay);
        assert_eq!(wish(&places, Rest::None, now), Wish::Stay);
        assert_eq!(wish(&places, Rest::UntilChanged, now), Wish::Leave);
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(wish(&places, Rest::UntilChanged, now), Wish::Leave);
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(wish(&places, SETTLING, now), Wish::Stay, "others can go");
        let now = now + SETTLING_KEEPS / 2;
        assert_eq!(wish(&places, SETTLING, now), Wish::Leave);
        assert_eq!(wish(&places, SETTLING, now), Wish::Leave);
        assert_eq!(wish(&places, SETTLING, now), Wish::Stay, "nobody waits any more");
    }

    #[test]
    fn those_go_first_to_which_nothing_came_for_the_longest_time() {
        let (places, begin) = (Places::new(), Instant::now());
        let offer = |reader: u64| {
            // The highest number was active least recently.
            let active = begin - Duration::from_secs(reader);
            Offer { reader, active, rest: Rest::UntilChanged }
        };
        let asked = |now: Instant| -> Vec<u64> {
            (0..9).filter(|reader| places.wish(offer(*reader), now) == Wish::Leave).collect()
        };
        places.want(2, 9, begin);
        assert!(asked(begin).is_empty(), "not all were heard");
        assert_eq!(asked(begin + HEAR), [7, 8]);
        places.want(1, 7, begin + HEAR);
        assert!(asked(begin + HEAR).is_empty(), "they are heard anew");
        // Whoever is not asked any more, as something came to it, keeps nobody back for long.
        let others = |now: Instant| -> Vec<u64> {
            (0..8).filter(|reader| places.wish(offer(*reader), now) == Wish::Leave).collect()
        };
        assert!(others(begin + HEAR * 2).is_empty(), "8 was heard a moment ago, and is chosen");
        assert_eq!(others(begin + HEAR * 3), [7]);
        places.want(9, 9, begin + HEAR * 3);
        assert_eq!(asked(begin + HEAR * 3).len(), 9, "all are to leave: nobody need be heard");
    }

    #[test]
    fn a_commit_is_asked_for_once_where_nobody_else_gives_up_a_place() {
        let (places, now) = (Places::new(), Instant::now());
        places.want(2, READERS, now);
        assert_eq!(wish(&places, Rest::OnceCommitted, now), Wish::Stay);
        let now = now + COMMIT_EVERY;
        assert_eq!(wish(&places, Rest::OnceCommitted, now), Wish::Commit);
        assert_eq!(wish(&places, Rest::OnceCommitted, now), Wish::Stay, "it was asked for");
        places.want(1, READERS, now);
        let now = now + COMMIT_EVERY;
        assert_eq!(wish(&places, Rest::OnceCommitted, now), Wish::Commit);
        places.want(0, READERS, now);
        assert_eq!(wish(&places, Rest::OnceCommitted, now + COMMIT_EVERY), Wish::Stay);
    }
}
