//! Which runs are due: pure, by the schedule and two times.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use plan::schedule::{Missed, Schedule};

/// A time that passed so lately is not missed: the program wakes a little after it.
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// Times that are looked at one by one.
const TIMES_MAX: u64 = 50_000;
/// Where more passed, how far back they are looked at: every minute of these days is fewer.
const LOOK_BACK: TimeDelta = TimeDelta::days(31);

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The time whose run begins now, if any.
    pub run: Option<DateTime<Utc>>,
    /// Times before it that get no run.
    pub skipped: u64,
    /// The newest of them.
    pub skipped_until: Option<DateTime<Utc>>,
}

/// What is due at `now`, when everything until `done` is settled.
pub fn due(schedule: &Schedule, done: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let room = match schedule.missed {
        Missed::Skip | Missed::Once => 1,
        Missed::All => schedule.missed_max as usize,
    };
    let (mut kept, mut passed) = passed(schedule, done, now, room);
    if passed > TIMES_MAX {
        (kept, passed) = self::passed(schedule, now - LOOK_BACK, now, room);
    }
    if schedule.missed == Missed::Skip {
        kept.retain(|time| now - *time <= GRACE);
    }
    let skipped = passed - kept.len() as u64;
    let run = kept.front().copied();
    // Only those after `done` are new; all but the kept ones are older than these.
    let skipped_until = match (skipped, run) {
        (0, _) => None,
        (_, Some(run)) => last_before(schedule, done, run),
        (_, None) => last_before(schedule, done, now + TimeDelta::seconds(1)),
    };
    Due { run, skipped, skipped_until }
}

/// The newest times after `done` until `now`, and how many there are in all.
fn passed(
    schedule: &Schedule,
    done: DateTime<Utc>,
    now: DateTime<Utc>,
    room: usize,
) -> (VecDeque<DateTime<Utc>>, u64) {
    let (mut kept, mut count, mut time) = (VecDeque::new(), 0, done);
    while let Some(next) = schedule.after(time).filter(|next| *next <= now) {
        (time, count) = (next, count + 1);
        kept.push_back(next);
        if kept.len() > room {
            kept.pop_front();
        }
        if count > TIMES_MAX {
            break;
        }
    }
    (kept, count)
}

/// The newest time before `end`.
fn last_before(
    schedule: &Schedule,
    done: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let (kept, count) = passed(schedule, done, end - TimeDelta::seconds(1), 1);
    match count > TIMES_MAX {
        true => passed(schedule, end - LOOK_BACK, end - TimeDelta::seconds(1), 1).0.pop_back(),
        false => kept.back().copied(),
    }
}
