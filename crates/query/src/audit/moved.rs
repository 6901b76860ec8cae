//! Which rows went where their sink does not write any more.
//!
//! A sink that went on in another place on the operator's word holds there what it got since. Rows
//! of earlier epochs may have been brought along or not: where they are not, they are elsewhere,
//! and not missing. A sink that never moved has nothing here.

use std::collections::{HashMap, HashSet};

use contract::Lineage;
use state::LedgerRow;
use state::checkpoint::{EarlierTarget, Target};
use state::history::Newest;

use super::AuditedSink;
use super::report::Moved;

/// Where sinks wrote, as the newest checkpoint of each lineage says.
#[derive(Default)]
pub struct Places(HashMap<String, Vec<Known>>);

struct Known {
    lineage: String,
    /// The newest epoch that the sink is known to have got.
    epoch: u64,
    earlier: Vec<EarlierTarget>,
    last: Option<Target>,
}

impl Places {
    /// Notes what the newest checkpoint of a lineage says of a sink.
    pub fn note(&mut self, lineage: &Lineage, newest: &Newest, sink: &str) {
        let Some(state) = newest.checkpoint.sinks.get(sink) else { return };
        let (earlier, last) = (state.earlier.clone(), state.target.clone());
        // What is not finished lies nowhere, as far as anybody knows.
        let owes = state.owes && !newest.complete;
        let epoch = newest.checkpoint.epoch - u64::from(owes);
        let known = Known { lineage: lineage.to_string(), epoch, earlier, last };
        self.0.entry(sink.to_owned()).or_default().push(known);
    }

    /// What went elsewhere than where these sinks write now. Of a sink that is not among them, what
    /// went elsewhere than where it wrote last.
    pub fn settle(self, sinks: &[AuditedSink]) -> Moves {
        let mut moves = HashMap::new();
        for (sink, known) in self.0 {
            let audited = sinks.iter().find(|audited| audited.name == sink);
            let now = audited.and_then(|audited| audited.target.as_ref());
            let was: Vec<_> = known.iter().flat_map(|one| &one.earlier).cloned().collect();
            for Known { lineage, epoch, mut earlier, last } in known {
                // A lineage that ended before the sink moved was never told.
                let is_left = |last: &Target| {
                    let is_known = |place: &Target| was.iter().any(|one| one.target.is_one(place));
                    now.is_some_and(|now| !now.is_one(last) && (is_known(last) || is_known(now)))
                };
                if let Some(target) = last.filter(is_left) {
                    let from = earlier.last().map_or(1, |last| last.to + 1);
                    let one = EarlierTarget { target, from, to: epoch, rows: None };
                    earlier.extend((from <= epoch).then_some(one));
                }
                earlier.retain(|one| now.is_none_or(|now| !now.is_one(&one.target)));
                let parts: Vec<_> = earlier.into_iter().map(|place| (place, 0)).collect();
                if !parts.is_empty() {
                    moves.insert((sink.clone(), lineage), parts);
                }
            }
        }
        Moves { parts: moves, partly: HashMap::new(), counted: HashSet::new() }
    }
}

/// Where the rows of an entry of the ledger went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Where the sink writes.
    Here,
    /// Elsewhere.
    Away,
    /// Some here and some elsewhere: epochs before and after a move were added up.
    Partly,
}

/// What went elsewhere.
#[derive(Default)]
pub struct Moves {
    /// By sink and lineage: each place with the rows that were booked of it.
    parts: HashMap<(String, String), Vec<(EarlierTarget, u64)>>,
    /// Rows of epochs that were added up with later ones, by sink.
    partly: HashMap<String, u64>,
    /// The sinks and lineages of which these are counted.
    counted: HashSet<(String, String)>,
}

impl Moves {
    /// Books an entry of the ledger; `is_folded` says that it is of all epochs up to its own.
    pub fn book(&mut self, row: &LedgerRow, is_folded: bool) -> Went {
        let key = (row.entry.sink.clone(), row.lineage.clone());
        let Some(parts) = self.parts.get_mut(&key) else { return Went::Here };
        let first = if is_folded { 1 } else { row.epoch };
        let shared = |place: &EarlierTarget| {
            let (from, to) = (place.from.max(first), place.to.min(row.epoch));
            (to + 1).saturating_sub(from)
        };
        let epochs: u64 = parts.iter().map(|(place, _)| shared(place)).sum();
        if epochs == 0 {
            return Went::Here;
        }
        let mut met = parts.iter_mut().filter(|(place, _)| shared(place) > 0);
        if epochs == row.epoch + 1 - first {
            if let Some((_, booked)) = met.next_back() {
                *booked += row.entry.counts.delivered;
            }
            return Went::Away;
        }
        let rows: u64 = met.filter_map(|(place, _)| place.rows).sum();
        if self.counted.insert(key) {
            *self.partly.entry(row.entry.sink.clone()).or_default() += rows;
        }
        Went::Partly
    }

    /// Rows of a sink that went elsewhere, in epochs that were added up with later ones.
    pub fn partly(&self, sink: &str) -> u64 {
        self.partly.get(sink).copied().unwrap_or_default()
    }

    /// The places to which rows of a sink went, in order.
    pub fn of(&self, sink: &str) -> Vec<Moved> {
        let of_sink = self.parts.iter().filter(|((of, _), _)| of == sink);
        let all = of_sink.flat_map(|((_, lineage), parts)| {
            parts.iter().map(move |(place, booked)| Moved {
                lineage: lineage.clone(),
                kind: place.target.kind.clone(),
                place: place.target.place.clone(),
                from: place.from,
                to: place.to,
                rows: place.rows.unwrap_or(*booked),
            })
        });
        let mut all: Vec<_> = all.filter(|moved| moved.rows > 0).collect();
        all.sort_by(|one, other| (&one.lineage, one.from).cmp(&(&other.lineage, other.from)));
        all
    }
}

#[cfg(test)]
mod tests {
    use state::Checkpoint;
    use state::checkpoint::SinkState;
    use state::ledger::{Counts, Entry};

    use super::*;

    /// The newest epoch of a lineage, with one sink.
    fn newest(lineage: &Lineage, epoch: u64, state: &SinkState) -> Newest {
        let mut checkpoint = Checkpoint::first("p", lineage, 1);
        checkpoint.epoch = epoch;
        checkpoint.sinks.insert("out".to_owned(), state.clone());
        Newest { checkpoint, complete: !state.owes }
    }

    fn target(place: &str) -> Target {
        Target { kind: "lake".to_owned(), place: Some(place.to_owned()) }
    }

    /// What becomes of the rows of an epoch, where a sink wrote to `a` up to epoch 4 and to `b` up
    /// to 6, and writes to `now`.
    fn went(now: &str, epoch: u64, is_folded: bool) -> (Went, Moves) {
        let mut state = SinkState { target: Some(target("a")), ..SinkState::default() };
        state.move_to(&target("b"), 4);
        state.move_to(&target("c"), 6);
        state.earlier.iter_mut().for_each(|one| one.rows = Some(10 * one.to));
        let mut places = Places::default();
        places.note(&Lineage::main(), &newest(&Lineage::main(), 9, &state), "out");
        let sink = AuditedSink { target: Some(target(now)), ..super::super::tests::silent("out") };
        let mut moves = places.settle(&[sink]);
        let counts = Counts { delivered: 3, ..Counts::default() };
        let (split, sink) = ("s".to_owned(), "out".to_owned());
        let row = LedgerRow {
            pipeline: "p".to_owned(),
            lineage: Lineage::main().to_string(),
            epoch,
            entry: Entry { split, sink, counts, hash: String::new() },
        };
        (moves.book(&row, is_folded), moves)
    }

    #[test]
    fn each_epoch_went_where_the_sink_wrote_then() {
        let check = |now, epoch, expect| assert_eq!(went(now, epoch, false).0, expect, "{epoch}");
        for (epoch, expect) in [(1, Went::Away), (4, Went::Away), (6, Went::Away), (7, Went::Here)]
        {
            check("c", epoch, expect);
        }
        // The file names an earlier place again.
        for (epoch, expect) in [(4, Went::Here), (5, Went::Away), (7, Went::Away)] {
            check("a", epoch, expect);
        }
        // A place that nobody has moved to yet takes part in nothing.
        check("d", 7, Went::Here);
    }

    #[test]
    fn epochs_that_were_added_up_may_lie_on_both_sides_of_a_move() {
        assert_eq!(went("c", 5, true).0, Went::Away);
        let (partly, moves) = went("c", 8, true);
        assert_eq!((partly, moves.partly("out")), (Went::Partly, 40 + 60));
        let places: Vec<_> =
            moves.of("out").iter().map(|one| (one.from, one.to, one.rows)).collect();
        assert_eq!(places, [(1, 4, 40), (5, 6, 60)]);
    }

    #[test]
    fn a_lineage_that_ended_before_the_move_left_its_rows_there_but_for_what_is_unfinished() {
        for (owes, places_of_it) in [(false, vec![(1, 2)]), (true, vec![(1, 1)])] {
            let mut places = Places::default();
            let mut moved = SinkState { target: Some(target("a")), ..SinkState::default() };
            let ended = SinkState { owes, ..moved.clone() };
            moved.move_to(&target("b"), 4);
            let (main, replay) = (Lineage::main(), Lineage::replay("0a"));
            places.note(&main, &newest(&main, 9, &moved), "out");
            places.note(&replay, &newest(&replay, 2, &ended), "out");
            let sink =
                AuditedSink { target: Some(target("b")), ..super::super::tests::silent("out") };
            let moves = places.settle(&[sink]);
            let parts = &moves.parts[&("out".to_owned(), replay.to_string())];
            let epochs: Vec<_> = parts.iter().map(|(one, _)| (one.from, one.to)).collect();
            assert_eq!(epochs, places_of_it, "{owes}");
        }
    }
}
